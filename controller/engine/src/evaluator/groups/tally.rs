//! What the members of a group say to one question, kept as they change it: O(log n) a change.

use std::collections::BTreeMap;

use skynet_model::condition::Aggregate;

/// After so many changes a sum is added up anew: what rounding has left in it goes.
const STALE: u32 = 4096;

/// A number as an integer of the same order.
fn ordered(value: f64) -> u64 {
    let bits = value.to_bits();
    if bits >> 63 == 0 { bits ^ (1 << 63) } else { !bits }
}

fn plain(ordered: u64) -> f64 {
    f64::from_bits(if ordered >> 63 == 0 { !ordered } else { ordered ^ (1 << 63) })
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    members: usize,
    unknown: usize,
    /// Known values in order, and how many say each.
    known: BTreeMap<u64, usize>,
    sum: f64,
    changes: u32,
}

impl Tally {
    pub(super) fn add(&mut self, value: f64) {
        self.members += 1;
        if value.is_nan() {
            self.unknown += 1;
            return;
        }
        *self.known.entry(ordered(value)).or_default() += 1;
        self.change(value);
    }

    pub(super) fn remove(&mut self, value: f64) {
        self.members = self.members.saturating_sub(1);
        if value.is_nan() {
            self.unknown = self.unknown.saturating_sub(1);
            return;
        }
        if let Some(count) = self.known.get_mut(&ordered(value)) {
            *count -= 1;
            if *count == 0 {
                self.known.remove(&ordered(value));
            }
        }
        self.change(-value);
    }

    fn change(&mut self, by: f64) {
        self.sum += by;
        self.changes += 1;
        if self.changes >= STALE || self.known.is_empty() {
            self.changes = 0;
            self.sum = self.known.iter().map(|(value, count)| plain(*value) * *count as f64).sum();
        }
    }

    /// The least and the greatest number the aggregate can be; NaN in both is unknown. For `count` and `share` unknown
    /// members are taken both ways; the others use what is known, and are unknown when fewer than half are. Of nobody
    /// nothing is known.
    pub(super) fn bounds(&self, aggregate: Aggregate) -> (f64, f64) {
        let (all, unknown) = (self.members as f64, self.unknown as f64);
        let known = self.members - self.unknown;
        let exact = |value: Option<f64>| match value {
            Some(value) if known > 0 && 2 * known >= self.members => (value, value),
            Some(_) | None => (f64::NAN, f64::NAN),
        };
        let least = || self.known.first_key_value().map(|(value, _)| plain(*value));
        let greatest = || self.known.last_key_value().map(|(value, _)| plain(*value));
        if self.members == 0 {
            return (f64::NAN, f64::NAN);
        }
        match aggregate {
            Aggregate::Count => (self.holds(), self.holds() + unknown),
            Aggregate::Share => (self.holds() / all, (self.holds() + unknown) / all),
            Aggregate::Avg => exact(Some(self.sum / known as f64)),
            Aggregate::Sum => exact(Some(self.sum)),
            Aggregate::Min => exact(least()),
            Aggregate::Max => exact(greatest()),
        }
    }

    /// For how many members a condition is known to hold.
    fn holds(&self) -> f64 {
        let no = self.known.get(&ordered(0.0)).copied().unwrap_or(0);
        (self.members - self.unknown - no) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const U: f64 = f64::NAN;

    fn tally(values: &[f64]) -> Tally {
        let mut tally = Tally::default();
        values.iter().for_each(|value| tally.add(*value));
        tally
    }

    #[test]
    fn bounds_are_what_the_unknown_ones_could_make_of_it() {
        for (values, count, share) in [
            (&[1.0, 0.0, 0.0, 1.0][..], (2.0, 2.0), (0.5, 0.5)),
            (&[1.0, U, 0.0, U], (1.0, 3.0), (0.25, 0.75)),
            (&[U, U], (0.0, 2.0), (0.0, 1.0)),
            (&[1.0], (1.0, 1.0), (1.0, 1.0)),
        ] {
            let tally = tally(values);
            assert_eq!(tally.bounds(Aggregate::Count), count, "{values:?}");
            assert_eq!(tally.bounds(Aggregate::Share), share, "{values:?}");
        }
    }

    #[test]
    fn numbers_are_of_the_known_and_need_half() {
        let all = [Aggregate::Avg, Aggregate::Sum, Aggregate::Min, Aggregate::Max];
        let of = |values: &[f64]| all.map(|aggregate| tally(values).bounds(aggregate).0);
        assert_eq!(of(&[1.0, -2.0, 4.0]), [1.0, 3.0, -2.0, 4.0]);
        assert_eq!(of(&[1.0, U, 3.0, U]), [2.0, 4.0, 1.0, 3.0], "half is enough");
        assert!(of(&[1.0, U, U]).iter().all(|n| n.is_nan()));
        assert!(of(&[U]).iter().chain(&of(&[])).all(|n| n.is_nan()));
        assert!(tally(&[]).bounds(Aggregate::Count).0.is_nan());
    }

    #[test]
    fn what_was_taken_out_leaves_no_trace() {
        let mut kept = tally(&[0.25]);
        for i in 0..10_000_u32 {
            let value = f64::from(i) * 1e9 + 0.1;
            kept.add(value);
            kept.add(U);
            kept.remove(value);
            kept.remove(U);
        }
        for aggregate in [Aggregate::Avg, Aggregate::Sum, Aggregate::Min, Aggregate::Max] {
            let (low, high) = kept.bounds(aggregate);
            assert!((low - 0.25).abs() < 0.01 && low == high, "{aggregate:?} {low}");
        }
        assert_eq!(kept.known.len(), 1);
        kept.remove(0.25);
        assert!(kept.known.is_empty() && kept.sum == 0.0 && kept.members == 0);
    }

    #[test]
    fn numbers_keep_their_order_as_integers() {
        let sorted = [f64::MIN, -1.5, -0.0, 0.0, 1e-300, 2.0, f64::MAX];
        assert!(sorted.windows(2).all(|pair| ordered(pair[0]) <= ordered(pair[1])));
        assert!(sorted.iter().all(|value| plain(ordered(*value)) == *value));
    }
}
