//! What operators want.

use std::sync::Arc;

use serde_json::json;
use skynet_engine::{Asking, Input as EngineInput};
use skynet_model::policy::Match;
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
            Order::Request { asking, selector } => self.request(now, asking, &selector),
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
            Order::Stand { what, by } => self.stand(now, what, by),
            Order::Push { .. } if self.activating() => {
                Err(Refused::Unavailable("another policy is being activated; try again in a moment".to_owned()))
            }
            Order::Push { candidate, by } => self.push(now, Arc::from(candidate), by),
            Order::Steer { what, by } => self.steer(now, what, by),
            Order::Label { server, set, remove, by } => self.relabel(now, server, &set, &remove, by),
        };
        self.effects.push_back(Effect::Reply(reply, answer));
    }

    /// Asks for something on the servers that are named and on those that the selector fits.
    fn request(&mut self, now: Timestamp, mut asking: Asking, selector: &Match) -> Answer {
        let known = self.servers.iter().filter(|(_, server)| selector.fits(&server.labels)).map(|(id, _)| id.clone());
        let before = asking.servers.len();
        asking.servers.extend(known);
        if asking.servers.len() == before && !selector.0.is_empty() {
            let words: Vec<String> = selector.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
            return Err(Refused::NotFound(format!(
                "no server has the labels {}; `skynetctl get servers` lists them",
                words.join(" ")
            )));
        }
        let request = asking.request.clone();
        let made = self.engine.request(now, asking, &mut self.out);
        self.drain_out(now);
        let incidents = made.map_err(Refused::Precondition)?;
        let asked = incidents.first().and_then(|id| self.engine.incident(id)).and_then(|i| i.asked.clone());
        let servers = asked.map(|asked| asked.servers).unwrap_or_default();
        Ok(json!({ "request": request, "incidents": incidents, "servers": servers }))
    }

    /// Whether a policy waits for its event to be on disk: its version is not in the store's list yet.
    fn activating(&self) -> bool {
        self.effects.iter().any(|effect| matches!(effect, Effect::Activate(..)))
    }
}
