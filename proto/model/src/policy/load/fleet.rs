//! `fleet:`, `script:` and `never:`.

use std::collections::BTreeMap;

use super::Document;
use super::report::{Fields, Report, quote, share};
use super::yaml::{Node, NodeKind};
use crate::catalogue::Catalogue;
use crate::policy::render::Network;
use crate::policy::{Fleet, Never, Script, Wave};
use crate::value::ParamKind;

/// Longest body of a script, in bytes.
const MAX_BODY: usize = 64 << 10;
/// Most values of one list.
const MAX_ITEMS: usize = 1024;

/// Most waves of a rollout.
const MAX_WAVES: usize = 20;

/// How a rail is written.
enum Rail {
    /// A percentage, kept as 0..1.
    Share,
    /// A whole number.
    Count,
    /// A duration, kept in seconds.
    Length,
}

/// The rails a fleet may set.
const RAILS: [(&str, Rail); 9] = [
    ("blast_radius", Rail::Share),
    ("blast_radius_per_hour", Rail::Share),
    ("brake_share", Rail::Share),
    ("breaker_after", Rail::Count),
    ("cooldown", Rail::Length),
    ("cooldown_max", Rail::Length),
    ("cooldown_per_day", Rail::Count),
    ("flapping_after", Rail::Count),
    ("per_hour", Rail::Count),
];

pub(super) fn fleet(document: &Document<'_>, fields: &mut Fields<'_>, report: &mut Report<'_>) -> Fleet {
    let mut fleet = Fleet { name: document.name.clone(), ..Fleet::default() };
    if let Some(signers) = fields.take("signers").and_then(|node| report.whole(node, 1, 100)) {
        fleet.signers = signers;
    }
    if let Some(entries) = fields.take("rails").and_then(|node| report.mapping(node)) {
        for (key, node) in entries {
            let value = match RAILS.iter().find(|(name, _)| *name == key.text) {
                Some((_, Rail::Share)) => report.share(node),
                Some((_, Rail::Count)) => report.whole(node, 1, 100_000).map(f64::from),
                #[expect(clippy::cast_precision_loss, reason = "at most 30 days")]
                Some((_, Rail::Length)) => report.span(node).map(|span| span.0 as f64 / 1000.0),
                None => {
                    report.unknown(key.place, "rail", &key.text, RAILS.iter().map(|(name, _)| *name));
                    None
                }
            };
            if let Some(value) = value {
                fleet.rails.insert(key.text.clone(), value);
            }
        }
    }
    if let Some(mut rollout) = fields.take("rollout").and_then(|node| Fields::of(node, report)) {
        let waves = rollout.take("waves").and_then(|node| report.list(node).map(|list| (node.place, list)));
        if let Some((place, waves)) = waves {
            if waves.is_empty() || waves.len() > MAX_WAVES {
                let text = format!("`waves` has {} waves; write 1 to {MAX_WAVES}, like `[1, 5%, 25%, 100%]`", waves.len());
                report.at(place, text);
            }
            fleet.waves = waves.iter().filter_map(|node| report.parsed(node, wave)).collect();
        }
        if let Some(soak) = rollout.take("soak").and_then(|node| report.span(node)) {
            fleet.soak = soak;
        }
        rollout.finish(report);
    }
    fleet
}

fn wave(text: &str) -> Result<Wave, String> {
    let count = text.parse::<u32>().ok().filter(|n| *n > 0).map(Wave::Count);
    count.or_else(|| share(text).filter(|share| *share > 0.0).map(Wave::Share)).ok_or_else(|| {
        format!("`{}` is not a wave: write a number of servers, like `1`, or a share, like `5%`", quote(text))
    })
}

pub(super) fn script(document: &Document<'_>, fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<Script> {
    let interpreter = fields.require("interpreter", document.place, report);
    let interpreter = interpreter.and_then(|node| report.parsed(node, |text| ParamKind::Path.parse(text)));
    let body = fields.require("body", document.place, report).and_then(|node| {
        let text = report.text(node)?;
        if text.len() > MAX_BODY {
            report.at(node.place, format!("the body has {} bytes; at most {MAX_BODY} are read", text.len()));
            return None;
        }
        Some(text.to_owned())
    });
    interpreter.zip(body).map(|(interpreter, body)| Script { interpreter: interpreter.to_string(), body })
}

pub(super) fn never(
    document: &Document<'_>,
    fields: &mut Fields<'_>,
    catalogue: &Catalogue,
    report: &mut Report<'_>,
) -> Option<Never> {
    let list = fields.require("actions", document.place, report).and_then(|node| report.list(node));
    let mut specs = Vec::new();
    for node in list.unwrap_or(&[]) {
        let Some(name) = report.text(node) else { continue };
        match catalogue.action(name) {
            Some(spec) => specs.push(spec),
            None => report.unknown(node.place, "action", name, catalogue.actions.iter().map(|a| a.name)),
        }
    }
    let mut with = BTreeMap::new();
    // Without a known action nothing can be said about parameters.
    let entries = fields.take("with").and_then(|node| report.mapping(node)).filter(|_| !specs.is_empty());
    for (key, node) in entries.unwrap_or(&[]) {
        let known = specs.iter().flat_map(|s| s.params);
        let Some(spec) = known.clone().find(|p| p.name == key.text) else {
            report.unknown(key.place, "parameter", &key.text, known.map(|p| p.name));
            continue;
        };
        let kind = if let ParamKind::List(inner) = spec.kind { *inner } else { spec.kind };
        let values = refused_values(node, report);
        let parse = |node: &&Node, report: &mut Report<'_>| report.parsed(node, |text| refused(text, kind));
        with.insert(key.text.clone(), values.iter().filter_map(|node| parse(node, report)).collect());
    }
    if list?.is_empty() {
        report.at(document.place, "`actions` names no action, so nothing would be refused".to_owned());
    }
    Some(Never { actions: specs.iter().map(|s| s.name.to_owned()).collect(), with })
}

/// One value or a list of them.
fn refused_values<'n>(node: &'n Node, report: &mut Report<'_>) -> Vec<&'n Node> {
    match &node.kind {
        NodeKind::Sequence(items) if items.is_empty() => {
            report.at(node.place, "the list is empty, so nothing would be refused".to_owned());
            Vec::new()
        }
        NodeKind::Sequence(items) if items.len() > MAX_ITEMS => {
            report.at(node.place, format!("the list has {} items; at most {MAX_ITEMS} are read", items.len()));
            Vec::new()
        }
        NodeKind::Sequence(items) => items.iter().collect(),
        NodeKind::Scalar { .. } | NodeKind::Mapping(_) | NodeKind::Broken => vec![node],
    }
}

/// A refused value, in the form in which checked values print.
fn refused(text: &str, kind: ParamKind) -> Result<String, String> {
    let short = quote(text);
    match kind {
        ParamKind::Ip if Network::parse(text).is_none() => {
            Err(format!("`{short}` is not an address or a network like `10.0.0.0/8`"))
        }
        ParamKind::Int { .. } | ParamKind::Size | ParamKind::Duration | ParamKind::Bool => {
            kind.parse(text).map(|value| value.to_string())
        }
        ParamKind::Ip
        | ParamKind::Text
        | ParamKind::Path
        | ParamKind::PathGlob
        | ParamKind::Address { .. }
        | ParamKind::Url
        | ParamKind::Unit
        | ParamKind::Script
        | ParamKind::Word(_)
        | ParamKind::List(_) => {
            if text.len() > 256 {
                Err(format!("`{short}` is too long"))
            } else {
                Ok(text.to_owned())
            }
        }
    }
}
