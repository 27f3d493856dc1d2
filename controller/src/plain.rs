//! Text from elsewhere, made safe for terminals and logs.

/// `text` with its control characters written out: it may come from a server, and a terminal obeys them.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // Bidirectional controls turn what is read, not what is there.
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if (c.is_control() && c != '\n') || turns {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_written_out() {
        assert_eq!(plain("a\u{202e}b\tc\nd\u{1b}[2J"), "a\\u{202e}b\\tc\nd\\u{1b}[2J");
    }
}
