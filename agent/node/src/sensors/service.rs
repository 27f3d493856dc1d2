//! Services: systemd units, or a process known by its pid file or its name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skynet_model::catalogue::{SensorSpec, Unit};
use skynet_model::policy::{Script, SensorUse};
use skynet_model::series::SeriesKey;
use skynet_model::time::Span;
use skynet_model::value::ParamKind;

use super::{Sample, Sensor, SensorError, float, labelled, param, series, text, texts, truth};
use crate::host::{Host, HostError, Process};

/// Most units of one use.
const MAX_UNITS: usize = 500;

const LABELS: &[&str] = &["service"];

/// The catalogue entry.
pub(super) const SPEC: SensorSpec = SensorSpec {
    name: "service",
    help: "whether services run: systemd units, or where there is no systemd a pid file or a process name",
    every: Span::seconds(10),
    params: &[
        param(
            "units",
            ParamKind::List(&ParamKind::Unit),
            None,
            "systemd units; each is a service by its own name (at most 500)",
        ),
        param(
            "pid_file",
            ParamKind::Path,
            None,
            "file with the main process's number; the service is called by the use's name",
        ),
        param(
            "process",
            ParamKind::Text,
            None,
            "name of the main process (the first 15 bytes count), alone or beside pid_file",
        ),
        param("start", ParamKind::Script, None, "script by which service.start starts it"),
        param(
            "stop",
            ParamKind::Script,
            None,
            "script by which service.stop stops it; default: TERM to its main process",
        ),
    ],
    series: &[
        series("service.up", LABELS, Unit::Bool, "1 while it runs; 0 also for a unit that does not exist"),
        series(
            "service.failed",
            LABELS,
            Unit::Bool,
            "1 when it ended in failure, or left a pid file behind without a process",
        ),
        series(
            "service.restarts_total",
            LABELS,
            Unit::Count,
            "restarts by systemd; for a pid file those that the agent saw",
        ),
    ],
};

struct Keys {
    up: Arc<SeriesKey>,
    failed: Arc<SeriesKey>,
    restarts: Arc<SeriesKey>,
}

impl Keys {
    fn new(service: &str) -> Self {
        let key = |name| labelled(name, "service", service);
        Self { up: key("service.up"), failed: key("service.failed"), restarts: key("service.restarts_total") }
    }

    fn push(&self, out: &mut Sample, up: bool, failed: Option<bool>, restarts: Option<u64>) {
        out.push((Arc::clone(&self.up), truth(up)));
        if let Some(failed) = failed {
            out.push((Arc::clone(&self.failed), truth(failed)));
        }
        if let Some(restarts) = restarts {
            out.push((Arc::clone(&self.restarts), float(restarts)));
        }
    }
}

/// See [`super::build`].
pub(super) fn build(usage: &SensorUse, _: &BTreeMap<String, Script>) -> Result<Box<dyn Sensor>, SensorError> {
    let mut units = texts(usage, "units");
    units.truncate(MAX_UNITS);
    let pid_file = text(usage, "pid_file").map(PathBuf::from);
    let process = text(usage, "process").map(str::to_owned);
    if units.is_empty() && pid_file.is_none() && process.is_none() {
        return Err(SensorError::Config("service: give it units, a pid_file or a process".to_owned()));
    }
    let own = (pid_file.is_some() || process.is_some()).then(|| {
        let stem = pid_file.as_deref().and_then(Path::file_stem).map(|s| s.to_string_lossy().into_owned());
        let name = usage.name.clone().or(stem).or_else(|| process.clone()).unwrap_or_default();
        Own { keys: Keys::new(&name), pid_file, process, last: None, restarts: 0 }
    });
    let keys = units.iter().map(|unit| Keys::new(unit)).collect();
    Ok(Box::new(Services { units, keys, own, buf: Vec::new() }))
}

/// A service without a manager.
struct Own {
    keys: Keys,
    pid_file: Option<PathBuf>,
    process: Option<String>,
    /// The main process last seen: its number and start.
    last: Option<(u32, u64)>,
    restarts: u64,
}

struct Services {
    units: Vec<String>,
    keys: Vec<Keys>,
    own: Option<Own>,
    buf: Vec<u8>,
}

fn is_it(process: &Process, name: Option<&str>) -> bool {
    let fits = |name: &str| process.name.as_bytes() == &name.as_bytes()[..name.len().min(15)];
    !matches!(process.state, 'Z' | 'X') && name.is_none_or(fits)
}

impl Own {
    fn sweep(&mut self, host: &Arc<dyn Host>, buf: &mut Vec<u8>, out: &mut Sample) -> Result<(), SensorError> {
        let name = self.process.as_deref();
        let Some(pid_file) = &self.pid_file else {
            let up = host.processes()?.iter().any(|p| is_it(p, name));
            self.keys.push(out, up, None, None);
            return Ok(());
        };
        let written = match host.read(pid_file, buf) {
            Ok(()) => {
                std::str::from_utf8(buf).ok().and_then(|t| t.split_ascii_whitespace().next()?.parse::<u32>().ok())
            }
            Err(HostError::Missing(_)) => {
                self.keys.push(out, false, Some(false), Some(self.restarts));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let process = match written.map(|pid| host.process(pid)) {
            Some(Ok(process)) => Some(process).filter(|p| is_it(p, name)),
            Some(Err(HostError::Missing(_))) | None => None,
            Some(Err(error)) => return Err(error.into()),
        };
        // The same number with another start is a stranger that was given a dead service's number.
        let process = process.filter(|p| self.last.is_none_or(|(pid, start)| p.pid != pid || p.start == start));
        if let Some(process) = &process {
            let id = (process.pid, process.start);
            if self.last.replace(id).is_some_and(|before| before != id) {
                self.restarts += 1;
            }
        }
        self.keys.push(out, process.is_some(), Some(process.is_none()), Some(self.restarts));
        Ok(())
    }
}

impl Sensor for Services {
    fn sweep(&mut self, host: &Arc<dyn Host>, out: &mut Sample) -> Result<(), SensorError> {
        if let Some(own) = &mut self.own {
            own.sweep(host, &mut self.buf, out)?;
        }
        if !self.units.is_empty() {
            for (keys, state) in self.keys.iter().zip(host.units(&self.units)?) {
                keys.push(out, state.up, Some(state.word == "failed"), state.restarts);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{FixtureHost, assert_golden, list, show, sweep, usage};
    use super::*;
    use crate::host::ServiceState;
    use skynet_model::value::Value;

    fn make(name: Option<&str>, params: &[(&str, Value)]) -> Box<dyn Sensor> {
        super::super::build(&usage("service", name, params), &BTreeMap::new())
    }

    fn path(path: &str) -> Value {
        Value::Text(path.to_owned())
    }

    #[test]
    fn units_are_asked_in_one_go_and_unknown_ones_are_down() {
        let state = |up, word: &str, restarts| ServiceState { up, word: word.to_owned(), pid: None, restarts };
        let host = Arc::new(FixtureHost {
            units: Box::new(move |units| {
                assert_eq!(units, ["nginx.service", "mysql.service", "nobody.service"]);
                Ok(vec![
                    state(true, "active", Some(2)),
                    state(false, "failed", Some(0)),
                    state(false, "not-found", None),
                ])
            }),
            ..FixtureHost::new("before")
        });
        let units = list(&["nginx.service", "mysql.service", "nobody.service"]);
        assert_golden("service", &sweep(&mut *make(None, &[("units", units)]), &host));
    }

    #[test]
    fn units_without_systemd_fail_the_sweep() {
        let host: Arc<dyn Host> = Arc::new(FixtureHost::new("before"));
        let error = make(None, &[("units", list(&["a.service"]))]).sweep(&host, &mut Vec::new()).unwrap_err();
        assert!(matches!(error, SensorError::Host(HostError::Unsupported(_))));
    }

    struct Worker {
        root: tempfile::TempDir,
        host: Arc<FixtureHost>,
        sensor: Box<dyn Sensor>,
    }

    impl Worker {
        fn new(params: &[(&str, Value)]) -> Self {
            let root = tempfile::tempdir().unwrap();
            let host = Arc::new(FixtureHost::at(root.path().to_owned()));
            Self { host, sensor: make(Some("worker"), params), root }
        }

        fn see(&mut self, pid_file: Option<&str>, processes: &[(u32, u64, char)]) -> String {
            let file = self.root.path().join("worker.pid");
            match pid_file {
                Some(text) => std::fs::write(file, text).unwrap(),
                None => drop(std::fs::remove_file(file)),
            }
            let process = |&(pid, start, state): &(u32, u64, char)| Process {
                pid,
                start,
                name: "worker".to_owned(),
                cpu_ticks: 0,
                rss_bytes: 0,
                state,
                uid: 0,
            };
            *self.host.processes.lock().unwrap() = Some(processes.iter().map(process).collect());
            show(&sweep(&mut *self.sensor, &self.host)).replace("service.", "").replace("{service=\"worker\"}", "")
        }
    }

    #[test]
    fn a_pid_file_is_believed_only_while_its_process_lives() {
        let mut worker = Worker::new(&[("pid_file", path("/worker.pid"))]);
        assert_eq!(worker.see(None, &[]), "failed 0\nrestarts_total 0\nup 0\n");
        assert_eq!(worker.see(Some("7\n"), &[(7, 100, 'S')]), "failed 0\nrestarts_total 0\nup 1\n");
        assert_eq!(worker.see(Some("7\n"), &[(7, 100, 'Z')]), "failed 1\nrestarts_total 0\nup 0\n");
        assert_eq!(worker.see(Some("7\n"), &[]), "failed 1\nrestarts_total 0\nup 0\n");
        assert_eq!(worker.see(Some("7\n"), &[(7, 999, 'S')]), "failed 1\nrestarts_total 0\nup 0\n", "a stranger");
        assert_eq!(worker.see(Some("8\n"), &[(8, 1200, 'R')]), "failed 0\nrestarts_total 1\nup 1\n");
        assert_eq!(worker.see(Some("garbage"), &[(8, 1200, 'R')]), "failed 1\nrestarts_total 1\nup 0\n");
    }

    #[test]
    fn a_pid_file_that_names_another_program_is_not_believed() {
        let mut worker = Worker::new(&[("pid_file", path("/worker.pid")), ("process", path("nginx"))]);
        assert_eq!(worker.see(Some("7\n"), &[(7, 100, 'S')]), "failed 1\nrestarts_total 0\nup 0\n");
    }

    #[test]
    fn a_process_name_alone_will_do() {
        let mut worker = Worker::new(&[("process", path("worker"))]);
        assert_eq!(worker.see(None, &[(7, 1, 'Z'), (9, 1, 'S')]), "up 1\n");
        assert_eq!(worker.see(None, &[(7, 1, 'Z')]), "up 0\n");
    }

    #[test]
    fn a_service_without_anything_to_look_at_cannot_be_built() {
        let host: Arc<dyn Host> = Arc::new(FixtureHost::new("before"));
        let error = make(Some("x"), &[]).sweep(&host, &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "service: give it units, a pid_file or a process");
    }
}
