//! Readings as they lie in Redis: latest values, and chunks in packs.
//!
//! What must never enter: when they are sent, and what becomes of a refusal; the store's room knows that.

mod latest;
mod packs;

pub use latest::{Changes, Latest};
pub use packs::{Packs, decode, read_hour};

use skynet_model::name::ServerId;

use super::{History, lock};

impl History {
    /// Servers that ever had a reading, in no order.
    #[must_use]
    pub fn servers(&self) -> Vec<ServerId> {
        lock(&self.servers).keys().cloned().collect()
    }
}
