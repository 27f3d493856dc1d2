//! `fleet:`, `script:` and `never:`.

use std::collections::BTreeMap;

use super::report::{Fields, Report, quote, share};
use super::yaml::{Node, NodeKind};
use super::{Document, Names};
use crate::catalogue::Catalogue;
use crate::policy::render::Network;
use crate::policy::{Fleet, Never, RAILS, RailKind, Script, Wave, fits};
use crate::value::ParamKind;

/// Longest body of a script, in bytes.
pub(in crate::policy) const MAX_BODY: usize = 64 << 10;
/// Most values of one list.
pub(in crate::policy) const MAX_ITEMS: usize = 1024;

/// Most waves of a rollout.
pub(in crate::policy) const MAX_WAVES: usize = 16;

pub(super) fn fleet(document: &Document<'_>, fields: &mut Fields<'_>, report: &mut Report<'_>) -> Fleet {
    let mut fleet = Fleet { name: document.name.clone(), ..Fleet::default() };
    if let Some(signers) = fields.take("signers").and_then(|node| report.whole(node, 1, 100)) {
        fleet.signers = signers;
    }
    if let Some(node) = fields.take("rails") {
        fleet.rails = rails(node, report);
    }
    if let Some(mut rollout) = fields.take("rollout").and_then(|node| Fields::of(node, report)) {
        if let Some(waves) = rollout.take("waves").and_then(|node| waves(node, report)) {
            fleet.waves = waves;
        }
        if let Some(soak) = rollout.take("soak").and_then(|node| report.span(node)) {
            fleet.soak = soak;
        }
        rollout.finish(report);
    }
    fleet
}

fn rails(node: &Node, report: &mut Report<'_>) -> BTreeMap<String, f64> {
    let mut rails = BTreeMap::new();
    let entries = report.mapping(node).unwrap_or(&[]);
    for (key, node) in entries {
        let value = match RAILS.iter().find(|rail| rail.name == key.text).map(|rail| rail.kind) {
            Some(RailKind::Share) => report.share(node),
            Some(RailKind::Count) => report.whole(node, 1, 100_000).map(f64::from),
            #[expect(clippy::cast_precision_loss, reason = "at most 30 days")]
            Some(RailKind::Length) => report.span(node).map(|span| span.0 as f64 / 1000.0),
            None => {
                report.unknown(key.place, "rail", &key.text, RAILS.iter().map(|rail| rail.name));
                None
            }
        };
        if let Some(value) = value {
            rails.insert(key.text.clone(), value);
        }
    }
    for (least, most) in [("cooldown", "cooldown_max"), ("blast_radius", "blast_radius_per_hour")] {
        let shorter = rails.get(least).zip(rails.get(most)).is_some_and(|(least, most)| most < least);
        if let (true, Some((key, _))) = (shorter, entries.iter().find(|(key, _)| key.text == most)) {
            report
                .at(key.place, format!("`{most}` is less than `{least}`, so it would always be what counts: raise it"));
        }
    }
    rails
}

/// Waves rise: numbers of servers first, then shares, the last of them everything.
fn waves(node: &Node, report: &mut Report<'_>) -> Option<Vec<Wave>> {
    let items = report.list(node)?;
    if items.is_empty() || items.len() > MAX_WAVES {
        report.at(node.place, format!("a rollout has 1 to {MAX_WAVES} waves, like `[1, 5%, 25%, 100%]`"));
        return None;
    }
    let mut waves: Vec<Wave> = Vec::new();
    for item in items {
        let wave = report.parsed(item, wave)?;
        let rises = waves.last().is_none_or(|last| match (*last, wave) {
            (Wave::Count(last), Wave::Count(next)) => last < next,
            (Wave::Share(last), Wave::Share(next)) => last < next,
            (Wave::Count(_), Wave::Share(_)) => true,
            (Wave::Share(_), Wave::Count(_)) => false,
        });
        if !rises {
            let text = item.text().unwrap_or_default();
            let message = format!("the wave `{text}` is not larger than the one before: numbers rise, then shares");
            report.at(item.place, message);
            return None;
        }
        waves.push(wave);
    }
    if !matches!(waves.last(), Some(Wave::Share(share)) if *share >= 1.0) {
        let place = items.last().map_or(node.place, |item| item.place);
        report.at(place, "the last wave is the whole fleet: end the list with `100%`".to_owned());
        return None;
    }
    Some(waves)
}

fn wave(text: &str) -> Result<Wave, String> {
    let count = text.parse::<u32>().ok().filter(|n| *n > 0).map(Wave::Count);
    count.or_else(|| share(text).map(Wave::Share)).ok_or_else(|| {
        format!("`{}` is not a wave: write a number of servers, like `1`, or a share, like `5%`", quote(text))
    })
}

pub(super) fn script(document: &Document<'_>, fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<Script> {
    let interpreter =
        fields.need("interpreter", "the program that gets the text, like `/bin/sh`", document.place, report);
    let interpreter = interpreter.and_then(|node| report.parsed(node, |text| ParamKind::Path.parse(text)));
    let body = fields.need("body", "the text of the script", document.place, report).and_then(|node| {
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
    names: &Names,
    catalogue: &Catalogue,
    report: &mut Report<'_>,
) -> Option<Never> {
    let list = fields
        .need("actions", "what is refused, like `[firewall.block]`", document.place, report)
        .and_then(|node| report.list(node));
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
        let parse = |node: &&Node, report: &mut Report<'_>| refused(node, kind, names, report);
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

/// A refused value, in the form in which checked values print: for texts a glob, for addresses a network.
fn refused(node: &Node, kind: ParamKind, names: &Names, report: &mut Report<'_>) -> Option<String> {
    let text = report.text(node)?;
    if let (ParamKind::Script, false) = (kind, names.scripts.iter().any(|name| fits(text, name))) {
        report.unknown(node.place, "script", text, names.scripts.iter().map(String::as_str));
        return None;
    }
    report.parsed(node, |text| refused_text(text, kind))
}

fn refused_text(text: &str, kind: ParamKind) -> Result<String, String> {
    let short = quote(text);
    match kind {
        _ if text.len() > 256 => Err(format!("`{short}` is too long")),
        ParamKind::Ip if Network::parse(text).is_none() => {
            Err(format!("`{short}` is not an address or a network like `10.0.0.0/8`"))
        }
        ParamKind::Int { .. } | ParamKind::Size | ParamKind::Duration | ParamKind::Bool => {
            kind.parse(text).map(|value| value.to_string())
        }
        ParamKind::Path | ParamKind::PathGlob if !text.starts_with(['/', '*']) => {
            Err(format!("`{short}` refuses no path: paths begin with `/`"))
        }
        ParamKind::Word(words) if !words.iter().any(|word| fits(text, word)) => {
            Err(format!("`{short}` is none of {}, so nothing would be refused", words.join(", ")))
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
        | ParamKind::List(_) => Ok(text.to_owned()),
    }
}
