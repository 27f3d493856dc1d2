//! Policy: what operators write, checked and compiled. Format: `docs/policy.md`.
//!
//! [`load()`] turns a folder's files into a [`Policy`] or into all of its mistakes at once; [`Bundle`] is the canonical
//! form that is pushed. Controller and agent load the same bundle with the same code.

mod bundle;
mod load;
mod rails;
mod reads;
mod render;
mod schema;
mod select;
mod template;
pub mod test;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use bundle::{Bundle, BundleError, MAX_BUNDLE_BYTES};
pub use load::{File, MAX_DOCUMENTS, MAX_FILE_BYTES, MAX_FILES, load, load_sensors, load_tests};
pub use rails::{RAILS, RailKind, RailSpec};
pub use render::RenderError;
pub use schema::schema;
pub use select::{cluster_of, fits};

use crate::condition::Condition;
use crate::name::ScenarioName;
use crate::time::Span;
use crate::value::{ParamKind, Params};

/// A whole policy, checked.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// The `fleet:` document, or its defaults.
    pub fleet: Fleet,
    /// `profile:` documents by name.
    pub profiles: BTreeMap<String, Profile>,
    /// `script:` documents by name.
    pub scripts: BTreeMap<String, Script>,
    /// `scenario:` documents by name.
    pub scenarios: BTreeMap<ScenarioName, Arc<Scenario>>,
    /// `route:` documents by name.
    pub routes: BTreeMap<String, Route>,
    /// `contact:` documents by name.
    pub contacts: BTreeMap<String, Contact>,
    /// `never:` documents by name.
    pub nevers: BTreeMap<String, Never>,
    /// `request:` documents by name.
    pub requests: BTreeMap<String, Request>,
    /// `customer:` documents by name.
    pub customers: BTreeMap<String, Customer>,
}

/// `fleet:`.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// The fleet's name.
    pub name: String,
    /// k of the signers file.
    pub signers: u32,
    /// Rails as written, by the names in [`RAILS`]: shares as 0..1, lengths of time in seconds. What is not written has
    /// its default.
    pub rails: BTreeMap<String, f64>,
    /// What a rollout goes through: rising, the last one everything.
    pub waves: Vec<Wave>,
    /// How long each wave is watched.
    pub soak: Span,
}

impl Default for Fleet {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            signers: 1,
            rails: BTreeMap::new(),
            waves: vec![Wave::Count(1), Wave::Share(0.05), Wave::Share(0.25), Wave::Share(1.0)],
            soak: Span::minutes(10),
        }
    }
}

/// One wave of a rollout: how many servers have the new policy at its end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wave {
    /// So many servers.
    Count(u32),
    /// A share of the fleet, more than 0 and at most 1.
    Share(f64),
}

/// Label matchers; every one must match, values may hold `*`. An empty one matches no server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match(pub BTreeMap<String, String>);

/// `profile:`: a set of servers and the sensors they run.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Which servers.
    pub matches: Match,
    /// Which sensors.
    pub sensors: Vec<SensorUse>,
}

/// One sensor of a profile.
#[derive(Clone, Debug, PartialEq)]
pub struct SensorUse {
    /// The sensor's name in the catalogue.
    pub sensor: &'static str,
    /// Unique on a server: the sensor's name, and `:name` where the use is named (`exec:queue`).
    pub id: String,
    /// Its `name:`, where given.
    pub name: Option<String>,
    /// Its interval.
    pub every: Span,
    /// Checked parameters, defaults filled in; without `name` and `every`.
    pub params: Params,
}

/// `script:`: the only code an agent will ever run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Absolute path of the interpreter.
    pub interpreter: String,
    /// The text.
    pub body: String,
}

/// How far a scenario looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One server.
    #[default]
    Server,
    /// The servers of one cluster.
    Cluster,
    /// All servers.
    Fleet,
}

/// Which servers a scenario is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Where {
    /// Servers whose profiles declare the sensors of the series in `when`.
    Declaring,
    /// Servers that run this profile.
    Profile(String),
    /// Servers with these labels.
    Labels(Match),
}

/// Whether a scenario acts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Says what it would do.
    #[default]
    Observe,
    /// Does it.
    Enforce,
}

/// How bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth a look.
    #[default]
    Warning,
    /// Get up.
    Critical,
}

impl Severity {
    /// The name in policy.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// `scenario:`.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: ScenarioName,
    /// SHA-256 of the document's canonical form and of the scripts it uses, hex: equal text, equal digest.
    pub digest: String,
    /// How far it looks.
    pub scope: Scope,
    /// Which servers.
    pub selects: Where,
    /// When it fires; none for one that only answers a request.
    pub when: Option<Condition>,
    /// The request it answers.
    pub on_request: Option<String>,
    /// When it is over; none: `when` is known and false, or gone.
    pub clear: Option<Condition>,
    /// The labels that make an instance, sorted.
    pub per: Vec<String>,
    /// How long `when` must hold.
    pub hold: Span,
    /// How long clear must hold.
    pub settle: Span,
    /// How bad.
    pub severity: Severity,
    /// Whether it acts.
    pub mode: Mode,
    /// MiniJinja text for people; see [`Scenario::summarize`].
    pub summary: Option<String>,
    /// Steps, in order.
    pub respond: Vec<Step>,
    /// The route; none: the route named `default`, else the console.
    pub escalate: Option<String>,
    /// Rails of its own.
    pub limits: Limits,
}

/// One step of `respond`.
#[derive(Clone, Debug)]
pub struct Step {
    /// The action.
    pub action: &'static crate::catalogue::ActionSpec,
    /// Parameters as written; `${label}` is filled and parsed by [`Step::render`].
    pub with: BTreeMap<String, ParamText>,
    /// The servers it is done on; none: the incident's own.
    pub target: Option<StepTarget>,
    /// Whether a person must approve; the default is true for destructive actions.
    pub approve: bool,
    /// What proves the cure; none: the scenario's clear.
    pub verify: Option<Condition>,
    /// How long that may take.
    pub verify_within: Span,
}

/// Which servers a step is done on.
#[derive(Clone, Debug, PartialEq)]
pub enum StepTarget {
    /// Those the request resolved to.
    Request,
    /// Some of those that match.
    Pick(Pick),
}

/// `target: { where: ..., pick: 1, order: highest cpu.busy_ratio }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Pick {
    /// Of which servers; in scope `cluster` those of the incident's cluster.
    pub selects: Where,
    /// How many; none: all of them.
    pub pick: Option<u32>,
    /// Which first; none: by name.
    pub order: Option<Order>,
}

/// Which servers come first.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// The greatest value first, else the least.
    pub highest: bool,
    /// A number of each server; servers where it is unknown come last.
    pub by: Condition,
}

/// A parameter as written.
#[derive(Clone, Debug, PartialEq)]
pub enum ParamText {
    /// Without `${...}`: checked when the policy was loaded.
    Literal(crate::value::Value),
    /// With `${label}` in it.
    Template(String),
    /// A list with `${label}` in an item.
    Templates(Vec<String>),
}

/// `limits:` of a scenario; none: the default of design.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// First cooldown.
    pub cooldown: Option<Span>,
    /// Acts an hour.
    pub per_hour: Option<u32>,
    /// Share of the cluster, 0..1.
    pub blast_radius: Option<f64>,
}

/// `route:`: whom to tell, in tiers.
#[derive(Clone, Debug, Default)]
pub struct Route {
    /// In order.
    pub tiers: Vec<Tier>,
    /// When to keep quiet.
    pub quiet: Option<Quiet>,
}

/// One tier of a route.
#[derive(Clone, Debug)]
pub struct Tier {
    /// How long after the first notice, while not acknowledged.
    pub after: Span,
    /// Whom.
    pub to: Vec<Target>,
}

/// Hours in which lesser notices wait.
#[derive(Clone, Debug)]
pub struct Quiet {
    /// Minutes after midnight.
    pub from: u32,
    /// Minutes after midnight.
    pub until: u32,
    /// Notices at or above this severity are sent all the same.
    pub only_below: Severity,
}

/// Whom to tell.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A mail address.
    Mail(String),
    /// A telephone number.
    Sms(String),
    /// A `contact:` document.
    Contact(String),
    /// The controller's own terminal and log.
    Console,
}

/// `contact:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// The webhook's format; `alertmanager` is the one there is.
    pub format: String,
    /// The name of the credential that holds the URL.
    pub credential: String,
}

/// `never:`: parameters that are refused whoever asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Never {
    /// Action names.
    pub actions: Vec<String>,
    /// Refused values by parameter: addresses and networks for ips, globs for text.
    pub with: BTreeMap<String, Vec<String>>,
}

/// `request:`: what people may ask for, and the words they use for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Its parameters and how they are read.
    pub parameters: BTreeMap<String, ParamKind>,
    /// Phrases with `{parameter}` in them.
    pub phrases: Vec<String>,
}

/// `customer:`: who may ask for what, and about which servers.
#[derive(Clone, Debug, PartialEq)]
pub struct Customer {
    /// Their servers.
    pub servers: Match,
    /// Their mail addresses.
    pub from: Vec<String>,
    /// Requests they may make.
    pub may: Vec<String>,
    /// Where a request is confirmed.
    pub challenge: Option<Target>,
}
