//! The durable state: servers, incidents, what the rails remember. Only [`Book::apply`] changes it, so that the journal
//! replayed gives the same book.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use skynet_model::catalogue::Risk;
use skynet_model::command::{Command, Outcome, Status};
use skynet_model::event::EventBody;
use skynet_model::incident::{Acknowledgement, Chosen, Incident, State, StepRecord};
use skynet_model::name::{CommandId, IncidentId, ScenarioName, ServerId};
use skynet_model::series::{Labels, Reading};
use skynet_model::time::Timestamp;

use super::history::{History, trouble_key};
use super::ids;

/// How many ended incidents are kept.
pub(crate) const MAX_ENDED: usize = 1000;
/// How many holds of one incident are remembered.
const MAX_HELD: usize = 32;

/// What is known of a server for good.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ServerRecord {
    pub(crate) labels: Labels,
    pub(crate) boot: String,
    pub(crate) policy: Option<(u64, Option<String>)>,
}

/// Which incident a command belongs to, and under which boot of the server it was issued.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Issue {
    pub(crate) incident: IncidentId,
    pub(crate) boot: String,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Book {
    pub(crate) servers: BTreeMap<ServerId, ServerRecord>,
    pub(crate) incidents: BTreeMap<IncidentId, Incident>,
    pub(crate) history: History,
    pub(crate) halted: Option<(String, String)>,
    /// Incidents a person has yet to hear of: the journal may end between the change and the notice.
    pub(crate) untold: BTreeSet<IncidentId>,
    /// The live incident of each trouble.
    live: BTreeMap<String, IncidentId>,
    ended: VecDeque<IncidentId>,
    commands: BTreeMap<CommandId, Issue>,
    /// Incidents with a disruptive or destructive step that is not over, by scenario.
    in_flight: BTreeMap<ScenarioName, BTreeSet<IncidentId>>,
    next: Option<u32>,
}

impl Book {
    /// Folds one event.
    pub(crate) fn apply(&mut self, time: Timestamp, body: &EventBody) {
        match body {
            EventBody::ServerLabelled { server, labels, .. } => {
                self.servers.entry(server.clone()).or_default().labels = labels.clone();
            }
            EventBody::ServerConnected { server, boot, .. } => {
                self.servers.entry(server.clone()).or_default().boot.clone_from(boot);
            }
            EventBody::ServerPolicy { server, version, error } => {
                self.servers.entry(server.clone()).or_default().policy = Some((*version, error.clone()));
            }
            EventBody::IncidentOpened { incident } => {
                self.next = ids::after(&incident.id).or(self.next);
                self.history.opened(incident, time);
                self.live.insert(trouble_key(incident), incident.id.clone());
                self.incidents.insert(incident.id.clone(), (**incident).clone());
            }
            EventBody::IncidentHeld { incident, hold } => {
                if let Some(incident) = self.incidents.get_mut(incident) {
                    if incident.held.len() < MAX_HELD {
                        incident.held.push(hold.clone());
                    }
                    incident.hold = Some(hold.clone());
                }
            }
            EventBody::StepBegun { incident, step, servers } => {
                if let Some(incident) = self.incidents.get_mut(incident) {
                    incident.chosen = Some(Chosen { step: *step, servers: servers.clone() });
                    move_on(incident);
                }
            }
            EventBody::CommandIssued { command, risk } => self.issued(time, command, *risk),
            EventBody::CommandEnded { incident, outcome } => self.command_ended(time, incident, outcome),
            EventBody::StepEnded { incident, command, verified, reason } => {
                self.step_ended(time, incident, command, *verified, reason);
            }
            EventBody::IncidentChanged { incident, state, reason, readings } => {
                self.changed(time, incident, *state, reason, readings);
            }
            EventBody::IncidentAcknowledged { incident, by, comment } => {
                if let Some(incident) = self.incidents.get_mut(incident) {
                    let (by, comment) = (by.clone(), comment.clone());
                    incident.acknowledged = Some(Acknowledgement { by, at: time, comment });
                }
            }
            EventBody::NoticeRaised { notice } => {
                if let Some(incident) = &notice.incident {
                    self.untold.remove(incident);
                }
            }
            EventBody::Halted { by, reason } => self.halted = Some((by.clone(), reason.clone())),
            EventBody::Resumed { .. } => self.halted = None,
            EventBody::ServerDisconnected { .. }
            | EventBody::ControllerStarted { .. }
            | EventBody::PolicyActivated { .. }
            | EventBody::NoticeDelivered { .. }
            | EventBody::NoticeFailed { .. }
            | EventBody::RequestMade { .. }
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
            | EventBody::RolloutEnded { .. }
            | EventBody::Remark { .. } => {}
        }
    }

    fn issued(&mut self, time: Timestamp, command: &Command, risk: Risk) {
        self.history.issued(command, risk, time);
        let boot = self.servers.get(&command.server).map(|s| s.boot.clone()).unwrap_or_default();
        let Some(incident) = self.incidents.get_mut(&command.incident) else { return };
        incident.state = State::Acting;
        incident.hold = None;
        incident.steps.push(StepRecord {
            command: command.clone(),
            risk,
            issued: time,
            outcome: None,
            outcome_at: None,
            verified: None,
            reason: None,
            ended: None,
        });
        self.commands.insert(command.id.clone(), Issue { incident: command.incident.clone(), boot });
        if risk > Risk::Reversible {
            self.in_flight.entry(command.scenario.clone()).or_default().insert(command.incident.clone());
        }
    }

    fn command_ended(&mut self, time: Timestamp, incident: &IncidentId, outcome: &Outcome) {
        let Some(incident) = self.incidents.get_mut(incident) else { return };
        let Some(step) = incident.steps.iter_mut().find(|s| s.command.id == outcome.command) else { return };
        step.outcome = Some(outcome.clone());
        step.outcome_at = Some(time);
        if matches!(outcome.status, Status::Refused | Status::Expired) {
            self.history.came_to_nothing(&step.command);
        }
        move_on(incident);
    }

    fn step_ended(&mut self, time: Timestamp, id: &IncidentId, command: &CommandId, verified: bool, reason: &str) {
        let Some(incident) = self.incidents.get_mut(id) else { return };
        if let Some(step) = incident.steps.iter_mut().find(|s| s.command.id == *command) {
            step.verified = Some(verified);
            step.reason = Some(reason.to_owned());
            step.ended = Some(time);
        }
        move_on(incident);
        if incident.steps.iter().all(|step| step.ended.is_some()) {
            let scenario = incident.scenario.clone();
            self.landed(&scenario, id);
        }
    }

    fn landed(&mut self, scenario: &ScenarioName, id: &IncidentId) {
        if let Some(set) = self.in_flight.get_mut(scenario) {
            set.remove(id);
            if set.is_empty() {
                self.in_flight.remove(scenario);
            }
        }
    }

    fn changed(&mut self, time: Timestamp, id: &IncidentId, state: State, reason: &str, readings: &[Reading]) {
        let Some(incident) = self.incidents.get_mut(id) else { return };
        let was_told = incident.state == State::Escalated;
        incident.state = state;
        incident.reason = Some(reason.to_owned());
        incident.last_readings = readings.to_vec();
        incident.hold = None;
        if state == State::Escalated || was_told {
            self.untold.insert(id.clone());
        }
        if !state.is_end() {
            return;
        }
        incident.closed = Some(time);
        let (key, scenario) = (trouble_key(incident), incident.scenario.clone());
        if self.live.get(&key) == Some(id) {
            self.live.remove(&key);
        }
        self.landed(&scenario, id);
        self.ended.push_back(id.clone());
        while self.ended.len() > MAX_ENDED {
            let Some(old) = self.ended.pop_front() else { return };
            self.untold.remove(&old);
            for step in self.incidents.remove(&old).map(|i| i.steps).unwrap_or_default() {
                self.commands.remove(&step.command.id);
            }
        }
    }

    /// The live incident of the same trouble.
    pub(crate) fn live_like(&self, incident: &Incident) -> Option<&IncidentId> {
        self.live.get(&trouble_key(incident))
    }

    /// All live incidents, oldest first.
    pub(crate) fn live(&self) -> Vec<IncidentId> {
        let mut live: Vec<_> = self.live.values().filter_map(|id| self.incidents.get(id)).collect();
        live.sort_by(|a, b| (a.opened, &a.id).cmp(&(b.opened, &b.id)));
        live.into_iter().map(|i| i.id.clone()).collect()
    }

    /// What is known of a command.
    pub(crate) fn issue(&self, command: &CommandId) -> Option<&Issue> {
        self.commands.get(command)
    }

    /// How many incidents of a scenario have a disruptive or destructive step under way.
    pub(crate) fn in_flight(&self, scenario: &ScenarioName) -> usize {
        self.in_flight.get(scenario).map_or(0, BTreeSet::len)
    }

    /// An id that no kept incident has.
    pub(crate) fn new_id(&self, now: Timestamp) -> IncidentId {
        let mut number = self.next.unwrap_or_else(|| ids::first(now));
        loop {
            let id = ids::id(number);
            if !self.incidents.contains_key(&id) {
                return id;
            }
            number = number.wrapping_add(1);
        }
    }
}

/// Where an incident stands once something of its step has ended: it is proved when every command was done or is given up,
/// and one was done; the next step comes when nothing of this one is left to be proved.
fn move_on(incident: &mut Incident) {
    if !matches!(incident.state, State::Acting | State::Verifying) {
        return;
    }
    let Some(step) = incident.last_step() else { return };
    if incident.remaining(step).next().is_some() {
        return;
    }
    let done = |r: &StepRecord| r.outcome.as_ref().is_some_and(|o| o.status == Status::Done);
    let open: Vec<bool> = incident.records(step).filter(|r| r.ended.is_none()).map(done).collect();
    if !open.is_empty() && open.iter().all(|done| *done) {
        incident.state = State::Verifying;
    } else if incident.is_step_over(step) && !incident.records(step).any(|r| r.verified == Some(true)) {
        incident.state = State::Waiting;
    }
}
