//! One seed's world: servers, stream, journal and engine, driven to the end and checked at every step.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;

use skynet_engine::{Engine, Input, Output, Sweep};
use skynet_model::command::Command;
use skynet_model::event::{Event, EventBody};
use skynet_model::name::CommandId;
use skynet_model::policy::Policy;
use skynet_model::series::Labels;
use skynet_model::time::{Span, Timestamp};

use super::host::{Crash, CuredBy};
use super::rng::Rng;
use super::server::{Server, UNITS, Up};

/// A step of the world, milliseconds.
pub(super) const STEP: i64 = 500;
/// How often sensors sweep, milliseconds.
const SWEEP: i64 = 2000;
/// How long things go wrong.
const CHAOS: i64 = 4 * 60_000;
/// How long the world is then quiet: every rail that waits has given up by its end.
const QUIET: i64 = 13 * 60_000;
const SERVERS: usize = 3;

/// What a seed did, for the last line.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Virtual milliseconds.
    pub simulated_ms: i64,
    /// How often each thing went wrong.
    pub faults: BTreeMap<&'static str, u64>,
    /// Incidents by their last state.
    pub incidents: BTreeMap<&'static str, u64>,
    /// Commands issued.
    pub commands: u64,
    /// Effects on servers.
    pub effects: u64,
}

impl Report {
    /// Adds another seed's figures.
    pub fn add(&mut self, other: &Self) {
        self.simulated_ms += other.simulated_ms;
        self.commands += other.commands;
        self.effects += other.effects;
        for (k, n) in &other.faults {
            *self.faults.entry(k).or_default() += n;
        }
        for (k, n) in &other.incidents {
            *self.incidents.entry(k).or_default() += n;
        }
    }
}

/// One seed's world.
pub struct World {
    seed: u64,
    rng: Rng,
    pub(super) now: i64,
    /// Of even and of odd versions.
    policies: [Arc<Policy>; 2],
    version: u64,
    pub(super) engine: Engine,
    epoch: u64,
    pub(super) journal: Vec<Event>,
    /// Decided, but not on disk.
    pending: Vec<(Timestamp, Output)>,
    journal_full_until: i64,
    pub(super) servers: Vec<Server>,
    next_pid: u32,
    /// The fleet breaker is open.
    paused: bool,
    pub(super) issued: BTreeMap<CommandId, Command>,
    trace: VecDeque<String>,
    report: Report,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "World({})", self.seed)
    }
}

impl World {
    /// A world under the policies of even and odd versions, with nothing wrong yet.
    #[must_use]
    pub fn new(seed: u64, policies: [Arc<Policy>; 2]) -> Self {
        let servers = (0..SERVERS).map(Server::new).collect();
        let mut world = Self {
            seed,
            rng: Rng::new(seed),
            now: 1_000_000,
            policies,
            version: 1,
            engine: Engine::new(),
            epoch: 0,
            journal: Vec::new(),
            pending: Vec::new(),
            journal_full_until: 0,
            servers,
            next_pid: 100,
            paused: false,
            issued: BTreeMap::new(),
            trace: VecDeque::new(),
            report: Report::default(),
        };
        world.boot_controller();
        world
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// The first broken promise, with a timeline.
    pub fn run(mut self) -> Result<Report, String> {
        let chaos_ends = self.now + CHAOS;
        let end = chaos_ends + QUIET;
        let result = (|| {
            while self.now < end {
                if self.now < chaos_ends {
                    self.go_wrong()?;
                }
                self.step()?;
            }
            self.check_end()
        })();
        result.map_err(|what| {
            let mut text = format!("seed {}: {what}\n", self.seed);
            for line in &self.trace {
                let _ = writeln!(text, "  {line}");
            }
            text
        })?;
        self.report.simulated_ms = CHAOS + QUIET;
        self.report.commands = self.issued.len() as u64;
        self.report.effects = self.servers.iter().map(|s| s.node.host.state().effects.len() as u64).sum();
        for incident in self.engine.incidents() {
            *self.report.incidents.entry(incident.state.as_str()).or_default() += 1;
        }
        Ok(self.report)
    }

    /// The timeline so far; equal seeds have equal ones.
    ///
    /// # Errors
    /// As [`World::run`].
    pub fn trace(mut self) -> Result<Vec<String>, String> {
        let end = self.now + CHAOS;
        while self.now < end {
            self.go_wrong()?;
            self.step()?;
        }
        Ok(self.journal.iter().map(|e| format!("{e:?}")).collect())
    }

    fn say(&mut self, text: String) {
        if self.trace.len() > 400 {
            self.trace.pop_front();
        }
        let now = self.now;
        self.trace.push_back(format!("{:>8.1} s  {text}", (now - 1_000_000) as f64 / 1000.0));
    }

    fn fault(&mut self, kind: &'static str, text: &str) {
        *self.report.faults.entry(kind).or_default() += 1;
        self.say(format!("FAULT {kind} {text}"));
    }

    /// What goes wrong in this step.
    fn go_wrong(&mut self) -> Result<(), String> {
        for n in 0..self.servers.len() {
            if self.rng.one_in(160) {
                let unit = UNITS[self.rng.below(2) as usize];
                let cure = self.cure();
                self.servers[n].node.host.state().dead.entry(unit.to_owned()).or_insert(cure);
                self.fault("service dies", &format!("{n} {unit} cured by {cure:?}"));
            }
            if self.rng.one_in(240) {
                let (pid, cure) = (self.next_pid, self.cure());
                self.next_pid += 1;
                self.servers[n].node.host.state().runaways.insert(pid, (u64::from(pid) * 7, cure));
                self.fault("process runs away", &format!("{n} pid {pid} cured by {cure:?}"));
            }
            if self.rng.one_in(300) {
                let cure = self.cure();
                self.servers[n].node.host.state().sick.get_or_insert(cure);
                self.fault("check fails", &format!("{n} cured by {cure:?}"));
            }
            if self.servers[n].connected && self.rng.one_in(200) {
                self.disconnect(n, "session lost");
            }
            if self.rng.one_in(400) {
                self.crash_agent(n);
            }
            if self.rng.one_in(200) {
                let crash = if self.rng.one_in(2) { Crash::BeforeEffect } else { Crash::AfterEffect };
                self.servers[n].node.host.state().crash = Some(crash);
                self.fault("agent will die at its next effect", &format!("{n} {crash:?}"));
            }
            if self.rng.one_in(500) {
                self.servers[n].node.fill_disk();
                self.fault("ledger disk full", &n.to_string());
            }
            if self.rng.one_in(60) {
                self.servers[n].node.free_disk();
            }
        }
        if self.rng.one_in(250) {
            self.fault("controller crash", "");
            self.boot_controller();
        }
        if self.paused && self.rng.one_in(40) {
            self.fault("breaker opened", "an operator resumes");
            self.tell_engine_checked(Input::Resume { by: "sim".to_owned() })?;
        }
        if self.rng.one_in(300) {
            self.journal_full_until = self.now + 1000 + self.rng.below(20_000) as i64;
            self.fault("journal disk full", "");
        }
        if self.journal_full_until == 0 && self.rng.one_in(250) {
            self.push_policy()?;
        }
        Ok(())
    }

    fn policy(&self) -> Arc<Policy> {
        self.policies[(self.version % 2) as usize].clone()
    }

    /// Puts the next version in force: first in the journal, then in the engine, then on the servers that are there.
    fn push_policy(&mut self) -> Result<(), String> {
        self.version += 1;
        self.fault("policy pushed", &self.version.to_string());
        let (digest, by) = (self.version.to_string(), "sim".to_owned());
        self.pending.push((
            Timestamp(self.now),
            Output::Event(EventBody::PolicyActivated { version: self.version, digest, by }),
        ));
        self.write_journal()?;
        let mut out = Vec::new();
        self.engine.set_policy(Timestamp(self.now), self.version, self.policy(), &mut out);
        self.check_decisions(&out)?;
        self.decided(out);
        for server in self.servers.iter_mut().filter(|s| s.connected && !s.node.is_down()) {
            server.node.take_policy(self.version)?;
        }
        Ok(())
    }

    fn cure(&mut self) -> CuredBy {
        [CuredBy::First, CuredBy::First, CuredBy::Second, CuredBy::Nothing][self.rng.below(4) as usize]
    }

    fn boot_controller(&mut self) {
        // What was decided and not on disk is gone, and so are all sessions.
        self.pending.clear();
        self.engine = Engine::new();
        for event in &self.journal {
            self.engine.replay(event);
        }
        self.paused = self.engine.paused().is_some();
        self.epoch += 1;
        self.engine.start(Timestamp(self.now), self.epoch);
        let first = self.journal.is_empty();
        let mut out =
            vec![Output::Event(EventBody::ControllerStarted { epoch: self.epoch, version: "sim".to_owned() })];
        if first {
            let (digest, by) = ("sim".to_owned(), "sim".to_owned());
            out.push(Output::Event(EventBody::PolicyActivated { version: 1, digest, by }));
        }
        self.engine.set_policy(Timestamp(self.now), self.version, self.policy(), &mut out);
        for server in &self.servers {
            let labels = Labels::new([("sim", "yes")]);
            self.engine.handle(Timestamp(self.now), Input::Labelled { server: server.id.clone(), labels }, &mut out);
        }
        self.decided(out);
        for n in 0..self.servers.len() {
            let server = &mut self.servers[n];
            server.lose_session(self.now + 500 + self.rng.below(5000) as i64);
        }
        if self.journal_full_until > self.now {
            self.tell_engine(Input::JournalBlocked(true));
        }
    }

    fn disconnect(&mut self, n: usize, why: &'static str) {
        self.fault(why, &n.to_string());
        let again = self.now + 500 + self.rng.below(15_000) as i64;
        self.servers[n].lose_session(again);
        let server = self.servers[n].id.clone();
        self.tell_engine(Input::Disconnected { server, reason: why.to_owned() });
    }

    fn crash_agent(&mut self, n: usize) {
        if self.servers[n].connected {
            self.disconnect(n, "agent crash");
        } else {
            self.fault("agent crash", &n.to_string());
        }
        self.servers[n].node.crash();
    }

    fn tell_engine(&mut self, input: Input) {
        let mut out = Vec::new();
        self.engine.handle(Timestamp(self.now), input, &mut out);
        self.decided(out);
    }

    fn decided(&mut self, out: Vec<Output>) {
        let now = Timestamp(self.now);
        self.pending.extend(out.into_iter().map(|output| (now, output)));
    }

    fn step(&mut self) -> Result<(), String> {
        self.now += STEP;
        for n in 0..self.servers.len() {
            self.servers[n].node.host.state().now = self.now;
            self.agent_step(n)?;
            self.stream_step(n)?;
        }
        if self.engine.next_wake().is_some_and(|at| at.0 <= self.now) {
            self.tell_engine_checked(Input::Wake)?;
        }
        self.write_journal()?;
        self.check_deadlines()
    }

    fn tell_engine_checked(&mut self, input: Input) -> Result<(), String> {
        let mut out = Vec::new();
        self.engine.handle(Timestamp(self.now), input, &mut out);
        self.check_decisions(&out)?;
        self.decided(out);
        Ok(())
    }

    /// No action on unknown: a command is decided only while fresh readings say that the condition holds.
    fn check_decisions(&mut self, out: &[Output]) -> Result<(), String> {
        for output in out {
            match output {
                Output::Event(EventBody::BreakerOpened { .. }) => self.paused = true,
                Output::Event(EventBody::Resumed { .. }) => self.paused = false,
                Output::Event(_) | Output::Resend(_) => {}
            }
            let Output::Event(EventBody::CommandIssued { command, .. }) = output else { continue };
            if self.paused {
                return Err(format!("a command while automation pauses: {command:?}"));
            }
            let server = self.servers.iter().find(|s| s.id == command.server).ok_or("a command for nobody")?;
            let sensor = match command.scenario.as_str() {
                "dead-service" => "service",
                "runaway" => "process",
                _ => "exec:disk",
            };
            let Some((at, firing)) = server.told.get(sensor) else {
                return Err(format!("a command on unknown readings: {command:?}"));
            };
            if self.now - at > 3 * SWEEP + STEP || !server.connected {
                return Err(format!("a command on stale readings ({} ms old): {command:?}", self.now - at));
            }
            let instance = command.labels.get("service").or_else(|| command.labels.get("pid")).unwrap_or("disk");
            if !firing.contains(instance) {
                return Err(format!("a command although the readings say that all is well: {command:?}"));
            }
        }
        Ok(())
    }

    fn agent_step(&mut self, n: usize) -> Result<(), String> {
        let now = self.now;
        if self.servers[n].node.is_down() && self.servers[n].connected {
            self.disconnect(n, "agent died at an effect");
        }
        let server = &mut self.servers[n];
        if !server.node.up(now)? {
            return Ok(());
        }
        if !server.connected && now >= server.reconnect_at {
            server.session += 1;
            server.connected = true;
            server.ids.clear();
            let id = server.id.clone();
            self.tell_engine_checked(Input::Connected {
                server: id,
                boot: "sim".to_owned(),
                version: "sim".to_owned(),
            })?;
            let server = &mut self.servers[n];
            server.node.take_policy(self.version)?;
            if server.node.is_down() {
                return Ok(());
            }
            let Some(entries) = server.node.inventory()? else { return Ok(()) };
            server.send(now + 100, Up::Inventory(entries));
            self.say(format!("{n} connects"));
        }
        // Commands arrive.
        while let Some((at, _)) = self.servers[n].down.front()
            && *at <= now
        {
            let Some((_, command)) = self.servers[n].down.pop_front() else { break };
            let known = self
                .journal
                .iter()
                .any(|e| matches!(&e.body, EventBody::CommandIssued { command: c, .. } if c.id == command.id));
            if !known {
                return Err(format!("a command without a journal event before it: {command:?}"));
            }
            self.say(format!("{n} gets {} step {} ({})", command.action, command.step, command.incident));
            let Some(outcome) = self.servers[n].node.execute(&command)? else { break };
            {
                self.say(format!("{n} ends {} {}: {}", command.action, outcome.status.as_str(), outcome.message));
                self.servers[n].outcomes.push(outcome);
            }
        }
        let delay = 50 + self.rng.below(400) as i64;
        let server = &mut self.servers[n];
        if server.connected {
            for outcome in std::mem::take(&mut server.outcomes) {
                server.send(now + delay, Up::Outcome(outcome));
            }
            if now % SWEEP == 0 {
                let failed = self.rng.one_in(60);
                self.servers[n].sweep(now, delay, failed);
            }
        }
        Ok(())
    }

    fn stream_step(&mut self, n: usize) -> Result<(), String> {
        while let Some((at, _)) = self.servers[n].up.front()
            && *at <= self.now
        {
            let Some((_, message)) = self.servers[n].up.pop_front() else { break };
            let server = self.servers[n].id.clone();
            match message {
                Up::Announce(id, series) => self.tell_engine_checked(Input::Announced { server, id, series })?,
                Up::Inventory(entries) => self.tell_engine_checked(Input::Inventory { server, entries })?,
                Up::Outcome(outcome) => self.tell_engine_checked(Input::Outcome { server, outcome })?,
                Up::Sweep { sensor, started, readings, end } => {
                    // Deadlines that are due come before what arrives now.
                    self.tell_engine_checked(Input::Wake)?;
                    self.servers[n].note_told(sensor, self.now, &readings, end);
                    let sweep = Sweep {
                        sensor,
                        every: Span(SWEEP),
                        started: Timestamp(started),
                        started_boot_ms: started,
                        readings: &readings,
                        end,
                    };
                    let mut out = Vec::new();
                    self.engine.sweep(Timestamp(self.now), &server, &sweep, &mut out);
                    self.check_decisions(&out)?;
                    self.decided(out);
                }
            }
        }
        Ok(())
    }

    fn write_journal(&mut self) -> Result<(), String> {
        if self.now < self.journal_full_until {
            if !self.pending.is_empty() {
                self.tell_engine_checked(Input::JournalBlocked(true))?;
            }
            return Ok(());
        }
        let was_blocked = self.journal_full_until != 0;
        self.journal_full_until = 0;
        if was_blocked {
            self.tell_engine_checked(Input::JournalBlocked(false))?;
        }
        for (time, output) in std::mem::take(&mut self.pending) {
            match output {
                Output::Event(body) => {
                    self.say(line(&body));
                    if let EventBody::IncidentOpened { incident } = &body {
                        self.check_opened(incident)?;
                    }
                    if let EventBody::CommandIssued { command, .. } = &body {
                        self.check_issued(command)?;
                        let at = self.now + 50 + self.rng.below(400) as i64;
                        self.send_down(command.clone(), at);
                    }
                    self.journal.push(Event { seq: self.journal.len() as u64 + 1, time, body });
                }
                Output::Resend(command) => {
                    if !self.issued.contains_key(&command.id) {
                        return Err(format!("resent, but never journalled: {command:?}"));
                    }
                    self.say(format!("resends {} ({})", command.action, command.incident));
                    self.send_down(command, self.now + 100);
                }
            }
        }
        Ok(())
    }

    fn check_issued(&mut self, command: &Command) -> Result<(), String> {
        let twin = self.issued.values().find(|c| c.incident == command.incident && c.step == command.step);
        if let Some(twin) = twin {
            return Err(format!(
                "step {} of {} was issued twice: {} and {}",
                command.step, command.incident, twin.id, command.id
            ));
        }
        self.issued.insert(command.id.clone(), command.clone());
        Ok(())
    }

    fn send_down(&mut self, command: Command, at: i64) {
        let server = self.servers.iter_mut().find(|s| s.id == command.server);
        if let Some(server) = server.filter(|s| s.connected) {
            server.down.push_back((at, command));
        }
    }
}

fn line(body: &EventBody) -> String {
    match body {
        EventBody::IncidentOpened { incident } => {
            format!("opened {} {} {}{}", incident.id, incident.scenario, incident.subject, incident.labels)
        }
        EventBody::CommandIssued { command, .. } => {
            format!("issues {} step {} ({})", command.action, command.step, command.incident)
        }
        EventBody::CommandEnded { incident, outcome } => {
            format!("ended ({incident}) {} {}", outcome.status.as_str(), outcome.message)
        }
        EventBody::StepEnded { incident, verified, reason, .. } => {
            format!("step of {incident} verified={verified}: {reason}")
        }
        EventBody::IncidentChanged { incident, state, reason, .. } => {
            format!("{incident} is {}: {reason}", state.as_str())
        }
        EventBody::IncidentHeld { incident, hold } => {
            format!("{incident} held by {}: {}", hold.rail.as_str(), hold.why)
        }
        other => format!("{other:?}").chars().take(160).collect(),
    }
}
