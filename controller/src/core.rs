//! The one loop: inputs to the engine, its events to the journal, and only then their effects.
//!
//! What must never enter: decisions (the engine's) and sockets (the rooms'). The order is the house's first rule: no
//! journal write, no action. While the journal cannot be written, events and effects wait here, in order.

mod desk;
mod emergency;
mod input;
mod link;
mod view;

mod agents;
mod orders;
mod rolling;
mod standing;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use skynet_engine::{Engine, Input as EngineInput, Output};
use skynet_model::command::Command;
use skynet_model::event::{Event, EventBody};
use skynet_model::incident::Notice;
use skynet_model::name::ServerId;
use skynet_model::series::Labels;
use skynet_model::time::{Span, Timestamp};
use skynet_proto::v1::controller_message::Body;
use skynet_proto::{Code, WireError, v1};
use tokio::sync::{mpsc, oneshot};

use crate::journal::{Feed, Journal};
use crate::plain::plain;
use crate::policies::{Active, Candidate, Policies};
use crate::rollout;

pub use desk::{Desk, Sensor, Sensors};
pub use input::{Answer, FromAgent, Handle, Hello, INPUTS, Input, Order, Refused, SessionInput, Steer, System};
pub use link::{Link, OUTBOX, Outgoing};
pub use rolling::health;
pub use standing::Standing;
pub use view::{Notices, Server, Told, View};

/// How long after a failed journal write the next is tried.
const RETRY: Duration = Duration::from_secs(1);
/// Events that may wait for the journal; with more, nothing is taken in any more.
const MAX_WAITING: usize = 100_000;
/// Inputs of one turn, which share one fsync.
const TURN: usize = 256;
/// Policy pushes of one turn: bundles are not copied for a whole fleet at once.
const PUSHES: usize = 50;
/// Longest sleep: clocks get set.
const LONGEST: Duration = Duration::from_secs(1);

/// Told of each policy that comes into force.
pub type Activated = Box<dyn FnMut(&Arc<Active>) + Send>;

/// What the core needs from the other rooms.
pub struct Parts {
    /// The open journal.
    pub journal: Journal,
    /// Its followers.
    pub feed: Arc<Feed>,
    /// The policy store.
    pub policies: Policies,
    /// The labels of configured servers.
    pub labels: BTreeMap<ServerId, Labels>,
    /// Tells a person; called when the notice is on disk.
    pub tell: Box<dyn FnMut(Notice) + Send>,
    /// Told of the policy in force.
    pub activated: Activated,
    /// The time.
    pub clock: Box<dyn Fn() -> Timestamp + Send>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("journal", &self.journal).finish_non_exhaustive()
    }
}

/// What happens once the events before it are on disk.
enum Effect {
    /// With when it was decided.
    Send(Command, Timestamp),
    Tell(Box<Notice>),
    OutcomeAck(ServerId, u64, Vec<String>),
    InventoryAck(ServerId, u64),
    Activate(Arc<Candidate>, String),
    /// These may have to have another policy now.
    Push(Vec<ServerId>),
    Resume,
    /// The last emergency document goes to every agent.
    Emergency,
    Reply(oneshot::Sender<Answer>, Answer),
}

/// The loop's state.
pub struct Core {
    parts: Parts,
    engine: Engine,
    epoch: u64,
    servers: BTreeMap<ServerId, Server>,
    notices: Notices,
    rollout: rollout::State,
    /// When the rollout is looked at next.
    roll_at: Timestamp,
    out: Vec<Output>,
    waiting: Vec<Event>,
    effects: VecDeque<Effect>,
    pushes: VecDeque<ServerId>,
    /// Why the journal cannot be written, and when it is tried again.
    blocked: Option<(String, tokio::time::Instant)>,
    ended: bool,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("epoch", &self.epoch).field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

impl Core {
    /// Replays `events`, begins a new epoch and puts the policy in force.
    #[must_use]
    pub fn new(parts: Parts, events: Vec<Event>) -> Self {
        let mut core = Self {
            engine: Engine::new(),
            epoch: 0,
            servers: BTreeMap::new(),
            notices: Notices::default(),
            rollout: rollout::State::default(),
            roll_at: Timestamp::default(),
            out: Vec::new(),
            waiting: Vec::new(),
            effects: VecDeque::new(),
            pushes: VecDeque::new(),
            blocked: None,
            ended: false,
            parts,
        };
        for event in events {
            core.engine.replay(&event);
            view::fold_server(&mut core.servers, &event);
            core.notices.fold(&event.body);
            core.rollout.apply(event.time, &event.body);
            if let EventBody::ControllerStarted { epoch, .. } = &event.body {
                core.epoch = core.epoch.max(*epoch);
            }
            core.parts.feed.publish(event);
        }
        let now = (core.parts.clock)();
        // Seconds since 1970: higher than before even if the journal was lost.
        core.epoch = (core.epoch + 1).max(u64::try_from(now.0 / 1000).unwrap_or(0));
        let version = env!("CARGO_PKG_VERSION").to_owned();
        core.event(now, EventBody::ControllerStarted { epoch: core.epoch, version });
        core.engine.start(now, core.epoch);
        if let Some(active) = core.parts.policies.current().cloned() {
            (core.parts.activated)(&active);
            let policy = Arc::clone(&active.candidate.policy);
            core.term(now, &active);
            core.engine.set_policy(now, active.candidate.version, policy, &mut core.out);
        }
        for (server, labels) in core.parts.labels.clone() {
            core.label(now, &server, labels);
        }
        core.drain_out(now);
        let known: Vec<ServerId> = core.servers.keys().cloned().collect();
        known.iter().for_each(|server| core.align(now, server));
        core.end_without_bundle(now);
        core
    }

    /// Runs until [`Input::Stop`] came or nobody is left who could tell anything.
    pub async fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        let mut turn = Vec::with_capacity(TURN);
        self.flush();
        while !self.ended {
            let pause = self.pause();
            let room = self.waiting.len() < MAX_WAITING;
            tokio::select! {
                taken = inputs.recv_many(&mut turn, TURN), if room => {
                    if taken == 0 {
                        break;
                    }
                }
                () = tokio::time::sleep(pause) => {}
            }
            for input in turn.drain(..) {
                self.take(input);
            }
            self.wake();
            self.roll();
            self.flush();
            self.push_some();
        }
        let why = WireError::new(Code::Draining, "the controller is going down; come back in a moment");
        for session in self.servers.values().filter_map(|s| s.session.as_ref()) {
            session.link.stop(why.clone());
        }
        self.blocked = None;
        self.flush();
        if let Some((why, _)) = &self.blocked {
            tracing::error!("{} events were not journalled: {why}", self.waiting.len());
        }
    }

    fn pause(&self) -> Duration {
        if !self.pushes.is_empty() {
            return Duration::from_millis(50);
        }
        let now = (self.parts.clock)();
        let wake = self.engine.next_wake().map_or(LONGEST, |at| at.since(now).std());
        let retry =
            self.blocked.as_ref().map_or(LONGEST, |(_, at)| at.saturating_duration_since(tokio::time::Instant::now()));
        let roll = self.rollout.under_way().map_or(LONGEST, |_| self.roll_at.since(now).std());
        wake.min(retry).min(roll).clamp(Duration::from_millis(1), LONGEST)
    }

    fn wake(&mut self) {
        let now = (self.parts.clock)();
        if self.engine.next_wake().is_some_and(|at| at <= now) {
            self.decide(now, EngineInput::Wake);
        }
    }

    fn take(&mut self, input: Input) {
        let now = (self.parts.clock)();
        match input {
            Input::Session(input) => self.session(now, input),
            Input::Order(order, reply) => self.order(now, order, reply),
            Input::Ask(question) => question(View {
                now,
                engine: &self.engine,
                servers: &self.servers,
                policies: &self.parts.policies,
                rollout: &self.rollout,
                notices: &self.notices,
                blocked: self.blocked.as_ref().map(|(why, _)| why.as_str()),
            }),
            Input::Notified { notice, target, result } => {
                let body = match result {
                    Ok(()) => EventBody::NoticeDelivered { notice, target },
                    Err(error) => EventBody::NoticeFailed { notice, target, error },
                };
                self.event(now, body);
            }
            Input::Remark { server, topic, message } => self.remark(now, server, topic, message),
            Input::Called { by, role, method, summary } => {
                let (role, method) = (role.to_owned(), method.to_owned());
                self.event(now, EventBody::OperatorCalled { by, role, method, summary });
            }
            Input::Emergency { taken, signatures } => self.emergency(now, taken, signatures),
            Input::Stop => self.ended = true,
        }
    }

    fn remark(&mut self, now: Timestamp, server: Option<ServerId>, topic: &str, message: String) {
        match &server {
            Some(server) => tracing::warn!("{server}: {}", plain(&message)),
            None => tracing::warn!("{}", plain(&message)),
        }
        self.event(now, EventBody::Remark { server, topic: topic.to_owned(), message });
    }

    /// Lets the engine decide and queues what it says.
    fn decide(&mut self, now: Timestamp, input: EngineInput) {
        self.engine.handle(now, input, &mut self.out);
        self.drain_out(now);
    }

    /// The configuration's labels, unless an operator has set others.
    fn label(&mut self, now: Timestamp, server: &ServerId, labels: Labels) {
        let known = self.servers.get(server).is_some_and(|s| s.labelled || s.labels == labels);
        if !known {
            self.servers.entry(server.clone()).or_default().labels = labels.clone();
            self.decide(now, EngineInput::Labelled { server: server.clone(), labels });
        }
    }

    fn drain_out(&mut self, now: Timestamp) {
        for output in std::mem::take(&mut self.out) {
            match output {
                Output::Event(body) => {
                    let effect = if let EventBody::CommandIssued { command, .. } = &body {
                        Some(Effect::Send(command.clone(), now))
                    } else if let EventBody::NoticeRaised { notice } = &body {
                        Some(Effect::Tell(notice.clone()))
                    } else {
                        None
                    };
                    self.event(now, body);
                    self.effects.extend(effect);
                }
                // Its event is in the journal, or waits before this effect.
                Output::Resend(command) => self.effects.push_back(Effect::Send(command, now)),
            }
        }
    }

    fn event(&mut self, time: Timestamp, body: EventBody) {
        self.notices.fold(&body);
        self.rollout.apply(time, &body);
        let seq = self.parts.journal.last() + 1 + self.waiting.len() as u64;
        self.waiting.push(Event { seq, time, body });
    }

    /// Events to disk, then effects. An effect may bring new events; those go the same way.
    fn flush(&mut self) {
        let clock = tokio::time::Instant::now();
        if self.blocked.as_ref().is_some_and(|(_, retry)| clock < *retry) {
            self.refuse_replies();
            return;
        }
        loop {
            if !self.waiting.is_empty() {
                if let Err(error) = self.parts.journal.append(&self.waiting) {
                    self.block(error.to_string(), clock + RETRY);
                    return;
                }
                for event in self.waiting.drain(..) {
                    self.parts.feed.publish(event);
                }
                if self.blocked.take().is_some() {
                    tracing::warn!("the journal can be written again; actions go on");
                    let now = (self.parts.clock)();
                    self.decide(now, EngineInput::JournalBlocked(false));
                }
            }
            let effects = std::mem::take(&mut self.effects);
            if effects.is_empty() && self.waiting.is_empty() {
                return;
            }
            for effect in effects {
                self.effect(effect);
            }
        }
    }

    fn block(&mut self, why: String, retry: tokio::time::Instant) {
        let first = self.blocked.is_none();
        if self.blocked.as_ref().is_none_or(|(before, _)| *before != why) {
            tracing::error!("journal cannot be written: {why}; no action is taken until it can");
        }
        self.blocked = Some((why, retry));
        if first {
            let now = (self.parts.clock)();
            self.decide(now, EngineInput::JournalBlocked(true));
        }
        self.refuse_replies();
    }

    /// Nobody waits for a disk that may stay full: operators are told at once.
    fn refuse_replies(&mut self) {
        let Some((why, _)) = &self.blocked else { return };
        let text = format!("taken, but not on disk yet: the journal cannot be written: {why}");
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Reply(reply, answer) => {
                    let _ = reply.send(answer.and(Err(Refused::Unavailable(text.clone()))));
                }
                Effect::Send(..)
                | Effect::Tell(_)
                | Effect::OutcomeAck(..)
                | Effect::InventoryAck(..)
                | Effect::Activate(..)
                | Effect::Push(_)
                | Effect::Resume
                | Effect::Emergency => self.effects.push_back(effect),
            }
        }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Send(mut command, decided) => {
                // What the disk took counts: nothing may begin after it was given up here.
                command.ttl.0 -= (self.parts.clock)().since(decided).0;
                if command.ttl <= Span::default() {
                    tracing::warn!("command {} waited too long for the journal and is not sent", command.id);
                } else if let Some(session) = self.servers.get(&command.server).and_then(|s| s.session.as_ref()) {
                    session.link.command(&command);
                }
            }
            Effect::Tell(notice) => (self.parts.tell)(*notice),
            Effect::OutcomeAck(server, token, command_ids) => {
                self.send_to(&server, token, Body::OutcomeAck(v1::OutcomeAck { command_ids }));
            }
            Effect::InventoryAck(server, token) => {
                self.send_to(&server, token, Body::InventoryAck(v1::InventoryAck {}));
            }
            Effect::Activate(candidate, by) => self.activate(candidate, by),
            Effect::Push(servers) => self.pushes.extend(servers),
            Effect::Resume => {
                for session in self.servers.values().filter_map(|s| s.session.as_ref()) {
                    session.link.send(Body::Halt(v1::Halt { halted: false }));
                }
            }
            Effect::Emergency => self.relay(),
            Effect::Reply(reply, answer) => {
                // The operator may have gone.
                let _ = reply.send(answer);
            }
        }
    }

    fn send_to(&self, server: &ServerId, token: u64, body: Body) {
        let session = self.servers.get(server).and_then(|s| s.session.as_ref());
        if let Some(session) = session.filter(|s| s.token == token) {
            session.link.send(body);
        }
    }

    /// How long the policy holds that is put in force next.
    fn term(&mut self, now: Timestamp, active: &Active) {
        let (version, expires) = (active.candidate.version, active.candidate.expires);
        let term = EngineInput::Term { version, activated: active.activated, expires };
        self.engine.handle(now, term, &mut self.out);
    }

    fn activate(&mut self, candidate: Arc<Candidate>, by: String) {
        let now = (self.parts.clock)();
        let active = self.parts.policies.activate(candidate, now, by);
        (self.parts.activated)(&active);
        let policy = Arc::clone(&active.candidate.policy);
        self.term(now, &active);
        self.engine.set_policy(now, active.candidate.version, policy, &mut self.out);
        self.drain_out(now);
        self.pushes = self.servers.iter().filter(|(_, s)| s.connected()).map(|(id, _)| id.clone()).collect();
    }
}

/// How long an operator's text may be, in bytes.
pub const MAX_TEXT: usize = 1000;
/// How often agents are pinged.
pub const PING_EVERY: Span = Span::seconds(5);

#[cfg(test)]
mod tests;
