//! Times for people: how long ago, and when.

use skynet_model::time::{Span, Timestamp};

/// A length of time in at most two units: `45s`, `3m12s`, `25m`, `3h5m`, `2d3h`, `50d`.
#[must_use]
pub fn rough(span: Span) -> String {
    let seconds = span.0.max(0) / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |big: i64, unit: &str, small: i64, sub: &str| match small {
        0 => format!("{big}{unit}"),
        small => format!("{big}{unit}{small}{sub}"),
    };
    if seconds < 120 {
        format!("{seconds}s")
    } else if minutes < 10 {
        pair(minutes, "m", seconds % 60, "s")
    } else if hours < 3 {
        format!("{minutes}m")
    } else if hours < 24 {
        pair(hours, "h", minutes % 60, "m")
    } else if days < 8 {
        pair(days, "d", hours % 24, "h")
    } else {
        format!("{days}d")
    }
}

/// How long ago `then` was, or `in 5m` when it is yet to come.
#[must_use]
pub fn age(then: Timestamp, now: Timestamp) -> String {
    // Clocks of two machines differ a little; a second ahead is now.
    if then.0 > now.0.saturating_add(2000) { format!("in {}", rough(then.since(now))) } else { rough(now.since(then)) }
}

/// RFC 3339 to the second, and how long ago: `2026-11-01T03:14:15Z (3m12s ago)`.
#[must_use]
pub fn instant(then: Timestamp, now: Timestamp) -> String {
    let age = age(then, now);
    let ago = if age.starts_with("in ") { "" } else { " ago" };
    format!("{} ({age}{ago})", to_the_second(then))
}

/// RFC 3339 to the second.
#[must_use]
pub fn to_the_second(time: Timestamp) -> String {
    let text = time.to_string();
    text.split_once('.').map_or_else(|| text.clone(), |(head, _)| format!("{head}Z"))
}

/// A length of time with the precision that matters: `12ms`, `1.2s`, `3m12s`.
#[must_use]
pub fn took(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms}ms"),
        1000..10_000 => format!("{}.{}s", ms / 1000, ms % 1000 / 100),
        _ => rough(Span(i64::try_from(ms).unwrap_or(i64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_at_most_two_units() {
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (192, "3m12s"),
            (240, "4m"),
            (1500, "25m"),
            (3 * 3600 + 300, "3h5m"),
            (2 * 86_400 + 3 * 3600, "2d3h"),
            (50 * 86_400, "50d"),
            (-5, "0s"),
        ] {
            assert_eq!(rough(Span::seconds(seconds)), text);
        }
        assert_eq!((took(12), took(1250), took(192_000)), ("12ms".into(), "1.2s".into(), "3m12s".into()));
    }

    #[test]
    fn what_is_yet_to_come_is_not_an_age() {
        let now = Timestamp(1_793_502_855_926);
        assert_eq!(age(now.plus(Span::minutes(5)), now), "in 5m");
        assert_eq!(age(now.plus(Span(900)), now), "0s");
        assert_eq!(instant(Timestamp(now.0 - 192_000), now), "2026-11-01T03:11:03Z (3m12s ago)");
    }
}
