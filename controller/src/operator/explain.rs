//! What an incident waits for, in words.

use skynet_model::incident::{Incident, Rail, State, StepRecord};
use skynet_model::policy::{Policy, Scenario};
use skynet_model::time::{Span, Timestamp};

/// A step held longer than this by a rail other than its cooldown is told to a person (design: rails).
const HELD_TOO_LONG: Span = Span::minutes(10);

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

pub(super) fn explain(incident: &Incident, policy: Option<&Policy>, halted: Option<(&str, &str)>) -> String {
    let scenario = scenario(incident, policy);
    let why = incident.reason.as_deref().unwrap_or("no reason was recorded");
    let text = match incident.state {
        State::Pending => match scenario {
            Some(s) => {
                format!("it fires at {} if the condition holds until then", clock(incident.since.plus(s.hold)))
            }
            None => "the condition holds; its `for` has not passed".to_owned(),
        },
        State::Waiting => waiting(incident),
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
        State::Escalated => {
            let route = incident.route.as_deref().unwrap_or("console");
            let taken = match &incident.acknowledged {
                Some(ack) => format!("{} took it over at {}", ack.by, clock(ack.at)),
                None => format!("nobody has taken it over: skynetctl ack {}", incident.id),
            };
            let end = match incident.asked {
                Some(_) => "It is over when somebody takes it over, or it is asked for again",
                None => "It is resolved when the condition goes away",
            };
            format!("a person was told by route {route} ({why}); {taken}. {end}")
        }
        State::Resolved => "over: it was escalated, and then the condition went away".to_owned(),
        State::Cleared => "over: it went away before anything was done".to_owned(),
        State::Observed => {
            "the scenario is in mode observe: what would be done was said, nothing is done. It ends when the condition \
             goes away"
                .to_owned()
        }
        State::Superseded => "over: the policy changed under it".to_owned(),
    };
    match halted {
        Some((by, reason)) if !incident.state.is_end() => {
            format!("{text}. Acting is halted by {by} ({reason}): skynetctl resume")
        }
        Some(_) | None => text,
    }
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

fn waiting(incident: &Incident) -> String {
    let Some(hold) = &incident.hold else { return "the next step is about to be decided".to_owned() };
    let rail = hold.rail.as_str();
    let since = clock(hold.since);
    match hold.rail {
        Rail::Cooldown | Rail::Flapping => {
            format!("held by {rail} since {since}: {}; a person is told at once", hold.why)
        }
        Rail::Approval => format!("held by {rail} since {since}: {}; a person has to approve the step", hold.why),
        Rail::Rate
        | Rail::Server
        | Rail::Readings
        | Rail::Startup
        | Rail::Halt
        | Rail::Journal
        | Rail::BlastRadius
        | Rail::CommonCause
        | Rail::Breaker
        | Rail::Destructive
        | Rail::Maintenance
        | Rail::Target
        | Rail::Expired => {
            let told = clock(hold.since.plus(HELD_TOO_LONG));
            format!("held by {rail} since {since}: {}; if that lasts, a person is told at {told}", hold.why)
        }
    }
}
