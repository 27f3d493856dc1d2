//! The one place of `skynetctl` that reads a clock.

use skynet_model::time::Timestamp;

/// Now, by the wall clock.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "skynetctl's edge: ages in tables and a bundle's expiry start here")]
pub(super) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
