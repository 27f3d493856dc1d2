//! The controller: links to servers, the engine's loop, the journal, history, notices, the operators' API, and `skynetctl`.
//!
//! What must never enter: decisions about incidents; those are the engine's. Only [`app`] joins the rooms; everything
//! else knows its neighbours by the types in its own signatures.

pub mod app;
pub mod certs;
pub mod cli;
pub mod clock;
pub mod config;
pub mod core;
pub mod ctl;
pub mod demo;
pub mod fleet;
pub mod history;
pub mod inputs;
pub mod journal;
pub mod notify;
pub mod operator;
pub mod plain;
pub mod policies;
pub mod progress;
pub mod rollout;
pub mod store;
pub mod vault;
pub mod web;
pub mod workbench;

#[cfg(test)]
mod fixture;
