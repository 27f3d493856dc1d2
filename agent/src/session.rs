//! One session with the controller: connect, greet, show the ledger, then readings up and commands down.

mod backoff;
mod outgoing;
mod protocol;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use skynet_node::actor::Reply;
use skynet_proto::convert::{inventory_to_wire, labels_to_wire, outcome_to_wire};
use skynet_proto::stream::{Encoder, MAX_SERIES};
use skynet_proto::v1::agent_message::Body as Up;
use skynet_proto::v1::agent_service_client::AgentServiceClient;
use skynet_proto::{MAX_MESSAGE, tls, v1};
use tokio::sync::{mpsc, watch};
use tonic::Streaming;

pub use backoff::{Backoff, STABLE};
pub use protocol::{Effect, End, Moment, Protocol, refuse};

use crate::agent::{Agent, AgentError, News};
use crate::clock;
use crate::spool::Spool;
use outgoing::Outgoing;

/// How long the controller may take to answer a new session.
const GREETING: Duration = Duration::from_secs(20);
/// How long a drain may take.
pub const DRAIN: Duration = Duration::from_secs(10);
/// How long a drain waits for readings alone.
const FLUSH: Duration = Duration::from_secs(2);
/// The backlog's pace: a batch a tick, and so many on their way.
const TICK: Duration = Duration::from_millis(50);
const LATE_WINDOW: usize = 4;
/// Messages that wait to be sent before any reading; a controller that lets more pile up is not listening.
const MAX_URGENT: usize = 1024;

/// How a session ended.
#[derive(Debug)]
pub struct Ended {
    /// When it was up; none: it never was.
    pub up: Option<Instant>,
    /// Why.
    pub why: End,
}

/// Runs one session to its end. When `stop` turns true it drains: no new commands, running ones are waited for, what is
/// held is sent, then goodbye.
///
/// # Errors
/// [`AgentError`]: not only the session is over.
pub async fn run(agent: &mut Agent, stop: &mut watch::Receiver<bool>) -> Result<Ended, AgentError> {
    let never = |why: String| Ended { up: None, why: End::Broken(why) };
    let config = match agent.tls() {
        Ok(config) => config,
        Err(error) => return Ok(never(error.to_string())),
    };
    let target = agent.target.clone();
    let mut stopped = stop.clone();
    let connect = async {
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stop| *stop) => Err("the agent is stopping".to_owned()),
            channel = tls::connect(&target, config) => channel.map_err(|e| e.to_string()),
        }
    };
    let channel = match agent.tend(connect).await? {
        Ok(channel) => channel,
        Err(error) => return Ok(never(error)),
    };
    let (urgent, bulk, outgoing) = Outgoing::new();
    let hello = hello(agent);
    // The channel is new: there is room.
    drop(urgent.try_send(v1::AgentMessage { body: Some(Up::Hello(hello)) }));
    agent.ask_inventory()?;
    {
        let mut held = agent.shared.lock();
        held.spool.begin_session();
        held.health.begin_session();
    }
    let mut client =
        AgentServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE);
    let mut session = Session {
        protocol: Protocol::new(agent.identity.name.clone(), agent.boot_id.clone(), agent.epoch),
        encoder: Encoder::new(),
        queue: VecDeque::new(),
        unshown: VecDeque::new(),
        shown: false,
        up: None,
        late_may_go: true,
        capped: false,
        draining: None,
    };
    let call = tokio::time::timeout(GREETING, client.session(outgoing));
    tokio::pin!(call);
    // The inventory may come before the controller's answer does, and must not wait for it.
    let inbound = loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return Ok(never("the agent is stopping".to_owned())),
            reply = agent.receive() => session.reply(agent, reply?),
            permit = urgent.reserve(), if !session.queue.is_empty() => session.send_urgent(permit.ok()),
            answer = &mut call => break answer,
        }
    };
    let inbound = match inbound {
        Ok(Ok(answer)) => answer.into_inner(),
        Ok(Err(status)) => return Ok(never(format!("{}: {}", status.code(), status.message()))),
        Err(_) => return Ok(never(format!("no answer to a new session within {} s", GREETING.as_secs()))),
    };
    let why = session.talk(agent, stop, inbound, urgent, bulk).await?;
    agent.epoch = agent.epoch.max(session.protocol.epoch());
    Ok(Ended { up: session.up, why })
}

fn hello(agent: &mut Agent) -> v1::Hello {
    let now = agent.moment();
    let session = agent.session_number();
    let policy = agent.in_force();
    v1::Hello {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        boot_id: agent.boot_id.clone(),
        session,
        epoch: agent.epoch,
        policy_version: policy.version,
        policy_digest: policy.digest.clone(),
        wall_ms: now.wall.0,
        boot_ms: now.boot_ms,
        labels: labels_to_wire(&policy.labels),
        started_boot_ms: agent.started_boot_ms,
        system: Some(agent.system()),
        insecure_unsigned: agent.insecure_unsigned,
    }
}

type Sender = mpsc::Sender<v1::AgentMessage>;

struct Session {
    protocol: Protocol,
    encoder: Encoder,
    /// To be sent before any reading.
    queue: VecDeque<Up>,
    /// What has to wait for the inventory.
    unshown: VecDeque<Up>,
    /// The inventory is in the queue or sent: everything else may follow.
    shown: bool,
    up: Option<Instant>,
    late_may_go: bool,
    /// That series are left out has been logged.
    capped: bool,
    draining: Option<Drain>,
}

/// A drain's deadlines.
struct Drain {
    all: tokio::time::Instant,
    readings: tokio::time::Instant,
}

impl Session {
    async fn talk(
        &mut self,
        agent: &mut Agent,
        stop: &mut watch::Receiver<bool>,
        mut inbound: Streaming<v1::ControllerMessage>,
        urgent: Sender,
        bulk: Sender,
    ) -> Result<End, AgentError> {
        let shared = agent.shared.clone();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            if self.shown {
                self.queue_status(agent);
            }
            if self.queue.len() + self.unshown.len() > MAX_URGENT {
                return Ok(End::Protocol("it does not read what we send".to_owned()));
            }
            if self.is_drained(agent) {
                return Ok(self.goodbye(inbound, urgent, bulk).await);
            }
            let (readings, backlog) = self.readings_wait(agent);
            let ticking = backlog || agent.has_journalled() || self.draining.is_some();
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop), if self.draining.is_none() => self.drain(agent),
                reply = agent.receive() => self.reply(agent, reply?),
                permit = urgent.reserve(), if !self.queue.is_empty() => {
                    if permit.is_err() {
                        return Ok(broken("the connection ended"));
                    }
                    self.send_urgent(permit.ok());
                }
                message = inbound.message() => match message {
                    Ok(Some(message)) => {
                        if let Some(end) = self.receive(agent, message)? {
                            return Ok(end);
                        }
                    }
                    Ok(None) => return Ok(broken("the controller closed the session")),
                    Err(status) => return Ok(End::Broken(format!("{}: {}", status.code(), status.message()))),
                },
                permit = bulk.reserve(), if readings => match permit {
                    Ok(permit) => self.send_readings(agent, permit),
                    Err(_) => return Ok(broken("the connection ended")),
                },
                () = shared.news.notified() => {}
                _ = tick.tick(), if ticking => {
                    self.late_may_go = true;
                    agent.tell_journalled()?;
                }
            }
        }
    }

    /// Takes a reply of the acting process.
    fn reply(&mut self, agent: &mut Agent, reply: Reply) {
        match agent.take(reply) {
            News::Outcome(outcome) => {
                // Before the inventory it waits: what is kept is told right after it.
                if self.shown {
                    self.queue.push_back(Up::Outcome(outcome_to_wire(&outcome)));
                }
            }
            News::Policy(status, ended) => {
                for sensor in ended {
                    self.encoder.forget_sensor(&sensor);
                }
                if self.shown {
                    self.queue.push_back(Up::Policy(status));
                }
            }
            News::Inventory(entries) => {
                if !self.shown {
                    self.shown = true;
                    self.queue.push_front(Up::Inventory(inventory_to_wire(&entries)));
                    let kept = agent.kept().filter(|o| !entries.iter().any(|e| e.command == o.command));
                    self.queue.extend(kept.map(|o| Up::Outcome(outcome_to_wire(o))));
                    self.queue.extend(agent.given_up().cloned().map(Up::Policy));
                    self.queue.append(&mut self.unshown);
                }
            }
            News::None => {}
        }
    }

    fn receive(&mut self, agent: &mut Agent, message: v1::ControllerMessage) -> Result<Option<End>, AgentError> {
        let effect = match self.protocol.receive(message, agent.moment()) {
            Ok(effect) => effect,
            Err(end) => return Ok(Some(end)),
        };
        if self.up.is_none() && self.protocol.is_welcomed() {
            self.up = Some(clock::now());
            tracing::info!(controller = %agent.target, epoch = self.protocol.epoch(), "the session is up");
        }
        match effect {
            None => {}
            // A ping is answered at once; the rest comes after the inventory.
            Some(Effect::Send(up)) if self.shown || matches!(*up, Up::Pong(_)) => self.queue.push_back(*up),
            Some(Effect::Send(up)) => self.unshown.push_back(*up),
            Some(Effect::Acked(seq)) => self.acknowledged(agent, |spool| spool.ack(seq)),
            Some(Effect::AckedOther(boot, seq)) => self.acknowledged(agent, |spool| spool.ack_other(&boot, seq)),
            Some(Effect::Execute { .. }) if self.draining.is_some() => {
                tracing::info!("a command came while the agent drains; the controller will ask again");
            }
            Some(Effect::Execute { command, deadline_boot_ms }) => {
                let id = command.id.clone();
                if let Err(reason) = agent.execute(command, deadline_boot_ms)? {
                    self.answer(agent, refuse(id, reason, agent.moment()));
                }
            }
            Some(effect @ Effect::Answer(_)) => self.answer(agent, effect),
            Some(Effect::Policy { bundle, signatures, labels }) => {
                let taken = agent.push_policy(bundle, signatures, labels)?;
                if !taken {
                    return Ok(Some(End::Protocol("policies come faster than they can be taken".to_owned())));
                }
            }
            Some(Effect::Return { version, digest, labels }) => agent.go_back(version, digest, labels)?,
            Some(Effect::Halt(halted)) => agent.halt(halted)?,
            Some(Effect::Emergency(signed)) => agent.emergency(signed)?,
            Some(Effect::Forget(commands)) => agent.journalled(commands),
        }
        Ok(None)
    }

    fn acknowledged(&mut self, agent: &Agent, ack: impl FnOnce(&mut Spool)) {
        let mut held = agent.shared.lock();
        let backlog = held.spool.has_backlog();
        ack(&mut held.spool);
        if backlog && !held.spool.has_backlog() {
            self.encoder.end_late();
        }
    }

    fn answer(&mut self, agent: &mut Agent, effect: Effect) {
        if let Effect::Answer(outcome) = effect {
            tracing::warn!(command = %outcome.command, message = outcome.message, "a command is refused");
            if self.shown {
                self.queue.push_back(Up::Outcome(outcome_to_wire(&outcome)));
            }
            agent.keep(outcome);
        }
    }

    /// Losses and sensors' health, which go before readings.
    fn queue_status(&mut self, agent: &Agent) {
        let mut held = agent.shared.lock();
        while let Some(change) = held.health.take_change() {
            self.queue.push_back(Up::Sensor(v1::SensorStatus {
                sensor: change.sensor.to_string(),
                healthy: change.error.is_none(),
                message: change.error.unwrap_or_default(),
            }));
        }
        for loss in held.spool.take_losses() {
            tracing::warn!(readings = loss.readings, reason = loss.reason, "readings were lost");
            self.queue.push_back(Up::Gap(v1::Gap {
                boot_id: loss.boot.unwrap_or_else(|| agent.boot_id.clone()),
                first_seq: loss.first_seq,
                last_seq: loss.last_seq,
                readings: loss.readings,
                reason: loss.reason,
            }));
        }
    }

    fn send_urgent(&mut self, permit: Option<mpsc::Permit<'_, v1::AgentMessage>>) {
        if let Some(permit) = permit
            && let Some(body) = self.queue.pop_front()
        {
            permit.send(v1::AgentMessage { body: Some(body) });
        }
    }

    /// Whether readings may be sent now, and whether a backlog waits for its tick.
    fn readings_wait(&self, agent: &Agent) -> (bool, bool) {
        let held = agent.shared.lock();
        let backlog = held.spool.has_backlog();
        (self.shown && (held.spool.has_live() || (backlog && self.late_may_go)), backlog)
    }

    fn send_readings(&mut self, agent: &Agent, permit: mpsc::Permit<'_, v1::AgentMessage>) {
        let mut held = agent.shared.lock();
        let batch = match held.spool.next_live() {
            Some(batch) => self.encoder.batch(batch.seq, false, batch.parts()),
            None => {
                self.late_may_go = false;
                let Some(batch) = held.spool.next_late(LATE_WINDOW) else { return };
                let boot = batch.boot.as_deref().unwrap_or_default().to_owned();
                let mut wire = self.encoder.batch(batch.seq, true, batch.parts());
                wire.boot_id = boot;
                wire
            }
        };
        drop(held);
        if self.encoder.dropped() > 0 && !self.capped {
            self.capped = true;
            tracing::warn!("more series than {MAX_SERIES}: the rest is left out; use fewer labels or sensors");
        }
        permit.send(v1::AgentMessage { body: Some(Up::Readings(batch)) });
    }

    fn drain(&mut self, agent: &mut Agent) {
        tracing::info!("stopping: the running action is waited for, what is held is sent");
        agent.stop_sensors();
        let now = tokio::time::Instant::now();
        self.draining = Some(Drain { all: now + DRAIN, readings: now + FLUSH });
    }

    fn is_drained(&self, agent: &Agent) -> bool {
        let Some(drain) = &self.draining else { return false };
        let now = tokio::time::Instant::now();
        let sent = self.shown && agent.is_idle() && self.queue.is_empty();
        let flushed = now >= drain.readings || agent.shared.lock().spool.is_empty();
        now >= drain.all || (sent && flushed)
    }

    /// Says goodbye, ends our side, and waits shortly for the controller to end its own: then all has arrived.
    async fn goodbye(&self, mut inbound: Streaming<v1::ControllerMessage>, urgent: Sender, bulk: Sender) -> End {
        let goodbye = v1::Goodbye { reason: "the agent is stopping".to_owned() };
        drop(bulk);
        let body = Some(Up::Goodbye(goodbye));
        let farewell = async move {
            drop(urgent.send(v1::AgentMessage { body }).await);
            drop(urgent);
            while let Ok(Some(_)) = inbound.message().await {}
        };
        drop(tokio::time::timeout(Duration::from_secs(1), farewell).await);
        End::Broken("the agent is stopping".to_owned())
    }
}

fn broken(why: &str) -> End {
    End::Broken(why.to_owned())
}
