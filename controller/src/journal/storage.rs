//! Where segments lie: a folder, or memory for tests and simulation.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Named files with the few operations the journal needs. Calls block; only the core's thread makes them.
///
/// After `sync` returned, what was written to that file survives a crash. After `rename` or `remove` returned, so does
/// that. Anything may fail; a failed `write_at` or `sync` leaves the file's bytes from `offset` on undefined.
pub trait Storage: Send {
    /// Names of all files.
    ///
    /// # Errors
    /// The system's.
    fn list(&self) -> io::Result<Vec<String>>;
    /// A whole file.
    ///
    /// # Errors
    /// The system's.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// Cuts the file (made if need be) at `offset` and writes `bytes` there.
    ///
    /// # Errors
    /// The system's; bytes before `offset` are untouched.
    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Waits until the file is on disk.
    ///
    /// # Errors
    /// The system's.
    fn sync(&mut self, name: &str) -> io::Result<()>;
    /// Gives a synced file another name, at once or not at all.
    ///
    /// # Errors
    /// The system's.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Deletes a file.
    ///
    /// # Errors
    /// The system's.
    fn remove(&mut self, name: &str) -> io::Result<()>;
    /// The place, for messages: a folder's path.
    fn place(&self, name: &str) -> String;
}

/// A folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// The file written last, kept open; and whether its name is on disk yet.
    open: Option<(String, File, bool)>,
}

impl Folder {
    /// Opens a folder, made if need be.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        Ok(Self { path: path.to_owned(), open: None })
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn file(&mut self, name: &str) -> io::Result<&mut (String, File, bool)> {
        let same = self.open.as_ref().is_some_and(|(open, ..)| open == name);
        if !same {
            let path = self.path.join(name);
            let known = path.exists();
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
            self.open = Some((name.to_owned(), file, known));
        }
        self.open.as_mut().ok_or_else(|| io::Error::other("no open file"))
    }
}

impl Storage for Folder {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        std::fs::read(self.path.join(name))
    }

    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (_, file, _) = self.file(name)?;
        // Only a failed append leaves something to cut; the common case costs no truncation.
        if file.metadata()?.len() != offset {
            file.set_len(offset)?;
        }
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(bytes)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let (_, file, known) = self.file(name)?;
        file.sync_data()?;
        if !*known {
            self.sync_names()?;
            self.file(name)?.2 = true;
        }
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.open = None;
        std::fs::rename(self.path.join(from), self.path.join(to))?;
        self.sync_names()
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.open = None;
        std::fs::remove_file(self.path.join(name))?;
        self.sync_names()
    }

    fn place(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }
}
