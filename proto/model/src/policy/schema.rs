//! The language as JSON Schema (draft 7, which YAML language servers read): for editors, which complete keys and
//! underline slips while they are typed. Made from the tables that the loader reads by, and from the catalogue.
//!
//! It knows the shape of documents and of plain values. Names, conditions and templates are checked by
//! [`super::load()`] alone; whatever this refuses, that refuses too.

mod documents;
mod values;

use serde_json::{Map, Value, json};

use crate::catalogue::Catalogue;

/// The schema of one document of a policy: `oneOf` its kinds, by the key that names it.
#[must_use]
pub fn schema(catalogue: &Catalogue) -> Value {
    let kinds = documents::kinds(catalogue);
    let one_of: Vec<Value> = kinds.iter().map(|(kind, _)| reference(kind)).collect();
    let mut definitions: Map<String, Value> =
        kinds.into_iter().map(|(kind, schema)| (kind.to_owned(), schema)).collect();
    definitions.extend(values::definitions());
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Skynet policy",
        "description": "One document of a policy. Its first key is its kind, and that key's value its name.",
        "type": "object",
        "oneOf": one_of,
        "definitions": definitions,
    })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/definitions/{name}") })
}

/// A schema with a line for people.
fn told(mut schema: Value, help: &str) -> Value {
    if help.is_empty() {
        return schema;
    }
    // What stands beside `$ref` is not read in draft 7.
    if schema.get("$ref").is_some() {
        return json!({ "allOf": [schema], "description": help });
    }
    if let Some(object) = schema.as_object_mut() {
        object.insert("description".to_owned(), json!(help));
    }
    schema
}

/// A mapping of these keys and no others: key, schema, a line for people.
fn mapping(keys: Vec<(&str, Value, &str)>, required: &[&str]) -> Value {
    let properties: Map<String, Value> =
        keys.into_iter().map(|(key, schema, help)| (key.to_owned(), told(schema, help))).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn list(items: Value, min: usize, max: usize) -> Value {
    json!({ "type": "array", "items": items, "minItems": min, "maxItems": max })
}
