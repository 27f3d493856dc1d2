//! Gone, unknown, late; `for` and `settle`; joins and absence.

use skynet_engine::{Input, Sweep, SweepEnd};
use skynet_model::incident::State;
use skynet_model::series::Labels;
use skynet_model::time::{Span, Timestamp};

use crate::steps::{DISK, P7, ROOT, RUNAWAY};
use crate::world::{World, server};

fn only_when(name: &str, when: &str, more: &str) -> String {
    format!("scenario: {name}\nwhen: '{when}'\nmode: observe\n{more}\n")
}

#[test]
fn unknown_pauses_for() {
    let mut w = World::new(&only_when("hot", "cpu.busy_ratio > 0.9", "for: 30s"));
    w.set("web1", "cpu.busy_ratio", 0.95);
    w.run(20);
    assert_eq!(w.engine.incidents()[0].state, State::Pending);
    w.fakes.get_mut("web1").unwrap().failing.insert("cpu".to_owned());
    w.run(200);
    w.fakes.get_mut("web1").unwrap().failing.clear();
    w.run(8);
    assert!(w.opened().is_empty());
    w.run(4);
    assert_eq!(w.states(), [State::Observed]);
}

#[test]
fn much_unknown_starts_for_again() {
    let mut w = World::new(&only_when("hot", "cpu.busy_ratio > 0.9", "for: 30s"));
    w.set("web1", "cpu.busy_ratio", 0.95);
    w.run(20);
    w.fakes.get_mut("web1").unwrap().failing.insert("cpu".to_owned());
    w.run(305);
    assert!(w.engine.incidents().is_empty(), "a pending one is given up");
    w.fakes.get_mut("web1").unwrap().failing.clear();
    w.run(28);
    assert!(w.opened().is_empty());
    w.run(4);
    assert_eq!(w.states(), [State::Observed]);
}

#[test]
fn for_is_over_between_two_sweeps_too() {
    let mut w = World::new(&only_when("hot", "cpu.busy_ratio > 0.9", "for: 2500ms"));
    w.set("web1", "cpu.busy_ratio", 0.95);
    w.run(1);
    w.pass(2);
    assert!(w.opened().is_empty());
    w.pass(1);
    assert_eq!(w.states(), [State::Observed]);
    assert_eq!(w.last().opened.since(w.last().since), Span(2500));
}

#[test]
fn readings_older_than_three_intervals_are_unknown() {
    let mut w = World::new(&only_when("hot", "cpu.busy_ratio > 0.9", "for: 5s"));
    w.set("web1", "cpu.busy_ratio", 0.95);
    w.run(1);
    w.pass(60);
    assert!(w.opened().is_empty());
}

#[test]
fn a_failed_sweep_and_a_lost_connection_clear_nothing() {
    for by_failure in [true, false] {
        let mut w = World::new(&RUNAWAY.replace("enforce", "observe"));
        w.set("web1", P7, 0.99);
        w.run(1);
        w.remove("web1", P7);
        if by_failure {
            w.fakes.get_mut("web1").unwrap().failing.insert("process".to_owned());
        } else {
            w.disconnect("web1");
        }
        w.run(60);
        assert_eq!(w.states(), [State::Observed], "by failure: {by_failure}");
        w.fakes.get_mut("web1").unwrap().failing.clear();
        if !by_failure {
            w.connect("web1");
        }
        w.run(1);
        assert_eq!(w.states(), [State::Cleared], "by failure: {by_failure}");
    }
}

#[test]
fn gone_is_cured_only_for_series_declared_ephemeral() {
    let mut w = World::new(&DISK.replace("enforce", "observe"));
    w.set("web1", ROOT, 0.9);
    w.run(1);
    w.remove("web1", ROOT);
    w.run(60);
    assert_eq!(w.states(), [State::Observed], "a mount that is gone is unknown");
}

#[test]
fn a_retired_process_is_cured_at_once() {
    let mut w = World::new(&RUNAWAY.replace("enforce", "observe"));
    w.set("web1", P7, 0.99);
    w.run(1);
    w.retire("web1", P7);
    assert_eq!(w.states(), [State::Cleared]);
}

#[test]
fn a_process_that_goes_ends_its_pending_for() {
    let mut w = World::new(&RUNAWAY.replace("mode:", "for: 10s\nmode:"));
    w.set("web1", P7, 0.99);
    w.run(5);
    w.remove("web1", P7);
    w.run(1);
    assert!(w.engine.incidents().is_empty());
    w.set("web1", P7, 0.99);
    w.run(9);
    assert!(w.opened().is_empty(), "it counts from its return");
}

#[test]
fn a_sweep_older_than_the_last_changes_nothing() {
    let mut w = World::new(&only_when("hot", "cpu.busy_ratio > 0.9", ""));
    w.set("web1", "cpu.busy_ratio", 0.1);
    w.run(5);
    w.set("web1", "cpu.busy_ratio", 0.95);
    w.sweep("web1", "cpu", 3000);
    assert!(w.opened().is_empty());
}

#[test]
fn a_partial_sweep_makes_nothing_gone() {
    let mut w = World::new(&RUNAWAY.replace("enforce", "observe"));
    w.set("web1", P7, 0.99);
    w.run(1);
    let id = server("web1");
    let sweep = |started: i64, end: SweepEnd| Sweep {
        sensor: "process",
        every: Span::seconds(1),
        started: Timestamp(started),
        started_boot_ms: started - 1_000_000_000,
        readings: &[],
        end,
    };
    let now = w.now;
    w.call(|e, t, out| e.sweep(t, &id, &sweep(now + 1, SweepEnd::Partial), out));
    assert_eq!(w.states(), [State::Observed]);
    w.call(|e, t, out| e.sweep(t, &id, &sweep(now + 1, SweepEnd::Complete), out));
    assert_eq!(w.states(), [State::Cleared]);
}

#[test]
fn series_join_on_shared_labels_and_a_plain_one_applies_to_all() {
    let when = "disk.used_ratio > 0.8 && disk.slow > 1 && cpu.busy_ratio > 0.5";
    let mut w = World::new(&only_when("slow", when, ""));
    for (series, value) in [
        (ROOT, 0.9),
        ("disk.used_ratio{mount=\"/var\"}", 0.9),
        ("disk.slow{mount=\"/\"}", 2.0),
        ("disk.slow{mount=\"/var\"}", 0.0),
        ("disk.slow{mount=\"/other\"}", 2.0),
        ("cpu.busy_ratio", 0.1),
    ] {
        w.set("web1", series, value);
    }
    w.run(2);
    assert!(w.opened().is_empty());
    w.set("web1", "cpu.busy_ratio", 0.9);
    w.run(1);
    assert_eq!(w.states(), [State::Observed]);
    assert_eq!(w.last().labels.to_string(), "{mount=\"/\"}");
    w.set("web1", "disk.slow{mount=\"/var\"}", 2.0);
    w.run(1);
    assert_eq!(w.states().len(), 2);
}

#[test]
fn selected_labels_leave_the_join() {
    let when = "disk.used_ratio.where({\"mount\": \"/\"}) > 0.8 && disk.slow > 1";
    let mut w = World::new(&only_when("slow", when, ""));
    w.set("web1", ROOT, 0.9);
    w.set("web1", "disk.slow{mount=\"/var\"}", 2.0);
    w.run(1);
    assert_eq!(w.states(), [State::Observed]);
    assert_eq!(w.last().labels.get("mount"), Some("/var"));
}

#[test]
fn labels_are_read_as_text() {
    let when = "disk.used_ratio > 0.8 && label.mount != \"/\" && server.label.role == \"web\"";
    let mut w = World::new(&only_when("full", when, ""));
    w.set("web1", ROOT, 0.9);
    w.set("web1", "disk.used_ratio{mount=\"/var\"}", 0.9);
    w.run(1);
    assert_eq!(w.states(), [State::Observed]);
    assert_eq!(w.last().labels.get("mount"), Some("/var"));
}

#[test]
fn absent_is_known_after_a_complete_sweep_of_a_connected_server() {
    let mut w = World::new(&only_when("no-cpu", "absent(cpu.busy_ratio)", "where: { role: web }"));
    w.fakes.get_mut("web1").unwrap().silent.insert("cpu".to_owned());
    w.run(5);
    assert!(w.opened().is_empty(), "nothing was swept yet");
    w.fakes.get_mut("web1").unwrap().silent.clear();
    w.run(1);
    assert_eq!(w.states(), [State::Observed]);
    w.disconnect("web1");
    w.run(5);
    assert_eq!(w.states(), [State::Observed], "unknown while it is away");
    w.connect("web1");
    w.set("web1", "cpu.busy_ratio", 0.1);
    w.run(1);
    assert_eq!(w.states(), [State::Cleared]);
}

#[test]
fn connected_is_zero_or_one() {
    let mut w = World::new(&only_when("away", "server.connected == 0", "where: { role: web }"));
    w.run(3);
    assert!(w.opened().is_empty());
    w.disconnect("web1");
    assert_eq!(w.states(), [State::Observed]);
    w.connect("web1");
    assert_eq!(w.states(), [State::Cleared]);
}

#[test]
fn what_still_fires_is_not_clear() {
    let text = "scenario: odd\nwhen: cpu.busy_ratio > 0.9\nclear: load.one < 5\nmode: observe\n";
    let mut w = World::new(text);
    w.set("web1", "cpu.busy_ratio", 0.95);
    w.set("web1", "load.one", 1.0);
    w.run(10);
    assert_eq!(w.states(), [State::Observed]);
}

#[test]
fn what_is_not_finite_or_not_announced_is_passed_over() {
    let mut w = World::new("scenario: odd\nwhen: cpu.busy_ratio > 0.9\nclear: load.one < 5\nmode: observe\n");
    w.set("web1", "load.one", f64::INFINITY);
    w.set("web1", "cpu.busy_ratio", 0.95);
    w.sweep("web1", "load", 0);
    w.sweep("web1", "cpu", 0);
    assert!(w.last().readings.iter().all(|r| r.value.is_finite()), "{:?}", w.last().readings);
    assert_eq!(w.last().readings.len(), 1);
    let id = server("web1");
    w.input(Input::Retired { server: id.clone(), id: 99 });
    w.call(|e, t, out| {
        let readings = [(77, 5.0)];
        let (every, started, started_boot_ms) = (Span::seconds(1), t, 5000);
        let end = SweepEnd::Complete;
        let sensor = "load";
        e.sweep(t, &id, &Sweep { sensor, every, started, started_boot_ms, readings: &readings, end }, out);
    });
    assert_eq!(w.states(), [State::Observed]);
}

#[test]
fn instances_are_capped_and_it_is_said_once() {
    let mut w = World::new(&only_when("slow", "disk.slow > 1", ""));
    let id = server("web1");
    for n in 1..=10_010 {
        let series = format!("disk.slow{{mount=\"/{n}\"}}").parse().unwrap();
        let input = Input::Announced { server: id.clone(), id: n, series };
        let mut out = Vec::new();
        w.engine.handle(Timestamp(w.now), input, &mut out);
        let expected = usize::from(n == 10_001);
        assert_eq!(out.len(), expected, "{n}: {out:?}");
    }
}

#[test]
fn what_a_server_has_is_unknown_while_it_is_away() {
    let mut w = World::new(&only_when("has-cpu", "!absent(cpu.busy_ratio)", "where: { role: web }\nfor: 10s"));
    w.set("web1", "cpu.busy_ratio", 0.1);
    w.run(5);
    w.disconnect("web1");
    w.pass(60);
    assert!(w.opened().is_empty());
    w.connect("web1");
    w.run(7);
    assert_eq!(w.states(), [State::Observed]);
}

#[test]
fn a_sweep_without_a_session_is_passed_over() {
    let mut w = World::new(&only_when("hot", "cpu.busy_ratio > 0.9", ""));
    w.set("web1", "cpu.busy_ratio", 0.1);
    w.run(1);
    w.disconnect("web1");
    w.set("web1", "cpu.busy_ratio", 0.95);
    w.pass(1);
    w.sweep("web1", "cpu", 0);
    assert!(w.opened().is_empty());
}

#[test]
fn series_are_capped_and_it_is_said_once() {
    let mut w = World::new(&only_when("hot", "cpu.busy_ratio > 0.9", ""));
    let id = server("web1");
    for n in 1..=50_002 {
        let series = format!("disk.slow{{mount=\"/{n}\"}}").parse().unwrap();
        let mut out = Vec::new();
        w.engine.handle(Timestamp(w.now), Input::Announced { server: id.clone(), id: n, series }, &mut out);
        // One of them is `server.connected`.
        assert_eq!(out.len(), usize::from(n == 50_000), "{n}: {out:?}");
    }
}

#[test]
fn what_texts_alone_make_false_makes_no_instance_and_other_labels_do() {
    let when = "disk.used_ratio > 0.9 && label.mount == \"/data\"";
    let mut w = World::new(&only_when("full", when, ""));
    for n in 0..20 {
        w.set("web1", &format!("disk.used_ratio{{mount=\"/{n}\"}}"), 0.99);
    }
    w.run(2);
    assert!(w.opened().is_empty());
    w.set("web1", "disk.used_ratio{mount=\"/data\"}", 0.99);
    w.run(2);
    assert_eq!(w.states(), [State::Observed]);
    // A server's own labels may change: then it counts.
    let mut w = World::new(&only_when("hot", "cpu.busy_ratio > 0.9 && server.label.tier == \"gold\"", ""));
    w.set("web1", "cpu.busy_ratio", 0.99);
    w.run(2);
    assert!(w.opened().is_empty());
    let labels = Labels::new([("role", "web"), ("tier", "gold")]);
    w.input(Input::Labelled { server: server("web1"), labels });
    w.run(2);
    assert_eq!(w.states(), [State::Observed]);
}
