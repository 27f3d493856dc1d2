//! The story's voice: plain words on standard output, indented under their story.

use std::io::Write;

/// Prints lines for a person; colours only on a terminal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Teller {
    colour: bool,
}

impl Teller {
    /// A voice with or without colour.
    #[must_use]
    pub(super) fn new(colour: bool) -> Self {
        Self { colour }
    }

    /// A headline.
    pub(super) fn title(self, text: &str) {
        if self.colour { self.line(&format!("\x1b[1m{text}\x1b[0m")) } else { self.line(text) }
    }

    /// A line within a story, with the time since the fault.
    pub(super) fn beat(self, since_fault_ms: i64, text: &str) {
        let seconds = since_fault_ms as f64 / 1000.0;
        self.line(&format!("  {seconds:>5.1} s  {text}"));
    }

    /// A line.
    pub(super) fn line(self, text: &str) {
        // A reader that went away is no reason to stop healing.
        let _ = writeln!(std::io::stdout(), "{text}");
        let _ = std::io::stdout().flush();
    }
}
