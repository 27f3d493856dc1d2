//! States of systemd units, by `systemctl show`.

use std::path::Path;
use std::time::Duration;

use super::LocalHost;
use crate::host::{Exec, Host, HostError, ServiceState};

/// Units asked for in one call.
const BATCH: usize = 100;
const TIMEOUT: Duration = Duration::from_secs(10);

/// See [`Host::units`].
pub(super) fn states(host: &LocalHost, units: &[String]) -> Result<Vec<ServiceState>, HostError> {
    if !std::fs::exists(host.real(Path::new("/run/systemd/system"))).unwrap_or(false) {
        return Err(HostError::Unsupported("systemd does not run here; name a pid_file or a process instead".into()));
    }
    let mut states = Vec::with_capacity(units.len());
    for batch in units.chunks(BATCH) {
        let answer = show(host, batch)?;
        let blocks = parse(&answer);
        if blocks.len() == batch.len() {
            states.extend(blocks);
            continue;
        }
        // A name that systemctl refuses ends its whole answer: each alone then.
        for unit in batch {
            let answer = show(host, std::slice::from_ref(unit))?;
            states.push(parse(&answer).pop().unwrap_or_else(not_found));
        }
    }
    Ok(states)
}

fn not_found() -> ServiceState {
    ServiceState { up: false, word: "not-found".to_owned(), pid: None, restarts: None }
}

fn show(host: &LocalHost, units: &[String]) -> Result<String, HostError> {
    let mut args: Vec<String> =
        ["show", "--no-pager", "-p", "LoadState,ActiveState,MainPID,NRestarts", "--"].map(str::to_owned).into();
    args.extend_from_slice(units);
    let exec = Exec { program: "systemctl".into(), args, stdin: Vec::new(), env: Vec::new(), timeout: TIMEOUT };
    let output = host.run(&exec)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.code != 0 && text.trim().is_empty() && units.len() > 1 {
        return Ok(String::new());
    }
    // Without a bus every unit would look unknown: that is a failure to see, not units that are down.
    let complaint = String::from_utf8_lossy(&output.stderr);
    if output.code != 0 && (complaint.contains("connect to bus") || complaint.contains("system scope bus")) {
        let error = complaint.trim().chars().take(200).collect();
        return Err(HostError::Failed { what: "systemctl show".into(), error });
    }
    Ok(text)
}

/// Blocks of `Key=value` lines, an empty line between units.
fn parse(text: &str) -> Vec<ServiceState> {
    text.split("\n\n").filter(|block| !block.trim().is_empty()).map(parse_block).collect()
}

fn parse_block(block: &str) -> ServiceState {
    let field = |key: &str| {
        block.lines().find_map(|line| line.strip_prefix(key).and_then(|rest| rest.strip_prefix('='))).unwrap_or("")
    };
    let active = field("ActiveState");
    if field("LoadState") == "not-found" && active != "active" {
        return not_found();
    }
    ServiceState {
        up: matches!(active, "active" | "reloading"),
        word: active.to_owned(),
        pid: field("MainPID").parse().ok().filter(|pid| *pid != 0),
        restarts: field("NRestarts").parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_systemctl_are_read_in_order() {
        let text = "MainPID=812\nNRestarts=3\nLoadState=loaded\nActiveState=active\n\nMainPID=0\nNRestarts=0\n\
                    LoadState=loaded\nActiveState=failed\n\nMainPID=0\nNRestarts=0\nLoadState=not-found\n\
                    ActiveState=inactive\n\nLoadState=loaded\nActiveState=active\n";
        let states = parse(text);
        let state = |up, word: &str, pid, restarts| ServiceState { up, word: word.to_owned(), pid, restarts };
        assert_eq!(
            states,
            [
                state(true, "active", Some(812), Some(3)),
                state(false, "failed", None, Some(0)),
                state(false, "not-found", None, None),
                state(true, "active", None, None),
            ]
        );
    }

    #[test]
    fn without_systemd_units_are_unsupported() {
        let root = tempfile::tempdir().unwrap();
        let host = LocalHost::with_root(root.path().to_owned());
        assert!(matches!(host.units(&["a.service".into()]), Err(HostError::Unsupported(_))));
    }
}
