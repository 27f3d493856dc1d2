//! Mounts that hang: whether each file system answers, and how fast.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use skynet_model::catalogue::{SensorSpec, Unit};
use skynet_model::policy::{Script, SensorUse};
use skynet_model::series::SeriesKey;
use skynet_model::time::Span;
use skynet_model::value::ParamKind;

use super::{Sample, Sensor, SensorError, Troubles, labelled, param, seconds_between, series, span, texts, truth};
use crate::host::Host;
use crate::mounts::{Answer, Asker, MAX_MOUNTS, table};

const LABELS: &[&str] = &["mount"];
const PATIENCE: Span = Span::seconds(2);

/// The catalogue entry.
pub(super) const SPEC: SensorSpec = SensorSpec {
    name: "mount",
    help: "whether mounted file systems answer (statvfs), network ones first of all; one that hangs holds up nothing else",
    every: Span::seconds(30),
    params: &[
        param(
            "mounts",
            ParamKind::List(&ParamKind::Path),
            None,
            "these mount points (at most 128); default every network and FUSE file system",
        ),
        param("timeout", ParamKind::Duration, Some("2s"), "how long one may take"),
    ],
    series: &[
        series("mount.mounted", LABELS, Unit::Bool, "1 while something is mounted there; 0 only for a listed mount"),
        series("mount.responsive", LABELS, Unit::Bool, "1 when it answered in time, 0 while it hangs or fails"),
        series("mount.response_s", LABELS, Unit::Seconds, "how long its answer took; missing while it hangs"),
    ],
};

struct Keys {
    mounted: Arc<SeriesKey>,
    responsive: Arc<SeriesKey>,
    response: Arc<SeriesKey>,
}

impl Keys {
    fn new(mount: &str) -> Self {
        let key = |name| labelled(name, "mount", mount);
        Self { mounted: key("mount.mounted"), responsive: key("mount.responsive"), response: key("mount.response_s") }
    }
}

struct Mounts {
    /// Empty: every network and FUSE file system.
    wanted: Vec<String>,
    keys: BTreeMap<Arc<str>, Keys>,
    asker: Asker,
    troubles: Troubles,
    buf: Vec<u8>,
}

/// See [`super::build`].
pub(super) fn build(usage: &SensorUse, _: &BTreeMap<String, Script>) -> Result<Box<dyn Sensor>, SensorError> {
    let mut wanted = texts(usage, "mounts");
    wanted.sort();
    wanted.dedup();
    wanted.truncate(MAX_MOUNTS);
    Ok(Box::new(Mounts {
        wanted,
        keys: BTreeMap::new(),
        asker: Asker::new(span(usage, "timeout", PATIENCE).std()),
        troubles: Troubles::default(),
        buf: Vec::new(),
    }))
}

/// Whether another machine, or a program of this one, serves it.
fn is_served(kind: &str) -> bool {
    let words = ["nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "glusterfs", "lustre", "9p", "afs", "ocfs2", "gfs2"];
    words.contains(&kind) || kind == "fuse" || kind.starts_with("fuse.") || kind == "fuseblk" || kind == "virtiofs"
}

impl Sensor for Mounts {
    fn sweep(&mut self, host: &Arc<dyn Host>, out: &mut Sample) -> Result<(), SensorError> {
        host.read(Path::new("/proc/mounts"), &mut self.buf)?;
        let is_wanted = |point: &str, kind: &str| {
            if self.wanted.is_empty() { is_served(kind) } else { self.wanted.iter().any(|w| w == point) }
        };
        let mut mounts: Vec<Arc<str>> = table(&self.buf)
            .map(|m| (m.point(), m.kind))
            .filter(|(p, k)| is_wanted(p, k))
            .map(|(p, _)| p.into())
            .collect();
        mounts.sort();
        mounts.dedup();
        mounts.truncate(MAX_MOUNTS);
        self.keys.retain(|mount, _| mounts.contains(mount) || self.wanted.iter().any(|w| **w == **mount));
        let missing = self.wanted.iter().map(|w| Arc::from(w.as_str())).filter(|w| !mounts.contains(w));
        for (mount, there) in mounts.iter().cloned().map(|m| (m, true)).chain(missing.map(|m| (m, false))) {
            let keys = self.keys.entry(mount).or_insert_with_key(|mount| Keys::new(mount));
            out.push((Arc::clone(&keys.mounted), truth(there)));
        }
        let (keys, troubles) = (&self.keys, &mut self.troubles);
        let take = |number: usize, answer: &Answer| {
            let mount = &mounts[number];
            let Some(keys) = keys.get(mount) else { return };
            let well = match answer {
                Answer::Said(Ok(_), took) => {
                    out.push((Arc::clone(&keys.response), seconds_between(0, *took)));
                    troubles.end(mount);
                    true
                }
                Answer::Said(Err(error), _) => {
                    troubles.begin(mount, &error.to_string());
                    false
                }
                Answer::Silent => {
                    troubles.begin(mount, "it does not answer");
                    false
                }
            };
            out.push((Arc::clone(&keys.responsive), truth(well)));
        };
        let asked = self.asker.ask(host, &mounts, take);
        asked.map_err(|e| SensorError::Config(format!("no thread to ask file systems: {e}")))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{FixtureHost, list, make, show, sweep, value};
    use super::*;
    use crate::host::{FsStat, HostError};
    use skynet_model::value::Value;
    use std::sync::Mutex;

    const FINE: FsStat = FsStat { total_bytes: 1, free_bytes: 1, available_bytes: 1, total_inodes: 0, free_inodes: 0 };

    #[test]
    fn served_file_systems_are_looked_at_and_listed_ones_must_be_there() {
        let host = Arc::new(FixtureHost { stat: Box::new(|_| Ok(FINE)), ..FixtureHost::new("before") });
        let shown = show(&sweep(&mut *make("mount", &[]), &host));
        assert_eq!(
            shown,
            "mount.mounted{mount=\"/mnt/nas\"} 1\nmount.response_s{mount=\"/mnt/nas\"} 0\n\
             mount.responsive{mount=\"/mnt/nas\"} 1\n"
        );
        let mut listed = make("mount", &[("mounts", list(&["/home", "/mnt/gone"]))]);
        let sample = sweep(&mut *listed, &host);
        assert_eq!(value(&sample, "mount.mounted{mount=\"/mnt/gone\"}"), Some(0.0));
        assert_eq!(value(&sample, "mount.responsive{mount=\"/mnt/gone\"}"), None);
        assert_eq!(value(&sample, "mount.responsive{mount=\"/home\"}"), Some(1.0));
    }

    #[test]
    fn one_that_hangs_is_unresponsive_while_it_does_and_no_other_waits_for_it() {
        let hang = Arc::new(Mutex::new(()));
        let held = hang.lock().unwrap();
        let gate = Arc::clone(&hang);
        let stat = move |path: &Path| match path.to_str().unwrap() {
            "/home" => {
                let _wait = gate.lock();
                Ok(FINE)
            }
            "/mnt/nas" => Err(HostError::Failed { what: "/mnt/nas".into(), error: "stale file handle".into() }),
            _ => Ok(FINE),
        };
        let host = Arc::new(FixtureHost { stat: Box::new(stat), ..FixtureHost::new("before") });
        let timeout = ("timeout", Value::Duration(Span(100)));
        let mut mounts = make("mount", &[("mounts", list(&["/", "/home", "/mnt/nas", "/var/lib/my data"])), timeout]);
        let responsive =
            |sample: &Sample, mount: &str| value(sample, &format!("mount.responsive{{mount=\"{mount}\"}}"));
        for _ in 0..2 {
            let sample = sweep(&mut *mounts, &host);
            assert_eq!(responsive(&sample, "/home"), Some(0.0));
            assert_eq!(value(&sample, "mount.response_s{mount=\"/home\"}"), None);
            assert_eq!(responsive(&sample, "/mnt/nas"), Some(0.0), "it answers with an error");
            assert_eq!((responsive(&sample, "/"), responsive(&sample, "/var/lib/my data")), (Some(1.0), Some(1.0)));
        }
        drop(held);
        let deadline = crate::host::local::boot_ms() + 10_000;
        while responsive(&sweep(&mut *mounts, &host), "/home") != Some(1.0) {
            assert!(crate::host::local::boot_ms() < deadline, "it never came back");
        }
    }

    /// A FUSE file system whose server never says a word: whatever is asked of it waits.
    struct Mute {
        device: Option<std::fs::File>,
        dir: tempfile::TempDir,
    }

    impl Mute {
        fn mount() -> Self {
            use std::os::fd::AsRawFd;
            let dir = tempfile::tempdir().unwrap();
            let device = std::fs::File::options().read(true).write(true).open("/dev/fuse").unwrap();
            let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
            let options = std::ffi::CString::new(options).unwrap();
            let flags = rustix::mount::MountFlags::empty();
            rustix::mount::mount("mute", dir.path(), "fuse", flags, options.as_c_str()).unwrap();
            Self { device: Some(device), dir }
        }
    }

    impl Drop for Mute {
        fn drop(&mut self) {
            self.device = None;
            let _ = rustix::mount::unmount(self.dir.path(), rustix::mount::UnmountFlags::DETACH);
        }
    }

    #[test]
    fn a_real_mount_whose_server_is_silent_holds_up_nothing_and_costs_one_thread() {
        let mut mute = Mute::mount();
        let point = mute.dir.path().to_str().unwrap().to_owned();
        let timeout = ("timeout", Value::Duration(Span(150)));
        let mut mounts = make("mount", &[("mounts", list(&["/", "/proc", &point])), timeout]);
        let responsive =
            |sample: &Sample, mount: &str| value(sample, &format!("mount.responsive{{mount=\"{mount}\"}}"));
        let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
        let mut before = None;
        for sweep in 0..4 {
            let sample = super::super::testing::local(&mut *mounts);
            assert_eq!((responsive(&sample, "/"), responsive(&sample, "/proc")), (Some(1.0), Some(1.0)));
            assert_eq!(responsive(&sample, &point), Some(0.0));
            assert_eq!(value(&sample, &format!("mount.mounted{{mount=\"{point}\"}}")), Some(1.0));
            // The one that hangs, and from the second sweep on another that asks the others.
            if sweep > 0 {
                assert!(threads() <= *before.get_or_insert_with(threads), "each sweep leaves a thread behind");
            }
        }
        // Its server goes: everything that waits is told so, and the mount now answers, with an error.
        mute.device = None;
        let deadline = crate::host::local::boot_ms() + 10_000;
        while rustix::fs::statvfs(point.as_str()).is_ok() {
            assert!(crate::host::local::boot_ms() < deadline);
        }
        let sample = super::super::testing::local(&mut *mounts);
        assert_eq!(responsive(&sample, &point), Some(0.0));
        assert_eq!(responsive(&sample, "/"), Some(1.0));
    }
}
