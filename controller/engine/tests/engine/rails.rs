//! What holds a step back.

use skynet_engine::Input;
use skynet_model::command::Status;
use skynet_model::incident::{Rail, State};

use crate::steps::{DISK, P7, ROOT, RUNAWAY};
use crate::world::World;

const SERVICE: &str = r#"
scenario: down
when: service.up == 0
mode: enforce
respond:
  - do: service.restart
    with: { unit: "${unit}" }
    verify_within: 10s
"#;

fn unit(n: usize) -> String {
    format!("service.up{{unit=\"u{n}\"}}")
}

fn heals(w: &mut World) {
    w.cures("web1", "disk.tidy", &[(ROOT, Some(0.5))]);
    w.set("web1", ROOT, 0.9);
    w.run(6);
}

#[test]
fn a_cure_that_did_not_last_is_not_repeated_within_the_cooldown() {
    let mut w = World::new(DISK);
    heals(&mut w);
    w.run(60);
    heals(&mut w);
    assert_eq!(w.states(), [State::Contained, State::Escalated]);
    assert_eq!(w.effects("web1").len(), 1);
    let reason = w.last().reason.unwrap();
    assert!(reason.contains("cooldown") && reason.contains(w.opened()[0].id.as_str()), "{reason}");
    assert_eq!(w.holds(), [Rail::Cooldown]);
}

#[test]
fn the_cooldown_doubles_and_three_a_day_are_the_most() {
    let mut w = World::new(DISK);
    for (wait, expected) in [
        (0, State::Contained),
        (15 * 60, State::Contained),
        (16 * 60, State::Escalated),
        (15 * 60, State::Contained),
        (6 * 3600, State::Escalated),
        (18 * 3600, State::Contained),
    ] {
        w.set("web1", ROOT, 0.5);
        w.run(1);
        w.pass(wait);
        heals(&mut w);
        assert_eq!(w.last().state, expected, "{:?}", w.last().reason);
        w.check_replay();
    }
}

#[test]
fn steps_within_one_incident_do_not_cool_each_other_down() {
    let mut w = World::new(&RUNAWAY.replace("KILL", "TERM"));
    w.set("web1", P7, 0.99);
    w.run(25);
    assert_eq!(w.effects("web1").len(), 2);
}

#[test]
fn other_parameters_or_servers_are_not_cooled_down() {
    let mut w = World::new(DISK);
    heals(&mut w);
    w.cures("web1", "disk.tidy", &[("disk.used_ratio{mount=\"/var\"}", Some(0.5))]);
    w.set("web1", "disk.used_ratio{mount=\"/var\"}", 0.9);
    w.run(6);
    w.add("web2");
    w.cures("web2", "disk.tidy", &[(ROOT, Some(0.5))]);
    w.set("web2", ROOT, 0.9);
    w.run(6);
    assert_eq!(w.states(), [State::Contained; 3]);
}

#[test]
fn what_had_no_effect_cools_nothing_down() {
    let mut w = World::new(DISK);
    w.ends("web1", "disk.tidy", Status::Refused, Some(0));
    w.set("web1", ROOT, 0.9);
    w.run(3);
    w.set("web1", ROOT, 0.5);
    w.run(2);
    heals(&mut w);
    assert_eq!(w.states(), [State::Resolved, State::Contained]);
}

#[test]
fn the_scenarios_own_cooldown_counts() {
    let mut w = World::new(&format!("{DISK}limits: {{ cooldown: 30s }}\n"));
    heals(&mut w);
    w.run(30);
    heals(&mut w);
    assert_eq!(w.states(), [State::Contained; 2]);
}

#[test]
fn five_disruptive_steps_are_under_way_at_once_and_the_others_wait() {
    let mut w = World::new(SERVICE);
    w.ends("web1", "service.restart", Status::Done, Some(30));
    for n in 0..7 {
        w.set("web1", &unit(n), 0.0);
    }
    w.run(20);
    let states = w.states();
    assert_eq!(states.iter().filter(|s| **s == State::Acting).count(), 5);
    assert_eq!(states.iter().filter(|s| **s == State::Waiting).count(), 2);
    for n in 0..7 {
        w.set("web1", &unit(n), 1.0);
    }
    w.run(15);
    let states = w.states();
    assert_eq!(states.iter().filter(|s| **s == State::Contained).count(), 5);
    // The two that waited went away before anything was done.
    assert_eq!(states.iter().filter(|s| **s == State::Cleared).count(), 2);
}

#[test]
fn a_place_that_becomes_free_is_taken_at_once() {
    let mut w = World::new(SERVICE);
    w.ends("web1", "service.restart", Status::Failed, Some(30));
    for n in 0..7 {
        w.set("web1", &unit(n), 0.0);
    }
    w.run(33);
    assert_eq!(w.effects("web1").len(), 7);
}

#[test]
fn an_hours_steps_used_up_hold_and_after_ten_minutes_a_person_is_told() {
    let mut w = World::new(&format!("{SERVICE}limits: {{ per_hour: 2 }}\n"));
    w.ends("web1", "service.restart", Status::Failed, Some(0));
    for n in 0..3 {
        w.set("web1", &unit(n), 0.0);
    }
    w.run(500);
    assert_eq!(w.effects("web1").len(), 2);
    assert_eq!(w.states().iter().filter(|s| **s == State::Waiting).count(), 1);
    w.run(110);
    let held = w.opened().into_iter().find(|i| i.steps.is_empty()).unwrap();
    assert_eq!(held.state, State::Escalated);
    let reason = held.reason.unwrap();
    assert!(reason.contains("rate") && reason.contains("2 of 2") && reason.contains("for 10m"), "{reason}");
}

#[test]
fn a_rate_that_frees_in_time_lets_the_step_go() {
    let mut w = World::new(&format!("{SERVICE}limits: {{ per_hour: 1 }}\n"));
    w.ends("web1", "service.restart", Status::Failed, Some(0));
    w.set("web1", &unit(0), 0.0);
    w.run(1);
    w.pass(3500);
    w.set("web1", &unit(1), 0.0);
    w.run(50);
    assert_eq!(w.effects("web1").len(), 1);
    w.run(60);
    assert_eq!(w.effects("web1").len(), 2);
}

#[test]
fn reversible_steps_have_their_rate_per_server() {
    let mut w = World::new(&format!("{DISK}limits: {{ per_hour: 1 }}\n"));
    w.add("web2");
    for name in ["web1", "web2"] {
        w.set(name, ROOT, 0.9);
        w.set(name, "disk.used_ratio{mount=\"/var\"}", 0.9);
    }
    w.run(1);
    assert_eq!((w.effects("web1").len(), w.effects("web2").len()), (1, 1));
    assert_eq!(w.holds(), [Rail::Rate, Rail::Rate]);
}

#[test]
fn halt_holds_and_resume_lets_go() {
    let mut w = World::new(RUNAWAY);
    w.input(Input::Halt { by: "ann".into(), reason: "moving racks".into() });
    assert_eq!(w.engine.halted(), Some(("ann", "moving racks")));
    w.set("web1", P7, 0.99);
    w.run(30);
    assert!(w.effects("web1").is_empty());
    assert_eq!(w.holds(), [Rail::Halt]);
    w.input(Input::Resume { by: "ann".into() });
    assert_eq!(w.effects("web1").len(), 1);
    assert_eq!(w.engine.halted(), None);
}

#[test]
fn nothing_is_done_while_the_journal_cannot_be_written() {
    let mut w = World::new(RUNAWAY);
    w.input(Input::JournalBlocked(true));
    w.set("web1", P7, 0.99);
    w.run(30);
    assert!(w.effects("web1").is_empty());
    assert_eq!(w.holds(), [Rail::Journal]);
    w.input(Input::JournalBlocked(false));
    assert_eq!(w.effects("web1").len(), 1);
}

#[test]
fn a_server_gets_no_command_before_its_ledger_is_merged() {
    let text = "scenario: away\nwhere: { role: web }\nwhen: server.connected == 0 || cpu.busy_ratio > 0.9\nmode: enforce\nrespond:\n  - do: service.restart\n    with: { unit: a.service }\n";
    let mut w = World::new(text);
    w.set("web1", "cpu.busy_ratio", 0.95);
    w.disconnect("web1");
    w.connect("web1");
    w.run(5);
    assert_eq!(w.holds(), [Rail::Server]);
    assert!(w.last().held[0].why.contains("ledger"));
    assert!(w.effects("web1").is_empty());
    w.merge("web1");
    assert_eq!(w.effects("web1").len(), 1);
}

#[test]
fn nothing_is_done_in_the_dark() {
    let mut w = World::new(RUNAWAY);
    w.set("web1", P7, 0.99);
    w.run(2);
    w.fakes.get_mut("web1").unwrap().failing.insert("process".to_owned());
    w.run(20);
    assert_eq!(w.effects("web1").len(), 1, "the second step is held");
    assert_eq!(w.holds(), [Rail::Readings]);
    w.fakes.get_mut("web1").unwrap().failing.clear();
    w.run(1);
    assert_eq!(w.effects("web1").len(), 2);
}

#[test]
fn what_needs_approval_waits_and_then_a_person_is_told() {
    let mut w = World::new(&DISK.replace("disk.tidy", "disk.wipe"));
    w.set("web1", ROOT, 0.9);
    w.run(599);
    assert_eq!(w.states(), [State::Waiting]);
    assert_eq!(w.holds(), [Rail::Approval]);
    w.run(3);
    assert_eq!(w.states(), [State::Escalated]);
    assert!(w.last().reason.unwrap().contains("approval"));
    assert!(w.effects("web1").is_empty());
}

#[test]
fn the_ten_minutes_are_one_wait_whatever_holds_it() {
    let mut w = World::new(&DISK.replace("disk.tidy", "disk.wipe"));
    w.input(Input::Halt { by: "ann".into(), reason: "work".into() });
    w.set("web1", ROOT, 0.9);
    w.run(300);
    w.input(Input::Resume { by: "ann".into() });
    w.run(303);
    assert_eq!(w.states(), [State::Escalated]);
    assert_eq!(w.holds(), [Rail::Halt, Rail::Approval]);
}

#[test]
fn what_flaps_is_left_to_a_person() {
    let mut w =
        World::new(&format!("fleet: f\nrails: {{ cooldown_per_day: 100 }}\n---{DISK}limits: {{ cooldown: 1s }}\n"));
    for n in 1..=5 {
        w.set("web1", ROOT, 0.5);
        // The doubling cooldown is not what is tested here.
        w.run(40);
        heals(&mut w);
        let expected = if n < 5 { State::Contained } else { State::Escalated };
        assert_eq!(w.last().state, expected, "{n}: {:?}", w.last().reason);
    }
    assert!(w.last().reason.unwrap().contains("flapping"));
    assert_eq!(w.effects("web1").len(), 4);
    assert_eq!(w.notices().len(), 1);
}
