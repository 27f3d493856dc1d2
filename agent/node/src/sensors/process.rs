//! Processes: how many, and the top consumers of processor time and memory.

use std::cmp::Reverse;
use std::collections::BTreeMap;
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

/// What of a process is kept from sweep to sweep.
#[derive(Clone, Copy)]
struct Past {
    id: Id,
    ticks: u64,
}

/// A process' number in the listing, and why it may have series of its own.
#[derive(Clone, Copy)]
struct Ranked {
    rank: u64,
    id: Id,
}

/// Everything but `kept` is room that is used again: a sweep like the one before it allocates nothing.
struct Processes {
    top: usize,
    names: Vec<String>,
    counts: [Arc<SeriesKey>; 4],
    kept: BTreeMap<Id, Keys>,
    /// All processes of this sweep in order of number, and the cores each used since the sweep before; none for one that
    /// was not there then.
    all: Vec<Process>,
    ratios: Vec<Option<f64>>,
    /// Ticks of every process at the sweep before, in the same order, and when that was.
    last: Vec<Past>,
    last_at: Option<i64>,
    ranked: Vec<Ranked>,
    /// Who has series of its own, in order.
    chosen: Vec<Id>,
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
        all: Vec::new(),
        ratios: Vec::new(),
        last: Vec::new(),
        last_at: None,
        ranked: Vec::new(),
        chosen: Vec::new(),
    }))
}

fn id(process: &Process) -> Id {
    (process.pid, process.start)
}

/// The kernel keeps 15 bytes of a name.
fn is_named(process: &Process, name: &str) -> bool {
    process.name == name || (process.name.len() == 15 && name.len() > 15 && name.starts_with(&process.name))
}

/// Leaves the `n` with the highest rank in `ranked`; those without one never. Ranks are not negative, so their bits sort as
/// they do.
fn highest(
    all: &[Process],
    ratios: &[Option<f64>],
    ranked: &mut Vec<Ranked>,
    n: usize,
    rank: impl Fn(&Process, Option<f64>) -> Option<f64>,
) {
    ranked.clear();
    for (process, ratio) in all.iter().zip(ratios) {
        if let Some(rank) = rank(process, *ratio) {
            ranked.push(Ranked { rank: rank.to_bits(), id: id(process) });
        }
    }
    if n > 0 && ranked.len() > n {
        ranked.select_nth_unstable_by_key(n - 1, |r| (Reverse(r.rank), r.id));
    }
    ranked.truncate(n);
}

impl Processes {
    /// Works out what each process used since the sweep before. Both lists are in order of number.
    fn measure(&mut self, at: i64) {
        let elapsed = self.last_at.replace(at).map(|before| (at - before).max(0));
        let seconds = elapsed.and_then(|ms| u64::try_from(ms).ok()).filter(|ms| *ms > 0).map(|ms| float(ms) / 1000.0);
        let mut before = self.last.iter().peekable();
        self.ratios.clear();
        for process in &self.all {
            while before.next_if(|past| past.id < id(process)).is_some() {}
            let past = before.peek().filter(|past| past.id == id(process));
            let spent = past.map(|past| process.cpu_ticks.saturating_sub(past.ticks));
            self.ratios.push(spent.zip(seconds).map(|(ticks, seconds)| float(ticks) / TICKS_PER_S / seconds));
        }
        self.last.clear();
        self.last.extend(self.all.iter().map(|p| Past { id: id(p), ticks: p.cpu_ticks }));
    }

    /// Adds those that were ranked to those chosen.
    fn choose_ranked(&mut self) {
        for ranked in &self.ranked {
            if let Err(at) = self.chosen.binary_search(&ranked.id) {
                self.chosen.insert(at, ranked.id);
            }
        }
    }

    /// Who has series of its own from now on.
    fn choose(&mut self) {
        self.chosen.clear();
        let by_cpu = |_: &Process, ratio: Option<f64>| ratio.filter(|r| *r > 0.0);
        highest(&self.all, &self.ratios, &mut self.ranked, self.top, by_cpu);
        self.choose_ranked();
        let by_memory = |process: &Process, _| Some(float(process.rss_bytes)).filter(|r| *r > 0.0);
        highest(&self.all, &self.ratios, &mut self.ranked, self.top, by_memory);
        self.choose_ranked();
        for process in &self.all {
            if self.chosen.len() >= MAX_KEPT {
                break;
            }
            if self.names.iter().any(|name| is_named(process, name))
                && let Err(at) = self.chosen.binary_search(&id(process))
            {
                self.chosen.insert(at, id(process));
            }
        }
        // The others that were kept stay. When there is no more room the quietest leave: a series that ends counts as
        // cured, so it must not be one that anything could be wrong with.
        let memory = float(self.all.iter().map(|p| p.rss_bytes).sum::<u64>().max(1));
        let room = MAX_KEPT - self.chosen.len().min(MAX_KEPT);
        let stays = |process: &Process, ratio: Option<f64>| {
            let one = id(process);
            let stays = self.kept.contains_key(&one) && self.chosen.binary_search(&one).is_err();
            stays.then(|| ratio.unwrap_or(0.0).max(float(process.rss_bytes) / memory))
        };
        highest(&self.all, &self.ratios, &mut self.ranked, room, stays);
        self.choose_ranked();
    }
}

impl Sensor for Processes {
    fn sweep(&mut self, host: &Arc<dyn Host>, out: &mut Sample) -> Result<(), SensorError> {
        host.list_processes(&mut self.all)?;
        let at = host.boot_ms();
        let count = |state: &[char]| self.all.iter().filter(|p| state.contains(&p.state)).count();
        let counts = [self.all.len(), count(&['R']), count(&['Z']), count(&['D'])];
        for (key, n) in self.counts.iter().zip(counts) {
            out.push((Arc::clone(key), float(n as u64)));
        }
        self.measure(at);
        self.choose();
        self.kept.retain(|id, _| self.chosen.binary_search(id).is_ok());
        for (process, ratio) in self.all.iter().zip(&self.ratios) {
            if self.chosen.binary_search(&id(process)).is_err() {
                continue;
            }
            let keys = self.kept.entry(id(process)).or_insert_with(|| {
                let (pid, start) = (process.pid.to_string(), process.start.to_string());
                let user = host.user_name(process.uid);
                let labels = [("pid", &*pid), ("start", &*start), ("name", cut(&process.name)), ("user", cut(&user))];
                let key = |name| Arc::new(SeriesKey::new(name, labels));
                Keys { cpu: key("process.cpu_ratio"), memory: key("process.memory_bytes") }
            });
            if let Some(ratio) = ratio {
                out.push((Arc::clone(&keys.cpu), *ratio));
            }
            out.push((Arc::clone(&keys.memory), float(process.rss_bytes)));
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
