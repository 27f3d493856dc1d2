//! The durable state: servers, incidents, what the rails remember. Only [`Book::apply`] changes it, so that the journal
//! replayed gives the same book.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use skynet_model::catalogue::Risk;
use skynet_model::command::{Command, Outcome, Status};
use skynet_model::emergency::Taken;
use skynet_model::event::EventBody;
use skynet_model::incident::{Acknowledgement, Chosen, Incident, Maintenance, Notice, NoticeKind, State, StepRecord};
use skynet_model::name::{CommandId, IncidentId, ScenarioName, ServerId};
use skynet_model::policy::Target;
use skynet_model::series::{Labels, Reading};
use skynet_model::time::Timestamp;

use super::alarms::{Alarms, Cause};
use super::breach::Breaches;
use super::history::{History, trouble_key};
use super::ids;
use super::reach::Reach;
use super::standing::{Approval, Standing};

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

/// What people have been told of an incident that is escalated, or was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Told {
    /// When the first tier was told of this escalation.
    pub(crate) first: Timestamp,
    /// Tiers told of this escalation.
    pub(crate) tiers: usize,
    /// Notices in all.
    pub(crate) notices: usize,
    /// Everybody who was told, and has to hear the end.
    pub(crate) to: Vec<Target>,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Book {
    pub(crate) servers: BTreeMap<ServerId, ServerRecord>,
    pub(crate) incidents: BTreeMap<IncidentId, Incident>,
    pub(crate) history: History,
    pub(crate) halted: Option<(String, String)>,
    /// The last emergency document that was taken, and its signatures.
    pub(crate) emergency: Option<(Taken, Vec<String>)>,
    /// Incidents a person has yet to hear of: the journal may end between the change and the notice.
    pub(crate) untold: BTreeSet<IncidentId>,
    /// Who has been told of what is not over for them.
    pub(crate) told: BTreeMap<IncidentId, Told>,
    pub(crate) reach: Reach,
    pub(crate) standing: Standing,
    pub(crate) alarms: Alarms,
    /// What people were told of things asked of servers that nobody signed.
    pub(crate) breaches: Breaches,
    /// The live incident of each trouble.
    live: BTreeMap<String, IncidentId>,
    ended: VecDeque<IncidentId>,
    commands: BTreeMap<CommandId, Issue>,
    next: Option<u32>,
}

impl Book {
    /// Folds one event.
    pub(crate) fn apply(&mut self, time: Timestamp, body: &EventBody) {
        match body {
            EventBody::ServerLabelled { server, labels, .. } => {
                let before = self.cluster(server).to_owned();
                self.servers.entry(server.clone()).or_default().labels = labels.clone();
                let cluster = labels.get("cluster").unwrap_or(server.as_str());
                self.reach.joined(server, &before, cluster);
                self.end_causes();
            }
            EventBody::ServerConnected { server, boot, .. } => {
                self.servers.entry(server.clone()).or_default().boot.clone_from(boot);
            }
            EventBody::ServerPolicy { server, version, error } => {
                self.servers.entry(server.clone()).or_default().policy = Some((*version, error.clone()));
            }
            EventBody::IncidentOpened { incident } => {
                self.next = ids::after(&incident.id).or(self.next);
                // What happens while a server is worked on says nothing about it.
                if incident.server().is_none_or(|server| self.in_maintenance(server, time).is_none()) {
                    self.history.opened(incident, time);
                }
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
                    let before = incident.chosen.take().filter(|chosen| chosen.step == *step);
                    let mut given_up = before.as_ref().map(|chosen| chosen.given_up.clone()).unwrap_or_default();
                    if incident.records(*step).next().is_some() {
                        let lost = before.into_iter().flat_map(|chosen| chosen.servers);
                        given_up.extend(lost.filter(|server| !servers.contains(server)));
                    }
                    incident.chosen = Some(Chosen { step: *step, servers: servers.clone(), given_up });
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
                self.notice_raised(time, notice);
                self.breaches.told(time, &notice.id);
            }
            EventBody::Halted { by, reason } => self.halted = Some((by.clone(), reason.clone())),
            EventBody::EmergencyTaken { taken, signatures } => {
                if self.emergency.as_ref().is_none_or(|(last, _)| last.sequence < taken.sequence) {
                    self.emergency = Some(((**taken).clone(), signatures.clone()));
                }
            }
            EventBody::Resumed { .. } => {
                self.halted = None;
                self.alarms.resumed();
            }
            EventBody::StepApproved { incident, step, by, comment, params, until } => {
                let (step, until) = (*step, *until);
                let (by, comment, params) = (by.clone(), comment.clone(), params.clone());
                self.approved(incident, Approval { step, by, comment, until, params });
            }
            EventBody::SilenceAdded { silence } => self.standing.silence(silence, time),
            EventBody::SilenceExpired { id, .. } => self.standing.unsilence(id),
            EventBody::MaintenanceStarted { maintenance } => self.standing.maintain(maintenance, time),
            EventBody::MaintenanceEnded { id, .. } => self.standing.end_maintenance(id),
            EventBody::BreakerOpened { reason } => self.alarms.opened(time, reason),
            EventBody::CommonCauseFound { scenario, cluster, reason } => {
                self.cause_found(time, scenario, cluster, reason);
            }
            EventBody::ServerDisconnected { .. }
            | EventBody::ControllerStarted { .. }
            | EventBody::PolicyActivated { .. }
            | EventBody::NoticeDelivered { .. }
            | EventBody::NoticeFailed { .. }
            | EventBody::RequestMade { .. }
            | EventBody::RolloutStarted { .. }
            | EventBody::WaveStarted { .. }
            | EventBody::RolloutPaused { .. }
            | EventBody::RolloutEnded { .. }
            | EventBody::OperatorCalled { .. }
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
        self.reach.issued(command, risk, time);
    }

    fn command_ended(&mut self, time: Timestamp, incident: &IncidentId, outcome: &Outcome) {
        let Some(incident) = self.incidents.get_mut(incident) else { return };
        let Some(step) = incident.steps.iter_mut().find(|s| s.command.id == outcome.command) else { return };
        step.outcome = Some(outcome.clone());
        step.outcome_at = Some(time);
        if matches!(outcome.status, Status::Refused | Status::Expired) {
            self.history.came_to_nothing(&step.command);
            self.reach.came_to_nothing(&step.command);
        }
        if incident.chosen.as_ref().is_some_and(|chosen| chosen.servers.len() > 1) {
            // Its other servers have their turn before the step is proved as a whole.
            self.reach.landed(&step.command);
        }
        move_on(incident);
    }

    fn step_ended(&mut self, time: Timestamp, id: &IncidentId, command: &CommandId, verified: bool, reason: &str) {
        let Some(incident) = self.incidents.get_mut(id) else { return };
        if let Some(step) = incident.steps.iter_mut().find(|s| s.command.id == *command) {
            step.verified = Some(verified);
            step.reason = Some(reason.to_owned());
            step.ended = Some(time);
            self.reach.landed(&step.command);
        }
        move_on(incident);
    }

    fn changed(&mut self, time: Timestamp, id: &IncidentId, state: State, reason: &str, readings: &[Reading]) {
        let Some(incident) = self.incidents.get(id) else { return };
        let covered = self.covered_by(incident).is_some();
        let Some(incident) = self.incidents.get_mut(id) else { return };
        incident.state = state;
        incident.reason = Some(reason.to_owned());
        incident.last_readings = readings.to_vec();
        incident.hold = None;
        let acted_on = incident.steps.iter().find(|s| super::may_have_worked(s)).map(|s| &s.command.server);
        if let (Some(server), State::Escalated | State::Contained) = (acted_on, state) {
            self.alarms.verdict(id, server, state == State::Contained);
        }
        // Whoever stands for a common cause tells of all of it, from its finding to its end.
        let leads = self.alarms.led_by(id).is_some();
        if state == State::Escalated && !covered && !leads {
            self.untold.insert(id.clone());
            if let Some(told) = self.told.get_mut(id) {
                told.tiers = 0;
            }
        }
        if !state.is_end() {
            return;
        }
        incident.closed = Some(time);
        let key = trouble_key(incident);
        for step in &incident.steps {
            self.reach.landed(&step.command);
        }
        if !leads && self.told.contains_key(id) {
            self.untold.insert(id.clone());
        } else if !leads {
            self.untold.remove(id);
        }
        if self.live.get(&key) == Some(id) {
            self.live.remove(&key);
        }
        self.standing.forget(id);
        self.end_causes();
        self.ended.push_back(id.clone());
        while self.ended.len() > MAX_ENDED {
            let Some(old) = self.ended.pop_front() else { return };
            self.untold.remove(&old);
            self.told.remove(&old);
            self.alarms.forget(&old);
            for step in self.incidents.remove(&old).map(|i| i.steps).unwrap_or_default() {
                self.commands.remove(&step.command.id);
            }
        }
    }

    fn notice_raised(&mut self, time: Timestamp, notice: &Notice) {
        let Some(incident) = &notice.incident else {
            self.alarms.said(&notice.id);
            return;
        };
        self.untold.remove(incident);
        match notice.kind {
            NoticeKind::Escalated => {
                let told = self.told.entry(incident.clone()).or_default();
                if told.tiers == 0 {
                    told.first = time;
                }
                told.tiers += 1;
                told.notices += 1;
                let to = if notice.to.is_empty() { &[Target::Console] } else { &notice.to[..] };
                told.to.extend(to.iter().filter(|t| !told.to.contains(t)).cloned().collect::<Vec<_>>());
            }
            NoticeKind::Resolved => {
                self.told.remove(incident);
                self.alarms.forget(incident);
            }
            NoticeKind::Skynet => {}
        }
    }

    /// An escalated incident goes on: what it waited for is there.
    fn approved(&mut self, id: &IncidentId, approval: Approval) {
        let Some(incident) = self.incidents.get_mut(id).filter(|i| !i.state.is_end()) else { return };
        if incident.state == State::Escalated {
            incident.state = State::Waiting;
            incident.hold = None;
            self.untold.remove(id);
        }
        self.standing.approve(id, approval);
    }

    fn cause_found(&mut self, since: Timestamp, scenario: &ScenarioName, cluster: &str, reason: &str) {
        let live = self.live_in(scenario, cluster).max_by_key(|i| (i.opened, &i.id)).map(|i| i.id.clone());
        let Some(lead) = live else { return };
        let (scenario, cluster, reason) = (scenario.clone(), cluster.to_owned(), reason.to_owned());
        self.untold.insert(lead.clone());
        self.alarms.found(&lead, Cause { scenario, cluster, reason, since, over: false });
    }

    /// A common cause is over when no incident of its scenario is live in its cluster.
    fn end_causes(&mut self) {
        let over = self.alarms.causes().filter(|(_, c)| self.live_in(&c.scenario, &c.cluster).next().is_none());
        let over: Vec<(IncidentId, Cause)> = over.map(|(lead, cause)| (lead.clone(), cause.clone())).collect();
        for (lead, cause) in over {
            let told = self.told.contains_key(&lead);
            self.alarms.end(&lead, told);
            if told {
                self.untold.insert(lead);
            } else {
                self.untold.remove(&lead);
            }
            let members: Vec<ServerId> = self.reach.members(&cause.cluster).cloned().collect();
            for server in &members {
                self.history.calmed(&cause.scenario, server);
            }
            // Of servers that have left the cluster nobody was told yet.
            let left = self.live.values().filter_map(|id| self.incidents.get(id)).filter(|i| {
                i.scenario == cause.scenario
                    && i.state == State::Escalated
                    && !self.told.contains_key(&i.id)
                    && self.covered_by(i).is_none()
            });
            let left: Vec<IncidentId> = left.map(|i| i.id.clone()).collect();
            self.untold.extend(left);
        }
    }

    /// Live incidents of a scenario on servers of a cluster.
    pub(crate) fn live_in<'a>(
        &'a self,
        scenario: &'a ScenarioName,
        cluster: &'a str,
    ) -> impl Iterator<Item = &'a Incident> {
        let live = self.live.values().filter_map(|id| self.incidents.get(id));
        live.filter(move |i| i.scenario == *scenario && i.server().is_some_and(|s| self.cluster(s) == cluster))
    }

    /// The incident another one is told with: the one that stands for their common cause.
    pub(crate) fn covered_by(&self, incident: &Incident) -> Option<&IncidentId> {
        let cluster = self.cluster(incident.server()?);
        self.alarms.cause(&incident.scenario, cluster).map(|(lead, _)| lead).filter(|lead| **lead != incident.id)
    }

    /// The cluster of a server: its label, else itself alone.
    pub(crate) fn cluster<'a>(&'a self, server: &'a ServerId) -> &'a str {
        self.servers.get(server).and_then(|s| s.labels.get("cluster")).unwrap_or(server.as_str())
    }

    /// The maintenance a server is in. Servers in maintenance are no members of anything that is counted.
    pub(crate) fn in_maintenance(&self, server: &ServerId, now: Timestamp) -> Option<&Maintenance> {
        self.standing.maintenance_of(self, server, now)
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
