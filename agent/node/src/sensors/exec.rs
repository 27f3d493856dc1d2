//! Checks of the operators' own: scripts of the policy that print Nagios, Prometheus or JSON text.

mod json;
mod nagios;
mod prometheus;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skynet_model::catalogue::{SensorSpec, SeriesSpec, Unit};
use skynet_model::policy::{Script, SensorUse};
use skynet_model::series::SeriesKey;
use skynet_model::time::Span;
use skynet_model::value::{ParamKind, ParamSpec, Value};

use super::{Sample, Sensor, SensorError, Troubles, cut, float, labelled, series, text, texts};
use crate::host::{Exec, Host, HostError};

/// Most values taken from one check; what is beyond them is left out.
const MAX_METRICS: usize = 1000;
const UNKNOWN: i32 = 3;

/// The catalogue entry.
pub(super) const SPEC: SensorSpec = SensorSpec {
    name: "exec",
    help: "a script of the policy as a sensor; the check is called by the use's name, else by the script's",
    every: Span::seconds(60),
    params: &[
        ParamSpec { name: "script", kind: ParamKind::Script, required: true, default: None, help: "which script runs" },
        ParamSpec {
            name: "args",
            kind: ParamKind::List(&ParamKind::Text),
            required: false,
            default: None,
            help: "its arguments; never seen by a shell",
        },
        ParamSpec {
            name: "timeout",
            kind: ParamKind::Duration,
            required: false,
            default: Some("10s"),
            help: "when it is killed with all its children; the state is 3 then",
        },
        ParamSpec {
            name: "format",
            kind: ParamKind::Word(&["nagios", "prometheus", "json"]),
            required: false,
            default: Some("nagios"),
            help: "what it prints: nagios performance data (times come out in seconds, sizes in bytes: KB MB GB TB \
                   are of 1000, KiB MiB GiB TiB of 1024; % as a ratio), Prometheus text, or JSON: \
                   {\"name\": number} or a list of {name, labels, value}",
        },
    ],
    series: &[
        SeriesSpec {
            name: "exec.value",
            labels: &["check", "metric"],
            open_labels: true,
            unit: Unit::Any,
            ephemeral: false,
            help: "a value of the check (nagios, json); JSON may add labels; at most 1000 a check",
        },
        series(
            "exec.state",
            &["check"],
            Unit::State,
            "its exit code: 0 ok, 1 warning, 2 critical, 3 unknown or could not run",
        ),
        series("exec.duration_s", &["check"], Unit::Seconds, "how long it ran"),
        SeriesSpec {
            name: "prom.*",
            labels: &[],
            open_labels: true,
            unit: Unit::Any,
            ephemeral: false,
            help: "what a prometheus check printed, by its own names and labels",
        },
    ],
};

/// One value that a check printed.
#[derive(Clone, Debug, PartialEq)]
struct Metric {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Nagios,
    Prometheus,
    Json,
}

struct Check {
    name: String,
    exec: Exec,
    body: String,
    format: Format,
    state: Arc<SeriesKey>,
    duration: Arc<SeriesKey>,
    /// Those of the sweep before, to be used again.
    keys: BTreeSet<Arc<SeriesKey>>,
    troubles: Troubles,
}

/// See [`super::build`].
pub(super) fn build(usage: &SensorUse, scripts: &BTreeMap<String, Script>) -> Result<Box<dyn Sensor>, SensorError> {
    let config = |words: String| SensorError::Config(words);
    let script_name = text(usage, "script").ok_or_else(|| config("exec: name a script".to_owned()))?;
    let script =
        scripts.get(script_name).ok_or_else(|| config(format!("exec: the policy has no script `{script_name}`")))?;
    let format = match text(usage, "format") {
        None | Some("nagios") => Format::Nagios,
        Some("prometheus") => Format::Prometheus,
        Some("json") => Format::Json,
        Some(other) => return Err(config(format!("exec: there is no format `{other}`"))),
    };
    let timeout = usage.params.get("timeout").and_then(Value::as_span).unwrap_or(Span::seconds(10)).std();
    let name = cut(usage.name.as_deref().unwrap_or(script_name)).to_owned();
    Ok(Box::new(Check {
        exec: Exec {
            program: script.interpreter.clone(),
            args: texts(usage, "args"),
            stdin: Vec::new(),
            env: Vec::new(),
            timeout,
        },
        body: script.body.clone(),
        format,
        state: labelled("exec.state", "check", &name),
        duration: labelled("exec.duration_s", "check", &name),
        name,
        keys: BTreeSet::new(),
        troubles: Troubles::default(),
    }))
}

impl Check {
    /// The exit code as a state, and what was printed; or what went wrong.
    fn run(&self, host: &Arc<dyn Host>) -> (i32, Result<Vec<Metric>, String>) {
        let output = match host.run_script(&self.exec, &self.body) {
            Ok(output) => output,
            Err(HostError::Missing(what)) => return (UNKNOWN, Err(format!("{what} is not there; install it"))),
            Err(error) => return (UNKNOWN, Err(error.to_string())),
        };
        let state = if (0..UNKNOWN).contains(&output.code) { output.code } else { UNKNOWN };
        let printed = String::from_utf8_lossy(&output.stdout);
        let metrics = match self.format {
            Format::Nagios => Ok(nagios::parse(&printed)),
            Format::Prometheus => prometheus::parse(&printed),
            Format::Json => json::parse(&printed),
        };
        match metrics {
            Ok(metrics) if output.code == state => (state, Ok(metrics)),
            Ok(metrics) => {
                // Its exit code means nothing to us (127: the interpreter found no such command); what it printed
                // stands.
                tracing::debug!(check = %self.name, code = output.code, "taken as unknown");
                (UNKNOWN, Ok(metrics))
            }
            Err(words) => (UNKNOWN, Err(words)),
        }
    }

    fn key(&self, metric: &Metric) -> SeriesKey {
        if self.format == Format::Prometheus {
            return SeriesKey::new(&format!("prom.{}", metric.name), metric.labels.iter().map(|(n, v)| (n, v)));
        }
        let given = metric.labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        // Ours come last and win.
        SeriesKey::new("exec.value", given.chain([("check", self.name.as_str()), ("metric", cut(&metric.name))]))
    }
}

impl Sensor for Check {
    fn sweep(&mut self, host: &Arc<dyn Host>, out: &mut Sample) -> Result<(), SensorError> {
        let begun = host.boot_ms();
        let (state, metrics) = self.run(host);
        let took = u64::try_from(host.boot_ms().saturating_sub(begun)).unwrap_or(0);
        out.push((Arc::clone(&self.state), f64::from(state)));
        out.push((Arc::clone(&self.duration), float(took) / 1000.0));
        let metrics = match metrics {
            Ok(metrics) => {
                self.troubles.end(&self.name);
                metrics
            }
            Err(words) => {
                self.troubles.begin(&self.name, &words);
                Vec::new()
            }
        };
        let mut keys = BTreeSet::new();
        for metric in metrics.iter().take(MAX_METRICS) {
            let key = self.key(metric);
            if key.check().is_err() {
                continue;
            }
            let key = self.keys.take(&key).unwrap_or_else(|| Arc::new(key));
            // Of two values for one series the first stands.
            if keys.insert(Arc::clone(&key)) {
                out.push((key, metric.value));
            }
        }
        self.keys = keys;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{FixtureHost, list, script, show, sweep, usage, value};
    use super::*;

    fn check(format: &str, body: &str, more: &[(&str, Value)]) -> Box<dyn Sensor> {
        let mut params = vec![("script", Value::Text("s".into())), ("format", Value::Text(format.into()))];
        params.extend(more.iter().cloned());
        let scripts = BTreeMap::from([("s".to_owned(), script(body))]);
        super::super::build(&usage("exec", Some("queue"), &params), &scripts)
    }

    fn run(format: &str, body: &str, more: &[(&str, Value)]) -> Sample {
        let host = Arc::new(FixtureHost::new("before"));
        sweep(&mut *check(format, body, more), &host)
    }

    #[test]
    fn a_nagios_plugin_gives_state_values_and_duration() {
        let sample = run(
            "nagios",
            "echo \"WARNING - $2 jobs | jobs=$2;10;20 time=250ms load=40%\"; exit 1",
            &[("args", list(&["-w", "12"]))],
        );
        assert_eq!(
            show(&sample),
            "exec.duration_s{check=\"queue\"} 0\nexec.state{check=\"queue\"} 1\n\
             exec.value{check=\"queue\",metric=\"jobs\"} 12\nexec.value{check=\"queue\",metric=\"load\"} 0.4\n\
             exec.value{check=\"queue\",metric=\"time\"} 0.25\n"
        );
    }

    #[test]
    fn prometheus_text_keeps_its_names_and_labels() {
        let sample = run("prometheus", "cat <<'E'\n# TYPE http_total counter\nhttp_total{code=\"200\"} 7 1700\nE", &[]);
        assert_eq!(value(&sample, "prom.http_total{code=\"200\"}"), Some(7.0));
        assert_eq!(value(&sample, "exec.state{check=\"queue\"}"), Some(0.0));
    }

    #[test]
    fn json_may_add_labels_but_not_pretend_to_be_another_check() {
        let body = r#"echo '[{"name":"depth","labels":{"q":"mail","check":"other"},"value":3.5}]'; exit 2"#;
        let sample = run("json", body, &[]);
        assert_eq!(value(&sample, "exec.value{check=\"queue\",metric=\"depth\",q=\"mail\"}"), Some(3.5));
        assert_eq!(value(&sample, "exec.state{check=\"queue\"}"), Some(2.0));
    }

    #[test]
    fn what_cannot_run_times_out_or_makes_no_sense_is_unknown_and_the_sweep_is_fine() {
        let timeout = ("timeout", Value::Duration(Span(200)));
        for (format, body, more) in [
            ("nagios", "exec sleep 60", vec![timeout]),
            ("nagios", "exit 99", vec![]),
            ("nagios", "kill -9 $$", vec![]),
            ("json", "echo nonsense", vec![]),
            ("prometheus", "echo '} 3'", vec![]),
        ] {
            let sample = run(format, body, &more);
            assert_eq!(value(&sample, "exec.state{check=\"queue\"}"), Some(3.0), "{format} {body}");
            assert_eq!(sample.len(), 2);
        }
        let scripts =
            BTreeMap::from([("s".to_owned(), Script { interpreter: "/no/such".into(), body: String::new() })]);
        let usage = usage("exec", None, &[("script", Value::Text("s".into()))]);
        let sample = sweep(&mut *super::super::build(&usage, &scripts), &Arc::new(FixtureHost::new("before")));
        assert_eq!(value(&sample, "exec.state{check=\"s\"}"), Some(3.0), "called by its script's name");
    }

    #[test]
    fn values_are_bounded_in_number_and_one_series_has_one_value() {
        let body = "i=0; printf 'OK |'; while [ $i -lt 1500 ]; do printf ' m%d=1' $i; i=$((i+1)); done; echo";
        assert_eq!(run("nagios", body, &[]).len(), 2 + MAX_METRICS);
        let twice = run("nagios", "echo 'OK | a=1 a=2'", &[]);
        assert_eq!(value(&twice, "exec.value{check=\"queue\",metric=\"a\"}"), Some(1.0));
        assert_eq!(twice.len(), 3);
        let long = format!("echo '{{\"{}\": 1}}'", "x".repeat(5000));
        assert_eq!(run("json", &long, &[]).len(), 3, "a long name is cut");
    }

    #[test]
    fn keys_are_the_same_ones_from_sweep_to_sweep() {
        let host = Arc::new(FixtureHost::new("before"));
        let mut check = check("nagios", "echo 'OK | a=1 b=2'", &[]);
        let (first, second) = (sweep(&mut *check, &host), sweep(&mut *check, &host));
        assert!(first.iter().zip(&second).all(|((a, _), (b, _))| Arc::ptr_eq(a, b)));
    }
}
