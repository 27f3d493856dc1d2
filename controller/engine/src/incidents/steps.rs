//! The steps of an incident: which comes next, on which of its servers it may be done now, what became of its commands.
//!
//! A step is done on one server or on several; each gets a command of its own, and the rails are asked for each of them.
//! While a step is under way, its commands go out as the rails let them; it is over when all have ended.

use skynet_model::command::{COMMAND_TTL, Command, Status, command_id};
use skynet_model::condition::Truth;
use skynet_model::event::EventBody;
use skynet_model::incident::{Chosen, Incident, Rail, State};
use skynet_model::name::ServerId;
use skynet_model::policy;
use skynet_model::time::{Span, Timestamp};
use skynet_model::value::Params;

use super::rails::{self, Case, Patience, Stop};
use super::{Step, View, may_have_worked, story};
use crate::{Engine, Output};

/// What is added to a command's time before its outcome is given up.
const GRACE: Span = Span::seconds(30);

/// Servers that cannot go, each with the rail that stops it.
type Stopped = Vec<(ServerId, (Rail, Stop))>;

/// A step that is to be done: which, how it is written, and its parameters.
pub(super) struct Task<'a> {
    pub(super) number: u32,
    pub(super) step: &'a policy::Step,
    pub(super) params: &'a Params,
}

impl Task<'_> {
    /// `step 2 (process.signal pid=12)`.
    fn in_words(&self) -> String {
        format!("step {} ({})", self.number + 1, story::call(self.step.action.name, self.params))
    }
}

impl Engine {
    /// The next step, unless it is cured, superseded, held back or there is none.
    pub(super) fn waiting(&mut self, now: Timestamp, view: &View, out: &mut Vec<Output>) -> Step {
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
        if let Some(work) = self.worked_on(now, incident) {
            return self.hold(now, incident, "it", work, out);
        }
        let number = incident.step();
        let Some(step) = scenario.respond.get(number as usize) else {
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
        let task = Task { number, step, params: &params };
        let servers = match self.choose(now, view, &task) {
            Ok(servers) => servers,
            Err(stop) => return self.hold(now, incident, &task.in_words(), (Rail::Target, stop), out),
        };
        for server in &servers {
            self.look_for_cause(now, incident, server, step.action.risk, out);
        }
        let is_new = incident.chosen.as_ref().is_none_or(|c| c.step != number || c.servers != servers);
        if step.target.is_some() && is_new {
            self.emit(now, EventBody::StepBegun { incident: incident.id.clone(), step: number, servers }, out);
            return Step::Moved;
        }
        match self.go(now, view, &task, &servers, out) {
            Ok(()) => Step::Moved,
            Err(mut stopped) if !stopped.is_empty() => {
                // One that waiting would help is waited for, though another is lost.
                let first = stopped.iter().position(|(_, (_, stop))| stop.patience != Patience::None).unwrap_or(0);
                let (_, held) = stopped.swap_remove(first);
                self.hold(now, incident, &task.in_words(), held, out)
            }
            Err(_) => Step::Stay(None),
        }
    }

    /// Sends the command to the first of `servers` that the rails let it go to; else says what stops each.
    fn go(
        &mut self,
        now: Timestamp,
        view: &View,
        task: &Task<'_>,
        servers: &[ServerId],
        out: &mut Vec<Output>,
    ) -> Result<(), Stopped> {
        let mut stopped = Vec::new();
        for server in servers {
            let Some((rail, mut stop)) = self.stop(now, view, task, server) else {
                self.issue(now, &view.incident, task, server, out);
                return Ok(());
            };
            if task.step.target.is_some() && !stop.why.contains(server.as_str()) {
                stop.why = format!("{server}: {}", stop.why);
            }
            stopped.push((server.clone(), (rail, stop)));
        }
        Err(stopped)
    }

    /// The rail that holds a step back on a server.
    pub(super) fn stop(&self, now: Timestamp, view: &View, task: &Task<'_>, target: &ServerId) -> Option<(Rail, Stop)> {
        let server = self.evaluator.server(target);
        let case = Case {
            now,
            book: &self.book,
            settings: &self.settings,
            startup: &self.startup,
            journal_blocked: self.journal_blocked,
            expires: self.term.map(|(.., expires)| expires),
            target,
            server: server.as_deref(),
            incident: &view.incident,
            look: view.look,
            scenario: &view.scenario,
            step: task.step,
            number: task.number,
            params: task.params,
        };
        rails::check(&case, self.without)
    }

    fn issue(
        &mut self,
        now: Timestamp,
        incident: &Incident,
        task: &Task<'_>,
        target: &ServerId,
        out: &mut Vec<Output>,
    ) {
        let command = Command {
            id: command_id(&incident.id, task.number, 1, target),
            incident: incident.id.clone(),
            scenario: incident.scenario.clone(),
            step: task.number,
            attempt: 1,
            server: target.clone(),
            action: task.step.action.name.to_owned(),
            labels: incident.labels.clone(),
            params: task.params.clone(),
            policy: self.version_of(Some(target)),
            epoch: self.epoch,
            ttl: COMMAND_TTL,
        };
        self.emit(now, EventBody::CommandIssued { command, risk: task.step.action.risk }, out);
    }

    /// Waits for outcomes, and sends the commands that are left of the step as the rails let them go.
    pub(super) fn acting(&mut self, now: Timestamp, view: &View, out: &mut Vec<Output>) -> Step {
        let incident = &view.incident;
        let Some(number) = incident.last_step() else { return Step::Stay(None) };
        let step = view.scenario.respond.get(number as usize);
        let mut due = None;
        let mut ended = Vec::new();
        for record in incident.records(number).filter(|r| r.ended.is_none()) {
            match &record.outcome {
                Some(outcome) => match outcome.status {
                    // Proved, or not, together with the others.
                    Status::Done => {}
                    Status::Failed => ended.push((record, "the action failed".to_owned())),
                    Status::Refused => ended.push((record, "the server refused it".to_owned())),
                    Status::Expired => ended.push((record, "its time to live had passed before it began".to_owned())),
                    Status::Indeterminate => ended.push((record, "whether it had an effect is not known".to_owned())),
                },
                None => {
                    let deadline = step.map_or(Span::seconds(30), |s| s.action.deadline);
                    let limit = Span(record.command.ttl.0 + deadline.0 + GRACE.0);
                    let last = record.issued.plus(limit);
                    if now >= last {
                        ended.push((record, format!("no outcome came within {limit}")));
                    } else {
                        due = Some(due.map_or(last, |due: Timestamp| due.min(last)));
                    }
                }
            }
        }
        if !ended.is_empty() {
            for (record, reason) in ended {
                self.end_step(now, record, false, reason, out);
            }
            return Step::Moved;
        }
        let remaining: Vec<ServerId> = incident.remaining(number).cloned().collect();
        if remaining.is_empty() {
            return Step::Stay(due);
        }
        let params = step.and_then(|step| Some((step, step.render(&incident.labels).ok()?)));
        let Some((step, params)) = params.filter(|_| view.look.current && !view.look.settled) else {
            // It is over, or policy has changed: what runs ends, nothing more goes out.
            return self.give_up(now, incident, &remaining, out);
        };
        if view.look.clear == Truth::True {
            return Step::Stay(due);
        }
        let task = Task { number, step, params: &params };
        let Err(stopped) = self.go(now, view, &task, &remaining, out) else { return Step::Moved };
        let Some((_, first)) = stopped.first() else { return Step::Stay(due) };
        let since = self.note(now, incident, first, out);
        let last = since.plus(self.settings.hold_patience);
        let lost: Vec<ServerId> =
            stopped.iter().filter(|(_, (_, stop))| stop.is_lost(now, last)).map(|(s, _)| s.clone()).collect();
        if !lost.is_empty() {
            return self.give_up(now, incident, &lost, out);
        }
        let until = stopped.iter().filter_map(|(_, (_, stop))| stop.until);
        Step::Stay(until.chain(due).chain([last]).filter(|at| *at > now).min())
    }

    /// The step goes on without these servers.
    fn give_up(&mut self, now: Timestamp, incident: &Incident, lost: &[ServerId], out: &mut Vec<Output>) -> Step {
        let Some(Chosen { step, servers, .. }) = &incident.chosen else { return Step::Stay(None) };
        let servers = servers.iter().filter(|server| !lost.contains(server)).cloned().collect();
        self.emit(now, EventBody::StepBegun { incident: incident.id.clone(), step: *step, servers }, out);
        Step::Moved
    }
}
