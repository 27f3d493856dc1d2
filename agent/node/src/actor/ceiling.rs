//! The ceiling: what this server's own configuration allows, whatever policy or controller say.

use serde::Deserialize;

use crate::glob;

/// Limits set on the server itself, in `agent.toml`; nothing remote can raise them. By default everything that is in
/// policy, 30 actions an hour, 10 of them disruptive or destructive.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ceiling {
    /// Actions that may run, by name; `*` stands for any text: `["service.*", "journal.vacuum"]`.
    pub allow: Vec<String>,
    /// Profiles that are accepted, by name; `*` stands for any text. Others do not exist for this server.
    pub profiles: Vec<String>,
    /// Most actions in an hour.
    pub per_hour: u32,
    /// Most disruptive and destructive actions in an hour.
    pub disruptive_per_hour: u32,
}

impl Default for Ceiling {
    fn default() -> Self {
        Self { allow: vec!["*".to_owned()], profiles: vec!["*".to_owned()], per_hour: 30, disruptive_per_hour: 10 }
    }
}

impl Ceiling {
    /// Whether the action may run at all.
    #[must_use]
    pub fn allows(&self, action: &str) -> bool {
        self.allow.iter().any(|pattern| glob::fits(pattern.as_bytes(), action.as_bytes()))
    }

    /// Whether the profile is accepted.
    #[must_use]
    pub fn accepts(&self, profile: &str) -> bool {
        self.profiles.iter().any(|pattern| glob::fits(pattern.as_bytes(), profile.as_bytes()))
    }
}
