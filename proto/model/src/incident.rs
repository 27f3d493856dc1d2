//! Incidents and notices: one scenario instance that fired, and what a person is told.

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
    /// The server.
    pub server: ServerId,
    /// The instance's labels.
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
    /// The steps taken, in order. In mode `observe`: none.
    pub steps: Vec<StepRecord>,
    /// What holds it back now.
    pub hold: Option<Hold>,
    /// Rails that held it at some time, in order.
    pub held: Vec<Hold>,
    /// Who took it over.
    pub acknowledged: Option<Acknowledgement>,
    /// The route a person is told by.
    pub route: Option<String>,
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
