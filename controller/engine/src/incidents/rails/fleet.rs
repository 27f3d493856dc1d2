//! Rails that stop everything, or everything on one server: latches, the breaker, maintenance.

use skynet_model::condition::Truth;
use skynet_model::name::ServerId;
use skynet_model::time::Timestamp;

use super::super::book::Book;
use super::{Case, Patience, Stop, wait};

pub(super) fn maintenance(case: &Case<'_>) -> Option<Stop> {
    in_maintenance(case.book, case.target, case.now)
}

/// A server that is worked on: nothing about it is done or decided.
pub(crate) fn in_maintenance(book: &Book, server: &ServerId, now: Timestamp) -> Option<Stop> {
    let work = book.in_maintenance(server, now)?;
    let comment = if work.comment.is_empty() { String::new() } else { format!(" ({})", work.comment) };
    Some(Stop {
        why: format!("{server} is in maintenance {} by {} until {}{comment}", work.id, work.by, work.until),
        until: Some(work.until),
        patience: Patience::Endless,
    })
}

pub(super) fn halt(case: &Case<'_>) -> Option<Stop> {
    if let Some((taken, _)) = case.book.emergency.as_ref().filter(|(taken, _)| taken.action.stops()) {
        return wait(format!("{taken}; only a signed RESUME lets acting go on"));
    }
    let (by, reason) = case.book.halted.as_ref()?;
    wait(format!("{by} halted all action: {reason}"))
}

pub(super) fn journal(case: &Case<'_>) -> Option<Stop> {
    case.journal_blocked.then(|| wait("the journal cannot be written, and nothing is done unrecorded".to_owned()))?
}

pub(super) fn startup(case: &Case<'_>) -> Option<Stop> {
    (!case.startup.is_over()).then(|| wait(case.startup.why()))?
}

pub(super) fn expired(case: &Case<'_>) -> Option<Stop> {
    let at = case.expires.filter(|at| *at <= case.now)?;
    wait(format!("the policy in force expired at {at}: build, sign and push it again"))
}

pub(super) fn breaker(case: &Case<'_>) -> Option<Stop> {
    let open = case.book.alarms.breaker.as_ref()?;
    wait(format!("automation has paused since {}: {}; `skynetctl resume` lets it go on", open.since, open.reason))
}

pub(super) fn server(case: &Case<'_>) -> Option<Stop> {
    let id = case.target;
    match case.server {
        Some(server) if server.merged => None,
        Some(server) if server.connected => wait(format!("{id} has not said yet what its ledger holds")),
        Some(_) | None => wait(format!("{id} is not connected")),
    }
}

pub(super) fn readings(case: &Case<'_>) -> Option<Stop> {
    let known = case.look.when == Truth::True || case.look.clear == Truth::False;
    (!known).then(|| wait("the readings that say whether it is still needed are unknown".to_owned()))?
}
