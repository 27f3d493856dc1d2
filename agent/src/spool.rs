//! Readings that the controller has not acknowledged, in memory, bounded; without I/O and without a clock.
//!
//! While there is no session the keeper takes the oldest to the disk and, when there is one, brings them back a few at a
//! time: what is on disk is always older than what is in memory.
//!
//! Sweeps gather in an open batch; it is closed (and numbered) when a session takes it or when it is large. On overflow the
//! oldest batches go, and a gap record says so. A session sends what is new first; what was there before it is backlog.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use skynet_model::series::SeriesKey;
use skynet_model::time::{Span, Timestamp};
use skynet_node::runner::Sweep;
use skynet_proto::stream::SweepPart;

/// Most readings of one batch; larger sweeps are sent in parts.
pub const MAX_BATCH_READINGS: usize = 4096;
/// Most bytes of one batch, reckoned as if every series had to be announced; well below the wire's limit.
const MAX_BATCH_BYTES: usize = 1 << 20;

/// Kinds of losses that are told apart.
const MAX_LOSSES: usize = 16;

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
    /// The boot it was read under; none: this one.
    pub boot: Option<Arc<str>>,
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

    /// Batch `seq` as it was, from sweeps that came back from disk: sweep, and whether it was complete.
    pub fn restore(seq: u64, boot: Option<Arc<str>>, sweeps: impl IntoIterator<Item = (Sweep, bool)>) -> Self {
        let mut batch = Self { seq, boot, ..Self::default() };
        for (sweep, complete) in sweeps {
            let Sweep { sensor, every, started, started_boot_ms: boot_ms, result } = sweep;
            batch.add(Part { sensor, every, started, boot_ms, result, complete }, 0);
        }
        batch
    }

    fn add(&mut self, part: Part, bytes: usize) {
        self.weight += part.weight();
        self.bytes += bytes;
        self.parts.push(part);
    }
}

/// Readings that were dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// The boot they were read under; none: this one.
    pub boot: Option<String>,
    /// First batch.
    pub first_seq: u64,
    /// Last batch.
    pub last_seq: u64,
    /// Readings in them.
    pub readings: u64,
    /// Why, as a sentence.
    pub reason: String,
}

/// What the keeper is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Rises with every session: what was brought back before counts no more.
    pub generation: u64,
    /// How many batches may be brought back.
    pub batches: usize,
    /// What was brought back up to here is acknowledged.
    pub acknowledged: u64,
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
    lost: Vec<Loss>,
    /// Losses that were told, and the batch whose acknowledgement proves that they arrived.
    told: Option<(Vec<Loss>, u64)>,
    in_session: bool,
    generation: u64,
    /// Batches that were brought back from disk, with their places there.
    loaded: VecDeque<(u64, Batch)>,
    /// The last of them in this session: boot and number.
    brought: Option<(Option<Arc<str>>, u64)>,
    /// More of them are on disk.
    more_on_disk: bool,
    /// Batches are on their way to the disk.
    leaving: bool,
    /// The last batch that was brought back, acknowledged; and the same at the last time when no loss was to be told.
    loaded_done: u64,
    safe_done: u64,
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
            lost: Vec::new(),
            told: None,
            in_session: false,
            generation: 0,
            loaded: VecDeque::new(),
            brought: None,
            more_on_disk: false,
            leaving: false,
            loaded_done: 0,
            safe_done: 0,
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
        self.make_room();
    }

    fn make_room(&mut self) {
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
        let (boot, reason) = (None, "the agent's spool was full".to_owned());
        self.lose(Loss { boot, first_seq: batch.seq, last_seq: batch.seq, readings: batch.readings(), reason });
    }

    /// Notes a loss, to be told.
    pub fn lose(&mut self, loss: Loss) {
        join(&mut self.lost, loss);
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
        self.untell();
        self.in_session = true;
        self.generation += 1;
        self.more_on_disk |= !self.loaded.is_empty();
        self.loaded.clear();
        self.brought = None;
        self.backlog_end = self.next_seq;
        self.next_live = self.next_seq;
        self.next_late = 0;
        self.late_in_flight = 0;
        self.keep_present();
    }

    /// The session ended: nothing can be sent, and what is held may go to the disk.
    pub fn end_session(&mut self) {
        self.in_session = false;
        self.generation += 1;
        self.more_on_disk |= !self.loaded.is_empty();
        self.loaded.clear();
        self.untell();
    }

    /// Losses that were told and not proved to have arrived are to be told again.
    fn untell(&mut self) {
        let untold = std::mem::take(&mut self.lost);
        self.lost = self.told.take().map_or_else(Vec::new, |(losses, _)| losses);
        untold.into_iter().for_each(|loss| join(&mut self.lost, loss));
    }

    /// Gathers each sensor's latest sweep that was never sent in the open batch.
    fn keep_present(&mut self) {
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
        if let Some(index) = self.loaded.iter().position(|(_, batch)| !batch.sent) {
            self.late_in_flight += 1;
            let batch = &mut self.loaded[index].1;
            batch.sent = true;
            if batch.boot.is_none() {
                self.next_late = self.next_late.max(batch.seq + 1);
            }
            return Some(batch);
        }
        if self.more_on_disk || self.leaving {
            // Older ones come first: numbers only rise.
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
        self.more_on_disk || self.leaving || !self.loaded.is_empty() || self.has_backlog_in_memory()
    }

    fn has_backlog_in_memory(&self) -> bool {
        self.batches.front().is_some_and(|b| b.seq < self.backlog_end)
    }

    /// Whether nothing in memory waits to be sent or to be acknowledged; what is on disk can wait.
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
        if seq < self.backlog_end {
            if gone.is_empty() {
                self.ack_loaded(None, seq);
            } else {
                // These were sent after all that came from disk.
                self.release(self.loaded.iter().take_while(|(_, batch)| batch.sent).count());
            }
        }
        if self.told.as_ref().is_some_and(|(_, proof)| seq >= *proof) {
            self.told = None;
        }
    }

    /// The controller keeps all batches of another boot up to `seq` that were sent in this session.
    pub fn ack_other(&mut self, boot: &str, seq: u64) {
        self.ack_loaded(Some(boot), seq);
    }

    fn ack_loaded(&mut self, boot: Option<&str>, seq: u64) {
        // Those of other boots before it were acknowledged too: the controller says its latest only.
        let of_it = |(_, batch): &(u64, Batch)| batch.sent && batch.boot.as_deref() == boot && batch.seq <= seq;
        let acknowledged = self.loaded.iter().rposition(of_it).map_or(0, |last| last + 1);
        self.release(acknowledged);
    }

    fn release(&mut self, batches: usize) {
        for (place, _) in self.loaded.drain(..batches) {
            self.late_in_flight -= 1;
            self.loaded_done = place;
        }
    }

    /// What losses are to be told now, once a session.
    pub fn take_losses(&mut self) -> Vec<Loss> {
        let losses = std::mem::take(&mut self.lost);
        if !losses.is_empty() {
            let mut all = self.told.take().map_or_else(Vec::new, |(told, _)| told);
            losses.iter().cloned().for_each(|loss| join(&mut all, loss));
            self.told = Some((all, self.next_live.max(self.backlog_end)));
        }
        losses
    }

    /// Takes out what may go to the disk: the oldest batches while there is no session, but for each sensor's latest
    /// sweep, and the losses. With `everything` all there is: the process ends. To be answered with [`Spool::left`] or
    /// [`Spool::give_back`].
    pub fn leave(&mut self, everything: bool) -> (Vec<Batch>, Vec<Loss>) {
        if self.in_session && !everything {
            return (Vec::new(), Vec::new());
        }
        if !everything {
            self.close();
            self.keep_present();
        } else {
            self.untell();
            self.close();
        }
        self.weight = self.open.weight;
        let batches: Vec<Batch> = std::mem::take(&mut self.batches).into();
        self.leaving = !batches.is_empty();
        (batches, std::mem::take(&mut self.lost))
    }

    /// What was taken out is on disk.
    pub fn left(&mut self) {
        self.leaving = false;
        self.more_on_disk = true;
    }

    /// What was taken out could not be kept elsewhere: it is in memory again, as far as there is room.
    pub fn give_back(&mut self, batches: Vec<Batch>, losses: Vec<Loss>) {
        self.leaving = false;
        for batch in batches.into_iter().rev() {
            self.weight += batch.weight;
            self.batches.push_front(batch);
        }
        losses.into_iter().for_each(|loss| self.lose(loss));
        self.make_room();
    }

    /// What the keeper is to bring back, and may remove.
    pub fn wanted(&mut self, window: usize) -> Wanted {
        if self.lost.is_empty() && self.told.is_none() {
            self.safe_done = self.loaded_done;
        }
        let batches = if self.in_session { window.saturating_sub(self.loaded.len()) } else { 0 };
        Wanted { generation: self.generation, batches, acknowledged: self.safe_done }
    }

    /// Whether more is on disk than was brought back.
    pub fn on_disk(&mut self, more: bool) {
        self.more_on_disk = more;
    }

    /// A batch from disk, for the session of `generation`.
    pub fn bring(&mut self, generation: u64, place: u64, batch: Batch) {
        if generation != self.generation || !self.in_session {
            return;
        }
        let brought = self.brought.take_if(|(boot, _)| *boot == batch.boot).map_or(0, |(_, seq)| seq);
        let again = batch.seq <= brought || (batch.boot.is_none() && batch.seq < self.next_late);
        self.brought = Some((batch.boot.clone(), batch.seq.max(brought)));
        match (again, self.loaded.back_mut()) {
            (false, _) => self.loaded.push_back((place, batch)),
            // It is on disk twice: the first stands for both.
            (true, Some((last, _))) => *last = place,
            (true, None) => self.loaded_done = place,
        }
    }

    /// What was brought back up to `place` held no batch.
    pub fn passed(&mut self, generation: u64, place: u64) {
        if generation == self.generation && self.in_session {
            match self.loaded.back_mut() {
                Some((last, _)) => *last = place.max(*last),
                None => self.loaded_done = place.max(self.loaded_done),
            }
        }
    }
}

/// Losses of one boot for one reason are told together.
fn join(losses: &mut Vec<Loss>, loss: Loss) {
    let alike = |one: &&mut Loss| one.boot == loss.boot && one.reason == loss.reason;
    if let Some(one) = losses.iter_mut().find(alike) {
        one.first_seq = one.first_seq.min(loss.first_seq);
        one.last_seq = one.last_seq.max(loss.last_seq);
        one.readings = one.readings.saturating_add(loss.readings);
    } else if losses.len() < MAX_LOSSES {
        losses.push(loss);
    } else if let Some(last) = losses.last_mut() {
        // The count is what matters.
        last.readings = last.readings.saturating_add(loss.readings);
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
