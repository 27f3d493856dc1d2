//! The rooms joined: the one place that knows all of them.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use skynet_model::emergency;
use skynet_model::incident::Notice;
use skynet_model::name::ServerId;
use skynet_model::series::Labels;
use skynet_proto::identity::Role;
use skynet_proto::tls;
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock;
use crate::config::Config;
use crate::core::{Core, Handle, Input, Parts};
use crate::fleet::{Fleet, catalogue};
use crate::history::{Archive, History, Keep, Limits};
use crate::inputs::dead_drop::DeadDrop;
use crate::journal::{Feed, Journal, pending_notices};
use crate::notify::{Console, Patience, Runner, WAITING};
use crate::operator::{self, Operator, Roles};
use crate::plain::plain;
use crate::policies::{Policies, Terms};
use crate::store::{self, Sources, Store};
use crate::vault::{self, Door, Vault};
use crate::web::Web;

/// How long an orderly end may take.
const DRAIN: Duration = Duration::from_secs(10);
/// The engine's thread parses nothing deep, but evaluates what policy nests.
const STACK: usize = 8 << 20;

/// Sends the log to standard error. `RUST_LOG` chooses what; the default is `info`. Done once, first in `main`.
pub fn start_log() {
    let chosen = std::env::var("RUST_LOG").ok().and_then(|text| text.parse().ok());
    let filter = chosen.unwrap_or_else(|| tracing_subscriber::EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    // A second call changes nothing.
    let _ = log.with_ansi(terminal && std::env::var_os("NO_COLOR").is_none()).try_init();
}

/// A controller, ready to run.
pub struct App {
    config: Config,
    terms: Terms,
    credentials: tls::Credentials,
    listener: tokio::net::TcpListener,
    socket: tokio::net::UnixListener,
    vault: Arc<Vault>,
    vault_socket: tokio::net::UnixListener,
    metrics: Option<tokio::net::TcpListener>,
    _lock: std::fs::File,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Checks a configuration with the files it names; starts nothing.
///
/// # Errors
/// What is wrong, with the remedy.
pub fn check(config: &Config) -> anyhow::Result<tls::Credentials> {
    let files = tls::Files { ca: config.ca.clone(), cert: config.cert.clone(), key: config.key.clone() };
    let credentials = files.load(Role::Controller)?;
    anyhow::ensure!(
        credentials.identity.fleet == config.fleet,
        "{} is for fleet `{}`; the configuration says `{}`",
        config.cert.display(),
        credentials.identity.fleet,
        config.fleet
    );
    config.trust().map_err(anyhow::Error::msg)?;
    Ok(credentials)
}

/// Checks the files that the offsite copy needs. A controller runs without them, and says so.
///
/// # Errors
/// What is wrong, with the remedy.
pub fn check_copy(config: &Config) -> anyhow::Result<()> {
    let settings = store::Settings::of(config).map_err(anyhow::Error::msg)?;
    settings.map_or(Ok(()), |settings| settings.check_files()).map_err(anyhow::Error::msg)
}

impl App {
    /// Takes the data folder, the address and the socket. Nothing is answered yet.
    ///
    /// # Errors
    /// What cannot be had, with the remedy.
    pub async fn build(config: Config) -> anyhow::Result<Self> {
        let credentials = check(&config)?;
        let folder = &config.data_dir;
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.with_context(|| format!("making {}", folder.display()))?;
        let lock = std::fs::File::create(folder.join("lock")).with_context(|| format!("{}/lock", folder.display()))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            anyhow::anyhow!(
                "{} is another controller's; end it, or give this one a data_dir of its own",
                folder.display()
            )
        })?;
        let listener = tokio::net::TcpListener::bind(config.listen).await;
        let listener = listener.with_context(|| format!("listening for agents on {}", config.listen))?;
        let socket = operator::bind(&config.socket(), !config.operators.is_empty())?;
        let vault_socket = operator::bind(&vault::socket(&config.socket()), !config.operators.admins.is_empty())?;
        let metrics = match config.metrics_listen {
            Some(address) => {
                let listener = tokio::net::TcpListener::bind(address).await;
                Some(listener.with_context(|| format!("listening for metrics_listen on {address}"))?)
            }
            None => None,
        };
        let terms = Terms {
            fleet: config.fleet.clone(),
            trust: config.trust().map_err(anyhow::Error::msg)?,
            catalogue: catalogue::catalogue(),
        };
        let vault = Arc::default();
        Ok(Self { config, terms, credentials, listener, socket, vault, vault_socket, metrics, _lock: lock })
    }

    /// With keys from the start; without, the vault is sealed.
    #[must_use]
    pub fn with_vault(mut self, vault: Vault) -> Self {
        self.vault = Arc::new(vault);
        self
    }

    /// Where agents connect.
    ///
    /// # Errors
    /// The system's.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Replays the journal and runs until `stop`, then ends in order.
    ///
    /// # Errors
    /// The journal or the policy in force cannot be read, or a part ended before it should.
    pub async fn run(self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let Self { config, terms, credentials, listener, socket, vault, vault_socket, metrics, _lock } = self;
        let (mut journal, events) = Journal::open_folder(&config.data_dir.join("journal"))?;
        let settings = store::Settings::of(&config).map_err(anyhow::Error::msg)?;
        let store = settings.map(|settings| Store::open(settings, &mut journal));
        journal.compact_if_due();
        let policies = Policies::open(&config.data_dir.join("policy"), &events, &terms)?;
        if terms.trust.is_insecure() {
            tracing::warn!(
                "INSECURE: policy without signatures is taken (insecure_unsigned); only for trying things out"
            );
        }
        let untrusted = policies.untrusted().map(str::to_owned);
        let pending = pending_notices(&events);
        let feed = Arc::new(Feed::default());
        let keep = Keep { age: config.history.keep, bytes: config.history.max_bytes, ..Keep::default() };
        let path = config.data_dir.join("history");
        let opened = History::open_folder(&path, Limits::default(), keep, Box::new(clock::now));
        let history = opened.with_context(|| format!("opening the history in {}", path.display()))?;
        let (core, inputs) = Handle::new();

        let (notices, to_tell) = mpsc::channel::<(Notice, Option<HashSet<String>>)>(WAITING);
        for (notice, left) in pending {
            // More than fit are told after the next start.
            let _ = notices.try_send((notice, Some(left)));
        }
        let (policy, policy_now) = watch::channel(None);
        let (told, mut results) = mpsc::channel(64);
        let credentials_of_contacts = config.credentials.clone();
        let runner = Runner::new(Console::stdout(), credentials_of_contacts, policy_now, Patience::default(), told);
        let mut runner = tokio::spawn(runner.map_err(anyhow::Error::msg)?.run(to_tell));
        let results_to = core.clone();
        tokio::spawn(async move {
            while let Some(crate::notify::Told { notice, target, result }) = results.recv().await {
                results_to.tell(Input::Notified { notice, target, result }).await;
            }
        });

        let labels: BTreeMap<ServerId, Labels> =
            config.servers.keys().map(|server| (server.clone(), config.labels(server))).collect();
        let parts = Parts {
            journal,
            feed: Arc::clone(&feed),
            policies,
            labels,
            tell: Box::new(move |notice| {
                if let Err(error) = notices.try_send((notice, None)) {
                    tracing::error!(
                        "notice {} waits for the next start: {WAITING} wait already",
                        error.into_inner().0.id
                    );
                }
            }),
            activated: Box::new(move |active| {
                policy.send_replace(Some(Arc::clone(&active.candidate.policy)));
            }),
            clock: Box::new(clock::now),
        };
        let (core_ended, mut core_end) = oneshot::channel();
        std::thread::Builder::new().name("core".to_owned()).stack_size(STACK).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            let result = runtime.map(|runtime| runtime.block_on(Core::new(parts, events).run(inputs)));
            let _ = core_ended.send(result);
        })?;

        if let Some(message) = untrusted {
            core.tell(Input::Remark { server: None, topic: "policy_refused", message }).await;
        }
        tokio::spawn(tell_of_history(core.clone(), Arc::clone(&history)));
        if !config.emergency.drops.is_empty() {
            let on = emergency::Terms {
                fleet: config.fleet.clone(),
                trust: terms.trust.clone(),
                single_operator: config.emergency.single_operator,
            };
            let drops = DeadDrop::new(&config.emergency, on, core.clone(), clock::now);
            tokio::spawn(drops.map_err(anyhow::Error::msg)?.run());
        }
        let mut copy = None;
        if let Some(store) = store {
            // The feed is full once the core answers.
            let _ = core.ask(|_| ()).await;
            let (feed, history) = (Arc::clone(&feed), Arc::clone(&history));
            let archive = Arc::clone(&history) as Arc<dyn Archive>;
            let sources = Sources { feed, history, archive, core: core.clone(), clock: clock::now };
            copy = Some(store.start(sources)?);
        }

        let (down, going_down) = watch::channel(false);
        let until_down = |mut going_down: watch::Receiver<bool>| async move {
            let _ = going_down.wait_for(|down| *down).await;
        };
        let address = listener.local_addr()?;
        let incoming = tls::incoming(listener, credentials.server_config()?, move |address, reason| {
            // Only the log says it: strangers must not be able to fill the journal.
            tracing::warn!("connection from {address} refused: {}", plain(&reason));
        });
        let fleet = Fleet::new(core.clone(), Arc::clone(&history), config.fleet.clone());
        let mut fleet = tokio::spawn(fleet.serve(incoming, until_down(going_down.clone())));
        let board = copy.as_ref().map(|copy| Arc::clone(&copy.board));
        let operators = Operator::new(core.clone(), Arc::clone(&history), feed, terms)
            .with_store(board)
            .with_roles(Roles::new(config.operators.clone()));
        if vault.is_sealed() {
            tracing::info!("the vault is sealed: `age -d keys.age | ssh controller skynetctl unseal` brings its keys");
        }
        let door = door(vault, Roles::new(config.operators.clone()), core.clone());
        let door = tokio::spawn(door.serve(vault_socket));
        let mut operators = tokio::spawn(operators.serve(socket, until_down(going_down)));
        let web = metrics.map(|listener| {
            if let Ok(address) = listener.local_addr() {
                tracing::info!("metrics are at http://{address}/metrics");
            }
            tokio::spawn(Web::new(core.clone(), Arc::clone(&history), clock::now).serve(listener))
        });
        tracing::info!("agents connect to {address}, operators to {}", config.socket().display());

        tokio::pin!(stop);
        let mut core_gone = false;
        let result = tokio::select! {
            () = &mut stop => Ok(()),
            _ = &mut core_end => {
                core_gone = true;
                Err(anyhow::anyhow!("the core ended; see the log above"))
            }
            ended = &mut fleet => Err(anyhow::anyhow!("the agents' listener ended: {ended:?}")),
            ended = &mut operators => Err(anyhow::anyhow!("the operators' listener ended: {ended:?}")),
        };
        tracing::info!("going down");
        let drain = async {
            core.tell(Input::Stop).await;
            down.send_replace(true);
            if !core_gone {
                let _ = core_end.await;
            }
            // The core's last events go along, if Redis takes them.
            let copied = copy.map(|mut copy| tokio::task::spawn_blocking(move || copy.stop()));
            let _ = (&mut runner).await;
            if let Some(copied) = copied {
                let _ = copied.await;
            }
        };
        if tokio::time::timeout(DRAIN, drain).await.is_err() {
            tracing::warn!("not everything ended within {} s; going down all the same", DRAIN.as_secs());
        }
        fleet.abort();
        operators.abort();
        door.abort();
        runner.abort();
        if let Some(web) = web {
            web.abort();
        }
        if tokio::time::timeout(DRAIN, tokio::task::spawn_blocking(move || history.close())).await.is_err() {
            tracing::warn!("the history did not end within {} s; the next start replays its log", DRAIN.as_secs());
        }
        let _ = std::fs::remove_file(vault::socket(&config.socket()));
        let _ = std::fs::remove_file(config.socket());
        result
    }
}

/// Only admins open the vault, and the journal has it.
fn door(vault: Arc<Vault>, roles: Roles, core: Handle) -> Door {
    let runtime = tokio::runtime::Handle::current();
    Door {
        vault,
        admit: Box::new(move |uid, gid| roles.admin(uid, gid)),
        tell: Box::new(move |vault::Called { by, method, summary }| {
            runtime.block_on(core.tell(Input::Called { by, role: "admin", method, summary }))
        }),
    }
}

/// Tells operators what of the past cannot be read, and when the present cannot be stored.
async fn tell_of_history(core: Handle, history: Arc<History>) {
    let remark = |message: String| core.tell(Input::Remark { server: None, topic: "history", message });
    for hole in history.holes() {
        remark(format!("a part of the past cannot be read: {hole}")).await;
    }
    let Some(mut trouble) = history.trouble() else { return };
    let mut told = false;
    loop {
        let now = trouble.borrow_and_update().clone();
        match now {
            Some(why) => {
                told = true;
                remark(format!("readings are not stored, agents keep them: {why}")).await;
            }
            None if std::mem::take(&mut told) => {
                remark("readings are stored again".to_owned()).await;
            }
            None => {}
        }
        if trouble.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(folder: &std::path::Path, fleet: &str) -> Config {
        crate::certs::generate(folder, "demo", &[]).unwrap();
        let text = format!(
            "fleet = \"{fleet}\"\nlisten = \"127.0.0.1:0\"\nca = \"ca.pem\"\ncert = \"controller.pem\"\n\
             key = \"controller.key\"\ndata_dir = \"data\"\n"
        );
        Config::parse(&text, folder).unwrap()
    }

    #[tokio::test]
    async fn it_comes_up_ends_in_order_and_comes_up_again() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), "demo");
        for _ in 0..2 {
            let app = App::build(config.clone()).await.unwrap();
            assert_ne!(app.address().unwrap().port(), 0);
            let second = App::build(config.clone()).await.unwrap_err().to_string();
            assert!(second.contains("is another controller's"), "{second}");
            let (end, ended) = oneshot::channel::<()>();
            let running = tokio::spawn(app.run(async move { drop(ended.await) }));
            end.send(()).unwrap();
            tokio::time::timeout(2 * DRAIN, running).await.unwrap().unwrap().unwrap();
            assert!(!config.socket().exists());
        }
        let (_, events) = Journal::open_folder(&config.data_dir.join("journal")).unwrap();
        assert_eq!(events.len(), 2, "{events:?}");
    }

    #[test]
    fn a_certificate_of_another_fleet_or_role_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = check(&config(folder.path(), "other")).unwrap_err().to_string();
        assert!(error.contains("controller.pem") && error.contains("`demo`") && error.contains("`other`"), "{error}");
        let mut wrong = config(folder.path(), "demo");
        crate::certs::generate(folder.path(), "demo", &["web1"]).unwrap();
        wrong.cert = folder.path().join("server-web1.pem");
        assert!(check(&wrong).unwrap_err().to_string().contains("server-web1.pem"));
    }
}
