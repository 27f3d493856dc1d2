//! Policy tried out before it is pushed: tests with made-up readings, and recorded ones.
//!
//! The real engine in virtual time. What must never enter: a clock, a socket, a file, terminal output; who asks brings
//! policy and readings, and gets told what happened.

pub mod backtest;
mod judge;
mod servers;
mod world;

use std::collections::BTreeSet;

use skynet_model::catalogue::Catalogue;
use skynet_model::event::Event;
use skynet_model::name::ServerId;
use skynet_model::policy::Policy;
use skynet_model::policy::test::{Level, Test};
use skynet_model::series::SeriesKey;
use skynet_model::time::{Span, Timestamp};

use world::World;

/// Most sweeps of one test.
const MAX_SWEEPS: u64 = 5_000_000;
/// Most events of one test: more of them are a scenario that runs wild.
const MAX_EVENTS: usize = 100_000;
/// When every test begins: a Monday at noon, UTC.
pub const BEGIN: Timestamp = Timestamp(1_767_614_400_000);
/// How many values of a series are kept to be shown.
const SHOWN: i64 = 6;

/// What came of a test.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Expectations that were not met; empty: the test succeeds.
    pub missed: Vec<Missed>,
    /// All that happened, times from [`BEGIN`] on.
    pub events: Vec<Event>,
    /// What was read, for each server and series that a scenario reads: a few values over the whole time.
    pub past: Vec<Past>,
    /// How often the policy's scenarios were looked at, in sweeps.
    pub sweeps: u64,
}

/// An expectation that was not met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// Which, by its place in [`Test::expect`].
    pub expectation: usize,
    /// What was expected, in words.
    pub expected: String,
    /// What was instead, in words.
    pub found: String,
}

/// Some values of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Past {
    /// Whose.
    pub server: ServerId,
    /// Which.
    pub series: SeriesKey,
    /// When, since the test's begin, and what it was.
    pub levels: Vec<(Span, Level)>,
}

/// A test that cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It would take too long.
    #[error(
        "the test needs {0} sweeps, and at most {MAX_SWEEPS} are run: let it expect earlier, use fewer servers, or give \
         sensors a longer `every`"
    )]
    TooLong(u64),
    /// Something goes round in circles.
    #[error("more than {MAX_EVENTS} events happened by {0}; a scenario opens again and again: look at its conditions")]
    TooMuch(Span),
}

/// Runs one test of a policy: the same policy and test give the same verdict.
///
/// # Errors
/// [`Trouble`].
pub fn run(policy: &Policy, catalogue: &Catalogue, test: &Test) -> Result<Verdict, Trouble> {
    World::new(policy, catalogue, test)?.run()
}

/// The sensors whose series some scenario reads: what the others read is of no consequence.
fn sensors_read(policy: &Policy) -> BTreeSet<&'static str> {
    policy.scenarios.values().flat_map(|scenario| scenario.reads()).filter_map(|series| series.sensor).collect()
}
