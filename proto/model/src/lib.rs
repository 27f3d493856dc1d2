//! The words agent and controller share: series, readings, commands, outcomes, events, and the policy that
//! operators write.
//!
//! What must never enter: sockets, files, clocks, threads, randomness. Everything here is data and pure
//! functions of data, so that the same code serves the agent, the controller, `skynetctl` and simulation.

pub mod address;
pub mod catalogue;
pub mod command;
pub mod condition;
pub mod diagnostic;
pub mod emergency;
pub mod event;
mod figure;
pub mod incident;
pub mod name;
pub mod policy;
pub mod series;
pub mod sign;
pub mod time;
pub mod value;
