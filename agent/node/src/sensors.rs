//! Sensors: one file each; a new one is its file and a line in `SENSORS`.
//!
//! What must never enter: threads, timers and retries of a sensor's own sweeps ([`crate::runner`] has them), and one
//! sensor's use of another.

mod auth;
mod cpu;
mod disk;
mod dns;
mod exec;
mod file;
mod http;
mod load;
mod memory;
mod mount;
mod network;
mod process;
mod service;
mod tcp;
mod temperature;
#[cfg(test)]
mod testing;
mod time;
mod tls;
mod users;

use std::collections::BTreeMap;
use std::sync::Arc;

use skynet_model::catalogue::{SensorSpec, SeriesSpec, Unit};
use skynet_model::policy::{Script, SensorUse};
use skynet_model::series::SeriesKey;
use skynet_model::time::Span;
use skynet_model::value::{ParamKind, ParamSpec, Value};

use crate::host::{Host, HostError};

/// What one sweep saw.
pub type Sample = Vec<(Arc<SeriesKey>, f64)>;

/// Why a sweep failed, in words for people: all of the sensor's series are unknown then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SensorError {
    /// The host would not give what the sensor lives on.
    #[error(transparent)]
    Host(#[from] HostError),
    /// What the host gave makes no sense.
    #[error("{0} has a form this version does not know")]
    Malformed(String),
    /// The sensor cannot run as it is configured.
    #[error("{0}")]
    Config(String),
}

/// One sensor in use.
///
/// The contract:
/// - `sweep` is called again and again from one thread of its own, at the sensor's interval, never twice at once. It
///   may block; the runner reports it when it takes longer than its interval and skips the ticks it missed.
/// - It adds everything it sees to `out`, in the units of its [`SensorSpec`]; keys are kept between sweeps, so that a
///   steady state allocates little. What is left out of a sweep that ends well is taken as gone. Values that are not
///   finite are dropped by the runner: a ratio of nothing may be computed without care.
/// - No data is not a failure: a file that is not there, or one entry that cannot be read, leaves its readings out. It
///   is an error only when nothing can be said: then `out` is thrown away.
/// - It never retries, sleeps, or reads a clock but the host's. After a panic it is built anew.
pub trait Sensor: Send {
    /// Looks once.
    ///
    /// # Errors
    /// [`SensorError`], when nothing can be said.
    fn sweep(&mut self, host: &Arc<dyn Host>, out: &mut Sample) -> Result<(), SensorError>;

    /// Whether some readings need an earlier sweep (rates, ratios of counters).
    fn needs_two(&self) -> bool {
        false
    }
}

type Build = fn(&SensorUse, &BTreeMap<String, Script>) -> Result<Box<dyn Sensor>, SensorError>;

struct Entry {
    spec: &'static SensorSpec,
    build: Build,
    /// Whether it says something without any configuration.
    builtin: bool,
    /// Whether a sweep may wait for a disk, a network, a program or a lock that others hold long. The rest only reads what
    /// the kernel has in memory.
    waits: bool,
}

/// Every sensor, in order of name.
const SENSORS: [Entry; 18] = [
    Entry { spec: &auth::SPEC, build: auth::build, builtin: false, waits: true },
    Entry { spec: &cpu::SPEC, build: cpu::build, builtin: true, waits: false },
    Entry { spec: &disk::SPEC, build: disk::build, builtin: true, waits: true },
    Entry { spec: &dns::SPEC, build: dns::build, builtin: false, waits: true },
    Entry { spec: &exec::SPEC, build: exec::build, builtin: false, waits: true },
    Entry { spec: &file::SPEC, build: file::build, builtin: false, waits: true },
    Entry { spec: &http::SPEC, build: http::build, builtin: false, waits: true },
    Entry { spec: &load::SPEC, build: load::build, builtin: true, waits: false },
    Entry { spec: &memory::SPEC, build: memory::build, builtin: true, waits: false },
    Entry { spec: &mount::SPEC, build: mount::build, builtin: false, waits: true },
    Entry { spec: &network::SPEC, build: network::build, builtin: true, waits: false },
    Entry { spec: &process::SPEC, build: process::build, builtin: true, waits: true },
    Entry { spec: &service::SPEC, build: service::build, builtin: false, waits: true },
    Entry { spec: &tcp::SPEC, build: tcp::build, builtin: false, waits: true },
    Entry { spec: &temperature::SPEC, build: temperature::build, builtin: false, waits: true },
    Entry { spec: &time::SPEC, build: time::build, builtin: false, waits: true },
    Entry { spec: &tls::SPEC, build: tls::build, builtin: false, waits: true },
    Entry { spec: &users::SPEC, build: users::build, builtin: false, waits: true },
];

const fn specs() -> [&'static SensorSpec; SENSORS.len()] {
    let mut specs = [SENSORS[0].spec; SENSORS.len()];
    let mut i = 0;
    while i < SENSORS.len() {
        specs[i] = SENSORS[i].spec;
        i += 1;
    }
    specs
}

/// Every sensor's catalogue entry, in order of name.
pub static SPECS: &[&SensorSpec] = &specs();

/// A sensor as a policy uses it. One that cannot be built (no such sensor or script) fails every sweep, and says why.
#[must_use]
pub fn build(usage: &SensorUse, scripts: &BTreeMap<String, Script>) -> Box<dyn Sensor> {
    let built = SENSORS
        .iter()
        .find(|entry| entry.spec.name == usage.sensor)
        .ok_or_else(|| SensorError::Config(format!("there is no sensor `{}`; update the agent", usage.sensor)))
        .and_then(|entry| (entry.build)(usage, scripts));
    built.unwrap_or_else(|error| Box::new(Broken(error)))
}

/// Every sensor that needs no configuration, with its defaults.
#[must_use]
pub fn all_builtin_uses() -> Vec<SensorUse> {
    SENSORS.iter().filter(|entry| entry.builtin).map(|entry| default_use(entry.spec)).collect()
}

fn default_use(spec: &'static SensorSpec) -> SensorUse {
    let default = |p: &skynet_model::value::ParamSpec| {
        let value = p.kind.parse(p.default?).ok()?;
        Some((p.name.to_owned(), value))
    };
    SensorUse {
        sensor: spec.name,
        id: spec.name.to_owned(),
        name: None,
        every: spec.every,
        params: spec.params.iter().filter_map(default).collect(),
    }
}

/// Whether a sweep of this use may wait for something.
pub(crate) fn waits(usage: &SensorUse) -> bool {
    SENSORS.iter().find(|entry| entry.spec.name == usage.sensor).is_none_or(|entry| entry.waits)
}

/// The names of scripts that a use runs or names.
pub(crate) fn scripts_of(usage: &SensorUse) -> impl Iterator<Item = &str> {
    let params = SPECS.iter().find(|spec| spec.name == usage.sensor).map_or(&[][..], |spec| spec.params);
    params.iter().filter(|p| p.kind == ParamKind::Script).filter_map(|p| text(usage, p.name))
}

struct Broken(SensorError);

impl Sensor for Broken {
    fn sweep(&mut self, _host: &Arc<dyn Host>, _out: &mut Sample) -> Result<(), SensorError> {
        Err(self.0.clone())
    }
}

/// The parameter every probe has.
const TIMEOUT: ParamSpec = ParamSpec {
    name: "timeout",
    kind: ParamKind::Duration,
    required: false,
    default: Some("5s"),
    help: "when it is given up, names, connection and answer together",
};

/// A parameter that may be left out.
const fn param(name: &'static str, kind: ParamKind, default: Option<&'static str>, help: &'static str) -> ParamSpec {
    ParamSpec { name, kind, required: false, default, help }
}

/// A parameter that must be given.
const fn required(name: &'static str, kind: ParamKind, help: &'static str) -> ParamSpec {
    ParamSpec { name, kind, required: true, default: None, help }
}

/// A series that is not ephemeral and has just these labels.
const fn series(name: &'static str, labels: &'static [&'static str], unit: Unit, help: &'static str) -> SeriesSpec {
    SeriesSpec { name, labels, open_labels: false, unit, ephemeral: false, help }
}

fn plain(name: &str) -> Arc<SeriesKey> {
    Arc::new(SeriesKey::plain(name))
}

fn labelled(name: &str, label: &str, value: &str) -> Arc<SeriesKey> {
    Arc::new(SeriesKey::new(name, [(label, cut(value))]))
}

/// A label value within the length that series may have.
fn cut(value: &str) -> &str {
    let mut end = value.len().min(skynet_model::series::MAX_TEXT);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    &value[..end]
}

fn text<'a>(usage: &'a SensorUse, param: &str) -> Option<&'a str> {
    usage.params.get(param).and_then(Value::as_text)
}

fn span(usage: &SensorUse, param: &str, default: Span) -> Span {
    usage.params.get(param).and_then(Value::as_span).unwrap_or(default)
}

fn int(usage: &SensorUse, param: &str, default: i64) -> i64 {
    usage.params.get(param).and_then(Value::as_int).unwrap_or(default)
}

/// What a use is called on its series: its name, else `otherwise`.
fn called<'a>(usage: &'a SensorUse, otherwise: &'a str) -> &'a str {
    usage.name.as_deref().unwrap_or(otherwise)
}

fn texts(usage: &SensorUse, param: &str) -> Vec<String> {
    usage.params.get(param).map(|list| list.texts().map(str::to_owned).collect()).unwrap_or_default()
}

/// Lines that are text; others are left out.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &str> {
    bytes.split(|b| *b == b'\n').filter_map(|line| std::str::from_utf8(line).ok())
}

#[allow(clippy::cast_precision_loss, reason = "counters beyond 2^53 lose their last bits; readings are f64")]
fn float(n: u64) -> f64 {
    n as f64
}

/// 1 or 0.
fn truth(b: bool) -> f64 {
    if b { 1.0 } else { 0.0 }
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds beyond 2^53 are 285,000 years")]
fn seconds(span: Span) -> f64 {
    span.0 as f64 / 1000.0
}

/// Seconds from one microsecond of a clock to another; never negative.
pub(crate) fn seconds_between(began_us: i64, ended_us: i64) -> f64 {
    float(u64::try_from(ended_us.saturating_sub(began_us)).unwrap_or(0)) / 1_000_000.0
}

/// Turns a counter into its rate: none for the first look, after a reset, or when no time went by.
#[derive(Clone, Copy, Debug, Default)]
struct Rate(Option<(u64, i64)>);

impl Rate {
    fn next(&mut self, value: u64, boot_ms: i64) -> Option<f64> {
        let (before, at) = self.0.replace((value, boot_ms))?;
        let ms = u64::try_from(boot_ms.checked_sub(at)?).ok().filter(|ms| *ms > 0)?;
        Some(float(value.checked_sub(before)?) * 1000.0 / float(ms))
    }
}

/// Logs a trouble once, and again when its words change. Readings tell of it or are left out; this is for whoever asks why.
#[derive(Debug, Default)]
struct Troubles(BTreeMap<String, String>);

impl Troubles {
    fn begin(&mut self, about: &str, words: &str) {
        if self.0.get(about).is_some_and(|before| before == words) {
            return;
        }
        tracing::warn!(about, "{words}");
        self.0.insert(about.to_owned(), words.to_owned());
    }

    /// Begins or ends.
    fn tell<E: std::fmt::Display>(&mut self, about: &str, done: Result<(), E>) {
        match done {
            Ok(()) => self.end(about),
            Err(words) => self.begin(about, &words.to_string()),
        }
    }

    fn end(&mut self, about: &str) {
        if !self.0.is_empty() && self.0.remove(about).is_some() {
            tracing::info!(about, "well again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_catalogue_is_sorted_and_its_names_can_be_written_in_conditions() {
        let names: Vec<_> = SPECS.iter().map(|s| s.name).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(names, sorted);
        let mut seen = BTreeSet::new();
        for series in SPECS.iter().flat_map(|s| s.series) {
            assert!(seen.insert(series.name), "{} is declared twice", series.name);
            for part in series.name.trim_end_matches(".*").split('.') {
                assert!(part.starts_with(|c: char| c.is_ascii_lowercase()), "{}", series.name);
                assert!(part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'));
            }
            assert!(!series.help.is_empty());
        }
        for param in SPECS.iter().flat_map(|s| s.params) {
            assert!(!matches!(param.name, "every" | "name"));
            assert!(param.default.is_none_or(|text| param.kind.parse(text).is_ok()), "{}", param.name);
        }
    }

    #[test]
    fn builtin_uses_build_and_carry_their_defaults() {
        let uses = all_builtin_uses();
        let names: Vec<_> = uses.iter().map(|u| u.sensor).collect();
        assert_eq!(names, ["cpu", "disk", "load", "memory", "network", "process"]);
        assert_eq!(uses[5].params.get("top"), Some(&Value::Int(5)));
    }

    /// What `policy check` says of these sensors.
    fn check(sensors: &str) -> Result<skynet_model::policy::Policy, Vec<String>> {
        let text = format!("profile: p\nmatch: {{ role: web }}\nsensors:\n{sensors}");
        let file = skynet_model::policy::File { name: "p.yaml".to_owned(), text };
        let said = |list: Vec<skynet_model::diagnostic::Diagnostic>| list.iter().map(ToString::to_string).collect();
        skynet_model::policy::load(&[file], crate::catalogue()).map_err(said)
    }

    #[test]
    fn policy_knows_the_parameters_of_every_sensor_and_all_it_takes_can_be_built() {
        let policy = check(
            "  - http: { name: shop, url: \"http://127.0.0.1/health\", every: 5s, timeout: 2s }\n\
             \x20 - http: { url: \"https://a/\", status: [200, 404], contains: ok, method: HEAD, redirects: 3, verify: false }\n\
             \x20 - tcp: { address: \"[::1]:25\", expect: \"220\", send: \"QUIT\\r\\n\" }\n\
             \x20 - tls: { address: \"a:443\", server_name: b, ca_file: /etc/ca.pem }\n\
             \x20 - dns: { query: a.example, type: AAAA, server: \"::1\", expect: [\"::2\"] }\n\
             \x20 - time: { server: pool.example, within: 200ms }\n\
             \x20 - file: { paths: [/etc/passwd, \"/etc/cron.d/*\"], max_bytes: 1MiB, full_every: 10 }\n\
             \x20 - mount: { mounts: [/mnt/nas], timeout: 1s }\n\
             \x20 - temperature\n  - users\n",
        )
        .unwrap();
        let uses = &policy.profiles.values().next().unwrap().sensors;
        assert_eq!(uses.len(), 10);
        for usage in uses {
            let entry = SENSORS.iter().find(|entry| entry.spec.name == usage.sensor).unwrap();
            (entry.build)(usage, &BTreeMap::new()).map(|_| ()).unwrap();
        }
        for (wrong, says) in [
            ("  - http: { url: \"shop/health\" }\n", "http://"),
            ("  - http: { url: \"http://a/\", status: [99] }\n", "from 100 to 599"),
            ("  - tcp: { address: shop }\n", "no port"),
            ("  - tls: {}\n", "`address`"),
            ("  - file: { paths: [\"/e*/passwd\"] }\n", "last part"),
            ("  - dns: { query: a, expect: [b] }\n", "IPv4 or IPv6"),
        ] {
            let said = check(wrong).unwrap_err();
            assert!(said[0].contains(says) && said[0].contains("p.yaml:4:"), "{said:?}");
        }
    }

    #[test]
    fn a_sensor_that_cannot_be_built_fails_its_sweeps_and_says_why() {
        let mut usage = default_use(&exec::SPEC);
        usage.params.insert("script".into(), Value::Text("gone".into()));
        let host: Arc<dyn Host> = Arc::new(crate::host::LocalHost::new());
        let error = build(&usage, &BTreeMap::new()).sweep(&host, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("gone"), "{error}");
        assert_eq!(scripts_of(&usage).collect::<Vec<_>>(), ["gone"]);
        usage.sensor = "telepathy";
        let error = build(&usage, &BTreeMap::new()).sweep(&host, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("telepathy"), "{error}");
    }

    #[test]
    fn a_rate_needs_two_looks_and_forgets_at_a_reset() {
        let mut rate = Rate::default();
        assert_eq!(rate.next(100, 1000), None);
        assert_eq!(rate.next(300, 3000), Some(100.0));
        assert_eq!(rate.next(5, 4000), None);
        assert_eq!(rate.next(6, 4000), None);
        assert_eq!(rate.next(8, 4500), Some(4.0));
    }

    #[test]
    fn label_values_are_cut_at_a_character() {
        let long = "ä".repeat(200);
        assert_eq!(cut(&long).len(), 256);
        assert!(cut(&format!("x{long}")).len() <= 256);
    }
}
