//! How conditions stand: Kleene's three values, and what gone and absent make of them.

use skynet_model::condition::{SeriesRef, Slot, Truth};
use skynet_model::series::Labels;
use skynet_model::time::Timestamp;

use super::dictionary::{Point, Sight, is_use_of};
use super::instance::{Instance, PROOF_SWEEPS, Watch};
use super::rule::{Part, Rule};
use super::server::Server;
use super::{Pass, Signal};
use crate::timers::Timer;

/// A complete sweep that has just been taken in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tick {
    pub(super) sensor: u16,
    pub(super) started: Timestamp,
    pub(super) started_boot_ms: i64,
}

pub(super) fn not(truth: Truth) -> Truth {
    match truth {
        Truth::True => Truth::False,
        Truth::False => Truth::True,
        Truth::Unknown => Truth::Unknown,
    }
}

impl Server {
    /// Evaluates the instances whose slots have changed, and those whose proof awaits this sweep.
    pub(super) fn evaluate(&mut self, pass: &mut Pass<'_>, tick: Option<Tick>) {
        self.reckon(pass.rules);
        if self.derived.capped && !std::mem::replace(&mut self.windows_capped, true) {
            pass.found.capped(Signal::WindowsCapped { server: self.id.clone() });
        }
        if tick.is_some() {
            for w in 0..self.watching.len() {
                self.soil(self.watching[w]);
            }
        }
        while !self.dirty.is_empty() {
            let mut list = std::mem::take(&mut self.dirty);
            for i in list.drain(..) {
                if let Some(mut instance) = self.instances.take(i) {
                    let over = self.evaluate_one(i, &mut instance, pass, tick);
                    self.instances.put(i, instance);
                    if over {
                        self.tidy(i, pass);
                    }
                }
            }
            if self.dirty.is_empty() {
                self.dirty = list;
            }
        }
    }

    /// Says whether it may be no longer needed.
    fn evaluate_one(&mut self, i: u32, instance: &mut Instance, pass: &mut Pass<'_>, tick: Option<Tick>) -> bool {
        let Some(head) = self.board.head_mut(i) else { return false };
        head.dirty = false;
        let head = *head;
        let rules = pass.rules;
        let Some(rule) = rules.get(head.rule) else { return false };
        if rule.many.is_some() {
            self.measure(i, instance, rule, pass, tick);
            return false;
        }
        let when = self.truth(i, instance, rule, &rule.when, Truth::False);
        if head.quiet && when == head.when && when != Truth::True {
            // Most readings by far: nothing was held, and nothing is.
            return head.loose || rule.asked || !self.is_about(head.rule);
        }
        let before = (head.when, instance.clear);
        let due = match instance.incident.clone() {
            None if !self.is_about(instance.rule) => None,
            None => {
                instance.held.update(pass.now, when, rule.scenario.hold);
                if instance.held.reached(rule.scenario.hold) {
                    pass.found.fire(self.number, i);
                }
                instance.held.due(rule.scenario.hold)
            }
            Some(incident) => {
                // What still fires is not over, whatever `clear` says.
                instance.clear = match (&rule.clear, when) {
                    (None, when) => not(when),
                    (Some(_), Truth::True) => Truth::False,
                    (Some(part), Truth::False | Truth::Unknown) => self.truth(i, instance, rule, part, Truth::True),
                };
                let need = rule.scenario.settle;
                let was_settled = instance.settle.reached(need);
                instance.settle.update(pass.now, instance.clear, need);
                let settled = instance.settle.reached(need);
                let (proved, proof_due) = self.prove(i, instance, rule, pass.now, tick);
                if proved || settled != was_settled || before != (when, instance.clear) {
                    pass.found.moved(incident);
                }
                let settle_due = instance.settle.due(need);
                [settle_due, proof_due].into_iter().flatten().min()
            }
        };
        if instance.due != due {
            instance.due = due;
            pass.found.timer(Timer::Instance { server: self.number, instance: i }, due);
        }
        let quiet = instance.is_idle();
        if let Some(head) = self.board.head_mut(i) {
            (head.when, head.quiet) = (when, quiet);
        }
        quiet && (head.loose || rule.asked || !self.is_about(head.rule))
    }

    /// Moves the proof that is awaited. Says whether it has just been completed, and when to look again.
    fn prove(
        &mut self,
        i: u32,
        instance: &mut Instance,
        rule: &Rule,
        now: Timestamp,
        tick: Option<Tick>,
    ) -> (bool, Option<Timestamp>) {
        let Some(mut watch) = instance.watch.take() else { return (false, None) };
        let part = rule.proof(watch.step);
        watch.truth = match rule.has_own_proof(watch.step) {
            true => self.truth(i, instance, rule, part, Truth::True),
            false => instance.clear,
        };
        if watch.truth == Truth::True {
            let since = *watch.since.get_or_insert(now);
            if let Some(tick) = tick.filter(|t| watch.is_fresh(t.started, t.started_boot_ms)) {
                watch.count(tick.sensor);
            }
            watch.seen = watch.seen || self.has_seen(&watch, instance, rule, part);
            let was = watch.proved;
            watch.proved = watch.seen && now.since(since) >= watch.need;
            let due = (watch.seen && !watch.proved).then(|| since.plus(watch.need));
            let proved = watch.proved && !was;
            instance.watch = Some(watch);
            return (proved, due);
        }
        watch.reset();
        instance.watch = Some(watch);
        (false, None)
    }

    /// Whether two fresh sweeps of every sensor the condition reads have agreed.
    fn has_seen(&self, watch: &Watch, instance: &Instance, rule: &Rule, part: &Part) -> bool {
        let mut any = false;
        for slot in part.slots.clone() {
            let Some(name) = rule.series(slot).and_then(|series| series.sensor) else { continue };
            any = true;
            let bound = instance.bound.get(slot).copied().flatten();
            let own = bound.and_then(|at| self.dictionary.point(at)).and_then(Point::sensor);
            let enough = match own {
                Some(sensor) => watch.of(sensor) >= PROOF_SWEEPS,
                None => self.uses_seen(watch, name),
            };
            if !enough {
                return false;
            }
        }
        any || watch.sweeps.iter().map(|(_, n)| *n).fold(0, u8::saturating_add) >= PROOF_SWEEPS
    }

    /// The same for a series that is not there, so that any use of the sensor could have said it.
    fn uses_seen(&self, watch: &Watch, name: &str) -> bool {
        let seen = |id: &str| {
            let sensor = self.dictionary.sensors.iter().position(|s| &*s.id == id);
            sensor.is_some_and(|s| watch.of(s as u16) >= PROOF_SWEEPS)
        };
        let mut declared = self.declared.iter().filter(|id| is_use_of(id, name)).peekable();
        if declared.peek().is_some() {
            return declared.all(|id| seen(id));
        }
        self.dictionary.sensors.iter().any(|s| is_use_of(&s.id, name) && seen(&s.id))
    }

    /// A condition's truth; `gone` when it is unknown and a series that counts as cured by going is gone.
    pub(super) fn truth(&mut self, i: u32, instance: &Instance, rule: &Rule, part: &Part, gone: Truth) -> Truth {
        for slot in &part.absents {
            if let Some(Slot::Absent(wanted)) = rule.slots.get(*slot) {
                let value = self.absent(wanted, &instance.labels);
                self.board.set(i, *slot, value);
            }
        }
        let values = self.board.values(i, rule.slots.len());
        let truth = part.condition.eval(values.get(part.slots.clone()).unwrap_or(&[]));
        if truth == Truth::Unknown && part.ephemerals.iter().any(|slot| self.is_gone(instance, rule, *slot)) {
            return gone;
        }
        truth
    }

    fn is_gone(&self, instance: &Instance, rule: &Rule, slot: usize) -> bool {
        if let Some((_, group)) = rule.folds.iter().zip(&instance.groups).find(|((of, _), _)| *of == slot) {
            let sensor = rule.series(slot).and_then(|series| series.sensor);
            return self.all_gone(*group) && self.has_said_all(sensor);
        }
        match instance.bound.get(slot).copied().flatten().and_then(|at| self.dictionary.point(at)) {
            // A sensor that fails or falls silent takes even what was gone for unknown.
            Some(point) => point.sight == Sight::Gone,
            None => {
                let sensor = rule.series(slot).and_then(|series| series.sensor);
                sensor.is_some() && self.has_said_all(sensor)
            }
        }
    }

    /// Whether every series of a sensor is known by name, and none is missing because it found no room.
    pub(super) fn has_said_all(&self, sensor: Option<&str>) -> bool {
        // A series that found no room is neither gone nor there.
        !self.is_series_capped() && sensor.is_none_or(|name| self.dictionary.has_swept(name, &self.declared))
    }

    /// 1 when the connected server does not have the series, 0 when it does, NaN when that is not known.
    pub(super) fn absent(&self, wanted: &SeriesRef, labels: &Labels) -> f64 {
        if !self.connected {
            return f64::NAN;
        }
        let has = self.dictionary.named(&wanted.name).iter().any(|at| {
            let there = self.dictionary.point(*at).is_some_and(|p| p.sight != Sight::Gone);
            let rest = if there { self.dictionary.rest(*at, wanted) } else { None };
            rest.is_some_and(|rest| rest.iter().all(|(n, v)| labels.get(n).is_none_or(|own| own == v)))
        });
        match wanted.sensor {
            _ if has => 0.0,
            Some(_) if self.is_series_capped() => f64::NAN,
            Some(name) if self.dictionary.has_swept(name, &self.declared) => 1.0,
            Some(_) | None => f64::NAN,
        }
    }
}
