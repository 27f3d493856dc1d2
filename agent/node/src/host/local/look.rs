//! Looks at files and directories.

use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{LocalHost, io_error};
use crate::host::{FileStat, HostError, MAX_LIST};

/// See [`crate::host::Host::list`].
pub(super) fn list(host: &LocalHost, dir: &Path) -> Result<Vec<String>, HostError> {
    let failed = |e: &std::io::Error| io_error(&dir.to_string_lossy(), e);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(host.real(dir)).map_err(|e| failed(&e))?.take(MAX_LIST) {
        if let Ok(name) = entry.map_err(|e| failed(&e))?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn stat_of(found: &std::fs::Metadata) -> FileStat {
    let ns = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
    FileStat {
        regular: found.is_file(),
        id: (found.dev(), found.ino()),
        size: found.size(),
        modified_ns: ns(found.mtime(), found.mtime_nsec()),
        changed_ns: ns(found.ctime(), found.ctime_nsec()),
    }
}

/// See [`crate::host::Host::file_stat`].
pub(super) fn stat(host: &LocalHost, path: &Path) -> Result<FileStat, HostError> {
    let found = std::fs::metadata(host.real(path)).map_err(|e| io_error(&path.to_string_lossy(), &e))?;
    Ok(stat_of(&found))
}

/// See [`crate::host::Host::digest`].
pub(super) fn digest(host: &LocalHost, path: &Path, most: u64) -> Result<([u8; 32], u64), HostError> {
    let what = path.to_string_lossy();
    let failed = |e: std::io::Error| io_error(&what, &e);
    // A pipe or a device under that name must not hold us, nor become our terminal.
    let flags = (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY).bits();
    let flags = i32::try_from(flags).unwrap_or(0);
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(host.real(path)).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(HostError::Failed { what: what.into_owned(), error: "it is no regular file".to_owned() });
    }
    let (mut hash, mut read, mut limited, mut buf) = (Sha256::new(), 0, file.take(most), vec![0; 64 << 10]);
    loop {
        match limited.read(&mut buf) {
            Ok(0) => return Ok((hash.finalize().into(), read)),
            Ok(n) => {
                hash.update(&buf[..n]);
                read += n as u64;
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(failed(e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_sha_256_of_what_was_asked_for() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("a"), "abc").unwrap();
        let host = LocalHost::with_root(root.path().to_owned());
        let hex = |most| {
            let (hash, read) = digest(&host, Path::new("/a"), most).unwrap();
            (hash.iter().map(|b| format!("{b:02x}")).collect::<String>(), read)
        };
        // FIPS 180-2, B.1; and of nothing.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex(100), (abc.to_owned(), 3));
        let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hex(0), (nothing.to_owned(), 0));
    }

    #[test]
    fn a_pipe_or_directory_is_refused_at_once() {
        let root = tempfile::tempdir().unwrap();
        let pipe = root.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let host = LocalHost::with_root(root.path().to_owned());
        for path in ["/pipe", "/"] {
            assert!(matches!(digest(&host, Path::new(path), 9), Err(HostError::Failed { .. })), "{path}");
            assert!(!stat(&host, Path::new(path)).unwrap().regular);
        }
        assert!(matches!(digest(&host, Path::new("/none"), 9), Err(HostError::Missing(_))));
        assert_eq!(list(&host, Path::new("/")).unwrap(), ["pipe"]);
    }
}
