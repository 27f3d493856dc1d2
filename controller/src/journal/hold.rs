//! What the log keeps for its copy elsewhere: nothing is compacted away before it is copied, within bounds.
//!
//! The journal's thread and the copy's thread share one [`Hold`]. The journal only stores and loads numbers there; it
//! never waits for the copy.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use skynet_model::time::{Span, Timestamp};

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of segments that are not copied yet.
    pub bytes: u64,
    /// Age of the newest event of a segment that is not copied yet.
    pub age: Span,
}

/// A sealed segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) name: String,
    /// Its last event's number.
    pub(super) last: u64,
    /// Its last event's time.
    pub(super) newest: Timestamp,
    pub(super) bytes: u64,
}

/// Events that were compacted although nobody had copied them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// Why, in words.
    pub why: String,
}

/// The bounds, how far the copy is, and what had to go.
#[derive(Debug)]
pub struct Hold {
    bounds: Bounds,
    copied: AtomicU64,
    sealed: Mutex<Vec<(u64, Timestamp, u64)>>,
    active: AtomicU64,
    dropped: Mutex<Vec<Dropped>>,
}

/// What waits for the copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Bytes of the segments in which it lies.
    pub bytes: u64,
}

impl Hold {
    /// A hold on everything after event `copied`.
    #[must_use]
    pub fn new(bounds: Bounds, copied: u64) -> Self {
        let (sealed, dropped) = (Mutex::default(), Mutex::default());
        Self { bounds, copied: AtomicU64::new(copied), sealed, active: AtomicU64::new(0), dropped }
    }

    /// The bounds.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Everything up to event `seq` is copied.
    pub fn copied_to(&self, seq: u64) {
        self.copied.store(seq, Ordering::Release);
    }

    /// What waits.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        let copied = self.copied.load(Ordering::Acquire);
        let sealed = self.sealed.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: u64 = sealed.iter().filter(|(last, ..)| *last > copied).map(|(.., bytes)| bytes).sum();
        Waiting { bytes: bytes + self.active.load(Ordering::Relaxed) }
    }

    /// What was dropped since the last call.
    #[must_use]
    pub fn take_dropped(&self) -> Vec<Dropped> {
        std::mem::take(&mut *self.dropped.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many of the oldest segments need not be kept as they are, and what is dropped by that. `now`: the time of the
    /// log's newest event.
    pub(super) fn released(&self, sealed: &[Segment], now: Timestamp) -> (usize, Option<Dropped>) {
        let copied = self.copied.load(Ordering::Acquire);
        let mut left: u64 = sealed.iter().filter(|s| s.last > copied).map(|s| s.bytes).sum();
        let (mut count, mut dropped) = (0, None);
        for segment in sealed {
            if segment.last > copied {
                let why = if left > self.bounds.bytes {
                    format!("more than {} MiB waited", self.bounds.bytes >> 20)
                } else if now.since(segment.newest) > self.bounds.age {
                    format!("they waited longer than {}", self.bounds.age)
                } else {
                    break;
                };
                left -= segment.bytes;
                dropped = Some(Dropped { first: copied + 1, last: segment.last, why });
            }
            count += 1;
        }
        (count, dropped)
    }

    pub(super) fn note_dropped(&self, dropped: Dropped) {
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner).push(dropped);
    }

    pub(super) fn note_sealed(&self, sealed: &[Segment]) {
        let mut kept = self.sealed.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = sealed.iter().map(|s| (s.last, s.newest, s.bytes)).collect();
    }

    pub(super) fn note_active(&self, bytes: u64) {
        self.active.store(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(last: u64, hours: i64, bytes: u64) -> Segment {
        Segment { name: String::new(), last, newest: Timestamp(0).plus(Span::hours(hours)), bytes }
    }

    #[test]
    fn what_is_not_copied_is_kept_within_its_bounds() {
        let hold = Hold::new(Bounds { bytes: 100, age: Span::hours(72) }, 0);
        let sealed = [segment(10, 1, 40), segment(20, 2, 40), segment(30, 60, 20)];
        let now = |hours| Timestamp(0).plus(Span::hours(hours));
        assert_eq!(hold.released(&sealed, now(60)), (0, None));
        hold.copied_to(9);
        assert_eq!(hold.released(&sealed, now(60)).0, 0, "half a segment is not a segment");
        hold.copied_to(10);
        assert_eq!(hold.released(&sealed, now(60)), (1, None));
        let (count, dropped) = hold.released(&sealed, now(75));
        let dropped = dropped.unwrap();
        assert_eq!((count, dropped.first, dropped.last), (2, 11, 20));
        assert!(dropped.why.contains("3d"), "{}", dropped.why);
    }

    #[test]
    fn the_oldest_go_when_too_many_bytes_wait() {
        let hold = Hold::new(Bounds { bytes: 100, age: Span::hours(72) }, 5);
        let sealed = [segment(10, 1, 40), segment(20, 1, 40), segment(30, 1, 40), segment(40, 1, 40)];
        let (count, dropped) = hold.released(&sealed, Timestamp(0).plus(Span::hours(1)));
        let dropped = dropped.unwrap();
        assert_eq!((count, dropped.first, dropped.last), (2, 6, 20));
        hold.note_sealed(&sealed);
        hold.note_active(7);
        hold.copied_to(20);
        assert_eq!(hold.waiting().bytes, 87);
    }
}
