//! This machine.

mod clock;
mod detach;
mod exec;
mod files;
mod kept;
mod look;
mod net;
mod proc;
mod signal;
mod systemd;
mod unit;

use std::borrow::Cow;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use skynet_model::time::Timestamp;

use super::{
    DeleteFiles, Deleted, Exec, ExecOutput, FileStat, FsStat, Host, HostError, MAX_READ, Process, ServiceState, Stream,
    UnitVerb,
};

pub(crate) use clock::boot_ms;

/// Most buffers that are kept.
const MAX_ROOMS: usize = 4;

/// This machine, or a fixture tree below a root.
#[derive(Debug)]
pub struct LocalHost {
    root: PathBuf,
    /// Of this machine only: files of a fixture are replaced, the kernel's never are.
    kept: Option<kept::Kept>,
    /// The directory of processes, once it was opened.
    proc: OnceLock<OwnedFd>,
    /// Buffers that wait to be used again.
    rooms: Mutex<Vec<Vec<u8>>>,
    /// Killed children that had not died yet: reaped by a later call.
    undead: Mutex<Vec<Child>>,
}

impl LocalHost {
    /// This machine.
    #[must_use]
    pub fn new() -> Self {
        Self::with_root(PathBuf::from("/"))
    }

    /// A tree that stands for a machine: every path is taken below `root`. Programs run are still this machine's.
    #[must_use]
    pub fn with_root(root: PathBuf) -> Self {
        let kept = (root == Path::new("/")).then(kept::Kept::default);
        Self { root, kept, proc: OnceLock::new(), rooms: Mutex::default(), undead: Mutex::new(Vec::new()) }
    }

    /// An empty buffer of at least this room; best one that was given back.
    fn room(&self, bytes: usize) -> Vec<u8> {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = rooms.iter().position(|room| room.capacity() >= bytes);
        fits.map_or_else(|| Vec::with_capacity(bytes), |at| rooms.swap_remove(at))
    }

    /// Keeps a buffer for the next who needs one.
    fn give_back(&self, mut room: Vec<u8>) {
        room.clear();
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        if rooms.len() < MAX_ROOMS {
            rooms.push(room);
        }
    }

    /// Where `path` of this host really is.
    pub(crate) fn real<'p>(&self, path: &'p Path) -> Cow<'p, Path> {
        if self.kept.is_some() {
            return Cow::Borrowed(path);
        }
        Cow::Owned(self.root.join(path.strip_prefix("/").unwrap_or(path)))
    }
}

impl Default for LocalHost {
    fn default() -> Self {
        Self::new()
    }
}

/// An I/O error on `what`, sorted into what the caller should do.
pub(crate) fn io_error(what: &str, error: &std::io::Error) -> HostError {
    // ESRCH: a process that went away while its /proc entry was being read.
    let gone = error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error());
    if gone || error.kind() == std::io::ErrorKind::NotFound {
        HostError::Missing(what.to_owned())
    } else if error.kind() == std::io::ErrorKind::PermissionDenied {
        let remedy = "run the agent as root or give its user access".to_owned();
        HostError::Denied { what: what.to_owned(), remedy }
    } else {
        HostError::Failed { what: what.to_owned(), error: error.to_string() }
    }
}

impl Host for LocalHost {
    fn now(&self) -> Timestamp {
        clock::now()
    }

    fn boot_ms(&self) -> i64 {
        clock::boot_ms()
    }

    fn boot_us(&self) -> i64 {
        clock::boot_us()
    }

    fn boot_id(&self) -> Result<String, HostError> {
        let mut text = Vec::new();
        self.read(Path::new("/proc/sys/kernel/random/boot_id"), &mut text)?;
        Ok(String::from_utf8_lossy(&text).trim().to_owned())
    }

    fn read(&self, path: &Path, buf: &mut Vec<u8>) -> Result<(), HostError> {
        buf.clear();
        if let Some(read) = self.kept.as_ref().and_then(|kept| kept.read(path, buf)) {
            return read.map_err(|e| io_error(&path.to_string_lossy(), &e.into()));
        }
        std::fs::File::open(self.real(path))
            .and_then(|file| file.take(MAX_READ as u64).read_to_end(buf))
            .map(|_| ())
            .map_err(|e| io_error(&path.to_string_lossy(), &e))
    }

    fn fs_stat(&self, path: &Path) -> Result<FsStat, HostError> {
        let stat = rustix::fs::statvfs(&*self.real(path)).map_err(|e| io_error(&path.to_string_lossy(), &e.into()))?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(FsStat {
            total_bytes: bytes(stat.f_blocks),
            free_bytes: bytes(stat.f_bfree),
            available_bytes: bytes(stat.f_bavail),
            total_inodes: stat.f_files,
            free_inodes: stat.f_ffree,
        })
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, HostError> {
        look::list(self, dir)
    }

    fn read_link(&self, path: &Path) -> Result<PathBuf, HostError> {
        std::fs::read_link(self.real(path)).map_err(|e| io_error(&path.to_string_lossy(), &e))
    }

    fn file_stat(&self, path: &Path) -> Result<FileStat, HostError> {
        look::stat(self, path)
    }

    fn digest(&self, path: &Path, most: u64) -> Result<([u8; 32], u64), HostError> {
        look::digest(self, path, most)
    }

    fn resolve(&self, name: &str, timeout: Duration) -> Result<Vec<IpAddr>, HostError> {
        net::resolve(name, timeout)
    }

    fn connect(&self, to: SocketAddr, timeout: Duration) -> Result<Box<dyn Stream>, HostError> {
        net::connect(to, timeout)
    }

    fn ask(
        &self,
        to: SocketAddr,
        question: &[u8],
        timeout: Duration,
        fits: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Vec<u8>, HostError> {
        net::ask(to, question, timeout, fits)
    }

    fn list_processes(&self, into: &mut Vec<Process>) -> Result<(), HostError> {
        proc::all(self, into)
    }

    fn process(&self, pid: u32) -> Result<Process, HostError> {
        proc::one(self, pid)
    }

    fn user_name(&self, uid: u32) -> String {
        proc::user_name(self, uid)
    }

    fn run(&self, exec: &Exec) -> Result<ExecOutput, HostError> {
        exec::run(self, exec)
    }

    fn run_script(&self, exec: &Exec, body: &str) -> Result<ExecOutput, HostError> {
        exec::run_script(self, exec, body)
    }

    fn run_detached(&self, exec: &Exec, body: &str) -> Result<i32, HostError> {
        detach::run(exec, body)
    }

    fn units(&self, units: &[String]) -> Result<Vec<ServiceState>, HostError> {
        systemd::states(self, units)
    }

    fn unit(&self, unit: &str, verb: UnitVerb, timeout: Duration) -> Result<(), HostError> {
        unit::run(self, unit, verb, timeout)
    }

    fn signal(&self, pid: u32, start: u64, signal: &str) -> Result<(), HostError> {
        signal::send(self, pid, start, signal)
    }

    fn delete_files(&self, what: &DeleteFiles) -> Result<Deleted, HostError> {
        files::delete(self, what)
    }
}
