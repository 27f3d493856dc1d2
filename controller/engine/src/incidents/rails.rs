//! The rails: what may hold a step back. A table of small functions; one more rail is one more function and one more
//! row. What each says is what `describe incident` shows: `docs/rails.md` has the table with keys and defaults.
//!
//! What must never enter: a change of anything. A rail reads the book, the settings and the clock, and answers.

mod approval;
pub(crate) mod cluster;
pub(crate) mod fleet;
mod repeat;
mod settings;

use skynet_model::incident::{Incident, Rail};
use skynet_model::name::ServerId;
use skynet_model::policy::{Scenario, Step};
use skynet_model::time::Timestamp;
use skynet_model::value::Params;

use super::book::Book;
use crate::evaluator::{Look, Server};

pub(crate) use settings::{DAY, MAX_OPENINGS, Settings, Startup};

/// What a rail decides on.
#[derive(Debug)]
pub(crate) struct Case<'a> {
    pub(crate) now: Timestamp,
    pub(crate) book: &'a Book,
    pub(crate) settings: &'a Settings,
    pub(crate) startup: &'a Startup,
    pub(crate) journal_blocked: bool,
    /// When the policy in force expires.
    pub(crate) expires: Option<Timestamp>,
    /// The server the step is for.
    pub(crate) target: &'a ServerId,
    pub(crate) server: Option<&'a Server>,
    pub(crate) incident: &'a Incident,
    pub(crate) look: Look,
    pub(crate) scenario: &'a Scenario,
    pub(crate) step: &'a Step,
    /// Which step of the scenario, from 0.
    pub(crate) number: u32,
    pub(crate) params: &'a Params,
}

/// How long a rail may hold a step before a person is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Not at all: waiting would not help.
    None,
    /// `hold_patience`.
    Usual,
    /// As long as it lasts: it always ends, and meanwhile nobody is to be told.
    Endless,
}

/// Why a step may not be taken now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stop {
    /// In words, with the numbers.
    pub(crate) why: String,
    /// When to ask again, where that is known.
    pub(crate) until: Option<Timestamp>,
    pub(crate) patience: Patience,
}

impl Stop {
    /// Whether it is no longer waited for: waiting would not help, or `last` has come.
    pub(crate) fn is_lost(&self, now: Timestamp, last: Timestamp) -> bool {
        match self.patience {
            Patience::None => true,
            Patience::Usual => now >= last,
            Patience::Endless => false,
        }
    }
}

fn wait(why: String) -> Option<Stop> {
    Some(Stop { why, until: None, patience: Patience::Usual })
}

type Check = fn(&Case<'_>) -> Option<Stop>;

/// The rails, in the order they are asked.
pub(crate) const RAILS: &[(Rail, Check)] = &[
    (Rail::Maintenance, fleet::maintenance),
    (Rail::Halt, fleet::halt),
    (Rail::Journal, fleet::journal),
    (Rail::Startup, fleet::startup),
    (Rail::Expired, fleet::expired),
    (Rail::Breaker, fleet::breaker),
    (Rail::Flapping, repeat::flapping),
    (Rail::CommonCause, cluster::common_cause),
    (Rail::Server, fleet::server),
    (Rail::Readings, fleet::readings),
    (Rail::Cooldown, repeat::cooldown),
    (Rail::Rate, repeat::rate),
    (Rail::BlastRadius, cluster::blast_radius),
    (Rail::Destructive, cluster::destructive),
    (Rail::Approval, approval::approval),
];

/// The first rail that holds the step; `but` is one that is left out, to show in tests what it is there for.
pub(crate) fn check(case: &Case<'_>, but: Option<Rail>) -> Option<(Rail, Stop)> {
    let asked = RAILS.iter().filter(|(rail, _)| Some(*rail) != but);
    asked.into_iter().find_map(|(rail, check)| check(case).map(|stop| (*rail, stop)))
}
