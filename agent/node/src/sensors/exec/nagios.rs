//! Nagios plugins' output: `TEXT | 'label'=value[unit];[warn];[crit];[min];[max] ...` (Monitoring Plugins guidelines).

use super::Metric;

/// Multiples of the base units: seconds, bytes, ratio.
const UNITS: [(&str, f64); 14] = [
    ("s", 1.0),
    ("ms", 1e-3),
    ("us", 1e-6),
    ("%", 0.01),
    ("B", 1.0),
    ("KB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("TB", 1e12),
    ("KiB", 1024.0),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
    ("TiB", 1_099_511_627_776.0),
    ("c", 1.0),
];

/// The values of the performance data; what has another form is left out, as Nagios does.
pub(super) fn parse(text: &str) -> Vec<Metric> {
    let mut metrics = Vec::new();
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    // The first line may have its own; then, after the first `|` of the long text, everything is.
    if let Some((_, data)) = first.split_once('|') {
        items(data, &mut metrics);
    }
    if let Some((_, data)) = rest.split_once('|') {
        items(data, &mut metrics);
    }
    metrics
}

fn items(data: &str, metrics: &mut Vec<Metric>) {
    let mut rest = data.trim_start();
    while !rest.is_empty() && metrics.len() <= super::MAX_METRICS {
        let Some((label, tail)) = label(rest) else {
            // Not a label: go on after the next blank.
            rest = rest.split_once(char::is_whitespace).map_or("", |(_, tail)| tail).trim_start();
            continue;
        };
        let (item, tail) = tail.split_once(char::is_whitespace).unwrap_or((tail, ""));
        rest = tail.trim_start();
        let number = item.split(';').next().unwrap_or("");
        if let Some(value) = value(number).filter(|_| !label.is_empty()) {
            metrics.push(Metric { name: label, labels: Vec::new(), value });
        }
    }
}

/// The label and what follows its `=`. In quotes it may hold anything; `''` stands for a quote.
fn label(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('\'') else {
        let (label, tail) = text.split_once('=')?;
        return (!label.contains(char::is_whitespace)).then(|| (label.to_owned(), tail));
    };
    let mut label = String::new();
    let mut rest = quoted;
    loop {
        let (part, tail) = rest.split_once('\'')?;
        label.push_str(part);
        if let Some(more) = tail.strip_prefix('\'') {
            label.push('\'');
            rest = more;
        } else {
            return tail.strip_prefix('=').map(|tail| (label, tail));
        }
    }
}

/// `12.5ms` in its base unit. `U` (the plugin could not tell) and units nobody defined give nothing.
fn value(text: &str) -> Option<f64> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | ','))).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    // Plugins that follow a locale write a comma.
    let number: f64 = number.replace(',', ".").parse().ok()?;
    if unit.is_empty() {
        return Some(number);
    }
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
    // Dividing keeps 250 ms a clean 0.25.
    Some(if *factor < 1.0 { number / (1.0 / factor).round() } else { number * factor })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<(String, f64)> {
        parse(text).into_iter().map(|m| (m.name, m.value)).collect()
    }

    #[test]
    fn performance_data_of_all_lines_is_read() {
        let text = "DISK OK | /=2643MB;5948;5958;0;5968\nlong text\n/home | \
                    /boot=68MB;88;93;0;98\n/home=69357KB\n'C: drive''s'=5%\n";
        let expected = [("/", 2.643e9), ("/boot", 68e6), ("/home", 69_357_000.0), ("C: drive's", 0.05)];
        assert_eq!(values(text), expected.map(|(n, v)| (n.to_owned(), v)));
    }

    #[test]
    fn units_come_out_as_seconds_bytes_and_ratios() {
        for (text, expected) in [
            ("250ms", Some(0.25)),
            ("12us", Some(0.000_012)),
            ("3s", Some(3.0)),
            ("2KiB", Some(2048.0)),
            ("7c", Some(7.0)),
            ("-1.5", Some(-1.5)),
            ("0,5", Some(0.5)),
            ("U", None),
            ("", None),
            ("5furlongs", None),
            ("1.2.3", None),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
    }

    #[test]
    fn broken_items_are_left_out_and_the_others_stand() {
        assert_eq!(values("OK | nonsense a=1 ='x' b=U 'open=3").len(), 1);
        assert_eq!(values("no data at all"), []);
        assert_eq!(values(""), []);
    }
}
