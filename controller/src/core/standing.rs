//! What operators set for a while: approvals, silences, maintenance. The engine checks; here it is asked, and told.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use skynet_engine::Input as EngineInput;
use skynet_model::name::{IncidentId, ServerId};
use skynet_model::time::{Span, Timestamp};

use super::{Answer, Core, Refused};

/// What an operator sets.
#[derive(Debug)]
pub enum Standing {
    /// Let the step be done that waits for approval.
    Approve {
        /// Which incident.
        incident: IncidentId,
        /// What they say.
        comment: String,
    },
    /// Hold notices that match back.
    Silence {
        /// What a notice must match.
        matches: BTreeMap<String, String>,
        /// For how long.
        lasts: Span,
        /// Why.
        comment: String,
    },
    /// End a silence before its time.
    ExpireSilence(String),
    /// Servers are worked on.
    StartMaintenance {
        /// By name.
        servers: BTreeSet<ServerId>,
        /// And by label.
        matches: BTreeMap<String, String>,
        /// For how long.
        lasts: Span,
        /// Why.
        comment: String,
    },
    /// End maintenance before its time.
    EndMaintenance(String),
}

impl Core {
    pub(super) fn stand(&mut self, now: Timestamp, what: Standing, by: String) -> Answer {
        match what {
            Standing::Approve { incident, comment } => {
                if self.engine.incident(&incident).is_none() {
                    return Err(Refused::NotFound(format!(
                        "no incident {incident}; skynetctl get approvals lists what waits"
                    )));
                }
                let step = self.engine.approvable(now, &incident).map_err(Refused::Precondition)?;
                let approved = json!({
                    "incident": &incident, "step": step.step, "action": step.action, "call": step.call(),
                    "params": &step.params, "by": &by, "hold": &step.hold,
                });
                self.decide(now, EngineInput::Approve { incident, by, comment });
                Ok(approved)
            }
            Standing::Silence { matches, lasts, comment } => {
                let silence = self.engine.silence(now, matches, lasts, by, comment).map_err(Refused::Precondition)?;
                let document = json!(silence);
                self.decide(now, EngineInput::Silence(silence));
                Ok(document)
            }
            Standing::ExpireSilence(id) => {
                if !self.engine.silences(now).iter().any(|s| s.id == id) {
                    let id = id.escape_debug();
                    return Err(Refused::NotFound(format!(
                        "no silence {id} is in force; skynetctl get silences lists them"
                    )));
                }
                let ended = json!({ "id": &id, "by": &by });
                self.decide(now, EngineInput::ExpireSilence { id, by });
                Ok(ended)
            }
            Standing::StartMaintenance { servers, matches, lasts, comment } => {
                let made = self.engine.maintenance(now, servers, matches, lasts, by, comment);
                let (maintenance, inside) = made.map_err(Refused::Precondition)?;
                let mut document = json!(maintenance);
                document["now"] = json!(inside);
                self.decide(now, EngineInput::StartMaintenance(maintenance));
                Ok(document)
            }
            Standing::EndMaintenance(id) => {
                if !self.engine.maintenances(now).iter().any(|(m, _)| m.id == id) {
                    let id = id.escape_debug();
                    let text = format!("no maintenance {id} is in force; skynetctl get maintenance lists them");
                    return Err(Refused::NotFound(text));
                }
                let ended = json!({ "id": &id, "by": &by });
                self.decide(now, EngineInput::EndMaintenance { id, by });
                Ok(ended)
            }
        }
    }
}
