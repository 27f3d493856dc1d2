//! What a scenario of scope `cluster` or `fleet` asks of each server: a *member* instance a label set on every server that
//! the scenario is about, with one value for each thing that is asked. Members tell the groups when a value changes;
//! what the servers say together is the groups' to know.

use std::ops::Range;

use skynet_model::condition::{Aggregate, Condition, ServersRef, Slot, TextTest, Truth};
use skynet_model::policy::{Scenario, Scope};
use skynet_model::series::Labels;

use super::dictionary::{Point, is_use_of};
use super::instance::{Instance, PROOF_SWEEPS};
use super::rule::{Part, Rule, part};
use super::server::Server;
use super::truth::Tick;
use super::{Pass, Rules};

/// Sweeps of each sensor until a member has proved what a group has to prove: the first may have begun before the end of the
/// step, for the clocks of two servers cannot be compared.
const TURNS: u8 = PROOF_SWEEPS + 1;

/// A condition over many servers and where its slots are.
#[derive(Debug)]
pub(crate) struct Lot {
    pub(crate) condition: Condition,
    pub(crate) slots: Range<usize>,
}

/// What fills a slot of a condition over many servers.
#[derive(Debug)]
pub(crate) enum Summed {
    /// An aggregate of one of the measures.
    Servers(Aggregate, usize),
    /// A comparison of a label's text.
    Text(TextTest),
    /// Nothing: the loader refuses it.
    Nothing,
}

/// The conditions of a scenario over many servers.
#[derive(Debug)]
pub(crate) struct Many {
    pub(crate) scope: Scope,
    pub(crate) slots: Vec<Summed>,
    pub(crate) when: Lot,
    pub(crate) clear: Option<Lot>,
    pub(crate) verify: Vec<Option<Lot>>,
    /// What is asked of each server.
    pub(crate) measures: Vec<Part>,
    /// Whether it has one instance a group, whatever series there are.
    pub(crate) single: bool,
}

impl Many {
    /// The conditions, the slots of what is asked of each server, and how many of those are of `when`.
    pub(super) fn new(scenario: &Scenario, when: &Condition) -> (Self, Vec<Slot>, usize) {
        let mut asked: Vec<ServersRef> = Vec::new();
        let (mut slots, mut summed, mut measures) = (Vec::new(), Vec::new(), Vec::new());
        let mut lot = |condition: &Condition| {
            let start = summed.len();
            for slot in condition.slots() {
                summed.push(match slot {
                    Slot::Servers(servers) => {
                        let known = asked.iter().position(|other| other.of == servers.of);
                        let measure = known.unwrap_or_else(|| {
                            asked.push(servers.clone());
                            measures.push(part(&servers.of, &mut slots));
                            asked.len() - 1
                        });
                        Summed::Servers(servers.function, measure)
                    }
                    Slot::Text(test) => Summed::Text(test.clone()),
                    Slot::Series(_) | Slot::Absent(_) | Slot::Window(_) | Slot::Fold(_) => Summed::Nothing,
                });
            }
            (Lot { condition: condition.clone(), slots: start..summed.len() }, slots.len())
        };
        let (when, joined) = lot(when);
        let clear = scenario.clear.as_ref().map(|condition| lot(condition).0);
        let verify = scenario.respond.iter().map(|step| step.verify.as_ref().map(|c| lot(c).0)).collect();
        let open = |slot: &Slot| slot.series().is_some_and(|series| series.open);
        let single = scenario.per.is_empty() && !slots.iter().take(joined).any(open);
        (Self { scope: scenario.scope, slots: summed, when, clear, verify, measures, single }, slots, joined)
    }

    /// The condition that proves a step; none: that `when` is over.
    pub(crate) fn proof(&self, step: usize) -> Option<&Lot> {
        self.verify.get(step).and_then(Option::as_ref)
    }
}

/// How many sweeps a member has made since it was asked to.
#[derive(Clone, Debug)]
pub(crate) struct Turns {
    sweeps: Vec<(u16, u8)>,
    seen: bool,
}

/// What a member says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Said {
    /// One value for each measure; NaN is unknown.
    pub(crate) values: Box<[f64]>,
    /// Whether it has the series of `when` with these labels.
    pub(crate) present: bool,
    pub(crate) connected: bool,
    /// Whether it has swept often enough since it was asked to.
    pub(crate) seen: bool,
}

impl Server {
    /// Evaluates a member, and says so when what it says has changed.
    pub(super) fn measure(
        &mut self,
        i: u32,
        instance: &mut Instance,
        rule: &Rule,
        pass: &mut Pass<'_>,
        tick: Option<Tick>,
    ) {
        let Some(many) = &rule.many else { return };
        if instance.measures.len() != many.measures.len() {
            instance.measures = vec![f64::NAN; many.measures.len()].into_boxed_slice();
            pass.found.stirred(i);
        }
        for (m, part) in many.measures.iter().enumerate() {
            let value = self.measured(i, instance, rule, part);
            let before = &mut instance.measures[m];
            if *before != value && !(before.is_nan() && value.is_nan()) {
                *before = value;
                pass.found.stirred(i);
            }
        }
        let Some(mut turns) = instance.turns.take() else { return };
        if let Some(tick) = tick {
            match turns.sweeps.iter_mut().find(|(sensor, _)| *sensor == tick.sensor) {
                Some((_, n)) => *n = n.saturating_add(1),
                None => turns.sweeps.push((tick.sensor, 1)),
            }
        }
        if !turns.seen && self.has_turned(&turns, instance, rule) {
            turns.seen = true;
            pass.found.stirred(i);
        }
        instance.turns = Some(turns);
    }

    /// One measure: unknown, with a series gone that counts as over by going, is false.
    fn measured(&mut self, i: u32, instance: &Instance, rule: &Rule, part: &Part) -> f64 {
        if !part.ephemerals.is_empty() || !part.absents.is_empty() {
            return match self.truth(i, instance, rule, part, Truth::False) {
                Truth::True => self.number(i, rule, part),
                Truth::False => 0.0,
                Truth::Unknown => f64::NAN,
            };
        }
        self.number(i, rule, part)
    }

    fn number(&self, i: u32, rule: &Rule, part: &Part) -> f64 {
        let values = self.board.values(i, rule.slots.len());
        part.condition.value(values.get(part.slots.clone()).unwrap_or(&[]))
    }

    /// Whether every sensor that is read has swept often enough. One that this server does not run is not waited for.
    fn has_turned(&self, turns: &Turns, instance: &Instance, rule: &Rule) -> bool {
        let of = |sensor: u16| turns.sweeps.iter().find(|(s, _)| *s == sensor).map_or(0, |(_, n)| *n);
        rule.slots.iter().enumerate().all(|(slot, asked)| {
            let Some(name) = asked.series().and_then(|series| series.sensor) else { return true };
            let bound = instance.bound.get(slot).copied().flatten();
            if let Some(sensor) = bound.and_then(|at| self.dictionary.point(at)).and_then(Point::sensor) {
                return of(sensor) >= TURNS;
            }
            let sensors = (0u16..).zip(&self.dictionary.sensors);
            let mut uses = sensors.filter(|(_, sensor)| is_use_of(&sensor.id, name)).peekable();
            match uses.peek() {
                Some(_) => uses.all(|(sensor, _)| of(sensor) >= TURNS),
                None => !self.declared.iter().any(|id| is_use_of(id, name)),
            }
        })
    }

    /// The member with these labels, made when there is none.
    pub(super) fn ask_member(&mut self, rule: u32, labels: &Labels, pass: &mut Pass<'_>) -> Option<u32> {
        let i = self.ensure(rule, labels.clone(), pass)?;
        self.evaluate(pass, None);
        Some(i)
    }

    /// What a member says now, with its rule and labels; none when it is no member.
    pub(super) fn said(&self, i: u32, rules: &Rules) -> Option<(u32, Labels, Said)> {
        let instance = self.instances.get(i)?;
        let rule = rules.get(instance.rule)?;
        rule.many.as_ref()?;
        let said = Said {
            values: instance.measures.clone(),
            present: rule.joined().all(|(slot, _)| instance.bound.get(slot).is_some_and(Option::is_some))
                && !self.lost_its_group(instance, rule, rules),
            connected: self.connected,
            seen: instance.turns.as_ref().is_some_and(|turns| turns.seen),
        };
        Some((instance.rule, instance.labels.clone(), said))
    }

    /// All members of this server.
    pub(super) fn all_said(&self, rules: &Rules) -> Vec<(u32, Labels, Said)> {
        let many = |rule: u32| rules.get(rule).is_some_and(|rule| rule.many.is_some());
        let members = self.instances.iter().filter(|(_, instance)| many(instance.rule));
        members.filter_map(|(i, _)| self.said(i, rules)).collect()
    }

    /// Counts a member's sweeps from now on.
    pub(super) fn count_turns(&mut self, i: u32, pass: &mut Pass<'_>) {
        let Some(instance) = self.instances.get_mut(i) else { return };
        instance.turns = Some(Box::new(Turns { sweeps: Vec::new(), seen: false }));
        if !self.watching.contains(&i) {
            self.watching.push(i);
        }
        self.soil(i);
        self.evaluate(pass, None);
    }

    /// A member's sweeps are counted no more.
    pub(super) fn stop_turns(&mut self, i: u32) {
        if let Some(instance) = self.instances.get_mut(i) {
            instance.turns = None;
            self.watching.retain(|w| *w != i);
        }
    }
}
