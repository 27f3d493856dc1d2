//! The event log: append-only segments, checksummed, on disk before any effect.
//!
//! What must never enter: decisions, clocks, sockets. Order of a crash-safe append: write, fdatasync, then return; a
//! failed append leaves nothing behind that a later one or a restart would take for written.

mod compact;
mod feed;
mod hold;
mod memory;
mod outbox;
mod record;
mod redis;
mod storage;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use skynet_model::event::{Event, EventBody};
use skynet_model::incident::Notice;
use skynet_model::time::Timestamp;

pub use self::redis::{Access, Address, Call, Connection, Fault as RedisFault, FaultKind, Layout, Reply, first_line};
pub use compact::what_matters;
pub use feed::{Feed, RING};
pub use hold::{Bounds, Dropped, Hold, Waiting};
pub use memory::{Fault, Memory};
pub use outbox::{Kept, Outbox};
pub use storage::{Folder, Storage};

use hold::Segment;
use record::HEADER;

/// A segment that has grown to so many bytes is sealed.
pub const SEGMENT_BYTES: u64 = 16 << 20;
/// With so many sealed segments the journal is compacted.
const SEALED: usize = 2;
/// With so many events read, those that do not matter any more are let go.
const MANY: usize = 100_000;
const TEMPORARY: &str = "compact.tmp";

/// Why the journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The storage failed.
    #[error("cannot {what} {place}: {source}; see that the disk has room and is writable")]
    Storage {
        /// Read, write, ...
        what: &'static str,
        /// The file.
        place: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A segment is damaged elsewhere than at the log's end.
    #[error(
        "journal segment {place} is damaged at byte {offset}: {detail}; restore it from a copy, or move it and the \
         segments after it away: then the log ends at event {last}, and what came later is forgotten"
    )]
    Damaged {
        /// The file.
        place: String,
        /// Where.
        offset: usize,
        /// What is wrong.
        detail: String,
        /// The last event before it.
        last: u64,
    },
    /// A segment is missing.
    #[error(
        "journal segment {place} begins after event {expected}: a segment before it is missing; restore it from a copy"
    )]
    Missing {
        /// The file after the hole.
        place: String,
        /// The number it should begin with.
        expected: u64,
    },
    /// An event cannot be written.
    #[error("{0}")]
    Event(String),
}

/// The open log.
pub struct Journal {
    storage: Box<dyn Storage>,
    /// The compacted first segment, where there is one.
    compacted: Option<String>,
    sealed: Vec<Segment>,
    /// The segment that grows, and how many of its bytes are on disk.
    active: Option<(String, u64)>,
    last: u64,
    /// The newest event's time.
    newest: Timestamp,
    segment_bytes: u64,
    hold: Option<Arc<Hold>>,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("last", &self.last).field("active", &self.active).finish_non_exhaustive()
    }
}

fn plain_name(first: u64) -> String {
    format!("{first:020}.log")
}

fn compacted_name(last: u64) -> String {
    format!("compact-{last:020}.log")
}

fn number(name: &str, prefix: &str) -> Option<u64> {
    let digits = name.strip_prefix(prefix)?.strip_suffix(".log")?;
    (digits.len() == 20).then(|| digits.parse().ok()).flatten()
}

impl Journal {
    /// Opens the log in a folder and replays it.
    ///
    /// # Errors
    /// See [`Journal::open`].
    pub fn open_folder(path: &Path) -> Result<(Self, Vec<Event>), JournalError> {
        let place = path.display().to_string();
        let folder = Folder::open(path).map_err(|source| JournalError::Storage { what: "open", place, source })?;
        Self::open(Box::new(folder), SEGMENT_BYTES)
    }

    /// Opens the log and gives its events in order. A torn tail is cut off with a warning.
    ///
    /// # Errors
    /// [`JournalError`]: the storage fails, a segment is missing, or one is damaged elsewhere than at the end.
    pub fn open(mut storage: Box<dyn Storage>, segment_bytes: u64) -> Result<(Self, Vec<Event>), JournalError> {
        let fail = |what, place: String| move |source| JournalError::Storage { what, place, source };
        let names = storage.list().map_err(fail("list", storage.place("")))?;
        let newest_compacted = names.iter().filter_map(|name| number(name, "compact-")).max();
        let covered = newest_compacted.unwrap_or(0);
        let mut plain: Vec<u64> = Vec::new();
        for name in &names {
            let old_compacted = number(name, "compact-").is_some_and(|last| last < covered);
            let first = number(name, "");
            if name == TEMPORARY || old_compacted || first.is_some_and(|first| first <= covered) {
                // A crash during compaction left it.
                storage.remove(name).map_err(fail("delete", storage.place(name)))?;
            } else if let Some(first) = first {
                plain.push(first);
            }
        }
        plain.sort_unstable();

        let mut journal = Self {
            storage,
            compacted: newest_compacted.map(compacted_name),
            sealed: Vec::new(),
            active: None,
            last: 0,
            newest: Timestamp(0),
            segment_bytes,
            hold: None,
        };
        let mut events = Vec::new();
        if let Some(name) = journal.compacted.clone() {
            let length = journal.read(&name, &mut events, true)?.1;
            debug_assert!(length > 0 && journal.last == covered);
        }
        let newest = plain.last().copied();
        for first in plain {
            let name = plain_name(first);
            if first != journal.last + 1 {
                let (place, expected) = (journal.storage.place(&name), journal.last + 1);
                return Err(JournalError::Missing { place, expected });
            }
            let (torn, length) = journal.read(&name, &mut events, false)?;
            if Some(first) == newest {
                if torn > 0 {
                    let place = journal.storage.place(&name);
                    tracing::warn!("{place}: {torn} bytes of an unfinished append at the end dropped");
                    let cut = journal.storage.write_at(&name, length, &[]).and_then(|()| journal.storage.sync(&name));
                    cut.map_err(|source| JournalError::Storage { what: "cut", place, source })?;
                }
                journal.active = Some((name, length));
            } else if torn > 0 {
                let (place, detail) = (journal.storage.place(&name), "its end is missing".to_owned());
                let offset = usize::try_from(length).unwrap_or(usize::MAX);
                return Err(JournalError::Damaged { place, offset, detail, last: journal.last });
            } else {
                let (last, newest) = (journal.last, events.last().map_or(Timestamp(0), |event| event.time));
                journal.sealed.push(Segment { name, last, newest, bytes: length });
                if events.len() > MANY {
                    // What waits for a copy may be far more than what still matters.
                    events = compact::keep(events);
                }
            }
        }
        journal.newest = events.last().map_or(Timestamp(0), |event| event.time);
        Ok((journal, events))
    }

    /// Reads one segment; gives the bytes behind its valid prefix and that prefix's length.
    fn read(&mut self, name: &str, events: &mut Vec<Event>, gaps: bool) -> Result<(usize, u64), JournalError> {
        let place = self.storage.place(name);
        let bytes = self.storage.read(name);
        let bytes = bytes.map_err(|source| JournalError::Storage { what: "read", place: place.clone(), source })?;
        let mut scan = record::scan(&bytes, self.last, gaps);
        self.last = scan.events.last().map_or(self.last, |event| event.seq);
        events.append(&mut scan.events);
        match scan.fault {
            Some(record::Fault::Damaged(detail)) => {
                Err(JournalError::Damaged { place, offset: scan.valid, detail, last: self.last })
            }
            // A compacted segment was synced before it got its name: it has no torn tail.
            Some(record::Fault::Torn) if gaps => {
                let detail = "its end is missing".to_owned();
                Err(JournalError::Damaged { place, offset: scan.valid, detail, last: self.last })
            }
            Some(record::Fault::Torn) => Ok((bytes.len() - scan.valid, scan.valid as u64)),
            None => Ok((0, scan.valid as u64)),
        }
    }

    /// From now on, what `hold` holds is not compacted.
    pub fn set_hold(&mut self, hold: Arc<Hold>) {
        hold.note_sealed(&self.sealed);
        hold.note_active(self.active.as_ref().map_or(0, |(_, length)| *length));
        self.hold = Some(hold);
    }

    /// The number of the last event on disk.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Writes events and waits until they are on disk. All or none: after an error the same events may be given again.
    ///
    /// # Errors
    /// [`JournalError`]; nothing counts as written.
    pub fn append(&mut self, events: &[Event]) -> Result<(), JournalError> {
        let (Some(first), Some(last)) = (events.first(), events.last()) else { return Ok(()) };
        if let Some((name, bytes)) = self.active.take_if(|(_, length)| *length >= self.segment_bytes) {
            self.sealed.push(Segment { name, last: self.last, newest: self.newest, bytes });
            self.compact_if_due();
            if let Some(hold) = &self.hold {
                hold.note_sealed(&self.sealed);
            }
        }
        let (name, length) = self.active.clone().unwrap_or_else(|| (plain_name(first.seq), 0));
        let mut bytes = if length == 0 { HEADER.to_vec() } else { Vec::new() };
        for (index, event) in events.iter().enumerate() {
            let expected = self.last + 1 + index as u64;
            if event.seq != expected {
                return Err(JournalError::Event(format!("event {} was given where {expected} is next", event.seq)));
            }
            record::encode(event, index > 0, &mut bytes).map_err(JournalError::Event)?;
        }
        let written = self.storage.write_at(&name, length, &bytes).and_then(|()| self.storage.sync(&name));
        written.map_err(|source| JournalError::Storage { what: "write", place: self.storage.place(&name), source })?;
        let length = length + bytes.len() as u64;
        self.active = Some((name, length));
        (self.last, self.newest) = (last.seq, last.time);
        if let Some(hold) = &self.hold {
            hold.note_active(length);
        }
        Ok(())
    }

    /// Compacts when enough segments are sealed. A failure is only told: the segments stay, and it is tried at the
    /// next sealing.
    pub fn compact_if_due(&mut self) {
        let all = (self.sealed.len(), None);
        let (due, dropped) = self.hold.as_ref().map_or(all, |hold| hold.released(&self.sealed, self.newest));
        if due < SEALED {
            return;
        }
        match self.compact(due) {
            Ok((before, after)) => {
                tracing::info!("journal compacted: {before} events, {after} of them still matter");
                if let (Some(hold), Some(dropped)) = (&self.hold, dropped) {
                    hold.note_dropped(dropped);
                }
            }
            Err(error) => tracing::warn!("journal not compacted, which is tried again later: {error}"),
        }
    }

    /// Rewrites the events of the first `due` sealed segments that still matter into one, which replaces them at once or
    /// not at all.
    fn compact(&mut self, due: usize) -> Result<(usize, usize), JournalError> {
        let mut events = Vec::new();
        let last = std::mem::take(&mut self.last);
        let sources: Vec<String> =
            self.compacted.iter().chain(self.sealed[..due].iter().map(|s| &s.name)).cloned().collect();
        let read: Result<Vec<_>, _> = sources.iter().map(|name| self.read(name, &mut events, true)).collect();
        let covered = std::mem::replace(&mut self.last, last);
        read?;
        let before = events.len();
        let kept = compact::keep(events);
        let mut bytes = HEADER.to_vec();
        for event in &kept {
            record::encode(event, false, &mut bytes).map_err(JournalError::Event)?;
        }
        let name = compacted_name(covered);
        let storage = &mut self.storage;
        let done = storage
            .write_at(TEMPORARY, 0, &bytes)
            .and_then(|()| storage.sync(TEMPORARY))
            .and_then(|()| storage.rename(TEMPORARY, &name));
        done.map_err(|source| JournalError::Storage { what: "write", place: self.storage.place(TEMPORARY), source })?;
        self.compacted = Some(name);
        self.sealed.drain(..due);
        for old in sources {
            // What stays behind is removed at the next start.
            if let Err(error) = self.storage.remove(&old) {
                tracing::warn!("cannot delete {}: {error}", self.storage.place(&old));
            }
        }
        Ok((before, kept.len()))
    }
}

/// Writes a log that begins with `events`, whose numbers rise and may have holes, into an empty folder.
///
/// # Errors
/// [`JournalError`]: the folder holds a log, or cannot be written; nothing counts as written.
pub fn write_anew(path: &Path, events: &[Event]) -> Result<(), JournalError> {
    let place = path.display().to_string();
    let fail = |what| {
        let place = place.clone();
        move |source| JournalError::Storage { what, place, source }
    };
    let mut folder = Folder::open(path).map_err(fail("open"))?;
    let names = folder.list().map_err(fail("list"))?;
    if names.iter().any(|name| name != TEMPORARY) {
        return Err(JournalError::Event(format!("{place} holds a log already; give an empty folder")));
    }
    let Some(last) = events.last() else { return Ok(()) };
    let mut bytes = HEADER.to_vec();
    for event in events {
        record::encode(event, false, &mut bytes).map_err(JournalError::Event)?;
    }
    let written = folder.write_at(TEMPORARY, 0, &bytes).and_then(|()| folder.sync(TEMPORARY));
    written.and_then(|()| folder.rename(TEMPORARY, &compacted_name(last.seq))).map_err(fail("write"))
}

/// Notices of the log that have not reached all of their targets, oldest first, with the targets left.
#[must_use]
pub fn pending_notices(events: &[Event]) -> Vec<(Notice, HashSet<String>)> {
    let mut open = compact::open_notices(events.iter());
    let raised = events.iter().filter_map(|event| {
        let EventBody::NoticeRaised { notice } = &event.body else { return None };
        open.remove(&notice.id).map(|left| ((**notice).clone(), left))
    });
    raised.collect()
}

#[cfg(test)]
mod tests;
