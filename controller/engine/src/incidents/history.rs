//! What the rails remember: who did what when. Folded from the journal, pruned after a day.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use skynet_model::catalogue::Risk;
use skynet_model::command::Command;
use skynet_model::incident::Incident;
use skynet_model::name::{CommandId, IncidentId, ScenarioName, ServerId};
use skynet_model::time::{Span, Timestamp};
use skynet_model::value::Params;

use super::rails::{DAY, MAX_OPENINGS};

const HOUR: Span = Span::hours(1);

/// One command that may have had an effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Use {
    pub(crate) at: Timestamp,
    pub(crate) incident: IncidentId,
    pub(crate) command: CommandId,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct History {
    /// By server, action and parameters.
    uses: BTreeMap<String, Vec<Use>>,
    /// By scenario, and by server too for reversible actions.
    rates: BTreeMap<String, Vec<Timestamp>>,
    /// By scenario, server and labels.
    openings: BTreeMap<String, Vec<Timestamp>>,
    /// When each server last fired a scenario, whatever the labels.
    fired: BTreeMap<ScenarioName, BTreeMap<ServerId, Timestamp>>,
    pruned: Timestamp,
}

fn use_key(server: &ServerId, action: &str, params: &Params) -> String {
    let mut key = format!("{server}\0{action}");
    for (name, value) in params {
        key.push_str(&format!("\0{name}\0{value}"));
    }
    key
}

fn rate_key(risk: Risk, scenario: &ScenarioName, server: &ServerId) -> String {
    match risk {
        Risk::Reversible => format!("{scenario}\0{server}"),
        Risk::Disruptive | Risk::Destructive => scenario.to_string(),
    }
}

/// What makes two incidents the same trouble.
pub(crate) fn trouble_key(incident: &Incident) -> String {
    format!("{}\0{}\0{}", incident.scenario, incident.subject, incident.labels)
}

impl History {
    pub(crate) fn opened(&mut self, incident: &Incident, time: Timestamp) {
        self.prune(time);
        let openings = self.openings.entry(trouble_key(incident)).or_default();
        if openings.len() >= MAX_OPENINGS {
            openings.remove(0);
        }
        openings.push(time);
        if let Some(server) = incident.server() {
            self.fired.entry(incident.scenario.clone()).or_default().insert(server.clone(), time);
        }
    }

    /// What a server fired counts no longer: the cause it was part of is over.
    pub(crate) fn calmed(&mut self, scenario: &ScenarioName, server: &ServerId) {
        if let Some(fired) = self.fired.get_mut(scenario) {
            fired.remove(server);
            if fired.is_empty() {
                self.fired.remove(scenario);
            }
        }
    }

    /// Whether a server fired a scenario within `window`.
    pub(crate) fn fired(&self, scenario: &ScenarioName, server: &ServerId, window: Span, now: Timestamp) -> bool {
        let at = self.fired.get(scenario).and_then(|fired| fired.get(server));
        at.is_some_and(|at| now.since(*at) < window)
    }

    pub(crate) fn issued(&mut self, command: &Command, risk: Risk, time: Timestamp) {
        self.prune(time);
        let used = Use { at: time, incident: command.incident.clone(), command: command.id.clone() };
        self.uses.entry(use_key(&command.server, &command.action, &command.params)).or_default().push(used);
        self.rates.entry(rate_key(risk, &command.scenario, &command.server)).or_default().push(time);
    }

    /// A command had no effect: it is no reason to wait.
    pub(crate) fn came_to_nothing(&mut self, command: &Command) {
        let key = use_key(&command.server, &command.action, &command.params);
        if let Some(uses) = self.uses.get_mut(&key) {
            uses.retain(|u| u.command != command.id);
            if uses.is_empty() {
                self.uses.remove(&key);
            }
        }
    }

    /// Uses of an action with these parameters by other incidents within a day, oldest first.
    pub(crate) fn uses(
        &self,
        server: &ServerId,
        action: &str,
        params: &Params,
        but: &IncidentId,
        now: Timestamp,
    ) -> Vec<&Use> {
        let uses = self.uses.get(&use_key(server, action, params)).map_or(&[][..], Vec::as_slice);
        uses.iter().filter(|u| u.incident != *but && now.since(u.at) < DAY).collect()
    }

    /// When commands of this risk were issued within the last hour, oldest first.
    pub(crate) fn rate(
        &self,
        risk: Risk,
        scenario: &ScenarioName,
        server: &ServerId,
        now: Timestamp,
    ) -> Vec<Timestamp> {
        let times = self.rates.get(&rate_key(risk, scenario, server)).map_or(&[][..], Vec::as_slice);
        times.iter().copied().filter(|t| now.since(*t) < HOUR).collect()
    }

    /// How often this trouble opened within `window`, which is at most a day.
    pub(crate) fn openings(&self, incident: &Incident, window: Span, now: Timestamp) -> usize {
        let times = self.openings.get(&trouble_key(incident)).map_or(&[][..], Vec::as_slice);
        times.iter().filter(|t| now.since(**t) < window).count()
    }

    /// Now and then, by the events' own time, so that replay forgets the same.
    fn prune(&mut self, time: Timestamp) {
        if time.since(self.pruned) < HOUR {
            return;
        }
        self.pruned = time;
        let retain = |times: &mut Vec<Timestamp>, within: Span| {
            times.retain(|t| time.since(*t) < within);
            !times.is_empty()
        };
        self.openings.retain(|_, times| retain(times, DAY));
        self.rates.retain(|_, times| retain(times, HOUR));
        self.fired.retain(|_, fired| {
            fired.retain(|_, at| time.since(*at) < DAY);
            !fired.is_empty()
        });
        self.uses.retain(|_, uses| {
            uses.retain(|u| time.since(u.at) < DAY);
            !uses.is_empty()
        });
    }
}
