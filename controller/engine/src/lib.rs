//! The engine: what happens next, as a function of (state, input, now).
//!
//! What must never enter: tokio, sockets, files, clocks, randomness. Two parts: the evaluator (hot, per server: readings to
//! truth) and the incidents (cold, global: truth to steps, rails, verification, escalation). Every decision is an
//! [`EventBody`]; the caller journals it and only then lets its effect out. Replaying the journal through
//! [`Engine::replay`] brings the same state back.

mod evaluator;
mod incidents;
mod inputs;
mod timers;
mod words;

use std::collections::VecDeque;
use std::sync::Arc;

use skynet_model::event::{Event, EventBody};
use skynet_model::incident::{Incident, Rail, State};
use skynet_model::name::{IncidentId, ServerId};
use skynet_model::policy::{Policy, Scenario};
use skynet_model::time::{Span, Timestamp};

use evaluator::{Evaluator, Firing, MAX_INSTANCES, MAX_SERIES, MAX_WINDOWS, Signal, Site, Spot};
pub use evaluator::{Hot, Past, Seat};
pub use incidents::Asking;
use incidents::Book;
pub use incidents::orders::{Awaiting, MAX_MAINTENANCE, MAX_SILENCE};
use incidents::rails::{Settings, Startup};
pub use incidents::standing::Approval;
use timers::{Timer, Timers};
pub use words::{Input, Output, Sweep, SweepEnd};

/// How long servers may take to come back after a restart before it is said, and before they count as away.
const STARTUP_PATIENCE: Span = Span::seconds(90);

/// The engine.
#[derive(Debug, Default)]
pub struct Engine {
    book: Book,
    evaluator: Evaluator,
    timers: Timers,
    policy: Option<Arc<Policy>>,
    version: u64,
    epoch: u64,
    settings: Settings,
    startup: Startup,
    journal_blocked: bool,
    /// The version in force, since when, and when it expires.
    term: Option<(u64, Timestamp, Timestamp)>,
    /// The rail that is left out, in tests.
    without: Option<Rail>,
    /// Incidents to be advanced.
    todo: VecDeque<IncidentId>,
}

impl Engine {
    /// An empty engine. Feed it the journal with [`Engine::replay`], then [`Engine::start`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The rails that may hold a step back, in the order they are asked.
    #[must_use]
    pub fn rails() -> Vec<Rail> {
        incidents::rails::RAILS.iter().map(|(rail, _)| *rail).collect()
    }

    /// The same without one rail: tests show by it what the rail is there for.
    #[cfg(feature = "mutation")]
    #[must_use]
    pub fn without_rail(self, rail: Rail) -> Self {
        Self { without: Some(rail), ..self }
    }

    /// Folds one journalled event.
    pub fn replay(&mut self, event: &Event) {
        self.book.apply(event.time, &event.body);
    }

    /// Replay is over; the startup wait begins if the journal knows servers. `epoch` goes into commands.
    pub fn start(&mut self, now: Timestamp, epoch: u64) {
        self.epoch = epoch;
        self.startup = Startup { known: self.book.servers.keys().cloned().collect(), ..Startup::default() };
        for (id, record) in &self.book.servers {
            self.evaluator.label(id, &record.labels, now, &mut self.timers);
            await_server(&self.evaluator, &mut self.timers, id, now);
        }
        let wait = (!self.startup.is_over()).then(|| now.plus(STARTUP_PATIENCE));
        self.timers.set(Timer::Startup, wait);
        self.count_members(now);
    }

    /// Puts a policy in force (after its `PolicyActivated` event is journalled, and after replay): the fleet's rails and
    /// routes, and the scenarios of every server that is not assigned to another version.
    pub fn set_policy(&mut self, now: Timestamp, version: u64, policy: Arc<Policy>, out: &mut Vec<Output>) {
        self.version = version;
        self.settings = Settings::of(&policy.fleet.rails);
        self.startup.share = Some(self.settings.startup_share);
        let live = self.book.live();
        let follows = |own: Option<u64>| own.is_none_or(|own| own == version);
        let kept = self.still_run(&policy, |server| {
            server.and_then(|id| self.evaluator.number(id)).is_none_or(|n| follows(self.evaluator.own_version(n)))
        });
        self.policy = Some(Arc::clone(&policy));
        self.evaluator.set_policy(version, policy, kept, now, &mut self.timers);
        for id in live {
            self.resume(now, &id);
        }
        self.maintenance_changed(now, out);
        self.mind_breaker(now, out);
        self.mind_expiry(now, out);
        self.pump(now, out);
    }

    /// Evaluates a server, and renders its commands, by `version` of `policy` from now on: what its agent runs while a
    /// rollout is under way. The version in force is the fleet's; a version that no server has any more is forgotten.
    pub fn assign(
        &mut self,
        now: Timestamp,
        server: &ServerId,
        version: u64,
        policy: &Arc<Policy>,
        out: &mut Vec<Output>,
    ) {
        let Some(number) = self.evaluator.number(server).filter(|_| self.version_of(Some(server)) != version) else {
            return;
        };
        let own = (version != self.version).then_some(version);
        if own.is_some() {
            self.evaluator.offer(version, Arc::clone(policy));
        }
        let kept = self.still_run(policy, |of| of == Some(server));
        self.evaluator.assign(number, own, kept, now, &mut self.timers);
        self.resume_all_of(now, server);
        self.pump(now, out);
    }

    /// The version a server is evaluated by; the fleet's for what is about no server.
    #[must_use]
    pub fn version_of(&self, server: Option<&ServerId>) -> u64 {
        let own = server.and_then(|id| self.evaluator.number(id)).and_then(|n| self.evaluator.own_version(n));
        own.unwrap_or(self.version)
    }

    /// Scenarios that `policy` has not in this text and under which something runs on these servers: it ends, and is
    /// verified, under its own text.
    fn still_run(&self, policy: &Policy, on: impl Fn(Option<&ServerId>) -> bool) -> Vec<Arc<Scenario>> {
        let mut kept: Vec<Arc<Scenario>> = Vec::new();
        for incident in self.book.live().iter().filter_map(|id| self.book.incidents.get(id)) {
            let runs = matches!(incident.state, State::Acting | State::Verifying) && on(incident.server());
            let same = |s: &Scenario| s.name == incident.scenario && s.digest == incident.digest;
            let known = policy.scenarios.values().chain(&kept).any(|s| same(s));
            if runs && !known {
                let site = self.evaluator.site(incident);
                kept.extend(site.and_then(|site| self.evaluator.scenario(site)));
            }
        }
        kept
    }

    /// Decides. State already reflects the events given out.
    pub fn handle(&mut self, now: Timestamp, input: Input, out: &mut Vec<Output>) {
        self.expire(now, out);
        self.take(now, input, out);
        self.pump(now, out);
    }

    /// The hot path: a way for the session of `server` that stands now. Readings go through it, on any thread.
    #[must_use]
    pub fn seat(&self, server: &ServerId) -> Option<Seat> {
        self.evaluator.seat(server)
    }

    /// Deadlines that have passed, then one sweep through the server's seat, then what it found: for a caller that has
    /// one thread.
    pub fn sweep(&mut self, now: Timestamp, server: &ServerId, sweep: &Sweep<'_>, out: &mut Vec<Output>) {
        self.expire(now, out);
        if let Some(seat) = self.evaluator.seat(server)
            && let Some(mut hot) = seat.enter(now)
        {
            hot.sweep(sweep);
        }
        self.take(now, Input::Found { server: server.clone() }, out);
        self.pump(now, out);
    }

    /// When [`Input::Wake`] is due next.
    #[must_use]
    pub fn next_wake(&self) -> Option<Timestamp> {
        self.timers.next()
    }

    /// Incidents that are not at their end, pending ones too, and those ended lately; newest first.
    #[must_use]
    pub fn incidents(&self) -> Vec<Incident> {
        let mut all: Vec<Incident> = self.book.incidents.values().cloned().collect();
        all.extend(self.evaluator.pending().into_iter().filter_map(|firing| self.pending(firing)));
        all.sort_by(|a, b| (b.opened, &b.id).cmp(&(a.opened, &a.id)));
        all
    }

    /// One incident. Pending ones are not found: they have no id yet.
    #[must_use]
    pub fn incident(&self, id: &IncidentId) -> Option<&Incident> {
        self.book.incidents.get(id)
    }

    /// The last emergency document that was taken, and its signatures.
    #[must_use]
    pub fn emergency(&self) -> Option<(&skynet_model::emergency::Taken, &[String])> {
        self.book.emergency.as_ref().map(|(taken, signatures)| (taken, signatures.as_slice()))
    }

    /// The signed document that stops acting, while it does.
    #[must_use]
    pub fn signed_halt(&self) -> Option<&skynet_model::emergency::Taken> {
        self.emergency().map(|(taken, _)| taken).filter(|taken| taken.action.stops())
    }

    /// Who halted and why, while the local latch is set.
    #[must_use]
    pub fn halted(&self) -> Option<(&str, &str)> {
        self.book.halted.as_ref().map(|(by, reason)| (by.as_str(), reason.as_str()))
    }

    /// Why nothing is done yet after a restart; none once enough servers are back.
    #[must_use]
    pub fn startup_wait(&self) -> Option<String> {
        (!self.startup.is_over()).then(|| self.startup.why())
    }

    /// The durable state as JSON: an engine that replays the journal has the same.
    #[must_use]
    pub fn durable_state(&self) -> serde_json::Value {
        serde_json::to_value(&self.book).unwrap_or_default()
    }

    /// Makes an event true and gives it out.
    pub(crate) fn emit(&mut self, now: Timestamp, body: EventBody, out: &mut Vec<Output>) {
        self.book.apply(now, &body);
        out.push(Output::Event(body));
    }

    /// Lets an incident go on after instances have been made anew.
    fn resume(&mut self, now: Timestamp, id: &IncidentId) {
        if let Some(incident) = self.book.incidents.get(id) {
            self.evaluator.attach(incident, now, &mut self.timers);
            self.todo.push_back(id.clone());
        }
    }

    fn resume_all_of(&mut self, now: Timestamp, server: &ServerId) {
        for id in self.book.live() {
            if self.book.incidents.get(&id).is_some_and(|i| i.concerns(server)) {
                self.resume(now, &id);
            }
        }
    }

    /// Follows up what the evaluator found until nothing moves any more.
    fn pump(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        loop {
            self.evaluator.gather(now, &mut self.timers);
            if self.evaluator.signals.is_empty() && self.todo.is_empty() {
                return;
            }
            for signal in std::mem::take(&mut self.evaluator.signals) {
                match signal {
                    Signal::Fire { server, instance } => {
                        self.open(now, Site::Server(Spot { server, instance }), out);
                    }
                    Signal::Together { group } => self.open(now, Site::Group(group), out),
                    Signal::SetsCapped { scenario, name } => {
                        let message = format!(
                            "{scenario} has more label sets on {name} than are kept; the rest is not watched: narrow it \
                             with `where`"
                        );
                        self.remark(now, None, "sets_capped", message, out);
                    }
                    Signal::Moved(id) => self.todo.push_back(id),
                    Signal::InstancesCapped { server, scenario } => {
                        let message = format!(
                            "{scenario} has more than {MAX_INSTANCES} label sets on {server}; the rest is not watched: \
                             narrow it with `where`"
                        );
                        self.remark(now, Some(server), "instances_capped", message, out);
                    }
                    Signal::SeriesCapped { server } => {
                        let message = format!(
                            "{server} has more than {MAX_SERIES} series; the rest is not watched: run fewer sensors"
                        );
                        self.remark(now, Some(server), "series_capped", message, out);
                    }
                    Signal::WindowsCapped { server } => {
                        let message = format!(
                            "conditions look back over more than {MAX_WINDOWS} series of {server}; the rest is unknown: \
                             choose label sets with `where`"
                        );
                        self.remark(now, Some(server), "windows_capped", message, out);
                    }
                }
            }
            if let Some(id) = self.todo.pop_front() {
                self.advance(now, &id, out);
            }
        }
    }

    fn remark(
        &mut self,
        now: Timestamp,
        server: Option<ServerId>,
        topic: &str,
        message: String,
        out: &mut Vec<Output>,
    ) {
        self.emit(now, EventBody::Remark { server, topic: topic.to_owned(), message }, out);
    }

    /// Follows up all deadlines that have passed.
    fn expire(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        while let Some(timer) = self.timers.pop(now) {
            match timer {
                Timer::Startup if self.startup.is_over() => {}
                Timer::Startup => {
                    let why = self.startup.why();
                    self.remark(now, None, "startup_waiting", why, out);
                }
                Timer::Away { server } => {
                    self.evaluator.with_number(server, now, &mut self.timers, |s, pass| s.give_up_waiting(pass));
                }
                Timer::Sensor { server, sensor } => {
                    self.evaluator.with_number(server, now, &mut self.timers, |s, pass| s.check_sensor(sensor, pass));
                }
                Timer::Instance { server, instance } => {
                    self.evaluator.with_number(server, now, &mut self.timers, |s, pass| s.look_again(instance, pass));
                }
                Timer::Group { group } => self.evaluator.groups.look_again(group),
                Timer::Maintenance => self.maintenance_changed(now, out),
                Timer::Expiry => self.mind_expiry(now, out),
                Timer::Tell(id) => self.tell(now, &id, out),
                Timer::Incident(id) => self.todo.push_back(id),
            }
            self.pump(now, out);
        }
    }

    /// An instance that waits for its `for`, as an incident.
    fn pending(&self, firing: Firing) -> Option<Incident> {
        let scenario = firing.scenario;
        let key = format!("{}\0{}\0{}", scenario.name, firing.subject, firing.labels);
        // FNV-1a: only to tell pending ones apart; the id proper comes with the opening.
        let hash = key.bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
        Some(Incident {
            id: IncidentId::new(&format!("pending-{hash:08x}")).ok()?,
            scenario: scenario.name.clone(),
            policy: self.version_of(firing.subject.server()),
            digest: scenario.digest.clone(),
            summary: scenario.summarize(&firing.subject, &firing.labels, firing.value),
            subject: firing.subject,
            asked: None,
            labels: firing.labels,
            severity: scenario.severity,
            mode: scenario.mode,
            state: State::Pending,
            since: firing.since,
            opened: firing.since,
            closed: None,
            reason: None,
            last_readings: firing.readings.clone(),
            readings: firing.readings,
            steps: Vec::new(),
            chosen: None,
            hold: None,
            held: Vec::new(),
            acknowledged: None,
            route: scenario.escalate.clone(),
        })
    }
}

/// Takes a server for away when it does not connect for a while.
fn await_server(evaluator: &Evaluator, timers: &mut Timers, id: &ServerId, now: Timestamp) {
    if let Some(number) = evaluator.server(id).map(|server| server.number) {
        timers.set(Timer::Away { server: number }, Some(now.plus(STARTUP_PATIENCE)));
    }
}
