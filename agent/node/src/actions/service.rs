//! `service.start`, `service.stop`, `service.restart`, `service.reload`.
//!
//! A service is a systemd unit; or, where a `service` sensor of this server's profiles declares one of that name by a pid
//! file or a process, what its `start` and `stop` scripts manage.

use std::path::Path;
use std::time::Duration;

use skynet_model::catalogue::{ActionSpec, Idempotence, Risk};
use skynet_model::time::Span;
use skynet_model::value::{ParamKind, ParamSpec, Params, Value};

use super::{Action, ActionError, Context, Probe, ended, script, text};
use crate::host::{Host, HostError, Process, UnitVerb};

const UNIT: &[ParamSpec] = &[ParamSpec {
    name: "unit",
    kind: ParamKind::Unit,
    required: true,
    default: None,
    help: "a systemd unit (nginx.service), or the name of a service sensor with a pid_file or a process",
}];

const fn spec(name: &'static str, help: &'static str, risk: Risk, idempotence: Idempotence) -> ActionSpec {
    // systemd gives a unit 90 s to stop by default.
    ActionSpec { name, help, params: UNIT, risk, idempotence, deadline: Span::seconds(90), inverse: None }
}

/// Starting a service that runs does nothing.
pub(super) const START: ActionSpec = ActionSpec {
    inverse: Some("service.stop"),
    ..spec("service.start", "starts a service that does not run", Risk::Reversible, Idempotence::Declarative)
};
/// Stopping one that does not run does nothing.
pub(super) const STOP: ActionSpec = ActionSpec {
    inverse: Some("service.start"),
    ..spec("service.stop", "stops a service", Risk::Disruptive, Idempotence::Declarative)
};
/// A second restart would interrupt a second time; whether the first took place shows in the main process' start time.
pub(super) const RESTART: ActionSpec =
    spec("service.restart", "stops a service and starts it again", Risk::Disruptive, Idempotence::Probeable);
/// Reading a configuration twice ends in the same state.
pub(super) const RELOAD: ActionSpec =
    spec("service.reload", "lets a service read its configuration again", Risk::Reversible, Idempotence::Declarative);

/// Clock ticks a second in /proc, on every Linux.
const TICKS: u64 = 100;
/// How often a stopping process is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What systemd has for the machine itself, beside its targets: started, they take it down.
const MACHINE: [&str; 10] = [
    "systemd-poweroff",
    "systemd-reboot",
    "systemd-halt",
    "systemd-kexec",
    "systemd-exit",
    "systemd-soft-reboot",
    "systemd-suspend",
    "systemd-hibernate",
    "systemd-hybrid-sleep",
    "systemd-suspend-then-hibernate",
];

/// The unit, which is a service: `${unit}` is filled by what a server or a person says, and `poweroff.target` is none.
fn unit(params: &Params) -> Result<&str, ActionError> {
    let unit = text(params, "unit")?;
    if unit.ends_with(".target") || MACHINE.contains(&unit.strip_suffix(".service").unwrap_or(unit)) {
        return Err(ActionError::Refused(format!("{unit} is no service: it is about the whole machine")));
    }
    Ok(unit)
}

/// Starts.
#[derive(Debug)]
pub(super) struct Start;
/// Stops.
#[derive(Debug)]
pub(super) struct Stop;
/// Restarts.
#[derive(Debug)]
pub(super) struct Restart;
/// Reloads.
#[derive(Debug)]
pub(super) struct Reload;

impl Action for Start {
    fn run(&self, host: &dyn Host, params: &Params, context: &Context<'_>) -> Result<String, ActionError> {
        let unit = unit(params)?;
        if let Some(service) = Declared::find(unit, context) {
            return service.start(host, context);
        }
        // No answer is no reason not to start it: starting is harmless to a unit that runs.
        let state = host.units(&[unit.to_owned()]).ok().and_then(|mut states| states.pop());
        if state.is_some_and(|state| state.up) {
            return Ok(format!("{unit} is already running"));
        }
        host.unit(unit, UnitVerb::Start, context.timeout)?;
        Ok(format!("started {unit}"))
    }
}

impl Action for Stop {
    fn run(&self, host: &dyn Host, params: &Params, context: &Context<'_>) -> Result<String, ActionError> {
        let unit = unit(params)?;
        if let Some(service) = Declared::find(unit, context) {
            return service.stop(host, context);
        }
        host.unit(unit, UnitVerb::Stop, context.timeout)?;
        Ok(format!("stopped {unit}"))
    }
}

impl Action for Restart {
    fn run(&self, host: &dyn Host, params: &Params, context: &Context<'_>) -> Result<String, ActionError> {
        let unit = unit(params)?;
        if let Some(service) = Declared::find(unit, context) {
            let begun = host.boot_ms();
            let stopped = service.stop(host, context)?;
            let used = u64::try_from(host.boot_ms() - begun).unwrap_or(0);
            let timeout = context.timeout.saturating_sub(Duration::from_millis(used));
            let started = service.start(host, &Context { timeout, ..*context })?;
            return Ok(format!("{stopped}; {started}"));
        }
        host.unit(unit, UnitVerb::Restart, context.timeout)?;
        Ok(format!("restarted {unit}"))
    }

    /// Done, if the main process began after the intent.
    fn probe(&self, host: &dyn Host, params: &Params, context: &Context<'_>) -> Probe {
        let Ok(unit) = unit(params) else { return Probe::Unknown };
        let main = if let Some(service) = Declared::find(unit, context) {
            service.process(host)
        } else {
            match host.units(&[unit.to_owned()]).map(|mut states| states.pop()) {
                // systemd is at it, for us or for somebody else.
                Ok(Some(state)) if matches!(state.word.as_str(), "activating" | "deactivating" | "reloading") => {
                    return Probe::Unknown;
                }
                Ok(Some(state)) => match state.pid.map(|pid| host.process(pid)) {
                    Some(Ok(process)) => Ok(Some(process)),
                    None if state.up => return Probe::Unknown,
                    Some(Err(HostError::Missing(_))) | None => Ok(None),
                    Some(Err(error)) => Err(error.into()),
                },
                Ok(None) => return Probe::Unknown,
                Err(error) => Err(error.into()),
            }
        };
        match (main, context.intent_boot_ms) {
            (Err(_), _) => Probe::Unknown,
            // Stopped, and not started again.
            (Ok(None), _) => Probe::NotDone,
            // The machine itself was restarted since.
            (Ok(Some(_)), None) => Probe::Done,
            (Ok(Some(process)), Some(intent)) => {
                // A tick is 10 ms: one that began within the intent's tick counts as after it.
                let last_ms = (process.start + 1).saturating_mul(1000 / TICKS);
                if i64::try_from(last_ms).unwrap_or(i64::MAX) > intent { Probe::Done } else { Probe::NotDone }
            }
        }
    }
}

impl Action for Reload {
    fn run(&self, host: &dyn Host, params: &Params, context: &Context<'_>) -> Result<String, ActionError> {
        let unit = unit(params)?;
        if Declared::find(unit, context).is_some() {
            return Err(ActionError::Refused(format!(
                "service `{unit}` is declared by scripts and has none to reload; use service.restart, or process.signal HUP"
            )));
        }
        host.unit(unit, UnitVerb::Reload, context.timeout)?;
        Ok(format!("reloaded {unit}"))
    }
}

/// A service that policy declares by a pid file or a process.
#[derive(Debug)]
struct Declared<'a> {
    name: &'a str,
    pid_file: Option<&'a str>,
    process: Option<&'a str>,
    start: Option<&'a str>,
    stop: Option<&'a str>,
}

impl<'a> Declared<'a> {
    /// The service sensor of this name among the server's. A sensor without `name:` is called by its pid file's stem or
    /// its process, as in the label of its readings: `${unit}` finds what it came from.
    fn find(name: &str, context: &Context<'a>) -> Option<Self> {
        let sensors = context.policy.sensors_for(context.labels);
        sensors.into_iter().filter(|s| s.sensor == "service").find_map(|sensor| {
            let text = |key: &str| sensor.params.get(key).and_then(Value::as_text);
            let (pid_file, process) = (text("pid_file"), text("process"));
            let stem = pid_file.and_then(|path| Path::new(path).file_stem()).and_then(|stem| stem.to_str());
            let own = sensor.name.as_deref().or(stem).or(process).filter(|own| *own == name)?;
            let managed = pid_file.is_some() || process.is_some();
            managed.then(|| Self { name: own, pid_file, process, start: text("start"), stop: text("stop") })
        })
    }

    /// Its main process, if it runs. The pid file is believed; without one, the first process of that name.
    fn process(&self, host: &dyn Host) -> Result<Option<Process>, ActionError> {
        let alive = |p: &Process| !matches!(p.state, 'Z' | 'X');
        let named = |p: &Process| self.process.is_none_or(|name| p.name.as_bytes() == cut_comm(name));
        let Some(path) = self.pid_file else {
            return Ok(host.processes()?.into_iter().find(|p| alive(p) && named(p)));
        };
        let mut bytes = Vec::new();
        match host.read(Path::new(path), &mut bytes) {
            Ok(()) => {}
            Err(HostError::Missing(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let text = String::from_utf8_lossy(&bytes);
        let Some(pid) = text.split_whitespace().next().and_then(|word| word.parse::<u32>().ok()).filter(|p| *p > 1)
        else {
            return Ok(None);
        };
        match host.process(pid) {
            Ok(process) => Ok(Some(process).filter(|p| alive(p) && named(p))),
            Err(HostError::Missing(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn start(&self, host: &dyn Host, context: &Context<'_>) -> Result<String, ActionError> {
        let name = self.name;
        if let Some(process) = self.process(host)? {
            return Ok(format!("{name} is already running as process {}", process.pid));
        }
        let start = self.start.ok_or_else(|| {
            ActionError::Refused(format!("service `{name}` has no start script; add `start:` to its service sensor"))
        })?;
        let (exec, body) = script(start, Vec::new(), context.timeout, context)?;
        match host.run_detached(&exec, body)? {
            0 => Ok(format!("started {name} by script {start}")),
            code => Err(ActionError::Failed(format!("script {start} ended with code {code}"))),
        }
    }

    fn stop(&self, host: &dyn Host, context: &Context<'_>) -> Result<String, ActionError> {
        let name = self.name;
        let Some(process) = self.process(host)? else { return Ok(format!("{name} was not running")) };
        let deadline = host.boot_ms().saturating_add(i64::try_from(context.timeout.as_millis()).unwrap_or(i64::MAX));
        let how = if let Some(stop) = self.stop {
            let (exec, body) = script(stop, Vec::new(), context.timeout, context)?;
            ended(&format!("script {stop}"), &host.run_script(&exec, body)?)?;
            format!("script {stop}")
        } else {
            match host.signal(process.pid, process.start, "TERM") {
                Ok(()) | Err(HostError::Missing(_)) => {}
                Err(error) => return Err(error.into()),
            }
            "TERM".to_owned()
        };
        let lives = || match host.process(process.pid) {
            Ok(now) => now.start == process.start && !matches!(now.state, 'Z' | 'X'),
            Err(_) => false,
        };
        while lives() {
            if host.boot_ms() >= deadline {
                return Err(ActionError::Failed(format!(
                    "{name} (process {}) still runs {:?} after {how}",
                    process.pid, context.timeout
                )));
            }
            std::thread::sleep(LOOK);
        }
        Ok(format!("stopped {name} by {how}"))
    }
}

/// The kernel keeps 15 bytes of a process' name.
fn cut_comm(name: &str) -> &[u8] {
    &name.as_bytes()[..name.len().min(15)]
}
