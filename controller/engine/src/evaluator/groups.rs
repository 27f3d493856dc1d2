//! Many servers as one: the clusters' and the fleet's side of scenarios that ask many servers. A group is one scenario on
//! one cluster (or the fleet) and one label set; it keeps what its members say and how its conditions stand.
//!
//! It hears of a member only when what the member says has changed; a reading that changes no answer never comes here.

mod gather;
mod sites;
mod tally;

use std::collections::{BTreeMap, BTreeSet};

use skynet_model::condition::{Condition, Truth};
use skynet_model::incident::Subject;
use skynet_model::name::{IncidentId, ScenarioName};
use skynet_model::policy::Scope;
use skynet_model::series::Labels;
use skynet_model::time::{Span, Timestamp};

use super::held::Held;
use super::many::{Lot, Many, Said, Summed};
use super::rule::Rule;
use super::slab::Slab;
use super::truth::not;
use super::{Rules, Signal};
use crate::timers::{Timer, Timers};
use tally::Tally;

/// Most label sets of one scenario on one cluster.
const MAX_SETS: usize = 1000;
/// Most members of all label sets of one scenario on one cluster.
const MAX_MEMBERS: usize = 200_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    list: Slab<Group>,
    /// By rule and cluster (or fleet), then by labels.
    index: BTreeMap<(u32, String), BTreeMap<Labels, u32>>,
    /// The groups each server is in.
    of_server: BTreeMap<u32, BTreeSet<u32>>,
    /// Groups to be evaluated.
    dirty: BTreeSet<u32>,
    /// The cluster of each server, and back.
    cluster_of: BTreeMap<u32, String>,
    clusters: BTreeMap<String, BTreeSet<u32>>,
    /// Servers that do not count at present: they are worked on.
    excluded: BTreeSet<u32>,
    /// What outlives the groups when they are made anew.
    kept: BTreeMap<Trouble, Kept>,
    /// Where it was said that label sets found no room.
    capped: BTreeSet<(u32, String)>,
}

/// What makes two groups the same: scenario, its text, the cluster's name, the labels.
type Trouble = (ScenarioName, String, String, Labels);

/// See [`Groups::kept`].
#[derive(Clone, Debug)]
struct Kept {
    held: Held,
    settle: Held,
    incident: Option<IncidentId>,
}

/// One group.
#[derive(Debug)]
struct Group {
    rule: u32,
    /// The cluster's name, or the fleet's.
    name: String,
    labels: Labels,
    members: BTreeMap<u32, Said>,
    /// One for each measure.
    tallies: Vec<Tally>,
    /// How many members have the series of `when` with these labels.
    present: usize,
    when: Truth,
    clear: Truth,
    held: Held,
    settle: Held,
    incident: Option<IncidentId>,
    watch: Option<Vigil>,
    due: Option<Timestamp>,
    /// Its cluster is no more: its incident has to hear of it.
    orphaned: bool,
}

/// A proof that is awaited of a group.
#[derive(Clone, Debug)]
struct Vigil {
    step: usize,
    need: Span,
    since: Option<Timestamp>,
    truth: Truth,
    proved: bool,
}

impl Group {
    fn new(rule: u32, name: &str, labels: &Labels, measures: usize) -> Self {
        Self {
            rule,
            name: name.to_owned(),
            labels: labels.clone(),
            members: BTreeMap::new(),
            tallies: vec![Tally::default(); measures],
            present: 0,
            when: Truth::Unknown,
            clear: Truth::Unknown,
            held: Held::default(),
            settle: Held::default(),
            incident: None,
            watch: None,
            due: None,
            orphaned: false,
        }
    }

    /// Whether nothing is lost when it goes.
    fn is_idle(&self) -> bool {
        self.incident.is_none() && self.held.first().is_none()
    }

    /// Takes what a member says; whether that is new.
    fn take(&mut self, server: u32, said: Said) -> bool {
        let before = self.members.get(&server);
        if before.is_some_and(|before| before.is_same(&said)) {
            return false;
        }
        self.leave(server);
        for (tally, value) in self.tallies.iter_mut().zip(&said.values) {
            tally.add(*value);
        }
        self.present += usize::from(said.present);
        self.members.insert(server, said);
        true
    }

    /// A server is no member any more.
    fn leave(&mut self, server: u32) -> bool {
        let Some(before) = self.members.remove(&server) else { return false };
        for (tally, value) in self.tallies.iter_mut().zip(&before.values) {
            tally.remove(*value);
        }
        self.present -= usize::from(before.present);
        true
    }

    /// Whether every connected member has swept often enough.
    fn has_seen(&self) -> bool {
        self.members.values().all(|said| said.seen || !said.connected)
    }

    /// What fills the slots of a condition.
    fn bounds(&self, many: &Many, lot: &Lot) -> Vec<(f64, f64)> {
        let slots = many.slots.get(lot.slots.clone()).unwrap_or(&[]);
        let of = |slot: &Summed| match slot {
            Summed::Servers(aggregate, measure) => {
                self.tallies.get(*measure).map_or((f64::NAN, f64::NAN), |tally| tally.bounds(*aggregate))
            }
            Summed::Text(test) => {
                let value = test.value(self.labels.get(&test.label).unwrap_or_default());
                (value, value)
            }
            Summed::Nothing => (f64::NAN, f64::NAN),
        };
        slots.iter().map(of).collect()
    }

    fn truth(&self, many: &Many, lot: &Lot) -> Truth {
        lot.condition.eval_between(&self.bounds(many, lot))
    }

    fn subject(&self, scope: Scope) -> Subject {
        match scope {
            Scope::Fleet => Subject::Fleet(self.name.clone()),
            Scope::Server | Scope::Cluster => Subject::Cluster(self.name.clone()),
        }
    }

    /// Evaluates the conditions. Says whether the members' sweeps have to be counted anew.
    fn evaluate(
        &mut self,
        number: u32,
        rule: &Rule,
        now: Timestamp,
        found: &mut Vec<Signal>,
        timers: &mut Timers,
    ) -> bool {
        let Some(many) = &rule.many else { return false };
        let before = (self.when, self.clear);
        self.when = self.truth(many, &many.when);
        let mut anew = false;
        let due = match self.incident.clone() {
            None if rule.retired => None,
            None => {
                let need = rule.scenario.hold;
                self.held.update(now, self.when, need);
                if self.held.reached(need) {
                    found.push(Signal::Together { group: number });
                }
                self.held.due(need)
            }
            Some(incident) => {
                // What still fires is not over, whatever `clear` says.
                self.clear = match (&many.clear, self.when) {
                    (None, when) => not(when),
                    (Some(_), Truth::True) => Truth::False,
                    (Some(lot), Truth::False | Truth::Unknown) => self.truth(many, lot),
                };
                let need = rule.scenario.settle;
                let was_settled = self.settle.reached(need);
                self.settle.update(now, self.clear, need);
                let settled = self.settle.reached(need);
                let (proved, again, proof_due) = self.prove(many, now);
                anew = again;
                let orphaned = std::mem::take(&mut self.orphaned);
                if orphaned || proved || settled != was_settled || before != (self.when, self.clear) {
                    found.push(Signal::Moved(incident));
                }
                [self.settle.due(need), proof_due].into_iter().flatten().min()
            }
        };
        if self.due != due {
            self.due = due;
            timers.set(Timer::Group { group: number }, due);
        }
        anew
    }

    /// Moves the proof that is awaited. Says whether it has just been completed, whether it has just begun, and when to look
    /// again.
    fn prove(&mut self, many: &Many, now: Timestamp) -> (bool, bool, Option<Timestamp>) {
        let Some(mut watch) = self.watch.take() else { return (false, false, None) };
        watch.truth = match many.proof(watch.step) {
            Some(own) => self.truth(many, own),
            None => self.clear,
        };
        let mut outcome = (false, false, None);
        if watch.truth == Truth::True {
            let begins = watch.since.is_none();
            let since = *watch.since.get_or_insert(now);
            let seen = self.has_seen() && !begins;
            let was = watch.proved;
            watch.proved = seen && now.since(since) >= watch.need;
            let due = (seen && !watch.proved).then(|| since.plus(watch.need));
            outcome = (watch.proved && !was, begins, due);
        } else {
            watch.since = None;
            watch.proved = false;
        }
        self.watch = Some(watch);
        outcome
    }
}

impl Said {
    fn is_same(&self, other: &Self) -> bool {
        let same = |(a, b): (&f64, &f64)| a == b || (a.is_nan() && b.is_nan());
        (self.present, self.connected, self.seen) == (other.present, other.connected, other.seen)
            && self.values.len() == other.values.len()
            && self.values.iter().zip(&other.values).all(same)
    }
}

impl Groups {
    /// A server's cluster became known, or changed.
    pub(super) fn place(&mut self, server: u32, cluster: &str) {
        if let Some(before) = self.cluster_of.insert(server, cluster.to_owned())
            && let Some(servers) = self.clusters.get_mut(&before)
        {
            servers.remove(&server);
            if servers.is_empty() {
                self.clusters.remove(&before);
                let of_cluster = self.index.iter().filter(|((_, name), _)| *name == before);
                for group in of_cluster.flat_map(|(_, sets)| sets.values().copied()).collect::<Vec<_>>() {
                    if let Some(of) = self.list.get_mut(group) {
                        of.orphaned = true;
                        self.dirty.insert(group);
                    }
                }
            }
        }
        self.clusters.entry(cluster.to_owned()).or_default().insert(server);
    }

    /// Time has passed for a group.
    pub(crate) fn look_again(&mut self, group: u32) {
        if let Some(of) = self.list.get_mut(group) {
            of.due = None;
            self.dirty.insert(group);
        }
    }

    /// Forgets all groups, but not what `for`, `settle` and incidents have come to.
    pub(super) fn clear(&mut self, rules: &Rules, timers: &mut Timers) {
        for (number, group) in self.list.iter() {
            timers.set(Timer::Group { group: number }, None);
            if let Some(rule) = rules.get(group.rule).filter(|_| !group.is_idle()) {
                let kept = Kept { held: group.held, settle: group.settle, incident: group.incident.clone() };
                self.kept.insert(trouble(rule, &group.name, &group.labels), kept);
            }
        }
        self.list = Slab::default();
        self.index.clear();
        self.of_server.clear();
        self.dirty.clear();
        self.capped.clear();
    }

    fn find(&self, rule: u32, name: &str, labels: &Labels) -> Option<u32> {
        self.index.get(&(rule, name.to_owned()))?.get(labels).copied()
    }

    /// The group, made without members when there is none; says whether it was. None when there are too many.
    fn open(&mut self, number: u32, rule: &Rule, name: &str, labels: &Labels) -> Option<(u32, bool)> {
        if let Some(group) = self.find(number, name, labels) {
            return Some((group, false));
        }
        let measures = rule.many.as_ref()?.measures.len();
        let mut group = Group::new(number, name, labels, measures);
        if let Some(kept) = self.kept.remove(&trouble(rule, name, labels)) {
            (group.held, group.settle, group.incident) = (kept.held, kept.settle, kept.incident);
        }
        let at = self.list.insert(group);
        self.index.entry((number, name.to_owned())).or_default().insert(labels.clone(), at);
        self.dirty.insert(at);
        Some((at, true))
    }

    /// Whether one more label set has room.
    fn has_room(&self, rule: u32, name: &str, members: usize) -> bool {
        let sets = self.index.get(&(rule, name.to_owned())).map_or(0, BTreeMap::len);
        sets < MAX_SETS && sets * members < MAX_MEMBERS
    }

    fn take(&mut self, group: u32, server: u32, said: Said) {
        let Some(of) = self.list.get_mut(group) else { return };
        if of.take(server, said) {
            self.dirty.insert(group);
        }
        self.of_server.entry(server).or_default().insert(group);
    }

    fn leave(&mut self, group: u32, server: u32) {
        if self.list.get_mut(group).is_some_and(|of| of.leave(server)) {
            self.dirty.insert(group);
        }
        if let Some(groups) = self.of_server.get_mut(&server) {
            groups.remove(&group);
        }
    }

    /// Forgets a group; gives what is to be forgotten on which servers.
    fn close(&mut self, group: u32, timers: &mut Timers) -> Option<(u32, Labels, Vec<u32>)> {
        let of = self.list.remove(group)?;
        timers.set(Timer::Group { group }, None);
        self.dirty.remove(&group);
        let key = (of.rule, of.name);
        if let Some(sets) = self.index.get_mut(&key) {
            sets.remove(&of.labels);
            if sets.is_empty() {
                self.index.remove(&key);
            }
        }
        let members: Vec<u32> = of.members.into_keys().collect();
        for server in &members {
            if let Some(groups) = self.of_server.get_mut(server) {
                groups.remove(&group);
            }
        }
        Some((of.rule, of.labels, members))
    }
}

fn trouble(rule: &Rule, name: &str, labels: &Labels) -> Trouble {
    (rule.scenario.name.clone(), rule.scenario.digest.clone(), name.to_owned(), labels.clone())
}

/// How an aggregate is shown among readings: `servers.share`.
fn shown(aggregate: skynet_model::condition::Aggregate) -> &'static str {
    use skynet_model::condition::Aggregate;
    match aggregate {
        Aggregate::Count => "servers.count",
        Aggregate::Share => "servers.share",
        Aggregate::Avg => "servers.avg",
        Aggregate::Sum => "servers.sum",
        Aggregate::Min => "servers.min",
        Aggregate::Max => "servers.max",
    }
}

/// The text of what is asked, short enough for a label.
fn asked(condition: &Condition) -> String {
    condition.source().chars().take(60).collect()
}
