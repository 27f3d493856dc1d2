//! `skynetctl policy sign` with the real `ssh-keygen`: what it read is what is signed.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

const POLICY: &str = "fleet: f\n---\nprofile: web\nmatch: { role: web }\nsensors: []\n";

fn run(program: &str, path: &str, args: &[&str]) -> Output {
    Command::new(program).args(args).env("PATH", path).output().unwrap()
}

#[test]
fn a_bundle_that_changes_meanwhile_is_signed_as_it_was_read() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let (ours, theirs) = (std::env::var("PATH").unwrap(), env!("CARGO_BIN_EXE_skynetctl"));
    let skynetctl = |path: &str, args: &[&str]| run(theirs, path, args);
    for folder in ["policy", "bin"] {
        std::fs::create_dir(at(folder)).unwrap();
    }
    std::fs::write(at("policy/p.yaml"), POLICY).unwrap();
    let made = run("ssh-keygen", &ours, &["-q", "-t", "ed25519", "-N", "", "-C", "anna", "-f", &at("anna")]);
    assert!(made.status.success(), "{made:?}");
    let key = std::fs::read_to_string(at("anna.pub")).unwrap();
    std::fs::write(at("allowed_signers"), format!("anna {key}")).unwrap();
    let built = skynetctl(&ours, &["policy", "build", &at("policy"), "-o", &at("p.bundle"), "--version", "1"]);
    assert!(built.status.success(), "{built:?}");
    let good = std::fs::read(at("p.bundle")).unwrap();

    // Somebody writes into the file between the look at it and the signature.
    let real = ours.split(':').map(|folder| Path::new(folder).join("ssh-keygen")).find(|file| file.is_file()).unwrap();
    let script = format!("#!/bin/sh\necho other > '{}'\nexec '{}' \"$@\"\n", at("p.bundle"), real.display());
    std::fs::write(at("bin/ssh-keygen"), script).unwrap();
    std::fs::set_permissions(at("bin/ssh-keygen"), PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{ours}", at("bin"));
    let signed = skynetctl(&path, &["policy", "sign", &at("p.bundle"), "-f", &at("anna")]);
    assert!(signed.status.success(), "{signed:?}");
    assert_eq!(std::fs::read_to_string(at("p.bundle")).unwrap(), "other\n");

    let verify = ["policy", "verify", &at("p.bundle"), "--allowed-signers", &at("allowed_signers")];
    assert!(!skynetctl(&ours, &verify).status.success(), "what was written meanwhile is not signed");
    std::fs::write(at("p.bundle"), &good).unwrap();
    let verified = skynetctl(&ours, &verify);
    assert!(verified.status.success(), "{verified:?}");
}
