//! Conditions: CEL over series names, lowered once to a small program over numbers.
//!
//! A slot holds a series' value, or NaN for *unknown* (and for *gone*, which the evaluator tells apart by itself).
//! Truth has three values (Kleene). Everything that can be known at load time is an error at load time.

mod functions;
mod lower;
mod program;
mod scan;

pub use functions::{FUNCTIONS, FunctionKind, FunctionSpec, function};

use std::sync::Arc;

use crate::catalogue::Catalogue;
use crate::time::Span;

/// Longest source text of a condition, in bytes.
pub const MAX_SOURCE: usize = 2048;
/// Deepest nesting of brackets in a condition. The parser needs about 11 KiB of stack a level, so that the deepest
/// condition parses on a stack of 512 KiB; a test holds it to that.
pub const MAX_DEPTH: usize = 16;
/// Most operators, dots and commas in a condition.
pub const MAX_OPERATORS: usize = 200;

/// Kleene's three values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// Known to hold.
    True,
    /// Known not to hold.
    False,
    /// Not known.
    Unknown,
}

impl Truth {
    /// 1, 0 or NaN.
    #[must_use]
    pub fn from_number(n: f64) -> Self {
        if n.is_nan() {
            Self::Unknown
        } else if n == 0.0 {
            Self::False
        } else {
            Self::True
        }
    }
}

/// What a slot is filled from.
#[derive(Clone, Debug, PartialEq)]
pub enum Slot {
    /// The value of a series; NaN while unknown or gone.
    Series(SeriesRef),
    /// 1 when the connected server does not have the series, 0 when it does, NaN while the server is away.
    Absent(SeriesRef),
    /// A comparison of label texts, known when the instance is made: 1 or 0.
    Text(TextTest),
    /// A look back over a series; NaN until the window holds enough.
    Window(WindowRef),
    /// The label sets of a series as one number.
    Fold(FoldRef),
    /// Many servers as one number; in scope `cluster` and `fleet` only.
    Servers(ServersRef),
}

/// A window function over a series.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowRef {
    /// Which.
    pub function: Window,
    /// What it looks back over.
    pub of: SeriesRef,
    /// How far back.
    pub span: Span,
    /// `forecast`: how far ahead; else nothing.
    pub ahead: Span,
}

/// The window functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Window {
    /// Mean.
    Avg,
    /// Least.
    Min,
    /// Greatest.
    Max,
    /// Sum.
    Sum,
    /// Increase of a counter per second.
    Rate,
    /// Change of a gauge.
    Delta,
    /// Where a line through a gauge leads.
    Forecast,
}

/// A fold of the label sets of one series that an instance's labels leave open.
#[derive(Clone, Debug, PartialEq)]
pub struct FoldRef {
    /// Which.
    pub fold: Fold,
    /// What is folded.
    pub of: Measure,
}

/// The folds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fold {
    /// Sum.
    Total,
    /// Greatest.
    Highest,
    /// Least.
    Lowest,
}

/// What a fold folds.
#[derive(Clone, Debug, PartialEq)]
pub enum Measure {
    /// The values themselves.
    Series(SeriesRef),
    /// A window over each: `total(rate(network.errors_total, "5m"))`.
    Window(WindowRef),
}

/// An aggregate over the servers of a cluster or of the fleet.
#[derive(Clone, Debug, PartialEq)]
pub struct ServersRef {
    /// Which.
    pub function: Aggregate,
    /// What is asked of each server: a condition for `count` and `share`, a number for the others.
    pub of: Arc<Condition>,
}

/// The aggregates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Aggregate {
    /// How many servers it holds for.
    Count,
    /// For which share of them, 0..1.
    Share,
    /// Mean.
    Avg,
    /// Sum.
    Sum,
    /// Least.
    Min,
    /// Greatest.
    Max,
}

impl Aggregate {
    /// Whether it counts servers for which a condition holds.
    #[must_use]
    pub fn counts(self) -> bool {
        matches!(self, Self::Count | Self::Share)
    }
}

/// A series as a condition names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesRef {
    /// The dotted name.
    pub name: String,
    /// Labels fixed by `.where({...})`; they leave the join.
    pub selected: Vec<(String, String)>,
    /// Whether gone means cured.
    pub ephemeral: bool,
    /// Its sensor's name; none for the controller's own.
    pub sensor: Option<&'static str>,
    /// Label names that remain for the join, sorted; empty and `open` when the sensor decides.
    pub labels: Vec<String>,
    /// Whether other labels may come.
    pub open: bool,
}

/// `label.x == "text"`, `server.label.y != "text"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextTest {
    /// Whether it reads the server's label rather than the instance's.
    pub of_server: bool,
    /// The label's name. A missing label reads as empty text.
    pub label: String,
    /// The text it is compared with.
    pub text: String,
    /// Whether it asks for inequality.
    pub negated: bool,
}

impl TextTest {
    /// The slot's value when the label reads `text`: 1 or 0.
    #[must_use]
    pub fn value(&self, text: &str) -> f64 {
        if (self.text == text) == self.negated { 0.0 } else { 1.0 }
    }
}

/// A compiled condition; two are equal when their text is.
#[derive(Clone, Debug)]
pub struct Condition {
    source: String,
    slots: Vec<Slot>,
    program: Vec<program::Op>,
}

/// A mistake within a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionError {
    /// Characters from the start of the source.
    pub offset: usize,
    /// What is wrong and what to write instead.
    pub message: String,
    /// The nearest known word.
    pub suggestion: Option<String>,
}

impl Condition {
    /// Parses and lowers `source`.
    ///
    /// # Errors
    /// Every mistake found.
    pub fn compile(source: &str, catalogue: &Catalogue) -> Result<Self, Vec<ConditionError>> {
        let tokens = scan::scan(source)?;
        let (slots, program) = lower::lower(source, &tokens, catalogue)?;
        Ok(Self { source: source.to_owned(), slots, program })
    }

    /// One that is never known: it stands where a scenario has none.
    #[must_use]
    pub fn unknown() -> Self {
        Self { source: String::new(), slots: Vec::new(), program: vec![program::Op::Const(f64::NAN)] }
    }

    /// Parses and lowers an expression whose value is a number: [`Condition::value`] gives it.
    ///
    /// # Errors
    /// Every mistake found.
    pub fn compile_number(source: &str, catalogue: &Catalogue) -> Result<Self, Vec<ConditionError>> {
        let tokens = scan::scan(source)?;
        let (slots, program) = lower::lower_number(source, &tokens, catalogue)?;
        Ok(Self { source: source.to_owned(), slots, program })
    }

    /// The text it was compiled from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What each slot is filled from, in order.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Its value over slot values: a number, or 1, 0 and NaN for Kleene's three. Allocates nothing.
    #[must_use]
    pub fn value(&self, values: &[f64]) -> f64 {
        program::run(&self.program, values)
    }

    /// Evaluates over slots that are only known to lie between two numbers, both included (NaN in both is unknown): known
    /// when every number between them gives the same. Interval arithmetic, so that a slot that is used twice counts as
    /// two: then it may be unknown though it could be known, never the other way round.
    #[must_use]
    pub fn eval_between(&self, bounds: &[(f64, f64)]) -> Truth {
        Truth::from_number(program::bounds::run(&self.program, bounds).0)
    }

    /// Evaluates over slot values (as many as [`Condition::slots`]; NaN is unknown). Allocates nothing.
    #[must_use]
    pub fn eval(&self, values: &[f64]) -> Truth {
        Truth::from_number(self.value(values))
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Slot {
    /// The series it reads or asks for; none for texts and for aggregates, which have conditions of their own.
    #[must_use]
    pub fn series(&self) -> Option<&SeriesRef> {
        match self {
            Self::Series(series)
            | Self::Absent(series)
            | Self::Window(WindowRef { of: series, .. })
            | Self::Fold(FoldRef {
                of: Measure::Series(series) | Measure::Window(WindowRef { of: series, .. }), ..
            }) => Some(series),
            Self::Text(_) | Self::Servers(_) => None,
        }
    }
}
