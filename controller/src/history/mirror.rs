//! Packed readings for a copy elsewhere: offered as they are packed, and read back from the files for a copy that was away.
//!
//! What must never enter: where the copy is, and waiting for it. What does not fit into the channel is not offered; it is in
//! the files, in the order in which it was packed.

use std::io;
use std::sync::Mutex;

use skynet_model::name::ServerId;
use skynet_model::time::Timestamp;
use tokio::sync::mpsc;

use super::sealed::{Archive, Place, Sealed};
use super::shelf::frame::Packed;
use super::{History, chunk, lock};

/// Where packed readings are offered.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    to: Mutex<Option<mpsc::Sender<Sealed>>>,
}

impl Mirror {
    /// From now on what is packed is offered here.
    pub(super) fn follow(&self, room: usize) -> mpsc::Receiver<Sealed> {
        let (to, offers) = mpsc::channel(room.max(1));
        *lock(&self.to) = Some(to);
        offers
    }

    pub(super) fn offer(&self, server: &ServerId, packed: Vec<Packed>) {
        let Some(to) = lock(&self.to).clone() else { return };
        for one in packed {
            // A copy that is gone or too slow reads it from the files.
            let Ok(permit) = to.try_reserve() else { return };
            permit.send(Sealed {
                server: server.clone(),
                first: Timestamp(one.first),
                last: Timestamp(one.last),
                samples: one.samples,
                bytes: chunk::encode(one.samples as usize, &one.times, &one.values).into(),
                series: one.key,
            });
        }
    }
}

impl Archive for History {
    fn sealed_after(&self, after: Option<Place>, bytes: usize) -> io::Result<Vec<(Place, Sealed)>> {
        let Some(store) = &self.store else { return Ok(Vec::new()) };
        let mut holes = Vec::new();
        let found = store.shelf.after(after, bytes, &mut holes)?;
        for hole in holes {
            tracing::warn!("a copy of the history goes without a part that cannot be read: {hole}");
        }
        Ok(found)
    }
}
