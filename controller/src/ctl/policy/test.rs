//! `policy test`: runs the tests that ship with a policy, and tells what happened instead where one fails.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Serialize;
use skynet_model::catalogue::Catalogue;
use skynet_model::event::{Event, EventBody};
use skynet_model::name::ServerId;
use skynet_model::policy::test::{Level, Test};
use skynet_model::policy::{Policy, fits};
use skynet_model::time::Span;

use super::super::Failure;
use super::super::args::Output;
use super::super::figure::{figure, unit_of};
use super::super::page::{Ink, Page};
use super::super::print::Printer;
use super::super::words;
use super::{Checked, tell};
use crate::workbench::{self, BEGIN, Past, Verdict};

/// Most events of a timeline; the middle is left out.
const MAX_LINES: usize = 30;
/// Most series whose values are shown below a timeline.
const MAX_SERIES: usize = 8;

/// Runs the tests of a folder.
///
/// # Errors
/// [`Failure::Failed`], with an empty text when what failed is printed.
pub(in crate::ctl) fn run(
    dir: &Path,
    pattern: Option<&str>,
    catalogue: &Catalogue,
    output: Output,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let Checked { files, result, tests } = Checked::read(dir, catalogue)?;
    let policy = match result {
        Ok(policy) => policy,
        Err(mistakes) => return Err(tell(&mistakes, &files, output, printer)),
    };
    let all = tests.len();
    let tests: Vec<Test> = tests.into_iter().filter(|test| pattern.is_none_or(|glob| fits(glob, &test.name))).collect();
    if tests.is_empty() {
        return Err(Failure::Failed(match (all, pattern) {
            (0, _) => format!("there is no test in {}: write one into a file ending in `.test.yaml`", dir.display()),
            (_, Some(glob)) => format!("none of the {all} tests is called `{glob}`; `*` stands for any text"),
            (_, None) => "there is no test".to_owned(),
        }));
    }
    let mut page = Page::new();
    let mut jsons = Vec::new();
    let mut failed = 0;
    for test in &tests {
        let verdict = workbench::run(&policy, catalogue, test).map_err(|trouble| trouble.to_string());
        if verdict.as_ref().map_or(true, |verdict| !verdict.missed.is_empty()) {
            failed += 1;
        }
        match output {
            Output::Table => print(test, &verdict, &policy, catalogue, &mut page),
            Output::Json | Output::Yaml => jsons.push(document(test, &verdict)?),
        }
    }
    let count = |n: usize| format!("{n} test{}", if n == 1 { "" } else { "s" });
    match output {
        Output::Table => {
            match failed {
                0 => page.line([Ink::Green.on("SUCCESS"), format!(": {}", count(tests.len())).into()]),
                _ => page.line([Ink::Red.on("FAILED"), format!(": {failed} of {}", count(tests.len())).into()]),
            }
            printer.page(&page)?;
        }
        Output::Json | Output::Yaml => printer.documents(&jsons, output)?,
    }
    if failed == 0 { Ok(()) } else { Err(Failure::Failed(String::new())) }
}

/// One test for programs.
#[derive(Serialize)]
struct Document<'a> {
    name: &'a str,
    file: &'a str,
    line: u32,
    passed: bool,
    /// Why it could not be run.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<&'a str>,
    missed: Vec<MissedDocument<'a>>,
    /// What happened, when a test failed.
    timeline: Vec<LineDocument>,
}

#[derive(Serialize)]
struct MissedDocument<'a> {
    line: u32,
    expected: &'a str,
    found: &'a str,
}

#[derive(Serialize)]
struct LineDocument {
    at: String,
    event: &'static str,
    subject: String,
    text: String,
}

fn document(test: &Test, verdict: &Result<Verdict, String>) -> Result<String, Failure> {
    let (missed, events) = match verdict {
        Ok(verdict) => (verdict.missed.as_slice(), verdict.events.as_slice()),
        Err(_) => (&[][..], &[][..]),
    };
    let passed = verdict.is_ok() && missed.is_empty();
    let line = |event: &Event| {
        let words = words::words(&event.body);
        let at = event.time.since(BEGIN).to_string();
        LineDocument { at, event: words.event, subject: words.subject, text: words.text }
    };
    let document = Document {
        name: &test.name,
        file: &test.file,
        line: test.line,
        passed,
        trouble: verdict.as_ref().err().map(String::as_str),
        missed: missed
            .iter()
            .map(|m| MissedDocument {
                line: test.expect.get(m.expectation).map_or(test.line, |e| e.line),
                expected: &m.expected,
                found: &m.found,
            })
            .collect(),
        timeline: if passed { Vec::new() } else { events.iter().filter(|e| is_told(&e.body)).map(line).collect() },
    };
    serde_json::to_string(&document).map_err(|e| Failure::Failed(format!("cannot write the result: {e}")))
}

/// One test for people: nothing when it succeeds.
fn print(test: &Test, verdict: &Result<Verdict, String>, policy: &Policy, catalogue: &Catalogue, page: &mut Page) {
    let head = |page: &mut Page| {
        page.line([
            Ink::Red.on("FAILED"),
            ": ".into(),
            Ink::Bold.on(&test.name),
            Ink::Dim.on(format!(" ({}:{})", test.file, test.line)),
        ]);
    };
    let verdict = match verdict {
        Err(trouble) => {
            head(page);
            page.paragraph(trouble, 2);
            page.line([]);
            return;
        }
        Ok(verdict) if verdict.missed.is_empty() => return,
        Ok(verdict) => verdict,
    };
    head(page);
    for missed in &verdict.missed {
        let line = test.expect.get(missed.expectation).map_or(test.line, |e| e.line);
        page.line([format!("  expected {}", missed.expected).into(), Ink::Dim.on(format!(" (line {line})"))]);
        page.line([Ink::Yellow.on(format!("  found    {}", missed.found))]);
    }
    timeline(verdict, page);
    readings(test, verdict, policy, catalogue, page);
    page.line([]);
}

/// Whether an event says something: that the test's own servers are there does not.
fn is_told(body: &EventBody) -> bool {
    !matches!(body, EventBody::ServerLabelled { .. })
}

fn timeline(verdict: &Verdict, page: &mut Page) {
    let at_start = |event: &Event| event.time == BEGIN && matches!(event.body, EventBody::ServerConnected { .. });
    let events: Vec<&Event> = verdict.events.iter().filter(|e| is_told(&e.body) && !at_start(e)).collect();
    if events.is_empty() {
        page.line([Ink::Dim.on("  nothing happened")]);
        return;
    }
    page.line([Ink::Dim.on("  what happened:")]);
    let (head, tail) = (MAX_LINES * 2 / 3, MAX_LINES / 3);
    for (place, event) in events.iter().enumerate() {
        if events.len() > MAX_LINES && place == head {
            page.line([Ink::Dim.on(format!("    ... {} more ...", events.len() - MAX_LINES))]);
        }
        if events.len() > MAX_LINES && (head..events.len() - tail).contains(&place) {
            continue;
        }
        let words = words::words(&event.body);
        page.line([
            Ink::Dim.on(format!("    {:<10}", event.time.since(BEGIN).to_string())),
            format!("{:<14}  ", words.subject).into(),
            words.ink.on(words.text),
        ]);
    }
}

/// What was read of the series that the scenarios concerned read.
fn readings(test: &Test, verdict: &Verdict, policy: &Policy, catalogue: &Catalogue, page: &mut Page) {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    let mut servers: BTreeSet<&ServerId> = BTreeSet::new();
    for expected in verdict.missed.iter().filter_map(|missed| test.expect.get(missed.expectation)) {
        let scenario = policy.scenarios.get(&expected.incident.scenario);
        names.extend(scenario.iter().flat_map(|s| s.reads()).map(|series| series.name.as_str()));
        servers.extend(&expected.incident.server);
    }
    let concerned =
        |past: &&Past| names.contains(&*past.series.name) && (servers.is_empty() || servers.contains(&past.server));
    let all: Vec<&Past> = verdict.past.iter().filter(concerned).collect();
    if all.is_empty() {
        return;
    }
    page.line([Ink::Dim.on("  what was read:")]);
    for past in all.iter().take(MAX_SERIES) {
        let unit = unit_of(&past.series.name, Some(catalogue));
        let level = |(at, level): &(Span, Level)| match level {
            Level::Value(value) => format!("{at} {}", figure(*value, unit)),
            Level::Gone => format!("{at} gone"),
            Level::Unknown => format!("{at} unknown"),
        };
        let levels: Vec<String> = past.levels.iter().map(level).collect();
        page.line([
            Ink::Cyan.on(format!("    {}", past.server)),
            format!("  {}: ", past.series).into(),
            levels.join(", ").into(),
        ]);
    }
    if all.len() > MAX_SERIES {
        page.line([Ink::Dim.on(format!("    and {} more", all.len() - MAX_SERIES))]);
    }
}
