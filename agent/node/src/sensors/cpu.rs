//! Processor time, from /proc/stat (proc_stat(5)).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use skynet_model::catalogue::{SensorSpec, Unit};
use skynet_model::policy::{Script, SensorUse};
use skynet_model::series::SeriesKey;
use skynet_model::time::Span;
use skynet_model::value::{ParamKind, ParamSpec, Value};

use super::{Sample, Sensor, SensorError, float, labelled, lines, plain, series};
use crate::host::Host;

/// The catalogue entry.
pub(super) const SPEC: SensorSpec = SensorSpec {
    name: "cpu",
    help: "where processor time went since the sweep before",
    every: Span::seconds(1),
    params: &[ParamSpec {
        name: "per_core",
        kind: ParamKind::Bool,
        required: false,
        default: Some("false"),
        help: "also each core's busy ratio",
    }],
    series: &[
        series(
            "cpu.busy_ratio",
            &[],
            Unit::Ratio,
            "share of all cores' time that was neither idle nor waiting for I/O",
        ),
        series("cpu.user_ratio", &[], Unit::Ratio, "share spent in programs, nice ones included"),
        series("cpu.system_ratio", &[], Unit::Ratio, "share spent in the kernel, interrupts included"),
        series("cpu.iowait_ratio", &[], Unit::Ratio, "share idle while I/O was awaited"),
        series("cpu.steal_ratio", &[], Unit::Ratio, "share the hypervisor gave to others"),
        series("cpu.count", &[], Unit::Count, "cores online"),
        series("cpu.core_busy_ratio", &["core"], Unit::Ratio, "busy share of one core; only with per_core"),
    ],
};

/// Clock ticks by use, of all cores or of one.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    user: u64,
    system: u64,
    idle: u64,
    iowait: u64,
    steal: u64,
}

impl Times {
    /// `user nice system idle iowait irq softirq steal guest guest_nice`; old kernels have fewer. Guests are in user.
    fn parse(fields: &str) -> Option<Self> {
        let mut ticks = [0u64; 8];
        let mut words = fields.split_ascii_whitespace();
        for (i, tick) in ticks.iter_mut().enumerate() {
            match words.next() {
                Some(word) => *tick = word.parse().ok()?,
                None if i >= 4 => break,
                None => return None,
            }
        }
        let [user, nice, system, idle, iowait, irq, softirq, steal] = ticks;
        Some(Self { user: user + nice, system: system + irq + softirq, idle, iowait, steal })
    }

    /// The kernel lets iowait and idle fall now and then: that counts as nothing.
    fn since(&self, before: &Self) -> Self {
        Self {
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
            idle: self.idle.saturating_sub(before.idle),
            iowait: self.iowait.saturating_sub(before.iowait),
            steal: self.steal.saturating_sub(before.steal),
        }
    }

    fn busy(&self) -> u64 {
        self.user + self.system + self.steal
    }

    fn total(&self) -> u64 {
        self.busy() + self.idle + self.iowait
    }
}

struct Core {
    key: Arc<SeriesKey>,
    last: Option<Times>,
}

struct Cpu {
    per_core: bool,
    ratios: [Arc<SeriesKey>; 5],
    count: Arc<SeriesKey>,
    last: Option<Times>,
    cores: BTreeMap<u32, Core>,
    buf: Vec<u8>,
}

/// See [`super::build`].
pub(super) fn build(usage: &SensorUse, _: &BTreeMap<String, Script>) -> Result<Box<dyn Sensor>, SensorError> {
    let names = ["cpu.busy_ratio", "cpu.user_ratio", "cpu.system_ratio", "cpu.iowait_ratio", "cpu.steal_ratio"];
    Ok(Box::new(Cpu {
        per_core: usage.params.get("per_core") == Some(&Value::Bool(true)),
        ratios: names.map(plain),
        count: plain("cpu.count"),
        last: None,
        cores: BTreeMap::new(),
        buf: Vec::new(),
    }))
}

impl Sensor for Cpu {
    fn sweep(&mut self, host: &Arc<dyn Host>, out: &mut Sample) -> Result<(), SensorError> {
        host.read(Path::new("/proc/stat"), &mut self.buf)?;
        let mut count = 0;
        let mut all = None;
        for line in lines(&self.buf) {
            let Some((name, fields)) = line.strip_prefix("cpu").and_then(|rest| rest.split_once(' ')) else { break };
            if name.is_empty() {
                all = Times::parse(fields);
                continue;
            }
            count += 1;
            let (true, Ok(number), Some(times)) = (self.per_core, name.parse::<u32>(), Times::parse(fields)) else {
                continue;
            };
            let core = self
                .cores
                .entry(number)
                .or_insert_with(|| Core { key: labelled("cpu.core_busy_ratio", "core", name), last: None });
            if let Some(spent) = core.last.replace(times).map(|before| times.since(&before)) {
                out.push((Arc::clone(&core.key), float(spent.busy()) / float(spent.total())));
            }
        }
        let all = all.ok_or_else(|| SensorError::Malformed("/proc/stat".to_owned()))?;
        out.push((Arc::clone(&self.count), f64::from(count)));
        if let Some(spent) = self.last.replace(all).map(|before| all.since(&before)) {
            let parts = [spent.busy(), spent.user, spent.system, spent.iowait, spent.steal];
            for (key, part) in self.ratios.iter().zip(parts) {
                out.push((Arc::clone(key), float(part) / float(spent.total())));
            }
        }
        Ok(())
    }

    fn needs_two(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{FixtureHost, assert_golden, make, show, sweep, value};
    use super::*;

    #[test]
    fn ratios_are_of_the_time_between_two_sweeps() {
        let host = Arc::new(FixtureHost::new("before"));
        let mut cpu = make("cpu", &[("per_core", Value::Bool(true))]);
        assert_eq!(show(&sweep(&mut *cpu, &host)), "cpu.count 2\n");
        host.later(1000, "after");
        assert_golden("cpu", &sweep(&mut *cpu, &host));
    }

    #[test]
    fn no_time_gone_by_gives_no_number() {
        let host = Arc::new(FixtureHost::new("before"));
        let mut cpu = make("cpu", &[]);
        sweep(&mut *cpu, &host);
        let again = sweep(&mut *cpu, &host);
        assert!(value(&again, "cpu.busy_ratio").unwrap().is_nan(), "for the runner to drop");
    }

    #[test]
    fn steal_is_busy_and_a_falling_iowait_counts_as_nothing() {
        let before = Times::parse("10 0 10 100 50 0 0 5 0 0").unwrap();
        let after = Times::parse("20 5 20 110 40 1 1 10 0 0").unwrap();
        let spent = after.since(&before);
        assert_eq!((spent.busy(), spent.iowait, spent.total()), (15 + 12 + 5, 0, 42));
        assert!(Times::parse("1 2 3").is_none());
        assert!(Times::parse("1 2 3 4").is_some());
    }
}
