//! A host made of fixture files, with a clock and answers that tests set; golden output.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use skynet_model::policy::{Script, SensorUse};
use skynet_model::time::Timestamp;
use skynet_model::value::Value;

use super::{SPECS, Sample, Sensor};
use crate::host::{
    DeleteFiles, Deleted, Exec, ExecOutput, FileStat, FsStat, Host, HostError, LocalHost, Process, ServiceState,
    Stream, UnitVerb,
};

type StatFn = Box<dyn Fn(&Path) -> Result<FsStat, HostError> + Send + Sync>;
type UnitsFn = Box<dyn Fn(&[String]) -> Result<Vec<ServiceState>, HostError> + Send + Sync>;

/// The machine `tests/fixtures/<name>`.
pub(super) struct FixtureHost {
    pub(super) files: Mutex<Arc<LocalHost>>,
    pub(super) boot_ms: AtomicI64,
    pub(super) processes: Mutex<Option<Vec<Process>>>,
    pub(super) stat: StatFn,
    pub(super) units: UnitsFn,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

impl FixtureHost {
    pub(super) fn new(fixture: &str) -> Self {
        Self::at(fixtures().join(fixture))
    }

    pub(super) fn at(root: PathBuf) -> Self {
        let unsupported = || HostError::Unsupported("not in this test".to_owned());
        Self {
            files: Mutex::new(Arc::new(LocalHost::with_root(root))),
            boot_ms: AtomicI64::new(1_000_000),
            processes: Mutex::new(None),
            stat: Box::new(move |_| Err(unsupported())),
            units: Box::new(move |_| Err(unsupported())),
        }
    }

    /// The machine becomes `fixture`, `ms` later.
    pub(super) fn later(&self, ms: i64, fixture: &str) {
        self.boot_ms.fetch_add(ms, Ordering::SeqCst);
        *self.files.lock().unwrap() = Arc::new(LocalHost::with_root(fixtures().join(fixture)));
    }

    /// Time goes by.
    pub(super) fn wait(&self, ms: i64) {
        self.boot_ms.fetch_add(ms, Ordering::SeqCst);
    }

    fn files(&self) -> Arc<LocalHost> {
        Arc::clone(&self.files.lock().unwrap())
    }

    /// Owner and page size of a checkout are nobody's business.
    fn tidy(mut process: Process) -> Process {
        process.uid = 0;
        process.rss_bytes = process.rss_bytes / rustix::param::page_size() as u64 * 4096;
        process
    }
}

impl Host for FixtureHost {
    fn now(&self) -> Timestamp {
        Timestamp(self.boot_ms())
    }
    fn boot_ms(&self) -> i64 {
        self.boot_ms.load(Ordering::SeqCst)
    }
    fn boot_id(&self) -> Result<String, HostError> {
        Ok("fixture".to_owned())
    }
    fn read(&self, path: &Path, buf: &mut Vec<u8>) -> Result<(), HostError> {
        self.files().read(path, buf)
    }
    fn fs_stat(&self, path: &Path) -> Result<FsStat, HostError> {
        (self.stat)(path)
    }
    fn list(&self, dir: &Path) -> Result<Vec<String>, HostError> {
        self.files().list(dir)
    }
    fn read_link(&self, path: &Path) -> Result<PathBuf, HostError> {
        self.files().read_link(path)
    }
    fn file_stat(&self, path: &Path) -> Result<FileStat, HostError> {
        self.files().file_stat(path)
    }
    fn digest(&self, path: &Path, most: u64) -> Result<([u8; 32], u64), HostError> {
        self.files().digest(path, most)
    }
    fn resolve(&self, name: &str, timeout: Duration) -> Result<Vec<IpAddr>, HostError> {
        self.files().resolve(name, timeout)
    }
    fn connect(&self, to: SocketAddr, timeout: Duration) -> Result<Box<dyn Stream>, HostError> {
        self.files().connect(to, timeout)
    }
    fn ask(
        &self,
        to: SocketAddr,
        question: &[u8],
        timeout: Duration,
        fits: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Vec<u8>, HostError> {
        self.files().ask(to, question, timeout, fits)
    }
    fn list_processes(&self, into: &mut Vec<Process>) -> Result<(), HostError> {
        *into = match &*self.processes.lock().unwrap() {
            Some(set) => set.clone(),
            None => self.files().processes()?.into_iter().map(Self::tidy).collect(),
        };
        Ok(())
    }
    fn process(&self, pid: u32) -> Result<Process, HostError> {
        let gone = || HostError::Missing(format!("process {pid}"));
        self.processes()?.into_iter().find(|p| p.pid == pid).ok_or_else(gone)
    }
    fn user_name(&self, uid: u32) -> String {
        self.files().user_name(uid)
    }
    fn run(&self, exec: &Exec) -> Result<ExecOutput, HostError> {
        self.files().run(exec)
    }
    fn run_script(&self, exec: &Exec, body: &str) -> Result<ExecOutput, HostError> {
        self.files().run_script(exec, body)
    }
    fn units(&self, units: &[String]) -> Result<Vec<ServiceState>, HostError> {
        (self.units)(units)
    }
    fn unit(&self, unit: &str, _: UnitVerb, _: Duration) -> Result<(), HostError> {
        Err(HostError::Unsupported(unit.to_owned()))
    }
    fn signal(&self, _: u32, _: u64, signal: &str) -> Result<(), HostError> {
        Err(HostError::Unsupported(signal.to_owned()))
    }
    fn delete_files(&self, what: &DeleteFiles) -> Result<Deleted, HostError> {
        Err(HostError::Unsupported(what.pattern.display().to_string()))
    }
}

/// A use of a sensor with its defaults and these parameters.
pub(super) fn usage(sensor: &str, name: Option<&str>, params: &[(&str, Value)]) -> SensorUse {
    let spec = SPECS.iter().find(|s| s.name == sensor).unwrap();
    let mut usage = super::default_use(spec);
    usage.name = name.map(str::to_owned);
    usage.params.extend(params.iter().map(|(n, v)| ((*n).to_owned(), v.clone())));
    usage
}

/// A list parameter.
pub(super) fn list(items: &[&str]) -> Value {
    Value::List(items.iter().map(|t| Value::Text((*t).to_owned())).collect())
}

/// One sweep, which must end well.
pub(super) fn sweep(sensor: &mut dyn Sensor, host: &Arc<FixtureHost>) -> Sample {
    let mut out = Vec::new();
    let host: Arc<dyn Host> = Arc::<FixtureHost>::clone(host);
    sensor.sweep(&host, &mut out).unwrap();
    out
}

/// One sweep of this very machine, which must end well.
pub(super) fn local(sensor: &mut dyn Sensor) -> Sample {
    let mut out = Vec::new();
    let host: Arc<dyn Host> = Arc::new(LocalHost::new());
    sensor.sweep(&host, &mut out).unwrap();
    out
}

/// A sensor of the catalogue.
pub(super) fn make(sensor: &str, params: &[(&str, Value)]) -> Box<dyn Sensor> {
    super::build(&usage(sensor, None, params), &BTreeMap::new())
}

/// A script run by /bin/sh.
pub(super) fn script(body: &str) -> Script {
    Script { interpreter: "/bin/sh".to_owned(), body: body.to_owned() }
}

/// The value of one series, by its text.
pub(super) fn value(sample: &Sample, series: &str) -> Option<f64> {
    sample.iter().find(|(key, _)| key.to_string() == series).map(|(_, v)| *v)
}

/// `series value` a line, sorted; every series must be in the catalogue with exactly its labels.
pub(super) fn show(sample: &Sample) -> String {
    let mut lines: Vec<String> = Vec::new();
    for (key, value) in sample {
        let (_, spec) = crate::catalogue().series(&key.name).unwrap_or_else(|| panic!("{key} is not in the catalogue"));
        let labels: Vec<_> = key.labels.iter().map(|(n, _)| n).collect();
        let mut declared = spec.labels.to_vec();
        declared.sort_unstable();
        assert!(spec.open_labels || labels == declared, "{key} has other labels than the catalogue says");
        assert_eq!(key.check(), Ok(()));
        lines.push(format!("{key} {value}\n"));
    }
    lines.sort();
    lines.concat()
}

/// Compares with `tests/fixtures/golden/<name>.txt`; `SKYNET_BLESS=1` writes it anew.
pub(super) fn assert_golden(name: &str, sample: &Sample) {
    let path = fixtures().join("golden").join(format!("{name}.txt"));
    let shown = show(sample);
    if std::env::var_os("SKYNET_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &shown).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(shown, golden, "{name}: differs from its golden file");
}
