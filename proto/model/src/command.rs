//! Commands and outcomes: one step asked of one server, and how it ended.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::name::{CommandId, IncidentId, ScenarioName, ServerId};
use crate::series::Labels;
use crate::time::{Span, Timestamp};
use crate::value::Params;

/// Longest text an outcome carries, in bytes.
pub const MAX_OUTCOME_TEXT: usize = 4096;

/// One step asked of one server. It names what signed policy already says; the agent renders the step from its own copy
/// and refuses a command that differs from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// See [`command_id`]; a resend keeps it.
    pub id: CommandId,
    /// The incident it belongs to.
    pub incident: IncidentId,
    /// The scenario.
    pub scenario: ScenarioName,
    /// The step within `respond`, from 0.
    pub step: u32,
    /// Which try of that step, from 1.
    pub attempt: u32,
    /// The server it is for.
    pub server: ServerId,
    /// The action's name.
    pub action: String,
    /// The instance's labels, which fill `${...}`.
    pub labels: Labels,
    /// The step's parameters as the controller rendered them.
    pub params: Params,
    /// The policy version it was rendered from.
    pub policy: u64,
    /// The controller's epoch.
    pub epoch: u64,
    /// How long it may wait before it must not begin; measured on the agent's boot clock from the session's last ping.
    pub ttl: Span,
}

/// The default time to live of a command.
pub const COMMAND_TTL: Span = Span::seconds(60);

/// `hash(incident, step, attempt, server)` as 32 hex digits.
#[must_use]
#[allow(clippy::missing_panics_doc)]
pub fn command_id(incident: &IncidentId, step: u32, attempt: u32, server: &ServerId) -> CommandId {
    let mut hash = Sha256::new();
    hash.update(incident.as_str());
    hash.update([0]);
    hash.update(step.to_be_bytes());
    hash.update(attempt.to_be_bytes());
    hash.update(server.as_str());
    let hex: String = hash.finalize()[..16].iter().map(|b| format!("{b:02x}")).collect();
    // Hex digits are always a name; the fallback keeps this total without a panic.
    CommandId::new(&hex).unwrap_or_else(|_| unreachable!("hex digits are a name"))
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The action ran and reported success. Whether it cured anything is for the readings to say.
    Done,
    /// The action ran, or tried to, and failed.
    Failed,
    /// The acting process would not: envelope, ceiling, rate, epoch, halt. No effect.
    Refused,
    /// Its time to live had passed before it began. No effect.
    Expired,
    /// A crash came between intent and outcome; whether it had an effect is not known. Never run again.
    Indeterminate,
}

impl Status {
    /// The name in the JSON form.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Expired => "expired",
            Self::Indeterminate => "indeterminate",
        }
    }
}

/// The end of one command, from the acting process' ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Which command.
    pub command: CommandId,
    /// How it ended.
    pub status: Status,
    /// What the action said, at most [`MAX_OUTCOME_TEXT`] bytes. Data, not to be trusted as markup.
    pub message: String,
    /// When, by the server's wall clock.
    pub finished: Timestamp,
    /// When, in milliseconds of the server's boot clock: readings of sweeps begun later are fresh.
    pub finished_boot_ms: i64,
    /// How long the action ran, in milliseconds.
    pub took_ms: u64,
}

/// One line of the ledger's inventory, sent when a session begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// Which command.
    pub command: CommandId,
    /// Its outcome; none while it runs.
    pub outcome: Option<Outcome>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_depends_on_each_part_and_on_nothing_else() {
        let (i, s) = (IncidentId::new("i-1").unwrap(), ServerId::new("web1").unwrap());
        let id = command_id(&i, 0, 1, &s);
        assert_eq!(id, command_id(&i, 0, 1, &s));
        assert_eq!(id.as_str().len(), 32);
        for other in [
            command_id(&IncidentId::new("i-2").unwrap(), 0, 1, &s),
            command_id(&i, 1, 1, &s),
            command_id(&i, 0, 2, &s),
            command_id(&i, 0, 1, &ServerId::new("web2").unwrap()),
        ] {
            assert_ne!(id, other);
        }
    }
}
