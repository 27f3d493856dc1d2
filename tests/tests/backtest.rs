//! `skynetctl policy backtest` against a real controller with a day of recorded history.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use skynet_controller::clock;
use skynet_controller::history::{History, Keep, Limits};
use skynet_model::name::ServerId;
use skynet_model::time::{Span, Timestamp};
use skynet_tests::stage;

const DAY: Span = Span::hours(24);
const EVERY: Span = Span::seconds(30);

const POLICY: &str = r#"
fleet: demo
---
profile: all
match: { demo: "yes" }
sensors: [disk, process]
---
scenario: disk-filling
when: disk.used_ratio > 0.8
for: 2m
clear: disk.used_ratio < 0.75
mode: enforce
summary: "{{ server }} {{ mount }} is {{ (value * 100) | round }} % full"
respond:
  - do: journal.vacuum
    with: { keep: 200MB }
---
scenario: runaway-process
when: process.cpu_ratio > 0.95
for: 1m
respond:
  - do: process.signal
    with: { pid: "${pid}", start: "${start}", signal: TERM }
    verify_within: 1m
---
scenario: never
when: disk.used_ratio > 1
"#;

/// What web1 read `ago` before the end: its disk was full twice for an hour, and a process ran wild for ten minutes.
fn readings(server: &str, ago: Span) -> Vec<(&'static str, f64)> {
    let hours = ago.0 as f64 / 3_600_000.0;
    let full = server == "web1" && ((19.0..20.0).contains(&hours) || (5.0..6.0).contains(&hours));
    let wild = server == "web1" && (10.0..10.17).contains(&hours);
    let mut readings = vec![("disk.used_ratio{mount=\"/\"}", if full { 0.9 } else { 0.5 }), ("process.count", 100.0)];
    if wild {
        readings.push(("process.cpu_ratio{name=\"php\",pid=\"812\",start=\"77\",user=\"www\"}", 1.0));
    }
    readings
}

fn record(folder: &Path, servers: &[&str]) {
    let history = History::open_folder(folder, Limits::default(), Keep::default(), Box::new(clock::now)).unwrap();
    let now = clock::now();
    for server in servers {
        let writer = history.writer(&ServerId::new(server).unwrap());
        let mut ago = DAY;
        while ago.0 >= 0 {
            let read = readings(server, ago).into_iter();
            let read = read.map(|(series, value)| (writer.slot(&series.parse().unwrap()).unwrap(), value));
            let read: Vec<_> = read.collect();
            let _ = writer.write(Timestamp(now.0 - ago.0), read);
            ago = Span(ago.0 - EVERY.0);
        }
    }
    history.close();
}

fn stdout(output: &Output) -> String {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[tokio::test]
async fn a_policy_is_tried_out_on_recorded_history() {
    let mut stage = stage(&["web1", "web2"]).await;
    let folder = stage.dir().join("controller/history");
    tokio::task::spawn_blocking(move || record(&folder, &["web1", "web2"])).await.unwrap();
    stage.start_controller().await.unwrap();
    let policy = stage.dir().join("policy");
    std::fs::create_dir(&policy).unwrap();
    std::fs::write(policy.join("p.yaml"), POLICY).unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new(stage.skynetctl());
        command.args(["policy", "backtest"]).arg(&policy).args(args).arg("--socket").arg(stage.socket());
        command.output().unwrap()
    };
    let text = stdout(&run(&["--since", "24h", "-o", "json"]));
    let all: Vec<Value> = serde_json::from_str(&text).unwrap();
    let of = |name: &str| all.iter().find(|d| d["scenario"] == name).unwrap();
    let disk = of("disk-filling");
    assert_eq!((disk["applies_to"].as_u64(), disk["mode"].as_str()), (Some(2), Some("enforce")));
    let incidents = disk["incidents"].as_array().unwrap();
    assert_eq!(incidents.len(), 2, "{text}");
    for (incident, hours) in incidents.iter().zip([20.0, 6.0]) {
        assert_eq!(incident["subject"], "web1");
        assert_eq!(incident["would"][0], "journal.vacuum keep=200000000");
        assert_eq!(incident["told"], 1, "what was recorded shows no cure: {incident}");
        assert_eq!(incident["state"], "resolved");
        let ago = (clock::now().0 - incident["opened"].as_i64().unwrap()) as f64 / 60_000.0;
        assert!((ago - (hours * 60.0 - 2.0)).abs() < 3.0, "opened {ago} min ago, expected {hours} h less `for`");
        let lasted = (incident["closed"].as_i64().unwrap() - incident["opened"].as_i64().unwrap()) as f64 / 60_000.0;
        assert!((lasted - 58.0).abs() < 2.0, "lasted {lasted} min");
    }
    let wild = of("runaway-process")["incidents"].as_array().unwrap();
    assert_eq!(wild.len(), 1, "{text}");
    assert_eq!(wild[0]["labels"]["pid"], "812");
    let closed = wild[0]["closed"].as_i64().unwrap() - wild[0]["opened"].as_i64().unwrap();
    assert!((500_000..640_000).contains(&closed), "it was over when the process was gone: {closed} ms");
    assert!(of("never")["incidents"].as_array().unwrap().is_empty());
    assert_eq!(disk["in_force"]["incidents"], 0, "no policy was in force, and the log is whole");

    let text = stdout(&run(&["--since", "8h", "--server", "web1"]));
    for part in ["8h of history", "1 servers", "disk-filling", "journal.vacuum keep=200000000", "58m", "nothing"] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
    let text = stdout(&run(&["--since", "24h", "--server", "web2", "-o", "json"]));
    assert!(serde_json::from_str::<Vec<Value>>(&text).unwrap().iter().all(|d| d["incidents"] == serde_json::json!([])));
    let wrong = run(&["--server", "db*"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("no server is called db*"));
    stage.strike().await;
}
