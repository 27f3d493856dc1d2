//! Joins the rooms: the acting process, the session process, signals.

use std::io::Read;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use skynet_node::host::{Host, LocalHost};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::agent::Agent;
use crate::config::{Config, User};
use crate::link::Link;

/// Said by whoever takes policy that nobody signed.
const UNSIGNED: &str =
    "INSECURE: policy without signatures is taken; whoever holds the controller can run anything here";

/// How long the acting process may finish its action after a drain.
const LAST_ACTION: Duration = Duration::from_secs(8);

/// `run`: both processes, until SIGTERM or SIGINT.
///
/// # Errors
/// What went wrong, as a sentence; also when the acting process ended.
pub fn run(config: &Config, path: &Path, insecure_unsigned: bool, has_socket: bool) -> anyhow::Result<()> {
    if config.trust.is_insecure() && !has_socket {
        tracing::warn!("{UNSIGNED}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before anything is started: from here on a stop drains.
    let stops = {
        let _within = runtime.enter();
        [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?]
    };
    if has_socket {
        // Started anew as another user: the acting process is at the other end of standard input already.
        return serve_until_acted(config, socket()?, runtime, stops);
    }
    let (ours, theirs) = UnixStream::pair().context("making a socket pair")?;
    let mut acting = start_acting(path, insecure_unsigned, theirs)?;
    if let Some(user) = config.user.as_ref().filter(|_| rustix::process::geteuid().is_root()) {
        return Err(become_user(user, path, insecure_unsigned, ours));
    }
    let result = serve_until_acted(config, ours, runtime, stops);
    reap(&mut acting);
    result
}

/// Serves, then closes the socket and waits until the acting process has finished its action: a service manager kills what
/// is left when we end.
fn serve_until_acted(config: &Config, socket: UnixStream, runtime: Runtime, stops: [Signal; 2]) -> anyhow::Result<()> {
    let end = socket.try_clone().context("copying a socket")?;
    let result = runtime.block_on(serve(config, socket, stops));
    drop(runtime);
    let _ = end.shutdown(Shutdown::Write);
    if end.set_nonblocking(false).and_then(|()| end.set_read_timeout(Some(LAST_ACTION))).is_ok() {
        // Replies that nobody takes any more, then its end.
        let mut rest = [0; 4096];
        while matches!((&end).read(&mut rest), Ok(n) if n > 0) {}
    }
    result
}

async fn serve(config: &Config, socket: UnixStream, [mut term, mut int]: [Signal; 2]) -> anyhow::Result<()> {
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        // Refused only when the agent is gone already.
        let _ = stop.send(true);
        // Kept: a channel without a sender would look like a stop.
        std::future::pending::<()>().await;
        drop(stop);
    });
    let host: Arc<dyn Host> = Arc::new(LocalHost::new());
    let agent = Agent::start(config, host, Link::new(socket)?).await?;
    agent.run(stopped).await?;
    Ok(())
}

/// `act`: the acting process, on standard input, until the other end is gone.
///
/// # Errors
/// What went wrong, as a sentence.
pub fn act(config: &Config) -> anyhow::Result<()> {
    let host: Arc<dyn Host> = Arc::new(LocalHost::new());
    skynet_node::actor::serve(socket()?, config.actor(), host).context("the acting process")
}

fn socket() -> anyhow::Result<UnixStream> {
    let fd = std::io::stdin().as_fd().try_clone_to_owned().context("taking standard input")?;
    Ok(UnixStream::from(fd))
}

fn own(command: &str, path: &Path, insecure_unsigned: bool, socket: UnixStream) -> anyhow::Result<Command> {
    let program = std::env::current_exe().context("finding this program's file")?;
    let mut own = Command::new(program);
    own.arg(command).arg("--config").arg(path).stdin(Stdio::from(std::os::fd::OwnedFd::from(socket)));
    if insecure_unsigned {
        own.arg("--insecure-unsigned");
    }
    Ok(own)
}

fn start_acting(path: &Path, insecure_unsigned: bool, socket: UnixStream) -> anyhow::Result<Child> {
    // A group of its own: Ctrl-C on the terminal must not cut an action short.
    own("act", path, insecure_unsigned, socket)?.process_group(0).spawn().context("starting the acting process")
}

/// Starts the session process anew as `user`; comes back only with an error.
fn become_user(user: &User, path: &Path, insecure_unsigned: bool, socket: UnixStream) -> anyhow::Error {
    match own("run", path, insecure_unsigned, socket) {
        Ok(mut own) => {
            let error = own.arg("--acting-on-stdin").gid(user.gid).uid(user.uid).exec();
            anyhow::Error::new(error).context(format!("starting anew as user {}", user.uid))
        }
        Err(error) => error,
    }
}

/// Takes the acting process' exit code, so that no zombie is left; its socket is closed already.
fn reap(acting: &mut Child) {
    for _ in 0..100 {
        if !matches!(acting.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    tracing::warn!(pid = acting.id(), "the acting process still acts; it ends by itself");
}
