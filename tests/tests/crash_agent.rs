//! Power cuts on a server: `kill -9` of the agent's two processes between INTENT and OUTCOME, for each idempotence class.
//! The documented results: declarative runs again, probeable is probed, once is never run again.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use skynet_model::command::{Outcome, Status};
use skynet_model::event::EventBody;
use skynet_model::incident::State;
use skynet_tests::{SERVER, Stage, stage};

const PATIENCE: Duration = Duration::from_secs(30);

/// Each script hangs the first time it runs, having said so, until the stage's folder is gone.
const POLICY: &str = r#"
fleet: demo
---
profile: demo
match: { demo: "yes" }
sensors:
  - exec: { name: faults, script: list-faults, every: 1s, timeout: 5s, format: json }
  - service: { name: early, pid_file: "@DIR@/worker.pid", start: hang-then-start, every: 60s }
  - service: { name: late, pid_file: "@DIR@/worker.pid", start: start-then-hang, every: 60s }
---
script: list-faults
interpreter: /bin/sh
body: cat "@DIR@/faults.json"
---
script: hang
interpreter: /bin/sh
body: |
  echo ran >> "@DIR@/effects.log"
  echo > "@DIR@/begun"
  while [ -e "@DIR@/begun" ]; do sleep 0.1; done
---
script: hang-then-start
interpreter: /bin/sh
body: |
  if [ ! -e "@DIR@/begun" ]; then
    echo > "@DIR@/begun"
    while [ -e "@DIR@/begun" ]; do sleep 0.1; done
    exit 0
  fi
  "@DIR@/bin/demo-worker" </dev/null >/dev/null 2>&1 &
---
script: start-then-hang
interpreter: /bin/sh
body: |
  "@DIR@/bin/demo-worker" </dev/null >/dev/null 2>&1 &
  if [ ! -e "@DIR@/begun" ]; then
    while [ "$(cat "@DIR@/worker.pid")" != $! ]; do sleep 0.1; done
    echo > "@DIR@/begun"
    while [ -e "@DIR@/begun" ]; do sleep 0.1; done
  fi
---
scenario: fault
when: 'exec.value.where({"check": "faults", "metric": "fault"}) > 0'
mode: enforce
respond:
  - do: @STEP@
    verify_within: 2s
"#;

/// Runs one step, cuts the power while it runs, lets the agent come back, and gives what became of it.
async fn cut_during(step: &str, worker_runs: bool) -> (Stage, Outcome) {
    let mut stage = stage(&[SERVER]).await;
    fs::write(stage.dir().join("faults.json"), "[]").unwrap();
    if worker_runs {
        stage.faults.start_worker().unwrap();
    }
    stage.start_controller().await.unwrap();
    stage.push(1, &POLICY.replace("@STEP@", step)).await.unwrap();
    stage.start_agent(SERVER).unwrap();
    let mut log = stage.follow(0).await.unwrap();
    log.until("policy on the server", PATIENCE, |e| {
        matches!(e.body, EventBody::ServerPolicy { error: None, .. }).then_some(())
    })
    .await
    .unwrap();
    fs::write(stage.dir().join("faults.json"), r#"{"fault": 1}"#).unwrap();
    let begun = stage.dir().join("begun");
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !begun.exists() {
        assert!(tokio::time::Instant::now() < deadline, "the step does not begin\n{}", stage.log_tails());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let actor = acting_process(stage.agent_pid(SERVER).unwrap());
    let pid = rustix::process::Pid::from_raw(actor).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    stage.kill_agent(SERVER);
    stage.start_agent(SERVER).unwrap();

    let outcome = log
        .until("outcome", PATIENCE, |e| match &e.body {
            EventBody::CommandEnded { outcome, .. } => Some(outcome.clone()),
            _ => None,
        })
        .await
        .unwrap();
    // Until the incident is over: time for a second effect, if there were one.
    log.until("escalation", PATIENCE, |e| {
        matches!(&e.body, EventBody::IncidentChanged { state: State::Escalated, .. }).then_some(())
    })
    .await
    .unwrap();
    let commands = stage.events().await.unwrap();
    let commands = commands.iter().filter(|e| matches!(e.body, EventBody::CommandIssued { .. })).count();
    assert_eq!(commands, 1);
    (stage, outcome)
}

/// The child of the agent that holds the ledger.
fn acting_process(agent: u32) -> i32 {
    let find = || {
        fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
            let pid: i32 = entry.file_name().to_string_lossy().parse().ok()?;
            let stat = fs::read_to_string(PathBuf::from("/proc").join(pid.to_string()).join("stat")).ok()?;
            let parent: u32 = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            (parent == agent).then_some(pid)
        })
    };
    find().expect("the agent has an acting process")
}

fn count(stage: &Stage, effect: &str) -> usize {
    stage.faults.effects().iter().filter(|line| *line == effect).count()
}

#[tokio::test]
async fn a_step_that_may_run_once_only_is_reported_indeterminate_and_never_run_again() {
    let (mut stage, outcome) = cut_during("script.run\n    with: { script: hang }", false).await;
    assert_eq!(outcome.status, Status::Indeterminate, "{}", outcome.message);
    assert_eq!(count(&stage, "ran"), 1);
    stage.strike().await;
}

#[tokio::test]
async fn a_declarative_step_is_run_again() {
    let (mut stage, outcome) = cut_during("service.start\n    with: { unit: early }", false).await;
    assert_eq!(outcome.status, Status::Done, "{}", outcome.message);
    assert!(outcome.message.starts_with("run again after a crash"), "{}", outcome.message);
    assert_eq!(count(&stage, "started"), 1);
    stage.strike().await;
}

#[tokio::test]
async fn a_probeable_step_that_was_not_done_is_run_again() {
    let (mut stage, outcome) = cut_during("service.restart\n    with: { unit: early }", true).await;
    assert_eq!(outcome.status, Status::Done, "{}", outcome.message);
    assert!(outcome.message.starts_with("found not done after a crash"), "{}", outcome.message);
    assert_eq!(count(&stage, "started"), 2, "once by us, once by the restart");
    stage.strike().await;
}

#[tokio::test]
async fn a_probeable_step_that_was_done_is_not_run_again() {
    let (mut stage, outcome) = cut_during("service.restart\n    with: { unit: late }", true).await;
    assert_eq!(outcome.status, Status::Done, "{}", outcome.message);
    assert!(outcome.message.contains("found done after a crash"), "{}", outcome.message);
    assert_eq!(count(&stage, "started"), 2, "once by us, once by the restart");
    stage.strike().await;
}
