//! `profile:`.

use std::collections::BTreeMap;

use super::report::{Fields, Report, quote};
use super::yaml::{Node, NodeKind};
use super::{Names, check_name, params};
use crate::catalogue::Catalogue;
use crate::policy::{Match, Profile, SensorUse};
use crate::time::Span;

/// Shortest interval of a sensor.
const MIN_EVERY: Span = Span(100);
/// Longest interval of a sensor.
const MAX_EVERY: Span = Span::hours(24);
/// Most sensors of a profile.
pub(in crate::policy) const MAX_SENSORS: usize = 256;
/// Longest label name or value.
pub(in crate::policy) const MAX_LABEL: usize = 256;

pub(super) fn profile(
    fields: &mut Fields<'_>,
    names: &Names,
    catalogue: &Catalogue,
    report: &mut Report<'_>,
) -> Profile {
    let matches = fields.take("match").map(|node| labels(node, report)).unwrap_or_default();
    let mut sensors: Vec<SensorUse> = Vec::new();
    let items = fields.take("sensors").and_then(|node| report.list(node)).unwrap_or(&[]);
    if let Some(node) = items.get(MAX_SENSORS) {
        report.at(node.place, format!("a profile has at most {MAX_SENSORS} sensors"));
    }
    for node in items.iter().take(MAX_SENSORS) {
        let Some(used) = sensor(node, names, catalogue, report) else { continue };
        if sensors.iter().any(|s| s.id == used.id) {
            let message = match used.name {
                None => format!("the sensor `{}` is used twice in this profile: give one a `name:`", used.id),
                Some(_) => format!("the sensor `{}` is used twice in this profile: give one another `name:`", used.id),
            };
            report.at(node.place, message);
        } else {
            sensors.push(used);
        }
    }
    Profile { matches, sensors }
}

/// `{ role: web, cluster: "shop-*" }`.
pub(super) fn labels(node: &Node, report: &mut Report<'_>) -> Match {
    let mut matches = BTreeMap::new();
    for (key, value) in report.mapping(node).unwrap_or(&[]) {
        let glob = report.parsed(value, |text| {
            if text.len() > MAX_LABEL { Err(format!("`{}` is too long", quote(text))) } else { Ok(text.to_owned()) }
        });
        if key.text.len() > MAX_LABEL {
            report.at(key.place, format!("`{}` is too long", quote(&key.text)));
        }
        if let Some(glob) = glob {
            matches.insert(key.text.clone(), glob);
        }
    }
    Match(matches)
}

fn sensor(node: &Node, names: &Names, catalogue: &Catalogue, report: &mut Report<'_>) -> Option<SensorUse> {
    let (place, sensor, options) = match &node.kind {
        NodeKind::Mapping(entries) => {
            let [(key, value)] = entries.as_slice() else {
                report.at(node.place, "a sensor is `- NAME` or `- NAME: { ... }`, one to an item".to_owned());
                return None;
            };
            (key.place, key.text.as_str(), Some(value).filter(|v| !v.is_missing()))
        }
        NodeKind::Scalar { .. } | NodeKind::Sequence(_) | NodeKind::Broken => (node.place, report.text(node)?, None),
    };
    let Some(spec) = catalogue.sensor(sensor) else {
        if !sensor.is_empty() {
            report.unknown(place, "sensor", sensor, catalogue.sensors.iter().map(|s| s.name));
        }
        return None;
    };
    let empty = Node { place, kind: NodeKind::Mapping(Vec::new()) };
    let mut fields = Fields::of(options.unwrap_or(&empty), report)?;
    let name = fields.take("name").and_then(|n| report.parsed(n, |t| check_name(t).map(|()| t.to_owned())));
    let every = fields.take("every").and_then(|node| {
        let every = report.span(node)?;
        if every < MIN_EVERY || every > MAX_EVERY {
            report.at(node.place, format!("`every: {every}` is not from {MIN_EVERY} to {MAX_EVERY}"));
        }
        Some(every)
    });
    let params = params::of_sensor(spec.params, &mut fields, place, names, report);
    fields.finish(report);
    let id = name.as_ref().map_or_else(|| spec.name.to_owned(), |name| format!("{}:{name}", spec.name));
    Some(SensorUse { sensor: spec.name, id, name, every: every.unwrap_or(spec.every), params })
}
