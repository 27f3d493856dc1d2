//! The offsite copy: events, policy bundles, latest values and chunks, mirrored to Redis; and the way back.
//!
//! What must never enter: decisions, and anything a decision waits for. The parts here read the journal, the feed and the
//! history from a thread of their own; Redis may be slow, wrong or gone for days without anybody else noticing.
//! docs/redis.md says which keys there are and what they hold.

mod append;
mod attach;
mod board;
mod bundles;
mod chain;
mod keys;
mod mirror;
mod readings;
mod restore;
mod state;
mod status;
mod trim;
mod trouble;
mod verify;
mod walk;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use skynet_model::time::Timestamp;
use tokio::sync::watch;

use crate::config::Config;
use crate::core::Handle;
use crate::history::{Archive, History};
use crate::journal::{Access, Address, Bounds, Feed, Hold, Journal, first_line};

pub use board::Board;
pub use chain::{Gap, Hash, Head, Key};
pub use keys::Keys;
pub use restore::{Restored, restore};
pub use state::State;
pub use trouble::Trouble;
pub use verify::{Progress, Verifier};

/// Readings are packed after minutes; looking for them seldom lets many go together.
const CHUNKS_EVERY: Duration = Duration::from_secs(10);
/// The version of what lies in Redis.
pub const FORMAT: u32 = 1;

/// What the store is set to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The fleet, which names the keys.
    pub fleet: String,
    /// How to get in.
    pub access: Access,
    /// The file with the key that seals the chain.
    pub chain_key: Option<PathBuf>,
    /// How much may wait on disk.
    pub bounds: Bounds,
    /// Events a second at most.
    pub drain_per_second: u32,
    /// Events that stay in the stream.
    pub events_max: u64,
    /// How long chunks stay.
    pub chunks_keep: skynet_model::time::Span,
    /// How often packed readings are looked for.
    pub chunks_every: Duration,
    /// Where journal and policies lie.
    pub data_dir: PathBuf,
}

impl Settings {
    /// What the configuration says; none without `[redis]`.
    ///
    /// # Errors
    /// What is wrong, with the remedy.
    pub fn of(config: &Config) -> Result<Option<Self>, String> {
        let Some(offsite) = &config.redis else { return Ok(None) };
        let address = Address::parse(&offsite.url, offsite.insecure_plaintext)?;
        let password = offsite.password_file(&config.credentials)?.map(Path::to_owned);
        let access = Access { address, password, ca: offsite.ca.clone(), timeout: offsite.timeout.std() };
        Ok(Some(Self {
            fleet: config.fleet.clone(),
            access,
            chain_key: offsite.chain_key_file(&config.credentials)?.map(Path::to_owned),
            bounds: Bounds { bytes: offsite.outbox_max, age: offsite.outbox_age },
            drain_per_second: offsite.drain_per_second,
            events_max: offsite.events_max,
            chunks_keep: offsite.chunks_keep,
            chunks_every: CHUNKS_EVERY,
            data_dir: config.data_dir.clone(),
        }))
    }

    /// The key that seals the chain, where one is named.
    ///
    /// # Errors
    /// The file cannot be read, or holds too little; in words.
    pub fn key(&self) -> Result<Option<Key>, String> {
        let Some(path) = &self.chain_key else { return Ok(None) };
        let line = first_line(path)?;
        Key::new(line.as_bytes()).map(Some).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Whether the secrets can be read.
    ///
    /// # Errors
    /// Which one not, with the remedy.
    pub fn check_files(&self) -> Result<(), String> {
        self.key()?;
        if let Some(path) = &self.access.password {
            first_line(path)?;
        }
        if let Some(path) = &self.access.ca {
            std::fs::metadata(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        }
        Ok(())
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.data_dir.join("journal")
    }

    pub(crate) fn policies(&self) -> PathBuf {
        self.data_dir.join("policy")
    }
}

/// What the copy reads.
pub struct Sources {
    /// The live events.
    pub feed: Arc<Feed>,
    /// The latest values.
    pub history: Arc<History>,
    /// Packed readings: the history, too.
    pub archive: Arc<dyn Archive>,
    /// Where to remark what operators should know.
    pub core: Handle,
    /// The time.
    pub clock: fn() -> Timestamp,
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

/// The copy before it runs: it already holds the journal back from compacting what is not copied.
#[derive(Debug)]
pub struct Store {
    settings: Settings,
    hold: Arc<Hold>,
}

/// The running copy.
#[derive(Debug)]
pub struct Running {
    /// What there is to know of it.
    pub board: Arc<Board>,
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Store {
    /// Reads how far the copy is, and holds the journal's events from there on. A file of the copy's own that cannot be
    /// read keeps nobody from acting: then all is held, and the running copy says what is wrong until it can be read.
    #[must_use]
    pub fn open(settings: Settings, journal: &mut Journal) -> Self {
        let copied = State::load(&settings.data_dir, &settings.fleet).map_or(0, |state| state.seq);
        let hold = Arc::new(Hold::new(settings.bounds, copied));
        journal.set_hold(Arc::clone(&hold));
        Self { settings, hold }
    }

    /// Starts copying on a thread of its own.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(self, sources: Sources) -> std::io::Result<Running> {
        let (stop, stopped) = watch::channel(false);
        let board = Arc::new(Board::new(
            &self.settings,
            Arc::clone(&self.hold),
            Arc::clone(&sources.feed),
            sources.core.clone(),
            sources.clock,
        ));
        let shown = Arc::clone(&board);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(move || {
            let (ready, is_ready) = watch::channel(0);
            let readings = readings::Readings::new(&self.settings, &sources, Arc::clone(&board), is_ready);
            let mirror = mirror::Mirror::new(self, &sources, board, ready);
            let until = |mut stopped: watch::Receiver<bool>| async move {
                let _ = stopped.wait_for(|stop| *stop).await;
            };
            runtime.block_on(async {
                tokio::select! {
                    () = mirror.run(stopped.clone()) => {}
                    () = readings.run() => {}
                }
                until(stopped).await;
            });
        })?;
        Ok(Running { board: shown, stop, thread: Some(thread) })
    }
}

impl Running {
    /// Sends what is left, if Redis takes it, and ends. Blocks for at most a few seconds.
    pub fn stop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the offsite copy's thread ended before it should; see the log above");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}
