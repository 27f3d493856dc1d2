//! `process.signal`.

use skynet_model::catalogue::{ActionSpec, Idempotence, Risk};
use skynet_model::time::Span;
use skynet_model::value::{ParamKind, ParamSpec, Params};

use super::{Action, ActionError, Context, Probe, int, text};
use crate::host::{Host, HostError, Process};

/// Its catalogue entry.
pub(super) const SPEC: ActionSpec = ActionSpec {
    name: "process.signal",
    help: "sends a signal to one process, named by its number and its start time",
    params: &[
        ParamSpec {
            name: "pid",
            kind: ParamKind::Int { min: 2, max: 4_194_304 },
            required: true,
            default: None,
            help: "the process; never 0 or 1, and never Skynet itself",
        },
        ParamSpec {
            name: "start",
            kind: ParamKind::Int { min: 0, max: i64::MAX },
            required: true,
            default: None,
            help: "its start time in clock ticks since boot: a number that was given to another process is left alone",
        },
        ParamSpec {
            name: "signal",
            kind: ParamKind::Word(&["TERM", "KILL", "HUP", "INT", "QUIT", "USR1", "USR2", "STOP", "CONT"]),
            required: true,
            default: None,
            help: "which signal",
        },
    ],
    risk: Risk::Disruptive,
    idempotence: Idempotence::Probeable,
    deadline: Span::seconds(30),
    inverse: None,
};

/// Signals one process.
#[derive(Debug)]
pub(super) struct ProcessSignal;

impl Action for ProcessSignal {
    fn run(&self, host: &dyn Host, params: &Params, _context: &Context<'_>) -> Result<String, ActionError> {
        let (pid, start, signal) = arguments(params)?;
        let process = match host.process(pid) {
            Ok(process) if is_the_one(&process, start) => process,
            Ok(_) | Err(HostError::Missing(_)) => return Ok(format!("process {pid} is already gone")),
            Err(error) => return Err(error.into()),
        };
        match host.signal(pid, start, signal) {
            Ok(()) => Ok(format!("sent {signal} to process {pid} ({})", process.name)),
            Err(HostError::Missing(_)) => Ok(format!("process {pid} is already gone")),
            Err(error) => Err(error.into()),
        }
    }

    /// Only TERM and KILL have an effect that can be seen.
    fn probe(&self, host: &dyn Host, params: &Params, context: &Context<'_>) -> Probe {
        let Ok((pid, start, signal)) = arguments(params) else { return Probe::Unknown };
        if !matches!(signal, "TERM" | "KILL") {
            return Probe::Unknown;
        }
        if context.intent_boot_ms.is_none() {
            // No process outlives its boot.
            return Probe::Done;
        }
        match host.process(pid) {
            Ok(process) if is_the_one(&process, start) => Probe::NotDone,
            Ok(_) | Err(HostError::Missing(_)) => Probe::Done,
            Err(_) => Probe::Unknown,
        }
    }
}

/// A zombie has ended; only its parent has not looked yet.
fn is_the_one(process: &Process, start: u64) -> bool {
    process.start == start && !matches!(process.state, 'Z' | 'X')
}

fn arguments(params: &Params) -> Result<(u32, u64, &str), ActionError> {
    let refused = |what: &str| ActionError::Refused(format!("parameter `{what}` does not name a process"));
    let pid = u32::try_from(int(params, "pid")?).ok().filter(|pid| *pid > 1).ok_or_else(|| refused("pid"))?;
    let start = u64::try_from(int(params, "start")?).map_err(|_| refused("start"))?;
    Ok((pid, start, text(params, "signal")?))
}
