//! JSON that keeps its order, and the same as YAML.

use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, SeqAccess, Visitor};

use super::clean::clean_json;

/// A JSON value whose objects keep the order of their keys. Its depth is bounded by the parser's.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tree {
    /// Null, a truth value or a number, as JSON writes it.
    Plain(String),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Tree>),
    /// An object.
    Map(Vec<(String, Tree)>),
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Plain("null".to_owned()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Plain(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Plain(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Plain(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Plain(serde_json::to_string(&value).unwrap_or_else(|_| "null".to_owned())))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Tree::Map(map))
    }
}

impl Tree {
    /// The tree as one YAML 1.2 document without a marker, ending with a newline.
    #[must_use]
    pub(super) fn yaml(&self) -> String {
        let mut out = String::new();
        match self {
            Self::Plain(_) | Self::Text(_) => {
                out.push_str(&self.scalar());
                out.push('\n');
            }
            Self::List(_) | Self::Map(_) => self.write(&mut out, 0, true),
        }
        out
    }

    fn scalar(&self) -> String {
        match self {
            Self::Plain(text) => text.clone(),
            Self::Text(text) => quoted(text),
            Self::List(_) => "[]".to_owned(),
            Self::Map(_) => "{}".to_owned(),
        }
    }

    fn is_block(&self) -> bool {
        match self {
            Self::Plain(_) | Self::Text(_) => false,
            Self::List(items) => !items.is_empty(),
            Self::Map(entries) => !entries.is_empty(),
        }
    }

    /// Writes a block at `depth`; `fresh` when the cursor stands at the beginning of a line.
    fn write(&self, out: &mut String, depth: usize, fresh: bool) {
        let pad = "  ".repeat(depth);
        let mut fresh = fresh;
        let mut begin = |out: &mut String| {
            if fresh {
                out.push_str(&pad);
            }
            fresh = true;
        };
        match self {
            Self::List(items) if !items.is_empty() => {
                for item in items {
                    begin(out);
                    out.push_str("- ");
                    if item.is_block() {
                        item.write(out, depth + 1, false);
                    } else {
                        out.push_str(&item.scalar());
                        out.push('\n');
                    }
                }
            }
            Self::Map(entries) if !entries.is_empty() => {
                for (key, value) in entries {
                    begin(out);
                    out.push_str(&quoted(key));
                    out.push(':');
                    if value.is_block() {
                        out.push('\n');
                        value.write(out, depth + 1, true);
                    } else {
                        out.push(' ');
                        out.push_str(&value.scalar());
                        out.push('\n');
                    }
                }
            }
            Self::Plain(_) | Self::Text(_) | Self::List(_) | Self::Map(_) => {
                begin(out);
                out.push_str(&self.scalar());
                out.push('\n');
            }
        }
    }
}

/// A text as YAML: bare where no reader, old or new, takes it for anything but text; else as in JSON, which YAML reads too.
fn quoted(text: &str) -> String {
    let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'/');
    let bare = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.bytes().all(word)
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text.to_ascii_lowercase().as_str());
    if bare { text.to_owned() } else { clean_json(&serde_json::to_string(text).unwrap_or_default()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_keeps_order_and_reads_back_as_the_same_value() {
        let json = r#"{"name":"web1","labels":{"z":"no","a":"1"},"empty":{"l":[],"m":{}},
            "list":[[1,-2.5],[{"b":true,"a":null}],"x"],"odd key: ":"a\nb\u001b\u009b \"q\" #c","n":1e300}"#;
        let yaml = serde_json::from_str::<Tree>(json).unwrap().yaml();
        assert!(yaml.starts_with(
            "name: web1\nlabels:\n  z: \"no\"\n  a: \"1\"\nempty:\n  l: []\n  m: {}\nlist:\n  - - 1\n    - -2.5\n"
        ));
        assert!(!yaml.contains(|c: char| c.is_control() && c != '\n'), "{yaml}");
        let back: serde_json::Value = serde_saphyr::from_str(&yaml).unwrap();
        assert_eq!(back, serde_json::from_str::<serde_json::Value>(json).unwrap());
    }

    #[test]
    fn texts_that_look_like_something_else_are_quoted() {
        for text in ["", "no", "True", "1.5", "-x", "a: b", "a #b", "~", ".inf", "0x1f", "i 1", "*a", "2026-11-01"] {
            assert!(quoted(text).starts_with('"'), "{text}");
        }
        for text in ["web1", "disk.used_ratio", "/var/tmp"] {
            assert_eq!(quoted(text), text);
        }
    }
}
