//! The JSON objects of the operators' API that are not a type of the model.
//!
//! Every field may be missing: an older or newer controller is still shown as far as it goes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use skynet_model::incident::{Incident, Notice};
use skynet_model::sign::Signer;
use skynet_model::time::Timestamp;

/// A server as `get servers` gives it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Server {
    /// Its id.
    pub name: String,
    /// The operators' labels.
    pub labels: BTreeMap<String, String>,
    /// Whether its agent's session stands.
    pub connected: bool,
    /// Since when it is so.
    pub since: Option<Timestamp>,
    /// The boot id of its last session.
    pub boot: Option<String>,
    /// The agent's version.
    pub version: Option<String>,
    /// What it runs on.
    pub system: System,
    /// The policy version it runs.
    pub policy_version: Option<u64>,
    /// That policy's digest, hex.
    pub policy_digest: Option<String>,
    /// Why it refused the newest policy.
    pub policy_error: Option<String>,
    /// Its agent takes policy that nobody signed.
    pub insecure_unsigned: bool,
    /// The controller does.
    pub controller_insecure_unsigned: bool,
    /// How many series it gives.
    pub series: u64,
    /// When its last reading was taken.
    pub last_reading: Option<Timestamp>,
    /// How many of its readings were lost.
    pub lost_readings: u64,
    /// Its sensors.
    pub sensors: Vec<Sensor>,
    /// Latest values; only in `describe`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest: Option<Vec<Latest>>,
}

/// What a server runs on; empty or 0 where it is not known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct System {
    /// The distribution and its version.
    pub os: String,
    /// The kernel's release.
    pub kernel: String,
    /// The processor's architecture.
    pub arch: String,
    /// Cores.
    pub cpus: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
}

/// One sensor of a server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sensor {
    /// Its id on the server: `cpu`, `exec:queue`.
    pub id: String,
    /// Whether its last sweep succeeded.
    pub healthy: bool,
    /// What it says of itself.
    pub message: Option<String>,
    /// Its interval, as text.
    pub every: Option<String>,
    /// When its last sweep began.
    pub last_sweep: Option<Timestamp>,
}

/// The latest value of one series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Latest {
    /// The series' text form.
    pub series: String,
    /// Its value.
    pub value: f64,
    /// When it was read.
    pub time: Timestamp,
    /// Its unit's name.
    pub unit: Option<String>,
}

/// A policy version as `get policies` gives it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyVersion {
    /// Its number.
    pub version: u64,
    /// SHA-256 of its bundle, hex.
    pub digest: String,
    /// When it came into force.
    pub activated: Option<Timestamp>,
    /// Who pushed it.
    pub by: Option<String>,
    /// Its scenarios: how many, or their names.
    pub scenarios: Option<Scenarios>,
    /// Whether it is in force.
    pub current: bool,
    /// Whose signatures are good; nobody's where anybody may push.
    pub signed_by: Vec<Signer>,
}

/// How many scenarios there are, or which.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scenarios {
    /// How many.
    Count(u64),
    /// Which.
    Names(Vec<String>),
}

/// A notice, and where it has arrived.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// The notice.
    #[serde(flatten)]
    pub notice: Notice,
    /// The targets it reached, as the notifiers name them.
    #[serde(default)]
    pub delivered: Vec<String>,
    /// The targets it will not reach any more.
    #[serde(default)]
    pub failed: Vec<Missed>,
}

/// A target that a notice did not reach.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Missed {
    /// Which, as the notifier names it.
    pub target: String,
    /// Why.
    pub error: String,
}

/// An incident with what comes next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Story {
    /// The incident.
    #[serde(flatten)]
    pub incident: Incident,
    /// What it waits for and until when, in words; only in `describe`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
}
