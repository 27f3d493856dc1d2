//! A session's way to its server's cell: readings are evaluated where they arrive, on as many threads as there are
//! sessions, and the engine hears of it only when something was found.

use std::sync::{Arc, Mutex, MutexGuard};

use skynet_model::series::SeriesKey;
use skynet_model::time::Timestamp;

use super::{Cell, Past, lock};
use crate::Sweep;

/// One session's place in the evaluator; given by [`crate::Engine::seat`] once the server is connected. A newer session
/// of the server makes it void: what is said through it then counts no more.
#[derive(Clone, Debug)]
pub struct Seat {
    cell: Arc<Mutex<Cell>>,
    session: u64,
}

impl Seat {
    pub(super) fn new(cell: &Arc<Mutex<Cell>>) -> Self {
        let session = lock(cell).server.session;
        Self { cell: Arc::clone(cell), session }
    }

    /// Locks the server's cell for one batch. None when a newer session stands.
    #[must_use]
    pub fn enter(&self, now: Timestamp) -> Option<Hot<'_>> {
        let cell = lock(&self.cell);
        (cell.server.session == self.session).then_some(Hot { cell, now })
    }
}

/// A locked cell. Apply a batch in this order: series announced, sweeps, series that ended.
#[derive(Debug)]
pub struct Hot<'a> {
    cell: MutexGuard<'a, Cell>,
    now: Timestamp,
}

impl Hot<'_> {
    /// A series got its id for this session.
    pub fn announce(&mut self, id: u32, series: SeriesKey) {
        let (server, mut pass) = self.cell.pass(self.now);
        server.announce(id, series, &mut pass);
    }

    /// One sweep's readings, or a part of them. Nothing is allocated for a reading of a known series.
    pub fn sweep(&mut self, sweep: &Sweep<'_>) {
        let (server, mut pass) = self.cell.pass(self.now);
        server.sweep(sweep, &mut pass);
    }

    /// A series ended.
    pub fn retire(&mut self, id: u32) {
        self.cell.server.retire(id);
    }

    /// Whether [`Hot::hungry`] may give something.
    #[must_use]
    pub fn is_hungry(&self) -> bool {
        self.cell.server.is_hungry()
    }

    /// Up to `most` windows that began empty and want to know what was before; each is given once.
    #[must_use]
    pub fn hungry(&mut self, most: usize) -> Vec<Past> {
        self.cell.server.hungry(most)
    }

    /// A window's past, whenever it is found.
    pub fn feed(&mut self, past: Past) {
        let (server, mut pass) = self.cell.pass(self.now);
        server.feed(past, &mut pass);
    }

    /// Evaluates what is left to be, and lets go. True when the engine has to be told [`crate::Input::Found`].
    #[must_use]
    pub fn leave(mut self) -> bool {
        let (server, mut pass) = self.cell.pass(self.now);
        server.settle(&mut pass);
        !self.cell.found.is_empty()
    }
}
