//! Files of the kernel that are read every second: opened once, then read again from their beginning.
//!
//! Opening and closing costs more than reading. All of them make their text anew at each reading from the start.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::buffer::spare_capacity;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::host::MAX_READ;

/// Which. Readers of one of them wait for each other; none of them can hang.
const PATHS: [&str; 9] = [
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/pressure/cpu",
    "/proc/pressure/io",
    "/proc/pressure/memory",
    "/proc/stat",
    "/proc/vmstat",
    "/sys/devices/system/cpu/online",
];
/// First guess of a file's size.
const ROOM: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Kept([Mutex<Option<OwnedFd>>; PATHS.len()]);

impl Kept {
    /// Reads one of the kept files into `buf`, which is empty; none: it is not one of them.
    pub(super) fn read(&self, path: &Path, buf: &mut Vec<u8>) -> Option<Result<(), Errno>> {
        let path = path.to_str()?;
        let at = PATHS.iter().position(|kept| *kept == path)?;
        let mut slot = self.0[at].lock().unwrap_or_else(PoisonError::into_inner);
        let fd = match slot.take() {
            Some(fd) => fd,
            None => match rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
                Ok(fd) => fd,
                Err(error) => return Some(Err(error)),
            },
        };
        let read = whole(&fd, buf);
        // After an error it is opened anew the next time.
        if read.is_ok() {
            *slot = Some(fd);
        }
        Some(read)
    }
}

/// The whole file, at most [`MAX_READ`] bytes.
pub(super) fn whole(fd: &OwnedFd, buf: &mut Vec<u8>) -> Result<(), Errno> {
    loop {
        if buf.capacity() == buf.len() {
            buf.reserve(ROOM.max(buf.len()));
        }
        let at = buf.len() as u64;
        match rustix::io::pread(fd, spare_capacity(buf), at) {
            Ok(0) => return Ok(()),
            Ok(_) if buf.len() >= MAX_READ => {
                buf.truncate(MAX_READ);
                return Ok(());
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_file_is_read_anew_each_time_and_opened_once() {
        let kept = Kept::default();
        let read = || {
            let mut buf = Vec::new();
            kept.read(Path::new("/proc/stat"), &mut buf).unwrap().unwrap();
            String::from_utf8(buf).unwrap()
        };
        let files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let (first, open) = (read(), files());
        assert!(first.starts_with("cpu ") && first.contains("\nsoftirq "), "{first}");
        let deadline = super::super::boot_ms() + 10_000;
        while read() == first {
            assert!(super::super::boot_ms() < deadline, "it stands still");
        }
        assert_eq!(files(), open);
        assert!(kept.read(Path::new("/proc/self/stat"), &mut Vec::new()).is_none());
    }

    #[test]
    fn long_files_are_read_whole_and_within_bounds() {
        let dir = tempfile::tempdir().unwrap();
        for size in [0, 1, ROOM - 1, ROOM, ROOM + 1, 100_000, MAX_READ, MAX_READ + 10] {
            std::fs::write(dir.path().join("f"), vec![b'x'; size]).unwrap();
            let fd = rustix::fs::open(dir.path().join("f"), OFlags::RDONLY, Mode::empty()).unwrap();
            let mut buf = Vec::new();
            whole(&fd, &mut buf).unwrap();
            assert_eq!(buf.len(), size.min(MAX_READ));
        }
    }
}
