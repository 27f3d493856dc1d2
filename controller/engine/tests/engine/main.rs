//! The engine in virtual time, with fake servers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::wildcard_enum_match_arm, reason = "tests")]

mod approvals;
mod breach;
mod catalogue;
mod conditions;
mod folds;
mod maintenance;
mod policy;
mod property;
mod rails;
mod rails_cluster;
mod rails_fleet;
mod rails_table;
mod requests;
mod restart;
mod scope;
mod silences;
mod steps;
mod targets;
mod tiers;
mod windows;
mod world;
