//! A real controller, and what operators may do with it.
#![allow(clippy::unwrap_used, reason = "a test")]

mod rig;
mod roles;
mod vault;
