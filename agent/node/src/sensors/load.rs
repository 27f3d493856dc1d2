//! Load averages, from /proc/loadavg.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use skynet_model::catalogue::{SensorSpec, Unit};
use skynet_model::policy::{Script, SensorUse};
use skynet_model::series::SeriesKey;
use skynet_model::time::Span;

use super::{Sample, Sensor, SensorError, lines, plain, series};
use crate::host::Host;

/// The catalogue entry.
pub(super) const SPEC: SensorSpec = SensorSpec {
    name: "load",
    help: "how many tasks run or wait",
    every: Span::seconds(1),
    params: &[],
    series: &[
        series("load.one", &[], Unit::Count, "tasks running or waiting, averaged over 1 minute"),
        series("load.five", &[], Unit::Count, "the same over 5 minutes"),
        series("load.fifteen", &[], Unit::Count, "the same over 15 minutes"),
        series("load.per_cpu", &[], Unit::Ratio, "load.one divided by the cores online; above 1 tasks wait"),
        series("load.runnable", &[], Unit::Count, "tasks that can run right now"),
    ],
};

struct Load {
    averages: [Arc<SeriesKey>; 3],
    per_cpu: Arc<SeriesKey>,
    runnable: Arc<SeriesKey>,
    buf: Vec<u8>,
}

/// See [`super::build`].
pub(super) fn build(_: &SensorUse, _: &BTreeMap<String, Script>) -> Result<Box<dyn Sensor>, SensorError> {
    Ok(Box::new(Load {
        averages: ["load.one", "load.five", "load.fifteen"].map(plain),
        per_cpu: plain("load.per_cpu"),
        runnable: plain("load.runnable"),
        buf: Vec::new(),
    }))
}

impl Load {
    /// Cores online. The list in /sys is short; /proc/stat is long on large machines, and asked only where there is no
    /// list.
    fn cpus(&mut self, host: &Arc<dyn Host>) -> Option<u32> {
        if host.read(Path::new("/sys/devices/system/cpu/online"), &mut self.buf).is_ok() {
            let list = std::str::from_utf8(&self.buf).ok()?;
            return count_list(list).filter(|n| *n > 0);
        }
        host.read(Path::new("/proc/stat"), &mut self.buf).ok()?;
        let cores = lines(&self.buf).take_while(|l| l.starts_with("cpu")).filter(|l| !l.starts_with("cpu "));
        u32::try_from(cores.count()).ok().filter(|n| *n > 0)
    }
}

/// How many numbers a list like `0-3,8,10-11` holds.
fn count_list(list: &str) -> Option<u32> {
    list.trim().split(',').try_fold(0u32, |sum, part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        sum.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

impl Sensor for Load {
    fn sweep(&mut self, host: &Arc<dyn Host>, out: &mut Sample) -> Result<(), SensorError> {
        let malformed = || SensorError::Malformed("/proc/loadavg".to_owned());
        host.read(Path::new("/proc/loadavg"), &mut self.buf)?;
        let line = std::str::from_utf8(&self.buf).map_err(|_| malformed())?;
        let mut words = line.split_ascii_whitespace();
        let mut one = None;
        for key in &self.averages {
            let average: f64 = words.next().and_then(|w| w.parse().ok()).ok_or_else(malformed)?;
            one = one.or(Some(average));
            out.push((Arc::clone(key), average));
        }
        if let Some(n) = words.next().and_then(|w| w.split_once('/')).and_then(|(n, _)| n.parse::<u32>().ok()) {
            out.push((Arc::clone(&self.runnable), f64::from(n)));
        }
        if let (Some(one), Some(cpus)) = (one, self.cpus(host)) {
            out.push((Arc::clone(&self.per_cpu), one / f64::from(cpus)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{FixtureHost, assert_golden, make, sweep, value};
    use super::*;

    #[test]
    fn averages_are_as_the_kernel_says() {
        let host = Arc::new(FixtureHost::new("before"));
        assert_golden("load", &sweep(&mut *make("load", &[]), &host));
    }

    #[test]
    fn cores_are_counted_in_proc_where_sys_has_no_list() {
        let host = Arc::new(FixtureHost::new("after"));
        let sample = sweep(&mut *make("load", &[]), &host);
        assert_eq!(value(&sample, "load.per_cpu"), value(&sample, "load.one").map(|one| one / 2.0));
    }

    #[test]
    fn lists_of_cores_are_counted() {
        for (list, count) in [("0-3,8,10-11\n", Some(7)), ("0", Some(1)), ("3-1", None), ("", None), ("x", None)] {
            assert_eq!(count_list(list), count, "{list}");
        }
    }

    #[test]
    fn a_machine_without_loadavg_fails_the_sweep() {
        let root = tempfile::tempdir().unwrap();
        let host: Arc<dyn Host> = Arc::new(FixtureHost::at(root.path().to_owned()));
        let error = make("load", &[]).sweep(&host, &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "/proc/loadavg is not there");
    }
}
