//! Temperatures, from the kernel's hwmon, or its thermal zones where there is none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skynet_model::catalogue::{SensorSpec, Unit};
use skynet_model::policy::{Script, SensorUse};
use skynet_model::series::SeriesKey;
use skynet_model::time::Span;

use super::{Sample, Sensor, SensorError, cut, series};
use crate::host::{Host, HostError};

const HWMON: &str = "/sys/class/hwmon";
const THERMAL: &str = "/sys/class/thermal";
/// Most temperatures of one machine.
const MAX_INPUTS: usize = 256;
/// Most trip points of a thermal zone that are looked through.
const MAX_TRIPS: usize = 16;
/// What is beyond these is a broken sensor: millidegrees.
const SANE: std::ops::RangeInclusive<i32> = -273_000..=1_000_000;

const LABELS: &[&str] = &["chip", "sensor"];

/// The catalogue entry.
pub(super) const SPEC: SensorSpec = SensorSpec {
    name: "temperature",
    help: "temperatures of processors, disks and boards; none on machines that show none, as most virtual ones",
    every: Span::seconds(10),
    params: &[],
    series: &[
        series("temperature.celsius", LABELS, Unit::Celsius, "temperature (at most 256 of a machine)"),
        series(
            "temperature.crit_ratio",
            LABELS,
            Unit::Ratio,
            "temperature divided by the one its maker calls critical; missing where none is known",
        ),
    ],
};

/// One temperature.
struct Input {
    path: PathBuf,
    /// Millidegrees.
    critical: Option<i32>,
    celsius: Arc<SeriesKey>,
    ratio: Arc<SeriesKey>,
}

struct Temperature {
    /// The chips that `inputs` are of; others: they are looked for anew.
    chips: Vec<String>,
    inputs: Vec<Input>,
    looked: bool,
    buf: Vec<u8>,
}

/// See [`super::build`].
pub(super) fn build(_: &SensorUse, _: &BTreeMap<String, Script>) -> Result<Box<dyn Sensor>, SensorError> {
    Ok(Box::new(Temperature { chips: Vec::new(), inputs: Vec::new(), looked: false, buf: Vec::new() }))
}

/// What a directory of sysfs holds; nothing where there is none.
fn list(host: &dyn Host, dir: &str) -> Result<Vec<String>, HostError> {
    match host.list(Path::new(dir)) {
        Err(HostError::Missing(_)) => Ok(Vec::new()),
        listed => listed,
    }
}

fn word(host: &dyn Host, path: &Path, buf: &mut Vec<u8>) -> Option<String> {
    host.read(path, buf).ok()?;
    let text = std::str::from_utf8(buf).ok()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn millidegrees(host: &dyn Host, path: &Path, buf: &mut Vec<u8>) -> Option<i32> {
    host.read(path, buf).ok()?;
    std::str::from_utf8(buf).ok()?.trim().parse().ok().filter(|t| SANE.contains(t))
}

impl Input {
    fn new(path: PathBuf, critical: Option<i32>, chip: &str, sensor: &str) -> Self {
        let labels = [("chip", cut(chip)), ("sensor", cut(sensor))];
        let key = |name| Arc::new(SeriesKey::new(name, labels));
        let critical = critical.filter(|t| *t > 0);
        Self { path, critical, celsius: key("temperature.celsius"), ratio: key("temperature.crit_ratio") }
    }
}

impl Temperature {
    /// kernel.org, "Naming and data format standards for sysfs files" (hwmon). Numbers of chips change from boot to boot,
    /// names do not; of several chips with one name each is told by its device.
    fn find_hwmon(&mut self, host: &dyn Host, chips: &[String]) -> Result<(), HostError> {
        let dirs: Vec<PathBuf> = chips.iter().map(|chip| Path::new(HWMON).join(chip)).collect();
        let names: Vec<String> = dirs
            .iter()
            .map(|dir| word(host, &dir.join("name"), &mut self.buf).unwrap_or_else(|| "unknown".to_owned()))
            .collect();
        for (dir, name) in dirs.iter().zip(&names) {
            let alone = names.iter().filter(|n| *n == name).count() == 1;
            let device = || {
                let link = host.read_link(&dir.join("device")).ok();
                let of_link = link.as_deref().and_then(Path::file_name).or(dir.file_name());
                of_link.map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
            };
            let chip = if alone { name.clone() } else { format!("{name}-{}", device()) };
            let mut sensors: Vec<(u32, String)> = Vec::new();
            for file in host.list(dir)? {
                let number = file.strip_prefix("temp").and_then(|f| f.strip_suffix("_input"));
                if let Some(number) = number.and_then(|n| n.parse().ok()) {
                    sensors.push((number, file));
                }
            }
            sensors.sort_unstable();
            let mut seen: Vec<String> = Vec::new();
            for (number, file) in sensors {
                let of = |what: &str| dir.join(format!("temp{number}_{what}"));
                let mut sensor = word(host, &of("label"), &mut self.buf).unwrap_or_else(|| format!("temp{number}"));
                if seen.contains(&sensor) {
                    sensor = format!("{sensor} (temp{number})");
                }
                let critical = millidegrees(host, &of("crit"), &mut self.buf);
                self.inputs.push(Input::new(dir.join(file), critical, &chip, &sensor));
                seen.push(sensor);
            }
        }
        Ok(())
    }

    /// kernel.org, "Generic Thermal Sysfs driver".
    fn find_thermal(&mut self, host: &dyn Host) -> Result<(), HostError> {
        for zone in list(host, THERMAL)?.iter().filter(|name| name.starts_with("thermal_zone")) {
            let dir = Path::new(THERMAL).join(zone);
            let kind = word(host, &dir.join("type"), &mut self.buf).unwrap_or_else(|| "unknown".to_owned());
            let trips = (0..MAX_TRIPS).map(|n| dir.join(format!("trip_point_{n}_type")));
            let mut critical = None;
            for (n, trip) in trips.enumerate() {
                match word(host, &trip, &mut self.buf).as_deref() {
                    Some("critical") => {
                        critical = millidegrees(host, &dir.join(format!("trip_point_{n}_temp")), &mut self.buf);
                    }
                    Some(_) => {}
                    None => break,
                }
            }
            self.inputs.push(Input::new(dir.join("temp"), critical, &kind, zone));
        }
        Ok(())
    }

    /// Chips come and go seldom: names, labels and limits are read when they did.
    fn find(&mut self, host: &dyn Host) -> Result<(), HostError> {
        let chips = list(host, HWMON)?;
        if self.looked && chips == self.chips {
            return Ok(());
        }
        self.inputs.clear();
        self.find_hwmon(host, &chips)?;
        if self.inputs.is_empty() {
            self.find_thermal(host)?;
        }
        self.inputs.truncate(MAX_INPUTS);
        (self.chips, self.looked) = (chips, true);
        Ok(())
    }
}

impl Sensor for Temperature {
    fn sweep(&mut self, host: &Arc<dyn Host>, out: &mut Sample) -> Result<(), SensorError> {
        self.find(&**host)?;
        for input in &self.inputs {
            // A disk that sleeps, a sensor that has nothing to say just now.
            let Some(now) = millidegrees(&**host, &input.path, &mut self.buf) else { continue };
            out.push((Arc::clone(&input.celsius), f64::from(now) / 1000.0));
            if let Some(critical) = input.critical {
                out.push((Arc::clone(&input.ratio), f64::from(now) / f64::from(critical)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{FixtureHost, assert_golden, make, show, sweep, value};
    use super::*;

    #[test]
    fn chips_of_one_name_are_told_apart_and_sensors_by_their_labels() {
        assert_golden("temperature", &sweep(&mut *make("temperature", &[]), &Arc::new(FixtureHost::new("before"))));
    }

    #[test]
    fn thermal_zones_stand_in_where_there_is_no_chip() {
        let shown = show(&sweep(&mut *make("temperature", &[]), &Arc::new(FixtureHost::new("after"))));
        assert_eq!(
            shown,
            "temperature.celsius{chip=\"acpitz\",sensor=\"thermal_zone0\"} 27.8\n\
             temperature.celsius{chip=\"x86_pkg_temp\",sensor=\"thermal_zone1\"} 45\n\
             temperature.crit_ratio{chip=\"x86_pkg_temp\",sensor=\"thermal_zone1\"} 0.45\n"
        );
    }

    #[test]
    fn a_machine_without_any_has_none_and_one_that_comes_is_found() {
        let root = tempfile::tempdir().unwrap();
        let host = Arc::new(FixtureHost::at(root.path().to_owned()));
        let mut sensor = make("temperature", &[]);
        assert!(sweep(&mut *sensor, &host).is_empty());
        let dir = root.path().join("sys/class/hwmon/hwmon0");
        std::fs::create_dir_all(&dir).unwrap();
        for (file, text) in [("name", "drivetemp\n"), ("temp1_input", "31000\n"), ("temp1_crit", "0\n")] {
            std::fs::write(dir.join(file), text).unwrap();
        }
        let key = "temperature.celsius{chip=\"drivetemp\",sensor=\"temp1\"}";
        let sample = sweep(&mut *sensor, &host);
        assert_eq!((value(&sample, key), sample.len()), (Some(31.0), 1), "no limit of nothing");
        for nonsense in ["", "warm", "-300000", "99999999999"] {
            std::fs::write(dir.join("temp1_input"), nonsense).unwrap();
            assert!(sweep(&mut *sensor, &host).is_empty(), "{nonsense}");
        }
    }
}
