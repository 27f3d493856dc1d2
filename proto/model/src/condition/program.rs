//! The lowered form: postfix over numbers, with truth as 1, 0 and NaN.

pub(super) mod bounds;

/// Most values held at once; deeper programs are refused when they are built.
pub(super) const MAX_STACK: usize = 64;

/// One instruction. Operands are taken from the stack, the result is put there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Op {
    Const(f64),
    Slot(u16),
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    Neg,
    Lt,
    Le,
    Gt,
    Ge,
    Eq,
    Ne,
    And,
    Or,
    Not,
    /// Condition, then, else.
    Choose,
}

impl Op {
    /// How many values it takes.
    pub(super) fn takes(self) -> usize {
        match self {
            Self::Const(_) | Self::Slot(_) => 0,
            Self::Neg | Self::Not => 1,
            Self::Choose => 3,
            Self::Add
            | Self::Sub
            | Self::Mul
            | Self::Div
            | Self::Rem
            | Self::Lt
            | Self::Le
            | Self::Gt
            | Self::Ge
            | Self::Eq
            | Self::Ne
            | Self::And
            | Self::Or => 2,
        }
    }
}

/// Whether `ops` never takes from an empty stack, never holds more than [`MAX_STACK`] and ends with one value.
pub(super) fn fits(ops: &[Op]) -> bool {
    let mut held = 0_usize;
    for op in ops {
        let Some(left) = held.checked_sub(op.takes()) else { return false };
        held = left + 1;
        if held > MAX_STACK {
            return false;
        }
    }
    held == 1
}

/// Runs a program that [`fits`]. Allocates nothing. A slot without a value is unknown.
pub(super) fn run(ops: &[Op], slots: &[f64]) -> f64 {
    // A program holds at most half its operations at once (a negation or a choice holds fewer): a short one is spared the
    // clearing of the large stack.
    if ops.len() < 2 * SHORT { run_on::<SHORT>(ops, slots) } else { run_on::<MAX_STACK>(ops, slots) }
}

/// The stack of short programs.
const SHORT: usize = 8;

fn run_on<const N: usize>(ops: &[Op], slots: &[f64]) -> f64 {
    let mut stack = [f64::NAN; N];
    let mut top = 0_usize;
    for op in ops {
        let base = top.saturating_sub(op.takes());
        let operand = |i: usize| stack.get(base + i).copied().unwrap_or(f64::NAN);
        let (a, b) = (operand(0), operand(1));
        let result = match *op {
            Op::Const(n) => n,
            Op::Slot(i) => known(slots.get(usize::from(i)).copied().unwrap_or(f64::NAN)),
            Op::Add => known(a + b),
            Op::Sub => known(a - b),
            Op::Mul => known(a * b),
            Op::Div => known(a / b),
            Op::Rem => known(a % b),
            Op::Neg => -a,
            Op::Lt => compare(a, b, a < b),
            Op::Le => compare(a, b, a <= b),
            Op::Gt => compare(a, b, a > b),
            Op::Ge => compare(a, b, a >= b),
            Op::Eq => compare(a, b, a == b),
            Op::Ne => compare(a, b, a != b),
            Op::And => and(a, b),
            Op::Or => or(a, b),
            Op::Not => not(a),
            Op::Choose => choose(a, b, operand(2)),
        };
        if let Some(place) = stack.get_mut(base) {
            *place = result;
        }
        top = base + 1;
    }
    stack[0]
}

/// Infinite is as unknown as NaN: it comes from a division by zero or an overflow, never from a sensor.
fn known(n: f64) -> f64 {
    if n.is_finite() { n } else { f64::NAN }
}

fn truth(holds: bool) -> f64 {
    if holds { 1.0 } else { 0.0 }
}

fn compare(a: f64, b: f64, holds: bool) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { truth(holds) }
}

fn and(a: f64, b: f64) -> f64 {
    if a == 0.0 || b == 0.0 {
        0.0
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        1.0
    }
}

fn or(a: f64, b: f64) -> f64 {
    not(and(not(a), not(b)))
}

fn not(a: f64) -> f64 {
    if a.is_nan() { a } else { truth(a == 0.0) }
}

fn choose(condition: f64, then: f64, otherwise: f64) -> f64 {
    if condition.is_nan() {
        f64::NAN
    } else if condition == 0.0 {
        otherwise
    } else {
        then
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const U: f64 = f64::NAN;

    fn same(a: f64, b: f64) -> bool {
        a == b || (a.is_nan() && b.is_nan())
    }

    #[test]
    fn kleenes_tables_hold() {
        for (a, b, conjunction, disjunction) in [
            (1.0, 1.0, 1.0, 1.0),
            (1.0, 0.0, 0.0, 1.0),
            (0.0, 0.0, 0.0, 0.0),
            (U, 1.0, U, 1.0),
            (U, 0.0, 0.0, U),
            (U, U, U, U),
        ] {
            assert!(same(and(a, b), conjunction) && same(and(b, a), conjunction), "{a} && {b}");
            assert!(same(or(a, b), disjunction) && same(or(b, a), disjunction), "{a} || {b}");
        }
        assert!(same(not(1.0), 0.0) && same(not(0.0), 1.0) && same(not(U), U));
        assert!(same(choose(1.0, 5.0, U), 5.0) && same(choose(0.0, U, 6.0), 6.0) && same(choose(U, 5.0, 5.0), U));
    }

    #[test]
    fn programs_that_would_not_fit_the_stack_are_seen() {
        assert!(fits(&[Op::Const(1.0), Op::Const(2.0), Op::Add]));
        assert!(!fits(&[Op::Add]));
        assert!(!fits(&[]));
        assert!(!fits(&[Op::Const(1.0), Op::Const(1.0)]));
        let mut deep = vec![Op::Const(1.0); MAX_STACK + 1];
        deep.extend(vec![Op::Add; MAX_STACK]);
        assert!(!fits(&deep));
        assert!(fits(&deep[1..deep.len() - 1]));
    }

    #[test]
    fn programs_around_the_short_stacks_size_come_out_the_same() {
        // 1 + (1 + (1 + ...)): as deep as so many operations can be.
        for terms in 1..=2 * SHORT {
            let mut ops = vec![Op::Const(1.0); terms];
            ops.extend(vec![Op::Add; terms - 1]);
            assert!(fits(&ops));
            assert!(same(run(&ops, &[]), f64::from(u8::try_from(terms).unwrap())), "{terms}");
        }
    }

    #[test]
    fn missing_slots_are_unknown() {
        assert!(run(&[Op::Slot(3)], &[1.0]).is_nan());
        assert!(run(&[Op::Slot(0)], &[f64::INFINITY]).is_nan());
    }
}
