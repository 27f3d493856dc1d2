//! Who is logged in, from systemd-logind's files or utmp(5).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skynet_model::catalogue::{SensorSpec, SeriesSpec, Unit};
use skynet_model::policy::{Script, SensorUse};
use skynet_model::series::SeriesKey;
use skynet_model::time::Span;

use super::{Sample, Sensor, SensorError, float, labelled, lines, plain, series};
use crate::host::{Host, HostError};

/// Most users that have a series of their own.
const MAX_USERS: usize = 100;
const SESSIONS: &str = "/run/systemd/sessions";
/// utmp(5) of the C libraries we run with: the size of a record differs between architectures, its beginning does not.
const RECORD_SIZES: [usize; 2] = [384, 400];
const TYPE: std::ops::Range<usize> = 0..2;
const USER: std::ops::Range<usize> = 44..76;
const USER_PROCESS: i16 = 7;
const LAST_TYPE: i16 = 9;

/// The catalogue entry.
pub(super) const SPEC: SensorSpec = SensorSpec {
    name: "users",
    help: "who is logged in: systemd-logind's sessions of people, or utmp where there is no logind",
    every: Span::seconds(10),
    params: &[],
    series: &[
        series("users.sessions", &[], Unit::Count, "sessions"),
        series("users.distinct", &[], Unit::Count, "different users"),
        SeriesSpec {
            name: "users.session_count",
            labels: &["user"],
            open_labels: false,
            unit: Unit::Count,
            ephemeral: true,
            help: "sessions of one user (at most 100 users)",
        },
    ],
};

struct Users {
    sessions: Arc<SeriesKey>,
    distinct: Arc<SeriesKey>,
    keys: BTreeMap<String, Arc<SeriesKey>>,
    buf: Vec<u8>,
}

/// See [`super::build`].
pub(super) fn build(_: &SensorUse, _: &BTreeMap<String, Script>) -> Result<Box<dyn Sensor>, SensorError> {
    Ok(Box::new(Users {
        sessions: plain("users.sessions"),
        distinct: plain("users.distinct"),
        keys: BTreeMap::new(),
        buf: Vec::new(),
    }))
}

type Counts = BTreeMap<String, u64>;

/// The user of a session file, if the session is a person's and goes on.
fn user_of(text: &[u8]) -> Option<&str> {
    let of = |name: &str| lines(text).find_map(|line| line.strip_prefix(name));
    let class = of("CLASS=")?;
    let living = of("STATE=") != Some("closing");
    (living && class.starts_with("user")).then(|| of("USER=").or_else(|| of("UID="))).flatten()
}

/// The users of a utmp file.
fn utmp(bytes: &[u8]) -> Option<Counts> {
    let kind = |record: &[u8]| Some(i16::from_le_bytes(record.get(TYPE)?.try_into().ok()?));
    let fits = |size: &&usize| {
        bytes.len().is_multiple_of(**size)
            && bytes.chunks(**size).all(|r| kind(r).is_some_and(|k| (0..=LAST_TYPE).contains(&k)))
    };
    let size = RECORD_SIZES.iter().find(fits)?;
    let mut counts = Counts::new();
    for record in bytes.chunks(*size).filter(|r| kind(r) == Some(USER_PROCESS)) {
        let user = record.get(USER)?.split(|b| *b == 0).next().unwrap_or_default();
        if !user.is_empty() {
            *counts.entry(String::from_utf8_lossy(user).into_owned()).or_default() += 1;
        }
    }
    Some(counts)
}

impl Users {
    fn count(&mut self, host: &Arc<dyn Host>) -> Result<Counts, SensorError> {
        let names = match host.list(Path::new(SESSIONS)) {
            Ok(names) => names,
            Err(HostError::Missing(_)) => {
                for path in ["/run/utmp", "/var/run/utmp"] {
                    match host.read(Path::new(path), &mut self.buf) {
                        Ok(()) => return utmp(&self.buf).ok_or_else(|| SensorError::Malformed(path.to_owned())),
                        Err(HostError::Missing(_)) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                // A machine that does not write down who is there has nobody to tell of.
                return Ok(Counts::new());
            }
            Err(error) => return Err(error.into()),
        };
        let mut counts = Counts::new();
        // Beside each session's file there is a pipe, `1.ref`, that nobody should open.
        for name in names.iter().filter(|name| !name.contains('.')) {
            let path = PathBuf::from(SESSIONS).join(name);
            // One that ended meanwhile.
            if host.read(&path, &mut self.buf).is_err() {
                continue;
            }
            if let Some(user) = user_of(&self.buf) {
                *counts.entry(user.to_owned()).or_default() += 1;
            }
        }
        Ok(counts)
    }
}

impl Sensor for Users {
    fn sweep(&mut self, host: &Arc<dyn Host>, out: &mut Sample) -> Result<(), SensorError> {
        let counts = self.count(host)?;
        out.push((Arc::clone(&self.sessions), float(counts.values().sum())));
        out.push((Arc::clone(&self.distinct), float(counts.len() as u64)));
        self.keys.retain(|user, _| counts.contains_key(user));
        for (user, count) in counts.into_iter().take(MAX_USERS) {
            let key = self.keys.entry(user).or_insert_with_key(|user| labelled("users.session_count", "user", user));
            out.push((Arc::clone(key), float(count)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{FixtureHost, assert_golden, make, show, sweep};
    use super::*;

    fn record(size: usize, kind: i16, user: &str) -> Vec<u8> {
        let mut record = vec![0; size];
        record[TYPE].copy_from_slice(&kind.to_le_bytes());
        record[USER.start..USER.start + user.len()].copy_from_slice(user.as_bytes());
        record
    }

    #[test]
    fn logind_knows_people_from_managers_and_the_closing_from_the_living() {
        assert_golden("users", &sweep(&mut *make("users", &[]), &Arc::new(FixtureHost::new("before"))));
    }

    #[test]
    fn without_logind_utmp_is_read_whatever_the_architecture() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("run")).unwrap();
        let host = Arc::new(FixtureHost::at(root.path().to_owned()));
        let mut users = make("users", &[]);
        assert_eq!(show(&sweep(&mut *users, &host)), "users.distinct 0\nusers.sessions 0\n");
        let expected = "users.distinct 2\nusers.session_count{user=\"ada\"} 2\n\
                        users.session_count{user=\"a-name-of-thirty-two-characters-\"} 1\nusers.sessions 3\n";
        let mut expected: Vec<_> = expected.lines().collect();
        expected.sort_unstable();
        for size in RECORD_SIZES {
            let records = [
                record(size, 2, "reboot"),
                record(size, 7, "ada"),
                record(size, 8, "gone"),
                record(size, 7, "ada"),
                record(size, 7, "a-name-of-thirty-two-characters-"),
            ];
            std::fs::write(root.path().join("run/utmp"), records.concat()).unwrap();
            assert_eq!(show(&sweep(&mut *users, &host)).lines().collect::<Vec<_>>(), expected);
        }
        std::fs::write(root.path().join("run/utmp"), "no utmp").unwrap();
        let host: Arc<dyn Host> = host;
        assert!(users.sweep(&host, &mut Vec::new()).unwrap_err().to_string().contains("/run/utmp"));
    }
}
