//! `query`: the past of series.

mod chart;

use std::path::Path;

use serde::Serialize;
use skynet_model::catalogue::Catalogue;
use skynet_model::time::{Span, Timestamp};
use skynet_proto::v1;

use super::Failure;
use super::age::to_the_second;
use super::args::{Output, QueryArgs, QueryOutput};
use super::clock;
use super::figure::{figure, unit_of};
use super::link::Link;
use super::page::{Ink, Page, Table};
use super::print::{Printer, remark};

/// Lines of a table, and signs of a sparkline, about.
const LINES: i64 = 60;
/// Steps that people think in.
const STEPS: [Span; 12] = [
    Span::seconds(1),
    Span::seconds(5),
    Span::seconds(10),
    Span::seconds(30),
    Span::minutes(1),
    Span::minutes(5),
    Span::minutes(15),
    Span::minutes(30),
    Span::hours(1),
    Span::hours(3),
    Span::hours(6),
    Span::hours(24),
];

/// One point, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Point {
    time: i64,
    avg: f64,
    min: f64,
    max: f64,
    count: u64,
}

/// One series, for programs.
#[derive(Debug, Serialize)]
struct Past<'a> {
    server: &'a str,
    series: &'a str,
    points: Vec<Point>,
}

/// Asks and prints.
///
/// # Errors
/// [`Failure`].
pub(super) async fn run(
    socket: &Path,
    args: &QueryArgs,
    catalogue: &Catalogue,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let request = request(args, clock::now())?;
    let answer = Link::open(socket).await?.query(request).await?;
    for hole in &answer.holes {
        remark(&format!("a hole: {hole}"));
    }
    if answer.cut {
        remark(
            "not all is shown: it is more than one answer holds; ask for fewer series, less time, or a longer --step",
        );
    }
    let past: Vec<Past<'_>> = answer.series.iter().map(unpack).collect();
    match args.output {
        QueryOutput::Json => printer.documents(&documents(&past)?, Output::Json),
        QueryOutput::Yaml => printer.documents(&documents(&past)?, Output::Yaml),
        QueryOutput::Table | QueryOutput::Sparkline if past.is_empty() => {
            remark("no readings in that time");
            Ok(())
        }
        QueryOutput::Table => printer.page(&table(&past, catalogue)),
        QueryOutput::Sparkline => printer.page(&sparklines(&past, catalogue)),
    }
}

/// What to ask, of what was typed.
fn request(args: &QueryArgs, now: Timestamp) -> Result<v1::QueryRequest, Failure> {
    let from = when("--since", &args.since, now)?;
    let until = args.until.as_deref().map_or(Ok(now), |text| when("--until", text, now))?;
    if from > until {
        return Err(Failure::Usage("--since is later than --until".to_owned()));
    }
    let step = match &args.step {
        Some(text) => text.parse::<Span>().map_err(|e| Failure::Usage(format!("--step: {e}")))?,
        None => match args.output {
            QueryOutput::Table | QueryOutput::Sparkline => fitting(until.since(from)),
            QueryOutput::Json | QueryOutput::Yaml => Span(0),
        },
    };
    Ok(v1::QueryRequest {
        series: args.series.clone(),
        servers: if args.all { vec!["*".to_owned()] } else { args.servers.clone() },
        from_ms: from.0,
        until_ms: until.0,
        step_ms: step.0,
    })
}

/// The shortest step that gives no more lines than fit.
fn fitting(time: Span) -> Span {
    let fits = |step: &&Span| time.0 / step.0 <= LINES;
    STEPS.iter().find(fits).copied().unwrap_or(Span::hours(24 * (1 + time.0 / (LINES * 86_400_000))))
}

pub(super) fn when(option: &str, text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    if let Ok(ago) = text.parse::<Span>() {
        return Ok(Timestamp(now.0.saturating_sub(ago.0)));
    }
    text.parse::<jiff::Timestamp>().map(|time| Timestamp(time.as_millisecond())).map_err(|_| {
        Failure::Usage(format!(
            "{option}: `{text}` is no time: write how long ago (6h, 2d) or when (2026-11-01T03:00:00Z)"
        ))
    })
}

fn unpack(past: &v1::PastSeries) -> Past<'_> {
    let mut time = 0i64;
    let points = past.time_ms.iter().zip(&past.avg).enumerate().map(|(i, (step, avg))| {
        time = time.wrapping_add(*step);
        let of = |values: &[f64]| values.get(i).copied().unwrap_or(*avg);
        let (min, max) = (of(&past.min), of(&past.max));
        Point { time, avg: *avg, min, max, count: past.count.get(i).copied().unwrap_or(1) }
    });
    Past { server: &past.server, series: &past.series, points: points.collect() }
}

fn documents(past: &[Past<'_>]) -> Result<Vec<String>, Failure> {
    let json = |past: &Past<'_>| serde_json::to_string(past).map_err(|e| Failure::Failed(e.to_string()));
    past.iter().map(json).collect()
}

fn name(series: &str) -> &str {
    series.split('{').next().unwrap_or(series)
}

fn table(past: &[Past<'_>], catalogue: &Catalogue) -> Page {
    let mut page = Page::new();
    for past in past {
        page.heading(&format!("{}  {}", past.server, past.series));
        let unit = unit_of(name(past.series), Some(catalogue));
        let steps = past.points.iter().any(|p| p.count != 1);
        let mut table =
            if steps { Table::new(&["TIME", "MIN", "AVG", "MAX", "SAMPLES"]) } else { Table::new(&["TIME", "VALUE"]) };
        for point in &past.points {
            let time = to_the_second(Timestamp(point.time));
            let value = |value: f64| figure(value, unit).into();
            if steps {
                let count = point.count.to_string();
                table.row([time.into(), value(point.min), value(point.avg), value(point.max), count.into()]);
            } else {
                table.row([time.into(), value(point.avg)]);
            }
        }
        page.table(table);
    }
    page
}

fn sparklines(past: &[Past<'_>], catalogue: &Catalogue) -> Page {
    let mut table = Table::new(&["SERVER", "SERIES", "", "MIN", "MAX", "LAST"]);
    for past in past {
        let unit = unit_of(name(past.series), Some(catalogue));
        let least = past.points.iter().map(|p| p.min).fold(f64::INFINITY, f64::min);
        let greatest = past.points.iter().map(|p| p.max).fold(f64::NEG_INFINITY, f64::max);
        let last = past.points.last().map_or(f64::NAN, |p| p.avg);
        let values: Vec<(i64, f64)> = past.points.iter().map(|p| (p.time, p.avg)).collect();
        table.row([
            Ink::Cyan.on(past.server),
            past.series.into(),
            chart::sparkline(&values, LINES as usize).into(),
            figure(least, unit).into(),
            figure(greatest, unit).into(),
            figure(last, unit).into(),
        ]);
    }
    let mut page = Page::new();
    page.table(table);
    page
}

#[cfg(test)]
mod tests;
