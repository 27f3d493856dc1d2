//! `policy backtest`: what a policy would have done over recorded history, beside what the one in force did.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;
use skynet_model::catalogue::Catalogue;
use skynet_model::event::{Event, EventBody};
use skynet_model::incident::{Incident, Rail};
use skynet_model::name::ServerId;
use skynet_model::policy::{Bundle, MAX_BUNDLE_BYTES, Mode, Policy, Scenario, Step, fits, load};
use skynet_model::series::Labels;
use skynet_model::time::{Span, Timestamp};
use skynet_proto::v1;

use super::super::age::{rough, to_the_second};
use super::super::args::{BacktestArgs, Output};
use super::super::documents::Server;
use super::super::link::Link;
use super::super::page::{Ink, Page, Table};
use super::super::print::{Printer, parse, remark};
use super::super::query::when;
use super::super::words::act;
use super::super::{Failure, clock, folder};
use super::{Checked, tell};
use crate::progress::Bar;
use crate::workbench::backtest::{Backtest, Findings, Found, InForce, Read, in_force, rails_of, wanted};

/// Most incidents that are listed one by one.
const MAX_LISTED: usize = 40;
/// As much of the event log as there is to be had.
const EVENTS: u32 = 10_000;

/// One scenario's findings, for programs.
#[derive(Serialize)]
struct Document<'a> {
    scenario: &'a str,
    mode: Mode,
    /// Servers it applies to, of those that were asked about.
    applies_to: usize,
    incidents: Vec<IncidentDocument<'a>>,
    /// What the policy in force did about a scenario of that name, as far as the log reaches back.
    in_force: Option<InForce>,
}

#[derive(Serialize)]
struct IncidentDocument<'a> {
    subject: String,
    labels: &'a Labels,
    opened: Timestamp,
    closed: Option<Timestamp>,
    state: &'static str,
    summary: &'a str,
    /// Steps that would have been taken, each later one only if those before had not helped.
    would: Vec<String>,
    held: Vec<&'static str>,
    told: u32,
}

/// What is asked, and of whom.
struct Scope {
    from: Timestamp,
    until: Timestamp,
    servers: Vec<(ServerId, Labels)>,
}

/// Asks for the past and runs the policy over it.
///
/// # Errors
/// [`Failure`].
pub(in crate::ctl) async fn run(
    socket: &Path,
    args: &BacktestArgs,
    catalogue: &'static Catalogue,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let policy = match read(&args.source, catalogue)? {
        Ok(policy) => policy,
        Err(checked) => {
            let mistakes = checked.result.err().unwrap_or_default();
            return Err(tell(&mistakes, &checked.files, args.output, printer));
        }
    };
    let now = clock::now();
    let from = when("--since", &args.since, now)?;
    let until = args.until.as_deref().map_or(Ok(now), |text| when("--until", text, now))?;
    if from >= until {
        return Err(Failure::Usage("--since is not before --until".to_owned()));
    }
    let mut link = Link::open(socket).await?;
    let scope = Scope { from, until, servers: servers(&mut link, &args.servers).await? };
    let events = events(&mut link).await?;
    let findings = replay(&mut link, &policy, catalogue, &scope, &events).await?;
    for text in &findings.remarks {
        remark(text);
    }
    let reaches = events.first().is_none_or(|event| event.time <= from || event.seq == 1);
    let known = in_force(&events, from, until);
    let in_force = |scenario: &Scenario| match (known.get(&scenario.name), reaches) {
        (Some(known), _) => Some(known.clone()),
        (None, true) => Some(InForce::default()),
        (None, false) => None,
    };
    match args.output {
        Output::Table => {
            if !reaches {
                remark(
                    "the controller's log does not reach back that far: what the policy in force did is not all known",
                );
            }
            printer.page(&page(&policy, &scope, &findings, in_force))
        }
        Output::Json | Output::Yaml => {
            let documents = policy.scenarios.values().map(|scenario| {
                let document = document(&policy, scenario, &scope, &findings, in_force(scenario));
                serde_json::to_string(&document).map_err(|e| Failure::Failed(e.to_string()))
            });
            printer.documents(&documents.collect::<Result<Vec<_>, _>>()?, args.output)
        }
    }
}

/// A folder or a bundle.
fn read(source: &Path, catalogue: &Catalogue) -> Result<Result<Policy, Checked>, Failure> {
    let checked = if source.is_dir() {
        Checked::read(source, catalogue)?
    } else {
        let named = |e: &dyn std::fmt::Display| Failure::Failed(format!("{}: {e}", source.display()));
        let bytes = folder::read_file(source, MAX_BUNDLE_BYTES).map_err(|e| named(&e))?;
        let files = Bundle::decode(&bytes).map_err(|e| named(&e))?.files;
        let result = load(&files, catalogue);
        Checked { files, result, tests: Vec::new() }
    };
    match checked.result {
        Ok(policy) => Ok(Ok(policy)),
        Err(mistakes) => Ok(Err(Checked { result: Err(mistakes), ..checked })),
    }
}

async fn servers(link: &mut Link, patterns: &[String]) -> Result<Vec<(ServerId, Labels)>, Failure> {
    let mut servers = Vec::new();
    for json in link.list("servers", true, 10_000).await? {
        let server = parse::<Server>("servers", &json)?;
        if patterns.is_empty() || patterns.iter().any(|glob| fits(glob, &server.name)) {
            let id = ServerId::new(&server.name).map_err(|e| Failure::Failed(e.to_string()))?;
            servers.push((id, Labels::new(server.labels)));
        }
    }
    if servers.is_empty() {
        return Err(Failure::Failed(match patterns.is_empty() {
            true => "the controller knows no servers".to_owned(),
            false => format!("no server is called {}; `skynetctl get servers` lists them", patterns.join(" or ")),
        }));
    }
    Ok(servers)
}

async fn events(link: &mut Link) -> Result<Vec<Event>, Failure> {
    let mut lines = link.logs(false, EVENTS).await?;
    let mut events = Vec::new();
    while let Some(json) = lines.next().await? {
        // One that a newer controller wrote tells nothing here.
        events.extend(serde_json::from_str::<Event>(&json).ok());
    }
    Ok(events)
}

async fn replay(
    link: &mut Link,
    policy: &Policy,
    catalogue: &'static Catalogue,
    scope: &Scope,
    events: &[Event],
) -> Result<Findings, Failure> {
    let sessions = events.iter().filter(|event| (scope.from..=scope.until).contains(&event.time));
    let sessions = sessions.filter_map(|event| {
        if let EventBody::ServerConnected { server, .. } = &event.body {
            return Some((event.time, server.clone(), true));
        }
        if let EventBody::ServerDisconnected { server, .. } = &event.body {
            return Some((event.time, server.clone(), false));
        }
        None
    });
    let mut backtest = Backtest::new(policy, catalogue, scope.servers.clone(), sessions.collect(), scope.from);
    let series = wanted(policy, catalogue);
    if series.is_empty() {
        backtest.take(&BTreeMap::new(), scope.until);
        return Ok(backtest.end());
    }
    let mut parts = link
        .replay(v1::ReplayRequest {
            series,
            servers: scope.servers.iter().map(|(id, _)| id.to_string()).collect(),
            from_ms: scope.from.0,
            until_ms: scope.until.0,
        })
        .await?;
    let mut bar = Bar::new("minutes of history");
    let minutes = |time: Timestamp| u64::try_from(time.since(scope.from).0 / 60_000).unwrap_or(0);
    let mut slice: BTreeMap<ServerId, Read> = BTreeMap::new();
    let mut holes: BTreeSet<String> = BTreeSet::new();
    while let Some(part) = parts.next().await? {
        holes.extend(part.holes.iter().cloned());
        if part.server.is_empty() {
            backtest.take(&slice, Timestamp(part.until_ms));
            slice.clear();
            bar.at(minutes(Timestamp(part.until_ms)), minutes(scope.until));
            continue;
        }
        let id = ServerId::new(&part.server).map_err(|e| Failure::Failed(e.to_string()))?;
        slice.entry(id).or_default().series.extend(part.series.iter().filter_map(unpack));
    }
    bar.end();
    for hole in holes {
        remark(&format!("a hole: {hole}"));
    }
    Ok(backtest.end())
}

fn unpack(past: &v1::PastSeries) -> Option<(skynet_model::series::SeriesKey, Vec<(Timestamp, f64)>)> {
    let mut time = 0i64;
    let samples = past.time_ms.iter().zip(&past.avg).map(|(step, value)| {
        time = time.wrapping_add(*step);
        (Timestamp(time), *value)
    });
    Some((past.series.parse().ok()?, samples.collect()))
}

fn of<'f>(findings: &'f Findings, scenario: &Scenario) -> Vec<&'f Found> {
    findings.found.iter().filter(|found| found.incident.scenario == scenario.name).collect()
}

fn applies_to(policy: &Policy, scenario: &Scenario, scope: &Scope) -> usize {
    scope.servers.iter().filter(|(_, labels)| policy.applies(scenario, labels)).count()
}

fn would(incident: &Incident) -> Vec<String> {
    incident.steps.iter().map(|step| act(&step.command)).collect()
}

fn document<'a>(
    policy: &Policy,
    scenario: &'a Scenario,
    scope: &Scope,
    findings: &'a Findings,
    in_force: Option<InForce>,
) -> Document<'a> {
    let incidents = of(findings, scenario).into_iter().map(|found| IncidentDocument {
        subject: found.incident.subject.to_string(),
        labels: &found.incident.labels,
        opened: found.incident.opened,
        closed: found.incident.closed,
        state: found.incident.state.as_str(),
        summary: &found.incident.summary,
        would: would(&found.incident),
        held: rails_of(&found.incident).into_iter().map(Rail::as_str).collect(),
        told: found.told,
    });
    Document {
        scenario: scenario.name.as_str(),
        mode: scenario.mode,
        applies_to: applies_to(policy, scenario, scope),
        incidents: incidents.collect(),
        in_force,
    }
}

fn page(policy: &Policy, scope: &Scope, findings: &Findings, in_force: impl Fn(&Scenario) -> Option<InForce>) -> Page {
    let mut page = Page::new();
    let length = rough(scope.until.since(scope.from));
    page.line([
        Ink::Bold.on(format!("{length} of history")),
        format!(
            ", {} to {}, {} servers, {} sweeps; every scenario as if enforced",
            to_the_second(scope.from),
            to_the_second(scope.until),
            scope.servers.len(),
            findings.sweeps
        )
        .into(),
    ]);
    page.line([]);
    let mut table = Table::new(&[
        "SCENARIO",
        "MODE",
        "APPLIES TO",
        "INCIDENTS",
        "ON",
        "LONGEST",
        "STEPS",
        "HELD",
        "TOLD",
        "IN FORCE",
    ]);
    for scenario in policy.scenarios.values() {
        let found = of(findings, scenario);
        let subjects: BTreeSet<String> = found.iter().map(|f| f.incident.subject.to_string()).collect();
        let longest = found.iter().map(|f| lasted(&f.incident, scope.until)).max();
        let steps: usize = found.iter().map(|f| f.incident.steps.len()).sum();
        let rails: BTreeSet<&str> = found.iter().flat_map(|f| rails_of(&f.incident)).map(Rail::as_str).collect();
        let rails: Vec<&str> = rails.into_iter().collect();
        let told: u32 = found.iter().map(|f| f.told).sum();
        let mode = if scenario.mode == Mode::Enforce { "enforce" } else { "observe" };
        let ink = if found.is_empty() { Ink::Plain } else { Ink::Yellow };
        table.row([
            Ink::Cyan.on(scenario.name.as_str()),
            mode.into(),
            applies_to(policy, scenario, scope).to_string().into(),
            ink.on(found.len().to_string()),
            subjects.len().to_string().into(),
            longest.map_or_else(|| "-".to_owned(), rough).into(),
            steps.to_string().into(),
            if rails.is_empty() { "-".to_owned() } else { rails.join(", ") }.into(),
            told.to_string().into(),
            in_force(scenario).map_or_else(|| "not known".to_owned(), |known| did(&known)).into(),
        ]);
    }
    page.table(table);
    if findings.found.is_empty() {
        return page;
    }
    page.heading("INCIDENTS THAT WOULD HAVE OPENED");
    let mut table = Table::new(&["OPENED", "LASTED", "SCENARIO", "ON", "SUMMARY", "WOULD HAVE DONE", "HELD BY"]);
    for found in findings.found.iter().take(MAX_LISTED) {
        let incident = &found.incident;
        let rails: Vec<&str> = rails_of(incident).into_iter().map(Rail::as_str).collect();
        let lasted = rough(lasted(incident, scope.until));
        let still = if incident.state.is_end() { "" } else { "+" };
        table.row([
            to_the_second(incident.opened).into(),
            format!("{lasted}{still}").into(),
            Ink::Cyan.on(incident.scenario.as_str()),
            format!("{}{}", incident.subject, incident.labels).into(),
            (&incident.summary).into(),
            what(incident, policy.scenarios.get(&incident.scenario).map(|s| s.respond.as_slice())).into(),
            if rails.is_empty() { "-".to_owned() } else { rails.join(", ") }.into(),
        ]);
    }
    page.table(table);
    let more = findings.found.len().saturating_sub(MAX_LISTED);
    if more > 0 || findings.cut {
        let at_least = if findings.cut { "at least " } else { "" };
        page.line([Ink::Dim.on(format!("and {at_least}{more} more; -o json has them all"))]);
    }
    page.line([Ink::Dim.on(
        "Readings are as they were: what a step would have cured is not known, so later steps are those that would have \
         followed had it not helped.",
    )]);
    page
}

fn what(incident: &Incident, steps: Option<&[Step]>) -> String {
    let would = would(incident);
    match (would.first(), steps.map_or(0, <[Step]>::len)) {
        (Some(first), _) if would.len() > 1 => format!("{first}, then {} more", would.len() - 1),
        (Some(first), _) => first.clone(),
        (None, 0) => "told a person".to_owned(),
        (None, _) => "nothing".to_owned(),
    }
}

fn lasted(incident: &Incident, until: Timestamp) -> Span {
    incident.closed.unwrap_or(until).since(incident.opened)
}

fn did(known: &InForce) -> String {
    let InForce { incidents, contained, escalated, commands } = known;
    match incidents {
        0 => "nothing".to_owned(),
        _ => format!("{incidents} opened, {contained} contained, {escalated} escalated, {commands} commands"),
    }
}
