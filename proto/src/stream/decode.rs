//! The controller's side of the dictionary.

use std::ops::Range;
use std::sync::Arc;

use prost::Message;
use skynet_model::series::SeriesKey;
use skynet_model::time::{Span, Timestamp};

use super::wire::{Packed, Reader, zigzag32, zigzag64};
use super::{MAX_ERROR_TEXT, MAX_SENSOR, MAX_SERIES};
use crate::convert::{cut, labels_from_wire};
use crate::error::{Code, WireError};
use crate::v1;

/// What one sweep of a batch says.
#[derive(Clone, Debug, PartialEq)]
pub struct DecodedSweep {
    /// The sensor's id on the server.
    pub sensor: Arc<str>,
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
    ids: Ids,
    free: Vec<u32>,
    next_slot: u32,
    last_id: u32,
    last_seq: u64,
    last_late: u64,
    late_boot: String,
    sensors: Vec<Arc<str>>,
    /// Where the next sweep's sensor is, if they come in the order of the batch before.
    next_sensor: usize,
    scratch: Scratch,
}

/// Memory that is used again for every batch.
#[derive(Debug, Default)]
struct Scratch {
    sweeps: Vec<Range<usize>>,
    retired: Vec<u32>,
    series: Vec<u8>,
    values: Vec<u8>,
}

/// Most sweeps of one batch.
const MAX_SWEEPS: usize = 4096;
/// Sensors whose ids are remembered; beyond them an id is made anew for each sweep.
const SENSORS: usize = 256;

impl Decoder {
    /// An empty dictionary.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many series are live.
    #[must_use]
    pub fn live(&self) -> usize {
        self.ids.live
    }

    /// Checks a `ReadingBatch` as it came from the wire and fills `out`, whose former content is dropped.
    ///
    /// # Errors
    /// [`WireError`], whose code goes into a `Refusal`. The stream must end then, and `out` must not be used.
    pub fn decode(&mut self, batch: &[u8], out: &mut Decoded) -> Result<(), WireError> {
        out.announced.clear();
        out.retired.clear();
        out.sweeps.clear();
        out.readings.clear();
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.sweeps.clear();
        scratch.retired.clear();
        let result = self.batch(batch, &mut scratch, out);
        self.scratch = scratch;
        result
    }

    fn batch(&mut self, batch: &[u8], scratch: &mut Scratch, out: &mut Decoded) -> Result<(), WireError> {
        let (mut seq, mut base_ms, mut late, mut boot_id) = (0, 0, false, "");
        let mut announced = false;
        let mut packed = Packed::None;
        let mut reader = Reader::new(batch);
        while let Some((number, value)) = reader.field()? {
            match number {
                1 => seq = value.number()?,
                2 => base_ms = value.number()?.cast_signed(),
                3 => announced = true,
                4 => packed.add(value, &mut scratch.series)?,
                5 => {
                    let (length, end) = (value.bytes()?.len(), batch.len() - reader.left());
                    if scratch.sweeps.len() >= MAX_SWEEPS {
                        let message = format!("a batch has more than {MAX_SWEEPS} sweeps");
                        return Err(WireError::new(Code::TooLarge, message));
                    }
                    scratch.sweeps.push(end - length..end);
                }
                6 => late = value.number()? != 0,
                7 => boot_id = value.text()?,
                _ => {}
            }
        }
        let mut retired = Reader::new(packed.bytes(&scratch.series));
        while !retired.is_empty() {
            #[allow(clippy::cast_possible_truncation, reason = "a 32-bit number is the low half of what is there")]
            scratch.retired.push(retired.varint()? as u32);
        }
        self.sequence(seq, late, boot_id)?;
        (out.seq, out.late) = (seq, late);
        out.boot_id = (!boot_id.is_empty()).then(|| boot_id.to_owned());
        if announced {
            let mut reader = Reader::new(batch);
            while let Some((number, value)) = reader.field()? {
                if number == 3 {
                    let announce = v1::SeriesAnnounce::decode(value.bytes()?);
                    self.announce(&announce.map_err(|e| WireError::malformed(e.to_string()))?, out)?;
                }
            }
        }
        for at in 0..scratch.sweeps.len() {
            let range = scratch.sweeps[at].clone();
            self.sweep(base_ms, &batch[range], scratch, out)?;
        }
        for id in &scratch.retired {
            let slot = self.ids.remove(*id).ok_or_else(|| unknown(i64::from(*id), "a retirement"))?;
            self.free.push(slot);
            out.retired.push(slot);
        }
        self.ids.tidy();
        Ok(())
    }

    fn sequence(&mut self, seq: u64, late: bool, boot_id: &str) -> Result<(), WireError> {
        if boot_id.len() > 64 || (!late && !boot_id.is_empty()) {
            return Err(WireError::malformed("a batch's boot id is too long, or stands in a batch that is not late"));
        }
        if late && boot_id != self.late_boot {
            boot_id.clone_into(&mut self.late_boot);
            self.last_late = 0;
        }
        let last = if late { &mut self.last_late } else { &mut self.last_seq };
        if seq <= *last {
            let message = format!("batch {seq} came after batch {last}; sequence numbers only rise");
            return Err(WireError::new(Code::Sequence, message));
        }
        *last = seq;
        Ok(())
    }

    fn announce(&mut self, announce: &v1::SeriesAnnounce, out: &mut Decoded) -> Result<(), WireError> {
        if announce.id <= self.last_id {
            let message = format!("series id {} was announced after {}; ids only rise", announce.id, self.last_id);
            return Err(WireError::new(Code::Sequence, message));
        }
        if self.ids.live >= MAX_SERIES {
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
        self.ids.push(announce.id, slot);
        out.announced.push((slot, key));
        Ok(())
    }

    fn sweep(&mut self, base_ms: i64, sweep: &[u8], scratch: &mut Scratch, out: &mut Decoded) -> Result<(), WireError> {
        let (mut sensor, mut error) = ("", "");
        let (mut offset_ms, mut boot_ms, mut complete, mut every_ms) = (0, 0, false, 0);
        let (mut series, mut values) = (Packed::None, Packed::None);
        let mut reader = Reader::new(sweep);
        while let Some((number, value)) = reader.field()? {
            match number {
                1 => sensor = value.text()?,
                2 => offset_ms = zigzag64(value.number()?),
                3 => boot_ms = value.number()?.cast_signed(),
                4 => series.add(value, &mut scratch.series)?,
                5 => values.add(value, &mut scratch.values)?,
                6 => complete = value.number()? != 0,
                7 => error = value.text()?,
                8 => every_ms = value.number()? & u64::from(u32::MAX),
                _ => {}
            }
        }
        if sensor.is_empty() || sensor.len() > MAX_SENSOR {
            return Err(WireError::malformed("a sweep's sensor id is empty or too long"));
        }
        let (series, values) = (series.bytes(&scratch.series), values.bytes(&scratch.values));
        // A varint ends with the byte whose top bit is not set.
        let ids = series.iter().filter(|byte| **byte < 0x80).count();
        let (values, rest) = values.as_chunks::<8>();
        if ids != values.len() || !rest.is_empty() {
            let message = format!("a sweep of {sensor} has {ids} series and {} values", values.len());
            return Err(WireError::malformed(message));
        }
        if !error.is_empty() && (ids > 0 || complete) {
            let message = format!("a failed sweep of {sensor} has readings or is marked complete");
            return Err(WireError::malformed(message));
        }
        let first = out.readings.len();
        out.readings.reserve(ids);
        let mut steps = Reader::new(series);
        let (mut id, mut hint) = (0i64, 0usize);
        for value in values {
            id += i64::from(zigzag32(steps.varint()?));
            let slot = u32::try_from(id).ok().and_then(|id| self.ids.find(id, &mut hint));
            let slot = slot.ok_or_else(|| unknown(id, sensor))?;
            let value = f64::from_le_bytes(*value);
            if !value.is_finite() {
                let message = format!("series id {id} of {sensor} has the value {value}; values are finite");
                return Err(WireError::new(Code::NotFinite, message));
            }
            out.readings.push((slot, value));
        }
        if !steps.is_empty() {
            return Err(WireError::malformed(format!("a series id of {sensor} does not end")));
        }
        out.sweeps.push(DecodedSweep {
            sensor: self.sensor(sensor),
            started: Timestamp(base_ms.saturating_add(offset_ms)),
            boot_ms,
            every: Span(every_ms.cast_signed()),
            complete,
            error: (!error.is_empty()).then(|| cut(error, MAX_ERROR_TEXT).to_owned()),
            readings: first..out.readings.len(),
        });
        Ok(())
    }

    fn sensor(&mut self, id: &str) -> Arc<str> {
        let expected = self.sensors.get(self.next_sensor).filter(|known| &***known == id);
        let at = match expected {
            Some(_) => Some(self.next_sensor),
            None => self.sensors.iter().position(|known| &**known == id),
        };
        if let Some(at) = at {
            self.next_sensor = if at + 1 < self.sensors.len() { at + 1 } else { 0 };
            return Arc::clone(&self.sensors[at]);
        }
        let new: Arc<str> = id.into();
        if self.sensors.len() < SENSORS {
            self.sensors.push(Arc::clone(&new));
        }
        new
    }
}

fn unknown(id: i64, place: &str) -> WireError {
    WireError::new(Code::UnknownSeries, format!("{place} names series id {id}, which is not announced or was retired"))
}

/// Ids in order with their slots. Ids rise, and a sweep names them in the same order each time, so that the next is nearly
/// always beside the last.
#[derive(Debug, Default)]
struct Ids {
    list: Vec<(u32, u32)>,
    live: usize,
}

/// The slot of an id that was retired.
const RETIRED: u32 = u32::MAX;

impl Ids {
    fn push(&mut self, id: u32, slot: u32) {
        self.list.push((id, slot));
        self.live += 1;
    }

    #[inline]
    fn find(&self, id: u32, hint: &mut usize) -> Option<u32> {
        let at = match self.list.get(*hint) {
            Some((here, _)) if *here == id => *hint,
            Some(_) | None => self.list.binary_search_by_key(&id, |(id, _)| *id).ok()?,
        };
        *hint = at + 1;
        let slot = self.list[at].1;
        (slot != RETIRED).then_some(slot)
    }

    fn remove(&mut self, id: u32) -> Option<u32> {
        let at = self.list.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        let slot = std::mem::replace(&mut self.list[at].1, RETIRED);
        if slot == RETIRED {
            return None;
        }
        self.live -= 1;
        Some(slot)
    }

    /// Forgets retired ids once they are the most.
    fn tidy(&mut self) {
        if self.list.len() > 2 * self.live + 64 {
            self.list.retain(|(_, slot)| *slot != RETIRED);
        }
    }
}
