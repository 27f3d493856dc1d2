use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::Receiver;

use skynet_model::value::Value;

use super::*;
use crate::host::LocalHost;
use crate::sensors::all_builtin_uses;

const LONG: Duration = Duration::from_secs(20);

fn usage(sensor: &str, id: &str, every: i64) -> SensorUse {
    let spec = crate::catalogue().sensor(sensor).unwrap();
    let default = |p: &skynet_model::value::ParamSpec| Some((p.name.to_owned(), p.kind.parse(p.default?).unwrap()));
    SensorUse {
        sensor: spec.name,
        id: id.to_owned(),
        name: None,
        every: Span(every),
        params: spec.params.iter().filter_map(default).collect(),
    }
}

fn exec(id: &str, script: &str, every: i64) -> SensorUse {
    let mut usage = usage("exec", id, every);
    usage.params.insert("script".into(), Value::Text(script.into()));
    usage.params.insert("timeout".into(), Value::Duration(Span::seconds(60)));
    usage
}

fn scripts(pairs: &[(&str, &str)]) -> BTreeMap<String, Script> {
    let script = |body: &str| Script { interpreter: "/bin/sh".into(), body: body.into() };
    pairs.iter().map(|(name, body)| ((*name).to_owned(), script(body))).collect()
}

fn sink() -> (Sink, Receiver<Sweep>) {
    let (send, receive) = mpsc::channel();
    let send = Mutex::new(send);
    (Arc::new(move |sweep| drop(send.lock().unwrap().send(sweep))), receive)
}

fn local() -> (Runner, Receiver<Sweep>) {
    let (sink, sweeps) = sink();
    (Runner::new(Arc::new(LocalHost::new()), sink), sweeps)
}

/// The next sweep of a sensor.
fn next(sweeps: &Receiver<Sweep>, sensor: &str) -> Sweep {
    loop {
        let sweep = sweeps.recv_timeout(LONG).expect("a sweep in time");
        if &*sweep.sensor == sensor {
            return sweep;
        }
    }
}

/// The next sweep of a sensor that came to its end: on a busy machine the watchdog may speak of any.
fn ended(sweeps: &Receiver<Sweep>, sensor: &str) -> Sweep {
    loop {
        let sweep = next(sweeps, sensor);
        if sweep.result.as_ref().err().is_none_or(|words| !words.contains("has been running for")) {
            return sweep;
        }
    }
}

/// A file that scripts wait for to go away.
struct Gate(tempfile::NamedTempFile);

impl Gate {
    fn new() -> Self {
        Self(tempfile::NamedTempFile::new().unwrap())
    }
    fn script(&self) -> String {
        format!("while [ -e {} ]; do sleep 0.05; done", self.0.path().display())
    }
    fn open(self) {
        drop(self);
    }
}

#[test]
fn a_hanging_sensor_is_reported_once_an_interval_and_delays_no_other() {
    let gate = Gate::new();
    let (mut runner, sweeps) = local();
    let body = gate.script();
    runner.apply(&[exec("exec:hang", "hang", 200), usage("load", "load", 100)], &scripts(&[("hang", &body)]));
    let (mut hangs, mut loads) = (Vec::new(), Vec::new());
    // The gate stays shut meanwhile: were load delayed by it, it would never come to four sweeps.
    while hangs.len() < 3 || loads.len() < 4 {
        let sweep = sweeps.recv_timeout(LONG).unwrap();
        if &*sweep.sensor == "load" { loads.push(sweep) } else { hangs.push(sweep) }
    }
    let words = hangs[0].result.as_ref().unwrap_err();
    assert!(words.starts_with("exec:hang has been running for "), "{words}");
    for pair in hangs.windows(2) {
        assert!(pair[1].started_boot_ms - pair[0].started_boot_ms >= 200, "more than once an interval");
    }
    assert!(loads.iter().any(|sweep| sweep.result.is_ok()));
    gate.open();
    while next(&sweeps, "exec:hang").result.is_err() {}
}

#[test]
fn a_runner_is_dropped_without_waiting_for_a_hanging_sensor_and_is_silent_then() {
    let gate = Gate::new();
    let (mut runner, sweeps) = local();
    let body = gate.script();
    runner.apply(&[exec("exec:hang", "hang", 100)], &scripts(&[("hang", &body)]));
    assert!(next(&sweeps, "exec:hang").result.is_err());
    let threads = Arc::clone(&runner.threads);
    let begun = boot_ms();
    drop(runner);
    assert!(boot_ms() - begun < 5000);
    while sweeps.try_recv().is_ok() {}
    gate.open();
    let deadline = boot_ms() + 20_000;
    while threads.load(Ordering::SeqCst) > 0 {
        assert!(boot_ms() < deadline, "its thread never ends");
        std::thread::yield_now();
    }
    assert!(sweeps.try_recv().is_err(), "a stopped sensor spoke");
}

#[test]
fn a_new_policy_leaves_unchanged_sensors_running_without_a_gap() {
    let (mut runner, sweeps) = local();
    let both = scripts(&[("a", "echo OK"), ("b", "echo OK")]);
    let load = usage("load", "load", 100);
    let cpu = usage("cpu", "cpu", 100);
    runner.apply(&[cpu.clone(), load.clone(), exec("exec:a", "a", 100)], &both);
    // cpu knows ratios only from its second sweep on: a restart would lose them for one.
    let of_cpu = |sweep: &Sweep| sweep.result.as_ref().unwrap().len();
    let first = ended(&sweeps, "cpu");
    assert_eq!(of_cpu(&first), 1);
    let mut last = ended(&sweeps, "cpu").started_boot_ms;
    for round in 0..6 {
        let every = 200 + round;
        runner.apply(&[cpu.clone(), usage("load", "load", every), exec("exec:b", "b", every)], &both);
        let sweep = ended(&sweeps, "cpu");
        assert!(of_cpu(&sweep) > 1, "it was started anew in round {round}");
        assert!(sweep.started_boot_ms - last < 2000);
        last = sweep.started_boot_ms;
    }
    let changed = scripts(&[("b", "echo OK; exit 2")]);
    runner.apply(&[exec("exec:b", "b", 100)], &changed);
    while sweeps.try_recv().is_ok_and(|sweep| &*sweep.sensor != "exec:b") {}
    let deadline = boot_ms() + 20_000;
    loop {
        let sweep = ended(&sweeps, "exec:b");
        let state = sweep.result.unwrap().into_iter().find(|(key, _)| &*key.name == "exec.state").unwrap().1;
        if (state - 2.0).abs() < 0.1 {
            break;
        }
        assert!(boot_ms() < deadline, "a script's new text never took effect");
    }
}

#[test]
fn ticks_are_aligned_and_steady() {
    let (mut runner, sweeps) = local();
    runner.apply(&[usage("load", "load", 250)], &BTreeMap::new());
    let first = ended(&sweeps, "load").started_boot_ms;
    let mut before = first;
    let mut near = 0;
    for i in 0..8 {
        let at = ended(&sweeps, "load").started_boot_ms;
        assert!(i > 0 || at - first >= 125, "the second comes too soon after the first");
        near += u32::from(at % 250 < 60);
        assert!(at > before);
        before = at;
    }
    // One that is late now and then is the scheduler's doing; drift would make most of them late.
    assert!(near >= 5, "{near} of 8 sweeps were near a tick");
}

/// A host on which one path panics, counts sweeps, or gives nonsense.
struct Odd {
    local: LocalHost,
    reads: AtomicUsize,
    panics: bool,
}

impl Host for Odd {
    fn now(&self) -> Timestamp {
        self.local.now()
    }
    fn boot_ms(&self) -> i64 {
        self.local.boot_ms()
    }
    fn boot_id(&self) -> Result<String, crate::host::HostError> {
        self.local.boot_id()
    }
    fn read(&self, path: &Path, buf: &mut Vec<u8>) -> Result<(), crate::host::HostError> {
        let n = self.reads.fetch_add(1, Ordering::SeqCst);
        assert!(!(self.panics && n == 0), "the first read is a bug");
        buf.clear();
        match path.to_str().unwrap() {
            "/proc/loadavg" => buf.extend_from_slice(b"NaN 0.5 inf 1/2 3"),
            _ => return self.local.read(path, buf),
        }
        Ok(())
    }
    fn fs_stat(&self, path: &Path) -> Result<crate::host::FsStat, crate::host::HostError> {
        self.local.fs_stat(path)
    }
    fn list_processes(&self, into: &mut Vec<crate::host::Process>) -> Result<(), crate::host::HostError> {
        self.local.list_processes(into)
    }
    fn process(&self, pid: u32) -> Result<crate::host::Process, crate::host::HostError> {
        self.local.process(pid)
    }
    fn user_name(&self, uid: u32) -> String {
        self.local.user_name(uid)
    }
    fn run(&self, exec: &crate::host::Exec) -> Result<crate::host::ExecOutput, crate::host::HostError> {
        self.local.run(exec)
    }
    fn units(&self, units: &[String]) -> Result<Vec<crate::host::ServiceState>, crate::host::HostError> {
        self.local.units(units)
    }
    fn unit(&self, u: &str, v: crate::host::UnitVerb, t: Duration) -> Result<(), crate::host::HostError> {
        self.local.unit(u, v, t)
    }
    fn signal(&self, pid: u32, start: u64, signal: &str) -> Result<(), crate::host::HostError> {
        self.local.signal(pid, start, signal)
    }
    fn delete_files(&self, what: &crate::host::DeleteFiles) -> Result<crate::host::Deleted, crate::host::HostError> {
        self.local.delete_files(what)
    }
}

fn odd(panics: bool) -> Arc<dyn Host> {
    Arc::new(Odd { local: LocalHost::new(), reads: AtomicUsize::new(0), panics })
}

#[test]
fn a_panic_is_a_failed_sweep_and_the_next_one_is_fine() {
    let (sink, sweeps) = sink();
    let mut runner = Runner::new(odd(true), sink);
    runner.apply(&[usage("load", "load", 100)], &BTreeMap::new());
    assert_eq!(ended(&sweeps, "load").result.unwrap_err(), "load panicked: the first read is a bug");
    assert!(ended(&sweeps, "load").result.is_ok());
}

#[test]
fn values_that_are_not_finite_never_leave() {
    let sweeps = sweep_once(&odd(false), &[usage("load", "load", 100)], &BTreeMap::new(), Span(1));
    let names: Vec<_> = sweeps[0].result.as_ref().unwrap().iter().map(|(key, _)| key.to_string()).collect();
    assert_eq!(names, ["load.five", "load.runnable"]);
}

#[test]
fn readings_of_one_sweep_are_bounded() {
    let key = Arc::new(SeriesKey::plain("x"));
    let mut sample = vec![(key, 1.0); MAX_READINGS + 5];
    clean("x", &mut sample);
    assert_eq!(sample.len(), MAX_READINGS);
}

#[test]
fn sensors_beyond_the_bound_and_ids_used_twice_are_refused_aloud() {
    let (mut runner, sweeps) = local();
    let mut uses: Vec<_> = (0..=MAX_SENSORS).map(|i| usage("load", &format!("load:{i}"), 60_000)).collect();
    runner.apply(&uses, &BTreeMap::new());
    let refused = ended(&sweeps, &format!("load:{MAX_SENSORS}"));
    assert!(refused.result.unwrap_err().contains("at most 64"));
    assert_eq!(runner.workers.len(), MAX_SENSORS);
    uses.truncate(1);
    uses.push(uses[0].clone());
    runner.apply(&uses, &BTreeMap::new());
    let deadline = boot_ms() + 20_000;
    while ended(&sweeps, "load:0").result.is_ok() {
        assert!(boot_ms() < deadline, "nobody complained");
    }
    assert_eq!(runner.workers.len(), 1);
}

#[test]
fn one_look_at_this_machine_gives_rates_and_only_series_of_the_catalogue() {
    let host: Arc<dyn Host> = Arc::new(LocalHost::new());
    let mut uses = all_builtin_uses();
    uses.push(exec("exec:s", "s", 60_000));
    let sweeps = sweep_once(&host, &uses, &scripts(&[("s", "echo 'OK | a=1'")]), Span(300));
    assert_eq!(sweeps.len(), uses.len());
    let mut names = std::collections::BTreeSet::new();
    for sweep in &sweeps {
        let readings = sweep.result.as_ref().unwrap_or_else(|e| panic!("{}: {e}", sweep.sensor));
        assert!(!readings.is_empty(), "{}", sweep.sensor);
        for (key, value) in readings {
            assert!(value.is_finite());
            let (sensor, _) = crate::catalogue().series(&key.name).unwrap();
            assert!(sweep.sensor.starts_with(sensor.unwrap().name), "{key}");
            names.insert(key.name.to_string());
        }
    }
    for name in ["cpu.busy_ratio", "memory.used_ratio", "load.one", "process.memory_bytes", "exec.value"] {
        assert!(names.contains(name), "{name}");
    }
}

#[test]
fn hanging_threads_are_bounded_in_number() {
    let (mut runner, sweeps) = local();
    runner.threads.store(MAX_THREADS, Ordering::SeqCst);
    runner.apply(&[usage("load", "load", 100)], &BTreeMap::new());
    assert!(ended(&sweeps, "load").result.unwrap_err().contains("too many sensors hang"));
    assert!(runner.workers.is_empty());
    // A later policy finds room again.
    runner.threads.store(0, Ordering::SeqCst);
    runner.apply(&[usage("load", "load", 100)], &BTreeMap::new());
    assert!(ended(&sweeps, "load").result.is_ok());
}
