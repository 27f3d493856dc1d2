//! Each rail of the table by itself: with it the step is held and says why, without it the same course of events acts.

use std::collections::BTreeMap;

use skynet_engine::{Engine, Input};
use skynet_model::command::Status;
use skynet_model::incident::Rail;
use skynet_model::time::{Span, Timestamp};

use crate::steps::{DISK, P7, ROOT, RUNAWAY};
use crate::world::{World, member, server};

pub(crate) const SERVICE: &str = r#"
scenario: down
when: service.up == 0
mode: enforce
respond:
  - do: service.restart
    with: { unit: "${unit}" }
    verify_within: 10s
"#;
pub(crate) const UNIT: &str = "service.up{unit=\"u\"}";
const WIPE: &str = r#"
scenario: wipe
when: disk.used_ratio > 0.8
mode: enforce
respond:
  - do: disk.wipe
    with: { mount: "${mount}" }
    approve: false
    verify_within: 10s
"#;

/// What holds, under which policy, and what happens; it adds its own servers.
type Story = (Rail, fn() -> String, fn(&mut World));

const STORIES: &[Story] = &[
    (
        Rail::Maintenance,
        || RUNAWAY.to_owned(),
        |w| {
            w.add("web1");
            let servers = [server("web1")].into();
            let lasts = Span::hours(1);
            let made =
                w.engine.maintenance(Timestamp(w.now), servers, BTreeMap::new(), lasts, "ann".into(), "ram".into());
            w.input(Input::StartMaintenance(made.unwrap().0));
            w.set("web1", P7, 0.99);
            w.run(3);
        },
    ),
    (
        Rail::Halt,
        || RUNAWAY.to_owned(),
        |w| {
            w.add("web1");
            w.input(Input::Halt { by: "ann".into(), reason: "racks".into() });
            w.set("web1", P7, 0.99);
            w.run(3);
        },
    ),
    (
        Rail::Journal,
        || RUNAWAY.to_owned(),
        |w| {
            w.add("web1");
            w.input(Input::JournalBlocked(true));
            w.set("web1", P7, 0.99);
            w.run(3);
        },
    ),
    (
        Rail::Startup,
        || RUNAWAY.to_owned(),
        |w| {
            w.add("web1");
            w.add("web2");
            w.restart();
            w.connect("web1");
            w.merge("web1");
            w.set("web1", P7, 0.99);
            w.run(3);
        },
    ),
    (
        Rail::Expired,
        || RUNAWAY.to_owned(),
        |w| {
            w.add("web1");
            let now = Timestamp(w.now);
            w.input(Input::Term { version: 1, activated: Timestamp(0), expires: now.plus(Span::seconds(2)) });
            w.run(3);
            w.set("web1", P7, 0.99);
            w.run(3);
        },
    ),
    (
        Rail::Breaker,
        || SERVICE.to_owned(),
        |w| {
            for n in 0..4 {
                let name = format!("web{n}");
                w.add_in(&name, &name);
                w.ends(&name, "service.restart", Status::Failed, Some(0));
                w.set(&name, UNIT, 0.0);
                w.run(3);
            }
        },
    ),
    (
        Rail::Flapping,
        || format!("fleet: f\nrails: {{ flapping_after: 2 }}\n---{DISK}limits: {{ cooldown: 0s }}\n"),
        |w| {
            w.add("web1");
            w.cures("web1", "disk.tidy", &[(ROOT, Some(0.5))]);
            for _ in 0..2 {
                w.set("web1", ROOT, 0.9);
                w.run(6);
            }
        },
    ),
    (
        Rail::CommonCause,
        || format!("fleet: f\nrails: {{ blast_radius: 100% }}\n---{SERVICE}"),
        |w| {
            w.add_cluster("shop", 4);
            for n in 0..3 {
                w.set(&member("shop", n), UNIT, 0.0);
                w.run(1);
            }
        },
    ),
    (
        Rail::Server,
        || RUNAWAY.to_owned(),
        |w| {
            w.add("web1");
            w.disconnect("web1");
            w.connect("web1");
            w.set("web1", P7, 0.99);
            w.run(3);
        },
    ),
    (
        Rail::Readings,
        || RUNAWAY.to_owned(),
        |w| {
            w.add("web1");
            w.set("web1", P7, 0.99);
            w.run(2);
            w.fakes.get_mut("web1").unwrap().failing.insert("process".to_owned());
            w.run(20);
        },
    ),
    (
        Rail::Cooldown,
        || DISK.to_owned(),
        |w| {
            w.add("web1");
            w.cures("web1", "disk.tidy", &[(ROOT, Some(0.5))]);
            for _ in 0..2 {
                w.set("web1", ROOT, 0.9);
                w.run(6);
            }
        },
    ),
    (
        Rail::Rate,
        || format!("{SERVICE}limits: {{ per_hour: 1 }}\n"),
        |w| {
            w.add("web1");
            for n in 0..2 {
                w.set("web1", &format!("service.up{{unit=\"u{n}\"}}"), 0.0);
            }
            w.run(3);
        },
    ),
    (
        Rail::BlastRadius,
        || SERVICE.to_owned(),
        |w| {
            w.add_cluster("shop", 4);
            w.set("shop-a", UNIT, 0.0);
            w.set("shop-b", UNIT, 0.0);
            w.run(3);
        },
    ),
    (
        Rail::Destructive,
        || WIPE.to_owned(),
        |w| {
            w.add("web1");
            w.set("web1", ROOT, 0.9);
            w.set("web1", "disk.used_ratio{mount=\"/var\"}", 0.9);
            w.run(3);
        },
    ),
    (
        Rail::Approval,
        || DISK.replace("disk.tidy", "disk.wipe"),
        |w| {
            w.add("web1");
            w.set("web1", ROOT, 0.9);
            w.run(3);
        },
    ),
];

#[test]
fn with_each_rail_the_step_is_held_and_without_it_the_same_acts() {
    for (rail, text, story) in STORIES {
        let mut with = World::without(&text(), None);
        story(&mut with);
        assert!(with.holds().contains(rail), "{rail:?} holds nothing: {:?}", with.holds());
        let mut without = World::without(&text(), Some(*rail));
        story(&mut without);
        assert!(!without.holds().contains(rail), "{rail:?} holds though it is left out");
        assert!(without.acted() > with.acted(), "{rail:?}: {} acts with it, {} without", with.acted(), without.acted());
    }
}

#[test]
fn every_row_of_the_table_has_its_story() {
    let told: Vec<Rail> = STORIES.iter().map(|(rail, ..)| *rail).collect();
    for rail in Engine::rails() {
        assert!(told.contains(&rail), "no story shows what {rail:?} is there for");
    }
}

#[test]
fn the_table_in_the_docs_names_every_rail_and_every_key() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/rails.md")).unwrap();
    for rail in Engine::rails() {
        assert!(text.contains(&format!("**{}**", rail.as_str())), "docs/rails.md does not name {}", rail.as_str());
    }
    for key in skynet_model::policy::RAILS {
        let cell = format!("`{}` ({})", key.name, key.default);
        assert!(text.contains(&cell), "docs/rails.md does not have {cell}");
    }
}
