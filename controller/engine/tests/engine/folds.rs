//! Folds: label sets as one number, for all of them or group by group.

use std::collections::BTreeMap;

use skynet_model::incident::State;
use skynet_model::series::Labels;

use crate::property::Dice;
use crate::world::World;

fn watch(name: &str, when: &str, more: &str) -> String {
    format!("scenario: {name}\nwhen: '{when}'\n{more}\nmode: observe\n")
}

fn auth(ip: &str, user: &str) -> String {
    format!("auth.failures_per_min{{ip=\"{ip}\",user=\"{user}\"}}")
}

fn live(w: &World) -> Vec<String> {
    let mut live: Vec<String> = w
        .engine
        .incidents()
        .iter()
        .filter(|i| !i.state.is_end())
        .map(|i| format!("{}{}", i.scenario, i.labels))
        .collect();
    live.sort();
    live
}

#[test]
fn a_fold_without_per_is_about_the_whole_server() {
    let mut w = World::new(&watch("attack", "total(auth.failures_per_min) > 20", ""));
    w.set("web1", &auth("10.0.0.1", "a"), 15.0);
    w.run(2);
    assert!(w.opened().is_empty());
    w.set("web1", &auth("10.0.0.2", "b"), 6.0);
    w.run(1);
    assert_eq!(live(&w), ["attack"]);
    assert_eq!(w.last().labels, Labels::default());
    w.set("web1", &auth("10.0.0.2", "b"), 5.0);
    w.run(1);
    assert_eq!(w.states(), [State::Cleared]);
}

#[test]
fn per_makes_one_instance_of_each_group() {
    let text = "scenario: attack\nwhen: total(auth.failures_per_min) > 20\nper: [ip]\nmode: observe\nsummary: \"{{ ip }} \
                {{ value }}\"\n";
    let mut w = World::new(text);
    for (ip, user, n) in
        [("10.0.0.1", "a", 15.0), ("10.0.0.1", "b", 6.0), ("10.0.0.2", "a", 20.0), ("10.0.0.3", "c", 30.0)]
    {
        w.set("web1", &auth(ip, user), n);
    }
    w.run(1);
    assert_eq!(live(&w), ["attack{ip=\"10.0.0.1\"}", "attack{ip=\"10.0.0.3\"}"]);
    let first = w.opened().into_iter().find(|i| i.labels.get("ip") == Some("10.0.0.1")).unwrap();
    assert_eq!(first.summary, "10.0.0.1 21.0");
    let readings: Vec<String> = first.readings.iter().map(|r| format!("{} {}", r.series, r.value)).collect();
    assert_eq!(readings, [format!("{} 15", auth("10.0.0.1", "a")), format!("{} 6", auth("10.0.0.1", "b"))]);
    // A user that comes later belongs to its group as well.
    w.set("web1", &auth("10.0.0.2", "z"), 1.0);
    w.run(1);
    assert!(live(&w).contains(&"attack{ip=\"10.0.0.2\"}".to_owned()));
}

#[test]
fn folds_say_what_a_plain_reckoning_says() {
    let text = ["total", "highest", "lowest"]
        .map(|fold| {
            let limit = if fold == "total" { 15 } else { 5 };
            watch(fold, &format!("{fold}(disk.used_ratio) > {limit}"), "")
                + "---\n"
                + &watch(&format!("{fold}-by"), &format!("{fold}(auth.failures_per_min) > {limit}"), "per: [ip]")
                + "---\n"
        })
        .concat();
    let mut changes = 0;
    for seed in 0..10 {
        let mut dice = Dice(seed);
        let mut w = World::new(&text);
        let mut expected: BTreeMap<String, bool> = BTreeMap::new();
        for second in 0..300 {
            let number = dice.roll(12) as f64;
            let member = auth(["x", "y"][dice.roll(2) as usize], ["a", "b", "c"][dice.roll(3) as usize]);
            let mount = format!("disk.used_ratio{{mount=\"/{}\"}}", dice.roll(4));
            match dice.roll(12) {
                0 => w.remove("web1", &member),
                1 => w.retire("web1", &member),
                2 => w.retire("web1", &mount),
                3 => w.remove("web1", &mount),
                4 if dice.roll(4) == 0 => w.connect("web1"),
                5 if dice.roll(4) == 0 => w.push(&text),
                6 | 7 => w.set("web1", &mount, number),
                _ => w.set("web1", &member, number),
            }
            w.run(1);
            let now: Vec<(String, String, f64)> = w.fakes["web1"]
                .series
                .iter()
                .filter(|(s, _)| s.starts_with("auth") || s.starts_with("disk"))
                .map(|(s, v)| {
                    let group = if s.contains("\"x\"") { "{ip=\"x\"}" } else { "{ip=\"y\"}" };
                    let of = if s.starts_with("auth") { format!("-by{group}") } else { String::new() };
                    (s.clone(), of, *v)
                })
                .collect();
            for of in ["", "-by{ip=\"x\"}", "-by{ip=\"y\"}"] {
                let values: Vec<f64> = now.iter().filter(|(_, o, _)| o == of).map(|(_, _, v)| *v).collect();
                for fold in ["total", "highest", "lowest"] {
                    let value = match fold {
                        "total" => Some(values.iter().sum::<f64>()),
                        "highest" => values.iter().copied().reduce(f64::max),
                        _ => values.iter().copied().reduce(f64::min),
                    };
                    let key = format!("{fold}{of}");
                    let before = expected.get(&key) == Some(&true);
                    let limit = if fold == "total" { 15.0 } else { 5.0 };
                    let after = match value {
                        Some(value) => value > limit,
                        // None is there: cured for failed logins, and for mounts not known.
                        None => before && of.is_empty(),
                    };
                    changes += u32::from(before != after);
                    assert_eq!(live(&w).contains(&key), after, "seed {seed}, second {second}: {key} of {values:?}");
                    expected.insert(key, after);
                }
            }
        }
    }
    assert!(changes > 1000, "{changes}");
}

#[test]
fn an_unknown_member_makes_a_fold_unknown_and_a_gone_one_is_left_out() {
    let mut w = World::new(&watch("low", "total(disk.used_ratio) < 1", ""));
    w.set("web1", "disk.used_ratio{mount=\"/\"}", 0.9);
    w.set("web1", "disk.used_ratio{mount=\"/var\"}", 0.9);
    w.run(1);
    w.fakes.get_mut("web1").unwrap().failing.insert("disk".to_owned());
    w.run(5);
    assert!(w.opened().is_empty(), "unknown");
    w.fakes.get_mut("web1").unwrap().failing.clear();
    w.run(1);
    w.disconnect("web1");
    w.run(5);
    assert!(w.opened().is_empty(), "away");
    w.connect("web1");
    w.merge("web1");
    w.remove("web1", "disk.used_ratio{mount=\"/var\"}");
    w.run(1);
    assert_eq!(live(&w), ["low"]);
}

#[test]
fn a_total_of_nothing_is_zero_once_a_complete_sweep_has_said_so() {
    let mut w = World::empty(&watch("none", "total(auth.failures_per_min) == 0", ""));
    w.add("web1");
    w.pass(5);
    assert!(w.opened().is_empty(), "nothing has swept");
    w.run(1);
    assert_eq!(live(&w), ["none"]);
    w.set("web1", &auth("x", "a"), 1.0);
    w.run(1);
    assert!(live(&w).is_empty());
    let mut w = World::new(&watch("none", "highest(auth.failures_per_min) < 5 || lowest(disk.used_ratio) < 5", ""));
    w.run(5);
    assert!(w.opened().is_empty(), "the greatest of nothing is nothing");
}

#[test]
fn a_fold_joins_what_is_not_folded() {
    let text = watch("a", "disk.used_ratio > 0.5 && total(disk.slow) > 1", "")
        + "---\n"
        + &watch("b", "disk.used_ratio > 0.5 && total(auth.failures_per_min) > 10", "per: [mount, ip]")
        + "---\n"
        + &watch("c", "disk.used_ratio > 0.5 && total(disk.slow) == 0", "");
    let mut w = World::new(&text);
    for (mount, used, slow) in [("/", 0.9, 3.0), ("/var", 0.9, 0.0), ("/tmp", 0.1, 9.0)] {
        w.set("web1", &format!("disk.used_ratio{{mount=\"{mount}\"}}"), used);
        w.set("web1", &format!("disk.slow{{mount=\"{mount}\"}}"), slow);
    }
    w.set("web1", "disk.used_ratio{mount=\"/home\"}", 0.9);
    for (ip, n) in [("x", 30.0), ("y", 5.0)] {
        w.set("web1", &auth(ip, "a"), n);
    }
    w.run(1);
    let expected = [
        "a{mount=\"/\"}",
        "b{ip=\"x\",mount=\"/\"}",
        "b{ip=\"x\",mount=\"/home\"}",
        "b{ip=\"x\",mount=\"/var\"}",
        // A group that the mount names has no members: that is known.
        "c{mount=\"/home\"}",
        "c{mount=\"/var\"}",
    ];
    assert_eq!(live(&w), expected);
}

#[test]
fn a_fold_takes_windows() {
    let mut w = World::new(&watch("errors", "total(rate(network.errors_total, \"10s\")) > 3", ""));
    for n in 0..12 {
        for (interface, per_second) in [("eth0", 1.0), ("eth1", 2.0)] {
            w.set("web1", &format!("network.errors_total{{interface=\"{interface}\"}}"), f64::from(n) * per_second);
        }
        w.run(1);
    }
    assert!(w.opened().is_empty(), "three a second");
    for n in 12..24 {
        for (interface, per_second) in [("eth0", 1.2), ("eth1", 2.0)] {
            w.set("web1", &format!("network.errors_total{{interface=\"{interface}\"}}"), f64::from(n) * per_second);
        }
        w.run(1);
    }
    assert_eq!(live(&w), ["errors"]);
    // An interface whose window does not answer yet makes it unknown.
    w.set("web1", "network.errors_total{interface=\"eth2\"}", 0.0);
    w.set("web1", "network.errors_total{interface=\"eth1\"}", 48.0);
    w.run(4);
    assert_eq!(live(&w), ["errors"]);
    w.run(10);
    assert!(live(&w).is_empty());
}

#[test]
fn young_windows_of_processes_are_left_out() {
    let mut w = World::new(&watch("busy", "total(avg(process.cpu_ratio, \"10s\")) > 1.5", ""));
    w.set("web1", "process.cpu_ratio{pid=\"1\"}", 0.9);
    w.set("web1", "process.cpu_ratio{pid=\"2\"}", 0.9);
    w.run(3);
    assert!(w.opened().is_empty(), "none of them answers");
    w.run(3);
    assert_eq!(live(&w), ["busy"]);
    w.set("web1", "process.cpu_ratio{pid=\"3\"}", 0.9);
    w.retire("web1", "process.cpu_ratio{pid=\"2\"}");
    w.run(1);
    assert!(live(&w).is_empty(), "one counts, one is young, one is gone");
    w.run(5);
    assert_eq!(live(&w), ["busy"]);
}

#[test]
fn a_group_whose_series_have_all_ended_is_forgotten() {
    let mut w = World::new(&watch("attack", "total(auth.failures_per_min) > 20", "per: [ip]\nfor: 10s"));
    for round in 0..3 {
        w.set("web1", &auth("x", "a"), 30.0);
        w.run(5);
        assert_eq!(live(&w), ["attack{ip=\"x\"}"], "round {round}");
        w.retire("web1", &auth("x", "a"));
        w.run(1);
        assert!(live(&w).is_empty(), "round {round}");
    }
    w.set("web1", &auth("x", "a"), 30.0);
    w.run(9);
    assert_eq!(w.opened().len(), 0, "it counts from its return");
    w.run(3);
    assert_eq!(w.states(), [State::Observed]);
}

#[test]
fn a_cure_is_proved_by_a_fold_in_two_fresh_sweeps() {
    let text = "scenario: full\nwhen: highest(disk.used_ratio) > 0.9\nmode: enforce\nrespond:\n  - do: disk.tidy\n    with: \
                { mount: x }\n    verify: total(disk.used_ratio) < 1\n    verify_within: 20s\n";
    let mut w = World::new(text);
    let (root, var) = ("disk.used_ratio{mount=\"/\"}", "disk.used_ratio{mount=\"/var\"}");
    w.cures("web1", "disk.tidy", &[(root, Some(0.4))]);
    w.set("web1", root, 0.95);
    w.set("web1", var, 0.3);
    w.run(1);
    assert_eq!(w.states(), [State::Acting]);
    w.run(1);
    assert_eq!(w.states(), [State::Verifying], "one sweep is not enough");
    w.run(1);
    assert_eq!(w.states(), [State::Contained]);
    // What stays unknown to the deadline has failed.
    let mut w = World::new(text);
    w.cures("web1", "disk.tidy", &[(root, Some(0.4))]);
    w.set("web1", root, 0.95);
    w.run(1);
    w.fakes.get_mut("web1").unwrap().failing.insert("disk".to_owned());
    w.run(25);
    assert_eq!(w.states(), [State::Escalated]);
}
