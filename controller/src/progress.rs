//! A progress bar for whatever takes longer than a second: on standard error, and only on a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use tokio::time::Instant;

/// What is over sooner needs no bar.
const SOON: Duration = Duration::from_secs(1);
const OFTEN: Duration = Duration::from_millis(100);
const WIDTH: u64 = 30;

/// A bar.
#[derive(Debug)]
pub struct Bar {
    what: &'static str,
    began: Instant,
    drawn: Option<Instant>,
    terminal: bool,
}

impl Bar {
    /// A bar for `what`, which begins now.
    #[must_use]
    pub fn new(what: &'static str) -> Self {
        Self { what, began: Instant::now(), drawn: None, terminal: io::stderr().is_terminal() }
    }

    /// So much of it is done.
    pub fn at(&mut self, done: u64, total: u64) {
        let due = self.drawn.map_or(self.began.elapsed() >= SOON, |drawn| drawn.elapsed() >= OFTEN);
        if self.terminal && due {
            self.drawn = Some(Instant::now());
            let _ = write!(io::stderr(), "\r{}", line(self.what, done, total));
        }
    }

    /// It is over: the line is cleared.
    pub fn end(&mut self) {
        if self.drawn.take().is_some() {
            let _ = write!(io::stderr(), "\r\u{1b}[K");
        }
    }
}

fn line(what: &str, done: u64, total: u64) -> String {
    let total = total.max(done).max(1);
    let filled = usize::try_from(done * WIDTH / total).unwrap_or(0);
    let (full, empty) = ("#".repeat(filled), ".".repeat(WIDTH as usize - filled));
    format!("{what} [{full}{empty}] {:3} % {done} of {total}", done * 100 / total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills() {
        assert_eq!(line("x", 0, 0), "x [..............................]   0 % 0 of 1");
        assert_eq!(line("x", 5, 10), "x [###############...............]  50 % 5 of 10");
        assert_eq!(line("x", 11, 10), "x [##############################] 100 % 11 of 11");
    }
}
