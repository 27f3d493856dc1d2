//! Sealed chunks on their way to a copy elsewhere.
//!
//! What must never enter: how a chunk is packed, and where the copy lies.

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use skynet_model::name::ServerId;
use skynet_model::series::SeriesKey;
use skynet_model::time::Timestamp;

/// A chunk that will not change any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Whose readings.
    pub server: ServerId,
    /// Of which series.
    pub series: SeriesKey,
    /// When its first sample was taken.
    pub first: Timestamp,
    /// When its last sample was taken.
    pub last: Timestamp,
    /// How many samples it holds.
    pub samples: u32,
    /// The chunk as it lies on disk: self-describing, with its format's version.
    pub bytes: Arc<[u8]>,
}

/// Where a sealed chunk lies on disk. Places rise in the order in which chunks were sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The file's number.
    pub file: u64,
    /// Where in it: rises within the file, and means nothing to others.
    pub offset: u64,
}

/// Sealed chunks that can be read again, for a copy that was away.
///
/// Calls block on the disk and are made from a thread of the copy's own. Chunks that retention has deleted, and damaged
/// ones, are passed over: what comes after them is given. The caller keeps the place of the last chunk it has taken.
pub trait Archive: Send + Sync {
    /// Chunks after `after` (all there are if none), in order, of at most about `bytes` bytes together and at least one
    /// if there is one.
    ///
    /// # Errors
    /// The disk's; the call may be repeated.
    fn sealed_after(&self, after: Option<Place>, bytes: usize) -> io::Result<Vec<(Place, Sealed)>>;
}
