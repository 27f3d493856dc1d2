//! A server that is only state: services that die, processes that run away, checks that fail, and cures that help or not.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use skynet_model::time::Timestamp;
use skynet_node::host::{
    DeleteFiles, Deleted, Exec, ExecOutput, FsStat, Host, HostError, Process, ServiceState, UnitVerb,
};

/// What it takes to cure a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CuredBy {
    /// The first step.
    First,
    /// The second step.
    Second,
    /// Nothing Skynet does.
    Nothing,
}

/// One effect on the server, as the server saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// The action in words: `start a.service`, `signal 7 TERM`, `script`.
    pub what: String,
    /// When.
    pub at: i64,
}

/// What the server is like now.
#[derive(Debug, Default)]
pub struct State {
    /// Wall clock and boot clock, milliseconds.
    pub now: i64,
    /// Dead services, and what cures each.
    pub dead: BTreeMap<String, CuredBy>,
    /// Processes that run away, by pid: start time and what ends them.
    pub runaways: BTreeMap<u32, (u64, CuredBy)>,
    /// The check's fault, and what cures it.
    pub sick: Option<CuredBy>,
    /// Everything that was done to it.
    pub effects: Vec<Effect>,
    /// The acting process dies at its next effect.
    pub crash: Option<Crash>,
}

/// When the acting process dies; also what it dies of ([`std::panic::resume_unwind`], so that nothing of it goes on).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// With the intent on disk and nothing done.
    BeforeEffect,
    /// With the thing done and no outcome on disk.
    AfterEffect,
}

/// A simulated server.
#[derive(Clone, Debug, Default)]
pub struct SimHost(Arc<Mutex<State>>);

impl SimHost {
    /// Its state.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something to the server, and counts it.
    fn effect<T>(&self, what: String, change: impl FnOnce(&mut State) -> T) -> T {
        let crash = self.state().crash.take();
        if crash == Some(Crash::BeforeEffect) {
            std::panic::resume_unwind(Box::new(Crash::BeforeEffect));
        }
        let done = {
            let mut state = self.state();
            let at = state.now;
            state.effects.push(Effect { what, at });
            change(&mut state)
        };
        if crash == Some(Crash::AfterEffect) {
            std::panic::resume_unwind(Box::new(Crash::AfterEffect));
        }
        done
    }
}

fn not_simulated(what: &str) -> HostError {
    HostError::Unsupported(format!("{what} is not simulated"))
}

impl Host for SimHost {
    fn now(&self) -> Timestamp {
        Timestamp(self.state().now)
    }

    fn boot_ms(&self) -> i64 {
        self.state().now
    }

    fn boot_id(&self) -> Result<String, HostError> {
        Ok("sim".to_owned())
    }

    fn read(&self, path: &Path, _: &mut Vec<u8>) -> Result<(), HostError> {
        Err(HostError::Missing(path.display().to_string()))
    }

    fn fs_stat(&self, _: &Path) -> Result<FsStat, HostError> {
        Err(not_simulated("fs_stat"))
    }

    fn list_processes(&self, into: &mut Vec<Process>) -> Result<(), HostError> {
        let pids: Vec<u32> = self.state().runaways.keys().copied().collect();
        *into = pids.into_iter().map(|pid| self.process(pid)).collect::<Result<_, _>>()?;
        Ok(())
    }

    fn process(&self, pid: u32) -> Result<Process, HostError> {
        let state = self.state();
        let (start, _) = state.runaways.get(&pid).ok_or_else(|| HostError::Missing(format!("process {pid}")))?;
        Ok(Process { pid, start: *start, name: "job".into(), cpu_ticks: 0, rss_bytes: 0, state: 'R', uid: 1000 })
    }

    fn user_name(&self, uid: u32) -> String {
        uid.to_string()
    }

    fn run(&self, _: &Exec) -> Result<ExecOutput, HostError> {
        Err(not_simulated("run"))
    }

    fn run_script(&self, _: &Exec, _: &str) -> Result<ExecOutput, HostError> {
        self.effect("script".to_owned(), |state| {
            if state.sick == Some(CuredBy::First) {
                state.sick = None;
            }
        });
        Ok(ExecOutput { code: 0, stdout: b"repaired".to_vec(), stderr: Vec::new() })
    }

    fn units(&self, units: &[String]) -> Result<Vec<ServiceState>, HostError> {
        let state = self.state();
        let one = |unit: &String| {
            let up = !state.dead.contains_key(unit);
            ServiceState { up, word: if up { "active" } else { "failed" }.to_owned(), pid: None, restarts: None }
        };
        Ok(units.iter().map(one).collect())
    }

    fn unit(&self, unit: &str, verb: UnitVerb, _: Duration) -> Result<(), HostError> {
        let cure = match verb {
            UnitVerb::Start => CuredBy::First,
            UnitVerb::Restart => CuredBy::Second,
            UnitVerb::Stop | UnitVerb::Reload => return Err(not_simulated("stop and reload")),
        };
        self.effect(format!("{verb:?} {unit}"), |state| {
            if state.dead.get(unit) == Some(&cure) {
                state.dead.remove(unit);
            }
        });
        Ok(())
    }

    fn signal(&self, pid: u32, start: u64, signal: &str) -> Result<(), HostError> {
        let known = self.state().runaways.get(&pid).copied();
        let Some((_, cure)) = known.filter(|(s, _)| *s == start) else {
            return Err(HostError::Missing(format!("process {pid}")));
        };
        let ends = match signal {
            "TERM" => cure == CuredBy::First,
            _ => cure != CuredBy::Nothing,
        };
        self.effect(format!("signal {pid} {signal}"), |state| {
            if ends {
                state.runaways.remove(&pid);
            }
        });
        Ok(())
    }

    fn delete_files(&self, _: &DeleteFiles) -> Result<Deleted, HostError> {
        Err(not_simulated("delete_files"))
    }
}
