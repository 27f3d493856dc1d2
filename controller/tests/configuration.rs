//! The controller and a configuration that is wrong: exit code 2, and what to do about it.

use std::process::Command;

#[test]
fn a_wrong_configuration_ends_with_exit_code_2_and_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("controller.toml");
    for (text, words) in [("", "fleet"), ("fleet = 3\n", "fleet"), ("fleet = \"a\"\nlisten = \"x\"\nfoo = 1\n", "foo")]
    {
        std::fs::write(&path, text).unwrap();
        for command in ["check-config", "run"] {
            let output = Command::new(env!("CARGO_BIN_EXE_skynet-controller"))
                .arg(command)
                .arg("--config")
                .arg(&path)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
            assert_eq!(output.status.code(), Some(2), "{command}: {said}");
            assert!(said.contains(words) && said.contains("controller.toml"), "{command}: {said}");
        }
    }
}
