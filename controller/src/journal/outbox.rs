//! The log read again, for its copy: whatever comes after a number, from the ring of live events or from disk.
//!
//! What must never enter: writing. It reads beside the core's thread, which may append to the newest segment and replace
//! old ones at any time; only events that are known to be on disk are given.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use skynet_model::time::Timestamp;

use super::feed::Feed;
use super::record::{self, HEADER, Raw};
use super::{JournalError, number};

/// An event as it lies in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its number.
    pub seq: u64,
    /// Its time.
    pub time: Timestamp,
    /// Its JSON.
    pub json: Vec<u8>,
}

/// How often the folder is looked into again when a segment went away meanwhile.
const TRIES: usize = 5;

/// A segment that is being read.
#[derive(Debug)]
struct Open {
    bytes: Vec<u8>,
    at: usize,
    /// The last number given from it, or asked for.
    after: u64,
}

/// A reader of the log.
#[derive(Debug)]
pub struct Outbox {
    folder: PathBuf,
    feed: Option<Arc<Feed>>,
    open: Option<Open>,
}

impl Outbox {
    /// A reader of the log in `folder`, whose live events come through `feed`.
    #[must_use]
    pub fn new(folder: &Path, feed: Arc<Feed>) -> Self {
        Self { folder: folder.to_owned(), feed: Some(feed), open: None }
    }

    /// A reader of a log that nobody writes to.
    #[must_use]
    pub fn at_rest(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), feed: None, open: None }
    }

    /// Events after number `after`, in order: at most `events`, of about `bytes` bytes together, and none beyond `last`.
    /// Numbers that the log does not hold any more are passed over. None when there is nothing (yet).
    ///
    /// # Errors
    /// [`JournalError`]: the disk, or a damaged segment.
    pub fn next(&mut self, after: u64, last: u64, events: usize, bytes: usize) -> Result<Vec<Kept>, JournalError> {
        if let Some(feed) = &self.feed
            && let Some(live) = feed.since(after, events)
        {
            self.open = None;
            let mut found = Vec::with_capacity(live.len());
            let mut size = 0;
            for event in live.into_iter().take_while(|event| event.seq <= last) {
                let json = serde_json::to_vec(&*event)
                    .map_err(|e| JournalError::Event(format!("event {} cannot be written as JSON: {e}", event.seq)))?;
                size += json.len();
                found.push(Kept { seq: event.seq, time: event.time, json });
                if size >= bytes {
                    break;
                }
            }
            return Ok(found);
        }
        self.read_disk(after, last, events, bytes)
    }

    fn read_disk(&mut self, after: u64, last: u64, events: usize, bytes: usize) -> Result<Vec<Kept>, JournalError> {
        let (mut found, mut size): (Vec<Kept>, usize) = (Vec::new(), 0);
        if self.open.as_ref().is_none_or(|open| open.after != after) {
            self.seek(after)?;
        }
        loop {
            let Some(open) = &mut self.open else { return Ok(found) };
            while let Some(Raw { seq, time, payload, next }) = record::raw(&open.bytes, open.at) {
                if seq > last || found.len() >= events || size >= bytes {
                    return Ok(found);
                }
                size += payload.len();
                found.push(Kept { seq, time, json: payload.to_vec() });
                (open.at, open.after) = (next, seq);
            }
            // The segment is at its end; what comes after it is in another one, or not there yet.
            let after = open.after;
            self.seek(after)?;
            if self.open.as_ref().is_none_or(|open| record::raw(&open.bytes, open.at).is_none()) {
                return Ok(found);
            }
        }
    }

    /// Opens the segment that holds the first event after `after`, if there is one.
    fn seek(&mut self, after: u64) -> Result<(), JournalError> {
        for _ in 1..TRIES {
            match self.look(after) {
                // Compaction replaced it between the look into the folder and the opening.
                Err(JournalError::Storage { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
                done => return done,
            }
        }
        self.look(after)
    }

    fn look(&mut self, after: u64) -> Result<(), JournalError> {
        self.open = None;
        let fail = |what, place: &Path| {
            let place = place.display().to_string();
            move |source| JournalError::Storage { what, place, source }
        };
        let mut names: Vec<(u64, bool)> = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(fail("list", &self.folder))? {
            let name = entry.map_err(fail("list", &self.folder))?.file_name();
            let name = name.to_string_lossy();
            if let Some(last) = number(&name, "compact-") {
                names.push((last, true));
            } else if let Some(first) = number(&name, "") {
                names.push((first, false));
            }
        }
        let compacted = names.iter().filter(|(_, compacted)| *compacted).map(|(last, _)| *last).max();
        let mut plain: Vec<u64> = names.iter().filter(|(_, compacted)| !compacted).map(|(first, _)| *first).collect();
        plain.retain(|first| compacted.is_none_or(|covered| *first > covered));
        plain.sort_unstable();
        let name = match compacted.filter(|covered| *covered > after) {
            Some(covered) => super::compacted_name(covered),
            None => match plain.iter().rev().find(|first| **first <= after + 1).or(plain.first()) {
                Some(first) => super::plain_name(*first),
                None => return Ok(()),
            },
        };
        let path = self.folder.join(&name);
        let bytes = std::fs::read(&path).map_err(fail("read", &path))?;
        let mut at = HEADER.len();
        if bytes.get(..at) != Some(&HEADER[..]) {
            if bytes.len() < HEADER.len() {
                return Ok(());
            }
            let detail = "its first bytes are not a journal's of format 1".to_owned();
            return Err(JournalError::Damaged { place: path.display().to_string(), offset: 0, detail, last: after });
        }
        while let Some(raw) = record::raw(&bytes, at).filter(|raw| raw.seq <= after) {
            at = raw.next;
        }
        self.open = Some(Open { bytes, at, after });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use skynet_model::event::{Event, EventBody};

    use super::*;
    use crate::journal::{Bounds, Hold, Journal, RING};
    use skynet_model::time::Span;

    fn remark(seq: u64) -> Event {
        let body = EventBody::Remark { server: None, topic: "test".to_owned(), message: format!("number {seq}") };
        Event { seq, time: Timestamp(i64::try_from(seq).unwrap()), body }
    }

    fn numbers(kept: &[Kept]) -> Vec<u64> {
        kept.iter().map(|k| k.seq).collect()
    }

    fn all(outbox: &mut Outbox, mut after: u64, last: u64) -> Vec<u64> {
        let mut found = Vec::new();
        loop {
            let some = outbox.next(after, last, 700, usize::MAX).unwrap();
            let Some(newest) = some.last() else { return found };
            after = newest.seq;
            found.extend(numbers(&some));
        }
    }

    #[test]
    fn it_gives_what_the_log_holds_read_disk_and_from_the_ring() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Box::new(crate::journal::Folder::open(folder.path()).unwrap());
        let (mut journal, _) = Journal::open(storage, 100_000).unwrap();
        let hold = Arc::new(Hold::new(Bounds { bytes: 1 << 30, age: Span::hours(72) }, 0));
        journal.set_hold(Arc::clone(&hold));
        let feed = Arc::new(Feed::default());
        let mut outbox = Outbox::new(folder.path(), Arc::clone(&feed));
        assert!(outbox.next(0, u64::MAX, 10, 10).unwrap().is_empty());
        let last = RING as u64 + 6_000;
        for seq in (1..=last).step_by(500) {
            let events: Vec<Event> = (seq..seq + 500).map(remark).collect();
            journal.append(&events).unwrap();
            events.into_iter().for_each(|event| feed.publish(event));
        }
        let files = std::fs::read_dir(folder.path()).unwrap().count();
        assert!(files > 5, "what is not copied is not compacted: {files} files");
        assert_eq!(all(&mut outbox, 0, last), (1..=last).collect::<Vec<_>>());
        assert_eq!(numbers(&outbox.next(3, 5, 10, 1 << 20).unwrap()), [4, 5]);
        assert_eq!(outbox.next(3, 5, 10, 1).unwrap().len(), 1);
        let first = &Outbox::at_rest(folder.path()).next(0, 1, 1, 1).unwrap()[0];
        assert_eq!(first.json, serde_json::to_vec(&remark(1)).unwrap());
        assert_eq!(first.time, Timestamp(1));

        // What is copied may go; the reader takes up behind the hole.
        hold.copied_to(last);
        journal.append(&(last + 1..=last + 1).map(remark).collect::<Vec<_>>()).unwrap();
        journal.compact_if_due();
        let rest = all(&mut Outbox::at_rest(folder.path()), 0, u64::MAX);
        assert_eq!(rest.last(), Some(&(last + 1)));
        assert!(rest.len() < 16_000 && rest.windows(2).all(|w| w[0] < w[1]), "{}", rest.len());
        assert!(hold.take_dropped().is_empty());
    }

    #[test]
    fn what_waits_too_long_is_dropped_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Box::new(crate::journal::Folder::open(folder.path()).unwrap());
        let (mut journal, _) = Journal::open(storage, 100_000).unwrap();
        let hold = Arc::new(Hold::new(Bounds { bytes: 250_000, age: Span::hours(72) }, 42));
        journal.set_hold(Arc::clone(&hold));
        for seq in (1..=20_000).step_by(500) {
            journal.append(&(seq..seq + 500).map(remark).collect::<Vec<_>>()).unwrap();
        }
        let dropped = hold.take_dropped();
        assert!(!dropped.is_empty() && dropped.iter().all(|d| d.first == 43), "{dropped:?}");
        assert!(hold.waiting().bytes < 600_000, "{:?}", hold.waiting());
    }
}
