//! Signals processes.

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, getppid, pidfd_open, pidfd_send_signal};

use super::LocalHost;
use crate::host::{Host, HostError};

/// See [`crate::host::Host::signal`].
///
/// The descriptor is opened first and the start time looked at after: whatever takes the number later, the signal goes
/// to the process that was looked at, or to none.
pub(super) fn send(host: &LocalHost, pid: u32, start: u64, signal: &str) -> Result<(), HostError> {
    let what = || format!("process {pid} started at {start}");
    let failed = |error: Errno| match error {
        Errno::SRCH => HostError::Missing(what()),
        Errno::PERM => HostError::Denied { what: what(), remedy: "run the agent as root".to_owned() },
        Errno::NOSYS => HostError::Unsupported("this kernel has no pidfd (it came with 5.3)".to_owned()),
        other => HostError::Failed { what: what(), error: other.to_string() },
    };
    if host.root.as_path() != "/" {
        return Err(HostError::Unsupported("the processes of a fixture tree cannot be signalled".to_owned()));
    }
    let refused = |why: &str| HostError::Denied { what: what(), remedy: format!("it is {why} and is never signalled") };
    let raw = i32::try_from(pid).ok().filter(|raw| *raw > 1).ok_or_else(|| refused("not a process of its own"))?;
    let target = Pid::from_raw(raw).ok_or_else(|| refused("not a process of its own"))?;
    if target == rustix::process::getpid() || Some(target) == getppid() {
        return Err(refused("Skynet itself"));
    }
    let signal =
        by_name(signal).ok_or_else(|| HostError::Unsupported(format!("signal {signal} is not one of ours")))?;
    let fd = pidfd_open(target, PidfdFlags::empty()).map_err(failed)?;
    if host.process(pid)?.start != start {
        return Err(HostError::Missing(what()));
    }
    pidfd_send_signal(&fd, signal).map_err(failed)
}

fn by_name(name: &str) -> Option<Signal> {
    Some(match name {
        "TERM" => Signal::TERM,
        "KILL" => Signal::KILL,
        "HUP" => Signal::HUP,
        "INT" => Signal::INT,
        "QUIT" => Signal::QUIT,
        "USR1" => Signal::USR1,
        "USR2" => Signal::USR2,
        "STOP" => Signal::STOP,
        "CONT" => Signal::CONT,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command};

    fn sleeper() -> (Child, u64) {
        let child = Command::new("sleep").arg("300").spawn().unwrap();
        let start = LocalHost::new().process(child.id()).unwrap().start;
        (child, start)
    }

    #[test]
    fn a_process_is_signalled_only_under_its_own_start_time() {
        let host = LocalHost::new();
        let (mut child, start) = sleeper();
        assert!(matches!(host.signal(child.id(), start + 1, "KILL"), Err(HostError::Missing(_))));
        assert!(child.try_wait().unwrap().is_none(), "another process' signal reached this one");
        host.signal(child.id(), start, "TERM").unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(15));
        assert!(matches!(host.signal(child.id(), start, "TERM"), Err(HostError::Missing(_))));
    }

    #[test]
    fn neither_process_one_nor_we_nor_our_parent_are_signalled() {
        let host = LocalHost::new();
        let (own, parent) = (std::process::id(), std::os::unix::process::parent_id());
        for pid in [0, 1, own, parent] {
            let start = host.process(pid).map_or(0, |p| p.start);
            // CONT would do no harm if a guard were missing.
            assert!(matches!(host.signal(pid, start, "CONT"), Err(HostError::Denied { .. })), "{pid}");
        }
    }

    #[test]
    fn a_fixture_tree_and_unknown_signals_reach_nobody() {
        let (mut child, start) = sleeper();
        let fixture = LocalHost::with_root("/proc/self/root".into());
        assert!(matches!(fixture.signal(child.id(), start, "KILL"), Err(HostError::Unsupported(_))));
        for name in ["term", "SIGTERM", "SEGV", "9", ""] {
            assert!(matches!(LocalHost::new().signal(child.id(), start, name), Err(HostError::Unsupported(_))));
        }
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
