//! Writing one server's readings: to memory at once, to the log as one record a batch.
//!
//! What must never enter: waiting for the disk, other servers' locks. In the steady state a reading allocates nothing.

use std::cell::RefCell;
use std::sync::{Arc, MutexGuard};

use skynet_model::name::ServerId;
use skynet_model::series::SeriesKey;
use skynet_model::time::{Span, Timestamp};

use super::seen::number_of;
use super::server::{KEPT, Row, Server, Slot};
use super::wal::record::{self, Key};
use super::wal::{Position, Pushed, Wal};
use super::{Capped, History, Shard, lock};

/// Says when a batch is on disk; see [`History::durable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[must_use = "a batch is acknowledged only after its ticket is durable"]
pub struct Ticket(pub(super) Option<Position>);

impl Ticket {
    /// Of a batch that is not stored.
    pub const NONE: Self = Self(None);
}

/// What a batch needs while it is made; kept by the thread.
#[derive(Debug, Default)]
struct Scratch {
    row: Row,
    head: Vec<u8>,
    body: Vec<u8>,
    retired: Vec<u32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Writes one server's readings. Sessions write their own server's; they never wait for another's.
#[derive(Clone, Debug)]
pub struct Writer {
    history: Arc<History>,
    shard: Arc<Shard>,
}

impl Writer {
    pub(super) fn new(history: Arc<History>, shard: Arc<Shard>) -> Self {
        Self { history, shard }
    }

    /// Whose readings.
    #[must_use]
    pub fn server(&self) -> &ServerId {
        &self.shard.id
    }

    /// The same key, made of memory that is there already where possible: servers' series have the same names.
    #[must_use]
    pub fn share(&self, key: &SeriesKey) -> SeriesKey {
        self.history.names.share(key)
    }

    /// The slot of a series, made if need be.
    ///
    /// # Errors
    /// [`Capped`] when it would be one too many.
    pub fn slot(&self, key: &SeriesKey) -> Result<Slot, Capped> {
        self.history.slot(&mut lock(&self.shard.state), key)
    }

    /// A batch of this boot and number; `Err` with the ticket of what is stored when it is stored already. The server's
    /// readings are locked until the batch is committed: fill it without waiting for anything.
    ///
    /// # Errors
    /// The batch is there already; the ticket says when it is on disk.
    pub fn batch(&self, boot: &str, seq: u64) -> Result<Batch<'_>, Ticket> {
        let boot = number_of(boot);
        let server = lock(&self.shard.state);
        if server.seen.contains(boot, seq) {
            return Err(Ticket(Some(server.applied)));
        }
        Ok(Batch::new(self, server, Some((boot, seq))))
    }

    /// Adds readings taken at `time`, as a batch of their own that nobody can send again. Readings older than what their
    /// series already has (spooled ones) only fill the past.
    pub fn write(&self, time: Timestamp, readings: impl IntoIterator<Item = (Slot, f64)>) -> Ticket {
        let mut batch = Batch::new(self, lock(&self.shard.state), None);
        batch.write(time, readings);
        batch.commit()
    }

    /// The series ended: it has no latest value any more; its past goes with time.
    pub fn retire(&self, slot: Slot) {
        let mut batch = Batch::new(self, lock(&self.shard.state), None);
        batch.retire(slot);
        // Nobody waits for this to be on disk.
        let _ = batch.commit();
    }

    /// A session begins: a series that it does not announce ended while nobody looked.
    pub fn begin(&self, now: Timestamp) {
        lock(&self.shard.state).retire_all();
        self.sweep(now);
    }

    /// Forgets series that ended and whose past in memory is over, and has packed what is silent. Called when a session
    /// begins and now and then.
    pub fn sweep(&self, now: Timestamp) {
        let mut server = lock(&self.shard.state);
        let gone = server.sweep(now);
        let more = self.history.counted(&mut server);
        if self.history.wal().is_none() {
            self.history.trim(&mut server, now.0.saturating_sub(KEPT.0));
        }
        drop(server);
        self.history.forgot(gone);
        if more {
            self.history.filled(&self.shard);
        }
    }
}

/// One batch being written. Dropped without [`Batch::commit`] it is committed all the same.
#[derive(Debug)]
pub struct Batch<'a> {
    writer: &'a Writer,
    server: MutexGuard<'a, Server>,
    key: Key,
    scratch: Scratch,
    segment: u32,
    before: i64,
    newest: i64,
    full: bool,
    done: bool,
}

impl<'a> Batch<'a> {
    fn new(writer: &'a Writer, server: MutexGuard<'a, Server>, key: Key) -> Self {
        let mut scratch = SCRATCH.take();
        scratch.row.clear();
        scratch.body.clear();
        scratch.retired.clear();
        let segment = writer.history.wal().map_or(0, Wal::segment);
        Self { writer, server, key, scratch, segment, before: 0, newest: i64::MIN, full: false, done: false }
    }

    /// Adds readings taken at `time`. Readings not newer than what their series already has only fill the past.
    pub fn write(&mut self, time: Timestamp, readings: impl IntoIterator<Item = (Slot, f64)>) {
        let Scratch { row, body, .. } = &mut self.scratch;
        let start = row.places.len();
        self.full |= self.server.write(time.0, readings, self.segment, row);
        if row.places.len() > start {
            record::put_sweep(body, self.before, time.0, &row.places[start..], &row.bits[start..]);
            self.before = time.0;
            self.newest = self.newest.max(time.0);
        }
    }

    /// The slot of a series, made if need be: like [`Writer::slot`], for while the batch is open.
    ///
    /// # Errors
    /// [`Capped`] when it would be one too many.
    pub fn slot(&mut self, key: &SeriesKey) -> Result<Slot, Capped> {
        self.writer.history.slot(&mut self.server, key)
    }

    /// The series ended: it has no latest value any more; its past goes with time.
    pub fn retire(&mut self, slot: Slot) {
        // A slot that is another's by now says nothing about its place.
        if self.server.retire(slot) {
            if self.server.name_place(slot.index, self.segment) {
                self.scratch.row.unnamed.push(slot.index);
            }
            self.scratch.retired.push(slot.index);
        }
    }

    /// The batch is whole: it goes into the log.
    pub fn commit(mut self) -> Ticket {
        self.finish()
    }

    fn finish(&mut self) -> Ticket {
        self.done = true;
        let ticket = self.log();
        if ticket.0.is_some()
            && let Some((boot, seq)) = self.key
        {
            self.server.seen.insert(boot, seq);
        }
        if self.full {
            let (history, server) = (&self.writer.history, &mut self.server);
            let oldest = if history.wal().is_some() { i64::MIN } else { self.newest.saturating_sub(KEPT.0) };
            history.counted(server);
            history.trim(server, oldest);
            history.filled(&self.writer.shard);
        }
        SCRATCH.set(std::mem::take(&mut self.scratch));
        ticket
    }

    fn log(&mut self) -> Ticket {
        let Some(wal) = self.writer.history.wal() else { return Ticket(Some(Position::START)) };
        let Scratch { row, head, body, retired } = &mut self.scratch;
        loop {
            head.clear();
            let server = &self.server;
            let named = row.unnamed.iter().filter_map(|place| Some((*place, server.key(*place)?)));
            record::put_head(head, self.writer.shard.id.as_str(), self.key, named, retired);
            match wal.push(self.segment, head, body) {
                Pushed::At(position) => {
                    self.server.applied = position;
                    return Ticket(Some(position));
                }
                Pushed::Segment(segment) => {
                    self.segment = segment;
                    row.unnamed.clone_from(&row.places);
                    row.unnamed.extend_from_slice(retired);
                    row.unnamed.sort_unstable();
                    row.unnamed.dedup();
                    for place in &row.unnamed {
                        self.server.name_place(*place, segment);
                    }
                }
                Pushed::Full => {
                    // The record that names them is not in the log: the next one names them again.
                    for place in &row.unnamed {
                        self.server.name_place(*place, 0);
                    }
                    return Ticket(None);
                }
            }
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if !self.done {
            let _ = self.finish();
        }
    }
}

/// How far back the history of a server without a disk reaches, at most.
pub const MEMORY: Span = KEPT;
