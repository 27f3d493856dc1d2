//! A fleet of 300 servers in 10 clusters under a rollout: the real rollout code and the real engine in virtual time, over
//! agents that only take policies, sweep, act, get lost and die. A seed decides everything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skynet_controller::rollout::{self, Health, Member, Order, State};
use skynet_engine::{Engine, Input, Output, Sweep, SweepEnd};
use skynet_model::command::{Command, LedgerEntry, Outcome, Status};
use skynet_model::event::{Event, EventBody};
use skynet_model::name::ServerId;
use skynet_model::policy::{File, Policy, load};
use skynet_model::series::{Labels, SeriesKey};
use skynet_model::time::{Span, Timestamp};

use super::Rng;

const CLUSTERS: usize = 10;
const SERVERS: usize = 300;
/// A step of the world, milliseconds; and how often sensors sweep.
const STEP: i64 = 5000;
const SWEEP: Span = Span::seconds(30);
/// Longest course, milliseconds.
const LONGEST: i64 = 3 * 3_600_000;

/// What is wrong with the new version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// Nothing.
    Nothing,
    /// Its new sensor fails.
    Sensor,
    /// It has a scenario that is always true, with a disruptive action that cures nothing.
    Scenario,
    /// Both.
    Both,
    /// Agents die of it.
    Crash,
}

const BASE: &str = "fleet: sim\nrollout: { waves: [1, 5%, 25%, 100%], soak: 10m }\n---\nprofile: all\nmatch: { role: web }\nsensors:\n  \
    - cpu: { every: 30s }\n";
const SENSOR: &str =
    "  - exec: { name: queue, script: broken, every: 30s }\n---\nscript: broken\ninterpreter: /bin/sh\nbody: exit 9\n";
const SCENARIO: &str = "---\nscenario: always\nwhen: cpu.busy_ratio >= 0\nmode: enforce\nrespond:\n  - do: service.restart\n    with: \
    { unit: web.service }\n    verify_within: 1m\n";

/// The policies of this simulation: the good one and what may follow it.
///
/// # Errors
/// A policy does not load.
pub fn policy(bad: Bad) -> Result<Arc<Policy>, String> {
    let text = match bad {
        Bad::Nothing | Bad::Crash => BASE.to_owned(),
        Bad::Sensor => format!("{BASE}{SENSOR}"),
        Bad::Scenario => format!("{BASE}{SCENARIO}"),
        Bad::Both => format!("{BASE}{SENSOR}{SCENARIO}"),
    };
    let files = [File { name: "sim.yaml".to_owned(), text }];
    load(&files, skynet_node::catalogue()).map(Arc::new).map_err(|errors| format!("{errors:#?}"))
}

#[derive(Debug)]
struct Node {
    id: ServerId,
    version: u64,
    previous: Option<u64>,
    given_up: Option<u64>,
    connected: bool,
    back_at: i64,
    starts: u32,
    ledger: Vec<LedgerEntry>,
    /// Commands under way, with when they end.
    acting: Vec<(i64, Command)>,
    /// Sweeps of the new sensor that failed.
    failures: u64,
    offset: i64,
}

/// What a seed did.
#[derive(Clone, Debug, Default)]
pub struct Course {
    /// Servers that ever ran the new version.
    pub reached: usize,
    /// Servers on which something was done under the new version.
    pub acted: usize,
    /// Controller restarts.
    pub restarts: u64,
    /// Virtual milliseconds.
    pub took: i64,
}

/// One seed's fleet.
pub struct Rollout {
    seed: u64,
    rng: Rng,
    now: i64,
    bad: Bad,
    policies: BTreeMap<u64, Arc<Policy>>,
    engine: Engine,
    rollout: State,
    journal: Vec<Event>,
    nodes: Vec<Node>,
    reached: BTreeSet<ServerId>,
    acted: BTreeSet<ServerId>,
    restarts: u64,
}

impl Rollout {
    /// All servers run version 1.
    #[must_use]
    pub fn new(seed: u64, bad: Bad, good: Arc<Policy>, next: Arc<Policy>) -> Self {
        let mut rng = Rng::new(seed);
        let node = |n: usize| {
            let name = format!("c{}-s{n:03}", n % CLUSTERS);
            Node {
                id: ServerId::new(&name).unwrap_or_else(|_| unreachable!("a plain name")),
                version: 1,
                previous: None,
                given_up: None,
                connected: false,
                back_at: 0,
                starts: 0,
                ledger: Vec::new(),
                acting: Vec::new(),
                failures: 0,
                offset: rng.below(6) as i64 * STEP,
            }
        };
        let nodes = (0..SERVERS).map(node).collect();
        let policies = BTreeMap::from([(1, good), (2, next)]);
        Self {
            seed,
            rng,
            now: 1_000_000_000,
            bad,
            policies,
            engine: Engine::new(),
            rollout: State::default(),
            journal: Vec::new(),
            nodes,
            reached: BTreeSet::new(),
            acted: BTreeSet::new(),
            restarts: 0,
        }
    }

    fn event(&mut self, body: EventBody) {
        let time = Timestamp(self.now);
        self.rollout.apply(time, &body);
        if let EventBody::CommandIssued { command, .. } = &body
            && let Some(node) = self.nodes.iter_mut().find(|node| node.id == command.server && node.connected)
        {
            node.acting.push((self.now + STEP, command.clone()));
        }
        self.journal.push(Event { seq: self.journal.len() as u64 + 1, time, body });
    }

    fn decided(&mut self, out: Vec<Output>) {
        for output in out {
            if let Output::Event(body) = output {
                self.event(body);
            }
        }
    }

    fn tell(&mut self, input: Input) {
        let mut out = Vec::new();
        self.engine.handle(Timestamp(self.now), input, &mut out);
        self.decided(out);
    }

    /// A controller begins on what the journal says.
    fn boot(&mut self) {
        self.engine = Engine::new();
        self.journal.iter().for_each(|event| self.engine.replay(event));
        self.rollout = State::of(&self.journal);
        let epoch = self.restarts + 1;
        self.event(EventBody::ControllerStarted { epoch, version: "sim".to_owned() });
        if self.rollout.base().is_none() {
            self.event(EventBody::PolicyActivated { version: 1, digest: "1".to_owned(), by: "sim".to_owned() });
        }
        let now = Timestamp(self.now);
        self.engine.start(now, epoch);
        let (base, mut out) = (self.rollout.base().unwrap_or(1), Vec::new());
        self.engine.set_policy(now, base, Arc::clone(&self.policies[&base]), &mut out);
        self.decided(out);
        for n in 0..self.nodes.len() {
            let server = self.nodes[n].id.clone();
            let labels = Labels::new([("role", "web"), ("cluster", server.as_str().split('-').next().unwrap_or(""))]);
            self.tell(Input::Labelled { server, labels });
            self.align(n);
            self.nodes[n].connected = false;
            self.nodes[n].back_at = self.now + self.rng.below(20) as i64 * 1000;
        }
    }

    fn align(&mut self, n: usize) {
        let (id, version) = (self.nodes[n].id.clone(), self.nodes[n].version);
        let mut out = Vec::new();
        self.engine.assign(Timestamp(self.now), &id, version, &self.policies[&version], &mut out);
        self.decided(out);
    }

    fn connect(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        node.connected = true;
        let (server, entries, version) = (node.id.clone(), node.ledger.clone(), node.version);
        let given_up = node.given_up;
        self.tell(Input::Connected { server: server.clone(), boot: "sim".to_owned(), version: "sim".to_owned() });
        let series = SeriesKey::new("cpu.busy_ratio", [("", ""); 0]);
        self.tell(Input::Announced { server: server.clone(), id: 1, series });
        self.tell(Input::Inventory { server: server.clone(), entries });
        self.tell(Input::PolicyStatus { server: server.clone(), version, error: None });
        if let Some(version) = given_up {
            let error = Some("given up for the last good version".to_owned());
            self.tell(Input::PolicyStatus { server, version, error });
        }
        self.align(n);
    }

    fn disconnect(&mut self, n: usize, away: i64) {
        let node = &mut self.nodes[n];
        (node.connected, node.back_at) = (false, self.now + away);
        node.acting.clear();
        let server = node.id.clone();
        self.tell(Input::Disconnected { server, reason: "lost".to_owned() });
    }

    /// What the controller would send, and what the agent makes of it.
    fn policy(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        match self.rollout.order(&node.id, Some(node.version)) {
            Some(Order::Push(version)) if node.given_up != Some(version) && version > node.version => {
                node.previous = Some(std::mem::replace(&mut node.version, version));
                node.starts = 0;
                self.reached.insert(node.id.clone());
            }
            Some(Order::Return(version)) if node.previous == Some(version) => {
                node.version = version;
                (node.previous, node.failures) = (None, 0);
            }
            Some(_) | None => return,
        }
        let (server, version) = (node.id.clone(), node.version);
        self.tell(Input::PolicyStatus { server, version, error: None });
        self.align(n);
    }

    fn agent(&mut self, n: usize) {
        if !self.nodes[n].connected {
            if self.now >= self.nodes[n].back_at {
                self.connect(n);
            }
            return;
        }
        self.policy(n);
        let node = &mut self.nodes[n];
        if self.bad == Bad::Crash && node.version == 2 {
            node.starts += 1;
            if node.starts == 2 {
                // As the real one does: alone, and it says so.
                (node.version, node.given_up) = (1, Some(2));
            }
            let server = Some(node.id.clone());
            self.disconnect(n, 2000);
            self.event(EventBody::Remark { server, topic: "agent_restarted".to_owned(), message: String::new() });
            return;
        }
        let due: Vec<Command> = node.acting.iter().filter(|(at, _)| *at <= self.now).map(|(_, c)| c.clone()).collect();
        node.acting.retain(|(at, _)| *at > self.now);
        for command in due {
            let node = &mut self.nodes[n];
            let known = command.policy == node.version || node.previous == Some(command.policy);
            if known && command.policy == 2 {
                self.acted.insert(node.id.clone());
            }
            let status = if known { Status::Done } else { Status::Refused };
            let (finished, finished_boot_ms) = (Timestamp(self.now), self.now);
            let message = String::new();
            let outcome =
                Outcome { command: command.id.clone(), status, message, finished, finished_boot_ms, took_ms: 1 };
            node.ledger.push(LedgerEntry { command: command.id, outcome: Some(outcome.clone()) });
            let server = node.id.clone();
            self.tell(Input::Outcome { server, outcome });
        }
        let node = &mut self.nodes[n];
        if (self.now + node.offset) % SWEEP.0 == 0 {
            let broken = matches!(self.bad, Bad::Sensor | Bad::Both) && node.version == 2;
            node.failures = if broken { node.failures + 1 } else { 0 };
            let (id, value) = (node.id.clone(), self.rng.below(80) as f64 / 100.0);
            let sweep = Sweep {
                sensor: "cpu",
                every: SWEEP,
                started: Timestamp(self.now),
                started_boot_ms: self.now,
                readings: &[(1, value)],
                end: SweepEnd::Complete,
            };
            let mut out = Vec::new();
            self.engine.sweep(Timestamp(self.now), &id, &sweep, &mut out);
            self.decided(out);
        }
    }

    fn roll(&mut self) -> Result<(), String> {
        let failing = |node: &&Node| node.connected && node.failures > 0;
        let health: Health = self
            .nodes
            .iter()
            .filter(failing)
            .map(|node| (node.id.clone(), BTreeMap::from([("exec:queue".to_owned(), node.failures)])))
            .collect();
        let base = self.rollout.base().and_then(|base| self.policies.get(&base)).cloned();
        for _ in 0..100 {
            let due = rollout::advance(&self.rollout, Timestamp(self.now), &health, base.as_deref());
            if due.is_empty() {
                return Ok(());
            }
            for body in due {
                let active = if let EventBody::PolicyActivated { version, .. } = &body { Some(*version) } else { None };
                self.event(body);
                if let Some(version) = active {
                    let mut out = Vec::new();
                    let policy = Arc::clone(&self.policies[&version]);
                    self.engine.set_policy(Timestamp(self.now), version, policy, &mut out);
                    self.decided(out);
                }
            }
        }
        Err(format!("seed {}: the rollout goes round in circles", self.seed))
    }

    fn step(&mut self) -> Result<(), String> {
        self.now += STEP;
        self.tell(Input::Wake);
        self.roll()?;
        for n in 0..self.nodes.len() {
            self.agent(n);
        }
        if self.rng.one_in(8) {
            let n = self.rng.below(SERVERS as u64) as usize;
            if self.nodes[n].connected {
                let away = 1000 + self.rng.below(60_000) as i64;
                self.disconnect(n, away);
            }
        }
        if self.rng.one_in(150) {
            self.restarts += 1;
            self.boot();
        }
        Ok(())
    }

    /// Rolls the next version out and checks how that ends.
    ///
    /// # Errors
    /// The promise that was broken, with the seed.
    pub fn run(mut self) -> Result<Course, String> {
        self.boot();
        for _ in 0..12 {
            self.step()?;
        }
        let members: Vec<Member> = self
            .nodes
            .iter()
            .map(|node| Member {
                server: node.id.clone(),
                cluster: node.id.as_str().split('-').next().unwrap_or_default().to_owned(),
                connected: node.connected,
                healthy: true,
            })
            .collect();
        let fleet = &self.policies[&2].fleet;
        let (waves, soak) = (rollout::waves(&members, &fleet.waves), fleet.soak);
        let began = self.now;
        let (digest, by) = ("2".to_owned(), "sim".to_owned());
        self.event(EventBody::RolloutStarted { version: 2, digest, by, waves, soak });
        while self.rollout.under_way().is_some() {
            self.step()?;
            if self.now - began > LONGEST {
                return Err(self.broken("it does not end"));
            }
        }
        let took = self.now - began;
        // Whoever is away comes back.
        for _ in 0..60 {
            self.step()?;
        }
        let run = self.rollout.run().ok_or("no rollout")?.clone();
        let ended = run.ended.as_ref().ok_or("no end")?;
        let wanted = if self.bad == Bad::Nothing { 2 } else { 1 };
        let wrong = self.nodes.iter().filter(|node| node.connected && node.version != wanted).count();
        let notices = self.journal.iter().filter(|e| matches!(e.body, EventBody::NoticeRaised { .. })).count();
        if self.bad == Bad::Nothing {
            if ended.rolled_back {
                return Err(self.broken(&format!("a good version went back: {}", ended.reason)));
            }
        } else {
            if !ended.rolled_back || ended.by != rollout::SKYNET {
                return Err(self.broken(&format!("it did not go back by itself: {ended:?}")));
            }
            if run.wave != Some(0) || self.reached.len() > 1 || self.acted.len() > 1 {
                let (reached, acted) = (self.reached.len(), self.acted.len());
                return Err(self.broken(&format!("past its canary: {:?}, {reached} had it, {acted} acted", run.wave)));
            }
            let told = self
                .journal
                .iter()
                .any(|e| matches!(&e.body, EventBody::NoticeRaised { notice } if notice.id.as_str() == "n-rollout-2"));
            if !told || notices == 0 {
                return Err(self.broken("nobody was told"));
            }
        }
        if wrong > 0 || self.rollout.base() != Some(wanted) {
            return Err(self.broken(&format!("{wrong} servers do not run version {wanted}")));
        }
        if let Some(node) = self.nodes.iter().find(|n| n.connected && self.engine.version_of(Some(&n.id)) != wanted) {
            return Err(self.broken(&format!("the engine judges {} by another version", node.id)));
        }
        Ok(Course { reached: self.reached.len(), acted: self.acted.len(), restarts: self.restarts, took })
    }

    fn broken(&self, what: &str) -> String {
        let of_rollout = |e: &&Event| {
            matches!(
                e.body,
                EventBody::RolloutStarted { .. } | EventBody::WaveStarted { .. } | EventBody::RolloutEnded { .. }
            )
        };
        let events: Vec<String> = self
            .journal
            .iter()
            .filter(of_rollout)
            .map(|e| format!("{:?}", e.body).chars().take(200).collect())
            .collect();
        format!("seed {}, {:?}: {what}\n{}", self.seed, self.bad, events.join("\n"))
    }
}
