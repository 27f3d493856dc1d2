//! One simulated agent: its session, its ledger, its readings. What it says on the wire is what the real one says, by
//! the same encoder and the same protocol.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::ClientConfig;
use skynet_agent::session::{Effect, Protocol};
use skynet_model::command::{Command, Outcome};
use skynet_model::name::ServerId;
use skynet_model::policy::Bundle;
use skynet_model::series::SeriesKey;
use skynet_model::time::{Span, Timestamp};
use skynet_proto::convert::{inventory_to_wire, outcome_to_wire};
use skynet_proto::stream::{Encoder, SweepPart};
use skynet_proto::tls::{self, Target};
use skynet_proto::v1::agent_message::Body as Up;
use skynet_proto::v1::agent_service_client::AgentServiceClient;
use skynet_proto::{MAX_MESSAGE, v1};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use super::clock;
use super::host::{FIRE_AT, Host};
use super::kept::Kept;
use super::ledger::Ledger;
use super::tally::{Cell, Tally};

/// Messages that wait for HTTP/2.
const QUEUE: usize = 16;
/// How long a lost agent waits before it comes back.
const BACKOFF: Duration = Duration::from_millis(200);
/// How long a stopping agent waits for acknowledgements.
const DRAIN: Duration = Duration::from_secs(5);
/// How long the controller may take to answer a new session.
const GREETING: Duration = Duration::from_secs(20);

/// What tests ask of one agent, and what they may know of it.
#[derive(Debug, Default)]
pub(super) struct Control {
    /// The value of the firing series, until an effect cures it.
    pub(super) fire: Cell<Option<f64>>,
    /// What was sent last, in order of series.
    pub(super) sent: Cell<(Vec<f64>, Timestamp)>,
    /// Ends the session as a cut cable would.
    pub(super) cut: Notify,
    /// The next effect cuts the session before its outcome leaves.
    pub(super) cut_at_effect: AtomicBool,
}

/// What all agents of a load share.
pub(super) struct Fleet {
    pub(super) target: Target,
    pub(super) every: Duration,
    pub(super) cures: bool,
    pub(super) tally: Arc<Tally>,
    /// Handshakes at a time.
    pub(super) doors: Semaphore,
}

pub(super) struct Agent {
    pub(super) fleet: Arc<Fleet>,
    pub(super) name: ServerId,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) host: Host,
    pub(super) control: Arc<Control>,
    pub(super) kept: Kept,
    pub(super) ledger: Ledger,
    pub(super) next_sweep: Instant,
    pub(super) last: Past,
    pub(super) scratch: Vec<(Arc<SeriesKey>, f64)>,
}

/// What an agent remembers over sessions.
#[derive(Debug, Default)]
pub(super) struct Past {
    session: u64,
    epoch: u64,
    policy: (u64, String),
    labels: Vec<String>,
    halted: bool,
}

/// One session's state.
struct Session {
    protocol: Protocol,
    encoder: Encoder,
    urgent: VecDeque<Up>,
    to: mpsc::Sender<v1::AgentMessage>,
    late_may_go: bool,
}

impl Agent {
    /// Keeps a session until `stop` turns true.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            if let Err(why) = self.session(&mut stop).await {
                self.fleet.tally.lost_session(&self.name, why);
            }
            let wait = tokio::time::sleep(BACKOFF);
            tokio::pin!(wait);
            // Its sensors go on meanwhile.
            loop {
                tokio::select! {
                    biased;
                    _ = stop.wait_for(|stop| *stop) => return,
                    () = &mut wait => break,
                    () = tokio::time::sleep_until(self.next_sweep) => self.sweep(),
                }
            }
        }
    }

    async fn session(&mut self, stop: &mut watch::Receiver<bool>) -> Result<(), String> {
        let channel = {
            let _door = self.fleet.doors.acquire().await.map_err(|e| e.to_string())?;
            tls::connect(&self.fleet.target, Arc::clone(&self.tls)).await.map_err(|e| e.to_string())?
        };
        let (to, from) = mpsc::channel(QUEUE);
        let now = clock::moment();
        self.last.session = (self.last.session + 1).max(u64::try_from(now.boot_ms).unwrap_or(0));
        let hello = v1::Hello {
            version: "0.0.0-load".to_owned(),
            boot_id: boot_id(&self.name),
            session: self.last.session,
            epoch: self.last.epoch,
            policy_version: self.last.policy.0,
            policy_digest: self.last.policy.1.clone(),
            wall_ms: now.wall.0,
            boot_ms: now.boot_ms,
            system: None,
            insecure_unsigned: true,
            started_boot_ms: 0,
            labels: self.last.labels.clone(),
        };
        let mut session = Session {
            protocol: Protocol::new(self.name.clone(), boot_id(&self.name), self.last.epoch),
            encoder: Encoder::new(),
            urgent: [Up::Hello(hello), Up::Inventory(inventory_to_wire(&self.ledger.inventory()))].into(),
            to,
            late_may_go: true,
        };
        self.kept.begin_session();
        session.flush();
        let mut client = AgentServiceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        let answer = tokio::time::timeout(GREETING, client.session(ReceiverStream::new(from))).await;
        let mut inbound = match answer {
            Ok(Ok(answer)) => answer.into_inner(),
            Ok(Err(status)) => return Err(format!("{}: {}", status.code(), status.message())),
            Err(_) => return Err("no answer to a new session".to_owned()),
        };
        let tally = Arc::clone(&self.fleet.tally);
        let room = session.to.clone();
        let mut up = None;
        let mut stopping: Option<Instant> = None;
        loop {
            // Who leaves does not pace the backlog.
            session.late_may_go |= stopping.is_some();
            self.pump(&mut session);
            if let Some(deadline) = stopping {
                let settled = self.kept.readings() == 0 && self.ledger.open() == 0 && session.urgent.is_empty();
                if settled || Instant::now() >= deadline {
                    break;
                }
            }
            let next = stopping.unwrap_or(self.next_sweep);
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop), if stopping.is_none() => stopping = Some(Instant::now() + DRAIN),
                () = self.control.cut.notified() => return Err("cut".to_owned()),
                message = inbound.message() => match message {
                    Ok(Some(message)) => self.receive(&mut session, message)?,
                    Ok(None) => return Err("the controller closed the session".to_owned()),
                    Err(status) => return Err(format!("{}: {}", status.code(), status.message())),
                },
                () = tokio::time::sleep_until(next) => {
                    if stopping.is_none() {
                        self.sweep();
                    }
                    session.late_may_go = true;
                }
                // Room again for what waits.
                permit = room.reserve(), if !session.urgent.is_empty() => drop(permit.map_err(|e| e.to_string())?),
            }
            if up.is_none() && session.protocol.is_welcomed() {
                up = Some(tally.up());
            }
        }
        session.urgent.push_back(Up::Goodbye(v1::Goodbye { reason: "the load ends".to_owned() }));
        session.flush();
        drop((session, room));
        // Until it has taken the goodbye.
        while let Ok(Ok(Some(_))) = tokio::time::timeout(BACKOFF, inbound.message()).await {}
        Ok(())
    }

    /// One sweep of all sensors, kept until it is acknowledged.
    fn sweep(&mut self) {
        self.host.step();
        self.host.values[FIRE_AT] = self.control.fire.with(|fire| fire.unwrap_or(0.0));
        let now = clock::moment();
        self.kept.push(now.wall, now.boot_ms, &self.host.values);
        self.fleet.tally.taken(self.host.values.len() as u64);
        // Ticks that were missed are skipped, as the real runner does.
        while self.next_sweep <= Instant::now() {
            self.next_sweep += self.fleet.every;
        }
    }

    fn receive(&mut self, session: &mut Session, message: v1::ControllerMessage) -> Result<(), String> {
        let effect = session.protocol.receive(message, clock::moment()).map_err(|end| end.to_string())?;
        self.last.epoch = session.protocol.epoch();
        match effect {
            None => {}
            Some(Effect::Send(up)) => session.urgent.push_back(*up),
            // It has one boot only.
            Some(Effect::AckedOther(..)) => {}
            Some(Effect::Acked(seq)) => {
                let late = self.kept.has_late();
                self.fleet.tally.acked(self.kept.ack(seq));
                if late && !self.kept.has_late() {
                    session.encoder.end_late();
                }
            }
            Some(Effect::Execute { command, deadline_boot_ms }) => {
                let outcome = self.execute(&command, deadline_boot_ms);
                if self.control.cut_at_effect.swap(false, Ordering::SeqCst) {
                    return Err("cut at an effect".to_owned());
                }
                session.urgent.push_back(Up::Outcome(outcome_to_wire(&outcome)));
            }
            Some(Effect::Answer(outcome)) => session.urgent.push_back(Up::Outcome(outcome_to_wire(&outcome))),
            Some(Effect::Policy { bundle, labels, .. }) => {
                let digest = Bundle::digest(bundle.as_bytes());
                let (version, error) = match Bundle::decode(bundle.as_bytes()) {
                    Ok(bundle) => (bundle.version, String::new()),
                    Err(error) => (0, error.to_string()),
                };
                if error.is_empty() {
                    self.last.policy = (version, digest.clone());
                    self.last.labels = skynet_proto::convert::labels_to_wire(&labels);
                }
                session.urgent.push_back(Up::Policy(v1::PolicyStatus { version, digest, error }));
            }
            Some(Effect::Return { version, digest, .. }) => {
                let error = "an agent of the load keeps no earlier policy".to_owned();
                session.urgent.push_back(Up::Policy(v1::PolicyStatus { version, digest, error }));
            }
            Some(Effect::Halt(halted)) => self.last.halted = halted,
            Some(Effect::Emergency(_)) => {}
            Some(Effect::Forget(commands)) => self.ledger.forget(&commands),
        }
        Ok(())
    }

    fn execute(&mut self, command: &Command, deadline_boot_ms: i64) -> Outcome {
        self.fleet.tally.command();
        let (fleet, control) = (&self.fleet, &self.control);
        self.ledger.execute(command, self.last.halted, deadline_boot_ms, clock::moment(), || {
            fleet.tally.effect(command);
            if fleet.cures {
                control.fire.with(|fire| *fire = None);
            }
        })
    }

    /// Sends what there is room for: urgent messages, then readings, the present before the past.
    fn pump(&mut self, session: &mut Session) {
        session.flush();
        while session.urgent.is_empty() && session.protocol.is_welcomed() {
            let Ok(permit) = session.to.try_reserve() else { return };
            if let Some(loss) = self.kept.take_loss() {
                self.fleet.tally.lost(loss.readings);
                permit.send(v1::AgentMessage {
                    body: Some(Up::Gap(v1::Gap {
                        boot_id: boot_id(&self.name),
                        first_seq: loss.first_seq,
                        last_seq: loss.last_seq,
                        readings: loss.readings,
                        reason: "the simulated agent's spool was full".to_owned(),
                    })),
                });
                continue;
            }
            let Some((batch, late)) = self.kept.next(session.late_may_go) else { return };
            session.late_may_go &= !late;
            self.scratch.clear();
            self.scratch.extend(self.host.keys.iter().cloned().zip(batch.values.iter().copied()));
            let every = Span(i64::try_from(self.fleet.every.as_millis()).unwrap_or(i64::MAX));
            let scratch = &self.scratch;
            let parts = self.host.groups.iter().map(|group| SweepPart {
                sensor: &group.sensor,
                every,
                started: batch.started,
                boot_ms: batch.boot_ms,
                result: Ok(&scratch[group.from..group.to]),
                complete: true,
            });
            let wire = session.encoder.batch(batch.seq, late, parts);
            self.fleet.tally.sent(batch.values.len() as u64, late);
            if !late {
                self.control.sent.with(|(values, at)| {
                    values.clone_from(&batch.values);
                    *at = batch.started;
                });
            }
            permit.send(v1::AgentMessage { body: Some(Up::Readings(wire)) });
        }
    }
}

impl Session {
    /// Urgent messages, as many as there is room for.
    fn flush(&mut self) {
        while !self.urgent.is_empty() {
            let Ok(permit) = self.to.try_reserve() else { return };
            permit.send(v1::AgentMessage { body: self.urgent.pop_front() });
        }
    }
}

fn boot_id(server: &ServerId) -> String {
    format!("simulated-{}", server.as_str().chars().take(50).collect::<String>())
}
