//! Parameters of sensors and actions, checked against their declared kinds.

use std::collections::BTreeMap;

use super::report::{Fields, Place, Report, quote};
use super::yaml::{Node, NodeKind};
use super::{Names, template};
use crate::policy::ParamText;
use crate::policy::render::default_of;
use crate::value::{ParamKind, ParamSpec, Params, Value};

/// Most items of one list.
pub(in crate::policy) const MAX_ITEMS: usize = 256;

/// A whole value of a declared kind, without `${...}`.
fn literal(node: &Node, kind: ParamKind, names: &Names, report: &mut Report<'_>) -> Option<Value> {
    if let ParamKind::List(inner) = kind {
        let items = report.list(node)?;
        if items.len() > MAX_ITEMS {
            report.at(node.place, format!("the list has {} items; at most {MAX_ITEMS} are read", items.len()));
            return None;
        }
        let values: Vec<Option<Value>> = items.iter().map(|item| literal(item, *inner, names, report)).collect();
        return values.into_iter().collect::<Option<Vec<_>>>().map(Value::List);
    }
    let value = report.parsed(node, |text| {
        if text.len() > 256 && !matches!(kind, ParamKind::Text | ParamKind::Url) {
            Err(format!("`{}` is too long", quote(text)))
        } else {
            kind.parse(text).map_err(|message| match text.contains("{{") {
                true => format!("{message}; parameters are filled with `${{label}}`, `{{{{ }}}}` is for people"),
                false => message,
            })
        }
    })?;
    match (kind, &value) {
        (ParamKind::Script, Value::Text(name)) if !names.scripts.contains(name.as_str()) => {
            report.unknown(node.place, "script", name, names.scripts.iter().map(String::as_str));
            None
        }
        _ => Some(value),
    }
}

/// The parameters of a sensor, defaults filled in. `fields` goes on to be finished by the caller.
pub(super) fn of_sensor(
    specs: &'static [ParamSpec],
    fields: &mut Fields<'_>,
    place: Place,
    names: &Names,
    report: &mut Report<'_>,
) -> Params {
    let mut params = Params::new();
    for spec in specs {
        let value = match fields.take(spec.name) {
            Some(node) => literal(node, spec.kind, names, report),
            None => absent(spec, place, report),
        };
        if let Some(value) = value {
            params.insert(spec.name.to_owned(), value);
        }
    }
    params
}

fn absent(spec: &ParamSpec, place: Place, report: &mut Report<'_>) -> Option<Value> {
    default_of(spec)
        .map_err(|_| {
            let help = if spec.help.is_empty() { String::new() } else { format!(": {}", spec.help) };
            report.at(place, format!("the parameter `{}` ({}) is missing{help}", spec.name, spec.kind));
        })
        .ok()
        .flatten()
}

/// The labels `${...}` may name.
pub(super) struct Holes<'a> {
    pub(super) labels: &'a [String],
    /// Whether a series may bring labels of its own.
    pub(super) open: bool,
    /// Whose labels they are, for the message.
    pub(super) what: &'static str,
}

/// The parameters of a step as written, with `${label}` checked.
pub(super) fn of_step(
    specs: &'static [ParamSpec],
    with: Option<&Node>,
    place: Place,
    holes: &Holes<'_>,
    names: &Names,
    report: &mut Report<'_>,
) -> BTreeMap<String, ParamText> {
    let mut written = BTreeMap::new();
    let fields = with.filter(|node| !node.is_missing()).map(|node| Fields::of(node, report));
    let mut fields = match fields {
        // It was told that this is not a mapping; what it may hold cannot be said.
        Some(None) => return written,
        Some(Some(fields)) => Some(fields),
        None => None,
    };
    for spec in specs {
        let Some(node) = fields.as_mut().and_then(|f| f.take(spec.name)) else {
            absent(spec, place, report);
            continue;
        };
        if let Some(text) = written_param(node, spec, holes, names, report) {
            written.insert(spec.name.to_owned(), text);
        }
    }
    if let Some(fields) = fields {
        fields.finish(report);
    }
    written
}

fn written_param(
    node: &Node,
    spec: &ParamSpec,
    holes: &Holes<'_>,
    names: &Names,
    report: &mut Report<'_>,
) -> Option<ParamText> {
    let holed = |node: &Node| node.text().is_some_and(|text| text.contains("${"));
    let inner = if let ParamKind::List(inner) = spec.kind { Some(*inner) } else { None };
    match (&node.kind, inner) {
        (NodeKind::Sequence(items), Some(inner)) if items.iter().any(holed) && items.len() <= MAX_ITEMS => {
            let mut texts = Vec::new();
            for item in items {
                if holed(item) {
                    check_holes(item, inner, holes, report)?;
                } else {
                    literal(item, inner, names, report)?;
                }
                texts.push(item.text().unwrap_or_default().to_owned());
            }
            Some(ParamText::Templates(texts))
        }
        _ if holed(node) && inner.is_none() => {
            check_holes(node, spec.kind, holes, report)?;
            node.text().map(|text| ParamText::Template(text.to_owned()))
        }
        _ => literal(node, spec.kind, names, report).map(ParamText::Literal),
    }
}

fn check_holes(node: &Node, kind: ParamKind, holes: &Holes<'_>, report: &mut Report<'_>) -> Option<()> {
    let text = node.text().unwrap_or_default();
    if text.len() > template::MAX_TEXT {
        report.at(node.place, format!("`{}` is too long", quote(text)));
        return None;
    }
    if kind == ParamKind::Script {
        report.at(node.place, "a script is named in the policy, never by a label".to_owned());
        return None;
    }
    let labels = template::labels_in(text).map_err(|message| report.at(node.place, message)).ok()?;
    let mut fine = true;
    for label in labels {
        if !holes.open && !holes.labels.iter().any(|l| l == label) {
            let at = text.find(&format!("${{{label}}}")).map_or(0, |byte| text[..byte].chars().count());
            let has = if holes.labels.is_empty() { "none".to_owned() } else { holes.labels.join(", ") };
            let message = match holes.what {
                "request's parameters" => format!("`${{{label}}}` is no parameter of the request (it has: {has})"),
                what => format!("`${{{label}}}` is no label of this {what} (they have: {has})"),
            };
            let suggestion = crate::diagnostic::nearest(label, holes.labels.iter().map(String::as_str));
            report.suggest(node.place_of(at), message, suggestion);
            fine = false;
        }
    }
    fine.then_some(())
}
