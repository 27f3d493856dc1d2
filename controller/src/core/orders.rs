//! What operators want.

use std::sync::Arc;

use serde_json::json;
use skynet_engine::Input as EngineInput;
use skynet_model::time::Timestamp;
use skynet_proto::v1;
use skynet_proto::v1::controller_message::Body;
use tokio::sync::oneshot;

use super::{Answer, Core, Effect, Order, Refused};

impl Core {
    pub(super) fn order(&mut self, now: Timestamp, order: Order, reply: oneshot::Sender<Answer>) {
        let answer = match order {
            Order::Acknowledge { incident, by, comment } => match self.engine.incident(&incident) {
                None => Err(Refused::NotFound(format!("no incident {incident}; skynetctl get incidents lists them"))),
                Some(known) if known.state.is_end() => {
                    Err(Refused::Precondition(format!("incident {incident} is {}: it is over", known.state.as_str())))
                }
                Some(_) => {
                    let taken = json!({ "incident": &incident, "by": &by });
                    self.decide(now, EngineInput::Acknowledge { incident, by, comment });
                    Ok(taken)
                }
            },
            Order::Halt { by, reason } => {
                // The first to halt is whom the others ask; a second halt changes nothing.
                let before = self.engine.halted().map(|(by, reason)| json!({ "by": by, "reason": reason }));
                let halted = json!({ "halted": true, "by": &by, "reason": &reason, "before": before });
                self.decide(now, EngineInput::Halt { by, reason });
                // Stopping never waits for the disk.
                for session in self.servers.values().filter_map(|s| s.session.as_ref()) {
                    session.link.send(Body::Halt(v1::Halt { halted: true }));
                }
                Ok(halted)
            }
            Order::Resume { by } => {
                let resumed = json!({ "halted": false, "by": &by });
                // Before what is decided now: an agent that is still halted would refuse it.
                self.effects.push_back(Effect::Resume);
                self.decide(now, EngineInput::Resume { by });
                Ok(resumed)
            }
            Order::Push { .. } if self.activating() => {
                Err(Refused::Unavailable("another policy is being activated; try again in a moment".to_owned()))
            }
            Order::Push { candidate, by } => self.push(now, Arc::from(candidate), by),
            Order::Steer { what, by } => self.steer(now, what, by),
            Order::Label { server, set, remove, by } => self.relabel(now, server, &set, &remove, by),
        };
        self.effects.push_back(Effect::Reply(reply, answer));
    }

    /// Whether a policy waits for its event to be on disk: its version is not in the store's list yet.
    fn activating(&self) -> bool {
        self.effects.iter().any(|effect| matches!(effect, Effect::Activate(..)))
    }
}
