//! The operators' local latch: set at once, by another thread than the one that acts, and kept over restarts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::ActorError;
use super::state;
use crate::ledger::Storage;

const FILE: &str = "halt";

#[derive(Serialize, Deserialize)]
struct Kept {
    halted: bool,
}

/// Whether actions are halted.
pub(super) struct Latch {
    halted: AtomicBool,
    storage: Arc<dyn Storage>,
}

impl Latch {
    pub(super) fn open(storage: Arc<dyn Storage>) -> Result<Self, ActorError> {
        let halted = state::load::<Kept>(&*storage, FILE)?.is_some_and(|kept| kept.halted);
        Ok(Self { halted: AtomicBool::new(halted), storage })
    }

    pub(super) fn is_set(&self) -> bool {
        self.halted.load(Ordering::SeqCst)
    }

    /// A halt holds even if it cannot be kept; its end only counts once it is kept.
    pub(super) fn set(&self, halted: bool) {
        let was = if halted { self.halted.swap(true, Ordering::SeqCst) } else { self.is_set() };
        if was == halted {
            return;
        }
        match state::save(&*self.storage, FILE, &Kept { halted }) {
            Ok(()) => self.halted.store(halted, Ordering::SeqCst),
            Err(error) => tracing::error!(error, halted, "the halt latch could not be kept"),
        }
    }
}
