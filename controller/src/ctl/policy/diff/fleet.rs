//! The fleet's own document, profiles and nevers.

use std::collections::{BTreeMap, BTreeSet};

use skynet_model::policy::{Never, Policy, Profile, RAILS, RailKind, SensorUse, Wave};
use skynet_model::series::Labels;
use skynet_model::time::Span;

use super::changes::{Change, Facts, KeyChange, What, keys, pairs};
use super::reach::{Servers, listed, matchers};

/// Rails that hold back less when they are less; the others hold back less when they are more.
const LOOSER_WHEN_LESS: [&str; 6] =
    ["common_cause_window", "cooldown", "cooldown_max", "destructive_every", "flapping_window", "startup_share"];

/// `5%`.
pub(super) fn percent(share: f64) -> String {
    let text = format!("{:.3}", share * 100.0);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

#[expect(clippy::cast_possible_truncation, reason = "rails are at most 30 days; the cast saturates")]
fn rail(kind: RailKind, value: f64) -> String {
    match kind {
        RailKind::Share => percent(value),
        RailKind::Count => value.to_string(),
        RailKind::Length => Span((value * 1000.0) as i64).to_string(),
    }
}

/// The default as a number, read as policy is read.
fn default_of(kind: RailKind, text: &str) -> f64 {
    match kind {
        RailKind::Share => text.trim_end_matches('%').parse::<f64>().unwrap_or(0.0) / 100.0,
        RailKind::Count => text.parse().unwrap_or(0.0),
        #[expect(clippy::cast_precision_loss, reason = "at most hours")]
        RailKind::Length => text.parse::<Span>().map_or(0.0, |span| span.0 as f64 / 1000.0),
    }
}

/// The `fleet:` document.
pub(super) fn fleet(from: &Policy, to: &Policy) -> Option<Change> {
    let (was, is) = (&from.fleet, &to.fleet);
    let mut change = Change::new("fleet", &is.name, What::Changed);
    let facts = |fleet: &skynet_model::policy::Fleet| -> Facts {
        let waves: Vec<String> = fleet
            .waves
            .iter()
            .map(|wave| match wave {
                Wave::Count(n) => n.to_string(),
                Wave::Share(share) => percent(*share),
            })
            .collect();
        vec![
            ("fleet".to_owned(), fleet.name.clone()),
            ("signers".to_owned(), fleet.signers.to_string()),
            ("rollout.waves".to_owned(), waves.join(", ")),
            ("rollout.soak".to_owned(), fleet.soak.to_string()),
        ]
    };
    change.keys = keys(&facts(was), &facts(is));
    if is.signers < was.signers {
        change.alarms.push(format!("policy needs fewer signers: {} instead of {}", is.signers, was.signers));
    }
    for spec in RAILS {
        let value = |rails: &BTreeMap<String, f64>| {
            rails.get(spec.name).copied().unwrap_or_else(|| default_of(spec.kind, spec.default))
        };
        let (before, after) = (value(&was.rails), value(&is.rails));
        if before.to_bits() == after.to_bits() {
            continue;
        }
        let (was, is) = (rail(spec.kind, before), rail(spec.kind, after));
        let looser = if LOOSER_WHEN_LESS.contains(&spec.name) { after < before } else { after > before };
        if looser {
            change.alarms.push(format!("the rail {} holds back less: {is} instead of {was}", spec.name));
        }
        change.keys.push(KeyChange { key: format!("rails.{}", spec.name), was: Some(was), is: Some(is) });
    }
    (!change.keys.is_empty()).then_some(change)
}

/// Nevers: whatever is no longer refused is told loudly.
pub(super) fn nevers(from: &Policy, to: &Policy) -> Vec<Change> {
    let none = Never { actions: Vec::new(), with: BTreeMap::new() };
    // Of all nevers together: what one lets go another may still refuse.
    let kept: BTreeSet<String> = to.nevers.values().flat_map(refusals).collect();
    let mut changes = Vec::new();
    for (name, was, is) in pairs(&from.nevers, &to.nevers) {
        let what = match (was, is) {
            (Some(_), Some(_)) => What::Changed,
            (Some(_), None) => What::Removed,
            (None, _) => What::Added,
        };
        let (before, after) = (refusals(was.unwrap_or(&none)), refusals(is.unwrap_or(&none)));
        if before == after {
            continue;
        }
        let mut change = Change::new("never", name, what);
        change.keys.extend(before.difference(&after).map(|text| KeyChange {
            key: "refused".to_owned(),
            was: Some(text.clone()),
            is: None,
        }));
        change.keys.extend(after.difference(&before).map(|text| KeyChange {
            key: "refuses".to_owned(),
            was: None,
            is: Some(text.clone()),
        }));
        change.alarms.extend(
            before
                .difference(&after)
                .filter(|text| !kept.contains(*text))
                .map(|text| format!("never {name}: {text} may now be done")),
        );
        changes.push(change);
    }
    changes
}

/// What a never refuses, one by one.
fn refusals(never: &Never) -> BTreeSet<String> {
    let mut refusals = BTreeSet::new();
    for action in &never.actions {
        if never.with.is_empty() {
            refusals.insert(action.clone());
        }
        for (param, values) in &never.with {
            refusals.extend(values.iter().map(|value| format!("{action} with {param} {value}")));
        }
    }
    refusals
}

/// Profiles: sensors that come and go, and who runs them.
pub(super) fn profiles(from: &Policy, to: &Policy, servers: &Servers) -> Vec<Change> {
    let mut changes = Vec::new();
    for (name, was, is) in pairs(&from.profiles, &to.profiles) {
        let what = match (was, is) {
            (Some(_), Some(_)) => What::Changed,
            (Some(_), None) => What::Removed,
            (None, _) => What::Added,
        };
        let keys = keys(&was.map(facts).unwrap_or_default(), &is.map(facts).unwrap_or_default());
        if keys.is_empty() {
            continue;
        }
        let mut change = Change { keys, ..Change::new("profile", name, what) };
        let fits = |profile: Option<&Profile>, labels: &Labels| profile.is_some_and(|p| p.matches.fits(labels));
        change.servers = Some(match servers.that(|labels| fits(was, labels) || fits(is, labels)) {
            // A sensor may still come from another profile: only servers that run others than before are counted.
            Some(names) => {
                let other = servers.that(|labels| ids(from, labels) != ids(to, labels)).unwrap_or_default();
                let touched: BTreeSet<String> = names.intersection(&other).cloned().collect();
                match touched.len() {
                    0 => "no server runs other sensors than before".to_owned(),
                    _ => format!("other sensors on {}", listed(&touched)),
                }
            }
            None => matchers(&is.or(was).map(|p| p.matches.clone()).unwrap_or_default()),
        });
        changes.push(change);
    }
    changes
}

fn ids<'p>(policy: &'p Policy, labels: &Labels) -> Vec<&'p SensorUse> {
    let mut uses = policy.sensors_for(labels);
    uses.sort_by(|a, b| a.id.cmp(&b.id));
    uses
}

fn facts(profile: &Profile) -> Facts {
    let mut facts = vec![("match".to_owned(), matchers(&profile.matches))];
    for sensor in &profile.sensors {
        let mut text = format!("every {}", sensor.every);
        for (name, value) in &sensor.params {
            text.push_str(&format!(", {name} {value}"));
        }
        facts.push((format!("sensor {}", sensor.id), text));
    }
    facts
}
