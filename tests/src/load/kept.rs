//! What a simulated agent keeps until the controller has acknowledged it: the spool, small and bounded.

use std::collections::VecDeque;

use skynet_model::time::Timestamp;

/// Most sweeps one agent keeps; the oldest go first, and are counted.
const MAX: usize = 600;

/// One sweep of all sensors.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) seq: u64,
    pub(super) started: Timestamp,
    pub(super) boot_ms: i64,
    pub(super) values: Vec<f64>,
}

/// A loss that is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
    pub(super) readings: u64,
}

/// Sweeps in order of number; those below `live_from` were there when the session began.
#[derive(Debug)]
pub(super) struct Kept {
    batches: VecDeque<Batch>,
    last_seq: u64,
    live_from: u64,
    next_live: u64,
    next_late: u64,
    loss: Option<Loss>,
    /// Vectors of acknowledged sweeps, to be used again.
    spare: Vec<Vec<f64>>,
}

impl Kept {
    /// Numbers begin above `last_seq`.
    pub(super) fn new(last_seq: u64) -> Self {
        Self {
            batches: VecDeque::new(),
            last_seq,
            live_from: last_seq + 1,
            next_live: last_seq + 1,
            next_late: 0,
            loss: None,
            spare: Vec::new(),
        }
    }

    /// What is kept now is late from here on.
    pub(super) fn begin_session(&mut self) {
        self.live_from = self.last_seq + 1;
        self.next_live = self.live_from;
        self.next_late = 0;
    }

    pub(super) fn push(&mut self, started: Timestamp, boot_ms: i64, values: &[f64]) {
        self.last_seq += 1;
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(values);
        self.batches.push_back(Batch { seq: self.last_seq, started, boot_ms, values: copy });
        if self.batches.len() > MAX
            && let Some(gone) = self.batches.pop_front()
        {
            let loss = self.loss.get_or_insert(Loss { first_seq: gone.seq, last_seq: gone.seq, readings: 0 });
            loss.last_seq = gone.seq;
            loss.readings += gone.values.len() as u64;
        }
    }

    /// The next batch to send, and whether it is late: what is new goes first, what is late only if it `may`.
    pub(super) fn next(&mut self, may: bool) -> Option<(&Batch, bool)> {
        let live = self.batches.partition_point(|batch| batch.seq < self.next_live);
        if live < self.batches.len() {
            let batch = &self.batches[live];
            self.next_live = batch.seq + 1;
            return Some((batch, false));
        }
        if !may {
            return None;
        }
        let late = self.batches.partition_point(|batch| batch.seq < self.next_late);
        let batch = self.batches.get(late).filter(|batch| batch.seq < self.live_from)?;
        self.next_late = batch.seq + 1;
        Some((batch, true))
    }

    /// Takes an acknowledgement; gives the readings it covers. One below the session's first number is of late sweeps.
    pub(super) fn ack(&mut self, seq: u64) -> u64 {
        let (from, to) = if seq < self.live_from { (0, self.next_late) } else { (self.live_from, self.next_live) };
        let mut readings = 0;
        let (spare, end) = (&mut self.spare, (seq + 1).min(to));
        self.batches.retain_mut(|batch| {
            let acked = batch.seq >= from && batch.seq < end;
            if acked {
                readings += batch.values.len() as u64;
                if spare.len() < 8 {
                    spare.push(std::mem::take(&mut batch.values));
                }
            }
            !acked
        });
        readings
    }

    /// Readings that are not acknowledged.
    pub(super) fn readings(&self) -> u64 {
        self.batches.iter().map(|batch| batch.values.len() as u64).sum()
    }

    /// Whether sweeps of before this session are left.
    pub(super) fn has_late(&self) -> bool {
        self.batches.front().is_some_and(|batch| batch.seq < self.live_from)
    }

    pub(super) fn take_loss(&mut self) -> Option<Loss> {
        self.loss.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(kept: &mut Kept, n: usize) {
        for _ in 0..n {
            kept.push(Timestamp(0), 0, &[1.0, 2.0]);
        }
    }

    #[test]
    fn what_is_new_goes_first_and_each_kind_has_its_acknowledgements() {
        let mut kept = Kept::new(100);
        push(&mut kept, 3);
        let sent: Vec<_> = std::iter::from_fn(|| kept.next(true).map(|(batch, late)| (batch.seq, late))).collect();
        assert_eq!(sent, [(101, false), (102, false), (103, false)]);
        assert_eq!(kept.ack(101), 2);
        kept.begin_session();
        push(&mut kept, 1);
        let sent: Vec<_> = std::iter::from_fn(|| kept.next(true).map(|(batch, late)| (batch.seq, late))).collect();
        assert_eq!(sent, [(104, false), (102, true), (103, true)]);
        // Of what is new: it says nothing about the backlog.
        assert_eq!(kept.ack(104), 2);
        assert_eq!(kept.readings(), 4);
        assert!(kept.has_late());
        assert_eq!(kept.ack(103), 4);
        assert!(!kept.has_late());
        assert_eq!(kept.ack(104), 0);
    }

    #[test]
    fn an_acknowledgement_of_what_was_not_sent_counts_for_nothing() {
        let mut kept = Kept::new(0);
        push(&mut kept, 2);
        kept.next(false);
        assert_eq!(kept.ack(2), 2);
        assert_eq!(kept.readings(), 2);
    }

    #[test]
    fn the_oldest_go_first_and_are_counted() {
        let mut kept = Kept::new(0);
        push(&mut kept, MAX + 2);
        assert_eq!(kept.take_loss(), Some(Loss { first_seq: 1, last_seq: 2, readings: 4 }));
        assert_eq!(kept.take_loss(), None);
        assert_eq!(kept.readings(), 2 * MAX as u64);
    }
}
