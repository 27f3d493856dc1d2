//! Windows get their past from the history: after a restart, or when a policy brings new ones.
//!
//! No session waits for it. Servers take turns, a few windows at a time, and the past is read in slices: after a restart
//! all servers want theirs at once, and neither memory nor disk may suffer from it. What comes late is taken late: a window
//! goes on with its own samples meanwhile.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use skynet_engine::Past;
use skynet_model::name::ServerId;
use skynet_model::series::SeriesKey;
use skynet_model::time::{Span, Timestamp};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::clock;
use crate::core::{Desk, FromAgent, Handle, Input, SessionInput};
use crate::history::History;

/// Windows that are filled in one turn.
const WINDOWS: usize = 32;
/// Samples that are read for one session; windows that ask after that begin empty.
const SAMPLES: usize = 4_000_000;
/// Slices in which one turn reads the past, at most.
const SLICES: i64 = 16;
/// The shortest slice.
const SLICE: Span = Span::minutes(10);

/// One session's way to the past.
#[derive(Debug)]
pub(super) struct Refill {
    turns: Arc<Semaphore>,
    running: Option<JoinHandle<()>>,
    /// Samples that may still be read.
    room: Arc<AtomicUsize>,
}

/// What fills the windows of one session.
#[derive(Clone)]
struct Run {
    desk: Desk,
    history: Arc<History>,
    core: Handle,
    server: ServerId,
    token: u64,
    room: Arc<AtomicUsize>,
}

impl Refill {
    pub(super) fn new(turns: Arc<Semaphore>) -> Self {
        Self { turns, running: None, room: Arc::new(AtomicUsize::new(SAMPLES)) }
    }

    /// Begins, unless it is at work: what it does not see then the next batch begins it for.
    pub(super) fn begin(
        &mut self,
        (server, token): (&ServerId, u64),
        desk: &Desk,
        history: &Arc<History>,
        core: &Handle,
    ) {
        if self.running.as_ref().is_some_and(|running| !running.is_finished()) {
            return;
        }
        let run = Run {
            desk: desk.clone(),
            history: Arc::clone(history),
            core: core.clone(),
            server: server.clone(),
            token,
            room: Arc::clone(&self.room),
        };
        self.running = Some(tokio::spawn(run.all(Arc::clone(&self.turns))));
    }
}

impl Run {
    /// Goes on until no window wants anything, or the session is over.
    async fn all(self, turns: Arc<Semaphore>) {
        loop {
            let Ok(turn) = turns.acquire().await else { return };
            let run = self.clone();
            let done = tokio::task::spawn_blocking(move || run.some()).await;
            drop(turn);
            match done {
                Ok(Some(found)) => {
                    let what = FromAgent::Found;
                    let input = Input::Session(SessionInput { server: self.server.clone(), token: self.token, what });
                    if found && !self.core.tell(input).await {
                        return;
                    }
                }
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// A few windows; says whether something was found. None when no window wants anything.
    fn some(&self) -> Option<bool> {
        let mut windows = self.desk.hungry(clock::now(), WINDOWS)?;
        if windows.is_empty() {
            return None;
        }
        fill(&self.history, &self.server, &mut windows, &self.room);
        Some(self.desk.feed(clock::now(), windows))
    }
}

/// Reads what the history has of these windows, oldest first, as long as there is room.
fn fill(history: &History, server: &ServerId, windows: &mut [Past], room: &AtomicUsize) {
    let mut by_series: HashMap<SeriesKey, Vec<usize>> = HashMap::new();
    for (number, window) in windows.iter().enumerate() {
        by_series.entry(window.series().clone()).or_default().push(number);
    }
    let Some(begin) = windows.iter().map(Past::from).min() else { return };
    let Some(end) = windows.iter().map(Past::until).max() else { return };
    let slice = Span((end.since(begin).0 / SLICES).max(SLICE.0));
    let mut from = begin;
    while from < end && room.load(Ordering::Relaxed) > 0 {
        // Both ends of what is read are included.
        let until = Timestamp(from.plus(slice).min(end).0.saturating_sub(1));
        let wanted = |key: &SeriesKey| {
            let windows = by_series.get(key).into_iter().flatten().filter_map(|number| windows.get(*number));
            windows.into_iter().any(|window| window.from() <= until && window.until() > from)
        };
        let answer = history.samples_of(server, &wanted, from, until);
        let read: usize = answer.series.iter().map(|past| past.samples.len()).sum();
        for past in answer.series {
            for number in by_series.get(&past.series).into_iter().flatten() {
                if let Some(window) = windows.get_mut(*number) {
                    past.samples.iter().for_each(|(time, value)| window.push(*time, *value));
                }
            }
        }
        let left = room.load(Ordering::Relaxed).saturating_sub(read);
        room.store(left, Ordering::Relaxed);
        if left == 0 {
            tracing::warn!(
                "{server}: its conditions look back over more than is read for one session; some begin empty"
            );
            return;
        }
        from = from.plus(slice);
    }
}
