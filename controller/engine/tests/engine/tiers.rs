//! Routes: who is told at once, who later, and who not at night.

use skynet_engine::Input;
use skynet_model::incident::{NoticeKind, State};
use skynet_model::policy::Target;

use crate::world::World;

fn text(severity: &str, quiet: &str) -> String {
    format!(
        r#"
scenario: hot
when: cpu.busy_ratio > 0.9
mode: enforce
severity: {severity}
escalate: oncall
---
route: oncall
tell:
  - to: [{{ mail: ops@example.net }}]
  - after: 15m
    to: [{{ sms: "+351900000000" }}]
  - after: 30m
    to: [console, {{ mail: boss@example.net }}]
{quiet}"#
    )
}

fn burns(w: &mut World) {
    w.set("web1", "cpu.busy_ratio", 0.95);
    w.run(2);
}

fn sms() -> Target {
    Target::Sms("+351900000000".into())
}

#[test]
fn each_tier_is_told_in_its_time_while_nobody_takes_it_over() {
    let mut w = World::new(&text("warning", ""));
    burns(&mut w);
    assert_eq!(w.notices().len(), 1);
    assert_eq!(w.notices()[0].to, [Target::Mail("ops@example.net".into())]);
    w.run(890);
    assert_eq!(w.notices().len(), 1);
    w.run(15);
    let second = w.notices().pop().unwrap();
    assert_eq!((w.notices().len(), &second.to[..], second.kind), (2, &[sms()][..], NoticeKind::Escalated));
    assert!(second.story.starts_with("Tier 2 of route oncall: nobody took it over within 15m"), "{}", second.story);
    w.restart();
    w.connect("web1");
    w.merge("web1");
    w.run(900);
    assert_eq!(w.notices().len(), 3, "restarts do not tell anybody twice");
    assert_eq!(w.notices()[2].to.len(), 2);
    w.set("web1", "cpu.busy_ratio", 0.1);
    w.run(3);
    let last = w.notices().pop().unwrap();
    assert_eq!(last.kind, NoticeKind::Resolved);
    assert_eq!(last.to.len(), 4, "everybody who was told hears the end");
    let ids: std::collections::BTreeSet<_> = w.notices().into_iter().map(|n| n.id).collect();
    assert_eq!(ids.len(), 4);
}

#[test]
fn once_taken_over_no_further_tier_is_told() {
    let mut w = World::new(&text("warning", ""));
    burns(&mut w);
    w.run(100);
    w.input(Input::Acknowledge { incident: w.last().id, by: "ann".into(), comment: String::new() });
    w.run(2000);
    assert_eq!(w.notices().len(), 1);
}

#[test]
fn what_is_over_is_told_to_the_tiers_that_were_told() {
    let mut w = World::new(&text("warning", ""));
    burns(&mut w);
    w.set("web1", "cpu.busy_ratio", 0.1);
    w.run(3);
    let last = w.notices().pop().unwrap();
    assert_eq!((last.kind, last.to), (NoticeKind::Resolved, vec![Target::Mail("ops@example.net".into())]));
}

/// The world begins at 13:46:40 UTC.
const QUIET: &str = "quiet: { from: \"13:00\", until: \"14:00\", only_below: critical }\n";

#[test]
fn lesser_notices_wait_for_the_end_of_quiet_hours_if_they_are_still_true() {
    let mut w = World::new(&text("warning", QUIET));
    burns(&mut w);
    assert_eq!(w.states(), [State::Escalated]);
    w.run(790);
    assert!(w.notices().is_empty());
    w.run(10);
    assert_eq!(w.notices().len(), 1, "at 14:00");
    assert_eq!(w.notices()[0].to, [Target::Mail("ops@example.net".into())]);

    let mut w = World::new(&text("warning", QUIET));
    burns(&mut w);
    w.set("web1", "cpu.busy_ratio", 0.1);
    w.run(1000);
    assert!(w.notices().is_empty(), "it went away in the night");
}

#[test]
fn quiet_hours_let_through_what_is_bad_enough() {
    let mut w = World::new(&text("critical", QUIET));
    burns(&mut w);
    assert_eq!(w.notices().len(), 1);
}

#[test]
fn without_a_route_of_its_own_the_default_one_tells_and_else_the_console() {
    let hot = "scenario: hot\nwhen: cpu.busy_ratio > 0.9\nmode: enforce\n";
    let mut w = World::new(hot);
    burns(&mut w);
    assert_eq!((w.notices()[0].route.as_str(), w.notices()[0].to.len()), ("console", 0));
    let mut w = World::new(&format!("{hot}---\nroute: default\ntell: [{{ to: [{{ sms: \"+351900000000\" }}] }}]\n"));
    burns(&mut w);
    assert_eq!((w.notices()[0].route.as_str(), &w.notices()[0].to[..]), ("default", &[sms()][..]));
}
