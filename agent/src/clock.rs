//! The one place that reads a clock of this process; the server's clocks are its host's.

use std::time::Instant;

/// Now, for measuring how long something lasted.
#[allow(clippy::disallowed_methods, reason = "an edge: session lengths are measured here")]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// A number that differs from start to start and from server to server.
#[must_use]
pub fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // The standard library draws its hash keys from the system.
    std::hash::RandomState::new().build_hasher().finish()
}
