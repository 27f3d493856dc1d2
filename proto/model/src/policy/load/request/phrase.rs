//! Phrases: words and holes. Whether two of them could be said with the same words.

use std::collections::BTreeMap;

use super::super::report::{Place, Report, quote};
use super::super::yaml::Node;
use super::Document;
use crate::diagnostic::nearest;
use crate::value::ParamKind;

/// Longest phrase, in bytes.
const MAX_PHRASE: usize = 256;
/// Most words of a phrase.
const MAX_WORDS: usize = 32;

/// One word of a phrase.
#[derive(Clone, Debug, PartialEq)]
enum Word {
    /// As it is said, in small letters.
    Plain(String),
    /// One word that reads as this kind; of kind text: one word or several.
    Hole(ParamKind),
}

/// A phrase and where it stands.
pub(super) struct Phrase<'d> {
    request: &'d str,
    file: &'d str,
    place: Place,
    text: String,
    words: Vec<Word>,
}

impl<'d> Phrase<'d> {
    /// Reads a phrase: its holes must be parameters, and every parameter must have its hole, once.
    pub(super) fn read(
        document: &'d Document<'_>,
        node: &Node,
        text: &str,
        parameters: &BTreeMap<String, ParamKind>,
        report: &mut Report<'_>,
    ) -> Option<Self> {
        let before = report.diagnostics.len();
        let mut words = Vec::new();
        let mut used: Vec<&str> = Vec::new();
        if text.len() > MAX_PHRASE || text.split_whitespace().count() > MAX_WORDS {
            let message = format!("a phrase has at most {MAX_PHRASE} bytes and {MAX_WORDS} words");
            report.at(node.place, message);
            return None;
        }
        for written in text.split_whitespace() {
            let at = || {
                let byte = written.as_ptr().addr() - text.as_ptr().addr();
                node.place_of(text[..byte].chars().count())
            };
            let Some(name) = written.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
                if written.contains(['{', '}']) {
                    let message = format!("`{}`: a hole is a word of its own, like `{{ip}}`", quote(written));
                    report.at(at(), message);
                }
                words.push(Word::Plain(written.to_lowercase()));
                continue;
            };
            let Some(kind) = parameters.get(name) else {
                let has = listed(parameters.keys().map(String::as_str));
                let message = format!("`{{{}}}` is no parameter of this request (it has: {has})", quote(name));
                report.suggest(at(), message, nearest(name, parameters.keys().map(String::as_str)));
                continue;
            };
            if used.contains(&name) {
                report.at(at(), format!("`{{{name}}}` stands twice in this phrase"));
            }
            used.push(name);
            words.push(Word::Hole(*kind));
        }
        if report.diagnostics.len() > before {
            return None;
        }
        let left: Vec<String> =
            parameters.keys().filter(|p| !used.contains(&p.as_str())).map(|p| format!("`{{{p}}}`")).collect();
        if !left.is_empty() {
            let message = format!("the phrase leaves out {}: it would not be known", left.join(", "));
            report.at(node.place, message);
        } else if !words.iter().any(|word| matches!(word, Word::Plain(_))) {
            let message = "a phrase needs a word of its own, like `unblock {ip}`: any text would fit this".to_owned();
            report.at(node.place, message);
        } else if words.iter().filter(|word| **word == Word::Hole(ParamKind::Text)).count() > 1 {
            let message = "a phrase has at most one hole of the kind `text`, for that may be several words".to_owned();
            report.at(node.place, message);
        }
        let (request, file) = (document.name.as_str(), document.file);
        let phrase = Self { request, file, place: node.place, text: text.to_owned(), words };
        (report.diagnostics.len() == before).then_some(phrase)
    }

    /// Whether there are words that fit both.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        // reach[j + 1]: there are words the last of which is our word so far, and their j-th. reach[0]: no word yet.
        let (ours, theirs) = (&self.words, &other.words);
        let mut reach = vec![false; theirs.len() + 1];
        reach[0] = true;
        for our in ours {
            let mut next = vec![false; theirs.len() + 1];
            for (j, their) in theirs.iter().enumerate() {
                if !common(our, their) {
                    continue;
                }
                // A hole for text may go on over the next word of the other side.
                let goes_on = (is_text(our) && next[j]) || (is_text(their) && reach[j + 1]);
                next[j + 1] = reach[j] || goes_on;
            }
            reach = next;
        }
        reach[theirs.len()]
    }

    /// What to say about a phrase that means the same as another.
    pub(super) fn clash(&self, other: &Self) -> String {
        let (text, theirs, file, line) = (quote(&self.text), quote(&other.text), other.file, other.place.line);
        let of = if other.request == self.request {
            "this request".to_owned()
        } else {
            format!("the request `{}`", other.request)
        };
        if self.text == other.text && other.request == self.request {
            return format!("the phrase `{text}` stands twice, here and in line {line}");
        }
        format!("the same words could mean `{theirs}` of {of} ({file}:{line}): say one of them otherwise")
    }
}

fn is_text(word: &Word) -> bool {
    matches!(word, Word::Hole(ParamKind::Text))
}

/// Whether one word can be both.
fn common(a: &Word, b: &Word) -> bool {
    match (a, b) {
        (Word::Plain(a), Word::Plain(b)) => a == b,
        (Word::Plain(word), Word::Hole(kind)) | (Word::Hole(kind), Word::Plain(word)) => kind.parse(word).is_ok(),
        (Word::Hole(a), Word::Hole(b)) => SAMPLES.iter().any(|word| a.parse(word).is_ok() && b.parse(word).is_ok()),
    }
}

/// Words of every kind, and words that are of several.
const SAMPLES: [&str; 9] = ["true", "5m", "5", "5MB", "10.0.0.1", "::1", "/srv", "http://shop.example/", "shop:80"];

fn listed<'k>(names: impl Iterator<Item = &'k str>) -> String {
    let names: Vec<&str> = names.collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
