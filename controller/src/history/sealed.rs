//! Packed readings for a mirror: offered as they are packed, and read back from the files for a mirror that was away.
//!
//! What must never enter: where the mirror is, and waiting for it. What does not fit into the channel is not offered; the
//! mirror sees from the cursors that something is missing, and reads it from the files.

use std::sync::{Arc, Mutex};

use skynet_model::name::ServerId;
use skynet_model::series::SeriesKey;
use skynet_model::time::Timestamp;
use tokio::sync::mpsc;

use super::chunk;
use super::lock;
use super::shelf::frame::Packed;

/// The samples of one series, packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Whose.
    pub server: ServerId,
    /// Which.
    pub series: SeriesKey,
    /// When the first was taken.
    pub first: Timestamp,
    /// When the last was.
    pub last: Timestamp,
    /// How many they are.
    pub samples: u32,
    /// Self-describing and versioned; [`decode`] reads them.
    pub bytes: Arc<[u8]>,
}

pub use super::chunk::{ChunkError, decode};

/// A place in the files: everything before it was seen. The default is the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// Number of the file.
    pub file: u64,
    /// Byte in it.
    pub offset: u64,
}

/// What one block of a server became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Its chunks.
    pub chunks: Vec<Sealed>,
    /// Where it begins in the files; if this is not where the one before ended, something was not offered.
    pub begins: Cursor,
    /// Where it ends: what a mirror that has it keeps.
    pub ends: Cursor,
}

/// Where packed readings are offered.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    to: Mutex<Option<mpsc::Sender<Offer>>>,
}

impl Mirror {
    /// From now on what is packed is offered here.
    pub(super) fn follow(&self, room: usize) -> mpsc::Receiver<Offer> {
        let (to, offers) = mpsc::channel(room.max(1));
        *lock(&self.to) = Some(to);
        offers
    }

    pub(super) fn offer(&self, server: &ServerId, packed: Vec<Packed>, begins: Cursor, ends: Cursor) {
        let Some(sender) = lock(&self.to).clone() else { return };
        // A mirror that is gone or too slow reads it from the files.
        let Ok(permit) = sender.try_reserve() else { return };
        let chunks = packed.into_iter().map(|p| Sealed {
            server: server.clone(),
            first: Timestamp(p.first),
            last: Timestamp(p.last),
            samples: p.samples,
            bytes: chunk::encode(p.samples as usize, &p.times, &p.values).into(),
            series: p.key,
        });
        permit.send(Offer { chunks: chunks.collect(), begins, ends });
    }
}
