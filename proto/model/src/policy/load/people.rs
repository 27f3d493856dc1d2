//! `contact:` and `route:`.

use super::report::{Fields, Report, quote};
use super::scenario::SEVERITIES;
use super::yaml::{Node, NodeKind};
use super::{Document, Names, check_name};
use crate::policy::{Contact, Quiet, Route, Severity, Target, Tier};
use crate::time::Span;

/// Most tiers of a route and targets of a tier.
pub(in crate::policy) const MAX_TARGETS: usize = 64;
/// Formats of webhooks.
pub(in crate::policy) const FORMATS: [(&str, &str); 1] = [("alertmanager", "alertmanager")];
/// Ways to tell a person.
const TARGETS: [&str; 4] = ["console", "contact", "mail", "sms"];

pub(super) fn contact(document: &Document<'_>, fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<Contact> {
    let node = fields.need("webhook", "`{ format: alertmanager, credential: NAME }`", document.place, report)?;
    let mut webhook = Fields::of(node, report)?;
    let format = match webhook.take("format") {
        Some(node) => report.word(node, "format", &FORMATS),
        None => Some("alertmanager"),
    };
    let credential =
        webhook.need("credential", "the name under which the controller keeps the URL", node.place, report);
    let credential = credential.and_then(|node| report.parsed(node, |t| check_name(t).map(|()| t.to_owned())));
    webhook.finish(report);
    format.zip(credential).map(|(format, credential)| Contact { format: format.to_owned(), credential })
}

pub(super) fn route(document: &Document<'_>, fields: &mut Fields<'_>, names: &Names, report: &mut Report<'_>) -> Route {
    let tell =
        fields.need("tell", "whom to tell, like `[{ to: [console] }]`", document.place, report).and_then(|node| {
            let items = report.list(node)?;
            if items.is_empty() || items.len() > MAX_TARGETS {
                report.at(node.place, format!("a route has 1 to {MAX_TARGETS} tiers"));
            }
            Some(items)
        });
    let mut tiers: Vec<Tier> = Vec::new();
    for node in tell.unwrap_or(&[]).iter().take(MAX_TARGETS) {
        let Some(tier) = tier(node, names, report) else { continue };
        if let Some(last) = tiers.last().filter(|last| tier.after <= last.after) {
            let message = format!("the tier before is told after {}: say `after` a longer time here", last.after);
            report.at(node.place, message);
        }
        tiers.push(tier);
    }
    let quiet = fields.take("quiet").and_then(|node| quiet(node, report));
    Route { tiers, quiet }
}

fn tier(node: &Node, names: &Names, report: &mut Report<'_>) -> Option<Tier> {
    let mut fields = Fields::of(node, report)?;
    let after = fields.take("after").map_or(Some(Span(0)), |node| report.span(node));
    let to =
        fields.need("to", "whom to tell, like `[{ mail: ops@example.net }]`", node.place, report).and_then(|node| {
            let items = report.list(node)?;
            if items.is_empty() || items.len() > MAX_TARGETS {
                report.at(node.place, format!("a tier tells 1 to {MAX_TARGETS} targets"));
            }
            Some(items.iter().take(MAX_TARGETS).filter_map(|item| target(item, names, report)).collect())
        });
    fields.finish(report);
    Some(Tier { after: after?, to: to? })
}

fn target(node: &Node, names: &Names, report: &mut Report<'_>) -> Option<Target> {
    let usage = "a target is `{ mail: ADDRESS }`, `{ sms: NUMBER }`, `{ contact: NAME }` or `console`";
    let (key, value) = match &node.kind {
        NodeKind::Mapping(entries) => {
            let [(key, value)] = entries.as_slice() else {
                report.at(node.place, usage.to_owned());
                return None;
            };
            (key, value)
        }
        NodeKind::Scalar { .. } | NodeKind::Sequence(_) | NodeKind::Broken => {
            let text = report.text(node)?;
            if text != "console" {
                report.at(node.place, usage.to_owned());
            }
            return (text == "console").then_some(Target::Console);
        }
    };
    match key.text.as_str() {
        "mail" => report.parsed(value, |text| mail(text).map(Target::Mail)),
        "sms" => report.parsed(value, |text| sms(text).map(Target::Sms)),
        "contact" => {
            let name = report.text(value)?;
            if !names.contacts.contains(name) {
                report.unknown(value.place, "contact", name, names.contacts.iter().map(String::as_str));
                return None;
            }
            Some(Target::Contact(name.to_owned()))
        }
        "" => None,
        other => {
            report.unknown(key.place, "target", other, TARGETS);
            None
        }
    }
}

/// A mail address, as written.
pub(super) fn mail(text: &str) -> Result<String, String> {
    let parts = text.split_once('@').filter(|(user, host)| !user.is_empty() && !host.is_empty() && !host.contains('@'));
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | ',' | ';' | '"');
    if parts.is_none() || text.len() > 254 || text.contains(odd) {
        return Err(format!("`{}` is not a mail address: write it like `ops@example.net`", quote(text)));
    }
    Ok(text.to_owned())
}

/// A telephone number with its country.
pub(super) fn sms(text: &str) -> Result<String, String> {
    let digits =
        text.strip_prefix('+').filter(|d| (5..=15).contains(&d.len()) && d.bytes().all(|b| b.is_ascii_digit()));
    match digits {
        Some(_) => Ok(text.to_owned()),
        None => Err(format!("`{}` is not a telephone number: write it like `+351900000000`", quote(text))),
    }
}

fn quiet(node: &Node, report: &mut Report<'_>) -> Option<Quiet> {
    let mut fields = Fields::of(node, report)?;
    let from = fields
        .need("from", "when it begins, like `\"23:00\"`", node.place, report)
        .and_then(|node| report.parsed(node, minutes));
    let until = fields
        .need("until", "when it ends, like `\"07:00\"`", node.place, report)
        .and_then(|node| report.parsed(node, minutes));
    let only_below = match fields.take("only_below") {
        Some(node) => report.word(node, "severity", &SEVERITIES),
        None => Some(Severity::Critical),
    };
    fields.finish(report);
    if from.is_some() && from == until {
        report
            .at(node.place, "it begins when it ends, so it would never be quiet: take it away, or mend it".to_owned());
    }
    Some(Quiet { from: from?, until: until?, only_below: only_below? })
}

/// Minutes after midnight from `23:00`.
fn minutes(text: &str) -> Result<u32, String> {
    let number = |t: &str, most: u32| {
        (t.len() == 2 && t.bytes().all(|b| b.is_ascii_digit()))
            .then(|| t.parse::<u32>().ok())
            .flatten()
            .filter(|n| *n < most)
    };
    let time = text.split_once(':').and_then(|(h, m)| Some(number(h, 24)? * 60 + number(m, 60)?));
    time.ok_or_else(|| format!("`{}` is not a time of day: write it like `\"23:00\"`", quote(text)))
}
