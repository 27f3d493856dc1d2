//! The spool's part on disk: a queue of records in segments. It is appended to at one end, read from the other, and a
//! segment goes when all of it is acknowledged. No clock and no thread; the files are behind [`Disk`].
//!
//! What must never enter: what a record's body means.

mod disk;
mod segment;

use std::collections::VecDeque;
use std::io;

pub use disk::{Disk, Folder};
pub use segment::{Damage, Kind, Piece, Record};

/// A segment is closed when it is as large as this, in bytes.
const SEGMENT: u64 = 1 << 20;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes.
    pub bytes: u64,
    /// Milliseconds of wall time since it was written.
    pub age_ms: i64,
}

/// A record to be written.
#[derive(Clone, Debug)]
pub struct New {
    /// What it is.
    pub kind: Kind,
    /// The batch's number.
    pub seq: u64,
    /// Its readings.
    pub readings: u32,
    /// Content.
    pub body: Vec<u8>,
}

#[derive(Debug)]
struct Segment {
    name: String,
    bytes: u64,
    records: u64,
    /// The first record's place in the queue.
    first: u64,
    /// The last record's place in the queue.
    last: u64,
    newest_ms: i64,
    /// Readings written before its first record.
    before: u64,
}

/// The queue.
pub struct Store {
    disk: Box<dyn Disk>,
    limits: Limits,
    segments: VecDeque<Segment>,
    /// The newest segment takes no more: it is from an earlier process, full, or a write to it failed.
    closed: bool,
    next: u64,
    before: u64,
    /// All records up to here are acknowledged.
    done: u64,
    /// All records up to here were handed out.
    handed: u64,
    /// What is left of the segment that is being handed out, in order.
    reading: VecDeque<Piece>,
    /// That segment's last place.
    reading_last: u64,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("segments", &self.segments).finish_non_exhaustive()
    }
}

impl Store {
    /// Takes over what an earlier process left. Also returns how many bytes at ends of segments were no record.
    ///
    /// # Errors
    /// The system's.
    pub fn open(disk: Box<dyn Disk>, limits: Limits) -> io::Result<(Self, usize)> {
        // By number: what was written first comes first.
        let mut names: Vec<_> = disk.list()?.into_iter().filter_map(|name| Some((numbers(&name)?, name))).collect();
        names.sort_unstable();
        let mut store = Self {
            disk,
            limits,
            segments: VecDeque::new(),
            closed: true,
            next: 1,
            before: 0,
            done: 0,
            handed: 0,
            reading: VecDeque::new(),
            reading_last: 0,
        };
        let mut torn = 0;
        for ((first, before), name) in names {
            let bytes = store.disk.read(&name)?;
            let scan = segment::scan(&bytes, Some(before));
            let (length, records) = (bytes.len() as u64, scan.pieces.len() as u64);
            let mut found = Segment { name, bytes: length, records, first, last: first, newest_ms: 0, before };
            for piece in &scan.pieces {
                if let Piece::Record(record) = piece {
                    found.last = found.last.max(record.head.ordinal);
                    found.newest_ms = found.newest_ms.max(record.head.at_ms);
                }
            }
            store.before = store.before.max(scan.before);
            store.next = store.next.max(found.last + 1);
            if scan.torn > 0 {
                torn += scan.torn;
                found.bytes -= scan.torn as u64;
                // Not cut: it is found torn again, and told again, by the next process.
                drop(store.disk.truncate(&found.name, found.bytes));
            }
            store.segments.push_back(found);
        }
        let first = store.segments.front().map_or(store.next, |s| s.first);
        (store.done, store.handed) = (first.saturating_sub(1), first.saturating_sub(1));
        Ok((store, torn))
    }

    /// Where it is.
    #[must_use]
    pub fn place(&self) -> String {
        self.disk.place()
    }

    /// Whether records wait to be handed out.
    #[must_use]
    pub fn has_more(&self) -> bool {
        !self.reading.is_empty() || self.segments.back().is_some_and(|s| s.last > self.handed)
    }

    /// Bytes on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.bytes).sum()
    }

    /// Writes records, all of them durably; after an error none is in the queue.
    ///
    /// # Errors
    /// The system's.
    pub fn append(&mut self, records: &[New], now_ms: i64) -> io::Result<()> {
        let (mut bytes, mut before) = (Vec::new(), self.before);
        let first = self.next;
        for record in records {
            let head = segment::head(record.kind, self.next, before, record.seq, record.readings, now_ms);
            if !segment::encode(&mut bytes, head, &record.body) {
                return Err(io::Error::other("a batch is too large for the spool"));
            }
            // A number is never used twice, whatever becomes of the write.
            self.next += 1;
            before += u64::from(record.readings);
        }
        if records.is_empty() {
            return Ok(());
        }
        if self.closed || self.segments.back().is_none_or(|s| s.bytes >= SEGMENT) {
            let before = self.before;
            let (name, last) = (format!("{first:016x}-{before:016x}.spool"), first - 1);
            self.segments.push_back(Segment { name, bytes: 0, records: 0, first, last, newest_ms: 0, before });
            self.closed = false;
        }
        let Some(segment) = self.segments.back_mut() else { return Ok(()) };
        if let Err(error) = self.disk.append(&segment.name, &bytes) {
            // What of it got there may be read after all: the controller knows a batch by its number.
            self.closed = true;
            if segment.records == 0 {
                drop(self.disk.remove(&segment.name));
                self.segments.pop_back();
            } else {
                drop(self.disk.truncate(&segment.name, segment.bytes));
            }
            return Err(error);
        }
        segment.bytes += bytes.len() as u64;
        segment.records += records.len() as u64;
        segment.last = self.next - 1;
        segment.newest_ms = segment.newest_ms.max(now_ms);
        self.before = before;
        Ok(())
    }

    /// The next piece, in order; damage is handed out in its place. The second number is the record's place in the queue,
    /// for [`Store::acknowledge`].
    ///
    /// # Errors
    /// The system's; then the segment is passed over, and all of its readings are counted as damage by the next call.
    pub fn hand_out(&mut self) -> io::Result<Option<(Piece, u64)>> {
        loop {
            if let Some(piece) = self.reading.pop_front() {
                if let Piece::Record(record) = &piece {
                    if record.head.ordinal <= self.handed {
                        continue;
                    }
                    self.handed = record.head.ordinal;
                }
                if self.reading.is_empty() {
                    // Damage may end the segment.
                    self.handed = self.handed.max(self.reading_last);
                }
                return Ok(Some((piece, self.handed)));
            }
            let Some(index) = self.segments.iter().position(|s| s.last > self.handed) else { return Ok(None) };
            let segment = &self.segments[index];
            let (before, last) = (segment.before, segment.last);
            let after = self.segments.get(index + 1).map_or(self.before, |s| s.before);
            self.reading_last = last;
            match self.disk.read(&segment.name) {
                Ok(bytes) => {
                    let scan = segment::scan(&bytes, Some(before));
                    self.reading = scan.pieces.into();
                    let missing = after.saturating_sub(scan.before);
                    if missing > 0 {
                        self.reading.push_back(unknown(missing));
                    }
                    if self.reading.is_empty() {
                        self.handed = last;
                    }
                }
                Err(error) => {
                    self.handed = last;
                    self.reading.push_back(unknown(after.saturating_sub(before)));
                    return Err(error);
                }
            }
        }
    }

    /// Records up to `ordinal` are acknowledged: segments that hold nothing else go.
    pub fn acknowledge(&mut self, ordinal: u64) {
        self.done = self.done.max(ordinal);
        while self.segments.front().is_some_and(|s| s.last <= self.done) {
            self.remove_oldest();
        }
    }

    /// What is not acknowledged is handed out again.
    pub fn rewind(&mut self) {
        self.handed = self.done;
        self.reading.clear();
    }

    /// Removes what is over the limits, oldest first. Returns what was in it and not acknowledged.
    pub fn enforce(&mut self, now_ms: i64) -> Vec<Piece> {
        let mut gone = Vec::new();
        while let Some(oldest) = self.segments.front() {
            let old = now_ms.saturating_sub(oldest.newest_ms) > self.limits.age_ms;
            if self.bytes() <= self.limits.bytes && !old {
                break;
            }
            let after = self.segments.get(1).map_or(self.before, |s| s.before);
            match self.disk.read(&oldest.name) {
                Ok(bytes) => {
                    let scan = segment::scan(&bytes, Some(oldest.before));
                    let missing = after.saturating_sub(scan.before);
                    gone.extend(scan.pieces.into_iter().filter(|piece| match piece {
                        Piece::Record(record) => record.head.ordinal > self.done,
                        Piece::Damage(_) => true,
                    }));
                    if missing > 0 {
                        gone.push(unknown(missing));
                    }
                }
                Err(_) => gone.push(unknown(after.saturating_sub(oldest.before))),
            }
            let last = oldest.last;
            self.done = self.done.max(last);
            if self.handed < last {
                self.handed = last;
                self.reading.clear();
            }
            self.remove_oldest();
        }
        gone
    }

    fn remove_oldest(&mut self) {
        if let Some(segment) = self.segments.pop_front() {
            // What cannot be removed is read again by the next process: sent twice, stored once.
            drop(self.disk.remove(&segment.name));
            if self.segments.is_empty() {
                self.closed = true;
            }
        }
    }
}

/// A segment's name says the place of its first record, and how many readings were written before it.
fn numbers(name: &str) -> Option<(u64, u64)> {
    let (first, before) = name.strip_suffix(".spool")?.split_once('-')?;
    let number = |hex: &str| u64::from_str_radix(hex, 16).ok().filter(|n| *n < u64::MAX);
    Some((number(first)?, number(before)?))
}

fn unknown(readings: u64) -> Piece {
    Piece::Damage(Damage { first_seq: 0, last_seq: 0, readings })
}

#[cfg(test)]
mod tests;
