//! One server: its session, its series, and the instances they make.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skynet_model::incident::Subject;
use skynet_model::name::{IncidentId, ScenarioName, ServerId};
use skynet_model::series::{Labels, Reading, SeriesKey};
use skynet_model::time::Timestamp;

use super::board::{Board, NONE};
use super::derived::Derived;
use super::dictionary::{CONNECTED, Dictionary, Sight, patience};
use super::held::Held;
use super::instance::{Instance, Watch};
use super::join::applying;
use super::rule::Rules;
use super::slab::Slab;
use super::truth::Tick;
use super::{Firing, Pass, Signal};
use crate::timers::Timer;
use crate::{Sweep, SweepEnd};

/// Most readings that are shown of one fold.
const SHOWN: usize = 16;

/// See the module.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) number: u32,
    pub(crate) id: ServerId,
    pub(crate) labels: Labels,
    pub(crate) connected: bool,
    /// Whether its ledger's inventory has been merged in this session.
    pub(crate) merged: bool,
    pub(crate) boot: String,
    /// Rises with every session: one that was superseded has no say any more.
    pub(crate) session: u64,
    /// Sensors its profiles declare.
    pub(super) declared: Vec<Box<str>>,
    /// By rule: whether it is about this server.
    pub(super) applies: Vec<bool>,
    pub(super) dictionary: Dictionary,
    pub(super) instances: Slab<Box<Instance>>,
    pub(super) board: Board,
    pub(super) derived: Derived,
    pub(super) by_labels: BTreeMap<(u32, Labels), u32>,
    pub(super) counts: BTreeMap<u32, u32>,
    pub(super) capped: BTreeSet<u32>,
    /// Instances whose truth may change without a reading.
    pub(super) loose: BTreeSet<u32>,
    /// Instances that await a proof.
    pub(super) watching: Vec<u32>,
    /// Instances to be evaluated.
    pub(super) dirty: Vec<u32>,
    series_capped: bool,
    /// Whether it was said that windows found no room.
    pub(super) windows_capped: bool,
}

/// What outlives the instances when they are made anew.
#[derive(Debug)]
pub(crate) struct Kept {
    scenario: ScenarioName,
    digest: String,
    labels: Labels,
    held: Held,
    settle: Held,
    incident: Option<IncidentId>,
}

impl Server {
    pub(crate) fn new(number: u32, id: ServerId, labels: Labels) -> Self {
        Self {
            number,
            id,
            labels,
            connected: false,
            merged: false,
            boot: String::new(),
            session: 0,
            declared: Vec::new(),
            applies: Vec::new(),
            dictionary: Dictionary::default(),
            instances: Slab::default(),
            board: Board::default(),
            derived: Derived::default(),
            by_labels: BTreeMap::new(),
            counts: BTreeMap::new(),
            capped: BTreeSet::new(),
            loose: BTreeSet::new(),
            watching: Vec::new(),
            dirty: Vec::new(),
            series_capped: false,
            windows_capped: false,
        }
    }

    /// Whether a rule is about this server, and not only ending what runs under it.
    pub(crate) fn is_about(&self, rule: u32) -> bool {
        self.applies.get(rule as usize) == Some(&true)
    }

    /// What has to be kept of the instances, before rules, labels or series change.
    pub(crate) fn keep(&self, rules: &Rules) -> Vec<Kept> {
        let kept = self.instances.iter().filter(|(_, i)| !i.is_idle()).filter_map(|(_, i)| {
            let scenario = &rules.get(i.rule)?.scenario;
            Some(Kept {
                scenario: scenario.name.clone(),
                digest: scenario.digest.clone(),
                labels: i.labels.clone(),
                held: i.held,
                settle: i.settle,
                incident: i.incident.clone(),
            })
        });
        kept.collect()
    }

    /// Makes the instances anew. Scenarios with unchanged text go on where they were.
    pub(crate) fn rebuild(&mut self, kept: Vec<Kept>, pass: &mut Pass<'_>) {
        for (i, instance) in self.instances.iter() {
            if instance.due.is_some() {
                pass.found.timer(Timer::Instance { server: self.number, instance: i }, None);
            }
        }
        self.instances = Slab::default();
        self.board = Board::default();
        self.by_labels.clear();
        self.counts.clear();
        self.capped.clear();
        self.loose.clear();
        self.watching.clear();
        self.dirty.clear();
        self.derived.park(|at| self.dictionary.series.get(at).map(|series| series.key.clone()));
        self.dictionary.forget_users();
        self.applies = applying(pass.rules, &self.labels);
        let sensors = pass.rules.policy.as_ref().map(|p| p.sensors_for(&self.labels)).unwrap_or_default();
        self.declared = sensors.into_iter().map(|s| s.id.as_str().into()).collect();
        self.join_all(pass);
        for kept in kept {
            let Some(rule) = pass.rules.find(&kept.scenario, &kept.digest) else { continue };
            if kept.incident.is_none() && !self.is_about(rule) {
                continue;
            }
            let Some(i) = self.ensure(rule, kept.labels, pass) else { continue };
            if let Some(instance) = self.instances.get_mut(i) {
                instance.held = kept.held;
                instance.settle = kept.settle;
                instance.incident = kept.incident;
            }
        }
        self.derived.retain_parked(|name, key| pass.rules.look_back(name, key));
        self.evaluate(pass, None);
        pass.found.stirred_all();
    }

    /// A session began: nothing is known of its series.
    pub(crate) fn connect(&mut self, boot: String, pass: &mut Pass<'_>) {
        let kept = self.keep(pass.rules);
        self.forget_sensors(pass);
        self.derived.begin();
        self.derived.park(|at| self.dictionary.series.get(at).map(|series| series.key.clone()));
        self.dictionary = Dictionary::default();
        self.series_capped = false;
        self.windows_capped = false;
        self.connected = true;
        self.merged = false;
        self.boot = boot;
        self.session += 1;
        self.say_connected(pass.now, 1.0);
        self.rebuild(kept, pass);
    }

    /// The session ended: what it said is unknown from now on.
    pub(crate) fn disconnect(&mut self, pass: &mut Pass<'_>) {
        self.connected = false;
        self.merged = false;
        self.forget_sensors(pass);
        self.say_connected(pass.now, 0.0);
        self.evaluate(pass, None);
        pass.found.stirred_all();
    }

    /// Takes it for away when it has not been seen at all.
    pub(crate) fn give_up_waiting(&mut self, pass: &mut Pass<'_>) {
        if !self.connected && self.dictionary.point(CONNECTED).is_some_and(|p| p.sight == Sight::Silent) {
            self.say_connected(pass.now, 0.0);
            self.evaluate(pass, None);
        }
    }

    fn say_connected(&mut self, now: Timestamp, value: f64) {
        self.dictionary.connected = now;
        if let Some(point) = self.dictionary.point_mut(CONNECTED) {
            point.sight = Sight::Known;
        }
        self.fill(CONNECTED, value);
    }

    fn forget_sensors(&mut self, pass: &mut Pass<'_>) {
        for sensor in 0..self.dictionary.sensors.len() {
            self.blind(sensor as u16);
            self.alarm(sensor as u16, None, pass);
        }
    }

    /// A series got its id.
    pub(crate) fn announce(&mut self, id: u32, key: SeriesKey, pass: &mut Pass<'_>) {
        let used = self.dictionary.by_wire(id);
        if let Some(series) = used.and_then(|at| self.dictionary.series.get(at)) {
            if series.key == key {
                return;
            }
            self.retire(id);
            self.settle(pass);
        }
        match self.dictionary.announce(id, key) {
            Some((at, true)) => {
                self.loosen();
                self.join_series(at, pass);
            }
            Some((_, false)) => {}
            None if self.series_capped => {}
            None => {
                self.series_capped = true;
                pass.found.capped(Signal::SeriesCapped { server: self.id.clone() });
            }
        }
    }

    /// A series ended; [`Server::settle`] follows.
    pub(crate) fn retire(&mut self, id: u32) {
        let Some((at, point)) = self.dictionary.retire(id) else { return };
        self.unbind_all(point.users, at);
        self.untap(point.taps, at);
        self.loosen();
    }

    /// The value places that begin at `users` are not filled by series `at` any more.
    pub(super) fn unbind_all(&mut self, mut users: u32, at: u32) {
        let mut place = users;
        while let Some(link) = self.board.linked(place) {
            place = link.next;
            if let Some(instance) = self.instances.get_mut(link.instance) {
                instance.bound.iter_mut().filter(|bound| **bound == Some(at)).for_each(|bound| *bound = None);
                self.slacken(link.instance);
            }
        }
        self.board.fill(users, f64::NAN, &mut self.dirty);
        while let Some(link) = self.board.linked(users) {
            self.board.unlink(&mut users, link.instance);
        }
    }

    /// Whether series of this session found no room.
    pub(super) fn is_series_capped(&self) -> bool {
        self.series_capped
    }

    /// Evaluates what ended series have left behind: once for all of them.
    pub(crate) fn settle(&mut self, pass: &mut Pass<'_>) {
        self.evaluate(pass, None);
    }

    /// Readings of one sweep.
    pub(crate) fn sweep(&mut self, sweep: &Sweep<'_>, pass: &mut Pass<'_>) {
        if !self.connected {
            return;
        }
        let Some(number) = self.dictionary.sensor(sweep.sensor) else { return };
        let Some(sensor) = self.dictionary.sensors.get_mut(usize::from(number)) else { return };
        // Late, or said before: it must not undo what is known.
        if sweep.started_boot_ms < sensor.begun || (sweep.started_boot_ms == sensor.begun && sensor.ended) {
            return;
        }
        if sensor.begun != sweep.started_boot_ms {
            sensor.sweep = sensor.sweep.wrapping_add(1);
            sensor.started = [sweep.started, sensor.started[0]];
        }
        sensor.begun = sweep.started_boot_ms;
        self.derived.clock.see(sweep.started, sweep.started_boot_ms);
        let turn = sensor.sweep;
        sensor.ended = sweep.end != SweepEnd::Partial;
        // Its timer may not have been heard of yet: what was too old was unknown until now.
        if sensor.fresh && sensor.until <= pass.now {
            self.blind(number);
            self.evaluate(pass, None);
        }
        if sweep.end == SweepEnd::Failed {
            self.blind(number);
            self.evaluate(pass, None);
            return;
        }
        for (id, value) in sweep.readings {
            if let Some(at) = self.dictionary.by_wire(*id).filter(|_| value.is_finite()) {
                self.read(at, number, turn, *value);
            }
        }
        if sweep.end == SweepEnd::Complete {
            self.complete(number, sweep, pass);
            let tick = Tick { sensor: number, started: sweep.started, started_boot_ms: sweep.started_boot_ms };
            self.evaluate(pass, Some(tick));
        }
    }

    #[inline]
    fn read(&mut self, at: u32, sensor: u16, turn: u32, value: f64) {
        let Some(point) = self.dictionary.point_mut(at) else { return };
        point.sweep = turn;
        let taps = point.taps;
        let sight = std::mem::replace(&mut point.sight, Sight::Known);
        let same = sight == Sight::Known && point.value.to_bits() == value.to_bits();
        if point.sensor() != Some(sensor) {
            self.dictionary.change_sensor(at, sensor);
        }
        if !same {
            self.fill(at, value);
        }
        if taps != NONE {
            self.observe(taps, value);
        }
        if sight == Sight::Gone {
            self.loosen();
        }
    }

    /// All the sensor sees has been said: what was not said is gone.
    fn complete(&mut self, number: u16, sweep: &Sweep<'_>, pass: &mut Pass<'_>) {
        let Some(sensor) = self.dictionary.sensors.get_mut(usize::from(number)) else { return };
        sensor.until = pass.now.plus(patience(sweep.every));
        let (was_fresh, until, turn) = (sensor.fresh, sensor.until, sensor.sweep);
        sensor.fresh = true;
        // A later time is looked up when the timer is due, so that a sweep moves no timer.
        if sensor.alarm.is_none_or(|at| at > until) {
            self.alarm(number, Some(until), pass);
        }
        let mut lost = false;
        for m in 0..self.dictionary.members(number) {
            let Some(at) = self.dictionary.member(number, m) else { continue };
            let Some(point) = self.dictionary.point_mut(at) else { continue };
            if point.sweep != turn && point.sight != Sight::Gone {
                point.sight = Sight::Gone;
                lost = true;
                self.fill(at, f64::NAN);
            }
        }
        if !was_fresh {
            self.derived.soil_all();
        }
        if lost || !was_fresh {
            self.loosen();
        }
    }

    /// What the sensor says is unknown.
    fn blind(&mut self, number: u16) {
        let Some(sensor) = self.dictionary.sensors.get_mut(usize::from(number)) else { return };
        sensor.fresh = false;
        for m in 0..self.dictionary.members(number) {
            let Some(at) = self.dictionary.member(number, m) else { continue };
            if let Some(point) = self.dictionary.point_mut(at) {
                point.sight = Sight::Silent;
            }
            self.fill(at, f64::NAN);
        }
        self.derived.soil_all();
        self.loosen();
    }

    /// A sensor's readings may have become too old.
    pub(crate) fn check_sensor(&mut self, number: u16, pass: &mut Pass<'_>) {
        let Some(sensor) = self.dictionary.sensors.get_mut(usize::from(number)) else { return };
        sensor.alarm = None;
        if !sensor.fresh {
            return;
        }
        if sensor.until > pass.now {
            let until = sensor.until;
            self.alarm(number, Some(until), pass);
            return;
        }
        self.blind(number);
        self.evaluate(pass, None);
    }

    /// Moves the timer that says when a sensor's readings are too old.
    fn alarm(&mut self, number: u16, at: Option<Timestamp>, pass: &mut Pass<'_>) {
        let Some(sensor) = self.dictionary.sensors.get_mut(usize::from(number)) else { return };
        if sensor.alarm != at {
            sensor.alarm = at;
            pass.found.timer(Timer::Sensor { server: self.number, sensor: number }, at);
        }
    }

    fn fill(&mut self, at: u32, value: f64) {
        let Some(point) = self.dictionary.point_mut(at) else { return };
        point.value = value;
        let taps = point.taps;
        self.board.fill(point.users, value, &mut self.dirty);
        if taps != NONE {
            self.ripple(taps, value);
        }
    }

    /// Something besides its values has changed: the whole instance has to be looked at.
    pub(super) fn soil(&mut self, i: u32) {
        if let Some(head) = self.board.head_mut(i) {
            head.quiet = false;
            self.board.soil(i, &mut self.dirty);
        }
    }

    fn loosen(&mut self) {
        for i in &self.loose {
            self.board.soil(*i, &mut self.dirty);
        }
    }

    /// What `when`, `clear` and `verify` of an instance read, as far as it is known: of a fold the first
    /// [`SHOWN`] of its members.
    pub(super) fn readings(&self, instance: u32) -> Vec<Reading> {
        let Some(instance) = self.instances.get(instance) else { return Vec::new() };
        let members = instance.groups.iter().flat_map(|group| self.members(*group).take(SHOWN));
        let mut seen = BTreeSet::new();
        let mut readings = Vec::new();
        for at in instance.bound.iter().flatten().copied().chain(members) {
            let known = self.dictionary.point(at).filter(|p| p.sight == Sight::Known && !p.value.is_nan());
            if let (Some(point), Some(series)) = (known, self.dictionary.series.get(at))
                && seen.insert(at)
            {
                let time = self.dictionary.time(point);
                readings.push(Reading { series: series.key.clone(), value: point.value, time });
            }
        }
        readings
    }

    /// What an instance that fires is about; none while its incident lives.
    pub(super) fn firing(&self, number: u32, rules: &Rules) -> Option<Firing> {
        let instance = self.instances.get(number).filter(|i| i.incident.is_none())?;
        let rule = rules.get(instance.rule)?;
        let values = self.board.values(number, rule.slots.len());
        let first = rule.first_value().and_then(|slot| values.get(slot).copied());
        Some(Firing {
            subject: Subject::Server(self.id.clone()),
            scenario: Arc::clone(&rule.scenario),
            labels: instance.labels.clone(),
            since: instance.held.first()?,
            readings: self.readings(number),
            value: first.filter(|v| !v.is_nan()),
        })
    }

    /// Time has passed for an instance.
    pub(crate) fn look_again(&mut self, i: u32, pass: &mut Pass<'_>) {
        if let Some(instance) = self.instances.get_mut(i) {
            instance.due = None;
        }
        self.soil(i);
        self.evaluate(pass, None);
    }

    /// Awaits a proof; one that is awaited already goes on.
    pub(crate) fn watch(&mut self, i: u32, watch: Watch) {
        if let Some(instance) = self.instances.get_mut(i)
            && instance.watch.as_ref().is_none_or(|w| w.step != watch.step)
        {
            instance.watch = Some(Box::new(watch));
            if !self.watching.contains(&i) {
                self.watching.push(i);
            }
        }
    }

    /// No proof is awaited any more.
    pub(crate) fn unwatch(&mut self, i: u32) {
        if let Some(instance) = self.instances.get_mut(i) {
            instance.watch = None;
            self.watching.retain(|w| *w != i);
        }
    }

    /// The instance's incident has ended: it may fire again.
    pub(crate) fn release(&mut self, i: u32, pass: &mut Pass<'_>) {
        self.unwatch(i);
        if let Some(instance) = self.instances.get_mut(i) {
            instance.incident = None;
            instance.held = Held::default();
            instance.settle = Held::default();
            self.soil(i);
            self.evaluate(pass, None);
        }
    }
}
