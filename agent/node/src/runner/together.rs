//! One thread for all sensors that never wait: they only read what the kernel has in memory, and are through in a moment.
//!
//! A thread apiece would cost each server their stacks and, as their ticks fall together, as many wake-ups at once.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::Sink;
use super::worker::{Turn, Watched};
use crate::host::Host;
use crate::host::local::boot_ms;

/// Longest time between two looks.
const SELDOM: Duration = Duration::from_secs(60);

#[derive(Default)]
struct News {
    fresh: Vec<Arc<Watched>>,
    stopped: bool,
}

struct Shared {
    news: Mutex<News>,
    wake: Condvar,
}

/// Runs until dropped.
pub(super) struct Together {
    shared: Arc<Shared>,
}

impl Together {
    pub(super) fn start(host: Arc<dyn Host>, sink: Sink) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { news: Mutex::default(), wake: Condvar::new() });
        let mine = Arc::clone(&shared);
        super::worker::thread("sensors").spawn(move || mine.run(&host, &sink))?;
        Ok(Self { shared })
    }

    /// Takes a sensor in; its first sweep is at once.
    pub(super) fn add(&self, watched: Arc<Watched>) {
        self.shared.news.lock().unwrap_or_else(PoisonError::into_inner).fresh.push(watched);
        self.shared.wake.notify_all();
    }
}

impl Drop for Together {
    fn drop(&mut self) {
        self.shared.news.lock().unwrap_or_else(PoisonError::into_inner).stopped = true;
        self.shared.wake.notify_all();
    }
}

impl Shared {
    fn run(&self, host: &Arc<dyn Host>, sink: &Sink) {
        let mut turns: Vec<Turn> = Vec::new();
        loop {
            let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
            while !news.stopped && news.fresh.is_empty() {
                let due = turns.iter().map(|turn| turn.due).min();
                let left = due.map(|due| due - boot_ms());
                if left.is_some_and(|left| left <= 0) {
                    break;
                }
                let left = left.and_then(|left| u64::try_from(left).ok()).map_or(SELDOM, Duration::from_millis);
                news = self.wake.wait_timeout(news, left.min(SELDOM)).unwrap_or_else(PoisonError::into_inner).0;
            }
            if news.stopped {
                return;
            }
            let fresh = std::mem::take(&mut news.fresh);
            drop(news);
            turns.retain(|turn| !turn.watched.is_stopped());
            turns.extend(fresh.into_iter().map(Turn::new));
            let now = boot_ms();
            turns.retain_mut(|turn| turn.due > now || turn.sweep(host, sink));
        }
    }
}
