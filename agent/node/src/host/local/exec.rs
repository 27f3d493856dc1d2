//! Runs command lines: cleared environment, own process group, bounded output, killed at the timeout.

use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, OFlags, SealFlags};
use rustix::process::{Pid, PidfdFlags, Signal};
use skynet_model::time::Span;

use super::{LocalHost, clock, io_error};
use crate::host::{Exec, ExecOutput, HostError, MAX_READ};

pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How long pipes that grandchildren keep open are read after the command itself has ended.
const AFTERLIFE_MS: i64 = 200;
/// How long a killed command may take to die before it is left to a later call.
const DYING_MS: i64 = 1000;
/// How often a command is looked at on kernels without pidfd (before 5.3).
const LOOK_MS: i64 = 20;

/// See [`crate::host::Host::run`].
pub(super) fn run(host: &LocalHost, exec: &Exec) -> Result<ExecOutput, HostError> {
    let stdin = if exec.stdin.is_empty() {
        Stdio::null()
    } else {
        memory(&exec.stdin, SeekFrom::Start(0)).map(Stdio::from).map_err(|e| io_error(&exec.program, &e))?
    };
    spawn_and_wait(host, exec, &exec.args, stdin)
}

/// See [`crate::host::Host::run_script`].
///
/// The text is in sealed memory that is the command's standard input, read to its end: whoever opens /dev/stdin gets a
/// fresh view from the start, whoever reads descriptor 0 gets end of file. So a script runs on a full or read-only disk
/// and under `noexec`, leaves nothing behind when the agent is killed, cannot be changed while it runs, and its
/// commands cannot eat its text. (A temporary file fails on the full disk that the script is there to clean.)
pub(super) fn run_script(host: &LocalHost, exec: &Exec, body: &str) -> Result<ExecOutput, HostError> {
    let stdin = memory(body.as_bytes(), SeekFrom::End(0)).map_err(|e| io_error(&exec.program, &e))?;
    let mut args = Vec::with_capacity(exec.args.len() + 1);
    args.push("/dev/stdin".to_owned());
    args.extend_from_slice(&exec.args);
    spawn_and_wait(host, exec, &args, Stdio::from(stdin))
}

pub(super) fn memory(bytes: &[u8], at: SeekFrom) -> std::io::Result<std::fs::File> {
    let fd = rustix::fs::memfd_create("script", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = std::fs::File::from(fd);
    file.write_all(bytes)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    file.seek(at)?;
    Ok(file)
}

fn spawn_and_wait(host: &LocalHost, exec: &Exec, args: &[String], stdin: Stdio) -> Result<ExecOutput, HostError> {
    reap(host);
    let home = if rustix::process::geteuid().is_root() { "/root" } else { "/" };
    let mut child = Command::new(&exec.program)
        .args(args)
        .env_clear()
        .envs([("PATH", PATH), ("HOME", home), ("LANG", "C")])
        .envs(exec.env.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|e| io_error(&exec.program, &e))?;
    let mut watch = Watch::new(&mut child).map_err(|e| io_error(&exec.program, &e));
    let status = match &mut watch {
        Ok(watch) => watch.until_end(&mut child, exec.timeout).map_err(|e| io_error(&exec.program, &e)),
        Err(e) => Err(e.clone()),
    };
    match (status, watch) {
        (Ok(Some(status)), Ok(watch)) => {
            let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
            let [stdout, stderr] = watch.outputs.map(|o| o.kept);
            Ok(ExecOutput { code, stdout, stderr })
        }
        (Ok(_), _) => {
            kill(host, child);
            let after = Span(i64::try_from(exec.timeout.as_millis()).unwrap_or(i64::MAX));
            Err(HostError::TimedOut { what: exec.program.clone(), after })
        }
        (Err(e), _) => {
            kill(host, child);
            Err(e)
        }
    }
}

/// Kills the whole group. What does not die at once (it hangs in the kernel) is left for [`reap`].
fn kill(host: &LocalHost, mut child: Child) {
    // The child has not been waited for, so its number cannot be anybody else's.
    if let Some(pid) = pid_of(&child) {
        let _ = rustix::process::kill_process_group(pid, Signal::KILL);
    }
    let until = clock::boot_ms() + DYING_MS;
    while clock::boot_ms() < until {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        let _ = poll(&mut [], Some(&timespec(LOOK_MS)));
    }
    if let Ok(mut undead) = host.undead.lock() {
        undead.push(child);
    }
}

fn reap(host: &LocalHost) {
    if let Ok(mut undead) = host.undead.lock() {
        undead.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }
}

fn pid_of(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

fn timespec(ms: i64) -> Timespec {
    let ms = ms.max(0);
    Timespec { tv_sec: ms / 1000, tv_nsec: ms % 1000 * 1_000_000 }
}

struct Output {
    pipe: Option<OwnedFd>,
    kept: Vec<u8>,
}

impl Output {
    fn new(pipe: OwnedFd) -> std::io::Result<Self> {
        rustix::fs::fcntl_setfl(&pipe, OFlags::NONBLOCK)?;
        Ok(Self { pipe: Some(pipe), kept: Vec::new() })
    }

    /// Takes what is there; what is beyond the bound is read and dropped, so that the command is not stopped by it.
    fn drain(&mut self) {
        let mut chunk = [0u8; 8192];
        // Bounded, so that a command that writes without end cannot keep us from its timeout.
        for _ in 0..64 {
            let Some(pipe) = &self.pipe else { return };
            match rustix::io::read(pipe, &mut chunk) {
                Ok(0) => self.pipe = None,
                Ok(n) => {
                    let room = MAX_READ - self.kept.len();
                    self.kept.extend_from_slice(&chunk[..n.min(room)]);
                }
                Err(e) if std::io::Error::from(e).kind() == ErrorKind::WouldBlock => return,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => self.pipe = None,
            }
        }
    }
}

struct Watch {
    outputs: [Output; 2],
    /// None on kernels without it.
    pidfd: Option<OwnedFd>,
}

impl Watch {
    fn new(child: &mut Child) -> std::io::Result<Self> {
        let gone = || std::io::Error::other("a pipe is missing");
        let stdout = OwnedFd::from(child.stdout.take().ok_or_else(gone)?);
        let stderr = OwnedFd::from(child.stderr.take().ok_or_else(gone)?);
        let pidfd = pid_of(child).and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
        Ok(Self { outputs: [Output::new(stdout)?, Output::new(stderr)?], pidfd })
    }

    /// How the command ended; `None`: it has not within `timeout`.
    fn until_end(&mut self, child: &mut Child, timeout: Duration) -> std::io::Result<Option<ExitStatus>> {
        let begun = clock::boot_ms();
        let deadline = begun.saturating_add(i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX));
        let status = loop {
            let left = deadline - clock::boot_ms();
            if left <= 0 {
                return Ok(None);
            }
            self.wait(if self.pidfd.is_some() { left } else { left.min(LOOK_MS) }, true)?;
            if let Some(status) = child.try_wait()? {
                break status;
            }
        };
        // What it wrote is in the pipes; a grandchild that holds them open is not waited for.
        let until = clock::boot_ms() + AFTERLIFE_MS;
        while self.outputs.iter().any(|o| o.pipe.is_some()) {
            let left = until - clock::boot_ms();
            if left <= 0 {
                break;
            }
            self.wait(left, false)?;
        }
        Ok(Some(status))
    }

    fn wait(&mut self, ms: i64, for_end: bool) -> std::io::Result<()> {
        let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(3);
        let pipes = self.outputs.iter().filter_map(|o| o.pipe.as_ref());
        for fd in pipes.chain(self.pidfd.as_ref().filter(|_| for_end)) {
            fds.push(PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN));
        }
        match poll(&mut fds, Some(&timespec(ms))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        for output in &mut self.outputs {
            output.drain();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;
    use std::path::Path;

    fn sh(text: &str, timeout: Duration) -> Exec {
        let args = vec!["-c".to_owned(), text.to_owned()];
        Exec { program: "sh".into(), args, stdin: Vec::new(), env: Vec::new(), timeout }
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn a_command_gives_its_code_and_both_outputs_in_a_clean_environment() {
        let host = LocalHost::new();
        let mut exec = sh("cat; echo err >&2; env | sort | cut -d= -f1 | tr '\\n' ' '; exit 3", LONG);
        exec.stdin = b"hello ".to_vec();
        exec.env = vec![("SKYNET_X".into(), "1".into())];
        let output = host.run(&exec).unwrap();
        assert_eq!(output.code, 3);
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "hello HOME LANG PATH PWD SKYNET_X ");
        assert_eq!(output.stderr, b"err\n");
        assert_eq!(host.run(&sh("kill -9 $$", LONG)).unwrap().code, 137);
    }

    #[test]
    fn a_missing_program_is_missing() {
        let exec = Exec { program: "/no/such/thing".into(), ..sh("", LONG) };
        assert!(matches!(LocalHost::new().run(&exec), Err(HostError::Missing(_))));
    }

    #[test]
    fn a_script_reads_its_arguments_and_finds_its_input_at_its_end() {
        let exec = Exec { args: vec!["a b".into(), "$(reboot)".into()], ..sh("", LONG) };
        let body = "cat\nread line\nprintf '%s|' \"$@\"\necho \"[$line]\"\ncat | wc -c\n";
        let output = LocalHost::new().run_script(&exec, body).unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "a b|$(reboot)|[]\n0\n");
        assert_eq!(output.code, 0);
    }

    #[test]
    fn a_script_cannot_change_its_own_text() {
        let body = "(echo 'echo changed' > /dev/stdin) 2> /dev/null || echo sealed\nhead -c 5 /dev/stdin\n";
        let output = LocalHost::new().run_script(&Exec { args: Vec::new(), ..sh("", LONG) }, body).unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "sealed\n(echo");
    }

    #[test]
    fn output_is_cut_and_the_command_still_ends() {
        let output = LocalHost::new().run(&sh("head -c 3000000 /dev/zero; exit 4", LONG)).unwrap();
        assert_eq!((output.code, output.stdout.len()), (4, MAX_READ));
    }

    #[test]
    fn at_the_timeout_the_whole_group_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let text = format!("sleep 300 & echo $! > {}; wait", file.display());
        let host = LocalHost::new();
        let error = host.run(&sh(&text, Duration::from_millis(700))).unwrap_err();
        assert!(matches!(error, HostError::TimedOut { .. }), "{error}");
        let pid: u32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        let until = clock::boot_ms() + 5000;
        // Killed, it may stay a zombie where nobody reaps orphans.
        while Path::new(&format!("/proc/{pid}")).exists() && host.process(pid).is_ok_and(|p| p.state != 'Z') {
            assert!(clock::boot_ms() < until, "the grandchild lives on");
            std::thread::yield_now();
        }
    }

    #[test]
    fn an_endless_writer_cannot_outlive_its_timeout() {
        let begun = clock::boot_ms();
        let error = LocalHost::new().run(&sh("exec yes", Duration::from_millis(300))).unwrap_err();
        assert!(matches!(error, HostError::TimedOut { .. }));
        assert!(clock::boot_ms() - begun < 5000);
    }

    #[test]
    fn a_daemon_left_behind_is_neither_waited_for_nor_killed() {
        let begun = clock::boot_ms();
        let output = LocalHost::new().run(&sh("sleep 60 & echo $!", LONG)).unwrap();
        assert!(clock::boot_ms() - begun < 10_000);
        let pid: i32 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
        let pid = Pid::from_raw(pid).unwrap();
        rustix::process::test_kill_process(pid).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
    }
}
