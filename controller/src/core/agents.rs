//! What sessions tell.

use std::sync::Arc;

use skynet_engine::Input as EngineInput;
use skynet_model::name::ServerId;
use skynet_model::time::Timestamp;
use skynet_proto::v1::controller_message::Body;
use skynet_proto::{Code, WireError, convert, v1};
use tokio::sync::oneshot;

use super::desk::{Desk, Sensors};
use super::view::Session;
use super::{Core, Effect, FromAgent, Hello, Link, PING_EVERY, SessionInput};

impl Core {
    pub(super) fn session(&mut self, now: Timestamp, input: SessionInput) {
        let SessionInput { server, token, what } = input;
        if let FromAgent::Begin { hello, link, answer } = what {
            self.begin(now, server, token, hello, link, answer);
            return;
        }
        // Words of a session that was superseded count no more.
        let Some(entry) = self.servers.get_mut(&server) else { return };
        if entry.session.as_ref().is_none_or(|s| s.token != token) {
            return;
        }
        match what {
            FromAgent::Begin { .. } => {}
            FromAgent::Inventory(entries) => {
                let ended = entries.iter().filter(|e| e.outcome.is_some()).map(|e| e.command.to_string()).collect();
                self.decide(now, EngineInput::Inventory { server: server.clone(), entries });
                self.effects.push_back(Effect::InventoryAck(server.clone(), token));
                self.effects.push_back(Effect::OutcomeAck(server, token, ended));
            }
            FromAgent::Found => self.decide(now, EngineInput::Found { server }),
            FromAgent::Outcome(outcome) => {
                let id = outcome.command.to_string();
                self.decide(now, EngineInput::Outcome { server: server.clone(), outcome });
                self.effects.push_back(Effect::OutcomeAck(server, token, vec![id]));
            }
            FromAgent::Policy { version, digest, error } => self.policy(now, server, version, digest, error),
            FromAgent::Sensor { id, healthy, message } => entry.sensors.health(&id, healthy, message),
            FromAgent::Lost { readings, reason } => {
                entry.lost_readings = entry.lost_readings.saturating_add(readings);
                let message = format!("{readings} readings were lost on the server: {reason}");
                self.remark(now, Some(server), "readings_lost", message);
            }
            FromAgent::End { reason, bad_input } => {
                if bad_input {
                    self.remark(now, Some(server.clone()), "bad_input", reason.clone());
                }
                self.disconnect(now, &server, reason);
            }
        }
    }

    fn begin(
        &mut self,
        now: Timestamp,
        server: ServerId,
        token: u64,
        hello: Hello,
        link: Link,
        answer: oneshot::Sender<Result<Desk, WireError>>,
    ) {
        let standing = self.servers.get(&server).and_then(|s| s.session.as_ref());
        if let Some(session) = standing {
            if session.boot == hello.boot && session.number >= hello.session {
                let message = format!(
                    "session {} of this boot stands, and this is session {}; two agents must not share a certificate",
                    session.number, hello.session
                );
                let _ = answer.send(Err(WireError::new(Code::Superseded, message)));
                return;
            }
            session.link.stop(WireError::new(Code::Superseded, "a newer session of this server took over"));
            self.disconnect(now, &server, "a newer session took over".to_owned());
        }
        if hello.epoch > self.epoch {
            let message = format!(
                "its agent has seen a controller of epoch {}, and this one has epoch {}: it refuses commands from here; \
                 is a second controller running, or a clock wrong?",
                hello.epoch, self.epoch
            );
            self.remark(now, Some(server.clone()), "epoch", message);
        }
        let labels = self.parts.labels.get(&server).cloned().unwrap_or_default();
        self.note_restart(now, &server, &hello);
        if self.servers.contains_key(&server) {
            self.label(now, &server, labels);
        } else {
            self.servers.entry(server.clone()).or_default().labels = labels.clone();
            self.decide(now, EngineInput::Labelled { server: server.clone(), labels });
        }
        link.send(Body::Welcome(v1::Welcome {
            epoch: self.epoch,
            labels: self.servers.get(&server).map(|s| convert::labels_to_wire(&s.labels)).unwrap_or_default(),
            halted: self.engine.halted().is_some(),
            ping_every_ms: u32::try_from(PING_EVERY.0).unwrap_or(5000),
        }));
        self.relay_to(&link);
        let session = Session { token, number: hello.session, boot: hello.boot.clone(), link };
        let entry = self.servers.entry(server.clone()).or_default();
        entry.session = Some(session);
        entry.since = Some(now);
        (entry.system, entry.insecure_unsigned) = (hello.system, hello.insecure_unsigned);
        (entry.boot, entry.version) = (Some(hello.boot.clone()), Some(hello.version.clone()));
        (entry.sensors, entry.lost_readings) = (Sensors::default(), 0);
        let sensors = entry.sensors.clone();
        let running = (hello.policy_version > 0).then_some(hello.policy_version);
        let changed = entry.policy_version != running;
        (entry.policy_version, entry.policy_digest) = (running, running.map(|_| hello.policy_digest));
        (entry.told_labels, entry.started_boot_ms) = (running.map(|_| hello.labels), hello.started_boot_ms);
        let connected = EngineInput::Connected { server: server.clone(), boot: hello.boot, version: hello.version };
        self.decide(now, connected);
        if let Some(version) = running.filter(|_| changed) {
            self.decide(now, EngineInput::PolicyStatus { server: server.clone(), version, error: None });
        }
        self.align(now, &server);
        self.push_policy(&server);
        if let Some(seat) = self.engine.seat(&server) {
            let _ = answer.send(Ok(Desk { seat, sensors }));
        }
    }

    fn disconnect(&mut self, now: Timestamp, server: &ServerId, reason: String) {
        let Some(entry) = self.servers.get_mut(server) else { return };
        if entry.session.take().is_some() {
            entry.since = Some(now);
            self.decide(now, EngineInput::Disconnected { server: server.clone(), reason });
        }
    }

    fn policy(&mut self, now: Timestamp, server: ServerId, version: u64, digest: String, error: Option<String>) {
        let taken = self.parts.policies.bundle(version).map(|candidate| Arc::clone(&candidate.policy));
        let Some(entry) = self.servers.get_mut(&server) else { return };
        let refused = error.is_some();
        match &error {
            Some(error) => entry.policy_error = Some(error.clone()),
            None => {
                (entry.policy_version, entry.policy_digest) = (Some(version), Some(digest));
                entry.policy_error = None;
                if let Some(policy) = taken {
                    let uses = policy.sensors_for(&entry.labels);
                    entry.sensors.retain(|id| uses.iter().any(|one| one.id == id));
                }
            }
        }
        self.decide(now, EngineInput::PolicyStatus { server: server.clone(), version, error });
        // Pushes may cross: an agent that has taken an older one is given the newest. One that refused is left alone.
        if !refused {
            self.align(now, &server);
            self.push_policy(&server);
        }
    }
}
