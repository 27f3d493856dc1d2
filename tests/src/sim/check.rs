//! What is checked at every step, and after the quiet.

use std::collections::BTreeSet;

use skynet_engine::Engine;
use skynet_model::event::{Event, EventBody};
use skynet_model::incident::{Incident, State as IncidentState};
use skynet_model::name::IncidentId;

use super::world::{STEP, World};

impl World {
    /// One trouble has one live incident.
    pub(super) fn check_opened(&self, incident: &Incident) -> Result<(), String> {
        let ended = |id: &IncidentId| {
            let ends = |e: &Event| matches!(&e.body, EventBody::IncidentChanged { incident, state, .. } if incident == id && state.is_end());
            self.journal.iter().any(ends)
        };
        for event in &self.journal {
            let EventBody::IncidentOpened { incident: other } = &event.body else { continue };
            let same = other.scenario == incident.scenario
                && other.subject == incident.subject
                && other.labels == incident.labels;
            if same && !ended(&other.id) {
                return Err(format!("{} opened while {} is live for the same trouble", incident.id, other.id));
            }
        }
        Ok(())
    }

    /// Every incident is at its end, waits for its condition to clear, or has a live deadline.
    pub(super) fn check_deadlines(&self) -> Result<(), String> {
        let wake = self.engine.next_wake();
        for incident in self.engine.incidents() {
            let waits = match incident.state {
                IncidentState::Pending | IncidentState::Waiting | IncidentState::Acting | IncidentState::Verifying => {
                    true
                }
                IncidentState::Escalated
                | IncidentState::Observed
                | IncidentState::Contained
                | IncidentState::Resolved
                | IncidentState::Cleared
                | IncidentState::Superseded => false,
            };
            if waits && wake.is_none() {
                return Err(format!("{} is {} without a deadline", incident.id, incident.state.as_str()));
            }
        }
        if let Some(at) = wake
            && at.0 < self.now - 2 * STEP
        {
            return Err(format!("a deadline {} ms ago was not served", self.now - at.0));
        }
        Ok(())
    }

    /// After the quiet: what is broken is known to a person, what is not broken has no live incident, and each effect
    /// happened once.
    pub(super) fn check_end(&mut self) -> Result<(), String> {
        let live: Vec<_> = self.engine.incidents().into_iter().filter(|i| !i.state.is_end()).collect();
        for incident in &live {
            if incident.state != IncidentState::Escalated {
                return Err(format!(
                    "{} is still {} after the quiet: {incident:?}",
                    incident.id,
                    incident.state.as_str()
                ));
            }
            let told = self.journal.iter().any(
                |e| matches!(&e.body, EventBody::NoticeRaised { notice } if notice.incident.as_ref() == Some(&incident.id)),
            );
            if !told {
                return Err(format!("{} is escalated, and nobody was told", incident.id));
            }
        }
        for server in &self.servers {
            let state = server.node.host.state();
            let mut broken: BTreeSet<String> = state.dead.keys().cloned().collect();
            broken.extend(state.runaways.keys().map(u32::to_string));
            if state.sick.is_some() {
                broken.insert("disk".to_owned());
            }
            let mut known = BTreeSet::new();
            for incident in live.iter().filter(|i| i.server() == Some(&server.id)) {
                let labels = &incident.labels;
                known.insert(labels.get("service").or_else(|| labels.get("pid")).unwrap_or("disk").to_owned());
            }
            if broken != known {
                return Err(format!("{}: broken are {broken:?}, live incidents are about {known:?}", server.id));
            }
            drop(state);
            server.node.check_effects(&self.issued)?;
        }
        // A restart now finds the same incidents.
        let mut again = Engine::new();
        for event in &self.journal {
            again.replay(event);
        }
        for incident in &live {
            if again.incident(&incident.id) != Some(incident) {
                return Err(format!("replay differs: {incident:?}\nreplayed: {:?}", again.incident(&incident.id)));
            }
        }
        Ok(())
    }
}
