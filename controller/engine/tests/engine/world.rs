//! A fleet of fake servers in virtual time: actions set series, every second each sensor sweeps. When a world ends, its
//! events are replayed and must give the state it had.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skynet_engine::{Asking, Engine, Input, Output, Sweep, SweepEnd};
use skynet_model::command::{Command, LedgerEntry, Outcome, Status};
use skynet_model::event::{Event, EventBody};
use skynet_model::incident::{Incident, Notice, Rail, State};
use skynet_model::name::{CommandId, IncidentId, ServerId};
use skynet_model::policy::{File, Policy, load};
use skynet_model::series::Labels;
use skynet_model::time::{Span, Timestamp};

use crate::catalogue::CATALOGUE;

pub(crate) const PROFILE: &str =
    "profile: web\nmatch: { role: web }\nsensors: [auth, cpu, disk, http, load, network, process, service]\n---\n";

/// What an action does to a fake server.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    pub(crate) status: Status,
    pub(crate) sets: Vec<(String, Option<f64>)>,
    /// Seconds until the outcome; none: there never is one.
    pub(crate) after: Option<i64>,
}

#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) id: ServerId,
    pub(crate) connected: bool,
    pub(crate) boot: u32,
    booted: i64,
    next_id: u32,
    ids: BTreeMap<String, u32>,
    pub(crate) series: BTreeMap<String, f64>,
    pub(crate) failing: BTreeSet<String>,
    pub(crate) silent: BTreeSet<String>,
    pub(crate) acts: BTreeMap<String, Act>,
    pub(crate) ledger: BTreeMap<CommandId, Option<Outcome>>,
    due: Vec<(i64, CommandId, Act)>,
    pub(crate) lose_commands: bool,
    /// Commands that had an effect, in order.
    pub(crate) effects: Vec<Command>,
}

pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) now: i64,
    pub(crate) events: Vec<Event>,
    pub(crate) resent: Vec<Command>,
    pub(crate) fakes: BTreeMap<String, Fake>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) version: u64,
    epoch: u64,
    /// The rail that is left out.
    without: Option<Rail>,
}

pub(crate) fn policy(text: &str) -> Arc<Policy> {
    let file = File { name: "p.yaml".to_owned(), text: format!("{PROFILE}{text}") };
    match load(&[file], &CATALOGUE) {
        Ok(policy) => Arc::new(policy),
        Err(mistakes) => panic!("{}", mistakes.iter().map(|m| format!("{m}\n")).collect::<String>()),
    }
}

pub(crate) fn server(name: &str) -> ServerId {
    ServerId::new(name).unwrap()
}

fn engine(without: Option<Rail>) -> Engine {
    match without {
        Some(rail) => Engine::new().without_rail(rail),
        None => Engine::new(),
    }
}

/// The name of a cluster's server: `shop-a`, `shop-b`...
pub(crate) fn member(cluster: &str, n: u8) -> String {
    format!("{cluster}-{}", char::from(b'a' + n))
}

impl World {
    /// One server, `web1`, connected and merged, under this policy.
    pub(crate) fn new(text: &str) -> Self {
        let mut world = Self::empty(text);
        world.add("web1");
        world
    }

    pub(crate) fn empty(text: &str) -> Self {
        Self::without(text, None)
    }

    /// No servers yet, and an engine without one of its rails.
    pub(crate) fn without(text: &str, rail: Option<Rail>) -> Self {
        let mut world = Self {
            engine: engine(rail),
            now: 1_000_000_000,
            events: Vec::new(),
            resent: Vec::new(),
            fakes: BTreeMap::new(),
            policy: policy(text),
            version: 1,
            epoch: 1,
            without: rail,
        };
        world.engine.start(Timestamp(world.now), 1);
        let policy = Arc::clone(&world.policy);
        world.call(|engine, now, out| engine.set_policy(now, 1, policy, out));
        world
    }

    pub(crate) fn add(&mut self, name: &str) {
        self.add_in(name, "shop");
    }

    /// So many servers of a cluster: `shop-a`, `shop-b`...
    pub(crate) fn add_cluster(&mut self, cluster: &str, servers: u8) {
        for n in 0..servers {
            self.add_in(&member(cluster, n), cluster);
        }
    }

    pub(crate) fn add_in(&mut self, name: &str, cluster: &str) {
        self.add_with(name, &[("role", "web"), ("cluster", cluster)]);
    }

    /// A server, connected and merged.
    pub(crate) fn add_with(&mut self, name: &str, labels: &[(&str, &str)]) {
        let id = server(name);
        let fake = Fake {
            id: id.clone(),
            connected: false,
            boot: 1,
            booted: self.now,
            next_id: 1,
            ids: BTreeMap::new(),
            series: BTreeMap::new(),
            failing: BTreeSet::new(),
            silent: BTreeSet::new(),
            acts: BTreeMap::new(),
            ledger: BTreeMap::new(),
            due: Vec::new(),
            lose_commands: false,
            effects: Vec::new(),
        };
        self.fakes.insert(name.to_owned(), fake);
        self.input(Input::Labelled { server: id, labels: Labels::new(labels.iter().copied()) });
        self.connect(name);
        self.merge(name);
    }

    pub(crate) fn call(&mut self, what: impl FnOnce(&mut Engine, Timestamp, &mut Vec<Output>)) {
        let mut out = Vec::new();
        what(&mut self.engine, Timestamp(self.now), &mut out);
        for output in out {
            match output {
                Output::Event(body) => {
                    if let EventBody::CommandIssued { command, .. } = &body {
                        let halted = self.engine.halted().is_some();
                        assert!(!halted || self.without == Some(Rail::Halt), "an action while halted");
                        let works = self.engine.in_maintenance(&command.server, Timestamp(self.now)).is_some();
                        let left_out = self.without == Some(Rail::Maintenance);
                        assert!(!works || left_out, "an action on a server in maintenance");
                        let there = self.fakes[command.server.as_str()].connected;
                        assert!(there || self.without == Some(Rail::Server), "an action on a server that is away");
                        self.deliver(command.clone());
                    }
                    let seq = self.events.len() as u64 + 1;
                    self.events.push(Event { seq, time: Timestamp(self.now), body });
                }
                Output::Resend(command) => {
                    self.resent.push(command.clone());
                    self.deliver(command);
                }
            }
        }
        let live = |i: &Incident| matches!(i.state, State::Waiting | State::Acting | State::Verifying);
        if self.engine.incidents().iter().any(live) {
            assert!(self.engine.next_wake().is_some(), "a live incident has no deadline");
        }
        if let Some(wake) = self.engine.next_wake() {
            assert!(wake > Timestamp(self.now), "a deadline stays behind");
        }
    }

    pub(crate) fn input(&mut self, input: Input) {
        self.call(|engine, now, out| engine.handle(now, input, out));
    }

    /// Somebody asks for something on these servers.
    pub(crate) fn ask(
        &mut self,
        request: &str,
        parameters: &[(&str, &str)],
        on: &[&str],
    ) -> Result<IncidentId, String> {
        let asking = Asking {
            request: request.to_owned(),
            parameters: Labels::new(parameters.iter().copied()),
            by: "ann".to_owned(),
            servers: on.iter().map(|name| server(name)).collect(),
            customer: None,
        };
        self.ask_all(asking).map(|mut ids| ids.remove(0))
    }

    pub(crate) fn ask_all(&mut self, asking: Asking) -> Result<Vec<IncidentId>, String> {
        let mut answer = Err(String::new());
        self.call(|engine, now, out| answer = engine.request(now, asking, out));
        answer
    }

    fn deliver(&mut self, command: Command) {
        let now = self.now;
        let Some(fake) = self.fakes.get_mut(command.server.as_str()) else { return };
        if !fake.connected || fake.lose_commands || fake.ledger.contains_key(&command.id) {
            return;
        }
        let default = Act { status: Status::Done, sets: Vec::new(), after: Some(0) };
        let act = fake.acts.get(&command.action).cloned().unwrap_or(default);
        fake.ledger.insert(command.id.clone(), None);
        for (series, value) in &act.sets {
            match value {
                Some(value) => fake.series.insert(series.clone(), *value),
                None => fake.series.remove(series),
            };
        }
        if let Some(after) = act.after {
            fake.due.push((now + after * 1000, command.id.clone(), act));
        }
        fake.effects.push(command);
    }

    pub(crate) fn connect(&mut self, name: &str) {
        let fake = self.fakes.get_mut(name).unwrap();
        fake.connected = true;
        fake.ids.clear();
        fake.next_id = 1;
        let (id, boot) = (fake.id.clone(), format!("boot-{}", fake.boot));
        self.input(Input::Connected { server: id, boot, version: "1".to_owned() });
    }

    pub(crate) fn merge(&mut self, name: &str) {
        let fake = &self.fakes[name];
        let entries = fake
            .ledger
            .iter()
            .map(|(command, outcome)| LedgerEntry { command: command.clone(), outcome: outcome.clone() });
        let (server, entries) = (fake.id.clone(), entries.collect());
        self.input(Input::Inventory { server, entries });
    }

    pub(crate) fn disconnect(&mut self, name: &str) {
        let fake = self.fakes.get_mut(name).unwrap();
        fake.connected = false;
        let server = fake.id.clone();
        self.input(Input::Disconnected { server, reason: "gone".to_owned() });
    }

    pub(crate) fn reboot(&mut self, name: &str) {
        self.disconnect(name);
        let now = self.now;
        let fake = self.fakes.get_mut(name).unwrap();
        fake.boot += 1;
        fake.booted = now;
        self.connect(name);
        self.merge(name);
    }

    pub(crate) fn set(&mut self, name: &str, series: &str, value: f64) {
        self.fakes.get_mut(name).unwrap().series.insert(series.to_owned(), value);
    }

    pub(crate) fn remove(&mut self, name: &str, series: &str) {
        self.fakes.get_mut(name).unwrap().series.remove(series);
    }

    /// The fake's agent says that a series has ended.
    pub(crate) fn retire(&mut self, name: &str, series: &str) {
        let fake = self.fakes.get_mut(name).unwrap();
        fake.series.remove(series);
        if let Some(id) = fake.ids.remove(series) {
            let server = fake.id.clone();
            self.input(Input::Retired { server, id });
        }
    }

    pub(crate) fn act(&mut self, name: &str, action: &str, act: Act) {
        self.fakes.get_mut(name).unwrap().acts.insert(action.to_owned(), act);
    }

    /// The action is done at once and sets series (none: ends them).
    pub(crate) fn cures(&mut self, name: &str, action: &str, sets: &[(&str, Option<f64>)]) {
        let sets = sets.iter().map(|(s, v)| ((*s).to_owned(), *v)).collect();
        self.act(name, action, Act { status: Status::Done, sets, after: Some(0) });
    }

    pub(crate) fn ends(&mut self, name: &str, action: &str, status: Status, after: Option<i64>) {
        self.act(name, action, Act { status, sets: Vec::new(), after });
    }

    /// One sweep of one sensor, begun `age_ms` ago.
    pub(crate) fn sweep(&mut self, name: &str, sensor: &str, age_ms: i64) {
        let started = self.now - age_ms;
        let fake = self.fakes.get_mut(name).unwrap();
        let prefix = format!("{sensor}.");
        let mut announce = Vec::new();
        let mut readings = Vec::new();
        let failed = fake.failing.contains(sensor);
        for (series, value) in fake.series.iter().filter(|(s, _)| s.starts_with(&prefix) && !failed) {
            let id = *fake.ids.entry(series.clone()).or_insert_with(|| {
                fake.next_id += 1;
                announce.push((fake.next_id - 1, series.clone()));
                fake.next_id - 1
            });
            readings.push((id, *value));
        }
        readings.sort_by_key(|(id, _)| *id);
        let (id, booted) = (fake.id.clone(), fake.booted);
        for (number, series) in announce {
            self.input(Input::Announced { server: id.clone(), id: number, series: series.parse().unwrap() });
        }
        let end = if failed { SweepEnd::Failed } else { SweepEnd::Complete };
        self.call(|engine, now, out| {
            let sweep = Sweep {
                sensor,
                every: Span::seconds(1),
                started: Timestamp(started),
                started_boot_ms: started - booted,
                readings: &readings,
                end,
            };
            engine.sweep(now, &id, &sweep, out);
        });
    }

    /// Windows that want their past get it from `known`: wall times and values of series. Gives how many asked.
    pub(crate) fn feed(&mut self, name: &str, known: &BTreeMap<String, Vec<(i64, f64)>>) -> usize {
        let id = self.fakes[name].id.clone();
        let seat = self.engine.seat(&id).unwrap();
        let mut asked = seat.enter(Timestamp(self.now)).unwrap().hungry(1000);
        for past in &mut asked {
            for (time, value) in known.get(&past.series().to_string()).into_iter().flatten() {
                past.push(Timestamp(*time), *value);
            }
        }
        let count = asked.len();
        let mut hot = seat.enter(Timestamp(self.now)).unwrap();
        asked.into_iter().for_each(|past| hot.feed(past));
        if hot.leave() {
            self.input(Input::Found { server: id });
        }
        count
    }

    /// Whether an incident of a scenario is live.
    pub(crate) fn is_live(&self, scenario: &str) -> bool {
        self.engine.incidents().iter().any(|i| i.scenario.as_str() == scenario && !i.state.is_end())
    }

    /// Outcomes that are due.
    pub(crate) fn report(&mut self) {
        let now = self.now;
        let mut outcomes = Vec::new();
        for fake in self.fakes.values_mut() {
            let due: Vec<_> = fake.due.extract_if(.., |(at, _, _)| *at <= now).collect();
            for (_, command, act) in due {
                let outcome = Outcome {
                    command: command.clone(),
                    status: act.status,
                    message: "said".to_owned(),
                    finished: Timestamp(now),
                    finished_boot_ms: now - fake.booted,
                    took_ms: 3,
                };
                fake.ledger.insert(command, Some(outcome.clone()));
                if fake.connected {
                    outcomes.push((fake.id.clone(), outcome));
                }
            }
        }
        for (server, outcome) in outcomes {
            self.input(Input::Outcome { server, outcome });
        }
    }

    /// Time passes, second by second; every sensor of every connected server sweeps in each.
    pub(crate) fn run(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.pass(1);
            let names: Vec<String> = self.fakes.keys().cloned().collect();
            for name in names {
                for sensor in ["auth", "cpu", "disk", "http", "load", "network", "process", "service"] {
                    if self.fakes[&name].connected && !self.fakes[&name].silent.contains(sensor) {
                        self.sweep(&name, sensor, 0);
                    }
                }
            }
        }
    }

    /// Time passes without a sweep.
    pub(crate) fn pass(&mut self, seconds: i64) {
        let end = self.now + seconds * 1000;
        while let Some(wake) = self.engine.next_wake().filter(|at| at.0 <= end) {
            self.now = self.now.max(wake.0);
            self.report();
            self.input(Input::Wake);
        }
        self.now = end;
        self.report();
    }

    /// The controller dies and comes back from its journal; servers have to connect again.
    pub(crate) fn restart(&mut self) {
        self.restart_under(Arc::clone(&self.policy));
    }

    pub(crate) fn restart_under(&mut self, policy: Arc<Policy>) {
        self.check_replay();
        self.engine = engine(self.without);
        for event in &self.events {
            self.engine.replay(event);
        }
        self.epoch += 1;
        self.engine.start(Timestamp(self.now), self.epoch);
        for fake in self.fakes.values_mut() {
            fake.connected = false;
        }
        self.policy = Arc::clone(&policy);
        let version = self.version;
        self.call(|engine, now, out| engine.set_policy(now, version, policy, out));
    }

    pub(crate) fn push(&mut self, text: &str) {
        self.version += 1;
        self.policy = policy(text);
        let (version, policy) = (self.version, Arc::clone(&self.policy));
        self.call(|engine, now, out| engine.set_policy(now, version, policy, out));
    }

    /// One server alone runs another version.
    pub(crate) fn assign(&mut self, name: &str, version: u64, text: &str) {
        let policy = policy(text);
        self.call(|engine, now, out| engine.assign(now, &server(name), version, &policy, out));
    }

    /// Incidents that opened, oldest first.
    pub(crate) fn opened(&self) -> Vec<Incident> {
        let ids = self.events.iter().filter_map(|e| match &e.body {
            EventBody::IncidentOpened { incident } => Some(&incident.id),
            _ => None,
        });
        ids.map(|id| self.engine.incident(id).unwrap().clone()).collect()
    }

    /// The newest incident.
    #[track_caller]
    pub(crate) fn last(&self) -> Incident {
        self.opened().pop().expect("an incident opened")
    }

    /// States of all incidents, oldest first.
    pub(crate) fn states(&self) -> Vec<State> {
        self.opened().iter().map(|i| i.state).collect()
    }

    pub(crate) fn notices(&self) -> Vec<Notice> {
        let raised = self.events.iter().filter_map(|e| match &e.body {
            EventBody::NoticeRaised { notice } => Some((**notice).clone()),
            _ => None,
        });
        raised.collect()
    }

    pub(crate) fn holds(&self) -> Vec<Rail> {
        let held = self.events.iter().filter_map(|e| match &e.body {
            EventBody::IncidentHeld { hold, .. } => Some(hold.rail),
            _ => None,
        });
        held.collect()
    }

    /// How many commands had an effect, on whatever server.
    pub(crate) fn acted(&self) -> usize {
        self.fakes.values().map(|fake| fake.effects.len()).sum()
    }

    /// The newest incident of a server.
    #[track_caller]
    pub(crate) fn of(&self, name: &str) -> Incident {
        self.opened().into_iter().rfind(|i| i.server() == Some(&server(name))).expect("an incident of the server")
    }

    /// Commands that had an effect on a server, as action names.
    pub(crate) fn effects(&self, name: &str) -> Vec<String> {
        self.fakes[name].effects.iter().map(|c| c.action.clone()).collect()
    }

    pub(crate) fn check_replay(&self) {
        let mut again = Engine::new();
        for event in &self.events {
            let text = serde_json::to_string(event).unwrap();
            again.replay(&serde_json::from_str(&text).unwrap());
        }
        assert_eq!(again.durable_state(), self.engine.durable_state(), "replay differs from the live state");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check_replay();
        }
    }
}
