//! Starts, stops, restarts and reloads systemd units.

use std::path::Path;
use std::time::Duration;

use super::LocalHost;
use crate::host::{Exec, Host, HostError, UnitVerb};

/// See [`crate::host::Host::unit`].
pub(super) fn run(host: &LocalHost, unit: &str, verb: UnitVerb, timeout: Duration) -> Result<(), HostError> {
    if !std::fs::exists(host.real(Path::new("/run/systemd/system"))).unwrap_or(false) {
        return Err(HostError::Unsupported(format!(
            "{unit}: systemd does not run here; declare the service with a pid_file and a start script instead"
        )));
    }
    if host.root.as_path() != "/" {
        return Err(HostError::Unsupported(format!("{unit}: the units of a fixture tree cannot be changed")));
    }
    let word = match verb {
        UnitVerb::Start => "start",
        UnitVerb::Stop => "stop",
        UnitVerb::Restart => "restart",
        UnitVerb::Reload => "reload",
    };
    let exec = Exec {
        program: "systemctl".to_owned(),
        args: ["--no-ask-password", "--quiet", word, "--", unit].map(str::to_owned).into(),
        stdin: Vec::new(),
        env: Vec::new(),
        timeout,
    };
    let output = host.run(&exec)?;
    if output.code == 0 {
        return Ok(());
    }
    let what = format!("systemctl {word} {unit}");
    let said: String = String::from_utf8_lossy(&output.stderr).trim().chars().take(1000).collect();
    if said.contains("Access denied") || said.contains("authentication required") {
        return Err(HostError::Denied { what, remedy: "run the agent as root".to_owned() });
    }
    Err(HostError::Failed { what, error: if said.is_empty() { format!("code {}", output.code) } else { said } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_systemd_and_in_a_fixture_tree_units_are_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let host = LocalHost::with_root(root.path().to_owned());
        let told = |host: &LocalHost| match host.unit("x.service", UnitVerb::Start, Duration::from_secs(1)) {
            Err(HostError::Unsupported(told)) => told,
            other => panic!("{other:?}"),
        };
        assert!(told(&host).contains("systemd does not run here"));
        std::fs::create_dir_all(root.path().join("run/systemd/system")).unwrap();
        assert!(told(&host).contains("fixture"));
    }
}
