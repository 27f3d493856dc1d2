//! Runs sensors: a thread each, so that a slow or hanging one never delays another; those that never wait share one.
//!
//! Ticks are aligned to multiples of a sensor's interval on the boot clock, so that sensors of a machine wake it
//! together and the spacing never drifts. A tick that falls into a running sweep is skipped, never queued. A watchdog
//! reports a sweep that takes longer than its interval, once an interval.
//!
//! What must never enter: what any one sensor reads.

mod together;
mod watchdog;
mod worker;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use skynet_model::policy::{Script, SensorUse};
use skynet_model::series::SeriesKey;
use skynet_model::time::{Span, Timestamp};

use crate::host::Host;
use crate::host::local::boot_ms;
use crate::sensors;
use together::Together;
use watchdog::Watchdog;
use worker::{Job, Worker};

/// Most sensors of one server.
pub const MAX_SENSORS: usize = 64;
/// Most threads, those of stopped sensors that still hang among them.
const MAX_THREADS: usize = 2 * MAX_SENSORS;
/// Most readings of one sweep; what is beyond them is dropped, and said.
pub const MAX_READINGS: usize = 10_000;
/// Shortest interval.
const MIN_EVERY: Span = Span(100);

/// One run of one sensor.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The sensor's id on the server: `cpu`, `exec:queue`.
    pub sensor: Arc<str>,
    /// Its interval.
    pub every: Span,
    /// When it began, by the server's wall clock. For a sweep that still runs: when that was found.
    pub started: Timestamp,
    /// The same by the boot clock.
    pub started_boot_ms: i64,
    /// All that the sensor sees, values finite; or why it failed.
    pub result: Result<Vec<(Arc<SeriesKey>, f64)>, String>,
}

/// Where sweeps go. It must not block, and must not call the runner back. Sweeps of one sensor come in order; after
/// [`Runner::apply`] or a drop has returned, none comes from a sensor that was stopped.
pub type Sink = Arc<dyn Fn(Sweep) + Send + Sync>;

/// Running sensors. Dropping it stops them; one that hangs is not waited for and never heard of again.
pub struct Runner {
    host: Arc<dyn Host>,
    sink: Sink,
    workers: BTreeMap<String, Worker>,
    watchdog: Option<Watchdog>,
    together: Option<Together>,
    threads: Arc<AtomicUsize>,
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner").field("sensors", &self.workers.keys()).finish_non_exhaustive()
    }
}

impl Runner {
    /// Nothing runs yet.
    #[must_use]
    pub fn new(host: Arc<dyn Host>, sink: Sink) -> Self {
        Self {
            host,
            sink,
            workers: BTreeMap::new(),
            watchdog: None,
            together: None,
            threads: Arc::new(AtomicUsize::new(0)),
        }
    }

    /// Makes exactly these sensors run: unchanged ones go on without a gap, others stop, new ones start at once. A use
    /// that cannot run (more than [`MAX_SENSORS`], no thread) is told to the sink as a failed sweep.
    pub fn apply(&mut self, uses: &[SensorUse], scripts: &BTreeMap<String, Script>) {
        let mut before = std::mem::take(&mut self.workers);
        let mut fresh: Vec<Job> = Vec::new();
        for usage in uses {
            let job = Job::new(usage, scripts);
            if self.workers.contains_key(&usage.id) || fresh.iter().any(|other| other.usage.id == usage.id) {
                self.refuse(&job, &format!("the policy uses `{}` twice on this server; give each a name", usage.id));
            } else if self.workers.len() + fresh.len() >= MAX_SENSORS {
                self.refuse(
                    &job,
                    &format!("a server runs at most {MAX_SENSORS} sensors; take some out of its profiles"),
                );
            } else if let Some(worker) = before.remove(&usage.id).filter(|worker| worker.job() == &job) {
                self.workers.insert(usage.id.clone(), worker);
            } else {
                fresh.push(job);
            }
        }
        // Those that go stop before those that come start: one id never speaks with two voices.
        drop(before);
        for job in fresh {
            let started = if !sensors::waits(&job.usage) {
                self.join(job.clone()).map_err(|e| format!("no thread for it: {e}"))
            } else if self.threads.load(Ordering::SeqCst) >= MAX_THREADS {
                Err("too many sensors hang; restart the agent".to_owned())
            } else {
                let parts = (Arc::clone(&self.host), Arc::clone(&self.sink), Arc::clone(&self.threads));
                Worker::start(job.clone(), parts).map_err(|e| format!("no thread for it: {e}"))
            };
            match started {
                Ok(worker) => drop(self.workers.insert(job.usage.id.clone(), worker)),
                Err(words) => self.refuse(&job, &words),
            }
        }
        let watched = self.workers.values().map(Worker::watched).collect();
        let (host, sink) = (Arc::clone(&self.host), Arc::clone(&self.sink));
        match &self.watchdog {
            Some(watchdog) => watchdog.watch(watched),
            None => match Watchdog::start(watched, host, sink) {
                Ok(watchdog) => self.watchdog = Some(watchdog),
                Err(error) => tracing::error!("sensors run unwatched, no thread for a watchdog: {error}"),
            },
        }
    }

    /// A sensor that never waits takes its turns with its like.
    fn join(&mut self, job: Job) -> std::io::Result<Worker> {
        let together = match self.together.take() {
            Some(together) => together,
            None => Together::start(Arc::clone(&self.host), Arc::clone(&self.sink))?,
        };
        let worker = Worker::of(job);
        together.add(worker.watched());
        self.together = Some(together);
        Ok(worker)
    }

    fn refuse(&self, job: &Job, words: &str) {
        tracing::error!(sensor = %job.usage.id, "does not run: {words}");
        (self.sink)(job.failed(&*self.host, words.to_owned()));
    }
}

/// The one place where what must not leave is kept back: values that are not finite, and more than [`MAX_READINGS`].
fn clean(sensor: &str, sample: &mut Vec<(Arc<SeriesKey>, f64)>) {
    sample.retain(|(_, value)| value.is_finite());
    if sample.len() > MAX_READINGS {
        tracing::warn!(sensor, "{} readings in one sweep; {MAX_READINGS} are taken", sample.len());
        sample.truncate(MAX_READINGS);
    }
}

/// Every sensor once (rates need two samples: those are taken `apart`), for `readings --once`. One that has not ended
/// after a minute is given as failed.
#[must_use]
pub fn sweep_once(
    host: &Arc<dyn Host>,
    uses: &[SensorUse],
    scripts: &BTreeMap<String, Script>,
    apart: Span,
) -> Vec<Sweep> {
    let patience = Span(apart.0.saturating_add(60_000));
    let deadline = boot_ms().saturating_add(patience.0);
    let mut waiting = Vec::new();
    for usage in uses.iter().take(MAX_SENSORS) {
        let job = Job::new(usage, scripts);
        let (done, result) = mpsc::channel();
        let (host, once) = (Arc::clone(host), job.clone());
        let thread = worker::thread(&usage.id).spawn(move || drop(done.send(once.once(&host, apart))));
        waiting.push((job, thread.map(|_| result)));
    }
    let wait = |(job, result): (Job, std::io::Result<mpsc::Receiver<Sweep>>)| {
        let left = Duration::from_millis(u64::try_from(deadline - boot_ms()).unwrap_or(0));
        let words = match result.map(|result| result.recv_timeout(left)) {
            Ok(Ok(sweep)) => return sweep,
            Ok(Err(_)) => format!("{} has been running for {patience}", job.usage.id),
            Err(error) => format!("no thread for it: {error}"),
        };
        job.failed(&**host, words)
    };
    waiting.into_iter().map(wait).collect()
}

#[cfg(test)]
mod tests;
