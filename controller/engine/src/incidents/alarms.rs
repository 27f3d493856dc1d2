//! What more than one incident says: the fleet breaker and common causes. Folded from the journal; what is to be done
//! about it is [`super::brakes`]'s.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use skynet_model::name::{IncidentId, NoticeId, ScenarioName, ServerId};
use skynet_model::time::Timestamp;

/// How many incidents of the row are remembered.
const MAX_ROW: usize = 1000;
/// How many notices about Skynet itself are remembered.
const MAX_SAID: usize = 256;

/// Automation pauses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Breaker {
    pub(crate) since: Timestamp,
    pub(crate) reason: String,
}

/// Many servers of a cluster fire one scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cause {
    pub(crate) scenario: ScenarioName,
    pub(crate) cluster: String,
    pub(crate) reason: String,
    pub(crate) since: Timestamp,
    /// No incident of it is live any more, and who was told has yet to hear that.
    pub(crate) over: bool,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Alarms {
    pub(crate) breaker: Option<Breaker>,
    /// Incidents in a row that acted and were not contained, with the server, oldest first.
    row: Vec<(IncidentId, ServerId)>,
    /// By the incident that stands for all of them: who takes that over takes over all.
    causes: BTreeMap<IncidentId, Cause>,
    /// Notices about Skynet itself that were raised.
    said: BTreeSet<NoticeId>,
}

impl Alarms {
    /// An incident that acted came to its verdict.
    pub(crate) fn verdict(&mut self, incident: &IncidentId, server: &ServerId, contained: bool) {
        if contained {
            self.row.clear();
        } else if self.breaker.is_none() && self.row.iter().all(|(id, _)| id != incident) && self.row.len() < MAX_ROW {
            self.row.push((incident.clone(), server.clone()));
        }
    }

    /// The row, and on how many servers it is.
    pub(crate) fn row(&self) -> (&[(IncidentId, ServerId)], usize) {
        (&self.row, self.row.iter().map(|(_, server)| server).collect::<BTreeSet<_>>().len())
    }

    pub(crate) fn opened(&mut self, since: Timestamp, reason: &str) {
        self.row.clear();
        self.breaker = Some(Breaker { since, reason: reason.to_owned() });
    }

    pub(crate) fn resumed(&mut self) {
        self.row.clear();
        self.breaker = None;
    }

    pub(crate) fn found(&mut self, lead: &IncidentId, cause: Cause) {
        self.causes.insert(lead.clone(), cause);
    }

    /// The cause that holds a scenario in a cluster, and the incident that stands for it.
    pub(crate) fn cause(&self, scenario: &ScenarioName, cluster: &str) -> Option<(&IncidentId, &Cause)> {
        self.causes.iter().find(|(_, c)| !c.over && c.scenario == *scenario && c.cluster == cluster)
    }

    /// The cause an incident stands for.
    pub(crate) fn led_by(&self, lead: &IncidentId) -> Option<&Cause> {
        self.causes.get(lead)
    }

    /// Causes that hold something.
    pub(crate) fn causes(&self) -> impl Iterator<Item = (&IncidentId, &Cause)> {
        self.causes.iter().filter(|(_, c)| !c.over)
    }

    /// Incidents that stand for a cause that is over, while a person has yet to hear that.
    pub(crate) fn over(&self) -> Vec<IncidentId> {
        self.causes.iter().filter(|(_, c)| c.over).map(|(lead, _)| lead.clone()).collect()
    }

    /// A cause is over; whoever was told has to hear it, else it is forgotten.
    pub(crate) fn end(&mut self, lead: &IncidentId, told: bool) {
        if !told {
            self.causes.remove(lead);
        } else if let Some(cause) = self.causes.get_mut(lead) {
            cause.over = true;
        }
    }

    /// A person has heard that a cause is over.
    pub(crate) fn forget(&mut self, lead: &IncidentId) {
        if self.causes.get(lead).is_some_and(|c| c.over) {
            self.causes.remove(lead);
        }
    }

    pub(crate) fn said(&mut self, notice: &NoticeId) {
        if self.said.len() >= MAX_SAID {
            self.said.pop_first();
        }
        self.said.insert(notice.clone());
    }

    pub(crate) fn has_said(&self, notice: &NoticeId) -> bool {
        self.said.contains(notice)
    }
}
