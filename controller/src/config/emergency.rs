//! `[emergency]`: where signed emergency documents are looked for.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use skynet_model::time::Span;

/// Most drops.
const MAX_DROPS: usize = 8;

/// `[emergency]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmergencyConfig {
    /// Files, and `https://` URLs: the document; its signatures lie beside it with `.sig` at the end.
    #[serde(default)]
    pub drops: Vec<String>,
    /// How often each is looked at, a tenth more or less.
    #[serde(default = "every")]
    pub every: Span,
    /// How long an HTTPS server may take to answer.
    #[serde(default = "timeout")]
    pub timeout: Span,
    /// The CA that signed the HTTPS servers' certificates, PEM; the system's own ones when there is none.
    pub ca: Option<PathBuf>,
    /// Whether one signer may let acting go on after a signed HALT.
    #[serde(default)]
    pub single_operator: bool,
}

impl Default for EmergencyConfig {
    fn default() -> Self {
        Self { drops: Vec::new(), every: every(), timeout: timeout(), ca: None, single_operator: false }
    }
}

fn every() -> Span {
    Span::seconds(60)
}

fn timeout() -> Span {
    Span::seconds(10)
}

impl EmergencyConfig {
    /// Checks it, and makes its paths those of the file's folder.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(super) fn settle(&mut self, folder: &Path) -> Result<(), String> {
        if self.drops.len() > MAX_DROPS {
            return Err(format!("[emergency] drops: at most {MAX_DROPS} are looked at"));
        }
        for (name, span) in [("every", self.every), ("timeout", self.timeout)] {
            if span < Span(100) || span > Span::hours(1) {
                return Err(format!("[emergency] {name}: {span} is not from 100ms to 1h"));
            }
        }
        for drop in &mut self.drops {
            if drop.contains("://") {
                let url = reqwest::Url::parse(drop).map_err(|e| format!("[emergency] drops: `{drop}`: {e}"))?;
                if url.scheme() != "https" || !url.username().is_empty() || url.query().is_some() {
                    return Err(format!(
                        "[emergency] drops: `{drop}` must be a file or an https:// URL without user name and query"
                    ));
                }
            } else if drop.is_empty() {
                return Err("[emergency] drops: an empty name is no file".to_owned());
            } else {
                *drop = folder.join(&*drop).to_string_lossy().into_owned();
            }
        }
        self.ca = self.ca.take().map(|path| folder.join(path));
        Ok(())
    }
}
