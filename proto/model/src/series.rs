//! Series and readings: what a sensor says.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Most labels one series may carry.
pub const MAX_LABELS: usize = 16;
/// Longest series name, label name or label value, in bytes.
pub const MAX_TEXT: usize = 256;

/// Label names and values, sorted by name, each name once.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Arc<[(Arc<str>, Arc<str>)]>);

impl Labels {
    /// Sorts the pairs; of two pairs with one name the later wins.
    pub fn new<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let map: std::collections::BTreeMap<Arc<str>, Arc<str>> =
            pairs.into_iter().map(|(n, v)| (Arc::from(n.as_ref()), Arc::from(v.as_ref()))).collect();
        Self(map.into_iter().collect())
    }

    /// The value of the label `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.binary_search_by(|(n, _)| (**n).cmp(name)).ok().map(|i| &*self.0[i].1)
    }

    /// Pairs in order of name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (&**n, &**v))
    }

    /// How many labels there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Labels {
    /// `{a="x",b="y"}`, or nothing when empty; `\`, `"` and newline in values are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return Ok(());
        }
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            write!(f, "{name}=\"")?;
            for c in value.chars() {
                match c {
                    '"' => f.write_str("\\\"")?,
                    '\\' => f.write_str("\\\\")?,
                    '\n' => f.write_str("\\n")?,
                    c => write!(f, "{c}")?,
                }
            }
            f.write_str("\"")?;
        }
        f.write_str("}")
    }
}

impl Serialize for Labels {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = std::collections::BTreeMap::<String, String>::deserialize(deserializer)?;
        Ok(Self::new(map))
    }
}

/// One series of one server: a dotted name and its labels, `disk.used_ratio{mount="/var"}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesKey {
    /// The dotted name.
    pub name: Arc<str>,
    /// Its labels.
    pub labels: Labels,
}

impl SeriesKey {
    /// A key; nothing is checked (see [`SeriesKey::check`]).
    pub fn new<N: AsRef<str>, V: AsRef<str>>(name: &str, labels: impl IntoIterator<Item = (N, V)>) -> Self {
        Self { name: name.into(), labels: Labels::new(labels) }
    }

    /// A key without labels.
    #[must_use]
    pub fn plain(name: &str) -> Self {
        Self { name: name.into(), labels: Labels::default() }
    }

    /// Checks what comes from outside: alphabet of names, lengths and number of labels.
    ///
    /// # Errors
    /// A sentence that names the fault.
    pub fn check(&self) -> Result<(), String> {
        let word = |s: &str| s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':'));
        if self.name.is_empty() || self.name.len() > MAX_TEXT || !word(&self.name) {
            return Err(format!("series name {:?} is empty, too long or holds other than a-z 0-9 . _ :", self.name));
        }
        if self.labels.len() > MAX_LABELS {
            return Err(format!("series {} has {} labels; {MAX_LABELS} are allowed", self.name, self.labels.len()));
        }
        for (name, value) in self.labels.iter() {
            if name.is_empty() || name.len() > MAX_TEXT || !word(name) || value.len() > MAX_TEXT {
                return Err(format!("series {} has a label name or value that is empty or too long", self.name));
            }
        }
        Ok(())
    }
}

impl fmt::Display for SeriesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name, self.labels)
    }
}

impl FromStr for SeriesKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a series: write name or name{{label=\"value\"}}");
        let Some(open) = text.find('{') else {
            let key = Self::plain(text.trim());
            return key.check().map(|()| key).map_err(|_| bad());
        };
        let name = text[..open].trim();
        let mut rest = text[open + 1..].trim_end().strip_suffix('}').ok_or_else(bad)?.trim();
        let mut pairs: Vec<(String, String)> = Vec::new();
        while !rest.is_empty() {
            let eq = rest.find('=').ok_or_else(bad)?;
            let label = rest[..eq].trim().to_owned();
            let quoted = rest[eq + 1..].trim_start().strip_prefix('"').ok_or_else(bad)?;
            let mut value = String::new();
            let mut chars = quoted.char_indices();
            let end = loop {
                match chars.next().ok_or_else(bad)? {
                    (i, '"') => break i,
                    (_, '\\') => match chars.next().ok_or_else(bad)?.1 {
                        'n' => value.push('\n'),
                        c => value.push(c),
                    },
                    (_, c) => value.push(c),
                }
            };
            pairs.push((label, value));
            rest = quoted[end + 1..].trim_start();
            rest = match rest.strip_prefix(',') {
                Some(more) => more.trim_start(),
                None if rest.is_empty() => rest,
                None => return Err(bad()),
            };
        }
        let key = Self::new(name, pairs);
        key.check().map(|()| key).map_err(|_| bad())
    }
}

impl Serialize for SeriesKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SeriesKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One value of one series at one time. The value is always finite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Which series.
    pub series: SeriesKey,
    /// The value, in the series' unit.
    pub value: f64,
    /// When the server read it, by the server's wall clock.
    pub time: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_text_round_trips() {
        for text in ["load.1m", "disk.used_ratio{mount=\"/var\"}", "a{b=\"x \\\" \\\\ \\n }\",c=\"\"}"] {
            let key: SeriesKey = text.parse().unwrap();
            assert_eq!(key.to_string(), text);
            assert_eq!(serde_json::from_str::<SeriesKey>(&serde_json::to_string(&key).unwrap()).unwrap(), key);
        }
        for bad in ["", "a b", "a{", "a{b}", "a{b=}", "a{b=\"x\"", "a{b=\"x\" c=\"y\"}", "a{b=\"x}"] {
            assert!(bad.parse::<SeriesKey>().is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_are_sorted_and_unique() {
        let labels = Labels::new([("b", "2"), ("a", "1"), ("b", "3")]);
        assert_eq!(labels.to_string(), "{a=\"1\",b=\"3\"}");
        assert_eq!(labels.get("b"), Some("3"));
        assert_eq!(labels.get("c"), None);
    }
}
