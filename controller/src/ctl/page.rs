//! Text for people: lines, fields and tables. Every text is cleaned on its way in, so nothing foreign reaches the
//! terminal by another way.

use super::clean::clean;

/// How a text is set off. Colours are only used on a terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ink {
    /// As it is.
    #[default]
    Plain,
    /// Headings.
    Bold,
    /// Of lesser weight.
    Dim,
    /// Wrong.
    Red,
    /// Wants attention.
    Yellow,
    /// Fine.
    Green,
    /// Names.
    Cyan,
}

impl Ink {
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Bold => Some("1"),
            Self::Dim => Some("2"),
            Self::Red => Some("31"),
            Self::Yellow => Some("33"),
            Self::Green => Some("32"),
            Self::Cyan => Some("36"),
        }
    }

    /// This ink for `text`.
    #[must_use]
    pub fn on(self, text: impl AsRef<str>) -> Span {
        Span { ink: self, text: clean(text.as_ref()).into_owned() }
    }
}

/// A piece of a line, cleaned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    ink: Ink,
    text: String,
}

impl Span {
    /// How wide it is, in characters.
    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

impl<T: AsRef<str>> From<T> for Span {
    fn from(text: T) -> Self {
        Ink::Plain.on(text)
    }
}

/// Lines for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    lines: Vec<Vec<Span>>,
}

/// Width of the names that [`Page::field`] writes.
const FIELD: usize = 12;

impl Page {
    /// An empty page.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One line.
    pub fn line(&mut self, spans: impl IntoIterator<Item = Span>) {
        self.lines.push(spans.into_iter().collect());
    }

    /// An empty line and a heading.
    pub fn heading(&mut self, text: &str) {
        if !self.lines.is_empty() {
            self.line([]);
        }
        self.line([Ink::Bold.on(text)]);
    }

    /// A name and what stands for it, aligned with the other fields.
    pub fn field(&mut self, name: &str, spans: impl IntoIterator<Item = Span>) {
        let mut line = vec![Ink::Dim.on(format!("{name:<FIELD$}"))];
        line.extend(spans);
        self.lines.push(line);
    }

    /// A text of several lines, each set in by `indent`.
    pub fn paragraph(&mut self, text: &str, indent: usize) {
        for line in text.lines() {
            self.line([Span::from(format!("{:indent$}{}", "", line.trim_end()))]);
        }
    }

    /// A table.
    pub fn table(&mut self, table: Table) {
        let mut widths: Vec<usize> = Vec::new();
        for row in &table.rows {
            for (i, cell) in row.iter().enumerate() {
                match widths.get_mut(i) {
                    Some(width) => *width = (*width).max(cell.width()),
                    None => widths.push(cell.width()),
                }
            }
        }
        for row in table.rows {
            let last = row.iter().rposition(|cell| !cell.text.is_empty()).unwrap_or(0);
            let mut line = vec![Span::from(" ".repeat(table.indent))];
            for (i, (cell, width)) in row.into_iter().zip(&widths).take(last + 1).enumerate() {
                let gap = if i < last { width.saturating_sub(cell.width()) + 2 } else { 0 };
                line.push(cell);
                line.push(Span::from(" ".repeat(gap)));
            }
            self.lines.push(line);
        }
    }

    /// Appends another page.
    pub fn append(&mut self, other: Self) {
        self.lines.extend(other.lines);
    }

    /// The page as text, one newline after each line.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let mut out = String::new();
        for line in &self.lines {
            let start = out.len();
            for span in line {
                match span.ink.code().filter(|_| colour && !span.text.is_empty()) {
                    Some(code) => {
                        out.push_str("\u{1b}[");
                        out.push_str(code);
                        out.push('m');
                        out.push_str(&span.text);
                        out.push_str("\u{1b}[0m");
                    }
                    None => out.push_str(&span.text),
                }
            }
            let end = out[start..].trim_end_matches(' ').len();
            out.truncate(start + end);
            out.push('\n');
        }
        out
    }
}

/// Rows in aligned columns.
#[derive(Clone, Debug, Default)]
pub struct Table {
    indent: usize,
    rows: Vec<Vec<Span>>,
}

impl Table {
    /// A table with these column names.
    #[must_use]
    pub fn new(columns: &[&str]) -> Self {
        Self { indent: 0, rows: vec![columns.iter().map(|c| Ink::Dim.on(c)).collect()] }
    }

    /// Sets the whole table in.
    #[must_use]
    pub fn indent(mut self, by: usize) -> Self {
        self.indent = by;
        self
    }

    /// One more row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Span>) {
        self.rows.push(cells.into_iter().collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_without_spaces() {
        let mut table = Table::new(&["NAME", "STATE", "NOTE"]);
        table.row(["web1".into(), "ok".into(), "".into()]);
        table.row(["größer-name".into(), Ink::Red.on("away"), "x".into()]);
        let mut page = Page::new();
        page.table(table);
        assert_eq!(page.render(false), "NAME         STATE  NOTE\nweb1         ok\ngrößer-name  away   x\n");
    }

    #[test]
    fn colours_never_change_what_is_read() {
        let mut page = Page::new();
        page.field("State", [Ink::Red.on("away")]);
        page.heading("STEPS");
        assert_eq!(page.render(false), "State       away\n\nSTEPS\n");
        assert_eq!(
            page.render(true),
            "\u{1b}[2mState       \u{1b}[0m\u{1b}[31maway\u{1b}[0m\n\n\u{1b}[1mSTEPS\u{1b}[0m\n"
        );
    }

    #[test]
    fn foreign_text_cannot_leave_its_cell() {
        let mut page = Page::new();
        page.line(["a\u{1b}[31m\nroot".into()]);
        page.paragraph("x\ny\u{1b}c\n", 2);
        assert_eq!(page.render(false), "a\\u{1b}[31m\\nroot\n  x\n  y\\u{1b}c\n");
    }
}
