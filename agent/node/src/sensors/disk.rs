//! File systems, from /proc/mounts and statvfs(3).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use skynet_model::catalogue::{SensorSpec, Unit};
use skynet_model::policy::{Script, SensorUse};
use skynet_model::series::SeriesKey;
use skynet_model::time::Span;
use skynet_model::value::{ParamKind, ParamSpec};

use super::{Sample, Sensor, SensorError, Troubles, float, labelled, series, texts};
use crate::host::{FsStat, Host};
use crate::mounts::{Answer, Asker, MAX_MOUNTS, table};

/// How long one file system may take before the others go on without it.
const PATIENCE: Duration = Duration::from_secs(2);

const LABELS: &[&str] = &["mount"];

/// The catalogue entry.
pub(super) const SPEC: SensorSpec = SensorSpec {
    name: "disk",
    help: "size and use of file systems, as df says",
    every: Span::seconds(30),
    params: &[ParamSpec {
        name: "mounts",
        kind: ParamKind::List(&ParamKind::Path),
        required: false,
        default: None,
        help: "only these mount points; default / and every local disk, each device once \
               (tmpfs and network file systems when listed)",
    }],
    series: &[
        series("disk.total_bytes", LABELS, Unit::Bytes, "size"),
        series("disk.free_bytes", LABELS, Unit::Bytes, "what others than root can still write; df's Available"),
        series("disk.used_ratio", LABELS, Unit::Ratio, "used / (used + available); df's Use%"),
        series("disk.inodes_used_ratio", LABELS, Unit::Ratio, "share of inodes in use; missing where there are none"),
    ],
};

struct Keys {
    total: Arc<SeriesKey>,
    free: Arc<SeriesKey>,
    used: Arc<SeriesKey>,
    inodes: Arc<SeriesKey>,
}

impl Keys {
    fn new(mount: &str) -> Self {
        let key = |name| labelled(name, "mount", mount);
        Self {
            total: key("disk.total_bytes"),
            free: key("disk.free_bytes"),
            used: key("disk.used_ratio"),
            inodes: key("disk.inodes_used_ratio"),
        }
    }

    fn push(&self, stat: &FsStat, out: &mut Sample) {
        let used = float(stat.total_bytes.saturating_sub(stat.free_bytes));
        let available = float(stat.available_bytes);
        out.push((Arc::clone(&self.total), float(stat.total_bytes)));
        out.push((Arc::clone(&self.free), available));
        out.push((Arc::clone(&self.used), used / (used + available)));
        if stat.total_inodes > 0 {
            let used = stat.total_inodes.saturating_sub(stat.free_inodes);
            out.push((Arc::clone(&self.inodes), float(used) / float(stat.total_inodes)));
        }
    }
}

struct Disk {
    /// Empty: every local disk.
    wanted: Vec<String>,
    /// The mount table as it was last read, and what was chosen of it.
    table: Vec<u8>,
    mounts: Vec<Arc<str>>,
    keys: BTreeMap<Arc<str>, Keys>,
    asker: Asker,
    troubles: Troubles,
    buf: Vec<u8>,
}

/// See [`super::build`].
pub(super) fn build(usage: &SensorUse, _: &BTreeMap<String, Script>) -> Result<Box<dyn Sensor>, SensorError> {
    Ok(Box::new(Disk::new(texts(usage, "mounts"), PATIENCE)))
}

/// Whether a file system is a disk of this machine. Network ones hang with their server, the others live in memory, are
/// full by nature (images), or show another one's space (overlays).
fn is_local_disk(source: &str, kind: &str) -> bool {
    match kind {
        "squashfs" | "iso9660" | "udf" | "erofs" | "cramfs" | "overlay" | "autofs" => false,
        "zfs" | "btrfs" | "bcachefs" => true,
        _ => source.starts_with("/dev/"),
    }
}

/// The mount points to look at. A listed one must be mounted: an unmounted directory would show its parent's numbers.
fn choose(mounts: &[u8], wanted: &[String]) -> Vec<Arc<str>> {
    let mut devices: BTreeMap<&str, String> = BTreeMap::new();
    let mut listed: Vec<String> = Vec::new();
    for mount in table(mounts) {
        let point = mount.point();
        if !wanted.is_empty() {
            if wanted.contains(&point) && !listed.contains(&point) {
                listed.push(point);
            }
        } else if point == "/" {
            // Whatever it is made of, it is where this machine lives.
            devices.insert(mount.source, point);
        } else if is_local_disk(mount.source, mount.kind) {
            // Bind mounts and subvolumes show one device again, after its first mount.
            devices.entry(mount.source).or_insert(point);
        }
    }
    let mut chosen: Vec<String> = if wanted.is_empty() { devices.into_values().collect() } else { listed };
    chosen.sort();
    chosen.dedup();
    chosen.truncate(MAX_MOUNTS);
    chosen.into_iter().map(Arc::from).collect()
}

impl Disk {
    fn new(wanted: Vec<String>, patience: Duration) -> Self {
        Self {
            wanted,
            table: Vec::new(),
            mounts: Vec::new(),
            keys: BTreeMap::new(),
            asker: Asker::new(patience),
            troubles: Troubles::default(),
            buf: Vec::new(),
        }
    }
}

impl Sensor for Disk {
    fn sweep(&mut self, host: &Arc<dyn Host>, out: &mut Sample) -> Result<(), SensorError> {
        host.read(Path::new("/proc/mounts"), &mut self.buf)?;
        // Mounts come and go seldom: what was chosen stands as long as the table is the same.
        if self.buf != self.table || self.mounts.is_empty() {
            self.mounts = choose(&self.buf, &self.wanted);
            std::mem::swap(&mut self.buf, &mut self.table);
            self.keys = self.mounts.iter().map(|mount| (Arc::clone(mount), Keys::new(mount))).collect();
        }
        let (mounts, keys, troubles) = (&self.mounts, &self.keys, &mut self.troubles);
        let take = |number: usize, answer: &Answer| {
            let mount = &mounts[number];
            match answer {
                // What has no blocks is not a disk; df leaves it out, too.
                Answer::Said(Ok(stat), _) if stat.total_bytes == 0 => {}
                Answer::Said(Ok(stat), _) => {
                    troubles.end(mount);
                    if let Some(keys) = keys.get(mount) {
                        keys.push(stat, out);
                    }
                }
                Answer::Said(Err(error), _) => troubles.begin(mount, &error.to_string()),
                Answer::Silent => troubles.begin(mount, "it does not answer"),
            }
        };
        let asked = self.asker.ask(host, mounts, take);
        asked.map_err(|e| SensorError::Config(format!("no thread to ask file systems: {e}")))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{FixtureHost, assert_golden, list, make, sweep, value};
    use super::*;
    use crate::host::{HostError, LocalHost};
    use std::sync::Mutex;

    fn stat(path: &Path) -> Result<FsStat, HostError> {
        let stat = |total, free, available, total_inodes, free_inodes| FsStat {
            total_bytes: total,
            free_bytes: free,
            available_bytes: available,
            total_inodes,
            free_inodes,
        };
        match path.to_str().unwrap() {
            "/" => Ok(stat(1000, 500, 300, 100, 75)),
            "/home" => Ok(stat(4096, 4096, 4096, 0, 0)),
            "/srv/bind" | "/var/lib/my data" => Ok(stat(800, 0, 0, 10, 0)),
            other => Err(HostError::Missing(other.to_owned())),
        }
    }

    fn fixture(stat: impl Fn(&Path) -> Result<FsStat, HostError> + Send + Sync + 'static) -> Arc<FixtureHost> {
        Arc::new(FixtureHost { stat: Box::new(stat), ..FixtureHost::new("before") })
    }

    #[test]
    fn local_disks_are_read_each_once() {
        assert_golden("disk", &sweep(&mut *make("disk", &[]), &fixture(stat)));
    }

    #[test]
    fn a_listed_mount_is_read_only_while_it_is_mounted() {
        let mut disk = make("disk", &[("mounts", list(&["/var/lib/my data", "/mnt/gone", "/home"]))]);
        let sample = sweep(&mut *disk, &fixture(|_| stat(Path::new("/home"))));
        assert!(value(&sample, "disk.used_ratio{mount=\"/var/lib/my data\"}").is_some());
        assert!(value(&sample, "disk.used_ratio{mount=\"/home\"}").is_some());
        assert!(!sample.iter().any(|(key, _)| key.labels.get("mount") == Some("/mnt/gone")));
    }

    #[test]
    fn a_hanging_mount_leaves_the_others_their_readings_and_comes_back() {
        let hang = Arc::new(Mutex::new(()));
        let held = hang.lock().unwrap();
        let gate = Arc::clone(&hang);
        let host = fixture(move |path| {
            if path == Path::new("/") {
                let _wait = gate.lock();
            }
            stat(path)
        });
        let mut disk = Disk::new(Vec::new(), Duration::from_millis(100));
        for _ in 0..2 {
            let sample = sweep(&mut disk, &host);
            assert_eq!(value(&sample, "disk.used_ratio{mount=\"/\"}"), None);
            assert_eq!(value(&sample, "disk.total_bytes{mount=\"/home\"}"), Some(4096.0));
            assert_eq!(disk.asker.stuck(), 1, "asked once, not again while it hangs");
        }
        drop(held);
        let deadline = crate::host::local::boot_ms() + 10_000;
        while value(&sweep(&mut disk, &host), "disk.used_ratio{mount=\"/\"}").is_none() {
            assert!(crate::host::local::boot_ms() < deadline, "it never came back");
        }
        assert_eq!(disk.asker.stuck(), 0);
    }

    #[test]
    fn numbers_agree_with_df() {
        let df = |columns: &str| {
            let output = std::process::Command::new("df").args(["-B1", columns, "/"]).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let row = text.lines().nth(1).unwrap();
            row.split_whitespace().map(|w| w.trim_end_matches('%').parse().unwrap()).collect::<Vec<f64>>()
        };
        let host: Arc<dyn Host> = Arc::new(LocalHost::new());
        let mut disk = make("disk", &[("mounts", list(&["/"]))]);
        let mut sample = Vec::new();
        let said = df("--output=size,used,avail,pcent");
        disk.sweep(&host, &mut sample).unwrap();
        let of = |name: &str| value(&sample, &format!("{name}{{mount=\"/\"}}")).unwrap();
        // Others write to this disk meanwhile.
        let near = |a: f64, b: f64| (a - b).abs() < said[0] * 0.01;
        assert!((of("disk.total_bytes") - said[0]).abs() < 1.0);
        assert!(near(of("disk.free_bytes"), said[2]), "{said:?}");
        assert!((of("disk.used_ratio") * 100.0 - said[3]).abs() <= 1.5, "{said:?} {}", of("disk.used_ratio"));
        let inodes = df("--output=ipcent");
        assert!((of("disk.inodes_used_ratio") * 100.0 - inodes[0]).abs() <= 1.5, "{inodes:?}");
    }

    #[test]
    fn mounts_are_bounded_in_number_and_the_root_is_always_there() {
        let disks: String = (0..MAX_MOUNTS + 50).map(|i| format!("/dev/sd{i} /data/{i} ext4 rw 0 0\n")).collect();
        let chosen = choose(format!("{disks}overlay / overlay rw 0 0\n").as_bytes(), &[]);
        assert_eq!((chosen.len(), &*chosen[0]), (MAX_MOUNTS, "/"));
    }
}
