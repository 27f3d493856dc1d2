//! What is shown: rows in order of series, and how they look.

use std::collections::BTreeMap;
use std::fmt::Write;

use skynet_node::runner::Sweep;

use crate::readings::{is_meant, plain, unit};

const BOLD: &str = "\x1b[1m";
const CHANGED: &str = "\x1b[1;33m";
const FAILED: &str = "\x1b[31m";
const DIM: &str = "\x1b[2m";
const OFF: &str = "\x1b[0m";
/// Clears the rest of a line, and of the screen.
const LINE_END: &str = "\x1b[K\r\n";
const REST: &str = "\x1b[J";

struct Row {
    sensor: String,
    value: f64,
    unit: skynet_model::catalogue::Unit,
    /// As last drawn.
    shown: String,
    /// Whether that was something else before.
    changed: bool,
}

/// Where the view begins, and how far it can go.
#[derive(Default)]
pub(super) struct View {
    first: usize,
    fits: usize,
    rows: usize,
}

impl View {
    pub(super) fn scroll(&mut self, by: isize) {
        self.first = self.first.saturating_add_signed(by).min(self.rows.saturating_sub(self.fits));
    }

    pub(super) fn page(&mut self, by: isize) {
        self.scroll(by * isize::try_from(self.fits).unwrap_or(1).max(1));
    }

    pub(super) fn top(&mut self) {
        self.first = 0;
    }

    pub(super) fn bottom(&mut self) {
        self.scroll(isize::MAX);
    }
}

/// The readings that are meant, the latest of each series.
pub(super) struct Table {
    filter: Option<String>,
    rows: BTreeMap<String, Row>,
    failed: BTreeMap<String, String>,
}

impl Table {
    pub(super) fn new(filter: Option<&str>) -> Self {
        Self { filter: filter.map(str::to_owned), rows: BTreeMap::new(), failed: BTreeMap::new() }
    }

    /// Takes a sweep in: what it leaves out is gone. A failed one leaves its rows as they were, marked.
    pub(super) fn take(&mut self, sweep: &Sweep) {
        let sensor = &*sweep.sensor;
        let readings = match &sweep.result {
            Ok(readings) => readings,
            Err(words) => {
                self.failed.insert(plain(sensor), plain(words));
                return;
            }
        };
        self.failed.remove(&plain(sensor));
        let mut before = BTreeMap::new();
        self.rows.retain(|series, row| {
            let other = row.sensor != sensor;
            if !other {
                before.insert(series.clone(), std::mem::take(&mut row.shown));
            }
            other
        });
        for (key, value) in readings {
            let text = key.to_string();
            if !is_meant(self.filter.as_deref(), &text) {
                continue;
            }
            let series = plain(&text);
            let shown = before.remove(&series).unwrap_or_default();
            let row = Row { sensor: sensor.to_owned(), value: *value, unit: unit(&key.name), shown, changed: false };
            self.rows.insert(series, row);
        }
    }

    /// Puts the values into words, and finds those that changed since they last were.
    pub(super) fn refresh(&mut self) {
        for row in self.rows.values_mut() {
            let now = row.unit.figure(row.value);
            row.changed = !row.shown.is_empty() && row.shown != now;
            row.shown = now;
        }
    }

    /// All rows and failures, for what is no terminal.
    pub(super) fn list(&self) -> String {
        let width = self.rows.keys().map(|series| series.chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        for (series, row) in &self.rows {
            let _ = writeln!(text, "{series:width$}  {}", row.shown);
        }
        for (sensor, words) in &self.failed {
            let _ = writeln!(text, "sensor {sensor}: {words}");
        }
        text.push('\n');
        text
    }

    /// The whole screen of `size` rows and columns: never more than fits.
    pub(super) fn screen(&self, view: &mut View, size: (usize, usize), colours: bool) -> String {
        let (lines, columns) = size;
        let ink = |colour: &'static str, text: String| if colours { format!("{colour}{text}{OFF}") } else { text };
        let (rows, failed) = (self.rows.len(), self.failed.len().min(lines / 4));
        view.fits = lines.saturating_sub(2 + failed);
        view.rows = rows;
        view.scroll(0);
        let last = (view.first + view.fits).min(rows);
        let head = if rows > view.fits {
            format!("readings {}-{last} of {rows}   arrows and pages scroll   q ends", view.first + 1)
        } else {
            format!("{rows} readings   q ends")
        };
        let mut text = "\x1b[H".to_owned();
        text.push_str(&ink(BOLD, cut(&head, columns)));
        text.push_str(LINE_END);
        let value = self.rows.values().map(|row| row.shown.chars().count()).max().unwrap_or(0);
        let longest = self.rows.keys().map(|series| series.chars().count()).max().unwrap_or(0);
        let series_width = longest.min(columns.saturating_sub(value + 2));
        for (series, row) in self.rows.iter().skip(view.first).take(view.fits) {
            let failed = self.failed.contains_key(&row.sensor);
            let left = format!("{:series_width$}", cut(series, series_width));
            let right = cut(&format!("{:>value$}", row.shown), columns.saturating_sub(series_width + 2));
            let line = match (failed, row.changed) {
                (true, _) => ink(DIM, format!("{left}  {right}")),
                (false, true) => format!("{left}  {}", ink(CHANGED, right)),
                (false, false) => format!("{left}  {right}"),
            };
            text.push_str(&line);
            text.push_str(LINE_END);
        }
        for (sensor, words) in self.failed.iter().take(failed) {
            text.push_str(&ink(FAILED, cut(&format!("sensor {sensor}: {words}"), columns)));
            text.push_str(LINE_END);
        }
        text.push_str(REST);
        text
    }
}

/// At most `columns` characters; a mark stands for what was cut off.
fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(columns.saturating_sub(1)).collect();
    if columns > 0 {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;
    use skynet_model::series::SeriesKey;
    use skynet_model::time::{Span, Timestamp};
    use std::sync::Arc;

    fn sweep(sensor: &str, result: Result<&[(&str, f64)], &str>) -> Sweep {
        let readings = |list: &[(&str, f64)]| {
            list.iter().map(|(name, value)| (Arc::new(SeriesKey::new(name, [("mount", "/\x1b[2J")])), *value)).collect()
        };
        let result = result.map(readings).map_err(str::to_owned);
        Sweep { sensor: sensor.into(), every: Span(1), started: Timestamp(0), started_boot_ms: 0, result }
    }

    fn drawn(table: &mut Table, colours: bool) -> String {
        table.refresh();
        table.screen(&mut View::default(), (24, 80), colours)
    }

    #[test]
    fn only_what_changed_is_coloured_and_only_with_colours() {
        let mut table = Table::new(None);
        table.take(&sweep("disk", Ok(&[("disk.used_ratio", 0.5), ("disk.free_bytes", 1024.0)])));
        assert!(!drawn(&mut table, true).contains(CHANGED), "the first look is no change");
        table.take(&sweep("disk", Ok(&[("disk.used_ratio", 0.6), ("disk.free_bytes", 1024.0)])));
        let screen = drawn(&mut table, true);
        assert!(screen.contains(&format!("{CHANGED} 60.0 %{OFF}")), "{screen:?}");
        assert!(screen.contains("1.0 KiB\x1b[K"), "{screen:?}");
        assert!(!drawn(&mut table, true).contains(CHANGED), "it stands still again");
        table.take(&sweep("disk", Ok(&[("disk.used_ratio", 0.7)])));
        let screen = drawn(&mut table, false);
        assert!(screen.contains("70.0 %") && !screen.contains("KiB") && !screen.contains("\x1b[1"), "{screen:?}");
        assert!(!screen.contains("\x1b[2J"), "a label reaches the terminal");
    }

    #[test]
    fn a_failed_sensor_is_named_and_its_rows_stay() {
        let mut table = Table::new(Some("disk.*"));
        table.take(&sweep("disk", Ok(&[("disk.used_ratio", 0.5)])));
        table.take(&sweep("cpu", Ok(&[("cpu.count", 2.0)])));
        table.take(&sweep("disk", Err("broken\x07")));
        let screen = drawn(&mut table, true);
        assert!(screen.contains("sensor disk: broken\u{fffd}") && screen.contains(&format!("{DIM}disk.used_ratio")));
        assert!(!screen.contains("cpu.count"), "not asked for");
        let list = table.list();
        assert!(list.contains("50.0 %") && !list.contains('\x1b'), "{list:?}");
    }

    #[test]
    fn no_screen_is_too_small_and_no_line_longer_than_it() {
        let mut table = Table::new(None);
        let names: Vec<String> = (0..50).map(|n| format!("a_name_of_some_length.number_{n:02}")).collect();
        let list: Vec<(&str, f64)> = names.iter().map(|name| (name.as_str(), 1e15)).collect();
        table.take(&sweep("x", Ok(&list)));
        table.take(&sweep("y", Err("it does not work at all, and says so in many words")));
        table.refresh();
        for size in [(1, 1), (2, 5), (5, 20), (24, 80), (100, 300)] {
            let mut view = View::default();
            table.screen(&mut view, size, false);
            view.bottom();
            let screen = table.screen(&mut view, size, false).replace("\x1b[H", "").replace("\x1b[J", "");
            let lines: Vec<&str> = screen.split(LINE_END).collect();
            assert!(lines.len() <= size.0.max(2), "{size:?} {}", lines.len());
            assert!(lines.iter().all(|l| l.chars().count() <= size.1), "{size:?} {lines:?}");
            if size.0 == 24 {
                assert!(screen.contains("number_49") && !screen.contains("number_00"), "{screen}");
            }
        }
    }
}
