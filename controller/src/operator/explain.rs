//! What an incident waits for, in words.

use std::fmt::Write;

use skynet_engine::Approval;
use skynet_model::incident::{Incident, Maintenance, Rail, Silence, State, StepRecord};
use skynet_model::name::IncidentId;
use skynet_model::policy::{Policy, Scenario};
use skynet_model::time::{Span, Timestamp};

use crate::core::View;

/// What is known around an incident.
#[derive(Clone, Debug, Default)]
pub(super) struct Around {
    /// Who halted, and why.
    pub(super) halted: Option<(String, String)>,
    /// The signed document that stops acting.
    pub(super) signed_halt: Option<String>,
    /// What holds the next step at this moment.
    pub(super) held: Option<(Rail, String)>,
    /// How long a rail may hold before a person is told.
    pub(super) patience: Span,
    /// Tiers of the route that were told, and how many it has.
    pub(super) tiers: (usize, usize),
    /// The incident this one was told with.
    pub(super) told_with: Option<IncidentId>,
    /// The silence that holds its notices back.
    pub(super) silence: Option<Silence>,
    /// The maintenance its server is in.
    pub(super) maintenance: Option<Maintenance>,
    /// The word on its next step.
    pub(super) approval: Option<Approval>,
}

impl Around {
    pub(super) fn of(view: View<'_>, incident: &Incident, policy: Option<&Policy>) -> Self {
        let (engine, now) = (view.engine, view.now);
        let route = policy.and_then(|p| p.routes.get(incident.route.as_deref().unwrap_or("default")));
        let approved = engine.approvals(now).into_iter().find(|a| a.incident == incident.id).and_then(|a| a.approved);
        Self {
            halted: engine.halted().map(|(by, reason)| (by.to_owned(), reason.to_owned())),
            signed_halt: engine.signed_halt().map(ToString::to_string),
            held: engine.held_by(now, incident),
            patience: engine.hold_patience(),
            tiers: (engine.tiers_told(&incident.id), route.map_or(1, |r| r.tiers.len())),
            told_with: engine.told_with(incident).cloned(),
            silence: engine.silenced(incident, now).cloned(),
            maintenance: incident.server().and_then(|server| engine.in_maintenance(server, now)).cloned(),
            approval: approved,
        }
    }
}

/// `15:04:05 UTC`.
fn clock(time: Timestamp) -> String {
    let text = time.to_string();
    format!("{} UTC", text.get(11..19).unwrap_or(&text))
}

/// The scenario, if its text is still the one the incident opened under.
fn scenario<'a>(incident: &Incident, policy: Option<&'a Policy>) -> Option<&'a Scenario> {
    let scenario = policy?.scenarios.get(&incident.scenario)?;
    (scenario.digest == incident.digest).then_some(&**scenario)
}

fn step_name(step: &StepRecord, scenario: Option<&Scenario>) -> String {
    let number = step.command.step + 1;
    let of = scenario.map(|s| format!(" of {}", s.respond.len())).unwrap_or_default();
    format!("step {number}{of}, {}", step.command.action)
}

/// What comes if the step does not prove itself.
fn otherwise(step: &StepRecord, scenario: Option<&Scenario>) -> String {
    let next = usize::try_from(step.command.step + 1).ok();
    match scenario.and_then(|s| s.respond.get(next?)) {
        Some(next) => format!("else step {}, {}", step.command.step + 2, next.action.name),
        None => "else a person is told".to_owned(),
    }
}

pub(super) fn explain(incident: &Incident, policy: Option<&Policy>, around: &Around) -> String {
    let scenario = scenario(incident, policy);
    let why = incident.reason.as_deref().unwrap_or("no reason was recorded");
    let text = match incident.state {
        State::Pending => match scenario {
            Some(s) => {
                format!("it fires at {} if the condition holds until then", clock(incident.since.plus(s.hold)))
            }
            None => "the condition holds; its `for` has not passed".to_owned(),
        },
        State::Waiting => waiting(incident, around),
        State::Acting if incident.last_step().is_some_and(|step| incident.remaining(step).next().is_some()) => {
            acting_on_many(incident)
        }
        State::Acting => match incident.steps.last() {
            Some(step) => {
                let expires = step.issued.plus(step.command.ttl);
                format!(
                    "{} was issued at {}; its outcome is awaited. If it has not begun by {} it never will, and then: {}",
                    step_name(step, scenario),
                    clock(step.issued),
                    clock(expires),
                    otherwise(step, scenario)
                )
            }
            None => "a command is on its way".to_owned(),
        },
        State::Verifying => match incident.steps.last() {
            Some(step) => {
                let name = step_name(step, scenario);
                let spec = scenario.and_then(|s| s.respond.get(usize::try_from(step.command.step).ok()?));
                let by =
                    spec.zip(step.outcome_at).map(|(spec, at)| format!(" by {}", clock(at.plus(spec.verify_within))));
                let proof = spec.and_then(|s| s.verify.as_ref()).or(scenario.and_then(|s| s.clear.as_ref()));
                let proof = proof.map_or_else(|| "the condition is over".to_owned(), |c| c.source().to_owned());
                format!(
                    "{name} has run and must be proved{} by two fresh sweeps (`{proof}`); {}",
                    by.unwrap_or_default(),
                    otherwise(step, scenario)
                )
            }
            None => "the readings have to prove the cure".to_owned(),
        },
        State::Contained if incident.asked.is_some() => "over: what was asked for was done".to_owned(),
        State::Contained => "over: the cure was proved by the readings".to_owned(),
        State::Escalated => escalated(incident, why, around),
        State::Resolved => "over: it was escalated, and then the condition went away".to_owned(),
        State::Cleared => "over: it went away before anything was done".to_owned(),
        State::Observed => {
            "the scenario is in mode observe: what would be done was said, nothing is done. It ends when the condition \
             goes away"
                .to_owned()
        }
        State::Superseded => "over: the policy changed under it".to_owned(),
    };
    with_around(text, incident, around)
}

/// Some of a step's servers have yet to get their command.
fn acting_on_many(incident: &Incident) -> String {
    let step = incident.step();
    let left: Vec<&str> = incident.remaining(step).take(5).map(|server| server.as_str()).collect();
    let had = incident.records(step).count();
    let held = incident.hold.as_ref().map(|hold| format!("; held by {}: {}", hold.rail.as_str(), hold.why));
    format!(
        "step {} has gone to {had} servers and has yet to go to {}{}",
        step + 1,
        left.join(", "),
        held.unwrap_or_default()
    )
}

/// What operators have set that bears on it.
fn with_around(mut text: String, incident: &Incident, around: &Around) -> String {
    if incident.state.is_end() {
        return text;
    }
    if let Some(given) = &around.approval {
        let _ = write!(text, ". Its step is approved by {} until {}", given.by, clock(given.until));
    }
    if let Some(silence) = &around.silence {
        let (by, id, comment) = (&silence.by, &silence.id, &silence.comment);
        let _ = write!(text, ". Silenced until {} by {by} ({id}: {comment})", clock(silence.until));
    }
    if let Some(work) = around.maintenance.as_ref().filter(|_| incident.state != State::Waiting) {
        let _ = write!(text, ". Its server is in maintenance until {} by {} ({})", clock(work.until), work.by, work.id);
    }
    if let Some(halt) = &around.signed_halt {
        let _ = write!(text, ". Acting is halted: {halt}; only a signed RESUME lets it go on");
    }
    if let Some((by, reason)) = &around.halted {
        let _ = write!(text, ". Acting is halted by {by} ({reason}): skynetctl resume");
    }
    text
}

fn escalated(incident: &Incident, why: &str, around: &Around) -> String {
    let taken = match &incident.acknowledged {
        Some(ack) => format!("{} took it over at {}", ack.by, clock(ack.at)),
        None => format!("nobody has taken it over: skynetctl ack {}", incident.id),
    };
    let route = incident.route.as_deref().unwrap_or("default");
    let told = match (&around.told_with, around.tiers) {
        (Some(lead), _) => format!("a person was told once for all with {lead} ({why})"),
        (None, (0, _)) => format!("nobody has been told yet: {why}"),
        (None, (n, of)) if of > 1 => format!("a person was told by route {route}, tier {n} of {of} ({why})"),
        (None, _) => format!("a person was told by route {route} ({why})"),
    };
    let end = match incident.asked {
        Some(_) => "It is over when somebody takes it over, or it is asked for again",
        None => "It is resolved when the condition goes away",
    };
    format!("{told}; {taken}. {end}")
}

/// `waiting: blast radius, 1 of 20 in cluster shop-1 already acting (web3); at most 1 at a time`, and until when.
fn waiting(incident: &Incident, around: &Around) -> String {
    let Some(hold) = &incident.hold else { return "the next step is about to be decided".to_owned() };
    let (rail, why) = around.held.clone().unwrap_or_else(|| (hold.rail, hold.why.clone()));
    let since = clock(hold.since);
    let text = format!("waiting: {}, {why}. It is held since {since}", rail.as_str());
    match rail {
        Rail::Cooldown | Rail::Flapping | Rail::CommonCause => format!("{text}; a person is told at once"),
        Rail::Maintenance => format!("{text}; it goes on when maintenance ends"),
        Rail::Approval
        | Rail::Rate
        | Rail::Server
        | Rail::Readings
        | Rail::Startup
        | Rail::Halt
        | Rail::Journal
        | Rail::BlastRadius
        | Rail::Breaker
        | Rail::Destructive
        | Rail::Target
        | Rail::Expired => {
            format!("{text}; if that lasts, a person is told at {}", clock(hold.since.plus(around.patience)))
        }
    }
}
