//! The envelope: whether a command is what policy says, for this server, within the ceiling, now.

use std::fmt;

use skynet_model::catalogue::ActionSpec;
use skynet_model::command::{Command, Status, command_id};
use skynet_model::name::ServerId;
use skynet_model::policy::{Mode, Policy, Scenario, Scope, Step, StepTarget};
use skynet_model::series::{Labels, SeriesKey};
use skynet_model::sign::not_authorised;

use super::ceiling::Ceiling;
use super::policies::Policies;
use crate::ledger::Moment;

/// Why a command is not carried out: its status, and a sentence for people.
pub(super) type No = (Status, String);

pub(super) fn refused(why: impl Into<String>) -> No {
    (Status::Refused, why.into())
}

/// Refused because no signed policy says so: what an honest controller never asks.
fn unsigned(why: impl fmt::Display) -> No {
    refused(not_authorised(why))
}

/// Whether a step may be done on this server: which one of many it is done on is the controller's choice, but never one
/// outside what policy says.
pub(super) fn check_target(policy: &Policy, scenario: &Scenario, step: &Step, labels: &Labels) -> Result<(), String> {
    if policy.may_target(scenario, step, labels) {
        return Ok(());
    }
    let name = &scenario.name;
    match &step.target {
        None if scenario.scope == Scope::Server && scenario.on_request.is_none() => {
            Err(format!("scenario `{name}` does not apply to this server's labels {labels}"))
        }
        None => Err(format!("scenario `{name}` is about more than one server, and its step names none with `target`")),
        Some(StepTarget::Request) if scenario.on_request.is_none() => {
            Err(format!("scenario `{name}` answers no request, and its step is for the servers of one"))
        }
        Some(StepTarget::Request | StepTarget::Pick(_)) => Err(format!(
            "the step of scenario `{name}` is for other servers: its target does not select this server's labels {labels}"
        )),
    }
}

/// All that does not depend on what was done before: version, scenario, step, parameters, `never`, server, ceiling.
/// Gives the action's entry in the catalogue: the command is exactly a step of policy.
///
/// # Errors
/// [`No`], naming the first check that failed.
pub(super) fn check(
    command: &Command,
    policies: &Policies,
    server: &ServerId,
    ceiling: &Ceiling,
    now: &Moment,
) -> Result<&'static ActionSpec, No> {
    let applied = policies.for_command(command.policy, now).ok_or_else(|| {
        let here = policies.current().map_or("none".to_owned(), |a| a.version.to_string());
        refused(format!("policy version {} is not in force here; {here} is", command.policy))
    })?;
    if applied.expires <= now.wall {
        return Err(refused(format!(
            "policy version {} expired at {}; sign and push a new version",
            applied.version, applied.expires
        )));
    }
    let (policy, labels) = (&applied.policy, policies.labels());
    let name = &command.scenario;
    let scenario = policy
        .scenarios
        .get(name)
        .ok_or_else(|| unsigned(format_args!("policy version {} has no scenario `{name}`", applied.version)))?;
    match scenario.mode {
        Mode::Enforce => {}
        Mode::Observe => {
            return Err(unsigned(format_args!("scenario `{name}` only observes; `mode: enforce` lets it act")));
        }
    }
    let step = usize::try_from(command.step)
        .ok()
        .and_then(|at| scenario.respond.get(at))
        .ok_or_else(|| unsigned(format_args!("scenario `{name}` has no step {}", command.step)))?;
    check_target(policy, scenario, step, labels).map_err(unsigned)?;
    if step.action.name != command.action {
        return Err(unsigned(format_args!(
            "step {} of scenario `{name}` is {}, not `{}`",
            command.step, step.action.name, command.action
        )));
    }
    // The labels fill parameters and scripts' environments.
    let instance = SeriesKey { name: "instance".into(), labels: command.labels.clone() };
    instance.check().map_err(|error| unsigned(format_args!("the command's labels: {error}")))?;
    if let Some(request) = &scenario.on_request {
        policy.check_asked(request, &command.labels).map_err(unsigned)?;
    }
    let params = step.render(&command.labels).map_err(unsigned)?;
    if params != command.params {
        return Err(unsigned(format_args!(
            "the command's parameters are not those of step {} of scenario `{name}` for {}",
            command.step, command.labels
        )));
    }
    if let Some(never) = policy.refused_by(step.action, &params) {
        return Err(refused(format!("`never: {never}` refuses {} with these parameters", step.action.name)));
    }
    if &command.server != server {
        return Err(unsigned(format_args!("the command is for server {}; this is {server}", command.server)));
    }
    let id = command_id(&command.incident, command.step, command.attempt, &command.server);
    if command.id != id {
        return Err(unsigned(format_args!("the command's id is not that of its incident, step and attempt, {id}")));
    }
    if !ceiling.allows(step.action.name) {
        return Err(refused(format!("the ceiling of this server does not allow {}; see `allow`", step.action.name)));
    }
    Ok(step.action)
}
