//! A mistake for programs: `policy check -o json`, which editors read. Every key is always there.

use serde::Serialize;
use skynet_model::diagnostic::Diagnostic;
use skynet_model::policy::File;

/// One mistake and the stretch of text that it is about.
#[derive(Debug, Serialize)]
pub(super) struct Finding<'d> {
    file: &'d str,
    /// From 1.
    line: u32,
    /// In characters, from 1.
    column: u32,
    end_line: u32,
    /// The first character after it.
    end_column: u32,
    severity: &'static str,
    message: &'d str,
    /// What to write instead, where one word is near.
    suggestion: Option<&'d str>,
}

impl<'d> Finding<'d> {
    /// The mistake with its end: that of the word it begins at, or the character after it.
    pub(super) fn of(mistake: &'d Diagnostic, files: &[File]) -> Self {
        let file = files.iter().find(|file| file.name == mistake.file);
        let number = |n: u32| usize::try_from(n).unwrap_or(usize::MAX).saturating_sub(1);
        let line = file.and_then(|file| file.text.lines().nth(number(mistake.line))).unwrap_or_default();
        let word = |c: &char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        let length = line.chars().skip(number(mistake.column)).take_while(word).count().max(1);
        Self {
            file: &mistake.file,
            line: mistake.line,
            column: mistake.column,
            end_line: mistake.line,
            end_column: mistake.column.saturating_add(u32::try_from(length).unwrap_or(1)),
            severity: "error",
            message: &mistake.message,
            suggestion: mistake.suggestion.as_deref(),
        }
    }
}
