//! From readings to truth, per server: the hot half. It keeps no history and decides nothing; it says which instances
//! fire and which incidents' conditions have moved.
//!
//! A reading is written into the slots it fills; only the instances that have such a slot are evaluated, at the end of
//! the sweep. Nothing is allocated for a reading of a series that is known.

mod dictionary;
mod held;
mod instance;
mod join;
mod rule;
mod server;
mod slab;
mod truth;

use std::collections::BTreeMap;
use std::sync::Arc;

use skynet_model::condition::Truth;
use skynet_model::incident::Incident;
use skynet_model::name::{IncidentId, ScenarioName, ServerId};
use skynet_model::policy::{Policy, Scenario};
use skynet_model::series::{Labels, Reading};
use skynet_model::time::Timestamp;

pub(crate) use dictionary::MAX_SERIES;
pub(crate) use instance::Watch;
pub(crate) use join::MAX_INSTANCES;
pub(crate) use rule::Rules;
pub(crate) use server::Server;

use crate::timers::Timers;
use dictionary::Sight;

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
}

/// What a step of evaluation works with.
#[derive(Debug)]
pub(crate) struct Pass<'a> {
    pub(crate) now: Timestamp,
    pub(crate) rules: &'a Rules,
    pub(crate) timers: &'a mut Timers,
    pub(crate) signals: &'a mut Vec<Signal>,
}

/// Where an incident is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Site {
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
    pub(crate) server: ServerId,
    pub(crate) scenario: Arc<Scenario>,
    pub(crate) labels: Labels,
    pub(crate) since: Timestamp,
    pub(crate) readings: Vec<Reading>,
    /// The value of the first series in `when`.
    pub(crate) value: Option<f64>,
}

/// All servers and the rules in force.
#[derive(Debug, Default)]
pub(crate) struct Evaluator {
    pub(crate) rules: Rules,
    servers: Vec<Server>,
    index: BTreeMap<ServerId, u32>,
    pub(crate) signals: Vec<Signal>,
}

impl Evaluator {
    /// The server by its id.
    pub(crate) fn server(&self, id: &ServerId) -> Option<&Server> {
        self.servers.get(*self.index.get(id)? as usize)
    }

    /// Does something with a server.
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

    /// Does something with a server.
    pub(crate) fn with_number<T>(
        &mut self,
        number: u32,
        now: Timestamp,
        timers: &mut Timers,
        what: impl FnOnce(&mut Server, &mut Pass<'_>) -> T,
    ) -> Option<T> {
        let server = self.servers.get_mut(number as usize)?;
        Some(what(server, &mut Pass { now, rules: &self.rules, timers, signals: &mut self.signals }))
    }

    /// Makes a server known, or changes its labels. The instances are made anew.
    pub(crate) fn label(&mut self, id: &ServerId, labels: &Labels, now: Timestamp, timers: &mut Timers) {
        if !self.index.contains_key(id) {
            let number = self.servers.len() as u32;
            self.index.insert(id.clone(), number);
            self.servers.push(Server::new(number, id.clone(), labels.clone()));
        }
        self.with(id, now, timers, |server, pass| {
            let kept = server.keep(pass.rules);
            server.labels = labels.clone();
            server.rebuild(kept, pass);
        });
    }

    /// Puts a policy in force. `kept` are scenarios of other text under which something still runs.
    pub(crate) fn set_policy(
        &mut self,
        policy: Arc<Policy>,
        kept: Vec<Arc<Scenario>>,
        now: Timestamp,
        timers: &mut Timers,
    ) {
        let pending: Vec<_> = self.servers.iter().map(|s| s.keep(&self.rules)).collect();
        self.rules = Rules::new(policy, kept);
        for (server, pending) in self.servers.iter_mut().zip(pending) {
            let mut pass = Pass { now, rules: &self.rules, timers, signals: &mut self.signals };
            server.rebuild(pending, &mut pass);
        }
    }

    /// Where an incident is evaluated; none when its scenario's text is no longer known.
    pub(crate) fn site(&self, incident: &Incident) -> Option<Site> {
        let rule = self.rules.find(&incident.scenario, &incident.digest)?;
        let server = *self.index.get(&incident.server)?;
        let held = self.servers.get(server as usize)?;
        let instance = *held.by_labels.get(&(rule, incident.labels.clone()))?;
        Some(Site { server, instance })
    }

    /// Lets an instance stand for a live incident, made when there is none. Says whether that can be.
    pub(crate) fn attach(&mut self, incident: &Incident, now: Timestamp, timers: &mut Timers) -> bool {
        let Some(rule) = self.rules.find(&incident.scenario, &incident.digest) else { return false };
        let attached = self.with(&incident.server, now, timers, |server, pass| {
            let Some(i) = server.ensure(rule, incident.labels.clone(), pass) else { return false };
            let Some(instance) = server.instances.get_mut(i) else { return false };
            instance.incident = Some(incident.id.clone());
            server.soil(i);
            server.evaluate(pass, None);
            true
        });
        attached.unwrap_or(false)
    }

    /// The scenario at a site.
    pub(crate) fn scenario(&self, site: Site) -> Option<&Arc<Scenario>> {
        let instance = self.servers.get(site.server as usize)?.instances.get(site.instance)?;
        Some(&self.rules.get(instance.rule)?.scenario)
    }

    /// How the conditions stand at a site.
    pub(crate) fn look(&self, site: Site) -> Option<Look> {
        let server = self.servers.get(site.server as usize)?;
        let instance = server.instances.get(site.instance)?;
        let rule = self.rules.get(instance.rule)?;
        Some(Look {
            when: instance.when,
            clear: instance.clear,
            settled: instance.settle.reached(rule.scenario.settle),
            current: server.is_about(instance.rule),
        })
    }

    /// The proof that is awaited at a site.
    pub(crate) fn watched(&self, site: Site) -> Option<&Watch> {
        self.servers.get(site.server as usize)?.instances.get(site.instance)?.watch.as_deref()
    }

    /// What `when`, `clear` and `verify` read at a site, as far as it is known.
    pub(crate) fn readings(&self, site: Site) -> Vec<Reading> {
        let instance = self.servers.get(site.server as usize).and_then(|s| Some((s, s.instances.get(site.instance)?)));
        let Some((server, instance)) = instance else { return Vec::new() };
        let mut seen = Vec::new();
        let mut readings = Vec::new();
        for at in instance.bound.iter().flatten() {
            let known = server.dictionary.series.get(*at).filter(|s| s.sight == Sight::Known && !s.value.is_nan());
            if let Some(series) = known.filter(|_| !seen.contains(at)) {
                seen.push(*at);
                readings.push(Reading { series: series.key.clone(), value: series.value, time: series.time });
            }
        }
        readings
    }

    /// What an instance that fires is about.
    pub(crate) fn firing(&self, site: Site) -> Option<Firing> {
        let server = self.servers.get(site.server as usize)?;
        let instance = server.instances.get(site.instance)?;
        if instance.incident.is_some() {
            return None;
        }
        let rule = self.rules.get(instance.rule)?;
        let first = rule.joined().next().and_then(|(slot, _)| instance.values.get(slot).copied());
        Some(Firing {
            server: server.id.clone(),
            scenario: Arc::clone(&rule.scenario),
            labels: instance.labels.clone(),
            since: instance.held.first()?,
            readings: self.readings(site),
            value: first.filter(|v| !v.is_nan()),
        })
    }

    /// Whether an instance still fires.
    pub(crate) fn fires(&self, site: Site) -> bool {
        let Some(server) = self.servers.get(site.server as usize) else { return false };
        let Some(instance) = server.instances.get(site.instance) else { return false };
        let Some(rule) = self.rules.get(instance.rule) else { return false };
        instance.incident.is_none() && instance.held.reached(rule.scenario.hold)
    }

    /// Instances whose `when` holds and whose `for` has not passed.
    pub(crate) fn pending(&self) -> impl Iterator<Item = Firing> {
        self.servers.iter().flat_map(move |server| {
            let waiting = server.instances.iter().filter(|(_, i)| i.incident.is_none() && i.held.first().is_some());
            waiting.filter_map(move |(i, _)| self.firing(Site { server: server.number, instance: i }))
        })
    }

    /// Evaluates the instances of a scenario with these labels again: what stood in their way has ended.
    pub(crate) fn poke(&mut self, of: &Incident, now: Timestamp, timers: &mut Timers) {
        let rules: Vec<u32> = (0u32..)
            .zip(&self.rules.list)
            .filter(|(_, rule)| rule.scenario.name == of.scenario)
            .map(|(number, _)| number)
            .collect();
        self.with(&of.server, now, timers, |server, pass| {
            for rule in rules {
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
