//! Plain values: how each kind of parameter is written. Without quotes YAML reads a number or a truth where policy reads
//! text, so those are taken wherever text is.

use serde_json::{Map, Value, json};

use super::{list, reference};
use crate::policy::load::{MAX_LABEL, MAX_NAME, MAX_PARAM_ITEMS};
use crate::value::ParamKind;

/// `30s`, `1h30m`.
const SPAN: &str = r"^\s*([0-9]+(ms|s|m|h|d))+\s*$";
/// More than 0 and at most 100 %.
const SHARE: &str = r"^(?!0*(\.0*)?\s*%)(100(\.0*)?|[0-9]{1,2}(\.[0-9]*)?|\.[0-9]+)\s*%$";
const NAME: &str = "^[a-z0-9-]+$";
const HOLE: &str = r"\$\{[A-Za-z0-9_.:]+\}";

/// What others refer to.
pub(super) fn definitions() -> Map<String, Value> {
    let text = |pattern: &str| json!({ "type": "string", "pattern": pattern });
    let globs = json!({ "type": ["string", "number", "boolean"], "maxLength": MAX_LABEL });
    let mut map = Map::new();
    let mut put = |name: &str, schema: Value| drop(map.insert(name.to_owned(), schema));
    put("name", json!({ "type": ["string", "integer"], "pattern": NAME, "minLength": 1, "maxLength": MAX_NAME }));
    put("span", text(SPAN));
    put("share", text(SHARE));
    put("time", text("^([01][0-9]|2[0-3]):[0-5][0-9]$"));
    put("truth", json!({ "enum": [true, false, "true", "false"] }));
    put("text", json!({ "type": ["string", "number", "boolean"] }));
    put("condition", json!({ "type": ["string", "boolean", "number"], "maxLength": crate::condition::MAX_SOURCE }));
    put("labels", json!({ "type": "object", "additionalProperties": globs.clone() }));
    put("mail", text(r#"^[^@\s<>,;"]+@[^@\s<>,;"]+$"#));
    put("sms", text(r"^\+[0-9]{5,15}$"));
    put(
        "where",
        json!({
            "description": "`{ profile: NAME }`, or labels that must all match; `*` stands for any text",
            "type": "object",
            "minProperties": 1,
            "if": { "required": ["profile"] },
            "then": { "properties": { "profile": reference("name") }, "maxProperties": 1 },
            "else": { "additionalProperties": globs },
        }),
    );
    map
}

/// A whole number, with or without quotes.
pub(super) fn whole(min: i64, max: i64) -> Value {
    json!({ "anyOf": [
        { "type": "integer", "minimum": min, "maximum": max },
        { "type": "string", "pattern": r"^[+-]?[0-9]+$" },
    ] })
}

/// One of a few words.
pub(super) fn words<'w>(words: impl IntoIterator<Item = &'w str>) -> Value {
    json!({ "enum": words.into_iter().collect::<Vec<_>>() })
}

/// A literal of this kind.
pub(super) fn kind(kind: ParamKind) -> Value {
    let text = |pattern: &str| json!({ "type": "string", "pattern": pattern });
    match kind {
        ParamKind::Text => reference("text"),
        ParamKind::Bool => reference("truth"),
        ParamKind::Int { min, max } => whole(min, max),
        ParamKind::Duration => reference("span"),
        ParamKind::Size => json!({
            "type": ["string", "integer"],
            "minimum": 0,
            "pattern": r"^\s*[0-9]+\s*(KiB|MiB|GiB|TiB|kB|KB|MB|GB|TB|B)?\s*$",
        }),
        ParamKind::Path => text(r"^/((?!\.{1,2}(/|$))[^/]+(/(?!\.{1,2}(/|$))[^/]+)*)?$"),
        ParamKind::PathGlob => text(r"^/(((?!\.{1,2}/)[^/*?\[]+/)*(?!\.{1,2}$)[^/]+)?$"),
        ParamKind::Ip => text("^[0-9A-Fa-f:.]+$"),
        ParamKind::Address { .. } => json!({ "type": ["string", "integer"], "minLength": 1 }),
        ParamKind::Url => text("^https?://"),
        ParamKind::Unit => {
            json!({ "type": ["string", "number"], "pattern": r"^[A-Za-z0-9._@:\\][A-Za-z0-9._@:\\-]{0,254}$" })
        }
        ParamKind::Script => json!({ "type": ["string", "integer"], "pattern": r"^[a-z0-9._-]{1,128}$" }),
        ParamKind::Word(known) => words(known.iter().copied()),
        ParamKind::List(inner) => list(self::kind(*inner), 0, MAX_PARAM_ITEMS),
    }
}

/// A parameter of a step: a literal, or text with `${label}` in it. Scripts are named outright.
pub(super) fn kind_or_hole(of: ParamKind) -> Value {
    let hole = json!({ "type": "string", "pattern": HOLE });
    match of {
        ParamKind::Script => kind(of),
        ParamKind::List(inner) => list(kind_or_hole(*inner), 0, MAX_PARAM_ITEMS),
        ParamKind::Text
        | ParamKind::Bool
        | ParamKind::Int { .. }
        | ParamKind::Duration
        | ParamKind::Size
        | ParamKind::Path
        | ParamKind::PathGlob
        | ParamKind::Ip
        | ParamKind::Address { .. }
        | ParamKind::Url
        | ParamKind::Unit
        | ParamKind::Word(_) => json!({ "anyOf": [kind(of), hole] }),
    }
}
