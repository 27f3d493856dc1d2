//! Finding what is meant by a name.

use skynet_model::catalogue::{ActionSpec, Catalogue, SERVER_CONNECTED, SensorSpec};
use skynet_model::condition::{FUNCTIONS, FunctionSpec};
use skynet_model::diagnostic::nearest;

use super::super::Failure;
use super::super::clean::clean;

/// What is explained.
#[derive(Debug, Default)]
pub(super) struct Choice {
    pub(super) sensors: Vec<&'static SensorSpec>,
    pub(super) actions: Vec<&'static ActionSpec>,
    pub(super) functions: Vec<&'static FunctionSpec>,
    /// The series the controller itself gives.
    pub(super) own: bool,
}

impl Choice {
    /// By kind, by kind and name, or by name alone; without either, everything.
    pub(super) fn of(what: Option<&str>, name: Option<&str>, catalogue: &Catalogue) -> Result<Self, Failure> {
        let everything = Self {
            sensors: catalogue.sensors.to_vec(),
            actions: catalogue.actions.to_vec(),
            functions: FUNCTIONS.iter().collect(),
            own: true,
        };
        let (chosen, name) = match (what, name) {
            (None, _) => return Ok(everything),
            (Some("sensor" | "sensors"), name) => {
                (Self { sensors: everything.sensors, own: true, ..Self::default() }, name)
            }
            (Some("action" | "actions"), name) => (Self { actions: everything.actions, ..Self::default() }, name),
            (Some("function" | "functions"), name) => {
                (Self { functions: everything.functions, ..Self::default() }, name)
            }
            (Some(name), None) => (everything, Some(name)),
            (Some(kind), Some(_)) => {
                let kind = clean(kind);
                return Err(Failure::Usage(format!("`{kind}` is not `sensor`, `action` or `function`")));
            }
        };
        match name {
            None => Ok(chosen),
            Some(name) => chosen.only(name, catalogue),
        }
    }

    /// What is called `name`: a sensor by its own name or that of one of its series.
    fn only(self, name: &str, catalogue: &Catalogue) -> Result<Self, Failure> {
        let of_series = catalogue.series(name).and_then(|(sensor, _)| sensor).map(|s| s.name);
        let known: Vec<&str> = self
            .sensors
            .iter()
            .flat_map(|s| std::iter::once(s.name).chain(s.series.iter().map(|series| series.name)))
            .chain(self.actions.iter().map(|a| a.name))
            .chain(self.functions.iter().map(|f| f.name))
            .chain(self.own.then_some(SERVER_CONNECTED.name))
            .collect();
        let found = Self {
            sensors: self.sensors.into_iter().filter(|s| s.name == name || of_series == Some(s.name)).collect(),
            actions: self.actions.into_iter().filter(|a| a.name == name).collect(),
            functions: self.functions.into_iter().filter(|f| f.name == name).collect(),
            own: self.own && name == SERVER_CONNECTED.name,
        };
        if found.count() == 0 {
            let meant = nearest(name, known).map(|word| format!(" (did you mean `{word}`?)")).unwrap_or_default();
            let name = clean(name);
            return Err(Failure::Failed(format!("nothing is called `{name}`{meant}; `skynetctl explain` lists all")));
        }
        Ok(found)
    }

    /// Whether it is a single thing.
    pub(super) fn is_one(&self) -> bool {
        self.count() == 1
    }

    fn count(&self) -> usize {
        self.sensors.len() + self.actions.len() + self.functions.len() + usize::from(self.own)
    }
}
