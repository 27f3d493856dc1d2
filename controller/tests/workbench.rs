//! The real `skynetctl policy test` on folders of policy: what it prints, how it exits, and the policies that ship.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn skynetctl(args: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skynetctl"));
    command.args(&args[..2]).arg(dir).args(&args[2..]).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

const POLICY: &str = r#"
fleet: example
---
profile: web
match: { role: web }
sensors: [disk, load, { service: { units: [nginx.service] } }]
---
scenario: disk-filling
when: disk.used_ratio > 0.8
for: 2m
clear: disk.used_ratio < 0.75
mode: enforce
summary: "{{ mount }} is {{ (value * 100) | round }} % full"
respond: [{ do: journal.vacuum, with: { keep: 200MB } }]
---
scenario: dead-service
when: service.up == 0
mode: enforce
respond:
  - { do: service.start, with: { unit: "${service}" }, verify_within: 30s }
  - { do: files.delete, with: { path: "/run/nginx/*" }, verify_within: 30s }
---
scenario: away
where: { role: web }
when: server.connected == 0
for: 1m
mode: enforce
---
request: clean
parameters: { keep: size }
phrases: ["clean {keep}"]
---
scenario: clean-up
on_request: clean
mode: enforce
respond: [{ do: journal.vacuum, with: { keep: "${keep}" }, target: request }]
"#;

fn folder(tests: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("p.yaml"), POLICY).unwrap();
    std::fs::write(dir.path().join("p.test.yaml"), tests).unwrap();
    dir
}

const RISES: &str = r#"
servers: { web1: { role: web } }
readings:
  - { at: 0s..40m step 30s, server: web1, series: { 'disk.used_ratio{mount="/"}': 70% -> 95% } }
"#;

/// What a test that succeeds says, and that one which differs in a word fails.
#[track_caller]
fn holds(test: &str) {
    let dir = folder(&format!("test: t\n{test}"));
    let output = skynetctl(&["policy", "test"], dir.path());
    assert_eq!(text(&output), "SUCCESS: 1 test\n");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn the_starter_policy_holds_what_its_tests_promise() {
    let output = skynetctl(&["policy", "test"], &tree("packaging/policy/starter"));
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    let json = skynetctl(&["policy", "test", "-o", "json"], &tree("packaging/policy/starter"));
    let tests: Vec<Value> = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(said, format!("SUCCESS: {} tests\n", tests.len()));
    // Each scenario has a file, and a file of tests beside it that sets it off and one that does not.
    let mut scenarios = 0;
    for entry in std::fs::read_dir(tree("packaging/policy/starter")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.ends_with(".test.yaml") || ["fleet.yaml", "people.yaml"].contains(&name.as_str()) {
            continue;
        }
        scenarios += 1;
        let of = tests.iter().filter(|t| t["file"] == name.replace(".yaml", ".test.yaml")).count();
        assert!(of >= 2, "{name} has {of} tests");
    }
    assert_eq!(scenarios, 12);
}

#[test]
fn the_example_of_the_policy_format_and_its_test_hold_word_for_word() {
    let output = skynetctl(&["policy", "test"], &tree("controller/tests/policy_md"));
    assert_eq!(text(&output), "SUCCESS: 1 test\n");
}

#[test]
fn a_failing_expectation_tells_what_happened_instead() {
    let dir = folder(&format!(
        "test: the vacuum does not help\n{RISES}expect:\n  - within: 40m\n    incident: {{ scenario: disk-filling, state: contained }}\n\
         ---\ntest: nothing happens\n{RISES}expect:\n  - {{ within: 15m, no_incident: {{ scenario: disk-filling }} }}\n"
    ));
    let output = skynetctl(&["policy", "test"], dir.path());
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    for part in [
        "FAILED: the vacuum does not help (p.test.yaml:1)",
        "expected within 40m an incident of disk-filling: contained (line 7)",
        "found    disk-filling on web1{mount=\"/\"} opened at 18m30s and was escalated: steps journal.vacuum, a person told",
        "18m30s    ",
        "/ is 81 % full",
        "step 1: journal.vacuum keep=200000000",
        "the step did not cure it",
        "web1  disk.used_ratio{mount=\"/\"}: 0s 70.0 %, ",
        "FAILED: 1 of 2 tests\n",
    ] {
        assert!(said.contains(part), "no `{part}` in\n{said}");
    }
    assert!(!said.contains("nothing happens"), "what succeeds says nothing:\n{said}");
    // The other test alone, and as programs read both.
    let one = skynetctl(&["policy", "test", "--run", "nothing*"], dir.path());
    assert_eq!((text(&one).as_str(), one.status.code()), ("SUCCESS: 1 test\n", Some(0)));
    let none = skynetctl(&["policy", "test", "--run", "else"], dir.path());
    assert!(text(&none).contains("none of the 2 tests is called `else`"), "{}", text(&none));
    let json = skynetctl(&["policy", "test", "-o", "json"], dir.path());
    let tests: Vec<Value> = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json.status.code(), Some(1));
    assert_eq!((&tests[0]["passed"], &tests[1]["passed"]), (&Value::Bool(false), &Value::Bool(true)));
    assert_eq!(tests[0]["missed"][0]["line"], 7);
    let timeline = tests[0]["timeline"].as_array().unwrap();
    assert!(timeline.iter().any(|line| line["event"] == "notice_raised" && line["at"] == "20m31s"), "{timeline:?}");
}

#[test]
fn outcomes_come_in_turn_and_set_what_is_read_until_readings_begin_anew() {
    holds(
        r#"
servers: { web1: { role: web } }
readings:
  - { at: 0s, server: web1, series: { 'disk.used_ratio{mount="/"}': 0.5 } }
  - { at: 5m, server: web1, series: { 'disk.used_ratio{mount="/"}': 0.9 } }
  - { at: 2h, server: web1, series: { 'disk.used_ratio{mount="/"}': 0.95 } }
outcomes:
  journal.vacuum:
    - { after: 10s, sets: { 'disk.used_ratio{mount="/"}': 0.4 } }
    - { status: failed, message: no space left }
expect:
  - { at: 5m, incident: { scenario: disk-filling, state: pending } }
  - { at: 7m5s, incident: { scenario: disk-filling, state: acting, steps: [journal.vacuum] } }
  - { within: 10m, incident: { scenario: disk-filling, labels: { mount: / }, state: contained, notices: 0 } }
  - { at: 1h59m, no_incident: { scenario: disk-filling } }
  - { within: 3h, incident: { scenario: disk-filling, state: escalated, notices: 1 } }
"#,
    );
}

#[test]
fn what_is_gone_or_unknown_is_no_reading() {
    holds(
        r#"
servers: { web1: { role: web } }
readings:
  - { at: 0s, server: web1, series: { 'disk.used_ratio{mount="/"}': 0.9 } }
  - { at: 1m, server: web1, series: { 'disk.used_ratio{mount="/"}': unknown } }
  - { at: 4m, server: web1, series: { 'disk.used_ratio{mount="/"}': 0.9 } }
  - { at: 20m, server: web1, series: { 'disk.used_ratio{mount="/"}': gone } }
outcomes: { journal.vacuum: { status: refused } }
expect:
  # The three minutes of not knowing do not count towards `for`.
  - { within: 4m, no_incident: { scenario: disk-filling } }
  - { within: 6m, incident: { scenario: disk-filling, state: escalated } }
  # A disk that is gone is unknown, which resolves nothing.
  - { within: 30m, no_incident: { scenario: disk-filling, state: resolved } }
"#,
    );
}

#[test]
fn servers_go_away_and_operators_approve() {
    holds(
        r#"
servers: { web1..web3: { role: web } }
readings:
  - { at: 0s, servers: "web*", series: { 'service.up{service="nginx.service"}': 1 } }
  - { at: 1m, server: web2, series: { 'service.up{service="nginx.service"}': 0 } }
disconnected: [{ at: 10m..15m, server: web1 }]
approve: [{ at: 5m, scenario: dead-service, server: web2, by: ana }]
outcomes: { files.delete: { sets: { 'service.up{service="nginx.service"}': 1 } } }
expect:
  - { at: 4m, incident: { scenario: dead-service, server: web2, state: waiting, steps: [service.start], held: approval } }
  - { within: 6m, incident: { scenario: dead-service, server: web2, state: contained, steps: [service.start, files.delete] } }
  - { within: 20m, no_incident: { scenario: dead-service, server: web3 } }
  - { within: 12m, incident: { scenario: away, server: web1, state: escalated } }
  - { within: 16m, incident: { scenario: away, server: web1, state: resolved } }
  - { within: 20m, no_incident: { scenario: away, server: web3 } }
"#,
    );
}

#[test]
fn requests_are_answered() {
    holds(
        r#"
servers: { web1: { role: web }, web2: { role: web } }
request: [{ at: 1m, name: clean, parameters: { keep: 1GiB }, server: web2 }]
expect:
  - { at: 50s, no_incident: { scenario: clean-up } }
  - { within: 5m, incident: { scenario: clean-up, steps: [journal.vacuum] } }
"#,
    );
}

#[test]
fn tests_without_end_are_refused_and_broken_ones_told() {
    let dir = folder(
        "test: long\nservers: { web1..web20: { role: web } }\n\
         expect: [{ within: 31d, no_incident: { scenario: dead-service } }]\n",
    );
    let said = text(&skynetctl(&["policy", "test"], dir.path()));
    assert!(said.contains("sweeps, and at most 5000000 are run"), "{said}");
    let dir =
        folder("test: t\nservers: { web1: { role: web } }\nexpect: [{ within: 1m, incident: { scenario: x } }]\n");
    for command in ["test", "check"] {
        let output = skynetctl(&["policy", command], dir.path());
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output).contains("p.test.yaml:3:46: unknown scenario `x`"), "{}", text(&output));
    }
    std::fs::remove_file(dir.path().join("p.test.yaml")).unwrap();
    assert!(text(&skynetctl(&["policy", "test"], dir.path())).contains("there is no test in"));
}
