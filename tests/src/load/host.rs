//! What a simulated server reads: series as real hosts have them, by sensor, with values that behave as theirs do.
//!
//! The mix, as a share of series: 3 in 10 constant (sizes, counts, states), 3 in 10 gauges that move by whole pages in one
//! sweep of four, 2 in 10 counters, 2 in 10 ratios of small whole numbers (clock ticks) that differ at every sweep.

use std::sync::Arc;

use skynet_model::series::SeriesKey;

use crate::sim::Rng;

/// The series that stands still until [`super::Load::fire`] sets it.
pub const FIRE: &str = "exec.value{check=\"load\",metric=\"fire\"}";
/// Its place among a server's series.
pub(crate) const FIRE_AT: usize = 0;

/// How a value moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Never.
    Constant,
    /// By whole pages, in one sweep of four.
    Gauge,
    /// Up, by a whole number.
    Counter,
    /// A ratio of two whole numbers, new at every sweep.
    Ratio,
}

/// The series of one sensor: a range of the server's.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) sensor: Arc<str>,
    pub(crate) from: usize,
    pub(crate) to: usize,
}

/// One server's series and their present values.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) groups: Vec<Group>,
    pub(crate) keys: Arc<[Arc<SeriesKey>]>,
    pub(crate) values: Vec<f64>,
    kinds: Arc<[Kind]>,
    chance: Rng,
}

/// The series of every server of a fleet: the same names everywhere, so they are kept once.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    groups: Vec<Group>,
    keys: Arc<[Arc<SeriesKey>]>,
    kinds: Arc<[Kind]>,
}

impl Layout {
    /// The first `count` series of a host that has as many interfaces, mounts, services and checks as that takes.
    pub(crate) fn new(count: usize) -> Self {
        let (mut groups, mut keys, mut kinds): (Vec<Group>, Vec<Arc<SeriesKey>>, Vec<Kind>) = Default::default();
        for (sensor, series) in sensors(count) {
            let from = keys.len();
            for (key, kind) in series.into_iter().take(count - from) {
                keys.push(Arc::new(key));
                kinds.push(kind);
            }
            if keys.len() > from {
                groups.push(Group { sensor: sensor.into(), from, to: keys.len() });
            }
        }
        Self { groups, keys: keys.into(), kinds: kinds.into() }
    }

    /// Every series, in order of place.
    pub(crate) fn keys(&self) -> Arc<[Arc<SeriesKey>]> {
        Arc::clone(&self.keys)
    }

    /// One server of the fleet.
    pub(crate) fn host(&self, seed: u64) -> Host {
        let mut chance = Rng::new(seed);
        let values = self.kinds.iter().enumerate().map(|(i, kind)| match kind {
            _ if i == FIRE_AT => 0.0,
            Kind::Constant => float(chance.below(16)),
            Kind::Gauge => float(4096 * (250_000 + chance.below(1_000_000))),
            Kind::Counter => float(chance.below(1 << 32)),
            Kind::Ratio => float(chance.below(200)) / 200.0,
        });
        let values = values.collect();
        Host { groups: self.groups.clone(), keys: self.keys.clone(), values, kinds: self.kinds.clone(), chance }
    }
}

impl Host {
    /// The next sweep's values.
    pub(crate) fn step(&mut self) {
        for (value, kind) in self.values.iter_mut().zip(self.kinds.iter()) {
            match kind {
                Kind::Constant => {}
                Kind::Gauge => {
                    let bits = self.chance.bits();
                    if bits & 3 == 0 {
                        let pages = float((bits >> 8) & 63) - 31.0;
                        *value = (*value + pages * 4096.0).max(0.0);
                    }
                }
                Kind::Counter => *value += float(self.chance.bits() & 1023),
                Kind::Ratio => *value = float(self.chance.bits() % 200) / 200.0,
            }
        }
    }
}

fn float(n: u64) -> f64 {
    n as f64
}

type Sensor = (String, Vec<(SeriesKey, Kind)>);

/// Sensors until they hold at least `count` series.
fn sensors(count: usize) -> Vec<Sensor> {
    use Kind::{Constant, Counter, Gauge, Ratio};
    let plain = |names: &[(&str, Kind)]| names.iter().map(|(name, kind)| (SeriesKey::plain(name), *kind)).collect();
    let mut all: Vec<Sensor> = vec![("exec:load".to_owned(), vec![(check("load", "fire"), Constant)])];
    let ratio = |name| (name, Ratio);
    all.push((
        "cpu".to_owned(),
        plain(&[
            ratio("cpu.busy_ratio"),
            ratio("cpu.user_ratio"),
            ratio("cpu.system_ratio"),
            ratio("cpu.iowait_ratio"),
            ("cpu.steal_ratio", Constant),
            ("cpu.count", Constant),
        ]),
    ));
    all.push((
        "load".to_owned(),
        plain(&[
            ratio("load.one"),
            ratio("load.five"),
            ratio("load.fifteen"),
            ratio("load.per_cpu"),
            ratio("load.runnable"),
        ]),
    ));
    all.push((
        "memory".to_owned(),
        plain(&[
            ("memory.total_bytes", Constant),
            ("memory.available_bytes", Gauge),
            ratio("memory.used_ratio"),
            ("memory.free_bytes", Gauge),
            ("memory.cached_bytes", Gauge),
            ("swap.total_bytes", Constant),
            ("swap.used_bytes", Constant),
            ("swap.used_ratio", Constant),
            ("swap.in_pages_per_s", Constant),
            ("swap.out_pages_per_s", Constant),
            ratio("pressure.cpu_some_ratio"),
            ratio("pressure.io_some_ratio"),
        ]),
    ));
    // What there is more of on larger hosts: a quarter interfaces, a quarter mounts, the rest services and checks.
    let have: usize = all.iter().map(|(_, series)| series.len()).sum();
    let rest = count.saturating_sub(have);
    let labelled = |times: usize, label: &str, value: &dyn Fn(usize) -> String, names: &[(&str, Kind)]| {
        let one = |i: usize| names.iter().map(move |(name, kind)| (i, *name, *kind));
        let key = |(i, name, kind): (usize, &str, Kind)| (SeriesKey::new(name, [(label, value(i))]), kind);
        (0..times).flat_map(one).map(key).collect::<Vec<_>>()
    };
    let network = labelled(
        rest / 32,
        "interface",
        &|i| format!("eth{i}"),
        &[
            ("network.receive_bytes_per_s", Gauge),
            ("network.transmit_bytes_per_s", Gauge),
            ("network.receive_bytes_total", Counter),
            ("network.transmit_bytes_total", Counter),
            ("network.receive_errors_total", Constant),
            ("network.transmit_errors_total", Constant),
            ("network.receive_drops_total", Counter),
            ("network.transmit_drops_total", Counter),
        ],
    );
    let disk = labelled(
        rest / 16,
        "mount",
        &|i| if i == 0 { "/".to_owned() } else { format!("/srv/volume-{i}") },
        &[
            ("disk.total_bytes", Constant),
            ("disk.free_bytes", Gauge),
            ("disk.used_ratio", Ratio),
            ("disk.inodes_used_ratio", Constant),
        ],
    );
    let service = labelled(
        rest / 24,
        "service",
        &|i| format!("unit-{i}.service"),
        &[("service.up", Constant), ("service.failed", Constant), ("service.restarts_total", Constant)],
    );
    all.extend([("network".to_owned(), network), ("disk".to_owned(), disk), ("service".to_owned(), service)]);
    let have: usize = all.iter().map(|(_, series)| series.len()).sum();
    // At most 1000 values a check.
    let left: Vec<usize> = (have..count).collect();
    for (n, metrics) in left.chunks(1000).enumerate() {
        let name = format!("app{n}");
        let kinds = [Gauge, Ratio, Counter, Gauge, Ratio, Gauge, Counter, Gauge, Ratio];
        let series = metrics.iter().enumerate().map(|(i, _)| (check(&name, &format!("m{i}")), kinds[i % kinds.len()]));
        all.push((format!("exec:{name}"), series.collect()));
    }
    all
}

fn check(check: &str, metric: &str) -> SeriesKey {
    SeriesKey::new("exec.value", [("check", check), ("metric", metric)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_exactly_the_series_asked_for_and_they_differ() {
        for count in [1, 10, 100, 1000, 5000] {
            let layout = Layout::new(count);
            let mut names: Vec<String> = layout.keys.iter().map(|key| key.to_string()).collect();
            assert_eq!(names.len(), count);
            assert_eq!(names[FIRE_AT], FIRE);
            names.sort();
            names.dedup();
            assert_eq!(names.len(), count);
            let covered: usize = layout.groups.iter().map(|group| group.to - group.from).sum();
            assert_eq!(covered, count);
            assert!(layout.keys.iter().all(|key| key.check().is_ok()));
        }
    }

    #[test]
    fn the_mix_is_what_it_says() {
        let layout = Layout::new(1000);
        let share = |kind| layout.kinds.iter().filter(|k| **k == kind).count() / 10;
        let shares = [Kind::Constant, Kind::Gauge, Kind::Counter, Kind::Ratio].map(share);
        for (share, said) in shares.into_iter().zip([30usize, 30, 20, 20]) {
            assert!(share.abs_diff(said) <= 3, "{shares:?}");
        }
    }

    #[test]
    fn counters_rise_constants_stay_and_the_same_seed_says_the_same() {
        let layout = Layout::new(200);
        let (mut one, mut two) = (layout.host(7), layout.host(7));
        let first = one.values.clone();
        for _ in 0..50 {
            let before = one.values.clone();
            one.step();
            two.step();
            for ((kind, before), now) in layout.kinds.iter().zip(&before).zip(&one.values) {
                assert!(now.is_finite() && *now >= 0.0);
                assert!(*kind != Kind::Counter || now >= before);
            }
        }
        assert_eq!(one.values, two.values);
        let still = layout.kinds.iter().zip(first.iter().zip(&one.values));
        assert!(still.filter(|(kind, _)| **kind == Kind::Constant).all(|(_, (a, b))| a == b));
        assert_ne!(layout.host(8).values, first);
    }
}
