//! What exists: every sensor and action with its parameters, series, units, risk and idempotence.
//!
//! Each sensor and action declares its own entry beside its code (`skynet-node`); policy checking, `skynetctl explain`
//! and the reference in the docs read it from here.

use crate::time::Span;
use crate::value::ParamSpec;

/// The unit of a series' values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// 0..1.
    Ratio,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
    /// Per second.
    PerSecond,
    /// Bytes per second.
    BytesPerSecond,
    /// Degrees Celsius.
    Celsius,
    /// A count of things, or a counter that only rises (`_total`).
    Count,
    /// 0 or 1.
    Bool,
    /// A code with the meaning its help text gives.
    State,
    /// Whatever an exec sensor says.
    Any,
}

impl Unit {
    /// The unit's name, as in `-o json`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ratio => "ratio",
            Self::Bytes => "bytes",
            Self::Seconds => "seconds",
            Self::PerSecond => "per_second",
            Self::BytesPerSecond => "bytes_per_second",
            Self::Celsius => "celsius",
            Self::Count => "count",
            Self::Bool => "bool",
            Self::State => "state",
            Self::Any => "any",
        }
    }
}

/// One series a sensor gives.
#[derive(Clone, Copy, Debug)]
pub struct SeriesSpec {
    /// The dotted name; `prom.*` stands for all names that begin so.
    pub name: &'static str,
    /// Its label names. An open set (prom, json) is empty with `open_labels`.
    pub labels: &'static [&'static str],
    /// Whether other labels may come.
    pub open_labels: bool,
    /// The unit.
    pub unit: Unit,
    /// Whether a label set that is gone from a complete sweep counts as cured (design: processes, connections).
    pub ephemeral: bool,
    /// One line for people.
    pub help: &'static str,
}

/// One sensor.
#[derive(Clone, Copy, Debug)]
pub struct SensorSpec {
    /// Its name in `sensors:`.
    pub name: &'static str,
    /// One line for people.
    pub help: &'static str,
    /// Default interval.
    pub every: Span,
    /// Parameters besides `every` (and `name`, for sensors that may be used more than once).
    pub params: &'static [ParamSpec],
    /// Series it gives.
    pub series: &'static [SeriesSpec],
}

/// What an action may break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Risk {
    /// Can be undone.
    Reversible,
    /// Interrupts something for a while.
    Disruptive,
    /// Cannot be undone.
    Destructive,
}

/// What may be done when a crash leaves it open whether an action ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Idempotence {
    /// Running again leads to the same state: it is run again.
    Declarative,
    /// Whether it ran can be found out: it is probed.
    Probeable,
    /// Neither: it is reported as indeterminate and never run again.
    Once,
}

/// One action.
#[derive(Clone, Copy, Debug)]
pub struct ActionSpec {
    /// Its name in `do:`.
    pub name: &'static str,
    /// One line for people.
    pub help: &'static str,
    /// Parameters.
    pub params: &'static [ParamSpec],
    /// What it may break.
    pub risk: Risk,
    /// After a crash.
    pub idempotence: Idempotence,
    /// Longest run; the default is 30 s.
    pub deadline: Span,
    /// The action that undoes it, where there is one.
    pub inverse: Option<&'static str>,
}

/// All that exists.
#[derive(Clone, Copy, Debug)]
pub struct Catalogue {
    /// Sensors, in order of name.
    pub sensors: &'static [&'static SensorSpec],
    /// Actions, in order of name.
    pub actions: &'static [&'static ActionSpec],
}

/// Series the controller itself gives for every enrolled server.
pub const SERVER_CONNECTED: SeriesSpec = SeriesSpec {
    name: "server.connected",
    labels: &[],
    open_labels: false,
    unit: Unit::Bool,
    ephemeral: false,
    help: "1 while the server's agent is connected, else 0",
};

impl Catalogue {
    /// The sensor called `name`.
    #[must_use]
    pub fn sensor(&self, name: &str) -> Option<&'static SensorSpec> {
        self.sensors.iter().copied().find(|s| s.name == name)
    }

    /// The action called `name`.
    #[must_use]
    pub fn action(&self, name: &str) -> Option<&'static ActionSpec> {
        self.actions.iter().copied().find(|a| a.name == name)
    }

    /// The series called `name`, and the sensor that gives it (none for the controller's own).
    #[must_use]
    pub fn series(&self, name: &str) -> Option<(Option<&'static SensorSpec>, &'static SeriesSpec)> {
        if name == SERVER_CONNECTED.name {
            return Some((None, &SERVER_CONNECTED));
        }
        self.sensors.iter().copied().find_map(|sensor| {
            let fits = |s: &&SeriesSpec| match s.name.strip_suffix('*') {
                Some(prefix) => name.len() > prefix.len() && name.starts_with(prefix),
                None => s.name == name,
            };
            sensor.series.iter().find(fits).map(|s| (Some(sensor), s))
        })
    }

    /// All series names, for suggestions.
    pub fn series_names(&self) -> impl Iterator<Item = &'static str> {
        let own = std::iter::once(SERVER_CONNECTED.name);
        own.chain(self.sensors.iter().flat_map(|sensor| sensor.series.iter().map(|s| s.name)))
    }
}
