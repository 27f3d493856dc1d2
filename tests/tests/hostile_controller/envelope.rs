//! What signed policy allows, written down by hand and not by the code that is tested.

use std::collections::BTreeSet;
use std::path::PathBuf;

use skynet_model::command::{Command, command_id};
use skynet_model::name::CommandId;
use skynet_model::series::Labels;
use skynet_model::time::Span;
use skynet_model::value::{Params, Value};

/// What a command does, as it can be seen afterwards.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    /// A line of the file `effects`.
    Line(String),
    /// A file of `cache` is gone.
    Deleted(String),
}

pub(crate) struct Envelope {
    dir: PathBuf,
    pub(crate) version: u64,
    /// Labels are not signed: the controller may choose among profiles.
    role: &'static str,
    epoch: u64,
    done: BTreeSet<CommandId>,
}

impl Envelope {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir, version: 5, role: "web", epoch: 1, done: BTreeSet::new() }
    }

    pub(crate) fn labels(&self) -> Labels {
        Labels::new([("role", self.role)])
    }

    /// Web servers are most of them.
    pub(crate) fn change_role(&mut self) {
        self.role = if self.role == "web" { "db" } else { "web" };
    }

    /// The next version is in force, which comes with the role of a web server.
    pub(crate) fn rise(&mut self) {
        (self.version, self.role) = (6, "web");
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) fn was_done(&self, id: &CommandId) -> bool {
        self.done.contains(id)
    }

    /// The parameters of a step as policy renders them; none where policy has no such step for this label.
    pub(crate) fn params(&self, scenario: &str, step: u32, labels: &Labels) -> Option<(&'static str, Params)> {
        let text = |text: &str| Value::Text(text.to_owned());
        let script = |arg: &str| {
            let timeout = ("timeout".to_owned(), Value::Duration(Span::seconds(30)));
            let args = ("args".to_owned(), Value::List(vec![text(arg)]));
            Params::from([("script".to_owned(), text("mark")), args, timeout])
        };
        match (scenario, step) {
            ("mark", 0) => Some(("script.run", script("one"))),
            ("mark", 1) => Some(("script.run", script("two"))),
            ("elsewhere", 0) => Some(("script.run", script("elsewhere"))),
            ("named", 0) => Some(("script.run", script(labels.get("name")?))),
            ("sweep", 0) => {
                let path = format!("{}/cache/{}", self.dir.display(), labels.get("name")?);
                let older = ("older_than".to_owned(), Value::Duration(Span(0)));
                Some(("files.delete", Params::from([("path".to_owned(), text(&path)), older])))
            }
            _ => None,
        }
    }

    /// What comes of a command now; none: nothing.
    pub(crate) fn judge(&mut self, command: &Command, deadline: i64, now: i64, halted: bool) -> Option<Effect> {
        if self.done.contains(&command.id) {
            return None;
        }
        let effect = self.signed(command)?;
        if command.epoch < self.epoch || self.role != Self::role_of(command) {
            return None;
        }
        self.epoch = command.epoch;
        if deadline < now || halted {
            return None;
        }
        self.done.insert(command.id.clone());
        Some(effect)
    }

    /// Whether a command must not be done whenever it comes again: it was done, or no policy says it.
    pub(crate) fn is_settled(&self, command: &Command) -> bool {
        self.done.contains(&command.id) || self.signed(command).is_none()
    }

    fn role_of(command: &Command) -> &'static str {
        if command.scenario.as_str() == "elsewhere" { "db" } else { "web" }
    }

    fn signed(&self, command: &Command) -> Option<Effect> {
        let id = command_id(&command.incident, command.step, command.attempt, &command.server);
        let word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let well_formed = command.labels.len() <= 16 && command.labels.iter().all(|(name, _)| word(name));
        if command.policy != self.version || command.server.as_str() != "web1" || command.id != id || !well_formed {
            return None;
        }
        let (action, params) = self.params(command.scenario.as_str(), command.step, &command.labels)?;
        if command.action != action || command.params != params {
            return None;
        }
        let name = command.labels.get("name").unwrap_or_default();
        match (command.scenario.as_str(), command.step) {
            ("mark", 0) => Some(Effect::Line("mark one".to_owned())),
            ("mark", _) => Some(Effect::Line("mark two".to_owned())),
            ("elsewhere", _) => Some(Effect::Line("elsewhere elsewhere".to_owned())),
            ("named", _) => Some(Effect::Line(format!("named {name}"))),
            // `never` and the shape of paths: only plain names, and none that is precious.
            ("sweep", _) if word(name) && !name.starts_with("precious") => Some(Effect::Deleted(name.to_owned())),
            _ => None,
        }
    }
}
