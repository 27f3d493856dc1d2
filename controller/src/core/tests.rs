use skynet_model::command::{Outcome, Status};
use skynet_model::incident::State;
use skynet_model::name::CommandId;

use super::*;
use crate::fixture::{Agent, PATIENCE, POLICY, Rig, bundle, server, terms};
use crate::journal::Fault;

/// An agent that runs policy 1 and is fine.
async fn healthy(rig: &Rig, token: u64) -> Agent {
    let mut agent = Agent::connect(rig, "web1", token, token).await.unwrap();
    agent.say(FromAgent::Inventory(Vec::new())).await;
    agent.receive("merged inventory", |b| matches!(b, Body::InventoryAck(_)).then_some(())).await;
    agent.read(1.0).await;
    agent
}

fn done(command: &v1::Command) -> FromAgent {
    FromAgent::Outcome(Outcome {
        command: CommandId::new(&command.id).unwrap(),
        status: Status::Done,
        message: "fixed".to_owned(),
        finished: crate::clock::now(),
        finished_boot_ms: 0,
        took_ms: 1,
    })
}

fn has_command(bodies: &[Body]) -> bool {
    bodies.iter().any(|b| matches!(b, Body::Command(_)))
}

#[tokio::test]
async fn no_command_leaves_before_its_event_is_on_disk() {
    for fault in [Fault::Full(0), Fault::Full(50), Fault::Sync] {
        let rig = Rig::start();
        rig.push(1).await.unwrap();
        let mut agent = healthy(&rig, 1).await;
        rig.settle().await;
        rig.memory.set_fault(fault);
        agent.read(50.0).await;
        rig.settle().await;
        rig.settle().await;
        assert!(!has_command(&agent.received()), "{fault:?}");
        let why = rig.core.ask(|view| view.blocked.map(str::to_owned)).await.unwrap().unwrap();
        assert!(why.contains("cannot write"), "{why}");
        rig.memory.set_fault(Fault::None);
        agent.command().await;
        let on_disk = rig.on_disk();
        assert_eq!(on_disk.iter().filter(|b| matches!(b, EventBody::CommandIssued { .. })).count(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn no_person_is_told_before_the_notice_is_on_disk() {
    let rig = Rig::start();
    rig.push(1).await.unwrap();
    let mut agent = healthy(&rig, 1).await;
    rig.settle().await;
    rig.memory.set_fault(Fault::Sync);
    agent.read(500.0).await;
    rig.settle().await;
    rig.settle().await;
    assert!(rig.told.lock().unwrap().is_empty());
    rig.memory.set_fault(Fault::None);
    rig.until("notice", |b| matches!(b, EventBody::NoticeRaised { .. })).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while rig.told.lock().unwrap().is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "nobody is told");
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.told.lock().unwrap()[0].route, "oncall");
}

#[tokio::test]
async fn an_outcome_is_acknowledged_only_when_it_is_on_disk() {
    let rig = Rig::start();
    rig.push(1).await.unwrap();
    let mut agent = healthy(&rig, 1).await;
    agent.read(50.0).await;
    let command = agent.command().await;
    rig.memory.set_fault(Fault::Full(10));
    agent.say(done(&command)).await;
    rig.settle().await;
    rig.settle().await;
    assert!(!agent.received().iter().any(|b| matches!(b, Body::OutcomeAck(_))));
    rig.memory.set_fault(Fault::None);
    let ids =
        agent.receive("ack", |b| if let Body::OutcomeAck(a) = b { Some(a.command_ids.clone()) } else { None }).await;
    assert_eq!(ids, [command.id]);
    assert!(rig.on_disk().iter().any(|b| matches!(b, EventBody::CommandEnded { .. })));
}

#[tokio::test]
async fn operators_are_told_at_once_that_the_journal_cannot_be_written() {
    let rig = Rig::start();
    rig.memory.set_fault(Fault::Full(0));
    let halt = Order::Halt { by: "ann".to_owned(), reason: "test".to_owned() };
    let answer = tokio::time::timeout(PATIENCE / 10, rig.core.order(halt)).await.unwrap();
    assert!(matches!(&answer, Err(Refused::Unavailable(text)) if text.contains("journal")), "{answer:?}");
    rig.memory.set_fault(Fault::None);
    rig.until("halt", |b| matches!(b, EventBody::Halted { .. })).await;
    let seqs: Vec<u64> = rig.events().iter().map(|e| e.seq).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_incident_goes_on_after_a_power_cut_and_its_command_keeps_its_id() {
    let rig = Rig::start();
    rig.push(1).await.unwrap();
    let mut agent = healthy(&rig, 1).await;
    agent.read(50.0).await;
    let command = agent.command().await;
    let rig = rig.restart().await;
    let mut agent = Agent::connect(&rig, "web1", 1, 1).await.unwrap();
    agent.say(FromAgent::Inventory(Vec::new())).await;
    let again = agent.command().await;
    assert_eq!(again.id, command.id);
    assert!(again.ttl_ms <= command.ttl_ms);
    assert!(again.epoch >= command.epoch);
    agent.read(50.0).await;
    agent.say(done(&again)).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        agent.read(1.0).await;
        let states = rig.core.ask(|v| v.engine.incidents().iter().map(|i| i.state).collect::<Vec<_>>()).await.unwrap();
        if states == [State::Contained] {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{states:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let epochs: Vec<u64> = rig
        .events()
        .iter()
        .filter_map(|e| if let EventBody::ControllerStarted { epoch, .. } = &e.body { Some(*epoch) } else { None })
        .collect();
    assert!(epochs.len() == 2 && epochs[0] < epochs[1], "{epochs:?}");
    let memory = rig.stop().await;
    assert!(memory.bytes("00000000000000000001.log").is_some());
}

#[tokio::test]
async fn a_newer_session_takes_over_and_an_older_one_is_refused() {
    let rig = Rig::start();
    let mut first = Agent::connect(&rig, "web1", 1, 5).await.unwrap();
    for older in [4, 5] {
        assert_eq!(Agent::connect(&rig, "web1", 2, older).await.err().as_deref(), Some("superseded"));
    }
    let mut second = Agent::connect(&rig, "web1", 3, 6).await.unwrap();
    second.receive("welcome", |b| matches!(b, Body::Welcome(_)).then_some(())).await;
    // What the first still says counts no more.
    first.say(FromAgent::End { reason: "gone".to_owned(), bad_input: false }).await;
    first.read(50.0).await;
    let (connected, sensors) = rig
        .core
        .ask(|v| v.servers.get(&server("web1")).map(|s| (s.connected(), s.sensors.all().len())))
        .await
        .unwrap()
        .unwrap();
    assert!(connected && sensors == 0);
    first.received();
}

#[tokio::test]
async fn an_agent_is_given_the_policy_it_does_not_have_and_is_left_alone_when_it_refuses() {
    let rig = Rig::start();
    rig.push(1).await.unwrap();
    let is_policy = |b: &Body| matches!(b, Body::Policy(_));
    let mut agent = healthy(&rig, 1).await;
    // `healthy` passes messages over up to the merged inventory, the push at hello among them.
    assert!(!agent.received().iter().any(is_policy));
    let digest = rig.core.ask(|v| v.policies.current().map(|a| a.candidate.digest.clone())).await.unwrap().unwrap();
    agent.say(FromAgent::Policy { version: 1, digest: digest.clone(), error: None }).await;
    rig.settle().await;
    assert!(!agent.received().iter().any(is_policy), "it has it");
    rig.push(2).await.unwrap();
    let pushed = agent.receive("policy", |b| if let Body::Policy(p) = b { Some(p.clone()) } else { None }).await;
    assert_eq!(pushed.labels, ["role", "web"]);
    agent.say(FromAgent::Policy { version: 2, digest: "x".to_owned(), error: Some("too new".to_owned()) }).await;
    rig.settle().await;
    assert!(!agent.received().iter().any(is_policy), "it refused");
    agent.say(FromAgent::Policy { version: 1, digest, error: None }).await;
    agent.receive("the newest policy again", |b| is_policy(b).then_some(())).await;
}

#[tokio::test]
async fn policy_versions_only_rise_and_outlive_a_restart() {
    let rig = Rig::start();
    rig.push(2).await.unwrap();
    for version in [1, 2] {
        let refused = rig.push(version).await.unwrap_err();
        assert!(matches!(&refused, Refused::Precondition(text) if text.contains("version 2")), "{refused}");
    }
    let rig = rig.restart().await;
    let (version, scenarios) = rig
        .core
        .ask(|v| (v.policies.current().map(|a| a.candidate.version), v.policies.versions()[0].scenarios.clone()))
        .await
        .unwrap();
    assert_eq!(version, Some(2));
    assert_eq!(scenarios, ["high", "hopeless"]);
}

#[tokio::test]
async fn a_version_that_expires_on_its_way_goes_back_and_a_person_is_told() {
    let rig = Rig::start();
    rig.push(1).await.unwrap();
    let _agent = healthy(&rig, 1).await;
    rig.push_text(2, &POLICY.replace("soak: 0s", "soak: 1d")).await.unwrap();
    rig.until("a wave", |body| matches!(body, EventBody::WaveStarted { version: 2, .. })).await;
    rig.skip(Span::hours(2));
    let ended = rig.until("the end", |body| matches!(body, EventBody::RolloutEnded { .. })).await;
    let EventBody::RolloutEnded { version: 2, rolled_back: true, reason, .. } = &ended else { panic!("{ended:?}") };
    assert!(reason.starts_with("it expired at "), "{reason}");
    rig.until("a notice", |body| matches!(body, EventBody::NoticeRaised { notice } if notice.title.contains(reason)))
        .await;
    let current = rig.core.ask(|view| view.policies.current().map(|active| active.candidate.version)).await.unwrap();
    assert_eq!(current, Some(1));
}

#[tokio::test]
async fn a_bundle_that_is_gone_or_changed_is_named_with_its_remedy() {
    let rig = Rig::start();
    rig.push(1).await.unwrap();
    let file = std::fs::read_dir(rig.folder.path()).unwrap().next().unwrap().unwrap().path();
    let events = rig.events();
    std::fs::write(&file, bundle(1, "fleet: demo")).unwrap();
    let changed = Policies::open(rig.folder.path(), &events, &terms()).unwrap_err().to_string();
    std::fs::remove_file(&file).unwrap();
    let gone = Policies::open(rig.folder.path(), &events, &terms()).unwrap_err().to_string();
    for error in [changed, gone] {
        assert!(error.contains("policy 1") && error.contains("restore") && error.contains(".bundle"), "{error}");
    }
}

#[tokio::test]
async fn halt_reaches_agents_at_once_and_resume_when_it_is_on_disk() {
    let rig = Rig::start();
    let mut agent = healthy(&rig, 1).await;
    let halted = |b: &Body| if let Body::Halt(halt) = b { Some(halt.halted) } else { None };
    rig.memory.set_fault(Fault::Full(0));
    let _ = rig.core.order(Order::Halt { by: "ann".to_owned(), reason: String::new() }).await;
    assert!(agent.receive("halt", halted).await);
    let _ = rig.core.order(Order::Resume { by: "ann".to_owned() }).await;
    assert!(agent.received().iter().all(|b| halted(b).is_none()));
    rig.memory.set_fault(Fault::None);
    assert!(!agent.receive("resume", halted).await);
}

#[tokio::test]
async fn a_second_halt_is_told_of_the_first() {
    let rig = Rig::start();
    let halt = |by: &str| Order::Halt { by: by.to_owned(), reason: format!("{by}'s") };
    assert_eq!(rig.core.order(halt("ann")).await.unwrap()["before"], serde_json::Value::Null);
    let second = rig.core.order(halt("bob")).await.unwrap();
    assert_eq!(second["before"], serde_json::json!({ "by": "ann", "reason": "ann's" }));
}

#[tokio::test]
async fn late_readings_trigger_nothing() {
    let rig = Rig::start();
    rig.push(1).await.unwrap();
    let mut agent = healthy(&rig, 1).await;
    agent.read_late(50.0).await;
    rig.settle().await;
    assert!(rig.core.ask(|v| v.engine.incidents().is_empty()).await.unwrap());
    agent.read(50.0).await;
    agent.command().await;
}

#[tokio::test]
async fn a_command_that_waited_its_time_to_live_for_the_disk_is_not_sent() {
    let rig = Rig::start();
    rig.push(1).await.unwrap();
    let mut agent = healthy(&rig, 1).await;
    rig.settle().await;
    rig.memory.set_fault(Fault::Sync);
    agent.read(50.0).await;
    rig.settle().await;
    rig.skip(skynet_model::command::COMMAND_TTL);
    rig.memory.set_fault(Fault::None);
    rig.until("command", |b| matches!(b, EventBody::CommandIssued { .. })).await;
    rig.settle().await;
    assert!(!has_command(&agent.received()));
}
