//! The daemon on each server: reads it, keeps a session with the controller, and forwards signed things to the process that
//! acts (`skynet_node::actor`, the same binary as `skynet-agent act`).
//!
//! What must never enter: deciding. What is wrong and what to do about it is the controller's engine's to say, within policy.

pub mod agent;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod health;
pub mod keeper;
pub mod link;
pub mod readings;
pub mod sensing;
pub mod session;
pub mod spool;
pub mod store;
pub mod watch;
