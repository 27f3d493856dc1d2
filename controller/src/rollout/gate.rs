//! The health gate: whether the servers that have the new version fare worse than the rest, and than before.
//!
//! Every measure counts on servers with the version, and how much of it is allowed: twice what as many servers of the rest
//! (or, when that is more, as many of the whole fleet in as much time before the rollout) have, and one server in twenty
//! besides. For fewer than 20 servers that is none: of a canary nothing is excused that the rest does not have as well.

use std::collections::{BTreeMap, BTreeSet};

use skynet_model::incident::State as Phase;
use skynet_model::name::ServerId;
use skynet_model::time::{Span, Timestamp};

use super::Health;
use super::state::{Kind, Run, State};

/// How long an agent may take for its answer, and a lost one for its return.
const PATIENCE: Span = Span::minutes(2);
/// Restarts within so long of a new version are laid at its door.
const RESTARTS_WITHIN: Span = Span::minutes(5);
/// One server in so many is excused.
const SPARE: usize = 20;
/// Openings of one scenario on one server in one wave that count like an escalation.
const OPENINGS: usize = 3;
/// Names that a reason gives.
const NAMED: usize = 3;

/// One thing that is measured.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Measure {
    /// What: `refused`, `restarts`, `sensors`, `failed_actions`, `escalations`, `incidents`, `lost`.
    pub name: &'static str,
    /// How much of it there is on servers with the version.
    pub found: usize,
    /// How much is allowed.
    pub allowed: usize,
    /// How much of it there is on the rest.
    pub rest: usize,
    /// Where and what, in words; empty when there is nothing.
    pub detail: String,
    /// Judged only when the wave has been watched for its time.
    pub at_end: bool,
}

impl Measure {
    fn is_too_much(&self) -> bool {
        self.found > self.allowed
    }
}

/// What becomes of a wave.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Not decided; when its time is over, where that is known.
    Waits(Option<Timestamp>),
    /// The next one may begin.
    Passed,
    /// Too much of something.
    Failed(String),
}

/// A wave, judged.
#[derive(Clone, Debug)]
pub struct Judged {
    /// What becomes of it.
    pub verdict: Verdict,
    /// What was found.
    pub measures: Vec<Measure>,
    /// When it has been watched for its time; none while nobody runs the version yet.
    pub soaked: Option<Timestamp>,
}

/// What counts, once for all measures.
struct Count<'a> {
    state: &'a State,
    run: &'a Run,
    now: Timestamp,
    /// Servers that have, or had, the version.
    with: BTreeSet<&'a ServerId>,
    /// The others that are connected.
    rest: usize,
}

/// Judges the newest wave, together with those before it.
#[must_use]
pub fn judge(state: &State, run: &Run, now: Timestamp, health: &Health) -> Judged {
    let with: BTreeSet<&ServerId> = run.took.keys().chain(run.refused.keys()).collect();
    let rest = state.servers().iter().filter(|(id, seen)| seen.connected && !with.contains(id)).count();
    let count = Count { state, run, now, with, rest };
    let mut measures = vec![count.refused(), count.restarts(), count.sensors(health, false)];
    measures.extend([count.events("failed_actions", Kind::FailedAction), count.escalations(), count.lost()]);
    let soaked = count.soaked();
    let over = soaked.is_some_and(|at| at <= now);
    if over {
        measures.push(count.incidents());
        if let Some(sensors) = measures.iter_mut().find(|m| m.name == "sensors") {
            *sensors = count.sensors(health, true);
        }
    }
    let too_much: Vec<String> = measures
        .iter()
        .filter(|m| m.is_too_much())
        .map(|m| format!("{} ({}, {} allowed)", m.detail, m.found, m.allowed))
        .collect();
    let verdict = if !too_much.is_empty() {
        Verdict::Failed(too_much.join("; "))
    } else if over && !count.is_undecided() {
        Verdict::Passed
    } else {
        Verdict::Waits(soaked)
    };
    Judged { verdict, measures, soaked }
}

impl Count<'_> {
    /// What `found` of as many servers of the rest, and of the fleet before, allow.
    fn allowed(&self, rest: usize, before: usize) -> usize {
        let with = self.with.len();
        let fleet = self.state.servers().len();
        let like = |found: usize, of: usize| (2 * found * with).checked_div(of).unwrap_or(0);
        with / SPARE + like(rest, self.rest).max(like(before, fleet))
    }

    fn measure(&self, name: &'static str, what: &str, on: &[&ServerId], rest: usize, before: usize) -> Measure {
        let mut names: Vec<&str> = on.iter().map(|server| server.as_str()).collect();
        names.dedup();
        let more = names.len().saturating_sub(NAMED);
        let mut detail = format!("{what} on {}", names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", "));
        if more > 0 {
            detail.push_str(&format!(" and {more} more"));
        }
        if on.is_empty() {
            detail.clear();
        }
        Measure { name, found: on.len(), allowed: self.allowed(rest, before), rest, detail, at_end: false }
    }

    /// Refused, given up, or not answered. A server that gave it up by itself is not excused.
    fn refused(&self) -> Measure {
        let Self { state, run, now, .. } = self;
        let mut on: Vec<&ServerId> = run.refused.keys().collect();
        let silent = state.servers().iter().filter(|(id, seen)| {
            let asked = seen.since.max(run.wave_started);
            let due = seen.connected && run.has_reached(id) && now.since(asked) > PATIENCE;
            due && !run.took.contains_key(*id) && !run.refused.contains_key(*id)
        });
        on.extend(silent.map(|(id, _)| id));
        let why = run.refused.values().next().cloned().unwrap_or_else(|| "no answer".to_owned());
        let mut measure = self.measure("refused", &format!("the version is not taken: {why};"), &on, 0, 0);
        if run.refused.keys().any(|server| run.took.contains_key(server)) {
            measure.allowed = 0;
        }
        measure
    }

    /// Events on servers with the version since they took it and the wave began; and on the rest; and before.
    fn of(&self, kind: Kind) -> (Vec<&ServerId>, usize, usize) {
        let run = self.run;
        let span = self.now.since(run.wave_started);
        let (mut on, mut rest, mut before) = (Vec::new(), 0, 0);
        for trouble in self.state.trouble.iter().filter(|t| t.kind == kind) {
            let took = run.took.get(&trouble.server);
            if trouble.at < run.started {
                before += usize::from(run.started.since(trouble.at) <= span);
            } else if took.is_some_and(|took| trouble.at >= *took) {
                if trouble.at >= run.wave_started {
                    on.push(&trouble.server);
                }
            } else if took.is_none() && trouble.at >= run.wave_started {
                rest += 1;
            }
        }
        on.sort_unstable();
        (on, rest, before)
    }

    fn events(&self, name: &'static str, kind: Kind) -> Measure {
        let (on, rest, before) = self.of(kind);
        self.measure(name, "failed or refused actions", &on, rest, before)
    }

    /// Two of one server soon after it took the version are too much whatever the others do.
    fn restarts(&self) -> Measure {
        let (on, rest, before) = self.of(Kind::Restart);
        let mut measure = self.measure("restarts", "the agent began anew", &on, rest, before);
        let mut soon: BTreeMap<&ServerId, usize> = BTreeMap::new();
        for trouble in self.state.trouble.iter().filter(|t| t.kind == Kind::Restart) {
            let took = self.run.took.get(&trouble.server);
            if took.is_some_and(|took| trouble.at >= *took && trouble.at.since(*took) <= RESTARTS_WITHIN) {
                *soon.entry(&trouble.server).or_default() += 1;
            }
        }
        if let Some((server, times)) = soon.into_iter().find(|(_, times)| *times >= 2) {
            (measure.found, measure.allowed) = (measure.found.max(times), 1.min(measure.allowed));
            measure.detail = format!("the agent of {server} began anew {times} times within {RESTARTS_WITHIN}");
        }
        measure
    }

    /// Sensors that fail and did not before, the worst of them. While a wave is watched two sweeps in a row count; at its
    /// end one does.
    fn sensors(&self, health: &Health, over: bool) -> Measure {
        let run = self.run;
        let mut worst = self.measure("sensors", "", &[], 0, 0);
        let mut failing: BTreeMap<&str, (Vec<&ServerId>, usize)> = BTreeMap::new();
        for (server, sensors) in health {
            let new = run.took.contains_key(server) && !run.refused.contains_key(server);
            for (sensor, sweeps) in sensors {
                let known = run.failing.get(server).is_some_and(|before| before.contains(sensor));
                let entry = failing.entry(sensor).or_default();
                if !new {
                    entry.1 += 1;
                } else if !known && (over || *sweeps >= 2) {
                    entry.0.push(server);
                }
            }
        }
        for (sensor, (on, rest)) in failing {
            let measure = self.measure("sensors", &format!("sensor {sensor} fails"), &on, rest, 0);
            let excess = |m: &Measure| (m.is_too_much(), m.found);
            if excess(&measure) > excess(&worst) {
                worst = measure;
            }
        }
        worst
    }

    fn escalations(&self) -> Measure {
        let (mut on, rest, before) = self.of(Kind::Escalation);
        // What is cured and comes back at once is not cured.
        let mut openings: BTreeMap<(&ServerId, &str), usize> = BTreeMap::new();
        for opened in self.of_version() {
            *openings.entry((&opened.server, &opened.scenario)).or_default() += 1;
        }
        on.extend(openings.iter().filter(|(_, times)| **times >= OPENINGS).map(|((server, _), _)| *server));
        on.sort_unstable();
        let scenario = self.of_version().map(|opened| opened.scenario.as_str()).next().unwrap_or("a scenario");
        self.measure("escalations", &format!("not contained: {scenario}"), &on, rest, before)
    }

    fn of_version(&self) -> impl Iterator<Item = &super::state::Opened> {
        let (version, since) = (self.run.version, self.run.wave_started);
        self.state.incidents.values().filter(move |opened| opened.policy == version && opened.at >= since)
    }

    /// Incidents of this wave that are still open, or wait for a person.
    fn incidents(&self) -> Measure {
        let run = self.run;
        let (mut on, mut rest, mut before) = (Vec::new(), 0, 0);
        let span = self.now.since(run.wave_started);
        let mut scenario = "";
        for opened in self.state.incidents.values().filter(|o| !matches!(o.phase, Phase::Contained | Phase::Cleared)) {
            if opened.at < run.started {
                before += usize::from(run.started.since(opened.at) <= span);
            } else if opened.at >= run.wave_started {
                match opened.policy == run.version {
                    true => {
                        on.push(&opened.server);
                        scenario = &opened.scenario;
                    }
                    false => rest += 1,
                }
            }
        }
        on.sort_unstable();
        let what = format!("new incidents that are not over ({scenario})");
        Measure { at_end: true, ..self.measure("incidents", &what, &on, rest, before) }
    }

    fn lost(&self) -> Measure {
        let Self { state, run, now, .. } = self;
        let (mut on, mut rest) = (Vec::new(), 0);
        for (id, seen) in state.servers().iter().filter(|(_, seen)| !seen.connected) {
            let since_wave = seen.since >= run.wave_started && now.since(seen.since) > PATIENCE;
            match run.took.get(id) {
                Some(took) if seen.since >= *took && since_wave => on.push(id),
                None if since_wave => rest += 1,
                Some(_) | None => {}
            }
        }
        self.measure("lost", "no word from its agent", &on, rest, 0)
    }

    /// When the wave has been watched for its time: it begins when its servers have answered. Who answers later catches up
    /// and does not hold the others up. Nothing is proved while nobody runs the version.
    fn soaked(&self) -> Option<Timestamp> {
        let run = self.run;
        let in_time = |took: &&Timestamp| took.since(run.wave_started) <= PATIENCE;
        let answered = run.took.values().filter(in_time).max().or_else(|| run.took.values().min())?;
        Some((*answered).max(run.wave_started).plus(run.soak))
    }

    /// Something is on its way to being well or not: an answer, or a server that may come back.
    fn is_undecided(&self) -> bool {
        let Self { state, run, now, .. } = self;
        state.servers().iter().any(|(id, seen)| {
            let took = run.took.contains_key(id);
            let waits = seen.connected && run.has_reached(id) && !took && !run.refused.contains_key(id);
            let limbo = !seen.connected && took && now.since(seen.since) <= PATIENCE;
            (waits && now.since(seen.since.max(run.wave_started)) <= PATIENCE) || limbo
        })
    }
}
