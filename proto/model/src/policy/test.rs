//! `test:`: what a policy is expected to do with readings that somebody made up. Read by [`super::load_tests`], run by
//! `skynetctl policy test` in virtual time; times are counted from the test's begin.

use std::collections::BTreeMap;

use super::Mode;
use crate::command::Status;
use crate::incident::{Rail, State};
use crate::name::{ScenarioName, ServerId};
use crate::series::{Labels, SeriesKey};
use crate::time::Span;
use crate::value::Params;

/// Longest time a test may span: 31 days.
pub const MAX_TEST: Span = Span::hours(31 * 24);

/// `test:`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Test {
    /// Its name, a sentence perhaps.
    pub name: String,
    /// The file it stands in.
    pub file: String,
    /// The line it begins in.
    pub line: u32,
    /// The mode all scenarios run in; none: their own.
    pub mode: Option<Mode>,
    /// The servers there are, and their labels.
    pub servers: BTreeMap<ServerId, Labels>,
    /// What they read, in order of writing.
    pub readings: Vec<Feed>,
    /// How actions end: the first time, the second, and so on; the last stands for all further times.
    pub outcomes: BTreeMap<String, Vec<Effect>>,
    /// When agents are away.
    pub away: Vec<Away>,
    /// Approvals.
    pub approvals: Vec<Approval>,
    /// Requests.
    pub requests: Vec<Asking>,
    /// What is to be; not empty.
    pub expect: Vec<Expectation>,
}

/// One entry of `readings`: what servers read from `from` on, until another entry that begins later says otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Feed {
    /// When it begins.
    pub from: Span,
    /// When what runs has run its course: the last value holds from then on. None: a single moment.
    pub until: Option<Span>,
    /// How long each value holds; none: the value is another with each sweep.
    pub step: Option<Span>,
    /// Whose readings.
    pub servers: Vec<ServerId>,
    /// Series and what becomes of them.
    pub series: Vec<(SeriesKey, Course)>,
}

/// What becomes of a series.
#[derive(Clone, Debug, PartialEq)]
pub enum Course {
    /// It stays as it is.
    Steady(Level),
    /// It goes evenly from one value to another.
    Ramp(f64, f64),
    /// One level a step, over and over.
    Cycle(Vec<Level>),
}

/// What a sweep finds of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Level {
    /// A value.
    Value(f64),
    /// The series is missing from a complete sweep.
    Gone,
    /// The sweep of its sensor fails, so that nothing is known of all that it reads.
    Unknown,
}

/// How an action ends, and what it changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// How long it runs.
    pub after: Span,
    /// How it ends.
    pub status: Status,
    /// What it says.
    pub message: String,
    /// What is read from then on, until an entry of `readings` that begins later says otherwise.
    pub sets: Vec<(SeriesKey, Level)>,
    /// On which servers; empty: on the one that it ran on.
    pub servers: Vec<ServerId>,
}

/// Servers whose agent is away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Away {
    /// Since when.
    pub from: Span,
    /// Until when; none: until the end.
    pub until: Option<Span>,
    /// Which.
    pub servers: Vec<ServerId>,
}

/// An operator approves what waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// When.
    pub at: Span,
    /// An incident of which scenario.
    pub scenario: ScenarioName,
    /// On which server; none: on any.
    pub server: Option<ServerId>,
    /// Who.
    pub by: String,
}

/// A person asks for something.
#[derive(Clone, Debug, PartialEq)]
pub struct Asking {
    /// When.
    pub at: Span,
    /// The request's name.
    pub request: String,
    /// Its parameters, checked.
    pub parameters: Params,
    /// For which servers.
    pub servers: Vec<ServerId>,
    /// Who.
    pub by: String,
}

/// What is to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    /// The line it is written in.
    pub line: u32,
    /// When.
    pub when: Moment,
    /// Whether there is to be such an incident, or none.
    pub there: bool,
    /// Which.
    pub incident: Wanted,
}

/// When something is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// At some time until then.
    Within(Span),
    /// Just then.
    At(Span),
}

impl Moment {
    /// When it is known whether it was.
    #[must_use]
    pub fn last(self) -> Span {
        match self {
            Self::Within(span) | Self::At(span) => span,
        }
    }
}

/// An incident as it is to be; what is none does not matter.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Of which scenario.
    pub scenario: ScenarioName,
    /// About which server.
    pub server: Option<ServerId>,
    /// About which cluster.
    pub cluster: Option<String>,
    /// Some of its labels.
    pub labels: BTreeMap<String, String>,
    /// Where it stands.
    pub state: Option<State>,
    /// The actions of all steps that were taken so far, in order.
    pub steps: Option<Vec<String>>,
    /// How often people have been told about it.
    pub notices: Option<u32>,
    /// What holds it back, or did.
    pub held: Option<Rail>,
}

impl Test {
    /// How long the test runs: until the last thing that is expected.
    #[must_use]
    pub fn length(&self) -> Span {
        self.expect.iter().map(|e| e.when.last()).max().unwrap_or_default()
    }
}

impl Feed {
    /// What a series of that course reads at a time that is not before `from`.
    #[must_use]
    pub fn level(&self, course: &Course, at: Span) -> Level {
        let since = at.0.saturating_sub(self.from.0).max(0);
        let length = self.until.map_or(0, |until| until.0 - self.from.0);
        let since = since.min(length);
        let steps = self.step.filter(|step| step.0 > 0).map_or(0, |step| since / step.0);
        match course {
            Course::Steady(level) => *level,
            Course::Ramp(from, to) => {
                let since = self.step.filter(|step| step.0 > 0 && since < length).map_or(since, |step| steps * step.0);
                #[expect(clippy::cast_precision_loss, reason = "at most 31 days")]
                let share = if length == 0 { 1.0 } else { since as f64 / length as f64 };
                Level::Value(from + (to - from) * share)
            }
            Course::Cycle(levels) => {
                // The last step ends with the entry: its level holds.
                let last = self
                    .step
                    .filter(|step| step.0 > 0 && since == length && length > 0)
                    .map_or(steps, |step| (length - 1) / step.0);
                let index = usize::try_from(last).unwrap_or(0) % levels.len().max(1);
                levels.get(index).copied().unwrap_or(Level::Gone)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(step: Option<i64>) -> Feed {
        let (from, until) = (Span::seconds(10), Some(Span::seconds(20)));
        Feed { from, until, step: step.map(Span::seconds), servers: Vec::new(), series: Vec::new() }
    }

    #[test]
    fn a_course_is_run_step_by_step_and_its_end_holds() {
        let read = |feed: &Feed, course: &Course| {
            let at = [10, 11, 14, 15, 19, 20, 500];
            at.map(|s| match feed.level(course, Span::seconds(s)) {
                Level::Value(value) => value,
                Level::Gone | Level::Unknown => -1.0,
            })
        };
        let ramp = Course::Ramp(0.0, 10.0);
        assert_eq!(read(&feed(None), &ramp), [0.0, 1.0, 4.0, 5.0, 9.0, 10.0, 10.0]);
        assert_eq!(read(&feed(Some(5)), &ramp), [0.0, 0.0, 0.0, 5.0, 5.0, 10.0, 10.0]);
        let cycle = Course::Cycle(vec![Level::Value(1.0), Level::Gone]);
        assert_eq!(read(&feed(Some(5)), &cycle), [1.0, 1.0, 1.0, -1.0, -1.0, -1.0, -1.0]);
        assert_eq!(read(&feed(Some(2)), &cycle), [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
        let moment = Feed { until: None, ..feed(None) };
        assert_eq!(read(&moment, &Course::Steady(Level::Value(3.0))), [3.0; 7]);
    }
}
