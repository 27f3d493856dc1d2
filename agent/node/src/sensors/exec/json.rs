//! JSON of a check: `{"name": number, ...}` or a list of `{"name", "labels", "value"}`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Metric;

#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    Map(BTreeMap<String, f64>),
    List(Vec<Item>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    value: f64,
}

/// All values; text of another form gives none of them.
pub(super) fn parse(text: &str) -> Result<Vec<Metric>, String> {
    let syntax = |e: serde_json::Error| format!("it did not print JSON: {e}");
    let value: serde_json::Value = serde_json::from_str(text).map_err(syntax)?;
    let other = "its JSON is neither {\"name\": number} nor a list of {name, labels, value}";
    match serde_json::from_value(value).map_err(|_| other.to_owned())? {
        Document::Map(map) => {
            Ok(map.into_iter().map(|(name, value)| Metric { name, labels: Vec::new(), value }).collect())
        }
        Document::List(items) => Ok(items
            .into_iter()
            .map(|item| Metric { name: item.name, labels: item.labels.into_iter().collect(), value: item.value })
            .collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let metric = |name: &str, value| Metric { name: name.to_owned(), labels: Vec::new(), value };
        assert_eq!(parse("{\"a\": 1, \"b\": 2.5}"), Ok(vec![metric("a", 1.0), metric("b", 2.5)]));
        let labelled = Metric { labels: vec![("q".into(), "x".into())], ..metric("a", 1.0) };
        let list = "[{\"name\":\"a\",\"labels\":{\"q\":\"x\"},\"value\":1},{\"name\":\"b\",\"value\":-2}]";
        assert_eq!(parse(list), Ok(vec![labelled, metric("b", -2.0)]));
        assert_eq!(parse("[]"), Ok(vec![]));
    }

    #[test]
    fn anything_else_is_refused() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for bad in ["", "nope", "3", "{\"a\": \"1\"}", "{\"a\": null}", "[1]", "[{\"name\":\"a\"}]", &deep] {
            assert!(parse(bad).is_err(), "{}", &bad[..bad.len().min(20)]);
        }
    }
}
