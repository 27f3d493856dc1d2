//! Processes from /proc, user names from /etc/passwd.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{LocalHost, io_error};
use crate::host::{Host, HostError, Process};

/// Most processes of one listing; the kernel's own limit on 64 bits is 4 Mi.
const MAX_PROCESSES: usize = 1 << 18;

/// Every process whose entry can be read. One that vanishes meanwhile, or may not be read, is left out.
pub(super) fn all(host: &LocalHost) -> Result<Vec<Process>, HostError> {
    let listing = |e: &std::io::Error| io_error("/proc", e);
    let mut found = Vec::new();
    let mut buf = Vec::new();
    for entry in std::fs::read_dir(host.real(Path::new("/proc"))).map_err(|e| listing(&e))? {
        let entry = entry.map_err(|e| listing(&e))?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        match read(&entry.path(), pid, &mut buf) {
            Ok(Some(process)) => found.push(process),
            Ok(None) => {}
            // Our own want, not the process's: without it a listing would show living processes as gone.
            Err(e) if is_shortage(&e) => return Err(listing(&e)),
            Err(_) => {}
        }
        if found.len() >= MAX_PROCESSES {
            break;
        }
    }
    found.sort_unstable_by_key(|p| p.pid);
    Ok(found)
}

fn is_shortage(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let code = error.raw_os_error();
    [Errno::MFILE, Errno::NFILE, Errno::NOMEM].iter().any(|e| code == Some(e.raw_os_error()))
}

/// One process; [`HostError::Missing`] when it is gone.
pub(super) fn one(host: &LocalHost, pid: u32) -> Result<Process, HostError> {
    let what = format!("process {pid}");
    let dir = host.real(&PathBuf::from(format!("/proc/{pid}")));
    match read(&dir, pid, &mut Vec::new()) {
        Ok(Some(process)) => Ok(process),
        Ok(None) => Err(HostError::Failed { what, error: "its stat file has another form than proc(5) says".into() }),
        Err(e) => Err(io_error(&what, &e)),
    }
}

/// `Ok(None)`: the file is not what proc(5) says.
fn read(dir: &Path, pid: u32, buf: &mut Vec<u8>) -> std::io::Result<Option<Process>> {
    buf.clear();
    std::fs::File::open(dir.join("stat"))?.take(4096).read_to_end(buf)?;
    // The directory itself always belongs to the effective user, also of processes that cannot be dumped.
    let uid = std::fs::symlink_metadata(dir)?.uid();
    Ok(parse(buf, pid, uid))
}

/// proc(5): `pid (comm) state ppid ...`; comm may hold spaces and parentheses, so the last `)` ends it.
fn parse(stat: &[u8], pid: u32, uid: u32) -> Option<Process> {
    let open = stat.iter().position(|b| *b == b'(')?;
    let close = stat.iter().rposition(|b| *b == b')')?;
    let name = String::from_utf8_lossy(stat.get(open + 1..close)?).into_owned();
    let mut rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?.split_ascii_whitespace();
    let state = rest.next()?.chars().next()?;
    // Numbered as in proc(5), where state is field 3.
    let mut field = 3;
    let mut skip_to = |n: usize| {
        let value = rest.nth(n - field - 1)?;
        field = n;
        value.parse::<u64>().ok()
    };
    let user = skip_to(14)?;
    let system = skip_to(15)?;
    let start = skip_to(22)?;
    let pages = skip_to(24)?;
    let rss_bytes = pages.saturating_mul(rustix::param::page_size() as u64);
    Some(Process { pid, start, name, cpu_ticks: user.saturating_add(system), rss_bytes, state, uid })
}

/// The name in /etc/passwd; other sources of users are not asked, they may hang.
pub(super) fn user_name(host: &LocalHost, uid: u32) -> String {
    let mut text = Vec::new();
    let number = uid.to_string();
    if host.read(Path::new("/etc/passwd"), &mut text).is_err() {
        return number;
    }
    let text = String::from_utf8_lossy(&text);
    text.lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)? == number && !name.is_empty()).then(|| name.to_owned())
        })
        .unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_is_read_whole() {
        let stat = b"7 (a) b (c)) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 1 0 1234 5000 3 18446744073709551615 0";
        let p = parse(stat, 7, 33).unwrap();
        assert_eq!((p.name.as_str(), p.state, p.cpu_ticks, p.start, p.uid), ("a) b (c)", 'S', 200, 1234, 33));
        assert_eq!(p.rss_bytes, 3 * rustix::param::page_size() as u64);
        for cut in [&b""[..], b"7 (a", b"7 )a(", b"7 (a) S 1 2", b"7 (a)"] {
            assert_eq!(parse(cut, 7, 0), None);
        }
    }

    #[test]
    fn this_very_process_is_listed_and_named_alike() {
        let host = LocalHost::new();
        let me = std::process::id();
        let listed = host.processes().unwrap().into_iter().find(|p| p.pid == me).unwrap();
        let alone = host.process(me).unwrap();
        assert_eq!((listed.start, &listed.name, listed.uid), (alone.start, &alone.name, alone.uid));
        assert_eq!(alone.uid, rustix::process::geteuid().as_raw());
        assert!(alone.rss_bytes > 0);
        assert_eq!(host.user_name(0), "root");
        assert_eq!(host.user_name(u32::MAX - 7), (u32::MAX - 7).to_string());
    }

    #[test]
    fn entries_that_vanish_or_make_no_sense_are_left_out_of_a_listing() {
        let root = tempfile::tempdir().unwrap();
        let entry = |pid: &str, stat: Option<&str>| {
            let dir = root.path().join("proc").join(pid);
            std::fs::create_dir_all(&dir).unwrap();
            if let Some(stat) = stat {
                std::fs::write(dir.join("stat"), stat).unwrap();
            }
        };
        entry("1", Some("1 (init) S 0 1 1 0 -1 0 0 0 0 0 5 5 0 0 20 0 1 0 9 0 2 0"));
        entry("2", None);
        entry("3", Some("garbage"));
        entry("self", Some("nobody asks"));
        let host = LocalHost::with_root(root.path().to_owned());
        let all = host.processes().unwrap();
        assert_eq!(all.iter().map(|p| p.pid).collect::<Vec<_>>(), [1]);
        assert!(matches!(host.process(2), Err(HostError::Missing(_))));
        assert!(matches!(host.process(3), Err(HostError::Failed { .. })));
    }
}
