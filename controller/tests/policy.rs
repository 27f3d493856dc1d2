//! The real `skynetctl` over policy folders: what editors and scripts read of it. No controller is asked.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const GOOD: &str =
    "profile: web\nmatch: { role: web }\nsensors: [cpu, load]\n---\nscenario: busy\nwhen: load.one > 8\n";

fn folder(text: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("p.yaml"), text).unwrap();
    dir
}

/// Exit code, standard output, standard error.
fn run(args: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_skynetctl"))
        .args(["--socket", "/nonexistent/operator.sock"])
        .args(args)
        .env_remove("NO_COLOR")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn path(dir: &tempfile::TempDir) -> &str {
    Path::to_str(dir.path()).unwrap()
}

#[test]
fn editors_get_every_mistake_with_its_stretch_of_text() {
    let dir = folder("scenario: busy\nwhen: loda.one > 8\nmode: enforced\nfor: soon\n");
    let (code, out, _) = run(&["policy", "check", path(&dir), "-o", "json"]);
    assert_eq!(code, 1);
    let found: Vec<Value> = serde_json::from_str(&out).unwrap();
    let keys: Vec<&String> = found[0].as_object().unwrap().keys().collect();
    for key in ["file", "line", "column", "end_line", "end_column", "severity", "message", "suggestion"] {
        assert!(keys.iter().any(|k| *k == key), "{keys:?}");
    }
    let place = |v: &Value| (v["line"].as_u64(), v["column"].as_u64(), v["end_column"].as_u64());
    assert_eq!(place(&found[0]), (Some(2), Some(7), Some(15)));
    assert_eq!((&found[0]["file"], &found[0]["suggestion"]), (&"p.yaml".into(), &"load.one".into()));
    assert_eq!((&found[1]["suggestion"], &found[1]["severity"]), (&"enforce".into(), &"error".into()));
    assert!(found[2]["suggestion"].is_null(), "every key is there");
    assert_eq!(found.len(), 3);
    assert_eq!(run(&["policy", "check", path(&folder(GOOD)), "-o", "json"]).1, "[]\n");
}

#[test]
fn the_schema_knows_what_agents_know() {
    let (code, out, _) = run(&["policy", "schema"]);
    assert_eq!(code, 0);
    let schema: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    let sensors = &schema["definitions"]["profile"]["properties"]["sensors"]["items"]["anyOf"][1]["properties"];
    for sensor in skynet_controller::fleet::catalogue::catalogue().sensors {
        assert!(sensors.get(sensor.name).is_some(), "{}", sensor.name);
    }
    assert!(run(&["policy", "schema", "-o", "yaml"]).1.contains("oneOf:"));
}

#[test]
fn a_diff_says_what_changes_and_exits_as_diff_does() {
    let (was, same) = (folder(GOOD), folder(&GOOD.replace("[cpu, load]", "[cpu,   load] # the same")));
    let (code, out, err) = run(&["policy", "diff", path(&was), path(&same)]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("nothing changes from "), "{out}");
    let is = folder(&GOOD.replace("> 8", "> 16\nmode: enforce\nrespond: [{ do: service.restart, with: { unit: a } }]"));
    let (code, out, err) = run(&["policy", "diff", path(&was), path(&is)]);
    assert_eq!((code, err.as_str()), (1, ""), "{out}");
    for line in [
        "no controller was asked: servers are told by their labels",
        "LOOK TWICE\n! scenario busy only observed and acts now: service.restart (disruptive)\n",
        "~ scenario busy  [servers whose profiles run its sensors]\n",
        "    when was load.one > 8, is load.one > 16\n",
        "    mode was observe, is enforce\n",
        "    step 1 is new: service.restart unit=a, within 2m\n",
        "0 added, 0 removed, 1 changed\n",
    ] {
        assert!(out.contains(line), "{line}\n---\n{out}");
    }
    let (code, out, _) = run(&["policy", "diff", path(&was), path(&is), "-o", "json"]);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &json["same"], &json["changes"][0]["change"]), (1, &false.into(), &"changed".into()));
    assert_eq!(json["alarms"].as_array().unwrap().len(), 1);
}

#[test]
fn what_cannot_be_compared_is_trouble() {
    let (good, bad) = (folder(GOOD), folder("scenario: busy\nwhen: loda.one > 8\n"));
    let (code, out, err) = run(&["policy", "diff", path(&good), path(&bad)]);
    assert_eq!(code, 2);
    assert!(out.contains("p.yaml:2:7") && err.contains("has mistakes and cannot be compared"), "{out}{err}");
    let (code, _, err) = run(&["policy", "diff", "current", path(&good)]);
    assert!(code == 2 && err.contains("/nonexistent/operator.sock"), "{code} {err}");
    let (code, _, err) = run(&["policy", "diff", path(&good), "/nonexistent/p.bundle"]);
    assert!(code == 2 && err.contains("cannot read the bundle"), "{code} {err}");
}

#[test]
fn the_reference_in_the_docs_is_what_skynetctl_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference.md");
    let (_, said, _) = run(&["explain", "--all", "-o", "markdown"]);
    let written = fs::read_to_string(path).unwrap_or_default();
    assert!(said == written, "write it anew: skynetctl explain --all -o markdown > docs/reference.md");
}

#[test]
fn the_examples_in_the_docs_are_policy() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/policy.md")).unwrap();
    let blocks: Vec<&str> = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty());
    let dir = tempfile::tempdir().unwrap();
    for (number, block) in blocks.iter().enumerate() {
        fs::write(dir.path().join(format!("{number}.yaml")), block).unwrap();
    }
    let (code, out, _) = run(&["policy", "check", path(&dir)]);
    assert_eq!(code, 0, "{out}");
}
