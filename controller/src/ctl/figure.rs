//! Values for people, by their unit.

use skynet_model::catalogue::{Catalogue, Unit};

/// The unit of a series: from the catalogue, else by the way series are named.
#[must_use]
pub(super) fn unit_of(name: &str, catalogue: Option<&Catalogue>) -> Unit {
    if let Some((_, series)) = catalogue.and_then(|c| c.series(name)) {
        return series.unit;
    }
    for (end, unit) in [
        ("_ratio", Unit::Ratio),
        ("bytes_per_s", Unit::BytesPerSecond),
        ("_per_s", Unit::PerSecond),
        ("_bytes", Unit::Bytes),
        ("_seconds", Unit::Seconds),
        ("_s", Unit::Seconds),
    ] {
        if name.ends_with(end) {
            return unit;
        }
    }
    Unit::Any
}

/// A value with its unit: `93.0 %`, `1.5 GiB`, `12 s`, `3`.
#[must_use]
pub(super) fn figure(value: f64, unit: Unit) -> String {
    unit.figure(value)
}

/// A value of a series outside of any catalogue.
#[must_use]
pub(super) fn figure_of(name: &str, value: f64) -> String {
    figure(value, unit_of(name, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_as_people_say_them() {
        for (name, value, text) in [
            ("disk.used_ratio", 0.93, "93.0 %"),
            ("disk.free_bytes", 1.5 * 1024.0 * 1024.0 * 1024.0, "1.5 GiB"),
            ("disk.free_bytes", 12.0, "12 B"),
            ("network.rx_bytes_per_s", 2048.0, "2.0 KiB/s"),
            ("exec.duration_s", 0.25, "250 ms"),
            ("load.1m", 3.0, "3"),
            ("load.1m", -0.12345, "-0.123"),
        ] {
            assert_eq!(figure_of(name, value), text);
        }
    }
}
