//! The command ledger: INTENT before an action, OUTCOME after it, both on disk before anyone hears of them.
//!
//! What must never enter: deciding. The ledger says what was begun and how it ended; `actor` decides what follows.

mod memory;
mod record;
mod storage;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use memory::{Fault, Memory};
pub use record::Intent;
pub use storage::{Folder, MAX_FILE, Storage};

use record::{HEADER, Record, encode, scan};
use skynet_model::catalogue::Risk;
use skynet_model::command::{LedgerEntry, Outcome};
use skynet_model::name::CommandId;
use skynet_model::time::{Span, Timestamp};

/// Most entries that outlive a compaction; the oldest go first, acknowledged ones before others.
pub const MAX_ENTRIES: usize = 10_000;
/// How long acknowledged entries are kept.
pub const KEEP: Span = Span::hours(24);
/// A ledger that grew by more than this is compacted while it is in use.
const COMPACT_BYTES: u64 = 16 << 20;

/// Why the ledger does not serve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// It cannot be read.
    #[error("ledger in {place} cannot be read: {error}")]
    Unreadable {
        /// Its folder.
        place: String,
        /// The system's words.
        error: String,
    },
    /// It is no ledger, or was damaged by something else than a crash. What it held is not known, so nothing may act.
    #[error(
        "ledger {place}/ledger is damaged at byte {at}: {what}; no action is safe until it is repaired: check the disk, \
         then move the file away (mv {place}/ledger {place}/ledger.damaged) to begin an empty one"
    )]
    Damaged {
        /// Its folder.
        place: String,
        /// Where the damage begins.
        at: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// It cannot be written; no action may begin.
    #[error("ledger cannot be written: {error}; free space on {place}")]
    Unwritable {
        /// Its folder.
        place: String,
        /// The system's words.
        error: String,
    },
}

/// One command that was begun.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What was about to be done.
    pub intent: Intent,
    /// How it ended; none while it runs, and after a crash.
    pub outcome: Option<Outcome>,
    /// Whether the controller has journalled the outcome.
    pub acknowledged: bool,
}

/// The server's clocks at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Wall clock.
    pub wall: Timestamp,
    /// Boot clock, milliseconds.
    pub boot_ms: i64,
    /// Which boot.
    pub boot_id: String,
}

/// What was begun on this server, and how it ended.
pub struct Ledger {
    storage: Arc<dyn Storage>,
    entries: Vec<Entry>,
    places: BTreeMap<CommandId, usize>,
    /// Sound bytes in the file.
    bytes: u64,
    /// The file's size after the last compaction.
    compacted: u64,
    /// The last write failed, and nothing has been written since.
    broken: Option<String>,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("entries", &self.entries.len()).field("broken", &self.broken).finish()
    }
}

impl Ledger {
    /// Reads the ledger: a torn tail is cut off, old entries are dropped. One that can be read but not written opens
    /// all the same, and refuses every intent.
    ///
    /// # Errors
    /// [`LedgerError::Unreadable`], [`LedgerError::Damaged`].
    pub fn open(storage: Arc<dyn Storage>, now: Timestamp) -> Result<Self, LedgerError> {
        let place = storage.place();
        let bytes = storage
            .load()
            .map_err(|error| LedgerError::Unreadable { place: place.clone(), error: error.to_string() })?;
        let damaged = |at, what| LedgerError::Damaged { place: place.clone(), at, what };
        let found = scan(&bytes).ok_or_else(|| damaged(0, "it does not begin as a ledger of format 1"))?;
        if found.hole {
            return Err(damaged(found.sound, "an unsound record has sound ones after it"));
        }
        let mut ledger = Self {
            storage,
            entries: Vec::new(),
            places: BTreeMap::new(),
            bytes: bytes.len() as u64,
            compacted: 0,
            broken: None,
        };
        let torn = bytes.len() - found.sound;
        if torn > 0 {
            tracing::warn!(place, torn, "the ledger's last record was torn by a crash and is cut off");
        }
        for record in found.records {
            ledger.take(record);
        }
        // Written anew at every start: that drops the torn tail and old entries, and shows whether it can be written.
        ledger.compact(now);
        Ok(ledger)
    }

    /// Why no action may begin, if none may. Tries first to write the ledger anew: the disk may have space again.
    ///
    /// # Errors
    /// [`LedgerError::Unwritable`].
    pub fn ready(&mut self, now: Timestamp) -> Result<(), LedgerError> {
        if self.broken.is_some() || self.bytes.saturating_sub(self.compacted) > COMPACT_BYTES {
            self.compact(now);
        }
        match &self.broken {
            None => Ok(()),
            Some(error) => Err(LedgerError::Unwritable { place: self.storage.place(), error: error.clone() }),
        }
    }

    /// The entry of a command, if it was ever begun.
    #[must_use]
    pub fn entry(&self, command: &CommandId) -> Option<&Entry> {
        self.places.get(command).and_then(|at| self.entries.get(*at))
    }

    /// Entries without an outcome, in order.
    pub fn unfinished(&self) -> impl Iterator<Item = &Intent> {
        self.entries.iter().filter(|e| e.outcome.is_none()).map(|e| &e.intent)
    }

    /// Puts an intent on disk. Only after `Ok` may its action begin.
    ///
    /// # Errors
    /// [`LedgerError::Unwritable`]; the intent does not count then.
    pub fn intend(&mut self, intent: Intent) -> Result<(), LedgerError> {
        self.ready(intent.begun)?;
        self.write(&Record::Intent { intent: Box::new(intent.clone()) })?;
        self.take(Record::Intent { intent: Box::new(intent) });
        Ok(())
    }

    /// Puts an outcome on disk.
    ///
    /// # Errors
    /// [`LedgerError::Unwritable`]: the outcome is remembered, as long as this process lives.
    pub fn finish(&mut self, outcome: Outcome) -> Result<(), LedgerError> {
        self.take(Record::Outcome { outcome: outcome.clone() });
        let now = outcome.finished;
        // A broken ledger is written whole, with this outcome in it.
        if self.broken.is_some() { self.ready(now) } else { self.write(&Record::Outcome { outcome }) }
    }

    /// The controller has journalled these outcomes. A failure to write that down costs nothing: it is told again.
    pub fn forget(&mut self, commands: &[CommandId]) {
        let known: Vec<CommandId> =
            commands.iter().filter(|id| self.entry(id).is_some_and(|e| !e.acknowledged)).cloned().collect();
        if known.is_empty() {
            return;
        }
        let record = Record::Forget { commands: known };
        if self.broken.is_none() {
            let _ = self.write(&record);
        }
        self.take(record);
    }

    /// How many intents the last hour saw, and how many of them were disruptive or destructive. Counted on the boot
    /// clock; over a restart of the machine on the wall clock, where a time in the future counts as now.
    #[must_use]
    pub fn last_hour(&self, now: &Moment) -> (u32, u32) {
        let hour = Span::hours(1).0;
        let (mut all, mut grave) = (0, 0);
        for Entry { intent, .. } in &self.entries {
            let age = if intent.boot_id == now.boot_id {
                now.boot_ms - intent.begun_boot_ms
            } else {
                now.wall.0 - intent.begun.0
            };
            if age < hour {
                all += 1;
                grave += u32::from(intent.risk > Risk::Reversible);
            }
        }
        (all, grave)
    }

    /// What the controller is told when a session begins: unacknowledged entries first, then the others, the newest
    /// first, until `budget` bytes are used.
    #[must_use]
    pub fn inventory(&self, budget: usize) -> Vec<LedgerEntry> {
        let mut left = budget;
        let newest = |acknowledged| self.entries.iter().rev().filter(move |e| e.acknowledged == acknowledged);
        newest(false)
            .chain(newest(true))
            .map(|e| LedgerEntry { command: e.intent.command.id.clone(), outcome: e.outcome.clone() })
            .take_while(|entry| {
                // Fixed parts of an entry in its JSON form take less than this.
                let size = 300 + entry.outcome.as_ref().map_or(0, |o| o.message.len());
                let fits = size <= left;
                left = left.saturating_sub(size);
                fits
            })
            .collect()
    }

    fn take(&mut self, record: Record) {
        match record {
            Record::Intent { intent } => {
                self.places.insert(intent.command.id.clone(), self.entries.len());
                self.entries.push(Entry { intent: *intent, outcome: None, acknowledged: false });
            }
            Record::Outcome { outcome } => {
                if let Some(entry) = self.places.get(&outcome.command).and_then(|at| self.entries.get_mut(*at)) {
                    entry.outcome = Some(outcome);
                }
            }
            Record::Forget { commands } => {
                for id in commands {
                    if let Some(entry) = self.places.get(&id).and_then(|at| self.entries.get_mut(*at)) {
                        entry.acknowledged = entry.outcome.is_some();
                    }
                }
            }
        }
    }

    fn write(&mut self, record: &Record) -> Result<(), LedgerError> {
        let mut bytes = Vec::new();
        let written = if encode(record, &mut bytes) {
            self.storage.append(&bytes).and_then(|()| self.storage.sync())
        } else {
            Err(std::io::Error::other("the record is too large"))
        };
        if let Err(error) = written {
            self.broken = Some(error.to_string());
            // What was not promised must not be found after a restart.
            if let Err(error) = self.storage.truncate(self.bytes) {
                tracing::error!(%error, "the ledger's unfinished record could not be cut off");
            }
            return Err(LedgerError::Unwritable { place: self.storage.place(), error: error.to_string() });
        }
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Writes the ledger anew without what is old. On failure the old file stands and the ledger is broken.
    fn compact(&mut self, now: Timestamp) {
        let fresh = |e: &Entry| !e.acknowledged || now.since(e.intent.begun) < KEEP;
        self.entries.retain(fresh);
        let excess = self.entries.len().saturating_sub(MAX_ENTRIES);
        if excess > 0 {
            // Stable: acknowledged ones come first, each kind in order of age; those still running are never dropped.
            let mut order: Vec<usize> =
                (0..self.entries.len()).filter(|i| self.entries[*i].outcome.is_some()).collect();
            order.sort_by_key(|i| !self.entries[*i].acknowledged);
            let dropped: std::collections::BTreeSet<usize> = order.into_iter().take(excess).collect();
            let mut at = 0;
            self.entries.retain(|_| {
                at += 1;
                !dropped.contains(&(at - 1))
            });
        }
        self.places = self.entries.iter().enumerate().map(|(at, e)| (e.intent.command.id.clone(), at)).collect();
        let mut bytes = HEADER.to_vec();
        let mut acknowledged = Vec::new();
        for entry in &self.entries {
            encode(&Record::Intent { intent: Box::new(entry.intent.clone()) }, &mut bytes);
            if let Some(outcome) = &entry.outcome {
                encode(&Record::Outcome { outcome: outcome.clone() }, &mut bytes);
            }
            if entry.acknowledged {
                acknowledged.push(entry.intent.command.id.clone());
            }
        }
        for commands in acknowledged.chunks(1000) {
            encode(&Record::Forget { commands: commands.to_vec() }, &mut bytes);
        }
        match self.storage.replace(&bytes) {
            Ok(()) => {
                self.bytes = bytes.len() as u64;
                self.compacted = self.bytes;
                self.broken = None;
            }
            Err(error) => self.broken = Some(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
