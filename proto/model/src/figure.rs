//! Values for people, by their unit.

use crate::catalogue::Unit;

impl Unit {
    /// A value with its unit: `93.0 %`, `1.5 GiB`, `12 s`, `3`.
    #[must_use]
    pub fn figure(self, value: f64) -> String {
        match self {
            Self::Ratio => format!("{:.1} %", value * 100.0),
            Self::Bytes => bytes(value),
            Self::BytesPerSecond => format!("{}/s", bytes(value)),
            Self::Seconds if value != 0.0 && value.abs() < 1.0 => format!("{} ms", number(value * 1000.0)),
            Self::Seconds => format!("{} s", number(value)),
            Self::PerSecond => format!("{}/s", number(value)),
            Self::Celsius => format!("{value:.1} °C"),
            Self::Count | Self::Bool | Self::State | Self::Any => number(value),
        }
    }
}

fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn bytes(value: f64) -> String {
    let mut value = value;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if value.abs() < 1024.0 {
            return if unit == "B" { format!("{value:.0} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} PiB")
}

#[cfg(test)]
mod tests {
    use super::Unit;

    #[test]
    fn values_read_as_people_say_them() {
        for (unit, value, text) in [
            (Unit::Ratio, 0.93, "93.0 %"),
            (Unit::Bytes, 1.5 * 1024.0 * 1024.0 * 1024.0, "1.5 GiB"),
            (Unit::Bytes, 12.0, "12 B"),
            (Unit::BytesPerSecond, 2048.0, "2.0 KiB/s"),
            (Unit::Seconds, 0.25, "250 ms"),
            (Unit::Seconds, 12.5, "12.5 s"),
            (Unit::Seconds, 0.0, "0 s"),
            (Unit::PerSecond, 2.0, "2/s"),
            (Unit::Celsius, 41.25, "41.2 °C"),
            (Unit::Count, 3.0, "3"),
            (Unit::Any, -0.12345, "-0.123"),
        ] {
            assert_eq!(unit.figure(value), text);
        }
    }
}
