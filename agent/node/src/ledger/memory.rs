//! A data folder in memory that can fill up, tear writes and die: for tests and simulation.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::storage::Storage;

/// What goes wrong with a [`Memory`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Every write fails as on a full disk; of an append, this many bytes are there all the same.
    Full {
        /// How many.
        torn: usize,
    },
    /// Writes succeed and syncs fail.
    SyncFails,
    /// The process is as good as dead: nothing written from now on survives, and nobody is told.
    Dead,
    /// Dead after so many more appends.
    DiesAfter(u32),
}

#[derive(Clone, Debug, Default)]
struct State {
    log: Vec<u8>,
    files: BTreeMap<String, Vec<u8>>,
    fault: Fault,
}

/// A data folder in memory.
#[derive(Debug, Default)]
pub struct Memory(Mutex<State>);

impl Memory {
    /// One that holds a ledger of these bytes.
    #[must_use]
    pub fn with_log(log: Vec<u8>) -> Self {
        Self(Mutex::new(State { log, ..State::default() }))
    }

    /// What goes wrong from now on.
    pub fn set_fault(&self, fault: Fault) {
        self.state().fault = fault;
    }

    /// What the next process finds, with nothing going wrong any more.
    #[must_use]
    pub fn survivor(&self) -> Self {
        let state = self.state();
        Self(Mutex::new(State { fault: Fault::None, ..state.clone() }))
    }

    /// The ledger's bytes.
    #[must_use]
    pub fn log(&self) -> Vec<u8> {
        self.state().log.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "No space left on device")
}

impl State {
    /// Whether a write takes place, or why it fails.
    fn writes(&self) -> io::Result<bool> {
        match self.fault {
            Fault::None | Fault::SyncFails | Fault::DiesAfter(_) => Ok(true),
            Fault::Dead => Ok(false),
            Fault::Full { .. } => Err(full()),
        }
    }
}

impl Storage for Memory {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn load(&self) -> io::Result<Vec<u8>> {
        Ok(self.log())
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        if let Fault::Full { torn } = state.fault {
            state.log.extend_from_slice(&bytes[..torn.min(bytes.len())]);
        }
        if state.writes()? {
            state.log.extend_from_slice(bytes);
        }
        if let Fault::DiesAfter(left) = state.fault {
            state.fault = if left <= 1 { Fault::Dead } else { Fault::DiesAfter(left - 1) };
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let state = self.state();
        if state.fault == Fault::SyncFails { Err(full()) } else { state.writes().map(|_| ()) }
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut state = self.state();
        // Cutting needs no space.
        if state.fault != Fault::Dead {
            state.log.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        }
        Ok(())
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        if state.fault == Fault::SyncFails {
            return Err(full());
        }
        if state.writes()? {
            state.log = bytes.to_vec();
        }
        Ok(())
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.state().files.get(name).cloned())
    }

    fn save(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        if state.fault == Fault::SyncFails {
            return Err(full());
        }
        if state.writes()? {
            state.files.insert(name.to_owned(), bytes.to_vec());
        }
        Ok(())
    }
}
