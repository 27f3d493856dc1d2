//! One sensor on its thread.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use skynet_model::policy::{Script, SensorUse};
use skynet_model::time::Span;

use super::{MIN_EVERY, Sink, Sweep, clean};
use crate::host::Host;
use crate::host::local::boot_ms;
use crate::sensors::{self, Sample, Sensor};

/// A sensor reads files and parses text: little stack will do.
const STACK: usize = 256 << 10;

/// What a worker runs: equal jobs are the same sensor.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Job {
    pub(super) usage: SensorUse,
    /// Only those that the use names.
    scripts: BTreeMap<String, Script>,
}

impl Job {
    pub(super) fn new(usage: &SensorUse, scripts: &BTreeMap<String, Script>) -> Self {
        let named = sensors::scripts_of(usage).filter_map(|name| Some((name.to_owned(), scripts.get(name)?.clone())));
        Self { scripts: named.collect(), usage: usage.clone() }
    }

    fn build(&self) -> Box<dyn Sensor> {
        sensors::build(&self.usage, &self.scripts)
    }

    pub(super) fn failed(&self, host: &dyn Host, words: String) -> Sweep {
        Sweep {
            sensor: self.usage.id.as_str().into(),
            every: self.usage.every,
            started: host.now(),
            started_boot_ms: host.boot_ms(),
            result: Err(words),
        }
    }

    /// One sweep on a sensor of its own; two where rates need them.
    pub(super) fn once(&self, host: &Arc<dyn Host>, apart: Span) -> Sweep {
        let mut sensor = self.build();
        let id: Arc<str> = self.usage.id.as_str().into();
        let first = self.sweep(&mut sensor, &id, host, 0);
        if first.result.is_err() || !sensor.needs_two() {
            return first;
        }
        std::thread::sleep(apart.std());
        self.sweep(&mut sensor, &id, host, 0)
    }

    /// A panic is a failed sweep; the sensor is built anew then, for nobody knows what it left behind.
    fn sweep(&self, sensor: &mut Box<dyn Sensor>, id: &Arc<str>, host: &Arc<dyn Host>, expected: usize) -> Sweep {
        let (started, started_boot_ms) = (host.now(), host.boot_ms());
        let mut sample: Sample = Vec::with_capacity(expected);
        let result = match catch_unwind(AssertUnwindSafe(|| sensor.sweep(host, &mut sample))) {
            Ok(Ok(())) => {
                clean(id, &mut sample);
                Ok(sample)
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(panic) => {
                *sensor = self.build();
                Err(format!("{id} panicked: {}", words_of(&*panic)))
            }
        };
        Sweep { sensor: Arc::clone(id), every: self.usage.every, started, started_boot_ms, result }
    }
}

fn words_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without words")
}

/// A thread for a sensor; the kernel keeps 15 bytes of the name.
pub(super) fn thread(id: &str) -> std::thread::Builder {
    std::thread::Builder::new().name(id.replace('\0', "")).stack_size(STACK)
}

/// What worker, watchdog and runner share. The sink is called under the lock: so sweeps of a sensor come in order, and
/// none after it was stopped.
#[derive(Debug, Default)]
struct State {
    stopped: bool,
    /// By the local boot clock: when the sweep that runs now began.
    running: Option<i64>,
    /// When the watchdog last spoke of it.
    reported: i64,
}

#[derive(Debug)]
pub(super) struct Watched {
    job: Job,
    id: Arc<str>,
    state: Mutex<State>,
    wake: Condvar,
}

impl Watched {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn every(&self) -> i64 {
        self.job.usage.every.max(MIN_EVERY).0
    }

    pub(super) fn interval(&self) -> Span {
        Span(self.every())
    }

    /// Reports a sweep that has been running for its interval, and then once an interval.
    pub(super) fn look(&self, host: &dyn Host, sink: &Sink) {
        let now = boot_ms();
        let mut state = self.lock();
        let Some(since) = state.running.filter(|_| !state.stopped) else { return };
        if now - since.max(state.reported) < self.every() {
            return;
        }
        state.reported = now;
        let whole = Span::seconds((now - since) / 1000);
        let span = if whole.0 > 0 { whole } else { Span(now - since) };
        sink(self.job.failed(host, format!("{} has been running for {span}", self.id)));
    }

    /// Waits for the boot clock to reach `tick`; false when stopped.
    fn wait_until(&self, tick: i64) -> bool {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return false;
            }
            let left = tick - boot_ms();
            if left <= 0 {
                return true;
            }
            let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
            state = self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The first multiple of the interval after `now`.
    fn next_tick(&self, now: i64) -> i64 {
        (now / self.every() + 1) * self.every()
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.lock().stopped
    }
}

/// A sensor on its way from sweep to sweep, on whatever thread.
pub(super) struct Turn {
    pub(super) watched: Arc<Watched>,
    sensor: Box<dyn Sensor>,
    /// How many readings the sweep before had.
    expected: usize,
    /// When the next sweep is due, by the local boot clock, and the one after it.
    pub(super) due: i64,
    after: i64,
}

impl Turn {
    pub(super) fn new(watched: Arc<Watched>) -> Self {
        // The first sweep is at once; the second not so soon after it that rates would be of nearly nothing.
        let now = boot_ms();
        let after = watched.next_tick(now + watched.every() / 2);
        Self { sensor: watched.job.build(), watched, expected: 0, due: now, after }
    }

    /// One sweep; false when it was stopped.
    pub(super) fn sweep(&mut self, host: &Arc<dyn Host>, sink: &Sink) -> bool {
        let watched = &self.watched;
        {
            let mut state = watched.lock();
            if state.stopped {
                return false;
            }
            state.running = Some(boot_ms());
        }
        let sweep = watched.job.sweep(&mut self.sensor, &watched.id, host, self.expected);
        self.expected = sweep.result.as_ref().map_or(0, Vec::len);
        {
            let mut state = watched.lock();
            state.running = None;
            if state.stopped {
                return false;
            }
            sink(sweep);
        }
        let now = boot_ms();
        self.due = if now >= self.after { watched.next_tick(now) } else { self.after };
        self.after = self.due + watched.every();
        true
    }

    fn run(mut self, host: &Arc<dyn Host>, sink: &Sink) {
        while self.sweep(host, sink) && self.watched.wait_until(self.due) {}
    }
}

/// A running sensor; dropping it stops it. Its thread ends by itself: at once when it waits, after its sweep when it
/// runs.
#[derive(Debug)]
pub(super) struct Worker {
    watched: Arc<Watched>,
}

impl Worker {
    /// One that another thread takes its turns for.
    pub(super) fn of(job: Job) -> Self {
        let id: Arc<str> = job.usage.id.as_str().into();
        Self { watched: Arc::new(Watched { job, id, state: Mutex::default(), wake: Condvar::new() }) }
    }

    /// One on a thread of its own.
    pub(super) fn start(
        job: Job,
        (host, sink, threads): (Arc<dyn Host>, Sink, Arc<AtomicUsize>),
    ) -> std::io::Result<Self> {
        let worker = Self::of(job);
        let mine = worker.watched();
        let counted = Arc::clone(&threads);
        counted.fetch_add(1, Ordering::SeqCst);
        let spawned = thread(&worker.watched.id).spawn(move || {
            Turn::new(mine).run(&host, &sink);
            threads.fetch_sub(1, Ordering::SeqCst);
        });
        if spawned.is_err() {
            counted.fetch_sub(1, Ordering::SeqCst);
        }
        spawned.map(|_| worker)
    }

    pub(super) fn job(&self) -> &Job {
        &self.watched.job
    }

    pub(super) fn watched(&self) -> Arc<Watched> {
        Arc::clone(&self.watched)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.watched.lock().stopped = true;
        self.watched.wake.notify_all();
    }
}
