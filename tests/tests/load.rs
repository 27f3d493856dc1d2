//! The load generator against a real controller: what it counts is what happened.

use std::time::Duration;

use serde_json::Value;
use skynet_model::event::EventBody;
use skynet_model::incident::State;
use skynet_tests::load::{FIRE_SCENARIO, Load, LoadConfig, SCENARIOS, policy};
use skynet_tests::{Stage, stage};

const PATIENCE: Duration = Duration::from_secs(30);
const SERVERS: [&str; 5] = ["s1", "s2", "s3", "s4", "s5"];
const SERIES: usize = 10;

async fn up() -> (Stage, Load) {
    let mut stage = stage(&SERVERS).await;
    stage.start_controller().await.unwrap();
    stage.push(1, &policy(SCENARIOS)).await.unwrap();
    let load = Load::start(LoadConfig {
        controller: stage.address(),
        certs: stage.dir().join("certs"),
        servers: SERVERS.map(str::to_owned).to_vec(),
        series: SERIES,
        every: Duration::from_millis(100),
        cures: true,
        seed: 1,
    })
    .unwrap();
    load.connected(PATIENCE).await.unwrap();
    (stage, load)
}

fn describe(stage: &Stage, server: &str) -> Value {
    let output = std::process::Command::new(stage.skynetctl())
        .arg("--socket")
        .arg(stage.socket())
        .args(["describe", "server", server, "-o", "json"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Waits for the end of the incident of a server that has been fired.
async fn contained(stage: &Stage, server: &str) {
    let mut log = stage.follow(0).await.unwrap();
    let mut incident = None;
    log.until("a contained incident", PATIENCE, |event| match &event.body {
        EventBody::IncidentOpened { incident: opened } if opened.server().is_some_and(|s| s.as_str() == server) => {
            assert_eq!(opened.scenario.as_str(), FIRE_SCENARIO);
            incident = Some(opened.id.clone());
            None
        }
        EventBody::IncidentChanged { incident: id, state, .. } if Some(id) == incident.as_ref() => {
            (*state == State::Contained).then_some(())
        }
        _ => None,
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn every_reading_is_acknowledged_and_the_latest_values_are_those_that_were_sent() {
    let (mut stage, mut load) = up().await;
    let wanted = (SERVERS.len() * SERIES * 15) as u64;
    load.until("acknowledged readings", PATIENCE, |stats| stats.acked >= wanted).await.unwrap();
    let stats = load.stop().await.unwrap();
    assert_eq!((stats.readings, stats.lost_readings, stats.late_readings), (stats.acked, 0, 0), "{stats:?}");
    assert_eq!(stats.batches * SERIES as u64, stats.readings);
    assert_eq!((stats.sessions, stats.lost_sessions, stats.connected), (SERVERS.len() as u64, 0, 0));
    for server in SERVERS {
        let (sent, at) = load.sent(server);
        assert_eq!(sent.len(), SERIES);
        let described = describe(&stage, server);
        assert_eq!(described["series"], SERIES);
        let latest = described["latest"].as_array().unwrap();
        for (series, value) in sent {
            let name = series.to_string();
            let found = latest.iter().find(|l| l["series"].as_str() == Some(&name));
            let found = found.unwrap_or_else(|| panic!("{server} has no {name}: {described}"));
            assert_eq!(found["value"].as_f64(), Some(value), "{server} {name}");
            assert_eq!(found["time"], Value::from(at.0), "{server} {name}");
        }
    }
    stage.strike().await;
}

#[tokio::test]
async fn an_effect_is_counted_once_also_over_a_lost_session() {
    let (mut stage, mut load) = up().await;
    load.fire("s1", 1.0);
    contained(&stage, "s1").await;
    assert_eq!(load.stats().effects, 1);

    // The effect happens, and its outcome is lost with the session: the ledger's inventory tells it.
    load.cut_at_effect("s2");
    load.fire("s2", 1.0);
    contained(&stage, "s2").await;
    load.cut("s3");
    load.until("a session that came back", PATIENCE, |stats| stats.sessions == 7 && stats.connected == 5)
        .await
        .unwrap();
    let stats = load.stop().await.unwrap();
    assert_eq!(stats.lost_sessions, 2, "{stats:?}");
    assert_eq!((stats.readings, stats.lost_readings), (stats.acked, 0), "{stats:?}");
    let effects: Vec<_> = load.effects().into_values().collect();
    let servers: Vec<_> = effects.iter().map(|effect| (effect.server.as_str(), effect.times)).collect();
    assert_eq!(servers.len(), 2, "{effects:?}");
    assert!(servers.contains(&("s1", 1)) && servers.contains(&("s2", 1)), "{effects:?}");
    assert!(effects.iter().all(|e| e.scenario == FIRE_SCENARIO && e.action == "service.start"));
    stage.strike().await;
}

#[tokio::test]
async fn a_killed_controller_finds_every_agent_again_and_no_effect_happens_twice() {
    let (mut stage, mut load) = up().await;
    // The outcome is lost with the session, and the controller is killed before it can come back.
    load.cut_at_effect("s4");
    load.fire("s4", 1.0);
    load.until("an effect", PATIENCE, |stats| stats.effects == 1).await.unwrap();
    stage.kill_controller();
    load.until("the loss of every session", PATIENCE, |stats| stats.connected == 0).await.unwrap();
    stage.start_controller().await.unwrap();
    load.connected(PATIENCE).await.unwrap();
    contained(&stage, "s4").await;
    let stats = load.stop().await.unwrap();
    assert_eq!((stats.readings, stats.lost_readings), (stats.acked, 0), "{stats:?}");
    assert!(stats.late_readings > 0, "what was read meanwhile was sent late: {stats:?}");
    assert_eq!(load.effects().into_values().map(|effect| effect.times).collect::<Vec<_>>(), [1]);
    stage.strike().await;
}
