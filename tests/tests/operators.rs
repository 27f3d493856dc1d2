//! What operators say by `skynetctl` to a real controller with a real agent: approvals, silences, maintenance.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use skynet_model::event::{Event, EventBody};
use skynet_model::incident::State;
use skynet_tests::{Log, SERVER, Stage, stage};

const PATIENCE: Duration = Duration::from_secs(60);

/// A queue that is as long as a file says, and a step that a person has to agree to.
fn policy(dir: &Path) -> String {
    let policy = r#"
fleet: demo
---
profile: all
match: { demo: "yes" }
sensors:
  - exec: { name: queue, script: check-queue, every: 250ms, timeout: 5s, format: nagios }
---
script: check-queue
interpreter: /bin/sh
body: |
  jobs=$(cat "@DIR@/jobs")
  echo "OK - $jobs jobs | jobs=$jobs"
---
script: drain-queue
interpreter: /bin/sh
body: |
  echo drained >> "@DIR@/effects"
  echo 0 > "@DIR@/jobs"
---
scenario: queue-long
when: 'exec.value.where({"metric": "jobs"}) > 10'
mode: enforce
summary: "{{ server }} has a long queue"
respond:
  - do: script.run
    with: { script: drain-queue }
    approve: true
    verify_within: 20s
---
scenario: queue-endless
when: 'exec.value.where({"metric": "jobs"}) > 100'
mode: enforce
summary: "{{ server }} has an endless queue"
"#;
    policy.replace("@DIR@", &dir.to_string_lossy())
}

async fn up() -> (Stage, Log) {
    let mut stage = stage(&[SERVER]).await;
    jobs(&stage, 0);
    stage.start_controller().await.unwrap();
    stage.push(1, &policy(stage.dir())).await.unwrap();
    stage.start_agent(SERVER).unwrap();
    let mut log = stage.follow(0).await.unwrap();
    log.until("the policy on the server", PATIENCE, |e| {
        matches!(&e.body, EventBody::ServerPolicy { version: 1, error: None, .. }).then_some(())
    })
    .await
    .unwrap();
    (stage, log)
}

/// Makes the queue so long; whole at once, for the sensor reads meanwhile.
fn jobs(stage: &Stage, count: u32) {
    let (new, file) = (stage.dir().join("jobs.new"), stage.dir().join("jobs"));
    std::fs::write(&new, format!("{count}\n")).unwrap();
    std::fs::rename(new, file).unwrap();
}

/// What skynetctl prints, and its exit code.
fn ctl(stage: &Stage, words: &[&str]) -> (String, i32) {
    let run = Command::new(stage.skynetctl()).arg("--socket").arg(stage.socket()).args(words).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    (text, run.status.code().unwrap_or(-1))
}

/// The same, as JSON, of a command that has to succeed.
fn json(stage: &Stage, words: &[&str]) -> Value {
    let (text, code) = ctl(stage, &[words, &["-o", "json"]].concat());
    assert_eq!(code, 0, "{words:?}: {text}");
    serde_json::from_str(&text).unwrap()
}

/// The next incident of a scenario.
async fn opened(log: &mut Log, scenario: &str) -> String {
    let open = |e: &Event| match &e.body {
        EventBody::IncidentOpened { incident } if incident.scenario.as_str() == scenario => {
            Some(incident.id.to_string())
        }
        _ => None,
    };
    log.until(&format!("an incident of {scenario}"), PATIENCE, open).await.unwrap()
}

async fn becomes(log: &mut Log, id: &str, wanted: State) {
    let changed = |e: &Event| match &e.body {
        EventBody::IncidentChanged { incident, state, .. } if incident.as_str() == id && *state == wanted => Some(()),
        _ => None,
    };
    log.until(&format!("{id} {wanted:?}"), PATIENCE, changed).await.unwrap();
}

/// Waits until a condition holds.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let began = tokio::time::Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_step_waits_for_a_persons_word_and_is_done_with_it() {
    let (mut stage, mut log) = up().await;
    let (text, code) = ctl(&stage, &["get", "approvals"]);
    assert_eq!(code, 0, "{text}");
    jobs(&stage, 20);
    let id = opened(&mut log, "queue-long").await;
    until("the step waits", || json(&stage, &["get", "approvals"])[0]["incident"] == *id).await;
    let (text, _) = ctl(&stage, &["get", "approvals"]);
    assert!(text.contains("script=drain-queue") && text.contains("waits for"), "{text}");
    let effects = stage.dir().join("effects");
    assert!(!effects.exists(), "nothing is done without a word");

    let (text, code) = ctl(&stage, &["approve", "i-000000"]);
    assert!(code == 1 && text.contains("skynetctl get"), "{text}");
    let (text, code) = ctl(&stage, &["approve", &id, "-m", "go"]);
    assert!(code == 0 && text.contains(&format!("step 1 of {id} is approved: script.run")), "{text}");
    becomes(&mut log, &id, State::Contained).await;
    assert_eq!(std::fs::read_to_string(effects).unwrap(), "drained\n");
    assert_eq!(json(&stage, &["get", "approvals"]), serde_json::json!([]));
    let (text, code) = ctl(&stage, &["approve", &id]);
    assert!(code == 1 && text.contains(&id), "what is over needs no word: {text}");
    stage.strike().await;
}

#[tokio::test]
async fn a_silence_holds_a_notice_back_until_it_is_ended() {
    let (mut stage, mut log) = up().await;
    let silence = json(&stage, &["silence", "add", "scenario=queue-endless", "--for", "1h", "-m", "known"]);
    let silence = silence["id"].as_str().unwrap().to_owned();
    jobs(&stage, 200);
    let id = opened(&mut log, "queue-endless").await;
    until("the silence holds it back", || json(&stage, &["get", "silences"])[0]["incidents"][0] == *id).await;
    let (text, _) = ctl(&stage, &["get", "silences"]);
    assert!(text.contains(&silence) && text.contains(&id) && text.contains("known"), "{text}");
    let told = |events: &[Event]| {
        let about = |e: &Event| {
            matches!(&e.body, EventBody::NoticeRaised { notice }
                if notice.incident.as_ref().is_some_and(|incident| incident.as_str() == id))
        };
        events.iter().any(about)
    };
    assert!(!told(&stage.events().await.unwrap()));

    let (text, code) = ctl(&stage, &["silence", "expire", "s-000000"]);
    assert!(code == 1 && text.contains("skynetctl get silences"), "{text}");
    let (text, code) = ctl(&stage, &["silence", "expire", &silence]);
    assert_eq!((text.as_str(), code), (format!("{silence} has ended\n").as_str(), 0));
    let about = |e: &Event| told(std::slice::from_ref(e)).then_some(());
    log.until("what is still wrong is told", PATIENCE, about).await.unwrap();
    assert_eq!(json(&stage, &["get", "silences"]), serde_json::json!([]));
    let (text, code) = ctl(&stage, &["silence", "expire", &silence]);
    assert!(code == 1 && text.contains(&silence), "{text}");
    stage.strike().await;
}

#[tokio::test]
async fn in_maintenance_nothing_is_done_and_at_its_end_things_go_on() {
    let (mut stage, mut log) = up().await;
    let (text, code) = ctl(&stage, &["maintenance", "start", "--server", "web9", "--for", "1h", "-m", "RAM"]);
    assert!(code == 1 && text.contains("web9"), "{text}");
    let work = json(&stage, &["maintenance", "start", "--server", SERVER, "--for", "1h", "-m", "new RAM"]);
    assert_eq!(work["now"], serde_json::json!([SERVER]));
    let work = work["id"].as_str().unwrap().to_owned();
    jobs(&stage, 20);
    let id = opened(&mut log, "queue-long").await;
    let held = || json(&stage, &["describe", "incident", &id])["hold"]["rail"].as_str().map(str::to_owned);
    until("maintenance holds the step", || held().as_deref() == Some("maintenance")).await;
    let (text, _) = ctl(&stage, &["get", "maintenance"]);
    assert!(text.contains(&work) && text.contains(SERVER) && text.contains("new RAM"), "{text}");

    let (text, code) = ctl(&stage, &["maintenance", "end", "m-000000"]);
    assert!(code == 1 && text.contains("skynetctl get maintenance"), "{text}");
    let (text, code) = ctl(&stage, &["maintenance", "end", &work]);
    assert_eq!((text.as_str(), code), (format!("{work} has ended\n").as_str(), 0));
    until("now only a word is missing", || held().as_deref() == Some("approval")).await;
    let (text, code) = ctl(&stage, &["approve", &id]);
    assert_eq!(code, 0, "{text}");
    becomes(&mut log, &id, State::Contained).await;
    stage.strike().await;
}
