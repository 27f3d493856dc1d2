//! Questions about the past: from memory and from disk, as samples or as steps.
//!
//! What must never enter: writing. A server's lock is held while its rows in memory are copied, never while anything is
//! read from disk or unpacked.

use std::collections::BTreeMap;
use std::sync::Arc;

use skynet_model::name::ServerId;
use skynet_model::series::SeriesKey;
use skynet_model::time::{Span, Timestamp};

use super::shelf::{Hole, frame};
use super::{History, Selector, lock};

/// Samples that one question may look at.
pub const MOST_SAMPLES: usize = 8_000_000;
/// Points that one answer may hold.
pub const MOST_POINTS: usize = 200_000;
/// Holes that are named; there may be as many as chunks.
const MOST_HOLES: usize = 20;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// Which series.
    pub series: Selector,
    /// From when on.
    pub from: Timestamp,
    /// Until when, this instant included.
    pub until: Timestamp,
    /// One point for so much time; a point a sample if `None` or if no step holds more than one.
    pub step: Option<Span>,
}

/// Samples of one series in one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// When the step begins; for one sample, when it was taken.
    pub time: Timestamp,
    /// Least of them.
    pub min: f64,
    /// Mean of them.
    pub avg: f64,
    /// Greatest of them.
    pub max: f64,
    /// How many they are.
    pub count: u64,
}

/// One series' answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Past<T> {
    /// Which.
    pub series: SeriesKey,
    /// In order of time.
    pub samples: Vec<T>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<T> {
    /// Series with something in that time, in order.
    pub series: Vec<Past<T>>,
    /// What cannot be read; the rest is here.
    pub holes: Vec<Hole>,
    /// Not everything is here: there is more than one answer may hold.
    pub cut: bool,
}

type Samples = Vec<(i64, f64)>;

impl History {
    /// All samples of a server's series that `wanted` wants, from `from` to `until`, both included.
    pub fn samples_of(
        &self,
        server: &ServerId,
        wanted: &dyn Fn(&SeriesKey) -> bool,
        from: Timestamp,
        until: Timestamp,
    ) -> Answer<(Timestamp, f64)> {
        let mut found: BTreeMap<SeriesKey, Samples> = BTreeMap::new();
        let (mut holes, mut total) = (Vec::new(), 0usize);
        // Memory first: what is packed meanwhile is then found twice, and not missed.
        if let Some(shard) = self.known(server) {
            let (names, growing, full) = {
                let server = lock(&shard.state);
                let names: BTreeMap<u32, SeriesKey> =
                    server.keys().filter(|(_, key)| wanted(key)).map(|(place, key)| (place, key.clone())).collect();
                let growing = if names.is_empty() { Vec::new() } else { server.growing(from.0, until.0) };
                let touches = |b: &&Arc<super::server::Full>| b.block.last() >= from.0 && b.block.first() <= until.0;
                let full: Vec<_> = server.full.iter().filter(touches).cloned().collect();
                (names, growing, full)
            };
            let mut take = |key: &SeriesKey, times: Vec<i64>, values: Vec<f64>| {
                let inside = times.into_iter().zip(values).filter(|(time, _)| (from.0..=until.0).contains(time));
                let samples = found.entry(key.clone()).or_default();
                let before = samples.len();
                samples.extend(inside);
                total += samples.len() - before;
            };
            for block in growing {
                for (place, times, values) in block.columns(|place| names.contains_key(&place)) {
                    if let Some(key) = names.get(&place) {
                        take(key, times, values);
                    }
                }
            }
            for full in full {
                for (place, times, values) in full.block.columns(|place| full.key(place).is_some_and(wanted)) {
                    if let Some(key) = full.key(place) {
                        take(key, times, values);
                    }
                }
            }
        }
        let mut cut = total > MOST_SAMPLES;
        if let Some(store) = &self.store {
            store.shelf.read(server.as_str(), wanted, (from.0, until.0), &mut holes, |key, times, values| {
                total += times.len();
                found.entry(key).or_default().extend(times.into_iter().zip(values));
                cut = total > MOST_SAMPLES;
                !cut
            });
        }
        let past = found.into_iter().filter(|(_, samples)| !samples.is_empty()).map(|(series, samples)| {
            let (times, values) = frame::in_order_pairs(samples);
            let samples = times.into_iter().map(Timestamp).zip(values).collect();
            Past { series, samples }
        });
        let series = past.collect();
        holes.truncate(MOST_HOLES);
        Answer { series, holes, cut }
    }

    /// Samples of one series from `from` to `until`, both included, in order of time.
    #[must_use]
    pub fn samples(
        &self,
        server: &ServerId,
        key: &SeriesKey,
        from: Timestamp,
        until: Timestamp,
    ) -> Vec<(Timestamp, f64)> {
        let answer = self.samples_of(server, &|other| other == key, from, until);
        answer.series.into_iter().next().map(|past| past.samples).unwrap_or_default()
    }

    /// Answers a question about one server.
    #[must_use]
    pub fn ask(&self, server: &ServerId, question: &Question) -> Answer<Point> {
        let wanted = |key: &SeriesKey| question.series.fits(key);
        let Answer { series, holes, mut cut } = self.samples_of(server, &wanted, question.from, question.until);
        let mut room = MOST_POINTS;
        let mut past = Vec::new();
        for Past { series, samples } in series {
            let mut samples = steps(&samples, question.step);
            cut |= samples.len() > room;
            samples.truncate(room);
            room -= samples.len();
            if !samples.is_empty() {
                past.push(Past { series, samples });
            }
        }
        Answer { series: past, holes, cut }
    }

    /// Names of a server's series in memory, those that ended included.
    #[must_use]
    pub fn names(&self, server: &ServerId) -> Vec<Arc<str>> {
        let Some(shard) = self.known(server) else { return Vec::new() };
        let server = lock(&shard.state);
        let mut names: Vec<Arc<str>> = server.keys().map(|(_, key)| Arc::clone(&key.name)).collect();
        names.dedup();
        names
    }

    /// Whether a server has a series in memory that is meant.
    #[must_use]
    pub fn has(&self, server: &ServerId, series: &Selector) -> bool {
        self.known(server).is_some_and(|shard| lock(&shard.state).keys().any(|(_, key)| series.fits(key)))
    }

    /// Samples since `since` of a server's series whose text form (`disk.used_ratio{mount="/"}`) or name fits `glob`,
    /// where `*` stands for any text.
    #[must_use]
    pub fn query(&self, server: &ServerId, glob: &str, since: Timestamp) -> Vec<Past<(Timestamp, f64)>> {
        let fits =
            |key: &SeriesKey| super::select::glob(glob, &key.name) || super::select::glob(glob, &key.to_string());
        self.samples_of(server, &fits, since, Timestamp(i64::MAX)).series
    }
}

/// Samples as points: one a step, or one a sample where steps hold no more than that.
fn steps(samples: &[(Timestamp, f64)], step: Option<Span>) -> Vec<Point> {
    let alone =
        |(time, value): &(Timestamp, f64)| Point { time: *time, min: *value, avg: *value, max: *value, count: 1 };
    let Some(step) = step.filter(|step| step.0 > 0) else { return samples.iter().map(alone).collect() };
    let of = |time: Timestamp| time.0.div_euclid(step.0);
    if samples.windows(2).all(|pair| of(pair[0].0) != of(pair[1].0)) {
        return samples.iter().map(alone).collect();
    }
    let mut points: Vec<Point> = Vec::new();
    for samples in samples.chunk_by(|a, b| of(a.0) == of(b.0)) {
        let values = samples.iter().map(|(_, value)| *value);
        let count = samples.len() as u64;
        points.push(Point {
            time: Timestamp(of(samples[0].0).saturating_mul(step.0)),
            min: values.clone().fold(f64::INFINITY, f64::min),
            avg: mean(values.clone(), count as f64),
            max: values.fold(f64::NEG_INFINITY, f64::max),
            count,
        });
    }
    points
}

fn mean(values: impl Iterator<Item = f64> + Clone, count: f64) -> f64 {
    let sum: f64 = values.clone().sum();
    if sum.is_finite() { sum / count } else { values.map(|value| value / count).sum() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_hold_least_mean_and_greatest_and_are_aligned() {
        let samples: Vec<(Timestamp, f64)> = (0..100).map(|i| (Timestamp(7_000 + i * 1000), i as f64)).collect();
        let points = steps(&samples, Some(Span::seconds(10)));
        assert_eq!(points[0], Point { time: Timestamp(0), min: 0.0, avg: 1.0, max: 2.0, count: 3 });
        assert_eq!(points[1], Point { time: Timestamp(10_000), min: 3.0, avg: 7.5, max: 12.0, count: 10 });
        assert_eq!(points.iter().map(|p| p.count).sum::<u64>(), 100);
        for step in [None, Some(Span(500)), Some(Span(0)), Some(Span(-5))] {
            let raw = steps(&samples, step);
            assert_eq!((raw.len(), raw[0].time, raw[0].count), (100, Timestamp(7_000), 1), "{step:?}");
        }
        let huge = steps(&[(Timestamp(0), f64::MAX), (Timestamp(1), f64::MAX)], Some(Span(10)));
        assert_eq!((huge[0].min, huge[0].avg), (f64::MAX, f64::MAX));
    }
}
