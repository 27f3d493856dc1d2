//! Floats as quotients of whole numbers.

/// Whole numbers up to here are floats exactly.
const EXACT: f64 = 9_007_199_254_740_992.0;
/// Larger denominators would gain nothing: the fraction would take more bits than the float.
const LARGEST: i64 = 1 << 30;
/// Any float is a fraction of about 53 bits in all; one of so many fewer is hardly one by chance.
const TELLING: u32 = 40;
/// Denominators that are tried first.
const REMEMBERED: usize = 4;
/// A continued fraction of so many terms has a larger denominator.
const TERMS: usize = 24;

/// Numerator over denominator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fraction {
    pub(super) numerator: i64,
    pub(super) denominator: i64,
}

impl Fraction {
    /// What it stands for: the quotient, or one minus the quotient.
    pub(super) fn value(self, complement: bool) -> f64 {
        let quotient = self.numerator as f64 / self.denominator as f64;
        if complement { 1.0 - quotient } else { quotient }
    }
}

/// Finds fractions of values that follow each other: their denominators are few.
pub(super) struct Finder {
    complement: bool,
    known: [i64; REMEMBERED],
    next: usize,
    last: Fraction,
    /// Fractions that were found anew and have too many bits to tell anything.
    vague: usize,
}

impl Finder {
    pub(super) fn new(complement: bool) -> Self {
        Self { complement, known: [1; REMEMBERED], next: 0, vague: 0, last: Fraction { numerator: 0, denominator: 1 } }
    }

    /// The fraction found last: a stand-in that costs nothing.
    pub(super) fn last(&self) -> Fraction {
        self.last
    }

    /// How many of the fractions found have a denominator that came up by chance, for all that is known.
    pub(super) fn vague(&self) -> usize {
        self.vague
    }

    /// A fraction that is `value` bit by bit.
    pub(super) fn find(&mut self, value: f64) -> Option<Fraction> {
        let target = if self.complement { 1.0 - value } else { value };
        let found = self.known(value, target).or_else(|| {
            let found = self.expand(value, target)?;
            let bits = 128 - found.numerator.unsigned_abs().leading_zeros() - found.denominator.leading_zeros();
            self.vague += usize::from(bits > TELLING && found.denominator > 1);
            self.known[self.next] = found.denominator;
            self.next = (self.next + 1) % REMEMBERED;
            Some(found)
        })?;
        self.last = found;
        Some(found)
    }

    fn known(&self, value: f64, target: f64) -> Option<Fraction> {
        // Most columns are whole numbers all along, and these need no division.
        if self.last.denominator == 1 && !self.complement {
            let whole = value as i64;
            if (whole as f64).to_bits() == value.to_bits() && whole.unsigned_abs() <= EXACT as u64 {
                return Some(Fraction { numerator: whole, denominator: 1 });
            }
        }
        let tried = std::iter::once(self.last.denominator).chain(self.known);
        tried.into_iter().find_map(|denominator| {
            let scaled = target * denominator as f64;
            if scaled.abs() > EXACT {
                return None;
            }
            // To the nearest by a cast: where the processor has no rounding of its own, `round` is a call.
            let fraction = Fraction { numerator: (scaled + 0.5f64.copysign(scaled)) as i64, denominator };
            (fraction.value(self.complement).to_bits() == value.to_bits()).then_some(fraction)
        })
    }

    /// The first convergent of the continued fraction that gives the value.
    fn expand(&self, value: f64, target: f64) -> Option<Fraction> {
        if !target.is_finite() || target.abs() > EXACT {
            return None;
        }
        let sign = if target < 0.0 { -1 } else { 1 };
        let mut rest = target.abs();
        let (mut n, mut d) = ((1i64, 0i64), (0i64, 1i64));
        for _ in 0..TERMS {
            if rest > EXACT {
                return None;
            }
            let term_whole = rest as i64;
            let term = term_whole as f64;
            n = (term_whole.checked_mul(n.0)?.checked_add(n.1)?, n.0);
            d = (term_whole.checked_mul(d.0)?.checked_add(d.1)?, d.0);
            if d.0 > LARGEST || n.0 as f64 > EXACT {
                return None;
            }
            let fraction = Fraction { numerator: sign * n.0, denominator: d.0 };
            if fraction.value(self.complement).to_bits() == value.to_bits() {
                return Some(fraction);
            }
            rest = 1.0 / (rest - term);
            if !rest.is_finite() {
                return None;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(value: f64, complement: bool) -> Option<(i64, i64)> {
        Finder::new(complement).find(value).map(|f| (f.numerator, f.denominator))
    }

    #[test]
    fn quotients_are_found_and_others_are_not() {
        assert_eq!(find(42.0, false), Some((42, 1)));
        assert_eq!(find(-7.0, false), Some((-7, 1)));
        assert_eq!(find(37.0 / 199.0, false), Some((37, 199)));
        assert_eq!(find(0.58, false), Some((29, 50)));
        let (used, total) = (3_123_456_512.0, 8_323_457_024.0);
        assert!(find(used / total, false).is_some());
        assert!(find(1.0 - used / total, true).is_some());
        assert_eq!(find(123_456.0 * 1000.0 / 1001.0, false), Some((123_456_000, 1001)));
        for odd in [-0.0, f64::MAX, f64::MIN_POSITIVE, 1e300, 1e-300] {
            assert_eq!(find(odd, false), None, "{odd}");
        }
    }

    #[test]
    fn fractions_of_any_float_are_vague_and_those_of_one_total_are_not() {
        let (mut any, mut shares) = (Finder::new(false), Finder::new(false));
        for i in 1..100 {
            any.find(f64::from(i).sqrt());
            shares.find(f64::from(i * 7919) / 15_941_851.0).unwrap();
        }
        assert!(any.vague() > 80, "{}", any.vague());
        assert!(shares.vague() < 8, "{}", shares.vague());
    }

    #[test]
    fn denominators_are_remembered() {
        let mut finder = Finder::new(false);
        for (n, d) in [(37, 200), (53, 199), (41, 201)] {
            finder.find(f64::from(n) / f64::from(d)).unwrap();
        }
        assert_eq!(finder.find(50.0 / 200.0), Some(Fraction { numerator: 50, denominator: 200 }));
    }
}
