//! Operators' keys, made and used by a real `ssh-keygen`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Keys in a folder of their own.
#[derive(Debug)]
pub struct Keys(tempfile::TempDir);

impl Keys {
    /// An ed25519 key for each name.
    ///
    /// # Panics
    /// Without `ssh-keygen`.
    #[must_use]
    pub fn of(names: &[&str]) -> Self {
        let keys = Self(tempfile::tempdir().expect("a temporary folder"));
        for name in names {
            let mut program = Command::new("ssh-keygen");
            program.args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(keys.path(name));
            assert!(program.status().expect("the tests need ssh-keygen: run `make deps`").success());
        }
        keys
    }

    /// A private key's file.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes an `allowed_signers` file that names these, for policy alone, and that nobody else may change.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn allow(&self, names: &[&str], file: &Path) {
        use std::os::unix::fs::PermissionsExt;
        let line = |name: &&str| {
            let key = std::fs::read_to_string(self.path(&format!("{name}.pub"))).expect("a public key");
            format!("{name}@example.net namespaces=\"skynet-policy\" {key}")
        };
        std::fs::write(file, names.iter().map(line).collect::<String>()).expect("writing the signers file");
        std::fs::set_permissions(file, PermissionsExt::from_mode(0o644)).expect("its mode");
    }

    /// One signature of `bytes` by each of these, armored.
    ///
    /// # Panics
    /// When `ssh-keygen` does not sign.
    #[must_use]
    pub fn sign(&self, names: &[&str], namespace: &str, bytes: &[u8]) -> Vec<String> {
        let document = self.path("document");
        std::fs::write(&document, bytes).expect("writing what is signed");
        let one = |name: &&str| {
            let mut program = Command::new("ssh-keygen");
            program.args(["-q", "-Y", "sign", "-n", namespace, "-f"]).arg(self.path(name)).stderr(Stdio::inherit());
            let output = program.stdin(std::fs::File::open(&document).expect("what is signed")).output();
            let output = output.expect("ssh-keygen runs");
            assert!(output.status.success() && !output.stdout.is_empty(), "{name} did not sign");
            String::from_utf8(output.stdout).expect("armored text")
        };
        names.iter().map(one).collect()
    }
}
