//! The list of changes, kind by kind.

use std::collections::BTreeMap;

use serde::Serialize;
use skynet_model::policy::Policy;

use super::reach::Servers;
use super::{fleet, people, scenario, script};

/// What became of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    Added,
    Removed,
    Changed,
}

/// One key that reads otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct KeyChange {
    pub(super) key: String,
    /// None: it was not there.
    pub(super) was: Option<String>,
    /// None: it is not there any more.
    pub(super) is: Option<String>,
}

/// One document that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Change {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) change: What,
    /// What it does or is, for one that comes or goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) about: Option<String>,
    pub(super) keys: Vec<KeyChange>,
    /// Of a script: its lines, with `+`, `-` or a blank before each.
    pub(super) lines: Vec<String>,
    /// Which servers, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) servers: Option<String>,
    /// What should be looked at twice: whatever lets Skynet do more than before.
    pub(super) alarms: Vec<String>,
}

impl Change {
    pub(super) fn new(kind: &'static str, name: &str, change: What) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            change,
            about: None,
            keys: Vec::new(),
            lines: Vec::new(),
            servers: None,
            alarms: Vec::new(),
        }
    }
}

/// What a document says, key by key, in words; compared text by text.
pub(super) type Facts = Vec<(String, String)>;

/// Everything that differs, in the order in which it matters.
pub(super) fn between(from: &Policy, to: &Policy, servers: &Servers) -> Vec<Change> {
    let mut changes = Vec::new();
    changes.extend(fleet::fleet(from, to));
    changes.extend(scenario::scenarios(from, to, servers));
    changes.extend(fleet::nevers(from, to));
    changes.extend(fleet::profiles(from, to, servers));
    changes.extend(script::scripts(from, to));
    changes.extend(people::requests(from, to));
    changes.extend(people::customers(from, to, servers));
    changes.extend(people::routes(from, to));
    changes.extend(people::contacts(from, to));
    changes
}

/// Keys that are new, gone or read otherwise, in the order of `from`, then of `to`.
pub(super) fn keys(from: &Facts, to: &Facts) -> Vec<KeyChange> {
    let find = |facts: &Facts, key: &str| facts.iter().find(|(k, _)| k == key).map(|(_, text)| text.clone());
    let mut order: Vec<&String> = from.iter().map(|(key, _)| key).collect();
    order.extend(to.iter().map(|(key, _)| key).filter(|key| from.iter().all(|(k, _)| k != *key)));
    let change = |key: &String| KeyChange { key: key.clone(), was: find(from, key), is: find(to, key) };
    order.into_iter().map(change).filter(|change| change.was != change.is).collect()
}

/// Names on either side, with what stands for them there.
pub(super) fn pairs<'p, K: Ord, V>(
    from: &'p BTreeMap<K, V>,
    to: &'p BTreeMap<K, V>,
) -> Vec<(&'p K, Option<&'p V>, Option<&'p V>)> {
    let mut names: Vec<&K> = from.keys().chain(to.keys().filter(|name| !from.contains_key(name))).collect();
    names.sort();
    names.into_iter().map(|name| (name, from.get(name), to.get(name))).collect()
}

/// Documents that are only compared key by key.
pub(super) fn plain<'p, V>(
    kind: &'static str,
    from: &'p BTreeMap<String, V>,
    to: &'p BTreeMap<String, V>,
    facts: impl Fn(&V) -> Facts,
) -> Vec<Change> {
    let about =
        |facts: Facts| facts.into_iter().map(|(key, text)| format!("{key} {text}")).collect::<Vec<_>>().join("; ");
    let mut changes = Vec::new();
    for (name, was, is) in pairs(from, to) {
        match (was, is) {
            (Some(was), Some(is)) => {
                let keys = keys(&facts(was), &facts(is));
                if !keys.is_empty() {
                    changes.push(Change { keys, ..Change::new(kind, name, What::Changed) });
                }
            }
            (Some(was), None) => {
                changes.push(Change { about: Some(about(facts(was))), ..Change::new(kind, name, What::Removed) });
            }
            (None, Some(is)) => {
                changes.push(Change { about: Some(about(facts(is))), ..Change::new(kind, name, What::Added) });
            }
            (None, None) => {}
        }
    }
    changes
}
