//! YAML as a tree with places. Each document is parsed by itself, so that a fault in one does not hide the mistakes in
//! the next. Aliases, anchors, tags and duplicate keys are refused.

use std::collections::HashSet;

use serde_saphyr::granit_parser::{Event, Marker, Parser, ScalarStyle, Span, options};

use super::report::{Place, Report};

/// Deepest nesting of sequences and mappings.
const MAX_DEPTH: usize = 16;

/// A YAML value and where it is.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) kind: NodeKind,
}

#[derive(Debug)]
pub(super) enum NodeKind {
    /// Text; numbers and words are told apart by who reads it.
    Scalar {
        text: String,
        layout: Layout,
        /// Whether nothing was written: no text, `~` or `null`.
        missing: bool,
    },
    Sequence(Vec<Node>),
    /// In order of writing; keys are scalars.
    Mapping(Vec<(Key, Node)>),
    /// Something refused, and told.
    Broken,
}

/// How the characters of a scalar lie in the source.
#[derive(Clone, Copy, Debug)]
pub(super) enum Layout {
    /// On one line, as they are, so many columns after the node's place.
    Line(u32),
    /// Line by line under the node's place, as they are.
    Block,
    /// Folded or escaped.
    Other,
}

/// A key of a mapping.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) place: Place,
    pub(super) text: String,
}

impl Node {
    /// The text of a scalar; none for all else and for one that was not written.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::Scalar { text, missing: false, .. } => Some(text),
            NodeKind::Scalar { .. } | NodeKind::Sequence(_) | NodeKind::Mapping(_) | NodeKind::Broken => None,
        }
    }

    /// Whether nothing was written.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self.kind, NodeKind::Scalar { missing: true, .. })
    }

    /// The place of a character within the text, as near as it is known.
    pub(super) fn place_of(&self, character: usize) -> Place {
        let moved = |lines: usize, columns: usize| Place {
            line: self.place.line.saturating_add(u32::try_from(lines).unwrap_or(0)),
            column: self.place.column.saturating_add(u32::try_from(columns).unwrap_or(0)),
        };
        match &self.kind {
            NodeKind::Scalar { layout: Layout::Line(skip), .. } => moved(0, character + *skip as usize),
            NodeKind::Scalar { layout: Layout::Block, text, .. } => {
                let before = text.char_indices().nth(character).map_or(text.as_str(), |(byte, _)| &text[..byte]);
                let last = before.rsplit('\n').next().unwrap_or_default();
                moved(before.matches('\n').count(), last.chars().count())
            }
            NodeKind::Scalar { .. } | NodeKind::Sequence(_) | NodeKind::Mapping(_) | NodeKind::Broken => self.place,
        }
    }

    /// A form in which equal documents are equal, whatever their layout, quoting and order of keys.
    pub(super) fn canonical(&self, out: &mut Vec<u8>) {
        let text = |out: &mut Vec<u8>, mark: u8, text: &str| {
            out.push(mark);
            out.extend_from_slice(&(text.len() as u64).to_be_bytes());
            out.extend_from_slice(text.as_bytes());
        };
        match &self.kind {
            NodeKind::Scalar { text: t, .. } => text(out, b's', t),
            NodeKind::Sequence(items) => {
                out.push(b'[');
                items.iter().for_each(|item| item.canonical(out));
                out.push(b']');
            }
            NodeKind::Mapping(entries) => {
                let mut sorted: Vec<_> = entries.iter().collect();
                sorted.sort_by(|(a, _), (b, _)| a.text.cmp(&b.text));
                out.push(b'{');
                for (key, value) in sorted {
                    text(out, b'k', &key.text);
                    value.canonical(out);
                }
                out.push(b'}');
            }
            NodeKind::Broken => out.push(b'?'),
        }
    }
}

/// One document's text and the number of lines before it.
pub(super) struct Chunk<'t> {
    pub(super) text: &'t str,
    pub(super) lines_before: u32,
    /// Whether it lacks its first line, which was told.
    pub(super) torn: bool,
}

/// Splits a file at its `---` lines, which part documents wherever they stand (YAML 1.2, 9.1.2).
pub(super) fn split<'t>(text: &'t str, report: &mut Report<'_>) -> Vec<Chunk<'t>> {
    let mut chunks = Vec::new();
    let (mut start, mut begun, mut at, mut torn) = (0, 0, 0, false);
    for (number, line) in (0_u32..).zip(text.split_inclusive('\n')) {
        let marker =
            line.strip_prefix("---").filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\n', '\r']));
        if let Some(rest) = marker {
            let rest = rest.trim();
            if !rest.is_empty() && !rest.starts_with('#') {
                report
                    .at(Place { line: number + 1, column: 5 }, "a document begins on the line after `---`".to_owned());
            }
            chunks.push(Chunk { text: &text[start..at], lines_before: begun, torn });
            (start, begun) = (at + line.len(), number + 1);
            torn = !rest.is_empty() && !rest.starts_with('#');
        }
        at += line.len();
    }
    chunks.push(Chunk { text: &text[start..], lines_before: begun, torn });
    chunks
}

/// Parses one document. None when it is empty or cannot be read; what is wrong is reported.
pub(super) fn parse(chunk: &Chunk<'_>, report: &mut Report<'_>) -> Option<Node> {
    if chunk.torn {
        return None;
    }
    let options = options! {
        disallow_directives: true,
        emit_comments: false,
        emit_unresolved_aliases: true,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let mut builder = Builder { chunk, report, open: Vec::new(), root: None };
    for event in Parser::new_from_str_with_options(chunk.text, options) {
        match event {
            Ok((event, span)) => {
                if !builder.take(event, span) {
                    return None;
                }
            }
            Err(e) => {
                let place = builder.place(*e.marker());
                let info = e.info();
                let hint = match info.as_str() {
                    i if i.starts_with("mapping values") => "; text that holds `: ` is written in quotes",
                    i if i.contains("tab") => "; indent with spaces",
                    i if i.starts_with("unexpected character") => "; text that begins so is written in quotes",
                    i if i.contains("block collection") || i.contains("block mapping") => {
                        "; what belongs together begins in the same column"
                    }
                    i if i.starts_with("simple key") => {
                        "; a key is followed by `:`, and the text below a `|` is indented further than its key"
                    }
                    i if i.contains("flow mapping") || i.contains("flow sequence") => {
                        "; is a bracket before this never closed?"
                    }
                    i if i.contains("recursion") => "; it is nested more than 16 deep",
                    i if i.contains("directives") => "; take the line that begins with `%` away",
                    _ => "",
                };
                let message = format!("this is not YAML: {}{hint}", sentence(&info));
                builder.report.at(place, message);
                return None;
            }
        }
    }
    builder.root.filter(|root| !root.is_missing())
}

/// The parser's words, on one bounded line.
fn sentence(text: &str) -> String {
    // It quotes like `this'.
    let plain = |c: char| match c {
        '`' => '\'',
        c if c.is_control() => ' ',
        c => c,
    };
    text.chars().map(plain).take(200).collect()
}

/// A collection whose end has not come yet.
enum Open {
    Sequence(Place, Vec<Node>),
    Mapping { place: Place, entries: Vec<(Key, Node)>, seen: HashSet<String>, key: Option<Key> },
}

struct Builder<'c, 'r, 'f> {
    chunk: &'c Chunk<'c>,
    report: &'r mut Report<'f>,
    open: Vec<Open>,
    root: Option<Node>,
}

impl Builder<'_, '_, '_> {
    fn place(&self, marker: Marker) -> Place {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Place {
            line: number(marker.line()).saturating_add(self.chunk.lines_before),
            column: number(marker.col()).saturating_add(1),
        }
    }

    /// Whether to go on.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the enum is open; what is not a value is passed over")]
    fn take(&mut self, event: Event<'_>, span: Span) -> bool {
        let place = self.place(span.start);
        let broken = Node { place, kind: NodeKind::Broken };
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                self.report.at(place, "a document ends at `---` only: take away what ends it here".to_owned());
                return false;
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.report.at(place, "aliases (`*x`) are refused: write the value out".to_owned());
                self.put(broken);
            }
            Event::Scalar(text, style, anchor, tag) => {
                let refused = self.refuses(place, anchor, tag.is_some());
                let node = if refused { broken } else { scalar(&text, style, span, place, self.chunk.text) };
                self.put(node);
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuses(place, anchor, tag.is_some());
                self.open.push(Open::Sequence(place, Vec::new()));
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuses(place, anchor, tag.is_some());
                self.open.push(Open::Mapping { place, entries: Vec::new(), seen: HashSet::new(), key: None });
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::Sequence(place, items)) => self.put(Node { place, kind: NodeKind::Sequence(items) }),
                Some(Open::Mapping { place, entries, .. }) => {
                    self.put(Node { place, kind: NodeKind::Mapping(entries) });
                }
                None => {}
            },
            // Begin and end of stream and document, comments: no values.
            _ => {}
        }
        true
    }

    fn refuses(&mut self, place: Place, anchor: usize, tagged: bool) -> bool {
        if anchor != 0 {
            self.report.at(place, "anchors (`&x`) are refused: write the value out".to_owned());
        } else if tagged {
            self.report.at(place, "tags (`!x`) are refused: the key says what its value is".to_owned());
        }
        anchor != 0 || tagged
    }

    /// Puts a whole value where it belongs.
    fn put(&mut self, node: Node) {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::Sequence(_, items)) => items.push(node),
            Some(Open::Mapping { entries, seen, key, .. }) => match key.take() {
                Some(key) if key.text.is_empty() => {
                    entries.push((key, Node { place: node.place, kind: NodeKind::Broken }))
                }
                Some(key) => {
                    // Of two equal keys the first is kept; the second has been told.
                    if seen.insert(key.text.clone()) {
                        entries.push((key, node));
                    } else {
                        let message = format!("the key `{}` is written twice", key.text);
                        self.report.at(key.place, message);
                    }
                }
                None => {
                    let text = node.text().filter(|text| *text != "<<").map(str::to_owned);
                    if node.text() == Some("<<") {
                        self.report.at(node.place, "merge keys (`<<`) are refused: write the keys out".to_owned());
                    } else if text.is_none() && !matches!(node.kind, NodeKind::Broken) {
                        self.report.at(node.place, "a key must be a plain word".to_owned());
                    }
                    *key = Some(Key { place: node.place, text: text.unwrap_or_default() });
                }
            },
        }
    }
}

fn scalar(text: &str, style: ScalarStyle, span: Span, place: Place, source: &str) -> Node {
    let raw = span.slice(source).unwrap_or("");
    let quoted = |quote: char| raw.strip_prefix(quote).and_then(|r| r.strip_suffix(quote)) == Some(text);
    let as_written = match style {
        ScalarStyle::Plain => (raw == text).then_some(Layout::Line(0)),
        ScalarStyle::SingleQuoted => quoted('\'').then_some(Layout::Line(1)),
        ScalarStyle::DoubleQuoted => quoted('"').then_some(Layout::Line(1)),
        ScalarStyle::Literal => (!text.starts_with([' ', '\n'])).then_some(Layout::Block),
        ScalarStyle::Folded => None,
    };
    let missing = style == ScalarStyle::Plain && matches!(text, "" | "~" | "null" | "Null" | "NULL");
    let layout = as_written.unwrap_or(Layout::Other);
    Node { place, kind: NodeKind::Scalar { text: text.to_owned(), layout, missing } }
}
