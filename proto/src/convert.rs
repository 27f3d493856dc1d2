//! Model to wire and back. What comes from the wire is bounded and checked; errors are sentences.

use std::collections::BTreeMap;

use skynet_model::command::{Command, LedgerEntry, MAX_OUTCOME_TEXT, Outcome, Status};
use skynet_model::name::{CommandId, IncidentId, NameError, ScenarioName, ServerId};
use skynet_model::series::{Labels, MAX_TEXT};
use skynet_model::time::{Span, Timestamp};
use skynet_model::value::{Params, Value};

use crate::error::{Code, WireError};
use crate::v1;

/// Most labels one server or one command carries.
pub const MAX_WIRE_LABELS: usize = 64;
/// Most parameters of one command.
pub const MAX_PARAMS: usize = 64;
/// Most items of one list parameter.
pub const MAX_LIST: usize = 1024;
/// Longest text parameter, in bytes.
pub const MAX_PARAM_TEXT: usize = 4096;
/// Most ledger entries in one inventory.
pub const MAX_INVENTORY: usize = 10_000;

fn name(what: &str, error: &NameError) -> WireError {
    WireError::malformed(format!("{what}: {error}"))
}

/// Names and values in turn.
#[must_use]
pub fn labels_to_wire(labels: &Labels) -> Vec<String> {
    labels.iter().flat_map(|(n, v)| [n.to_owned(), v.to_owned()]).collect()
}

/// Labels from names and values in turn.
///
/// # Errors
/// When a value is missing, a name comes twice or is empty, or a bound is passed.
pub fn labels_from_wire(flat: &[String]) -> Result<Labels, WireError> {
    let (pairs, rest) = flat.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(WireError::malformed("labels: a name without a value"));
    }
    if pairs.len() > MAX_WIRE_LABELS {
        let message = format!("{} labels; at most {MAX_WIRE_LABELS} are allowed", pairs.len());
        return Err(WireError::new(Code::TooLarge, message));
    }
    for [n, v] in pairs {
        if n.is_empty() || n.len() > MAX_TEXT || v.len() > MAX_TEXT {
            return Err(WireError::malformed(format!(
                "a label's name is empty, or its name or value is longer than {MAX_TEXT} bytes"
            )));
        }
    }
    let labels = Labels::new(pairs.iter().map(|[n, v]| (n, v)));
    if labels.len() != pairs.len() {
        return Err(WireError::malformed("labels: a name comes twice"));
    }
    Ok(labels)
}

/// A value for the wire.
#[must_use]
pub fn value_to_wire(value: &Value) -> v1::Value {
    use v1::value::Kind;
    let kind = match value {
        Value::Text(text) => Kind::Text(text.clone()),
        Value::Bool(truth) => Kind::Truth(*truth),
        Value::Int(number) => Kind::Number(*number),
        Value::Duration(span) => Kind::SpanMs(span.0),
        Value::List(items) => Kind::List(v1::ValueList { items: items.iter().map(value_to_wire).collect() }),
    };
    v1::Value { kind: Some(kind) }
}

/// A value from the wire. A list holds no lists.
///
/// # Errors
/// When it is empty, too long, or a list within a list.
pub fn value_from_wire(value: v1::Value) -> Result<Value, WireError> {
    use v1::value::Kind;
    match value.kind {
        Some(Kind::List(list)) => {
            if list.items.len() > MAX_LIST {
                let message = format!("a list of {} items; at most {MAX_LIST} are allowed", list.items.len());
                return Err(WireError::new(Code::TooLarge, message));
            }
            list.items.into_iter().map(|item| plain(item.kind)).collect::<Result<_, _>>().map(Value::List)
        }
        kind @ (None | Some(Kind::Text(_) | Kind::Truth(_) | Kind::Number(_) | Kind::SpanMs(_))) => plain(kind),
    }
}

fn plain(kind: Option<v1::value::Kind>) -> Result<Value, WireError> {
    use v1::value::Kind;
    match kind {
        Some(Kind::Text(text)) if text.len() > MAX_PARAM_TEXT => {
            Err(WireError::new(Code::TooLarge, format!("a text of {} bytes; at most {MAX_PARAM_TEXT}", text.len())))
        }
        Some(Kind::Text(text)) => Ok(Value::Text(text)),
        Some(Kind::Truth(truth)) => Ok(Value::Bool(truth)),
        Some(Kind::Number(number)) => Ok(Value::Int(number)),
        Some(Kind::SpanMs(ms)) if ms >= 0 => Ok(Value::Duration(Span(ms))),
        // It has no text: whoever is told it as text could not read it.
        Some(Kind::SpanMs(ms)) => Err(WireError::malformed(format!("a duration of {ms} ms"))),
        Some(Kind::List(_)) => Err(WireError::malformed("a list within a list")),
        None => Err(WireError::malformed("a value of no known kind")),
    }
}

/// Parameters for the wire.
#[must_use]
pub fn params_to_wire(params: &Params) -> BTreeMap<String, v1::Value> {
    params.iter().map(|(n, v)| (n.clone(), value_to_wire(v))).collect()
}

/// Parameters from the wire.
///
/// # Errors
/// As [`value_from_wire`], or when there are too many.
pub fn params_from_wire(params: BTreeMap<String, v1::Value>) -> Result<Params, WireError> {
    if params.len() > MAX_PARAMS {
        let message = format!("{} parameters; at most {MAX_PARAMS} are allowed", params.len());
        return Err(WireError::new(Code::TooLarge, message));
    }
    let one = |(n, v): (String, v1::Value)| {
        if n.is_empty() || n.len() > MAX_TEXT {
            return Err(WireError::malformed("a parameter's name is empty or too long"));
        }
        match value_from_wire(v) {
            Ok(value) => Ok((n, value)),
            Err(e) => Err(WireError::new(e.code, format!("parameter {n}: {e}"))),
        }
    };
    params.into_iter().map(one).collect()
}

/// A command for the wire; its time to live counts from the arrival of ping number `ping`.
#[must_use]
pub fn command_to_wire(command: &Command, ping: u64) -> v1::Command {
    v1::Command {
        id: command.id.to_string(),
        incident: command.incident.to_string(),
        scenario: command.scenario.to_string(),
        step: command.step,
        attempt: command.attempt,
        server: command.server.to_string(),
        action: command.action.clone(),
        labels: labels_to_wire(&command.labels),
        params: params_to_wire(&command.params),
        policy_version: command.policy,
        epoch: command.epoch,
        ping,
        ttl_ms: u64::try_from(command.ttl.0).unwrap_or(0),
    }
}

/// Longest time to live that is taken from the wire.
pub const MAX_TTL: Span = Span::hours(1);

/// A command and the ping its time to live counts from.
///
/// # Errors
/// When a name is none, or a bound is passed.
pub fn command_from_wire(command: v1::Command) -> Result<(Command, u64), WireError> {
    let ttl = Span(i64::try_from(command.ttl_ms).unwrap_or(i64::MAX));
    if ttl > MAX_TTL {
        return Err(WireError::malformed(format!("a command's time to live of {ttl}; at most {MAX_TTL} is allowed")));
    }
    if command.action.is_empty() || command.action.len() > MAX_TEXT {
        return Err(WireError::malformed("a command's action is empty or too long"));
    }
    let ping = command.ping;
    let command = Command {
        id: CommandId::new(&command.id).map_err(|e| name("command id", &e))?,
        incident: IncidentId::new(&command.incident).map_err(|e| name("incident", &e))?,
        scenario: ScenarioName::new(&command.scenario).map_err(|e| name("scenario", &e))?,
        step: command.step,
        attempt: command.attempt,
        server: ServerId::new(&command.server).map_err(|e| name("server", &e))?,
        action: command.action,
        labels: labels_from_wire(&command.labels)?,
        params: params_from_wire(command.params)?,
        policy: command.policy_version,
        epoch: command.epoch,
        ttl,
    };
    Ok((command, ping))
}

/// `text` cut at `max` bytes, on the border of a character.
#[must_use]
pub fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// An outcome for the wire.
#[must_use]
pub fn outcome_to_wire(outcome: &Outcome) -> v1::Outcome {
    let status = match outcome.status {
        Status::Done => v1::Status::Done,
        Status::Failed => v1::Status::Failed,
        Status::Refused => v1::Status::Refused,
        Status::Expired => v1::Status::Expired,
        Status::Indeterminate => v1::Status::Indeterminate,
    };
    v1::Outcome {
        command_id: outcome.command.to_string(),
        status: status.into(),
        message: cut(&outcome.message, MAX_OUTCOME_TEXT).to_owned(),
        finished_ms: outcome.finished.0,
        finished_boot_ms: outcome.finished_boot_ms,
        took_ms: outcome.took_ms,
    }
}

/// An outcome from the wire; its message is cut at [`MAX_OUTCOME_TEXT`].
///
/// # Errors
/// When the id is none or the status is not known.
pub fn outcome_from_wire(outcome: v1::Outcome) -> Result<Outcome, WireError> {
    let unknown = || WireError::malformed(format!("outcome status {} is not known", outcome.status));
    let status = match v1::Status::try_from(outcome.status).map_err(|_| unknown())? {
        v1::Status::Done => Status::Done,
        v1::Status::Failed => Status::Failed,
        v1::Status::Refused => Status::Refused,
        v1::Status::Expired => Status::Expired,
        v1::Status::Indeterminate => Status::Indeterminate,
        v1::Status::Unspecified => return Err(unknown()),
    };
    Ok(Outcome {
        command: CommandId::new(&outcome.command_id).map_err(|e| name("outcome's command id", &e))?,
        status,
        message: cut(&outcome.message, MAX_OUTCOME_TEXT).to_owned(),
        finished: Timestamp(outcome.finished_ms),
        finished_boot_ms: outcome.finished_boot_ms,
        took_ms: outcome.took_ms,
    })
}

/// The ledger's inventory for the wire.
#[must_use]
pub fn inventory_to_wire(entries: &[LedgerEntry]) -> v1::Inventory {
    let one = |entry: &LedgerEntry| v1::LedgerEntry {
        command_id: entry.command.to_string(),
        outcome: entry.outcome.as_ref().map(outcome_to_wire),
    };
    v1::Inventory { entries: entries.iter().map(one).collect() }
}

/// The ledger's inventory from the wire.
///
/// # Errors
/// When an entry is malformed, names another command in its outcome, or there are too many.
pub fn inventory_from_wire(inventory: v1::Inventory) -> Result<Vec<LedgerEntry>, WireError> {
    if inventory.entries.len() > MAX_INVENTORY {
        let message = format!("an inventory of {} entries; at most {MAX_INVENTORY}", inventory.entries.len());
        return Err(WireError::new(Code::TooLarge, message));
    }
    let one = |entry: v1::LedgerEntry| {
        let command = CommandId::new(&entry.command_id).map_err(|e| name("ledger entry's command id", &e))?;
        let outcome = entry.outcome.map(outcome_from_wire).transpose()?;
        if outcome.as_ref().is_some_and(|o| o.command != command) {
            return Err(WireError::malformed(format!("ledger entry {command} holds the outcome of another command")));
        }
        Ok(LedgerEntry { command, outcome })
    };
    inventory.entries.into_iter().map(one).collect()
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
