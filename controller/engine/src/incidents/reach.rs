//! Whom steps reach: the servers of each cluster, those under a disruptive or destructive step, and those that had one
//! lately. Folded from the journal.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use skynet_model::catalogue::Risk;
use skynet_model::command::Command;
use skynet_model::name::{CommandId, IncidentId, ScenarioName, ServerId};
use skynet_model::time::{Span, Timestamp};

use super::rails::DAY;

/// A step that is not over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Flight {
    incident: IncidentId,
    scenario: ScenarioName,
}

/// A step that may have had an effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Act {
    at: Timestamp,
    incident: IncidentId,
    command: CommandId,
    destructive: bool,
}

/// See the module. Reversible steps do not enter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reach {
    members: BTreeMap<String, BTreeSet<ServerId>>,
    under_way: BTreeMap<ServerId, BTreeMap<CommandId, Flight>>,
    /// Within a day, oldest first.
    acts: BTreeMap<ServerId, Vec<Act>>,
    pruned: Timestamp,
}

impl Reach {
    /// A server is of this cluster now, and of no other.
    pub(crate) fn joined(&mut self, server: &ServerId, before: &str, cluster: &str) {
        if let Some(members) = self.members.get_mut(before) {
            members.remove(server);
            if members.is_empty() {
                self.members.remove(before);
            }
        }
        self.members.entry(cluster.to_owned()).or_default().insert(server.clone());
    }

    pub(crate) fn issued(&mut self, command: &Command, risk: Risk, time: Timestamp) {
        if risk == Risk::Reversible {
            return;
        }
        let flight = Flight { incident: command.incident.clone(), scenario: command.scenario.clone() };
        self.under_way.entry(command.server.clone()).or_default().insert(command.id.clone(), flight);
        self.acts.entry(command.server.clone()).or_default().push(Act {
            at: time,
            incident: command.incident.clone(),
            command: command.id.clone(),
            destructive: risk == Risk::Destructive,
        });
        if time.since(self.pruned) >= Span::hours(1) {
            self.pruned = time;
            self.acts.retain(|_, acts| {
                acts.retain(|act| time.since(act.at) < DAY);
                !acts.is_empty()
            });
        }
    }

    /// A step is over.
    pub(crate) fn landed(&mut self, command: &Command) {
        if let Some(flights) = self.under_way.get_mut(&command.server) {
            flights.remove(&command.id);
            if flights.is_empty() {
                self.under_way.remove(&command.server);
            }
        }
    }

    /// A command had no effect.
    pub(crate) fn came_to_nothing(&mut self, command: &Command) {
        if let Some(acts) = self.acts.get_mut(&command.server) {
            acts.retain(|act| act.command != command.id);
            if acts.is_empty() {
                self.acts.remove(&command.server);
            }
        }
    }

    /// The servers of a cluster.
    pub(crate) fn members(&self, cluster: &str) -> impl Iterator<Item = &ServerId> {
        self.members.get(cluster).into_iter().flatten()
    }

    /// How many servers a cluster has.
    pub(crate) fn size(&self, cluster: &str) -> usize {
        self.members.get(cluster).map_or(0, BTreeSet::len)
    }

    fn is_in(&self, server: &ServerId, cluster: &str) -> bool {
        self.members.get(cluster).is_some_and(|members| members.contains(server))
    }

    /// Servers of a cluster with a step under way.
    pub(crate) fn acting(&self, cluster: &str) -> Vec<&ServerId> {
        self.under_way.keys().filter(|server| self.is_in(server, cluster)).collect()
    }

    /// How many other incidents of a scenario have a step under way.
    pub(crate) fn in_flight(&self, scenario: &ScenarioName, but: &IncidentId) -> usize {
        let flights = self.under_way.values().flat_map(BTreeMap::values);
        let others = flights.filter(|f| f.scenario == *scenario && f.incident != *but).map(|f| &f.incident);
        others.collect::<BTreeSet<_>>().len()
    }

    /// Servers of a cluster that had a step within `within`, with the last one's time.
    pub(crate) fn acted_since(&self, cluster: &str, now: Timestamp, within: Span) -> Vec<(Timestamp, &ServerId)> {
        let lately = self.acts.iter().filter_map(|(server, acts)| {
            let at = acts.last()?.at;
            (now.since(at) < within && self.is_in(server, cluster)).then_some((at, server))
        });
        lately.collect()
    }

    /// The newest destructive step in a cluster within `within`.
    pub(crate) fn last_destructive(
        &self,
        cluster: &str,
        now: Timestamp,
        within: Span,
    ) -> Option<(Timestamp, &ServerId, &IncidentId)> {
        let of = |(server, acts)| {
            let acts: &Vec<Act> = acts;
            let act = acts.iter().rev().find(|act| act.destructive && now.since(act.at) < within)?;
            self.is_in(server, cluster).then_some((act.at, server, &act.incident))
        };
        self.acts.iter().filter_map(of).max_by_key(|(at, ..)| *at)
    }
}
