//! The controller's side of the dictionary.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use skynet_model::series::SeriesKey;
use skynet_model::time::{Span, Timestamp};

use super::{MAX_ERROR_TEXT, MAX_SENSOR, MAX_SERIES};
use crate::convert::{cut, labels_from_wire};
use crate::error::{Code, WireError};
use crate::v1;

/// What one sweep of a batch says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DecodedSweep {
    /// The sensor's id on the server.
    pub sensor: String,
    /// When it began, by the server's wall clock.
    pub started: Timestamp,
    /// When it began, by the server's boot clock. Parts of one sweep share it and follow each other.
    pub boot_ms: i64,
    /// The sensor's interval.
    pub every: Span,
    /// All that the sensor sees has been said.
    pub complete: bool,
    /// Why it failed; then it has no readings.
    pub error: Option<String>,
    readings: Range<usize>,
}

/// A checked batch. Keep it and decode into it again: it keeps its memory.
///
/// Series are named by *slot*: a small number, dense, given to a series when it is announced and given to another one after
/// it is retired. Apply in this order: `announced`, the sweeps, `retired`.
#[derive(Debug, Default)]
pub struct Decoded {
    /// The batch's number.
    pub seq: u64,
    /// From the spool: for history only.
    pub late: bool,
    /// For a late batch: the boot it was read under, where that is not the session's.
    pub boot_id: Option<String>,
    /// New series.
    pub announced: Vec<(u32, SeriesKey)>,
    /// Slots of series that ended. They are free from here on.
    pub retired: Vec<u32>,
    sweeps: Vec<DecodedSweep>,
    readings: Vec<(u32, f64)>,
}

impl Decoded {
    /// Sweeps in the order they were sent, each with its readings (slot, finite value).
    pub fn sweeps(&self) -> impl Iterator<Item = (&DecodedSweep, &[(u32, f64)])> {
        self.sweeps.iter().map(|sweep| (sweep, &self.readings[sweep.readings.clone()]))
    }

    /// How many readings there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.readings.len()
    }

    /// Whether there is no reading.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.readings.is_empty()
    }
}

/// Checks batches against the stream's dictionary. One per stream.
#[derive(Debug, Default)]
pub struct Decoder {
    slots: HashMap<u32, u32, BuildHasherDefault<IdHasher>>,
    free: Vec<u32>,
    next_slot: u32,
    last_id: u32,
    last_seq: u64,
    last_late: u64,
    late_boot: String,
}

impl Decoder {
    /// An empty dictionary.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many series are live.
    #[must_use]
    pub fn live(&self) -> usize {
        self.slots.len()
    }

    /// Checks `batch` and fills `out`, whose former content is dropped.
    ///
    /// # Errors
    /// [`WireError`], whose code goes into a `Refusal`. The stream must end then, and `out` must not be used.
    pub fn decode(&mut self, batch: &v1::ReadingBatch, out: &mut Decoded) -> Result<(), WireError> {
        out.announced.clear();
        out.retired.clear();
        out.sweeps.clear();
        out.readings.clear();
        self.sequence(batch)?;
        out.seq = batch.seq;
        out.late = batch.late;
        out.boot_id = (!batch.boot_id.is_empty()).then(|| batch.boot_id.clone());
        for announce in &batch.announce {
            self.announce(announce, out)?;
        }
        for sweep in &batch.sweeps {
            self.sweep(batch.base_ms, sweep, out)?;
        }
        for id in &batch.retire {
            let slot = self.slots.remove(id).ok_or_else(|| unknown(i64::from(*id), "a retirement"))?;
            self.free.push(slot);
            out.retired.push(slot);
        }
        Ok(())
    }

    fn sequence(&mut self, batch: &v1::ReadingBatch) -> Result<(), WireError> {
        if batch.boot_id.len() > 64 || (!batch.late && !batch.boot_id.is_empty()) {
            return Err(WireError::malformed("a batch's boot id is too long, or stands in a batch that is not late"));
        }
        if batch.late && batch.boot_id != self.late_boot {
            self.late_boot.clone_from(&batch.boot_id);
            self.last_late = 0;
        }
        let last = if batch.late { &mut self.last_late } else { &mut self.last_seq };
        if batch.seq <= *last {
            let message = format!("batch {} came after batch {last}; sequence numbers only rise", batch.seq);
            return Err(WireError::new(Code::Sequence, message));
        }
        *last = batch.seq;
        Ok(())
    }

    fn announce(&mut self, announce: &v1::SeriesAnnounce, out: &mut Decoded) -> Result<(), WireError> {
        if announce.id <= self.last_id {
            let message = format!("series id {} was announced after {}; ids only rise", announce.id, self.last_id);
            return Err(WireError::new(Code::Sequence, message));
        }
        if self.slots.len() >= MAX_SERIES {
            let message = format!("more than {MAX_SERIES} series are live on this stream; use fewer labels or sensors");
            return Err(WireError::new(Code::TooManySeries, message));
        }
        let key = SeriesKey { name: announce.name.as_str().into(), labels: labels_from_wire(&announce.labels)? };
        key.check().map_err(WireError::malformed)?;
        self.last_id = announce.id;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.next_slot += 1;
            self.next_slot - 1
        });
        self.slots.insert(announce.id, slot);
        out.announced.push((slot, key));
        Ok(())
    }

    fn sweep(&mut self, base_ms: i64, sweep: &v1::Sweep, out: &mut Decoded) -> Result<(), WireError> {
        if sweep.sensor.is_empty() || sweep.sensor.len() > MAX_SENSOR {
            return Err(WireError::malformed("a sweep's sensor id is empty or too long"));
        }
        if sweep.series.len() != sweep.values.len() {
            let (ids, values) = (sweep.series.len(), sweep.values.len());
            let message = format!("a sweep of {} has {ids} series and {values} values", sweep.sensor);
            return Err(WireError::malformed(message));
        }
        if !sweep.error.is_empty() && (!sweep.series.is_empty() || sweep.complete) {
            let message = format!("a failed sweep of {} has readings or is marked complete", sweep.sensor);
            return Err(WireError::malformed(message));
        }
        let first = out.readings.len();
        out.readings.reserve(sweep.series.len());
        let mut id: i64 = 0;
        for (step, value) in sweep.series.iter().zip(&sweep.values) {
            id += i64::from(*step);
            let slot = u32::try_from(id).ok().and_then(|id| self.slots.get(&id));
            let slot = *slot.ok_or_else(|| unknown(id, &sweep.sensor))?;
            if !value.is_finite() {
                let message = format!("series id {id} of {} has the value {value}; values are finite", sweep.sensor);
                return Err(WireError::new(Code::NotFinite, message));
            }
            out.readings.push((slot, *value));
        }
        out.sweeps.push(DecodedSweep {
            sensor: sweep.sensor.clone(),
            started: Timestamp(base_ms.saturating_add(sweep.offset_ms)),
            boot_ms: sweep.boot_ms,
            every: Span(i64::from(sweep.every_ms)),
            complete: sweep.complete,
            error: (!sweep.error.is_empty()).then(|| cut(&sweep.error, MAX_ERROR_TEXT).to_owned()),
            readings: first..out.readings.len(),
        });
        Ok(())
    }
}

fn unknown(id: i64, place: &str) -> WireError {
    WireError::new(Code::UnknownSeries, format!("{place} names series id {id}, which is not announced or was retired"))
}

/// Ids are small and rising: one multiplication spreads them.
#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn write_u32(&mut self, id: u32) {
        // The multiplier is 2^64 divided by the golden ratio; the map takes the top bits.
        self.0 = u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
