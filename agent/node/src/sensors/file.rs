//! Files: whether they are there, how old, and whether their content changed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use skynet_model::catalogue::{SensorSpec, Unit};
use skynet_model::policy::{Script, SensorUse};
use skynet_model::series::SeriesKey;
use skynet_model::time::Span;
use skynet_model::value::ParamKind;

use super::{
    Sample, Sensor, SensorError, Troubles, float, int, labelled, param, required, seconds, series, texts, truth,
};
use crate::glob;
use crate::host::{FileStat, Host, HostError};

/// Most files of one use.
const MAX_FILES: usize = 1000;

const LABELS: &[&str] = &["path"];

/// The catalogue entry.
pub(super) const SPEC: SensorSpec = SensorSpec {
    name: "file",
    help: "files: whether they are there, how old, and whether their content changed (SHA-256), links followed",
    every: Span::seconds(60),
    params: &[
        required(
            "paths",
            ParamKind::List(&ParamKind::PathGlob),
            "which; * and ? in the last part stand for what is there, names with a leading dot only when written \
             (at most 1000 files)",
        ),
        param(
            "max_bytes",
            ParamKind::Size,
            Some("64MiB"),
            "most bytes hashed in one sweep, the rest follows in the next; of a larger file its beginning and its size",
        ),
        param(
            "full_every",
            ParamKind::Int { min: 1, max: 100_000 },
            Some("60"),
            "after how many sweeps a content is hashed again although inode, size and times stayed; 1: always",
        ),
    ],
    series: &[
        series(
            "file.present",
            LABELS,
            Unit::Bool,
            "1 while the file is there; 0 also for one that was found by * and went",
        ),
        series("file.size_bytes", LABELS, Unit::Bytes, "size"),
        series(
            "file.modified_age_s",
            LABELS,
            Unit::Seconds,
            "time since its content was last written, as the file says",
        ),
        series(
            "file.changes_total",
            LABELS,
            Unit::Count,
            "contents seen that differ from the one before, since the sensor began; a file that comes later begins with 1",
        ),
    ],
};

struct Keys {
    present: Arc<SeriesKey>,
    size: Arc<SeriesKey>,
    age: Arc<SeriesKey>,
    changes: Arc<SeriesKey>,
}

impl Keys {
    fn new(path: &str) -> Self {
        let key = |name| labelled(name, "path", path);
        Self {
            present: key("file.present"),
            size: key("file.size_bytes"),
            age: key("file.modified_age_s"),
            changes: key("file.changes_total"),
        }
    }
}

/// A content: its hash, and the size of the file.
type Content = ([u8; 32], u64);

struct Watched {
    keys: Keys,
    /// Named as it is, not found by a pattern.
    named: bool,
    /// What it is; none while it is not there.
    stat: Option<FileStat>,
    /// The content last seen, and of which stat.
    content: Option<(Content, FileStat)>,
    /// Whether it was there when the sensor began, or nobody looked yet.
    first: bool,
    /// Sweeps since it was hashed.
    age: i64,
    changes: u64,
}

impl Watched {
    fn new(path: &str, named: bool, first: bool) -> Self {
        Self { keys: Keys::new(path), named, stat: None, content: None, first, age: 0, changes: 0 }
    }

    fn is_due(&self, full_every: i64) -> bool {
        let same = |stat: &FileStat| self.content.as_ref().is_some_and(|(_, of)| of == stat);
        self.stat.as_ref().is_some_and(|stat| stat.regular && (!same(stat) || self.age >= full_every))
    }

    fn hashed(&mut self, content: Content, of: FileStat) {
        let changed = match &self.content {
            Some((before, _)) => *before != content,
            None => !self.first,
        };
        self.changes += u64::from(changed);
        self.content = Some((content, of));
        self.age = 0;
    }
}

struct Files {
    patterns: Vec<String>,
    max_bytes: u64,
    full_every: i64,
    watched: BTreeMap<String, Watched>,
    began: bool,
    troubles: Troubles,
}

/// See [`super::build`].
pub(super) fn build(usage: &SensorUse, _: &BTreeMap<String, Script>) -> Result<Box<dyn Sensor>, SensorError> {
    Ok(Box::new(Files {
        patterns: texts(usage, "paths"),
        max_bytes: u64::try_from(int(usage, "max_bytes", 64 << 20)).unwrap_or(0),
        full_every: int(usage, "full_every", 60),
        watched: BTreeMap::new(),
        began: false,
        troubles: Troubles::default(),
    }))
}

/// Directory and last part of a path that is a pattern.
fn pattern_of(path: &str) -> Option<(&str, &str)> {
    let (dir, last) = path.rsplit_once('/')?;
    last.contains(['*', '?']).then_some((if dir.is_empty() { "/" } else { dir }, last))
}

impl Files {
    /// Finds what is to be watched: all that is named, and what the patterns stand for now.
    fn find(&mut self, host: &dyn Host) {
        let first = !self.began;
        let mut found: Vec<(String, bool)> = Vec::new();
        for path in &self.patterns {
            let Some((dir, last)) = pattern_of(path) else {
                found.push((path.clone(), true));
                continue;
            };
            let names = match host.list(Path::new(dir)) {
                Ok(names) => {
                    self.troubles.end(path);
                    names
                }
                Err(HostError::Missing(_)) => Vec::new(),
                Err(error) => {
                    self.troubles.begin(path, &error.to_string());
                    continue;
                }
            };
            let meant = |name: &&String| {
                glob::fits(last.as_bytes(), name.as_bytes()) && (last.starts_with('.') || !name.starts_with('.'))
            };
            let dir = if dir == "/" { "" } else { dir };
            found.extend(names.iter().filter(meant).take(MAX_FILES).map(|name| (format!("{dir}/{name}"), false)));
        }
        for (path, named) in found {
            if self.watched.contains_key(&path) {
                continue;
            }
            if self.watched.len() >= MAX_FILES {
                // Those found by a pattern that went make room.
                let gone =
                    self.watched.iter().find(|(_, w)| !w.named && w.stat.is_none()).map(|(path, _)| path.clone());
                let Some(gone) = gone else {
                    self.troubles.begin("the other files", &format!("there are more than {MAX_FILES}; watch fewer"));
                    return;
                };
                self.watched.remove(&gone);
            }
            let watched = Watched::new(&path, named, first);
            self.watched.insert(path, watched);
        }
    }

    fn look(&mut self, host: &dyn Host) {
        for (path, watched) in &mut self.watched {
            watched.age += 1;
            match host.file_stat(Path::new(path)) {
                Ok(stat) if !watched.named && !stat.regular => watched.stat = None,
                Ok(stat) => watched.stat = Some(stat),
                Err(HostError::Missing(_)) => {
                    watched.stat = None;
                    // What comes later was not there when the sensor began.
                    watched.first = false;
                }
                Err(error) => {
                    watched.stat = None;
                    self.troubles.begin(path, &error.to_string());
                }
            }
        }
    }

    /// Hashes what is due, those that waited longest first, within the bounds of one sweep.
    fn hash(&mut self, host: &dyn Host) {
        let mut due: Vec<(i64, &String, &mut Watched)> = self
            .watched
            .iter_mut()
            .filter(|(_, w)| w.is_due(self.full_every))
            .map(|(path, w)| (if w.content.is_none() { i64::MIN } else { -w.age }, path, w))
            .collect();
        due.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
        let mut left = self.max_bytes;
        for (_, path, watched) in due {
            let Some(stat) = watched.stat else { continue };
            let wanted = stat.size.min(self.max_bytes);
            if wanted > left {
                break;
            }
            match host.digest(Path::new(path), self.max_bytes) {
                Ok((hash, read)) => {
                    left = left.saturating_sub(read);
                    watched.hashed((hash, stat.size), stat);
                    self.troubles.end(path);
                }
                Err(HostError::Missing(_)) => {}
                Err(error) => self.troubles.begin(path, &error.to_string()),
            }
        }
    }
}

impl Sensor for Files {
    fn sweep(&mut self, host: &Arc<dyn Host>, out: &mut Sample) -> Result<(), SensorError> {
        self.find(&**host);
        self.look(&**host);
        self.hash(&**host);
        self.began = true;
        let now = host.now().0;
        // Directories and the like that a pattern stands for are no files: nothing is said of them.
        for watched in self.watched.values().filter(|w| w.named || w.stat.is_some() || w.content.is_some()) {
            let keys = &watched.keys;
            out.push((Arc::clone(&keys.present), truth(watched.stat.is_some())));
            if let Some(stat) = &watched.stat {
                let modified = i64::try_from(stat.modified_ns / 1_000_000).unwrap_or(now);
                out.push((Arc::clone(&keys.size), float(stat.size)));
                out.push((Arc::clone(&keys.age), seconds(Span(now.saturating_sub(modified)))));
            }
            if watched.content.is_some() {
                out.push((Arc::clone(&keys.changes), float(watched.changes)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "file/tests.rs"]
mod tests;
