//! Readings: the latest value of every series, and the last hour.
//!
//! What must never enter: decisions. Readings come here before they are acknowledged; late ones only here. Everything
//! is bounded: series a server, series of the fleet, and bytes; when bytes run out, each series' past gets shorter.

mod chunk;
mod redis;
mod sealed;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skynet_model::name::ServerId;
use skynet_model::series::SeriesKey;
use skynet_model::time::{Span, Timestamp};

pub use self::redis::{Changes, Latest, Packs, decode, read_hour};
use chunk::Chunk;
pub use sealed::{Archive, Place, Sealed};

/// How far the past reaches.
pub const KEPT: Span = Span::hours(1);
/// A chunk covers at most so much; the past goes chunk by chunk.
const CHUNK: Span = Span::minutes(10);

/// Bounds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Series one server may have.
    pub series_per_server: usize,
    /// Series the fleet may have.
    pub series: usize,
    /// Bytes of packed samples.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { series_per_server: 10_000, series: 2_000_000, bytes: 512 << 20 }
    }
}

#[derive(Debug)]
struct Series {
    latest: Option<(Timestamp, f64)>,
    chunks: VecDeque<Chunk>,
    /// Readings that came late, from the agent's spool.
    spooled: VecDeque<Chunk>,
    retired: bool,
    /// Tells this series from others that had its place before.
    generation: u32,
}

#[derive(Debug, Default)]
struct Server {
    series: Vec<Option<Series>>,
    keys: BTreeMap<SeriesKey, usize>,
    free: Vec<usize>,
    generations: u32,
}

impl Server {
    fn at(&mut self, slot: Slot) -> Option<&mut Series> {
        self.series.get_mut(slot.index)?.as_mut().filter(|series| series.generation == slot.generation)
    }
}

/// A series' place in the history; the history gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    index: usize,
    generation: u32,
}

/// The series is one too many.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} has {limit} series, which is the limit; readings of further ones are dropped")]
pub struct Capped {
    /// `the server` or `the fleet`.
    pub what: &'static str,
    /// How many there may be.
    pub limit: usize,
}

/// One series' answer to a query.
#[derive(Clone, Debug, PartialEq)]
pub struct Past {
    /// Which.
    pub series: SeriesKey,
    /// Samples in order of time.
    pub samples: Vec<(Timestamp, f64)>,
}

/// All servers' readings.
#[derive(Debug, Default)]
pub struct History {
    servers: Mutex<HashMap<ServerId, Arc<Mutex<Server>>>>,
    limits: Limits,
    series: AtomicUsize,
    bytes: AtomicUsize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl History {
    /// An empty history.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// The writer of one server's readings.
    #[must_use]
    pub fn writer(self: &Arc<Self>, server: &ServerId) -> Writer {
        let server = Arc::clone(lock(&self.servers).entry(server.clone()).or_default());
        Writer { history: Arc::clone(self), server }
    }

    fn server(&self, server: &ServerId) -> Option<Arc<Mutex<Server>>> {
        lock(&self.servers).get(server).cloned()
    }

    /// Latest values of a server's series that have not ended, in order of series.
    #[must_use]
    pub fn latest(&self, server: &ServerId) -> Vec<(SeriesKey, f64, Timestamp)> {
        let Some(server) = self.server(server) else { return Vec::new() };
        let server = lock(&server);
        let of = |(key, index): (&SeriesKey, &usize)| {
            let series = server.series.get(*index)?.as_ref().filter(|s| !s.retired)?;
            series.latest.map(|(time, value)| (key.clone(), value, time))
        };
        server.keys.iter().filter_map(of).collect()
    }

    /// How many series a server has that have not ended, and when the newest reading was taken.
    #[must_use]
    pub fn count(&self, server: &ServerId) -> (usize, Option<Timestamp>) {
        let Some(server) = self.server(server) else { return (0, None) };
        let server = lock(&server);
        let live = || server.series.iter().flatten().filter(|s| !s.retired);
        (live().count(), live().filter_map(|s| s.latest.map(|(time, _)| time)).max())
    }

    /// Samples since `since` of a server's series whose text form (`disk.used_ratio{mount="/"}`) or name fits `glob`,
    /// where `*` stands for any text.
    #[must_use]
    pub fn query(&self, server: &ServerId, glob: &str, since: Timestamp) -> Vec<Past> {
        let Some(server) = self.server(server) else { return Vec::new() };
        let server = lock(&server);
        let fitting = server.keys.iter().filter(|(key, _)| fits(glob, &key.name) || fits(glob, &key.to_string()));
        let past = fitting.filter_map(|(key, index)| {
            let series = server.series.get(*index)?.as_ref()?;
            let chunks = series.spooled.iter().chain(&series.chunks).filter(|chunk| chunk.last() >= since);
            let mut samples: Vec<_> = chunks.flat_map(Chunk::samples).filter(|(time, _)| *time >= since).collect();
            // A batch that was sent again after its acknowledgement got lost is there twice.
            samples.sort_by_key(|(time, _)| *time);
            samples.dedup_by_key(|(time, _)| *time);
            Some(Past { series: key.clone(), samples })
        });
        past.filter(|past| !past.samples.is_empty()).collect()
    }
}

/// Whether `text` fits `glob`, where `*` stands for any text.
fn fits(glob: &str, text: &str) -> bool {
    let mut parts = glob.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut last: Option<&str> = None;
    for part in parts {
        if let Some(middle) = last.replace(part) {
            match rest.find(middle) {
                Some(at) => rest = &rest[at + middle.len()..],
                None => return false,
            }
        }
    }
    last.map_or(rest.is_empty(), |end| rest.ends_with(end))
}

/// Writes one server's readings. Sessions write their own server's; they never wait for another's.
#[derive(Clone, Debug)]
pub struct Writer {
    history: Arc<History>,
    server: Arc<Mutex<Server>>,
}

impl Writer {
    /// The slot of a series, made if need be.
    ///
    /// # Errors
    /// [`Capped`] when it would be one too many.
    pub fn slot(&self, key: &SeriesKey) -> Result<Slot, Capped> {
        let mut server = lock(&self.server);
        let server = &mut *server;
        if let Some(index) = server.keys.get(key) {
            let index = *index;
            if let Some(Some(series)) = server.series.get_mut(index) {
                series.retired = false;
                return Ok(Slot { index, generation: series.generation });
            }
        }
        let (history, limits) = (&self.history, self.history.limits);
        if server.keys.len() >= limits.series_per_server {
            return Err(Capped { what: "the server", limit: limits.series_per_server });
        }
        if history.series.fetch_add(1, Ordering::Relaxed) >= limits.series {
            history.series.fetch_sub(1, Ordering::Relaxed);
            return Err(Capped { what: "the fleet", limit: limits.series });
        }
        server.generations = server.generations.wrapping_add(1);
        let generation = server.generations;
        let (chunks, spooled) = (VecDeque::new(), VecDeque::new());
        let series = Some(Series { latest: None, chunks, spooled, retired: false, generation });
        let index = match server.free.pop() {
            Some(index) => {
                server.series[index] = series;
                index
            }
            None => {
                server.series.push(series);
                server.series.len() - 1
            }
        };
        server.keys.insert(key.clone(), index);
        Ok(Slot { index, generation })
    }

    /// The series ended: it has no latest value any more; its past goes with time.
    pub fn retire(&self, slot: Slot) {
        if let Some(series) = lock(&self.server).at(slot) {
            series.retired = true;
        }
    }

    /// Adds readings taken at `time`. Readings older than what their series already has (spooled ones) only fill the
    /// past.
    pub fn write(&self, time: Timestamp, readings: impl IntoIterator<Item = (Slot, f64)>) {
        let mut server = lock(&self.server);
        let mut grown = 0isize;
        let over = self.history.bytes.load(Ordering::Relaxed) > self.history.limits.bytes;
        for (slot, value) in readings {
            let Some(series) = server.at(slot) else { continue };
            let newest = series.latest.map_or(Timestamp(i64::MIN), |(newest, _)| newest);
            if time >= newest {
                series.latest = Some((time, value));
                grown += push(&mut series.chunks, time, value, over);
            } else if newest.since(time) <= KEPT && series.spooled.back().is_none_or(|chunk| chunk.last() <= time) {
                grown += push(&mut series.spooled, time, value, over);
            }
        }
        if grown >= 0 {
            self.history.bytes.fetch_add(grown.unsigned_abs(), Ordering::Relaxed);
        } else {
            self.history.bytes.fetch_sub(grown.unsigned_abs(), Ordering::Relaxed);
        }
    }

    /// A session begins: a series that it does not announce ended while nobody looked.
    pub fn begin(&self, now: Timestamp) {
        for series in lock(&self.server).series.iter_mut().flatten() {
            series.retired = true;
        }
        self.sweep(now);
    }

    /// Forgets series that ended and whose past is over. Called when a session begins and now and then.
    pub fn sweep(&self, now: Timestamp) {
        let mut server = lock(&self.server);
        let server = &mut *server;
        let (mut freed, mut gone) = (0usize, 0usize);
        server.keys.retain(|_, index| {
            let Some(place) = server.series.get_mut(*index) else { return false };
            let over = |s: &Series| s.retired && s.latest.is_none_or(|(time, _)| now.since(time) > KEPT);
            if !place.as_ref().is_none_or(over) {
                return true;
            }
            freed += place.take().map_or(0, |s| s.chunks.iter().chain(&s.spooled).map(Chunk::size).sum());
            server.free.push(*index);
            gone += 1;
            false
        });
        self.history.bytes.fetch_sub(freed, Ordering::Relaxed);
        self.history.series.fetch_sub(gone, Ordering::Relaxed);
    }
}

/// Adds a sample; gives by how many bytes the chunks grew.
fn push(chunks: &mut VecDeque<Chunk>, time: Timestamp, value: f64, over: bool) -> isize {
    let size = |chunk: &Chunk| isize::try_from(chunk.size()).unwrap_or(isize::MAX);
    let mut grown = 0;
    if let Some(chunk) = chunks.back_mut() {
        if time.since(chunk.first()) < CHUNK {
            let before = size(chunk);
            chunk.push(time, value);
            return size(chunk) - before;
        }
        let before = size(chunk);
        chunk.seal();
        grown += size(chunk) - before;
    }
    while chunks.front().is_some_and(|oldest| over || time.since(oldest.last()) > KEPT) {
        grown -= chunks.pop_front().map_or(0, |oldest| size(&oldest));
    }
    let mut chunk = Chunk::new(time);
    chunk.push(time, value);
    grown += size(&chunk);
    chunks.push_back(chunk);
    grown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str) -> ServerId {
        ServerId::new(name).unwrap()
    }

    fn history(series_per_server: usize, series: usize, bytes: usize) -> Arc<History> {
        Arc::new(History::new(Limits { series_per_server, series, bytes }))
    }

    #[test]
    fn the_latest_value_and_the_last_hour_are_there() {
        let history = history(10, 10, 1 << 20);
        let writer = history.writer(&server("web1"));
        let key: SeriesKey = "disk.used_ratio{mount=\"/\"}".parse().unwrap();
        let slot = writer.slot(&key).unwrap();
        for i in 0..7200 {
            writer.write(Timestamp(i * 1000), [(slot, f64::from(u16::try_from(i).unwrap()))]);
        }
        assert_eq!(history.latest(&server("web1")), [(key.clone(), 7199.0, Timestamp(7_199_000))]);
        assert_eq!(history.count(&server("web1")), (1, Some(Timestamp(7_199_000))));
        let past = history.query(&server("web1"), "disk.*", Timestamp(0));
        let kept = past[0].samples.len();
        assert!((3600..=3600 + 1200).contains(&kept), "{kept}");
        let last_minute = history.query(&server("web1"), "*mount=\"/\"*", Timestamp(7_140_000));
        assert_eq!(last_minute[0].samples.len(), 60);
        assert!(history.query(&server("web1"), "cpu.*", Timestamp(0)).is_empty());
        assert!(history.query(&server("web2"), "*", Timestamp(0)).is_empty());
    }

    #[test]
    fn an_ended_series_has_no_latest_value_and_makes_room_when_its_past_is_over() {
        let history = history(1, 10, 1 << 20);
        let writer = history.writer(&server("web1"));
        let (one, two) = (SeriesKey::plain("one"), SeriesKey::plain("two"));
        let slot = writer.slot(&one).unwrap();
        writer.write(Timestamp(0), [(slot, 1.0)]);
        writer.retire(slot);
        assert!(history.latest(&server("web1")).is_empty());
        assert_eq!(history.query(&server("web1"), "one", Timestamp(0)).len(), 1);
        assert_eq!(writer.slot(&two), Err(Capped { what: "the server", limit: 1 }));
        writer.sweep(Timestamp(0).plus(KEPT).plus(Span(1)));
        writer.slot(&two).unwrap();
        assert!(history.query(&server("web1"), "one", Timestamp(0)).is_empty());
    }

    #[test]
    fn series_and_bytes_of_the_fleet_are_bounded() {
        let history = history(10, 2, 4000);
        let writers = [history.writer(&server("web1")), history.writer(&server("web2"))];
        let slots = writers.each_ref().map(|w| w.slot(&SeriesKey::plain("one")).unwrap());
        assert_eq!(writers[0].slot(&SeriesKey::plain("two")), Err(Capped { what: "the fleet", limit: 2 }));
        for i in 0..7200 {
            for (writer, slot) in writers.iter().zip(slots) {
                writer.write(Timestamp(i * 1000), [(slot, 1.0)]);
            }
        }
        let bytes = history.bytes.load(Ordering::Relaxed);
        assert!(bytes < 3 * 4000, "{bytes}");
        assert_eq!(history.latest(&server("web2")).len(), 1);
    }

    #[test]
    fn a_session_begins_without_series_and_an_older_ones_slots_lead_nowhere() {
        let history = history(10, 10, 1 << 20);
        let (old, new) = (history.writer(&server("web1")), history.writer(&server("web1")));
        let (one, two) = (SeriesKey::plain("one"), SeriesKey::plain("two"));
        let stale = old.slot(&one).unwrap();
        let kept = old.slot(&two).unwrap();
        old.write(Timestamp(0), [(kept, 2.0)]);
        new.begin(Timestamp(1));
        assert!(history.latest(&server("web1")).is_empty());
        // `one` never had a reading: its place is free and taken again.
        let slot = new.slot(&SeriesKey::plain("three")).unwrap();
        assert_eq!(slot.index, stale.index);
        old.write(Timestamp(2), [(stale, 1.0)]);
        new.slot(&two).unwrap();
        assert_eq!(history.latest(&server("web1")), [(two, 2.0, Timestamp(0))]);
    }

    #[test]
    fn spooled_readings_fill_the_past_once() {
        let history = history(10, 10, 1 << 20);
        let writer = history.writer(&server("web1"));
        let slot = writer.slot(&SeriesKey::plain("one")).unwrap();
        for (time, value) in [(1000, 1.0), (9000, 9.0), (10_000, 10.0), (1000, 1.0), (2000, 2.0), (3000, 3.0)] {
            writer.write(Timestamp(time), [(slot, value)]);
        }
        let past = history.query(&server("web1"), "one", Timestamp(0));
        let values: Vec<f64> = past[0].samples.iter().map(|(_, value)| *value).collect();
        assert_eq!(values, [1.0, 2.0, 3.0, 9.0, 10.0]);
        assert_eq!(history.latest(&server("web1"))[0].1, 10.0);
    }

    #[test]
    fn globs_stand_for_any_text() {
        for (glob, text, expected) in [
            ("*", "", true),
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*b", "ab", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abde", false),
            ("ab*b", "ab", false),
        ] {
            assert_eq!(fits(glob, text), expected, "{glob} {text}");
        }
    }
}
