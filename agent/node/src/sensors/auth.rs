//! Failed logins, by the address they come from: the log of sshd and PAM, from its file or from systemd's journal.

use core::net::IpAddr;
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use skynet_model::catalogue::{SensorSpec, SeriesSpec, Unit};
use skynet_model::policy::{Script, SensorUse};
use skynet_model::series::SeriesKey;
use skynet_model::time::Span;

use super::{Sample, Sensor, SensorError, float, labelled, lines};
use crate::host::{Exec, Host, HostError};

/// Most addresses that have a series of their own; those with most failures.
const MAX_ADDRESSES: usize = 1000;
/// What is counted together, in milliseconds.
const MINUTE: i64 = 60_000;
/// Where distributions write what sshd and PAM say.
const FILES: [&str; 2] = ["/var/log/auth.log", "/var/log/secure"];
/// Most lines that are asked of the journal.
const MAX_LINES: &str = "5000";

/// The catalogue entry.
pub(super) const SPEC: SensorSpec = SensorSpec {
    name: "auth",
    help: "failed logins of the last minute, from /var/log/auth.log or /var/log/secure, else from systemd's journal",
    every: Span::seconds(10),
    params: &[],
    series: &[SeriesSpec {
        name: "auth.failures_per_min",
        labels: &["ip"],
        open_labels: false,
        unit: Unit::Count,
        ephemeral: true,
        help: "failed logins of the last minute from one address (at most 1,000 addresses)",
    }],
};

type Counts = BTreeMap<IpAddr, u64>;

struct Auth {
    keys: BTreeMap<IpAddr, Arc<SeriesKey>>,
    /// How far the log's file was read.
    read: Option<u64>,
    /// What was found in it, and when: milliseconds on the boot clock.
    found: VecDeque<(i64, Counts)>,
}

/// See [`super::build`].
pub(super) fn build(_: &SensorUse, _: &BTreeMap<String, Script>) -> Result<Box<dyn Sensor>, SensorError> {
    Ok(Box::new(Auth { keys: BTreeMap::new(), read: None, found: VecDeque::new() }))
}

/// The program and its message: `TIME HOST sshd[123]: Failed password for ...`, where the time is one word or three. Other
/// programs' messages, which may hold such a text, come after a word with a colon at its end, or later.
fn split(line: &str) -> Option<(&str, &str)> {
    let (head, message) = line.split_once("]: ")?;
    let mut words = head.split_whitespace().rev();
    let tag = words.next()?;
    let before: Vec<&str> = words.take(5).collect();
    let plain = matches!(before.len(), 2 | 4) && !before.iter().any(|word| word.ends_with(':'));
    plain.then(|| tag.split('[').next()).flatten().map(|program| (program, message))
}

fn address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// The address after the last ` from `: names before it are whatever was typed. What stands after it is sshd's own, or else,
/// as with a certificate's id, also whatever somebody wrote: then the only address there is.
fn from(message: &str) -> Option<IpAddr> {
    let (before, rest) = message.rsplit_once(" from ")?;
    let mut words = rest.split_whitespace();
    let ip = address(words.next()?);
    let rest: Vec<&str> = words.take(4).collect();
    match *rest.as_slice() {
        [] | ["port", _] | ["port", _, "ssh2"] => ip,
        _ if before.contains(" from ") => None,
        _ => ip,
    }
}

/// The address that PAM names. Users' names stand before and after it as they were typed: a second one says that one of
/// them is no address at all.
fn rhost(message: &str) -> Option<IpAddr> {
    let (before, rest) = message.rsplit_once(" rhost=")?;
    if before.contains("rhost=") {
        return None;
    }
    address(rest.split_whitespace().next()?)
}

/// Failures by address. Of a name that does not exist sshd writes one line when it is tried and another for each password
/// that fails, or none where passwords are not asked for: the greater number counts.
fn failures<'l>(lines: impl Iterator<Item = &'l str>) -> Counts {
    let (mut counts, mut tried, mut refused) = (Counts::new(), Counts::new(), Counts::new());
    for line in lines {
        let Some((program, message)) = split(line) else { continue };
        let sshd = matches!(program, "sshd" | "sshd-session");
        let (into, ip) = if sshd && message.starts_with("Invalid user ") {
            (&mut tried, from(message))
        } else if sshd && message.starts_with("Failed ") && message.contains(" for invalid user ") {
            (&mut refused, from(message))
        } else if sshd && message.starts_with("Failed ") {
            (&mut counts, from(message))
        } else if !sshd && message.starts_with("pam_") && message.contains(": authentication failure; ") {
            // What PAM says of sshd, sshd says itself.
            (&mut counts, rhost(message))
        } else {
            continue;
        };
        if let Some(ip) = ip {
            *into.entry(ip).or_default() += 1;
        }
    }
    for (ip, n) in &tried {
        let more = refused.entry(*ip).or_default();
        *more = (*more).max(*n);
    }
    for (ip, n) in refused {
        *counts.entry(ip).or_default() += n;
    }
    counts
}

impl Auth {
    /// What the file has more than at the last sweep; the first one only looks where its end is.
    fn read_file(&mut self, host: &Arc<dyn Host>, path: &str, size: u64) -> Result<(), SensorError> {
        // A file that has shrunk was put away and begun anew.
        let begin = self.read.map(|read| if size < read { 0 } else { read });
        self.read = Some(size);
        let Some(begin) = begin.filter(|begin| *begin < size) else { return Ok(()) };
        let output = host.run(&exec("tail", &["-c", &format!("+{}", begin + 1), path]))?;
        if output.code != 0 {
            return Err(SensorError::Malformed(format!("tail of {path}")));
        }
        let counts = failures(lines(&output.stdout));
        if !counts.is_empty() {
            self.found.push_back((host.boot_ms(), counts));
        }
        Ok(())
    }

    fn count(&mut self, host: &Arc<dyn Host>) -> Result<Counts, SensorError> {
        for path in FILES {
            match host.file_stat(Path::new(path)) {
                Ok(stat) => {
                    self.read_file(host, path, stat.size)?;
                    let now = host.boot_ms();
                    while self.found.front().is_some_and(|(at, _)| now - at > MINUTE) {
                        self.found.pop_front();
                    }
                    let mut sum = Counts::new();
                    for (ip, n) in self.found.iter().flat_map(|(_, counts)| counts) {
                        *sum.entry(*ip).or_default() += n;
                    }
                    return Ok(sum);
                }
                Err(HostError::Missing(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let args = ["-q", "--no-pager", "-o", "short", "-n", MAX_LINES, "--since=-60s"];
        let facilities = ["SYSLOG_FACILITY=4", "SYSLOG_FACILITY=10"];
        let output = host.run(&exec("journalctl", &[&args[..], &facilities[..]].concat()))?;
        if output.code != 0 {
            return Err(SensorError::Malformed("journalctl's answer".to_owned()));
        }
        Ok(failures(lines(&output.stdout)))
    }
}

fn exec(program: &str, args: &[&str]) -> Exec {
    Exec {
        program: program.to_owned(),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        stdin: Vec::new(),
        env: Vec::new(),
        timeout: Duration::from_secs(10),
    }
}

impl Sensor for Auth {
    fn sweep(&mut self, host: &Arc<dyn Host>, out: &mut Sample) -> Result<(), SensorError> {
        let counts = self.count(host)?;
        let mut most: Vec<(IpAddr, u64)> = counts.into_iter().collect();
        most.sort_by_key(|(ip, n)| (std::cmp::Reverse(*n), *ip));
        most.truncate(MAX_ADDRESSES);
        self.keys.retain(|ip, _| most.iter().any(|(one, _)| one == ip));
        for (ip, count) in most {
            let key = |ip: &IpAddr| labelled("auth.failures_per_min", "ip", &ip.to_string());
            let key = self.keys.entry(ip).or_insert_with_key(key);
            out.push((Arc::clone(key), float(count)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
Nov  1 03:14:15 web1 sshd[1]: Failed password for root from 203.0.113.7 port 4711 ssh2
2026-11-01T03:14:15.926535+00:00 web1 sshd-session[2]: Invalid user admin from 203.0.113.7 port 4712
Nov  1 03:14:16 web1 sshd[2]: Failed password for invalid user admin from 203.0.113.7 port 4712 ssh2
Nov  1 03:14:16 web1 sshd[2]: Failed password for invalid user admin from 203.0.113.7 port 4712 ssh2
Nov  1 03:14:17 web1 sshd[3]: Invalid user x from 192.0.2.1 from 2001:db8::7 port 4713
Nov  1 03:14:17 web1 sshd[3]: pam_unix(sshd:auth): authentication failure; logname= uid=0 rhost=203.0.113.7
Nov  1 03:14:18 web1 dovecot[4]: pam_unix(dovecot:auth): authentication failure; logname= uid=0 rhost=198.51.100.9  user=ann
Nov  1 03:14:19 web1 sshd[5]: Accepted publickey for ann from 198.51.100.1 port 1 ssh2
Nov  1 03:14:20 web1 cron[6]: Failed password for root from 198.51.100.2 port 1 ssh2
Failed password for root from 198.51.100.3 port 1 ssh2
Nov  1 03:14:21 web1 sshd[7]: Failed password for root from nowhere port 1 ssh2
";

    fn counted(text: &str) -> Vec<(String, u64)> {
        failures(text.lines()).into_iter().map(|(ip, n)| (ip.to_string(), n)).collect()
    }

    #[test]
    fn what_is_added_to_the_file_is_counted_for_a_minute_and_rotation_loses_nothing() {
        let root = tempfile::tempdir().unwrap();
        let log = root.path().join("auth.log");
        std::fs::write(&log, LOG).unwrap();
        let (path, read) = (log.clone(), log.clone());
        let program = move |exec: &Exec| {
            let mut exec = exec.clone();
            if let Some(last) = exec.args.last_mut() {
                *last = path.display().to_string();
            }
            exec
        };
        let proxy = crate::proxy::Proxy {
            host: crate::host::LocalHost::new(),
            program: Box::new(program),
            file: Box::new(move |_| read.clone()),
        };
        let host: Arc<dyn Host> = Arc::new(proxy);
        let mut auth = Auth { keys: BTreeMap::new(), read: None, found: VecDeque::new() };
        let sweep = |auth: &mut Auth| {
            let mut out = Sample::new();
            auth.sweep(&host, &mut out).unwrap();
            out.iter().map(|(key, value)| format!("{key} {value}")).collect::<Vec<_>>()
        };
        assert!(sweep(&mut auth).is_empty(), "what was there before is the past");
        let add = |text: &str| {
            use std::io::Write;
            std::fs::OpenOptions::new().append(true).open(&log).unwrap().write_all(text.as_bytes()).unwrap();
        };
        add("x web1 sshd[9]: Failed password for root from 192.0.2.9 port 1 ssh2\n");
        let one = ["auth.failures_per_min{ip=\"192.0.2.9\"} 1"];
        assert_eq!(sweep(&mut auth), one);
        assert_eq!(sweep(&mut auth), one, "it still counts");
        std::fs::write(&log, "x web1 sshd[9]: Failed password for root from 192.0.2.9 port 2 ssh2\n").unwrap();
        assert_eq!(sweep(&mut auth), ["auth.failures_per_min{ip=\"192.0.2.9\"} 2"]);
        for (at, _) in &mut auth.found {
            *at -= MINUTE + 1000;
        }
        assert!(sweep(&mut auth).is_empty(), "a minute later nothing is left of it");
    }

    #[test]
    fn failures_are_counted_once_by_the_address_that_sshd_names() {
        let expected = [("198.51.100.9", 1), ("203.0.113.7", 3), ("2001:db8::7", 1)];
        assert_eq!(counted(LOG), expected.map(|(ip, n)| (ip.to_owned(), n)));
        assert!(counted("\u{0}]: \n]: x\nsshd[]: Failed  from \n").is_empty());
    }

    #[test]
    fn nobody_can_have_another_address_counted() {
        let failed = "Failed password for root from 192.0.2.66 port 1 ssh2";
        for forged in [
            // What other programs' messages hold, as sudo's, which has no number after its name.
            format!("Nov  1 03:14:15 web1 sudo:      ann : command not allowed ; COMMAND=/bin/x sshd[1]: {failed}"),
            format!("2026-11-01T03:14:15+00:00 web1 su: x sshd[1]: {failed}"),
            format!("2026-11-01T03:14:15+00:00 web1 sudo[7]: x sshd[1]: {failed}"),
            // A user's name at another service.
            "Nov  1 03:14:15 web1 dovecot[4]: pam_unix(dovecot:auth): authentication failure; logname= uid=0 \
             ruser=ann rhost=198.51.100.9  user=ann rhost=192.0.2.66"
                .to_owned(),
            "Nov  1 03:14:15 web1 dovecot[4]: pam_unix(dovecot:auth): authentication failure; logname= uid=0 \
             ruser=ann rhost=192.0.2.66 rhost=  user=ann"
                .to_owned(),
            // The id of a certificate that its owner made.
            "Nov  1 03:14:15 web1 sshd[4]: Failed publickey for invalid user ann from 198.51.100.9 port 1 ssh2: \
             ED25519-CERT SHA256:x ID me from 192.0.2.66 port 1 ssh2 (serial 0) CA ED25519 SHA256:y"
                .to_owned(),
        ] {
            assert_eq!(counted(&forged), [], "{forged}");
        }
        for (line, ip) in [
            ("Failed publickey for ann from 198.51.100.9 port 1 ssh2: ED25519 SHA256:x", "198.51.100.9"),
            (
                "Failed password for invalid user x from 192.0.2.66 port 1 ssh2 from 198.51.100.9 port 1 ssh2",
                "198.51.100.9",
            ),
            ("Failed none for invalid user  from 198.51.100.9 port 1 ssh2", "198.51.100.9"),
        ] {
            let counted = counted(&format!("Nov  1 03:14:15 web1 sshd[4]: {line}"));
            assert_eq!(counted, [(ip.to_owned(), 1)], "{line}");
        }
    }
}
