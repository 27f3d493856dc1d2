//! Policy changes under incidents.

use skynet_engine::Input;
use skynet_model::command::Status;
use skynet_model::incident::{NoticeKind, State};
use skynet_model::series::Labels;

use crate::steps::{P7, ROOT, RUNAWAY};
use crate::world::{World, policy, server};

fn changed() -> String {
    RUNAWAY.replace("0.9", "0.95")
}

#[test]
fn an_unchanged_scenario_keeps_its_pending_for() {
    let text = RUNAWAY.replace("mode:", "for: 10s\nmode:");
    let mut w = World::new(&text);
    w.set("web1", P7, 0.99);
    w.run(6);
    w.push(&format!("{text}---\nscenario: other\nwhen: cpu.busy_ratio > 2\n"));
    w.run(4);
    assert!(w.opened().is_empty());
    w.run(2);
    assert_eq!(w.opened().len(), 1);
    assert_eq!(w.last().policy, 2);
}

#[test]
fn a_changed_scenario_begins_its_for_again() {
    let text = RUNAWAY.replace("mode:", "for: 10s\nmode:");
    let mut w = World::new(&text);
    w.set("web1", P7, 0.99);
    w.run(6);
    w.push(&text.replace("0.9", "0.91"));
    w.run(9);
    assert!(w.opened().is_empty());
    w.run(2);
    assert_eq!(w.opened().len(), 1);
}

#[test]
fn later_steps_go_on_while_the_text_is_unchanged() {
    let mut w = World::new(RUNAWAY);
    w.set("web1", P7, 0.99);
    w.run(3);
    w.push(&format!("{RUNAWAY}---\nscenario: other\nwhen: cpu.busy_ratio > 2\n"));
    w.run(12);
    let incident = w.last();
    assert_eq!(incident.steps.len(), 2);
    assert_eq!(incident.steps[1].command.policy, 2);
}

#[test]
fn a_running_step_is_proved_under_its_own_text() {
    let mut w = World::new(RUNAWAY);
    w.ends("web1", "process.signal", Status::Done, Some(5));
    w.set("web1", P7, 0.99);
    w.run(2);
    w.push("scenario: other\nwhen: cpu.busy_ratio > 2\n");
    assert_eq!(w.states(), [State::Acting]);
    w.run(6);
    assert_eq!(w.states(), [State::Verifying]);
    w.remove("web1", P7);
    w.run(3);
    assert_eq!(w.states(), [State::Contained]);
}

#[test]
fn later_steps_of_a_changed_text_are_superseded_and_cooldowns_stay() {
    let mut w = World::new(RUNAWAY);
    w.set("web1", P7, 0.99);
    w.run(3);
    w.push(&changed());
    w.run(12);
    let states = w.states();
    assert_eq!(states, [State::Superseded, State::Escalated]);
    assert_eq!(w.effects("web1").len(), 1);
    assert!(w.last().reason.unwrap().contains("cooldown"));
}

#[test]
fn a_waiting_incident_of_a_changed_text_is_superseded_at_once() {
    let mut w = World::new(RUNAWAY);
    w.input(Input::Halt { by: "ann".into(), reason: "work".into() });
    w.set("web1", P7, 0.99);
    w.run(2);
    w.push(&changed());
    assert_eq!(w.states()[0], State::Superseded);
    assert!(w.notices().is_empty());
}

#[test]
fn who_was_told_hears_that_policy_closed_it() {
    let mut w = World::new(RUNAWAY);
    w.set("web1", P7, 0.99);
    w.run(30);
    w.push("scenario: other\nwhen: cpu.busy_ratio > 2\n");
    assert_eq!(w.states(), [State::Superseded]);
    let kinds: Vec<_> = w.notices().into_iter().map(|n| n.kind).collect();
    assert_eq!(kinds, [NoticeKind::Escalated, NoticeKind::Resolved]);
}

#[test]
fn text_that_changed_while_the_controller_was_away_supersedes() {
    let mut w = World::new(RUNAWAY);
    w.set("web1", P7, 0.99);
    w.run(3);
    w.restart_under(policy(&changed()));
    assert_eq!(w.states(), [State::Superseded]);
}

#[test]
fn a_server_that_leaves_the_scenario_takes_its_incident_with_it() {
    let mut w = World::new("scenario: hot\nwhen: cpu.busy_ratio > 0.9\nmode: observe\n");
    w.set("web1", "cpu.busy_ratio", 0.95);
    w.run(1);
    assert_eq!(w.states(), [State::Observed]);
    w.input(Input::Labelled { server: server("web1"), labels: Labels::new([("role", "db")]) });
    assert_eq!(w.states(), [State::Superseded]);
    w.run(3);
    assert_eq!(w.opened().len(), 1);
}

#[test]
fn a_scenario_pushed_to_a_running_fleet_sees_series_it_has() {
    let mut w = World::new("scenario: other\nwhen: cpu.busy_ratio > 2\n");
    w.set("web1", ROOT, 0.9);
    w.run(2);
    w.push("scenario: full\nwhen: disk.used_ratio > 0.8\nmode: observe\n");
    assert_eq!(w.states(), [State::Observed]);
}

#[test]
fn an_unchanged_scenario_keeps_its_settle() {
    let text = "scenario: hot\nwhen: cpu.busy_ratio > 0.9\nsettle: 10s\nmode: observe\n";
    let mut w = World::new(text);
    w.set("web1", "cpu.busy_ratio", 0.95);
    w.run(1);
    w.set("web1", "cpu.busy_ratio", 0.1);
    w.run(7);
    w.push(&format!("{text}---\nscenario: other\nwhen: cpu.busy_ratio > 2\n"));
    w.run(5);
    assert_eq!(w.states(), [State::Cleared]);
}

#[test]
fn the_same_labels_again_are_no_event() {
    let mut w = World::new(RUNAWAY);
    let before = w.events.len();
    let labels = Labels::new([("role", "web"), ("cluster", "shop")]);
    w.input(Input::Labelled { server: server("web1"), labels });
    assert_eq!(w.events.len(), before);
}

const OTHER: &str = "scenario: other\nwhen: cpu.busy_ratio > 2\n";

#[test]
fn a_server_acts_and_is_judged_by_the_version_it_is_assigned_to_and_the_others_by_the_fleets() {
    let mut w = World::new(OTHER);
    w.add("web2");
    for name in ["web1", "web2"] {
        w.set(name, P7, 0.99);
    }
    w.run(2);
    w.assign("web1", 2, RUNAWAY);
    w.run(3);
    let opened = w.opened();
    assert_eq!(opened.len(), 1, "{opened:?}");
    assert_eq!((opened[0].server(), opened[0].policy), (Some(&server("web1")), 2));
    assert_eq!(w.last().steps[0].command.policy, 2);
    assert_eq!(w.engine.version_of(Some(&server("web2"))), 1);
    assert_eq!(w.engine.version_of(None), 1);
    // The rollout completes: what runs on web1 goes on, web2 follows.
    w.push(RUNAWAY);
    w.run(3);
    assert_eq!(w.opened().len(), 2);
    assert!(w.states().iter().all(|s| *s != State::Superseded), "{:?}", w.states());
}

#[test]
fn what_runs_when_a_server_goes_back_ends_under_its_own_text_and_nothing_of_it_opens_again() {
    let mut w = World::new(OTHER);
    w.ends("web1", "process.signal", Status::Done, Some(5));
    w.set("web1", P7, 0.99);
    w.assign("web1", 2, RUNAWAY);
    w.run(2);
    assert_eq!(w.states(), [State::Acting]);
    w.assign("web1", 1, OTHER);
    assert_eq!(w.states(), [State::Acting]);
    w.run(6);
    assert_eq!(w.states(), [State::Verifying]);
    w.remove("web1", P7);
    w.run(3);
    assert_eq!(w.states(), [State::Contained]);
    w.set("web1", P7, 0.99);
    w.run(5);
    assert_eq!(w.opened().len(), 1);
}

#[test]
fn a_waiting_incident_of_a_version_that_is_taken_back_is_superseded_by_the_version_that_follows() {
    let mut w = World::new(OTHER);
    w.set("web1", "cpu.busy_ratio", 0.95);
    w.assign("web1", 2, "scenario: hot\nwhen: cpu.busy_ratio > 0.9\nmode: observe\n");
    w.run(2);
    assert_eq!(w.states(), [State::Observed]);
    w.assign("web1", 1, OTHER);
    assert_eq!(w.states(), [State::Superseded]);
    assert!(w.last().reason.unwrap().contains("policy 1 "));
}
