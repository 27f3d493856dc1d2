//! `readings --once`: every reading of this machine, for people and for programs.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use serde::Serialize;
use skynet_model::catalogue::Unit;
use skynet_model::policy::{Bundle, Script, SensorUse, fits, load_sensors};
use skynet_model::series::{Labels, SeriesKey};
use skynet_model::time::{Span, Timestamp};
use skynet_node::actor::kept_policy;
use skynet_node::host::{Host, LocalHost};
use skynet_node::runner::{Sweep, sweep_once};
use skynet_node::sensors::all_builtin_uses;

use crate::cli::Output;
use crate::config::Config;

/// What rates are measured over.
const APART: Span = Span::seconds(1);

/// One reading as printed.
#[derive(Debug, Serialize)]
struct Line<'a> {
    series: &'a str,
    labels: &'a Labels,
    value: f64,
    unit: &'static str,
    time: String,
}

/// Reads and prints. A sensor that fails is told on standard error and the others are printed all the same.
///
/// # Errors
/// When the kept policy cannot be read, or standard output is closed.
pub fn print(output: Output, config: Option<&Config>, filter: Option<&str>) -> anyhow::Result<()> {
    let (uses, scripts) = used(config)?;
    let host: Arc<dyn Host> = Arc::new(LocalHost::new());
    let mut sweeps = sweep_once(&host, &uses, &scripts, APART);
    for readings in sweeps.iter_mut().filter_map(|sweep| sweep.result.as_mut().ok()) {
        readings.retain(|(key, _)| is_meant(filter, &key.to_string()));
    }
    let text = match output {
        Output::Json => json(&sweeps)?,
        Output::Table => table(&sweeps),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    let mut stderr = std::io::stderr();
    for sweep in &sweeps {
        if let Err(error) = &sweep.result {
            writeln!(stderr, "skynet-agent: sensor {}: {error}", sweep.sensor)?;
        }
    }
    Ok(())
}

/// The sensors of the policy that is kept, else every built-in one.
///
/// # Errors
/// When the kept policy cannot be read.
pub(crate) fn used(config: Option<&Config>) -> anyhow::Result<(Vec<SensorUse>, BTreeMap<String, Script>)> {
    match config.and_then(|config| kept_policy(&config.data_dir, &config.trust).transpose()) {
        Some(kept) => {
            let (bundle, labels) = kept.map_err(anyhow::Error::msg)?;
            of_policy(&bundle, &labels)
        }
        None => Ok((all_builtin_uses(), BTreeMap::new())),
    }
}

/// Whether a series is among those asked for.
pub(crate) fn is_meant(filter: Option<&str>, series: &str) -> bool {
    filter.is_none_or(|glob| fits(glob, series))
}

/// Labels may come from anywhere: control characters do not reach the terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn of_policy(bundle: &str, labels: &Labels) -> anyhow::Result<(Vec<SensorUse>, BTreeMap<String, Script>)> {
    let bundle = Bundle::decode(bundle.as_bytes())?;
    let policy = load_sensors(&bundle.files, skynet_node::catalogue())
        .map_err(|mistakes| anyhow::anyhow!("the kept policy does not load here: {} mistakes", mistakes.len()))?;
    let uses = policy.sensors_for(labels).into_iter().cloned().collect();
    Ok((uses, policy.scripts))
}

fn readings(sweeps: &[Sweep]) -> impl Iterator<Item = (&SeriesKey, f64, Timestamp)> {
    let of = |sweep: &Sweep| sweep.started;
    sweeps.iter().flat_map(move |sweep| {
        let readings = sweep.result.as_deref().unwrap_or_default();
        readings.iter().map(move |(key, value)| (&**key, *value, of(sweep)))
    })
}

/// The unit of a series.
pub(crate) fn unit(series: &str) -> Unit {
    skynet_node::catalogue().series(series).map_or(Unit::Any, |(_, spec)| spec.unit)
}

fn json(sweeps: &[Sweep]) -> anyhow::Result<String> {
    let mut text = String::new();
    for (key, value, time) in readings(sweeps) {
        let (series, labels) = (&*key.name, &key.labels);
        let line = Line { series, labels, value, unit: unit(series).as_str(), time: time.to_string() };
        text.push_str(&serde_json::to_string(&line)?);
        text.push('\n');
    }
    Ok(text)
}

fn table(sweeps: &[Sweep]) -> String {
    let mut rows = vec![("SERIES".to_owned(), "VALUE".to_owned(), "UNIT")];
    let row =
        |(key, value, _): (&SeriesKey, f64, _)| (plain(&key.to_string()), value.to_string(), unit(&key.name).as_str());
    rows.extend(readings(sweeps).map(row));
    rows[1..].sort();
    let width = |of: fn(&(String, String, &str)) -> usize| rows.iter().map(of).max().unwrap_or(0);
    let (first, second) = (width(|r| r.0.chars().count()), width(|r| r.1.len()));
    rows.iter().map(|(series, value, unit)| format!("{series:first$}  {value:>second$}  {unit}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_one_json_object_a_line_and_one_row_of_the_table() {
        let sweep = Sweep {
            sensor: "disk".into(),
            every: APART,
            started: Timestamp(0),
            started_boot_ms: 0,
            result: Ok(vec![(Arc::new(SeriesKey::new("disk.used_ratio", [("mount", "/a\u{1b}[2J")])), 0.25)]),
        };
        let failed = Sweep { result: Err("no".to_owned()), ..sweep.clone() };
        let text = json(&[sweep.clone(), failed]).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["series"], "disk.used_ratio");
        assert_eq!(value["labels"]["mount"], "/a\u{1b}[2J");
        assert_eq!(value["value"], 0.25);
        assert_eq!(value["unit"], "ratio");
        assert_eq!(value["time"], "1970-01-01T00:00:00.000Z");
        let shown = table(&[sweep]);
        assert!(!shown.contains('\u{1b}'), "{shown}");
        assert_eq!(shown.lines().count(), 2);
    }
}
