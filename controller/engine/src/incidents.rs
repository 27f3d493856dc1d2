//! From truth to steps: the cold half. An incident is a state machine that is moved by [`Engine::advance`], which takes
//! no input: it reads the incident, the conditions and the clock, and does what is due. Live course, wake-up and
//! restart are one path.

mod book;
pub(crate) mod breach;
mod history;
mod ids;
pub(crate) mod rails;
mod story;

use std::sync::Arc;

use skynet_model::catalogue::Risk;
use skynet_model::command::{COMMAND_TTL, Command, Status, command_id};
use skynet_model::condition::Truth;
use skynet_model::event::EventBody;
use skynet_model::incident::{Hold, Incident, State, StepRecord, Subject};
use skynet_model::name::IncidentId;
use skynet_model::policy::{Mode, Scenario};
use skynet_model::time::{Span, Timestamp};

pub(crate) use book::Book;

use crate::evaluator::{Look, Site, Watch};
use crate::timers::Timer;
use crate::{Engine, Output};
use rails::{AT_ONCE, Case, PATIENCE};

/// What is added to a command's time before its outcome is given up.
const GRACE: Span = Span::seconds(30);

/// Whether an incident has moved.
enum Step {
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
            policy: self.version,
            digest: scenario.digest.clone(),
            summary: scenario.summarize(&firing.server, &firing.labels, firing.value),
            subject: Subject::Server(firing.server),
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
            hold: None,
            held: Vec::new(),
            acknowledged: None,
            route: scenario.escalate.clone(),
        };
        if self.book.live_like(&incident).is_some() {
            return;
        }
        let id = incident.id.clone();
        self.emit(now, EventBody::IncidentOpened { incident: Box::new(incident.clone()) }, out);
        self.evaluator.attach(&incident, now, &mut self.timers);
        if scenario.mode == Mode::Observe {
            self.change(now, &id, State::Observed, would_do(&incident, &scenario), out);
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

    /// The next step, unless it is cured, superseded, held back or there is none.
    fn waiting(&mut self, now: Timestamp, view: &View, out: &mut Vec<Output>) -> Step {
        let View { incident, scenario, look, .. } = view;
        if look.settled {
            let acted = incident.steps.iter().any(may_have_worked);
            let (state, reason) = match incident.steps.last() {
                Some(last) if acted => (State::Contained, format!("it was over after {}", story::step(last))),
                Some(_) | None => (State::Cleared, "it went away before anything was done".to_owned()),
            };
            self.change(now, &incident.id, state, reason, out);
            return Step::Moved;
        }
        if !look.current {
            self.supersede(now, incident, out);
            return Step::Moved;
        }
        if look.clear == Truth::True {
            // The evaluator looks again when `settle` has passed.
            return Step::Stay(None);
        }
        let number = incident.steps.len();
        let Some(step) = scenario.respond.get(number) else {
            let reason = match number {
                0 => "the scenario has no steps of its own".to_owned(),
                1 => "its one step did not cure it".to_owned(),
                n => format!("none of its {n} steps cured it"),
            };
            self.change(now, &incident.id, State::Escalated, reason, out);
            return Step::Moved;
        };
        let params = match step.render(&incident.labels) {
            Ok(params) => params,
            Err(error) => {
                let reason = format!("step {} cannot be filled in: {error}", number + 1);
                self.change(now, &incident.id, State::Escalated, reason, out);
                return Step::Moved;
            }
        };
        let Some(target) = incident.server() else { return Step::Stay(None) };
        let server = self.evaluator.server(target);
        let case = Case {
            now,
            book: &self.book,
            settings: &self.settings,
            startup: &self.startup,
            journal_blocked: self.journal_blocked,
            target,
            server: server.as_deref(),
            incident,
            look: *look,
            scenario,
            step,
            params: &params,
        };
        let stopped = rails::check(&case);
        drop(server);
        if let Some((rail, stop)) = stopped {
            let since = incident.hold.as_ref().map_or(now, |h| h.since);
            if incident.hold.as_ref().is_none_or(|h| h.rail != rail) {
                let hold = Hold { rail, why: stop.why.clone(), since };
                self.emit(now, EventBody::IncidentHeld { incident: incident.id.clone(), hold }, out);
            }
            let last = since.plus(PATIENCE);
            if stop.at_once || now >= last {
                let waited = if stop.at_once { String::new() } else { format!(" for {}", now.since(since)) };
                let what = story::call(step.action.name, &params);
                let rail = rail.as_str();
                let reason = format!("step {} ({what}) was held back{waited} by {rail}: {}", number + 1, stop.why);
                self.change(now, &incident.id, State::Escalated, reason, out);
                return Step::Moved;
            }
            return Step::Stay(Some(stop.until.filter(|at| *at > now).map_or(last, |at| at.min(last))));
        }
        let number = number as u32;
        let command = Command {
            id: command_id(&incident.id, number, 1, target),
            incident: incident.id.clone(),
            scenario: incident.scenario.clone(),
            step: number,
            attempt: 1,
            server: target.clone(),
            action: step.action.name.to_owned(),
            labels: incident.labels.clone(),
            params,
            policy: self.version,
            epoch: self.epoch,
            ttl: COMMAND_TTL,
        };
        self.emit(now, EventBody::CommandIssued { command, risk: step.action.risk }, out);
        Step::Moved
    }

    /// Waits for the outcome.
    fn acting(&mut self, now: Timestamp, view: &View, out: &mut Vec<Output>) -> Step {
        let Some(record) = view.incident.steps.last() else { return Step::Stay(None) };
        let reason = match &record.outcome {
            Some(outcome) => match outcome.status {
                Status::Done => "it was done".to_owned(),
                Status::Failed => "the action failed".to_owned(),
                Status::Refused => "the server refused it".to_owned(),
                Status::Expired => "its time to live had passed before it began".to_owned(),
                Status::Indeterminate => "whether it had an effect is not known".to_owned(),
            },
            None => {
                let action = view.scenario.respond.get(record.command.step as usize).map(|s| s.action.deadline);
                let limit = Span(record.command.ttl.0 + action.unwrap_or(Span::seconds(30)).0 + GRACE.0);
                let last = record.issued.plus(limit);
                if now < last {
                    return Step::Stay(Some(last));
                }
                format!("no outcome came within {limit}")
            }
        };
        self.end_step(now, record, false, reason, out);
        Step::Moved
    }

    /// Waits for the proof.
    fn verifying(&mut self, now: Timestamp, view: &View, out: &mut Vec<Output>) -> Step {
        let Some(record) = view.incident.steps.last() else { return Step::Stay(None) };
        let index = record.command.step as usize;
        let (Some(outcome), Some(outcome_at)) = (&record.outcome, record.outcome_at) else { return Step::Stay(None) };
        let proved = |text: String| format!("{text} for two fresh sweeps");
        if record.verified == Some(true) {
            let reason = proved(format!("{} cured it; the proof held", story::step(record)));
            self.change(now, &view.incident.id, State::Contained, reason, out);
            return Step::Moved;
        }
        let step = view.scenario.respond.get(index);
        let own = step.and_then(|s| s.verify.as_ref());
        // Without a proof of its own it is the incident's clear that is proved, so that `settle` counts too.
        let need = if own.is_some() { Span::default() } else { view.scenario.settle };
        let within = step.map_or(Span::minutes(2), |s| s.verify_within);
        let last = outcome_at.plus(Span(within.0 + need.0));
        let proof = match (own, &view.scenario.clear) {
            (Some(condition), _) | (None, Some(condition)) => format!("`{}`", condition.source()),
            (None, None) => format!("that `{}` is over", view.scenario.when.as_ref().map_or("", |when| when.source())),
        };
        self.watch(now, view, index, outcome.finished, outcome.finished_boot_ms, need);
        let watch = self.evaluator.watched(view.site);
        if watch.as_ref().is_some_and(|w| w.proved) {
            self.end_step(now, record, true, proved(format!("{proof} held")), out);
            return Step::Moved;
        }
        if now < last {
            return Step::Stay(Some(last));
        }
        let readings = self.evaluator.readings(view.site);
        let reason = match watch.map_or(Truth::Unknown, |w| w.truth) {
            Truth::True => format!("{proof} held, but not for two fresh sweeps within {within}"),
            Truth::False => format!("{proof} did not hold within {within}: {}", story::readings(&readings)),
            Truth::Unknown => format!("whether {proof} holds was still unknown after {within}"),
        };
        self.end_step(now, record, false, reason, out);
        Step::Moved
    }

    /// Begins to watch for the proof, or goes on with it.
    fn watch(&mut self, now: Timestamp, view: &View, step: usize, after: Timestamp, boot_ms: i64, need: Span) {
        let record = view.incident.steps.last().and_then(|s| self.book.issue(&s.command.id));
        let issued_under = record.map(|issue| issue.boot.clone());
        self.evaluator.with_number(view.site.server, now, &mut self.timers, |server, _| {
            // Boot clocks of two boots cannot be compared; then the server's wall clock has to do.
            let same_boot = issued_under.as_ref() == Some(&server.boot);
            let watch = Watch {
                step,
                after_boot_ms: same_boot.then_some(boot_ms),
                after,
                need,
                sweeps: Vec::new(),
                since: None,
                truth: view.look.clear,
                seen: false,
                proved: false,
            };
            server.watch(view.site.instance, watch);
        });
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
        Step::Stay(None)
    }

    fn supersede(&mut self, now: Timestamp, incident: &Incident, out: &mut Vec<Output>) {
        let reason = format!(
            "policy {} has another text of {}, or none for {}",
            self.version, incident.scenario, incident.subject
        );
        self.change(now, &incident.id, State::Superseded, reason, out);
    }

    fn end_step(&mut self, now: Timestamp, record: &StepRecord, verified: bool, reason: String, out: &mut Vec<Output>) {
        let was_full = record.risk > Risk::Reversible && self.book.in_flight(&record.command.scenario) >= AT_ONCE;
        let (incident, command) = (record.command.incident.clone(), record.command.id.clone());
        if let Some(site) = self.book.incidents.get(&incident).and_then(|i| self.evaluator.site(i)) {
            self.evaluator.with_number(site.server, now, &mut self.timers, |s, _| s.unwatch(site.instance));
        }
        self.emit(now, EventBody::StepEnded { incident, command, verified, reason }, out);
        if was_full {
            self.recheck(|i| i.scenario == record.command.scenario);
        }
    }

    /// Changes the state: tells a person where that is due, and lets the instance fire again after an end.
    fn change(&mut self, now: Timestamp, id: &IncidentId, state: State, reason: String, out: &mut Vec<Output>) {
        let Some(incident) = self.book.incidents.get(id) else { return };
        let readings = self.evaluator.site(incident).map(|site| self.evaluator.readings(site)).unwrap_or_default();
        self.emit(now, EventBody::IncidentChanged { incident: id.clone(), state, reason, readings }, out);
        self.tell(now, id, out);
        let Some(incident) = self.book.incidents.get(id).filter(|i| i.state.is_end()).cloned() else { return };
        self.timers.set(Timer::Incident(id.clone()), None);
        self.evaluator.poke(&incident, now, &mut self.timers);
    }

    /// Raises the notice a person has yet to hear.
    pub(crate) fn tell(&mut self, now: Timestamp, id: &IncidentId, out: &mut Vec<Output>) {
        if !self.book.untold.contains(id) {
            return;
        }
        let Some(incident) = self.book.incidents.get(id) else { return };
        let site = self.evaluator.site(incident);
        let scenario = site.and_then(|site| self.evaluator.scenario(site));
        if let Some(notice) = story::notice(incident, scenario.as_deref(), self.policy.as_deref(), now) {
            self.emit(now, EventBody::NoticeRaised { notice: Box::new(notice) }, out);
        }
    }

    /// Looks again at waiting incidents: what held them may have gone.
    pub(crate) fn recheck(&mut self, which: impl Fn(&Incident) -> bool) {
        for id in self.book.live() {
            if self.book.incidents.get(&id).is_some_and(|i| i.state == State::Waiting && which(i)) {
                self.todo.push_back(id);
            }
        }
    }
}

/// Whether a step may have had an effect.
fn may_have_worked(step: &StepRecord) -> bool {
    step.outcome.as_ref().is_none_or(|o| !matches!(o.status, Status::Refused | Status::Expired))
}

fn would_do(incident: &Incident, scenario: &Scenario) -> String {
    let calls = scenario.respond.iter().map(|step| match step.render(&incident.labels) {
        Ok(params) => story::call(step.action.name, &params),
        Err(error) => format!("{} (which cannot be filled in: {error})", step.action.name),
    });
    let calls: Vec<String> = calls.collect();
    match calls.is_empty() {
        true => "mode is observe; in mode enforce a person would be told".to_owned(),
        false => format!("mode is observe; in mode enforce it would do {}", calls.join(", then ")),
    }
}
