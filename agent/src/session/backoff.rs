//! How long to wait before the next connection.

use std::time::Duration;

/// The shortest wait.
pub(super) const FIRST: Duration = Duration::from_millis(250);
/// The longest wait.
pub(super) const LONGEST: Duration = Duration::from_secs(30);
/// A session that lasted so long was a good one: waits begin anew.
pub const STABLE: Duration = Duration::from_secs(60);

/// Doubling waits with jitter, so that a fleet does not come back all at once.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
    state: u64,
}

impl Backoff {
    /// Equal seeds wait equally.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { next: FIRST, state: seed }
    }

    /// The next wait: half to all of the step, which doubles up to `LONGEST`.
    pub fn wait(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(LONGEST);
        // SplitMix64 (Steele, Lea, Flood 2014): small, and good enough to spread waits.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let share = u32::try_from((z ^ (z >> 31)) >> 48).unwrap_or(0);
        step / 2 + (step / 2) * share / 65_536
    }

    /// A session ended after `lasted`.
    pub fn ended(&mut self, lasted: Duration) {
        if lasted >= STABLE {
            self.next = FIRST;
        }
    }

    /// There is no use in coming back soon.
    pub fn discourage(&mut self) {
        self.next = LONGEST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_begin_anew_after_a_stable_minute() {
        let mut backoff = Backoff::new(7);
        let mut step = FIRST;
        for _ in 0..12 {
            let wait = backoff.wait();
            assert!(wait >= step / 2 && wait <= step, "{wait:?} of {step:?}");
            step = (step * 2).min(LONGEST);
        }
        backoff.ended(STABLE - Duration::from_secs(1));
        assert!(backoff.wait() >= LONGEST / 2);
        backoff.ended(STABLE);
        assert!(backoff.wait() <= FIRST);
        backoff.discourage();
        assert!(backoff.wait() >= LONGEST / 2);
    }

    #[test]
    fn two_seeds_do_not_wait_alike() {
        let waits = |seed| {
            let mut backoff = Backoff::new(seed);
            (0..8).map(|_| backoff.wait()).collect::<Vec<_>>()
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
    }
}
