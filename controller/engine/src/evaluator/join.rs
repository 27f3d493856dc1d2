//! Instances: the natural join of the series in `when` on the labels they share, and what fills their slots.

use std::collections::BTreeSet;

use skynet_model::condition::{SeriesRef, Slot, Truth, WindowRef};
use skynet_model::series::Labels;

use super::instance::Instance;
use super::rule::{Folding, Rule, Rules};
use super::server::Server;
use super::window::Key;
use super::{Pass, Signal};
use crate::timers::Timer;

/// Most instances of one scenario on one server.
pub(crate) const MAX_INSTANCES: u32 = 10_000;

/// Both label sets as one; none when they disagree on a shared label.
fn merge(a: &Labels, b: &Labels) -> Option<Labels> {
    if b.iter().all(|(n, v)| a.get(n) == Some(v)) {
        return Some(a.clone());
    }
    if b.iter().any(|(n, v)| a.get(n).is_some_and(|own| own != v)) {
        return None;
    }
    Some(Labels::new(a.iter().chain(b.iter())))
}

/// What brings labels to the instances of a rule.
#[derive(Clone, Copy, Debug)]
enum Source<'a> {
    /// A series, with all of them.
    Series(&'a SeriesRef),
    /// A fold, with those its groups are told apart by.
    Fold(&'a Folding),
}

/// What brings labels to a rule's instances, by slot of `when`; series first.
fn sources<'a>(rule: &'a Rule, rules: &'a Rules) -> Vec<(usize, Source<'a>)> {
    let folds = rule.folds.iter().filter(|(slot, _)| rule.when.slots.contains(slot));
    let folds = folds.filter_map(|(slot, number)| Some((*slot, rules.folds.get(*number as usize)?)));
    let grouped = folds.filter(|(_, folding)| !folding.names.is_empty());
    let series = rule.joined().map(|(slot, series)| (slot, Source::Series(series)));
    series.chain(grouped.map(|(slot, folding)| (slot, Source::Fold(folding)))).collect()
}

/// The labels a member brings for its fold; none when it cannot say which group it is in.
fn picked(folding: &Folding, rest: &Labels, have: &Labels) -> Option<Labels> {
    let known = |name: &String| rest.get(name).is_some() || have.get(name).is_some();
    folding.names.iter().all(known).then(|| folding.group(rest))
}

impl Server {
    /// Label sets on which `labels` joins with each of `todo`.
    fn join(&self, todo: &[(usize, Source<'_>)], labels: Labels, found: &mut Vec<Labels>) {
        if found.len() > MAX_INSTANCES as usize {
            return;
        }
        let Some(((_, source), todo)) = todo.split_first() else {
            found.push(labels);
            return;
        };
        match source {
            Source::Series(wanted) => {
                if !wanted.open && wanted.labels.iter().all(|name| labels.get(name).is_some()) {
                    if self.dictionary.find(wanted, &labels).is_some() {
                        self.join(todo, labels, found);
                    }
                    return;
                }
                for at in self.dictionary.named(&wanted.name) {
                    if let Some(joined) = self.dictionary.rest(*at, wanted).and_then(|rest| merge(&labels, &rest)) {
                        self.join(todo, joined, found);
                    }
                }
            }
            Source::Fold(folding) => {
                // A group that others name needs no members: nothing of it is there, and that is known.
                if folding.names.iter().all(|name| labels.get(name).is_some()) {
                    self.join(todo, labels, found);
                    return;
                }
                let wanted = folding.series();
                let mut groups = BTreeSet::new();
                for at in self.dictionary.named(&wanted.name) {
                    let rest = self.dictionary.rest(*at, wanted);
                    let group = rest.and_then(|rest| picked(folding, &rest, &labels));
                    groups.extend(group.and_then(|group| merge(&labels, &group)));
                }
                for joined in groups {
                    self.join(todo, joined, found);
                }
            }
        }
    }

    /// Makes all instances that the series known so far give.
    pub(super) fn join_all(&mut self, pass: &mut Pass<'_>) {
        let rules = pass.rules;
        for (number, rule) in rules.list.iter().enumerate() {
            let number = number as u32;
            if self.is_about(number) && !rule.asked {
                self.join_from(number, rule, &sources(rule, rules), Labels::default(), pass);
                if rule.many.as_ref().is_some_and(|many| many.single) {
                    self.ensure(number, Labels::default(), pass);
                }
            }
        }
    }

    /// Makes the instances on which `labels` joins with each of `todo`.
    fn join_from(
        &mut self,
        number: u32,
        rule: &Rule,
        todo: &[(usize, Source<'_>)],
        labels: Labels,
        pass: &mut Pass<'_>,
    ) {
        let mut found = Vec::new();
        self.join(todo, labels, &mut found);
        found.retain(|labels| self.may_hold(rule, labels));
        for labels in found {
            self.ensure(number, labels, pass);
        }
    }

    /// Whether `when` can ever be true on these labels. What their texts alone make false stays false whatever is read
    /// (Kleene's connectives are monotone), so that no reading has to pay for it.
    fn may_hold(&self, rule: &Rule, labels: &Labels) -> bool {
        let slots = rule.slots.get(rule.when.slots.clone()).unwrap_or(&[]);
        // A member says so when it is false.
        if rule.many.is_some() || !slots.iter().any(|slot| matches!(slot, Slot::Text(_))) {
            return true;
        }
        let values: Vec<f64> = slots.iter().map(|slot| self.text(slot, labels).unwrap_or(f64::NAN)).collect();
        rule.when.condition.eval(&values) != Truth::False
    }

    /// The value of a slot that tests a label: 1 or 0.
    pub(super) fn text(&self, slot: &Slot, labels: &Labels) -> Option<f64> {
        let Slot::Text(test) = slot else { return None };
        let from = if test.of_server { &self.labels } else { labels };
        let equal = from.get(&test.label).unwrap_or_default() == test.text;
        Some(f64::from(u8::from(equal != test.negated)))
    }

    /// Takes a new series into the slots and folds that waited for it, and makes the instances it gives.
    pub(super) fn join_series(&mut self, at: u32, pass: &mut Pass<'_>) {
        let rules = pass.rules;
        let Some(name) = self.dictionary.series.get(at).map(|s| s.key.name.clone()) else { return };
        self.join_folds(at, &name, rules);
        for (number, slot) in rules.uses(&name).iter().copied() {
            let Some(rule) = rules.get(number) else { continue };
            let slot = usize::from(slot);
            let Some(wanted) = rule.series(slot) else { continue };
            let Some(rest) = self.dictionary.rest(at, wanted) else { continue };
            let fold = rule.fold(slot).and_then(|fold| rules.folds.get(fold as usize));
            if fold.is_none() {
                self.fill_waiting(at, number, rule, slot, wanted);
            }
            if !self.is_about(number) || !rule.when.slots.contains(&slot) {
                continue;
            }
            let mut todo = sources(rule, rules);
            let labels = match fold {
                None => Some(rest),
                // Its groups are there, or are made by what brings other labels.
                Some(folding) if folding.names.is_empty() => continue,
                Some(folding) => folding.group_of(&rest),
            };
            let labels = match labels {
                Some(labels) => {
                    todo.retain(|(other, _)| *other != slot);
                    labels
                }
                // Others have to say the rest of its group first.
                None => Labels::default(),
            };
            self.join_from(number, rule, &todo, labels, pass);
        }
    }

    fn fill_waiting(&mut self, at: u32, number: u32, rule: &Rule, slot: usize, wanted: &SeriesRef) {
        let waits = |i: &Instance| i.rule == number && i.bound.get(slot) == Some(&None);
        let of_rule = self.loose.iter().copied().filter(|i| self.instances.get(*i).is_some_and(|i| waits(i)));
        let fits =
            |i: &u32| self.instances.get(*i).is_some_and(|i| self.dictionary.find(wanted, &i.labels) == Some(at));
        let list: Vec<u32> = of_rule.filter(fits).collect();
        for i in list {
            self.bind(i, rule, slot, at);
            self.tighten(i, rule);
        }
    }

    /// An instance may have found what it waited for.
    pub(super) fn tighten(&mut self, i: u32, rule: &Rule) {
        if self.instances.get(i).is_some_and(|instance| !self.is_loose(instance, rule))
            && let Some(head) = self.board.head_mut(i)
        {
            head.loose = false;
            self.loose.remove(&i);
        }
    }

    /// An instance waits for something.
    pub(super) fn slacken(&mut self, i: u32) {
        if let Some(head) = self.board.head_mut(i) {
            head.loose = true;
            self.loose.insert(i);
        }
    }

    /// Lets a series fill a slot, itself or through a window.
    fn bind(&mut self, i: u32, rule: &Rule, slot: usize, at: u32) {
        let Some(instance) = self.instances.get_mut(i) else { return };
        instance.bound[slot] = Some(at);
        if let Some(Slot::Window(window)) = rule.slots.get(slot) {
            self.bind_window(i, slot, at, Key::of(window));
        } else if let Some(point) = self.dictionary.point_mut(at) {
            self.board.link(&mut point.users, i, slot);
            self.board.set(i, slot, point.value);
        }
        self.board.soil(i, &mut self.dirty);
    }

    /// The instance with these labels, made when there is none. None when there are too many.
    pub(super) fn ensure(&mut self, number: u32, labels: Labels, pass: &mut Pass<'_>) -> Option<u32> {
        if let Some(i) = self.by_labels.get(&(number, labels.clone())) {
            return Some(*i);
        }
        let rule = pass.rules.get(number)?;
        let count = self.counts.entry(number).or_default();
        if *count >= MAX_INSTANCES {
            if self.capped.insert(number) {
                let scenario = rule.scenario.name.clone();
                pass.found.capped(Signal::InstancesCapped { server: self.id.clone(), scenario });
            }
            return None;
        }
        *count += 1;
        let i = self.instances.insert(Box::new(Instance::new(number, labels.clone(), rule.slots.len())));
        self.board.open(i, number, rule.slots.len());
        self.board.soil(i, &mut self.dirty);
        for (index, slot) in rule.slots.iter().enumerate() {
            if let Some(value) = self.text(slot, &labels) {
                self.board.set(i, index, value);
            }
        }
        self.by_labels.insert((number, labels.clone()), i);
        for (index, slot) in rule.slots.iter().enumerate() {
            if let Slot::Series(wanted) | Slot::Window(WindowRef { of: wanted, .. }) = slot
                && let Some(at) = self.dictionary.find(wanted, &labels)
            {
                self.bind(i, rule, index, at);
            }
        }
        for (slot, fold) in &rule.folds {
            self.bind_fold(i, *slot, *fold, pass.rules);
        }
        if self.instances.get(i).is_some_and(|instance| self.is_loose(instance, rule)) {
            self.slacken(i);
        }
        Some(i)
    }

    /// Whether an instance's truth may change without a reading: a slot waits for its series or for members of its group, or
    /// asks whether one is absent.
    fn is_loose(&self, instance: &Instance, rule: &Rule) -> bool {
        let waits = |(slot, bound): (&Slot, &Option<u32>)| match slot {
            Slot::Series(_) | Slot::Window(_) => bound.is_none(),
            Slot::Absent(_) => true,
            Slot::Text(_) | Slot::Fold(_) | Slot::Servers(_) => false,
        };
        rule.slots.iter().zip(&instance.bound).any(waits) || instance.groups.iter().any(|group| self.is_empty(*group))
    }

    /// Whether labels of an instance came from a group that has no members any more.
    pub(super) fn lost_its_group(&self, instance: &Instance, rule: &Rule, rules: &Rules) -> bool {
        let brought = |name: &String| rule.joined().any(|(_, series)| series.open || series.labels.contains(name));
        rule.folds.iter().zip(&instance.groups).any(|((slot, fold), group)| {
            let names = rules.folds.get(*fold as usize).map_or(&[][..], |folding| &folding.names);
            rule.when.slots.contains(slot) && !names.iter().all(brought) && self.is_empty(*group)
        })
    }

    /// Forgets an instance that nothing is lost with, once a series of its `when` is no more.
    pub(super) fn tidy(&mut self, i: u32, pass: &mut Pass<'_>) {
        let Some(instance) = self.instances.get(i) else { return };
        let Some(rule) = pass.rules.get(instance.rule) else { return };
        let broken = rule.asked
            || !self.is_about(instance.rule)
            || rule.joined().any(|(slot, _)| instance.bound.get(slot) == Some(&None))
            || self.lost_its_group(instance, rule, pass.rules);
        if broken && instance.is_idle() {
            self.drop_instance(i, pass);
        }
    }

    pub(super) fn drop_instance(&mut self, i: u32, pass: &mut Pass<'_>) {
        let Some(instance) = self.instances.remove(i) else { return };
        for at in instance.bound.iter().flatten() {
            if let Some(point) = self.dictionary.point_mut(*at) {
                self.board.unlink(&mut point.users, i);
            }
            self.unbind_windows(i, *at);
        }
        for group in &instance.groups {
            self.unbind_fold(i, *group);
        }
        self.board.close(i, instance.bound.len());
        if let Some(count) = self.counts.get_mut(&instance.rule) {
            *count = count.saturating_sub(1);
        }
        self.by_labels.remove(&(instance.rule, instance.labels));
        self.loose.remove(&i);
        self.watching.retain(|w| *w != i);
        if instance.due.is_some() {
            pass.found.timer(Timer::Instance { server: self.number, instance: i }, None);
        }
    }
}

/// Whether the rules are about a server with these labels, by rule.
pub(super) fn applying(rules: &Rules, labels: &Labels) -> Vec<bool> {
    let Some(policy) = &rules.policy else { return Vec::new() };
    rules.list.iter().map(|rule| !rule.retired && policy.applies(&rule.scenario, labels)).collect()
}
