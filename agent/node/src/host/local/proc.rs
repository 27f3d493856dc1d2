//! Processes from /proc, user names from /etc/passwd.

use std::ffi::CStr;
use std::fmt::Write;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::fs::{AtFlags, Mode, OFlags, RawDir};
use rustix::io::Errno;

use super::{LocalHost, io_error};
use crate::host::{Host, HostError, Process};

/// Most processes of one listing; the kernel's own limit on 64 bits is 4 Mi.
const MAX_PROCESSES: usize = 1 << 18;
/// Room for names of a directory, as many as come with one call.
const NAMES: usize = 16 << 10;
/// Longer is no stat file: it has 52 numbers and a name of at most 64 bytes.
const STAT: usize = 4096;
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The directory of processes.
fn directory(host: &LocalHost) -> Result<&OwnedFd, Errno> {
    if let Some(fd) = host.proc.get() {
        return Ok(fd);
    }
    let fd = rustix::fs::open(&*host.real(Path::new("/proc")), DIRECTORY, Mode::empty())?;
    Ok(host.proc.get_or_init(|| fd))
}

/// Every process whose entry can be read. One that vanishes meanwhile, or may not be read, is left out.
pub(super) fn all(host: &LocalHost, into: &mut Vec<Process>) -> Result<(), HostError> {
    let mut found = 0;
    let listed = list(host, into, &mut found);
    into.truncate(found);
    // The kernel lists them in order; a fixture's file system need not.
    if !into.is_sorted_by_key(|p| p.pid) {
        into.sort_unstable_by_key(|p| p.pid);
    }
    listed.map_err(|error| io_error("/proc", &error.into()))
}

fn list(host: &LocalHost, into: &mut Vec<Process>, found: &mut usize) -> Result<(), Errno> {
    let proc = directory(host)?;
    // A view of its own: listings do not share a place in the list.
    let listing = rustix::fs::openat(proc, c".", DIRECTORY, Mode::empty())?;
    let (mut names, mut buf) = (host.room(NAMES), host.room(STAT));
    let mut dir = RawDir::new(listing, names.spare_capacity_mut());
    while let Some(entry) = dir.next() {
        let entry = entry?;
        let Some(pid) = number(entry.file_name()) else { continue };
        match read(proc, pid, &mut buf) {
            Ok(Some(stat)) => {
                match into.get_mut(*found) {
                    Some(slot) => stat.put(slot),
                    None => into.push(stat.process()),
                }
                *found += 1;
            }
            Ok(None) => {}
            // Our own want, not the process's: without it a listing would show living processes as gone.
            Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => return Err(error),
            Err(_) => {}
        }
        if *found >= MAX_PROCESSES {
            break;
        }
    }
    drop(dir);
    host.give_back(names);
    host.give_back(buf);
    Ok(())
}

fn number(name: &CStr) -> Option<u32> {
    name.to_str().ok()?.parse().ok()
}

/// One process; [`HostError::Missing`] when it is gone.
pub(super) fn one(host: &LocalHost, pid: u32) -> Result<Process, HostError> {
    let what = || format!("process {pid}");
    let failed = |error: Errno| io_error(&what(), &error.into());
    let proc = directory(host).map_err(failed)?;
    match read(proc, pid, &mut Vec::with_capacity(STAT)).map_err(failed)? {
        Some(stat) => Ok(stat.process()),
        None => {
            Err(HostError::Failed { what: what(), error: "its stat file has another form than proc(5) says".into() })
        }
    }
}

/// `Ok(None)`: the file is not what proc(5) says.
fn read<'b>(proc: &OwnedFd, pid: u32, buf: &'b mut Vec<u8>) -> Result<Option<Stat<'b>>, Errno> {
    let mut path = Name::default();
    let _ = write!(path, "{pid}");
    // The directory itself always belongs to the effective user, also of processes that cannot be dumped.
    let uid = rustix::fs::statat(proc, path.as_str(), AtFlags::SYMLINK_NOFOLLOW)?.st_uid;
    let _ = write!(path, "/stat");
    let file = rustix::fs::openat(proc, path.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    buf.clear();
    rustix::io::read(&file, spare_capacity(buf))?;
    Ok(parse(buf, pid, uid))
}

/// A short path, made without allocating.
#[derive(Default)]
struct Name {
    bytes: [u8; 20],
    used: usize,
}

impl Name {
    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.used]).unwrap_or_default()
    }
}

impl Write for Name {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let to = self.bytes.get_mut(self.used..self.used + text.len()).ok_or(std::fmt::Error)?;
        to.copy_from_slice(text.as_bytes());
        self.used += text.len();
        Ok(())
    }
}

/// What is read of a stat file.
#[derive(Debug, PartialEq)]
struct Stat<'b> {
    name: &'b [u8],
    /// All but its name.
    rest: Process,
}

impl Stat<'_> {
    /// Puts it in the place of another process, whose room its name takes.
    fn put(self, slot: &mut Process) {
        let mut name = std::mem::take(&mut slot.name);
        name.clear();
        name.push_str(&String::from_utf8_lossy(self.name));
        *slot = Process { name, ..self.rest };
    }

    fn process(self) -> Process {
        Process { name: String::from_utf8_lossy(self.name).into_owned(), ..self.rest }
    }
}

/// proc(5): `pid (comm) state ppid ...`; comm may hold spaces and parentheses, so the last `)` ends it.
fn parse(stat: &[u8], pid: u32, uid: u32) -> Option<Stat<'_>> {
    let open = stat.iter().position(|b| *b == b'(')?;
    let close = stat.iter().rposition(|b| *b == b')')?;
    let name = stat.get(open + 1..close)?;
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
    let cpu_ticks = user.saturating_add(system);
    Some(Stat { name, rest: Process { pid, start, name: String::new(), cpu_ticks, rss_bytes, state, uid } })
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
        let p = parse(stat, 7, 33).unwrap().process();
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
