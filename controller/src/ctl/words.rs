//! Events in plain words: for `skynetctl logs`, the console and the demo.

mod policy;

use skynet_model::catalogue::Risk;
use skynet_model::command::{Command, Outcome, Status};
use skynet_model::event::{Event, EventBody};
use skynet_model::incident::{NoticeKind, State};
use skynet_model::policy::{Mode, Target};
use skynet_model::series::{Labels, Reading};
use skynet_model::value::Params;

use super::age::took;
use super::clean::clean;
use super::figure::figure_of;
use super::page::Ink;

/// An event in words. The texts hold foreign text as it came; [`event_line`] cleans it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// The event's stable word, as in its JSON form: `incident_opened`.
    pub event: &'static str,
    /// What it is about: incident and server, notice, policy.
    pub subject: String,
    /// A sentence.
    pub text: String,
    /// Whether it is good, bad or neither.
    pub ink: Ink,
}

/// One line: time, event, subject, sentence; fit for a terminal.
#[must_use]
pub fn event_line(event: &Event) -> String {
    let words = words(&event.body);
    let line = format!("{}  {:<21}  {:<14}  {}", event.time, words.event, words.subject, words.text);
    clean(&line).into_owned()
}

/// What happened, in words.
#[must_use]
pub fn words(body: &EventBody) -> Words {
    let (event, subject, text, ink) = match body {
        EventBody::ControllerStarted { epoch, version } => (
            "controller_started",
            "controller".to_owned(),
            format!("the controller {version} has started, epoch {epoch}"),
            Ink::Plain,
        ),
        EventBody::PolicyActivated { version, digest, by } => (
            "policy_activated",
            format!("policy v{version}"),
            format!("in force, pushed by {by} (digest {})", head(digest)),
            Ink::Plain,
        ),
        EventBody::ServerLabelled { server, labels, .. } => (
            "server_labelled",
            server.to_string(),
            if labels.is_empty() {
                "is known, without labels".to_owned()
            } else {
                format!("has the labels {}", pairs(labels))
            },
            Ink::Plain,
        ),
        EventBody::ServerConnected { server, boot, version } => (
            "server_connected",
            server.to_string(),
            format!("its agent {version} is connected (boot {})", head(boot)),
            Ink::Green,
        ),
        EventBody::ServerDisconnected { server, reason } => {
            ("server_disconnected", server.to_string(), format!("its agent is away: {reason}"), Ink::Yellow)
        }
        EventBody::ServerPolicy { server, version, error: None } => {
            ("server_policy", server.to_string(), format!("runs policy v{version}"), Ink::Plain)
        }
        EventBody::ServerPolicy { server, version, error: Some(error) } => {
            ("server_policy", server.to_string(), format!("refused policy v{version}: {error}"), Ink::Red)
        }
        EventBody::IncidentOpened { incident } => {
            let observe = match incident.mode {
                Mode::Observe => "; it is only observed",
                Mode::Enforce => "",
            };
            (
                "incident_opened",
                format!("{} {}", incident.id, incident.subject),
                format!(
                    "{} ({}, {}){}{observe}",
                    incident.summary,
                    incident.scenario,
                    incident.severity.as_str(),
                    said(&incident.readings)
                ),
                Ink::Yellow,
            )
        }
        EventBody::IncidentHeld { incident, hold } => (
            "incident_held",
            incident.to_string(),
            format!("the next step waits, held back by {}: {}", hold.rail.as_str(), hold.why),
            Ink::Yellow,
        ),
        EventBody::CommandIssued { command, risk } => (
            "command_issued",
            format!("{} {}", command.incident, command.server),
            format!("step {}{}: {} ({})", command.step + 1, again(command), act(command), risk_word(*risk)),
            Ink::Cyan,
        ),
        EventBody::CommandEnded { incident, outcome } => {
            let ink = match outcome.status {
                Status::Done => Ink::Plain,
                Status::Failed | Status::Refused | Status::Expired | Status::Indeterminate => Ink::Red,
            };
            ("command_ended", incident.to_string(), ended(outcome), ink)
        }
        EventBody::StepEnded { incident, verified: true, reason, .. } => {
            ("step_ended", incident.to_string(), with("the readings prove the cure", reason), Ink::Green)
        }
        EventBody::StepEnded { incident, verified: false, reason, .. } => {
            ("step_ended", incident.to_string(), with("the step did not cure it", reason), Ink::Red)
        }
        EventBody::IncidentChanged { incident, state, reason, readings } => {
            let (what, ink) = became(*state);
            ("incident_changed", incident.to_string(), format!("{}{}", with(what, reason), said(readings)), ink)
        }
        EventBody::IncidentAcknowledged { incident, by, comment } => {
            ("incident_acknowledged", incident.to_string(), with(&format!("taken over by {by}"), comment), Ink::Plain)
        }
        EventBody::NoticeRaised { notice } => {
            let to = match notice.to.as_slice() {
                [] => "console".to_owned(),
                targets => targets.iter().map(target).collect::<Vec<_>>().join(", "),
            };
            let (what, ink) = match notice.kind {
                NoticeKind::Escalated => ("a person is told", Ink::Red),
                NoticeKind::Resolved => ("a person is told that it is over", Ink::Green),
                NoticeKind::Skynet => ("a person is told about Skynet itself", Ink::Yellow),
            };
            let about = notice.incident.as_ref().map(|i| format!(" {i}")).unwrap_or_default();
            ("notice_raised", format!("{}{about}", notice.id), format!("{what} ({to}): {}", notice.title), ink)
        }
        EventBody::NoticeDelivered { notice, target } => {
            ("notice_delivered", notice.to_string(), format!("arrived at {target}"), Ink::Plain)
        }
        EventBody::NoticeFailed { notice, target, error } => (
            "notice_failed",
            notice.to_string(),
            format!("did not arrive at {target} and will not be tried again: {error}"),
            Ink::Red,
        ),
        EventBody::Halted { by, reason } => {
            ("halted", "fleet".to_owned(), with(&format!("acting was stopped by {by}"), reason), Ink::Red)
        }
        EventBody::Resumed { by } => ("resumed", "fleet".to_owned(), format!("acting goes on, says {by}"), Ink::Green),
        EventBody::OperatorCalled { by, role, method, summary } => {
            ("operator_called", by.clone(), with(&format!("called {method}, as {role}"), summary), Ink::Plain)
        }
        EventBody::EmergencyTaken { taken, .. } => (
            "emergency_taken",
            "fleet".to_owned(),
            taken.to_string(),
            if taken.action.stops() { Ink::Red } else { Ink::Green },
        ),
        EventBody::Remark { server, topic, message } => (
            "remark",
            server.as_ref().map_or_else(|| "controller".to_owned(), ToString::to_string),
            format!("{message} [{topic}]"),
            Ink::Yellow,
        ),
        EventBody::RequestMade { .. }
        | EventBody::StepBegun { .. }
        | EventBody::StepApproved { .. }
        | EventBody::SilenceAdded { .. }
        | EventBody::SilenceExpired { .. }
        | EventBody::MaintenanceStarted { .. }
        | EventBody::MaintenanceEnded { .. }
        | EventBody::BreakerOpened { .. }
        | EventBody::CommonCauseFound { .. }
        | EventBody::RolloutStarted { .. }
        | EventBody::WaveStarted { .. }
        | EventBody::RolloutPaused { .. }
        | EventBody::RolloutEnded { .. } => policy::said(body),
    };
    Words { event, subject, text, ink }
}

/// A target for people: `mail ops@example.net`.
#[must_use]
pub fn target(target: &Target) -> String {
    match target {
        Target::Mail(address) => format!("mail {address}"),
        Target::Sms(number) => format!("sms {number}"),
        Target::Contact(name) => format!("contact {name}"),
        Target::Console => "console".to_owned(),
    }
}

/// An action with its parameters: `process.signal pid=12 signal=TERM`.
#[must_use]
pub fn act(command: &Command) -> String {
    let params = params(&command.params);
    if params.is_empty() { command.action.clone() } else { format!("{} {params}", command.action) }
}

/// Parameters as `pid=12 signal=TERM`.
#[must_use]
pub fn params(params: &Params) -> String {
    params.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

/// The name of a risk.
#[must_use]
pub fn risk_word(risk: Risk) -> &'static str {
    match risk {
        Risk::Reversible => "reversible",
        Risk::Disruptive => "disruptive",
        Risk::Destructive => "destructive",
    }
}

/// How a command ended, in words.
#[must_use]
pub fn ended(outcome: &Outcome) -> String {
    let what = match outcome.status {
        Status::Done => format!("the action ran in {}", took(outcome.took_ms)),
        Status::Failed => format!("the action failed after {}", took(outcome.took_ms)),
        Status::Refused => "the server refused the command, nothing was done".to_owned(),
        Status::Expired => "the command came too late, nothing was done".to_owned(),
        Status::Indeterminate => "a crash hides whether the action had an effect; it is not run again".to_owned(),
    };
    with(&what, &outcome.message)
}

fn became(state: State) -> (&'static str, Ink) {
    match state {
        State::Pending => ("pending: the condition holds, but not yet for long enough", Ink::Plain),
        State::Waiting => ("waiting: the next step is held back", Ink::Yellow),
        State::Acting => ("acting: a command is on its way", Ink::Plain),
        State::Verifying => ("verifying: the readings have yet to prove the cure", Ink::Plain),
        State::Contained => ("contained", Ink::Green),
        State::Escalated => ("escalated: a person has to look", Ink::Red),
        State::Resolved => ("resolved", Ink::Green),
        State::Cleared => ("cleared: it went away before anything was done", Ink::Green),
        State::Observed => ("observed: nothing is done in this mode", Ink::Plain),
        State::Superseded => ("superseded: the policy changed under it", Ink::Plain),
    }
}

fn again(command: &Command) -> String {
    if command.attempt > 1 { format!(", try {}", command.attempt) } else { String::new() }
}

fn with(what: &str, why: &str) -> String {
    if why.is_empty() { what.to_owned() } else { format!("{what}: {why}") }
}

fn said(readings: &[Reading]) -> String {
    let texts: Vec<String> =
        readings.iter().take(4).map(|r| format!("{} {}", r.series, figure_of(&r.series.name, r.value))).collect();
    match (texts.is_empty(), readings.len().saturating_sub(4)) {
        (true, _) => String::new(),
        (false, 0) => format!("; {}", texts.join(", ")),
        (false, more) => format!("; {} and {more} more", texts.join(", ")),
    }
}

fn pairs(labels: &Labels) -> String {
    labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
}

fn head(text: &str) -> String {
    text.chars().take(12).collect()
}

#[cfg(test)]
#[path = "words/tests.rs"]
mod tests;
