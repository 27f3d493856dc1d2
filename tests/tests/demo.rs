//! `make demo`, as a user runs it.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use skynet_tests::programs;

#[test]
fn the_demo_contains_three_tells_one_and_leaves_nothing_behind() {
    let tmp = tempfile::tempdir().unwrap();
    let output = Command::new(programs().join("skynet-controller"))
        .args(["demo", "--once", "-o", "json"])
        .env("TMPDIR", tmp.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let told: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();

    let incidents = told["incidents"].as_array().unwrap();
    let states: Vec<_> =
        incidents.iter().map(|i| (i["scenario"].as_str().unwrap(), i["state"].as_str().unwrap())).collect();
    assert_eq!(
        states,
        [
            ("runaway-process", "contained"),
            ("service-dead", "contained"),
            ("scratch-filling", "contained"),
            ("mirror-stale", "escalated")
        ]
    );
    let steps = |i: usize| -> Vec<(String, String, bool)> {
        let steps = incidents[i]["steps"].as_array().unwrap().iter();
        let text = |v: &serde_json::Value| v.as_str().unwrap().to_owned();
        steps.map(|s| (text(&s["action"]), text(&s["outcome"]), s["verified"].as_bool().unwrap())).collect()
    };
    let step = |action: &str, verified: bool| (action.to_owned(), "done".to_owned(), verified);
    assert_eq!(steps(0), [step("process.signal", false), step("process.signal", true)]);
    assert_eq!(steps(1), [step("service.start", true)]);
    assert_eq!(steps(2), [step("files.delete", true)]);
    assert_eq!(steps(3), [step("script.run", false)]);
    for incident in incidents {
        let (detect, contain) = (incident["detect_ms"].as_i64().unwrap(), incident["contain_ms"].as_i64().unwrap());
        assert!(detect >= 0 && contain >= detect, "{incident}");
        assert_eq!(incident["server"], "demo1");
    }
    let notices = told["notices"].as_array().unwrap();
    assert_eq!(notices.len(), 1);
    assert_eq!(notices[0]["scenario"], "mirror-stale");
    assert!(notices[0]["story"].as_str().unwrap().contains("script.run"), "the story names the step that did not help");
    assert!(text.contains("3 contained, 1 told"));

    leaves_nothing(tmp.path());
}

#[test]
fn a_demo_whose_terminal_is_closed_leaves_nothing_behind() {
    for (signal, code) in [("HUP", 129), ("INT", 130), ("QUIT", 131), ("TERM", 143)] {
        let tmp = tempfile::tempdir().unwrap();
        let mut demo = Command::new(programs().join("skynet-controller"))
            .arg("demo")
            .env("TMPDIR", tmp.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // The terminal is gone: nobody reads on.
        let reader = BufReader::new(demo.stdout.take().unwrap());
        let begun = reader.lines().map_while(Result::ok).any(|line| line.contains("fault: process"));
        assert!(begun, "the first story never began");
        let sent = Command::new("kill").args(["-s", signal, &demo.id().to_string()]).status().unwrap();
        assert!(sent.success());
        assert_eq!(demo.wait().unwrap().code(), Some(code), "after SIG{signal}");
        leaves_nothing(tmp.path());
    }
}

/// Neither files nor processes that name the folder.
fn leaves_nothing(tmp: &Path) {
    let left: Vec<_> = std::fs::read_dir(tmp).unwrap().flatten().map(|e| e.path()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        assert!(!line.contains(&*tmp.to_string_lossy()), "still running: {}", line.replace('\0', " "));
    }
}
