//! A host for tests: this machine, but for the programs it runs and the files it reads.

use std::path::{Path, PathBuf};
use std::time::Duration;

use skynet_model::time::Timestamp;

use crate::host::{
    DeleteFiles, Deleted, Exec, ExecOutput, FileStat, FsStat, Host, HostError, LocalHost, Process, ServiceState,
    UnitVerb,
};

/// Programs and files in place of the machine's own.
pub(crate) struct Proxy {
    pub(crate) host: LocalHost,
    /// What is run instead.
    pub(crate) program: Box<dyn Fn(&Exec) -> Exec + Send + Sync>,
    /// Which file is read instead.
    pub(crate) file: Box<dyn Fn(&Path) -> PathBuf + Send + Sync>,
}

impl Host for Proxy {
    fn now(&self) -> Timestamp {
        self.host.now()
    }
    fn boot_ms(&self) -> i64 {
        self.host.boot_ms()
    }
    fn boot_id(&self) -> Result<String, HostError> {
        self.host.boot_id()
    }
    fn read(&self, path: &Path, buf: &mut Vec<u8>) -> Result<(), HostError> {
        self.host.read(&(self.file)(path), buf)
    }
    fn file_stat(&self, path: &Path) -> Result<FileStat, HostError> {
        self.host.file_stat(&(self.file)(path))
    }
    fn fs_stat(&self, path: &Path) -> Result<FsStat, HostError> {
        self.host.fs_stat(path)
    }
    fn list_processes(&self, into: &mut Vec<Process>) -> Result<(), HostError> {
        self.host.list_processes(into)
    }
    fn process(&self, pid: u32) -> Result<Process, HostError> {
        self.host.process(pid)
    }
    fn user_name(&self, uid: u32) -> String {
        self.host.user_name(uid)
    }
    fn run(&self, exec: &Exec) -> Result<ExecOutput, HostError> {
        self.host.run(&(self.program)(exec))
    }
    fn units(&self, units: &[String]) -> Result<Vec<ServiceState>, HostError> {
        self.host.units(units)
    }
    fn unit(&self, unit: &str, verb: UnitVerb, timeout: Duration) -> Result<(), HostError> {
        self.host.unit(unit, verb, timeout)
    }
    fn signal(&self, pid: u32, start: u64, signal: &str) -> Result<(), HostError> {
        self.host.signal(pid, start, signal)
    }
    fn delete_files(&self, what: &DeleteFiles) -> Result<Deleted, HostError> {
        self.host.delete_files(what)
    }
}
