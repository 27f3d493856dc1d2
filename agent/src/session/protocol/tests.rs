#![allow(clippy::wildcard_enum_match_arm, reason = "a test fails on whatever it did not ask for")]

use skynet_model::name::{IncidentId, ScenarioName};
use skynet_model::time::Span;
use skynet_model::value::Params;
use skynet_proto::convert::command_to_wire;

use super::*;

fn protocol() -> Protocol {
    Protocol::new(ServerId::new("web1").unwrap(), "boot".to_owned(), 5)
}

fn at(boot_ms: i64) -> Moment {
    Moment { wall: Timestamp(1_000_000 + boot_ms), boot_ms }
}

fn down(body: Down) -> v1::ControllerMessage {
    v1::ControllerMessage { body: Some(body) }
}

fn welcome(epoch: u64) -> v1::ControllerMessage {
    down(Down::Welcome(v1::Welcome { epoch, ..v1::Welcome::default() }))
}

fn welcomed() -> Protocol {
    let mut protocol = protocol();
    assert_eq!(protocol.receive(welcome(5), at(100)), Ok(Some(Effect::Halt(false))));
    protocol
}

fn command(server: &str, ping: u64) -> v1::Command {
    let command = Command {
        id: CommandId::new("c1").unwrap(),
        incident: IncidentId::new("i-1").unwrap(),
        scenario: ScenarioName::new("s").unwrap(),
        step: 0,
        attempt: 1,
        server: ServerId::new(server).unwrap(),
        action: "service.start".to_owned(),
        labels: Labels::default(),
        params: Params::new(),
        policy: 1,
        epoch: 5,
        ttl: Span::seconds(60),
    };
    command_to_wire(&command, ping)
}

fn deadline(effect: Result<Option<Effect>, End>) -> i64 {
    match effect.unwrap().unwrap() {
        Effect::Execute { deadline_boot_ms, .. } => deadline_boot_ms,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_commands_time_to_live_counts_from_the_arrival_of_its_ping() {
    let mut protocol = welcomed();
    for (number, boot_ms) in [(1, 1_000), (2, 5_000)] {
        let effect = protocol.receive(down(Down::Ping(v1::Ping { number })), at(boot_ms)).unwrap().unwrap();
        let pong = v1::Pong { number, wall_ms: 1_000_000 + boot_ms, boot_ms };
        assert_eq!(effect, Effect::Send(Box::new(Up::Pong(pong))));
    }
    let mut ask = |ping| deadline(protocol.receive(down(Down::Command(command("web1", ping))), at(9_000)));
    assert_eq!(ask(1), 61_000);
    assert_eq!(ask(2), 65_000);
    assert_eq!(ask(0), 60_100);
    assert_eq!(ask(3), i64::MIN, "a ping that never came");
}

#[test]
fn only_so_many_pings_are_remembered_and_they_rise() {
    let mut protocol = welcomed();
    for number in 1..200 {
        protocol.receive(down(Down::Ping(v1::Ping { number })), at(1)).unwrap();
    }
    assert_eq!(protocol.pings.len(), MAX_PINGS);
    assert_eq!(deadline(protocol.receive(down(Down::Command(command("web1", 1))), at(2))), i64::MIN);
    assert!(matches!(protocol.receive(down(Down::Ping(v1::Ping { number: 199 })), at(3)), Err(End::Protocol(_))));
}

#[test]
fn a_command_for_another_server_or_without_sense_is_refused_without_the_acting_process() {
    let mut protocol = welcomed();
    let mut refused = |command| match protocol.receive(down(Down::Command(command)), at(7)).unwrap() {
        Some(Effect::Answer(outcome)) => outcome,
        other => panic!("{other:?}"),
    };
    let outcome = refused(command("web2", 0));
    assert_eq!((outcome.status, outcome.finished_boot_ms), (Status::Refused, 7));
    assert!(outcome.message.contains("web2"), "{}", outcome.message);
    let outcome = refused(v1::Command { ttl_ms: u64::MAX, ..command("web1", 0) });
    assert!(outcome.message.contains("time to live"), "{}", outcome.message);
    let nameless = v1::Command { id: "no good".to_owned(), ..command("web1", 0) };
    assert_eq!(protocol.receive(down(Down::Command(nameless)), at(7)), Ok(None));
}

#[test]
fn a_controller_of_an_older_epoch_is_left() {
    assert_eq!(protocol().receive(welcome(4), at(0)), Err(End::OldEpoch { theirs: 4, ours: 5 }));
    let mut newer = protocol();
    newer.receive(welcome(6), at(0)).unwrap();
    assert_eq!(newer.epoch(), 6);
}

#[test]
fn nothing_counts_before_the_welcome_and_there_is_one() {
    for body in [Down::Command(command("web1", 0)), Down::Halt(v1::Halt { halted: false })] {
        assert!(matches!(protocol().receive(down(body), at(0)), Err(End::Protocol(_))));
    }
    assert!(matches!(welcomed().receive(welcome(5), at(0)), Err(End::Protocol(_))));
    let refusal = Down::Refusal(v1::Refusal { code: "superseded".to_owned(), message: "x".repeat(5000) });
    match protocol().receive(down(refusal), at(0)) {
        Err(End::Refused { code, message }) => assert_eq!((code.as_str(), message.len()), ("superseded", 1024)),
        other => panic!("{other:?}"),
    }
    assert_eq!(welcomed().receive(v1::ControllerMessage { body: None }, at(0)), Ok(None));
}

#[test]
fn acknowledgements_of_another_boot_say_nothing_of_this_one() {
    let mut protocol = welcomed();
    let mut ack = |boot: &str| protocol.receive(down(Down::Ack(v1::Ack { seq: 3, boot_id: boot.to_owned() })), at(1));
    assert_eq!(ack("boot"), Ok(Some(Effect::Acked(3))));
    assert_eq!(ack("other"), Ok(Some(Effect::AckedOther("other".to_owned(), 3))));
}

#[test]
fn a_policy_push_that_is_no_text_is_answered_with_its_error() {
    let mut protocol = welcomed();
    let mut push = |push| protocol.receive(down(Down::Policy(push)), at(1)).unwrap().unwrap();
    let good = v1::PolicyPush { bundle: b"{}".to_vec(), signatures: vec![b"s".to_vec()], labels: vec![] };
    let (bundle, signatures) = ("{}".to_owned(), vec!["s".to_owned()]);
    assert_eq!(push(good.clone()), Effect::Policy { bundle, signatures, labels: Labels::default() });
    for bad in [
        v1::PolicyPush { bundle: vec![0xff], ..good.clone() },
        v1::PolicyPush { signatures: vec![vec![0xff]], ..good.clone() },
        v1::PolicyPush { labels: vec!["odd".to_owned()], ..good },
    ] {
        match push(bad) {
            Effect::Send(up) => assert!(matches!(*up, Up::Policy(status) if !status.error.is_empty())),
            other => panic!("{other:?}"),
        }
    }
}
