//! The engine in virtual time, with fake servers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::wildcard_enum_match_arm, reason = "tests")]

mod catalogue;
mod conditions;
mod policy;
mod property;
mod rails;
mod requests;
mod restart;
mod steps;
mod targets;
mod world;
