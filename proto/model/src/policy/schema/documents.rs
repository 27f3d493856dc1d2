//! The kinds of documents and their keys.

use serde_json::{Map, Value, json};

use super::values::{kind, kind_or_hole, whole, words};
use super::{list, mapping, reference, told};
use crate::catalogue::{ActionSpec, Catalogue, SensorSpec};
use crate::policy::load::{
    FORMATS, MAX_ADDRESSES, MAX_BODY, MAX_NEVER_ITEMS, MAX_PARAMETERS, MAX_PHRASES, MAX_PICK, MAX_SENSORS, MAX_STEPS,
    MAX_TARGETS, MAX_WAVES, MODES, REQUEST_KINDS, SCOPES, SEVERITIES,
};
use crate::policy::{RAILS, RailKind};
use crate::value::ParamSpec;

/// Every kind and its schema, in order of name.
pub(super) fn kinds(catalogue: &Catalogue) -> Vec<(&'static str, Value)> {
    vec![
        ("contact", contact()),
        ("customer", customer()),
        ("fleet", fleet()),
        ("never", never(catalogue)),
        ("profile", profile(catalogue)),
        ("request", request()),
        ("route", route()),
        ("scenario", scenario(catalogue)),
        ("script", script()),
    ]
}

/// A line for people, with the default.
fn with_default(help: &str, default: Option<&str>) -> String {
    match default {
        Some(default) => format!("{help} (default: {default})"),
        None => help.to_owned(),
    }
}

fn contact() -> Value {
    let webhook = mapping(
        vec![
            ("format", words(FORMATS.iter().map(|(word, _)| *word)), "the form of what is posted"),
            ("credential", reference("name"), "the name under which the controller keeps the URL"),
        ],
        &["credential"],
    );
    mapping(
        vec![
            ("contact", reference("name"), "a way to reach people that routes may name"),
            ("webhook", webhook, "JSON that is posted to a URL"),
        ],
        &["contact", "webhook"],
    )
}

fn customer() -> Value {
    let target = |key: &str| mapping(vec![(key, reference(key), "")], &[key]);
    let labels = json!({ "allOf": [reference("labels")], "minProperties": 1 });
    mapping(
        vec![
            ("customer", reference("name"), "somebody who may ask for something"),
            ("servers", labels, "labels of the servers that are theirs"),
            ("from", list(reference("mail"), 1, MAX_ADDRESSES), "the mail addresses they write from"),
            ("may", list(reference("name"), 1, 1000), "the requests they may make"),
            ("challenge", json!({ "oneOf": [target("mail"), target("sms")] }), "where a request is confirmed"),
        ],
        &["customer", "servers", "from", "may"],
    )
}

fn fleet() -> Value {
    let rails: Map<String, Value> = RAILS
        .iter()
        .map(|rail| {
            let schema = match rail.kind {
                RailKind::Share => reference("share"),
                RailKind::Count => whole(1, 100_000),
                RailKind::Length => reference("span"),
            };
            (rail.name.to_owned(), told(schema, &with_default(rail.help, Some(rail.default))))
        })
        .collect();
    let rails = json!({ "type": "object", "properties": rails, "additionalProperties": false });
    let wave = json!({ "anyOf": [whole(1, i64::from(u32::MAX)), reference("share")] });
    let rollout = mapping(
        vec![
            (
                "waves",
                list(wave, 1, MAX_WAVES),
                "numbers of servers, then shares, rising to 100% (default: [1, 5%, 25%, 100%])",
            ),
            ("soak", reference("span"), "how long each wave is watched (default: 10m)"),
        ],
        &[],
    );
    mapping(
        vec![
            ("fleet", reference("name"), "the fleet's name; once per policy"),
            ("signers", whole(1, 100), "how many signers a bundle needs (default: 1)"),
            ("rails", rails, "what keeps automation from doing harm"),
            ("rollout", rollout, "how a push goes through the fleet"),
        ],
        &["fleet"],
    )
}

fn never(catalogue: &Catalogue) -> Value {
    let actions = words(catalogue.actions.iter().map(|action| action.name));
    let values = json!({ "anyOf": [reference("text"), list(reference("text"), 1, MAX_NEVER_ITEMS)] });
    mapping(
        vec![
            ("never", reference("name"), "parameters that are refused whoever asks"),
            ("actions", json!({ "type": "array", "items": actions, "minItems": 1 }), "the actions it is about"),
            (
                "with",
                json!({ "type": "object", "additionalProperties": values }),
                "refused values by parameter: globs for text, networks for addresses; left out: the action altogether",
            ),
        ],
        &["never", "actions"],
    )
}

fn profile(catalogue: &Catalogue) -> Value {
    let plain = |sensor: &&&SensorSpec| !sensor.params.iter().any(|p| p.required && p.default.is_none());
    let bare = words(catalogue.sensors.iter().filter(plain).map(|sensor| sensor.name));
    let with: Map<String, Value> =
        catalogue.sensors.iter().map(|one| (one.name.to_owned(), told(sensor(one), one.help))).collect();
    let with = json!({
        "type": "object", "properties": with, "additionalProperties": false, "minProperties": 1, "maxProperties": 1,
    });
    mapping(
        vec![
            ("profile", reference("name"), "a set of servers and the sensors they run"),
            ("match", reference("labels"), "labels a server must have, all of them; `*` stands for any text"),
            ("sensors", list(json!({ "anyOf": [bare, with] }), 0, MAX_SENSORS), "`NAME`, or `NAME: { parameters }`"),
        ],
        &["profile"],
    )
}

fn sensor(spec: &SensorSpec) -> Value {
    let mut properties = params(spec.params, kind);
    let every = format!("its interval, 100ms to 1d (default: {})", spec.every);
    properties.insert("every".to_owned(), told(reference("span"), &every));
    properties.insert("name".to_owned(), told(reference("name"), "tells several of the same sensor from each other"));
    let required = required(spec.params);
    let types = if required.is_empty() { json!(["object", "null"]) } else { json!("object") };
    json!({ "type": types, "properties": properties, "required": required, "additionalProperties": false })
}

fn params(specs: &[ParamSpec], of: fn(crate::value::ParamKind) -> Value) -> Map<String, Value> {
    specs
        .iter()
        .map(|spec| (spec.name.to_owned(), told(of(spec.kind), &with_default(spec.help, spec.default))))
        .collect()
}

fn required(specs: &[ParamSpec]) -> Vec<&'static str> {
    specs.iter().filter(|spec| spec.required && spec.default.is_none()).map(|spec| spec.name).collect()
}

fn request() -> Value {
    let parameters = json!({
        "type": "object",
        "propertyNames": { "pattern": "^[a-z][a-z0-9_]{0,31}$" },
        "additionalProperties": words(REQUEST_KINDS.iter().map(|(word, _)| *word)),
        "maxProperties": MAX_PARAMETERS,
    });
    mapping(
        vec![
            ("request", reference("name"), "what people may ask for"),
            ("parameters", parameters, "what belongs to it, and how each is read"),
            ("phrases", list(reference("text"), 1, MAX_PHRASES), "the words they use, like `unblock {ip}`"),
        ],
        &["request", "phrases"],
    )
}

fn route() -> Value {
    let one = |key: &str| mapping(vec![(key, reference(key), "")], &[key]);
    let contact = mapping(vec![("contact", reference("name"), "a `contact:` document")], &["contact"]);
    let target = json!({ "anyOf": [{ "const": "console" }, one("mail"), one("sms"), contact] });
    let tier = mapping(
        vec![
            (
                "after",
                reference("span"),
                "how long after the first notice, while nobody has acknowledged (default: 0s)",
            ),
            (
                "to",
                list(target, 1, MAX_TARGETS),
                "`console`, `{ contact: NAME }`, `{ mail: ADDRESS }`, `{ sms: NUMBER }`",
            ),
        ],
        &["to"],
    );
    let quiet = mapping(
        vec![
            ("from", reference("time"), "like `\"23:00\"`"),
            ("until", reference("time"), "like `\"07:00\"`"),
            (
                "only_below",
                words(SEVERITIES.iter().map(|(word, _)| *word)),
                "notices of this severity and above are sent all the same (default: critical)",
            ),
        ],
        &["from", "until"],
    );
    mapping(
        vec![
            ("route", reference("name"), "whom to tell; the one called `default` is for scenarios without `escalate`"),
            ("tell", list(tier, 1, MAX_TARGETS), "tiers, one after the other"),
            ("quiet", quiet, "hours in which lesser notices wait"),
        ],
        &["route", "tell"],
    )
}

fn scenario(catalogue: &Catalogue) -> Value {
    let limits = mapping(
        vec![
            ("cooldown", reference("span"), "first cooldown (default: the fleet's)"),
            ("per_hour", whole(1, 10_000), "steps an hour (default: the fleet's)"),
            ("blast_radius", reference("share"), "share of the cluster at a time (default: the fleet's)"),
        ],
        &[],
    );
    let mut schema = mapping(
        vec![
            ("scenario", reference("name"), "what counts as trouble, and what is done about it"),
            ("where", reference("where"), "which servers (default: those whose profiles declare the series of `when`)"),
            ("scope", words(SCOPES.iter().map(|(word, _)| *word)), "how far it looks (default: server)"),
            ("when", reference("condition"), "the condition that opens an incident"),
            ("on_request", reference("name"), "the request it answers, instead of `when`"),
            ("per", list(reference("text"), 0, 64), "labels that make an instance (default: every label in `when`)"),
            ("for", reference("span"), "how long `when` must hold (default: 0s)"),
            ("clear", reference("condition"), "what ends it (default: `when` is known and false, or gone)"),
            ("settle", reference("span"), "how long that must hold (default: 0s)"),
            ("severity", words(SEVERITIES.iter().map(|(word, _)| *word)), "how bad it is (default: warning)"),
            ("mode", words(MODES.iter().map(|(word, _)| *word)), "`observe` says what it would do (default: observe)"),
            ("summary", reference("text"), "a line for people, with `{{ label }}` in it"),
            ("respond", list(step(catalogue), 0, MAX_STEPS), "steps, in order; without one a person is told at once"),
            (
                "escalate",
                reference("name"),
                "the route by which a person is told (default: `default`, else the console)",
            ),
            ("limits", limits, "rails of its own"),
        ],
        &["scenario"],
    );
    let targets = |schema: Value| json!({ "properties": { "respond": { "items": schema } } });
    let (with, without) = (json!({ "required": ["target"] }), json!({ "properties": { "target": false } }));
    let asked = json!({
        "required": ["respond"],
        "properties": { "when": false, "for": false, "per": false, "scope": false },
        "allOf": [targets(with.clone())],
    });
    let many = json!({ "properties": { "scope": { "enum": ["cluster", "fleet"] } }, "required": ["scope"] });
    let read = json!({ "required": ["when"], "if": many, "then": targets(with), "else": targets(without) });
    if let Some(object) = schema.as_object_mut() {
        object.insert("if".to_owned(), json!({ "required": ["on_request"] }));
        object.insert("then".to_owned(), asked);
        object.insert("else".to_owned(), read);
    }
    schema
}

fn step(catalogue: &Catalogue) -> Value {
    let pick = mapping(
        vec![
            ("where", reference("where"), "of which servers; in scope `cluster` those of the incident's cluster"),
            ("pick", whole(1, i64::from(MAX_PICK)), "how many (default: all)"),
            (
                "order",
                json!({ "type": "string", "pattern": r"^(highest|lowest)\s+\S" }),
                "which first, like `highest cpu.busy_ratio` (default: by name)",
            ),
        ],
        &["where"],
    );
    let target = json!({ "anyOf": [{ "const": "request" }, pick] });
    let actions: Vec<Value> =
        catalogue.actions.iter().map(|action| told(json!({ "const": action.name }), action.help)).collect();
    let mut schema = mapping(
        vec![
            ("do", json!({ "anyOf": actions }), "the action"),
            ("with", json!({ "type": ["object", "null"] }), "its parameters; `${label}` takes a label of the incident"),
            ("target", target, "the servers it is done on; outside of scope `server`"),
            ("approve", reference("truth"), "whether a person must agree (default: true for destructive actions)"),
            ("verify", reference("condition"), "what proves the cure (default: the scenario's `clear`)"),
            ("verify_within", reference("span"), "how long that may take (default: 2m)"),
        ],
        &["do"],
    );
    let with: Vec<Value> = catalogue.actions.iter().map(|action| with(action)).collect();
    if let Some(object) = schema.as_object_mut() {
        object.insert("allOf".to_owned(), json!(with));
    }
    schema
}

/// What one action takes.
fn with(action: &ActionSpec) -> Value {
    let needed = required(action.params);
    let types = if needed.is_empty() { json!(["object", "null"]) } else { json!("object") };
    let with = json!({
        "type": types,
        "properties": params(action.params, kind_or_hole),
        "required": needed,
        "additionalProperties": false,
    });
    let mut then = json!({ "properties": { "with": with } });
    if let (false, Some(object)) = (needed.is_empty(), then.as_object_mut()) {
        object.insert("required".to_owned(), json!(["with"]));
    }
    json!({ "if": { "properties": { "do": { "const": action.name } }, "required": ["do"] }, "then": then })
}

fn script() -> Value {
    mapping(
        vec![
            ("script", reference("name"), "code that agents run: signed text"),
            ("interpreter", kind(crate::value::ParamKind::Path), "absolute path of the program that gets the text"),
            ("body", json!({ "type": ["string", "number", "boolean"], "maxLength": MAX_BODY }), "the text"),
        ],
        &["script", "interpreter", "body"],
    )
}
