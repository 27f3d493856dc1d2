//! One agent's stream, from its hello to its end. Bad input ends it, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use skynet_model::name::ServerId;
use skynet_proto::stream::{Decoded, Decoder};
use skynet_proto::v1::agent_message::Body;
use skynet_proto::v1::controller_message;
use skynet_proto::{Code, WireError, convert, v1};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tonic::Streaming;

use crate::core::{FromAgent, Handle, Hello, Input, Link, SessionInput};
use crate::history::{History, Slot, Ticket, Writer};
use crate::plain::plain;

/// How long an agent may take for its hello.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an agent that answers pings may take for its inventory: it waits for the action that runs, 5 min at most.
const INVENTORY_PATIENCE: Duration = Duration::from_secs(6 * 60);
/// Pings without an answer that end a session.
const MISSED_PONGS: u64 = 3;
/// Messages other than readings that an agent may send between two pings.
const MESSAGES: u32 = 2000;
/// Pings between two cleanings of the history: processes come and go.
const SWEEP_PINGS: u64 = 60;
/// Batches that wait to be on disk; an agent that sends more waits, too.
const UNACKNOWLEDGED: usize = 256;
/// Longest text an agent may send in such a message, in bytes; what is longer is cut.
const TEXT: usize = 1000;

pub(super) struct Session {
    pub(super) server: ServerId,
    pub(super) token: u64,
    pub(super) core: Handle,
    pub(super) link: Link,
    pub(super) writer: Option<Dictionary>,
    pub(super) history: Arc<History>,
    pub(super) ping_every: Duration,
}

/// Where the stream's series are in the history.
pub(super) struct Dictionary {
    decoder: Decoder,
    writer: Writer,
    slots: Vec<Option<Slot>>,
    capped: bool,
    boot: String,
    acknowledge: mpsc::Sender<(Ticket, v1::Ack)>,
    acknowledger: tokio::task::AbortHandle,
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
    pub(super) async fn run(mut self, mut stream: Streaming<v1::AgentMessage>) {
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
            // A refusal is the last thing that is said.
            if let Some(dictionary) = &self.writer {
                dictionary.acknowledger.abort();
            }
            self.link.send(controller_message::Body::Refusal((&error).into()));
        }
        if self.writer.is_none() {
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

    async fn next(stream: &mut Streaming<v1::AgentMessage>) -> Result<Body, End> {
        match stream.message().await {
            Ok(Some(message)) => message.body.ok_or_else(|| refused(Code::Malformed, "a message without content")),
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
    async fn begin(&mut self, stream: &mut Streaming<v1::AgentMessage>) -> Result<(), End> {
        let silent = |_| refused(Code::Order, &format!("no hello within {} s", PATIENCE.as_secs()));
        let first = timeout(PATIENCE, Self::next(stream)).await.map_err(silent)??;
        let Body::Hello(hello) = first else { return Err(refused(Code::Order, "the first message is not a hello")) };
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
        };
        let boot = hello.boot.clone();
        let (answer, answered) = oneshot::channel();
        let begun = self.tell(FromAgent::Begin { hello, link: self.link.clone(), answer }).await;
        match answered.await {
            Ok(Ok(())) if begun => {}
            Ok(Err(error)) => return Err(End::Stopped(error)),
            Ok(Ok(())) | Err(_) => return Err(stopping()),
        }
        let writer = self.history.writer(&self.server);
        writer.begin(crate::clock::now());
        let (acknowledge, waiting) = mpsc::channel(UNACKNOWLEDGED);
        let acknowledger = acknowledge_when_durable(Arc::clone(&self.history), self.link.clone(), waiting);
        let acknowledger = tokio::spawn(acknowledger).abort_handle();
        let (decoder, slots) = (Decoder::new(), Vec::new());
        self.writer = Some(Dictionary { decoder, writer, slots, capped: false, boot, acknowledge, acknowledger });
        self.link.ping(1);
        Ok(())
    }

    async fn serve(&mut self, stream: &mut Streaming<v1::AgentMessage>) -> End {
        let link = self.link.clone();
        let stopped = link.stopped();
        tokio::pin!(stopped);
        let mut ticks = interval(self.ping_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        let (mut pinged, mut ponged, mut messages) = (1u64, 0u64, 0u32);
        // The inventory comes before everything but pongs.
        let mut shown = false;
        loop {
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
                    if let Some(dictionary) = self.writer.as_ref().filter(|_| pinged % SWEEP_PINGS == 0) {
                        dictionary.writer.sweep(crate::clock::now());
                    }
                }
                message = Self::next(stream) => {
                    let taken = match message {
                        Err(end) => return end,
                        Ok(Body::Pong(pong)) if pong.number > pinged => {
                            Err(refused(Code::Sequence, &format!("pong {} answers no ping", pong.number)))
                        }
                        Ok(Body::Pong(pong)) => {
                            ponged = ponged.max(pong.number);
                            Ok(())
                        }
                        Ok(Body::Inventory(inventory)) if !shown => {
                            shown = true;
                            self.inventory(inventory).await
                        }
                        Ok(Body::Goodbye(goodbye)) => {
                            Err(End::Left(format!("the agent left: {}", convert::cut(&goodbye.reason, TEXT))))
                        }
                        Ok(_) if !shown => Err(refused(Code::Order, "the inventory comes before this")),
                        Ok(Body::Readings(batch)) => self.readings(&batch).await,
                        Ok(other) => {
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

    /// To the history and to the core; the acknowledgement follows when the history is on disk. Nothing waits for that.
    async fn readings(&mut self, batch: &v1::ReadingBatch) -> Result<(), End> {
        let Some(dictionary) = &mut self.writer else { return Ok(()) };
        let mut decoded = Box::<Decoded>::default();
        dictionary.decoder.decode(batch, &mut decoded).map_err(End::Refused)?;
        let boot_id = decoded.boot_id.clone().unwrap_or_else(|| dictionary.boot.clone());
        let (capped, ticket) = dictionary.store(&decoded, &boot_id);
        let ack = v1::Ack { seq: decoded.seq, boot_id };
        if dictionary.acknowledge.send((ticket, ack)).await.is_err() {
            let text = "the controller's disk takes no readings; keep them, and come back in a moment";
            return Err(End::Stopped(WireError::new(Code::Draining, text)));
        }
        if let Some(message) = capped {
            self.core.tell(Input::Remark { server: Some(self.server.clone()), topic: "series_capped", message }).await;
        }
        if self.tell(FromAgent::Batch(decoded)).await { Ok(()) } else { Err(stopping()) }
    }
}

impl Dictionary {
    /// Writes a batch; gives the complaint when a series found no room for the first time, and the batch's ticket.
    fn store(&mut self, batch: &Decoded, boot: &str) -> (Option<String>, Ticket) {
        let Self { writer, slots, capped, .. } = self;
        let mut complaint = None;
        let writer = &*writer;
        let (mut open, known) = match writer.batch(boot, batch.seq) {
            Ok(open) => (Some(open), None),
            // It is there already, but its announcements are this stream's.
            Err(ticket) => (None, Some(ticket)),
        };
        for (slot, key) in &batch.announced {
            let index = *slot as usize;
            if slots.len() <= index {
                slots.resize(index + 1, None);
            }
            let place = open.as_mut().map_or_else(|| writer.slot(key), |open| open.slot(key));
            slots[index] = match place {
                Ok(place) => Some(place),
                Err(error) => {
                    if !std::mem::replace(capped, true) {
                        complaint = Some(error.to_string());
                    }
                    None
                }
            };
        }
        if let Some(open) = &mut open {
            for (sweep, readings) in batch.sweeps() {
                let place = |(slot, value): &(u32, f64)| {
                    slots.get(*slot as usize).copied().flatten().map(|place| (place, *value))
                };
                open.write(sweep.started, readings.iter().filter_map(place));
            }
        }
        for slot in &batch.retired {
            if let Some(place) = slots.get_mut(*slot as usize).and_then(Option::take) {
                match &mut open {
                    Some(open) => open.retire(place),
                    None => writer.retire(place),
                }
            }
        }
        let ticket = open.map(crate::history::Batch::commit).or(known);
        (complaint, ticket.unwrap_or(Ticket::NONE))
    }
}

/// Acknowledges batches in their order; ends at one that is not stored, and so does the session then.
async fn acknowledge_when_durable(history: Arc<History>, link: Link, mut waiting: mpsc::Receiver<(Ticket, v1::Ack)>) {
    while let Some((ticket, ack)) = waiting.recv().await {
        if history.durable(ticket).await.is_err() {
            return;
        }
        link.send(controller_message::Body::Ack(ack));
    }
}

fn refused(code: Code, message: &str) -> End {
    End::Refused(WireError::new(code, message))
}

fn stopping() -> End {
    End::Stopped(WireError::new(Code::Draining, "the controller is going down; come back in a moment"))
}
