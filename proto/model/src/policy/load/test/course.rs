//! What becomes of a series: `0.7`, `30GiB -> 5GiB`, `[1, 0]`, `gone`, `unknown`.

use super::super::report::{Place, Report, quote};
use super::super::yaml::{Node, NodeKind};
use crate::policy::test::{Course, Level};
use crate::time::Span;
use crate::value::parse_size;

/// Most levels of a list.
const MAX_LEVELS: usize = 1000;

pub(super) fn course(node: &Node, report: &mut Report<'_>) -> Option<Course> {
    if let NodeKind::Sequence(items) = &node.kind {
        if items.is_empty() || items.len() > MAX_LEVELS {
            report.at(node.place, format!("a list has 1 to {MAX_LEVELS} values, one a step"));
            return None;
        }
        let levels: Vec<Option<Level>> = items.iter().map(|item| report.parsed(item, level)).collect();
        return levels.into_iter().collect::<Option<Vec<_>>>().map(Course::Cycle);
    }
    report.parsed(node, |text| match text.split_once("->") {
        Some((from, to)) => Ok(Course::Ramp(amount(from)?, amount(to)?)),
        None => level(text).map(Course::Steady),
    })
}

/// A course fits the time it is written for.
pub(super) fn check(
    course: &Course,
    from: Span,
    until: Option<Span>,
    step: Option<Span>,
    place: Place,
    report: &mut Report<'_>,
) {
    let example = format!("write `at: {from}..{}`", Span(from.0 + 600_000));
    match course {
        Course::Ramp(..) if until.is_none() => {
            report.at(place, format!("a value that changes needs a time in which it does: {example}"));
        }
        Course::Cycle(_) if until.is_none() || step.is_none() => {
            report.at(place, format!("values that follow each other need a step: {example} step 1m"));
        }
        Course::Ramp(..) | Course::Cycle(_) | Course::Steady(_) => {}
    }
}

fn level(text: &str) -> Result<Level, String> {
    match text.trim() {
        "gone" => Ok(Level::Gone),
        "unknown" => Ok(Level::Unknown),
        text => amount(text).map(Level::Value),
    }
}

/// A number, size, share or duration: in a series' own unit.
fn amount(text: &str) -> Result<f64, String> {
    let text = text.trim();
    let wrong = || {
        let text = quote(text);
        format!(
            "`{text}` is not a value: write a number, a size (`5GiB`), a share (`80%`), a duration (`20d`, in seconds), \
             `A -> B`, `gone` or `unknown`"
        )
    };
    if let Ok(number) = text.parse::<f64>() {
        return if number.is_finite() { Ok(number) } else { Err(wrong()) };
    }
    if let Some(share) = text.strip_suffix('%') {
        let share = share.trim_end().parse::<f64>().ok().filter(|share| share.is_finite());
        return share.map(|share| share / 100.0).ok_or_else(wrong);
    }
    #[expect(clippy::cast_precision_loss, reason = "values of series are f64")]
    match (text.parse::<Span>(), parse_size(text)) {
        (Ok(span), _) => Ok(span.0 as f64 / 1000.0),
        (Err(_), Ok(bytes)) => Ok(bytes as f64),
        (Err(_), Err(_)) => Err(wrong()),
    }
}
