//! Load: simulated agents on real connections, against a real controller.
//!
//! Each agent has its own certificate, TCP connection and gRPC session, and speaks through the real encoder and the real
//! protocol: hello, inventory, pongs, readings with rising numbers that are kept until they are acknowledged, outcomes
//! from a ledger that outlives sessions. What is simulated: the readings (`host` says how values move) and the
//! effects, which are counted instead of done. All agents of a load live on one thread.
//!
//! What must never enter: knowledge of what a test or a figure makes of it.

mod agent;
mod clock;
pub(crate) mod host;
mod kept;
mod ledger;
mod policy;
mod tally;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use skynet_model::name::{CommandId, ServerId};
use skynet_model::series::SeriesKey;
use skynet_model::time::Timestamp;
use skynet_proto::identity::Role;
use skynet_proto::tls::Files;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::Instant;

use agent::{Agent, Control, Fleet, Past};
use host::Layout;
use kept::Kept;
use ledger::Ledger;
use tally::Tally;

pub use host::FIRE;
pub use policy::{FIRE_SCENARIO, SCENARIOS, policy};
pub use tally::{EffectCount, Stats};

/// TLS handshakes at a time.
const DOORS: usize = 64;

/// What a load is.
#[derive(Clone, Debug)]
pub struct LoadConfig {
    /// Where the controller listens for agents.
    pub controller: SocketAddr,
    /// The folder that `skynet_controller::certs::generate` filled.
    pub certs: PathBuf,
    /// The servers, one agent each.
    pub servers: Vec<String>,
    /// Series of each server, [`FIRE`] the first of them.
    pub series: usize,
    /// How often each server sends all of its series, in one batch; the servers' turns are spread over it.
    pub every: Duration,
    /// Whether an effect sets the firing series back.
    pub cures: bool,
    /// Equal seeds send equal values.
    pub seed: u64,
}

/// Simulated agents that run. Dropping it ends them as [`Load::stop`] does, and waits for it.
#[derive(Debug)]
pub struct Load {
    tally: Arc<Tally>,
    controls: BTreeMap<ServerId, Arc<Control>>,
    keys: Arc<[Arc<SeriesKey>]>,
    stop: watch::Sender<bool>,
    ended: Option<oneshot::Receiver<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Starts the agents; they connect at once, some dozens at a time, and come back when they lose their session.
    ///
    /// # Errors
    /// When a certificate is missing or a name is none.
    pub fn start(config: LoadConfig) -> anyhow::Result<Self> {
        let tally = Arc::new(Tally::default());
        let fleet = Arc::new(Fleet {
            target: config.controller.to_string().parse().map_err(anyhow::Error::msg)?,
            every: config.every,
            cures: config.cures,
            tally: Arc::clone(&tally),
            doors: Semaphore::new(DOORS),
        });
        let layout = Layout::new(config.series.max(1));
        let mut agents = Vec::new();
        let mut controls = BTreeMap::new();
        let (begin, count) = (Instant::now(), u32::try_from(config.servers.len().max(1))?);
        for (i, server) in (0u32..).zip(&config.servers) {
            let name = ServerId::new(server)?;
            let files = Files {
                ca: config.certs.join("ca.pem"),
                cert: config.certs.join(format!("server-{server}.pem")),
                key: config.certs.join(format!("server-{server}.key")),
            };
            let tls = files.load(Role::Server).and_then(skynet_proto::tls::Credentials::client_config);
            let control = Arc::new(Control::default());
            controls.insert(name.clone(), Arc::clone(&control));
            let boot_ms = u64::try_from(clock::moment().boot_ms).unwrap_or(1);
            agents.push(Agent {
                fleet: Arc::clone(&fleet),
                name,
                tls: tls.with_context(|| format!("the certificate of {server}"))?,
                host: layout.host(config.seed.wrapping_mul(1_000_003).wrapping_add(u64::from(i))),
                control,
                // Above the numbers of an earlier load under the same boot.
                kept: Kept::new(boot_ms),
                ledger: Ledger::default(),
                next_sweep: begin + config.every * i / count,
                last: Past::default(),
                scratch: Vec::new(),
            });
        }
        let keys = layout.keys();
        let (stop, stopped) = watch::channel(false);
        let (tell_end, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let work = move || {
            runtime.block_on(async move {
                let tasks: Vec<_> = agents.into_iter().map(|agent| tokio::spawn(agent.run(stopped.clone()))).collect();
                for task in tasks {
                    // One that panicked has said so.
                    let _ = task.await;
                }
            });
            let _ = tell_end.send(());
        };
        let thread = std::thread::Builder::new().name("load".to_owned()).spawn(work)?;
        Ok(Self { tally, controls, keys, stop, ended: Some(ended), thread: Some(thread) })
    }

    /// Counts so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.tally.stats()
    }

    /// Every effect so far, by command.
    #[must_use]
    pub fn effects(&self) -> BTreeMap<CommandId, EffectCount> {
        self.tally.effects()
    }

    /// Why a session was lost last, for a message.
    #[must_use]
    pub fn last_loss(&self) -> Option<String> {
        self.tally.last_loss()
    }

    /// Waits for counts like these.
    ///
    /// # Errors
    /// After `patience`; `what` says what was waited for.
    pub async fn until(&self, what: &str, patience: Duration, fits: impl Fn(&Stats) -> bool) -> anyhow::Result<Stats> {
        let began = Instant::now();
        loop {
            let stats = self.stats();
            if fits(&stats) {
                return Ok(stats);
            }
            let lost = self.last_loss().unwrap_or_default();
            anyhow::ensure!(began.elapsed() < patience, "no {what} within {patience:?}: {stats:?} {lost}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until all sessions stand.
    ///
    /// # Errors
    /// After `patience`.
    pub async fn connected(&self, patience: Duration) -> anyhow::Result<Stats> {
        let all = self.controls.len() as u64;
        self.until("session for every agent", patience, |stats| stats.connected == all).await
    }

    /// Sets a server's [`FIRE`] series from its next sweep on, until an effect sets it back to 0.
    pub fn fire(&self, server: &str, value: f64) {
        self.control(server, |control| control.fire.with(|fire| *fire = Some(value)));
    }

    /// Cuts a server's connection; it comes back by itself.
    pub fn cut(&self, server: &str) {
        self.control(server, |control| control.cut.notify_one());
    }

    /// The next effect on a server cuts its connection before the outcome leaves.
    pub fn cut_at_effect(&self, server: &str) {
        self.control(server, |control| control.cut_at_effect.store(true, Ordering::SeqCst));
    }

    /// What a server sent last (not late), and when that was read; nothing before its first batch.
    #[must_use]
    pub fn sent(&self, server: &str) -> (Vec<(SeriesKey, f64)>, Timestamp) {
        let mut all = (Vec::new(), Timestamp(0));
        self.control(server, |control| {
            control.sent.with(|(values, at)| {
                let pairs = self.keys.iter().zip(values.iter()).map(|(key, value)| (SeriesKey::clone(key), *value));
                all = (pairs.collect(), *at);
            });
        });
        all
    }

    fn control(&self, server: &str, work: impl FnOnce(&Control)) {
        let named = ServerId::new(server).ok().and_then(|id| self.controls.get(&id));
        work(named.unwrap_or_else(|| panic!("{server} is no server of this load")));
    }

    /// Ends the agents in order: no new sweeps, what is not acknowledged is waited for, goodbye. The counts are the last.
    ///
    /// # Errors
    /// When they do not end.
    pub async fn stop(&mut self) -> anyhow::Result<Stats> {
        let _ = self.stop.send(true);
        if let Some(ended) = self.ended.take() {
            let _ = tokio::time::timeout(Duration::from_secs(30), ended).await.context("the agents do not end")?;
        }
        Ok(self.stats())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
