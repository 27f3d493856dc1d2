//! What the operators' own keys say about acting: on record, and on to every agent, who judges it by itself.

use skynet_engine::Input as EngineInput;
use skynet_model::emergency::Taken;
use skynet_model::time::Timestamp;
use skynet_proto::v1;
use skynet_proto::v1::controller_message::Body;

use super::{Core, Effect, Link};

impl Core {
    pub(super) fn emergency(&mut self, now: Timestamp, taken: Box<Taken>, signatures: Vec<String>) {
        let before = self.engine.emergency().map(|(last, _)| last.sequence);
        tracing::warn!("{}", crate::plain::plain(&taken.to_string()));
        let (sequence, stops) = (taken.sequence, taken.action.stops());
        if before.is_some_and(|before| before >= sequence) {
            return;
        }
        if !stops {
            // Before what is decided now: an agent that is still halted would refuse it.
            self.effects.push_back(Effect::Emergency);
        }
        self.decide(now, EngineInput::Emergency { taken, signatures });
        if stops {
            // Stopping never waits for the disk.
            self.relay();
        }
    }

    /// The last document to every agent.
    pub(super) fn relay(&self) {
        for session in self.servers.values().filter_map(|s| s.session.as_ref()) {
            self.relay_to(&session.link);
        }
    }

    /// The last document, if there is one, to one agent.
    pub(super) fn relay_to(&self, link: &Link) {
        let Some((taken, signatures)) = self.engine.emergency() else { return };
        link.send(Body::Emergency(v1::Emergency {
            document: taken.document.clone().into_bytes(),
            signatures: signatures.iter().map(|signature| signature.clone().into_bytes()).collect(),
        }));
    }
}
