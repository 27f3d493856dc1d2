//! Which series a question is about.

use std::fmt;
use std::str::FromStr;

use skynet_model::series::SeriesKey;

/// Names that are suggested for one that is not there.
const SUGGESTIONS: usize = 3;

/// A name, or a name with some of the labels: `disk.used_ratio{mount="/"}`. `*` stands for any text in both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    name: String,
    labels: Vec<(String, String)>,
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, labels) = match text.find('{') {
            None => (text.trim(), Vec::new()),
            Some(open) => {
                // A stand-in name: the real one may hold `*`, which no series' name does.
                let key: Result<SeriesKey, _> = format!("x{}", &text[open..]).parse();
                let key = key.map_err(|_| wrong(text))?;
                let labels = key.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
                (text[..open].trim(), labels.collect())
            }
        };
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '*');
        if name.is_empty() || name.len() > 256 || !name.chars().all(fine) {
            return Err(wrong(text));
        }
        Ok(Self { name: name.to_owned(), labels })
    }
}

fn wrong(text: &str) -> String {
    let text: String = text.chars().take(100).collect();
    format!(
        "`{}` selects no series: write a name, or a name with labels, as in disk.used_ratio{{mount=\"/\"}}; `*` stands \
         for any text",
        text.escape_debug()
    )
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name, skynet_model::series::Labels::new(self.labels.iter().map(|(n, v)| (n, v))))
    }
}

impl Selector {
    /// Whether the series is meant.
    #[must_use]
    pub fn fits(&self, key: &SeriesKey) -> bool {
        glob(&self.name, &key.name)
            && self.labels.iter().all(|(name, value)| key.labels.get(name).is_some_and(|text| glob(value, text)))
    }

    /// The names most like this one's, for a message.
    #[must_use]
    pub fn nearest<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<String> {
        let mut known: Vec<(&str, f64)> = Vec::new();
        for name in names {
            if known.iter().all(|(other, _)| *other != name) {
                known.push((name, strsim::jaro_winkler(&self.name, name)));
            }
        }
        known.retain(|(_, likeness)| *likeness > 0.75);
        known.sort_by(|a, b| b.1.total_cmp(&a.1));
        known.into_iter().take(SUGGESTIONS).map(|(name, _)| name.to_owned()).collect()
    }
}

/// Whether `text` fits `glob`, where `*` stands for any text.
#[must_use]
pub fn glob(glob: &str, text: &str) -> bool {
    let mut parts = glob.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut last: Option<&str> = None;
    for part in parts {
        if let Some(middle) = last.replace(part) {
            match rest.find(middle) {
                Some(at) => rest = &rest[at + middle.len()..],
                None => return false,
            }
        }
    }
    last.map_or(rest.is_empty(), |end| rest.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_stand_for_any_text() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*b", "ab", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abde", false),
            ("ab*b", "ab", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn names_and_some_labels_select() {
        let key: SeriesKey = "disk.used_ratio{device=\"vda1\",mount=\"/var\"}".parse().unwrap();
        for (selector, expected) in [
            ("disk.used_ratio", true),
            ("disk.*", true),
            ("disk.used_ratio{mount=\"/var\"}", true),
            ("disk.used_ratio{mount=\"/*\",device=\"vda1\"}", true),
            ("disk.used_ratio{mount=\"/\"}", false),
            ("disk.used_ratio{other=\"*\"}", false),
            ("disk", false),
        ] {
            let parsed: Selector = selector.parse().unwrap();
            assert_eq!(parsed.fits(&key), expected, "{selector}");
        }
        for bad in ["", "a b", "a{", "a{b=c}", "{a=\"b\"}", "a\u{1b}"] {
            let error = bad.parse::<Selector>().unwrap_err();
            assert!(error.contains("disk.used_ratio") && !error.contains('\u{1b}'), "{error}");
        }
        let selector: Selector = "disk.used_rtio{mount=\"/\"}".parse().unwrap();
        assert_eq!(selector.to_string(), "disk.used_rtio{mount=\"/\"}");
        let names = ["cpu.busy_ratio", "disk.used_ratio", "disk.used_ratio", "disk.free_bytes"];
        assert_eq!(selector.nearest(names.into_iter())[0], "disk.used_ratio");
    }
}
