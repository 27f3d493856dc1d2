//! Typed parameters: what sensors and actions are configured with, checked against a declared kind.

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::Span;

/// The kind of one parameter; its text form is parsed strictly by [`ParamKind::parse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    /// Any text of at most 4096 bytes without NUL.
    Text,
    /// `true` or `false`.
    Bool,
    /// A whole number in a range.
    Int {
        /// Least value.
        min: i64,
        /// Greatest value.
        max: i64,
    },
    /// A duration: `30s 5m 2h 1d`.
    Duration,
    /// Bytes: `200MB` (10^6), `1GiB` (2^30), or a plain number.
    Size,
    /// An absolute path without `..`, `//` or NUL.
    Path,
    /// A path whose last part may hold `*` and `?`.
    PathGlob,
    /// An IPv4 or IPv6 address.
    Ip,
    /// A host by name or address, `host:port`.
    Address {
        /// Whether the port must be written.
        port: bool,
    },
    /// An `http` or `https` URL without user name and password.
    Url,
    /// A systemd unit name or the name of a declared service.
    Unit,
    /// The name of a `script:` document.
    Script,
    /// One of a few words.
    Word(&'static [&'static str]),
    /// A list of texts of the inner kind.
    List(&'static ParamKind),
}

/// One declared parameter.
#[derive(Clone, Copy, Debug)]
pub struct ParamSpec {
    /// The key.
    pub name: &'static str,
    /// What its value may be.
    pub kind: ParamKind,
    /// Whether it must be given.
    pub required: bool,
    /// The default as written, where there is one.
    pub default: Option<&'static str>,
    /// One line for people.
    pub help: &'static str,
}

/// A checked parameter value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// Text, path, unit, script, word or address, by its declared kind.
    Text(String),
    /// Truth.
    Bool(bool),
    /// Number or bytes.
    Int(i64),
    /// Length of time.
    Duration(Span),
    /// Several.
    List(Vec<Value>),
}

/// Checked parameters by name.
pub type Params = BTreeMap<String, Value>;

impl Value {
    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The number, if it is one.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        if let Self::Int(n) = self { Some(*n) } else { None }
    }

    /// The length of time, if it is one.
    #[must_use]
    pub fn as_span(&self) -> Option<Span> {
        if let Self::Duration(d) = self { Some(*d) } else { None }
    }

    /// The texts of a list.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let items: &[Self] = if let Self::List(items) = self { items } else { &[] };
        items.iter().filter_map(Self::as_text)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Bool(b) => write!(f, "{b}"),
            Self::Int(n) => write!(f, "{n}"),
            Self::Duration(d) => write!(f, "{d}"),
            Self::List(items) => {
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if i > 0 { " " } else { "" })?;
                }
                Ok(())
            }
        }
    }
}

impl ParamKind {
    /// Parses one text strictly. Lists are not text: parse their items by the inner kind.
    ///
    /// # Errors
    /// A sentence: what the text is not, and what to write.
    pub fn parse(self, text: &str) -> Result<Value, String> {
        if text.len() > 4096 || text.contains('\0') {
            return Err("text is longer than 4096 bytes or holds NUL".to_owned());
        }
        match self {
            Self::Text => Ok(Value::Text(text.to_owned())),
            Self::Bool => match text {
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                _ => Err(format!("`{text}` is not true or false")),
            },
            Self::Int { min, max } => match text.parse::<i64>() {
                Ok(n) if (min..=max).contains(&n) => Ok(Value::Int(n)),
                Ok(_) | Err(_) => Err(format!("`{text}` is not a whole number from {min} to {max}")),
            },
            Self::Duration => text.parse().map(Value::Duration).map_err(|e: crate::time::SpanError| e.to_string()),
            Self::Size => parse_size(text).map(Value::Int),
            Self::Path => check_path(text).map(|()| Value::Text(text.to_owned())),
            Self::PathGlob => {
                check_path(text)?;
                let parent = text.rsplit_once('/').map_or("", |(parent, _)| parent);
                if parent.contains(['*', '?', '[']) {
                    return Err(format!("`{text}`: only the last part of a path may hold `*` or `?`"));
                }
                Ok(Value::Text(text.to_owned()))
            }
            Self::Ip => text
                .parse::<IpAddr>()
                .map(|ip| Value::Text(ip.to_string()))
                .map_err(|_| format!("`{text}` is not an IPv4 or IPv6 address")),
            Self::Address { port } => match crate::address::Address::parse(text)?.port {
                None if port => Err(format!("`{text}` names no port: write `host:port`")),
                Some(_) | None => Ok(Value::Text(text.to_owned())),
            },
            Self::Url => crate::address::Url::parse(text).map(|_| Value::Text(text.to_owned())),
            Self::Unit => {
                let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'@' | b':' | b'\\');
                if text.is_empty() || text.len() > 255 || text.starts_with('-') || !text.bytes().all(fine) {
                    return Err(format!("`{text}` is not a unit or service name"));
                }
                Ok(Value::Text(text.to_owned()))
            }
            Self::Script => crate::name::ScenarioName::new(text)
                .map(|_| Value::Text(text.to_owned()))
                .map_err(|_| format!("`{text}` is not the name of a script")),
            Self::Word(words) => {
                if words.contains(&text) {
                    Ok(Value::Text(text.to_owned()))
                } else {
                    Err(format!("`{text}` is not one of {}", words.join(", ")))
                }
            }
            Self::List(_) => Err("a list is needed here: [a, b]".to_owned()),
        }
    }
}

impl fmt::Display for ParamKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("text"),
            Self::Bool => f.write_str("true|false"),
            Self::Int { min, max } => write!(f, "number {min}..{max}"),
            Self::Duration => f.write_str("duration"),
            Self::Size => f.write_str("size"),
            Self::Path => f.write_str("path"),
            Self::PathGlob => f.write_str("path with * in its last part"),
            Self::Ip => f.write_str("ip"),
            Self::Address { port: true } => f.write_str("host:port"),
            Self::Address { port: false } => f.write_str("host or host:port"),
            Self::Url => f.write_str("url"),
            Self::Unit => f.write_str("unit"),
            Self::Script => f.write_str("script"),
            Self::Word(words) => f.write_str(&words.join("|")),
            Self::List(inner) => write!(f, "list of {inner}"),
        }
    }
}

fn check_path(text: &str) -> Result<(), String> {
    if !text.starts_with('/') {
        return Err(format!("`{text}` is not an absolute path: it begins with `/`"));
    }
    if text.len() > 1 && text[1..].split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err(format!("`{text}`: a path may not hold `..`, `.` or empty parts"));
    }
    Ok(())
}

/// Bytes from `200MB`, `1GiB`, `512`.
///
/// # Errors
/// A sentence that shows how to write a size.
pub fn parse_size(text: &str) -> Result<i64, String> {
    const UNITS: [(&str, i64); 10] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("kB", 1000),
        ("KB", 1000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("B", 1),
    ];
    let bad = || format!("`{text}` is not a size: write a whole number and a unit, like `200MB` or `1GiB`");
    let text = text.trim();
    let (number, size) =
        UNITS.iter().find_map(|(unit, size)| text.strip_suffix(unit).map(|n| (n, *size))).unwrap_or((text, 1));
    number.trim_end().parse::<i64>().ok().filter(|n| *n >= 0).and_then(|n| n.checked_mul(size)).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_parsed_strictly() {
        assert_eq!(ParamKind::Size.parse("1GiB"), Ok(Value::Int(1 << 30)));
        assert_eq!(ParamKind::Address { port: false }.parse("db1"), Ok(Value::Text("db1".into())));
        assert_eq!(ParamKind::Url.parse("http://a/?b"), Ok(Value::Text("http://a/?b".into())));
        assert_eq!(ParamKind::Ip.parse("::1"), Ok(Value::Text("::1".into())));
        for (kind, bad) in [
            (ParamKind::Int { min: 1, max: 5 }, "6"),
            (ParamKind::Int { min: 1, max: 5 }, "1; reboot"),
            (ParamKind::Path, "relative"),
            (ParamKind::Path, "/a/../b"),
            (ParamKind::PathGlob, "/a*/b"),
            (ParamKind::Ip, "10.0.0.1/8"),
            (ParamKind::Address { port: true }, "shop.example"),
            (ParamKind::Address { port: false }, "shop.example:http"),
            (ParamKind::Url, "shop.example/health"),
            (ParamKind::Unit, "--now"),
            (ParamKind::Unit, "a b"),
            (ParamKind::Word(&["TERM"]), "term"),
            (ParamKind::Bool, "yes"),
            (ParamKind::Size, "-1"),
        ] {
            assert!(kind.parse(bad).is_err(), "{kind} {bad}");
        }
    }
}
