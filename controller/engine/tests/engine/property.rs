//! Random courses of events: never a panic, never a second effect, never an action on unknown, always a deadline or an
//! end, and replay gives the live state.

use std::collections::{BTreeMap, BTreeSet};

use skynet_engine::Input;
use skynet_model::command::Status;
use skynet_model::event::EventBody;
use skynet_model::incident::State;
use skynet_model::series::Labels;
use skynet_model::time::{Span, Timestamp};

use crate::steps::{DISK, RUNAWAY};
use crate::world::{Act, World, server};

/// Knuth's MMIX generator: the same course for the same seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

const SERIES: [&str; 6] = [
    "process.cpu_ratio{pid=\"7\"}",
    "process.cpu_ratio{pid=\"8\"}",
    "disk.used_ratio{mount=\"/\"}",
    "disk.used_ratio{mount=\"/var\"}",
    "service.up{unit=\"a\"}",
    "cpu.busy_ratio",
];
const STATUSES: [Status; 5] = [Status::Done, Status::Failed, Status::Refused, Status::Expired, Status::Indeterminate];

fn text(version: u64) -> String {
    let mut text = format!("{RUNAWAY}---{DISK}settle: 3s\n---\n");
    text.push_str("scenario: down\nwhen: service.up < 0.5 || server.connected == 0\nfor: 3s\nmode: enforce\nrespond:\n  - do: service.restart\n    with: { unit: \"${unit}\" }\n    verify_within: 5s\n---\n");
    text.push_str("scenario: no-cpu\nwhere: { role: web }\nwhen: absent(cpu.busy_ratio)\nmode: observe\n---\n");
    text.push_str("scenario: filling\nwhen: 'avg(disk.used_ratio, \"10s\") > 0.5'\nmode: enforce\nrespond:\n  - do: disk.tidy\n    with: { mount: \"${mount}\" }\n    verify: 'lowest(disk.used_ratio) < 0.4'\n    verify_within: 8s\n---\n");
    text.push_str("scenario: herd\nwhen: total(process.cpu_ratio) > 0.9\nper: [pid]\nmode: enforce\nrespond:\n  - do: process.signal\n    with: { pid: \"${pid}\", signal: TERM }\n    verify: 'total(avg(process.cpu_ratio, \"5s\")) < 0.5'\n    verify_within: 8s\n");
    text.push_str("---\nscenario: many\nscope: cluster\nwhere: { role: web }\nwhen: 'servers.share(service.up < 0.5 || server.connected == 0) > 0.4'\nfor: 2s\nmode: enforce\nrespond:\n  - do: disk.tidy\n    with: { mount: \"${unit}\" }\n    target: { where: { role: web }, pick: 2, order: lowest cpu.busy_ratio }\n    verify_within: 8s\n  - do: service.restart\n    with: { unit: \"${unit}\" }\n    target: { where: { role: web } }\n    verify: servers.avg(cpu.busy_ratio) < 0.9\n    verify_within: 8s\n");
    text.push_str("---\nrequest: tidy\nparameters: { mount: text }\nphrases: [\"tidy {mount}\"]\n---\nscenario: tidied\non_request: tidy\nmode: enforce\nrespond:\n  - do: disk.tidy\n    with: { mount: \"${mount}\" }\n    target: request\n");
    text.push_str("---\nscenario: wipe\nwhen: cpu.busy_ratio > 0.7\nmode: enforce\nrespond:\n  - do: disk.wipe\n    with: { mount: / }\n");
    if version.is_multiple_of(2) { text.replace("0.9", "0.85") } else { text }
}

fn turn(w: &mut World, dice: &mut Dice) {
    let name = ["web1", "web2", "web3"][dice.roll(3) as usize];
    let series = SERIES[dice.roll(SERIES.len() as u64) as usize];
    let sensor = ["process", "disk", "service", "cpu"][dice.roll(4) as usize];
    match dice.roll(23) {
        0..=3 => w.set(name, series, dice.roll(11) as f64 / 10.0),
        4 => w.remove(name, series),
        5 => w.retire(name, series),
        6 => {
            let action = ["process.signal", "disk.tidy", "service.restart"][dice.roll(3) as usize];
            let sets = if dice.roll(2) == 0 { vec![(series.to_owned(), Some(0.1))] } else { vec![] };
            let status = STATUSES[dice.roll(5) as usize];
            let after = (dice.roll(5) > 0).then(|| dice.roll(20) as i64);
            w.act(name, action, Act { status, sets, after });
        }
        7 if w.fakes[name].connected => w.disconnect(name),
        7 | 8 => w.connect(name),
        9 => w.merge(name),
        10 => w.reboot(name),
        11 => {
            let failing = &mut w.fakes.get_mut(name).unwrap().failing;
            if !failing.remove(sensor) {
                failing.insert(sensor.to_owned());
            }
        }
        12 if dice.roll(4) == 0 => w.restart(),
        12 if dice.roll(4) == 0 => w.push(&text(dice.roll(2))),
        13 => w.fakes.get_mut(name).unwrap().lose_commands = dice.roll(2) == 0,
        14 if dice.roll(3) == 0 => w.input(Input::Halt { by: "a".into(), reason: "b".into() }),
        14 | 15 => w.input(Input::Resume { by: "a".into() }),
        16 => w.input(Input::JournalBlocked(dice.roll(3) == 0)),
        17 if dice.roll(3) == 0 => {
            let role = ["web", "db"][dice.roll(2) as usize];
            w.input(Input::Labelled { server: server(name), labels: Labels::new([("role", role)]) });
        }
        18 => {
            // Refused while the same is under way.
            let _ = w.ask("tidy", &[("mount", ["/a", "/b"][dice.roll(2) as usize])], &["web1", "web2", name]);
        }
        19 => {
            if let Some(incident) = w.opened().pop() {
                w.input(Input::Approve { incident: incident.id, by: "a".into(), comment: "b".into() });
            }
        }
        20 => set_for_a_while(w, dice, name),
        _ => w.pass(dice.roll(400) as i64),
    }
    w.run(dice.roll(4) as i64);
}

/// A silence or maintenance begins, or one ends early.
fn set_for_a_while(w: &mut World, dice: &mut Dice, name: &str) {
    let (now, lasts) = (Timestamp(w.now), Span::seconds(1 + dice.roll(1200) as i64));
    let (by, comment) = ("a".to_owned(), "b".to_owned());
    match dice.roll(4) {
        0 => {
            let matches = BTreeMap::from([("server".to_owned(), name.to_owned())]);
            w.input(Input::Silence(w.engine.silence(now, matches, lasts, by, comment).unwrap()));
        }
        1 => {
            let made = w.engine.maintenance(now, [server(name)].into(), BTreeMap::new(), lasts, by, comment);
            w.input(Input::StartMaintenance(made.unwrap().0));
        }
        2 => {
            if let Some(id) = w.engine.silences(now).first().map(|s| s.id.clone()) {
                w.input(Input::ExpireSilence { id, by });
            }
        }
        _ => {
            if let Some(id) = w.engine.maintenances(now).first().map(|(m, _)| m.id.clone()) {
                w.input(Input::EndMaintenance { id, by });
            }
        }
    }
}

fn check(w: &World, seed: u64) {
    let mut issued = BTreeSet::new();
    for event in &w.events {
        if let EventBody::CommandIssued { command, .. } = &event.body {
            assert!(issued.insert(command.id.clone()), "seed {seed}: a command was issued twice");
        }
    }
    for fake in w.fakes.values() {
        let mut seen = BTreeSet::new();
        for command in &fake.effects {
            assert!(issued.contains(&command.id), "seed {seed}: an effect without an event");
            assert!(seen.insert(command.id.clone()), "seed {seed}: a second effect");
        }
    }
    let mut live = BTreeSet::new();
    for incident in w.opened().iter().filter(|i| !i.state.is_end()) {
        let trouble = (incident.scenario.clone(), incident.subject.clone(), incident.labels.clone());
        assert!(live.insert(trouble), "seed {seed}: two live incidents of one trouble");
    }
}

#[test]
fn two_hundred_random_courses_hold_what_is_promised() {
    for seed in 0..200 {
        let mut dice = Dice(seed);
        let mut w = World::empty(&text(1));
        for name in ["web1", "web2", "web3"] {
            w.add(name);
        }
        for _ in 0..60 {
            turn(&mut w, &mut dice);
        }
        check(&w, seed);
        w.check_replay();
        // Left alone, everything comes to its end, to a person, or to what would have been done.
        w.input(Input::JournalBlocked(false));
        w.pass(3600);
        for incident in w.opened() {
            let rests = incident.state.is_end() || matches!(incident.state, State::Escalated | State::Observed);
            assert!(rests, "seed {seed}: {incident:?}");
        }
        let told: BTreeSet<_> = w.notices().into_iter().filter_map(|n| n.incident).collect();
        for incident in w.opened().iter().filter(|i| i.state == State::Escalated) {
            let by = w.engine.told_with(incident).unwrap_or(&incident.id);
            assert!(told.contains(by), "seed {seed}: nobody was told of {incident:?}");
        }
    }
}
