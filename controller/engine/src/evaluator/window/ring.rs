//! Samples of the last while, in few buckets, as sums that are joined and never subtracted.
//!
//! What was added once and taken away again would leave a rest: `sum(x, "5m") > 0` would hold on dust. So the buckets are a
//! queue of two stacks: those of the back part hold their own sums, `tail` those of all of them; when the front part is
//! used up, the back part becomes it, each bucket then holding the sums from itself to the front part's end. What leaves is
//! simply dropped, and every sample is joined a constant number of times.

use std::collections::VecDeque;

/// Most buckets of one window, about: a bucket is at least this part of its span.
pub(super) const BUCKETS: i64 = 512;

/// What is kept of samples; joined in order of time.
pub(super) trait Sums: Copy {
    /// Of one sample.
    fn one(value: f64) -> Self;

    /// Those of `count` samples and of `more` later ones, whose first is `gap` seconds after the first of these.
    fn join(self, count: f64, later: Self, more: f64, gap: f64) -> Self;
}

/// Samples that enter and leave together.
#[derive(Clone, Copy, Debug)]
struct Bucket<S> {
    /// When its first sample was taken, in ms.
    first: i64,
    /// When its own last one was, in ms after `first`.
    last: u32,
    /// How many its sums are of.
    count: u32,
    sums: S,
}

impl<S: Sums> Bucket<S> {
    fn one(time: i64, value: f64) -> Self {
        Self { first: time, last: 0, count: 1, sums: S::one(value) }
    }

    /// Its sums joined with those of what is later.
    fn with(self, later: &Self) -> Self {
        let gap = later.first.saturating_sub(self.first) as f64 / 1000.0;
        let sums = self.sums.join(f64::from(self.count), later.sums, f64::from(later.count), gap);
        Self { count: self.count.saturating_add(later.count), sums, ..self }
    }
}

/// All that a window holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held<S> {
    /// When the oldest sample was taken, in ms.
    pub(super) first: i64,
    /// How many there are.
    pub(super) count: u32,
    pub(super) sums: S,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Ring<S> {
    buckets: VecDeque<Bucket<S>>,
    /// How many buckets are in the front part.
    front: usize,
    /// The sums of the back part.
    tail: Option<Bucket<S>>,
}

impl<S> Default for Ring<S> {
    fn default() -> Self {
        Self { buckets: VecDeque::new(), front: 0, tail: None }
    }
}

impl<S: Sums> Ring<S> {
    /// Takes a sample that is not older than those before.
    pub(super) fn add(&mut self, time: i64, width: i64, value: f64) {
        let one = Bucket::one(time, value);
        match self.buckets.back_mut().filter(|open| time < open.first.saturating_add(width)) {
            Some(open) => {
                *open = open.with(&one);
                open.last = u32::try_from(time.saturating_sub(open.first)).unwrap_or(u32::MAX);
            }
            None => self.buckets.push_back(one),
        }
        self.tail = Some(self.tail.map_or(one, |tail| tail.with(&one)));
    }

    /// Drops buckets whose samples are all older than `oldest`.
    pub(super) fn drop_before(&mut self, oldest: i64) {
        while let Some(bucket) = self.buckets.front() {
            if bucket.first.saturating_add(i64::from(bucket.last)) >= oldest {
                return;
            }
            if self.front == 0 {
                self.turn();
            }
            self.buckets.pop_front();
            self.front = self.front.saturating_sub(1);
            if self.buckets.is_empty() {
                self.tail = None;
            }
        }
    }

    /// All of the back part but the bucket that is still open becomes the front part.
    fn turn(&mut self) {
        let Some(open) = self.buckets.back().copied() else { return };
        self.front = self.buckets.len() - 1;
        let mut later: Option<Bucket<S>> = None;
        for bucket in self.buckets.iter_mut().rev().skip(1) {
            if let Some(later) = &later {
                *bucket = bucket.with(later);
            }
            later = Some(*bucket);
        }
        self.tail = Some(open);
    }

    /// Puts older samples before these. Nothing is put where samples were dropped already: there is no room for older ones.
    /// Says whether it was.
    pub(super) fn prepend(&mut self, older: Self) -> bool {
        let ends = older.buckets.back().map(|b| b.first.saturating_add(i64::from(b.last)));
        let begins = self.buckets.front().map(|b| b.first);
        let fits = ends.zip(begins).is_none_or(|(ends, begins)| ends <= begins);
        if self.front > 0 || older.front > 0 || !fits {
            return false;
        }
        let mut buckets = older.buckets;
        buckets.extend(self.buckets.drain(..));
        self.buckets = buckets;
        self.tail = match (older.tail, self.tail) {
            (Some(older), Some(tail)) => Some(older.with(&tail)),
            (older, tail) => older.or(tail),
        };
        true
    }

    /// What it holds; none when it is empty.
    pub(super) fn held(&self) -> Option<Held<S>> {
        let tail = self.tail?;
        let all = match self.buckets.front().filter(|_| self.front > 0) {
            Some(front) => front.with(&tail),
            None => tail,
        };
        Some(Held { first: all.first, count: all.count, sums: all.sums })
    }

    /// How many buckets there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.buckets.len()
    }
}
