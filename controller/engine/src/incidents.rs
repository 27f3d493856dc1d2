//! From truth to steps: the cold half. An incident is a state machine that is moved by [`Engine::advance`], which takes
//! no input: it reads the incident, the conditions and the clock, and does what is due. Live course, wake-up and
//! restart are one path.

mod alarms;
mod book;
mod brakes;
pub(crate) mod breach;
mod history;
mod ids;
pub(crate) mod orders;
mod proof;
pub(crate) mod rails;
mod reach;
mod requests;
pub(crate) mod standing;
mod steps;
mod story;
mod targets;
mod telling;

use std::sync::Arc;

use skynet_model::catalogue::Risk;
use skynet_model::command::Status;
use skynet_model::event::EventBody;
use skynet_model::incident::{Incident, Rail, State, StepRecord};
use skynet_model::name::IncidentId;
use skynet_model::policy::{Mode, Scenario};
use skynet_model::time::Timestamp;

pub(crate) use book::Book;
pub use requests::Asking;

use crate::evaluator::{Look, Site};
use crate::timers::Timer;
use crate::{Engine, Output};

/// Whether an incident has moved.
pub(crate) enum Step {
    /// Look again: its state has changed.
    Moved,
    /// Nothing to do until then, or until something changes.
    Stay(Option<Timestamp>),
}

/// Everything about a live incident that a step of it is decided on.
struct View {
    incident: Incident,
    site: Site,
    scenario: Arc<Scenario>,
    look: Look,
}

impl Engine {
    /// Opens the incident of an instance that fires, unless the same trouble has a live one.
    pub(crate) fn open(&mut self, now: Timestamp, site: Site, out: &mut Vec<Output>) {
        if !self.evaluator.fires(site) {
            return;
        }
        let Some(firing) = self.evaluator.firing(site) else { return };
        let scenario = firing.scenario;
        let incident = Incident {
            id: self.book.new_id(now),
            scenario: scenario.name.clone(),
            policy: self.version_of(firing.subject.server()),
            digest: scenario.digest.clone(),
            summary: scenario.summarize(&firing.subject, &firing.labels, firing.value),
            subject: firing.subject,
            asked: None,
            labels: firing.labels,
            severity: scenario.severity,
            mode: scenario.mode,
            state: State::Waiting,
            since: firing.since,
            opened: now,
            closed: None,
            reason: None,
            last_readings: firing.readings.clone(),
            readings: firing.readings,
            steps: Vec::new(),
            chosen: None,
            hold: None,
            held: Vec::new(),
            acknowledged: None,
            route: scenario.escalate.clone(),
        };
        if self.book.live_like(&incident).is_none() {
            self.begin(now, incident, &scenario, out);
        }
    }

    /// Journals a new incident and lets it go its way.
    fn begin(&mut self, now: Timestamp, incident: Incident, scenario: &Scenario, out: &mut Vec<Output>) {
        let id = incident.id.clone();
        self.emit(now, EventBody::IncidentOpened { incident: Box::new(incident.clone()) }, out);
        self.evaluator.attach(&incident, now, &mut self.timers);
        if scenario.mode == Mode::Observe {
            self.change(now, &id, State::Observed, would_do(&incident, scenario), out);
        }
        self.todo.push_back(id);
    }

    /// Moves an incident as far as it goes now.
    pub(crate) fn advance(&mut self, now: Timestamp, id: &IncidentId, out: &mut Vec<Output>) {
        loop {
            let timer = Timer::Incident(id.clone());
            let Some(incident) = self.book.incidents.get(id).filter(|i| !i.state.is_end()).cloned() else {
                self.timers.set(timer, None);
                return;
            };
            if self.policy.is_none() {
                return;
            }
            let view = self.evaluator.site(&incident).and_then(|site| {
                let scenario = self.evaluator.scenario(site)?;
                Some(View { look: self.evaluator.look(site)?, site, scenario, incident: incident.clone() })
            });
            let Some(view) = view else {
                self.supersede(now, &incident, out);
                continue;
            };
            let step = match view.incident.state {
                State::Waiting => self.waiting(now, &view, out),
                State::Acting => self.acting(now, &view, out),
                State::Verifying => self.verifying(now, &view, out),
                State::Escalated | State::Observed => self.told(now, &view, out),
                State::Pending | State::Contained | State::Resolved | State::Cleared | State::Superseded => {
                    Step::Stay(None)
                }
            };
            if let Step::Stay(at) = step {
                self.timers.set(timer, at);
                return;
            }
        }
    }

    /// A person has been told, or what would have been done has been said: waits for the end.
    fn told(&mut self, now: Timestamp, view: &View, out: &mut Vec<Output>) -> Step {
        if view.look.settled {
            let (state, reason) = match view.incident.state == State::Escalated {
                true => (State::Resolved, "the condition has cleared".to_owned()),
                false => (State::Cleared, "the condition has cleared by itself".to_owned()),
            };
            self.change(now, &view.incident.id, state, reason, out);
            return Step::Moved;
        }
        if !view.look.current {
            self.supersede(now, &view.incident, out);
            return Step::Moved;
        }
        if view.incident.subject.is_request() {
            return self.asked_and_told(now, view, out);
        }
        Step::Stay(None)
    }

    fn supersede(&mut self, now: Timestamp, incident: &Incident, out: &mut Vec<Output>) {
        let reason = format!(
            "policy {} has another text of {}, or none for {}",
            self.version_of(incident.server()),
            incident.scenario,
            incident.subject
        );
        self.change(now, &incident.id, State::Superseded, reason, out);
    }

    fn end_step(&mut self, now: Timestamp, record: &StepRecord, verified: bool, reason: String, out: &mut Vec<Output>) {
        let (incident, command) = (record.command.incident.clone(), record.command.id.clone());
        if let Some(incident) = self.book.incidents.get(&incident) {
            self.evaluator.unwatch(incident, now, &mut self.timers);
        }
        self.emit(now, EventBody::StepEnded { incident, command, verified, reason }, out);
        if record.risk > Risk::Reversible {
            // One server less is acted on: another may have its turn.
            let waits = |rail| matches!(rail, Rail::Rate | Rail::BlastRadius | Rail::Destructive);
            self.recheck(|i| i.hold.as_ref().is_some_and(|h| waits(h.rail)));
        }
    }

    /// Changes the state: tells a person where that is due, and lets the instance fire again after an end.
    fn change(&mut self, now: Timestamp, id: &IncidentId, state: State, reason: String, out: &mut Vec<Output>) {
        let Some(incident) = self.book.incidents.get(id) else { return };
        let readings = self.evaluator.readings(incident);
        self.emit(now, EventBody::IncidentChanged { incident: id.clone(), state, reason, readings }, out);
        self.tell(now, id, out);
        for lead in self.book.alarms.over() {
            self.tell(now, &lead, out);
        }
        self.mind_breaker(now, out);
        let Some(incident) = self.book.incidents.get(id).filter(|i| i.state.is_end()).cloned() else { return };
        self.timers.set(Timer::Incident(id.clone()), None);
        self.evaluator.poke(&incident, now, &mut self.timers);
    }

    /// Looks again at incidents with something to be done: what held it may have gone.
    pub(crate) fn recheck(&mut self, which: impl Fn(&Incident) -> bool) {
        let waits = |i: &Incident| match i.state {
            State::Waiting => true,
            State::Acting => i.remaining(i.step()).next().is_some(),
            State::Pending
            | State::Verifying
            | State::Contained
            | State::Escalated
            | State::Resolved
            | State::Cleared
            | State::Observed
            | State::Superseded => false,
        };
        for id in self.book.live() {
            if self.book.incidents.get(&id).is_some_and(|i| waits(i) && which(i)) {
                self.todo.push_back(id);
            }
        }
    }
}

/// Whether a step may have had an effect.
pub(crate) fn may_have_worked(step: &StepRecord) -> bool {
    step.outcome.as_ref().is_none_or(|o| !matches!(o.status, Status::Refused | Status::Expired))
}

fn would_do(incident: &Incident, scenario: &Scenario) -> String {
    let calls = scenario.respond.iter().map(|step| match step.render(&incident.labels) {
        Ok(params) => format!("{}{}", story::call(step.action.name, &params), targets::in_words(incident, step)),
        Err(error) => format!("{} (which cannot be filled in: {error})", step.action.name),
    });
    let calls: Vec<String> = calls.collect();
    match calls.is_empty() {
        true => "mode is observe; in mode enforce a person would be told".to_owned(),
        false => format!("mode is observe; in mode enforce it would do {}", calls.join(", then ")),
    }
}
