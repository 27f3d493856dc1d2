//! `skynet-controller init` with keys of a real `ssh-keygen`: what it makes starts a controller, and nothing is overwritten.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn key(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    let mut program = Command::new("ssh-keygen");
    program.args(["-q", "-t", "ed25519", "-N", "", "-C", "a comment", "-f"]).arg(&path);
    assert!(program.status().expect("the tests need ssh-keygen: run `make deps`").success());
    path
}

fn run(arguments: &[&str]) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_skynet-controller")).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output, said)
}

fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap())).collect()
}

#[test]
fn a_fleet_begins_once_and_its_configuration_is_good() {
    let home = tempfile::tempdir().unwrap();
    let (anna, ben) = (key(home.path(), "anna"), key(home.path(), "ben"));
    let folder = home.path().join("fleet");
    let at = folder.to_str().unwrap();
    let signers = [format!("anna@example.net={}.pub", anna.display()), format!("ben={}.pub", ben.display())];
    let arguments =
        ["init", at, "--fleet", "example", "--signer", &signers[0], "--signer", &signers[1], "--signers-needed", "2"];
    let (output, said) = run(&arguments);
    assert!(output.status.success(), "{said}");

    for (file, others) in [("ca.key", 0), ("controller.key", 0), ("ca.pem", 0o044), ("allowed_signers", 0o044)] {
        let found = std::fs::metadata(folder.join(file)).unwrap().permissions().mode() & 0o777;
        // The umask may take away, never add.
        assert_eq!(found & 0o177 & !others, 0, "{file}: {found:o}");
    }
    let trusted = std::fs::read_to_string(folder.join("allowed_signers")).unwrap();
    assert!(trusted.contains("anna@example.net namespaces=\"skynet-*\" ssh-ed25519 "), "{trusted}");
    assert!(!trusted.contains("a comment"), "{trusted}");

    let config = folder.join("controller.toml");
    let (output, said_of_it) = run(&["check-config", "--config", config.to_str().unwrap()]);
    assert!(output.status.success(), "{said_of_it}");

    // What is printed is what `sha256sum` says of the file.
    let sum = Command::new("sha256sum").arg(folder.join("allowed_signers")).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    assert!(said.contains(&format!("sha256:{}", &sum[..64])), "{said}");

    let before = contents(&folder);
    assert_eq!(before.len(), 6);
    let (output, said) = run(&arguments);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("not overwritten"), "{said}");
    assert_eq!(contents(&folder), before);

    // One file that is left is enough to stop, and none is added to it.
    for name in before.keys().filter(|name| *name != "controller.pem") {
        std::fs::remove_file(folder.join(name)).unwrap();
    }
    assert_eq!(run(&arguments).0.status.code(), Some(2));
    assert_eq!(contents(&folder).into_keys().collect::<Vec<_>>(), ["controller.pem"]);
}

#[test]
fn ssh_keygen_takes_the_signers_file_for_our_documents_only() {
    let home = tempfile::tempdir().unwrap();
    let anna = key(home.path(), "anna");
    let folder = home.path().join("fleet");
    let signer = format!("anna={}.pub", anna.display());
    let (output, said) = run(&["init", folder.to_str().unwrap(), "--fleet", "f", "--signer", &signer]);
    assert!(output.status.success(), "{said}");
    for (namespace, taken) in [("skynet-policy", true), ("skynet-emergency", true), ("git", false)] {
        let document = home.path().join(namespace);
        std::fs::write(&document, "text").unwrap();
        let mut sign = Command::new("ssh-keygen");
        sign.args(["-q", "-Y", "sign", "-n", namespace, "-f"]).arg(&anna).arg(&document);
        assert!(sign.output().unwrap().status.success());
        let mut verify = Command::new("ssh-keygen");
        verify.args(["-Y", "verify", "-I", "anna", "-n", namespace, "-f"]).arg(folder.join("allowed_signers"));
        verify.arg("-s").arg(document.with_extension("sig")).stdin(std::fs::File::open(&document).unwrap());
        assert_eq!(verify.output().unwrap().status.success(), taken, "{namespace}");
    }
}

#[test]
fn what_cannot_be_a_fleet_is_told_and_nothing_is_written() {
    let home = tempfile::tempdir().unwrap();
    let anna = key(home.path(), "anna");
    let public = format!("{}.pub", anna.display());
    let good = format!("anna={public}");
    let large = home.path().join("large.pub");
    std::fs::write(&large, "x".repeat(20 << 10)).unwrap();
    let folder = home.path().join("fleet");
    let at = folder.to_str().unwrap();
    let (private, star, twin) = (format!("anna={}", anna.display()), format!("*={public}"), format!("ben={public}"));
    let large = format!("anna={}", large.display());
    for (arguments, word) in [
        (vec!["--fleet", "De mo", "--signer", &good], "De mo"),
        (vec!["--fleet", "f", "--signer", "anna"], "NAME=KEY.pub"),
        (vec!["--fleet", "f", "--signer", "anna=/nowhere/x.pub"], "/nowhere/x.pub"),
        (vec!["--fleet", "f", "--signer", &private], "private key"),
        (vec!["--fleet", "f", "--signer", &star], "a name is"),
        (vec!["--fleet", "f", "--signer", &large], "bytes"),
        (vec!["--fleet", "f", "--signer", "anna=/etc/hostname"], "/etc/hostname"),
        (vec!["--fleet", "f", "--signer", &good, "--signer", &good], "twice"),
        (vec!["--fleet", "f", "--signer", &good, "--signer", &twin], "same key"),
        (vec!["--fleet", "f", "--signer", &good, "--signers-needed", "2"], "2"),
        (vec!["--fleet", "f", "--signer", &good, "--signers-needed", "0"], "signers"),
    ] {
        let (output, said) = run(&[vec!["init", at], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(word), "{word}: {said}");
        assert!(!folder.exists(), "{said}");
    }
}
