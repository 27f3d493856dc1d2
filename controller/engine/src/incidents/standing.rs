//! What operators have set for a while: approvals, silences, maintenance. Folded from the journal; each has its end in
//! it, so that nothing has to happen for it to end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use skynet_model::incident::{Incident, Maintenance, Silence, Subject};
use skynet_model::name::{IncidentId, ServerId};
use skynet_model::policy::fits;
use skynet_model::time::Timestamp;
use skynet_model::value::Params;

use super::book::Book;

/// A person's word on one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Approval {
    /// Which step, from 0.
    pub step: u32,
    /// Who.
    pub by: String,
    /// What they said.
    pub comment: String,
    /// When it lapses.
    pub until: Timestamp,
    /// What was approved, by server.
    pub params: BTreeMap<ServerId, Params>,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Standing {
    approvals: BTreeMap<IncidentId, Approval>,
    silences: BTreeMap<String, Silence>,
    maintenances: BTreeMap<String, Maintenance>,
}

impl Standing {
    pub(crate) fn approve(&mut self, incident: &IncidentId, approval: Approval) {
        self.approvals.insert(incident.clone(), approval);
    }

    /// The incident is at its end.
    pub(crate) fn forget(&mut self, incident: &IncidentId) {
        self.approvals.remove(incident);
    }

    pub(crate) fn silence(&mut self, silence: &Silence, time: Timestamp) {
        self.silences.retain(|_, s| s.until > time);
        self.silences.insert(silence.id.clone(), silence.clone());
    }

    pub(crate) fn unsilence(&mut self, id: &str) {
        self.silences.remove(id);
    }

    pub(crate) fn maintain(&mut self, maintenance: &Maintenance, time: Timestamp) {
        self.maintenances.retain(|_, m| m.until > time);
        self.maintenances.insert(maintenance.id.clone(), maintenance.clone());
    }

    pub(crate) fn end_maintenance(&mut self, id: &str) {
        self.maintenances.remove(id);
    }

    /// The word that was given on an incident, lapsed or not.
    pub(crate) fn approval(&self, incident: &IncidentId) -> Option<&Approval> {
        self.approvals.get(incident)
    }

    /// Silences in force.
    pub(crate) fn silences(&self, now: Timestamp) -> impl Iterator<Item = &Silence> {
        self.silences.values().filter(move |s| s.from <= now && s.until > now)
    }

    /// Maintenance in force.
    pub(crate) fn maintenances(&self, now: Timestamp) -> impl Iterator<Item = &Maintenance> {
        self.maintenances.values().filter(move |m| m.from <= now && m.until > now)
    }

    /// When the next maintenance ends.
    pub(crate) fn next_end(&self, now: Timestamp) -> Option<Timestamp> {
        self.maintenances(now).map(|m| m.until).min()
    }

    /// The maintenance a server is in; of several the one that ends last.
    pub(crate) fn maintenance_of(&self, book: &Book, server: &ServerId, now: Timestamp) -> Option<&Maintenance> {
        let labels = book.servers.get(server).map(|s| &s.labels);
        let matches = |m: &Maintenance| {
            let by_label = |(name, glob): (&String, &String)| {
                labels.and_then(|l| l.get(name)).is_some_and(|value| fits(glob, value))
            };
            m.servers.contains(server) || (!m.matches.is_empty() && m.matches.iter().all(by_label))
        };
        self.maintenances(now).filter(|m| matches(m)).max_by_key(|m| m.until)
    }

    /// The silence that holds an incident's notices back; of several the one that ends last.
    pub(crate) fn silence_of(&self, book: &Book, incident: &Incident, now: Timestamp) -> Option<&Silence> {
        let server = incident.server();
        let cluster = match &incident.subject {
            Subject::Server(server) => Some(book.cluster(server)),
            Subject::Cluster(name) => Some(name.as_str()),
            Subject::Fleet(_) | Subject::Request(_) => None,
        };
        let value = |name: &str| match name {
            "scenario" => Some(incident.scenario.as_str()),
            "server" => server.map(ServerId::as_str),
            "cluster" => cluster,
            "severity" => Some(incident.severity.as_str()),
            label => {
                let of_server = || book.servers.get(server?).and_then(|s| s.labels.get(label));
                incident.labels.get(label).or_else(of_server)
            }
        };
        let all = |s: &&Silence| s.matches.iter().all(|(name, glob)| value(name).is_some_and(|v| fits(glob, v)));
        self.silences(now).filter(|s| !s.matches.is_empty()).filter(all).max_by_key(|s| s.until)
    }

    /// Whether an id is in use, ended or not.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.silences.contains_key(id) || self.maintenances.contains_key(id)
    }
}
