//! Where a rollout stands, as the journal tells it. Only [`State::apply`] changes it, so that a restart in the middle of a
//! wave goes on where it was.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use skynet_model::command::Status;
use skynet_model::event::{Event, EventBody};
use skynet_model::incident::State as Phase;
use skynet_model::name::{CommandId, IncidentId, ServerId};
use skynet_model::time::{Span, Timestamp};

/// How far back trouble is remembered: a wave is compared with what was before it.
const MEMORY: Span = Span::hours(2);
/// Most troubles, and most incidents, that are remembered.
const MAX_MEMORY: usize = 20_000;

/// The topic of the remark that an agent began anew.
pub(crate) const RESTARTED: &str = "agent_restarted";

/// A rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// The new version.
    pub version: u64,
    /// SHA-256 of its bundle, hex.
    pub digest: String,
    /// Who pushed it.
    pub by: String,
    /// When.
    pub started: Timestamp,
    /// The servers of each wave.
    pub waves: Vec<Vec<ServerId>>,
    /// How long each is watched.
    pub soak: Span,
    /// The newest wave that has begun, from 0.
    pub wave: Option<u32>,
    /// When it did.
    pub wave_started: Timestamp,
    /// Who let it wait.
    pub paused: Option<String>,
    /// How it ended.
    pub ended: Option<Ended>,
    /// When each server took the version last.
    pub took: BTreeMap<ServerId, Timestamp>,
    /// Servers that refused it or gave it up by themselves, and what they said.
    pub refused: BTreeMap<ServerId, String>,
    /// Sensors that failed before.
    pub(super) failing: BTreeMap<ServerId, BTreeSet<String>>,
    index: BTreeMap<ServerId, u32>,
}

impl Run {
    /// The wave a server belongs to; none for one that was not known when the rollout began.
    #[must_use]
    pub fn wave_of(&self, server: &ServerId) -> Option<u32> {
        self.index.get(server).copied()
    }

    /// Whether the version has been given out to a server's wave. New servers come with the last one.
    #[must_use]
    pub fn has_reached(&self, server: &ServerId) -> bool {
        let last = u32::try_from(self.waves.len()).unwrap_or(u32::MAX).saturating_sub(1);
        self.wave.is_some_and(|wave| wave >= self.wave_of(server).unwrap_or(last))
    }
}

/// The end of a rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// Whether every server goes back.
    pub rolled_back: bool,
    /// Why.
    pub reason: String,
    /// Who.
    pub by: String,
    /// Whether a person has been told.
    pub(super) told: bool,
}

/// What is known of a server.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// Whether its session stands.
    pub connected: bool,
    /// Since when.
    pub since: Timestamp,
    /// What it runs, as far as it said.
    pub version: Option<u64>,
    /// The version it refused last, and why.
    pub error: Option<(u64, String)>,
}

/// Where a server stands in a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stand {
    /// It has what it should have, and its wave has not come.
    Base,
    /// It should have another version and is away.
    Pending,
    /// It was sent another version and has not answered.
    Sent,
    /// It runs the new version.
    Accepted,
    /// It refused the new version.
    Refused,
    /// It had the new version, or was given it, and runs the last good one again.
    Returned,
}

impl Stand {
    /// The word for people and programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Pending => "pending",
            Self::Sent => "sent",
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Returned => "returned",
        }
    }
}

/// What an agent is to be told about its policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Take this version.
    Push(u64),
    /// Go back to this version, which it had before.
    Return(u64),
}

/// Something that went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Restart,
    FailedAction,
    Escalation,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Trouble {
    pub(super) at: Timestamp,
    pub(super) server: ServerId,
    pub(super) kind: Kind,
}

/// An incident, as far as rollouts care.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Opened {
    pub(super) at: Timestamp,
    pub(super) server: ServerId,
    pub(super) scenario: String,
    pub(super) policy: u64,
    pub(super) phase: Phase,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    base: Option<u64>,
    highest: u64,
    run: Option<Run>,
    servers: BTreeMap<ServerId, Seen>,
    pub(super) trouble: VecDeque<Trouble>,
    pub(super) incidents: BTreeMap<IncidentId, Opened>,
    commands: BTreeMap<CommandId, ServerId>,
}

impl State {
    /// The state after these events.
    #[must_use]
    pub fn of(events: &[Event]) -> Self {
        let mut state = Self::default();
        events.iter().for_each(|event| state.apply(event.time, &event.body));
        state
    }

    /// The version in force: what servers have that no wave has reached.
    #[must_use]
    pub fn base(&self) -> Option<u64> {
        self.base
    }

    /// The highest version that was ever given to a server.
    #[must_use]
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// The newest rollout, whether it is under way or has ended.
    #[must_use]
    pub fn run(&self) -> Option<&Run> {
        self.run.as_ref()
    }

    /// The rollout that is under way.
    #[must_use]
    pub fn under_way(&self) -> Option<&Run> {
        self.run.as_ref().filter(|run| run.ended.is_none())
    }

    /// Every server that was ever heard of.
    #[must_use]
    pub fn servers(&self) -> &BTreeMap<ServerId, Seen> {
        &self.servers
    }

    /// The version a server should have.
    #[must_use]
    pub fn target(&self, server: &ServerId) -> Option<u64> {
        self.under_way().filter(|run| run.has_reached(server)).map(|run| run.version).or(self.base)
    }

    /// What an agent that runs `running` is to be told.
    #[must_use]
    pub fn order(&self, server: &ServerId, running: Option<u64>) -> Option<Order> {
        let target = self.target(server)?;
        let Some(running) = running else { return Some(Order::Push(target)) };
        if running == target {
            return None;
        }
        if running > target {
            return Some(Order::Return(target));
        }
        // What it had last must be the fleet's last good version before it gets the next one, or it could not go back to it.
        let base = self.base.filter(|base| running < *base);
        Some(Order::Push(base.unwrap_or(target)))
    }

    /// Where a server stands.
    #[must_use]
    pub fn stand(&self, server: &ServerId) -> Stand {
        let seen = self.servers.get(server).cloned().unwrap_or_default();
        let Some(run) = &self.run else { return self.plain(server, &seen) };
        if seen.version == Some(run.version) {
            return Stand::Accepted;
        }
        if run.ended.as_ref().is_some_and(|ended| ended.rolled_back) && run.took.contains_key(server) {
            return if seen.version == self.base { Stand::Returned } else { self.plain(server, &seen) };
        }
        if run.refused.contains_key(server) {
            let had = run.took.contains_key(server);
            return if had { Stand::Returned } else { Stand::Refused };
        }
        self.plain(server, &seen)
    }

    fn plain(&self, server: &ServerId, seen: &Seen) -> Stand {
        match seen.version == self.target(server) {
            true => Stand::Base,
            false if seen.connected => Stand::Sent,
            false => Stand::Pending,
        }
    }

    /// Folds one event.
    pub fn apply(&mut self, time: Timestamp, body: &EventBody) {
        match body {
            // Sessions end with the controller, and nobody writes that down.
            EventBody::ControllerStarted { .. } => {
                for seen in self.servers.values_mut().filter(|seen| seen.connected) {
                    (seen.connected, seen.since) = (false, time);
                }
            }
            EventBody::PolicyActivated { version, .. } => {
                self.base = Some(*version);
                self.highest = self.highest.max(*version);
            }
            EventBody::ServerLabelled { server, .. } => {
                self.servers.entry(server.clone()).or_default();
            }
            EventBody::ServerConnected { server, .. } => self.session(time, server, true),
            EventBody::ServerDisconnected { server, .. } => self.session(time, server, false),
            EventBody::ServerPolicy { server, version, error } => self.policy(time, server, *version, error.as_ref()),
            EventBody::IncidentOpened { incident } => {
                let Some(server) = incident.server().cloned() else { return };
                let scenario = incident.scenario.to_string();
                let opened = Opened { at: time, server, scenario, policy: incident.policy, phase: incident.state };
                self.incidents.insert(incident.id.clone(), opened);
                self.forget(time);
            }
            EventBody::IncidentChanged { incident, state, .. } => {
                let Some(opened) = self.incidents.get_mut(incident) else { return };
                opened.phase = *state;
                let server = opened.server.clone();
                if *state == Phase::Escalated {
                    self.note(time, server, Kind::Escalation);
                }
            }
            EventBody::CommandIssued { command, .. } => {
                if self.commands.len() < MAX_MEMORY {
                    self.commands.insert(command.id.clone(), command.server.clone());
                }
            }
            EventBody::CommandEnded { outcome, .. } => {
                let server = self.commands.remove(&outcome.command);
                let failed = matches!(outcome.status, Status::Failed | Status::Refused | Status::Indeterminate);
                if let Some(server) = server.filter(|_| failed) {
                    self.note(time, server, Kind::FailedAction);
                }
            }
            EventBody::Remark { server: Some(server), topic, .. } if topic == RESTARTED => {
                self.note(time, server.clone(), Kind::Restart);
            }
            EventBody::NoticeRaised { notice } => {
                if let Some(run) = &mut self.run
                    && super::notice_id(run.version).as_ref() == Some(&notice.id)
                    && let Some(ended) = &mut run.ended
                {
                    ended.told = true;
                }
            }
            EventBody::RolloutStarted { version, digest, by, waves, soak } => {
                self.highest = self.highest.max(*version);
                let number = |(wave, servers): (u32, &Vec<ServerId>)| -> Vec<(ServerId, u32)> {
                    servers.iter().map(|server| (server.clone(), wave)).collect()
                };
                self.run = Some(Run {
                    version: *version,
                    digest: digest.clone(),
                    by: by.clone(),
                    started: time,
                    waves: waves.clone(),
                    soak: *soak,
                    wave: None,
                    wave_started: time,
                    paused: None,
                    ended: None,
                    took: BTreeMap::new(),
                    refused: BTreeMap::new(),
                    failing: BTreeMap::new(),
                    index: (0u32..).zip(waves).flat_map(number).collect(),
                });
            }
            EventBody::WaveStarted { version, wave, failing } => {
                if let Some(run) = self.run.as_mut().filter(|run| run.version == *version) {
                    (run.wave, run.wave_started) = (Some(*wave), time);
                    run.failing.extend(failing.clone());
                }
            }
            EventBody::RolloutPaused { version, paused, by } => {
                if let Some(run) = self.run.as_mut().filter(|run| run.version == *version) {
                    run.paused = paused.then(|| by.clone());
                }
            }
            EventBody::RolloutEnded { version, rolled_back, reason, by } => {
                if let Some(run) = self.run.as_mut().filter(|run| run.version == *version) {
                    let (rolled_back, reason, by) = (*rolled_back, reason.clone(), by.clone());
                    run.ended = Some(Ended { at: time, rolled_back, reason, by, told: false });
                }
            }
            EventBody::IncidentHeld { .. }
            | EventBody::StepBegun { .. }
            | EventBody::StepEnded { .. }
            | EventBody::IncidentAcknowledged { .. }
            | EventBody::NoticeDelivered { .. }
            | EventBody::NoticeFailed { .. }
            | EventBody::Halted { .. }
            | EventBody::Resumed { .. }
            | EventBody::EmergencyTaken { .. }
            | EventBody::RequestMade { .. }
            | EventBody::StepApproved { .. }
            | EventBody::SilenceAdded { .. }
            | EventBody::SilenceExpired { .. }
            | EventBody::MaintenanceStarted { .. }
            | EventBody::MaintenanceEnded { .. }
            | EventBody::BreakerOpened { .. }
            | EventBody::CommonCauseFound { .. }
            | EventBody::OperatorCalled { .. }
            | EventBody::Remark { .. } => {}
        }
    }

    fn session(&mut self, time: Timestamp, server: &ServerId, connected: bool) {
        let seen = self.servers.entry(server.clone()).or_default();
        (seen.connected, seen.since) = (connected, time);
    }

    fn policy(&mut self, time: Timestamp, server: &ServerId, version: u64, error: Option<&String>) {
        let seen = self.servers.entry(server.clone()).or_default();
        match error {
            None => (seen.version, seen.error) = (Some(version), None),
            Some(error) => seen.error = Some((version, error.clone())),
        }
        let Some(run) = self.run.as_mut().filter(|run| run.version == version) else { return };
        match error {
            None => {
                run.took.insert(server.clone(), time);
                run.refused.remove(server);
            }
            Some(error) => {
                // Given up, it runs another: which one, it says itself.
                if seen.version == Some(version) {
                    seen.version = self.base;
                }
                run.refused.insert(server.clone(), error.clone());
            }
        }
    }

    fn note(&mut self, at: Timestamp, server: ServerId, kind: Kind) {
        self.trouble.push_back(Trouble { at, server, kind });
        self.forget(at);
    }

    /// By the events' own time, so that a replay forgets the same.
    fn forget(&mut self, now: Timestamp) {
        while self.trouble.len() > MAX_MEMORY || self.trouble.front().is_some_and(|t| now.since(t.at) > MEMORY) {
            self.trouble.pop_front();
        }
        if self.incidents.len() > MAX_MEMORY {
            self.incidents.retain(|_, opened| !opened.phase.is_end() || now.since(opened.at) <= MEMORY);
            while self.incidents.len() > MAX_MEMORY {
                self.incidents.pop_first();
            }
        }
    }
}
