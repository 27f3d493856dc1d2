//! A scenario laid out for evaluation: all slots of all its conditions in one row.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use skynet_model::condition::{Condition, SeriesRef, Slot};
use skynet_model::name::ScenarioName;
use skynet_model::policy::{Policy, Scenario};

/// One condition of a scenario and where its slots are.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) condition: Condition,
    pub(crate) slots: Range<usize>,
    /// Slots that ask whether a series is absent: filled when needed.
    pub(crate) absents: Vec<usize>,
    /// Slots of series for which gone means cured.
    pub(crate) ephemerals: Vec<usize>,
}

/// A scenario laid out.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) scenario: Arc<Scenario>,
    /// Policy no longer has this text: it only ends what runs under it.
    pub(crate) retired: bool,
    pub(crate) slots: Vec<Slot>,
    pub(crate) when: Part,
    pub(crate) clear: Option<Part>,
    /// One a step; none: the clear of the scenario.
    pub(crate) verify: Vec<Option<Part>>,
    /// It answers requests: it has no `when` and no instances of its own, only those that are attached.
    pub(crate) asked: bool,
}

impl Rule {
    fn new(scenario: Arc<Scenario>, retired: bool) -> Self {
        let mut slots = Vec::new();
        let when = part(&scenario.when.clone().unwrap_or_else(Condition::unknown), &mut slots);
        let clear = scenario.clear.as_ref().map(|c| part(c, &mut slots));
        let verify = scenario.respond.iter().map(|s| s.verify.as_ref().map(|c| part(c, &mut slots))).collect();
        let asked = scenario.when.is_none();
        Self { scenario, retired, slots, when, clear, verify, asked }
    }

    /// The series a slot reads or asks for.
    pub(crate) fn series(&self, slot: usize) -> Option<&SeriesRef> {
        self.slots.get(slot)?.series()
    }

    /// Slots of `when` whose series make instances.
    pub(crate) fn joined(&self) -> impl Iterator<Item = (usize, &SeriesRef)> {
        self.when.slots.clone().filter_map(|i| match self.slots.get(i) {
            Some(Slot::Series(series)) => Some((i, series)),
            Some(Slot::Absent(_) | Slot::Text(_) | Slot::Window(_) | Slot::Fold(_) | Slot::Servers(_)) | None => None,
        })
    }

    /// The condition that proves a step: its own, else the scenario's clear, else `when` itself.
    pub(crate) fn proof(&self, step: usize) -> &Part {
        let own = self.verify.get(step).and_then(Option::as_ref);
        own.or(self.clear.as_ref()).unwrap_or(&self.when)
    }

    /// Whether a step is proved by readings at all: a request without conditions is not.
    pub(crate) fn is_provable(&self, step: usize) -> bool {
        !self.asked || self.clear.is_some() || self.has_own_proof(step)
    }

    /// Whether a step is proved by a condition of its own.
    pub(crate) fn has_own_proof(&self, step: usize) -> bool {
        self.verify.get(step).is_some_and(Option::is_some)
    }
}

fn part(condition: &Condition, slots: &mut Vec<Slot>) -> Part {
    let start = slots.len();
    slots.extend_from_slice(condition.slots());
    let range = start..slots.len();
    let of = |fits: fn(&Slot) -> bool| range.clone().filter(|i| slots.get(*i).is_some_and(fits)).collect::<Vec<_>>();
    let absents = of(|s| matches!(s, Slot::Absent(_)));
    let ephemerals = of(|s| matches!(s, Slot::Series(series) if series.ephemeral));
    Part { condition: condition.clone(), slots: range, absents, ephemerals }
}

/// All rules in force, and which of their slots read a series of a given name.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    pub(crate) list: Vec<Rule>,
    pub(crate) policy: Option<Arc<Policy>>,
    names: BTreeMap<String, Vec<(u32, u16)>>,
}

impl Rules {
    /// The scenarios of `policy`, and `kept` ones that only end what runs under them.
    pub(crate) fn new(policy: Arc<Policy>, kept: Vec<Arc<Scenario>>) -> Self {
        let current = policy.scenarios.values().map(|s| Rule::new(Arc::clone(s), false));
        let list: Vec<Rule> = current.chain(kept.into_iter().map(|s| Rule::new(s, true))).collect();
        let mut names: BTreeMap<String, Vec<(u32, u16)>> = BTreeMap::new();
        for (r, rule) in list.iter().enumerate() {
            for (s, slot) in rule.slots.iter().enumerate() {
                if let (Slot::Series(series), Ok(r), Ok(s)) = (slot, u32::try_from(r), u16::try_from(s)) {
                    names.entry(series.name.clone()).or_default().push((r, s));
                }
            }
        }
        Self { list, policy: Some(policy), names }
    }

    /// Rule and slot of every use of the series called `name`.
    pub(crate) fn uses(&self, name: &str) -> &[(u32, u16)] {
        self.names.get(name).map_or(&[], Vec::as_slice)
    }

    /// The rule by its number.
    pub(crate) fn get(&self, rule: u32) -> Option<&Rule> {
        self.list.get(usize::try_from(rule).ok()?)
    }

    /// The rule of a scenario with this text.
    pub(crate) fn find(&self, name: &ScenarioName, digest: &str) -> Option<u32> {
        let at = self.list.iter().position(|r| r.scenario.name == *name && r.scenario.digest == digest);
        at.and_then(|i| u32::try_from(i).ok())
    }
}
