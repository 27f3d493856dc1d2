//! The one place of this crate that reads clocks.

use rustix::time::{ClockId, Timespec, clock_gettime};
use skynet_model::time::Timestamp;

fn ms(time: Timespec) -> i64 {
    time.tv_sec.saturating_mul(1000).saturating_add(time.tv_nsec / 1_000_000)
}

/// Wall time.
pub(super) fn now() -> Timestamp {
    Timestamp(ms(clock_gettime(ClockId::Realtime)))
}

/// The boot clock in milliseconds: it never steps and counts suspended time.
pub(crate) fn boot_ms() -> i64 {
    ms(clock_gettime(ClockId::Boottime))
}

/// The boot clock in microseconds.
pub(super) fn boot_us() -> i64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1000)
}
