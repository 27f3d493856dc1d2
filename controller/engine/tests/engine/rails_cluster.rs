//! Rails that look at a cluster: blast radius, common cause, destructive steps.

use skynet_engine::Input;
use skynet_model::command::Status;
use skynet_model::event::EventBody;
use skynet_model::incident::{NoticeKind, Rail, State};
use skynet_model::series::Labels;

use crate::rails_table::{SERVICE, UNIT};
use crate::steps::{DISK, ROOT};
use crate::world::{World, member, server};

/// A cluster of so many servers, each restart of which takes 20 s and cures.
fn cluster(w: &mut World, name: &str, servers: u8) {
    w.add_cluster(name, servers);
    for n in 0..servers {
        w.ends(&member(name, n), "service.restart", Status::Done, Some(20));
    }
}

fn fails(w: &mut World, name: &str, which: std::ops::Range<u8>) {
    for n in which {
        w.set(&member(name, n), UNIT, 0.0);
    }
}

/// Servers of a cluster whose step has begun and is not over.
fn acting(w: &World) -> usize {
    let opened = w.opened();
    opened.iter().filter(|i| matches!(i.state, State::Acting | State::Verifying)).count()
}

fn rails(text: &str) -> String {
    format!("fleet: f\nrails: {{ {text} }}\n---{SERVICE}")
}

#[test]
fn one_server_of_a_small_cluster_is_acted_on_at_a_time_and_the_others_say_who() {
    let mut w = World::empty(SERVICE);
    cluster(&mut w, "shop", 10);
    cluster(&mut w, "blog", 10);
    fails(&mut w, "shop", 0..2);
    fails(&mut w, "blog", 0..1);
    w.run(5);
    assert_eq!(acting(&w), 2, "one in each cluster");
    let held = w.opened().into_iter().find(|i| i.state == State::Waiting).unwrap().hold.unwrap();
    assert_eq!(held.rail, Rail::BlastRadius);
    assert_eq!(held.why, "1 of 10 in cluster shop already acting (shop-a); at most 1 at a time");
}

#[test]
fn five_percent_of_forty_are_two_and_a_place_that_frees_is_taken() {
    let mut w = World::empty(&rails("common_cause_share: 100%"));
    for n in 0..40 {
        w.add_in(&format!("web{n}"), "shop");
        w.ends(&format!("web{n}"), "service.restart", Status::Failed, Some(20));
    }
    for n in 0..4 {
        w.set(&format!("web{n}"), UNIT, 0.0);
    }
    w.run(5);
    assert_eq!((acting(&w), w.acted()), (2, 2));
    w.run(20);
    // The two have failed and are with a person; the third would be the fourth within the hour only after the breaker.
    assert_eq!(acting(&w), 2);
    assert_eq!(w.acted(), 4);
}

#[test]
fn a_tenth_of_the_cluster_an_hour_and_then_the_next() {
    let mut w = World::empty(SERVICE);
    cluster(&mut w, "shop", 10);
    w.cures("shop-a", "service.restart", &[(UNIT, Some(1.0))]);
    w.cures("shop-b", "service.restart", &[(UNIT, Some(1.0))]);
    fails(&mut w, "shop", 0..1);
    w.run(60);
    assert_eq!(w.states(), [State::Contained]);
    w.pass(3400);
    fails(&mut w, "shop", 1..2);
    w.run(5);
    let hold = w.last().hold.unwrap();
    assert!(
        hold.why
            .starts_with("1 of 10 in cluster shop acted on within the last hour (shop-a); at most 1 an hour; next at "),
        "{}",
        hold.why
    );
    w.run(150);
    assert_eq!(w.of("shop-b").state, State::Contained);
}

#[test]
fn a_server_that_is_acted_on_is_one_server_whoever_acts_on_it() {
    let mut w = World::empty(SERVICE);
    cluster(&mut w, "shop", 10);
    w.set("shop-a", UNIT, 0.0);
    w.set("shop-a", "service.up{unit=\"other\"}", 0.0);
    w.run(3);
    assert_eq!(w.acted(), 2);
    assert!(w.holds().is_empty());
}

#[test]
fn a_scenarios_own_blast_radius_counts_at_a_time_and_an_hour() {
    let mut w = World::empty(&format!("{}limits: {{ blast_radius: 40% }}\n", rails("common_cause_share: 100%")));
    cluster(&mut w, "shop", 10);
    fails(&mut w, "shop", 0..6);
    w.run(5);
    assert_eq!((acting(&w), w.acted()), (4, 4));
}

#[test]
fn reversible_steps_have_no_blast_radius_and_no_common_cause() {
    let mut w = World::empty(DISK);
    w.add_cluster("shop", 10);
    for n in 0..10 {
        w.set(&member("shop", n), ROOT, 0.9);
    }
    w.run(3);
    assert_eq!(w.acted(), 10);
    assert!(w.holds().is_empty());
}

#[test]
fn a_server_without_a_cluster_is_one_of_its_own() {
    let mut w = World::empty(SERVICE);
    for name in ["web1", "web2"] {
        w.add(name);
        w.input(Input::Labelled { server: server(name), labels: Labels::new([("role", "web")]) });
        w.set(name, UNIT, 0.0);
    }
    w.run(3);
    assert_eq!(w.acted(), 2);
}

#[test]
fn a_common_cause_stops_acting_in_its_cluster_and_is_told_once_for_all() {
    let mut w = World::empty(SERVICE);
    cluster(&mut w, "shop", 10);
    cluster(&mut w, "blog", 10);
    fails(&mut w, "shop", 0..3);
    w.run(5);
    let found: Vec<_> = w.events.iter().filter(|e| matches!(e.body, EventBody::CommonCauseFound { .. })).collect();
    assert_eq!(found.len(), 1);
    fails(&mut w, "shop", 3..6);
    fails(&mut w, "blog", 0..1);
    w.run(60);
    assert_eq!(w.acted(), 2, "the first of the cluster, and the other cluster");
    let notices = w.notices();
    let causes: Vec<_> = notices.iter().filter(|n| n.title.contains("common cause")).collect();
    assert_eq!(causes.len(), 1, "{notices:#?}");
    assert!(!notices.iter().any(|n| n.server.as_ref().is_some_and(|s| s.as_str().starts_with("shop"))), "{notices:#?}");
    let story = &causes[0].story;
    for part in ["3 of 10 servers in cluster shop fired down within 10m", "shop-a", "shop-b", "shop-c", "told once"] {
        assert!(story.contains(part), "{part} in {story}");
    }
    let lead = causes[0].incident.clone().unwrap();
    let other = w.of("shop-e");
    assert_eq!(other.state, State::Escalated);
    assert!(other.reason.as_ref().unwrap().contains(&format!("told once for all with {lead}")), "{:?}", other.reason);
    assert_eq!(w.engine.told_with(&other), Some(&lead));
    w.check_replay();
}

#[test]
fn a_common_cause_is_over_when_nothing_of_it_is_live_and_then_acting_goes_on() {
    let mut w = World::empty(SERVICE);
    cluster(&mut w, "shop", 10);
    fails(&mut w, "shop", 0..6);
    w.run(40);
    for n in 0..6 {
        w.set(&member("shop", n), UNIT, 1.0);
        w.run(2);
    }
    let kinds: Vec<_> = w.notices().iter().map(|n| n.kind).collect();
    assert_eq!(kinds, [NoticeKind::Escalated, NoticeKind::Resolved], "{:#?}", w.notices());
    let (first, last) = (w.notices().remove(0), w.notices().pop().unwrap());
    assert_eq!(first.incident, last.incident);
    w.pass(3700);
    let before = w.acted();
    fails(&mut w, "shop", 7..8);
    w.run(3);
    assert_eq!(w.acted(), before + 1);
}

#[test]
fn a_common_cause_and_its_notice_survive_a_restart_at_any_event() {
    let mut w = World::empty(SERVICE);
    cluster(&mut w, "shop", 5);
    fails(&mut w, "shop", 0..4);
    w.run(3);
    let events = w.events.clone();
    for cut in 0..=events.len() {
        let mut again = World::empty(SERVICE);
        cluster(&mut again, "shop", 5);
        fails(&mut again, "shop", 0..4);
        again.now = w.now;
        again.events = events[..cut].to_vec();
        again.engine = skynet_engine::Engine::new();
        for event in &again.events {
            again.engine.replay(event);
        }
        again.engine.start(skynet_model::time::Timestamp(again.now), 2);
        let policy = crate::world::policy(SERVICE);
        again.call(|engine, now, out| engine.set_policy(now, 1, policy, out));
        for n in 0..5 {
            let name = member("shop", n);
            let labels = Labels::new([("role", "web"), ("cluster", "shop")]);
            again.input(Input::Labelled { server: server(&name), labels });
            again.connect(&name);
            again.merge(&name);
        }
        again.run(700);
        let causes = again.notices().into_iter().filter(|n| n.title.contains("common cause")).count();
        assert_eq!(causes, 1, "cut at {cut}");
        assert!(again.states().iter().all(|s| *s == State::Escalated), "cut at {cut}: {:?}", again.states());
    }
}

#[test]
fn destructive_steps_of_a_cluster_lie_half_an_hour_apart() {
    let wipe =
        DISK.replace("disk.tidy", "disk.wipe").replace("    verify_within", "    approve: false\n    verify_within");
    let mut w =
        World::empty(&format!("fleet: f\nrails: {{ hold_patience: 1h, blast_radius_per_hour: 100% }}\n---{wipe}"));
    for name in ["web1", "web2"] {
        w.add(name);
        w.cures(name, "disk.wipe", &[(ROOT, Some(0.5))]);
        w.set(name, ROOT, 0.9);
    }
    w.run(30);
    assert_eq!(w.acted(), 1);
    let hold = w.of("web2").hold.unwrap();
    assert!(hold.rail == Rail::Destructive && hold.why.contains("on web1); one per 30m, next at"), "{}", hold.why);
    w.pass(1700);
    w.run(80);
    assert_eq!(w.acted(), 2);
}
