//! One thread that looks whether sweeps take too long, so that a hanging sensor is heard of at all.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::Sink;
use super::worker::Watched;
use crate::host::Host;

/// Longest time between two looks.
const SELDOM: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Round {
    watched: Vec<Arc<Watched>>,
    stopped: bool,
}

struct Shared {
    round: Mutex<Round>,
    wake: Condvar,
}

/// Runs until dropped.
pub(super) struct Watchdog {
    shared: Arc<Shared>,
}

impl Watchdog {
    pub(super) fn start(watched: Vec<Arc<Watched>>, host: Arc<dyn Host>, sink: Sink) -> std::io::Result<Self> {
        let round = Mutex::new(Round { watched, stopped: false });
        let shared = Arc::new(Shared { round, wake: Condvar::new() });
        let mine = Arc::clone(&shared);
        super::worker::thread("watchdog").spawn(move || mine.run(&host, &sink))?;
        Ok(Self { shared })
    }

    pub(super) fn watch(&self, watched: Vec<Arc<Watched>>) {
        self.shared.round.lock().unwrap_or_else(PoisonError::into_inner).watched = watched;
        self.shared.wake.notify_all();
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.round.lock().unwrap_or_else(PoisonError::into_inner).stopped = true;
        self.shared.wake.notify_all();
    }
}

impl Shared {
    fn run(&self, host: &Arc<dyn Host>, sink: &Sink) {
        let mut round = self.round.lock().unwrap_or_else(PoisonError::into_inner);
        while !round.stopped {
            for watched in &round.watched {
                watched.look(&**host, sink);
            }
            // As often as the quickest sensor ticks: what hangs is told at most one interval late.
            let pause = round.watched.iter().map(|w| w.interval().std()).min().unwrap_or(SELDOM).min(SELDOM);
            round = self.wake.wait_timeout(round, pause).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
