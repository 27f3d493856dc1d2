//! Collecting mistakes, and reading a tree's values with them.

use crate::diagnostic::{Diagnostic, nearest};
use crate::time::Span;

use super::yaml::{Key, Node, NodeKind};

/// A place in a file, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: u32,
    /// In characters.
    pub(super) column: u32,
}

/// Longest duration a policy may name: longer ones are slips.
const MAX_SPAN: Span = Span::hours(30 * 24);
/// Most characters of what was written that a message repeats.
const MAX_QUOTE: usize = 80;
/// Most known words that a message about an unknown one lists.
const MAX_LISTED: usize = 20;
/// Most mistakes that are told at once.
pub(super) const MAX_DIAGNOSTICS: usize = 1000;

/// The mistakes of one file.
pub(super) struct Report<'f> {
    pub(super) file: &'f str,
    pub(super) diagnostics: Vec<Diagnostic>,
}

impl Report<'_> {
    /// Notes a mistake.
    pub(super) fn at(&mut self, place: Place, message: String) {
        self.suggest(place, message, None);
    }

    /// Notes a mistake and the word that was meant, perhaps.
    pub(super) fn suggest(&mut self, place: Place, message: String, suggestion: Option<String>) {
        // One more than is told, to know that there are more.
        if self.diagnostics.len() <= MAX_DIAGNOSTICS {
            let file = self.file.to_owned();
            self.diagnostics.push(Diagnostic { file, line: place.line, column: place.column, message, suggestion });
        }
    }

    /// Notes an unknown word with the nearest known one.
    pub(super) fn unknown<'k>(
        &mut self,
        place: Place,
        what: &str,
        word: &str,
        known: impl IntoIterator<Item = &'k str>,
    ) {
        let known: Vec<&str> = known.into_iter().filter(|k| !k.is_empty()).collect();
        // Comparing is the costly part: names that are no slips are not compared, nor are more than a few hundred.
        let near = known.iter().copied().filter(|k| k.len().abs_diff(word.len()) <= 4).take(200);
        let suggestion = if word.len() <= 64 { nearest(word, near) } else { None };
        let there = match (&suggestion, known.len()) {
            (Some(_), _) => String::new(),
            (None, 0) => format!(": there is no {what} here"),
            (None, 1) => format!(": there is only `{}`", known.join("")),
            (None, 2..=MAX_LISTED) => format!(": there are {}", known.join(", ")),
            (None, _) => String::new(),
        };
        self.suggest(place, format!("unknown {what} `{}`{there}", quote(word)), suggestion);
    }

    /// The text of a scalar.
    pub(super) fn text<'n>(&mut self, node: &'n Node) -> Option<&'n str> {
        match &node.kind {
            NodeKind::Scalar { text, missing: false, .. } => return Some(text),
            NodeKind::Scalar { missing: true, .. } => self.at(node.place, "a value is missing here".to_owned()),
            NodeKind::Sequence(_) => self.at(node.place, "one value is needed here, not a list".to_owned()),
            NodeKind::Mapping(_) => self.at(node.place, "one value is needed here, not a mapping".to_owned()),
            NodeKind::Broken => {}
        }
        None
    }

    /// The items of a list.
    pub(super) fn list<'n>(&mut self, node: &'n Node) -> Option<&'n [Node]> {
        match &node.kind {
            NodeKind::Sequence(items) => return Some(items),
            NodeKind::Scalar { .. } | NodeKind::Mapping(_) => {
                self.at(node.place, "a list is needed here: `[a, b]`".to_owned());
            }
            NodeKind::Broken => {}
        }
        None
    }

    /// The entries of a mapping.
    pub(super) fn mapping<'n>(&mut self, node: &'n Node) -> Option<&'n [(Key, Node)]> {
        match &node.kind {
            NodeKind::Mapping(entries) => return Some(entries),
            NodeKind::Scalar { .. } | NodeKind::Sequence(_) => {
                self.at(node.place, "a mapping is needed here: `{ key: value }`".to_owned());
            }
            NodeKind::Broken => {}
        }
        None
    }

    /// A scalar read by `parse`, which says what is wrong with it.
    pub(super) fn parsed<T>(&mut self, node: &Node, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(node)?;
        // What is repeated in a message stays short.
        let result = if text.len() > 4096 { Err(format!("`{}` is too long", quote(text))) } else { parse(text) };
        result.map_err(|message| self.at(node.place, message)).ok()
    }

    /// A duration of at most 30 days.
    pub(super) fn span(&mut self, node: &Node) -> Option<Span> {
        self.parsed(node, |text| {
            let span: Span = text.parse().map_err(|_| {
                let text = quote(text);
                format!("`{text}` is not a duration: write a whole number and a unit, like `30s`, `5m`, `2h` or `1d`")
            })?;
            if span > MAX_SPAN { Err(format!("`{text}` is longer than 30 days")) } else { Ok(span) }
        })
    }

    /// A whole number within a range.
    pub(super) fn whole(&mut self, node: &Node, min: u32, max: u32) -> Option<u32> {
        self.parsed(node, |text| {
            let number = text.parse::<u32>().ok().filter(|n| (min..=max).contains(n));
            number.ok_or_else(|| format!("`{}` is not a whole number from {min} to {max}", quote(text)))
        })
    }

    /// `5%` as 0.05; more than 0 and at most 100 %.
    pub(super) fn share(&mut self, node: &Node) -> Option<f64> {
        self.parsed(node, |text| {
            share(text).ok_or_else(|| {
                format!("`{}` is not a percentage of more than 0 and at most 100: write it like `5%`", quote(text))
            })
        })
    }

    /// True or false.
    pub(super) fn truth(&mut self, node: &Node) -> Option<bool> {
        let text = self.text(node)?;
        let meant = match text {
            "true" => return Some(true),
            "false" => return Some(false),
            "yes" | "on" | "True" | "TRUE" => Some("true".to_owned()),
            "no" | "off" | "False" | "FALSE" => Some("false".to_owned()),
            _ => None,
        };
        self.suggest(node.place, format!("`{}` is not `true` or `false`", quote(text)), meant);
        None
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&mut self, node: &Node, what: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(node)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let one = if known.len() == 1 { "the only one is" } else { "it is one of" };
            let message = format!("unknown {what} `{}`: {one} {}", quote(text), known.join(", "));
            self.suggest(node.place, message, if text.len() <= 64 { nearest(text, known) } else { None });
        }
        found
    }
}

/// `5%` as 0.05.
pub(super) fn share(text: &str) -> Option<f64> {
    let number = text.strip_suffix('%')?.trim_end();
    let plain = number.len() <= 8 && number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    number.parse::<f64>().ok().filter(|n| plain && *n > 0.0 && *n <= 100.0).map(|n| n / 100.0)
}

/// What was written, short enough for a message.
pub(super) fn quote(text: &str) -> String {
    let mut short: String = text.chars().take(MAX_QUOTE).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(MAX_QUOTE).is_some() {
        short.push_str("...");
    }
    short
}

/// A mapping's fields: what is not taken is unknown.
pub(super) struct Fields<'n> {
    entries: &'n [(Key, Node)],
    asked: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// The fields of a mapping; none, and a report, for all else.
    pub(super) fn of(node: &'n Node, report: &mut Report<'_>) -> Option<Self> {
        report.mapping(node).map(|entries| Self { entries, asked: Vec::new() })
    }

    /// The value of a key.
    pub(super) fn take(&mut self, key: &'static str) -> Option<&'n Node> {
        self.asked.push(key);
        self.entries.iter().find(|(k, _)| k.text == key).map(|(_, node)| node)
    }

    /// The value of a key that must be there.
    pub(super) fn require(&mut self, key: &'static str, place: Place, report: &mut Report<'_>) -> Option<&'n Node> {
        let node = self.take(key);
        if node.is_none() {
            report.at(place, format!("the key `{key}` is missing"));
        }
        node
    }

    /// The same; `what` says what the key is for.
    pub(super) fn need(
        &mut self,
        key: &'static str,
        what: &str,
        place: Place,
        report: &mut Report<'_>,
    ) -> Option<&'n Node> {
        let node = self.take(key);
        if node.is_none() {
            report.at(place, format!("the key `{key}` is missing: {what}"));
        }
        node
    }

    /// Whether a key was written. Asks for nothing.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(k, _)| k.text == key)
    }

    /// Takes a key that must not be there; its place where it is all the same.
    pub(super) fn refuse(&mut self, key: &'static str) -> Option<Place> {
        self.asked.push(key);
        self.entries.iter().find(|(k, _)| k.text == key).map(|(key, _)| key.place)
    }

    /// Reports every key that was not asked for.
    pub(super) fn finish(self, report: &mut Report<'_>) {
        for (key, _) in self.entries {
            // An empty key has been told by the parser.
            if !key.text.is_empty() && !self.asked.contains(&key.text.as_str()) {
                report.unknown(key.place, "key", &key.text, self.asked.iter().copied());
            }
        }
    }
}
