//! The controller's own terminal and log: always there, in plain words.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use skynet_model::incident::{Notice, NoticeKind};

use super::NotifyError;
use crate::plain::plain;

/// Writes notices as text.
pub struct Console(Mutex<Box<dyn Write + Send>>);

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Console")
    }
}

impl Console {
    /// A console on the process' standard output.
    #[must_use]
    pub fn stdout() -> Self {
        Self::new(Box::new(std::io::stdout()))
    }

    /// A console on anything that takes bytes.
    #[must_use]
    pub fn new(out: Box<dyn Write + Send>) -> Self {
        Self(Mutex::new(out))
    }

    /// Writes one notice; `remark` says why it is here though it was meant for another target.
    ///
    /// # Errors
    /// The terminal's, permanent.
    pub(super) fn tell(&self, notice: &Notice, remark: Option<&str>) -> Result<(), NotifyError> {
        let word = match notice.kind {
            NoticeKind::Escalated => "A PERSON IS NEEDED",
            NoticeKind::Resolved => "RESOLVED",
            NoticeKind::Skynet => "ABOUT SKYNET ITSELF",
        };
        let mut text = format!("\n=== {word} ({}, {}) {}\n", notice.severity.as_str(), notice.id, plain(&notice.title));
        if let Some(remark) = remark {
            text.push_str(&format!("    ({})\n", plain(remark)));
        }
        for line in plain(&notice.story).lines() {
            text.push_str(&format!("    {line}\n"));
        }
        text.push_str("===\n");
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        written.map_err(|e| NotifyError::Permanent(format!("the terminal does not take it: {e}")))
    }
}
