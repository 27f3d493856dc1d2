//! What a person is told, in plain words. Text from servers is data: it is quoted and its control characters are
//! escaped.

use std::fmt::Write;

use skynet_model::incident::{Incident, State, StepRecord};
use skynet_model::name::ServerId;
use skynet_model::policy::Scenario;
use skynet_model::series::Reading;
use skynet_model::time::Timestamp;
use skynet_model::value::Params;

/// `process.signal pid=12 signal=TERM`.
pub(crate) fn call(action: &str, params: &Params) -> String {
    let mut text = action.to_owned();
    for (name, value) in params {
        let value = value.to_string();
        let plain = !value.is_empty() && value.bytes().all(|b| b.is_ascii_graphic() && b != b'"');
        let _ = if plain { write!(text, " {name}={value}") } else { write!(text, " {name}={value:?}") };
    }
    text
}

/// `disk.used_ratio{mount="/"} = 0.91, load.1m = 3.2`.
pub(crate) fn readings(readings: &[Reading]) -> String {
    if readings.is_empty() {
        return "no reading (gone, or not known)".to_owned();
    }
    let each: Vec<String> = readings.iter().map(|r| format!("{} = {}", r.series, number(r.value))).collect();
    each.join(", ")
}

fn number(value: f64) -> String {
    if value.abs() >= 1000.0 || value == value.trunc() { format!("{value:.0}") } else { format!("{value:.3}") }
}

/// `step 1 (process.signal pid=12)`.
pub(crate) fn step(record: &StepRecord) -> String {
    format!("step {} ({})", record.command.step + 1, call(&record.command.action, &record.command.params))
}

fn step_line(record: &StepRecord, now: Timestamp) -> String {
    let mut line = format!("{}: ", step(record));
    match &record.outcome {
        Some(outcome) => {
            let _ = write!(line, "{} after {} ms", outcome.status.as_str(), outcome.took_ms);
            if !outcome.message.is_empty() {
                let _ = write!(line, ", saying {:?}", outcome.message);
            }
        }
        None => {
            let _ = write!(line, "no outcome in {}", now.since(record.issued));
        }
    }
    match (record.verified, &record.reason) {
        (Some(true), _) => line.push_str("; verified"),
        (Some(false), Some(reason)) => {
            let _ = write!(line, "; not verified: {reason}");
        }
        (Some(false), None) => line.push_str("; not verified"),
        (None, _) => {}
    }
    line
}

/// The whole story of an incident as it stands.
pub(crate) fn story(incident: &Incident, scenario: Option<&Scenario>, now: Timestamp) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{}", incident.summary);
    let _ = writeln!(
        text,
        "Incident {} of {} on {}{}; the trouble began at {} and the incident opened at {}.",
        incident.id, incident.scenario, incident.subject, incident.labels, incident.since, incident.opened
    );
    match &incident.asked {
        Some(asked) => {
            let servers: Vec<&str> = asked.servers.iter().map(ServerId::as_str).collect();
            let _ = writeln!(text, "{} asked for it on {}.", asked.by, servers.join(", "));
        }
        None => {
            let _ = writeln!(text, "Read at its opening: {}.", readings(&incident.readings));
        }
    }
    for record in &incident.steps {
        let on = if incident.server().is_none() { format!("on {}, ", record.command.server) } else { String::new() };
        let _ = writeln!(text, "Tried {on}{}.", step_line(record, now));
    }
    if incident.steps.is_empty() {
        let _ = writeln!(text, "Nothing has been tried.");
    }
    for hold in &incident.held {
        let _ = writeln!(text, "Held back by {} since {}: {}.", hold.rail.as_str(), hold.since, hold.why);
    }
    if let Some(reason) = &incident.reason {
        let _ = writeln!(text, "{} because {reason}.", state(incident.state));
    }
    match (incident.state.is_end(), scenario) {
        (_, _) if incident.asked.is_some() => {}
        (true, _) => {
            let _ = writeln!(text, "Read at its end: {}.", readings(&incident.last_readings));
        }
        (false, Some(scenario)) => {
            let (now, source) =
                (readings(&incident.last_readings), scenario.when.as_ref().map_or("", |when| when.source()));
            let _ = writeln!(text, "Still wrong: {now}, where the scenario fires on `{source}`.");
        }
        (false, None) => {
            let _ = writeln!(text, "Still wrong: {}.", readings(&incident.last_readings));
        }
    }
    text
}

fn state(state: State) -> &'static str {
    match state {
        State::Escalated => "A person is told",
        State::Resolved => "Resolved",
        State::Superseded => "Closed",
        State::Contained => "Contained",
        State::Cleared => "Cleared",
        State::Observed => "Observed",
        State::Pending | State::Waiting | State::Acting | State::Verifying => "It goes on",
    }
}
