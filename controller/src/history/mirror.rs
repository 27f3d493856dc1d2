//! Packed readings for a copy elsewhere: read back from the files, in the order in which they were packed.
//!
//! What must never enter: where the copy is, and waiting for it.

use std::io;

use super::History;
use super::sealed::{Archive, Place, Sealed};

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
