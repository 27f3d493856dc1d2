//! What comes in from elsewhere: one file an input. The controller fetches; nobody can reach in.
//!
//! What must never enter: decisions. An input reads, bounds and checks what it found, and tells the core.

pub mod dead_drop;
