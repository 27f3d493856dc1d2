//! Readings: the latest value of every series, and their past, in memory and on disk.
//!
//! What must never enter: decisions, events. A batch goes into memory at once and into the write-ahead log as one record;
//! it is acknowledged when the log is on disk ([`History::durable`]). In memory the rows of each sensor grow block by
//! block; a thread of its own packs full blocks, column by column, into files of some hours, and now and then replaces the
//! log by a snapshot of what is in memory. Late readings come only here. Everything is bounded: series a server, series of
//! the fleet, bytes in memory, bytes and age on disk.

mod block;
mod bytes;
mod chunk;
mod column;
pub mod disk;
mod fraction;
mod keeper;
mod mirror;
mod names;
mod read;
mod recover;
mod redis;
mod sealed;
mod seen;
mod select;
mod server;
mod shelf;
mod snapshot;
mod wal;
mod writer;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;

use skynet_model::name::ServerId;
use skynet_model::series::SeriesKey;
use skynet_model::time::Timestamp;
use tokio::sync::watch;

use disk::{Disk, Folder};
use keeper::Keeper;
use names::Names;
use server::Server;
use shelf::Shelf;
use wal::Wal;

pub use self::redis::{Changes, Latest, Packs, read_hour};
pub use chunk::{ChunkError, decode as decode_chunk};
pub use keeper::Keep;
pub use read::{Answer, MOST_POINTS, MOST_SAMPLES, Past, Point, Question};
pub use sealed::{Archive, Place, Sealed};
pub use select::{Selector, glob};
pub use server::Slot;
pub use shelf::Hole;
pub use writer::{Batch, MEMORY, Ticket, Writer};

/// Bounds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Series one server may have.
    pub series_per_server: usize,
    /// Series the fleet may have.
    pub series: usize,
    /// Bytes of rows that wait to be packed.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { series_per_server: 10_000, series: 2_000_000, bytes: 256 << 20 }
    }
}

/// The series is one too many.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} has {limit} series, which is the limit; readings of further ones are dropped")]
pub struct Capped {
    /// `the server` or `the fleet`.
    pub what: &'static str,
    /// How many there may be.
    pub limit: usize,
}

/// So much waits for the disk already that a batch is only in memory: it must not be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many readings wait for the disk; these are not stored and must be sent again")]
pub struct NotStored;

/// Where the files lie.
#[derive(Clone)]
pub struct Disks {
    /// The write-ahead log and snapshots.
    pub log: Arc<dyn Disk>,
    /// Packed readings.
    pub chunks: Arc<dyn Disk>,
}

impl std::fmt::Debug for Disks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disks").field("log", &self.log.place("")).finish_non_exhaustive()
    }
}

/// One server and its lock.
#[derive(Debug)]
struct Shard {
    id: ServerId,
    state: Mutex<Server>,
    /// Whether it is on the keeper's list.
    waits: AtomicBool,
}

/// What wakes the keeper.
#[derive(Debug, Default)]
struct Bell {
    dirty: Vec<Arc<Shard>>,
    stop: bool,
}

/// What is there only with a disk.
#[derive(Debug)]
struct Store {
    wal: Wal,
    shelf: Shelf,
    threads: Mutex<Vec<JoinHandle<()>>>,
    holes: Vec<Hole>,
    torn: Option<Hole>,
}

/// How the history is, for its own figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Servers that ever had readings.
    pub servers: usize,
    /// Series that have a place.
    pub series: usize,
    /// Bytes of rows in memory, about.
    pub memory_bytes: usize,
    /// Bytes of the log's present segment.
    pub log_bytes: u64,
    /// Bytes of packed readings.
    pub disk_bytes: u64,
    /// Files of packed readings.
    pub files: usize,
}

/// All servers' readings.
#[derive(Debug, Default)]
pub struct History {
    servers: RwLock<HashMap<ServerId, Arc<Shard>>>,
    names: Names,
    limits: Limits,
    series: AtomicUsize,
    /// Bytes of full blocks.
    bytes: AtomicUsize,
    /// Whether it was told that readings are thrown away.
    dropping: AtomicBool,
    bell: Mutex<Bell>,
    rings: Condvar,
    store: Option<Arc<Store>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl History {
    /// An empty history without a disk: readings are acknowledged when they are in memory, which holds the last hour.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Opens the history in a folder, made if need be.
    ///
    /// # Errors
    /// See [`History::open`].
    pub fn open_folder(
        path: &Path,
        limits: Limits,
        keep: Keep,
        clock: Box<dyn Fn() -> Timestamp + Send>,
    ) -> io::Result<Arc<Self>> {
        let log: Arc<dyn Disk> = Arc::new(Folder::open(&path.join("wal"))?);
        let chunks: Arc<dyn Disk> = Arc::new(Folder::open(&path.join("chunks"))?);
        Self::open(Disks { log, chunks }, limits, keep, clock)
    }

    /// Opens the history: replays what is on disk and starts the threads that write. Damage is told, and is no error.
    ///
    /// # Errors
    /// The disk's, or files that a newer build wrote.
    pub fn open(
        disks: Disks,
        limits: Limits,
        keep: Keep,
        clock: Box<dyn Fn() -> Timestamp + Send>,
    ) -> io::Result<Arc<Self>> {
        let (history, mut keeper) = Self::assemble(disks, limits, keep, clock)?;
        let thread = std::thread::Builder::new().name("history".to_owned()).spawn(move || {
            // What was replayed and is full already is packed before anything new comes.
            keeper.round(false);
            keeper.run();
        })?;
        if let Some(store) = &history.store {
            lock(&store.threads).push(thread);
        }
        Ok(history)
    }

    /// All of [`History::open`] but the keeper's thread.
    fn assemble(
        disks: Disks,
        limits: Limits,
        keep: Keep,
        clock: Box<dyn Fn() -> Timestamp + Send>,
    ) -> io::Result<(Arc<Self>, Keeper)> {
        let mut history = Self::new(limits);
        let found = recover::recover(&history, &disks, clock())?;
        for hole in &found.holes {
            tracing::warn!("the history has a hole: {hole}");
        }
        if let Some(torn) = &found.torn {
            tracing::info!("the history's log was cut off: {torn}");
        }
        let (wal, thread) = Wal::start(Arc::clone(&disks.log), found.segment)?;
        let threads = Mutex::new(vec![thread]);
        let store = Store { wal, shelf: found.shelf, threads, holes: found.holes, torn: found.torn };
        history.store = Some(Arc::new(store));
        let history = Arc::new(history);
        for shard in history.shards() {
            history.filled(&shard);
        }
        let keeper = Keeper {
            history: Arc::clone(&history),
            disks,
            keep,
            clock,
            log_behind: found.replayed,
            snapshot_bytes: 0,
            failing: None,
            rest: 0,
        };
        Ok((history, keeper))
    }

    /// Packs what is full, leaves a snapshot, ends the threads. Blocks until that is done; the history can still be read,
    /// but what is written from now on is only in memory and never durable.
    pub fn close(&self) {
        let Some(store) = &self.store else { return };
        lock(&self.bell).stop = true;
        self.rings.notify_all();
        let mut threads = std::mem::take(&mut *lock(&store.threads));
        // The log's thread is the first; it ends last, for the snapshot needs it.
        while let Some(thread) = threads.pop() {
            if threads.is_empty() {
                store.wal.stop();
            }
            let _ = thread.join();
        }
    }

    /// Waits until a batch is on disk.
    ///
    /// # Errors
    /// [`NotStored`]: it never will be.
    pub async fn durable(&self, ticket: Ticket) -> Result<(), NotStored> {
        let position = ticket.0.ok_or(NotStored)?;
        let Some(wal) = self.wal() else { return Ok(()) };
        wal.durable().wait_for(|durable| *durable >= position).await.map(|_| ()).map_err(|_| NotStored)
    }

    /// What waits for the disk is written at once, not when it is due.
    pub fn flush(&self) {
        if let Some(wal) = self.wal() {
            wal.hurry();
        }
    }

    /// Why readings cannot be stored at present, in words; `None` while they can.
    #[must_use]
    pub fn trouble(&self) -> Option<watch::Receiver<Option<String>>> {
        self.wal().map(Wal::trouble)
    }

    /// Whether readings cannot be stored at present.
    #[must_use]
    pub fn is_troubled(&self) -> bool {
        self.wal().is_some_and(|wal| wal.trouble().borrow().is_some())
    }

    /// What could not be read when the history was opened.
    #[must_use]
    pub fn holes(&self) -> &[Hole] {
        self.store.as_ref().map_or(&[], |store| &store.holes)
    }

    /// Where the log ended in the middle of a record when the history was opened, as after any crash.
    #[must_use]
    pub fn torn(&self) -> Option<&Hole> {
        self.store.as_ref()?.torn.as_ref()
    }

    /// The writer of one server's readings.
    #[must_use]
    pub fn writer(self: &Arc<Self>, server: &ServerId) -> Writer {
        Writer::new(Arc::clone(self), self.shard(server))
    }

    /// All servers that have readings in memory, in order of name.
    #[must_use]
    pub fn servers(&self) -> Vec<ServerId> {
        let mut servers: Vec<ServerId> = self.shards().iter().map(|shard| shard.id.clone()).collect();
        servers.sort();
        servers
    }

    /// Latest values of a server's series that have not ended, in order of series.
    #[must_use]
    pub fn latest(&self, server: &ServerId) -> Vec<(SeriesKey, f64, Timestamp)> {
        let Some(shard) = self.known(server) else { return Vec::new() };
        let server = lock(&shard.state);
        server.latest().map(|(key, value, time)| (key.clone(), value, time)).collect()
    }

    /// Goes through the latest values of a server's series that have not ended, in order of series. `see` must be quick: it
    /// is called under the server's lock.
    pub fn each_latest(&self, server: &ServerId, mut see: impl FnMut(&SeriesKey, f64, Timestamp)) {
        if let Some(shard) = self.known(server) {
            lock(&shard.state).latest().for_each(|(key, value, time)| see(key, value, time));
        }
    }

    /// How many series a server has that have not ended, and when the newest reading was taken.
    #[must_use]
    pub fn count(&self, server: &ServerId) -> (usize, Option<Timestamp>) {
        self.known(server).map_or((0, None), |shard| lock(&shard.state).count())
    }

    /// Bytes of rows that wait to be packed.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How it is.
    #[must_use]
    pub fn health(&self) -> Health {
        let shards = self.shards();
        let mut health = Health { servers: shards.len(), ..Health::default() };
        for shard in shards {
            let server = lock(&shard.state);
            health.series += server.series();
            health.memory_bytes += server.bytes();
        }
        if let Some(store) = &self.store {
            health.log_bytes = store.wal.length();
            (health.disk_bytes, health.files) = (store.shelf.bytes(), store.shelf.files());
        }
        health
    }

    fn wal(&self) -> Option<&Wal> {
        self.store.as_ref().map(|store| &store.wal)
    }

    fn known(&self, server: &ServerId) -> Option<Arc<Shard>> {
        self.servers.read().unwrap_or_else(PoisonError::into_inner).get(server).cloned()
    }

    fn shards(&self) -> Vec<Arc<Shard>> {
        self.servers.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn shard(&self, server: &ServerId) -> Arc<Shard> {
        if let Some(shard) = self.known(server) {
            return shard;
        }
        let mut servers = self.servers.write().unwrap_or_else(PoisonError::into_inner);
        let shard = servers.entry(server.clone()).or_insert_with(|| {
            let state = Mutex::new(Server::new(seen::number_of(server.as_str())));
            let waits = AtomicBool::new(false);
            Arc::new(Shard { id: server.clone(), state, waits })
        });
        Arc::clone(shard)
    }

    /// Takes a server from a snapshot.
    fn adopt(&self, id: &ServerId, server: Server) {
        self.series.fetch_add(server.series(), Ordering::Relaxed);
        self.bytes.fetch_add(server.full.iter().map(|full| full.size()).sum(), Ordering::Relaxed);
        *lock(&self.shard(id).state) = server;
    }

    fn slot(&self, server: &mut Server, key: &SeriesKey) -> Result<Slot, Capped> {
        if let Some(slot) = server.known(key) {
            return Ok(slot);
        }
        let limits = self.limits;
        if server.series() >= limits.series_per_server {
            return Err(Capped { what: "the server", limit: limits.series_per_server });
        }
        if self.series.fetch_add(1, Ordering::Relaxed) >= limits.series {
            self.series.fetch_sub(1, Ordering::Relaxed);
            return Err(Capped { what: "the fleet", limit: limits.series });
        }
        Ok(server.add(self.names.share(key)))
    }

    /// Gives a series that has none a place, whatever the bounds.
    fn place(&self, server: &mut Server, key: &SeriesKey) -> Slot {
        self.series.fetch_add(1, Ordering::Relaxed);
        server.add(self.names.share(key))
    }

    /// So many series have no place any more.
    fn forgot(&self, series: usize) {
        self.series.fetch_sub(series, Ordering::Relaxed);
    }

    /// The server may have full blocks.
    fn filled(&self, shard: &Arc<Shard>) {
        if self.store.is_some() && !shard.waits.swap(true, Ordering::AcqRel) {
            lock(&self.bell).dirty.push(Arc::clone(shard));
            self.rings.notify_all();
        }
    }

    /// Counts what got full; whether something did.
    fn counted(&self, server: &mut Server) -> bool {
        let more = std::mem::take(&mut server.uncounted);
        self.bytes.fetch_add(more, Ordering::Relaxed);
        more > 0
    }

    /// Throws the server's oldest blocks away: those that end before `oldest`, and while memory is full.
    fn trim(&self, server: &mut Server, oldest: i64) {
        while let Some(full) = server.full.front() {
            let over = self.bytes.load(Ordering::Relaxed) > self.limits.bytes;
            if !over && full.block.last() >= oldest {
                return;
            }
            if over && self.store.is_some() && !self.dropping.swap(true, Ordering::Relaxed) {
                tracing::error!("memory for readings that wait to be packed is full; the oldest are thrown away");
            }
            if let Some(gone) = server.full.pop_front() {
                self.bytes.fetch_sub(gone.size(), Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests;
