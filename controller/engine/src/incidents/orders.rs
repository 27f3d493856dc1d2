//! What operators order: approvals, silences, maintenance. What is asked for is checked here, so that whoever asks hears
//! why not; only then it becomes an event.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use skynet_model::catalogue::Risk;
use skynet_model::event::EventBody;
use skynet_model::incident::{Hold, Incident, Maintenance, Rail, Silence, State};
use skynet_model::name::{IncidentId, ScenarioName, ServerId};
use skynet_model::time::{Span, Timestamp};
use skynet_model::value::Params;

use super::standing::Approval;
use super::steps::Task;
use super::{View, ids, story};
use crate::timers::Timer;
use crate::{Engine, Output};

/// The longest maintenance.
pub const MAX_MAINTENANCE: Span = Span::hours(30 * 24);
/// The longest silence.
pub const MAX_SILENCE: Span = Span::hours(90 * 24);
/// Silences, and maintenances, in force at a time.
const MAX_STANDING: usize = 1000;
/// Matchers of one.
const MAX_MATCHERS: usize = 32;
/// Servers that one maintenance may name.
const MAX_SERVERS: usize = 10_000;

/// A step that waits for a person's word, or has it and is not done yet.
#[derive(Clone, Debug, Serialize)]
pub struct Awaiting {
    /// Whose step.
    pub incident: IncidentId,
    /// The scenario.
    pub scenario: ScenarioName,
    /// What the incident is about, in words: `web1`, `cluster shop-1`.
    pub subject: String,
    /// The incident's line for people.
    pub summary: String,
    /// Where the incident stands.
    pub state: State,
    /// Which step, from 0.
    pub step: u32,
    /// The action.
    pub action: &'static str,
    /// What it would be done with, by server.
    pub params: BTreeMap<ServerId, Params>,
    /// What the action may break.
    pub risk: Risk,
    /// What holds it now; none after an escalation.
    pub hold: Option<Hold>,
    /// The word that was given, if it has not lapsed.
    pub approved: Option<Approval>,
}

impl Awaiting {
    /// `disk.wipe mount=/`, as all of its servers would do it.
    #[must_use]
    pub fn call(&self) -> String {
        let calls: BTreeSet<String> = self.params.values().map(|params| story::call(self.action, params)).collect();
        calls.into_iter().collect::<Vec<_>>().join("; ")
    }
}

impl Engine {
    /// The step of an incident that a person may approve now.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub fn approvable(&self, now: Timestamp, id: &IncidentId) -> Result<Awaiting, String> {
        let Some(incident) = self.book.incidents.get(id) else {
            return Err(format!("no incident {id}; skynetctl get approvals lists what waits for approval"));
        };
        match incident.state {
            State::Waiting | State::Escalated => {}
            State::Acting | State::Verifying => {
                return Err(format!("a step of {id} is under way; nothing of it waits for approval"));
            }
            State::Observed => {
                return Err(format!("{} is in mode observe: nothing of {id} would be done", incident.scenario));
            }
            State::Pending | State::Contained | State::Resolved | State::Cleared | State::Superseded => {
                return Err(format!("incident {id} is {}: it is over", incident.state.as_str()));
            }
        }
        let found = self.awaiting(now, incident)?;
        match &found.approved {
            Some(given) => Err(format!(
                "step {} of {id} is approved already, by {} until {}",
                found.step + 1,
                given.by,
                given.until
            )),
            None => Ok(found),
        }
    }

    fn awaiting(&self, now: Timestamp, incident: &Incident) -> Result<Awaiting, String> {
        let id = &incident.id;
        // One that is escalated for another reason is a person's: approval is not what it lacks.
        let last = incident.held.last().map(|h| h.rail);
        if incident.state == State::Escalated && last != Some(Rail::Approval) {
            return Err(format!("{id} does not wait for approval: it is escalated"));
        }
        let site = self.evaluator.site(incident);
        let current = site.and_then(|site| self.evaluator.look(site)).is_some_and(|look| look.current);
        let scenario = site.and_then(|site| self.evaluator.scenario(site)).filter(|_| current);
        let Some(scenario) = scenario else {
            return Err(format!(
                "policy has another text of {} by now: nothing of {id} will be done",
                incident.scenario
            ));
        };
        let number = self.next_step(incident);
        let Some(step) = scenario.respond.get(number) else {
            return Err(format!("{id} has no further step that could be approved"));
        };
        if !step.approve {
            let action = step.action.name;
            return Err(format!("step {} of {id} ({action}) needs no approval", number + 1));
        }
        let params =
            step.render(&incident.labels).map_err(|e| format!("step {} cannot be filled in: {e}", number + 1))?;
        let step_number = u32::try_from(number).unwrap_or(u32::MAX);
        let params: BTreeMap<ServerId, Params> =
            self.targets_of(incident).into_iter().map(|server| (server, params.clone())).collect();
        let given = self.book.standing.approval(id).filter(|a| {
            a.step == step_number && a.until > now && params.iter().all(|(server, p)| a.params.get(server) == Some(p))
        });
        Ok(Awaiting {
            incident: id.clone(),
            scenario: incident.scenario.clone(),
            subject: incident.subject.to_string(),
            summary: incident.summary.clone(),
            state: incident.state,
            step: step_number,
            action: step.action.name,
            risk: step.action.risk,
            hold: incident.hold.clone(),
            approved: given.cloned(),
            params,
        })
    }

    /// Which step comes next, from 0.
    fn next_step(&self, incident: &Incident) -> usize {
        incident.step() as usize
    }

    /// The servers the next step is for.
    fn targets_of(&self, incident: &Incident) -> Vec<ServerId> {
        match &incident.chosen {
            Some(chosen) if chosen.step == incident.step() => chosen.servers.clone(),
            Some(_) | None => incident.server().cloned().into_iter().collect(),
        }
    }

    /// What holds an incident's next step at this moment, in words with the numbers of now; what the journal has is how
    /// that hold began.
    #[must_use]
    pub fn held_by(&self, now: Timestamp, incident: &Incident) -> Option<(Rail, String)> {
        incident.hold.as_ref().filter(|_| incident.state == State::Waiting)?;
        if let Some((rail, stop)) = self.worked_on(now, incident) {
            return Some((rail, stop.why));
        }
        let site = self.evaluator.site(incident)?;
        let scenario = self.evaluator.scenario(site)?;
        let view = View { look: self.evaluator.look(site)?, site, scenario, incident: incident.clone() };
        let number = incident.step();
        let step = view.scenario.respond.get(number as usize)?;
        let params = step.render(&incident.labels).ok()?;
        let task = Task { number, step, params: &params };
        let stops = self.targets_of(incident).into_iter().filter_map(|server| self.stop(now, &view, &task, &server));
        stops.map(|(rail, stop)| (rail, stop.why)).next()
    }

    /// How long a rail holds a step before a person is told.
    #[must_use]
    pub fn hold_patience(&self) -> Span {
        self.settings.hold_patience
    }

    /// Steps that wait for approval, and those that have it and are not done yet; oldest incident first.
    #[must_use]
    pub fn approvals(&self, now: Timestamp) -> Vec<Awaiting> {
        let live = self.book.live();
        let waiting = live.iter().filter_map(|id| self.book.incidents.get(id)).filter(|i| {
            matches!(i.state, State::Waiting | State::Escalated) && i.mode == skynet_model::policy::Mode::Enforce
        });
        waiting.filter_map(|incident| self.awaiting(now, incident).ok()).collect()
    }

    pub(crate) fn approve(
        &mut self,
        now: Timestamp,
        id: &IncidentId,
        by: String,
        comment: String,
        out: &mut Vec<Output>,
    ) {
        let Ok(Awaiting { step, params, .. }) = self.approvable(now, id) else { return };
        let until = now.plus(self.settings.approval_lapses);
        let event = EventBody::StepApproved { incident: id.clone(), step, by, comment, params, until };
        self.emit(now, event, out);
        self.tell(now, id, out);
        self.todo.push_back(id.clone());
    }

    /// A silence as it would be, with an id of its own.
    ///
    /// # Errors
    /// What is wrong with it, and what to write.
    pub fn silence(
        &self,
        now: Timestamp,
        matches: BTreeMap<String, String>,
        lasts: Span,
        by: String,
        comment: String,
    ) -> Result<Silence, String> {
        if matches.is_empty() {
            return Err("a silence without matchers would silence everything: say which notices, like \
                        `scenario=disk-filling cluster=shop-1`"
                .to_owned());
        }
        matchers(&matches)?;
        let until = end(now, lasts, MAX_SILENCE, "a silence")?;
        if self.book.standing.silences(now).count() >= MAX_STANDING {
            return Err(format!("{MAX_STANDING} silences are in force; expire some first (skynetctl get silences)"));
        }
        Ok(Silence { id: self.new_id("s", now), matches, from: now, until, by, comment })
    }

    /// A maintenance as it would be, with an id of its own, and the servers that are in it now.
    ///
    /// # Errors
    /// What is wrong with it, and what to write.
    pub fn maintenance(
        &self,
        now: Timestamp,
        servers: BTreeSet<ServerId>,
        matches: BTreeMap<String, String>,
        lasts: Span,
        by: String,
        comment: String,
    ) -> Result<(Maintenance, Vec<ServerId>), String> {
        if servers.is_empty() && matches.is_empty() {
            return Err(
                "say which servers, with `--server web1` or `--where role=web`; no selector selects nothing".to_owned()
            );
        }
        if servers.len() > MAX_SERVERS {
            return Err(format!("{} servers are named; at most {MAX_SERVERS} are taken", servers.len()));
        }
        matchers(&matches)?;
        if let Some(unknown) = servers.iter().find(|s| !self.book.servers.contains_key(*s)) {
            return Err(format!("no server {unknown}; skynetctl get servers lists them"));
        }
        let until = end(now, lasts, MAX_MAINTENANCE, "maintenance")?;
        if self.book.standing.maintenances(now).count() >= MAX_STANDING {
            return Err(format!(
                "{MAX_STANDING} maintenances are in force; end some first (skynetctl get maintenance)"
            ));
        }
        let labels = skynet_model::policy::Match(matches.clone());
        let fits = |(id, record): &(&ServerId, &super::book::ServerRecord)| {
            servers.contains(*id) || labels.fits(&record.labels)
        };
        let now_in: Vec<ServerId> = self.book.servers.iter().filter(fits).map(|(id, _)| id.clone()).collect();
        if now_in.is_empty() {
            return Err("no server has those labels; skynetctl get servers lists them".to_owned());
        }
        let id = self.new_id("m", now);
        Ok((Maintenance { id, servers, matches, from: now, until, by, comment }, now_in))
    }

    fn new_id(&self, kind: &str, now: Timestamp) -> String {
        let mut number = ids::first(now);
        loop {
            let id = format!("{kind}-{}", ids::short(number));
            if !self.book.standing.has(&id) {
                return id;
            }
            number = number.wrapping_add(1);
        }
    }

    /// Silences in force.
    #[must_use]
    pub fn silences(&self, now: Timestamp) -> Vec<&Silence> {
        self.book.standing.silences(now).collect()
    }

    /// Maintenance in force, each with the servers that are in it.
    #[must_use]
    pub fn maintenances(&self, now: Timestamp) -> Vec<(&Maintenance, Vec<&ServerId>)> {
        let servers = |m: &Maintenance| {
            let labels = skynet_model::policy::Match(m.matches.clone());
            let fits =
                |(id, r): &(&ServerId, &super::book::ServerRecord)| m.servers.contains(*id) || labels.fits(&r.labels);
            self.book.servers.iter().filter(fits).map(|(id, _)| id).collect()
        };
        self.book.standing.maintenances(now).map(|m| (m, servers(m))).collect()
    }

    /// The maintenance a server is in.
    #[must_use]
    pub fn in_maintenance(&self, server: &ServerId, now: Timestamp) -> Option<&Maintenance> {
        self.book.in_maintenance(server, now)
    }

    /// The silence that holds back what would be told of an incident.
    #[must_use]
    pub fn silenced(&self, incident: &Incident, now: Timestamp) -> Option<&Silence> {
        self.book.standing.silence_of(&self.book, incident, now)
    }

    /// How many tiers of its route have been told of an incident that is not over for them.
    #[must_use]
    pub fn tiers_told(&self, id: &IncidentId) -> usize {
        self.book.told.get(id).map_or(0, |told| told.tiers)
    }

    /// The incident that stands for the common cause this one is part of: a person is told with that.
    #[must_use]
    pub fn told_with(&self, incident: &Incident) -> Option<&IncidentId> {
        self.book.covered_by(incident)
    }

    /// Since when automation pauses, and why, while the fleet breaker is open.
    #[must_use]
    pub fn paused(&self) -> Option<(Timestamp, &str)> {
        self.book.alarms.breaker.as_ref().map(|b| (b.since, b.reason.as_str()))
    }

    /// Servers that are worked on are no members of clusters and of the fleet.
    pub(crate) fn count_members(&mut self, now: Timestamp) {
        for server in self.book.servers.keys() {
            self.evaluator.exclude(server, self.book.in_maintenance(server, now).is_some());
        }
    }

    /// Servers went into maintenance or came out of it.
    pub(crate) fn maintenance_changed(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        let next = self.book.standing.next_end(now);
        self.timers.set(Timer::Maintenance, next);
        self.count_members(now);
        self.recheck(|_| true);
        self.tell_all(now, out);
    }
}

fn matchers(matches: &BTreeMap<String, String>) -> Result<(), String> {
    if matches.len() > MAX_MATCHERS {
        return Err(format!("{} matchers; at most {MAX_MATCHERS} are taken", matches.len()));
    }
    let fine = |name: &str| {
        let bytes = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'/');
        !name.is_empty() && name.len() <= 128 && name.bytes().all(bytes)
    };
    match matches.iter().find(|(name, value)| !fine(name) || value.is_empty() || value.len() > 256) {
        Some((name, _)) => {
            Err(format!("`{}` is not a matcher: write NAME=VALUE, `*` for any text", name.escape_debug()))
        }
        None => Ok(()),
    }
}

fn end(now: Timestamp, lasts: Span, most: Span, what: &str) -> Result<Timestamp, String> {
    if lasts <= Span::default() || lasts > most {
        return Err(format!("{what} lasts more than nothing and at most {most}; it always ends"));
    }
    Ok(now.plus(lasts))
}
