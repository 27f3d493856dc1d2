//! The one place where foreign text is made fit for a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a character could move the cursor, change the terminal's state, or make text look like other text.
fn harmful(c: char) -> bool {
    c.is_control()
        // Invisible characters, line and paragraph separators, and everything that changes the direction of writing.
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Text from a server, a policy or an operator as one harmless line: control characters and those that are invisible or
/// turn the direction of writing are written as escapes (`\n`, `\t`, `\u{1b}`).
#[must_use]
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if harmful(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// A JSON text on one line, without characters that are harmful in a terminal. Its value stays what it was: within
/// strings such characters become `\uXXXX`; outside of strings only white space can occur.
#[must_use]
pub(super) fn clean_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut units = [0_u16; 2];
    for c in json.trim().chars() {
        match c {
            '\n' | '\r' | '\t' => out.push(' '),
            c if harmful(c) => {
                for unit in c.encode_utf16(&mut units) {
                    // Writing to a string does not fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_escape_sequence_reaches_the_terminal() {
        assert_eq!(clean("\u{1b}[2J\u{1b}]0;root\u{7}"), "\\u{1b}[2J\\u{1b}]0;root\\u{7}");
        assert_eq!(clean("a\nb\tc\rd\0"), "a\\nb\\tc\\rd\\u{0}");
        assert_eq!(clean("\u{9b}31m \u{7f}"), "\\u{9b}31m \\u{7f}");
        for c in (0..=0x9f).filter_map(char::from_u32).filter(|c| c.is_control()) {
            assert!(!clean(&c.to_string()).contains(char::is_control), "{c:?}");
        }
    }

    #[test]
    fn text_cannot_be_turned_around_or_hidden() {
        assert_eq!(clean("web1\u{202e}tfel"), "web1\\u{202e}tfel");
        assert_eq!(clean("a\u{200b}b\u{2066}c\u{2028}d"), "a\\u{200b}b\\u{2066}c\\u{2028}d");
    }

    #[test]
    fn ordinary_text_is_left_alone() {
        for text in ["", "web1 /var ist zu 93 % voll", "größe 10 µs → 日本"] {
            assert!(matches!(clean(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn cleaned_json_has_the_same_value_on_one_line() {
        let json = "{\n \"a\": \"x\\u001b\u{9b}y\u{202e}\u{e0041}\",\r\n\t\"b\": 1 }\n";
        let clean = clean_json(json);
        assert!(!clean.contains(harmful));
        let (one, two): (serde_json::Value, serde_json::Value) =
            (serde_json::from_str(json).unwrap(), serde_json::from_str(&clean).unwrap());
        assert_eq!(one, two);
    }
}
