//! `request:` and `customer:`: what people may ask for, in which words, and who.

mod phrase;

use std::collections::BTreeMap;

use self::phrase::Phrase;
use super::report::{Fields, Place, Report, quote};
use super::yaml::{Key, Node, NodeKind};
use super::{Document, Names, fields_of, people, profile};
use crate::policy::{Customer, Request, Target};
use crate::value::ParamKind;

/// Most parameters of a request.
pub(in crate::policy) const MAX_PARAMETERS: usize = 8;
/// Most phrases of one request.
pub(in crate::policy) const MAX_PHRASES: usize = 32;
/// Most phrases of a policy: each is held against every other.
const MAX_PHRASES_IN_ALL: usize = 1000;
/// Most mail addresses of a customer.
pub(in crate::policy) const MAX_ADDRESSES: usize = 64;

/// The kinds a request's parameter may be of.
pub(in crate::policy) const KINDS: [(&str, ParamKind); 10] = [
    ("bool", ParamKind::Bool),
    ("duration", ParamKind::Duration),
    ("host", ParamKind::Address { port: false }),
    ("integer", ParamKind::Int { min: i64::MIN, max: i64::MAX }),
    ("ip", ParamKind::Ip),
    ("path", ParamKind::Path),
    ("size", ParamKind::Size),
    ("text", ParamKind::Text),
    ("unit", ParamKind::Unit),
    ("url", ParamKind::Url),
];
/// Names that mean something else in a `summary`.
const TAKEN: [&str; 3] = ["scenario", "server", "value"];

/// Reads all requests: scenarios need their parameters, and no two may share a phrase.
pub(super) fn requests(
    documents: &[Document<'_>],
    diagnostics: &mut Vec<crate::diagnostic::Diagnostic>,
) -> BTreeMap<String, Request> {
    let mut requests = BTreeMap::new();
    let mut phrases: Vec<Phrase<'_>> = Vec::new();
    for document in documents.iter().filter(|d| d.kind == "request") {
        let mut report = Report { file: document.file, diagnostics: Vec::new() };
        if let Some(mut fields) = fields_of(document, &mut report) {
            requests.insert(document.name.clone(), request(document, &mut fields, &mut phrases, &mut report));
            fields.finish(&mut report);
        }
        diagnostics.append(&mut report.diagnostics);
    }
    requests
}

fn request<'d>(
    document: &'d Document<'_>,
    fields: &mut Fields<'d>,
    phrases: &mut Vec<Phrase<'d>>,
    report: &mut Report<'_>,
) -> Request {
    let entries = fields.take("parameters").and_then(|node| report.mapping(node)).unwrap_or(&[]);
    if let Some((key, _)) = entries.get(MAX_PARAMETERS) {
        report.at(key.place, format!("a request has at most {MAX_PARAMETERS} parameters"));
    }
    let mut parameters = BTreeMap::new();
    let mut fine = true;
    for (key, node) in entries.iter().take(MAX_PARAMETERS) {
        match parameter(key, node, report) {
            Some(kind) => drop(parameters.insert(key.text.clone(), kind)),
            None => fine = false,
        }
    }
    let written = fields
        .need("phrases", "the words people use, like `[\"unblock {ip}\"]`", document.place, report)
        .and_then(|node| {
            let items = report.list(node)?;
            if items.is_empty() || items.len() > MAX_PHRASES {
                report.at(node.place, format!("a request has 1 to {MAX_PHRASES} phrases, like `[\"unblock {{ip}}\"]`"));
            }
            Some(items)
        });
    let mut texts = Vec::new();
    for node in written.unwrap_or(&[]).iter().take(MAX_PHRASES) {
        let Some(text) = report.text(node) else { continue };
        texts.push(text.to_owned());
        // With a parameter that is not known every phrase would be wrong as well.
        let parsed = if fine { Phrase::read(document, node, text, &parameters, report) } else { None };
        let Some(phrase) = parsed else { continue };
        if phrases.len() >= MAX_PHRASES_IN_ALL {
            report.at(node.place, format!("a policy has at most {MAX_PHRASES_IN_ALL} phrases"));
        } else if let Some(other) = phrases.iter().find(|other| other.overlaps(&phrase)) {
            report.at(node.place, phrase.clash(other));
        } else {
            phrases.push(phrase);
        }
    }
    Request { parameters, phrases: texts }
}

fn parameter(key: &Key, node: &Node, report: &mut Report<'_>) -> Option<ParamKind> {
    let name = key.text.as_str();
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let begins = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    if name.is_empty() {
        return None;
    }
    if !begins || name.len() > 32 || !name.bytes().all(fine) {
        let message = format!("`{}` is no name of a parameter: use 1 to 32 of a-z, 0-9 and `_`", quote(name));
        report.at(key.place, message);
        return None;
    }
    if TAKEN.contains(&name) {
        report.at(key.place, format!("`{name}` means something else in a summary: call the parameter otherwise"));
        return None;
    }
    report.word(node, "kind of parameter", &KINDS)
}

/// Two customers must not share an address: it could not be told who asks.
pub(super) fn own_addresses<'d>(
    document: &'d Document<'_>,
    seen: &mut BTreeMap<String, (&'d str, Place)>,
    report: &mut Report<'_>,
) {
    let NodeKind::Mapping(entries) = &document.root.kind else { return };
    let from = entries.iter().find(|(key, _)| key.text == "from").map(|(_, node)| &node.kind);
    let Some(NodeKind::Sequence(items)) = from else { return };
    for item in items.iter().take(MAX_ADDRESSES) {
        let Some(address) = item.text().filter(|text| text.len() <= 254) else { continue };
        match seen.get(&address.to_ascii_lowercase()) {
            Some((other, _)) if *other != document.name => {
                let message = format!("`{}` belongs to the customer `{other}` already", quote(address));
                report.at(item.place, message);
            }
            Some((_, place)) => {
                let message = format!("`{}` stands here twice (line {})", quote(address), place.line);
                report.at(item.place, message);
            }
            None => drop(seen.insert(address.to_ascii_lowercase(), (&document.name, item.place))),
        }
    }
}

pub(super) fn customer(
    document: &Document<'_>,
    fields: &mut Fields<'_>,
    names: &Names,
    report: &mut Report<'_>,
) -> Option<Customer> {
    let servers =
        fields.need("servers", "which are theirs, like `{ cluster: shop-1 }`", document.place, report).map(|node| {
            let servers = profile::labels(node, report);
            if matches!(&node.kind, NodeKind::Mapping(entries) if entries.is_empty()) {
                report.at(
                    node.place,
                    "an empty `servers` selects no server: name labels, like `{ cluster: shop-1 }`".into(),
                );
            }
            servers
        });
    let from = fields.need("from", "their mail addresses, like `[it@acme.example]`", document.place, report).and_then(
        |node| {
            let items = report.list(node)?;
            if items.is_empty() || items.len() > MAX_ADDRESSES {
                report.at(node.place, format!("a customer has 1 to {MAX_ADDRESSES} mail addresses"));
            }
            Some(items.iter().take(MAX_ADDRESSES).filter_map(|item| report.parsed(item, people::mail)).collect())
        },
    );
    let may =
        fields.need("may", "the requests they may make, like `[unblock]`", document.place, report).and_then(|node| {
            let items = report.list(node)?;
            if items.is_empty() {
                report.at(node.place, "`may` names no request, so the customer could ask for nothing".to_owned());
            }
            Some(items.iter().filter_map(|item| known_request(item, names, report)).collect::<Vec<_>>())
        });
    let challenge = fields.take("challenge").map(|node| challenge(node, report));
    Some(Customer { servers: servers?, from: from?, may: may?, challenge: challenge.flatten() })
}

/// The name of a request there is.
pub(super) fn known_request(node: &Node, names: &Names, report: &mut Report<'_>) -> Option<String> {
    let name = report.text(node)?;
    if !names.requests.contains(name) {
        report.unknown(node.place, "request", name, names.requests.iter().map(String::as_str));
        return None;
    }
    Some(name.to_owned())
}

fn challenge(node: &Node, report: &mut Report<'_>) -> Option<Target> {
    let mut fields = Fields::of(node, report)?;
    let (mail, sms) = (fields.take("mail"), fields.take("sms"));
    let target = match (mail, sms) {
        (Some(node), None) => report.parsed(node, |text| people::mail(text).map(Target::Mail)),
        (None, Some(node)) => report.parsed(node, |text| people::sms(text).map(Target::Sms)),
        (Some(_), Some(_)) | (None, None) => {
            report.at(node.place, "a challenge is `{ mail: ADDRESS }` or `{ sms: NUMBER }`, one of them".to_owned());
            None
        }
    };
    fields.finish(report);
    target
}
