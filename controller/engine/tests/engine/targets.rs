//! Which servers a step is done on: picked once, in order, as the rails let them go.

use skynet_engine::Input;
use skynet_model::command::Status;
use skynet_model::event::EventBody;
use skynet_model::incident::{Rail, State};
use skynet_model::series::Labels;

use crate::world::{World, server};

const CALM: &str = r#"
request: calm
parameters: { mount: text }
phrases: ["calm {mount}"]
---
scenario: calm-request
on_request: calm
mode: enforce
respond:
  - do: disk.tidy
    with: { mount: "${mount}" }
    target: { where: { role: lb }, pick: 1, order: highest cpu.busy_ratio }
"#;

/// Three load balancers with different loads, and a web server.
fn world(text: &str) -> World {
    let mut w = World::empty(text);
    w.add("web1");
    for (name, busy) in [("lb1", 0.2), ("lb2", 0.7), ("lb3", 0.5)] {
        w.add_with(name, &[("role", "lb"), ("cluster", "shop")]);
        w.set(name, "cpu.busy_ratio", busy);
    }
    w.run(1);
    w
}

fn ask(w: &mut World) {
    w.ask("calm", &[("mount", "/")], &["web1"]).unwrap();
}

/// The servers that got a command, in order.
fn went_to(w: &World) -> Vec<String> {
    let issued = w.events.iter().filter_map(|e| match &e.body {
        EventBody::CommandIssued { command, .. } => Some(command.server.to_string()),
        _ => None,
    });
    issued.collect()
}

#[test]
fn the_highest_comes_first_and_the_lowest_when_so_written() {
    let mut w = world(CALM);
    ask(&mut w);
    w.run(2);
    assert_eq!(went_to(&w), ["lb2"]);
    assert_eq!(w.states(), [State::Contained]);
    let mut w = world(&CALM.replace("highest", "lowest").replace("pick: 1", "pick: 2"));
    ask(&mut w);
    w.run(2);
    assert_eq!(went_to(&w), ["lb1", "lb3"]);
}

#[test]
fn without_pick_all_of_them_and_without_order_by_name() {
    let mut w = world(&CALM.replace(", pick: 1, order: highest cpu.busy_ratio", ""));
    ask(&mut w);
    w.run(2);
    assert_eq!(went_to(&w), ["lb1", "lb2", "lb3"]);
}

#[test]
fn unknown_values_come_last_and_ties_go_by_name() {
    let mut w = world(&CALM.replace("pick: 1", "pick: 3"));
    w.fakes.get_mut("lb2").unwrap().failing.insert("cpu".to_owned());
    w.set("lb3", "cpu.busy_ratio", 0.2);
    w.run(1);
    ask(&mut w);
    w.run(2);
    assert_eq!(went_to(&w), ["lb1", "lb3", "lb2"]);
}

#[test]
fn servers_that_are_away_are_left_out_when_others_are_there() {
    let mut w = world(&CALM.replace("pick: 1", "pick: 3"));
    w.disconnect("lb2");
    ask(&mut w);
    w.run(2);
    assert_eq!(went_to(&w), ["lb3", "lb1"]);
    assert_eq!(w.states(), [State::Contained]);
}

#[test]
fn one_that_a_rail_stops_makes_room_for_the_next() {
    let mut w = world(CALM);
    ask(&mut w);
    w.run(2);
    // lb2 is in its cooldown now.
    ask(&mut w);
    w.run(2);
    ask(&mut w);
    w.run(2);
    assert_eq!(went_to(&w), ["lb2", "lb3", "lb1"]);
    ask(&mut w);
    w.run(1);
    assert_eq!(w.last().state, State::Escalated, "now all are");
    assert_eq!(w.last().held[0].rail, Rail::Cooldown);
    assert!(w.last().held[0].why.starts_with("lb2: "), "{}", w.last().held[0].why);
}

#[test]
fn what_is_picked_stays_picked() {
    let mut w = world(CALM);
    w.input(Input::Halt { by: "ann".into(), reason: "work".into() });
    ask(&mut w);
    assert_eq!(w.last().chosen.unwrap().servers, [server("lb2")]);
    w.set("lb1", "cpu.busy_ratio", 0.99);
    w.run(3);
    w.input(Input::Resume { by: "ann".into() });
    w.run(2);
    assert_eq!(went_to(&w), ["lb2"], "the order of the moment it was picked in counts");
}

#[test]
fn another_is_picked_when_the_one_goes_away_before_its_command() {
    let mut w = world(CALM);
    w.input(Input::Halt { by: "ann".into(), reason: "work".into() });
    ask(&mut w);
    w.disconnect("lb2");
    w.run(2);
    w.input(Input::Resume { by: "ann".into() });
    w.run(2);
    assert_eq!(went_to(&w), ["lb3"]);
    let begun = w.events.iter().filter(|e| matches!(e.body, EventBody::StepBegun { .. })).count();
    assert_eq!(begun, 2);
}

#[test]
fn when_none_is_there_it_waits_and_then_tells() {
    let mut w = world(&CALM.replace("role: lb", "role: cache"));
    ask(&mut w);
    assert_eq!(w.states(), [State::Waiting]);
    let hold = w.last().hold.unwrap();
    assert_eq!((hold.rail, hold.why.as_str()), (Rail::Target, "no server matches role=cache"));
    // One with these labels comes.
    w.input(Input::Labelled { server: server("lb1"), labels: Labels::new([("role", "cache")]) });
    w.run(2);
    assert_eq!(went_to(&w), ["lb1"]);
    let mut w = world(&CALM.replace("role: lb", "role: cache"));
    ask(&mut w);
    w.pass(601);
    assert_eq!(w.states(), [State::Escalated]);
    assert!(w.last().reason.unwrap().contains("by target: no server matches role=cache"));
}

#[test]
fn a_step_that_none_has_done_is_followed_by_the_next_at_once() {
    let second = "  - do: service.restart\n    with: { unit: x.service }\n    target: { where: { role: web } }\n";
    let mut w = world(&format!("{}{second}", CALM.replace("pick: 1", "pick: 2")));
    w.ends("lb2", "disk.tidy", Status::Failed, Some(1));
    w.ends("lb3", "disk.tidy", Status::Refused, Some(3));
    ask(&mut w);
    w.run(2);
    assert_eq!(went_to(&w), ["lb2", "lb3"], "one has failed, the other may still do it");
    w.run(3);
    assert_eq!(went_to(&w), ["lb2", "lb3", "web1"]);
    assert_eq!(w.states(), [State::Contained]);
    let steps: Vec<_> = w.last().steps.iter().map(|s| s.command.step).collect();
    assert_eq!(steps, [0, 0, 1]);
}

#[test]
fn no_more_servers_are_acted_on_at_once_than_the_blast_radius_allows_and_all_have_their_turn() {
    let text = CALM
        .replace("disk.tidy", "service.restart")
        .replace("mount: \"${mount}\"", "unit: x.service")
        .replace(", pick: 1, order: highest cpu.busy_ratio", "")
        .replace("mode:", "limits: { blast_radius: 60% }\nmode:");
    let mut w = world(&text);
    w.add_with("lb4", &[("role", "lb"), ("cluster", "shop")]);
    for name in ["lb1", "lb2", "lb3", "lb4"] {
        w.ends(name, "service.restart", Status::Done, Some(5));
    }
    ask(&mut w);
    // Five servers in the cluster: three at a time.
    w.run(1);
    assert_eq!(went_to(&w), ["lb1", "lb2", "lb3"]);
    let hold = w.last().hold.unwrap();
    assert_eq!(hold.rail, Rail::BlastRadius);
    assert!(hold.why.starts_with("lb4: 3 of 5 in cluster shop"), "{}", hold.why);
    // The hour is full as well; so the last one is given up in the end, and that is said.
    w.run(6);
    assert_eq!(w.states(), [State::Acting]);
    w.pass(700);
    assert_eq!(w.states(), [State::Escalated]);
    assert_eq!(w.last().steps[0].reason.as_deref(), Some("it was done on 3 of 4 servers"));
    assert_eq!(w.last().chosen.unwrap().given_up, [server("lb4")]);

    let fleet = "fleet: f\nrails: { blast_radius_per_hour: 100% }\n---\n";
    let mut w = world(&format!("{fleet}{}", text.replace("60%", "20%")));
    for name in ["lb1", "lb2", "lb3"] {
        w.ends(name, "service.restart", Status::Done, Some(5));
    }
    ask(&mut w);
    let mut most = 0;
    for _ in 0..25 {
        w.run(1);
        most = most.max(w.last().steps.iter().filter(|s| s.outcome.is_none()).count());
    }
    assert_eq!(most, 1, "one of four at a time");
    assert_eq!(went_to(&w), ["lb1", "lb2", "lb3"], "and each has had its turn");
    assert_eq!(w.states(), [State::Contained]);
}

#[test]
fn an_outcome_of_another_server_is_passed_over() {
    let mut w = world(&CALM.replace("pick: 1", "pick: 2"));
    for name in ["lb2", "lb3"] {
        w.ends(name, "disk.tidy", Status::Done, None);
    }
    ask(&mut w);
    w.run(1);
    let command = w.last().steps[0].command.clone();
    let outcome = skynet_model::command::Outcome {
        command: command.id,
        status: Status::Done,
        message: String::new(),
        finished: skynet_model::time::Timestamp(w.now),
        finished_boot_ms: 0,
        took_ms: 1,
    };
    w.input(Input::Outcome { server: server("lb3"), outcome: outcome.clone() });
    assert!(w.last().steps[0].outcome.is_none());
    w.input(Input::Outcome { server: server("lb2"), outcome });
    assert!(w.last().steps[0].outcome.is_some());
    // The other never says how it ended: it is given up, and its step with it.
    w.pass(200);
    assert_eq!(w.states(), [State::Escalated]);
    let reasons: Vec<_> = w.last().steps.iter().map(|s| s.reason.clone().unwrap()).collect();
    assert_eq!(reasons, ["it was done on 1 of 2 servers", "no outcome came within 2m"]);
}
