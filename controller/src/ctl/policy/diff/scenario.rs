//! Scenarios: what fires, what is done, on which servers.

use skynet_model::catalogue::Risk;
use skynet_model::condition::Condition;
use skynet_model::policy::{Mode, ParamText, Pick, Policy, Scenario, Scope, Step, StepTarget};

use super::changes::{Change, Facts, What, keys, pairs};
use super::reach::{Servers, listed, worded};

/// Scenarios that differ.
pub(super) fn scenarios(from: &Policy, to: &Policy, servers: &Servers) -> Vec<Change> {
    let mut changes = Vec::new();
    for (name, was, is) in pairs(&from.scenarios, &to.scenarios) {
        let name = name.as_str();
        match (was, is) {
            (Some(was), Some(is)) => changes.extend(changed(name, (from, was), (to, is), servers)),
            (Some(was), None) => {
                let mut change = Change::new("scenario", name, What::Removed);
                change.about = Some(about(was));
                change.servers = Some(reach(from, was, servers));
                changes.push(change);
            }
            (None, Some(is)) => {
                let mut change = Change::new("scenario", name, What::Added);
                change.about = Some(about(is));
                change.servers = Some(reach(to, is, servers));
                if is.mode == Mode::Enforce && !is.respond.is_empty() {
                    change.alarms.push(format!("scenario {name} is new and acts: {}", deeds(is)));
                }
                changes.push(change);
            }
            (None, None) => {}
        }
    }
    changes
}

fn changed(
    name: &str,
    (from, was): (&Policy, &Scenario),
    (to, is): (&Policy, &Scenario),
    servers: &Servers,
) -> Option<Change> {
    let mut change = Change::new("scenario", name, What::Changed);
    change.keys = keys(&facts(was), &facts(is));
    let (before, after) = (servers.of_scenario(from, was), servers.of_scenario(to, is));
    let moved = before != after;
    if change.keys.is_empty() && !moved {
        return None;
    }
    change.servers = Some(match (&before, &after) {
        (Some(before), Some(after)) if moved => {
            let gone = before.difference(after).cloned().collect();
            let come = after.difference(before).cloned().collect();
            let mut parts = vec![listed(after)];
            for (word, names) in [("now also ", come), ("no longer ", gone)] {
                if !std::collections::BTreeSet::is_empty(&names) {
                    parts.push(format!("{word}{}", listed(&names)));
                }
            }
            parts.join("; ")
        }
        _ => reach(to, is, servers),
    });
    change.alarms = alarms(name, was, is);
    Some(change)
}

/// What lets it do more than before.
fn alarms(name: &str, was: &Scenario, is: &Scenario) -> Vec<String> {
    let mut alarms = Vec::new();
    if is.mode != Mode::Enforce {
        return alarms;
    }
    if was.mode == Mode::Observe {
        alarms.push(format!("scenario {name} only observed and acts now: {}", deeds(is)));
        return alarms;
    }
    for (number, step) in (1..).zip(&is.respond) {
        let same = was.respond.iter().find(|old| old.action.name == step.action.name && old.with == step.with);
        match same {
            Some(old) if old.approve && !step.approve => {
                alarms.push(format!(
                    "scenario {name}: step {number}, {}, no longer waits for approval",
                    step.action.name
                ));
            }
            Some(_) => {}
            None if step.action.risk >= Risk::Disruptive => alarms.push(format!(
                "scenario {name}: step {number}, {}, is new or has other parameters ({})",
                step.action.name,
                risk(step.action.risk)
            )),
            None => {}
        }
    }
    alarms
}

fn deeds(scenario: &Scenario) -> String {
    scenario
        .respond
        .iter()
        .map(|s| format!("{} ({})", s.action.name, risk(s.action.risk)))
        .collect::<Vec<_>>()
        .join(", then ")
}

fn risk(risk: Risk) -> &'static str {
    match risk {
        Risk::Reversible => "reversible",
        Risk::Disruptive => "disruptive",
        Risk::Destructive => "destructive",
    }
}

/// A scenario in one line.
fn about(scenario: &Scenario) -> String {
    let mode = match scenario.mode {
        Mode::Observe => "observes",
        Mode::Enforce => "acts",
    };
    let cause = match (&scenario.when, &scenario.on_request) {
        (Some(when), _) => format!("when {}", one_line(when)),
        (None, Some(request)) => format!("on the request {request}"),
        (None, None) => String::new(),
    };
    format!("{}, {mode}, {cause}", scenario.severity.as_str())
}

fn reach(policy: &Policy, scenario: &Scenario, servers: &Servers) -> String {
    match servers.of_scenario(policy, scenario) {
        Some(names) => listed(&names),
        None => worded(&scenario.selects),
    }
}

fn one_line(condition: &Condition) -> String {
    condition.source().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What a scenario says, with its defaults.
fn facts(scenario: &Scenario) -> Facts {
    let mut facts = Facts::new();
    let mut put = |key: &str, text: String| facts.push((key.to_owned(), text));
    put("where", worded(&scenario.selects));
    put("scope", scope(scenario.scope).to_owned());
    if let Some(when) = &scenario.when {
        put("when", one_line(when));
    }
    if let Some(request) = &scenario.on_request {
        put("on_request", request.clone());
    }
    put("per", if scenario.per.is_empty() { "nothing".to_owned() } else { scenario.per.join(", ") });
    put("for", scenario.hold.to_string());
    put("clear", scenario.clear.as_ref().map_or_else(|| "`when` is false or gone".to_owned(), one_line));
    put("settle", scenario.settle.to_string());
    put("severity", scenario.severity.as_str().to_owned());
    put("mode", mode(scenario.mode).to_owned());
    put("summary", scenario.summary.clone().unwrap_or_else(|| "none".to_owned()));
    put("escalate", scenario.escalate.clone().unwrap_or_else(|| "default".to_owned()));
    let fleet = "the fleet's".to_owned();
    put("limits.cooldown", scenario.limits.cooldown.map_or_else(|| fleet.clone(), |span| span.to_string()));
    put("limits.per_hour", scenario.limits.per_hour.map_or_else(|| fleet.clone(), |n| n.to_string()));
    put("limits.blast_radius", scenario.limits.blast_radius.map_or(fleet, super::fleet::percent));
    for (number, one) in (1..).zip(&scenario.respond) {
        put(&format!("step {number}"), step(one));
    }
    facts
}

fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Server => "server",
        Scope::Cluster => "cluster",
        Scope::Fleet => "fleet",
    }
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Observe => "observe",
        Mode::Enforce => "enforce",
    }
}

fn step(step: &Step) -> String {
    let mut text = step.action.name.to_owned();
    for (name, value) in &step.with {
        let value = match value {
            ParamText::Literal(value) => value.to_string(),
            ParamText::Template(text) => text.clone(),
            ParamText::Templates(items) => items.join(" "),
        };
        text.push_str(&format!(" {name}={value}"));
    }
    if let Some(target) = &step.target {
        text.push_str(&format!(" on {}", picked(target)));
    }
    if step.approve {
        text.push_str(", waits for approval");
    }
    if let Some(verify) = &step.verify {
        text.push_str(&format!(", proved by {}", one_line(verify)));
    }
    format!("{text}, within {}", step.verify_within)
}

fn picked(target: &StepTarget) -> String {
    let StepTarget::Pick(Pick { selects, pick, order }) = target else {
        return "the servers asked about".to_owned();
    };
    let many = pick.map_or_else(|| "all ".to_owned(), |n| format!("{n} of the "));
    let order = order.as_ref().map(|order| {
        let word = if order.highest { "highest" } else { "lowest" };
        format!(", {word} {} first", one_line(&order.by))
    });
    format!("{many}{}{}", worded(selects), order.unwrap_or_default())
}
