//! The same program over numbers that are only known to lie between two others: interval arithmetic.
//!
//! What comes out is sound, not tight: a number that is used twice counts as two (`x - x` may come out other than 0), and
//! then a comparison is unknown that could be known, never the other way round.

use super::{Op, and, known, not, or};

/// A number that lies between the two, both included; NaN in both is unknown. A truth is (1, 1), (0, 0) or unknown.
pub(in crate::condition) type Bounds = (f64, f64);

const UNKNOWN: Bounds = (f64::NAN, f64::NAN);

/// Runs a program that [`super::fits`]. A slot without bounds is unknown.
pub(in crate::condition) fn run(ops: &[Op], slots: &[Bounds]) -> Bounds {
    let mut stack: Vec<Bounds> = Vec::new();
    for op in ops {
        let base = stack.len().saturating_sub(op.takes());
        let operand = |i: usize| stack.get(base + i).copied().unwrap_or(UNKNOWN);
        let (a, b) = (operand(0), operand(1));
        let result = match *op {
            Op::Const(n) => (n, n),
            Op::Slot(i) => slots.get(usize::from(i)).copied().unwrap_or(UNKNOWN),
            Op::Add => (a.0 + b.0, a.1 + b.1),
            Op::Sub => (a.0 - b.1, a.1 - b.0),
            Op::Mul => corners(a, b, |a, b| a * b),
            Op::Div if b.0 <= 0.0 && b.1 >= 0.0 => UNKNOWN,
            Op::Div => corners(a, b, |a, b| a / b),
            Op::Rem if is_point(a) && is_point(b) => (a.0 % b.0, a.0 % b.0),
            Op::Rem => UNKNOWN,
            Op::Neg => (-a.1, -a.0),
            Op::Lt => less(a, b),
            Op::Le => negated(less(b, a)),
            Op::Gt => less(b, a),
            Op::Ge => negated(less(a, b)),
            Op::Eq => equal(a, b),
            Op::Ne => negated(equal(a, b)),
            Op::And => truth(and(a.0, b.0)),
            Op::Or => truth(or(a.0, b.0)),
            Op::Not => negated(a),
            Op::Choose => match a.0 {
                n if n.is_nan() => UNKNOWN,
                0.0 => operand(2),
                _ => b,
            },
        };
        // A bound that is not finite, or is unknown, leaves nothing known.
        let result = if known(result.0).is_nan() || known(result.1).is_nan() { UNKNOWN } else { result };
        stack.truncate(base);
        stack.push(result);
    }
    stack.pop().unwrap_or(UNKNOWN)
}

fn is_point(a: Bounds) -> bool {
    a.0 == a.1
}

fn truth(n: f64) -> Bounds {
    (n, n)
}

fn negated(a: Bounds) -> Bounds {
    truth(not(a.0))
}

fn corners(a: Bounds, b: Bounds, of: impl Fn(f64, f64) -> f64) -> Bounds {
    let all = [of(a.0, b.0), of(a.0, b.1), of(a.1, b.0), of(a.1, b.1)];
    if all.iter().any(|n| n.is_nan()) {
        return UNKNOWN;
    }
    all.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), n| (low.min(*n), high.max(*n)))
}

fn is_unknown(a: Bounds) -> bool {
    a.0.is_nan() || a.1.is_nan()
}

fn less(a: Bounds, b: Bounds) -> Bounds {
    match () {
        () if is_unknown(a) || is_unknown(b) => UNKNOWN,
        () if a.1 < b.0 => truth(1.0),
        () if a.0 >= b.1 => truth(0.0),
        () => UNKNOWN,
    }
}

fn equal(a: Bounds, b: Bounds) -> Bounds {
    match () {
        () if is_unknown(a) || is_unknown(b) => UNKNOWN,
        () if is_point(a) && is_point(b) && a.0 == b.0 => truth(1.0),
        () if a.1 < b.0 || b.1 < a.0 => truth(0.0),
        () => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::super::MAX_STACK;
    use super::*;

    /// What a comparison of a number between the bounds with 5 comes to.
    fn with_five(op: Op, low: f64, high: f64) -> Option<bool> {
        let (truth, same) = run(&[Op::Slot(0), Op::Const(5.0), op], &[(low, high)]);
        assert!(truth == same || (truth.is_nan() && same.is_nan()));
        (!truth.is_nan()).then_some(truth == 1.0)
    }

    #[test]
    fn a_comparison_is_known_when_both_bounds_agree() {
        let (yes, no) = (Some(true), Some(false));
        for (low, high, lt, le, gt, ge, eq) in [
            (1.0, 3.0, yes, yes, no, no, no),
            (1.0, 5.0, None, yes, no, None, None),
            (1.0, 6.0, None, None, None, None, None),
            (5.0, 5.0, no, yes, no, yes, yes),
            (5.0, 8.0, no, None, None, yes, None),
            (6.0, 8.0, no, no, yes, yes, no),
        ] {
            let all = [(Op::Lt, lt), (Op::Le, le), (Op::Gt, gt), (Op::Ge, ge), (Op::Eq, eq), (Op::Ne, eq.map(|t| !t))];
            for (op, expected) in all {
                assert_eq!(with_five(op, low, high), expected, "{low}..{high} {op:?} 5");
            }
        }
        assert_eq!(with_five(Op::Ge, f64::NAN, f64::NAN), None);
    }

    #[test]
    fn with_single_numbers_it_is_the_same_program() {
        let values = [0.0, 1.0, -2.5, 5.0, f64::NAN];
        let binary = [Op::Add, Op::Sub, Op::Mul, Op::Div, Op::Rem, Op::Lt, Op::Le, Op::Gt, Op::Ge, Op::Eq, Op::Ne];
        let logic = [Op::And, Op::Or];
        for a in values {
            for b in values {
                for op in binary.into_iter().chain(logic.into_iter().filter(|_| a * a != 6.25 && b * b != 6.25)) {
                    let ops = [Op::Slot(0), Op::Slot(1), op];
                    let plain = super::super::run(&ops, &[a, b]);
                    let (low, high) = run(&ops, &[(a, a), (b, b)]);
                    assert!(low == high || (low.is_nan() && high.is_nan()));
                    assert!(low == plain || (low.is_nan() && plain.is_nan()), "{a} {op:?} {b}: {low} {plain}");
                }
            }
        }
    }

    #[test]
    fn no_number_between_the_bounds_gives_anything_else() {
        let slots = [(1.0, 3.0), (-2.0, 4.0)];
        let ops = [Op::Slot(0), Op::Slot(1), Op::Mul, Op::Slot(1), Op::Neg, Op::Sub, Op::Slot(0), Op::Div];
        let (low, high) = run(&ops, &slots);
        for i in 0..=20 {
            for j in 0..=20 {
                let (x, y) = (1.0 + 2.0 * f64::from(i) / 20.0, -2.0 + 6.0 * f64::from(j) / 20.0);
                let exact = super::super::run(&ops, &[x, y]);
                assert!((low..=high).contains(&exact), "{x} {y}: {exact} is not in {low}..{high}");
            }
        }
    }

    #[test]
    fn what_divides_by_nought_or_overflows_is_unknown() {
        assert!(run(&[Op::Const(1.0), Op::Slot(0), Op::Div], &[(-1.0, 1.0)]).0.is_nan());
        assert!(run(&[Op::Const(f64::MAX), Op::Slot(0), Op::Mul], &[(1.0, 2.0)]).0.is_nan());
        assert!(run(&[Op::Slot(0), Op::Const(2.0), Op::Rem], &[(1.0, 2.0)]).0.is_nan());
        let deep: Vec<Op> = (0..MAX_STACK).map(|_| Op::Const(1.0)).chain((1..MAX_STACK).map(|_| Op::Add)).collect();
        assert_eq!(run(&deep, &[]), (64.0, 64.0));
    }
}
