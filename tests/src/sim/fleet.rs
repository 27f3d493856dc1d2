//! Three hundred servers in ten clusters, and one cluster of which 60 % break at once: the real engine, servers that
//! restart a service for a while, sessions that end, a controller that dies. What is counted here is counted by the
//! servers, not by the engine: how many of a cluster are restarting at any instant.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;

use skynet_engine::{Engine, Input, Output, Sweep, SweepEnd};
use skynet_model::command::{Command, LedgerEntry, Outcome, Status};
use skynet_model::event::{Event, EventBody};
use skynet_model::incident::{NoticeKind, State};
use skynet_model::name::{CommandId, ServerId};
use skynet_model::policy::{File, Policy, load};
use skynet_model::series::Labels;
use skynet_model::time::{Span, Timestamp};

use super::rng::Rng;

const CLUSTERS: usize = 10;
const MEMBERS: usize = 30;
/// 60 % of a cluster.
const BROKEN: usize = 18;
/// A step of the world, and how often a server sweeps, milliseconds.
const STEP: i64 = 1000;
const SWEEP: i64 = 10_000;
/// When what is still broken is mended by hand, and when the world ends.
const MENDED: i64 = 14 * 60_000;
const END: i64 = 18 * 60_000;

/// How much of a cluster may be acted on at a time, in percent, and whether the common-cause brake is on.
#[derive(Clone, Copy, Debug)]
pub struct Rails {
    /// Percent of the cluster's servers.
    pub radius: usize,
    /// Whether 30 % of a cluster are a common cause; else only all of it are.
    pub brake: bool,
}

impl Rails {
    /// One of six, by the seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        Self { radius: [5, 10, 20][(seed % 3) as usize], brake: seed.is_multiple_of(2) }
    }

    /// How many servers that is: by hand, not by the engine's arithmetic.
    fn servers(self) -> usize {
        (self.radius * MEMBERS / 100).max(1)
    }

    fn policy(self) -> Arc<Policy> {
        let (radius, share) = (self.radius, if self.brake { 30 } else { 100 });
        let text = format!(
            "fleet: sim\nrails: {{ blast_radius: {radius}%, blast_radius_per_hour: 100%, common_cause_share: {share}%, \
             breaker_after: 1000, per_hour: 1000, at_once: 100 }}\n---\nprofile: all\nmatch: {{ sim: \"yes\" }}\n\
             sensors:\n  - service: {{ units: [a.service], every: 10s }}\n---\nscenario: dead-service\n\
             when: service.up == 0\nmode: enforce\nrespond:\n  - do: service.restart\n    \
             with: {{ unit: \"${{service}}\" }}\n    verify_within: 40s\n"
        );
        let files = [File { name: "sim.yaml".to_owned(), text }];
        Arc::new(load(&files, skynet_node::catalogue()).unwrap_or_else(|errors| panic!("{errors:#?}")))
    }
}

/// What a seed did.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Restarts that ran.
    pub restarts: u64,
    /// The most servers of one cluster that were restarting at once.
    pub most_at_once: usize,
    /// Common causes that were found.
    pub causes: u64,
    /// Incidents that were opened.
    pub incidents: u64,
    /// Notices, all kinds.
    pub notices: u64,
    /// Sessions that ended and controllers that died.
    pub faults: u64,
}

impl Figures {
    /// Adds another seed's.
    pub fn add(&mut self, other: &Self) {
        self.restarts += other.restarts;
        self.most_at_once = self.most_at_once.max(other.most_at_once);
        self.causes += other.causes;
        self.incidents += other.incidents;
        self.notices += other.notices;
        self.faults += other.faults;
    }
}

struct Server {
    id: ServerId,
    cluster: usize,
    connected: bool,
    back_at: i64,
    announced: bool,
    down: bool,
    breaks_at: Option<i64>,
    curable: bool,
    /// The restart that runs: until when.
    running: Option<(i64, CommandId)>,
    ledger: BTreeMap<CommandId, Option<Outcome>>,
    commands: VecDeque<(i64, CommandId)>,
}

/// The world of one seed.
pub struct Fleet {
    seed: u64,
    rng: Rng,
    rails: Rails,
    policy: Arc<Policy>,
    now: i64,
    engine: Engine,
    epoch: u64,
    journal: Vec<Event>,
    servers: Vec<Server>,
    index: BTreeMap<ServerId, usize>,
    /// Issued and not over, by the journal.
    open: BTreeMap<CommandId, usize>,
    figures: Figures,
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fleet({})", self.seed)
    }
}

impl Fleet {
    /// A world in which nothing is broken yet.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let rails = Rails::of(seed);
        let mut rng = Rng::new(seed);
        let mut servers = Vec::new();
        for n in 0..CLUSTERS * MEMBERS {
            let id = ServerId::new(&format!("web{n}")).unwrap_or_else(|_| unreachable!("a plain name"));
            servers.push(Server {
                id,
                cluster: n / MEMBERS,
                connected: false,
                back_at: 0,
                announced: false,
                down: false,
                breaks_at: None,
                curable: rng.below(4) > 0,
                running: None,
                ledger: BTreeMap::new(),
                commands: VecDeque::new(),
            });
        }
        // In a third of the seeds all of them at the same instant.
        let spread = if rng.below(3) == 0 { 1 } else { 1000 + rng.below(180_000) };
        let cluster = rng.below(CLUSTERS as u64) as usize;
        let mut left: Vec<usize> = (cluster * MEMBERS..(cluster + 1) * MEMBERS).collect();
        for _ in 0..BROKEN {
            let n = left.swap_remove(rng.below(left.len() as u64) as usize);
            servers[n].breaks_at = Some(60_000 + rng.below(spread) as i64);
        }
        let index = servers.iter().enumerate().map(|(n, s)| (s.id.clone(), n)).collect();
        let mut fleet = Self {
            seed,
            rng,
            rails,
            policy: rails.policy(),
            now: 0,
            engine: Engine::new(),
            epoch: 0,
            journal: Vec::new(),
            servers,
            index,
            open: BTreeMap::new(),
            figures: Figures::default(),
        };
        fleet.boot();
        fleet
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// The first broken promise, with the journal's last events.
    pub fn run(mut self) -> Result<Figures, String> {
        let result = (|| {
            while self.now < END {
                self.step()?;
            }
            self.check_end()
        })();
        result.map_err(|what: String| {
            let mut text = format!("seed {} ({:?}): {what}\n", self.seed, self.rails);
            for event in self.journal.iter().rev().take(40).rev() {
                let body: String = format!("{:?}", event.body).chars().take(200).collect();
                let _ = writeln!(text, "  {:>7.1} s  {body}", event.time.0 as f64 / 1000.0);
            }
            text
        })?;
        Ok(self.figures)
    }

    /// The controller starts, from its journal.
    fn boot(&mut self) {
        self.engine = Engine::new();
        for event in &self.journal {
            self.engine.replay(event);
        }
        self.epoch += 1;
        self.engine.start(Timestamp(self.now), self.epoch);
        let mut out = Vec::new();
        self.engine.set_policy(Timestamp(self.now), 1, Arc::clone(&self.policy), &mut out);
        for n in 0..self.servers.len() {
            let cluster = format!("shop-{}", self.servers[n].cluster);
            let labels = Labels::new([("sim", "yes"), ("cluster", cluster.as_str())]);
            let server = self.servers[n].id.clone();
            self.engine.handle(Timestamp(self.now), Input::Labelled { server, labels }, &mut out);
            let server = &mut self.servers[n];
            (server.connected, server.announced) = (false, false);
            server.commands.clear();
            server.back_at = self.now + self.rng.below(8000) as i64;
        }
        // What is decided at a start needs no server: there are no commands yet.
        let _ = self.decided(out);
    }

    fn tell(&mut self, input: Input) -> Result<(), String> {
        let mut out = Vec::new();
        self.engine.handle(Timestamp(self.now), input, &mut out);
        self.decided(out)
    }

    fn decided(&mut self, out: Vec<Output>) -> Result<(), String> {
        for output in out {
            let command = match output {
                Output::Resend(command) => command,
                Output::Event(body) => {
                    let command =
                        if let EventBody::CommandIssued { command, .. } = &body { Some(command.clone()) } else { None };
                    self.record(body)?;
                    let Some(command) = command else { continue };
                    command
                }
            };
            self.send(&command);
        }
        Ok(())
    }

    /// To the journal, and what can be told from it.
    fn record(&mut self, body: EventBody) -> Result<(), String> {
        if let EventBody::CommandIssued { command, .. } = &body {
            let server = self.index[&command.server];
            self.open.insert(command.id.clone(), server);
            let cluster = self.servers[server].cluster;
            let servers: BTreeSet<usize> =
                self.open.values().copied().filter(|n| self.servers[*n].cluster == cluster).collect();
            if servers.len() > self.rails.servers() {
                return Err(format!("{} servers of a cluster have a step under way", servers.len()));
            }
            let name = format!("shop-{cluster}");
            let found = |e: &Event| matches!(&e.body, EventBody::CommonCauseFound { cluster, .. } if *cluster == name);
            if self.journal.iter().any(found) {
                return Err(format!("{} is acted on though a common cause was found", command.server));
            }
        } else if let EventBody::StepEnded { command, .. } = &body {
            self.open.remove(command);
        } else if let EventBody::CommonCauseFound { .. } = &body {
            self.figures.causes += 1;
        } else if let EventBody::IncidentOpened { .. } = &body {
            self.figures.incidents += 1;
        } else if let EventBody::NoticeRaised { .. } = &body {
            self.figures.notices += 1;
        }
        let seq = self.journal.len() as u64 + 1;
        self.journal.push(Event { seq, time: Timestamp(self.now), body });
        Ok(())
    }

    fn send(&mut self, command: &Command) {
        let at = self.now + 100 + self.rng.below(2000) as i64;
        let server = &mut self.servers[self.index[&command.server]];
        if server.connected {
            server.commands.push_back((at, command.id.clone()));
        }
    }

    fn step(&mut self) -> Result<(), String> {
        self.now += STEP;
        if self.now == MENDED {
            self.servers.iter_mut().for_each(|s| s.down = false);
        }
        if self.rng.one_in(300) && self.now < MENDED {
            self.figures.faults += 1;
            self.boot();
        }
        for n in 0..self.servers.len() {
            self.server(n)?;
        }
        for cluster in 0..CLUSTERS {
            let members = &self.servers[cluster * MEMBERS..(cluster + 1) * MEMBERS];
            let running = members.iter().filter(|s| s.running.is_some()).count();
            self.figures.most_at_once = self.figures.most_at_once.max(running);
            if running > self.rails.servers() {
                return Err(format!("{running} servers of cluster {cluster} restart at the same instant"));
            }
        }
        while self.engine.next_wake().is_some_and(|at| at.0 <= self.now) {
            self.tell(Input::Wake)?;
        }
        Ok(())
    }

    fn server(&mut self, n: usize) -> Result<(), String> {
        let now = self.now;
        let server = &mut self.servers[n];
        if server.breaks_at.is_some_and(|at| at <= now) {
            (server.breaks_at, server.down) = (None, true);
        }
        if let Some((_, command)) = server.running.take_if(|(until, _)| *until <= now) {
            let outcome = Outcome {
                command: command.clone(),
                status: Status::Done,
                message: String::new(),
                finished: Timestamp(now),
                finished_boot_ms: now,
                took_ms: 1,
            };
            server.down &= !server.curable;
            server.ledger.insert(command, Some(outcome.clone()));
            if server.connected {
                let server = server.id.clone();
                self.tell(Input::Outcome { server, outcome })?;
            }
        }
        let server = &mut self.servers[n];
        if !server.connected {
            return if now >= server.back_at { self.connect(n) } else { Ok(()) };
        }
        let broken = server.down || server.running.is_some();
        if broken && self.rng.one_in(400) {
            self.figures.faults += 1;
            let server = &mut self.servers[n];
            (server.connected, server.announced) = (false, false);
            server.commands.clear();
            server.back_at = now + 500 + self.rng.below(40_000) as i64;
            let server = server.id.clone();
            return self.tell(Input::Disconnected { server, reason: "lost".to_owned() });
        }
        let server = &mut self.servers[n];
        if server.running.is_none()
            && let Some((_, command)) = server.commands.pop_front_if(|(at, _)| *at <= now)
            && !server.ledger.contains_key(&command)
        {
            server.ledger.insert(command.clone(), None);
            server.running = Some((now + 4000 + self.rng.below(22_000) as i64, command));
            self.figures.restarts += 1;
        }
        if (now + n as i64 * STEP) % SWEEP == 0 {
            self.sweep(n)?;
        }
        Ok(())
    }

    fn connect(&mut self, n: usize) -> Result<(), String> {
        let server = &mut self.servers[n];
        server.connected = true;
        let (id, ledger) = (server.id.clone(), server.ledger.clone());
        let (boot, version) = ("sim".to_owned(), "sim".to_owned());
        self.tell(Input::Connected { server: id.clone(), boot, version })?;
        let entries = ledger.into_iter().map(|(command, outcome)| LedgerEntry { command, outcome }).collect();
        self.tell(Input::Inventory { server: id, entries })?;
        self.sweep(n)
    }

    fn sweep(&mut self, n: usize) -> Result<(), String> {
        let server = &mut self.servers[n];
        let id = server.id.clone();
        let value = f64::from(u8::from(!server.down));
        if !std::mem::replace(&mut server.announced, true) {
            let series = skynet_model::series::SeriesKey::new("service.up", [("service", "a.service")]);
            self.tell(Input::Announced { server: id.clone(), id: 1, series })?;
        }
        let sweep = Sweep {
            sensor: "service",
            every: Span(SWEEP),
            started: Timestamp(self.now),
            started_boot_ms: self.now,
            readings: &[(1, value)],
            end: SweepEnd::Complete,
        };
        let mut out = Vec::new();
        self.engine.sweep(Timestamp(self.now), &id, &sweep, &mut out);
        self.decided(out)
    }

    /// Everything was mended: nothing is live, a common cause was told once and its end once.
    fn check_end(&self) -> Result<(), String> {
        if let Some(live) = self.engine.incidents().iter().find(|i| !i.state.is_end()) {
            return Err(format!("{} is still {}", live.id, live.state.as_str()));
        }
        let mut told = (0, 0);
        for event in &self.journal {
            if let EventBody::NoticeRaised { notice } = &event.body
                && notice.title.contains("common cause")
            {
                if notice.kind == NoticeKind::Escalated { told.0 += 1 } else { told.1 += 1 }
            }
        }
        let expected = u64::from(self.rails.brake);
        if (self.figures.causes, told) != (expected, (expected, expected)) {
            return Err(format!("{} common causes, told and over {told:?}; {expected} expected", self.figures.causes));
        }
        let silent = self.engine.incidents().iter().filter(|i| i.state == State::Resolved).count();
        if self.rails.brake && silent < BROKEN / 2 {
            return Err(format!("only {silent} incidents were left to a person"));
        }
        Ok(())
    }
}
