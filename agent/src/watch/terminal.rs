//! The terminal: taken for the while, and given back as it was.

use std::io::{IsTerminal, Write};

use rustix::termios::{InputModes, LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// The alternate screen, without a cursor; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// A terminal that is ours until this is dropped.
pub(super) struct Terminal {
    /// How its input was.
    saved: Option<Termios>,
    /// Whether it shows colours.
    pub(super) colours: bool,
}

impl Terminal {
    /// Takes the terminal that standard output is; none where it is none, or one that can only print.
    pub(super) fn take() -> std::io::Result<Option<Self>> {
        let (stdin, mut stdout) = (std::io::stdin(), std::io::stdout());
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        if !stdout.is_terminal() || set("TERM").is_some_and(|term| term == "dumb") {
            return Ok(None);
        }
        let saved = if stdin.is_terminal() { Some(tcgetattr(&stdin)?) } else { None };
        // From here on the drop gives it back.
        let terminal = Self { saved, colours: set("NO_COLOR").is_none() };
        if let Some(saved) = &terminal.saved {
            let mut raw = saved.clone();
            // Keys come one by one, unseen, and are no signals.
            raw.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN;
            raw.input_modes -= InputModes::IXON;
            tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        }
        stdout.write_all(ENTER.as_bytes())?;
        stdout.flush()?;
        Ok(Some(terminal))
    }

    /// Rows and columns.
    #[allow(clippy::unused_self, reason = "only a terminal that was taken has a size")]
    pub(super) fn size(&self) -> (usize, usize) {
        let size = tcgetwinsize(std::io::stdout()).ok().filter(|size| size.ws_row > 0 && size.ws_col > 0);
        size.map_or((24, 80), |size| (usize::from(size.ws_row), usize::from(size.ws_col)))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let mut stdout = std::io::stdout();
        // It may be gone: then nobody minds how it is left.
        let _ = stdout.write_all(LEAVE.as_bytes()).and_then(|()| stdout.flush());
        if let Some(saved) = &self.saved {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, saved);
        }
    }
}
