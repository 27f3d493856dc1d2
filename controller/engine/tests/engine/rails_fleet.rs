//! Rails that hold the whole fleet: the breaker, and the end of a policy.

use skynet_engine::Input;
use skynet_model::command::Status;
use skynet_model::event::EventBody;
use skynet_model::incident::{NoticeKind, Rail, State};
use skynet_model::time::{Span, Timestamp};

use crate::rails_table::{SERVICE, UNIT};
use crate::steps::{P7, RUNAWAY};
use crate::world::World;

/// A server in a cluster of its own whose restart ends like this.
fn breaks(w: &mut World, name: &str, cured: bool) {
    w.add_in(name, name);
    if cured {
        w.cures(name, "service.restart", &[(UNIT, Some(1.0))]);
    } else {
        w.ends(name, "service.restart", Status::Failed, Some(0));
    }
    w.set(name, UNIT, 0.0);
    w.run(6);
}

fn opened(w: &World) -> usize {
    w.events.iter().filter(|e| matches!(e.body, EventBody::BreakerOpened { .. })).count()
}

fn about_skynet(w: &World) -> Vec<String> {
    let all = w.notices().into_iter().filter(|n| n.kind == NoticeKind::Skynet);
    all.map(|n| n.title).collect()
}

#[test]
fn three_failures_in_a_row_on_three_servers_pause_everything_until_resume() {
    let mut w = World::empty(SERVICE);
    for name in ["a", "b", "c"] {
        breaks(&mut w, name, false);
    }
    assert_eq!((opened(&w), about_skynet(&w).len()), (1, 1));
    assert!(about_skynet(&w)[0].contains("3 incidents in a row on 3 servers"), "{:?}", about_skynet(&w));
    breaks(&mut w, "d", true);
    assert_eq!(w.of("d").hold.unwrap().rail, Rail::Breaker);
    assert!(w.of("d").held[0].why.contains("skynetctl resume"));
    w.restart();
    for name in ["a", "b", "c", "d"] {
        w.connect(name);
        w.merge(name);
    }
    w.run(2);
    assert!(w.effects("d").is_empty(), "it outlives a restart");
    w.input(Input::Resume { by: "ann".into() });
    w.run(6);
    assert_eq!(w.of("d").state, State::Contained);
    assert_eq!(about_skynet(&w).len(), 1);
    // The row begins anew.
    for name in ["e", "f"] {
        breaks(&mut w, name, false);
    }
    assert_eq!(opened(&w), 1);
    breaks(&mut w, "g", false);
    assert_eq!((opened(&w), about_skynet(&w).len()), (2, 2));
}

#[test]
fn one_that_is_contained_in_between_ends_the_row() {
    let mut w = World::empty(SERVICE);
    for (name, cured) in [("a", false), ("b", false), ("c", true), ("d", false), ("e", false)] {
        breaks(&mut w, name, cured);
    }
    assert_eq!(opened(&w), 0);
}

#[test]
fn the_same_server_over_and_over_is_no_row() {
    let mut w = World::empty(SERVICE);
    for name in ["a", "b"] {
        breaks(&mut w, name, false);
    }
    for n in 0..3 {
        w.set("b", &format!("service.up{{unit=\"u{n}\"}}"), 0.0);
    }
    w.run(5);
    assert_eq!(opened(&w), 0);
}

#[test]
fn what_did_not_act_does_not_count() {
    let mut w = World::empty(SERVICE);
    for name in ["a", "b", "c", "d"] {
        w.add_in(name, name);
        w.ends(name, "service.restart", Status::Refused, Some(0));
        w.set(name, UNIT, 0.0);
        w.run(5);
    }
    assert_eq!((w.states(), opened(&w)), (vec![State::Escalated; 4], 0));
}

#[test]
fn a_breaker_whose_event_or_notice_was_lost_opens_after_the_restart() {
    let mut w = World::empty(SERVICE);
    for name in ["a", "b", "c"] {
        breaks(&mut w, name, false);
    }
    let opens = w.events.iter().position(|e| matches!(e.body, EventBody::BreakerOpened { .. })).unwrap();
    let events = w.events.clone();
    for cut in [opens, opens + 1] {
        let mut again = World::empty(SERVICE);
        again.now = w.now;
        again.events = events[..cut].to_vec();
        again.engine = skynet_engine::Engine::new();
        for event in &again.events {
            again.engine.replay(event);
        }
        again.engine.start(Timestamp(again.now), 2);
        let policy = crate::world::policy(SERVICE);
        again.call(|engine, now, out| engine.set_policy(now, 1, policy, out));
        assert_eq!((opened(&again), about_skynet(&again).len()), (1, 1), "cut at {cut}");
    }
}

#[test]
fn an_expired_policy_reads_and_does_nothing_and_its_end_is_told_before_and_at_it() {
    let mut w = World::new(RUNAWAY);
    let day = Span::hours(24);
    let (now, ends) = (Timestamp(w.now), Timestamp(w.now).plus(Span(90 * day.0)));
    w.input(Input::Term { version: 1, activated: now, expires: ends });
    w.pass(76 * 86_400 - 2);
    assert!(about_skynet(&w).is_empty());
    w.pass(4);
    assert_eq!(about_skynet(&w), [format!("policy 1 expires at {ends}")]);
    w.restart();
    w.input(Input::Term { version: 1, activated: now, expires: ends });
    w.connect("web1");
    w.merge("web1");
    assert_eq!(about_skynet(&w).len(), 1, "told once, restarts or not");
    w.pass(14 * 86_400);
    assert_eq!(about_skynet(&w).len(), 2);
    assert!(about_skynet(&w)[1].contains("policy 1 has expired"));
    w.set("web1", P7, 0.99);
    w.run(3);
    assert_eq!(w.holds(), [Rail::Expired]);
    assert!(w.last().held[0].why.contains("build, sign and push it again"));
    let later = Timestamp(w.now).plus(day);
    w.input(Input::Term { version: 2, activated: Timestamp(w.now), expires: later });
    assert_eq!(w.acted(), 1, "a newer policy lets go");
}

#[test]
fn a_short_lived_policy_is_told_in_its_last_quarter() {
    let mut w = World::new(RUNAWAY);
    let now = Timestamp(w.now);
    w.input(Input::Term { version: 1, activated: now, expires: now.plus(Span::hours(4)) });
    w.pass(3 * 3600 - 1);
    assert!(about_skynet(&w).is_empty());
    w.pass(2);
    assert_eq!(about_skynet(&w).len(), 1);
}
