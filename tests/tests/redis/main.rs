//! The offsite copy against a real redis-server: whatever happens to it, nothing is lost that was promised, and each case
//! is named.

mod rig;

mod away;
mod layouts;
mod readings;
mod restoring;
mod rights;
mod wrong;
