//! The session process: keeps a session with the controller, and everything that outlives one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rustls::ClientConfig;
use skynet_model::command::{LedgerEntry, Outcome};
use skynet_model::emergency::SignedDocument;
use skynet_model::name::CommandId;
use skynet_model::series::Labels;
use skynet_node::actor::{GivenUp, Reply, Request};
use skynet_node::host::Host;
use skynet_proto::identity::{Identity, Role};
use skynet_proto::tls::{Files, Target, TlsError};
use skynet_proto::v1;
use tokio::sync::watch;

use crate::clock;
use crate::config::Config;
use crate::keeper::{self, Keeper};
use crate::link::{Link, LinkError};
use crate::sensing::{InForce, Sensing, Shared};
use crate::session::{self, Backoff, End, Moment};
use crate::spool::Spool;
use crate::store::{Disk, Folder};

/// Commands given to the acting process and not answered yet.
pub const MAX_RUNNING: usize = 64;
/// Outcomes kept until the controller has journalled them.
const MAX_OUTCOMES: usize = 256;
/// Policies given to the acting process and not answered yet.
const MAX_PUSHES: usize = 4;
/// Acknowledged outcomes the acting process is yet to hear of.
const MAX_FORGET: usize = 4096;

/// Why the agent cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// No acting process, no agent: the service manager starts both again.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The kernel does not say.
    #[error("the boot id is not known: {0}")]
    Boot(String),
}

/// What a reply of the acting process means for a session.
#[derive(Debug)]
pub enum News {
    /// A command ended.
    Outcome(Outcome),
    /// A policy was taken or refused; ids of sensors that run no longer.
    Policy(v1::PolicyStatus, Vec<String>),
    /// What the ledger holds.
    Inventory(Vec<LedgerEntry>),
    /// Nothing.
    None,
}

/// The session process.
pub struct Agent {
    files: Files,
    /// Who we are.
    pub identity: Identity,
    /// Where the controller is.
    pub target: Target,
    host: Arc<dyn Host>,
    link: Link,
    /// Readings and health.
    pub shared: Arc<Shared>,
    sensing: Sensing,
    /// Takes to the disk what cannot be sent; none: memory only.
    keeper: Option<keeper::Running>,
    /// The kernel's boot id.
    pub boot_id: String,
    /// The highest epoch seen.
    pub epoch: u64,
    last_session: u64,
    /// When this process began, on the boot clock.
    pub started_boot_ms: i64,
    /// Whether policy is taken that nobody signed.
    pub insecure_unsigned: bool,
    /// What the acting process gave up by itself: told in every session until another version is taken.
    given_up: Option<v1::PolicyStatus>,
    pushes: VecDeque<(String, Labels)>,
    running: BTreeSet<CommandId>,
    outcomes: BTreeMap<CommandId, Outcome>,
    forget: Vec<CommandId>,
    inventory_asked: bool,
    backoff: Backoff,
}

impl Agent {
    /// Waits for the acting process and starts the sensors of the policy it kept. No connection is needed for that.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn start(config: &Config, host: Arc<dyn Host>, mut link: Link) -> Result<Self, AgentError> {
        let boot_id = host.boot_id().map_err(|e| AgentError::Boot(e.to_string()))?;
        // Numbers begin at the boot clock's milliseconds: above all of an earlier process of this boot, which had at most
        // some dozens of batches a second.
        let first_seq = u64::try_from(host.boot_ms()).unwrap_or(1);
        let shared = Shared::new(Spool::new(config.spool_max, first_seq));
        let keeper = start_keeper(config, &shared, &boot_id, &host);
        let mut sensing = Sensing::new(host.clone(), shared.clone(), config.ceiling.clone());
        let (mut known_epoch, mut told) = (0, None);
        if let Reply::Ready { version, bundle, labels, epoch, given_up, .. } = link.receive().await? {
            known_epoch = epoch;
            told = given_up.map(|given_up| {
                let GivenUp { version, digest, why } = given_up;
                v1::PolicyStatus { version, digest, error: format!("given up for the last good version: {why}") }
            });
            if let Some(Err(error)) = bundle.map(|bundle| sensing.apply(&bundle, &labels)) {
                tracing::warn!(version, error, "the stored policy is not in force; sensors wait for the next one");
            }
        }
        let started_boot_ms = host.boot_ms();
        Ok(Self {
            files: config.files.clone(),
            identity: config.identity.clone(),
            target: config.controller.clone(),
            host,
            link,
            shared,
            sensing,
            keeper,
            boot_id,
            epoch: known_epoch,
            last_session: 0,
            started_boot_ms,
            insecure_unsigned: config.trust.is_insecure(),
            given_up: told,
            pushes: VecDeque::new(),
            running: BTreeSet::new(),
            outcomes: BTreeMap::new(),
            forget: Vec::new(),
            inventory_asked: false,
            backoff: Backoff::new(clock::seed()),
        })
    }

    /// Keeps a session until `stop` turns true; then drains.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), AgentError> {
        let mut away = clock::now();
        let mut told = false;
        while !*stop.borrow() {
            let began = clock::now();
            let end = session::run(&mut self, &mut stop).await?;
            self.shared.lock().spool.end_session();
            let now = clock::now();
            self.backoff.ended(now - began);
            if let Some(up) = &end.up {
                away = now;
                told = false;
                tracing::info!(reason = %end.why, lasted_s = (now - *up).as_secs(), "the session ended");
            } else if !told && now - away > session::STABLE {
                told = true;
                tracing::warn!(controller = %self.target, reason = %end.why, "no session for a minute; readings are spooled");
            } else {
                tracing::info!(controller = %self.target, reason = %end.why, "no session");
            }
            if *stop.borrow() {
                break;
            }
            if let End::OldEpoch { .. } = end.why {
                self.backoff.discourage();
            }
            let wait = tokio::time::sleep(self.backoff.wait());
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => {}
                ended = self.tend(wait) => ended?,
            }
        }
        let finished = self.finish_running().await;
        if let Some(keeper) = self.keeper.take() {
            keeper.finish();
        }
        finished
    }

    /// Without a session: waits for the running action, whose outcome is in the ledger then.
    async fn finish_running(&mut self) -> Result<(), AgentError> {
        self.sensing.stop();
        let deadline = tokio::time::sleep(session::DRAIN);
        tokio::pin!(deadline);
        while !self.running.is_empty() {
            tokio::select! {
                reply = self.link.receive() => drop(self.take(reply?)),
                () = &mut deadline => {
                    tracing::warn!(commands = self.running.len(), "actions still run; their outcomes stay in the ledger");
                    break;
                }
            }
        }
        Ok(())
    }

    /// Waits for `future` while the acting process is listened to.
    ///
    /// # Errors
    /// [`AgentError::Link`].
    pub async fn tend<F: Future>(&mut self, future: F) -> Result<F::Output, AgentError> {
        tokio::pin!(future);
        loop {
            tokio::select! {
                biased;
                reply = self.link.receive() => drop(self.take(reply?)),
                output = &mut future => return Ok(output),
            }
        }
    }

    /// The next reply of the acting process. Cancel safe.
    ///
    /// # Errors
    /// [`AgentError::Link`].
    pub async fn receive(&mut self) -> Result<Reply, AgentError> {
        Ok(self.link.receive().await?)
    }

    /// Takes a reply in, also when there is no session.
    pub fn take(&mut self, reply: Reply) -> News {
        match reply {
            Reply::Ready { .. } => News::None,
            Reply::Policy { version, digest, error } => {
                let push = self.pushes.pop_front();
                let applied = match (error, push) {
                    (None, Some((bundle, labels))) => self.sensing.apply(&bundle, &labels),
                    (Some(error), _) => Err(error),
                    (None, None) => Err("the acting process took a policy that nobody sent".to_owned()),
                };
                let (error, ended) = match applied {
                    Ok(ended) => {
                        self.given_up = self.given_up.take().filter(|given_up| given_up.version > version);
                        (String::new(), ended)
                    }
                    Err(error) => {
                        tracing::warn!(version, error, "a policy is refused");
                        (error, Vec::new())
                    }
                };
                News::Policy(v1::PolicyStatus { version, digest, error }, ended)
            }
            Reply::Returned { version, digest, bundle, labels, error } => {
                let applied = match (bundle, error) {
                    (Some(bundle), None) => self.sensing.apply(&bundle, &labels),
                    (_, error) => Err(error.unwrap_or_default()),
                };
                match applied {
                    Ok(ended) => {
                        tracing::warn!(version, "the controller called the last good policy back");
                        News::Policy(v1::PolicyStatus { version, digest, error: String::new() }, ended)
                    }
                    Err(error) => {
                        tracing::warn!(version, error, "the last good policy cannot be gone back to");
                        News::Policy(v1::PolicyStatus { version, digest, error }, Vec::new())
                    }
                }
            }
            Reply::Outcome { outcome } => {
                self.running.remove(&outcome.command);
                tracing::info!(command = %outcome.command, status = outcome.status.as_str(), "a command ended");
                self.keep(outcome.clone());
                News::Outcome(outcome)
            }
            Reply::Inventory { entries } => {
                self.inventory_asked = false;
                News::Inventory(entries)
            }
        }
    }

    /// Keeps an outcome until it is acknowledged.
    pub fn keep(&mut self, outcome: Outcome) {
        if self.outcomes.len() >= MAX_OUTCOMES && !self.outcomes.contains_key(&outcome.command) {
            // The ledger has what counts; only refusals are lost here, and they had no effect.
            self.outcomes.pop_first();
        }
        self.outcomes.insert(outcome.command.clone(), outcome);
    }

    /// Outcomes that are not acknowledged.
    pub fn kept(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.values()
    }

    /// Asks for the inventory, once.
    ///
    /// # Errors
    /// [`AgentError::Link`].
    pub fn ask_inventory(&mut self) -> Result<(), AgentError> {
        if !self.inventory_asked {
            self.link.send(Request::Inventory)?;
            self.inventory_asked = true;
        }
        Ok(())
    }

    /// Gives a command to the acting process, unless it has it.
    ///
    /// # Errors
    /// [`AgentError::Link`]; or, inside, why the command is refused.
    pub fn execute(
        &mut self,
        command: Box<skynet_model::command::Command>,
        deadline_boot_ms: i64,
    ) -> Result<Result<(), &'static str>, AgentError> {
        if self.running.contains(&command.id) {
            return Ok(Ok(()));
        }
        if self.running.len() >= MAX_RUNNING {
            return Ok(Err("too many commands wait on this server; ask again later"));
        }
        self.running.insert(command.id.clone());
        tracing::info!(command = %command.id, action = command.action, incident = %command.incident, "a command");
        self.link.send(Request::Execute { command, deadline_boot_ms })?;
        Ok(Ok(()))
    }

    /// Gives a policy to the acting process; false when too many wait already.
    ///
    /// # Errors
    /// [`AgentError::Link`].
    pub fn push_policy(&mut self, bundle: String, signatures: Vec<String>, labels: Labels) -> Result<bool, AgentError> {
        if self.pushes.len() >= MAX_PUSHES {
            return Ok(false);
        }
        self.pushes.push_back((bundle.clone(), labels.clone()));
        self.link.send(Request::Policy { bundle, signatures, labels })?;
        Ok(true)
    }

    /// Asks the acting process to go back to the version before.
    ///
    /// # Errors
    /// [`AgentError::Link`].
    pub fn go_back(&self, version: u64, digest: String, labels: Labels) -> Result<(), AgentError> {
        Ok(self.link.send(Request::Return { version, digest, labels })?)
    }

    /// What was given up by itself, to be told.
    #[must_use]
    pub fn given_up(&self) -> Option<&v1::PolicyStatus> {
        self.given_up.as_ref()
    }

    /// Sets the latch.
    ///
    /// # Errors
    /// [`AgentError::Link`].
    pub fn halt(&self, halted: bool) -> Result<(), AgentError> {
        Ok(self.link.send(Request::Halt { halted })?)
    }

    /// Gives an emergency document to the acting process, which judges it by itself.
    ///
    /// # Errors
    /// [`AgentError::Link`].
    pub fn emergency(&self, signed: SignedDocument) -> Result<(), AgentError> {
        Ok(self.link.send(Request::Emergency { signed })?)
    }

    /// Outcomes are journalled: they are not told again, and the ledger hears of it when it is idle.
    pub fn journalled(&mut self, commands: Vec<CommandId>) {
        for command in commands {
            self.outcomes.remove(&command);
            // Whatever does not fit is in the next session's inventory and is acknowledged again.
            if self.forget.len() < MAX_FORGET {
                self.forget.push(command);
            }
        }
    }

    /// Tells the idle acting process what was journalled. While it acts, requests would only pile up.
    ///
    /// # Errors
    /// [`AgentError::Link`].
    pub fn tell_journalled(&mut self) -> Result<(), AgentError> {
        if self.running.is_empty() && !self.forget.is_empty() {
            self.link.send(Request::Forget { commands: std::mem::take(&mut self.forget) })?;
        }
        Ok(())
    }

    /// Whether the acting process is to be told what was journalled.
    #[must_use]
    pub fn has_journalled(&self) -> bool {
        !self.forget.is_empty()
    }

    /// Whether no command is with the acting process.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// Ends the sensors.
    pub fn stop_sensors(&mut self) {
        self.sensing.stop();
    }

    /// The policy that decides what is read.
    #[must_use]
    pub fn in_force(&self) -> &InForce {
        &self.sensing.in_force
    }

    /// What the server runs on.
    #[must_use]
    pub fn system(&self) -> v1::System {
        let skynet_node::host::System { os, kernel, arch, cpus, memory_bytes } = self.host.system();
        v1::System { os, kernel, arch, cpus, memory_bytes }
    }

    /// The server's clocks.
    #[must_use]
    pub fn moment(&self) -> Moment {
        Moment { wall: self.host.now(), boot_ms: self.host.boot_ms() }
    }

    /// A number for a new session: above all earlier ones of this boot, also those of another process.
    pub fn session_number(&mut self) -> u64 {
        let clock = u64::try_from(self.host.boot_ms()).unwrap_or(0);
        self.last_session = clock.max(self.last_session + 1);
        self.last_session
    }

    /// Certificates and key, read anew for every connection: they are renewed under way.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn tls(&self) -> Result<Arc<ClientConfig>, TlsError> {
        self.files.load(Role::Server)?.client_config()
    }
}

fn start_keeper(config: &Config, shared: &Arc<Shared>, boot_id: &str, host: &Arc<dyn Host>) -> Option<keeper::Running> {
    let limits = config.spool_limits?;
    let folder = config.spool_dir.clone();
    let open = Box::new(move || Folder::open(&folder).map(|folder| Box::new(folder) as Box<dyn Disk>));
    let keeper = Keeper::new(shared.clone(), boot_id.to_owned(), open, limits);
    let started = keeper::Running::start(keeper, host.clone());
    started.map_err(|error| tracing::warn!(%error, "no thread for the spool on disk: readings stay in memory")).ok()
}
