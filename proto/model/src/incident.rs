//! Incidents and notices: one scenario instance that fired, and what a person is told.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::catalogue::Risk;
use crate::command::{Command, Outcome};
use crate::name::{IncidentId, NoticeId, ScenarioName, ServerId};
use crate::policy::{Mode, Severity, Target};
use crate::series::{Labels, Reading};
use crate::time::Timestamp;

/// Where an incident stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The condition holds; `for` has not passed. Lives in memory only.
    Pending,
    /// A rail or an approval holds the next step back.
    Waiting,
    /// A command is on its way or running.
    Acting,
    /// The step ran; the readings have yet to prove the cure.
    Verifying,
    /// Cured, and proved by the readings. End.
    Contained,
    /// A person has been told.
    Escalated,
    /// Escalated, and then the condition went away. End.
    Resolved,
    /// Went away before anything was done. End.
    Cleared,
    /// Mode `observe`: what would have been done was said, nothing was done.
    Observed,
    /// The policy changed under it. End.
    Superseded,
}

impl State {
    /// Whether nothing more will happen to it.
    #[must_use]
    pub fn is_end(self) -> bool {
        matches!(self, Self::Contained | Self::Resolved | Self::Cleared | Self::Superseded)
    }

    /// The name in the JSON form.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Waiting => "waiting",
            Self::Acting => "acting",
            Self::Verifying => "verifying",
            Self::Contained => "contained",
            Self::Escalated => "escalated",
            Self::Resolved => "resolved",
            Self::Cleared => "cleared",
            Self::Observed => "observed",
            Self::Superseded => "superseded",
        }
    }
}

/// What holds a step back: one row of the rails' table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rail {
    /// Same server, action and parameters in another incident, lately.
    Cooldown,
    /// The scenario's rate.
    Rate,
    /// A person's approval is needed.
    Approval,
    /// The server is not connected, or its ledger has not been merged.
    Server,
    /// The readings that say whether it is still needed are unknown: nothing is done in the dark.
    Readings,
    /// After a restart: not enough agents are back yet.
    Startup,
    /// `halt` is in force.
    Halt,
    /// The journal cannot be written.
    Journal,
    /// Five openings in an hour.
    Flapping,
    /// Too many servers of the cluster are acted on already.
    BlastRadius,
    /// Too many servers of the cluster fire the same scenario: the cause is elsewhere.
    CommonCause,
    /// Incident after incident was not contained: automation pauses.
    Breaker,
    /// One destructive step per cluster at a time.
    Destructive,
    /// The server is in maintenance.
    Maintenance,
    /// The step names no server, or none that can be acted on.
    Target,
    /// The policy in force has expired.
    Expired,
}

impl Rail {
    /// The name for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cooldown => "cooldown",
            Self::Rate => "rate",
            Self::Approval => "approval",
            Self::Server => "server",
            Self::Readings => "readings",
            Self::Startup => "startup",
            Self::Halt => "halt",
            Self::Journal => "journal",
            Self::Flapping => "flapping",
            Self::BlastRadius => "blast radius",
            Self::CommonCause => "common cause",
            Self::Breaker => "breaker",
            Self::Destructive => "destructive",
            Self::Maintenance => "maintenance",
            Self::Target => "target",
            Self::Expired => "expired",
        }
    }
}

/// A step held back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hold {
    /// By what.
    pub rail: Rail,
    /// Why, with the numbers: `5 of 5 an hour used; next at 03:12`.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
}

/// One step of an incident as it went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The command, with action and parameters.
    pub command: Command,
    /// What the action may break.
    pub risk: Risk,
    /// When the command was issued.
    pub issued: Timestamp,
    /// How the command ended; none until then.
    pub outcome: Option<Outcome>,
    /// When the outcome was journalled, which starts `verify_within`.
    pub outcome_at: Option<Timestamp>,
    /// Whether the readings proved it; none until then.
    pub verified: Option<bool>,
    /// Why it was not verified, in words.
    pub reason: Option<String>,
    /// When the step was over.
    pub ended: Option<Timestamp>,
}

/// The servers that were chosen for a step with a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// Which step, from 0.
    pub step: u32,
    /// Its servers, in the order they get their commands.
    pub servers: Vec<ServerId>,
    /// Servers it was not done on after all: a rail held it back there for too long.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given_up: Vec<ServerId>,
}

/// Who acknowledged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// Which operator.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// What they said.
    pub comment: String,
}

/// What an incident is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// One server.
    Server(ServerId),
    /// A cluster, by its name.
    Cluster(String),
    /// The fleet, by its name.
    Fleet(String),
    /// A request, by its name.
    Request(String),
}

impl Subject {
    /// The server, where it is one.
    #[must_use]
    pub fn server(&self) -> Option<&ServerId> {
        match self {
            Self::Server(server) => Some(server),
            Self::Cluster(_) | Self::Fleet(_) | Self::Request(_) => None,
        }
    }

    /// The bare name of the server, cluster, fleet or request.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Server(server) => server.as_str(),
            Self::Cluster(name) | Self::Fleet(name) | Self::Request(name) => name,
        }
    }

    /// Whether it was asked for.
    #[must_use]
    pub fn is_request(&self) -> bool {
        matches!(self, Self::Request(_))
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Server(server) => write!(f, "{server}"),
            Self::Cluster(name) => write!(f, "cluster {name}"),
            Self::Fleet(name) => write!(f, "fleet {name}"),
            Self::Request(name) => write!(f, "request {name}"),
        }
    }
}

/// Who asked for something, and for which servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Who: an operator's name, a customer's.
    pub by: String,
    /// The servers the request resolved to, in order.
    pub servers: Vec<ServerId>,
}

/// One scenario instance that fired.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Its id.
    pub id: IncidentId,
    /// The scenario.
    pub scenario: ScenarioName,
    /// The policy version it opened under.
    pub policy: u64,
    /// The digest of the scenario's text: later steps go on only while it is unchanged.
    pub digest: String,
    /// What it is about: `server`, `cluster`, `fleet` or `request` in the JSON form.
    #[serde(flatten)]
    pub subject: Subject,
    /// Who asked, when it answers a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    /// The instance's labels; for a request its parameters.
    pub labels: Labels,
    /// How bad.
    pub severity: Severity,
    /// Whether it acts.
    pub mode: Mode,
    /// Where it stands.
    pub state: State,
    /// One line for people.
    pub summary: String,
    /// When the condition first held.
    pub since: Timestamp,
    /// When it fired (after `for`).
    pub opened: Timestamp,
    /// When it ended.
    pub closed: Option<Timestamp>,
    /// Why it ended or escalated, in words.
    pub reason: Option<String>,
    /// What the readings were when it opened.
    pub readings: Vec<Reading>,
    /// What they were at its last change.
    pub last_readings: Vec<Reading>,
    /// The steps taken, in order: one record for each command, so that a step on several servers has several. In mode
    /// `observe`: none.
    pub steps: Vec<StepRecord>,
    /// The servers of the step that is being done or comes next, once they are chosen; none for a step on the
    /// incident's own server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<Chosen>,
    /// What holds it back now.
    pub hold: Option<Hold>,
    /// Rails that held it at some time, in order.
    pub held: Vec<Hold>,
    /// Who took it over.
    pub acknowledged: Option<Acknowledgement>,
    /// The route a person is told by.
    pub route: Option<String>,
}

impl Incident {
    /// The server it is about, if it is about one.
    #[must_use]
    pub fn server(&self) -> Option<&ServerId> {
        self.subject.server()
    }

    /// The step the last command belongs to.
    #[must_use]
    pub fn last_step(&self) -> Option<u32> {
        self.steps.last().map(|record| record.command.step)
    }

    /// The step that is being done, or the one that comes next.
    #[must_use]
    pub fn step(&self) -> u32 {
        match self.last_step() {
            Some(last) if self.is_step_over(last) => last + 1,
            Some(last) => last,
            None => 0,
        }
    }

    /// The records of a step: one for each server that has had its command.
    pub fn records(&self, step: u32) -> impl Iterator<Item = &StepRecord> {
        self.steps.iter().filter(move |record| record.command.step == step)
    }

    /// The servers chosen for a step that have not had their command yet, in order.
    pub fn remaining(&self, step: u32) -> impl Iterator<Item = &ServerId> {
        let chosen = self.chosen.as_ref().filter(|chosen| chosen.step == step);
        let servers = chosen.map_or(&[][..], |chosen| &chosen.servers);
        servers.iter().filter(move |server| !self.records(step).any(|record| record.command.server == **server))
    }

    /// Whether every server of a step has had its command and every record of it is over.
    #[must_use]
    pub fn is_step_over(&self, step: u32) -> bool {
        self.records(step).all(|record| record.ended.is_some()) && self.remaining(step).next().is_none()
    }

    /// Whether a command of it runs on a server, as far as is known.
    #[must_use]
    pub fn is_acting_on(&self, server: &ServerId) -> bool {
        self.steps.iter().any(|r| r.command.server == *server && r.ended.is_none() && r.outcome.is_none())
    }

    /// Whether it is about a server: its own, one that was chosen or has had a command, one that a request resolved to.
    #[must_use]
    pub fn concerns(&self, server: &ServerId) -> bool {
        self.server() == Some(server)
            || self.steps.iter().any(|record| record.command.server == *server)
            || self.chosen.iter().any(|chosen| chosen.servers.contains(server))
            || self.asked.iter().any(|asked| asked.servers.contains(server))
    }
}

/// Why a notice is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// Skynet could not contain it.
    Escalated,
    /// What was escalated has gone away.
    Resolved,
    /// Skynet itself needs a person: journal full, startup gate, flapping.
    Skynet,
}

/// What a person is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// Its id.
    pub id: NoticeId,
    /// Why.
    pub kind: NoticeKind,
    /// The incident, where there is one.
    pub incident: Option<IncidentId>,
    /// The scenario, where there is one.
    pub scenario: Option<ScenarioName>,
    /// The server, where there is one.
    pub server: Option<ServerId>,
    /// The instance's labels.
    pub labels: Labels,
    /// How bad.
    pub severity: Severity,
    /// The route it goes by.
    pub route: String,
    /// The targets, from the route's first tier. Empty: the console.
    pub to: Vec<Target>,
    /// One line.
    pub title: String,
    /// The whole story: readings, steps, outcomes, what held it back, what is still wrong.
    pub story: String,
    /// When it was raised.
    pub at: Timestamp,
    /// When the trouble began.
    pub since: Timestamp,
}

/// Notices that are not sent for a while; as in Alertmanager, it always ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Its id.
    pub id: String,
    /// What a notice must match, all of them: `scenario`, `server`, `cluster`, `severity` or a label; values may hold
    /// `*`.
    pub matches: BTreeMap<String, String>,
    /// Since when.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Who.
    pub by: String,
    /// Why.
    pub comment: String,
}

/// Servers that are worked on; it always ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// Its id.
    pub id: String,
    /// Names of servers.
    pub servers: BTreeSet<ServerId>,
    /// And servers with these labels; empty: none besides.
    pub matches: BTreeMap<String, String>,
    /// Since when.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Who.
    pub by: String,
    /// Why.
    pub comment: String,
}
