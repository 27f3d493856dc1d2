//! Readings that the controller has not acknowledged, in memory, bounded; without I/O and without a clock.
//!
//! Sweeps gather in an open batch; it is closed (and numbered) when a session takes it or when it is large. On overflow the
//! oldest batches go, and a gap record says so. A session sends what is new first; what was there before it is backlog.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use skynet_model::series::SeriesKey;
use skynet_model::time::{Span, Timestamp};
use skynet_node::runner::Sweep;
use skynet_proto::stream::SweepPart;

/// Most readings of one batch; larger sweeps are sent in parts.
pub const MAX_BATCH_READINGS: usize = 4096;
/// Most bytes of one batch, reckoned as if every series had to be announced; well below the wire's limit.
const MAX_BATCH_BYTES: usize = 1 << 20;

/// A sweep, or a part of one.
#[derive(Debug)]
struct Part {
    sensor: Arc<str>,
    every: Span,
    started: Timestamp,
    boot_ms: i64,
    result: Result<Vec<(Arc<SeriesKey>, f64)>, String>,
    complete: bool,
}

impl Part {
    /// What it counts against the limit: a failed sweep takes room too.
    fn weight(&self) -> usize {
        self.result.as_ref().map_or(1, |readings| readings.len() + 1)
    }
}

/// Sweeps that travel together.
#[derive(Debug, Default)]
pub struct Batch {
    /// Its number; rises within a boot.
    pub seq: u64,
    parts: Vec<Part>,
    weight: usize,
    bytes: usize,
    sent: bool,
}

impl Batch {
    /// Its sweeps for the wire.
    pub fn parts(&self) -> impl Iterator<Item = SweepPart<'_>> {
        self.parts.iter().map(|part| SweepPart {
            sensor: &part.sensor,
            every: part.every,
            started: part.started,
            boot_ms: part.boot_ms,
            result: part.result.as_deref().map_err(String::as_str),
            complete: part.complete,
        })
    }

    /// How many readings it holds.
    #[must_use]
    pub fn readings(&self) -> u64 {
        self.parts.iter().map(|part| part.result.as_ref().map_or(0, Vec::len) as u64).sum()
    }

    fn add(&mut self, part: Part, bytes: usize) {
        self.weight += part.weight();
        self.bytes += bytes;
        self.parts.push(part);
    }
}

/// Readings that were dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// First batch.
    pub first_seq: u64,
    /// Last batch.
    pub last_seq: u64,
    /// Readings in them.
    pub readings: u64,
}

/// The spool.
#[derive(Debug)]
pub struct Spool {
    max: usize,
    weight: usize,
    next_seq: u64,
    open: Batch,
    batches: VecDeque<Batch>,
    /// Batches below this number were there when the session began.
    backlog_end: u64,
    /// The next one to send of each kind.
    next_live: u64,
    next_late: u64,
    late_in_flight: usize,
    lost: Option<Loss>,
    /// A loss that was told, and the batch whose acknowledgement proves that it arrived.
    told: Option<(Loss, u64)>,
}

impl Spool {
    /// Holds at most `max` readings; the first batch is number `first_seq`.
    #[must_use]
    pub fn new(max: usize, first_seq: u64) -> Self {
        let first_seq = first_seq.max(1);
        Self {
            max,
            weight: 0,
            next_seq: first_seq,
            open: Batch::default(),
            batches: VecDeque::new(),
            backlog_end: first_seq,
            next_live: first_seq,
            next_late: first_seq,
            late_in_flight: 0,
            lost: None,
            told: None,
        }
    }

    /// Takes a sweep in. Drops the oldest batches when there is no room.
    pub fn push(&mut self, sweep: Sweep) {
        let Sweep { sensor, every, started, started_boot_ms: boot_ms, result } = sweep;
        let part = |result, complete| Part { sensor: sensor.clone(), every, started, boot_ms, result, complete };
        match result {
            Err(error) => {
                let bytes = error.len() + 128;
                self.add(part(Err(error), false), bytes);
            }
            Ok(readings) if readings.len() <= MAX_BATCH_READINGS && size(&readings) <= MAX_BATCH_BYTES => {
                let bytes = size(&readings) + 128;
                self.add(part(Ok(readings), true), bytes);
            }
            Ok(readings) => self.add_in_parts(readings, part),
        }
        while self.weight > self.max {
            self.drop_oldest();
        }
    }

    fn add_in_parts(
        &mut self,
        readings: Vec<(Arc<SeriesKey>, f64)>,
        part: impl Fn(Result<Vec<(Arc<SeriesKey>, f64)>, String>, bool) -> Part,
    ) {
        let (mut piece, mut bytes) = (Vec::new(), 0);
        for reading in readings {
            let more = one_size(&reading.0);
            if piece.len() >= MAX_BATCH_READINGS || bytes + more > MAX_BATCH_BYTES {
                self.add(part(Ok(std::mem::take(&mut piece)), false), bytes + 128);
                bytes = 0;
            }
            bytes += more;
            piece.push(reading);
        }
        self.add(part(Ok(piece), true), bytes + 128);
    }

    fn add(&mut self, part: Part, bytes: usize) {
        let weight = part.weight();
        if self.open.weight + weight > MAX_BATCH_READINGS || self.open.bytes + bytes > MAX_BATCH_BYTES {
            self.close();
        }
        self.weight += weight;
        self.open.add(part, bytes);
    }

    fn close(&mut self) {
        if self.open.parts.is_empty() {
            return;
        }
        let mut batch = std::mem::take(&mut self.open);
        batch.seq = self.next_seq;
        self.next_seq += 1;
        self.batches.push_back(batch);
    }

    fn drop_oldest(&mut self) {
        if self.batches.is_empty() {
            self.close();
        }
        let Some(batch) = self.batches.pop_front() else {
            self.weight = 0;
            return;
        };
        self.forget(&batch);
        let loss = Loss { first_seq: batch.seq, last_seq: batch.seq, readings: batch.readings() };
        self.lost = join(self.lost.take(), Some(loss));
    }

    /// Keeps the sums right when a batch leaves.
    fn forget(&mut self, batch: &Batch) {
        self.weight -= batch.weight;
        if batch.sent && batch.seq < self.backlog_end && batch.seq < self.next_late {
            self.late_in_flight -= 1;
        }
    }

    /// A session begins: all there is becomes backlog, but for each sensor's latest sweep that was never sent: that is
    /// the present, and goes first under a new number.
    pub fn begin_session(&mut self) {
        self.close();
        self.lost = join(self.told.take().map(|(loss, _)| loss), self.lost.take());
        self.backlog_end = self.next_seq;
        self.next_live = self.next_seq;
        self.next_late = 0;
        self.late_in_flight = 0;
        let mut latest: HashMap<Arc<str>, i64> = HashMap::new();
        for part in self.batches.iter().filter(|b| !b.sent).flat_map(|b| &b.parts) {
            latest.insert(part.sensor.clone(), part.boot_ms);
        }
        let mut present = Vec::new();
        for batch in self.batches.iter_mut().filter(|b| !b.sent) {
            let is_present = |part: &mut Part| latest.get(&part.sensor) == Some(&part.boot_ms);
            for part in batch.parts.extract_if(.., is_present) {
                batch.weight -= part.weight();
                self.weight -= part.weight();
                present.push(part);
            }
        }
        self.batches.retain(|b| !b.parts.is_empty());
        for part in present {
            let bytes = part.result.as_ref().map_or_else(String::len, |r| size(r)) + 128;
            self.add(part, bytes);
        }
    }

    /// The next batch of the present, if there is one. It is sent once a session.
    pub fn next_live(&mut self) -> Option<&Batch> {
        let index = match self.index_from(self.next_live) {
            Some(index) => index,
            None => {
                self.close();
                self.index_from(self.next_live)?
            }
        };
        let batch = &mut self.batches[index];
        batch.sent = true;
        self.next_live = batch.seq + 1;
        Some(batch)
    }

    /// The next batch of the backlog, if fewer than `window` of them are on their way.
    pub fn next_late(&mut self, window: usize) -> Option<&Batch> {
        if self.late_in_flight >= window {
            return None;
        }
        let index = self.index_from(self.next_late).filter(|i| self.batches[*i].seq < self.backlog_end)?;
        let batch = &mut self.batches[index];
        batch.sent = true;
        self.next_late = batch.seq + 1;
        self.late_in_flight += 1;
        Some(batch)
    }

    fn index_from(&self, seq: u64) -> Option<usize> {
        let index = self.batches.partition_point(|b| b.seq < seq);
        (index < self.batches.len()).then_some(index)
    }

    /// Whether a batch of the present waits to be sent.
    #[must_use]
    pub fn has_live(&self) -> bool {
        !self.open.parts.is_empty() || self.index_from(self.next_live).is_some()
    }

    /// Whether the backlog is not acknowledged yet.
    #[must_use]
    pub fn has_backlog(&self) -> bool {
        self.batches.front().is_some_and(|b| b.seq < self.backlog_end)
    }

    /// Whether nothing waits to be sent or to be acknowledged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.parts.is_empty() && self.batches.is_empty()
    }

    /// Readings held, a little overcounted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.weight
    }

    /// The controller keeps all batches up to `seq`: of the backlog when `seq` is below the session's first batch, else
    /// of the present. Only what was sent in this session is meant.
    pub fn ack(&mut self, seq: u64) {
        let (from, to) = if seq < self.backlog_end {
            (0, seq.saturating_add(1).min(self.next_late))
        } else {
            (self.backlog_end, seq.saturating_add(1).min(self.next_live))
        };
        let start = self.batches.partition_point(|b| b.seq < from);
        let end = self.batches.partition_point(|b| b.seq < to);
        let gone: Vec<Batch> = self.batches.drain(start..end.max(start)).collect();
        for batch in &gone {
            self.forget(batch);
        }
        if self.told.as_ref().is_some_and(|(_, proof)| seq >= *proof) {
            self.told = None;
        }
    }

    /// A loss to tell of, once a session.
    pub fn take_loss(&mut self) -> Option<Loss> {
        let loss = self.lost.take()?;
        let joined = join(self.told.take().map(|(told, _)| told), Some(loss.clone()));
        self.told = joined.map(|joined| (joined, self.next_live.max(self.backlog_end)));
        Some(loss)
    }
}

fn join(a: Option<Loss>, b: Option<Loss>) -> Option<Loss> {
    match (a, b) {
        (Some(a), Some(b)) => Some(Loss {
            first_seq: a.first_seq.min(b.first_seq),
            last_seq: a.last_seq.max(b.last_seq),
            readings: a.readings + b.readings,
        }),
        (one, None) | (None, one) => one,
    }
}

fn one_size(key: &SeriesKey) -> usize {
    key.name.len() + key.labels.iter().map(|(n, v)| n.len() + v.len() + 8).sum::<usize>() + 32
}

fn size(readings: &[(Arc<SeriesKey>, f64)]) -> usize {
    readings.iter().map(|(key, _)| one_size(key)).sum()
}

#[cfg(test)]
mod tests;
