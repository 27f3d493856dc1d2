//! Readings as they lie in Redis: latest values, and chunks in packs.
//!
//! What must never enter: when they are sent, and what becomes of a refusal; the store's room knows that.

mod latest;
mod packs;

use std::io;

pub use latest::{Changes, Latest};
pub use packs::{Packs, read_hour};

use super::History;
use super::sealed::{Cursor, Offer};

/// Packed readings that can be read again, block by block.
pub trait Archive: Send + Sync {
    /// What was packed after `cursor`; none when there is nothing (yet). Blocks on the disk; called from a thread of the
    /// copy's own. What is damaged or gone is passed over.
    ///
    /// # Errors
    /// The disk's; the call may be repeated.
    fn packed_after(&self, cursor: Cursor) -> io::Result<Option<Offer>>;
}

impl Archive for History {
    fn packed_after(&self, cursor: Cursor) -> io::Result<Option<Offer>> {
        // Holes are told when they are found by those who read the past.
        Ok(self.sealed_after(cursor)?.0)
    }
}
