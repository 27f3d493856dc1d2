//! The past of windows: after a restart, or under a new policy, a window begins empty; who keeps readings is asked for what
//! was before its first sample. Nothing waits for it, and it is reckoned without the server's lock.

use skynet_model::series::SeriesKey;
use skynet_model::time::Timestamp;

use super::Pass;
use super::derived::Fed;
use super::dictionary::Sight;
use super::server::Server;
use super::window::Lookback;

/// The past of one window, to be filled with samples in order of time and given back through [`crate::Hot::feed`].
#[derive(Debug)]
pub struct Past {
    series: SeriesKey,
    lookback: Lookback,
    /// On the windows' clock; the second is when the window's own first sample was taken.
    from: i64,
    until: i64,
    /// How much the server's wall clock is ahead of the windows' clock.
    ahead: i64,
}

impl Past {
    /// Which series it is of.
    #[must_use]
    pub fn series(&self) -> &SeriesKey {
        &self.series
    }

    /// From when on samples count, by the server's wall clock.
    #[must_use]
    pub fn from(&self) -> Timestamp {
        Timestamp(self.from.saturating_add(self.ahead))
    }

    /// Samples from this time on do not count, by the server's wall clock: the window has them.
    #[must_use]
    pub fn until(&self) -> Timestamp {
        Timestamp(self.until.saturating_add(self.ahead))
    }

    /// Takes a sample as the server's wall clock had it. One that is older than the one before, or outside of the time that
    /// counts, is passed over.
    pub fn push(&mut self, time: Timestamp, value: f64) {
        let time = time.0.saturating_sub(self.ahead);
        let newest = self.lookback.ends().map_or(self.from, |(_, newest)| newest);
        if value.is_finite() && time >= newest.max(self.from) && time < self.until {
            self.lookback.add(time, value);
        }
    }
}

impl Server {
    /// Whether [`Server::hungry`] may give something.
    pub(super) fn is_hungry(&self) -> bool {
        !self.derived.hungry.is_empty()
    }

    /// Up to `most` windows whose past is wanted; each is given once.
    pub(super) fn hungry(&mut self, most: usize) -> Vec<Past> {
        let mut all = Vec::new();
        let ahead = self.derived.clock.ahead();
        while all.len() < most {
            let Some(number) = self.derived.hungry.pop() else { break };
            let Some(window) = self.derived.windows.get_mut(number).filter(|w| w.fed == Fed::Wanted) else { continue };
            let (Some((first, newest)), Some(series)) = (window.lookback.ends(), self.dictionary.series.get(window.of))
            else {
                continue;
            };
            window.fed = Fed::Asked;
            let key = window.lookback.key;
            let from = newest.saturating_sub(key.span.0);
            all.push(Past { series: series.key.clone(), lookback: Lookback::new(key), from, until: first, ahead });
        }
        all
    }

    /// A window gets its past. One that is no more, or that another has got since, takes nothing.
    pub(super) fn feed(&mut self, past: Past, pass: &mut Pass<'_>) {
        let Some(at) = self.dictionary.by_key(&past.series) else { return };
        let Some(point) = self.dictionary.point(at) else { return };
        let known = point.sight == Sight::Known;
        let Some(number) = self.derived.window(point.taps, past.lookback.key) else { return };
        let Some(window) = self.derived.windows.get_mut(number).filter(|w| w.fed == Fed::Asked) else { return };
        window.fed = Fed::Known;
        window.lookback.prepend(past.lookback);
        if known {
            let value = window.lookback.value();
            self.say(number, value);
            self.evaluate(pass, None);
        }
    }
}
