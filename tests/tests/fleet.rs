//! A running fleet: a scenario and a sensor arrive by policy push, with no restart and no lost reading.

use std::time::Duration;

use serde_json::Value;
use skynet_controller::demo::stage::list;
use skynet_model::event::EventBody;
use skynet_model::incident::State;
use skynet_proto::v1;
use skynet_tests::{Stage, stage};

const PATIENCE: Duration = Duration::from_secs(30);
const FLEET: [&str; 3] = ["web1", "web2", "web3"];

const FIRST: &str = r#"
fleet: demo
---
profile: all
match: { demo: "yes" }
sensors: [{ cpu: { every: 250ms } }, { load: { every: 250ms } }]
"#;

const SECOND: &str = r#"
fleet: demo
rollout: { waves: [100%], soak: 0s }
---
profile: all
match: { demo: "yes" }
sensors:
  - cpu: { every: 250ms }
  - load: { every: 250ms }
  - exec: { name: queue, script: check-queue, args: ["5"], every: 500ms, timeout: 5s, format: nagios }
---
script: check-queue
interpreter: /bin/sh
body: |
  echo "WARNING - 12 jobs wait | jobs=12;$1;10"
  exit 1
---
script: drain-queue
interpreter: /bin/sh
body: |
  echo "drained for $label_check" >> "@DIR@/effects.log"
---
scenario: queue-long
when: 'exec.value.where({"metric": "jobs"}) > 10 && exec.state == 1'
mode: enforce
respond:
  - do: script.run
    with: { script: drain-queue }
    verify: 'exec.value.where({"metric": "jobs"}) == 12'
    verify_within: 10s
"#;

async fn describe(stage: &Stage, server: &str) -> Value {
    let request = v1::DescribeRequest { kind: "server".to_owned(), name: server.to_owned() };
    let document = stage.operator().await.unwrap().describe(request).await.unwrap().into_inner();
    serde_json::from_str(&document.json).unwrap()
}

fn sensor<'a>(server: &'a Value, id: &str) -> &'a Value {
    let sensors = server["sensors"].as_array().unwrap();
    sensors.iter().find(|s| s["id"] == id).unwrap_or_else(|| panic!("no sensor {id} in {server}"))
}

#[tokio::test]
async fn a_pushed_scenario_and_nagios_sensor_take_effect_with_no_restart_and_no_lost_reading() {
    let mut stage = stage(&FLEET).await;
    stage.start_controller().await.unwrap();
    stage.push(1, FIRST).await.unwrap();
    for server in FLEET {
        stage.start_agent(server).unwrap();
    }
    let mut log = stage.follow(0).await.unwrap();
    let mut ready = std::collections::BTreeSet::new();
    log.until("policy 1 on all servers", PATIENCE, |e| match &e.body {
        EventBody::ServerPolicy { server, version: 1, error: None } => {
            ready.insert(server.clone());
            (ready.len() == FLEET.len()).then_some(())
        }
        _ => None,
    })
    .await
    .unwrap();
    // Some sweeps under the first policy, so that a gap would show.
    wait_for_sweeps(&stage, "cpu", 8).await;
    let pids: Vec<_> = FLEET.iter().map(|s| stage.agent_pid(s)).collect();
    let before: Vec<Value> = before_push(&stage).await;

    stage.push(2, SECOND).await.unwrap();
    let mut contained = std::collections::BTreeSet::new();
    let mut incidents = std::collections::BTreeMap::new();
    log.until("the new scenario's cure on all servers", PATIENCE, |e| match &e.body {
        EventBody::IncidentOpened { incident } => {
            assert_eq!(incident.scenario.as_str(), "queue-long");
            incidents.insert(incident.id.clone(), incident.server().cloned().unwrap());
            None
        }
        EventBody::IncidentChanged { incident, state: State::Contained, .. } => {
            contained.insert(incidents[incident].clone());
            (contained.len() == FLEET.len()).then_some(())
        }
        _ => None,
    })
    .await
    .unwrap();
    let effects = stage.faults.effects().iter().filter(|l| *l == "drained for queue").count();
    assert!(effects >= FLEET.len(), "the script got its label on each server: {:?}", stage.faults.effects());

    let sweeps_now = sensor(&describe(&stage, FLEET[0]).await, "cpu")["sweeps"].as_u64().unwrap();
    wait_for_sweeps(&stage, "cpu", sweeps_now + 8).await;
    for (i, server) in FLEET.iter().enumerate() {
        assert_eq!(stage.agent_pid(server), pids[i], "no restart");
        let now = describe(&stage, server).await;
        assert_eq!(now["since"], before[i]["since"], "the session of {server} went on");
        for id in ["cpu", "load"] {
            let s = sensor(&now, id);
            assert_eq!(s["missed"], 0, "{id} of {server} has no gap: {s}");
            assert!(s["sweeps"].as_u64() > sensor(&before[i], id)["sweeps"].as_u64());
        }
        assert_eq!(now["lost_readings"], 0);
        assert_eq!(now["policy_version"], 2);
    }
    let events = stage.events().await.unwrap();
    assert_eq!(events.iter().filter(|e| matches!(e.body, EventBody::ServerConnected { .. })).count(), FLEET.len());
    assert!(!events.iter().any(|e| matches!(e.body, EventBody::ServerDisconnected { .. })));
    let servers = stage.operator().await.unwrap().list(list("servers")).await.unwrap().into_inner().json;
    assert_eq!(servers.len(), FLEET.len());
    stage.strike().await;
}

async fn before_push(stage: &Stage) -> Vec<Value> {
    let mut all = Vec::new();
    for server in FLEET {
        all.push(describe(stage, server).await);
    }
    all
}

async fn wait_for_sweeps(stage: &Stage, id: &str, count: u64) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    for server in FLEET {
        loop {
            let doc = describe(stage, server).await;
            let sensors = doc["sensors"].as_array().cloned().unwrap_or_default();
            if sensors.iter().any(|s| s["id"] == id && s["sweeps"].as_u64().unwrap_or(0) >= count) {
                break;
            }
            assert!(tokio::time::Instant::now() < deadline, "{server} does not sweep: {doc}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
