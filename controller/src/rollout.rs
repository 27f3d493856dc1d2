//! Rollouts: a new policy version goes out in waves, is watched in each, and goes back by itself when it does harm. What
//! is measured and what is too much: `docs/rollout.md`.
//!
//! Pure: the state is a fold of the journal ([`State`]), and [`advance`] reads it, the clock and the sensors' health and
//! says what is due. It takes no input: live course, timer and restart are one path. What must never enter: sockets,
//! files, clocks, and what a policy says.

mod gate;
mod plan;
mod state;

use std::collections::{BTreeMap, BTreeSet};

use skynet_model::event::EventBody;
use skynet_model::incident::{Notice, NoticeKind};
use skynet_model::name::{NoticeId, ServerId};
use skynet_model::policy::{Policy, Severity, Wave};
use skynet_model::series::Labels;
use skynet_model::time::{Span, Timestamp};

pub use gate::{Measure, Verdict, judge};
pub use plan::{Member, waves};
pub use state::{Ended, Order, Run, Seen, Stand, State};

/// How often [`advance`] is due while a rollout is under way.
pub const EVERY: Span = Span::seconds(1);
/// Who ends a rollout when no operator does.
pub const SKYNET: &str = "skynet";

/// Sensors that fail now, by server: how many of their sweeps in a row have failed.
pub type Health = BTreeMap<ServerId, BTreeMap<String, u64>>;

/// Whether a version goes to every server at once: its rollout says so, or there is nothing to go back to.
#[must_use]
pub fn is_at_once(policy: &Policy, base: Option<u64>) -> bool {
    let whole = policy.fleet.waves.iter().all(|wave| matches!(wave, Wave::Share(share) if *share >= 1.0));
    base.is_none() || (whole && policy.fleet.soak <= Span::default())
}

/// What is due now, in order; to be journalled, folded into the state, and asked again until there is nothing.
///
/// `base` is the policy in force: whom it tells by default is told of a rollout that went back by itself.
#[must_use]
pub fn advance(state: &State, now: Timestamp, health: &Health, base: Option<&Policy>) -> Vec<EventBody> {
    let Some(run) = state.run() else { return Vec::new() };
    let version = run.version;
    if let Some(ended) = &run.ended {
        let untold = ended.rolled_back && ended.by == SKYNET && !ended.told;
        return if untold { notice(run, ended, base, now).into_iter().collect() } else { Vec::new() };
    }
    let done = |reason: String| EventBody::RolloutEnded { version, rolled_back: false, reason, by: run.by.clone() };
    if state.base() == Some(version) {
        // The controller went down between the two events.
        return vec![done("it is in force".to_owned())];
    }
    let Some(wave) = run.wave else { return vec![begin(run, 0, health)] };
    match judge(state, run, now, health).verdict {
        Verdict::Failed(reason) => {
            let reason = format!("wave {} of {} failed its gate: {reason}", wave + 1, run.waves.len());
            vec![EventBody::RolloutEnded { version, rolled_back: true, reason, by: SKYNET.to_owned() }]
        }
        Verdict::Waits(_) => Vec::new(),
        Verdict::Passed if run.paused.is_some() => Vec::new(),
        Verdict::Passed if (wave as usize) + 1 < run.waves.len() => vec![begin(run, wave + 1, health)],
        Verdict::Passed => vec![
            EventBody::PolicyActivated { version, digest: run.digest.clone(), by: run.by.clone() },
            done(format!("{} waves passed their gates", run.waves.len())),
        ],
    }
}

fn begin(run: &Run, wave: u32, health: &Health) -> EventBody {
    let servers = run.waves.get(wave as usize).into_iter().flatten();
    let failing = servers.filter_map(|server| {
        let sensors: BTreeSet<String> = health.get(server)?.keys().cloned().collect();
        (!sensors.is_empty()).then(|| (server.clone(), sensors))
    });
    EventBody::WaveStarted { version: run.version, wave, failing: failing.collect() }
}

/// The id of the notice about a version that went back.
fn notice_id(version: u64) -> Option<NoticeId> {
    NoticeId::new(&format!("n-rollout-{version}")).ok()
}

fn notice(run: &Run, ended: &Ended, base: Option<&Policy>, now: Timestamp) -> Option<EventBody> {
    let route = base.and_then(|policy| policy.routes.get("default"));
    let to = route.and_then(|route| route.tiers.first()).map(|tier| tier.to.clone()).unwrap_or_default();
    let reached = run.wave.map_or(0, |wave| wave as usize + 1).min(run.waves.len());
    let servers: usize = run.waves.iter().take(reached).map(Vec::len).sum();
    let title = format!("policy {} went back by itself: {}", run.version, ended.reason);
    let story = format!(
        "Policy {}, pushed by {} at {}, had reached {servers} servers in {reached} of {} waves.\n{}.\nEvery server goes back \
         to its last good version; `skynetctl policy status` shows where each one is. Version {} cannot be pushed again: \
         build what replaces it with a higher one.\n",
        run.version,
        run.by,
        run.started,
        run.waves.len(),
        ended.reason,
        run.version,
    );
    let notice = Notice {
        id: notice_id(run.version)?,
        kind: NoticeKind::Skynet,
        incident: None,
        scenario: None,
        server: None,
        labels: Labels::default(),
        severity: Severity::Critical,
        route: if route.is_some() { "default" } else { "console" }.to_owned(),
        to,
        title,
        story,
        at: now,
        since: run.started,
    };
    Some(EventBody::NoticeRaised { notice: Box::new(notice) })
}

#[cfg(test)]
mod tests;
