//! The JSON documents of the API.

use serde_json::{Value, json};
use skynet_model::catalogue::Unit;
use skynet_model::name::{IncidentId, ServerId};

use super::explain::{Around, explain};
use crate::core::{Server, View};
use crate::history::History;
use crate::policies::{Terms, Version};

/// `unsigned`: whether this controller takes policy that nobody signed.
fn server(id: &ServerId, server: &Server, history: &History, unsigned: bool) -> Value {
    let (series, last_reading) = history.count(id);
    let sensors: Vec<Value> = server
        .sensors
        .all()
        .into_iter()
        .map(|(id, sensor)| {
            json!({
                "id": id,
                "healthy": sensor.healthy,
                "message": sensor.message,
                "every": sensor.every,
                "last_sweep": sensor.last_sweep,
                "sweeps": sensor.sweeps,
                "missed": sensor.missed,
            })
        })
        .collect();
    json!({
        "name": id,
        "labels": server.labels,
        "connected": server.connected(),
        "since": server.since,
        "boot": server.boot,
        "version": server.version,
        "system": server.system,
        "policy_version": server.policy_version,
        "policy_digest": server.policy_digest,
        "policy_error": server.policy_error,
        "insecure_unsigned": server.insecure_unsigned,
        "controller_insecure_unsigned": unsigned,
        "series": series,
        "last_reading": last_reading,
        "lost_readings": server.lost_readings,
        "sensors": sensors,
    })
}

pub(super) fn servers(view: View<'_>, history: &History, unsigned: bool, limit: usize) -> Vec<Value> {
    view.servers.iter().take(limit).map(|(id, entry)| server(id, entry, history, unsigned)).collect()
}

pub(super) fn server_in_full(view: View<'_>, history: &History, terms: &Terms, id: &ServerId) -> Option<Value> {
    let mut document = server(id, view.servers.get(id)?, history, terms.trust.is_insecure());
    let latest = history.latest(id).into_iter().map(|(series, value, time)| {
        let unit = terms.catalogue.series(&series.name).map_or(Unit::Any, |(_, spec)| spec.unit);
        json!({ "series": series, "value": value, "time": time, "unit": unit.as_str() })
    });
    document["latest"] = latest.collect();
    Some(document)
}

pub(super) fn incidents(view: View<'_>, all: bool, limit: usize) -> Vec<Value> {
    let incidents = view.engine.incidents().into_iter().filter(|incident| all || !incident.state.is_end());
    incidents.take(limit).map(|incident| json!(incident)).collect()
}

pub(super) fn incident_in_full(view: View<'_>, id: &IncidentId) -> Option<Value> {
    let listed = || view.engine.incidents().into_iter().find(|incident| incident.id == *id);
    let incident = view.engine.incident(id).cloned().or_else(listed)?;
    let policy = view.policies.current().map(|active| &*active.candidate.policy);
    let around = Around::of(view, &incident, policy);
    let explanation = explain(&incident, policy, &around);
    let mut document = json!(incident);
    document["silence"] = json!(around.silence);
    document["maintenance"] = json!(around.maintenance);
    document["approval"] = json!(around.approval);
    document["told_with"] = json!(around.told_with);
    document["tiers_told"] = json!(around.tiers.0);
    document["explanation"] = json!(explanation);
    Some(document)
}

fn version(view: View<'_>, version: &Version) -> Value {
    let current = view.policies.current().is_some_and(|active| active.candidate.version == version.version);
    json!({
        "version": version.version,
        "digest": version.digest,
        "activated": version.activated,
        "by": version.by,
        "scenarios": version.scenarios,
        "signed_by": version.signers,
        "current": current,
    })
}

pub(super) fn policies(view: View<'_>, limit: usize) -> Vec<Value> {
    view.policies.versions().iter().rev().take(limit).map(|one| version(view, one)).collect()
}

pub(super) fn policy(view: View<'_>, number: u64) -> Option<Value> {
    let found = view.policies.versions().iter().rev().find(|one| one.version == number)?;
    let mut document = version(view, found);
    if let Some(active) = view.policies.current().filter(|active| active.candidate.version == number) {
        let policy = &active.candidate.policy;
        document["profiles"] = json!(policy.profiles.keys().collect::<Vec<_>>());
        document["scripts"] = json!(policy.scripts.keys().collect::<Vec<_>>());
        document["routes"] = json!(policy.routes.keys().collect::<Vec<_>>());
        document["contacts"] = json!(policy.contacts.keys().collect::<Vec<_>>());
    }
    Some(document)
}

pub(super) fn notices(view: View<'_>, limit: usize) -> Vec<Value> {
    let document = |told: &crate::core::Told| {
        let mut document = json!(told.notice);
        document["delivered"] = json!(told.delivered);
        let failed = told.failed.iter().map(|(target, error)| json!({ "target": target, "error": error }));
        document["failed"] = failed.collect();
        document
    };
    view.notices.iter().rev().take(limit).map(document).collect()
}
