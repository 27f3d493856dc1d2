//! What a load counts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skynet_model::command::Command;
use skynet_model::name::{CommandId, ServerId};

/// A value shared between a test and the agents' thread.
#[derive(Debug, Default)]
pub(super) struct Cell<T>(Mutex<T>);

impl<T> Cell<T> {
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        work(&mut lock(&self.0))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts since the load began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sessions that stand now: welcomed and not lost.
    pub connected: u64,
    /// Sessions that ever were welcomed.
    pub sessions: u64,
    /// Sessions that were lost or never came to be; a load's own end is none.
    pub lost_sessions: u64,
    /// Batches sent, those of the backlog among them.
    pub batches: u64,
    /// Readings taken: each is sent until it is acknowledged or lost.
    pub readings: u64,
    /// Readings sent from the backlog.
    pub late_readings: u64,
    /// Readings acknowledged.
    pub acked: u64,
    /// Readings dropped because too many were not acknowledged.
    pub lost_readings: u64,
    /// Commands that arrived, those asked for again among them.
    pub commands: u64,
    /// Effects.
    pub effects: u64,
}

/// What one command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectCount {
    /// The server it happened to.
    pub server: ServerId,
    /// For which scenario.
    pub scenario: String,
    /// The action.
    pub action: String,
    /// How often: more than once is never right.
    pub times: u32,
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    connected: AtomicU64,
    sessions: AtomicU64,
    lost_sessions: AtomicU64,
    batches: AtomicU64,
    readings: AtomicU64,
    late_readings: AtomicU64,
    acked: AtomicU64,
    lost_readings: AtomicU64,
    commands: AtomicU64,
    effects: Mutex<BTreeMap<CommandId, EffectCount>>,
    last_loss: Mutex<Option<String>>,
}

/// A session that stands, while it lives.
pub(super) struct Up(Arc<Tally>);

impl Drop for Up {
    fn drop(&mut self) {
        self.0.connected.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Tally {
    pub(super) fn up(self: &Arc<Self>) -> Up {
        self.connected.fetch_add(1, Ordering::SeqCst);
        self.sessions.fetch_add(1, Ordering::SeqCst);
        Up(Arc::clone(self))
    }

    pub(super) fn lost_session(&self, server: &ServerId, why: String) {
        self.lost_sessions.fetch_add(1, Ordering::SeqCst);
        *lock(&self.last_loss) = Some(format!("{server}: {why}"));
    }

    pub(super) fn sent(&self, readings: u64, late: bool) {
        self.batches.fetch_add(1, Ordering::SeqCst);
        if late {
            self.late_readings.fetch_add(readings, Ordering::SeqCst);
        }
    }

    pub(super) fn taken(&self, readings: u64) {
        self.readings.fetch_add(readings, Ordering::SeqCst);
    }

    pub(super) fn acked(&self, readings: u64) {
        self.acked.fetch_add(readings, Ordering::SeqCst);
    }

    pub(super) fn lost(&self, readings: u64) {
        self.lost_readings.fetch_add(readings, Ordering::SeqCst);
    }

    pub(super) fn command(&self) {
        self.commands.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn effect(&self, command: &Command) {
        let mut effects = lock(&self.effects);
        let entry = effects.entry(command.id.clone()).or_insert_with(|| EffectCount {
            server: command.server.clone(),
            scenario: command.scenario.to_string(),
            action: command.action.clone(),
            times: 0,
        });
        entry.times += 1;
    }

    pub(super) fn effects(&self) -> BTreeMap<CommandId, EffectCount> {
        lock(&self.effects).clone()
    }

    pub(super) fn last_loss(&self) -> Option<String> {
        lock(&self.last_loss).clone()
    }

    pub(super) fn stats(&self) -> Stats {
        let get = |count: &AtomicU64| count.load(Ordering::SeqCst);
        Stats {
            connected: get(&self.connected),
            sessions: get(&self.sessions),
            lost_sessions: get(&self.lost_sessions),
            batches: get(&self.batches),
            // Acknowledged first: it never exceeds what was taken.
            acked: get(&self.acked),
            readings: get(&self.readings),
            late_readings: get(&self.late_readings),
            lost_readings: get(&self.lost_readings),
            commands: get(&self.commands),
            effects: lock(&self.effects).values().map(|effect| u64::from(effect.times)).sum(),
        }
    }
}
