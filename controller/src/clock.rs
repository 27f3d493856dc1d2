//! The one place that reads clocks.

use std::sync::{Mutex, PoisonError};

use skynet_model::time::Timestamp;

/// Wall time that never goes backwards: it follows the system's clock forwards at once, and waits at a slower pace for
/// one that was set back.
#[derive(Debug, Default)]
struct Steady {
    last: Option<(i64, i64)>,
}

/// The pace, in percent, while the system's clock is behind.
const WAITING_PACE: i64 = 90;

impl Steady {
    /// `wall`: the system's clock; `elapsed`: a clock that cannot be set. Milliseconds.
    fn tick(&mut self, wall: i64, elapsed: i64) -> i64 {
        let now = match self.last {
            None => wall,
            Some((last, at)) => {
                let passed = (elapsed - at).max(0);
                if wall >= last + passed {
                    wall
                } else {
                    // Round up: many small ticks must not stand still.
                    wall.max(last + (passed * WAITING_PACE + 99) / 100)
                }
            }
        };
        self.last = Some((now, elapsed));
        now
    }
}

/// Wall time now, in a form that never goes backwards.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the controller's one clock; everything else is given the time")]
pub fn now() -> Timestamp {
    static STEADY: Mutex<Option<(std::time::Instant, Steady)>> = Mutex::new(None);
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let wall = i64::try_from(wall.as_millis()).unwrap_or(i64::MAX);
    let mut guard = STEADY.lock().unwrap_or_else(PoisonError::into_inner);
    let (start, steady) = guard.get_or_insert_with(|| (std::time::Instant::now(), Steady::default()));
    let elapsed = i64::try_from(start.elapsed().as_millis()).unwrap_or(i64::MAX);
    Timestamp(steady.tick(wall, elapsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_forwards_at_once_and_never_goes_back() {
        let mut clock = Steady::default();
        assert_eq!(clock.tick(1_000, 0), 1_000);
        assert_eq!(clock.tick(9_000, 10), 9_000);
        assert_eq!(clock.tick(2_000, 110), 9_090);
        assert_eq!(clock.tick(2_000, 110), 9_090);
        assert_eq!(clock.tick(9_500, 510), 9_500);
    }
}
