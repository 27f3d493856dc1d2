//! Standard output: pages for people, JSON and YAML for programs.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};

use super::Failure;
use super::args::Output;
use super::clean::{clean, clean_json};
use super::page::Page;
use super::tree::Tree;

/// Where the answer goes.
pub(super) struct Printer {
    out: Box<dyn Write>,
    colour: bool,
}

impl Printer {
    /// Standard output; in colour only on a terminal that can, and not with `NO_COLOR` (<https://no-color.org>).
    #[must_use]
    pub(super) fn stdout() -> Self {
        let out = io::stdout();
        let colour = coloured(out.is_terminal(), |name| std::env::var_os(name));
        Self { out: Box::new(out), colour }
    }

    /// A page for people.
    ///
    /// # Errors
    /// Nobody reads it, or the disk behind it is full.
    pub(super) fn page(&mut self, page: &Page) -> Result<(), Failure> {
        self.raw(&page.render(self.colour))
    }

    /// One JSON object of the controller, as it is (`Table` falls to the caller).
    ///
    /// # Errors
    /// It is not JSON, or it cannot be written.
    pub(super) fn document(&mut self, json: &str, output: Output) -> Result<(), Failure> {
        let tree = parse::<Tree>("answer", json)?;
        match output {
            Output::Table | Output::Json => self.raw(&format!("{}\n", clean_json(json))),
            Output::Yaml => self.raw(&tree.yaml()),
        }
    }

    /// A JSON array of the controller's objects, each on a line of its own; or the same as YAML.
    ///
    /// # Errors
    /// One of them is not JSON, or they cannot be written.
    pub(super) fn documents(&mut self, jsons: &[String], output: Output) -> Result<(), Failure> {
        let trees = jsons.iter().map(|json| parse::<Tree>("answer", json)).collect::<Result<Vec<_>, _>>()?;
        match output {
            Output::Yaml => self.raw(&Tree::List(trees).yaml()),
            Output::Table | Output::Json if jsons.is_empty() => self.raw("[]\n"),
            Output::Table | Output::Json => {
                let lines: Vec<String> = jsons.iter().map(|json| clean_json(json)).collect();
                self.raw(&format!("[\n{}\n]\n", lines.join(",\n")))
            }
        }
    }

    /// Text that is already fit for printing.
    ///
    /// # Errors
    /// Nobody reads it, or the disk behind it is full.
    pub(super) fn raw(&mut self, text: &str) -> Result<(), Failure> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()?;
        Ok(())
    }
}

/// Whether to use colours.
fn coloured(terminal: bool, variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let refused = variable("NO_COLOR").is_some_and(|v| !v.is_empty());
    let dumb = variable("TERM").is_some_and(|v| v == "dumb");
    terminal && !refused && !dumb
}

/// Reads one JSON object of the controller.
///
/// # Errors
/// [`Failure::Failed`] with what cannot be read and the remedy.
pub(super) fn parse<T: serde::de::DeserializeOwned>(what: &str, json: &str) -> Result<T, Failure> {
    serde_json::from_str(json).map_err(|e| {
        Failure::Failed(format!(
            "the controller's {what} is not as this skynetctl knows it: {}; `-o json` shows it as it is, and \
             skynetctl should be of the controller's version",
            clean(&e.to_string())
        ))
    })
}

/// A message on standard error.
pub(super) fn complain(text: &str) {
    // If standard error is gone there is nobody left to tell.
    let _ = writeln!(io::stderr(), "skynetctl: {}", lines(text));
}

/// What has several lines keeps them, moved in: none of them can pass for a message of its own.
fn lines(text: &str) -> String {
    text.lines().map(|line| clean(line).to_string()).collect::<Vec<_>>().join("\n  ")
}

/// A remark on standard error that leaves standard output to programs.
pub(super) fn remark(text: &str) {
    let _ = writeln!(io::stderr(), "{}", clean(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_that_want_them() {
        let with = |terminal, name: &'static str, value: &'static str| {
            coloured(terminal, move |asked| (asked == name).then(|| OsString::from(value)))
        };
        assert!(with(true, "TERM", "xterm"));
        assert!(with(true, "NO_COLOR", ""), "an empty NO_COLOR is none");
        assert!(!with(true, "NO_COLOR", "1"));
        assert!(!with(true, "TERM", "dumb"));
        assert!(!with(false, "TERM", "xterm"));
    }

    #[test]
    fn a_complaint_of_several_lines_keeps_them_and_none_passes_for_another_message() {
        assert_eq!(lines("one"), "one");
        assert_eq!(
            lines("two mistakes\nskynetctl: all is well\u{1b}[2J"),
            "two mistakes\n  skynetctl: all is well\\u{1b}[2J"
        );
    }
}
