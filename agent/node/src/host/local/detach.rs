//! Runs scripts that leave a daemon behind.

use std::io::SeekFrom;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use skynet_model::time::Span;

use super::{clock, exec, io_error};
use crate::host::{Exec, HostError};

/// How often the script is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// See [`crate::host::Host::run_detached`].
///
/// `setsid` (util-linux, on every distribution) makes the session: it becomes the interpreter in place, so that the
/// child's number is also its session's and its group's. Only a script that runs into its timeout is killed with its group.
pub(super) fn run(exec: &Exec, body: &str) -> Result<i32, HostError> {
    let failed = |e: std::io::Error| io_error(&exec.program, &e);
    // At its end: the daemon inherits an empty input, while /dev/stdin opens the text anew.
    let stdin = exec::memory(body.as_bytes(), SeekFrom::End(0)).map_err(failed)?;
    let home = if rustix::process::geteuid().is_root() { "/root" } else { "/" };
    let mut child = Command::new("setsid")
        .arg(&exec.program)
        .arg("/dev/stdin")
        .args(&exec.args)
        .env_clear()
        .envs([("PATH", exec::PATH), ("HOME", home), ("LANG", "C")])
        .envs(exec.env.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .stdin(Stdio::from(stdin))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| io_error("setsid", &e))?;
    let timeout = i64::try_from(exec.timeout.as_millis()).unwrap_or(i64::MAX);
    let deadline = clock::boot_ms().saturating_add(timeout);
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            use std::os::unix::process::ExitStatusExt;
            return Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
        }
        if clock::boot_ms() >= deadline {
            // Not waited for yet, so the number is still the child's. Before `setsid` is through there is no such
            // group: then the child alone is killed.
            if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                let _ = rustix::process::kill_process_group(pid, Signal::KILL);
            }
            let _ = child.kill();
            let _ = child.wait();
            return Err(HostError::TimedOut { what: exec.program.clone(), after: Span(timeout) });
        }
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Host, LocalHost};

    fn sh(args: &[&str], timeout: Duration) -> Exec {
        let args = args.iter().map(|a| (*a).to_owned()).collect();
        Exec { program: "/bin/sh".into(), args, stdin: Vec::new(), env: Vec::new(), timeout }
    }

    /// The session a process is in, as proc_pid_stat(5) has it: 0 when its leader is outside our PID namespace.
    fn session(pid: &str) -> i32 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit(')').next().unwrap().split_whitespace().nth(3).unwrap().parse().unwrap()
    }

    #[test]
    fn a_daemon_lives_on_in_a_session_of_its_own_with_no_stream_of_ours() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let exec = sh(&[file.to_str().unwrap()], Duration::from_secs(20));
        let code = LocalHost::new().run_detached(&exec, "sleep 300 &\necho $! > \"$1\"\nexit 3\n").unwrap();
        assert_eq!(code, 3);
        let pid: i32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        let daemon = Pid::from_raw(pid).unwrap();
        assert_ne!(session(&pid.to_string()), session("self"));
        for fd in [1, 2] {
            let stream = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap();
            assert_eq!(stream.to_str().unwrap(), "/dev/null");
        }
        rustix::process::kill_process(daemon, Signal::KILL).unwrap();
    }

    #[test]
    fn a_script_that_hangs_is_killed_at_its_timeout_with_all_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let exec = sh(&[file.to_str().unwrap()], Duration::from_millis(700));
        let error = LocalHost::new().run_detached(&exec, "sleep 300 &\necho $! > \"$1\"\nwait\n").unwrap_err();
        assert!(matches!(error, HostError::TimedOut { .. }), "{error}");
        let pid: u32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        let until = clock::boot_ms() + 5000;
        while LocalHost::new().process(pid).is_ok_and(|p| p.state != 'Z') {
            assert!(clock::boot_ms() < until, "what the script started lives on");
            std::thread::yield_now();
        }
    }
}
