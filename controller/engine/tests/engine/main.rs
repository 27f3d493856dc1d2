//! The engine in virtual time, with fake servers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::wildcard_enum_match_arm, reason = "tests")]

mod breach;
mod catalogue;
mod conditions;
mod policy;
mod property;
mod rails;
mod restart;
mod steps;
mod world;
