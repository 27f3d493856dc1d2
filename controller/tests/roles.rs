//! A real controller, and `skynetctl` run by other users of the machine. Only root can be somebody else.
#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(clippy::print_stderr, reason = "what is skipped is said")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// `nobody` and its group, as everywhere.
const NOBODY: u32 = 65534;
/// A group of nobody's choice, with no entry anywhere.
const SOME_GROUP: u32 = 64_123;

struct Controller {
    folder: tempfile::TempDir,
    child: Child,
}

impl Controller {
    #[allow(clippy::disallowed_methods, reason = "waits with a deadline")]
    fn start(operators: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.path(), open).unwrap();
        skynet_controller::certs::generate(folder.path(), "demo", &[]).unwrap();
        let text = format!(
            "fleet = \"demo\"\nlisten = \"127.0.0.1:0\"\nca = \"ca.pem\"\ncert = \"controller.pem\"\n\
             key = \"controller.key\"\ndata_dir = \"data\"\nsocket = \"operator.sock\"\ninsecure_unsigned = true\n\
             {operators}\n"
        );
        fs::write(folder.path().join("controller.toml"), text).unwrap();
        // Where this was built may be closed to others.
        fs::copy(env!("CARGO_BIN_EXE_skynetctl"), folder.path().join("skynetctl")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_skynet-controller"));
        command.arg("run").arg("--config").arg(folder.path().join("controller.toml"));
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let controller = Self { folder, child };
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::os::unix::net::UnixStream::connect(controller.socket()).is_err() {
            assert!(Instant::now() < deadline, "the controller did not come up");
            std::thread::yield_now();
        }
        controller
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("operator.sock")
    }

    /// Whether it succeeded, and what it printed.
    fn run(&self, (uid, gid): (u32, u32), args: &[&str]) -> (bool, String) {
        let mut command = Command::new(self.folder.path().join("skynetctl"));
        command.arg("--socket").arg(self.socket()).args(args).current_dir(Path::new("/")).uid(uid).gid(gid);
        let ran = command.output().unwrap();
        let text = [ran.stdout, ran.stderr].concat();
        (ran.status.success(), String::from_utf8(text).unwrap())
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: only root can run skynetctl as somebody else");
    }
    root
}

#[test]
fn a_viewer_may_look_an_operator_act_and_only_an_admin_change_what_skynet_does() {
    if !is_root() {
        return;
    }
    let (viewer, operator, stranger) = ((NOBODY, NOBODY), (64_200, SOME_GROUP), (64_201, 64_201));
    let names = format!("[operators]\nviewers = [\"nobody\"]\noperators = [\"group:{SOME_GROUP}\"]");
    let controller = Controller::start(&names);
    let (halt, label) = (["halt", "-m", "drill"], ["server", "label", "web1", "role=web"]);

    let (fine, text) = controller.run(viewer, &["get", "servers"]);
    assert!(fine, "{text}");
    let (fine, text) = controller.run(viewer, &halt);
    assert!(!fine && text.contains("Halt needs the role operator; nobody is viewer"), "{text}");
    let (fine, text) = controller.run(operator, &halt);
    assert!(fine, "{text}");
    let (fine, text) = controller.run(operator, &label);
    assert!(!fine && text.contains("needs the role admin; uid 64200 is operator"), "{text}");
    let (fine, text) = controller.run(stranger, &["get", "servers"]);
    assert!(!fine && text.contains("needs the role viewer; uid 64201 has no role"), "{text}");
    let (fine, text) = controller.run((0, 0), &["resume"]);
    assert!(fine, "{text}");

    let (_, log) = controller.run(viewer, &["logs", "-o", "json"]);
    let calls: Vec<&str> = log.lines().filter(|line| line.contains("operator_called")).collect();
    assert_eq!(calls.len(), 2, "what is denied is in the log of the process only: {log}");
    assert!(calls[0].contains("uid 64200") && calls[0].contains("\"Halt\"") && calls[0].contains("drill"), "{log}");
    assert!(
        calls[1].contains("\"root\"") && calls[1].contains("\"admin\"") && calls[1].contains("\"Resume\""),
        "{log}"
    );
}

#[test]
fn without_a_configuration_others_cannot_even_reach_the_socket() {
    if !is_root() {
        return;
    }
    let controller = Controller::start("");
    let (fine, text) = controller.run((NOBODY, NOBODY), &["get", "servers"]);
    assert!(!fine && text.contains("no permission to use"), "{text}");
    // Even if somebody opens it.
    fs::set_permissions(controller.socket(), fs::Permissions::from_mode(0o666)).unwrap();
    let (fine, text) = controller.run((NOBODY, NOBODY), &["get", "servers"]);
    assert!(!fine && text.contains("needs the role viewer; nobody has no role"), "{text}");
}
