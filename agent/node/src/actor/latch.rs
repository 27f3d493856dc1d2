//! What halts this server: the operators' local latch, and signed emergency documents. Both are set at once, by another
//! thread than the one that acts, and kept over restarts; neither undoes the other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use skynet_model::emergency::{EMERGENCY_NAMESPACE, SignedDocument, Taken, Terms, Verdict, check};

use super::state;
use super::{ActorConfig, ActorError};
use crate::host::Host;
use crate::ledger::Storage;

const FILE: &str = "halt";
const EMERGENCY_FILE: &str = "emergency";

#[derive(Serialize, Deserialize)]
struct Kept {
    halted: bool,
}

#[derive(Serialize, Deserialize)]
struct KeptEmergency {
    last: Taken,
}

/// Whether actions are halted.
pub(super) struct Latch {
    halted: AtomicBool,
    /// The last document that was taken; its sequence is the highest.
    emergency: Mutex<Option<Taken>>,
    /// None: no fleet is configured, and no document is taken.
    terms: Option<Terms>,
    host: Arc<dyn Host>,
    storage: Arc<dyn Storage>,
}

impl Latch {
    pub(super) fn open(
        config: &ActorConfig,
        storage: Arc<dyn Storage>,
        host: Arc<dyn Host>,
    ) -> Result<Self, ActorError> {
        let halted = state::load::<Kept>(&*storage, FILE)?.is_some_and(|kept| kept.halted);
        let emergency = state::load::<KeptEmergency>(&*storage, EMERGENCY_FILE)?.map(|kept| kept.last);
        if let Some(last) = emergency.as_ref().filter(|last| last.action.stops()) {
            tracing::warn!("actions are halted: {last}");
        }
        let (trust, single_operator) = (config.trust.clone(), config.single_operator);
        let terms = config.fleet.clone().map(|fleet| Terms { fleet, trust, single_operator });
        Ok(Self { halted: AtomicBool::new(halted), emergency: Mutex::new(emergency), terms, host, storage })
    }

    /// What halts actions, with the remedy; none when nothing does.
    pub(super) fn why(&self) -> Option<String> {
        if let Some(last) = self.last().as_ref().filter(|last| last.action.stops()) {
            return Some(format!("actions are halted: {last}; only a signed RESUME lets them go on"));
        }
        let local = self.halted.load(Ordering::SeqCst);
        local.then(|| "actions are halted; `skynetctl resume` lets them go on".to_owned())
    }

    /// The local latch. A halt holds even if it cannot be kept; its end only counts once it is kept.
    pub(super) fn set(&self, halted: bool) {
        let was = if halted { self.halted.swap(true, Ordering::SeqCst) } else { self.halted.load(Ordering::SeqCst) };
        if was == halted {
            return;
        }
        match state::save(&*self.storage, FILE, &Kept { halted }) {
            Ok(()) => self.halted.store(halted, Ordering::SeqCst),
            Err(error) => tracing::error!(error, halted, "the halt latch could not be kept"),
        }
    }

    /// Takes a document that this server's own signers signed. What stops holds even if it cannot be kept; a RESUME only
    /// counts once it is kept.
    pub(super) fn emergency(&self, signed: &SignedDocument) {
        let Some(terms) = &self.terms else {
            tracing::warn!("an emergency document is refused: this server's fleet is not configured");
            return;
        };
        let mut last = self.last();
        let taken = match check(EMERGENCY_NAMESPACE, signed, terms, last.as_ref(), self.host.now()) {
            Ok(Verdict::New(taken)) => taken,
            Ok(Verdict::Known) => return,
            Err(error) => {
                tracing::warn!("an emergency document is refused: {error}");
                return;
            }
        };
        if taken.action.stops() {
            *last = Some(taken.clone());
        }
        let kept = KeptEmergency { last: taken };
        match state::save(&*self.storage, EMERGENCY_FILE, &kept) {
            Ok(()) => {
                tracing::warn!("taken: {}", kept.last);
                *last = Some(kept.last);
            }
            Err(error) => tracing::error!(error, "taken, but not kept: {}", kept.last),
        }
    }

    fn last(&self) -> MutexGuard<'_, Option<Taken>> {
        self.emergency.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
