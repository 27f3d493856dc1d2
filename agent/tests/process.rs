//! The binary as an operator meets it: command line, exit codes, two processes, signals.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};

const LIMIT: Duration = Duration::from_secs(30);

fn agent() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skynet-agent"));
    command.env("RUST_BACKTRACE", "0");
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A configuration that is good; no controller is there.
fn configured(folder: &Path) -> PathBuf {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI("spiffe://f/server/web1".try_into().unwrap())];
    std::fs::write(folder.join("ca.pem"), ca.pem()).unwrap();
    std::fs::write(folder.join("server.pem"), params.signed_by(&key, &ca).unwrap().pem()).unwrap();
    std::fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
    std::fs::set_permissions(folder.join("server.key"), PermissionsExt::from_mode(0o600)).unwrap();
    let dir = folder.display();
    let config = format!(
        "controller = \"127.0.0.1:1\"\nca = \"{dir}/ca.pem\"\ncert = \"{dir}/server.pem\"\nkey = \"{dir}/server.key\"\n\
         data_dir = \"{dir}/data\"\n"
    );
    std::fs::write(folder.join("agent.toml"), config).unwrap();
    folder.join("agent.toml")
}

/// Ended with the test, whatever happens.
struct Running(Child);

impl Running {
    fn start(config: &Path) -> Self {
        let child = agent().args(["run", "--config"]).arg(config).stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
        Self(child.unwrap())
    }

    /// The acting process, once it is there.
    fn acting(&self) -> i32 {
        let children = format!("/proc/{0}/task/{0}/children", self.0.id());
        wait_for(|| std::fs::read_to_string(&children).ok()?.split_whitespace().next()?.parse().ok())
    }

    fn end(mut self) -> Output {
        wait_for(|| self.0.try_wait().unwrap());
        let mut stderr = Vec::new();
        std::io::Read::read_to_end(&mut self.0.stderr.take().unwrap(), &mut stderr).unwrap();
        Output { status: self.0.wait().unwrap(), stdout: Vec::new(), stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[allow(clippy::disallowed_methods)]
fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < LIMIT, "what was waited for did not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn signal(pid: i32, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
}

#[test]
fn every_reading_of_this_machine_is_printed_as_one_object_a_line() {
    let output = agent().args(["readings", "--once", "-o", "json"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut seen = Vec::new();
    for line in text(&output.stdout).lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(value["value"].is_number() && value["labels"].is_object(), "{line}");
        assert_ne!(value["unit"], "", "{line}");
        assert!(value["time"].as_str().unwrap().ends_with('Z'), "{line}");
        seen.push(value["series"].as_str().unwrap().to_owned());
    }
    for sensor in ["cpu.", "load.", "memory.", "disk.", "process."] {
        assert!(seen.iter().any(|s| s.starts_with(sensor)), "no {sensor} in {seen:?}");
    }
    let table = agent().args(["readings", "--once"]).output().unwrap();
    assert!(text(&table.stdout).starts_with("SERIES"));
}

#[test]
fn configurations_are_checked_as_run_would_and_exit_codes_tell() {
    let folder = tempfile::tempdir().unwrap();
    let config = configured(folder.path());
    let check = |path: &Path| agent().args(["check-config", "--config"]).arg(path).output().unwrap();
    let good = check(&config);
    assert!(good.status.success() && text(&good.stdout).starts_with("ok"), "{}", text(&good.stderr));
    std::fs::write(folder.path().join("bad.toml"), "controler = \"x\"\n").unwrap();
    let bad = folder.path().join("bad.toml");
    for output in [check(&bad), agent().args(["run", "--config"]).arg(&bad).output().unwrap()] {
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains("controler"), "{}", text(&output.stderr));
    }
    assert_eq!(agent().arg("fly").output().unwrap().status.code(), Some(2));
    let version = agent().arg("--version").output().unwrap();
    assert_eq!(text(&version.stdout).trim(), concat!("skynet-agent ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn it_drains_on_sigterm_and_leaves_no_process_behind() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(&configured(folder.path()));
    let acting = running.acting();
    wait_for(|| folder.path().join("data/lock").exists().then_some(()));
    signal(i32::try_from(running.0.id()).unwrap(), rustix::process::Signal::TERM);
    let output = running.end();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(!Path::new(&format!("/proc/{acting}")).exists(), "the acting process is still there");
    assert!(!text(&output.stderr).contains("INSECURE"));
}

#[test]
fn without_its_acting_process_it_ends_with_a_clear_word() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(&configured(folder.path()));
    let acting = running.acting();
    signal(acting, rustix::process::Signal::KILL);
    let output = running.end();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("acting process ended"), "{}", text(&output.stderr));
}

#[test]
fn policy_without_signatures_is_warned_of_loudly() {
    let folder = tempfile::tempdir().unwrap();
    let config = configured(folder.path());
    let more = std::fs::read_to_string(&config).unwrap() + "insecure_unsigned = true\n";
    std::fs::write(&config, more).unwrap();
    let running = Running::start(&config);
    running.acting();
    wait_for(|| folder.path().join("data/lock").exists().then_some(()));
    signal(i32::try_from(running.0.id()).unwrap(), rustix::process::Signal::TERM);
    let output = running.end();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("INSECURE"), "{}", text(&output.stderr));
}
