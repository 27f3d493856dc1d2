//! Sensors on one side, the spool on the other: what a sensor sees is taken in here, whoever listens or does not.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skynet_model::policy::{Bundle, load_sensors};
use skynet_model::series::Labels;
use skynet_node::actor::Ceiling;
use skynet_node::host::Host;
use skynet_node::runner::{Runner, Sweep};
use tokio::sync::Notify;

use crate::health::Health;
use crate::spool::Spool;

/// What sensors' threads and the session share.
#[derive(Debug)]
pub struct Shared {
    held: Mutex<Held>,
    /// Told when there is something new to send.
    pub news: Notify,
}

/// Readings and health that are to be sent.
#[derive(Debug)]
pub struct Held {
    /// Readings.
    pub spool: Spool,
    /// Sensors' health.
    pub health: Health,
}

impl Shared {
    /// Nothing held yet.
    #[must_use]
    pub fn new(spool: Spool) -> Arc<Self> {
        Arc::new(Self { held: Mutex::new(Held { spool, health: Health::default() }), news: Notify::new() })
    }

    /// What is held. Never keep it over an await.
    pub fn lock(&self) -> MutexGuard<'_, Held> {
        // What is held is whole after every call, even one that panicked.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a sweep in.
    pub fn push(&self, sweep: Sweep) {
        let mut held = self.lock();
        let error = sweep.result.as_ref().err().map(String::as_str);
        if held.health.note(&sweep.sensor, error) {
            match error {
                Some(error) => tracing::info!(sensor = %sweep.sensor, error, "a sensor fails"),
                None => tracing::info!(sensor = %sweep.sensor, "a sensor is well again"),
            }
        }
        held.spool.push(sweep);
        drop(held);
        self.news.notify_one();
    }
}

/// The policy that decides what is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InForce {
    /// Its version; 0: none.
    pub version: u64,
    /// Its digest.
    pub digest: String,
    /// The labels that came with it.
    pub labels: Labels,
}

/// The running sensors.
pub struct Sensing {
    runner: Option<Runner>,
    shared: Arc<Shared>,
    ceiling: Ceiling,
    /// What decides what runs.
    pub in_force: InForce,
    /// Ids of sensors that run.
    running: Vec<String>,
}

impl Sensing {
    /// Nothing runs yet.
    #[must_use]
    pub fn new(host: Arc<dyn Host>, shared: Arc<Shared>, ceiling: Ceiling) -> Self {
        let sink = shared.clone();
        let runner = Runner::new(host, Arc::new(move |sweep| sink.push(sweep)));
        Self { runner: Some(runner), shared, ceiling, in_force: InForce::default(), running: Vec::new() }
    }

    /// Puts a bundle in force that the acting process has taken. Sensors that stay the same go on without a gap. Returns
    /// the ids of those that ended.
    ///
    /// # Errors
    /// A sentence; then everything stays as it was.
    pub fn apply(&mut self, bundle: &str, labels: &Labels) -> Result<Vec<String>, String> {
        let decoded = Bundle::decode(bundle.as_bytes()).map_err(|e| e.to_string())?;
        let mut policy = load_sensors(&decoded.files, skynet_node::catalogue()).map_err(|mistakes| {
            let first = mistakes.first().map(ToString::to_string).unwrap_or_default();
            format!("policy does not load here: {first}")
        })?;
        policy.profiles.retain(|name, _| self.ceiling.accepts(name));
        let uses: Vec<_> = policy.sensors_for(labels).into_iter().cloned().collect();
        if let Some(runner) = &mut self.runner {
            runner.apply(&uses, &policy.scripts);
        }
        let digest = Bundle::digest(bundle.as_bytes());
        self.in_force = InForce { version: decoded.version, digest, labels: labels.clone() };
        let runs: Vec<String> = uses.into_iter().map(|usage| usage.id).collect();
        self.shared.lock().health.retain(|sensor| runs.iter().any(|id| id == sensor));
        let ended = std::mem::replace(&mut self.running, runs);
        let ended = ended.into_iter().filter(|id| !self.running.contains(id)).collect();
        tracing::info!(version = self.in_force.version, sensors = self.running.len(), "policy is in force");
        Ok(ended)
    }

    /// Ends all sensors.
    pub fn stop(&mut self) {
        self.runner = None;
    }
}

impl std::fmt::Debug for Sensing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sensing").field("in_force", &self.in_force).field("running", &self.running).finish()
    }
}
