//! The log's live readers: a ring of the newest events, and what comes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use skynet_model::event::Event;
use tokio::sync::broadcast;

/// How many events the ring holds.
pub const RING: usize = 10_000;
/// How far a follower may fall behind before it has to look into the ring again.
const BEHIND: usize = 1024;

/// Journalled events, for followers. Publishing never waits for a reader.
#[derive(Debug)]
pub struct Feed {
    ring: Mutex<VecDeque<Arc<Event>>>,
    sender: broadcast::Sender<Arc<Event>>,
}

impl Default for Feed {
    fn default() -> Self {
        Self { ring: Mutex::default(), sender: broadcast::channel(BEHIND).0 }
    }
}

impl Feed {
    /// Adds an event that is on disk.
    pub fn publish(&self, event: Event) {
        let event = Arc::new(event);
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.len() == RING {
            ring.pop_front();
        }
        ring.push_back(Arc::clone(&event));
        // Nobody may be listening; under the ring's lock, so that a new follower sees each event once.
        let _ = self.sender.send(event);
    }

    /// Events of the ring after number `after`, and what comes next. A follower that is told `Lagged` calls again with
    /// the last number it saw.
    #[must_use]
    pub fn follow(&self, after: u64) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let start = ring.partition_point(|event| event.seq <= after);
        (ring.range(start..).cloned().collect(), self.sender.subscribe())
    }

    /// At most `most` events after number `after`, in order; none at all when the ring does not reach back so far.
    #[must_use]
    pub fn since(&self, after: u64, most: usize) -> Option<Vec<Arc<Event>>> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let reaches = ring.len() < RING || ring.front().is_some_and(|oldest| oldest.seq <= after + 1);
        let start = ring.partition_point(|event| event.seq <= after);
        reaches.then(|| ring.range(start..).take(most).cloned().collect())
    }

    /// The newest event's number; 0 when there is none.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner).back().map_or(0, |event| event.seq)
    }

    /// Tells of what comes, without what is there.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Arc<Event>> {
        self.sender.subscribe()
    }

    /// The number before the newest `tail` events: what to give [`Feed::follow`] to begin with them.
    #[must_use]
    pub fn before_newest(&self, tail: usize) -> u64 {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        match ring.len().saturating_sub(tail) {
            0 => 0,
            start => ring.get(start - 1).map_or(0, |event| event.seq),
        }
    }
}
