//! The rails' settings: the fleet's (`fleet: rails:`), and after a restart who has to be back.

use std::collections::{BTreeMap, BTreeSet};

use skynet_model::name::ServerId;
use skynet_model::time::Span;

/// The longest a rail looks back: what it remembers is forgotten after a day.
pub(crate) const DAY: Span = Span::hours(24);
/// The longest a person may be waited for.
const WEEK: Span = Span::hours(7 * 24);
/// The most openings of one instance that are remembered.
pub(crate) const MAX_OPENINGS: usize = 1000;

/// Fleet-wide settings: the key of each in policy is its name here. Lengths are in seconds there, shares 0..1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Settings {
    /// The first cooldown; it doubles.
    pub(crate) cooldown: Span,
    pub(crate) cooldown_max: Span,
    pub(crate) cooldown_per_day: usize,
    /// Openings within `flapping_window` that stop automation for an instance.
    pub(crate) flapping_after: usize,
    pub(crate) flapping_window: Span,
    /// Disruptive and destructive steps of a scenario under way at once.
    pub(crate) at_once: usize,
    /// Disruptive and destructive steps of a scenario.
    pub(crate) per_hour: usize,
    /// Reversible steps of a scenario on one server.
    pub(crate) reversible_per_hour: usize,
    /// Share of a cluster's servers under a disruptive or destructive step at a time.
    pub(crate) blast_radius: f64,
    /// Share of a cluster's servers that had one within an hour.
    pub(crate) blast_radius_per_hour: f64,
    /// Share of a cluster's servers, and their least number, that fire one scenario within the window.
    pub(crate) common_cause_share: f64,
    pub(crate) common_cause_servers: usize,
    pub(crate) common_cause_window: Span,
    /// Incidents in a row, on as many servers, that acted and were not contained.
    pub(crate) breaker_after: usize,
    /// How far destructive steps of a cluster lie apart.
    pub(crate) destructive_every: Span,
    pub(crate) approval_lapses: Span,
    /// How long a rail other than the cooldown may hold a step before a person is told.
    pub(crate) hold_patience: Span,
    /// Share of the known servers that have to be back after a restart.
    pub(crate) startup_share: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cooldown: Span::minutes(15),
            cooldown_max: Span::hours(4),
            cooldown_per_day: 3,
            flapping_after: 5,
            flapping_window: Span::hours(1),
            at_once: 5,
            per_hour: 20,
            reversible_per_hour: 60,
            blast_radius: 0.05,
            blast_radius_per_hour: 0.10,
            common_cause_share: 0.3,
            common_cause_servers: 3,
            common_cause_window: Span::minutes(10),
            breaker_after: 3,
            destructive_every: Span::minutes(30),
            approval_lapses: Span::minutes(30),
            hold_patience: Span::minutes(10),
            startup_share: 0.8,
        }
    }
}

impl Settings {
    /// What policy sets; the rest as designed.
    pub(crate) fn of(rails: &BTreeMap<String, f64>) -> Self {
        let d = Self::default();
        let span = |name: &str, or: Span, most: Span| {
            rails.get(name).map_or(or, |s| Span((s * 1000.0) as i64).clamp(Span::default(), most))
        };
        let count = |name: &str, or: usize| rails.get(name).map_or(or, |n| (*n as usize).max(1));
        let share = |name: &str, or: f64| rails.get(name).map_or(or, |s| s.clamp(0.0, 1.0));
        Self {
            cooldown: span("cooldown", d.cooldown, DAY),
            cooldown_max: span("cooldown_max", d.cooldown_max, DAY),
            cooldown_per_day: count("cooldown_per_day", d.cooldown_per_day),
            flapping_after: count("flapping_after", d.flapping_after).min(MAX_OPENINGS),
            flapping_window: span("flapping_window", d.flapping_window, DAY),
            at_once: count("at_once", d.at_once),
            per_hour: count("per_hour", d.per_hour),
            reversible_per_hour: count("reversible_per_hour", d.reversible_per_hour),
            blast_radius: share("blast_radius", d.blast_radius),
            blast_radius_per_hour: share("blast_radius_per_hour", d.blast_radius_per_hour),
            common_cause_share: share("common_cause_share", d.common_cause_share),
            common_cause_servers: count("common_cause_servers", d.common_cause_servers),
            common_cause_window: span("common_cause_window", d.common_cause_window, DAY),
            breaker_after: count("breaker_after", d.breaker_after),
            destructive_every: span("destructive_every", d.destructive_every, DAY),
            approval_lapses: span("approval_lapses", d.approval_lapses, WEEK),
            hold_patience: span("hold_patience", d.hold_patience, WEEK),
            startup_share: share("startup_share", d.startup_share),
        }
    }
}

/// `max(1, share)` of so many servers.
pub(crate) fn part(share: f64, servers: usize) -> usize {
    // A share like 0.1 has no exact form: 10 % of 30 are 3.
    ((share * servers as f64 + 1e-9) as usize).max(1)
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
    /// How many of the known have to be back; none: as designed.
    pub(crate) share: Option<f64>,
}

impl Startup {
    /// How many have to be back.
    pub(crate) fn needed(&self) -> usize {
        let share = self.share.unwrap_or_else(|| Settings::default().startup_share);
        (share * self.known.len() as f64 - 1e-9).ceil().max(0.0) as usize
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

#[cfg(test)]
mod tests {
    use skynet_model::policy::{RAILS, RailKind, RailSpec};

    use super::*;

    #[test]
    fn shares_of_a_cluster_are_whole_servers_and_never_none() {
        let parts =
            [(0.05, 1), (0.05, 20), (0.05, 39), (0.05, 40), (0.1, 30), (0.0, 7), (1.0, 7)].map(|(s, n)| part(s, n));
        assert_eq!(parts, [1, 1, 1, 2, 3, 1, 7]);
    }

    #[test]
    fn every_key_of_policy_is_read_and_bounded() {
        for key in RAILS.iter().map(|rail| rail.name) {
            let set = Settings::of(&BTreeMap::from([(key.to_owned(), 0.5)]));
            assert_ne!(set, Settings::default(), "{key} is not read");
            let far = Settings::of(&BTreeMap::from([(key.to_owned(), 1e18)]));
            assert!(far.flapping_window <= DAY && far.hold_patience <= WEEK && far.blast_radius <= 1.0, "{key}");
        }
        assert_eq!(Settings::of(&BTreeMap::new()), Settings::default());
    }

    #[test]
    fn the_defaults_are_those_that_policy_names() {
        let number = |rail: &RailSpec| match rail.kind {
            RailKind::Share => rail.default.trim_end_matches('%').parse::<f64>().unwrap() / 100.0,
            RailKind::Count => rail.default.parse().unwrap(),
            RailKind::Length => rail.default.parse::<Span>().unwrap().0 as f64 / 1000.0,
        };
        let written = RAILS.iter().map(|rail| (rail.name.to_owned(), number(rail))).collect();
        assert_eq!(Settings::of(&written), Settings::default());
    }

    #[test]
    fn four_of_five_servers_have_to_be_back_by_default() {
        let known = |n: usize, share| {
            let known = (0..n).filter_map(|i| ServerId::new(&format!("web{i}")).ok()).collect();
            Startup { known, share, ..Startup::default() }.needed()
        };
        assert_eq!([0, 1, 5, 6, 10].map(|n| known(n, None)), [0, 1, 4, 5, 8]);
        assert_eq!((known(10, Some(0.25)), known(10, Some(0.0))), (3, 0));
    }
}
