//! `*` and `?` over bytes.

/// Whether `pattern` stands for the whole of `text`: `*` is any run of bytes, `?` any one byte. Linear times the number
/// of stars at worst: only the last star is ever tried again.
pub(crate) fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        match (pattern.get(p), text.get(t)) {
            (Some(b'*'), _) => {
                retry = Some((p, t));
                p += 1;
                continue;
            }
            (None, None) => return true,
            (Some(wanted), Some(byte)) if *wanted == b'?' || wanted == byte => {
                p += 1;
                t += 1;
                continue;
            }
            (Some(_) | None, Some(_) | None) => {}
        }
        let Some((star, from)) = retry else { return false };
        if from >= text.len() {
            return false;
        }
        retry = Some((star, from + 1));
        p = star + 1;
        t = from + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn patterns_stand_for_whole_texts() {
        for (pattern, text, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*.log", "a.log", true),
            ("*.log", "a.log.1", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("?", "", false),
            ("a?c", "abc", true),
            ("[a]", "a", false),
        ] {
            assert_eq!(fits(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
        assert!(!fits("a*".repeat(50).as_bytes(), "a".repeat(49).as_bytes()));
    }
}
