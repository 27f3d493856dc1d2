//! Where segments are kept: a folder, or what a test puts in its place.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Largest segment that is read, in bytes.
const MAX_FILE: u64 = 32 << 20;

/// Named files of bytes. Calls block until the system has answered; whoever calls decides what a failure means, and
/// nothing here retries.
pub trait Disk: Send {
    /// Where it is, for messages to people.
    fn place(&self) -> String;
    /// The names of all segments, in any order.
    ///
    /// # Errors
    /// The system's.
    fn list(&self) -> io::Result<Vec<String>>;
    /// A whole segment.
    ///
    /// # Errors
    /// The system's.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// Adds bytes at a segment's end and returns once they are on the disk. After a failure any part of them may be there.
    ///
    /// # Errors
    /// The system's.
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Cuts a segment back.
    ///
    /// # Errors
    /// The system's.
    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()>;
    /// Removes a segment.
    ///
    /// # Errors
    /// The system's.
    fn remove(&mut self, name: &str) -> io::Result<()>;
}

/// A folder of this machine, held by one process at a time.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Its lock goes with the process.
    _lock: File,
}

impl Folder {
    /// Opens the folder, making it where it is missing (mode 0700), and takes its lock.
    ///
    /// # Errors
    /// The system's; `WouldBlock` while another process holds it.
    pub fn open(path: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let lock = OpenOptions::new().create(true).write(true).truncate(false).mode(0o600).open(path.join("lock"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }
}

impl Disk for Folder {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            names.extend(entry?.file_name().into_string().ok().filter(|name| name != "lock"));
        }
        Ok(names)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.path.join(name))?.take(MAX_FILE).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.path.join(name);
        let is_new = !path.exists();
        let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        if is_new { File::open(&self.path)?.sync_all() } else { Ok(()) }
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.path.join(name))?.set_len(length)
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }
}
