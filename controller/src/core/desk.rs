//! Where a session brings its readings: the server's evaluator and the health of its sensors. They are taken in on the
//! session's own thread; the core hears of them only when something was found.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skynet_engine::{Past, Seat, Sweep, SweepEnd};
use skynet_model::time::{Span, Timestamp};
use skynet_proto::stream::{Decoded, DecodedSweep};

/// Sensors that are kept of one server.
const MAX_SENSORS: usize = 1000;

/// One sensor of a server.
#[derive(Clone, Debug, Default)]
pub struct Sensor {
    /// Whether its last sweep succeeded.
    pub healthy: bool,
    /// What it says of itself.
    pub message: String,
    /// Its interval.
    pub every: Span,
    /// When its last sweep began, by the server's clock.
    pub last_sweep: Option<Timestamp>,
    /// Complete sweeps of this session.
    pub sweeps: u64,
    /// Sweeps that should have come between two that came, in this session.
    pub missed: u64,
    /// Sweeps in a row that failed, or whose check could not tell its state.
    pub failures: u64,
    last_boot_ms: Option<i64>,
}

/// A session's sensors by id. Clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct Sensors(Arc<Mutex<List>>);

/// A session's sensors.
#[derive(Debug, Default)]
struct List {
    /// In the order they were first heard of. A session gives a sensor's id as the same text each time, so that mostly two
    /// addresses are compared.
    all: Vec<(Arc<str>, Sensor)>,
    /// The slots of what checks say of their state.
    states: BTreeSet<u32>,
}

/// The series of a check's state, and the value that means that it could not tell: no script, no sense in what it printed.
const STATE: &str = "exec.state";
const UNKNOWN: f64 = 3.0;

impl Sensors {
    fn lock(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As they are now, by id.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, Sensor> {
        self.lock().all.iter().map(|(id, sensor)| (id.to_string(), sensor.clone())).collect()
    }

    /// Those that fail, with how many of their sweeps in a row have failed.
    pub(crate) fn failing(&self) -> BTreeMap<String, u64> {
        let list = self.lock();
        let failing = list.all.iter().filter(|(_, sensor)| !sensor.healthy || sensor.failures > 0);
        failing.map(|(id, sensor)| (id.to_string(), sensor.failures)).collect()
    }

    /// Forgets those that do not fit.
    pub(super) fn retain(&self, fits: impl Fn(&str) -> bool) {
        self.lock().all.retain(|(id, _)| fits(id));
    }

    pub(super) fn health(&self, id: &str, healthy: bool, message: String) {
        if let Some(sensor) = sensor(&mut self.lock(), &id.into()) {
            (sensor.healthy, sensor.message) = (healthy, message);
        }
    }
}

fn sensor<'a>(list: &'a mut List, id: &Arc<str>) -> Option<&'a mut Sensor> {
    let sensors = &mut list.all;
    let same = sensors.iter().position(|(known, _)| Arc::ptr_eq(known, id));
    let at = match same.or_else(|| sensors.iter().position(|(known, _)| known == id)) {
        Some(at) => at,
        None if sensors.len() >= MAX_SENSORS => return None,
        None => {
            sensors.push((Arc::clone(id), Sensor { healthy: true, ..Sensor::default() }));
            sensors.len() - 1
        }
    };
    sensors.get_mut(at).map(|(_, sensor)| sensor)
}

fn swept(sensor: &mut Sensor, sweep: &DecodedSweep, unknown: bool) {
    if let Some(error) = &sweep.error {
        (sensor.healthy, sensor.message) = (false, error.clone());
        sensor.failures += 1;
    } else if sweep.complete {
        sensor.failures = if unknown { sensor.failures + 1 } else { 0 };
        if !sensor.healthy {
            (sensor.healthy, sensor.message) = (true, String::new());
        }
    } else {
        return;
    }
    sensor.sweeps += 1;
    sensor.last_sweep = Some(sweep.started);
    // A new interval begins a new count; a quarter of one is jitter.
    if let Some(last) = sensor.last_boot_ms.filter(|_| sensor.every == sweep.every && sweep.every.0 > 0) {
        let since = sweep.boot_ms.saturating_sub(last).saturating_add(sweep.every.0 / 4);
        sensor.missed = sensor.missed.saturating_add(u64::try_from(since / sweep.every.0 - 1).unwrap_or(0));
    }
    (sensor.every, sensor.last_boot_ms) = (sweep.every, Some(sweep.boot_ms));
}

/// One session's desk; the core gives it when the session begins.
#[derive(Clone, Debug)]
pub struct Desk {
    pub(super) seat: Seat,
    pub(super) sensors: Sensors,
}

impl Desk {
    /// Takes a checked batch in. True when the core has to be told [`super::FromAgent::Found`].
    ///
    /// Late readings never trigger or verify anything; of a late batch only the names of its series count.
    ///
    /// None when a newer session stands: this one's words count no more, and must not be stored either.
    #[must_use]
    pub fn take(&self, now: Timestamp, batch: &Decoded) -> Option<bool> {
        let mut hot = self.seat.enter(now)?;
        for (id, series) in &batch.announced {
            hot.announce(*id, series.clone());
        }
        if !batch.announced.is_empty() {
            let states = &mut self.sensors.lock().states;
            // A slot is given to another series when its own has ended.
            for (id, series) in &batch.announced {
                let _ = if *series.name == *STATE { states.insert(*id) } else { states.remove(id) };
            }
        }
        let mut sensors = (!batch.late).then(|| self.sensors.lock());
        for (sweep, readings) in batch.sweeps() {
            let Some(sensors) = &mut sensors else { break };
            // Only checks have a state; the readings of the others are not looked at.
            let is_state = |(slot, value): &(u32, f64)| *value == UNKNOWN && sensors.states.contains(slot);
            let unknown = sweep.sensor.starts_with("exec") && readings.iter().any(is_state);
            if let Some(sensor) = sensor(sensors, &sweep.sensor) {
                swept(sensor, sweep, unknown);
            }
            let end = match (&sweep.error, sweep.complete) {
                (Some(_), _) => SweepEnd::Failed,
                (None, true) => SweepEnd::Complete,
                (None, false) => SweepEnd::Partial,
            };
            hot.sweep(&Sweep {
                sensor: &sweep.sensor,
                every: sweep.every,
                started: sweep.started,
                started_boot_ms: sweep.boot_ms,
                readings,
                end,
            });
        }
        drop(sensors);
        for id in &batch.retired {
            hot.retire(*id);
        }
        Some(hot.leave())
    }

    /// Whether windows of the server's conditions want to know what was before their first sample.
    #[must_use]
    pub fn is_hungry(&self, now: Timestamp) -> bool {
        self.seat.enter(now).is_some_and(|hot| hot.is_hungry())
    }

    /// Up to `most` of those windows; each is given once. None when a newer session stands.
    #[must_use]
    pub fn hungry(&self, now: Timestamp, most: usize) -> Option<Vec<Past>> {
        self.seat.enter(now).map(|mut hot| hot.hungry(most))
    }

    /// Gives windows their past. True when the core has to be told [`super::FromAgent::Found`].
    #[must_use]
    pub fn feed(&self, now: Timestamp, past: Vec<Past>) -> bool {
        self.seat.enter(now).is_some_and(|mut hot| {
            past.into_iter().for_each(|past| hot.feed(past));
            hot.leave()
        })
    }
}
