//! `[history]`: how much of the past is kept.

use serde::{Deserialize, Deserializer};
use skynet_model::time::Span;

/// Shortest and longest age that can be asked for.
const AGES: (Span, Span) = (Span::hours(1), Span::hours(24 * 3660));
/// Fewest and most bytes.
const BYTES: (u64, u64) = (16 << 20, 1 << 50);

/// `[history]`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct HistoryConfig {
    /// Readings older than this are deleted: `"30d"`.
    pub keep: Span,
    /// So much may the packed readings take on disk: `"20GiB"`. Beyond it the oldest are deleted.
    #[serde(deserialize_with = "size")]
    pub max_bytes: u64,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self { keep: Span::hours(30 * 24), max_bytes: 20 << 30 }
    }
}

impl HistoryConfig {
    /// Checks the bounds.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.keep < AGES.0 || self.keep > AGES.1 {
            return Err(format!("history.keep is {}; it may be {} to {}", self.keep, AGES.0, AGES.1));
        }
        if self.max_bytes < BYTES.0 || self.max_bytes > BYTES.1 {
            return Err(format!("history.max_bytes is {}; it may be 16MiB to 1024TiB", self.max_bytes));
        }
        Ok(())
    }
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).ok_or_else(|| {
        let text: String = text.chars().take(40).collect();
        serde::de::Error::custom(format!(
            "`{text}` is not a size: write a whole number and a unit, like 512MiB or 20GiB"
        ))
    })
}

fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().ok()?;
    let shift = match text[digits..].trim_start() {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        for (text, bytes) in [("20GiB", 20 << 30), ("512 MiB", 512 << 20), ("7B", 7), ("1TiB", 1 << 40)] {
            assert_eq!(parse(text), Some(bytes), "{text}");
        }
        for bad in ["", "20", "GiB", "20GB", "-1GiB", "1.5GiB", "99999999999TiB"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
