//! The rails: what may hold a step back. A table of small functions; one more rail is one more function and one more
//! row.

use std::collections::{BTreeMap, BTreeSet};

use skynet_model::catalogue::Risk;
use skynet_model::condition::Truth;
use skynet_model::incident::{Incident, Rail};
use skynet_model::name::ServerId;
use skynet_model::policy::{Scenario, Step};
use skynet_model::time::{Span, Timestamp};
use skynet_model::value::Params;

use super::book::Book;
use crate::evaluator::{Look, Server};

/// How long a rail may hold a step before a person is told.
pub(crate) const PATIENCE: Span = Span::minutes(10);
/// How many disruptive or destructive steps of one scenario may be under way at once.
pub(crate) const AT_ONCE: usize = 5;
/// Share of the known servers, in tenths, that have to be back before anything is done after a restart.
const STARTUP_TENTHS: usize = 8;

/// Fleet-wide settings, from the `fleet:` document.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) cooldown: Span,
    pub(crate) cooldown_max: Span,
    pub(crate) cooldown_per_day: usize,
    pub(crate) flapping_after: usize,
    /// Disruptive and destructive steps of a scenario.
    pub(crate) per_hour: usize,
    /// Reversible steps of a scenario on one server.
    pub(crate) reversible_per_hour: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cooldown: Span::minutes(15),
            cooldown_max: Span::hours(4),
            cooldown_per_day: 3,
            flapping_after: 5,
            per_hour: 20,
            reversible_per_hour: 60,
        }
    }
}

impl Settings {
    /// What policy sets; the rest as designed. Lengths are in seconds.
    pub(crate) fn of(rails: &BTreeMap<String, f64>) -> Self {
        let default = Self::default();
        let span = |name: &str, or: Span| rails.get(name).map_or(or, |s| Span((s * 1000.0) as i64));
        let count = |name: &str, or: usize| rails.get(name).map_or(or, |n| *n as usize);
        Self {
            cooldown: span("cooldown", default.cooldown),
            cooldown_max: span("cooldown_max", default.cooldown_max),
            cooldown_per_day: count("cooldown_per_day", default.cooldown_per_day),
            flapping_after: count("flapping_after", default.flapping_after),
            per_hour: count("per_hour", default.per_hour),
            reversible_per_hour: default.reversible_per_hour,
        }
    }
}

/// After a restart: who has to be back before anything is done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Startup {
    /// Servers the journal knew.
    pub(crate) known: BTreeSet<ServerId>,
    /// Those of them whose ledger has been merged since.
    pub(crate) back: BTreeSet<ServerId>,
    /// An operator said so.
    pub(crate) waived: bool,
}

impl Startup {
    /// How many have to be back.
    pub(crate) fn needed(&self) -> usize {
        (self.known.len() * STARTUP_TENTHS).div_ceil(10)
    }

    /// Whether the wait is over.
    pub(crate) fn is_over(&self) -> bool {
        self.waived || self.back.len() >= self.needed()
    }

    /// How it stands, in words.
    pub(crate) fn why(&self) -> String {
        let missing: Vec<&str> = self.known.difference(&self.back).take(5).map(ServerId::as_str).collect();
        let (back, needed, known) = (self.back.len(), self.needed(), self.known.len());
        let missing = missing.join(", ");
        format!(
            "after a restart {needed} of {known} known servers have to be back before anything is done; {back} are, \
             {missing} and others are not yet; `skynetctl resume` ends the wait"
        )
        .replace(" and others", if known - back > 5 { " and others" } else { "" })
    }
}

/// What a rail decides on.
#[derive(Debug)]
pub(crate) struct Case<'a> {
    pub(crate) now: Timestamp,
    pub(crate) book: &'a Book,
    pub(crate) settings: &'a Settings,
    pub(crate) startup: &'a Startup,
    pub(crate) journal_blocked: bool,
    /// The server the step is for.
    pub(crate) target: &'a ServerId,
    pub(crate) server: Option<&'a Server>,
    pub(crate) incident: &'a Incident,
    pub(crate) look: Look,
    pub(crate) scenario: &'a Scenario,
    pub(crate) step: &'a Step,
    pub(crate) params: &'a Params,
}

/// Why a step may not be taken now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stop {
    /// In words, with the numbers.
    pub(crate) why: String,
    /// When to ask again, where that is known.
    pub(crate) until: Option<Timestamp>,
    /// Whether waiting would not help: a person is told at once.
    pub(crate) at_once: bool,
}

fn wait(why: String) -> Option<Stop> {
    Some(Stop { why, until: None, at_once: false })
}

type Check = fn(&Case<'_>) -> Option<Stop>;

/// The rails, in the order they are asked.
pub(crate) const RAILS: &[(Rail, Check)] = &[
    (Rail::Halt, halt),
    (Rail::Journal, journal),
    (Rail::Startup, startup),
    (Rail::Flapping, flapping),
    (Rail::Server, server),
    (Rail::Readings, readings),
    (Rail::Cooldown, cooldown),
    (Rail::Rate, rate),
    (Rail::Approval, approval),
];

/// The first rail that holds the step.
pub(crate) fn check(case: &Case<'_>) -> Option<(Rail, Stop)> {
    RAILS.iter().find_map(|(rail, check)| check(case).map(|stop| (*rail, stop)))
}

fn halt(case: &Case<'_>) -> Option<Stop> {
    let (by, reason) = case.book.halted.as_ref()?;
    wait(format!("{by} halted all action: {reason}"))
}

fn journal(case: &Case<'_>) -> Option<Stop> {
    case.journal_blocked.then(|| wait("the journal cannot be written, and nothing is done unrecorded".to_owned()))?
}

fn startup(case: &Case<'_>) -> Option<Stop> {
    (!case.startup.is_over()).then(|| wait(case.startup.why()))?
}

fn flapping(case: &Case<'_>) -> Option<Stop> {
    let openings = case.book.history.openings(case.incident, case.now);
    (openings >= case.settings.flapping_after).then(|| Stop {
        why: format!("it opened {openings} times within an hour, so automation has stopped for it"),
        until: None,
        at_once: true,
    })
}

fn server(case: &Case<'_>) -> Option<Stop> {
    let id = case.target;
    match case.server {
        Some(server) if server.merged => None,
        Some(server) if server.connected => wait(format!("{id} has not said yet what its ledger holds")),
        Some(_) | None => wait(format!("{id} is not connected")),
    }
}

fn readings(case: &Case<'_>) -> Option<Stop> {
    let known = case.look.when == Truth::True || case.look.clear == Truth::False;
    (!known).then(|| wait("the readings that say whether it is still needed are unknown".to_owned()))?
}

fn cooldown(case: &Case<'_>) -> Option<Stop> {
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
        at_once: true,
    })
}

fn rate(case: &Case<'_>) -> Option<Stop> {
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
        return Some(Stop { why, until: next, at_once: false });
    }
    let under_way = case.book.in_flight(scenario);
    (risk > Risk::Reversible && under_way >= AT_ONCE)
        .then(|| wait(format!("{under_way} steps of {scenario} are under way, and at most {AT_ONCE} may be at once")))?
}

fn approval(case: &Case<'_>) -> Option<Stop> {
    case.step.approve.then(|| wait(format!("{} needs a person's approval", case.step.action.name)))?
}
