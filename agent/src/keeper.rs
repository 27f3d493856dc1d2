//! Keeps on disk what cannot be sent: takes the oldest readings there while there is no session, and brings them back, a
//! few at a time, when there is one. A thread of its own: no sensor and no session ever waits for a disk. A disk that
//! fails is left alone for a while; meanwhile everything stays in memory, as far as there is room.
//!
//! What must never enter: what is sent when.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use prost::Message;
use skynet_node::host::Host;
use skynet_node::runner::Sweep;
use skynet_proto::stream::{Decoded, Decoder, Encoder};

use crate::sensing::Shared;
use crate::spool::{Batch, Loss};
use crate::store::{Damage, Disk, Kind, Limits, New, Piece, Store};

/// How often it looks: what is in memory without a session is this old when it goes to the disk.
const EVERY: Duration = Duration::from_secs(2);
/// The same while a backlog is sent.
const BUSY: Duration = Duration::from_millis(50);
/// How long a disk that failed is left alone, in milliseconds.
const PAUSE_MS: i64 = 30_000;
/// Batches that are brought back ahead of being sent.
const WINDOW: usize = 8;
/// How long the end of the process waits for the disk.
const LAST: Duration = Duration::from_secs(2);

/// Opens the disk; called again after a failure.
pub type Open = Box<dyn Fn() -> io::Result<Box<dyn Disk>> + Send>;

/// What is done in one turn; without a thread and without a clock.
pub struct Keeper {
    shared: Arc<Shared>,
    boot: String,
    open: Open,
    limits: Limits,
    store: Option<Store>,
    /// Not before, on the boot clock.
    retry_ms: i64,
    failing: bool,
    generation: u64,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Keeper {
    /// Opens nothing yet. `boot`: the kernel's boot id.
    #[must_use]
    pub fn new(shared: Arc<Shared>, boot: String, open: Open, limits: Limits) -> Self {
        Self { shared, boot, open, limits, store: None, retry_ms: i64::MIN, failing: false, generation: 0 }
    }

    /// One turn. With `last` everything that is held goes to the disk. Returns whether more is to be done soon.
    pub fn turn(&mut self, wall_ms: i64, boot_ms: i64, last: bool) -> bool {
        if boot_ms < self.retry_ms && !last {
            return false;
        }
        match self.work(wall_ms, last) {
            Ok(busy) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the spool's disk is well again");
                }
                busy
            }
            Err(error) => {
                self.retry_ms = boot_ms.saturating_add(PAUSE_MS);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(
                        %error,
                        "the spool cannot use its disk: readings that cannot be sent stay in memory, and the oldest are \
                         dropped when it is full; free space, or name another folder with spool_dir"
                    );
                }
                false
            }
        }
    }

    fn work(&mut self, wall_ms: i64, last: bool) -> io::Result<bool> {
        let mut store = match self.store.take() {
            Some(store) => store,
            None => self.take_over()?,
        };
        let done = self.work_on(&mut store, wall_ms, last);
        self.store = Some(store);
        done
    }

    fn take_over(&self) -> io::Result<Store> {
        let (store, torn) = Store::open((self.open)()?, self.limits)?;
        if torn > 0 {
            tracing::warn!(
                bytes = torn,
                folder = store.place(),
                "the spool's end was torn and is cut: a write was interrupted"
            );
        }
        self.shared.lock().spool.on_disk(store.has_more());
        if store.has_more() {
            tracing::info!(bytes = store.bytes(), folder = store.place(), "readings of an earlier time wait on disk");
        }
        Ok(store)
    }

    fn work_on(&mut self, store: &mut Store, wall_ms: i64, last: bool) -> io::Result<bool> {
        let wanted = self.shared.lock().spool.wanted(WINDOW);
        store.acknowledge(wanted.acknowledged);
        if wanted.generation != self.generation {
            self.generation = wanted.generation;
            store.rewind();
        }
        let gone = store.enforce(wall_ms);
        self.lose(gone, "the agent's spool on disk was full or too old");
        let kept = self.keep(store, wall_ms, last);
        if !last {
            for _ in 0..wanted.batches {
                match store.hand_out() {
                    Ok(Some((piece, place))) => self.bring(wanted.generation, piece, place),
                    Ok(None) => break,
                    Err(error) => tracing::warn!(%error, folder = store.place(), "a part of the spool cannot be read"),
                }
            }
        }
        let more = store.has_more();
        let mut held = self.shared.lock();
        held.spool.on_disk(more);
        let busy = held.spool.has_backlog() && wanted.batches > 0;
        drop(held);
        if busy {
            self.shared.news.notify_one();
        }
        kept.map(|()| busy)
    }

    /// Takes to the disk what has to leave memory.
    fn keep(&self, store: &mut Store, wall_ms: i64, last: bool) -> io::Result<()> {
        let (batches, losses) = self.shared.lock().spool.leave(last);
        if batches.is_empty() && losses.is_empty() {
            return Ok(());
        }
        let mut records: Vec<New> = losses.iter().filter_map(|loss| self.gap(loss)).collect();
        records.extend(batches.iter().map(|batch| self.record(batch)));
        let written = store.append(&records, wall_ms);
        let mut held = self.shared.lock();
        match &written {
            Ok(()) => held.spool.left(),
            Err(_) => held.spool.give_back(batches, losses),
        }
        written
    }

    fn gap(&self, loss: &Loss) -> Option<New> {
        let boot = loss.boot.clone().or_else(|| Some(self.boot.clone()));
        let body = serde_json::to_vec(&Loss { boot, ..loss.clone() }).ok()?;
        Some(New { kind: Kind::Gap, seq: loss.last_seq, readings: 0, body })
    }

    fn record(&self, batch: &Batch) -> New {
        let mut wire = Encoder::new().batch(batch.seq, true, batch.parts());
        wire.boot_id = batch.boot.as_deref().unwrap_or(&self.boot).to_owned();
        let readings = u32::try_from(batch.readings()).unwrap_or(u32::MAX);
        New { kind: Kind::Batch, seq: batch.seq, readings, body: wire.encode_to_vec() }
    }

    fn bring(&self, generation: u64, piece: Piece, place: u64) {
        match piece {
            Piece::Record(record) if record.head.kind == Kind::Batch => match decode(&record.body, &self.boot) {
                Some(batch) => self.shared.lock().spool.bring(generation, place, batch),
                None => {
                    let (seq, readings) = (record.head.seq, u64::from(record.head.readings));
                    self.damaged(Damage { first_seq: seq, last_seq: seq, readings });
                    self.shared.lock().spool.passed(generation, place);
                }
            },
            piece @ (Piece::Record(_) | Piece::Damage(_)) => {
                self.lose(vec![piece], "the agent's spool on disk was damaged");
                self.shared.lock().spool.passed(generation, place);
            }
        }
    }

    fn damaged(&self, damage: Damage) {
        self.lose(vec![Piece::Damage(damage)], "the agent's spool on disk was damaged");
    }

    /// Notes what is gone. A gap that was kept is told as it was.
    fn lose(&self, pieces: Vec<Piece>, why: &str) {
        for piece in pieces {
            let loss = match piece {
                Piece::Damage(Damage { first_seq, last_seq, readings }) => {
                    let reason = "the agent's spool on disk was damaged".to_owned();
                    tracing::warn!(readings, "a part of the spool on disk is damaged: its readings are lost");
                    Loss { boot: None, first_seq, last_seq, readings, reason }
                }
                Piece::Record(record) => match record.head.kind {
                    Kind::Gap => match serde_json::from_slice::<Loss>(&record.body) {
                        Ok(loss) => Loss { boot: loss.boot.filter(|boot| *boot != self.boot), ..loss },
                        Err(error) => {
                            tracing::warn!(%error, "a kept gap cannot be read");
                            continue;
                        }
                    },
                    Kind::Batch => {
                        let boot = boot_of(&record.body).filter(|boot| *boot != self.boot);
                        let (seq, readings) = (record.head.seq, u64::from(record.head.readings));
                        Loss { boot, first_seq: seq, last_seq: seq, readings, reason: why.to_owned() }
                    }
                },
            };
            self.shared.lock().spool.lose(loss);
        }
    }
}

fn boot_of(body: &[u8]) -> Option<String> {
    skynet_proto::v1::ReadingBatch::decode(body).ok().map(|batch| batch.boot_id)
}

/// A batch as it was written.
fn decode(body: &[u8], own: &str) -> Option<Batch> {
    let (mut decoder, mut decoded) = (Decoder::new(), Decoded::default());
    decoder.decode(body, &mut decoded).ok()?;
    let boot = decoded.boot_id.as_deref().filter(|boot| *boot != own).map(Arc::from);
    let mut series = Vec::new();
    for (slot, key) in &decoded.announced {
        let slot = *slot as usize;
        if series.len() <= slot {
            series.resize(slot + 1, None);
        }
        series[slot] = Some(Arc::new(key.clone()));
    }
    let sweeps = decoded.sweeps().map(|(sweep, readings)| {
        let readings = readings.iter().filter_map(|(slot, value)| Some((series.get(*slot as usize)?.clone()?, *value)));
        let result = sweep.error.clone().map_or_else(|| Ok(readings.collect()), Err);
        let (sensor, every, started) = (sweep.sensor.clone(), sweep.every, sweep.started);
        (Sweep { sensor, every, started, started_boot_ms: sweep.boot_ms, result }, sweep.complete)
    });
    Some(Batch::restore(decoded.seq, boot, sweeps))
}

/// The thread.
#[derive(Debug)]
pub struct Running {
    stop: Sender<()>,
    ended: Receiver<()>,
}

impl Running {
    /// Starts it.
    ///
    /// # Errors
    /// The system's: no thread.
    pub fn start(mut keeper: Keeper, host: Arc<dyn Host>) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        std::thread::Builder::new().name("spool".to_owned()).stack_size(512 << 10).spawn(move || {
            let mut wait = Duration::ZERO;
            loop {
                match stopped.recv_timeout(wait) {
                    Err(RecvTimeoutError::Timeout) => {
                        let busy = keeper.turn(host.now().0, host.boot_ms(), false);
                        wait = if busy { BUSY } else { EVERY };
                    }
                    Ok(()) => {
                        keeper.turn(host.now().0, host.boot_ms(), true);
                        break;
                    }
                    // Nobody said stop: the agent is gone.
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            drop(keeper);
            // Refused when nobody waits.
            let _ = end.send(());
        })?;
        Ok(Self { stop, ended })
    }

    /// Takes everything that is held to the disk and ends the thread. A disk that hangs is not waited for.
    pub fn finish(self) {
        if self.stop.send(()).is_ok() && self.ended.recv_timeout(LAST).is_err() {
            tracing::warn!("the spool's disk does not answer; what was in memory is lost");
        }
    }
}

#[cfg(test)]
mod tests;
