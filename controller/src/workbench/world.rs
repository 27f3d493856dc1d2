//! The engine and a test's servers in virtual time: from one due moment to the next.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use skynet_engine::{Asking, Engine, Input, Output, Sweep, SweepEnd};
use skynet_model::catalogue::Catalogue;
use skynet_model::command::{Command, Outcome, Status};
use skynet_model::event::{Event, EventBody};
use skynet_model::incident::{Incident, State};
use skynet_model::name::ServerId;
use skynet_model::policy::test::{Effect, Level, Moment, Test};
use skynet_model::policy::{Policy, Scenario};
use skynet_model::series::Labels;
use skynet_model::time::{Span, Timestamp};

use super::judge::Judge;
use super::servers::Server;
use super::{BEGIN, MAX_EVENTS, MAX_SWEEPS, Past, SHOWN, Trouble, Verdict, sensors_read};

/// How long a server had been up when the test began.
const UP: i64 = 86_400_000;
/// The version a test's policy runs as.
const VERSION: u64 = 1;

/// What is due at a time; at one moment in this order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// An agent goes away.
    Leaves(usize),
    /// An agent comes back.
    Comes(usize),
    /// A command has run: server, and place among the commands that run.
    Ended(usize, usize),
    /// A person approves: place in the test.
    Approves(usize),
    /// A person asks: place in the test.
    Asks(usize),
    /// A sensor sweeps.
    Sweep(usize, usize),
    /// Readings are noted, to be shown.
    Note,
    /// Something is to be seen just now.
    Look,
}

/// The world of one test.
pub(super) struct World<'t> {
    test: &'t Test,
    policy: Arc<Policy>,
    engine: Engine,
    now: Span,
    end: Span,
    due: BinaryHeap<Reverse<(Span, Due)>>,
    servers: Vec<Server>,
    index: BTreeMap<ServerId, usize>,
    running: Vec<(Command, Effect)>,
    judge: Judge<'t>,
    verdict: Verdict,
    /// Incidents that opened, in order, as they stood last.
    incidents: Vec<Incident>,
}

impl<'t> World<'t> {
    pub(super) fn new(policy: &Policy, catalogue: &Catalogue, test: &'t Test) -> Result<Self, Trouble> {
        let policy = Arc::new(in_mode(policy, test));
        let end = test.length();
        let read = sensors_read(&policy);
        let servers: Vec<Server> = test
            .servers
            .iter()
            .map(|(id, labels)| Server::new(id, labels, &policy, catalogue, test, |sensor| read.contains(sensor)))
            .collect();
        let sweeps = |every: Span| u64::try_from(end.0 / every.0.max(1) + 1).unwrap_or(0);
        let needed = servers.iter().flat_map(|s| &s.sensors).map(|sensor| sweeps(sensor.every)).sum();
        if needed > MAX_SWEEPS {
            return Err(Trouble::TooLong(needed));
        }
        let index = servers.iter().enumerate().map(|(at, server)| (server.id.clone(), at)).collect();
        let past = servers.iter().flat_map(|server| {
            server.sensors.iter().flat_map(|s| &s.lines).map(|line| Past {
                server: server.id.clone(),
                series: line.series.clone(),
                levels: Vec::new(),
            })
        });
        let mut world = Self {
            test,
            engine: Engine::new(),
            now: Span(0),
            end,
            due: BinaryHeap::new(),
            index,
            running: Vec::new(),
            judge: Judge::new(test, Arc::clone(&policy)),
            verdict: Verdict { past: past.collect(), ..Verdict::default() },
            incidents: Vec::new(),
            policy,
            servers,
        };
        world.plan();
        Ok(world)
    }

    /// Enters all that is known beforehand.
    fn plan(&mut self) {
        let mut away: Vec<(Span, Due)> = Vec::new();
        for time in &self.test.away {
            for server in time.servers.iter().filter_map(|id| self.index.get(id)) {
                away.push((time.from, Due::Leaves(*server)));
                away.extend(time.until.map(|until| (until, Due::Comes(*server))));
            }
        }
        let from_the_start = |server: usize| away.contains(&(Span(0), Due::Leaves(server)));
        let comes = (0..self.servers.len()).filter(|s| !from_the_start(*s)).map(|s| (Span(0), Due::Comes(s)));
        let looks = self.test.expect.iter().filter_map(|e| match e.when {
            Moment::At(at) => Some((at, Due::Look)),
            Moment::Within(_) => None,
        });
        let approvals = self.test.approvals.iter().enumerate().map(|(i, a)| (a.at, Due::Approves(i)));
        let requests = self.test.requests.iter().enumerate().map(|(i, r)| (r.at, Due::Asks(i)));
        let notes = (0..=SHOWN).map(|n| (Span(self.end.0 * n / SHOWN), Due::Note));
        let sweeps = self.servers.iter().enumerate();
        let sweeps = sweeps.flat_map(|(s, server)| (0..server.sensors.len()).map(move |i| (Span(0), Due::Sweep(s, i))));
        let all: Vec<(Span, Due)> =
            comes.chain(looks).chain(approvals).chain(requests).chain(notes).chain(sweeps).collect();
        self.due.extend(all.into_iter().chain(away).map(Reverse));
    }

    pub(super) fn run(mut self) -> Result<Verdict, Trouble> {
        self.engine.start(BEGIN, 1);
        let policy = Arc::clone(&self.policy);
        self.call(|engine, now, out| engine.set_policy(now, VERSION, policy, out));
        for server in 0..self.servers.len() {
            let Some(Server { id, labels, .. }) = self.servers.get(server) else { continue };
            let input = Input::Labelled { server: id.clone(), labels: labels.clone() };
            self.input(input);
        }
        while self.step() {
            if self.verdict.events.len() > MAX_EVENTS {
                return Err(Trouble::TooMuch(self.now));
            }
        }
        self.now = self.end;
        self.look();
        self.verdict.missed = self.judge.missed(&self.incidents);
        Ok(self.verdict)
    }

    /// All that is due next. False when the test's time is over.
    fn step(&mut self) -> bool {
        let wake = self.engine.next_wake().map(|at| at.since(BEGIN));
        let next = self.due.peek().map(|Reverse((at, _))| *at);
        let Some(at) = wake.into_iter().chain(next).min().map(|at| at.max(self.now)).filter(|at| *at <= self.end)
        else {
            return false;
        };
        self.now = at;
        let mut notes = false;
        if wake.is_some_and(|wake| wake <= at) {
            self.input(Input::Wake);
        }
        while let Some(what) = self.take_due() {
            match what {
                Due::Leaves(server) => self.leaves(server),
                Due::Comes(server) => self.comes(server),
                Due::Ended(server, command) => self.ended(server, command),
                Due::Approves(approval) => self.approves(approval),
                Due::Asks(asking) => self.asks(asking),
                Due::Sweep(server, sensor) => self.sweep(server, sensor),
                Due::Note => notes = true,
                Due::Look => {}
            }
        }
        if notes {
            self.note();
        }
        self.look();
        true
    }

    fn take_due(&mut self) -> Option<Due> {
        let due = self.due.peek().is_some_and(|Reverse((at, _))| *at <= self.now);
        if due { self.due.pop().map(|Reverse((_, what))| what) } else { None }
    }

    fn input(&mut self, input: Input) {
        self.call(|engine, now, out| engine.handle(now, input, out));
    }

    fn call(&mut self, what: impl FnOnce(&mut Engine, Timestamp, &mut Vec<Output>)) {
        let mut out = Vec::new();
        let now = BEGIN.plus(self.now);
        what(&mut self.engine, now, &mut out);
        for output in out {
            match output {
                Output::Event(body) => {
                    if let EventBody::CommandIssued { command, .. } = &body {
                        self.deliver(command.clone());
                    }
                    let seq = self.verdict.events.len() as u64 + 1;
                    self.verdict.events.push(Event { seq, time: now, body });
                }
                Output::Resend(command) => self.deliver(command),
            }
        }
    }

    /// A command reaches its server, which begins to act.
    fn deliver(&mut self, command: Command) {
        let Some(at) = self.index.get(&command.server).copied() else { return };
        let Some(server) = self.servers.get_mut(at) else { return };
        if !server.connected || server.ledger.contains_key(&command.id) {
            return;
        }
        server.ledger.insert(command.id.clone(), None);
        let times = server.asked.entry(command.action.clone()).or_default();
        let written = self.test.outcomes.get(&command.action);
        let effect = written.and_then(|effects| effects.get(*times).or(effects.last())).cloned();
        *times += 1;
        let effect = effect.unwrap_or(Effect {
            after: Span::seconds(1),
            status: Status::Done,
            message: String::new(),
            sets: Vec::new(),
            servers: Vec::new(),
        });
        let due = Span(self.now.0 + effect.after.0);
        self.due.push(Reverse((due, Due::Ended(at, self.running.len()))));
        self.running.push((command, effect));
    }

    /// A command has run. Its effect is there even while the server is away; its outcome then waits in the ledger.
    fn ended(&mut self, server: usize, command: usize) {
        let Some((command, effect)) = self.running.get(command).cloned() else { return };
        for (series, level) in &effect.sets {
            let on: Vec<usize> = match effect.servers.as_slice() {
                [] => vec![server],
                named => named.iter().filter_map(|id| self.index.get(id).copied()).collect(),
            };
            for at in on {
                if let Some(server) = self.servers.get_mut(at) {
                    server.set(series, self.now, *level);
                }
            }
        }
        let outcome = Outcome {
            command: command.id.clone(),
            status: effect.status,
            message: effect.message,
            finished: BEGIN.plus(self.now),
            finished_boot_ms: UP + self.now.0,
            took_ms: u64::try_from(effect.after.0).unwrap_or(0),
        };
        let Some(fake) = self.servers.get_mut(server) else { return };
        fake.ledger.insert(command.id, Some(outcome.clone()));
        if fake.connected {
            let server = fake.id.clone();
            self.input(Input::Outcome { server, outcome });
        }
    }

    fn leaves(&mut self, server: usize) {
        let Some(fake) = self.servers.get_mut(server).filter(|s| s.connected) else { return };
        fake.forget_session();
        let server = fake.id.clone();
        self.input(Input::Disconnected { server, reason: "the test says so".to_owned() });
    }

    fn comes(&mut self, server: usize) {
        let Some(fake) = self.servers.get_mut(server).filter(|s| !s.connected) else { return };
        fake.connected = true;
        let (id, entries) = (fake.id.clone(), fake.inventory());
        self.input(Input::Connected { server: id.clone(), boot: "test".to_owned(), version: "test".to_owned() });
        self.input(Input::Inventory { server: id, entries });
    }

    /// An operator approves what waits for it.
    fn approves(&mut self, place: usize) {
        let Some(approval) = self.test.approvals.get(place) else { return };
        let waits = |incident: &Incident| {
            incident.state == State::Waiting
                && incident.scenario == approval.scenario
                && (approval.server.is_none() || incident.server() == approval.server.as_ref())
        };
        let waiting: Vec<_> = self.engine.incidents().into_iter().filter(waits).map(|incident| incident.id).collect();
        if waiting.is_empty() {
            self.remark(format!("{} approves, but nothing of {} waits", approval.by, approval.scenario));
        }
        for incident in waiting {
            self.input(Input::Approve { incident, by: approval.by.clone(), comment: String::new() });
        }
    }

    /// A person asks for something.
    fn asks(&mut self, place: usize) {
        let Some(asking) = self.test.requests.get(place) else { return };
        let asking = Asking {
            request: asking.request.clone(),
            parameters: Labels::new(asking.parameters.iter().map(|(name, value)| (name, value.to_string()))),
            by: asking.by.clone(),
            servers: asking.servers.clone(),
            customer: None,
        };
        let request = asking.request.clone();
        let mut refused = None;
        self.call(|engine, now, out| refused = engine.request(now, asking, out).err());
        if let Some(why) = refused {
            self.remark(format!("the request {request} is refused: {why}"));
        }
    }

    /// Something about the test itself, for its timeline.
    fn remark(&mut self, message: String) {
        let seq = self.verdict.events.len() as u64 + 1;
        let body = EventBody::Remark { server: None, topic: "test".to_owned(), message };
        self.verdict.events.push(Event { seq, time: BEGIN.plus(self.now), body });
    }

    fn sweep(&mut self, at: usize, sensor: usize) {
        let Some(server) = self.servers.get_mut(at) else { return };
        let (id, connected) = (server.id.clone(), server.connected);
        let Some(sensing) = server.sensors.get_mut(sensor) else { return };
        self.due.push(Reverse((Span(self.now.0 + sensing.every.0), Due::Sweep(at, sensor))));
        if !connected {
            return;
        }
        let (mut new, mut readings, mut failed) = (Vec::new(), Vec::new(), false);
        for line in &mut sensing.lines {
            match line.level(self.test, self.now) {
                Level::Value(value) => {
                    if !line.announced {
                        line.announced = true;
                        new.push((line.number, line.series.clone()));
                    }
                    readings.push((line.number, value));
                }
                Level::Gone => {}
                Level::Unknown => failed = true,
            }
        }
        if failed {
            readings.clear();
        }
        let (sensor, every) = (sensing.id.clone(), sensing.every);
        self.verdict.sweeps += 1;
        for (number, series) in new {
            self.input(Input::Announced { server: id.clone(), id: number, series });
        }
        let started_boot_ms = UP + self.now.0;
        self.call(|engine, now, out| {
            let end = if failed { SweepEnd::Failed } else { SweepEnd::Complete };
            let sweep = Sweep { sensor: &sensor, every, started: now, started_boot_ms, readings: &readings, end };
            engine.sweep(now, &id, &sweep, out);
        });
    }

    /// Notes what is read just now, to be shown.
    fn note(&mut self) {
        let lines = self.servers.iter().flat_map(|s| s.sensors.iter().flat_map(|s| &s.lines));
        for (past, line) in self.verdict.past.iter_mut().zip(lines) {
            past.levels.push((self.now, line.level(self.test, self.now)));
        }
    }

    /// Looks whether what is expected has come.
    fn look(&mut self) {
        let new = self.judge.heard(&self.verdict.events);
        for id in new {
            self.incidents.extend(self.engine.incident(&id).cloned());
        }
        for incident in self.incidents.iter_mut().filter(|incident| !incident.state.is_end()) {
            if let Some(now) = self.engine.incident(&incident.id) {
                incident.clone_from(now);
            }
        }
        let pending = match self.judge.wants_pending(self.now) {
            true => self.engine.incidents().into_iter().filter(|i| i.state == State::Pending).collect(),
            false => Vec::new(),
        };
        self.judge.look(self.now, &self.incidents, &pending);
    }
}

/// The policy with every scenario in the mode that the test names.
fn in_mode(policy: &Policy, test: &Test) -> Policy {
    let mut policy = policy.clone();
    if let Some(mode) = test.mode {
        for scenario in policy.scenarios.values_mut() {
            *scenario = Arc::new(Scenario { mode, ..(**scenario).clone() });
        }
    }
    policy
}
