//! Memory, swap and pressure stall information, from /proc/meminfo, /proc/vmstat and /proc/pressure.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use skynet_model::catalogue::{SensorSpec, Unit};
use skynet_model::policy::{Script, SensorUse};
use skynet_model::series::SeriesKey;
use skynet_model::time::Span;

use super::{Rate, Sample, Sensor, SensorError, float, lines, plain, series};
use crate::host::Host;

/// The catalogue entry.
pub(super) const SPEC: SensorSpec = SensorSpec {
    name: "memory",
    help: "memory and swap in use, and how much tasks were held up (pressure stall information)",
    every: Span::seconds(1),
    params: &[],
    series: &[
        series("memory.total_bytes", &[], Unit::Bytes, "all memory the kernel has (MemTotal)"),
        series(
            "memory.available_bytes",
            &[],
            Unit::Bytes,
            "what programs could still get without swapping (MemAvailable)",
        ),
        series("memory.used_ratio", &[], Unit::Ratio, "share that is not available"),
        series("memory.free_bytes", &[], Unit::Bytes, "not used for anything (MemFree)"),
        series("memory.cached_bytes", &[], Unit::Bytes, "page cache (Cached)"),
        series("swap.total_bytes", &[], Unit::Bytes, "all swap; 0 where there is none"),
        series("swap.used_bytes", &[], Unit::Bytes, "swap in use"),
        series("swap.used_ratio", &[], Unit::Ratio, "share of swap in use; missing where there is none"),
        series("swap.in_pages_per_s", &[], Unit::PerSecond, "pages read back from swap"),
        series("swap.out_pages_per_s", &[], Unit::PerSecond, "pages written to swap"),
        series(
            "pressure.memory_some_ratio",
            &[],
            Unit::Ratio,
            "share of the last 10 s in which some task waited for memory",
        ),
        series(
            "pressure.memory_full_ratio",
            &[],
            Unit::Ratio,
            "share of the last 10 s in which all tasks waited for memory",
        ),
        series(
            "pressure.cpu_some_ratio",
            &[],
            Unit::Ratio,
            "share of the last 10 s in which some task waited for a core",
        ),
        series("pressure.io_some_ratio", &[], Unit::Ratio, "share of the last 10 s in which some task waited for I/O"),
        series("pressure.io_full_ratio", &[], Unit::Ratio, "share of the last 10 s in which all tasks waited for I/O"),
    ],
};

/// A file of pressure stall information, its lines, their keys.
struct Pressure {
    path: &'static str,
    some: Arc<SeriesKey>,
    full: Option<Arc<SeriesKey>>,
}

struct Memory {
    total: Arc<SeriesKey>,
    available: Arc<SeriesKey>,
    used_ratio: Arc<SeriesKey>,
    free: Arc<SeriesKey>,
    cached: Arc<SeriesKey>,
    swap_total: Arc<SeriesKey>,
    swap_used: Arc<SeriesKey>,
    swap_ratio: Arc<SeriesKey>,
    swap_in: (Arc<SeriesKey>, Rate),
    swap_out: (Arc<SeriesKey>, Rate),
    pressures: [Pressure; 3],
    buf: Vec<u8>,
}

/// See [`super::build`].
pub(super) fn build(_: &SensorUse, _: &BTreeMap<String, Script>) -> Result<Box<dyn Sensor>, SensorError> {
    let pressure = |path, some, full: Option<&str>| Pressure { path, some: plain(some), full: full.map(plain) };
    Ok(Box::new(Memory {
        total: plain("memory.total_bytes"),
        available: plain("memory.available_bytes"),
        used_ratio: plain("memory.used_ratio"),
        free: plain("memory.free_bytes"),
        cached: plain("memory.cached_bytes"),
        swap_total: plain("swap.total_bytes"),
        swap_used: plain("swap.used_bytes"),
        swap_ratio: plain("swap.used_ratio"),
        swap_in: (plain("swap.in_pages_per_s"), Rate::default()),
        swap_out: (plain("swap.out_pages_per_s"), Rate::default()),
        pressures: [
            pressure("/proc/pressure/memory", "pressure.memory_some_ratio", Some("pressure.memory_full_ratio")),
            // A whole machine cannot wait for its own cores: cpu has no "full" that means anything.
            pressure("/proc/pressure/cpu", "pressure.cpu_some_ratio", None),
            pressure("/proc/pressure/io", "pressure.io_some_ratio", Some("pressure.io_full_ratio")),
        ],
        buf: Vec::new(),
    }))
}

/// The fields of /proc/meminfo that are read, in bytes.
#[derive(Default)]
struct MemInfo {
    total: Option<u64>,
    free: Option<u64>,
    available: Option<u64>,
    cached: Option<u64>,
    swap_total: Option<u64>,
    swap_free: Option<u64>,
}

impl MemInfo {
    fn parse(bytes: &[u8]) -> Self {
        let mut info = Self::default();
        for line in lines(bytes) {
            let Some((name, rest)) = line.split_once(':') else { continue };
            let slot = match name {
                "MemTotal" => &mut info.total,
                "MemFree" => &mut info.free,
                "MemAvailable" => &mut info.available,
                "Cached" => &mut info.cached,
                "SwapTotal" => &mut info.swap_total,
                "SwapFree" => &mut info.swap_free,
                _ => continue,
            };
            *slot = rest.trim().strip_suffix(" kB").and_then(|n| n.parse::<u64>().ok()).map(|n| n.saturating_mul(1024));
        }
        info
    }
}

impl Memory {
    fn meminfo(&mut self, host: &Arc<dyn Host>, out: &mut Sample) -> Result<(), SensorError> {
        host.read(Path::new("/proc/meminfo"), &mut self.buf)?;
        let info = MemInfo::parse(&self.buf);
        let plain = [
            (&self.total, info.total),
            (&self.available, info.available),
            (&self.free, info.free),
            (&self.cached, info.cached),
            (&self.swap_total, info.swap_total),
        ];
        for (key, bytes) in plain {
            if let Some(bytes) = bytes {
                out.push((Arc::clone(key), float(bytes)));
            }
        }
        if let (Some(total), Some(available)) = (info.total, info.available) {
            out.push((Arc::clone(&self.used_ratio), 1.0 - float(available) / float(total)));
        }
        if let (Some(total), Some(free)) = (info.swap_total, info.swap_free) {
            let used = total.saturating_sub(free);
            out.push((Arc::clone(&self.swap_used), float(used)));
            if total > 0 {
                out.push((Arc::clone(&self.swap_ratio), float(used) / float(total)));
            }
        }
        Ok(())
    }

    fn vmstat(&mut self, host: &Arc<dyn Host>, out: &mut Sample) {
        if host.read(Path::new("/proc/vmstat"), &mut self.buf).is_err() {
            return;
        }
        let at = host.boot_ms();
        for line in lines(&self.buf) {
            let Some((name, count)) = line.split_once(' ') else { continue };
            let (key, rate) = match name {
                "pswpin" => &mut self.swap_in,
                "pswpout" => &mut self.swap_out,
                _ => continue,
            };
            if let Some(rate) = count.parse().ok().and_then(|count| rate.next(count, at)) {
                out.push((Arc::clone(key), rate));
            }
        }
    }

    fn pressure(&mut self, host: &Arc<dyn Host>, out: &mut Sample) {
        for pressure in &self.pressures {
            // Not there, or there and switched off (EOPNOTSUPP): no data.
            if host.read(Path::new(pressure.path), &mut self.buf).is_err() {
                continue;
            }
            for line in lines(&self.buf) {
                let Some((kind, rest)) = line.split_once(" avg10=") else { continue };
                let key = match kind {
                    "some" => Some(&pressure.some),
                    "full" => pressure.full.as_ref(),
                    _ => None,
                };
                let percent = rest.split(' ').next().and_then(|n| n.parse::<f64>().ok());
                if let (Some(key), Some(percent)) = (key, percent) {
                    out.push((Arc::clone(key), percent / 100.0));
                }
            }
        }
    }
}

impl Sensor for Memory {
    fn sweep(&mut self, host: &Arc<dyn Host>, out: &mut Sample) -> Result<(), SensorError> {
        let meminfo = self.meminfo(host, out);
        self.vmstat(host, out);
        self.pressure(host, out);
        // One file that cannot be read takes its own readings only.
        if out.is_empty() { meminfo } else { Ok(()) }
    }

    fn needs_two(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{FixtureHost, assert_golden, make, sweep, value};
    use super::*;

    #[test]
    fn memory_swap_and_pressure_are_read() {
        let host = Arc::new(FixtureHost::new("before"));
        let mut memory = make("memory", &[]);
        let first = sweep(&mut *memory, &host);
        assert_eq!(value(&first, "swap.in_pages_per_s"), None);
        host.later(2000, "after");
        assert_golden("memory", &sweep(&mut *memory, &host));
    }

    #[test]
    fn without_swap_and_pressure_those_readings_are_left_out() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("proc")).unwrap();
        let meminfo = "MemTotal: 1000 kB\nMemAvailable: junk kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n";
        std::fs::write(root.path().join("proc/meminfo"), meminfo).unwrap();
        let host = Arc::new(FixtureHost::at(root.path().to_owned()));
        let sample = sweep(&mut *make("memory", &[]), &host);
        let names: Vec<_> = sample.iter().map(|(k, v)| format!("{k} {v}")).collect();
        assert_eq!(names, ["memory.total_bytes 1024000", "swap.total_bytes 0", "swap.used_bytes 0"]);
    }

    #[test]
    fn an_unreadable_meminfo_leaves_pressure_and_only_an_empty_machine_fails() {
        let root = tempfile::tempdir().unwrap();
        let host = Arc::new(FixtureHost::at(root.path().to_owned()));
        let dynamic: Arc<dyn Host> = Arc::<FixtureHost>::clone(&host);
        assert!(make("memory", &[]).sweep(&dynamic, &mut Vec::new()).is_err());
        std::fs::create_dir_all(root.path().join("proc/pressure")).unwrap();
        std::fs::write(root.path().join("proc/pressure/cpu"), "some avg10=12.50 avg60=0 avg300=0 total=1\n").unwrap();
        let sample = sweep(&mut *make("memory", &[]), &host);
        assert_eq!(value(&sample, "pressure.cpu_some_ratio"), Some(0.125));
        assert_eq!(sample.len(), 1);
    }
}
