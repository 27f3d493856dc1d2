//! Full disks, for real: a small tmpfs in a mount namespace of the test's own holds the journal, or the agent's ledger.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use skynet_controller::demo::Story;
use skynet_model::command::Status;
use skynet_model::event::EventBody;
use skynet_model::incident::State;
use skynet_proto::v1;
use skynet_tests::{SERVER, Stage, skip_without_root, stage};

const PATIENCE: Duration = Duration::from_secs(30);

/// Mounts a tmpfs of 1 MiB on `$1`, then becomes the rest of the command line.
const ON_SMALL_DISK: &str = r#"mkdir -p "$0" && mount -t tmpfs -o size=1m tmpfs "$0" && exec "$@""#;

fn small_disk(dir: &Path) -> Vec<String> {
    let words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", ON_SMALL_DISK];
    words.iter().map(|w| (*w).to_owned()).chain([dir.to_string_lossy().into_owned()]).collect()
}

fn words(line: &[String]) -> Vec<&str> {
    line.iter().map(String::as_str).collect()
}

/// The folder as a process in its own namespace sees it.
fn seen_by(pid: u32, dir: &Path) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/root{}", dir.display()))
}

/// Fills the disk to its last page.
fn fill(dir: &Path) -> PathBuf {
    let path = dir.join("filler");
    let mut file = fs::File::create(&path).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    path
}

async fn wait_for_log(stage: &Stage, log: &str, words: &str) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !fs::read_to_string(stage.dir().join(log)).unwrap_or_default().contains(words) {
        assert!(tokio::time::Instant::now() < deadline, "{log} does not say {words:?}\n{}", stage.log_tails());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn sweeps_of_service(stage: &Stage) -> u64 {
    let request = v1::DescribeRequest { kind: "server".to_owned(), name: SERVER.to_owned() };
    let text = stage.operator().await.unwrap().describe(request).await.unwrap().into_inner().json;
    let server: serde_json::Value = serde_json::from_str(&text).unwrap();
    let sensors = server["sensors"].as_array().unwrap().clone();
    sensors.iter().find(|s| s["id"] == "service:demo-worker").unwrap()["sweeps"].as_u64().unwrap()
}

fn starts(stage: &Stage) -> usize {
    stage.faults.effects().iter().filter(|l| *l == "started").count()
}

#[tokio::test]
async fn a_full_journal_disk_stops_actions_says_so_and_they_go_on_when_there_is_room() {
    if skip_without_root("mounting a small disk") {
        return;
    }
    let mut stage = stage(&[SERVER]).await;
    let journal = stage.dir().join("controller/journal");
    stage.start_controller_by(&words(&small_disk(&journal))).await.unwrap();
    stage.push_policy().await.unwrap();
    stage.faults.start_worker().unwrap();
    stage.start_agent(SERVER).unwrap();
    stage.wait_until_watched(SERVER).await.unwrap();
    // An incident to acknowledge again and again: that fills the journal's last page, too.
    Story::NoCure.strike(&mut stage).unwrap();
    let mut log = stage.follow(0).await.unwrap();
    let id = log
        .until("escalation", PATIENCE, |e| match &e.body {
            EventBody::IncidentChanged { incident, state: State::Escalated, .. } => Some(incident.clone()),
            _ => None,
        })
        .await
        .unwrap();
    let filler = fill(&seen_by(stage.controller_pid().unwrap(), &journal));
    for n in 0..64 {
        let request = v1::AcknowledgeRequest { incident: id.to_string(), comment: format!("{n} {}", "x".repeat(150)) };
        let mut client = stage.operator().await.unwrap();
        // A blocked journal may answer late or never: what it says on the console counts.
        let _ = tokio::time::timeout(Duration::from_millis(300), client.acknowledge(request)).await;
        if fs::read_to_string(stage.dir().join("controller.log")).unwrap().contains("journal cannot be written") {
            break;
        }
    }
    wait_for_log(&stage, "controller.log", "journal cannot be written").await;

    assert_eq!(starts(&stage), 1);
    stage.faults.kill_worker().unwrap();
    let seen = sweeps_of_service(&stage).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while sweeps_of_service(&stage).await < seen + 4 {
        assert!(tokio::time::Instant::now() < deadline, "readings go on while the journal is blocked");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(starts(&stage), 1, "no journal write, no action");

    fs::remove_file(filler).unwrap();
    let mut log = stage.follow(0).await.unwrap();
    let mut dead = None;
    log.until("cure of the service", PATIENCE, |e| match &e.body {
        EventBody::IncidentOpened { incident } if incident.scenario.as_str() == "service-dead" => {
            dead = Some(incident.id.clone());
            None
        }
        EventBody::IncidentChanged { incident, state: State::Contained, .. } if Some(incident) == dead.as_ref() => {
            Some(())
        }
        _ => None,
    })
    .await
    .unwrap();
    assert_eq!(starts(&stage), 2, "then it acts, once");
    stage.strike().await;
}

/// Eight faults at once, each answered with a script of its own: more than the ledger's last page has room for.
const EIGHT_FAULTS: &str = r#"
fleet: demo
---
profile: demo
match: { demo: "yes" }
sensors:
  - exec: { name: faults, script: list-faults, every: 1s, timeout: 5s, format: json }
---
script: list-faults
interpreter: /bin/sh
body: cat "@DIR@/faults.json"
---
script: note-effect
interpreter: /bin/sh
body: echo "effect $1" >> "@DIR@/effects.log"
---
scenario: fault
when: 'exec.value.where({"check": "faults", "metric": "fault"}) > 0'
per: [n]
mode: enforce
respond:
  - do: script.run
    with: { script: note-effect, args: ["${n}"] }
    verify_within: 2s
"#;

#[tokio::test]
async fn a_full_ledger_disk_refuses_commands_and_says_so() {
    if skip_without_root("mounting a small disk") {
        return;
    }
    let mut stage = stage(&[SERVER]).await;
    let faults = stage.dir().join("faults.json");
    fs::write(&faults, "[]").unwrap();
    stage.start_controller().await.unwrap();
    stage.push(1, EIGHT_FAULTS).await.unwrap();
    let data = stage.dir().join(SERVER);
    stage.start_agent_by(SERVER, &words(&small_disk(&data)), &[]).unwrap();
    let mut log = stage.follow(0).await.unwrap();
    log.until("policy on the server", PATIENCE, |e| {
        matches!(e.body, EventBody::ServerPolicy { error: None, .. }).then_some(())
    })
    .await
    .unwrap();
    let strike = |numbers: std::ops::Range<u32>| {
        let fault = |n: u32| serde_json::json!({"name": "fault", "labels": {"n": n.to_string()}, "value": 1});
        fs::write(&faults, serde_json::to_string(&numbers.map(fault).collect::<Vec<_>>()).unwrap()).unwrap();
    };
    // One while there is room: the controller's epoch is on disk then, and only the ledger grows.
    strike(100..101);
    log.until("first outcome", PATIENCE, |e| match &e.body {
        EventBody::CommandEnded { outcome, .. } => {
            assert_eq!(outcome.status, Status::Done, "{}", outcome.message);
            Some(())
        }
        _ => None,
    })
    .await
    .unwrap();
    fill(&seen_by(stage.agent_pid(SERVER).unwrap(), &data));
    strike(0..8);

    let (mut done, mut refused) = (0, Vec::new());
    log.until("end of all eight", PATIENCE, |e| {
        if let EventBody::CommandEnded { outcome, .. } = &e.body {
            match outcome.status {
                Status::Done => done += 1,
                Status::Refused => refused.push(outcome.message.clone()),
                other => panic!("{other:?}: {}", outcome.message),
            }
        }
        (done + refused.len() == 8).then_some(())
    })
    .await
    .unwrap();
    assert!(!refused.is_empty(), "a full ledger refuses");
    assert!(refused.iter().all(|m| m.contains("ledger cannot be written")), "{refused:?}");
    assert_eq!(stage.faults.effects().len(), 1 + done, "what was refused had no effect");
    stage.strike().await;
}
