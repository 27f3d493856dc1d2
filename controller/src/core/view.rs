//! What the core knows, for readers.

use std::collections::{BTreeMap, VecDeque};

use skynet_engine::Engine;
use skynet_model::event::{Event, EventBody};
use skynet_model::incident::Notice;
use skynet_model::name::{NoticeId, ServerId};
use skynet_model::series::Labels;
use skynet_model::time::Timestamp;

use super::desk::Sensors;
use super::input::System;
use super::link::Link;
use crate::policies::Policies;

/// Notices that are kept.
const MAX_NOTICES: usize = 1000;

/// The state at one moment.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The time.
    pub now: Timestamp,
    /// Incidents and the latch.
    pub engine: &'a Engine,
    /// Every server that is known.
    pub servers: &'a BTreeMap<ServerId, Server>,
    /// Policy versions and the one in force.
    pub policies: &'a Policies,
    /// Where the rollout stands.
    pub rollout: &'a crate::rollout::State,
    /// The newest notices, oldest first.
    pub notices: &'a Notices,
    /// Why the journal cannot be written, while it cannot.
    pub blocked: Option<&'a str>,
}

/// A server's session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) token: u64,
    pub(super) number: u64,
    pub(super) boot: String,
    pub(super) link: Link,
}

/// What is known of a server.
#[derive(Debug, Default)]
pub struct Server {
    /// The operators' labels.
    pub labels: Labels,
    /// An operator has set them: the configuration has no say in them any more.
    pub labelled: bool,
    /// The labels its agent has.
    pub(super) told_labels: Option<Labels>,
    /// When its agent began, on the boot clock.
    pub(super) started_boot_ms: i64,
    /// Since when it is connected or away.
    pub since: Option<Timestamp>,
    /// The boot id of its last session.
    pub boot: Option<String>,
    /// The agent's version.
    pub version: Option<String>,
    /// What it runs on.
    pub system: System,
    /// Its agent takes policy that nobody signed.
    pub insecure_unsigned: bool,
    /// The policy it runs.
    pub policy_version: Option<u64>,
    /// That policy's digest.
    pub policy_digest: Option<String>,
    /// Why it refused the newest one.
    pub policy_error: Option<String>,
    /// Its sensors by id.
    pub sensors: Sensors,
    /// Readings lost on it in this session.
    pub lost_readings: u64,
    pub(super) session: Option<Session>,
}

impl Server {
    /// Whether its agent's session stands.
    #[must_use]
    pub fn connected(&self) -> bool {
        self.session.is_some()
    }
}

/// A notice and where it has arrived.
#[derive(Clone, Debug)]
pub struct Told {
    /// The notice.
    pub notice: Notice,
    /// Targets it reached.
    pub delivered: Vec<String>,
    /// Targets it did not reach, and why.
    pub failed: Vec<(String, String)>,
}

/// The newest notices.
#[derive(Debug, Default)]
pub struct Notices(VecDeque<Told>);

impl Notices {
    /// Oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Told> {
        self.0.iter()
    }

    fn get(&mut self, id: &NoticeId) -> Option<&mut Told> {
        self.0.iter_mut().rev().find(|told| told.notice.id == *id)
    }

    pub(super) fn fold(&mut self, body: &EventBody) {
        if let EventBody::NoticeRaised { notice } = body {
            if self.0.len() == MAX_NOTICES {
                self.0.pop_front();
            }
            self.0.push_back(Told { notice: (**notice).clone(), delivered: Vec::new(), failed: Vec::new() });
        } else if let EventBody::NoticeDelivered { notice, target } = body {
            if let Some(told) = self.get(notice) {
                told.delivered.push(target.clone());
            }
        } else if let EventBody::NoticeFailed { notice, target, error } = body
            && let Some(told) = self.get(notice)
        {
            told.failed.push((target.clone(), error.clone()));
        }
    }
}

/// Brings what was journalled about servers back.
pub(super) fn fold_server(servers: &mut BTreeMap<ServerId, Server>, event: &Event) {
    if let EventBody::ServerLabelled { server, labels, by } = &event.body {
        let entry = servers.entry(server.clone()).or_default();
        entry.labels = labels.clone();
        entry.labelled |= by.is_some();
    } else if let EventBody::ServerConnected { server, boot, version } = &event.body {
        let entry = servers.entry(server.clone()).or_default();
        entry.since = Some(event.time);
        (entry.boot, entry.version) = (Some(boot.clone()), Some(version.clone()));
    } else if let EventBody::ServerDisconnected { server, .. } = &event.body {
        servers.entry(server.clone()).or_default().since = Some(event.time);
    } else if let EventBody::ServerPolicy { server, version, error } = &event.body {
        let entry = servers.entry(server.clone()).or_default();
        match error {
            None => (entry.policy_version, entry.policy_error) = (Some(*version), None),
            Some(error) => entry.policy_error = Some(error.clone()),
        }
    }
}
