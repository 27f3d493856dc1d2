//! A policy over recorded readings: what it would have found, and what it would have done.
//!
//! Every scenario runs as if it were enforced, so that rails count; commands are answered at once with "would have", and
//! readings stay as they were recorded: what a cure would have changed is not known.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use skynet_engine::{Engine, Input, Output, Sweep, SweepEnd};
use skynet_model::catalogue::{Catalogue, SensorSpec};
use skynet_model::command::{Command, Outcome, Status};
use skynet_model::event::{Event, EventBody};
use skynet_model::incident::{Incident, NoticeKind, Rail, State};
use skynet_model::name::{IncidentId, ScenarioName, ServerId};
use skynet_model::policy::{Mode, Policy, Scenario, SensorUse};
use skynet_model::series::{Labels, SeriesKey};
use skynet_model::time::{Span, Timestamp};

/// Most incidents that are kept.
const MAX_INCIDENTS: usize = 100_000;
/// Most remarks of the engine about itself that are kept.
const MAX_REMARKS: usize = 20;

/// Series ids and values of one sweep.
type Readings = Vec<(u32, f64)>;

/// What one server read in a slice of time.
#[derive(Clone, Debug, Default)]
pub struct Read {
    /// Series and their samples, in order of time.
    pub series: Vec<(SeriesKey, Vec<(Timestamp, f64)>)>,
}

/// An incident that would have opened.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Found {
    /// As it ended, or stands at the end.
    pub incident: Incident,
    /// How often people would have been told that it was not contained.
    pub told: u32,
}

/// What a backtest found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// In order of opening.
    pub found: Vec<Found>,
    /// There were more.
    pub cut: bool,
    /// Sweeps that were looked at.
    pub sweeps: u64,
    /// What the engine had to say about itself: caps that were hit.
    pub remarks: Vec<String>,
}

/// A sensor of a server, as far as it is known from what it gave.
#[derive(Debug)]
struct Sensor {
    id: String,
    /// Its interval: the shortest time between two of its sweeps, the policy's until two are known.
    every: Span,
    measured: bool,
    last: Option<Timestamp>,
}

#[derive(Debug, Default)]
struct Recorded {
    labels: Labels,
    connected: bool,
    sensors: Vec<Sensor>,
    /// Its series: number on the wire, and place of its sensor.
    series: BTreeMap<SeriesKey, (u32, usize)>,
    /// Those that have been announced in this session.
    announced: Vec<bool>,
}

/// A backtest under way.
pub struct Backtest {
    policy: Arc<Policy>,
    catalogue: &'static Catalogue,
    engine: Engine,
    now: Timestamp,
    servers: BTreeMap<ServerId, Recorded>,
    /// Sessions that began and ended, in order.
    sessions: std::collections::VecDeque<(Timestamp, ServerId, bool)>,
    would: Vec<Command>,
    findings: Findings,
    told: BTreeMap<IncidentId, u32>,
}

/// The series that have to be read for a backtest: those of the policy's conditions, and for each of their sensors one
/// without labels, which tells when it swept although what mattered was gone.
#[must_use]
pub fn wanted(policy: &Policy, catalogue: &Catalogue) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut add = |name: &str| {
        if names.iter().all(|known| known != name) {
            names.push(name.to_owned());
        }
    };
    for series in policy.scenarios.values().flat_map(|scenario| scenario.reads()) {
        let Some(sensor) = series.sensor.and_then(|name| catalogue.sensor(name)) else { continue };
        add(&series.name);
        pulse(sensor).into_iter().for_each(&mut add);
    }
    names
}

fn pulse(sensor: &SensorSpec) -> Option<&'static str> {
    sensor.series.iter().find(|s| s.labels.is_empty() && !s.open_labels && !s.name.ends_with('*')).map(|s| s.name)
}

impl Backtest {
    /// A policy over these servers from a time on. `sessions`: when agents came and went, as far as that is known; others
    /// were connected.
    #[must_use]
    pub fn new(
        policy: &Policy,
        catalogue: &'static Catalogue,
        servers: Vec<(ServerId, Labels)>,
        mut sessions: Vec<(Timestamp, ServerId, bool)>,
        from: Timestamp,
    ) -> Self {
        let mut enforced = policy.clone();
        for scenario in enforced.scenarios.values_mut() {
            *scenario = Arc::new(Scenario { mode: Mode::Enforce, ..(**scenario).clone() });
        }
        let policy = Arc::new(enforced);
        sessions.sort_by_key(|(at, ..)| *at);
        let mut backtest = Self {
            policy: Arc::clone(&policy),
            catalogue,
            engine: Engine::new(),
            now: from,
            servers: BTreeMap::new(),
            sessions: sessions.into(),
            would: Vec::new(),
            findings: Findings::default(),
            told: BTreeMap::new(),
        };
        backtest.engine.start(from, 1);
        backtest.call(|engine, now, out| engine.set_policy(now, 1, policy, out));
        for (server, labels) in servers {
            // Its first session in that time may be an end: then it was connected before.
            let first = backtest.sessions.iter().find(|(_, id, _)| *id == server);
            let away = first.is_some_and(|(_, _, connected)| *connected);
            let recorded = Recorded { labels: labels.clone(), ..Recorded::default() };
            backtest.servers.insert(server.clone(), recorded);
            backtest.input(Input::Labelled { server: server.clone(), labels });
            if !away {
                backtest.connect(&server);
            }
        }
        backtest
    }

    /// Takes the readings of a slice of time that ends at `until`; slices come in order.
    pub fn take(&mut self, slice: &BTreeMap<ServerId, Read>, until: Timestamp) {
        let mut sweeps: BTreeMap<(Timestamp, &ServerId, usize), Readings> = BTreeMap::new();
        for (id, read) in slice {
            let Some(server) = self.servers.get_mut(id) else { continue };
            for (series, samples) in &read.series {
                let Some((number, sensor)) = server.place(series, &self.policy, self.catalogue) else { continue };
                for (time, value) in samples {
                    sweeps.entry((*time, id, sensor)).or_default().push((number, *value));
                }
            }
        }
        for ((at, id, sensor), mut readings) in sweeps {
            self.advance(at);
            readings.sort_by_key(|(number, _)| *number);
            self.sweep(at, id, sensor, &readings);
        }
        self.advance(until);
    }

    /// What was found.
    #[must_use]
    pub fn end(mut self) -> Findings {
        self.refresh();
        for found in &mut self.findings.found {
            found.told = self.told.get(&found.incident.id).copied().unwrap_or(0);
        }
        self.findings
    }

    /// Goes on to a time: sessions that begin and end, commands, deadlines.
    fn advance(&mut self, to: Timestamp) {
        loop {
            let wake = self.engine.next_wake().filter(|at| *at <= to);
            let session = self.sessions.front().map(|(at, ..)| *at).filter(|at| *at <= to);
            let Some(at) = wake.into_iter().chain(session).min() else { break };
            self.now = self.now.max(at);
            if session.is_some_and(|session| session <= at) {
                if let Some((_, server, connected)) = self.sessions.pop_front() {
                    if connected { self.connect(&server) } else { self.disconnect(&server) }
                }
            } else {
                self.input(Input::Wake);
            }
        }
        self.now = self.now.max(to);
    }

    fn connect(&mut self, id: &ServerId) {
        let Some(server) = self.servers.get_mut(id).filter(|s| !s.connected) else { return };
        server.connected = true;
        server.announced.fill(false);
        let (boot, version) = ("recorded".to_owned(), "recorded".to_owned());
        self.input(Input::Connected { server: id.clone(), boot, version });
        self.input(Input::Inventory { server: id.clone(), entries: Vec::new() });
    }

    fn disconnect(&mut self, id: &ServerId) {
        let Some(server) = self.servers.get_mut(id).filter(|s| s.connected) else { return };
        server.connected = false;
        self.input(Input::Disconnected { server: id.clone(), reason: "it was".to_owned() });
    }

    fn sweep(&mut self, at: Timestamp, id: &ServerId, sensor: usize, readings: &[(u32, f64)]) {
        let Some(server) = self.servers.get_mut(id).filter(|server| server.connected) else { return };
        let new: Vec<(u32, SeriesKey)> = readings
            .iter()
            .filter(|(number, _)| server.announced.get(*number as usize) == Some(&false))
            .filter_map(|(number, _)| {
                let found = server.series.iter().find(|(_, (known, _))| known == number);
                found.map(|(series, _)| (*number, series.clone()))
            })
            .collect();
        for (number, _) in &new {
            if let Some(announced) = server.announced.get_mut(*number as usize) {
                *announced = true;
            }
        }
        let Some(sensor) = server.sensors.get_mut(sensor) else { return };
        if let Some(last) = sensor.last.replace(at) {
            let gap = at.since(last);
            if gap.0 > 0 && (!sensor.measured || gap < sensor.every) {
                (sensor.every, sensor.measured) = (gap, true);
            }
        }
        let (sensor, every) = (sensor.id.clone(), sensor.every);
        self.findings.sweeps += 1;
        for (number, series) in new {
            self.input(Input::Announced { server: id.clone(), id: number, series });
        }
        self.call(|engine, now, out| {
            let (started, started_boot_ms, end) = (at, at.0, SweepEnd::Complete);
            let sweep = Sweep { sensor: &sensor, every, started, started_boot_ms, readings, end };
            engine.sweep(now, id, &sweep, out);
        });
    }

    fn input(&mut self, input: Input) {
        self.call(|engine, now, out| engine.handle(now, input, out));
    }

    fn call(&mut self, what: impl FnOnce(&mut Engine, Timestamp, &mut Vec<Output>)) {
        let mut out = Vec::new();
        what(&mut self.engine, self.now, &mut out);
        self.follow(out);
        // What would have been done is answered at once; the answer may bring the next step.
        while let Some(command) = self.would.pop() {
            let outcome = Outcome {
                command: command.id.clone(),
                status: Status::Done,
                message: "would have been done".to_owned(),
                finished: self.now,
                finished_boot_ms: self.now.0,
                took_ms: 0,
            };
            let mut out = Vec::new();
            self.engine.handle(self.now, Input::Outcome { server: command.server, outcome }, &mut out);
            self.follow(out);
        }
    }

    fn follow(&mut self, out: Vec<Output>) {
        for output in out {
            let Output::Event(body) = output else { continue };
            if let EventBody::IncidentChanged { incident, state, .. } = &body
                && state.is_end()
            {
                self.refresh_one(incident);
            }
            if let EventBody::NoticeRaised { notice } = &body
                && notice.kind == NoticeKind::Escalated
                && let Some(id) = &notice.incident
            {
                *self.told.entry(id.clone()).or_default() += 1;
            }
            if let EventBody::Remark { message, .. } = &body
                && self.findings.remarks.len() < MAX_REMARKS
                && !self.findings.remarks.contains(message)
            {
                self.findings.remarks.push(message.clone());
            }
            if let EventBody::IncidentOpened { incident } = body {
                if self.findings.found.len() < MAX_INCIDENTS {
                    self.findings.found.push(Found { incident: *incident, told: 0 });
                } else {
                    self.findings.cut = true;
                }
            } else if let EventBody::CommandIssued { command, .. } = body {
                self.would.push(command);
            }
        }
    }

    fn refresh_one(&mut self, id: &IncidentId) {
        if let (Some(now), Some(found)) =
            (self.engine.incident(id), self.findings.found.iter_mut().rev().find(|f| f.incident.id == *id))
        {
            found.incident.clone_from(now);
        }
    }

    fn refresh(&mut self) {
        for found in self.findings.found.iter_mut().filter(|found| !found.incident.state.is_end()) {
            if let Some(now) = self.engine.incident(&found.incident.id) {
                found.incident.clone_from(now);
            }
        }
    }
}

impl Recorded {
    /// The number and the sensor of a series.
    fn place(&mut self, series: &SeriesKey, policy: &Policy, catalogue: &Catalogue) -> Option<(u32, usize)> {
        if let Some(place) = self.series.get(series) {
            return Some(*place);
        }
        let spec = catalogue.series(&series.name)?.0?;
        let named = |used: &&&SensorUse| {
            used.name.as_deref().is_some_and(|name| series.labels.iter().any(|(_, value)| value == name))
        };
        let uses: Vec<&SensorUse> =
            policy.sensors_for(&self.labels).into_iter().filter(|used| used.sensor == spec.name).collect();
        // One that the policy does not run, but that was run then: a scenario that names servers itself may read it.
        let used = uses.iter().find(named).or(uses.first());
        let (id, every) = used.map_or((spec.name.to_owned(), spec.every), |used| (used.id.clone(), used.every));
        let sensor = match self.sensors.iter().position(|sensor| sensor.id == id) {
            Some(place) => place,
            None => {
                self.sensors.push(Sensor { id, every, measured: false, last: None });
                self.sensors.len() - 1
            }
        };
        let place = (u32::try_from(self.series.len()).ok()?, sensor);
        self.series.insert(series.clone(), place);
        self.announced.push(false);
        Some(place)
    }
}

/// What the policy in force did about a scenario of the same name, as far as the log tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InForce {
    /// Incidents that opened.
    pub incidents: u32,
    /// Of them: contained.
    pub contained: u32,
    /// Of them: a person was told.
    pub escalated: u32,
    /// Commands that were given.
    pub commands: u32,
}

/// What the log says of each scenario in a time.
#[must_use]
pub fn in_force(events: &[Event], from: Timestamp, until: Timestamp) -> BTreeMap<ScenarioName, InForce> {
    let mut done: BTreeMap<ScenarioName, InForce> = BTreeMap::new();
    let mut whose: BTreeMap<&IncidentId, &ScenarioName> = BTreeMap::new();
    for event in events.iter().filter(|event| (from..=until).contains(&event.time)) {
        if let EventBody::IncidentOpened { incident } = &event.body {
            whose.insert(&incident.id, &incident.scenario);
            done.entry(incident.scenario.clone()).or_default().incidents += 1;
        } else if let EventBody::IncidentChanged { incident, state, .. } = &event.body
            && let Some(of) = whose.get(incident).and_then(|name| done.get_mut(*name))
        {
            of.contained += u32::from(*state == State::Contained);
            of.escalated += u32::from(*state == State::Escalated);
        } else if let EventBody::CommandIssued { command, .. } = &event.body
            && let Some(of) = whose.get(&command.incident).and_then(|name| done.get_mut(*name))
        {
            of.commands += 1;
        }
    }
    done
}

/// The rails that held an incident back, each once.
#[must_use]
pub fn rails_of(incident: &Incident) -> Vec<Rail> {
    let mut rails: Vec<Rail> = Vec::new();
    for hold in incident.held.iter().chain(&incident.hold) {
        if !rails.contains(&hold.rail) {
            rails.push(hold.rail);
        }
    }
    rails
}
