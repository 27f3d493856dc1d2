//! A scenario laid out for evaluation: all slots of all its conditions in one row.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use skynet_model::condition::{Condition, FoldRef, Measure, SeriesRef, Slot, WindowRef};
use skynet_model::name::ScenarioName;
use skynet_model::policy::{Policy, Scenario, Scope};
use skynet_model::series::Labels;

use super::many::Many;
use super::window::Key;

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

/// A fold, and what its groups are told apart by.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Folding {
    pub(crate) of: FoldRef,
    /// Labels that the members of a group share: those of `per` that the series has.
    pub(crate) names: Vec<String>,
}

impl Folding {
    fn new(of: &FoldRef, per: &[String]) -> Self {
        let of = of.clone();
        let series = series_of(&of);
        let has = |name: &&String| series.open || series.labels.contains(name);
        let names = per.iter().filter(has).cloned().collect();
        Self { of, names }
    }

    /// What is folded, or looked back over.
    pub(crate) fn series(&self) -> &SeriesRef {
        series_of(&self.of)
    }

    /// The group of an instance with these labels.
    pub(crate) fn group(&self, labels: &Labels) -> Labels {
        Labels::new(self.names.iter().filter_map(|name| labels.get(name).map(|value| (name, value))))
    }

    /// The group of a series with these labels; none when it lacks one that groups are told apart by.
    pub(crate) fn group_of(&self, rest: &Labels) -> Option<Labels> {
        let group = self.group(rest);
        (group.len() == self.names.len()).then_some(group)
    }
}

fn series_of(fold: &FoldRef) -> &SeriesRef {
    match &fold.of {
        Measure::Series(series) | Measure::Window(WindowRef { of: series, .. }) => series,
    }
}

/// A scenario laid out.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) scenario: Arc<Scenario>,
    /// Policy no longer has this text: it only ends what runs under it.
    pub(crate) retired: bool,
    pub(crate) slots: Vec<Slot>,
    /// Its folds: by slot, their numbers in the rules.
    pub(crate) folds: Vec<(usize, u32)>,
    pub(crate) when: Part,
    pub(crate) clear: Option<Part>,
    /// One a step; none: the clear of the scenario.
    pub(crate) verify: Vec<Option<Part>>,
    /// What it asks of many servers, in scope `cluster` and `fleet`. Then `slots` are those of what is asked of each server,
    /// those of `when` first, and `when` itself stands for their label sets only.
    pub(crate) many: Option<Box<Many>>,
    /// It answers requests: it has no `when` and no instances of its own, only those that are attached.
    pub(crate) asked: bool,
}

impl Rule {
    fn new(scenario: Arc<Scenario>, retired: bool) -> Self {
        if let (Scope::Cluster | Scope::Fleet, Some(when)) = (scenario.scope, &scenario.when) {
            let (many, slots, joined) = Many::new(&scenario, when);
            let when =
                Part { condition: Condition::unknown(), slots: 0..joined, absents: Vec::new(), ephemerals: Vec::new() };
            let (many, verify) = (Some(Box::new(many)), Vec::new());
            return Self { scenario, retired, slots, folds: Vec::new(), when, clear: None, verify, many, asked: false };
        }
        let mut slots = Vec::new();
        let when = part(&scenario.when.clone().unwrap_or_else(Condition::unknown), &mut slots);
        let clear = scenario.clear.as_ref().map(|c| part(c, &mut slots));
        let verify = scenario.respond.iter().map(|s| s.verify.as_ref().map(|c| part(c, &mut slots))).collect();
        let asked = scenario.when.is_none();
        Self { scenario, retired, slots, folds: Vec::new(), when, clear, verify, many: None, asked }
    }

    /// The series a slot reads or asks for.
    pub(crate) fn series(&self, slot: usize) -> Option<&SeriesRef> {
        self.slots.get(slot)?.series()
    }

    /// Slots of `when` whose series make instances, one for each of their label sets: those that are read or looked back
    /// over.
    pub(crate) fn joined(&self) -> impl Iterator<Item = (usize, &SeriesRef)> {
        self.when.slots.clone().filter_map(|i| match self.slots.get(i) {
            Some(Slot::Series(series) | Slot::Window(WindowRef { of: series, .. })) => Some((i, series)),
            Some(Slot::Absent(_) | Slot::Text(_) | Slot::Fold(_) | Slot::Servers(_)) | None => None,
        })
    }

    /// The number of the fold in a slot.
    pub(crate) fn fold(&self, slot: usize) -> Option<u32> {
        self.folds.iter().find(|(of, _)| *of == slot).map(|(_, number)| *number)
    }

    /// The slot of `when` whose value an incident is summarized with: the first that holds a number of a series.
    pub(crate) fn first_value(&self) -> Option<usize> {
        let number = |slot: &Slot| matches!(slot, Slot::Series(_) | Slot::Window(_) | Slot::Fold(_));
        self.when.slots.clone().find(|i| self.slots.get(*i).is_some_and(number))
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

pub(super) fn part(condition: &Condition, slots: &mut Vec<Slot>) -> Part {
    let start = slots.len();
    slots.extend_from_slice(condition.slots());
    let range = start..slots.len();
    let of = |fits: fn(&Slot) -> bool| range.clone().filter(|i| slots.get(*i).is_some_and(fits)).collect::<Vec<_>>();
    let absents = of(|s| matches!(s, Slot::Absent(_)));
    let ephemerals = of(|s| !matches!(s, Slot::Absent(_)) && s.series().is_some_and(|series| series.ephemeral));
    Part { condition: condition.clone(), slots: range, absents, ephemerals }
}

/// All rules in force, and which of their slots read a series of a given name.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    pub(crate) list: Vec<Rule>,
    pub(crate) policy: Option<Arc<Policy>>,
    /// Every fold once.
    pub(crate) folds: Vec<Folding>,
    names: BTreeMap<String, Vec<(u32, u16)>>,
    /// By the names of series: the folds they are in.
    folded: BTreeMap<String, Vec<u32>>,
    windows: BTreeSet<(String, Key)>,
}

impl Rules {
    /// The scenarios of `policy`, and `kept` ones that only end what runs under them.
    pub(crate) fn new(policy: Arc<Policy>, kept: Vec<Arc<Scenario>>) -> Self {
        let current = policy.scenarios.values().map(|s| Rule::new(Arc::clone(s), false));
        let list: Vec<Rule> = current.chain(kept.into_iter().map(|s| Rule::new(s, true))).collect();
        let mut rules = Self { list, policy: Some(policy), ..Self::default() };
        let mut list = std::mem::take(&mut rules.list);
        for (r, rule) in (0u32..).zip(&mut list) {
            for (s, slot) in (0u16..).zip(&rule.slots) {
                if let Slot::Fold(fold) = slot {
                    let number = rules.fold(Folding::new(fold, &rule.scenario.per));
                    rule.folds.push((usize::from(s), number));
                }
                if let Slot::Series(series)
                | Slot::Window(WindowRef { of: series, .. })
                | Slot::Fold(FoldRef {
                    of: Measure::Series(series) | Measure::Window(WindowRef { of: series, .. }),
                    ..
                }) = slot
                {
                    rules.names.entry(series.name.clone()).or_default().push((r, s));
                }
                if let Slot::Window(window) | Slot::Fold(FoldRef { of: Measure::Window(window), .. }) = slot {
                    rules.windows.insert((window.of.name.clone(), Key::of(window)));
                }
            }
        }
        rules.list = list;
        rules
    }

    fn fold(&mut self, folding: Folding) -> u32 {
        if let Some(known) = self.folds.iter().position(|other| *other == folding) {
            return known as u32;
        }
        let number = self.folds.len() as u32;
        self.folded.entry(folding.series().name.clone()).or_default().push(number);
        self.folds.push(folding);
        number
    }

    /// The folds that a series called `name` is in.
    pub(crate) fn folds_of(&self, name: &str) -> &[u32] {
        self.folded.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether anything looks back over a series called `name` in this way.
    pub(crate) fn look_back(&self, name: &str, key: Key) -> bool {
        self.windows.contains(&(name.to_owned(), key))
    }

    /// Scenarios about many servers that `policy` does not have with this text: a server that is evaluated by it says what
    /// it has to say to them all the same.
    pub(crate) fn many_but(&self, policy: &Policy) -> Vec<Arc<Scenario>> {
        let ours = self.list.iter().filter(|rule| rule.many.is_some() && !rule.retired).map(|rule| &rule.scenario);
        let same = |s: &&Arc<Scenario>| policy.scenarios.get(&s.name).is_none_or(|other| other.digest != s.digest);
        ours.filter(same).cloned().collect()
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
