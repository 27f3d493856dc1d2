//! Servers that are worked on: Skynet reads, and neither acts nor tells.

use std::collections::{BTreeMap, BTreeSet};

use skynet_engine::{Input, MAX_MAINTENANCE};
use skynet_model::incident::{NoticeKind, Rail, State};
use skynet_model::time::{Span, Timestamp};

use crate::steps::{P7, RUNAWAY};
use crate::world::{World, server};

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn try_start(
    w: &World,
    servers: &[&str],
    pairs: &[(&str, &str)],
    lasts: Span,
) -> Result<(skynet_model::incident::Maintenance, usize), String> {
    let servers: BTreeSet<_> = servers.iter().map(|s| server(s)).collect();
    let made = w.engine.maintenance(Timestamp(w.now), servers, labels(pairs), lasts, "ann".into(), "ram".into())?;
    Ok((made.0, made.1.len()))
}

fn start(w: &mut World, servers: &[&str], pairs: &[(&str, &str)], lasts: Span) -> String {
    let (made, _) = try_start(w, servers, pairs, lasts).unwrap();
    let id = made.id.clone();
    w.input(Input::StartMaintenance(made));
    id
}

#[test]
fn in_maintenance_nothing_is_done_or_told_and_at_its_end_it_goes_on() {
    let mut w = World::new(RUNAWAY);
    w.cures("web1", "process.signal", &[(P7, None)]);
    start(&mut w, &["web1"], &[], Span::hours(2));
    w.set("web1", P7, 0.99);
    w.run(5);
    let hold = w.last().hold.unwrap();
    assert!(
        hold.rail == Rail::Maintenance && hold.why.contains("by ann until") && hold.why.contains("(ram)"),
        "{hold:?}"
    );
    w.pass(7100);
    w.run(90);
    assert!(w.notices().is_empty() && w.last().reason.is_none());
    w.run(20);
    assert_eq!(w.states(), [State::Contained]);
}

#[test]
fn it_ends_early_when_an_operator_says_so() {
    let mut w = World::new(RUNAWAY);
    let id = start(&mut w, &[], &[("role", "w*")], Span::hours(2));
    w.set("web1", P7, 0.99);
    w.run(5);
    assert!(w.engine.in_maintenance(&server("web1"), Timestamp(w.now)).is_some());
    assert_eq!(w.engine.maintenances(Timestamp(w.now))[0].1, [&server("web1")]);
    w.input(Input::EndMaintenance { id, by: "ann".into() });
    assert_eq!(w.acted(), 1);
    assert!(w.engine.maintenances(Timestamp(w.now)).is_empty());
}

#[test]
fn without_steps_it_waits_too_and_is_told_after_the_end() {
    let mut w = World::new("scenario: hot\nwhen: cpu.busy_ratio > 0.9\nmode: enforce\n");
    start(&mut w, &["web1"], &[], Span::minutes(5));
    w.set("web1", "cpu.busy_ratio", 0.95);
    w.run(298);
    assert_eq!(w.states(), [State::Waiting]);
    w.run(5);
    assert_eq!(w.states(), [State::Escalated]);
    assert_eq!(w.notices().len(), 1);
}

#[test]
fn who_was_told_before_hears_nothing_in_it_and_the_end_after_it() {
    let mut w = World::new("scenario: hot\nwhen: cpu.busy_ratio > 0.9\nmode: enforce\n");
    w.set("web1", "cpu.busy_ratio", 0.95);
    w.run(2);
    start(&mut w, &["web1"], &[], Span::minutes(5));
    w.set("web1", "cpu.busy_ratio", 0.1);
    w.run(10);
    assert_eq!(w.states(), [State::Resolved]);
    assert_eq!(w.notices().len(), 1);
    w.pass(300);
    let kinds: Vec<_> = w.notices().iter().map(|n| n.kind).collect();
    assert_eq!(kinds, [NoticeKind::Escalated, NoticeKind::Resolved]);
}

#[test]
fn the_wait_for_a_rail_begins_after_maintenance_and_openings_in_it_do_not_count() {
    let text = format!("fleet: f\nrails: {{ flapping_after: 3 }}\n---{RUNAWAY}");
    let mut w = World::new(&text);
    start(&mut w, &["web1"], &[], Span::minutes(20));
    for _ in 0..5 {
        w.set("web1", P7, 0.99);
        w.run(3);
        w.remove("web1", P7);
        w.run(3);
    }
    w.set("web1", P7, 0.99);
    w.run(3);
    w.input(Input::Halt { by: "ann".into(), reason: "work".into() });
    w.pass(1100);
    w.run(90);
    assert_eq!(w.last().state, State::Waiting);
    assert_eq!(w.last().hold.unwrap().rail, Rail::Halt);
    w.run(550);
    assert_eq!(w.last().state, State::Waiting);
    w.run(70);
    assert_eq!(w.last().state, State::Escalated);
}

#[test]
fn what_selects_nothing_or_never_ends_is_refused_with_what_to_write() {
    let w = World::new(RUNAWAY);
    for (servers, pairs, lasts, word) in [
        (&[][..], &[][..], Span::hours(1), "--server web1"),
        (&["web9"], &[], Span::hours(1), "no server web9"),
        (&[], &[("role", "db")], Span::hours(1), "no server has those labels"),
        (&["web1"], &[], Span::default(), "always ends"),
        (&["web1"], &[], Span(MAX_MAINTENANCE.0 + 1), "at most 30d"),
        (&[], &[("ro le", "db")], Span::hours(1), "is not a matcher"),
    ] {
        let error = try_start(&w, servers, pairs, lasts).unwrap_err();
        assert!(error.contains(word), "{error}");
    }
    assert_eq!(try_start(&w, &["web1"], &[("role", "web")], MAX_MAINTENANCE).unwrap().1, 1);
}

#[test]
fn maintenance_outlives_a_restart_and_still_ends() {
    let mut w = World::new(RUNAWAY);
    start(&mut w, &["web1"], &[], Span::minutes(5));
    w.restart();
    w.connect("web1");
    w.merge("web1");
    w.set("web1", P7, 0.99);
    w.run(5);
    assert_eq!(w.last().hold.unwrap().rail, Rail::Maintenance);
    w.run(315);
    assert_eq!(w.acted(), 2, "both steps, after its end");
}
