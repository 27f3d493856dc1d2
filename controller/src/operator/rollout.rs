//! Rollouts and labels in the API.

use serde_json::{Value, json};
use skynet_model::name::ServerId;
use skynet_model::time::Span;
use skynet_proto::{convert, v1};
use tonic::Status;

use crate::core::{Order, View, health};
use crate::rollout::{Ended, Run, SKYNET, Stand, State, Verdict, judge};

/// Where every server is, and how the newest wave fares.
pub(super) fn status(view: View<'_>) -> Value {
    let state = view.rollout;
    let Some(run) = state.run() else {
        return json!({ "state": "none", "base": state.base(), "servers": servers(view, None) });
    };
    let judged = run.ended.is_none().then(|| judge(state, run, view.now, &health(view.servers)));
    let left = judged.as_ref().and_then(|judged| judged.soaked).map(|at| at.since(view.now).max(Span::default()));
    let word = match &run.ended {
        Some(Ended { rolled_back: true, .. }) => "rolled_back",
        Some(_) => "complete",
        None if run.paused.is_some() => "paused",
        None => "running",
    };
    json!({
        "state": word,
        "version": run.version,
        "digest": run.digest,
        "base": state.base(),
        "by": run.by,
        "started": run.started,
        "ended": run.ended.as_ref().map(|ended| ended.at),
        "ended_by": run.ended.as_ref().map(|ended| &ended.by),
        "reason": run.ended.as_ref().map(|ended| &ended.reason),
        "paused_by": run.paused,
        "soak": run.soak,
        "soak_left": left,
        "waves": (0u32..).zip(&run.waves).map(|(number, wave)| one_wave(state, run, number, wave)).collect::<Vec<_>>(),
        "gate": judged.as_ref().map(|judged| &judged.measures),
        "verdict": judged.as_ref().map(|judged| match &judged.verdict {
            Verdict::Waits(_) => "waits".to_owned(),
            Verdict::Passed => "passed".to_owned(),
            Verdict::Failed(reason) => format!("failed: {reason}"),
        }),
        "servers": servers(view, Some(run)),
    })
}

fn one_wave(state: &State, run: &Run, number: u32, wave: &[ServerId]) -> Value {
    let count = |stand: Stand| wave.iter().filter(|server| state.stand(server) == stand).count();
    let away = wave.iter().filter(|server| !state.servers().get(server).is_some_and(|seen| seen.connected)).count();
    let reached = run.wave.is_some_and(|wave| number <= wave);
    let newest = run.wave == Some(number);
    let word = match &run.ended {
        Some(ended) if ended.rolled_back && !reached => "never began",
        Some(ended) if ended.rolled_back && newest && ended.by == SKYNET => "failed",
        Some(ended) if ended.rolled_back => "returned",
        None if newest => "running",
        Some(_) => "done",
        None if reached => "done",
        None => "waiting",
    };
    json!({
        "wave": number + 1,
        "servers": wave.len(),
        "state": word,
        "accepted": count(Stand::Accepted),
        "sent": count(Stand::Sent),
        "pending": count(Stand::Pending),
        "refused": count(Stand::Refused),
        "returned": count(Stand::Returned),
        "away": away,
    })
}

fn servers(view: View<'_>, run: Option<&Run>) -> Vec<Value> {
    let state = view.rollout;
    let one = |(id, server): (&ServerId, &crate::core::Server)| {
        json!({
            "name": id,
            "wave": run.and_then(|run| run.wave_of(id)).map(|wave| wave + 1),
            "state": state.stand(id).as_str(),
            "version": server.policy_version,
            "target": state.target(id),
            "connected": server.connected(),
            "error": server.policy_error,
        })
    };
    view.servers.iter().map(one).collect()
}

/// Checks what labels are asked for.
pub(super) fn label(request: v1::LabelServerRequest, by: String) -> Result<Order, Status> {
    let bad = |text: String| Status::invalid_argument(text);
    let v1::LabelServerRequest { server, set, remove } = request;
    let server = ServerId::new(&server).map_err(|error| bad(error.to_string()))?;
    let set = convert::labels_from_wire(&set).map_err(|error| bad(error.message))?;
    if remove.len() > skynet_model::series::MAX_LABELS || (set.is_empty() && remove.is_empty()) {
        return Err(bad("name labels to set (`role=web`) or to take away (`tier-`)".to_owned()));
    }
    if let Some((name, _)) = set.iter().find(|(name, value)| format!("{name}{value}").chars().any(char::is_control)) {
        return Err(bad(format!("label `{}`: control characters are not allowed", name.escape_debug())));
    }
    if let Some(name) = remove.iter().find(|name| set.get(name).is_some()) {
        return Err(bad(format!("label `{}` cannot be set and taken away at once", name.escape_debug())));
    }
    Ok(Order::Label { server, set, remove, by })
}
