//! Actions: one file each. A new one is its file, a `mod` line and a line in `TABLE`.
//!
//! What must never enter: retry, limits, the envelope, the ledger. They are `actor`'s. Siblings never import each other.

mod files_delete;
mod firewall;
mod journal_vacuum;
mod process_signal;
mod script_run;
mod service;

use std::time::Duration;

use skynet_model::catalogue::ActionSpec;
use skynet_model::command::{Command, MAX_OUTCOME_TEXT};
use skynet_model::policy::Policy;
use skynet_model::series::Labels;
use skynet_model::value::{Params, Value};

use crate::host::{Exec, ExecOutput, Host, HostError};

/// Every action, in order of name.
const TABLE: &[(&ActionSpec, &dyn Action)] = &[
    (&files_delete::SPEC, &files_delete::FilesDelete),
    (&firewall::BLOCK, &firewall::Block),
    (&firewall::UNBLOCK, &firewall::Unblock),
    (&journal_vacuum::SPEC, &journal_vacuum::JournalVacuum),
    (&process_signal::SPEC, &process_signal::ProcessSignal),
    (&script_run::SPEC, &script_run::ScriptRun),
    (&service::RELOAD, &service::Reload),
    (&service::RESTART, &service::Restart),
    (&service::START, &service::Start),
    (&service::STOP, &service::Stop),
];

const LISTED: [&ActionSpec; TABLE.len()] = {
    let mut listed = [TABLE[0].0; TABLE.len()];
    let mut at = 0;
    while at < TABLE.len() {
        listed[at] = TABLE[at].0;
        at += 1;
    }
    listed
};

/// Every action's catalogue entry, in order of name.
pub static SPECS: &[&ActionSpec] = &LISTED;

/// The action called `name`.
#[must_use]
pub fn find(name: &str) -> Option<(&'static ActionSpec, &'static dyn Action)> {
    TABLE.iter().copied().find(|(spec, _)| spec.name == name)
}

/// What an action may know besides its parameters.
#[derive(Debug)]
pub struct Context<'a> {
    /// The command; its labels, incident and scenario are data for scripts' environments.
    pub command: &'a Command,
    /// The policy version the command was rendered from: its scripts and declared services.
    pub policy: &'a Policy,
    /// The labels operators gave this server: they choose its profiles.
    pub labels: &'a Labels,
    /// How long the action may take from now on.
    pub timeout: Duration,
    /// When its intent was written, on the boot clock in milliseconds; none: under another boot.
    pub intent_boot_ms: Option<i64>,
}

/// Something that changes a server. The contract:
///
/// - **Parameters** were parsed by the spec's schema and have passed the envelope; an action still refuses what would be
///   wrong whoever asks (`/`, process 1).
/// - **Blocking** is expected: actions run one at a time, on a thread of their own.
/// - **Deadline**: `run` returns within `context.timeout`; what it started and is not meant to outlive it is killed then.
/// - **Cancellation**: there is none. A begun action runs to its end or its deadline; a halt stops the next one.
/// - **Retry**: never here. Whoever asked decides by readings; after a crash the actor decides by the spec's idempotence.
/// - **Success** means that the action did what it says, or found it done. Whether it cured anything is not its business.
pub trait Action: Send + Sync {
    /// Acts; says in one line what was done.
    ///
    /// # Errors
    /// [`ActionError`].
    fn run(&self, host: &dyn Host, params: &Params, context: &Context<'_>) -> Result<String, ActionError>;

    /// Whether a run that a crash may have cut short has had its effect. Asked of `probeable` actions only; has none of its own.
    fn probe(&self, host: &dyn Host, params: &Params, context: &Context<'_>) -> Probe {
        let _ = (host, params, context);
        Probe::Unknown
    }
}

impl std::fmt::Debug for dyn Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Action")
    }
}

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// The effect is there.
    Done,
    /// It is not there.
    NotDone,
    /// Cannot be told.
    Unknown,
}

/// Why an action did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActionError {
    /// It would not begin; there was no effect.
    #[error("{0}")]
    Refused(String),
    /// It began and failed; there may have been an effect.
    #[error("{0}")]
    Failed(String),
}

impl From<HostError> for ActionError {
    fn from(error: HostError) -> Self {
        Self::Failed(error.to_string())
    }
}

fn text<'a>(params: &'a Params, name: &str) -> Result<&'a str, ActionError> {
    params
        .get(name)
        .and_then(Value::as_text)
        .ok_or_else(|| ActionError::Refused(format!("parameter `{name}` is missing or not a text")))
}

fn int(params: &Params, name: &str) -> Result<i64, ActionError> {
    params
        .get(name)
        .and_then(Value::as_int)
        .ok_or_else(|| ActionError::Refused(format!("parameter `{name}` is missing or not a number")))
}

/// A policy script's command line and text. Its environment is what the incident says, as data: `SKYNET_INCIDENT`,
/// `SKYNET_SCENARIO`, and `label_NAME` for each label (what is not a letter, digit or `_` in the name becomes `_`).
fn script<'a>(
    name: &str,
    args: Vec<String>,
    timeout: Duration,
    context: &Context<'a>,
) -> Result<(Exec, &'a str), ActionError> {
    let script = context
        .policy
        .scripts
        .get(name)
        .ok_or_else(|| ActionError::Refused(format!("script `{name}` is not in the applied policy")))?;
    let command = context.command;
    let mut env = vec![
        ("SKYNET_INCIDENT".to_owned(), command.incident.to_string()),
        ("SKYNET_SCENARIO".to_owned(), command.scenario.to_string()),
    ];
    for (label, value) in command.labels.iter() {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
        let name: String = label.chars().map(plain).collect();
        // NUL cannot be in an environment; a value with one says nothing a script could use.
        if !value.contains('\0') {
            env.push((format!("label_{name}"), value.to_owned()));
        }
    }
    let exec = Exec { program: script.interpreter.clone(), args, stdin: Vec::new(), env, timeout };
    Ok((exec, &script.body))
}

/// Success with what a command line printed, or failure with its complaint.
fn ended(what: &str, output: &ExecOutput) -> Result<String, ActionError> {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.code == 0 {
        let said = if out.trim().is_empty() { err.trim() } else { out.trim() };
        return Ok(if said.is_empty() { format!("{what} ended well") } else { cut(said).to_owned() });
    }
    let said = if err.trim().is_empty() { out.trim() } else { err.trim() };
    Err(ActionError::Failed(format!("{what} ended with code {}: {}", output.code, cut(said))))
}

/// The first part of a text that fits into an outcome.
pub(crate) fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_OUTCOME_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests;
