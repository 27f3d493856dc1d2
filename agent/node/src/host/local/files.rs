//! Deletes files.
//!
//! The directory is opened part by part from the root, no part may be a link, and everything after that is done through
//! its descriptor: nobody who renames or links things meanwhile can turn the deletion to another place.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, open, openat, stat, statat, unlinkat};
use rustix::io::Errno;

use super::{LocalHost, io_error};
use crate::glob;
use crate::host::{DeleteFiles, Deleted, Host, HostError, MAX_DELETE};

/// Most directory entries looked at by one call.
const MAX_ENTRIES: usize = 1_000_000;

/// Nothing is deleted in these directories or below them: the system is made of them.
const SYSTEM: [&str; 13] = [
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/proc",
    "/sbin",
    "/sys",
    "/usr",
    "/var/lib/dpkg",
];
/// Nothing is deleted in these directories themselves; below them it may be.
const SHALLOW: [&str; 8] = ["/", "/home", "/opt", "/root", "/run", "/srv", "/var", "/var/lib"];

/// See [`crate::host::Host::delete_files`].
///
/// `*` leaves out names that begin with a dot unless the pattern does too. A file that cannot be deleted (another is
/// mounted on it, it is immutable) is passed over; only if nothing could be deleted is that an error.
pub(super) fn delete(host: &LocalHost, what: &DeleteFiles) -> Result<Deleted, HostError> {
    let shown = what.pattern.display().to_string();
    let refused = |why: &str| HostError::Denied { what: shown.clone(), remedy: why.to_owned() };
    let (Some(directory), Some(pattern)) = (what.pattern.parent(), what.pattern.file_name()) else {
        return Err(refused("a path needs a directory and a pattern"));
    };
    // A path that ends in `/` or `/.` has a last part that was not meant as one.
    if what.pattern.as_os_str().as_bytes().ends_with(b"/") || what.pattern.as_os_str().as_bytes().ends_with(b"/.") {
        return Err(refused("a path ends in a pattern for names, not in a directory"));
    }
    if SYSTEM.iter().any(|s| directory.starts_with(s)) || SHALLOW.iter().any(|s| directory == Path::new(s)) {
        return Err(refused("files of the system are never deleted; name a directory of an application"));
    }
    let fd = open_directory(host, directory)?;
    refuse_disguised(host, fd.as_fd(), &refused)?;
    let failed = |error: Errno| io_error(&directory.to_string_lossy(), &error.into());

    let limit = host.now().0.saturating_sub(what.older_than.0);
    let hidden = pattern.as_bytes().starts_with(b".");
    let mut names: Vec<(CString, u64)> = Vec::new();
    for entry in Dir::read_from(&fd).map_err(failed)?.take(MAX_ENTRIES) {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let (bytes, kind) = (name.to_bytes(), entry.file_type());
        let meant = glob::fits(pattern.as_bytes(), bytes) && (hidden || !bytes.starts_with(b"."));
        if !meant || !matches!(kind, FileType::RegularFile | FileType::Unknown) {
            continue;
        }
        if let Some(size) = size_if_meant(fd.as_fd(), name, (what.older_than.0 > 0).then_some(limit)) {
            names.push((name.to_owned(), size));
        }
        if names.len() as u64 >= MAX_DELETE {
            break;
        }
    }
    let (mut deleted, mut first_error) = (Deleted::default(), None);
    for (name, size) in names {
        // Without REMOVEDIR a directory that took the name is left alone, and a link would go instead of what it names.
        match unlinkat(&fd, name.as_c_str(), AtFlags::empty()) {
            Ok(()) => {
                deleted.files += 1;
                deleted.bytes = deleted.bytes.saturating_add(size);
            }
            Err(Errno::NOENT | Errno::ISDIR) => {}
            Err(error) => {
                first_error
                    .get_or_insert_with(|| io_error(&directory.join(lossy(&name)).to_string_lossy(), &error.into()));
            }
        }
    }
    match first_error {
        Some(error) if deleted.files == 0 => Err(error),
        Some(_) | None => Ok(deleted),
    }
}

fn lossy(name: &CStr) -> String {
    name.to_string_lossy().into_owned()
}

/// The size of a regular file last written before `limit` (milliseconds of wall time), if it is one.
fn size_if_meant(directory: std::os::fd::BorrowedFd<'_>, name: &CStr, limit: Option<i64>) -> Option<u64> {
    let found = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let written =
        found.st_mtime.saturating_mul(1000).saturating_add(i64::try_from(found.st_mtime_nsec).ok()? / 1_000_000);
    let meant = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile && limit.is_none_or(|l| written < l);
    // Other names of the same file keep its blocks.
    let freed = if found.st_nlink > 1 { 0 } else { u64::try_from(found.st_size).unwrap_or(0) };
    meant.then_some(freed)
}

fn open_directory(host: &LocalHost, directory: &Path) -> Result<OwnedFd, HostError> {
    let crooked = || {
        let remedy = "a path is absolute and holds no `..`".to_owned();
        HostError::Denied { what: directory.display().to_string(), remedy }
    };
    if !directory.is_absolute() {
        return Err(crooked());
    }
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
    let mut fd = open(&host.root, flags, Mode::empty())
        .map_err(|error| io_error(&host.root.to_string_lossy(), &error.into()))?;
    let mut so_far = Path::new("/").to_owned();
    for part in directory.components() {
        let name = match part {
            Component::RootDir => continue,
            Component::Normal(name) => name,
            Component::CurDir | Component::ParentDir | Component::Prefix(_) => return Err(crooked()),
        };
        so_far.push(name);
        fd = match openat(&fd, name, flags | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::LOOP | Errno::NOTDIR) => {
                let remedy = "it is a link or no directory; name the real directory".to_owned();
                return Err(HostError::Denied { what: so_far.display().to_string(), remedy });
            }
            Err(error) => return Err(io_error(&so_far.to_string_lossy(), &error.into())),
        };
    }
    Ok(fd)
}

/// Refuses a directory of the system under another name: a bind mount.
fn refuse_disguised(
    host: &LocalHost,
    fd: std::os::fd::BorrowedFd<'_>,
    refused: &dyn Fn(&str) -> HostError,
) -> Result<(), HostError> {
    let opened = fstat(fd).map_err(|error| io_error("the opened directory", &error.into()))?;
    for path in SYSTEM.iter().chain(&SHALLOW) {
        let same =
            stat(&*host.real(Path::new(path))).is_ok_and(|s| (s.st_dev, s.st_ino) == (opened.st_dev, opened.st_ino));
        if same {
            return Err(refused(&format!("it is {path} under another name; files of the system are never deleted")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
