//! The thread behind the history: packs full blocks, takes snapshots, finishes files, deletes what is old.
//!
//! What must never enter: readings on their way in; they never wait for this. It holds a server's lock only to copy what
//! it needs. It alone writes packed files and snapshots, so that what a snapshot says of the files is exact: a block is in
//! the one or in the other.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use skynet_model::time::{Span, Timestamp};

use super::server::Full;
use super::shelf::frame;
use super::snapshot::{self, Writing};
use super::wal::segment_number;
use super::{Disks, History, Shard, Store, lock};

/// At least so often it looks whether something is due.
const ROUND: Duration = Duration::from_secs(1);
/// After a snapshot that failed, rounds until the next.
const REST: u32 = 30;

/// What is kept, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Readings older than this go.
    pub age: Span,
    /// So many bytes may all files of packed readings have.
    pub bytes: u64,
    /// A log of so many bytes is replaced by a snapshot; a larger one if the last snapshot was larger.
    pub log_bytes: u64,
}

impl Default for Keep {
    fn default() -> Self {
        Self { age: Span::hours(30 * 24), bytes: 20 << 30, log_bytes: 64 << 20 }
    }
}

/// The thread's own.
pub(super) struct Keeper {
    pub(super) history: Arc<History>,
    pub(super) disks: Disks,
    pub(super) keep: Keep,
    pub(super) clock: Box<dyn Fn() -> Timestamp + Send>,
    /// Bytes of the log before its present segment.
    pub(super) log_behind: u64,
    pub(super) snapshot_bytes: u64,
    /// What failed last, so that it is told once.
    pub(super) failing: Option<String>,
    /// Rounds to let pass before the next snapshot is tried.
    pub(super) rest: u32,
}

impl Keeper {
    /// Works until the history is closed; then packs, and leaves a snapshot.
    pub(super) fn run(mut self) {
        loop {
            let stop = self.wait();
            self.round(stop);
            if stop {
                return;
            }
        }
    }

    fn wait(&self) -> bool {
        let bell = lock(&self.history.bell);
        // What failed a moment ago is not tried again at once.
        let rests = self.failing.is_some();
        let idle = |bell: &mut super::Bell| (rests || bell.dirty.is_empty()) && !bell.stop;
        let waited = self.history.rings.wait_timeout_while(bell, ROUND, idle);
        waited.unwrap_or_else(PoisonError::into_inner).0.stop
    }

    /// Does what is due; `last`: nothing comes after it.
    pub(super) fn round(&mut self, last: bool) {
        let Some(store) = self.history.store.clone() else { return };
        let now = (self.clock)();
        let done = self.seal(&store, now).and_then(|()| {
            let finish = store.shelf.is_due(now);
            if finish {
                store.shelf.finish(now)?;
            }
            let much = self.log_behind + store.wal.length() >= self.keep.log_bytes.max(2 * self.snapshot_bytes);
            self.rest = self.rest.saturating_sub(1);
            if last || ((finish || much) && self.rest == 0) {
                self.rest = REST;
                self.snapshot(&store)?;
                self.rest = 0;
            }
            store.shelf.retain(now, self.keep.age, self.keep.bytes).map(|_| ())
        });
        match done {
            Ok(()) => {
                if self.failing.take().is_some() {
                    tracing::info!("the history's files can be written again");
                }
            }
            Err(error) => {
                let text = error.to_string();
                if self.failing.as_ref() != Some(&text) {
                    tracing::error!(
                        "cannot pack readings into {}: {text}; they stay in memory and in the log; see that the disk has \
                         room and is writable",
                        self.disks.chunks.place("")
                    );
                    self.failing = Some(text);
                }
            }
        }
    }

    /// Packs all blocks that are full.
    fn seal(&self, store: &Store, now: Timestamp) -> io::Result<()> {
        let mut dirty = std::mem::take(&mut lock(&self.history.bell).dirty);
        while let Some(shard) = dirty.pop() {
            shard.waits.store(false, Ordering::Release);
            let blocks: Vec<Arc<Full>> = lock(&shard.state).full.iter().cloned().collect();
            for full in blocks {
                if let Err(error) = self.seal_one(store, &shard, &full, now) {
                    // It is tried again next time, and so are the others.
                    self.history.filled(&shard);
                    for shard in dirty {
                        self.history.filled(&shard);
                    }
                    return Err(error);
                }
            }
        }
        self.history.dropping.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn seal_one(&self, store: &Store, shard: &Shard, full: &Arc<Full>, now: Timestamp) -> io::Result<()> {
        let packed = frame::pack(full).map_err(io::Error::other)?;
        store.shelf.append(&shard.id, &packed, now)?;
        let mut server = lock(&shard.state);
        // It may have been thrown away meanwhile because memory was full.
        if let Some(at) = server.full.iter().position(|other| Arc::ptr_eq(other, full)) {
            server.full.remove(at);
            self.history.bytes.fetch_sub(full.size(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Replaces the log so far by a snapshot.
    fn snapshot(&mut self, store: &Store) -> io::Result<()> {
        let length = store.wal.length();
        let busy = || io::Error::other("the log still waits for room");
        let segment = store.wal.rotate().ok_or_else(busy)?;
        self.log_behind += length;
        let position = store.shelf.position();
        store.shelf.sync()?;
        let log = &*self.disks.log;
        let mut writing = Writing::begin(log, segment, position);
        for shard in self.history.shards() {
            writing.add(&shard.id, |out| lock(&shard.state).save(out))?;
        }
        self.snapshot_bytes = writing.end()?;
        self.log_behind = 0;
        if !store.wal.has_begun(segment) {
            // The old segment is still being written; it goes with the next snapshot.
            return Ok(());
        }
        for (name, _) in log.list()? {
            let old = segment_number(&name).or_else(|| snapshot::number(&name));
            if old.is_some_and(|n| n < segment) {
                log.remove(&name)?;
            }
        }
        Ok(())
    }
}
