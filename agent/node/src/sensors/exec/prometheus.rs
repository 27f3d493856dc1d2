//! Prometheus' text format 0.0.4: `name{label="value",...} value [timestamp]`. Timestamps are not used.

use super::{MAX_METRICS, Metric};

/// All samples; the first line of another form makes the whole text unusable.
pub(super) fn parse(text: &str) -> Result<Vec<Metric>, String> {
    let mut metrics = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if metrics.len() >= MAX_METRICS {
            break;
        }
        metrics.push(sample(line).ok_or_else(|| format!("line {} is not Prometheus text", number + 1))?);
    }
    Ok(metrics)
}

fn sample(line: &str) -> Option<Metric> {
    let end = line.find(|c: char| c == '{' || c.is_ascii_whitespace())?;
    let name = line[..end].to_owned();
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':')) {
        return None;
    }
    let mut rest = &line[end..];
    let mut labels = Vec::new();
    if let Some(mut inner) = rest.strip_prefix('{') {
        loop {
            inner = inner.trim_start();
            if let Some(tail) = inner.strip_prefix('}') {
                rest = tail;
                break;
            }
            let (label, tail) = inner.split_once('=')?;
            let (value, tail) = quoted(tail.trim_start())?;
            labels.push((label.trim().to_owned(), value));
            inner = tail.trim_start();
            inner = inner.strip_prefix(',').or_else(|| inner.starts_with('}').then_some(inner))?;
        }
    }
    // NaN and infinities are numbers here; the runner drops them.
    let mut words = rest.split_ascii_whitespace();
    let value = words.next()?.parse().ok()?;
    let stamp = words.next().is_none_or(|stamp| stamp.parse::<i64>().is_ok());
    (stamp && words.next().is_none()).then_some(Metric { name, labels, value })
}

/// A quoted text with `\\`, `\"` and `\n`, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut value = String::new();
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &inner[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read_with_their_labels() {
        let text = "# HELP x y\n# TYPE x counter\n\nx 1\n\
                    x_bucket{le=\"+Inf\",path=\"a \\\"b\\\" \\\\ \\n\",} 2.5e3 1700000000000\n up{} +Inf\n";
        let metrics = parse(text).unwrap();
        assert_eq!(metrics[0], Metric { name: "x".into(), labels: vec![], value: 1.0 });
        let labels = vec![("le".into(), "+Inf".into()), ("path".into(), "a \"b\" \\ \n".into())];
        assert_eq!(metrics[1], Metric { name: "x_bucket".into(), labels, value: 2500.0 });
        assert!(metrics[2].value.is_infinite());
    }

    #[test]
    fn other_text_is_refused_with_its_line() {
        for bad in
            ["x", "x y", "x{a} 1", "x{a=b} 1", "x{a=\"b\" 1", "x{a=\"b\"c=\"d\"} 1", "{a=\"b\"} 1", "x 1 2 3", "x 1 y"]
        {
            assert_eq!(parse(&format!("ok 1\n{bad}\n")), Err("line 2 is not Prometheus text".to_owned()), "{bad}");
        }
    }
}
