//! Files in memory, with faults on demand: for tests and simulation.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, Pages};

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
    /// So many more calls that change something do so; then the machine is dead.
    Dead(usize),
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    durable: BTreeMap<String, Vec<u8>>,
    fault: Fault,
    changes: usize,
}

/// The disk; clones share one content, so that a test can look in and set faults.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<State>>);

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For a call that changes something.
    fn change(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        if let Fault::Dead(left) = &mut state.fault {
            *left = left.checked_sub(1).ok_or_else(|| io::Error::other("the machine is dead"))?;
        }
        state.changes += 1;
        Ok(state)
    }

    /// From now on, this goes wrong.
    pub fn set_fault(&self, fault: Fault) {
        self.state().fault = fault;
    }

    /// Calls so far that changed something.
    #[must_use]
    pub fn changes(&self) -> usize {
        self.state().changes
    }

    /// The machine went down: what was not synced is lost, but for its first `kept` bytes.
    pub fn crash(&self, kept: usize) {
        let mut state = self.state();
        let State { files, durable, fault, .. } = &mut *state;
        for (name, bytes) in files.iter() {
            let synced = durable.entry(name.clone()).or_default();
            if bytes.starts_with(synced) {
                let length = bytes.len().min(synced.len().saturating_add(kept));
                *synced = bytes[..length].to_vec();
            }
        }
        durable.retain(|name, _| files.contains_key(name));
        files.clone_from(durable);
        *fault = Fault::None;
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

    /// Another disk with the same content.
    #[must_use]
    pub fn copy(&self) -> Self {
        let state = self.state();
        let (files, durable) = (state.files.clone(), state.durable.clone());
        Self(Arc::new(Mutex::new(State { files, durable, fault: Fault::None, changes: 0 })))
    }
}

fn missing(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no file {name}"))
}

impl Disk for Memory {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        Ok(self.state().files.iter().map(|(name, bytes)| (name.clone(), bytes.len() as u64)).collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Pages>> {
        Ok(Box::new(self.bytes(name).ok_or_else(|| missing(name))?))
    }

    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.change()?;
        let fits = match state.fault {
            Fault::Full(left) => bytes.len().min(left),
            Fault::None | Fault::Sync | Fault::Dead(_) => bytes.len(),
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

    fn sync(&self, name: &str) -> io::Result<()> {
        let mut state = self.change()?;
        if state.fault == Fault::Sync {
            return Err(io::Error::other("Input/output error (os error 5)"));
        }
        let bytes = state.files.get(name).cloned().ok_or_else(|| missing(name))?;
        state.durable.insert(name.to_owned(), bytes);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.change()?;
        let State { files, durable, .. } = &mut *state;
        for map in [files, durable] {
            let bytes = map.remove(from).ok_or_else(|| missing(from))?;
            map.insert(to.to_owned(), bytes);
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.change()?;
        state.durable.remove(name);
        state.files.remove(name).map(|_| ()).ok_or_else(|| missing(name))
    }

    fn place(&self, name: &str) -> String {
        format!("memory:{name}")
    }
}

impl Pages for Vec<u8> {
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        Ok(self[from..self.len().min(from.saturating_add(length))].to_vec())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}
