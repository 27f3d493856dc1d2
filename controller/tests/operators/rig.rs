//! A real controller and the real `skynetctl`.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// `nobody` and its group, as everywhere.
pub(crate) const NOBODY: u32 = 65534;

pub(crate) struct Controller {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) child: Child,
}

impl Controller {
    #[allow(clippy::disallowed_methods, reason = "waits with a deadline")]
    pub(crate) fn start(operators: &str, more: &[&str]) -> Self {
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
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let command = command.args(more).current_dir(folder.path());
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let controller = Self { folder, child };
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::os::unix::net::UnixStream::connect(controller.socket()).is_err() {
            assert!(Instant::now() < deadline, "the controller did not come up");
            std::thread::yield_now();
        }
        controller
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("operator.sock")
    }

    /// Whether it succeeded, and what it printed.
    pub(crate) fn run(&self, (uid, gid): (u32, u32), args: &[&str]) -> (bool, String) {
        let mut command = Command::new(self.folder.path().join("skynetctl"));
        command.arg("--socket").arg(self.socket()).args(args).current_dir(Path::new("/")).uid(uid).gid(gid);
        Self::finish(command, b"")
    }

    /// As root, with something on standard input.
    pub(crate) fn give(&self, args: &[&str], input: &[u8]) -> (bool, String) {
        let mut command = Command::new(self.folder.path().join("skynetctl"));
        command.arg("--socket").arg(self.socket()).args(args);
        Self::finish(command, input)
    }

    fn finish(mut command: Command, input: &[u8]) -> (bool, String) {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // Whoever is refused does not read everything.
        let _ = child.stdin.take().unwrap().write_all(input);
        let ran = child.wait_with_output().unwrap();
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
