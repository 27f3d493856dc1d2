//! `[operators]`: who of this machine may do what through the operators' socket.

use serde::Deserialize;

/// Most names in all lists together.
const MAX_NAMES: usize = 1000;

/// `[operators]`. Root and the user whom the controller runs as are always admins.
///
/// A name is a user's (`ann`, or its number), or a group's after `group:` (`group:oncall`, `group:990`).
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Operators {
    /// Who may look.
    pub viewers: Vec<String>,
    /// Who may also act: acknowledge, approve, silence, halt, resume.
    pub operators: Vec<String>,
    /// Who may also change what Skynet does: push policy, label servers.
    pub admins: Vec<String>,
}

impl Operators {
    /// Whether anybody is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.viewers.is_empty() && self.operators.is_empty() && self.admins.is_empty()
    }

    /// Checks the form of the names; whether this machine has them is known only when somebody asks.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(super) fn check(&self) -> Result<(), String> {
        let lists = [("viewers", &self.viewers), ("operators", &self.operators), ("admins", &self.admins)];
        if lists.iter().map(|(_, names)| names.len()).sum::<usize>() > MAX_NAMES {
            return Err(format!("operators: at most {MAX_NAMES} names are taken; name groups instead"));
        }
        for (list, names) in lists {
            for name in names {
                let bare = name.strip_prefix("group:").unwrap_or(name);
                let fine = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '@' | '$' | '\\' | '+');
                if bare.is_empty() || bare.len() > 256 || !bare.chars().all(fine) {
                    return Err(format!(
                        "operators.{list}: `{}` is neither a user nor a group; write \"ann\", \"1000\" or \
                         \"group:oncall\"",
                        name.escape_debug()
                    ));
                }
            }
        }
        Ok(())
    }
}
