//! Mistakes with the lines they are in.

use skynet_model::diagnostic::Diagnostic;
use skynet_model::policy::File;

use super::super::clean::clean;
use super::super::page::{Ink, Page};

/// How much of a line is shown, in characters.
const WIDTH: usize = 100;
/// How much of that lies before the mistake.
const BEFORE: usize = 60;

/// Each mistake, its source line with a caret below, and how many there are.
pub(super) fn page(mistakes: &[Diagnostic], files: &[File]) -> Page {
    let mut page = Page::new();
    for mistake in mistakes {
        page.line([
            Ink::Bold.on(format!("{}:{}:{}", mistake.file, mistake.line, mistake.column)),
            ": ".into(),
            Ink::Red.on(&mistake.message),
            mistake.suggestion.as_ref().map(|word| format!(" (did you mean `{word}`?)")).unwrap_or_default().into(),
        ]);
        source(&mut page, mistake, files);
    }
    let mut names: Vec<&str> = mistakes.iter().map(|m| m.file.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let plural = |n: usize| if n == 1 { "" } else { "s" };
    let (many, where_) = (mistakes.len(), names.len());
    page.line([Ink::Red.on(format!("{many} mistake{} in {where_} file{}", plural(many), plural(where_)))]);
    page
}

fn source(page: &mut Page, mistake: &Diagnostic, files: &[File]) {
    let Some(file) = files.iter().find(|f| f.name == mistake.file) else { return };
    let index = usize::try_from(mistake.line).unwrap_or(usize::MAX).saturating_sub(1);
    let Some(line) = file.text.lines().nth(index) else { return };
    let at = usize::try_from(mistake.column).unwrap_or(usize::MAX).saturating_sub(1);
    // A tab counts as one character, so it is shown as one.
    let shown: Vec<char> = line.chars().map(|c| if c == '\t' { ' ' } else { c }).collect();
    let at = at.min(shown.len());
    let start = at.saturating_sub(BEFORE);
    let end = shown.len().min(start + WIDTH);
    let (head, tail) = (shown[start..at].iter().collect::<String>(), shown[at..end].iter().collect::<String>());
    let word = |c: &char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let length = shown[at..end].iter().take_while(|c| word(c)).count().max(1);
    let dots = |cut: bool| if cut { "..." } else { "" };
    let number = mistake.line.to_string();
    let gap = " ".repeat(number.len());
    // Escapes are wider than what they stand for; the caret goes below what is shown.
    let lead = dots(start > 0).len() + clean(&head).chars().count();
    page.line([
        Ink::Dim.on(format!("  {number} | ")),
        format!("{}{head}{tail}{}", dots(start > 0), dots(end < shown.len())).into(),
    ]);
    page.line([Ink::Dim.on(format!("  {gap} | ")), " ".repeat(lead).into(), Ink::Red.on("^".repeat(length))]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(line: u32, column: u32) -> Diagnostic {
        let (file, message) = ("web/a.yaml".to_owned(), "unknown key `wehn`".to_owned());
        Diagnostic { file, line, column, message, suggestion: Some("when".to_owned()) }
    }

    fn shown(text: &str, line: u32, column: u32) -> String {
        let file = File { name: "web/a.yaml".to_owned(), text: text.to_owned() };
        page(&[mistake(line, column)], &[file]).render(false)
    }

    #[test]
    fn a_mistake_is_shown_in_its_line_with_a_caret_below() {
        assert_eq!(
            shown("scenario: a\n\twehn: b\n", 2, 2),
            "\
web/a.yaml:2:2: unknown key `wehn` (did you mean `when`?)
  2 |  wehn: b
    |  ^^^^
1 mistake in 1 file
"
        );
    }

    #[test]
    fn the_caret_stays_below_its_word_behind_escapes_and_in_long_lines() {
        let text = shown("a: \u{1b}\u{202e} wehn\n", 1, 7);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1].find("wehn"), lines[2].find("^^^^"), "{text}");
        let text = shown(&format!("{}wehn{}\n", "ü ".repeat(200), " x".repeat(200)), 1, 401);
        let lines: Vec<Vec<char>> = text.lines().map(|l| l.chars().collect()).collect();
        let caret = lines[2].iter().position(|c| *c == '^').unwrap();
        assert_eq!(lines[1][caret..caret + 4], ['w', 'e', 'h', 'n'], "{text}");
        assert!(lines[1].len() < 120, "{text}");
    }

    #[test]
    fn a_place_outside_of_the_text_is_no_trouble() {
        for (line, column) in [(9, 1), (1, 900), (0, 0), (u32::MAX, u32::MAX)] {
            assert!(shown("a: b\n", line, column).contains("1 mistake in 1 file"));
        }
    }
}
