//! Where the acting process keeps what must survive it: the ledger's file and a few small named ones.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

/// Largest ledger or named file that is read, in bytes.
pub const MAX_FILE: u64 = 64 << 20;
/// How long a starting process waits for the one before it to let go of the folder.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

const LEDGER: &str = "ledger";

/// The acting process' memory. Calls block until the system has answered. Whoever calls decides what a failure means;
/// nothing here retries. Simulation puts its own in place, one that tears and fails.
pub trait Storage: Send + Sync {
    /// Where it is, for messages to people.
    fn place(&self) -> String;
    /// The ledger's bytes; empty when there is none yet.
    ///
    /// # Errors
    /// It cannot be read, or is larger than [`MAX_FILE`].
    fn load(&self) -> io::Result<Vec<u8>>;
    /// Adds bytes at the ledger's end. After a failure any part of them may be there.
    ///
    /// # Errors
    /// The system's.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;
    /// Returns once everything appended is on the disk.
    ///
    /// # Errors
    /// The system's; then nothing is known about what was appended since the last success.
    fn sync(&self) -> io::Result<()>;
    /// Cuts the ledger back to its first `length` bytes.
    ///
    /// # Errors
    /// The system's.
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// Puts other bytes in the ledger's place: all of them, durably, or none.
    ///
    /// # Errors
    /// The system's; the old ledger stands.
    fn replace(&self, bytes: &[u8]) -> io::Result<()>;
    /// A small named file; none when it is not there.
    ///
    /// # Errors
    /// It cannot be read, or is larger than [`MAX_FILE`].
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>>;
    /// Writes a small named file: whole and durable, or not at all.
    ///
    /// # Errors
    /// The system's; the old file stands.
    fn save(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
}

/// A folder of this machine, held by one process at a time.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    log: Mutex<File>,
    /// Its lock goes with the process.
    _lock: File,
}

impl Folder {
    /// Opens the folder, making it where it is missing (mode 0700), and takes its lock; a process that is about to end
    /// gets 5 s to let go of it.
    ///
    /// # Errors
    /// A sentence that names the path and the remedy.
    pub fn open(path: &Path) -> Result<Self, String> {
        let told = |error: io::Error| format!("data folder {}: {error}; it must be writable", path.display());
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(told)?;
        let lock_path = path.join("lock");
        let lock =
            OpenOptions::new().create(true).write(true).truncate(false).mode(0o600).open(&lock_path).map_err(told)?;
        let mut tries = 0;
        loop {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) if tries < LOCK_TRIES => {
                    tries += 1;
                    std::thread::sleep(LOCK_PAUSE);
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(format!(
                        "another acting process holds {} for more than 5 s; only one may act on a server: end it first",
                        lock_path.display()
                    ));
                }
                Err(error) => return Err(told(error.into())),
            }
        }
        let log = open_log(&path.join(LEDGER)).map_err(told)?;
        Ok(Self { path: path.to_owned(), log: Mutex::new(log), _lock: lock })
    }

    fn write_whole(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let temp = self.path.join(format!("{name}.new"));
        let written = (|| {
            let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&temp)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&temp, self.path.join(name))?;
            File::open(&self.path)?.sync_all()
        })();
        if written.is_err() {
            // Leave no half file on a full disk; the failure that matters is the one above.
            let _ = fs::remove_file(&temp);
        }
        written
    }
}

fn open_log(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)
}

fn read_bounded(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::other(format!("{} is larger than {MAX_FILE} bytes", path.display())));
    }
    Ok(Some(bytes))
}

impl Storage for Folder {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn load(&self) -> io::Result<Vec<u8>> {
        Ok(read_bounded(&self.path.join(LEDGER))?.unwrap_or_default())
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).write_all(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).sync_data()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).set_len(length)
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        self.write_whole(LEDGER, bytes)?;
        *log = open_log(&self.path.join(LEDGER))?;
        Ok(())
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        read_bounded(&self.path.join(name))
    }

    fn save(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.write_whole(name, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_holder_and_keeps_what_it_was_given() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        folder.append(b"one").unwrap();
        folder.sync().unwrap();
        folder.save("state", b"x").unwrap();
        // A lock belongs to an open file, so a second open of the same process meets it as another process would.
        let error = Folder::open(dir.path()).unwrap_err();
        assert!(error.contains("another acting process holds"), "{error}");
        drop(folder);
        let folder = Folder::open(dir.path()).unwrap();
        assert_eq!(folder.load().unwrap(), b"one");
        assert_eq!(folder.read("state").unwrap().unwrap(), b"x");
        assert_eq!(folder.read("other").unwrap(), None);
        folder.replace(b"two").unwrap();
        folder.append(b"!").unwrap();
        folder.truncate(3).unwrap();
        folder.append(b"?").unwrap();
        assert_eq!(folder.load().unwrap(), b"two?");
    }

    #[test]
    fn a_starting_process_waits_for_the_one_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = Folder::open(dir.path()).unwrap();
        let path = dir.path().to_owned();
        let second = std::thread::spawn(move || Folder::open(&path).map(|_| ()));
        std::thread::sleep(LOCK_PAUSE);
        drop(first);
        second.join().unwrap().unwrap();
    }
}
