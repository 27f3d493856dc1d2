//! Network interfaces, from /proc/net/dev.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use skynet_model::catalogue::{SensorSpec, SeriesSpec, Unit};
use skynet_model::policy::{Script, SensorUse};
use skynet_model::series::SeriesKey;
use skynet_model::time::Span;
use skynet_model::value::{ParamKind, ParamSpec};

use super::{Rate, Sample, Sensor, SensorError, float, labelled, lines, series, texts};
use crate::host::Host;

/// Most interfaces of one machine that are read.
const MAX_INTERFACES: usize = 256;

const LABELS: &[&str] = &["interface"];

const fn count(name: &'static str, help: &'static str) -> SeriesSpec {
    series(name, LABELS, Unit::Count, help)
}

/// The catalogue entry.
pub(super) const SPEC: SensorSpec = SensorSpec {
    name: "network",
    help: "traffic, errors and drops of network interfaces",
    every: Span::seconds(1),
    params: &[ParamSpec {
        name: "interfaces",
        kind: ParamKind::List(&ParamKind::Text),
        required: false,
        default: None,
        help: "only these; default all but lo (at most 256)",
    }],
    series: &[
        series("network.receive_bytes_per_s", LABELS, Unit::BytesPerSecond, "bytes received"),
        series("network.transmit_bytes_per_s", LABELS, Unit::BytesPerSecond, "bytes sent"),
        series("network.receive_bytes_total", LABELS, Unit::Bytes, "bytes received since the interface came up"),
        series("network.transmit_bytes_total", LABELS, Unit::Bytes, "bytes sent since the interface came up"),
        count("network.receive_errors_total", "packets received broken"),
        count("network.transmit_errors_total", "packets that could not be sent"),
        count("network.receive_drops_total", "packets received and dropped"),
        count("network.transmit_drops_total", "packets dropped before sending"),
    ],
};

/// Names of totals and where their column in /proc/net/dev is; the first two also give rates.
const TOTALS: [(&str, usize); 6] = [
    ("network.receive_bytes_total", 0),
    ("network.transmit_bytes_total", 8),
    ("network.receive_errors_total", 2),
    ("network.transmit_errors_total", 10),
    ("network.receive_drops_total", 3),
    ("network.transmit_drops_total", 11),
];
const COLUMNS: usize = 12;

struct Interface {
    totals: [Arc<SeriesKey>; 6],
    rates: [(Arc<SeriesKey>, Rate); 2],
    seen: bool,
}

impl Interface {
    fn new(name: &str) -> Self {
        let rate = |series| (labelled(series, "interface", name), Rate::default());
        Self {
            totals: TOTALS.map(|(series, _)| labelled(series, "interface", name)),
            rates: ["network.receive_bytes_per_s", "network.transmit_bytes_per_s"].map(rate),
            seen: true,
        }
    }
}

struct Network {
    /// Empty: all but lo.
    wanted: Vec<String>,
    interfaces: BTreeMap<String, Interface>,
    buf: Vec<u8>,
}

/// See [`super::build`].
pub(super) fn build(usage: &SensorUse, _: &BTreeMap<String, Script>) -> Result<Box<dyn Sensor>, SensorError> {
    Ok(Box::new(Network { wanted: texts(usage, "interfaces"), interfaces: BTreeMap::new(), buf: Vec::new() }))
}

/// `eth0: 1 2 3 ...`: the name and the columns up to the last that is read.
fn parse(line: &str) -> Option<(&str, [u64; COLUMNS])> {
    let (name, rest) = line.rsplit_once(':')?;
    let mut columns = [0; COLUMNS];
    let mut words = rest.split_ascii_whitespace();
    for column in &mut columns {
        *column = words.next()?.parse().ok()?;
    }
    Some((name.trim(), columns))
}

impl Sensor for Network {
    fn sweep(&mut self, host: &Arc<dyn Host>, out: &mut Sample) -> Result<(), SensorError> {
        host.read(Path::new("/proc/net/dev"), &mut self.buf)?;
        let at = host.boot_ms();
        for interface in self.interfaces.values_mut() {
            interface.seen = false;
        }
        for (name, columns) in lines(&self.buf).filter_map(parse) {
            let wanted =
                if self.wanted.is_empty() { name != "lo" } else { self.wanted.iter().any(|wanted| wanted == name) };
            if !wanted {
                continue;
            }
            if !self.interfaces.contains_key(name) {
                if self.interfaces.len() >= MAX_INTERFACES {
                    continue;
                }
                self.interfaces.insert(name.to_owned(), Interface::new(name));
            }
            let Some(interface) = self.interfaces.get_mut(name) else { continue };
            interface.seen = true;
            for (key, (_, column)) in interface.totals.iter().zip(TOTALS) {
                out.push((Arc::clone(key), float(columns[column])));
            }
            for ((key, rate), (_, column)) in interface.rates.iter_mut().zip(TOTALS) {
                if let Some(rate) = rate.next(columns[column], at) {
                    out.push((Arc::clone(key), rate));
                }
            }
        }
        self.interfaces.retain(|_, interface| interface.seen);
        Ok(())
    }

    fn needs_two(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{FixtureHost, assert_golden, list, make, sweep, value};
    use super::*;

    #[test]
    fn totals_and_rates_are_given_for_all_interfaces_but_lo() {
        let host = Arc::new(FixtureHost::new("before"));
        let mut network = make("network", &[]);
        let first = sweep(&mut *network, &host);
        assert_eq!(value(&first, "network.receive_bytes_per_s{interface=\"eth0\"}"), None);
        host.later(2000, "after");
        assert_golden("network", &sweep(&mut *network, &host));
    }

    #[test]
    fn listed_interfaces_alone_are_read_lo_among_them() {
        let host = Arc::new(FixtureHost::new("before"));
        let sample = sweep(&mut *make("network", &[("interfaces", list(&["lo", "eth7"]))]), &host);
        assert_eq!(sample.len(), 6);
        assert!(sample.iter().all(|(key, _)| key.labels.get("interface") == Some("lo")));
    }

    #[test]
    fn an_interface_that_went_away_and_came_back_begins_anew() {
        let host = Arc::new(FixtureHost::new("before"));
        let mut network = make("network", &[]);
        sweep(&mut *network, &host);
        host.later(1000, "empty");
        assert!(sweep(&mut *network, &host).is_empty());
        host.later(1000, "after");
        let sample = sweep(&mut *network, &host);
        assert_eq!(value(&sample, "network.receive_bytes_per_s{interface=\"eth0\"}"), None);
    }

    #[test]
    fn lines_of_another_form_are_left_out() {
        assert_eq!(parse("eth0: 1 2 3"), None);
        assert_eq!(parse(" face |bytes packets errs"), None);
        assert_eq!(parse("br0:1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16").map(|(n, _)| n), Some("br0:1"));
    }

    #[test]
    fn interfaces_are_bounded_in_number() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("proc/net")).unwrap();
        let line = |i| format!("tap{i}: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n");
        let text: String = (0..MAX_INTERFACES + 50).map(line).collect();
        std::fs::write(root.path().join("proc/net/dev"), text).unwrap();
        let host = Arc::new(FixtureHost::at(root.path().to_owned()));
        assert_eq!(sweep(&mut *make("network", &[]), &host).len(), MAX_INTERFACES * TOTALS.len());
    }
}
