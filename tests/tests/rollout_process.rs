//! Rollouts and labels with real processes: a controller, three agents, skynetctl.

use std::time::Duration;

use serde_json::Value;
use skynet_model::event::EventBody;
use skynet_proto::v1;
use skynet_tests::{Log, Stage, stage};

const PATIENCE: Duration = Duration::from_secs(60);
const FLEET: [&str; 3] = ["web1", "web2", "web3"];

/// A policy that is watched for `soak` in each wave, with one more sensor.
fn policy(soak: &str, sensor: &str) -> String {
    format!(
        r#"
fleet: demo
rollout: {{ waves: [1, 100%], soak: {soak} }}
---
profile: all
match: {{ demo: "yes" }}
sensors:
  - load: {{ every: 250ms }}
{sensor}
---
profile: special
match: {{ kind: special }}
sensors: [{{ cpu: {{ every: 250ms }} }}]
---
script: queue
interpreter: /bin/sh
body: |
  echo '{{"jobs": 3}}'
---
script: broken
interpreter: /bin/sh
body: |
  echo broken
"#
    )
}

const WELL: &str = "  - exec: { name: queue, script: queue, every: 500ms, timeout: 5s, format: json }";
const BROKEN: &str = "  - exec: { name: queue, script: broken, every: 500ms, timeout: 5s, format: json }";

async fn up() -> (Stage, Log) {
    let mut stage = stage(&FLEET).await;
    stage.start_controller().await.unwrap();
    stage.push(1, &policy("1s", "")).await.unwrap();
    for server in FLEET {
        stage.start_agent(server).unwrap();
    }
    let mut log = stage.follow(0).await.unwrap();
    all_take(&mut log, 1, FLEET.len()).await;
    (stage, log)
}

/// Waits until so many servers have taken a version.
async fn all_take(log: &mut Log, wanted: u64, count: usize) -> Vec<String> {
    let mut took = std::collections::BTreeSet::new();
    log.until(&format!("policy {wanted} on {count} servers"), PATIENCE, |e| {
        if let EventBody::ServerPolicy { server, version, error: None } = &e.body
            && *version == wanted
        {
            took.insert(server.to_string());
        }
        (took.len() == count).then_some(())
    })
    .await
    .unwrap();
    took.into_iter().collect()
}

/// How the rollout of a version ended: whether it went back, why and by whom.
async fn end(log: &mut Log, wanted: u64) -> (bool, String, String) {
    log.until(&format!("the end of rollout {wanted}"), PATIENCE, |e| match &e.body {
        EventBody::RolloutEnded { version, rolled_back, reason, by } if *version == wanted => {
            Some((*rolled_back, reason.clone(), by.clone()))
        }
        _ => None,
    })
    .await
    .unwrap()
}

/// What skynetctl prints, and its exit code.
fn ctl(stage: &Stage, words: &[&str]) -> (String, i32) {
    let run = std::process::Command::new(stage.skynetctl()).arg("--socket").arg(stage.socket()).args(words).output();
    let run = run.unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    (text, run.status.code().unwrap_or(-1))
}

fn status(stage: &Stage) -> Value {
    let (text, code) = ctl(stage, &["policy", "status", "-o", "json"]);
    assert_eq!(code, 0, "{text}");
    serde_json::from_str(&text).unwrap()
}

async fn describe(stage: &Stage, server: &str) -> Value {
    let request = v1::DescribeRequest { kind: "server".to_owned(), name: server.to_owned() };
    let document = stage.operator().await.unwrap().describe(request).await.unwrap().into_inner();
    serde_json::from_str(&document.json).unwrap()
}

/// Waits until a server's description is like this; gives how long that took.
async fn until(stage: &Stage, server: &str, what: &str, limit: Duration, fits: impl Fn(&Value) -> bool) -> Duration {
    let began = tokio::time::Instant::now();
    loop {
        let now = describe(stage, server).await;
        if fits(&now) {
            return began.elapsed();
        }
        assert!(began.elapsed() < limit, "{what}: {now}\n{}", stage.log_tails());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn has_series(server: &Value, name: &str) -> bool {
    server["latest"].as_array().into_iter().flatten().any(|r| r["series"].as_str().is_some_and(|s| s.starts_with(name)))
}

#[tokio::test]
async fn waves_go_on_after_a_restart_and_a_broken_sensor_brings_everything_back() {
    let (mut stage, mut log) = up().await;
    stage.push(2, &policy("3s", WELL)).await.unwrap();
    let canary = all_take(&mut log, 2, 1).await.remove(0);
    let now = status(&stage);
    assert_eq!((&now["state"], &now["base"], &now["waves"][0]["accepted"]), (&"running".into(), &1.into(), &1.into()));
    let (refused, code) = {
        let again = stage.push(3, &policy("1s", WELL)).await.unwrap_err().to_string();
        (again, 1)
    };
    assert!(refused.contains("policy 2 is being rolled out") && code == 1, "{refused}");
    // In the middle of the first wave.
    stage.kill_controller();
    stage.start_controller().await.unwrap();
    let mut log = stage.follow(0).await.unwrap();
    let (back, reason, _) = end(&mut log, 2).await;
    assert!(!back, "{reason}");
    for server in FLEET {
        until(&stage, server, "version 2", PATIENCE, |s| s["policy_version"] == 2 && has_series(s, "exec.")).await;
    }
    let activated = stage.events().await.unwrap();
    let activated: Vec<u64> = activated
        .iter()
        .filter_map(|e| if let EventBody::PolicyActivated { version, .. } = &e.body { Some(*version) } else { None })
        .collect();
    assert_eq!(activated, [1, 2], "it is in force when it is everywhere");
    let (text, _) = ctl(&stage, &["policy", "status"]);
    assert!(text.contains("complete") && text.contains(&canary) && text.contains("accepted"), "{text}");

    stage.push(3, &policy("30s", BROKEN)).await.unwrap();
    let (back, reason, by) = end(&mut log, 3).await;
    assert!(back && by == "skynet" && reason.contains("sensor exec:queue fails"), "{reason}");
    let given: Vec<_> =
        FLEET.iter().map(|s| until(&stage, s, "version 2 again", PATIENCE, |s| s["policy_version"] == 2)).collect();
    for one in given {
        one.await;
    }
    let events = stage.events().await.unwrap();
    let had =
        events.iter().filter(|e| matches!(&e.body, EventBody::ServerPolicy { version: 3, error: None, .. })).count();
    assert_eq!(had, 1, "only the canary ever had it");
    assert!(
        events
            .iter()
            .any(|e| matches!(&e.body, EventBody::NoticeRaised { notice } if notice.title.contains("policy 3")))
    );
    let again = stage.push(3, &policy("1s", WELL)).await.unwrap_err().to_string();
    assert!(again.contains("version 3, which servers were given before"), "{again}");
    let (text, code) = ctl(&stage, &["policy", "status", "--watch"]);
    assert!(code == 1 && text.contains("rolled back") && text.contains("returned"), "{text}");
    stage.strike().await;
}

#[tokio::test]
async fn operators_pause_resume_and_roll_back() {
    let (mut stage, mut log) = up().await;
    let (text, code) = ctl(&stage, &["policy", "pause"]);
    assert!(code == 1 && text.contains("no rollout is under way"), "{text}");
    stage.push(2, &policy("1s", WELL)).await.unwrap();
    let (text, code) = ctl(&stage, &["policy", "pause"]);
    assert!(code == 0 && text.contains("no further wave begins"), "{text}");
    all_take(&mut log, 2, 1).await;
    let began = tokio::time::Instant::now();
    loop {
        let now = status(&stage);
        // Its time is over, the gate has passed, and still it waits.
        if now["verdict"] == "passed" && now["state"] == "paused" {
            assert_eq!(now["waves"][1]["accepted"], 0);
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{now}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (text, code) = ctl(&stage, &["policy", "resume"]);
    assert!(code == 0 && text.contains("goes on"), "{text}");
    let (back, reason, _) = end(&mut log, 2).await;
    assert!(!back, "{reason}");

    stage.push(3, &policy("1h", WELL)).await.unwrap();
    let canary = all_take(&mut log, 3, 1).await.remove(0);
    let (text, code) = ctl(&stage, &["policy", "rollback", "-m", "wrong file"]);
    assert!(code == 0 && text.contains("policy v3"), "{text}");
    let (back, reason, by) = end(&mut log, 3).await;
    assert!(back && reason == "wrong file" && by != "skynet", "{reason} {by}");
    until(&stage, &canary, "version 2 again", PATIENCE, |s| s["policy_version"] == 2).await;
    stage.strike().await;
}

#[tokio::test]
async fn an_agent_that_is_killed_twice_under_a_new_policy_goes_back_alone_and_the_rollout_ends() {
    let (mut stage, mut log) = up().await;
    stage.push(2, &policy("1h", WELL)).await.unwrap();
    let canary = all_take(&mut log, 2, 1).await.remove(0);
    // With nobody there to tell it.
    stage.kill_controller();
    let file = stage.dir().join(format!("{canary}.log"));
    let starts = || std::fs::read_to_string(&file).unwrap().matches("policy is in force").count();
    for _ in 0..2 {
        let before = starts();
        stage.kill_agent(&canary);
        stage.start_agent(&canary).unwrap();
        let began = tokio::time::Instant::now();
        while starts() == before {
            assert!(began.elapsed() < PATIENCE, "{}", stage.log_tails());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("policy version 2 is given up for version 1"), "{text}");
    stage.start_controller().await.unwrap();
    let mut log = stage.follow(0).await.unwrap();
    let said = log
        .until("what the agent says", PATIENCE, |e| match &e.body {
            EventBody::ServerPolicy { server, version: 2, error: Some(error) } => {
                Some((server.to_string(), error.clone()))
            }
            _ => None,
        })
        .await
        .unwrap();
    assert!(said.0 == canary && said.1.contains("began anew 2 times"), "{said:?}");
    let (back, reason, by) = end(&mut log, 2).await;
    assert!(back && by == "skynet" && reason.contains("given up"), "{reason}");
    until(&stage, &canary, "version 1 again", PATIENCE, |s| s["policy_version"] == 1).await;
    stage.strike().await;
}

#[tokio::test]
async fn labels_change_what_a_server_runs_within_a_second_and_outlive_a_restart() {
    let (mut stage, _log) = up().await;
    assert!(!has_series(&describe(&stage, "web1").await, "cpu."));
    let began = tokio::time::Instant::now();
    let (text, code) = ctl(&stage, &["server", "label", "web1", "kind=special", "tier-"]);
    assert!(code == 0 && text.contains("kind=\"special\"") && text.contains("`tier` was not there"), "{text}");
    let limit = Duration::from_secs(5);
    until(&stage, "web1", "readings of the new profile", limit, |s| has_series(s, "cpu.")).await;
    println!("labelled to first reading: {} ms", began.elapsed().as_millis());
    assert!(!has_series(&describe(&stage, "web2").await, "cpu."));

    stage.kill_controller();
    stage.start_controller().await.unwrap();
    until(&stage, "web1", "the operator's labels", PATIENCE, |s| {
        s["labels"]["kind"] == "special" && s["connected"] == true
    })
    .await;

    // While the agent is away it hears of it when it comes back.
    stage.kill_agent("web1");
    let (text, code) = ctl(&stage, &["server", "label", "web1", "kind-"]);
    assert!(code == 0 && !text.contains("special"), "{text}");
    stage.start_agent("web1").unwrap();
    let file = stage.dir().join("web1.log");
    let ended = || std::fs::read_to_string(&file).unwrap().contains("sensors=1");
    until(&stage, "web1", "back", PATIENCE, |s| s["connected"] == true).await;
    let began = tokio::time::Instant::now();
    while !ended() {
        assert!(began.elapsed() < PATIENCE, "{}", stage.log_tails());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (text, code) = ctl(&stage, &["server", "label", "nobody", "a=b"]);
    assert!(code == 1 && text.contains("no server nobody"), "{text}");
    stage.strike().await;
}
