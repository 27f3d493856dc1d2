//! What differs beyond server scope: where series may stand, and which servers a step is done on.

use super::super::report::{Fields, Place, Report, quote};
use super::super::yaml::{Node, NodeKind};
use super::{Context, SCOPES, place_of_word, selects};
use crate::condition::{Condition, FoldRef, Measure, Slot, TextTest};
use crate::policy::{Order, Pick, Scope, StepTarget};

/// Most servers a step picks.
pub(in crate::policy) const MAX_PICK: u32 = 1000;

/// In scope `cluster` and `fleet` series stand within `servers.*`, in scope `server` there is none of it.
/// Whether it is so.
pub(super) fn check_scope(condition: &Condition, scope: Scope, node: &Node, report: &mut Report<'_>) -> bool {
    let many = |slot: &Slot| matches!(slot, Slot::Servers(_));
    if scope == Scope::Server {
        let fine = !condition.slots().iter().any(many);
        if !fine {
            let message = "`servers.` looks at many servers: that needs `scope: cluster` or `scope: fleet`".to_owned();
            report.at(place_of_word(node, "servers."), message);
        }
        return fine;
    }
    let word = word(scope);
    for slot in condition.slots() {
        let name = match slot {
            Slot::Text(TextTest { of_server: true, label, .. }) => format!("server.label.{label}"),
            Slot::Servers(_) | Slot::Text(_) => continue,
            Slot::Series(_) | Slot::Absent(_) | Slot::Window(_) | Slot::Fold(_) => {
                slot.series().map(|series| series.name.clone()).unwrap_or_default()
            }
        };
        let message = format!(
            "`{name}` is of one server, and the scope is `{word}`: put it into `servers.share(...)`, `servers.count(...)`, \
             or `servers.avg`, `sum`, `min`, `max`"
        );
        report.at(place_outside(node, &name), message);
        return false;
    }
    true
}

/// The place of a word that does not stand within `servers.*(...)`.
fn place_outside(node: &Node, word: &str) -> Place {
    let text = node.text().unwrap_or_default();
    let within = |at: usize| {
        let before = &text[..at];
        before.match_indices("servers.").any(|(begin, _)| {
            let (open, close) = (before[begin..].matches('(').count(), before[begin..].matches(')').count());
            open > close
        })
    };
    match text.match_indices(word).find(|(at, _)| !within(*at)) {
        Some((at, _)) => node.place_of(text[..at].chars().count()),
        None => place_of_word(node, word),
    }
}

/// The same for `when`, which has to read something besides.
pub(super) fn check_when(when: &Condition, scope: Scope, node: &Node, report: &mut Report<'_>) {
    if !check_scope(when, scope, node, report)
        || when.slots().iter().any(|slot| slot.series().is_some() || matches!(slot, Slot::Servers(_)))
    {
        return;
    }
    let message = match scope {
        Scope::Server => "the condition names no series, so nothing would ever set it off".to_owned(),
        Scope::Cluster | Scope::Fleet => format!(
            "in the scope `{}` a condition asks many servers, like `servers.share(load.one > 8) >= 0.5`: this asks none",
            word(scope)
        ),
    };
    report.at(node.place, message);
}

fn word(scope: Scope) -> &'static str {
    SCOPES.iter().find(|(_, s)| *s == scope).map_or("server", |(word, _)| word)
}

/// `target: request`, or `target: { where: ..., pick: 1, order: highest cpu.busy_ratio }`.
pub(super) fn target(node: &Node, asked: bool, context: &Context<'_>, report: &mut Report<'_>) -> Option<StepTarget> {
    if let NodeKind::Scalar { .. } = &node.kind {
        let text = report.text(node)?;
        if text != "request" {
            let message = format!(
                "`{}` is no target: write `{{ where: {{ role: lb }}, pick: 1 }}`, or `request` for the servers asked about",
                quote(text)
            );
            report.at(node.place, message);
            return None;
        }
        if !asked {
            let message = "only a scenario with `on_request` has the target `request`: write `{ where: { role: lb } }`";
            report.at(node.place, message.to_owned());
            return None;
        }
        return Some(StepTarget::Request);
    }
    let mut fields = Fields::of(node, report)?;
    let selects = fields
        .need("where", "which servers, like `{ role: lb }`", node.place, report)
        .and_then(|node| selects(node, context, report));
    let pick = fields.take("pick").map(|node| report.whole(node, 1, MAX_PICK));
    let order = fields.take("order").map(|node| order(node, context, report));
    fields.finish(report);
    // What was written and is wrong must not read as left out.
    let (pick, order) = (transposed(pick)?, transposed(order)?);
    Some(StepTarget::Pick(Pick { selects: selects?, pick, order }))
}

#[expect(clippy::option_option, reason = "wrong, not there, there")]
fn transposed<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    match read {
        Some(None) => None,
        Some(value) => Some(value),
        None => Some(None),
    }
}

/// `highest cpu.busy_ratio`: one number of each server.
fn order(node: &Node, context: &Context<'_>, report: &mut Report<'_>) -> Option<Order> {
    let text = report.text(node)?;
    let (word, number) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let highest = match word {
        "highest" => true,
        "lowest" => false,
        _ => {
            let message = format!(
                "`{}` is no order: write `highest` or `lowest` and a number of each server, like `highest cpu.busy_ratio`",
                quote(text)
            );
            report.at(node.place, message);
            return None;
        }
    };
    if number.trim().is_empty() {
        let message = format!("`{word}` of what? Write a number of each server, like `{word} cpu.busy_ratio`");
        report.at(node.place, message);
        return None;
    }
    let skipped = text.chars().count() - number.trim_start().chars().count();
    let by = match Condition::compile_number(number.trim_start(), context.catalogue) {
        Ok(by) => by,
        Err(errors) => {
            for error in errors {
                report.suggest(node.place_of(skipped + error.offset), error.message, error.suggestion);
            }
            return None;
        }
    };
    let window = by.slots().iter().find_map(|slot| match slot {
        Slot::Window(window) | Slot::Fold(FoldRef { of: Measure::Window(window), .. }) => Some(&window.of.name),
        Slot::Series(_) | Slot::Absent(_) | Slot::Text(_) | Slot::Fold(_) | Slot::Servers(_) => None,
    });
    if let Some(name) = window {
        let message = format!(
            "servers are put in order by what they are now, without a window: write `{word} {name}`, folded if need be"
        );
        report.at(place_of_word(node, name), message);
        return None;
    }
    let open = by.slots().iter().find_map(|slot| match slot {
        Slot::Servers(_) | Slot::Text(_) => Some(("order".to_owned(), None)),
        Slot::Series(series) | Slot::Absent(series) => {
            series.labels.first().map(|label| (series.name.clone(), Some(label.clone())))
        }
        Slot::Window(_) | Slot::Fold(_) => None,
    });
    match open {
        Some((name, Some(label))) => {
            let message = format!(
                "`{name}` has a value for each `{label}`, and servers are put in order by one number: choose it with \
                 `.where({{...}})`, or fold with `highest(...)`, `lowest(...)` or `total(...)`"
            );
            report.at(place_of_word(node, &name), message);
            None
        }
        Some((_, None)) => {
            let message = "servers are put in order by a number of each: no `servers.` and no labels here".to_owned();
            report.at(node.place, message);
            None
        }
        None => Some(Order { highest, by }),
    }
}
