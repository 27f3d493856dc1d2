//! Rails against doing the same over and over: flapping, cooldown, rate.

use skynet_model::catalogue::Risk;
use skynet_model::time::Span;

use super::{Case, Patience, Stop, wait};

pub(super) fn flapping(case: &Case<'_>) -> Option<Stop> {
    let window = case.settings.flapping_window;
    let openings = case.book.history.openings(case.incident, window, case.now);
    (openings >= case.settings.flapping_after).then(|| Stop {
        why: format!("it opened {openings} times within {window}, so automation has stopped for it"),
        until: None,
        patience: Patience::None,
    })
}

pub(super) fn cooldown(case: &Case<'_>) -> Option<Stop> {
    let incident = case.incident;
    let uses = case.book.history.uses(case.target, case.step.action.name, case.params, &incident.id, case.now);
    let last = uses.last()?;
    let first = case.scenario.limits.cooldown.unwrap_or(case.settings.cooldown);
    let longest = case.settings.cooldown_max.max(first);
    let doublings = u32::try_from(uses.len() - 1).unwrap_or(u32::MAX).min(30);
    let span = Span(first.0.saturating_mul(1 << doublings)).min(longest);
    let free = if uses.len() >= case.settings.cooldown_per_day {
        uses[0].at.plus(Span::hours(24))
    } else {
        last.at.plus(span)
    };
    (case.now < free).then(|| Stop {
        why: format!(
            "the same action ran {} before, in {}, and the cure did not last; it has run {} of {} times a day and may \
             run again at {free}",
            case.now.since(last.at),
            last.incident,
            uses.len(),
            case.settings.cooldown_per_day,
        ),
        until: None,
        patience: Patience::None,
    })
}

pub(super) fn rate(case: &Case<'_>) -> Option<Stop> {
    let scenario = &case.scenario.name;
    let risk = case.step.action.risk;
    let own = case.scenario.limits.per_hour.map(|n| n as usize);
    let (limit, place) = match risk {
        Risk::Reversible => (own.unwrap_or(case.settings.reversible_per_hour), " on this server"),
        Risk::Disruptive | Risk::Destructive => (own.unwrap_or(case.settings.per_hour), ""),
    };
    let times = case.book.history.rate(risk, scenario, case.target, case.now);
    if times.len() >= limit {
        let next = times.len().checked_sub(limit).and_then(|i| times.get(i)).map(|t| t.plus(Span::hours(1)));
        let next_at = next.map(|n| format!("; next at {n}")).unwrap_or_default();
        let why = format!("{} of {limit} steps of {scenario} an hour used{place}{next_at}", times.len());
        return Some(Stop { why, until: next, patience: Patience::Usual });
    }
    let at_once = case.settings.at_once;
    let others = case.book.reach.in_flight(scenario, &case.incident.id);
    (risk > Risk::Reversible && others >= at_once)
        .then(|| wait(format!("{others} steps of {scenario} are under way, and at most {at_once} may be at once")))?
}
