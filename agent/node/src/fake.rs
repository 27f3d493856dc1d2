//! A host for tests: its clocks and processes are set by hand, and it writes down every effect.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use skynet_model::time::Timestamp;

use crate::host::{DeleteFiles, Deleted, Exec, ExecOutput, FsStat, Host, HostError, Process, ServiceState, UnitVerb};

/// What happens when an effect takes place.
type Hook = Box<dyn Fn(&Fake) + Send>;

#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) boot_ms: AtomicI64,
    pub(crate) wall_ms: AtomicI64,
    pub(crate) boot: Mutex<String>,
    pub(crate) processes: Mutex<BTreeMap<u32, Process>>,
    pub(crate) files: Mutex<BTreeMap<PathBuf, String>>,
    pub(crate) services: Mutex<BTreeMap<String, ServiceState>>,
    pub(crate) effects: Mutex<Vec<String>>,
    pub(crate) hook: Mutex<Option<Hook>>,
    pub(crate) code: std::sync::atomic::AtomicI32,
}

impl Fake {
    pub(crate) fn new() -> Self {
        let fake = Self::default();
        fake.boot_ms.store(1_000_000, Ordering::SeqCst);
        fake.wall_ms.store(1_800_000_000_000, Ordering::SeqCst);
        *fake.boot.lock().unwrap() = "boot-1".to_owned();
        fake
    }

    pub(crate) fn pass(&self, ms: i64) {
        self.boot_ms.fetch_add(ms, Ordering::SeqCst);
        self.wall_ms.fetch_add(ms, Ordering::SeqCst);
    }

    pub(crate) fn reboot(&self) {
        *self.boot.lock().unwrap() = "boot-2".to_owned();
        self.boot_ms.store(5000, Ordering::SeqCst);
    }

    pub(crate) fn effects(&self) -> Vec<String> {
        self.effects.lock().unwrap().clone()
    }

    pub(crate) fn add_process(&self, pid: u32, start: u64, name: &str) {
        let process = Process { pid, start, name: name.to_owned(), cpu_ticks: 0, rss_bytes: 0, state: 'S', uid: 0 };
        self.processes.lock().unwrap().insert(pid, process);
    }

    fn effect(&self, what: String) {
        self.effects.lock().unwrap().push(what);
        if let Some(hook) = self.hook.lock().unwrap().as_ref() {
            hook(self);
        }
    }
}

fn missing<T>(what: impl ToString) -> Result<T, HostError> {
    Err(HostError::Missing(what.to_string()))
}

impl Host for Fake {
    fn now(&self) -> Timestamp {
        Timestamp(self.wall_ms.load(Ordering::SeqCst))
    }
    fn boot_ms(&self) -> i64 {
        self.boot_ms.load(Ordering::SeqCst)
    }
    fn boot_id(&self) -> Result<String, HostError> {
        Ok(self.boot.lock().unwrap().clone())
    }
    fn read(&self, path: &Path, buf: &mut Vec<u8>) -> Result<(), HostError> {
        buf.clear();
        match self.files.lock().unwrap().get(path) {
            Some(text) => buf.extend_from_slice(text.as_bytes()),
            None => return missing(path.display()),
        }
        Ok(())
    }
    fn fs_stat(&self, path: &Path) -> Result<FsStat, HostError> {
        missing(path.display())
    }
    fn list_processes(&self, into: &mut Vec<Process>) -> Result<(), HostError> {
        *into = self.processes.lock().unwrap().values().cloned().collect();
        Ok(())
    }
    fn process(&self, pid: u32) -> Result<Process, HostError> {
        self.processes.lock().unwrap().get(&pid).cloned().map_or_else(|| missing(pid), Ok)
    }
    fn user_name(&self, uid: u32) -> String {
        uid.to_string()
    }
    fn run(&self, exec: &Exec) -> Result<ExecOutput, HostError> {
        self.effect(format!("run {} {}", exec.program, exec.args.join(" ")));
        let code = self.code.load(Ordering::SeqCst);
        Ok(ExecOutput { code, stdout: b"a line\nthe sum".to_vec(), stderr: b"complaint".to_vec() })
    }
    fn run_script(&self, exec: &Exec, body: &str) -> Result<ExecOutput, HostError> {
        self.effect(format!("script {body} {}", exec.args.join(" ")));
        let code = self.code.load(Ordering::SeqCst);
        Ok(ExecOutput { code, stdout: b"ran".to_vec(), stderr: b"complaint".to_vec() })
    }
    fn run_detached(&self, _exec: &Exec, body: &str) -> Result<i32, HostError> {
        self.effect(format!("detached {body}"));
        Ok(self.code.load(Ordering::SeqCst))
    }
    fn units(&self, units: &[String]) -> Result<Vec<ServiceState>, HostError> {
        let services = self.services.lock().unwrap();
        let unknown = || ServiceState { up: false, word: "not-found".into(), pid: None, restarts: None };
        Ok(units.iter().map(|unit| services.get(unit).cloned().unwrap_or_else(unknown)).collect())
    }
    fn unit(&self, unit: &str, verb: UnitVerb, _timeout: Duration) -> Result<(), HostError> {
        self.effect(format!("{verb:?} {unit}"));
        Ok(())
    }
    fn signal(&self, pid: u32, start: u64, signal: &str) -> Result<(), HostError> {
        if self.process(pid)?.start != start {
            return missing(pid);
        }
        self.effect(format!("{signal} {pid}"));
        if signal == "KILL" || signal == "TERM" {
            self.processes.lock().unwrap().remove(&pid);
        }
        Ok(())
    }
    fn delete_files(&self, what: &DeleteFiles) -> Result<Deleted, HostError> {
        self.effect(format!("delete {}", what.pattern.display()));
        Ok(Deleted { files: 2, bytes: 10 })
    }
}
