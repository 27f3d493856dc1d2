//! The agent's side of the dictionary.

use std::collections::HashMap;
use std::sync::Arc;

use skynet_model::series::SeriesKey;
use skynet_model::time::{Span, Timestamp};

use super::{MAX_ERROR_TEXT, MAX_SERIES};
use crate::convert::{cut, labels_to_wire};
use crate::v1;

/// One sweep, or a part of one, as it is to be sent.
#[derive(Clone, Copy, Debug)]
pub struct SweepPart<'a> {
    /// The sensor's id on the server.
    pub sensor: &'a Arc<str>,
    /// Its interval.
    pub every: Span,
    /// When the sweep began, by the server's wall clock.
    pub started: Timestamp,
    /// When it began, by the boot clock.
    pub boot_ms: i64,
    /// Its readings, values finite; or why it failed.
    pub result: Result<&'a [(Arc<SeriesKey>, f64)], &'a str>,
    /// Whether this ends the sweep.
    pub complete: bool,
}

#[derive(Debug)]
struct Entry {
    id: u32,
    /// Which sensor's latest sweep named it; `LATE` when only late batches did.
    owner: usize,
    /// The owner's sweep that named it last.
    sweep: u64,
}

const LATE: usize = usize::MAX;

#[derive(Debug, Default)]
struct Sensor {
    /// Counts sweeps.
    sweep: u64,
    /// Whether a sweep is under way: parts have come, its end has not.
    open: bool,
    /// Entries it owns.
    owned: usize,
    /// Those of them that the sweep under way has named.
    named: usize,
}

/// Gives ids to series and makes batches. One per stream.
#[derive(Debug, Default)]
pub struct Encoder {
    ids: HashMap<Arc<SeriesKey>, Entry>,
    sensors: Vec<Sensor>,
    sensor_ids: HashMap<Arc<str>, usize>,
    last_id: u32,
    /// To be retired with the next batch.
    retired: Vec<u32>,
    dropped: u64,
}

impl Encoder {
    /// An empty dictionary.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Readings left out so far because [`MAX_SERIES`] series were live.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// How many series are live.
    #[must_use]
    pub fn live(&self) -> usize {
        self.ids.len()
    }

    /// One batch. Non-finite values and series over [`MAX_SERIES`] are left out.
    ///
    /// A series that a sensor's complete sweep no longer names is retired; late batches retire nothing.
    pub fn batch<'a>(
        &mut self,
        seq: u64,
        late: bool,
        parts: impl IntoIterator<Item = SweepPart<'a>>,
    ) -> v1::ReadingBatch {
        let mut batch = v1::ReadingBatch { seq, late, ..v1::ReadingBatch::default() };
        for part in parts {
            if batch.sweeps.is_empty() {
                batch.base_ms = part.started.0;
            }
            let mut sweep = v1::Sweep {
                sensor: part.sensor.to_string(),
                offset_ms: part.started.0.saturating_sub(batch.base_ms),
                boot_ms: part.boot_ms,
                complete: part.complete,
                every_ms: u32::try_from(part.every.0.max(0)).unwrap_or(u32::MAX),
                ..v1::Sweep::default()
            };
            match part.result {
                Ok(readings) => self.readings(&part, readings, late, &mut batch.announce, &mut sweep),
                Err(error) => {
                    sweep.complete = false;
                    cut(error, MAX_ERROR_TEXT).clone_into(&mut sweep.error);
                    if sweep.error.is_empty() {
                        "the sensor failed".clone_into(&mut sweep.error);
                    }
                }
            }
            batch.sweeps.push(sweep);
        }
        batch.retire = std::mem::take(&mut self.retired);
        batch
    }

    /// The backlog is sent: series that only late batches named are retired with the next batch.
    pub fn end_late(&mut self) {
        let retired = &mut self.retired;
        self.ids.retain(|_, entry| {
            let keep = entry.owner != LATE;
            if !keep {
                retired.push(entry.id);
            }
            keep
        });
        self.retired.sort_unstable();
    }

    /// A sensor runs no longer: its series are retired with the next batch.
    pub fn forget_sensor(&mut self, sensor: &str) {
        let Some(index) = self.sensor_ids.remove(sensor) else { return };
        let retired = &mut self.retired;
        self.ids.retain(|_, entry| {
            let keep = entry.owner != index;
            if !keep {
                retired.push(entry.id);
            }
            keep
        });
        self.sensors[index] = Sensor::default();
        self.retired.sort_unstable();
    }

    fn readings(
        &mut self,
        part: &SweepPart<'_>,
        readings: &[(Arc<SeriesKey>, f64)],
        late: bool,
        announce: &mut Vec<v1::SeriesAnnounce>,
        sweep: &mut v1::Sweep,
    ) {
        let owner = if late { LATE } else { self.begin(part.sensor) };
        let mut before: u32 = 0;
        sweep.series.reserve_exact(readings.len());
        sweep.values.reserve_exact(readings.len());
        for (key, value) in readings {
            if !value.is_finite() {
                continue;
            }
            let Some(id) = self.id(key, owner, announce) else {
                self.dropped += 1;
                continue;
            };
            // Ids stay below 2^31, so the difference always fits.
            sweep.series.push(id.cast_signed().wrapping_sub(before.cast_signed()));
            sweep.values.push(*value);
            before = id;
        }
        if !late && part.complete {
            self.end(owner);
        }
    }

    fn begin(&mut self, sensor: &Arc<str>) -> usize {
        let index = match self.sensor_ids.get(sensor) {
            Some(index) => *index,
            None => {
                self.sensors.push(Sensor::default());
                self.sensor_ids.insert(sensor.clone(), self.sensors.len() - 1);
                self.sensors.len() - 1
            }
        };
        let state = &mut self.sensors[index];
        if !state.open {
            state.open = true;
            state.sweep += 1;
            state.named = 0;
        }
        index
    }

    fn end(&mut self, owner: usize) {
        let state = &mut self.sensors[owner];
        state.open = false;
        if state.owned == state.named {
            return;
        }
        state.owned = state.named;
        let (current, retired) = (state.sweep, &mut self.retired);
        self.ids.retain(|_, entry| {
            let keep = entry.owner != owner || entry.sweep == current;
            if !keep {
                retired.push(entry.id);
            }
            keep
        });
        self.retired.sort_unstable();
    }

    fn id(&mut self, key: &Arc<SeriesKey>, owner: usize, announce: &mut Vec<v1::SeriesAnnounce>) -> Option<u32> {
        if let Some(entry) = self.ids.get_mut(key) {
            if owner == LATE {
                return Some(entry.id);
            }
            if entry.owner != owner {
                // Another sensor gave it before, or only the backlog.
                if let Some(other) = self.sensors.get_mut(entry.owner) {
                    other.owned -= 1;
                    if other.open && entry.sweep == other.sweep {
                        other.named -= 1;
                    }
                }
                entry.owner = owner;
                entry.sweep = 0;
                self.sensors[owner].owned += 1;
            }
            let state = &mut self.sensors[owner];
            if entry.sweep != state.sweep {
                entry.sweep = state.sweep;
                state.named += 1;
            }
            return Some(entry.id);
        }
        if self.ids.len() >= MAX_SERIES || self.last_id >= u32::MAX / 2 || key.check().is_err() {
            return None;
        }
        self.last_id += 1;
        let mut sweep = 0;
        if let Some(state) = self.sensors.get_mut(owner) {
            state.owned += 1;
            state.named += 1;
            sweep = state.sweep;
        }
        self.ids.insert(key.clone(), Entry { id: self.last_id, owner, sweep });
        announce.push(v1::SeriesAnnounce {
            id: self.last_id,
            name: key.name.to_string(),
            labels: labels_to_wire(&key.labels),
        });
        Some(self.last_id)
    }
}
