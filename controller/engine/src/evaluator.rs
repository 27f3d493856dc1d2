//! From readings to truth, per server: the hot half. It keeps no history and decides nothing; it says which instances
//! fire and which incidents' conditions have moved.
//!
//! A reading is written into the slots it fills; only the instances that have such a slot are evaluated, at the end of
//! the sweep. Nothing is allocated for a reading of a series that is known.
//!
//! Each server is a cell behind a lock of its own: sessions bring their readings to it on their own threads, through a
//! [`Seat`]. What a cell finds waits in it, in order, until the engine takes it.

mod board;
mod derived;
mod dictionary;
mod follow;
mod groups;
mod held;
mod instance;
mod join;
mod many;
mod number;
mod past;
mod rule;
mod seat;
mod server;
mod slab;
mod truth;
mod window;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skynet_model::condition::Truth;
use skynet_model::incident::{Incident, Subject};
use skynet_model::name::{IncidentId, ScenarioName, ServerId};
use skynet_model::policy::{Policy, Scenario, cluster_of};
use skynet_model::series::{Labels, Reading};
use skynet_model::time::{Span, Timestamp};

pub(crate) use derived::MAX_WINDOWS;
pub(crate) use dictionary::MAX_SERIES;
pub(crate) use groups::Groups;
pub(crate) use instance::Watch;
pub(crate) use join::MAX_INSTANCES;
pub use past::Past;
pub(crate) use rule::Rules;
pub use seat::{Hot, Seat};
pub(crate) use server::Server;

use crate::timers::{Timer, Timers};

/// What the evaluator found.
#[derive(Clone, Debug)]
pub(crate) enum Signal {
    /// An instance's `when` has held for `for`.
    Fire { server: u32, instance: u32 },
    /// Something an incident depends on has changed.
    Moved(IncidentId),
    /// A scenario has more instances on a server than are kept.
    InstancesCapped { server: ServerId, scenario: ScenarioName },
    /// A server has more series than are kept.
    SeriesCapped { server: ServerId },
    /// A group's `when` has held for `for`.
    Together { group: u32 },
    /// A scenario has more label sets on a cluster, or on the fleet, than are kept.
    SetsCapped { scenario: ScenarioName, name: String },
    /// A server has more windows than are kept.
    WindowsCapped { server: ServerId },
}

/// What a cell has found and the engine has not taken yet: each thing once, however often a batch finds it.
#[derive(Debug, Default)]
pub(crate) struct Found {
    signals: Vec<Signal>,
    fired: BTreeSet<u32>,
    /// Members that say something new; all of them may.
    stirred: BTreeSet<u32>,
    all_stirred: bool,
    moved: BTreeSet<IncidentId>,
    /// Timers to be moved, or removed; the last word on each.
    timers: BTreeMap<Timer, Option<Timestamp>>,
}

impl Found {
    /// Moves a timer, or removes it.
    pub(crate) fn timer(&mut self, timer: Timer, at: Option<Timestamp>) {
        self.timers.insert(timer, at);
    }

    /// A member says something new.
    pub(crate) fn stirred(&mut self, instance: u32) {
        self.stirred.insert(instance);
    }

    /// The members were made anew, or the server has come or gone.
    pub(crate) fn stirred_all(&mut self) {
        self.all_stirred = true;
    }

    /// An instance fires.
    pub(crate) fn fire(&mut self, server: u32, instance: u32) {
        if self.fired.insert(instance) {
            self.signals.push(Signal::Fire { server, instance });
        }
    }

    /// Something an incident depends on has changed.
    pub(crate) fn moved(&mut self, incident: IncidentId) {
        if !self.moved.contains(&incident) {
            self.moved.insert(incident.clone());
            self.signals.push(Signal::Moved(incident));
        }
    }

    /// Something is capped: said once by whoever finds it.
    pub(crate) fn capped(&mut self, signal: Signal) {
        self.signals.push(signal);
    }

    fn is_empty(&self) -> bool {
        self.signals.is_empty() && self.timers.is_empty() && self.stirred.is_empty() && !self.all_stirred
    }
}

/// What a step of evaluation works with.
#[derive(Debug)]
pub(crate) struct Pass<'a> {
    pub(crate) now: Timestamp,
    pub(crate) rules: &'a Rules,
    pub(crate) found: &'a mut Found,
}

/// One server, the rules it is evaluated by, and what it has found.
#[derive(Debug)]
struct Cell {
    server: Server,
    rules: Arc<Rules>,
    /// The version the rules are of, where it is not the fleet's.
    version: Option<u64>,
    found: Found,
    /// The newest time anything was done at.
    newest: Timestamp,
}

/// How far the clock of one thread may be behind what another has done: more is a clock that was set.
const BEHIND: Span = Span::minutes(1);

impl Cell {
    /// Sessions and the engine take the time on threads of their own; time goes forward for a server all the same.
    fn pass(&mut self, now: Timestamp) -> (&mut Server, Pass<'_>) {
        let now = if self.newest.0.saturating_sub(now.0) <= BEHIND.0 { now.max(self.newest) } else { now };
        self.newest = now;
        (&mut self.server, Pass { now, rules: &self.rules, found: &mut self.found })
    }
}

fn lock(cell: &Mutex<Cell>) -> MutexGuard<'_, Cell> {
    // Whoever panicked in here left a server that says less than it could, and nothing worse.
    cell.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A server to look at. Nothing else may be asked of the evaluator while it is held.
struct Glance<'a>(MutexGuard<'a, Cell>);

impl Deref for Glance<'_> {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0.server
    }
}

/// Where an incident is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Site {
    /// On its server.
    Server(Spot),
    /// On many servers, by the number of their group.
    Group(u32),
    /// Nowhere but on the servers of its steps: it was asked for. The rule's number.
    Asked(u32),
}

/// An instance of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) server: u32,
    pub(crate) instance: u32,
}

/// How an incident's conditions stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) when: Truth,
    pub(crate) clear: Truth,
    /// Whether clear has held for `settle`.
    pub(crate) settled: bool,
    /// Whether policy still has the scenario's text and it is about this server.
    pub(crate) current: bool,
}

/// What is known of an instance that fires or will.
#[derive(Clone, Debug)]
pub(crate) struct Firing {
    pub(crate) subject: Subject,
    pub(crate) scenario: Arc<Scenario>,
    pub(crate) labels: Labels,
    pub(crate) since: Timestamp,
    pub(crate) readings: Vec<Reading>,
    /// The value of the first series, window or fold in `when`.
    pub(crate) value: Option<f64>,
}

/// All servers and the rules in force.
#[derive(Debug, Default)]
pub(crate) struct Evaluator {
    pub(crate) rules: Arc<Rules>,
    /// Versions besides the fleet's, and how many servers are assigned to each.
    offers: BTreeMap<u64, (Arc<Rules>, usize)>,
    servers: Vec<Arc<Mutex<Cell>>>,
    index: BTreeMap<ServerId, u32>,
    pub(crate) signals: Vec<Signal>,
    pub(crate) groups: Groups,
    /// Members that have said something new, by server and instance; without instance: all of the server.
    stirred: Vec<(u32, Option<u32>)>,
    /// When groups were told of their members last.
    heard: Timestamp,
}

impl Evaluator {
    fn cell(&self, number: u32) -> Option<&Mutex<Cell>> {
        self.servers.get(number as usize).map(Arc::as_ref)
    }

    /// The server by its id. Nothing else may be asked of the evaluator while it is held.
    pub(crate) fn server(&self, id: &ServerId) -> Option<impl Deref<Target = Server> + '_> {
        self.cell(*self.index.get(id)?).map(|cell| Glance(lock(cell)))
    }

    /// A way for the server's session that stands now.
    pub(crate) fn seat(&self, id: &ServerId) -> Option<Seat> {
        self.servers.get(*self.index.get(id)? as usize).map(Seat::new)
    }

    /// Does something with a server, then takes what it found.
    pub(crate) fn with<T>(
        &mut self,
        id: &ServerId,
        now: Timestamp,
        timers: &mut Timers,
        what: impl FnOnce(&mut Server, &mut Pass<'_>) -> T,
    ) -> Option<T> {
        let number = *self.index.get(id)?;
        self.with_number(number, now, timers, what)
    }

    /// Does something with a server, then takes what it found.
    pub(crate) fn with_number<T>(
        &mut self,
        number: u32,
        now: Timestamp,
        timers: &mut Timers,
        what: impl FnOnce(&mut Server, &mut Pass<'_>) -> T,
    ) -> Option<T> {
        let mut cell = lock(self.servers.get(number as usize)?);
        let (server, mut pass) = cell.pass(now);
        let result = what(server, &mut pass);
        let found = std::mem::take(&mut cell.found);
        // All that a session found before is in it: a timer that it set is not set back by it later.
        for (timer, at) in found.timers {
            timers.set(timer, at);
        }
        self.signals.extend(found.signals);
        match found.all_stirred {
            true => self.stirred.push((number, None)),
            false => self.stirred.extend(found.stirred.into_iter().map(|instance| (number, Some(instance)))),
        }
        Some(result)
    }

    /// Makes a server known, or changes its labels. The instances are made anew.
    pub(crate) fn label(&mut self, id: &ServerId, labels: &Labels, now: Timestamp, timers: &mut Timers) {
        if !self.index.contains_key(id) {
            let number = self.servers.len() as u32;
            self.index.insert(id.clone(), number);
            let server = Server::new(number, id.clone(), labels.clone());
            let (rules, found) = (Arc::clone(&self.rules), Found::default());
            let cell = Cell { server, rules, version: None, found, newest: now };
            self.servers.push(Arc::new(Mutex::new(cell)));
        }
        if let Some(number) = self.index.get(id) {
            self.groups.place(*number, cluster_of(id, labels));
        }
        self.with(id, now, timers, |server, pass| {
            let kept = server.keep(pass.rules);
            server.labels = labels.clone();
            server.rebuild(kept, pass);
        });
    }

    /// Puts a policy in force on all servers that have no version of their own, and on those that have this one. `kept`
    /// are scenarios of other text under which something still runs there.
    pub(crate) fn set_policy(
        &mut self,
        version: u64,
        policy: Arc<Policy>,
        kept: Vec<Arc<Scenario>>,
        now: Timestamp,
        timers: &mut Timers,
    ) {
        self.groups.clear(&self.rules, timers);
        self.rules = Arc::new(Rules::new(policy, kept));
        for number in 0..self.servers.len() as u32 {
            if self.own_version(number).is_none_or(|own| own == version) {
                self.change_rules(number, None, Arc::clone(&self.rules), now, timers);
            }
        }
        self.offers.remove(&version);
        self.restore_groups(now, timers);
    }

    /// Makes a version known that servers may be assigned to.
    pub(crate) fn offer(&mut self, version: u64, policy: Arc<Policy>) {
        let many = self.rules.many_but(&policy);
        self.offers.entry(version).or_insert_with(|| (Arc::new(Rules::new(policy, many)), 0));
    }

    /// Lets a server be evaluated by an offered version, or by the fleet's (none). Versions that nobody has any more are
    /// forgotten. False when the version is not offered.
    pub(crate) fn assign(
        &mut self,
        number: u32,
        version: Option<u64>,
        kept: Vec<Arc<Scenario>>,
        now: Timestamp,
        timers: &mut Timers,
    ) -> bool {
        let rules = match version {
            None => Arc::clone(&self.rules),
            Some(version) => match self.offers.get(&version) {
                Some((rules, _)) => Arc::clone(rules),
                None => return false,
            },
        };
        let rules = match &rules.policy {
            Some(policy) if !kept.is_empty() => {
                let many = self.rules.many_but(policy);
                let many = many.into_iter().filter(|s| !kept.iter().any(|k| k.digest == s.digest && k.name == s.name));
                let many: Vec<_> = many.collect();
                Arc::new(Rules::new(Arc::clone(policy), kept.into_iter().chain(many).collect()))
            }
            Some(_) | None => rules,
        };
        self.change_rules(number, version, rules, now, timers);
        true
    }

    fn change_rules(
        &mut self,
        number: u32,
        version: Option<u64>,
        rules: Arc<Rules>,
        now: Timestamp,
        timers: &mut Timers,
    ) {
        let Some(cell) = self.cell(number) else { return };
        let left;
        {
            let mut cell = lock(cell);
            left = std::mem::replace(&mut cell.version, version);
            let before = std::mem::replace(&mut cell.rules, rules);
            let pending = cell.server.keep(&before);
            let (server, mut pass) = cell.pass(now);
            server.rebuild(pending, &mut pass);
        }
        if let Some((_, servers)) = version.and_then(|version| self.offers.get_mut(&version)) {
            *servers += 1;
        }
        if let Some((version, (_, servers))) = left.and_then(|left| Some((left, self.offers.get_mut(&left)?))) {
            *servers = servers.saturating_sub(1);
            if *servers == 0 {
                self.offers.remove(&version);
            }
        }
        self.with_number(number, now, timers, |_, _| ());
    }

    /// The version a server was assigned to; none: the fleet's.
    pub(crate) fn own_version(&self, number: u32) -> Option<u64> {
        lock(self.cell(number)?).version
    }

    /// The server's number.
    pub(crate) fn number(&self, id: &ServerId) -> Option<u32> {
        self.index.get(id).copied()
    }

    /// Where an incident is evaluated; none when its scenario's text is no longer known.
    pub(crate) fn site(&self, incident: &Incident) -> Option<Site> {
        match &incident.subject {
            Subject::Server(server) => self.spot(server, incident).map(Site::Server),
            Subject::Request(_) => self.rules.find(&incident.scenario, &incident.digest).map(Site::Asked),
            Subject::Cluster(_) | Subject::Fleet(_) => {
                let rule = self.rules.find(&incident.scenario, &incident.digest)?;
                self.group_site(rule, incident).map(Site::Group)
            }
        }
    }

    /// The instance that stands for an incident on a server.
    fn spot(&self, server: &ServerId, incident: &Incident) -> Option<Spot> {
        let server = *self.index.get(server)?;
        let cell = lock(self.cell(server)?);
        let rule = cell.rules.find(&incident.scenario, &incident.digest)?;
        let instance = *cell.server.by_labels.get(&(rule, incident.labels.clone()))?;
        Some(Spot { server, instance })
    }

    /// Lets an instance stand for a live incident, made when there is none. Says whether that can be.
    pub(crate) fn attach(&mut self, incident: &Incident, now: Timestamp, timers: &mut Timers) -> bool {
        match &incident.subject {
            Subject::Server(server) => self.attach_at(server, incident, now, timers).is_some(),
            Subject::Cluster(_) | Subject::Fleet(_) => self.attach_group(incident, now, timers),
            Subject::Request(_) => self.site(incident).is_some(),
        }
    }

    /// The same on one server: its own, or one that a step of it is done on.
    pub(crate) fn attach_at(
        &mut self,
        server: &ServerId,
        incident: &Incident,
        now: Timestamp,
        timers: &mut Timers,
    ) -> Option<Spot> {
        let number = *self.index.get(server)?;
        let instance = self.with_number(number, now, timers, |server, pass| {
            let rule = pass.rules.find(&incident.scenario, &incident.digest)?;
            let i = server.ensure(rule, incident.labels.clone(), pass)?;
            server.instances.get_mut(i)?.incident = Some(incident.id.clone());
            server.soil(i);
            server.evaluate(pass, None);
            Some(i)
        });
        instance.flatten().map(|instance| Spot { server: number, instance })
    }

    /// The scenario at a site.
    pub(crate) fn scenario(&self, site: Site) -> Option<Arc<Scenario>> {
        match site {
            Site::Server(spot) => {
                let cell = lock(self.cell(spot.server)?);
                let rule = cell.server.instances.get(spot.instance)?.rule;
                Some(Arc::clone(&cell.rules.get(rule)?.scenario))
            }
            Site::Group(group) => self.group_scenario(group),
            Site::Asked(rule) => Some(Arc::clone(&self.rules.get(rule)?.scenario)),
        }
    }

    /// How the conditions stand at a site.
    pub(crate) fn look(&self, site: Site) -> Option<Look> {
        let spot = match site {
            Site::Server(spot) => spot,
            Site::Group(group) => return self.group_look(group),
            Site::Asked(rule) => {
                // What was asked for is wanted until it is done.
                let current = !self.rules.get(rule)?.retired;
                return Some(Look { when: Truth::True, clear: Truth::False, settled: false, current });
            }
        };
        let cell = lock(self.cell(spot.server)?);
        let server = &cell.server;
        let instance = server.instances.get(spot.instance)?;
        let rule = cell.rules.get(instance.rule)?;
        Some(Look {
            when: server.board.head(spot.instance)?.when,
            clear: instance.clear,
            settled: instance.settle.reached(rule.scenario.settle),
            current: server.is_about(instance.rule),
        })
    }

    /// Whether readings prove a step of the scenario at a site.
    pub(crate) fn is_provable(&self, site: Site, step: usize) -> bool {
        match site {
            Site::Server(_) | Site::Group(_) => true,
            Site::Asked(rule) => self.rules.get(rule).is_some_and(|rule| rule.is_provable(step)),
        }
    }

    /// The proof that is awaited at an instance.
    pub(crate) fn watched(&self, spot: Spot) -> Option<Watch> {
        lock(self.cell(spot.server)?).server.instances.get(spot.instance)?.watch.as_deref().cloned()
    }

    /// No proof is awaited for an incident any more.
    pub(crate) fn unwatch(&mut self, incident: &Incident, now: Timestamp, timers: &mut Timers) {
        if let Some(Site::Group(group)) = self.site(incident) {
            self.unwatch_group(group, now, timers);
        }
        for spot in self.spots(incident) {
            self.with_number(spot.server, now, timers, |server, _| server.unwatch(spot.instance));
        }
    }

    /// The instances that stand for an incident: its own, and those on the servers of what was asked for.
    fn spots(&self, incident: &Incident) -> Vec<Spot> {
        match self.site(incident) {
            Some(Site::Server(spot)) => vec![spot],
            Some(Site::Asked(_)) => {
                let servers: BTreeSet<&ServerId> = incident.steps.iter().map(|r| &r.command.server).collect();
                servers.into_iter().filter_map(|server| self.spot(server, incident)).collect()
            }
            Some(Site::Group(_)) | None => Vec::new(),
        }
    }

    /// What the conditions of an incident read, as far as it is known.
    pub(crate) fn readings(&self, incident: &Incident) -> Vec<Reading> {
        if let Some(Site::Group(group)) = self.site(incident) {
            return self.group_readings(group);
        }
        let of = |spot: Spot| {
            let cell = self.cell(spot.server)?;
            Some(lock(cell).server.readings(spot.instance))
        };
        self.spots(incident).into_iter().filter_map(of).flatten().collect()
    }

    /// What an instance that fires is about.
    pub(crate) fn firing(&self, site: Site) -> Option<Firing> {
        match site {
            Site::Server(spot) => {
                let cell = lock(self.cell(spot.server)?);
                cell.server.firing(spot.instance, &cell.rules)
            }
            Site::Group(group) => self.group_firing(group),
            Site::Asked(_) => None,
        }
    }

    /// Whether an instance still fires.
    pub(crate) fn fires(&self, site: Site) -> bool {
        let spot = match site {
            Site::Server(spot) => spot,
            Site::Group(group) => return self.group_fires(group),
            Site::Asked(_) => return false,
        };
        let Some(cell) = self.cell(spot.server) else { return false };
        let cell = lock(cell);
        let Some(instance) = cell.server.instances.get(spot.instance) else { return false };
        let Some(rule) = cell.rules.get(instance.rule) else { return false };
        instance.incident.is_none() && instance.held.reached(rule.scenario.hold)
    }

    /// Instances whose `when` holds and whose `for` has not passed.
    pub(crate) fn pending(&self) -> Vec<Firing> {
        let of = |cell: &Arc<Mutex<Cell>>| {
            let cell = lock(cell);
            let (server, rules) = (&cell.server, &cell.rules);
            let waiting = server.instances.iter().filter(|(_, i)| i.incident.is_none() && i.held.first().is_some());
            waiting.filter_map(|(i, _)| server.firing(i, rules)).collect::<Vec<_>>()
        };
        self.servers.iter().flat_map(of).chain(self.pending_groups()).collect()
    }

    /// Evaluates the instances of a scenario with these labels again: what stood in their way has ended.
    pub(crate) fn poke(&mut self, of: &Incident, now: Timestamp, timers: &mut Timers) {
        if matches!(of.subject, Subject::Cluster(_) | Subject::Fleet(_)) {
            self.release_group(of, now, timers);
        }
        let asked = of.subject.is_request().then(|| of.steps.iter().map(|r| r.command.server.clone()));
        let servers: BTreeSet<ServerId> = of.server().cloned().into_iter().chain(asked.into_iter().flatten()).collect();
        for server in servers {
            self.with(&server, now, timers, |server, pass| {
                for (rule, _) in (0u32..).zip(&pass.rules.list).filter(|(_, rule)| rule.scenario.name == of.scenario) {
                    if let Some(i) = server.by_labels.get(&(rule, of.labels.clone())).copied() {
                        let ours = server.instances.get(i).is_some_and(|i| i.incident.as_ref() == Some(&of.id));
                        if ours {
                            server.release(i, pass);
                        } else {
                            server.soil(i);
                        }
                    }
                }
                server.evaluate(pass, None);
            });
        }
    }
}
