//! One session's rules, without I/O: what a message from the controller leads to.

use std::collections::VecDeque;

use skynet_model::command::{Command, Outcome, Status};
use skynet_model::emergency::SignedDocument;
use skynet_model::name::{CommandId, ServerId};
use skynet_model::series::Labels;
use skynet_model::time::Timestamp;
use skynet_proto::convert::{command_from_wire, cut, labels_from_wire};
use skynet_proto::v1;
use skynet_proto::v1::agent_message::Body as Up;
use skynet_proto::v1::controller_message::Body as Down;

/// Pings whose arrival is remembered.
const MAX_PINGS: usize = 64;
/// A deadline that has always passed: the acting process answers that the command expired.
const NEVER: i64 = i64::MIN;

/// What a message asks of the agent.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Send this, before any readings.
    Send(Box<Up>),
    /// Readings up to this batch are kept.
    Acked(u64),
    /// Batches of another boot up to this number are kept.
    AckedOther(String, u64),
    /// Give the command to the acting process.
    Execute {
        /// Which.
        command: Box<Command>,
        /// When it must have begun, on the boot clock.
        deadline_boot_ms: i64,
    },
    /// Tell this outcome; the acting process never hears of the command.
    Answer(Outcome),
    /// Give the bundle to the acting process.
    Policy {
        /// Its canonical text.
        bundle: String,
        /// Signatures as they came.
        signatures: Vec<String>,
        /// The labels of this server.
        labels: Labels,
    },
    /// The acting process is to go back to the version before.
    Return {
        /// Which it must be.
        version: u64,
        /// Its digest.
        digest: String,
        /// The labels of this server.
        labels: Labels,
    },
    /// The latch.
    Halt(bool),
    /// An emergency document, for the acting process to judge.
    Emergency(SignedDocument),
    /// These outcomes are journalled.
    Forget(Vec<CommandId>),
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// The controller said why.
    #[error("the controller ended the session: {message} ({code})")]
    Refused {
        /// Its stable word.
        code: String,
        /// Its sentence.
        message: String,
    },
    /// An older controller than one we know.
    #[error("the controller has epoch {theirs}, another one had {ours}: it was replaced and must not command any more")]
    OldEpoch {
        /// Its epoch.
        theirs: u64,
        /// The highest we saw.
        ours: u64,
    },
    /// It does not keep to the protocol.
    #[error("the controller does not keep to the protocol: {0}")]
    Protocol(String),
    /// The connection broke.
    #[error("{0}")]
    Broken(String),
}

/// The clocks at the moment a message arrived.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Wall clock.
    pub wall: Timestamp,
    /// Boot clock, milliseconds.
    pub boot_ms: i64,
}

/// One session's state.
#[derive(Debug)]
pub struct Protocol {
    server: ServerId,
    boot_id: String,
    /// The highest epoch seen, also in earlier sessions.
    epoch: u64,
    welcomed: bool,
    pings: VecDeque<(u64, i64)>,
}

impl Protocol {
    /// A session of `server` that knows of `epoch`.
    #[must_use]
    pub fn new(server: ServerId, boot_id: String, epoch: u64) -> Self {
        Self { server, boot_id, epoch, welcomed: false, pings: VecDeque::new() }
    }

    /// The highest epoch seen.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether the controller has greeted.
    #[must_use]
    pub fn is_welcomed(&self) -> bool {
        self.welcomed
    }

    /// What a message leads to; messages of kinds that are not known lead to nothing.
    ///
    /// # Errors
    /// [`End`]: the session is over.
    pub fn receive(&mut self, message: v1::ControllerMessage, now: Moment) -> Result<Option<Effect>, End> {
        let Some(body) = message.body else { return Ok(None) };
        if !self.welcomed && !matches!(body, Down::Welcome(_) | Down::Refusal(_)) {
            return Err(End::Protocol("its first message is not a welcome".to_owned()));
        }
        match body {
            Down::Welcome(welcome) => self.welcome(&welcome, now).map(Some),
            Down::Ack(ack) => {
                let ours = ack.boot_id.is_empty() || ack.boot_id == self.boot_id;
                Ok(Some(if ours { Effect::Acked(ack.seq) } else { Effect::AckedOther(ack.boot_id, ack.seq) }))
            }
            Down::Command(command) => Ok(self.command(command, now)),
            Down::Policy(push) => Ok(Some(policy(push))),
            Down::PolicyReturn(back) => Ok(Some(go_back(back))),
            Down::Ping(ping) => {
                if self.pings.back().is_some_and(|(last, _)| ping.number <= *last) {
                    return Err(End::Protocol(format!("ping {} does not rise", ping.number)));
                }
                if self.pings.len() == MAX_PINGS {
                    self.pings.pop_front();
                }
                self.pings.push_back((ping.number, now.boot_ms));
                let pong = v1::Pong { number: ping.number, wall_ms: now.wall.0, boot_ms: now.boot_ms };
                Ok(Some(Effect::Send(Box::new(Up::Pong(pong)))))
            }
            Down::Halt(halt) => Ok(Some(Effect::Halt(halt.halted))),
            Down::Emergency(emergency) => Ok(match SignedDocument::new(emergency.document, emergency.signatures) {
                Ok(signed) => Some(Effect::Emergency(signed)),
                Err(error) => {
                    tracing::warn!(%error, "an emergency document that cannot be read");
                    None
                }
            }),
            Down::OutcomeAck(ack) => {
                let ids = ack.command_ids.iter().filter_map(|id| CommandId::new(id).ok()).collect();
                Ok(Some(Effect::Forget(ids)))
            }
            Down::Refusal(refusal) => Err(End::Refused {
                code: cut(&refusal.code, 64).to_owned(),
                message: cut(&refusal.message, 1024).to_owned(),
            }),
            Down::InventoryAck(_) => Ok(None),
        }
    }

    fn welcome(&mut self, welcome: &v1::Welcome, now: Moment) -> Result<Effect, End> {
        if self.welcomed {
            return Err(End::Protocol("a second welcome".to_owned()));
        }
        if welcome.epoch < self.epoch {
            return Err(End::OldEpoch { theirs: welcome.epoch, ours: self.epoch });
        }
        self.welcomed = true;
        self.epoch = welcome.epoch;
        // A command before the first ping counts from here.
        self.pings.push_back((0, now.boot_ms));
        Ok(Effect::Halt(welcome.halted))
    }

    fn command(&self, command: v1::Command, now: Moment) -> Option<Effect> {
        let id = CommandId::new(&command.id).ok();
        let (command, ping) = match command_from_wire(command) {
            Ok(taken) => taken,
            Err(error) => {
                // Without an id there is nobody to answer to; the controller's own deadline takes care of it.
                tracing::warn!(%error, "a command that cannot be read");
                return id.map(|id| refuse(id, &error.message, now));
            }
        };
        if command.server != self.server {
            let message = format!("this is server {}, the command is for {}", self.server, command.server);
            return Some(refuse(command.id, &message, now));
        }
        // A ping that never came, or came too long ago, gives no time at all.
        let arrived = self.pings.iter().find(|(number, _)| *number == ping);
        let deadline_boot_ms = arrived.map_or(NEVER, |(_, at)| at.saturating_add(command.ttl.0));
        Some(Effect::Execute { command: Box::new(command), deadline_boot_ms })
    }
}

/// An outcome of a command that the acting process does not get.
#[must_use]
pub fn refuse(command: CommandId, message: &str, now: Moment) -> Effect {
    Effect::Answer(Outcome {
        command,
        status: Status::Refused,
        message: message.to_owned(),
        finished: now.wall,
        finished_boot_ms: now.boot_ms,
        took_ms: 0,
    })
}

fn go_back(back: v1::PolicyReturn) -> Effect {
    let (version, digest) = (back.version, cut(&back.digest, 64).to_owned());
    match labels_from_wire(&back.labels) {
        Ok(labels) => Effect::Return { version, digest, labels },
        Err(error) => Effect::Send(Box::new(Up::Policy(v1::PolicyStatus { version, digest, error: error.message }))),
    }
}

fn policy(push: v1::PolicyPush) -> Effect {
    let digest = skynet_model::policy::Bundle::digest(&push.bundle);
    let fail = |error: String| {
        Effect::Send(Box::new(Up::Policy(v1::PolicyStatus { version: 0, digest: digest.clone(), error })))
    };
    let labels = match labels_from_wire(&push.labels) {
        Ok(labels) => labels,
        Err(error) => return fail(error.message),
    };
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).ok();
    let Some(bundle) = text(push.bundle) else { return fail("the bundle is not text".to_owned()) };
    match push.signatures.into_iter().map(text).collect() {
        Some(signatures) => Effect::Policy { bundle, signatures, labels },
        None => fail("a signature is not text".to_owned()),
    }
}

#[cfg(test)]
mod tests;
