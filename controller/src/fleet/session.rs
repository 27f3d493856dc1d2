//! One agent's stream, from its hello to its end. Bad input ends it, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use skynet_model::name::ServerId;
use skynet_proto::frame::{AgentFrame, Bytes};
use skynet_proto::v1::agent_message::Body;
use skynet_proto::v1::controller_message;
use skynet_proto::{Code, WireError, convert, v1};
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tonic::Streaming;

use crate::core::{FromAgent, Handle, Hello, Input, Link, SessionInput, System};
use crate::history::{History, Ticket};
use crate::plain::plain;

use super::intake::{Intake, Pending};
use super::refill::Refill;

/// How long an agent may take for its hello.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an agent that answers pings may take for its inventory: it waits for the action that runs, 5 min at most.
const INVENTORY_PATIENCE: Duration = Duration::from_secs(6 * 60);
/// Pings without an answer that end a session.
const MISSED_PONGS: u64 = 3;
/// Messages other than readings that an agent may send between two pings.
const MESSAGES: u32 = 2000;
/// How long an acknowledgement of readings may wait for more to acknowledge.
const ACK_AFTER: Duration = Duration::from_millis(500);
/// How long an agent that leaves may wait for its last readings to be on disk.
const SETTLE: Duration = Duration::from_secs(1);
/// Pings between two cleanings of the history: processes come and go.
const SWEEP_PINGS: u64 = 60;
/// Longest text an agent may send in such a message, in bytes; what is longer is cut.
const TEXT: usize = 1000;

pub(super) struct Session {
    pub(super) server: ServerId,
    pub(super) token: u64,
    pub(super) core: Handle,
    pub(super) link: Link,
    pub(super) intake: Option<Intake>,
    pub(super) history: Arc<History>,
    pub(super) ping_every: Duration,
    pub(super) refill: Refill,
}

/// What an agent said.
#[allow(
    clippy::large_enum_variant,
    reason = "it is moved once, and batches are many: a box would cost each other message"
)]
enum Said {
    /// A batch, not decoded.
    Readings(Bytes),
    Other(Body),
}

/// Why a session is over.
enum End {
    /// The agent said so, or the connection did.
    Left(String),
    /// Somebody here said so.
    Stopped(WireError),
    /// Bad input.
    Refused(WireError),
}

impl Session {
    pub(super) async fn run(mut self, mut stream: Streaming<AgentFrame>) {
        let end = match self.begin(&mut stream).await {
            Ok(()) => self.serve(&mut stream).await,
            Err(end) => end,
        };
        let (refusal, reason, bad_input) = match end {
            End::Left(reason) => (None, reason, false),
            End::Stopped(error) => (Some(error.clone()), error.message, false),
            End::Refused(error) => (Some(error.clone()), format!("{}: {}", error.code.as_str(), error.message), true),
        };
        if let Some(error) = refusal {
            self.link.send(controller_message::Body::Refusal((&error).into()));
        }
        if self.intake.is_none() {
            // It never began, so the core does not know it.
            tracing::warn!(server = %self.server, "session refused: {}", plain(&reason));
            if bad_input {
                let message = format!("session refused: {reason}");
                self.core.tell(Input::Remark { server: Some(self.server), topic: "bad_input", message }).await;
            }
            return;
        }
        self.tell(FromAgent::End { reason, bad_input }).await;
    }

    async fn tell(&self, what: FromAgent) -> bool {
        self.core.tell(Input::Session(SessionInput { server: self.server.clone(), token: self.token, what })).await
    }

    async fn next(stream: &mut Streaming<AgentFrame>) -> Result<Said, End> {
        match stream.message().await {
            Ok(Some(AgentFrame { readings: Some(batch), .. })) => Ok(Said::Readings(batch)),
            Ok(Some(AgentFrame { readings: None, other })) => {
                other.body.map(Said::Other).ok_or_else(|| refused(Code::Malformed, "a message without content"))
            }
            Ok(None) => Err(End::Left("the agent closed the stream".to_owned())),
            Err(status) if status.code() == tonic::Code::OutOfRange => {
                Err(refused(Code::TooLarge, &format!("a message is too large: {}", status.message())))
            }
            Err(status) if status.code() == tonic::Code::Internal && status.message().contains("decode") => {
                Err(refused(Code::Malformed, &format!("a message cannot be decoded: {}", status.message())))
            }
            Err(status) => Err(End::Left(format!("the connection was lost: {}", status.message()))),
        }
    }

    /// Hello and welcome.
    async fn begin(&mut self, stream: &mut Streaming<AgentFrame>) -> Result<(), End> {
        let silent = |_| refused(Code::Order, &format!("no hello within {} s", PATIENCE.as_secs()));
        let first = timeout(PATIENCE, Self::next(stream)).await.map_err(silent)??;
        let Said::Other(Body::Hello(hello)) = first else {
            return Err(refused(Code::Order, "the first message is not a hello"));
        };
        if hello.boot_id.is_empty()
            || hello.boot_id.len() > 64
            || hello.version.len() > 64
            || hello.policy_digest.len() > 64
        {
            return Err(refused(Code::Malformed, "a hello needs a boot id, and its texts have at most 64 bytes"));
        }
        let hello = Hello {
            version: hello.version,
            boot: hello.boot_id,
            session: hello.session,
            epoch: hello.epoch,
            policy_version: hello.policy_version,
            policy_digest: hello.policy_digest,
            system: system(hello.system.unwrap_or_default()),
            started_boot_ms: hello.started_boot_ms,
            insecure_unsigned: hello.insecure_unsigned,
            labels: convert::labels_from_wire(&hello.labels).map_err(End::Refused)?,
        };
        let boot = hello.boot.clone();
        let (answer, answered) = oneshot::channel();
        let begun = self.tell(FromAgent::Begin { hello, link: self.link.clone(), answer }).await;
        let desk = match answered.await {
            Ok(Ok(desk)) if begun => desk,
            Ok(Err(error)) => return Err(End::Stopped(error)),
            Ok(Ok(_)) | Err(_) => return Err(stopping()),
        };
        let writer = self.history.writer(&self.server);
        writer.begin(crate::clock::now());
        self.intake = Some(Intake::new(desk, writer, boot));
        self.link.ping(1);
        Ok(())
    }

    async fn serve(&mut self, stream: &mut Streaming<AgentFrame>) -> End {
        let link = self.link.clone();
        let stopped = link.stopped();
        tokio::pin!(stopped);
        let mut ticks = interval(self.ping_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        let (mut pinged, mut ponged, mut messages) = (1u64, 0u64, 0u32);
        // The inventory comes before everything but pongs.
        let mut shown = false;
        let mut ack_at = Instant::now();
        let (mut acks, mut ripe) = (false, false);
        let history = Arc::clone(&self.history);
        loop {
            if let Some(intake) = &mut self.intake {
                match intake.pending() {
                    Pending::Late => intake.ask(),
                    Pending::Live if ripe => intake.ask(),
                    // One acknowledgement for all that comes within a while: it costs as much as a batch does.
                    Pending::Live if !acks => (acks, ack_at) = (true, Instant::now() + ACK_AFTER),
                    Pending::Live | Pending::Nothing => {}
                }
            }
            // What is acknowledged as soon as it is on disk.
            let due = self.intake.as_ref().and_then(Intake::asked);
            tokio::select! {
                error = &mut stopped => return End::Stopped(error),
                _ = ticks.tick() => {
                    if pinged - ponged >= MISSED_PONGS {
                        return End::Stopped(WireError::new(Code::Order, format!("{MISSED_PONGS} pings were not answered")));
                    }
                    if !shown && self.ping_every.saturating_mul(u32::try_from(pinged).unwrap_or(u32::MAX)) > INVENTORY_PATIENCE {
                        let text = format!("no inventory within {} s", INVENTORY_PATIENCE.as_secs());
                        return refused(Code::Order, &text);
                    }
                    pinged += 1;
                    messages = 0;
                    self.link.ping(pinged);
                    if let Some(intake) = self.intake.as_ref().filter(|_| pinged % SWEEP_PINGS == 0) {
                        intake.forget(crate::clock::now());
                    }
                    if self.intake.as_ref().is_some_and(Intake::lost) && !history.is_troubled() {
                        let text = "not all readings could be stored; send again what was not acknowledged";
                        return End::Stopped(WireError::new(Code::Draining, text));
                    }
                }
                () = sleep_until(ack_at), if acks && !ripe => ripe = true,
                kept = history.durable(due.unwrap_or(Ticket::NONE)), if due.is_some() => {
                    if kept.is_err() {
                        return stopping();
                    }
                    self.acknowledge();
                    (acks, ripe) = (false, false);
                }
                message = Self::next(stream) => {
                    let taken = match message {
                        Err(end) => return end,
                        Ok(Said::Readings(_)) if !shown => Err(early()),
                        Ok(Said::Readings(batch)) => self.readings(&batch).await,
                        Ok(Said::Other(Body::Pong(pong))) if pong.number > pinged => {
                            Err(refused(Code::Sequence, &format!("pong {} answers no ping", pong.number)))
                        }
                        Ok(Said::Other(Body::Pong(pong))) => {
                            ponged = ponged.max(pong.number);
                            Ok(())
                        }
                        Ok(Said::Other(Body::Inventory(inventory))) if !shown => {
                            shown = true;
                            self.inventory(inventory).await
                        }
                        Ok(Said::Other(Body::Goodbye(goodbye))) => {
                            self.settle().await;
                            Err(End::Left(format!("the agent left: {}", convert::cut(&goodbye.reason, TEXT))))
                        }
                        Ok(Said::Other(_)) if !shown => Err(early()),
                        Ok(Said::Other(other)) => {
                            messages += 1;
                            if messages > MESSAGES {
                                let text = format!("more than {MESSAGES} messages besides readings between two pings");
                                Err(refused(Code::TooLarge, &text))
                            } else {
                                self.other(other).await
                            }
                        }
                    };
                    if let Err(end) = taken {
                        return end;
                    }
                }
            }
        }
    }

    async fn inventory(&mut self, inventory: v1::Inventory) -> Result<(), End> {
        let entries = convert::inventory_from_wire(inventory).map_err(End::Refused)?;
        if self.tell(FromAgent::Inventory(entries)).await { Ok(()) } else { Err(stopping()) }
    }

    async fn other(&mut self, body: Body) -> Result<(), End> {
        let text = |text: &str| convert::cut(text, TEXT).to_owned();
        let what = match body {
            Body::Outcome(outcome) => FromAgent::Outcome(convert::outcome_from_wire(outcome).map_err(End::Refused)?),
            Body::Policy(status) => {
                if status.digest.len() > 64 {
                    return Err(refused(Code::Malformed, "a policy's digest has more than 64 bytes"));
                }
                let error = (!status.error.is_empty()).then(|| text(&status.error));
                FromAgent::Policy { version: status.version, digest: status.digest, error }
            }
            Body::Gap(gap) => FromAgent::Lost { readings: gap.readings, reason: text(&gap.reason) },
            Body::Sensor(status) => {
                if status.sensor.is_empty() || status.sensor.len() > 256 {
                    return Err(refused(Code::Malformed, "a sensor's id is empty or too long"));
                }
                FromAgent::Sensor { id: status.sensor, healthy: status.healthy, message: text(&status.message) }
            }
            Body::Hello(_) | Body::Inventory(_) => {
                return Err(refused(Code::Order, "hello and inventory come once, at the beginning"));
            }
            Body::Readings(_) | Body::Pong(_) | Body::Goodbye(_) => return Ok(()),
        };
        if self.tell(what).await { Ok(()) } else { Err(stopping()) }
    }

    /// To the evaluator and the history; the core hears of it when something was found.
    async fn readings(&mut self, batch: &[u8]) -> Result<(), End> {
        let Some(intake) = &mut self.intake else { return Ok(()) };
        let taken = intake.take(crate::clock::now(), batch).map_err(|error| {
            // To be superseded is not bad input.
            if error.code == Code::Superseded { End::Stopped(error) } else { End::Refused(error) }
        })?;
        if let Some(message) = taken.complaint {
            self.core.tell(Input::Remark { server: Some(self.server.clone()), topic: "series_capped", message }).await;
        }
        if let Some(intake) = self.intake.as_ref().filter(|_| taken.hungry) {
            self.refill.begin((&self.server, self.token), intake.desk(), &self.history, &self.core);
        }
        if !taken.found || self.tell(FromAgent::Found).await { Ok(()) } else { Err(stopping()) }
    }

    /// Acknowledges what an agent that leaves has sent last.
    async fn settle(&mut self) {
        loop {
            if let Some(intake) = &mut self.intake {
                intake.ask();
            }
            let Some(ticket) = self.intake.as_ref().and_then(Intake::asked) else { return };
            self.history.flush();
            match timeout(SETTLE, self.history.durable(ticket)).await {
                Ok(Ok(())) => self.acknowledge(),
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }

    fn acknowledge(&mut self) {
        if let Some(intake) = &mut self.intake {
            for ack in intake.acks() {
                self.link.send(controller_message::Body::Ack(ack));
            }
        }
    }
}

fn system(system: v1::System) -> System {
    let text = |text: &str| convert::cut(text, 128).to_owned();
    let (os, kernel, arch) = (text(&system.os), text(&system.kernel), text(&system.arch));
    System { os, kernel, arch, cpus: system.cpus, memory_bytes: system.memory_bytes }
}

fn early() -> End {
    refused(Code::Order, "the inventory comes before this")
}

fn refused(code: Code, message: &str) -> End {
    End::Refused(WireError::new(code, message))
}

fn stopping() -> End {
    End::Stopped(WireError::new(Code::Draining, "the controller is going down; come back in a moment"))
}
