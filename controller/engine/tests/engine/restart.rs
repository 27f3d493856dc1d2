//! The controller dies and comes back; agents come and go; nothing happens twice.

use skynet_engine::{Engine, Input};
use skynet_model::command::Status;
use skynet_model::event::EventBody;
use skynet_model::incident::{Rail, State};
use skynet_model::time::{Span, Timestamp};

use crate::steps::{DISK, P7, ROOT, RUNAWAY};
use crate::world::{World, policy};

fn back(w: &mut World, name: &str) {
    w.connect(name);
    w.merge(name);
}

#[test]
fn a_proof_goes_on_after_a_restart_with_the_same_deadline() {
    let mut w = World::new(RUNAWAY);
    w.set("web1", P7, 0.99);
    w.run(3);
    assert_eq!(w.last().state, State::Verifying);
    let deadline = w.last().steps[0].outcome_at.unwrap().plus(Span::seconds(10));
    w.restart();
    back(&mut w, "web1");
    w.run(1);
    assert_eq!(w.last().steps.len(), 1);
    w.remove("web1", P7);
    w.run(4);
    assert_eq!(w.states(), [State::Contained]);
    assert!(w.last().closed.unwrap() < deadline);
    assert_eq!(w.effects("web1").len(), 1);

    let mut w = World::new(RUNAWAY);
    w.set("web1", P7, 0.99);
    w.run(3);
    let deadline = w.last().steps[0].outcome_at.unwrap().plus(Span::seconds(10));
    w.restart();
    w.run(3);
    back(&mut w, "web1");
    w.run(9);
    let steps = w.last().steps;
    assert_eq!(steps.len(), 2);
    assert_eq!(steps[0].ended, Some(deadline));
}

#[test]
fn a_proof_goes_on_after_the_agent_reconnects() {
    let mut w = World::new(RUNAWAY);
    w.set("web1", P7, 0.99);
    w.run(3);
    w.disconnect("web1");
    w.remove("web1", P7);
    w.run(2);
    back(&mut w, "web1");
    w.run(3);
    assert_eq!(w.states(), [State::Contained]);
    assert_eq!(w.last().steps.len(), 1);
}

#[test]
fn after_a_reboot_the_boot_clock_proves_all_the_same() {
    let mut w = World::new(DISK);
    w.run(1000);
    w.set("web1", ROOT, 0.9);
    w.run(3);
    assert_eq!(w.last().state, State::Verifying);
    w.set("web1", ROOT, 0.5);
    w.reboot("web1");
    w.run(3);
    assert_eq!(w.states(), [State::Contained]);
}

#[test]
fn a_command_the_ledger_does_not_know_is_sent_again_within_its_time_to_live() {
    let mut w = World::new(RUNAWAY);
    w.fakes.get_mut("web1").unwrap().lose_commands = true;
    w.set("web1", P7, 0.99);
    w.run(20);
    assert!(w.effects("web1").is_empty());
    w.disconnect("web1");
    w.fakes.get_mut("web1").unwrap().lose_commands = false;
    w.cures("web1", "process.signal", &[(P7, None)]);
    back(&mut w, "web1");
    assert_eq!(w.resent.len(), 1);
    assert_eq!(w.resent[0].id, w.last().steps[0].command.id);
    assert_eq!(w.resent[0].ttl, Span::seconds(41), "only what is left of it");
    w.run(4);
    assert_eq!(w.states(), [State::Contained]);
    assert_eq!(w.effects("web1").len(), 1);
}

#[test]
fn a_command_the_ledger_does_not_know_has_expired_after_its_time_to_live() {
    let mut w = World::new(RUNAWAY);
    w.fakes.get_mut("web1").unwrap().lose_commands = true;
    w.set("web1", P7, 0.99);
    w.run(62);
    w.disconnect("web1");
    back(&mut w, "web1");
    let steps = w.last().steps;
    assert_eq!(steps[0].outcome.as_ref().unwrap().status, Status::Expired);
    assert!(w.resent.is_empty());
}

#[test]
fn a_command_the_ledger_runs_is_waited_for() {
    let mut w = World::new(RUNAWAY);
    w.ends("web1", "process.signal", Status::Done, Some(40));
    w.set("web1", P7, 0.99);
    w.run(5);
    w.disconnect("web1");
    back(&mut w, "web1");
    assert!(w.resent.is_empty());
    assert_eq!(w.states(), [State::Acting]);
    assert_eq!(w.effects("web1").len(), 1);
}

#[test]
fn an_outcome_in_the_ledger_ends_the_command() {
    let mut w = World::new(RUNAWAY);
    w.cures("web1", "process.signal", &[(P7, None)]);
    w.ends("web1", "process.signal", Status::Done, Some(5));
    w.set("web1", P7, 0.99);
    w.run(2);
    w.disconnect("web1");
    w.remove("web1", P7);
    w.run(10);
    w.restart();
    back(&mut w, "web1");
    assert_eq!(w.states(), [State::Verifying]);
    w.run(3);
    assert_eq!(w.states(), [State::Contained]);
    assert_eq!(w.effects("web1").len(), 1);
}

#[test]
fn after_a_restart_it_acts_when_four_of_five_are_back() {
    let mut w = World::empty(RUNAWAY);
    for n in 1..=6 {
        w.add(&format!("web{n}"));
    }
    w.restart();
    w.set("web1", P7, 0.99);
    for n in 1..=4 {
        back(&mut w, &format!("web{n}"));
    }
    w.run(20);
    assert_eq!(w.holds(), [Rail::Startup]);
    w.connect("web5");
    w.run(1);
    assert!(w.effects("web1").is_empty(), "connected is not merged");
    w.merge("web5");
    assert_eq!(w.effects("web1").len(), 1);
}

#[test]
fn the_startup_wait_is_explained_after_90_seconds_and_ended_by_resume() {
    let mut w = World::new(RUNAWAY);
    w.add("web2");
    w.restart();
    w.set("web1", P7, 0.99);
    back(&mut w, "web1");
    w.run(89);
    let remarks = |w: &World| {
        let said = w.events.iter().filter_map(|e| match &e.body {
            EventBody::Remark { topic, message, .. } => Some(format!("{topic}: {message}")),
            _ => None,
        });
        said.collect::<Vec<_>>()
    };
    assert!(remarks(&w).is_empty());
    w.run(2);
    assert_eq!(remarks(&w).len(), 1);
    assert!(remarks(&w)[0].contains("startup_waiting: after a restart 2 of 2"), "{:?}", remarks(&w));
    assert!(remarks(&w)[0].contains("web2"));
    w.input(Input::Resume { by: "ann".into() });
    assert_eq!(w.effects("web1").len(), 1);
}

#[test]
fn a_server_that_does_not_come_back_is_away_after_90_seconds() {
    let mut w = World::new("scenario: away\nwhere: { role: web }\nwhen: server.connected == 0\nmode: observe\n");
    w.restart();
    w.run(89);
    assert!(w.opened().is_empty());
    w.run(2);
    assert_eq!(w.states(), [State::Observed]);
}

#[test]
fn an_escalation_whose_notice_was_lost_is_told_after_the_restart() {
    let mut w = World::new(RUNAWAY);
    w.set("web1", P7, 0.99);
    w.run(30);
    assert!(matches!(w.events.last().unwrap().body, EventBody::NoticeRaised { .. }));
    let told = w.notices()[0].id.clone();
    w.events.pop();
    w.engine = Engine::new();
    let events = std::mem::take(&mut w.events);
    for event in &events {
        w.engine.replay(event);
    }
    w.events = events;
    w.engine.start(Timestamp(w.now), 2);
    let policy = policy(RUNAWAY);
    w.call(|engine, now, out| engine.set_policy(now, 1, policy, out));
    assert_eq!(w.notices().len(), 1);
    assert_eq!(w.notices()[0].id, told);
}

#[test]
fn from_any_prefix_of_the_journal_it_ends_without_a_second_effect() {
    let mut w = World::new(RUNAWAY);
    w.ends("web1", "process.signal", Status::Failed, Some(1));
    w.set("web1", P7, 0.99);
    w.run(10);
    let events = w.events.clone();
    for cut in 0..=events.len() {
        let mut again = World::new(RUNAWAY);
        again.ends("web1", "process.signal", Status::Failed, Some(1));
        again.set("web1", P7, 0.99);
        again.events = events[..cut].to_vec();
        again.now = w.now;
        again.engine = Engine::new();
        for event in &again.events {
            again.engine.replay(event);
        }
        again.engine.start(Timestamp(again.now), 2);
        let policy = policy(RUNAWAY);
        again.call(|engine, now, out| engine.set_policy(now, 1, policy, out));
        // The ledger of the server outlives the controller; it holds nothing that was not journalled first.
        let issued: Vec<_> = again.opened().iter().flat_map(|i| i.steps.iter().map(|s| s.command.id.clone())).collect();
        let mut ledger = w.fakes["web1"].ledger.clone();
        ledger.retain(|command, _| issued.contains(command));
        again.fakes.get_mut("web1").unwrap().ledger = ledger;
        let labels = skynet_model::series::Labels::new([("role", "web")]);
        again.input(Input::Labelled { server: crate::world::server("web1"), labels });
        back(&mut again, "web1");
        again.run(130);
        assert_eq!(again.states(), [State::Escalated], "cut at {cut}");
        assert_eq!(again.notices().len(), 1, "cut at {cut}");
        assert!(again.last().steps.len() == 2, "cut at {cut}");
        let mut seen = std::collections::BTreeSet::new();
        assert!(again.fakes["web1"].effects.iter().all(|c| seen.insert(c.id.clone())), "cut at {cut}");
    }
}
