//! The acting process: it alone holds the ledger and acts. It trusts no one: every command is checked against its own
//! copy of the policy, the ceiling, the epoch, the deadline and the halt latch.
//!
//! It speaks frames over a stream: a big-endian u32 length (at most [`MAX_FRAME`]), then JSON of [`Request`] or [`Reply`].

mod acting;
mod ceiling;
mod envelope;
pub mod frame;
mod latch;
mod policies;
mod state;

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use serde::{Deserialize, Serialize};
use skynet_model::command::{Command, LedgerEntry, Outcome};
use skynet_model::emergency::SignedDocument;
use skynet_model::name::{CommandId, ServerId};
use skynet_model::series::Labels;
use skynet_model::sign::Trust;

pub use acting::Actor;
pub use ceiling::Ceiling;
pub use policies::kept_policy;

use crate::host::Host;
use crate::ledger::{Folder, Storage};
use frame::FrameError;
use latch::Latch;

/// Largest frame, in bytes.
pub const MAX_FRAME: usize = 8 << 20;

/// What the session process forwards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// A policy bundle as it came; answered by [`Reply::Policy`].
    Policy {
        /// The bundle's canonical text.
        bundle: String,
        /// Its signatures, armored.
        signatures: Vec<String>,
        /// The labels operators gave this server.
        labels: Labels,
    },
    /// Go back to the version before the one in force; answered by [`Reply::Returned`].
    Return {
        /// Which it must be.
        version: u64,
        /// Its digest.
        digest: String,
        /// The labels operators gave this server.
        labels: Labels,
    },
    /// A command; `deadline_boot_ms`: it must not begin later. Answered by [`Reply::Outcome`], at once for one that ended before.
    Execute {
        /// What is asked.
        command: Box<Command>,
        /// On the boot clock, in milliseconds.
        deadline_boot_ms: i64,
    },
    /// Answered by [`Reply::Inventory`], after everything before it.
    Inventory,
    /// The controller has journalled these outcomes.
    Forget {
        /// Whose outcomes.
        commands: Vec<CommandId>,
    },
    /// The operators' local latch. Taken at once, before requests that came earlier; not answered.
    Halt {
        /// Whether actions stop.
        halted: bool,
    },
    /// An emergency document as it came. Checked and taken at once, before requests that came earlier; not answered.
    Emergency {
        /// The document and its signatures.
        signed: SignedDocument,
    },
}

/// What the acting process answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// First, unasked: what is in force from before. Outcomes of commands that a crash left open are not told unasked:
    /// whoever gets this asks for the inventory.
    Ready {
        /// 0: no policy.
        version: u64,
        /// Of the bundle; empty without one.
        digest: String,
        /// The bundle in force.
        bundle: Option<String>,
        /// The labels that came with it.
        labels: Labels,
        /// The highest seen.
        epoch: u64,
        /// What was given up by itself for the version in force.
        #[serde(default)]
        given_up: Option<GivenUp>,
    },
    /// A policy was taken, or refused with a reason; then what was in force stays so.
    Policy {
        /// Of the bundle that was sent; 0 where that cannot be told.
        version: u64,
        /// Of the bundle that was sent.
        digest: String,
        /// Why it was refused.
        error: Option<String>,
    },
    /// The version before is in force again, or not.
    Returned {
        /// The one that was asked for.
        version: u64,
        /// Its digest.
        digest: String,
        /// Its bundle, when it is in force.
        bundle: Option<String>,
        /// The labels that came with the request.
        labels: Labels,
        /// Why not.
        error: Option<String>,
    },
    /// A command ended.
    Outcome {
        /// How.
        outcome: Outcome,
    },
    /// What the ledger holds: unacknowledged outcomes first, the newest first, as much as fits into 3 MiB.
    Inventory {
        /// Commands that were begun.
        entries: Vec<LedgerEntry>,
    },
}

/// A version that the acting process gave up by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenUp {
    /// Which.
    pub version: u64,
    /// Its digest.
    pub digest: String,
    /// Why.
    pub why: String,
}

/// Requests that may wait for the one being carried out.
const QUEUE: usize = 256;

/// What the acting process is started with: from the server's own configuration, never from the controller.
#[derive(Clone, Debug)]
pub struct ActorConfig {
    /// This server.
    pub server: ServerId,
    /// The fleet whose policy is taken; none: any.
    pub fleet: Option<String>,
    /// Where the ledger and the policy are kept; made if missing, with mode 0700.
    pub data: PathBuf,
    /// Whose policy is taken: from the server's own signers file.
    pub trust: Trust,
    /// The server's own limits.
    pub ceiling: Ceiling,
    /// Whether one signer may let acting go on after a signed HALT.
    pub single_operator: bool,
}

/// Why the acting process ended, or did not begin.
#[derive(Debug, thiserror::Error)]
pub enum ActorError {
    /// The data folder cannot be opened, or another process holds it.
    #[error("{0}")]
    Data(String),
    /// A file of the data folder is not what it should be.
    #[error("{file} cannot be read: {error}; check the disk, then move the file away")]
    State {
        /// The file.
        file: String,
        /// What is wrong.
        error: String,
    },
    /// The stream broke, or carried what is no request.
    #[error(transparent)]
    Stream(#[from] FrameError),
    /// The session process asks faster than it can be served.
    #[error("more than {QUEUE} requests wait; the stream is ended")]
    Flooded,
    /// No thread could be started.
    #[error("the reading thread could not be started: {0}")]
    Thread(std::io::Error),
}

/// Serves one stream until it ends: requests are carried out one after the other, a halt at once. At the stream's end
/// the running action is finished and its outcome written; commands that wait are dropped, with nothing on disk.
///
/// # Errors
/// [`ActorError`]; the end of the stream is not one.
pub fn serve(stream: UnixStream, config: ActorConfig, host: Arc<dyn Host>) -> Result<(), ActorError> {
    let storage = Folder::open(&config.data).map_err(ActorError::Data)?;
    serve_on(stream, config, Arc::new(storage), host)
}

/// [`serve`] with a data folder of the caller's.
///
/// # Errors
/// [`ActorError`].
pub fn serve_on(
    mut stream: UnixStream,
    config: ActorConfig,
    storage: Arc<dyn Storage>,
    host: Arc<dyn Host>,
) -> Result<(), ActorError> {
    let mut actor = Actor::open(config, storage, host)?;
    frame::write(&mut stream, &actor.ready())?;
    let ended = Arc::new(AtomicBool::new(false));
    let (sender, receiver) = sync_channel(QUEUE);
    let reader = {
        let (from, latch, ended) = (stream.try_clone().map_err(FrameError::from)?, actor.latch(), Arc::clone(&ended));
        let name = std::thread::Builder::new().name("actor-reader".to_owned());
        name.spawn(move || {
            let result = read_requests(from, &latch, &sender);
            ended.store(true, Ordering::SeqCst);
            result
        })
        .map_err(ActorError::Thread)?
    };
    actor.recover();
    let written = carry_out(&mut actor, receiver, &ended, &mut stream);
    // Wakes the reader if it was the writing side that failed.
    let _ = stream.shutdown(std::net::Shutdown::Both);
    let read = reader.join().unwrap_or(Ok(()));
    read?;
    // A peer that left before its answer ended the stream; that is no error.
    if let Err(error) = written {
        tracing::debug!(%error, "an answer had nobody to go to");
    }
    Ok(())
}

/// Requests in order, until they end or nobody takes the answers. Commands that come up after the stream's end are dropped.
fn carry_out(
    actor: &mut Actor,
    requests: impl IntoIterator<Item = Request>,
    ended: &AtomicBool,
    to: &mut impl std::io::Write,
) -> Result<(), FrameError> {
    for request in requests {
        if ended.load(Ordering::SeqCst) && matches!(request, Request::Execute { .. }) {
            continue;
        }
        if let Some(reply) = actor.handle(request) {
            frame::write(to, &reply)?;
        }
    }
    Ok(())
}

fn read_requests(mut from: UnixStream, latch: &Latch, to: &SyncSender<Request>) -> Result<(), ActorError> {
    while let Some(request) = frame::read(&mut from)? {
        if let Request::Halt { halted } = request {
            latch.set(halted);
            continue;
        }
        if let Request::Emergency { signed } = &request {
            latch.emergency(signed);
            continue;
        }
        match to.try_send(request) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(ActorError::Flooded),
            Err(TrySendError::Disconnected(_)) => return Ok(()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
