//! How long a truth has held, with pauses for what is not known.

use skynet_model::condition::Truth;
use skynet_model::time::{Span, Timestamp};

/// Unknown time that is put up with, at least.
const PATIENCE: Span = Span::minutes(5);

/// Counts the time something has been known to hold. Unknown pauses the count; more than max(need, 5 min) of it starts
/// the count again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    truth: Truth,
    changed: Timestamp,
    total: Span,
    unknown: Span,
    first: Option<Timestamp>,
}

impl Default for Held {
    fn default() -> Self {
        Self {
            truth: Truth::Unknown,
            changed: Timestamp::default(),
            total: Span::default(),
            unknown: Span::default(),
            first: None,
        }
    }
}

impl Held {
    /// Takes the truth as it is from now on; until now it was what was said last.
    pub(crate) fn update(&mut self, now: Timestamp, truth: Truth, need: Span) {
        let elapsed = now.since(self.changed);
        if self.first.is_some() {
            match self.truth {
                Truth::True => self.total.0 += elapsed.0,
                Truth::Unknown => self.unknown.0 += elapsed.0,
                Truth::False => {}
            }
        }
        if truth == Truth::False || self.unknown > need.max(PATIENCE) {
            self.total = Span::default();
            self.unknown = Span::default();
            self.first = None;
        }
        self.changed = now;
        self.truth = truth;
        if truth == Truth::True && self.first.is_none() {
            self.first = Some(now);
        }
    }

    /// Whether it holds now and has held for `need`.
    pub(crate) fn reached(&self, need: Span) -> bool {
        self.truth == Truth::True && self.total >= need
    }

    /// When it began to hold; none while it does not.
    pub(crate) fn first(&self) -> Option<Timestamp> {
        self.first
    }

    /// When to look again, even if nothing is read until then.
    pub(crate) fn due(&self, need: Span) -> Option<Timestamp> {
        self.first?;
        match self.truth {
            Truth::True if self.total < need => Some(self.changed.plus(Span(need.0 - self.total.0))),
            Truth::Unknown => Some(self.changed.plus(Span(need.max(PATIENCE).0 - self.unknown.0 + 1))),
            Truth::True | Truth::False => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(need: Span, course: &[(i64, Truth)]) -> Held {
        let mut held = Held::default();
        for (second, truth) in course {
            held.update(Timestamp(second * 1000), *truth, need);
        }
        held
    }

    #[test]
    fn unknown_pauses_the_count_and_false_ends_it() {
        use Truth::{False, True, Unknown};
        let need = Span::seconds(30);
        let held = run(need, &[(0, True), (20, Unknown), (200, True)]);
        assert!(!held.reached(need));
        assert_eq!(held.due(need), Some(Timestamp(210_000)));
        assert!(run(need, &[(0, True), (20, Unknown), (200, True), (210, True)]).reached(need));
        assert!(!run(need, &[(0, True), (20, False), (21, True), (40, True)]).reached(need));
        assert!(!run(need, &[(0, True), (40, Unknown)]).reached(need), "unknown never fires");
    }

    #[test]
    fn too_much_unknown_starts_the_count_again() {
        use Truth::{True, Unknown};
        let need = Span::seconds(30);
        let held = run(need, &[(0, True), (20, Unknown), (321, True), (340, True)]);
        assert!(!held.reached(need));
        assert_eq!(held.first(), Some(Timestamp(321_000)));
        assert!(run(need, &[(0, True), (20, Unknown), (320, True), (330, True)]).reached(need));
        let long = Span::minutes(10);
        assert!(run(long, &[(0, True), (590, Unknown), (1190, True), (1200, True)]).reached(long));
    }
}
