//! A window over one series: the samples of the last while, as much of them as its function needs.
//!
//! A sample costs the same however long the window is, and a window has about [`BUCKETS`] buckets at most:
//! samples that are closer together than a bucket is long enter and leave together.

mod ring;

use skynet_model::condition::{Window, WindowRef};
use skynet_model::time::Span;

use ring::{BUCKETS, Ring, Sums};

/// Samples that a window needs before it answers.
const SAMPLES: u32 = 5;
/// How far a clock may step back before what was read before counts no more, in ms.
const STEP_BACK: i64 = 1000;

/// Which window over a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) function: Window,
    pub(crate) span: Span,
    pub(crate) ahead: Span,
}

impl Key {
    pub(crate) fn of(window: &WindowRef) -> Self {
        Self { function: window.function, span: window.span, ahead: window.ahead }
    }

    /// How much of its span the samples must cover before it answers.
    fn least(self) -> Span {
        Span(self.span.0 / if self.function == Window::Forecast { 4 } else { 10 })
    }

    fn width(self) -> i64 {
        self.span.0 / BUCKETS
    }
}

/// Sum.
#[derive(Clone, Copy, Debug)]
struct Sum(f64);
/// Least.
#[derive(Clone, Copy, Debug)]
struct Least(f64);
/// Greatest.
#[derive(Clone, Copy, Debug)]
struct Greatest(f64);
/// Oldest and newest value.
#[derive(Clone, Copy, Debug)]
struct Ends(f64, f64);
/// Oldest and newest value of a counter and its increase from one to the other.
#[derive(Clone, Copy, Debug)]
struct Rise {
    first: f64,
    last: f64,
    total: f64,
}
/// Sums for a line by least squares; times are seconds after the first sample.
#[derive(Clone, Copy, Debug)]
struct Line {
    v: f64,
    t: f64,
    tt: f64,
    tv: f64,
}

impl Sums for Sum {
    fn one(value: f64) -> Self {
        Self(value)
    }

    fn join(self, _: f64, later: Self, _: f64, _: f64) -> Self {
        Self(self.0 + later.0)
    }
}

impl Sums for Least {
    fn one(value: f64) -> Self {
        Self(value)
    }

    fn join(self, _: f64, later: Self, _: f64, _: f64) -> Self {
        Self(self.0.min(later.0))
    }
}

impl Sums for Greatest {
    fn one(value: f64) -> Self {
        Self(value)
    }

    fn join(self, _: f64, later: Self, _: f64, _: f64) -> Self {
        Self(self.0.max(later.0))
    }
}

impl Sums for Ends {
    fn one(value: f64) -> Self {
        Self(value, value)
    }

    fn join(self, _: f64, later: Self, _: f64, _: f64) -> Self {
        Self(self.0, later.1)
    }
}

impl Sums for Rise {
    fn one(value: f64) -> Self {
        Self { first: value, last: value, total: 0.0 }
    }

    fn join(self, _: f64, later: Self, _: f64, _: f64) -> Self {
        // A counter that fell began again at 0.
        let between = if later.first < self.last { later.first } else { later.first - self.last };
        Self { first: self.first, last: later.last, total: self.total + between + later.total }
    }
}

impl Sums for Line {
    fn one(value: f64) -> Self {
        Self { v: value, t: 0.0, tt: 0.0, tv: 0.0 }
    }

    fn join(self, _: f64, later: Self, more: f64, gap: f64) -> Self {
        Self {
            v: self.v + later.v,
            t: self.t + later.t + more * gap,
            tt: self.tt + later.tt + 2.0 * gap * later.t + more * gap * gap,
            tv: self.tv + later.tv + gap * later.v,
        }
    }
}

impl Line {
    /// The line's value at `t` seconds after the first sample; NaN when all samples were taken at once.
    fn at(self, count: f64, t: f64) -> f64 {
        let (mean_t, mean_v) = (self.t / count, self.v / count);
        let slope = (self.tv - self.t * mean_v) / (self.tt - self.t * mean_t);
        mean_v + slope * (t - mean_t)
    }
}

#[derive(Clone, Debug)]
enum Kept {
    Sum(Ring<Sum>),
    Least(Ring<Least>),
    Greatest(Ring<Greatest>),
    Ends(Ring<Ends>),
    Rise(Ring<Rise>),
    Line(Ring<Line>),
}

/// Does something with the ring, whatever it keeps.
macro_rules! each {
    ($kept:expr, $ring:ident => $what:expr) => {
        match $kept {
            Kept::Sum($ring) => $what,
            Kept::Least($ring) => $what,
            Kept::Greatest($ring) => $what,
            Kept::Ends($ring) => $what,
            Kept::Rise($ring) => $what,
            Kept::Line($ring) => $what,
        }
    };
}

/// See the module. Times are ms on one clock that does not go back; see
/// [`Clock`](super::derived::Clock).
#[derive(Clone, Debug)]
pub(crate) struct Lookback {
    pub(crate) key: Key,
    /// When the oldest and the newest sample were taken.
    ends: Option<(i64, i64)>,
    kept: Kept,
}

impl Lookback {
    pub(crate) fn new(key: Key) -> Self {
        let kept = match key.function {
            Window::Avg | Window::Sum => Kept::Sum(Ring::default()),
            Window::Min => Kept::Least(Ring::default()),
            Window::Max => Kept::Greatest(Ring::default()),
            Window::Delta => Kept::Ends(Ring::default()),
            Window::Rate => Kept::Rise(Ring::default()),
            Window::Forecast => Kept::Line(Ring::default()),
        };
        Self { key, ends: None, kept }
    }

    /// When the oldest and the newest sample were taken; none while there is none.
    pub(crate) fn ends(&self) -> Option<(i64, i64)> {
        self.ends
    }

    /// Takes a sample and drops what is older than the window then.
    pub(crate) fn push(&mut self, time: i64, value: f64) {
        let newest = self.ends.map_or(time, |(_, newest)| newest);
        if time < newest.saturating_sub(STEP_BACK) {
            // The server's clock was set back: nothing is known of the time between.
            *self = Self::new(self.key);
            return self.push(time, value);
        }
        let time = time.max(newest);
        self.add(time, value);
        self.move_on(time);
    }

    /// Takes a sample that is not older than those before; nothing is dropped.
    pub(crate) fn add(&mut self, time: i64, value: f64) {
        let width = self.key.width();
        each!(&mut self.kept, ring => ring.add(time, width, value));
        self.ends = Some((self.ends.map_or(time, |(oldest, _)| oldest), time));
    }

    /// Puts older samples of the same window before its own.
    pub(crate) fn prepend(&mut self, older: Self) {
        let (Some((begins, _)), Some((_, newest))) = (older.ends, self.ends.or(older.ends)) else { return };
        let done = match (&mut self.kept, older.kept) {
            (Kept::Sum(ring), Kept::Sum(older)) => ring.prepend(older),
            (Kept::Least(ring), Kept::Least(older)) => ring.prepend(older),
            (Kept::Greatest(ring), Kept::Greatest(older)) => ring.prepend(older),
            (Kept::Ends(ring), Kept::Ends(older)) => ring.prepend(older),
            (Kept::Rise(ring), Kept::Rise(older)) => ring.prepend(older),
            (Kept::Line(ring), Kept::Line(older)) => ring.prepend(older),
            _ => false,
        };
        if done {
            self.ends = Some((begins, newest));
            self.move_on(newest);
        }
    }

    fn move_on(&mut self, newest: i64) {
        let oldest = newest.saturating_sub(self.key.span.0);
        let first = each!(&mut self.kept, ring => {
            ring.drop_before(oldest);
            ring.held().map(|held| held.first)
        });
        self.ends = first.map(|first| (first, newest));
    }

    /// What it says; NaN while its samples are too few or cover too little.
    pub(crate) fn value(&self) -> f64 {
        let Some((oldest, newest)) = self.ends else { return f64::NAN };
        let covered = newest.saturating_sub(oldest);
        let seconds = covered as f64 / 1000.0;
        let enough = |count: u32| count >= SAMPLES && covered >= self.key.least().0;
        let number = match &self.kept {
            Kept::Sum(ring) => ring.held().filter(|h| enough(h.count)).map(|held| match self.key.function {
                Window::Avg => held.sums.0 / f64::from(held.count),
                Window::Sum | Window::Min | Window::Max | Window::Rate | Window::Delta | Window::Forecast => {
                    held.sums.0
                }
            }),
            Kept::Least(ring) => ring.held().filter(|h| enough(h.count)).map(|held| held.sums.0),
            Kept::Greatest(ring) => ring.held().filter(|h| enough(h.count)).map(|held| held.sums.0),
            Kept::Ends(ring) => ring.held().filter(|h| enough(h.count)).map(|held| held.sums.1 - held.sums.0),
            Kept::Rise(ring) => ring.held().filter(|h| enough(h.count)).map(|held| held.sums.total / seconds),
            Kept::Line(ring) => {
                let at = seconds + self.key.ahead.0 as f64 / 1000.0;
                ring.held().filter(|h| enough(h.count)).map(|held| held.sums.at(f64::from(held.count), at))
            }
        };
        number.filter(|n| n.is_finite()).unwrap_or(f64::NAN)
    }

    /// How many buckets there are.
    #[cfg(test)]
    fn buckets(&self) -> usize {
        each!(&self.kept, ring => ring.len())
    }
}

#[cfg(test)]
mod tests;
