//! The rail that waits for a person's word.

use super::{Case, Stop, wait};

/// An approval counts for the step, the server and the parameters it was given for, and until it lapses.
pub(super) fn approval(case: &Case<'_>) -> Option<Stop> {
    if !case.step.approve {
        return None;
    }
    let action = case.step.action.name;
    let ask = format!("`skynetctl approve {}` lets it be done", case.incident.id);
    let Some(given) = case.book.standing.approval(&case.incident.id).filter(|a| a.step == case.number) else {
        return wait(format!("{action} needs a person's approval; {ask}"));
    };
    if given.until <= case.now {
        return wait(format!("the approval of {action} by {} lapsed at {}; {ask}", given.by, given.until));
    }
    match given.params.get(case.target) {
        Some(params) if params == case.params => None,
        Some(_) => wait(format!("{} approved {action} with other parameters than it would have now; {ask}", given.by)),
        None => wait(format!("{} approved {action} for other servers than {}; {ask}", given.by, case.target)),
    }
}
