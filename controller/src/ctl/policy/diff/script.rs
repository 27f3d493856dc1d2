//! Scripts: their lines, and what runs them.

use std::collections::BTreeSet;

use skynet_model::policy::{ParamText, Policy};
use skynet_model::value::{ParamKind, Value};

use super::changes::{Change, KeyChange, What, pairs};

/// Lines of one side beyond which only the ends are compared.
const MAX_LINES: usize = 2000;
/// Unchanged lines that are shown around a change.
const CONTEXT: usize = 2;

/// Scripts that differ.
pub(super) fn scripts(from: &Policy, to: &Policy) -> Vec<Change> {
    let mut changes = Vec::new();
    for (name, was, is) in pairs(&from.scripts, &to.scripts) {
        let what = match (was, is) {
            (Some(was), Some(is)) if was == is => continue,
            (Some(_), Some(_)) => What::Changed,
            (Some(_), None) => What::Removed,
            (None, _) => What::Added,
        };
        let mut change = Change::new("script", name, what);
        let interpreter = |script: Option<&skynet_model::policy::Script>| script.map(|s| s.interpreter.clone());
        if interpreter(was) != interpreter(is) {
            let (was, is) = (interpreter(was), interpreter(is));
            change.keys.push(KeyChange { key: "interpreter".to_owned(), was, is });
        }
        let body = |script: Option<&skynet_model::policy::Script>| script.map(|s| s.body.clone()).unwrap_or_default();
        change.lines = lines(&body(was), &body(is));
        let users = users(if is.is_some() { to } else { from }, name);
        change.servers = Some(match users.len() {
            0 => "nothing runs it".to_owned(),
            _ => format!("run by {}", users.into_iter().collect::<Vec<_>>().join(", ")),
        });
        changes.push(change);
    }
    changes
}

/// Sensors and scenarios that run a script.
fn users(policy: &Policy, script: &str) -> BTreeSet<String> {
    let named = |value: &Value| value.as_text() == Some(script);
    let mut users = BTreeSet::new();
    for (name, profile) in &policy.profiles {
        // A sensor has few texts besides its scripts' names; a chance namesake is told once too often, no more.
        let runs = profile.sensors.iter().filter(|sensor| sensor.params.values().any(named));
        users.extend(runs.map(|sensor| format!("the sensor {} of profile {name}", sensor.id)));
    }
    for scenario in policy.scenarios.values() {
        let runs = scenario.respond.iter().any(|step| {
            let scripts = step.action.params.iter().filter(|spec| spec.kind == ParamKind::Script);
            scripts.into_iter().any(|spec| matches!(step.with.get(spec.name), Some(ParamText::Literal(v)) if named(v)))
        });
        if runs {
            users.insert(format!("scenario {}", scenario.name));
        }
    }
    users
}

/// What was and what is, line by line: `-`, `+`, or a blank before each; `...` where lines are left out.
pub(super) fn lines(was: &str, is: &str) -> Vec<String> {
    let (a, b): (Vec<&str>, Vec<&str>) = (was.lines().collect(), is.lines().collect());
    let head = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let most = a.len().min(b.len()) - head;
    let tail = a.iter().rev().zip(b.iter().rev()).take(most).take_while(|(a, b)| a == b).count();
    let mut all: Vec<(char, &str)> = a[..head].iter().map(|line| (' ', *line)).collect();
    all.extend(middle(&a[head..a.len() - tail], &b[head..b.len() - tail]));
    all.extend(a[a.len() - tail..].iter().map(|line| (' ', *line)));
    let near = |at: usize| {
        let from = at.saturating_sub(CONTEXT);
        all.iter().take(at + CONTEXT + 1).skip(from).any(|(mark, _)| *mark != ' ')
    };
    let mut lines: Vec<String> = Vec::new();
    for (at, (mark, line)) in all.iter().enumerate() {
        if near(at) {
            lines.push(format!("{mark} {line}"));
        } else if lines.last().is_none_or(|last| last != "...") {
            lines.push("...".to_owned());
        }
    }
    lines
}

/// The longest common run of lines is kept; what is too long for that is replaced as a whole.
fn middle<'t>(a: &[&'t str], b: &[&'t str]) -> Vec<(char, &'t str)> {
    let replaced = || a.iter().map(|line| ('-', *line)).chain(b.iter().map(|line| ('+', *line))).collect();
    if a.len() > MAX_LINES || b.len() > MAX_LINES {
        return replaced();
    }
    // common[i][j]: how many lines a[i..] and b[j..] have in common, in order.
    let width = b.len() + 1;
    let mut common = vec![0_u16; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i * width + j] = if a[i] == b[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            lines.push((' ', a[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < a.len() && (j == b.len() || common[(i + 1) * width + j] >= common[i * width + j + 1]) {
            lines.push(('-', a[i]));
            i += 1;
        } else {
            lines.push(('+', b[j]));
            j += 1;
        }
    }
    lines
}
