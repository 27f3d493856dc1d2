//! Which events still matter.
//!
//! Kept of older ones: the last word on each server, on the latch, on the epoch; every policy activation of the last
//! 100; all events of incidents that are not at their end; notices that have not reached every target; and, for the
//! rails (cooldowns look back a day), what opened, acted and ended in the last 25 hours.

use std::collections::{HashMap, HashSet};

use skynet_model::event::{Event, EventBody};
use skynet_model::name::{IncidentId, NoticeId, ScenarioName, ServerId};
use skynet_model::time::{Span, Timestamp};

use crate::notify::target_names;

/// How many of the newest events are kept whatever they are.
pub(crate) const NEWEST: usize = 10_000;
const RAILS_LOOK_BACK: Span = Span::hours(25);
/// How long what was said about Skynet itself is remembered: longer than a policy's end is told ahead.
const SAID_LOOK_BACK: Span = Span::hours(15 * 24);
const ACTIVATIONS: usize = 100;

/// Slots of which only the newest event counts.
#[derive(PartialEq, Eq, Hash)]
enum Slot {
    Epoch,
    Halted,
    Resumed,
    Emergency,
    Breaker,
    CommonCause(ScenarioName, String),
    Silence(String),
    Maintenance(String),
    Rollout,
    Wave,
    RolloutPaused,
    RolloutEnded,
    Labels(ServerId),
    Session(ServerId),
    Policy(ServerId),
}

fn slot_of(body: &EventBody) -> Option<Slot> {
    match body {
        EventBody::ControllerStarted { .. } => Some(Slot::Epoch),
        EventBody::Halted { .. } => Some(Slot::Halted),
        EventBody::Resumed { .. } => Some(Slot::Resumed),
        EventBody::EmergencyTaken { .. } => Some(Slot::Emergency),
        EventBody::BreakerOpened { .. } => Some(Slot::Breaker),
        EventBody::CommonCauseFound { scenario, cluster, .. } => {
            Some(Slot::CommonCause(scenario.clone(), cluster.clone()))
        }
        EventBody::SilenceAdded { silence } => Some(Slot::Silence(silence.id.clone())),
        EventBody::SilenceExpired { id, .. } => Some(Slot::Silence(id.clone())),
        EventBody::MaintenanceStarted { maintenance } => Some(Slot::Maintenance(maintenance.id.clone())),
        EventBody::MaintenanceEnded { id, .. } => Some(Slot::Maintenance(id.clone())),
        EventBody::RolloutStarted { .. } => Some(Slot::Rollout),
        EventBody::WaveStarted { .. } => Some(Slot::Wave),
        EventBody::RolloutPaused { .. } => Some(Slot::RolloutPaused),
        EventBody::RolloutEnded { .. } => Some(Slot::RolloutEnded),
        EventBody::ServerLabelled { server, .. } => Some(Slot::Labels(server.clone())),
        EventBody::ServerConnected { server, .. } | EventBody::ServerDisconnected { server, .. } => {
            Some(Slot::Session(server.clone()))
        }
        EventBody::ServerPolicy { server, .. } => Some(Slot::Policy(server.clone())),
        EventBody::PolicyActivated { .. }
        | EventBody::IncidentOpened { .. }
        | EventBody::IncidentHeld { .. }
        | EventBody::StepBegun { .. }
        | EventBody::CommandIssued { .. }
        | EventBody::CommandEnded { .. }
        | EventBody::StepEnded { .. }
        | EventBody::IncidentChanged { .. }
        | EventBody::IncidentAcknowledged { .. }
        | EventBody::NoticeRaised { .. }
        | EventBody::NoticeDelivered { .. }
        | EventBody::NoticeFailed { .. }
        | EventBody::RequestMade { .. }
        | EventBody::StepApproved { .. }
        | EventBody::OperatorCalled { .. }
        | EventBody::Remark { .. } => None,
    }
}

/// Whether it says of a silence or a maintenance only that it is over, and has for a while. Without it, and without its
/// beginning, they never were.
fn is_over(event: &Event, newest: Timestamp) -> bool {
    let since = if let EventBody::SilenceAdded { silence } = &event.body {
        silence.until
    } else if let EventBody::MaintenanceStarted { maintenance } = &event.body {
        maintenance.until
    } else if let EventBody::SilenceExpired { .. } | EventBody::MaintenanceEnded { .. } = &event.body {
        event.time
    } else {
        return false;
    };
    newest.since(since) > RAILS_LOOK_BACK
}

/// Notices of `events` that have not reached (or finally missed) all their targets, with the targets left.
pub(crate) fn open_notices<'a>(events: impl Iterator<Item = &'a Event>) -> HashMap<NoticeId, HashSet<String>> {
    let mut open: HashMap<NoticeId, HashSet<String>> = HashMap::new();
    for event in events {
        if let EventBody::NoticeRaised { notice } = &event.body {
            open.insert(notice.id.clone(), target_names(notice).into_iter().collect());
        } else if let EventBody::NoticeDelivered { notice, target } | EventBody::NoticeFailed { notice, target, .. } =
            &event.body
            && let Some(left) = open.get_mut(notice)
        {
            left.remove(target);
            if left.is_empty() {
                open.remove(notice);
            }
        }
    }
    open
}

/// The events of `events` (in order) that have to stay.
pub(crate) fn keep(events: Vec<Event>) -> Vec<Event> {
    what_matters(events, NEWEST)
}

/// The events of `events` (in order) that still matter, and the newest `tail` whatever they are.
#[must_use]
pub fn what_matters(events: Vec<Event>, tail: usize) -> Vec<Event> {
    let Some(newest) = events.last().map(|e| e.time) else { return events };
    let tail = events.len().saturating_sub(tail);
    let mut newest_of: HashMap<Slot, u64> = HashMap::new();
    let mut live: HashSet<IncidentId> = HashSet::new();
    // An incident of which a rail still needs something is kept whole: its parts mean nothing without its opening.
    let mut recent: HashSet<IncidentId> = HashSet::new();
    let mut activations: Vec<u64> = Vec::new();
    for event in &events {
        if let Some(incident) = event.body.incident().filter(|_| newest.since(event.time) <= RAILS_LOOK_BACK) {
            recent.insert(incident.clone());
        }
        if let Some(slot) = slot_of(&event.body) {
            newest_of.insert(slot, event.seq);
        }
        if let EventBody::IncidentOpened { incident } = &event.body {
            live.insert(incident.id.clone());
        } else if let EventBody::IncidentChanged { incident, state, .. } = &event.body {
            if state.is_end() {
                live.remove(incident);
            } else {
                live.insert(incident.clone());
            }
        } else if let EventBody::PolicyActivated { .. } = &event.body {
            activations.push(event.seq);
        }
    }
    let activations: HashSet<u64> = activations.into_iter().rev().take(ACTIVATIONS).collect();
    let newest_of: HashSet<u64> = newest_of.into_values().collect();
    let open = open_notices(events.iter());
    let matters = |index: usize, event: &Event| {
        let incident = event.body.incident();
        let of_open_notice = if let EventBody::NoticeRaised { notice } = &event.body {
            let of_skynet = notice.incident.is_none() && newest.since(event.time) <= SAID_LOOK_BACK;
            of_skynet || open.contains_key(&notice.id)
        } else if let EventBody::NoticeDelivered { notice, .. } | EventBody::NoticeFailed { notice, .. } = &event.body {
            open.contains_key(notice)
        } else {
            false
        };
        index >= tail
            || newest_of.contains(&event.seq) && !is_over(event, newest)
            || activations.contains(&event.seq)
            || of_open_notice
            || incident.is_some_and(|id| live.contains(id) || recent.contains(id))
    };
    events.into_iter().enumerate().filter(|(i, e)| matters(*i, e)).map(|(_, e)| e).collect()
}
