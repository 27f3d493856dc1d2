//! The one place of the load generator that reads the machine's clocks.

use rustix::time::{ClockId, clock_gettime};
use skynet_agent::session::Moment;
use skynet_model::time::Timestamp;

fn ms(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec * 1000 + time.tv_nsec / 1_000_000
}

/// Wall and boot clock.
pub(super) fn moment() -> Moment {
    Moment { wall: Timestamp(ms(ClockId::Realtime)), boot_ms: ms(ClockId::Boottime) }
}
