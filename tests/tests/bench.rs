//! The bench's program, as far as it is quick: what it prints is JSON lines, and what it measures is there.

use std::process::Command;

use serde_json::Value;

fn figures(args: &[&str]) -> Vec<Value> {
    // The programs it starts are looked for beside it.
    drop(skynet_tests::programs());
    let output = Command::new(env!("CARGO_BIN_EXE_skynet-bench")).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_latency_of_real_kills_is_measured_end_to_end() {
    let figures = figures(&["--quick", "--only", "latency"]);
    let names: Vec<_> = figures.iter().map(|figure| figure["figure"].as_str().unwrap()).collect();
    assert_eq!(names, ["effect_latency_p50_ms", "effect_latency_p99_ms", "disk_sync_p50_ms", "disk_sync_p99_ms"]);
    for figure in &figures {
        assert!(figure["value"].as_f64().unwrap() > 0.0 && figure["unit"] == "ms", "{figure}");
    }
    assert!(figures[0]["note"].as_str().unwrap().starts_with("100 kills"), "{}", figures[0]);
    assert!(figures[0]["value"].as_f64() <= figures[1]["value"].as_f64());
}

#[test]
fn words_it_does_not_know_are_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_skynet-bench")).arg("--quik").output().unwrap();
    assert!(!output.status.success() && output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("`--quik`"));
}
