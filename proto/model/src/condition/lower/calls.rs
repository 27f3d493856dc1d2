//! Calls of functions that work on one series: `absent`, windows, folds.

use cel::common::ast::{CallExpr, Expr, IdedExpr};

use super::{Kind, Lowering};
use crate::condition::functions::{FUNCTIONS, FunctionKind, FunctionSpec, function};
use crate::condition::{Fold, FoldRef, Measure, SeriesRef, Slot, Window, WindowRef};
use crate::diagnostic::nearest;
use crate::time::Span;

/// The shortest window.
const SHORTEST: Span = Span::seconds(5);
/// The longest window, and the farthest forecast.
const LONGEST: Span = Span::hours(7 * 24);
/// How the names of counters end.
const COUNTER: &str = "_total";

fn window(name: &str) -> Option<Window> {
    Some(match name {
        "avg" => Window::Avg,
        "min" => Window::Min,
        "max" => Window::Max,
        "sum" => Window::Sum,
        "rate" => Window::Rate,
        "delta" => Window::Delta,
        "forecast" => Window::Forecast,
        _ => return None,
    })
}

fn fold(name: &str) -> Option<Fold> {
    Some(match name {
        "total" => Fold::Total,
        "highest" => Fold::Highest,
        "lowest" => Fold::Lowest,
        _ => return None,
    })
}

/// The fold that does over label sets what a window does over time.
fn across(window: Window) -> Option<&'static str> {
    match window {
        Window::Sum => Some("total"),
        Window::Max => Some("highest"),
        Window::Min => Some("lowest"),
        Window::Avg | Window::Rate | Window::Delta | Window::Forecast => None,
    }
}

impl Lowering<'_> {
    pub(super) fn function(&mut self, name: &str, args: &[IdedExpr], e: &IdedExpr) -> Kind {
        let start = self.start(e);
        let bare = |f: &&FunctionSpec| f.kind != FunctionKind::Selector && f.kind != FunctionKind::Fleet;
        let Some(spec) = function(name).filter(bare) else {
            if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
                let message = "`x[...]` is not part of conditions: choose labels with `.where({...})`".to_owned();
                return self.fail(start, message, None);
            }
            let suggestion = nearest(name, FUNCTIONS.iter().filter(bare).map(|f| f.name));
            return self.fail(start, format!("unknown function `{name}`"), suggestion);
        };
        if let Some(function) = window(name) {
            return self.window(function, spec, args, e).map_or(Kind::Unclear, |window| {
                self.slot(Slot::Window(window));
                Kind::Number
            });
        }
        if let Some(fold) = fold(name) {
            return self.fold(fold, spec, args, e);
        }
        let [arg] = args else {
            return self.fail(start, format!("write `{}`", spec.usage), None);
        };
        if let Some(series) = self.series(arg, Vec::new()) {
            self.slot(Slot::Absent(series));
        }
        Kind::Truth
    }

    fn window(&mut self, function: Window, spec: &FunctionSpec, args: &[IdedExpr], e: &IdedExpr) -> Option<WindowRef> {
        let start = self.start(e);
        let (of, span, ahead) = match args {
            [of, span] if function != Window::Forecast => (of, span, None),
            [of, span, ahead] if function == Window::Forecast => (of, span, Some(ahead)),
            [_] if across(function).is_some() => {
                let other = across(function).unwrap_or_default();
                let message = format!("write `{}`; over the label sets of a series it is `{other}(x)`", spec.usage);
                self.fail(start, message, None);
                return None;
            }
            _ => {
                self.fail(start, format!("write `{}`", spec.usage), None);
                return None;
            }
        };
        let of = self.looked_back_over(function, spec, of);
        let span = self.span(span, "a window");
        let ahead = match ahead {
            Some(ahead) => self.span(ahead, "how far `forecast` looks ahead"),
            None => Some(Span(0)),
        };
        Some(WindowRef { function, of: of?, span: span?, ahead: ahead? })
    }

    /// The series a window looks back over, if the window fits its kind.
    fn looked_back_over(&mut self, function: Window, spec: &FunctionSpec, e: &IdedExpr) -> Option<SeriesRef> {
        let start = self.start(e);
        if let Expr::Call(CallExpr { func_name, target: None, .. }) = &e.expr {
            if fold(func_name).is_some() {
                let inner = spec.usage;
                let message = format!(
                    "a window looks back over one series, not over a fold; write it the other way round: \
                     `{func_name}({inner})`"
                );
                self.fail(start, message, None);
                return None;
            }
            if window(func_name).is_some() {
                self.fail(start, "a window looks back over a series, not over another window".to_owned(), None);
                return None;
            }
        }
        let series = self.series(e, Vec::new())?;
        if series.sensor.is_none() {
            let message = format!("`{}` has no samples to look back over: say with `for` how long", series.name);
            self.fail(start, message, None);
            return None;
        }
        let counter = series.name.ends_with(COUNTER);
        let message = match function {
            Window::Rate if !counter => format!(
                "`rate` is for counters, whose names end in `{COUNTER}`; `{}` is a gauge: use `delta`",
                series.name
            ),
            Window::Delta | Window::Forecast if counter => {
                format!("`{}` is for gauges; `{}` is a counter: use `rate`", spec.name, series.name)
            }
            Window::Avg | Window::Min | Window::Max | Window::Sum | Window::Rate | Window::Delta | Window::Forecast => {
                return Some(series);
            }
        };
        self.fail(start, message, None);
        None
    }

    /// A length of time between quotes.
    fn span(&mut self, e: &IdedExpr, what: &str) -> Option<Span> {
        let start = self.start(e);
        let Some(text) = Self::text(&e.expr) else {
            self.fail(start, format!("{what} is a duration between quotes, like `\"5m\"`"), None);
            return None;
        };
        match text.parse::<Span>() {
            Err(error) => {
                self.fail(start, error.to_string(), None);
                None
            }
            Ok(span) if span < SHORTEST || span > LONGEST => {
                self.fail(start, format!("{what} is between {SHORTEST} and {LONGEST}, this is {span}"), None);
                None
            }
            Ok(span) => Some(span),
        }
    }

    fn fold(&mut self, function: Fold, spec: &FunctionSpec, args: &[IdedExpr], e: &IdedExpr) -> Kind {
        let start = self.start(e);
        let [arg] = args else {
            let message = format!("write `{}`; to look back as well: `{}(avg(x, \"5m\"))`", spec.usage, spec.name);
            return self.fail(start, message, None);
        };
        let of = match &arg.expr {
            Expr::Call(CallExpr { func_name, target: None, args: inner }) => {
                if fold(func_name).is_some() {
                    let message = "a fold takes a series or a window over one, not another fold".to_owned();
                    return self.fail(self.start(arg), message, None);
                }
                match window(func_name).zip(super::function(func_name)) {
                    Some((window, spec)) => self.window(window, spec, inner, arg).map(Measure::Window),
                    None => self.series(arg, Vec::new()).map(Measure::Series),
                }
            }
            Expr::Call(_)
            | Expr::Ident(_)
            | Expr::Select(_)
            | Expr::Unspecified
            | Expr::Comprehension(_)
            | Expr::List(_)
            | Expr::Literal(_)
            | Expr::Map(_)
            | Expr::Struct(_) => self.series(arg, Vec::new()).map(Measure::Series),
        };
        of.map_or(Kind::Unclear, |of| {
            self.slot(Slot::Fold(FoldRef { fold: function, of }));
            Kind::Number
        })
    }
}
