//! Where the history's files lie: a folder, or memory for tests and simulation.
//!
//! What must never enter: what is in the files.

mod memory;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

pub use memory::{Fault, Memory};

/// Named files with the few operations the history needs. Calls block, and come from several threads; only one writes a
/// file at a time.
///
/// After `sync` returned, what was written to that file survives a crash. After `rename` or `remove` returned, so does
/// that. Anything may fail; a failed `write_at` or `sync` leaves the file's bytes from `offset` on undefined.
pub trait Disk: Send + Sync {
    /// Names and lengths of all files, in order of name.
    ///
    /// # Errors
    /// The system's.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;
    /// Opens a file for reading at any place; it stays readable after it was removed.
    ///
    /// # Errors
    /// The system's.
    fn open(&self, name: &str) -> io::Result<Box<dyn Pages>>;
    /// Cuts the file (made if need be) at `offset` and writes `bytes` there.
    ///
    /// # Errors
    /// The system's; bytes before `offset` are untouched.
    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Waits until the file is on disk.
    ///
    /// # Errors
    /// The system's.
    fn sync(&self, name: &str) -> io::Result<()>;
    /// Gives a synced file another name, at once or not at all.
    ///
    /// # Errors
    /// The system's.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Deletes a file.
    ///
    /// # Errors
    /// The system's.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// The place, for messages: a path.
    fn place(&self, name: &str) -> String;
}

/// An open file.
pub trait Pages: Send {
    /// The bytes from `offset` on, at most `length`; fewer where the file ends.
    ///
    /// # Errors
    /// The system's.
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>>;
    /// How many bytes there are.
    ///
    /// # Errors
    /// The system's.
    fn length(&self) -> io::Result<u64>;
}

/// A folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Files that are being written; and whether their names are on disk yet.
    open: Mutex<HashMap<String, (Arc<File>, bool)>>,
}

impl Folder {
    /// Opens a folder, made if need be.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        Ok(Self { path: path.to_owned(), open: Mutex::default() })
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn files(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Arc<File>, bool)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, name: &str, create: bool) -> io::Result<(Arc<File>, bool)> {
        let mut files = self.files();
        if let Some((file, known)) = files.get(name) {
            return Ok((Arc::clone(file), *known));
        }
        let path = self.path.join(name);
        let known = path.exists();
        let file = Arc::new(OpenOptions::new().create(create).truncate(false).read(true).write(true).open(path)?);
        files.insert(name.to_owned(), (Arc::clone(&file), known));
        Ok((file, known))
    }
}

impl Disk for Folder {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string() {
                names.push((name, entry.metadata()?.len()));
            }
        }
        names.sort();
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Pages>> {
        Ok(Box::new(File::open(self.path.join(name))?))
    }

    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        // A file that is gone is not made anew with a hole where its beginning was.
        let (file, _) = self.file(name, offset == 0)?;
        // Only a failed append leaves something to cut; the common case costs no truncation.
        if file.metadata()?.len() != offset {
            file.set_len(offset)?;
        }
        file.write_all_at(bytes, offset)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        let (file, known) = self.file(name, false)?;
        file.sync_data()?;
        if !known {
            self.sync_names()?;
            if let Some(entry) = self.files().get_mut(name) {
                entry.1 = true;
            }
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.files().retain(|name, _| name != from && name != to);
        std::fs::rename(self.path.join(from), self.path.join(to))?;
        self.sync_names()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files().remove(name);
        std::fs::remove_file(self.path.join(name))?;
        self.sync_names()
    }

    fn place(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }
}

impl Pages for File {
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while filled < length {
            match FileExt::read_at(self, &mut bytes[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

/// A whole file.
///
/// # Errors
/// The system's.
pub(super) fn read(disk: &dyn Disk, name: &str) -> io::Result<Vec<u8>> {
    let file = disk.open(name)?;
    let length = usize::try_from(file.length()?).map_err(|_| io::Error::other("the file is too large"))?;
    file.read_at(0, length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_cuts_what_a_failed_write_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Folder::open(folder.path()).unwrap();
        disk.write_at("a", 0, b"0123456789").unwrap();
        disk.write_at("a", 4, b"xy").unwrap();
        disk.sync("a").unwrap();
        let open = disk.open("a").unwrap();
        disk.rename("a", "b").unwrap();
        disk.write_at("b", 6, b"z").unwrap();
        disk.sync("b").unwrap();
        assert_eq!(disk.list().unwrap(), [("b".to_owned(), 7)]);
        assert_eq!(read(&disk, "b").unwrap(), b"0123xyz");
        disk.remove("b").unwrap();
        assert!(disk.list().unwrap().is_empty() && disk.open("b").is_err());
        assert_eq!(open.read_at(4, 100).unwrap(), b"xyz");
    }
}
