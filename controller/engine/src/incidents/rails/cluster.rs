//! Rails that look at the whole cluster of the server a step is for. None of them holds a reversible step.

use skynet_model::catalogue::Risk;
use skynet_model::name::ServerId;
use skynet_model::time::{Span, Timestamp};

use super::settings::part;
use super::{Case, Patience, Stop};

const HOUR: Span = Span::hours(1);

/// Names for people: the first five.
pub(crate) fn some<'a>(servers: impl Iterator<Item = &'a ServerId>) -> String {
    let names: Vec<&str> = servers.map(ServerId::as_str).collect();
    match names.len().checked_sub(5) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..5].join(", ")),
    }
}

/// Distinct servers of the cluster under way at a time, and within an hour. A server that is acted on already is one
/// server, whoever acts on it next.
pub(super) fn blast_radius(case: &Case<'_>) -> Option<Stop> {
    if case.step.action.risk == Risk::Reversible {
        return None;
    }
    let (book, settings) = (case.book, case.settings);
    let cluster = book.cluster(case.target);
    let size = book.reach.size(cluster);
    let share = case.scenario.limits.blast_radius.unwrap_or(settings.blast_radius);
    let acting = book.reach.acting(cluster);
    let most = part(share, size);
    if !acting.contains(&case.target) && acting.len() >= most {
        let why = format!(
            "{} of {size} in cluster {cluster} already acting ({}); at most {most} at a time",
            acting.len(),
            some(acting.iter().copied()),
        );
        return Some(Stop { why, until: None, patience: Patience::Usual });
    }
    // What may be acted on at a time may be acted on within an hour.
    let most = part(share.max(settings.blast_radius_per_hour), size);
    let mut lately: Vec<(Timestamp, &ServerId)> = book.reach.acted_since(cluster, case.now, HOUR);
    if lately.len() < most || lately.iter().any(|(_, server)| *server == case.target) {
        return None;
    }
    lately.sort();
    let next = lately.get(lately.len() - most).map(|(at, _)| at.plus(HOUR));
    let why = format!(
        "{} of {size} in cluster {cluster} acted on within the last hour ({}); at most {most} an hour{}",
        lately.len(),
        some(lately.iter().map(|(_, server)| *server)),
        next.map(|at| format!("; next at {at}")).unwrap_or_default(),
    );
    Some(Stop { why, until: next, patience: Patience::Usual })
}

/// The cause lies elsewhere: found and journalled before ([`crate::Engine::look_for_cause`]).
pub(super) fn common_cause(case: &Case<'_>) -> Option<Stop> {
    if case.step.action.risk == Risk::Reversible {
        return None;
    }
    let (lead, cause) = case.book.alarms.cause(&case.scenario.name, case.book.cluster(case.target))?;
    let with = if *lead == case.incident.id { String::new() } else { format!(" with {lead}") };
    let why = format!("{}; a person is told once for all{with}", cause.reason);
    Some(Stop { why, until: None, patience: Patience::None })
}

pub(super) fn destructive(case: &Case<'_>) -> Option<Stop> {
    if case.step.action.risk != Risk::Destructive {
        return None;
    }
    let every = case.settings.destructive_every;
    let cluster = case.book.cluster(case.target);
    let (at, server, incident) = case.book.reach.last_destructive(cluster, case.now, every)?;
    let next = at.plus(every);
    let why = format!(
        "cluster {cluster} had a destructive step {} ago ({incident} on {server}); one per {every}, next at {next}",
        case.now.since(at),
    );
    Some(Stop { why, until: Some(next), patience: Patience::Usual })
}
