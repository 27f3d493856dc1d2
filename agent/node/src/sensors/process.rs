//! Processes: how many, and the top consumers of processor time and memory.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use skynet_model::catalogue::{SensorSpec, SeriesSpec, Unit};
use skynet_model::policy::{Script, SensorUse};
use skynet_model::series::SeriesKey;
use skynet_model::time::Span;
use skynet_model::value::{ParamKind, ParamSpec, Value};

use super::{Sample, Sensor, SensorError, cut, float, plain, series, texts};
use crate::host::{Host, Process};

/// Most processes that have series of their own at one time.
const MAX_KEPT: usize = 50;
/// Clock ticks a second, as user space sees them: the kernel's USER_HZ, 100 on every architecture we build for.
const TICKS_PER_S: f64 = 100.0;

const LABELS: &[&str] = &["pid", "start", "name", "user"];

const fn of_one(name: &'static str, unit: Unit, help: &'static str) -> SeriesSpec {
    SeriesSpec { name, labels: LABELS, open_labels: false, unit, ephemeral: true, help }
}

/// The catalogue entry.
pub(super) const SPEC: SensorSpec = SensorSpec {
    name: "process",
    help: "numbers of processes, and the top consumers by cpu and by memory, each kept until it exits (at most 50)",
    every: Span::seconds(10),
    params: &[
        ParamSpec {
            name: "top",
            kind: ParamKind::Int { min: 1, max: 20 },
            required: false,
            default: Some("5"),
            help: "how many by cpu, and how many by memory",
        },
        ParamSpec {
            name: "names",
            kind: ParamKind::List(&ParamKind::Text),
            required: false,
            default: None,
            help: "processes of these names (the first 15 bytes) are always among them",
        },
    ],
    series: &[
        series("process.count", &[], Unit::Count, "processes"),
        series("process.running_count", &[], Unit::Count, "processes that run or can run"),
        series("process.zombie_count", &[], Unit::Count, "processes that ended and were not waited for"),
        series("process.blocked_count", &[], Unit::Count, "processes in uninterruptible sleep"),
        of_one("process.cpu_ratio", Unit::Ratio, "cores used since the sweep before; 1 is one full core"),
        of_one("process.memory_bytes", Unit::Bytes, "resident memory"),
    ],
};

/// A process for good: its number, and when it began in ticks since boot.
type Id = (u32, u64);

struct Keys {
    cpu: Arc<SeriesKey>,
    memory: Arc<SeriesKey>,
}

struct Processes {
    top: usize,
    names: Vec<String>,
    counts: [Arc<SeriesKey>; 4],
    kept: BTreeMap<Id, Keys>,
    /// Ticks of every process at the sweep before, and when that was.
    last: HashMap<Id, u64>,
    last_at: Option<i64>,
}

/// See [`super::build`].
pub(super) fn build(usage: &SensorUse, _: &BTreeMap<String, Script>) -> Result<Box<dyn Sensor>, SensorError> {
    let top = usage.params.get("top").and_then(Value::as_int).unwrap_or(5);
    let names = ["process.count", "process.running_count", "process.zombie_count", "process.blocked_count"];
    Ok(Box::new(Processes {
        top: usize::try_from(top).unwrap_or(5),
        names: texts(usage, "names"),
        counts: names.map(plain),
        kept: BTreeMap::new(),
        last: HashMap::new(),
        last_at: None,
    }))
}

/// A process with what it used since the sweep before; no ratio for one that was not there then.
struct Seen {
    process: Process,
    ratio: Option<f64>,
}

impl Seen {
    fn id(&self) -> Id {
        (self.process.pid, self.process.start)
    }
}

/// The kernel keeps 15 bytes of a name.
fn is_named(process: &Process, name: &str) -> bool {
    process.name == name || (process.name.len() == 15 && name.len() > 15 && name.starts_with(&process.name))
}

/// The `n` with the highest rank; those without one never. Ranks are positive, so their bits sort as they do.
fn highest(seen: &[Seen], n: usize, rank: impl Fn(&Seen) -> Option<f64>) -> Vec<Id> {
    let mut ranked: Vec<(u64, Id)> =
        seen.iter().filter_map(|s| rank(s).filter(|r| *r > 0.0).map(|r| (r.to_bits(), s.id()))).collect();
    ranked.sort_unstable_by_key(|(rank, id)| (Reverse(*rank), *id));
    ranked.into_iter().take(n).map(|(_, id)| id).collect()
}

impl Processes {
    fn measure(&mut self, processes: Vec<Process>, at: i64) -> Vec<Seen> {
        let elapsed = self.last_at.replace(at).map(|before| (at - before).max(0));
        let seconds = elapsed.and_then(|ms| u64::try_from(ms).ok()).filter(|ms| *ms > 0).map(|ms| float(ms) / 1000.0);
        let mut now = HashMap::with_capacity(processes.len());
        let mut seen = Vec::with_capacity(processes.len());
        for process in processes {
            let id = (process.pid, process.start);
            let spent = self.last.get(&id).map(|before| process.cpu_ticks.saturating_sub(*before));
            let ratio = spent.zip(seconds).map(|(ticks, seconds)| float(ticks) / TICKS_PER_S / seconds);
            now.insert(id, process.cpu_ticks);
            seen.push(Seen { process, ratio });
        }
        self.last = now;
        seen
    }

    /// Who has series of its own from now on.
    fn choose(&self, seen: &[Seen]) -> BTreeSet<Id> {
        let mut top: BTreeSet<Id> = highest(seen, self.top, |s| s.ratio).into_iter().collect();
        top.extend(highest(seen, self.top, |s| Some(float(s.process.rss_bytes))));
        let named = seen.iter().filter(|s| self.names.iter().any(|name| is_named(&s.process, name)));
        let named: Vec<Id> = named.map(Seen::id).take(MAX_KEPT - top.len().min(MAX_KEPT)).collect();
        top.extend(named);
        // The others that were kept stay. When there is no more room the quietest leave: a series that ends counts as
        // cured, so it must not be one that anything could be wrong with.
        let all = float(seen.iter().map(|s| s.process.rss_bytes).sum::<u64>().max(1));
        let room = MAX_KEPT - top.len().min(MAX_KEPT);
        let mut others: Vec<(u64, Id)> = seen
            .iter()
            .filter(|s| self.kept.contains_key(&s.id()) && !top.contains(&s.id()))
            .map(|s| (s.ratio.unwrap_or(0.0).max(float(s.process.rss_bytes) / all).to_bits(), s.id()))
            .collect();
        others.sort_unstable_by_key(|(rank, id)| (Reverse(*rank), *id));
        top.extend(others.into_iter().take(room).map(|(_, id)| id));
        top
    }
}

impl Sensor for Processes {
    fn sweep(&mut self, host: &Arc<dyn Host>, out: &mut Sample) -> Result<(), SensorError> {
        let processes = host.processes()?;
        let at = host.boot_ms();
        let count = |state: &[char]| processes.iter().filter(|p| state.contains(&p.state)).count();
        let counts = [processes.len(), count(&['R']), count(&['Z']), count(&['D'])];
        for (key, n) in self.counts.iter().zip(counts) {
            out.push((Arc::clone(key), float(n as u64)));
        }
        let seen = self.measure(processes, at);
        let chosen = self.choose(&seen);
        self.kept.retain(|id, _| chosen.contains(id));
        for s in seen.iter().filter(|s| chosen.contains(&s.id())) {
            let keys = self.kept.entry(s.id()).or_insert_with(|| {
                let p = &s.process;
                let (pid, start, user) = (p.pid.to_string(), p.start.to_string(), host.user_name(p.uid));
                let labels = [("pid", &*pid), ("start", &*start), ("name", cut(&p.name)), ("user", cut(&user))];
                let key = |name| Arc::new(SeriesKey::new(name, labels));
                Keys { cpu: key("process.cpu_ratio"), memory: key("process.memory_bytes") }
            });
            if let Some(ratio) = s.ratio {
                out.push((Arc::clone(&keys.cpu), ratio));
            }
            out.push((Arc::clone(&keys.memory), float(s.process.rss_bytes)));
        }
        Ok(())
    }

    fn needs_two(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{FixtureHost, assert_golden, list, make, sweep};
    use super::*;

    fn process(pid: u32, cpu_ticks: u64, rss_bytes: u64) -> Process {
        Process { pid, start: 7, name: format!("p{pid}"), cpu_ticks, rss_bytes, state: 'S', uid: 33 }
    }

    fn set(host: &FixtureHost, processes: Vec<Process>) {
        *host.processes.lock().unwrap() = Some(processes);
    }

    fn pids(sample: &Sample, series: &str) -> Vec<u32> {
        let of = sample.iter().filter(|(key, _)| &*key.name == series);
        of.map(|(key, _)| key.labels.get("pid").unwrap().parse().unwrap()).collect()
    }

    #[test]
    fn counts_and_top_consumers_are_given() {
        let host = Arc::new(FixtureHost::new("before"));
        let mut sensor = make("process", &[("top", Value::Int(2))]);
        let first = sweep(&mut *sensor, &host);
        assert_eq!(pids(&first, "process.cpu_ratio"), [0u32; 0]);
        assert_eq!(pids(&first, "process.memory_bytes"), [812, 900]);
        host.later(10_000, "after");
        assert_golden("process", &sweep(&mut *sensor, &host));
    }

    #[test]
    fn a_top_consumer_is_kept_until_it_exits() {
        let host = Arc::new(FixtureHost::new("before"));
        let mut sensor = make("process", &[("top", Value::Int(1))]);
        set(&host, vec![process(1, 0, 100), process(2, 0, 10), process(3, 0, 10)]);
        sweep(&mut *sensor, &host);
        host.wait(1000);
        set(&host, vec![process(1, 0, 100), process(2, 100, 10), process(3, 0, 10)]);
        assert_eq!(pids(&sweep(&mut *sensor, &host), "process.cpu_ratio"), [1, 2]);
        host.wait(1000);
        set(&host, vec![process(1, 0, 100), process(2, 100, 10), process(3, 50, 10)]);
        let sample = sweep(&mut *sensor, &host);
        assert_eq!(pids(&sample, "process.cpu_ratio"), [1, 2, 3], "2 is idle now and still there");
        host.wait(1000);
        // Its number is taken by another process: the old one is gone.
        set(&host, vec![process(1, 0, 100), Process { start: 8, ..process(2, 0, 10) }, process(3, 50, 10)]);
        assert_eq!(pids(&sweep(&mut *sensor, &host), "process.memory_bytes"), [1, 3]);
    }

    #[test]
    fn at_most_fifty_are_kept_and_the_busy_ones_are_never_those_that_leave() {
        let host = Arc::new(FixtureHost::new("before"));
        let mut sensor = make("process", &[("top", Value::Int(20))]);
        let mut all: Vec<Process> = (1..=200).map(|pid| process(pid, 0, 1000)).collect();
        let mut last = Vec::new();
        for round in 0..10 {
            // Ticks for ever other processes; number 150 always has the most.
            for p in all.iter_mut().filter(|p| p.pid / 20 == round % 10) {
                p.cpu_ticks += 5;
            }
            all[149].cpu_ticks += 90;
            set(&host, all.clone());
            last = sweep(&mut *sensor, &host);
            host.wait(1000);
            assert!(pids(&last, "process.memory_bytes").len() <= MAX_KEPT);
            assert!(round == 0 || pids(&last, "process.cpu_ratio").contains(&150), "round {round}");
        }
        assert_eq!(pids(&last, "process.memory_bytes").len(), MAX_KEPT);
    }

    #[test]
    fn processes_named_in_the_policy_are_always_there() {
        let host = Arc::new(FixtureHost::new("before"));
        let long = "a-very-long-program-name";
        let names = list(&["p3", long]);
        let mut sensor = make("process", &[("top", Value::Int(1)), ("names", names)]);
        let cut = Process { name: long[..15].to_owned(), ..process(4, 0, 1) };
        set(&host, vec![process(1, 0, 100), process(2, 0, 10), process(3, 0, 10), cut]);
        assert_eq!(pids(&sweep(&mut *sensor, &host), "process.memory_bytes"), [1, 3, 4]);
    }

    #[test]
    fn keys_are_the_same_ones_from_sweep_to_sweep() {
        let host = Arc::new(FixtureHost::new("before"));
        let mut sensor = make("process", &[]);
        let first = sweep(&mut *sensor, &host);
        host.wait(1000);
        let second = sweep(&mut *sensor, &host);
        for (key, _) in &first {
            assert!(second.iter().any(|(other, _)| Arc::ptr_eq(key, other)), "{key}");
        }
    }
}
