//! The event log's words. Everything that happened is an event, journalled before its effect leaves the process.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::command::{Command, Outcome};
use crate::emergency::Taken;
use crate::incident::{Asked, Hold, Incident, Maintenance, Notice, Silence, State};
use crate::name::{CommandId, IncidentId, NoticeId, ScenarioName, ServerId};
use crate::series::{Labels, Reading};
use crate::time::{Span, Timestamp};
use crate::value::Params;

/// One journalled event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its number, from 1, without gaps.
    pub seq: u64,
    /// When it was decided, by the controller's clock.
    pub time: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub body: EventBody,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventBody {
    /// The controller began, under a new epoch.
    ControllerStarted {
        /// Higher than every epoch before.
        epoch: u64,
        /// The build.
        version: String,
    },
    /// A policy version is in force.
    PolicyActivated {
        /// The version.
        version: u64,
        /// SHA-256 of the bundle, hex.
        digest: String,
        /// Who pushed it.
        by: String,
    },
    /// A server is known, or its labels changed.
    ServerLabelled {
        /// Which.
        server: ServerId,
        /// All its labels.
        labels: Labels,
        /// The operator who set them; then the configuration has no say in them any more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// An agent's session began.
    ServerConnected {
        /// Which.
        server: ServerId,
        /// The server's boot id.
        boot: String,
        /// The agent's version.
        version: String,
    },
    /// An agent's session ended.
    ServerDisconnected {
        /// Which.
        server: ServerId,
        /// Why.
        reason: String,
    },
    /// An agent took a policy, or refused it.
    ServerPolicy {
        /// Which.
        server: ServerId,
        /// The version.
        version: u64,
        /// Why it was refused; none when taken.
        error: Option<String>,
    },
    /// An incident opened.
    IncidentOpened {
        /// As it stands at its opening.
        incident: Box<Incident>,
    },
    /// A rail holds an incident's next step back.
    IncidentHeld {
        /// Which.
        incident: IncidentId,
        /// By what and why.
        hold: Hold,
    },
    /// The servers of a step with a target were chosen. Said again when others are chosen before its first command, or
    /// when some of them are given up.
    StepBegun {
        /// Which incident.
        incident: IncidentId,
        /// Which step, from 0.
        step: u32,
        /// Its servers, in the order they get their commands.
        servers: Vec<ServerId>,
    },
    /// A command was decided. It is sent only after this is on disk.
    CommandIssued {
        /// The command.
        command: Command,
        /// What its action may break.
        risk: crate::catalogue::Risk,
    },
    /// A command ended.
    CommandEnded {
        /// Which incident.
        incident: IncidentId,
        /// How.
        outcome: Outcome,
    },
    /// A step is over.
    StepEnded {
        /// Which incident.
        incident: IncidentId,
        /// Which command.
        command: CommandId,
        /// Whether the readings proved it.
        verified: bool,
        /// Why not, in words; or what proved it.
        reason: String,
    },
    /// An incident changed its state: escalated, or ended.
    IncidentChanged {
        /// Which.
        incident: IncidentId,
        /// To what.
        state: State,
        /// Why, in words.
        reason: String,
        /// The readings at that time.
        readings: Vec<Reading>,
    },
    /// An operator took an incident over.
    IncidentAcknowledged {
        /// Which.
        incident: IncidentId,
        /// Who.
        by: String,
        /// What they said.
        comment: String,
    },
    /// A person is to be told.
    NoticeRaised {
        /// What.
        notice: Box<Notice>,
    },
    /// A notice reached a target.
    NoticeDelivered {
        /// Which.
        notice: NoticeId,
        /// Where, as the notifier names it.
        target: String,
    },
    /// A notice did not reach a target and will not be tried again.
    NoticeFailed {
        /// Which.
        notice: NoticeId,
        /// Where.
        target: String,
        /// Why.
        error: String,
    },
    /// Acting was stopped by an operator.
    Halted {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// Acting may go on.
    Resumed {
        /// Who.
        by: String,
    },
    /// An emergency document of the operators was taken. Agents judge its bytes by themselves.
    EmergencyTaken {
        /// What it says, and who signed it.
        taken: Box<Taken>,
        /// Its signatures, armored.
        signatures: Vec<String>,
    },
    /// A person asked for something.
    RequestMade {
        /// The request's name.
        request: String,
        /// Its parameters.
        parameters: Labels,
        /// Who asked, and for which servers.
        asked: Asked,
    },
    /// An operator lets a step be done.
    StepApproved {
        /// Which incident.
        incident: IncidentId,
        /// Which step, from 0.
        step: u32,
        /// Who.
        by: String,
        /// What they said.
        comment: String,
        /// The parameters that were approved, by server.
        params: BTreeMap<ServerId, Params>,
        /// When it lapses.
        until: Timestamp,
    },
    /// Notices that match are not sent for a while.
    SilenceAdded {
        /// The silence.
        silence: Silence,
    },
    /// A silence ended before its time.
    SilenceExpired {
        /// Its id.
        id: String,
        /// Who ended it.
        by: String,
    },
    /// Servers are worked on: Skynet reads, but neither acts nor tells.
    MaintenanceStarted {
        /// The maintenance.
        maintenance: Maintenance,
    },
    /// Maintenance ended before its time.
    MaintenanceEnded {
        /// Its id.
        id: String,
        /// Who ended it.
        by: String,
    },
    /// The fleet breaker opened: nothing is done until an operator resumes.
    BreakerOpened {
        /// Why, in words.
        reason: String,
    },
    /// Too many servers of a cluster fire the same scenario: acting on it has stopped there.
    CommonCauseFound {
        /// The scenario.
        scenario: ScenarioName,
        /// The cluster.
        cluster: String,
        /// Why, in words.
        reason: String,
    },
    /// A policy version goes out in waves.
    RolloutStarted {
        /// The version.
        version: u64,
        /// SHA-256 of its bundle, hex.
        digest: String,
        /// Who pushed it.
        by: String,
        /// The servers of each wave, in order.
        waves: Vec<Vec<ServerId>>,
        /// How long each wave is watched.
        #[serde(default)]
        soak: Span,
    },
    /// A wave begins: its servers get the version.
    WaveStarted {
        /// The version.
        version: u64,
        /// Which wave, from 0.
        wave: u32,
        /// Sensors of its servers that fail already, by server: the new version has no part in that.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        failing: BTreeMap<ServerId, BTreeSet<String>>,
    },
    /// The rollout waits for an operator, or goes on.
    RolloutPaused {
        /// The version.
        version: u64,
        /// Whether it waits.
        paused: bool,
        /// Who.
        by: String,
    },
    /// The rollout is over: complete, or every server is to go back to its last good version.
    RolloutEnded {
        /// The version.
        version: u64,
        /// Whether it went back.
        rolled_back: bool,
        /// Why, in words.
        reason: String,
        /// Who, or `skynet`.
        by: String,
    },
    /// An operator called a method that changes something. What it led to, if anything, comes after it.
    OperatorCalled {
        /// Who.
        by: String,
        /// Their role: `operator`, `admin`.
        role: String,
        /// The method, as the operators' API has it: `Halt`.
        method: String,
        /// What they asked for, in short.
        summary: String,
    },
    /// Something about Skynet itself that operators should know: a session ended by bad input, a capped server.
    Remark {
        /// The server it is about, where there is one.
        server: Option<ServerId>,
        /// A stable word: `bad_input`, `series_capped`, `startup_waiting`.
        topic: String,
        /// In words.
        message: String,
    },
}

impl EventBody {
    /// The incident it is about, if it is about one.
    #[must_use]
    pub fn incident(&self) -> Option<&IncidentId> {
        match self {
            Self::IncidentOpened { incident } => Some(&incident.id),
            Self::CommandIssued { command, .. } => Some(&command.incident),
            Self::IncidentHeld { incident, .. }
            | Self::StepBegun { incident, .. }
            | Self::CommandEnded { incident, .. }
            | Self::StepEnded { incident, .. }
            | Self::IncidentChanged { incident, .. }
            | Self::StepApproved { incident, .. }
            | Self::IncidentAcknowledged { incident, .. } => Some(incident),
            Self::NoticeRaised { notice } => notice.incident.as_ref(),
            Self::ControllerStarted { .. }
            | Self::PolicyActivated { .. }
            | Self::ServerLabelled { .. }
            | Self::ServerConnected { .. }
            | Self::ServerDisconnected { .. }
            | Self::ServerPolicy { .. }
            | Self::NoticeDelivered { .. }
            | Self::NoticeFailed { .. }
            | Self::Halted { .. }
            | Self::Resumed { .. }
            | Self::EmergencyTaken { .. }
            | Self::RequestMade { .. }
            | Self::SilenceAdded { .. }
            | Self::SilenceExpired { .. }
            | Self::MaintenanceStarted { .. }
            | Self::MaintenanceEnded { .. }
            | Self::BreakerOpened { .. }
            | Self::CommonCauseFound { .. }
            | Self::RolloutStarted { .. }
            | Self::WaveStarted { .. }
            | Self::RolloutPaused { .. }
            | Self::RolloutEnded { .. }
            | Self::OperatorCalled { .. }
            | Self::Remark { .. } => None,
        }
    }
}
