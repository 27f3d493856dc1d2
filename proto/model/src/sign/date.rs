//! The times of an `allowed_signers` file: `YYYYMMDD[Z]` and `YYYYMMDDHHMM[SS][Z]`, in UTC.

use crate::time::Timestamp;

/// Reads a time; none when it is no time.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let digits = text.strip_suffix(['Z', 'z']).unwrap_or(text);
    if !matches!(digits.len(), 8 | 12 | 14) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number = |from: usize, to: usize| digits.get(from..to).map_or(Some(0), |d| d.parse::<i64>().ok());
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(8, 10)?, number(10, 12)?, number(12, 14)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    if year < 1970 || day < 1 || day > last || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Days before this year, then before this month, since 1970-01-01.
    let before = |year: i64| year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let months = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let month_days = months.get(usize::try_from(month - 1).ok()?)? + i64::from(leap && month > 2);
    let days = before(year - 1) - before(1969) + month_days + day - 1;
    Some(Timestamp(((days * 24 + hour) * 60 + minute) * 60_000 + second * 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_openssh_writes_them() {
        for (text, expected) in [
            ("19700101", "1970-01-01T00:00:00.000Z"),
            ("20240229Z", "2024-02-29T00:00:00.000Z"),
            ("202612312359", "2026-12-31T23:59:00.000Z"),
            ("20000301120005Z", "2000-03-01T12:00:05.000Z"),
            ("21000228", "2100-02-28T00:00:00.000Z"),
            ("99991231235959", "9999-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(parse(text).map(|t| t.to_string()).as_deref(), Some(expected), "{text}");
        }
        for text in
            ["", "2026", "20260230", "21000229", "20261301", "20260101 ", "2026010124", "202601012460", "2026010é"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
