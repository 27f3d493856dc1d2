//! A server as sensors and actions see it.
//!
//! Calls are blocking and may be slow; each sensor runs on a thread of its own, so a slow call delays nobody else.

pub(crate) mod local;

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use local::LocalHost;
use skynet_model::time::{Span, Timestamp};

/// Most bytes read from one file or one pipe of a command.
pub const MAX_READ: usize = 1 << 20;

/// Most names of one directory that are listed.
pub const MAX_LIST: usize = 10_000;

/// Most addresses of one name.
pub const MAX_ADDRESSES: usize = 16;

/// Most files deleted by one call.
pub const MAX_DELETE: u64 = 50_000;

/// Why a host call failed. The variant says what the caller should do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// It is not there: no data, not a failure.
    #[error("{0} is not there")]
    Missing(String),
    /// We may not.
    #[error("{what}: permission denied; {remedy}")]
    Denied {
        /// The thing.
        what: String,
        /// What to do about it.
        remedy: String,
    },
    /// This host cannot do it.
    #[error("{0}")]
    Unsupported(String),
    /// It took too long and was given up.
    #[error("{what} took longer than {after}")]
    TimedOut {
        /// The thing.
        what: String,
        /// How long we waited.
        after: Span,
    },
    /// Anything else.
    #[error("{what}: {error}")]
    Failed {
        /// The thing.
        what: String,
        /// The system's words.
        error: String,
    },
}

/// Size and use of a file system (statvfs).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FsStat {
    /// All bytes.
    pub total_bytes: u64,
    /// Bytes free to root.
    pub free_bytes: u64,
    /// Bytes free to others; `df`'s "Available".
    pub available_bytes: u64,
    /// All inodes; 0 when the file system has none.
    pub total_inodes: u64,
    /// Free inodes.
    pub free_inodes: u64,
}

/// What a file is, links followed (stat).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStat {
    /// Whether it is a regular file.
    pub regular: bool,
    /// Its device and inode: another pair is another file under the same name.
    pub id: (u64, u64),
    /// Bytes.
    pub size: u64,
    /// When its content was last written, wall time in nanoseconds.
    pub modified_ns: i128,
    /// When anything of it was last changed; nobody can set this one back.
    pub changed_ns: i128,
}

/// A connection.
pub trait Stream: Read + Write + Send {
    /// From now on a read or write fails that has waited longer than this (more than nothing).
    ///
    /// # Errors
    /// The system's.
    fn limit(&mut self, wait: Duration) -> io::Result<()>;
}

/// A command line to run, never through a shell.
#[derive(Clone, Debug)]
pub struct Exec {
    /// Absolute path, or a name looked up in a fixed PATH.
    pub program: String,
    /// Arguments.
    pub args: Vec<String>,
    /// Given on standard input.
    pub stdin: Vec<u8>,
    /// Extra environment; the rest is cleared but for PATH, HOME, LANG=C.
    pub env: Vec<(String, String)>,
    /// When its whole process group is killed.
    pub timeout: Duration,
}

/// What a command line gave; each output is cut at [`MAX_READ`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecOutput {
    /// Exit code; 128 + n when ended by signal n.
    pub code: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

/// One process from its /proc entry. Entries that cannot be read are left out of a listing.
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Start time in clock ticks since boot: with `pid` it names a process for good.
    pub start: u64,
    /// Its name (comm).
    pub name: String,
    /// User and system time in clock ticks.
    pub cpu_ticks: u64,
    /// Resident bytes.
    pub rss_bytes: u64,
    /// State letter.
    pub state: char,
    /// Owner.
    pub uid: u32,
}

/// A service's state as systemd (or a pid file) tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceState {
    /// Whether it runs.
    pub up: bool,
    /// The manager's word: `active`, `failed`, `inactive`, `running`, `dead`.
    pub word: String,
    /// Its main process.
    pub pid: Option<u32>,
    /// Restarts by the manager, where it counts them.
    pub restarts: Option<u64>,
}

/// What to do with a systemd unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitVerb {
    /// start
    Start,
    /// stop
    Stop,
    /// restart
    Restart,
    /// reload
    Reload,
}

/// Which files to delete: the last part of `pattern` is a glob within one real directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteFiles {
    /// Absolute path with a glob as its last part.
    pub pattern: PathBuf,
    /// Only files last written longer ago.
    pub older_than: Span,
}

/// What was deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A server. All paths are as on that server; a fixture root goes before them.
pub trait Host: Send + Sync {
    /// The server's wall clock. Never blocks.
    fn now(&self) -> Timestamp;
    /// Its boot clock (CLOCK_BOOTTIME), milliseconds. Never blocks.
    fn boot_ms(&self) -> i64;
    /// Its boot id.
    fn boot_id(&self) -> Result<String, HostError>;
    /// The boot clock in microseconds, where it is known so finely. Never blocks.
    fn boot_us(&self) -> i64 {
        self.boot_ms().saturating_mul(1000)
    }
    /// Reads a file into `buf` (cleared first), at most [`MAX_READ`] bytes.
    fn read(&self, path: &Path, buf: &mut Vec<u8>) -> Result<(), HostError>;
    /// Size and use of the file system that holds `path`.
    fn fs_stat(&self, path: &Path) -> Result<FsStat, HostError>;
    /// Names in a directory, sorted, at most [`MAX_LIST`]; names that are not UTF-8 are left out.
    fn list(&self, dir: &Path) -> Result<Vec<String>, HostError> {
        Err(HostError::Unsupported(format!("{}: directories cannot be listed here", dir.display())))
    }
    /// Where a symbolic link leads, as written in it.
    fn read_link(&self, path: &Path) -> Result<PathBuf, HostError> {
        Err(HostError::Unsupported(format!("{}: links cannot be read here", path.display())))
    }
    /// What a file is.
    fn file_stat(&self, path: &Path) -> Result<FileStat, HostError> {
        Err(HostError::Unsupported(format!("{}: files cannot be looked at here", path.display())))
    }
    /// SHA-256 of the first `most` bytes of a regular file, and how many bytes those were. Never waits for a pipe.
    fn digest(&self, path: &Path, most: u64) -> Result<([u8; 32], u64), HostError> {
        let _ = most;
        Err(HostError::Unsupported(format!("{}: contents cannot be hashed here", path.display())))
    }
    /// The addresses of a name, as programs of this server see them (hosts file, DNS), at most [`MAX_ADDRESSES`].
    fn resolve(&self, name: &str, timeout: Duration) -> Result<Vec<IpAddr>, HostError> {
        let _ = timeout;
        Err(HostError::Unsupported(format!("{name}: names cannot be looked up here")))
    }
    /// A TCP connection from this server.
    fn connect(&self, to: SocketAddr, timeout: Duration) -> Result<Box<dyn Stream>, HostError> {
        let _ = timeout;
        Err(HostError::Unsupported(format!("{to}: connections cannot be made from here")))
    }
    /// Sends one datagram and gives the first one back from there that `fits`; others are as if they had never come.
    fn ask(
        &self,
        to: SocketAddr,
        question: &[u8],
        timeout: Duration,
        fits: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Vec<u8>, HostError> {
        let _ = (question, timeout, fits);
        Err(HostError::Unsupported(format!("{to}: datagrams cannot be sent from here")))
    }
    /// All processes, in order of number, in place of what `into` held; its room is used again. After an error what it
    /// holds means nothing.
    fn list_processes(&self, into: &mut Vec<Process>) -> Result<(), HostError>;
    /// All processes, in order of number.
    fn processes(&self) -> Result<Vec<Process>, HostError> {
        let mut all = Vec::new();
        self.list_processes(&mut all)?;
        Ok(all)
    }
    /// One process; `Missing` when it is gone.
    fn process(&self, pid: u32) -> Result<Process, HostError>;
    /// The name of a user id; the number as text when it has none.
    fn user_name(&self, uid: u32) -> String;
    /// Runs a command line to its end or its timeout.
    fn run(&self, exec: &Exec) -> Result<ExecOutput, HostError>;
    /// Runs a policy's script. Its text never touches a shell's command line and leaves no file behind; standard input
    /// is at its end (a host that cannot do that gives the script its own text there). `exec.stdin` is not used;
    /// `exec.program` is the interpreter, `exec.args` the script's arguments.
    fn run_script(&self, exec: &Exec, body: &str) -> Result<ExecOutput, HostError> {
        let mut exec = exec.clone();
        exec.args.insert(0, "/dev/stdin".to_owned());
        exec.stdin = body.as_bytes().to_vec();
        self.run(&exec)
    }
    /// Runs a policy's script that leaves a daemon behind: like [`Host::run_script`], but in a session of its own, its
    /// outputs on /dev/null, and nothing is killed when it ends well. Gives its exit code.
    fn run_detached(&self, exec: &Exec, body: &str) -> Result<i32, HostError> {
        let _ = (exec, body);
        Err(HostError::Unsupported("daemons cannot be started here".to_owned()))
    }
    /// Units' states, in the order asked; a unit nobody knows is not up, its word is `not-found`. `Unsupported` where
    /// there is no systemd.
    fn units(&self, units: &[String]) -> Result<Vec<ServiceState>, HostError>;
    /// Does something with a unit and waits for the job.
    fn unit(&self, unit: &str, verb: UnitVerb, timeout: Duration) -> Result<(), HostError>;
    /// Signals a process only if it still is the one that started at `start` (race-free, by pidfd).
    fn signal(&self, pid: u32, start: u64, signal: &str) -> Result<(), HostError>;
    /// Deletes regular files of one directory, at most [`MAX_DELETE`]. Never follows links, never goes into
    /// subdirectories, never in `/` or a directory of the system.
    fn delete_files(&self, what: &DeleteFiles) -> Result<Deleted, HostError>;
}
