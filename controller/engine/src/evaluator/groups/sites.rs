//! Incidents of clusters and of the fleet: where they are evaluated, and what is to be said of them.

use std::sync::Arc;

use skynet_model::condition::{Condition, Slot, Truth};
use skynet_model::incident::{Incident, Subject};
use skynet_model::policy::Scenario;
use skynet_model::series::{Reading, SeriesKey};
use skynet_model::time::{Span, Timestamp};

use super::super::many::Summed;
use super::super::{Evaluator, Firing, Look, lock};
use super::{Group, Vigil, asked, shown};
use crate::timers::Timers;

/// Most servers that are named among an incident's readings.
const SHOWN: usize = 16;

impl Evaluator {
    fn group(&self, number: u32) -> Option<(&Group, &super::super::rule::Rule)> {
        let group = self.groups.list.get(number)?;
        Some((group, self.rules.get(group.rule)?))
    }

    /// The group that stands for an incident.
    pub(crate) fn group_site(&self, rule: u32, incident: &Incident) -> Option<u32> {
        self.groups.find(rule, incident.subject.name(), &incident.labels)
    }

    /// Lets a group stand for a live incident, made when there is none. Says whether that can be.
    pub(crate) fn attach_group(&mut self, incident: &Incident, now: Timestamp, timers: &mut Timers) -> bool {
        let Some(rule) = self.rules.find(&incident.scenario, &incident.digest) else { return false };
        let name = incident.subject.name();
        let Some(number) = self.ensure_group(rule, name, &incident.labels, now, timers) else { return false };
        if let Some(group) = self.groups.list.get_mut(number) {
            group.incident = Some(incident.id.clone());
            self.groups.dirty.insert(number);
        }
        self.gather(now, timers);
        true
    }

    /// The scenario of a group.
    pub(crate) fn group_scenario(&self, number: u32) -> Option<Arc<Scenario>> {
        self.group(number).map(|(_, rule)| Arc::clone(&rule.scenario))
    }

    /// How the conditions of a group stand.
    pub(crate) fn group_look(&self, number: u32) -> Option<Look> {
        let (group, rule) = self.group(number)?;
        let is_there = match &group.subject(rule.many.as_ref()?.scope) {
            Subject::Cluster(name) => self.groups.clusters.contains_key(name),
            Subject::Fleet(_) | Subject::Server(_) | Subject::Request(_) => true,
        };
        Some(Look {
            when: group.when,
            clear: group.clear,
            settled: group.settle.reached(rule.scenario.settle),
            current: !rule.retired && is_there,
        })
    }

    /// What a group that fires is about; none while its incident lives.
    pub(crate) fn group_firing(&self, number: u32) -> Option<Firing> {
        let (group, rule) = self.group(number)?;
        if group.incident.is_some() {
            return None;
        }
        let many = rule.many.as_ref()?;
        let (low, high) = group.bounds(many, &many.when).first().copied()?;
        Some(Firing {
            subject: group.subject(many.scope),
            scenario: Arc::clone(&rule.scenario),
            labels: group.labels.clone(),
            since: group.held.first()?,
            readings: self.group_readings(number),
            value: (low == high).then_some(low),
        })
    }

    /// Whether a group still fires.
    pub(crate) fn group_fires(&self, number: u32) -> bool {
        let fires = |(group, rule): (&Group, &super::super::rule::Rule)| {
            group.incident.is_none() && group.held.reached(rule.scenario.hold)
        };
        self.group(number).is_some_and(fires)
    }

    /// Groups whose `when` holds and whose `for` has not passed.
    pub(crate) fn pending_groups(&self) -> Vec<Firing> {
        self.groups.list.iter().filter_map(|(number, _)| self.group_firing(number)).collect()
    }

    /// The aggregates of `when` as they are, and for which servers what is counted holds.
    pub(crate) fn group_readings(&self, number: u32) -> Vec<Reading> {
        let Some((group, rule)) = self.group(number) else { return Vec::new() };
        let (Some(many), Some(when)) = (&rule.many, &rule.scenario.when) else { return Vec::new() };
        let slots = many.slots.get(many.when.slots.clone()).unwrap_or(&[]);
        let mut readings = Vec::new();
        for ((slot, (low, high)), source) in slots.iter().zip(group.bounds(many, &many.when)).zip(sources(when)) {
            let (Summed::Servers(aggregate, measure), Some(source)) = (slot, source) else { continue };
            let name = shown(*aggregate);
            let mut say = |labels: &[(&str, &str)], value: f64| {
                readings.push(Reading {
                    series: SeriesKey::new(name, labels.iter().copied()),
                    value,
                    time: self.heard,
                });
            };
            if low == high {
                say(&[("of", &source)], low);
            } else if !low.is_nan() {
                say(&[("of", &source), ("at", "least")], low);
                say(&[("of", &source), ("at", "most")], high);
            }
            let counted = aggregate.counts();
            let telling = group.members.iter().filter_map(|(server, said)| {
                let value = said.values.get(*measure).copied().filter(|v| !v.is_nan() && (!counted || *v != 0.0))?;
                Some((self.cell(*server).map(|cell| lock(cell).server.id.clone())?, value))
            });
            for (server, value) in telling.take(SHOWN) {
                say(&[("of", &source), ("server", server.as_str())], value);
            }
        }
        readings
    }

    /// Awaits a proof of a group; one that is awaited already goes on. How far it is.
    pub(crate) fn watch_group(
        &mut self,
        number: u32,
        step: usize,
        need: Span,
        now: Timestamp,
        timers: &mut Timers,
    ) -> (bool, Truth) {
        let Some(group) = self.groups.list.get_mut(number) else { return (false, Truth::Unknown) };
        if group.watch.as_ref().is_none_or(|watch| watch.step != step) {
            group.watch = Some(Vigil { step, need, since: None, truth: group.clear, proved: false });
            self.groups.dirty.insert(number);
            self.gather(now, timers);
        }
        let watch = self.groups.list.get(number).and_then(|group| group.watch.as_ref());
        watch.map_or((false, Truth::Unknown), |watch| (watch.proved, watch.truth))
    }

    /// No proof is awaited any more.
    pub(crate) fn unwatch_group(&mut self, number: u32, now: Timestamp, timers: &mut Timers) {
        let Some(group) = self.groups.list.get_mut(number) else { return };
        if group.watch.take().is_none() {
            return;
        }
        let (rule, labels) = (group.rule, group.labels.clone());
        for server in group.members.keys().copied().collect::<Vec<_>>() {
            self.with_member(server, rule, &labels, now, timers, |server, i, _| server.stop_turns(i));
        }
    }

    /// The incident has ended: its group may fire again, and so may one of the scenario's new text.
    pub(crate) fn release_group(&mut self, of: &Incident, now: Timestamp, timers: &mut Timers) {
        let name = of.subject.name();
        let numbers: Vec<u32> = (0u32..)
            .zip(&self.rules.list)
            .filter(|(_, rule)| rule.scenario.name == of.scenario)
            .filter_map(|(rule, _)| self.groups.find(rule, name, &of.labels))
            .collect();
        for number in numbers {
            self.unwatch_group(number, now, timers);
            let Some(group) = self.groups.list.get_mut(number) else { continue };
            if group.incident.as_ref() == Some(&of.id) {
                group.incident = None;
                group.held = super::Held::default();
                group.settle = super::Held::default();
            }
            self.groups.dirty.insert(number);
        }
    }

    /// Groups that were there before the rules changed and have something to lose, are there again.
    pub(crate) fn restore_groups(&mut self, now: Timestamp, timers: &mut Timers) {
        self.gather(now, timers);
        for (scenario, digest, name, labels) in self.groups.kept.keys().cloned().collect::<Vec<_>>() {
            if let Some(rule) = self.rules.find(&scenario, &digest) {
                self.ensure_group(rule, &name, &labels, now, timers);
            }
        }
        self.groups.kept.clear();
        self.gather(now, timers);
    }
}

/// What is asked by each aggregate of a condition, by slot.
fn sources(condition: &Condition) -> impl Iterator<Item = Option<String>> + '_ {
    condition.slots().iter().map(|slot| match slot {
        Slot::Servers(servers) => Some(asked(&servers.of)),
        Slot::Series(_) | Slot::Absent(_) | Slot::Text(_) | Slot::Window(_) | Slot::Fold(_) => None,
    })
}
