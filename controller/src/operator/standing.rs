//! What operators set for a while, as the API has it: requests to orders, and what stands as documents.

use serde_json::{Value, json};
use skynet_model::name::{IncidentId, ServerId};
use skynet_model::time::Span;
use skynet_proto::v1;
use tonic::Status;

use super::text;
use crate::core::{Order, Standing, View};

fn bad(error: &impl ToString) -> Status {
    Status::invalid_argument(error.to_string())
}

pub(super) fn approve(request: v1::ApproveRequest, by: String) -> Result<Order, Status> {
    let incident = IncidentId::new(&request.incident).map_err(|e| bad(&e))?;
    let what = Standing::Approve { incident, comment: text("comment", request.comment)? };
    Ok(Order::Stand { what, by })
}

pub(super) fn silence(request: v1::AddSilenceRequest, by: String) -> Result<Order, Status> {
    let (lasts, comment) = (Span(request.lasts_ms), text("comment", request.comment)?);
    Ok(Order::Stand { what: Standing::Silence { matches: request.matches, lasts, comment }, by })
}

pub(super) fn expire_silence(request: v1::ExpireSilenceRequest, by: String) -> Result<Order, Status> {
    Ok(Order::Stand { what: Standing::ExpireSilence(text("id", request.id)?), by })
}

pub(super) fn start_maintenance(request: v1::StartMaintenanceRequest, by: String) -> Result<Order, Status> {
    let servers = request.servers.iter().map(|name| ServerId::new(name).map_err(|e| bad(&e)));
    let servers = servers.collect::<Result<_, _>>()?;
    let (lasts, comment) = (Span(request.lasts_ms), text("comment", request.comment)?);
    let what = Standing::StartMaintenance { servers, matches: request.matches, lasts, comment };
    Ok(Order::Stand { what, by })
}

pub(super) fn end_maintenance(request: v1::EndMaintenanceRequest, by: String) -> Result<Order, Status> {
    Ok(Order::Stand { what: Standing::EndMaintenance(text("id", request.id)?), by })
}

pub(super) fn approvals(view: View<'_>, limit: usize) -> Vec<Value> {
    let document = |step: &skynet_engine::Awaiting| {
        let mut document = json!(step);
        document["call"] = json!(step.call());
        document
    };
    view.engine.approvals(view.now).iter().take(limit).map(document).collect()
}

/// Each with the incidents it silences now.
pub(super) fn silences(view: View<'_>, limit: usize) -> Vec<Value> {
    let live: Vec<_> = view.engine.incidents().into_iter().filter(|i| !i.state.is_end()).collect();
    let document = |silence: &&skynet_model::incident::Silence| {
        let mut document = json!(silence);
        let held = live.iter().filter(|i| view.engine.silenced(i, view.now).is_some_and(|s| s.id == silence.id));
        document["incidents"] = json!(held.map(|i| &i.id).collect::<Vec<_>>());
        document
    };
    view.engine.silences(view.now).iter().take(limit).map(document).collect()
}

/// Each with the servers that are in it now.
pub(super) fn maintenance(view: View<'_>, limit: usize) -> Vec<Value> {
    let document = |(maintenance, now): &(&skynet_model::incident::Maintenance, Vec<&ServerId>)| {
        let mut document = json!(maintenance);
        document["now"] = json!(now);
        document
    };
    view.engine.maintenances(view.now).iter().take(limit).map(document).collect()
}
