//! Segments in memory, with faults on demand: for tests and simulation.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::storage::Storage;

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// So many more bytes fit; a write beyond them is cut short and fails.
    Full(usize),
    /// Every fsync fails.
    Sync,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    durable: BTreeMap<String, Vec<u8>>,
    fault: Fault,
}

/// The storage; clones share one content, so that a test can look in and set faults.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<State>>);

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, this goes wrong.
    pub fn set_fault(&self, fault: Fault) {
        self.state().fault = fault;
    }

    /// What was not synced is lost.
    pub fn crash(&self) {
        let mut state = self.state();
        state.files = state.durable.clone();
        state.fault = Fault::None;
    }

    /// A file's bytes.
    #[must_use]
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        self.state().files.get(name).cloned()
    }

    /// Puts a file there, on disk.
    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        let mut state = self.state();
        state.durable.insert(name.to_owned(), bytes.clone());
        state.files.insert(name.to_owned(), bytes);
    }
}

fn missing(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no file {name}"))
}

impl Storage for Memory {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().files.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.bytes(name).ok_or_else(|| missing(name))
    }

    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let fits = match state.fault {
            Fault::Full(left) => bytes.len().min(left),
            Fault::None | Fault::Sync => bytes.len(),
        };
        let file = state.files.entry(name.to_owned()).or_default();
        file.truncate(usize::try_from(offset).unwrap_or(usize::MAX));
        file.extend_from_slice(&bytes[..fits]);
        if let Fault::Full(left) = &mut state.fault {
            *left -= fits;
        }
        if fits < bytes.len() {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "No space left on device (os error 28)"));
        }
        Ok(())
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        if state.fault == Fault::Sync {
            return Err(io::Error::other("Input/output error (os error 5)"));
        }
        let bytes = state.files.get(name).cloned().ok_or_else(|| missing(name))?;
        state.durable.insert(name.to_owned(), bytes);
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        let State { files, durable, .. } = &mut *state;
        for map in [files, durable] {
            let bytes = map.remove(from).ok_or_else(|| missing(from))?;
            map.insert(to.to_owned(), bytes);
        }
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.durable.remove(name);
        state.files.remove(name).map(|_| ()).ok_or_else(|| missing(name))
    }

    fn place(&self, name: &str) -> String {
        format!("memory:{name}")
    }
}
