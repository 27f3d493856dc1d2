//! Policy on its way to servers: which version each is sent, how rollouts move, and labels, which choose what of a policy
//! a server runs.

use std::sync::Arc;

use serde_json::json;
use skynet_engine::Input as EngineInput;
use skynet_model::event::EventBody;
use skynet_model::name::ServerId;
use skynet_model::series::{Labels, MAX_LABELS};
use skynet_model::time::Timestamp;
use skynet_proto::v1::controller_message::Body;
use skynet_proto::{convert, v1};

use super::{Answer, Core, Effect, Hello, Refused, Steer};
use crate::policies::{Candidate, PolicyError};
use crate::rollout::{self, EVERY, Health, Member, SKYNET};

impl Core {
    /// Begins a rollout; or puts the policy in force at once, where nothing can be gone back to or its own `rollout` says so.
    pub(super) fn push(&mut self, now: Timestamp, candidate: Arc<Candidate>, by: String) -> Answer {
        if let Some(run) = self.rollout.under_way() {
            return Err(Refused::Precondition(format!(
                "policy {} is being rolled out: wait for its end (`skynetctl policy status`), or `skynetctl policy rollback`",
                run.version
            )));
        }
        self.parts.policies.store(&candidate).map_err(|error| match error {
            PolicyError::Storage(_) => Refused::Unavailable(error.to_string()),
            PolicyError::Invalid(_) | PolicyError::Refused(_) => Refused::Precondition(error.to_string()),
        })?;
        let (version, digest) = (candidate.version, candidate.digest.clone());
        let signed_by = json!(candidate.signers);
        let plan = rollout::waves(&self.members(), &candidate.policy.fleet.waves);
        // What is not trusted any more is nothing to go back to.
        let base = self.parts.policies.current().map(|active| active.candidate.version);
        if plan.is_empty() || rollout::is_at_once(&candidate.policy, base) {
            let pushed = json!({ "version": version, "digest": &digest, "waves": [], "signed_by": signed_by });
            self.event(now, EventBody::PolicyActivated { version, digest, by: by.clone() });
            self.effects.push_back(Effect::Activate(candidate, by));
            return Ok(pushed);
        }
        let sizes: Vec<usize> = plan.iter().map(Vec::len).collect();
        let soak = candidate.policy.fleet.soak;
        let pushed =
            json!({ "version": version, "digest": &digest, "waves": sizes, "soak": soak, "signed_by": signed_by });
        self.parts.policies.offer(candidate);
        self.event(now, EventBody::RolloutStarted { version, digest, by, waves: plan, soak });
        self.roll_at = now;
        Ok(pushed)
    }

    fn members(&self) -> Vec<Member> {
        let member = |(id, server): (&ServerId, &super::Server)| Member {
            server: id.clone(),
            cluster: server.labels.get("cluster").unwrap_or(id.as_str()).to_owned(),
            connected: server.connected(),
            healthy: server.sensors.failing().is_empty(),
        };
        self.servers.iter().map(member).collect()
    }

    pub(super) fn steer(&mut self, now: Timestamp, what: Steer, by: String) -> Answer {
        let Some(run) = self.rollout.under_way() else {
            return Err(Refused::Precondition(
                "no rollout is under way; `skynetctl policy status` shows the last".into(),
            ));
        };
        let version = run.version;
        let (is_paused, answer) = (run.paused.is_some(), |word: &str| json!({ "version": version, "rollout": word }));
        match what {
            Steer::Pause if is_paused => Ok(answer("paused")),
            Steer::Pause => {
                self.event(now, EventBody::RolloutPaused { version, paused: true, by });
                Ok(answer("paused"))
            }
            Steer::Resume if !is_paused => Ok(answer("running")),
            Steer::Resume => {
                self.event(now, EventBody::RolloutPaused { version, paused: false, by });
                self.roll_at = now;
                Ok(answer("running"))
            }
            Steer::RollBack { reason } => {
                self.end(now, version, true, reason, by);
                Ok(answer("rolled_back"))
            }
        }
    }

    /// A rollout whose bundle was lost cannot go on.
    pub(super) fn end_without_bundle(&mut self, now: Timestamp) {
        let version = self.rollout.under_way().map(|run| run.version);
        if let Some(version) = version.filter(|version| self.parts.policies.bundle(*version).is_none()) {
            self.end(now, version, true, "its bundle cannot be read any more".to_owned(), SKYNET.to_owned());
        }
    }

    /// Under an expired version nothing acts: it must not replace one under which everything does.
    fn end_expired(&mut self, now: Timestamp) {
        let Some(version) = self.rollout.under_way().map(|run| run.version) else { return };
        let expires = self.parts.policies.offered().filter(|offered| offered.version == version).map(|o| o.expires);
        if let Some(expires) = expires.filter(|expires| *expires <= now && self.rollout.base() != Some(version)) {
            self.end(
                now,
                version,
                true,
                format!("it expired at {expires}, before it was everywhere"),
                SKYNET.to_owned(),
            );
        }
    }

    fn end(&mut self, now: Timestamp, version: u64, rolled_back: bool, reason: String, by: String) {
        self.event(now, EventBody::RolloutEnded { version, rolled_back, reason, by });
        self.roll_at = now;
        self.effects.push_back(Effect::Push(self.servers.keys().cloned().collect()));
    }

    /// Does what is due of a rollout. While the journal cannot be written nothing begins.
    pub(super) fn roll(&mut self) {
        let now = (self.parts.clock)();
        if now < self.roll_at || self.blocked.is_some() || self.rollout.run().is_none() {
            return;
        }
        self.roll_at = now.plus(EVERY);
        self.end_expired(now);
        let health = health(&self.servers);
        let base = self.parts.policies.current().map(|active| Arc::clone(&active.candidate.policy));
        loop {
            let due = rollout::advance(&self.rollout, now, &health, base.as_deref());
            if due.is_empty() {
                return;
            }
            for body in due {
                self.follow(now, body);
            }
        }
    }

    /// Journals an event of a rollout and queues what follows from it.
    fn follow(&mut self, now: Timestamp, body: EventBody) {
        if let EventBody::RolloutEnded { version, rolled_back, reason, by } = body {
            self.end(now, version, rolled_back, reason, by);
            return;
        }
        let effect = if let EventBody::WaveStarted { wave, .. } = &body {
            let run = self.rollout.run();
            let last = run.is_some_and(|run| *wave as usize + 1 == run.waves.len());
            // With the last wave come those that were not known when it was planned.
            let servers = run.and_then(|run| run.waves.get(*wave as usize)).cloned().unwrap_or_default();
            Some(Effect::Push(if last { self.servers.keys().cloned().collect() } else { servers }))
        } else if let EventBody::PolicyActivated { version, by, .. } = &body {
            let candidate = self.parts.policies.bundle(*version).cloned();
            candidate.map(|candidate| Effect::Activate(candidate, by.clone()))
        } else if let EventBody::NoticeRaised { notice } = &body {
            Some(Effect::Tell(notice.clone()))
        } else {
            None
        };
        self.event(now, body);
        self.effects.extend(effect);
    }

    /// Lets the engine judge a server by what its agent runs, where that is at hand; by the version in force otherwise.
    pub(super) fn align(&mut self, now: Timestamp, server: &ServerId) {
        let running = self.servers.get(server).and_then(|entry| entry.policy_version);
        let policies = &self.parts.policies;
        let base = policies.current().map(|active| &active.candidate);
        let offered = policies.offered().filter(|offered| Some(offered.version) == running);
        let Some(candidate) = offered.or(base).cloned() else { return };
        self.engine.assign(now, server, candidate.version, &candidate.policy, &mut self.out);
        self.drain_out(now);
    }

    /// An agent that began anew while a rollout is under way: its new policy may be why.
    pub(super) fn note_restart(&mut self, now: Timestamp, server: &ServerId, hello: &Hello) {
        let Some(entry) = self.servers.get(server).filter(|_| self.rollout.under_way().is_some()) else { return };
        let (was, is) = (entry.started_boot_ms, hello.started_boot_ms);
        let reboot = entry.boot.as_ref().is_some_and(|boot| *boot != hello.boot);
        if was != 0 && is != 0 && (reboot || is > was) {
            let what = if reboot { "its server was started anew" } else { "it was started anew" };
            let (topic, message) = ("agent_restarted".to_owned(), format!("{what} while a rollout is under way"));
            self.event(now, EventBody::Remark { server: Some(server.clone()), topic, message });
        }
    }

    pub(super) fn push_some(&mut self) {
        for _ in 0..super::PUSHES.min(self.pushes.len()) {
            let Some(server) = self.pushes.pop_front() else { return };
            self.push_policy(&server);
        }
    }

    /// Sends an agent the version it should have, or its labels, if it has others.
    pub(super) fn push_policy(&mut self, server: &ServerId) {
        let Some(entry) = self.servers.get(server) else { return };
        let policies = &self.parts.policies;
        let labels = convert::labels_to_wire(&entry.labels);
        // A version of another text is none that we know.
        let digest_of = |version: u64| policies.bundle(version).map(|candidate| candidate.digest.as_str());
        let same =
            |version: &u64| digest_of(*version).is_none_or(|digest| entry.policy_digest.as_deref() == Some(digest));
        let order = self.rollout.order(server, entry.policy_version.filter(same));
        let relabelled = entry.policy_version.filter(|_| entry.told_labels.as_ref() != Some(&entry.labels));
        let push = |version: u64| {
            let candidate = policies.bundle(version)?;
            let (bundle, signatures) = (candidate.bytes.clone(), candidate.signatures.clone());
            Some(Body::Policy(v1::PolicyPush { bundle, signatures, labels: labels.clone() }))
        };
        let body = match order {
            Some(rollout::Order::Push(version)) => push(version),
            Some(rollout::Order::Return(version)) => digest_of(version).map(|digest| {
                let digest = digest.to_owned();
                Body::PolicyReturn(v1::PolicyReturn { version, digest, labels: labels.clone() })
            }),
            None => relabelled.and_then(push),
        };
        if let (Some(body), Some(entry)) = (body, self.servers.get_mut(server))
            && let Some(session) = &entry.session
        {
            session.link.send(body);
            entry.told_labels = Some(entry.labels.clone());
        }
    }

    /// Operators' labels count from now on, whatever the configuration says.
    pub(super) fn relabel(
        &mut self,
        now: Timestamp,
        server: ServerId,
        set: &Labels,
        remove: &[String],
        by: String,
    ) -> Answer {
        let Some(entry) = self.servers.get_mut(&server) else {
            return Err(Refused::NotFound(format!("no server {server}; skynetctl get servers lists them")));
        };
        let missing: Vec<&String> = remove.iter().filter(|name| entry.labels.get(name).is_none()).collect();
        let stay = entry.labels.iter().filter(|(name, _)| !remove.iter().any(|gone| gone == name));
        let labels = Labels::new(stay.chain(set.iter()));
        if labels.len() > MAX_LABELS {
            let message = format!("{server} would have {} labels; at most {MAX_LABELS} are kept", labels.len());
            return Err(Refused::Precondition(message));
        }
        let changed = labels != entry.labels;
        let answer = json!({ "server": &server, "labels": &labels, "changed": changed, "missing": missing });
        entry.labels = labels.clone();
        entry.labelled = true;
        self.decide(now, EngineInput::Relabelled { server: server.clone(), labels, by });
        self.effects.push_back(Effect::Push(vec![server]));
        Ok(answer)
    }
}

/// The sensors that fail now.
pub fn health(servers: &std::collections::BTreeMap<ServerId, super::Server>) -> Health {
    let failing = |(id, server): (&ServerId, &super::Server)| {
        let failing = if server.connected() { server.sensors.failing() } else { Default::default() };
        (!failing.is_empty()).then(|| (id.clone(), failing))
    };
    servers.iter().filter_map(failing).collect()
}
