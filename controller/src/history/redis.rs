//! Readings as they lie in Redis: latest values, and chunks in packs.
//!
//! What must never enter: when they are sent, and what becomes of a refusal; the store's room knows that.

mod latest;
mod packs;

pub use latest::{Changes, Latest};
pub use packs::{Packs, read_hour};
