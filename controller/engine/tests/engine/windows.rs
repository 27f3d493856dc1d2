//! Windows: what they say, when they say it, and what they outlive.

use std::collections::BTreeMap;

use skynet_model::event::EventBody;
use skynet_model::incident::State;
use skynet_model::series::Labels;

use crate::property::Dice;
use crate::steps::P7;
use crate::world::{World, server};

const ETH: &str = "network.errors_total{interface=\"eth0\"}";
const ROOT: &str = "disk.used_ratio{mount=\"/\"}";

fn watch(name: &str, when: &str) -> String {
    format!("scenario: {name}\nwhen: '{when}'\nmode: observe\n")
}

/// What each function is compared with, and over how many seconds.
const FUNCTIONS: [(&str, &str, f64, usize); 7] = [
    ("avg", "avg(load.one, \"20s\")", 50.0, 20),
    ("min", "min(load.one, \"15s\")", 12.0, 15),
    ("max", "max(load.one, \"12s\")", 85.0, 12),
    ("sum", "sum(load.one, \"20s\")", 950.0, 20),
    ("delta", "delta(load.one, \"20s\")", 10.0, 20),
    ("forecast", "forecast(load.one, \"40s\", \"20s\")", 60.0, 40),
    ("rate", "rate(network.errors_total, \"30s\")", 4.0, 30),
];

/// The function over samples of whole seconds, from its help's words.
fn naive(name: &str, span: usize, samples: &[(i64, f64)], now: i64) -> f64 {
    let held: Vec<(f64, f64)> = samples
        .iter()
        .filter(|(t, _)| now - t <= span as i64 * 1000)
        .map(|(t, v)| ((t - now) as f64 / 1000.0, *v))
        .collect();
    let (Some(first), Some(last)) = (held.first(), held.last()) else { return f64::NAN };
    let covered = last.0 - first.0;
    if held.len() < 5 || covered < span as f64 / if name == "forecast" { 4.0 } else { 10.0 } {
        return f64::NAN;
    }
    let n = held.len() as f64;
    let sum: f64 = held.iter().map(|(_, v)| v).sum();
    match name {
        "sum" => sum,
        "avg" => sum / n,
        "min" => held.iter().map(|(_, v)| *v).fold(f64::MAX, f64::min),
        "max" => held.iter().map(|(_, v)| *v).fold(f64::MIN, f64::max),
        "delta" => last.1 - first.1,
        "rate" => {
            held.windows(2).map(|p| if p[1].1 < p[0].1 { p[1].1 } else { p[1].1 - p[0].1 }).sum::<f64>() / covered
        }
        _ => {
            let mean_t = held.iter().map(|(t, _)| t).sum::<f64>() / n;
            let slope = held.iter().map(|(t, v)| (t - mean_t) * (v - sum / n)).sum::<f64>()
                / held.iter().map(|(t, _)| (t - mean_t).powi(2)).sum::<f64>();
            sum / n + slope * (last.0 + 20.0 - mean_t)
        }
    }
}

#[test]
fn every_function_holds_when_a_plain_reckoning_does() {
    let text: String =
        FUNCTIONS.iter().map(|(name, call, limit, _)| watch(name, &format!("{call} > {limit}")) + "---\n").collect();
    let other = format!("{text}{}", watch("more", "load.one > 1000"));
    let (mut opened, mut closed) = (BTreeMap::new(), 0);
    for seed in 0..12 {
        let mut dice = Dice(seed);
        let mut w = World::new(&text);
        let (mut gauge, mut counter) = (Vec::new(), Vec::new());
        let mut live: BTreeMap<&str, bool> = BTreeMap::new();
        let (mut level, mut errors, mut unseen) = (50.0_f64, 0.0, 0);
        for second in 0..400 {
            match dice.roll(60) {
                0 => unseen = 1 + dice.roll(30),
                1 => {
                    w.disconnect("web1");
                    w.connect("web1");
                    w.merge("web1");
                }
                2 => w.push(if dice.roll(2) == 0 { &text } else { &other }),
                3 => errors = dice.roll(5) as f64,
                4 => {
                    let labels = Labels::new([("role", "web"), ("n", &dice.roll(9).to_string())]);
                    w.input(skynet_engine::Input::Labelled { server: server("web1"), labels });
                }
                _ => {}
            }
            level = (level + dice.roll(41) as f64 - 20.0).clamp(0.0, 100.0);
            errors += if dice.roll(60) < 30 { dice.roll(18) as f64 } else { 0.0 };
            w.set("web1", "load.one", level);
            w.set("web1", ETH, errors);
            let failing = &mut w.fakes.get_mut("web1").unwrap().failing;
            for sensor in ["load", "network"] {
                if unseen > 0 {
                    failing.insert(sensor.to_owned())
                } else {
                    failing.remove(sensor)
                };
            }
            w.run(1);
            if unseen > 0 {
                unseen -= 1;
                continue;
            }
            gauge.push((w.now, level));
            counter.push((w.now, errors));
            for (name, _, limit, span) in FUNCTIONS {
                let value = naive(name, span, if name == "rate" { &counter } else { &gauge }, w.now);
                let before = live.get(name) == Some(&true);
                // What is not known changes nothing.
                let expected = if value.is_nan() { before } else { value > limit };
                assert_eq!(w.is_live(name), expected, "seed {seed}, second {second}: {name} is {value}");
                *opened.entry(name).or_insert(0) += u32::from(expected && !before);
                closed += u32::from(before && !expected);
                live.insert(name, expected);
            }
        }
    }
    assert!(opened.len() == FUNCTIONS.len() && opened.values().all(|n| *n >= 5) && closed > 50, "{opened:?} {closed}");
}

#[test]
fn a_window_moves_on_with_each_sweep() {
    let mut w = World::new(&watch("peak", "max(cpu.busy_ratio, \"10s\") > 0.9"));
    w.set("web1", "cpu.busy_ratio", 0.1);
    w.run(10);
    w.set("web1", "cpu.busy_ratio", 0.95);
    w.run(1);
    assert_eq!(w.states(), [State::Observed]);
    // The value stays the same from here on: it is time that moves the peak out.
    w.set("web1", "cpu.busy_ratio", 0.1);
    w.run(10);
    assert_eq!(w.states(), [State::Observed], "ten seconds old");
    w.run(1);
    assert_eq!(w.states(), [State::Cleared]);
}

#[test]
fn a_window_is_unknown_while_its_series_is_and_then_holds_what_is_young_enough() {
    let mut w = World::new(&watch("busy", "avg(cpu.busy_ratio, \"30s\") > 0.5"));
    w.set("web1", "cpu.busy_ratio", 0.9);
    w.run(30);
    assert_eq!(w.states(), [State::Observed]);
    w.fakes.get_mut("web1").unwrap().failing.insert("cpu".to_owned());
    w.run(60);
    assert_eq!(w.states(), [State::Observed], "unknown clears nothing");
    w.fakes.get_mut("web1").unwrap().failing.clear();
    w.set("web1", "cpu.busy_ratio", 0.1);
    w.run(4);
    assert_eq!(w.states(), [State::Observed], "four samples are too few");
    w.run(1);
    assert_eq!(w.states(), [State::Cleared], "what was before is too old");

    w.set("web1", "cpu.busy_ratio", 0.9);
    w.run(60);
    assert!(w.is_live("busy"));
    w.fakes.get_mut("web1").unwrap().failing.insert("cpu".to_owned());
    w.run(10);
    w.fakes.get_mut("web1").unwrap().failing.clear();
    w.set("web1", "cpu.busy_ratio", 0.1);
    w.run(5);
    assert!(w.is_live("busy"), "fifteen young samples are high, five low");
    w.run(9);
    assert!(!w.is_live("busy"));
}

#[test]
fn late_readings_are_not_in_a_window() {
    let mut w = World::new(&watch("peak", "max(cpu.busy_ratio, \"60s\") > 0.9"));
    w.set("web1", "cpu.busy_ratio", 0.1);
    w.run(10);
    w.set("web1", "cpu.busy_ratio", 0.95);
    w.sweep("web1", "cpu", 3000);
    w.set("web1", "cpu.busy_ratio", 0.1);
    w.run(5);
    assert!(w.opened().is_empty());
}

#[test]
fn a_policy_change_keeps_the_windows_that_it_does_not_touch() {
    let mut w = World::new(&watch("busy", "avg(cpu.busy_ratio, \"1m\") > 0.5"));
    w.set("web1", "cpu.busy_ratio", 0.9);
    w.run(60);
    let other = format!(
        "{}---\n{}",
        watch("same", "avg(cpu.busy_ratio, \"60s\") > 0.6"),
        watch("new", "avg(cpu.busy_ratio, \"61s\") > 0.6")
    );
    w.push(&other);
    w.run(1);
    assert!(w.is_live("same"), "the same function and span over the same series");
    w.run(5);
    assert!(!w.is_live("new"), "too few samples");
    w.run(2);
    assert!(w.is_live("new"));
    // One that no scenario names any more is not kept.
    w.push(&watch("none", "load.one > 5"));
    w.push(&other);
    w.run(3);
    assert!(!w.is_live("same"));
}

#[test]
fn one_window_serves_all_scenarios_and_asks_for_its_past_once() {
    let text = format!(
        "{}---\n{}---\n{}",
        watch("a", "avg(cpu.busy_ratio, \"1m\") > 0.5 && avg(cpu.busy_ratio, \"60s\") < 0.8"),
        watch("b", "avg(cpu.busy_ratio, \"1m\") > 0.6"),
        watch("c", "highest(avg(cpu.busy_ratio, \"1m\")) > 0.6")
    );
    let mut w = World::new(&text);
    assert_eq!(w.feed("web1", &BTreeMap::new()), 0, "it has no sample yet");
    w.set("web1", "cpu.busy_ratio", 0.7);
    w.run(1);
    assert_eq!(w.feed("web1", &BTreeMap::new()), 1);
    w.run(10);
    assert_eq!(w.feed("web1", &BTreeMap::new()), 0);
    assert!(w.is_live("a") && w.is_live("b") && w.is_live("c"));
}

#[test]
fn after_a_restart_windows_are_filled_from_what_was_kept() {
    let text = watch("busy", "avg(cpu.busy_ratio, \"10m\") > 0.5")
        + "---\n"
        + &watch("errors", "rate(network.errors_total, \"10m\") > 0.5");
    for fed in [true, false] {
        let mut w = World::new(&text.replace("> 0.5", "> 50"));
        let mut known: BTreeMap<String, Vec<(i64, f64)>> = BTreeMap::new();
        for n in 0..120 {
            w.set("web1", "cpu.busy_ratio", 0.9);
            w.set("web1", ETH, f64::from(n));
            w.run(1);
            known.entry("cpu.busy_ratio".to_owned()).or_default().push((w.now, 0.9));
            known.entry(ETH.to_owned()).or_default().push((w.now, f64::from(n)));
        }
        w.restart_under(crate::world::policy(&text));
        w.pass(30);
        w.connect("web1");
        w.merge("web1");
        w.run(1);
        assert!(w.opened().is_empty());
        if fed {
            // What is too old, in no order, or in the window already, is passed over.
            known.get_mut(ETH).unwrap().insert(0, (1, 1e9));
            known.get_mut(ETH).unwrap().push((5000, 1e9));
            known.get_mut(ETH).unwrap().push((w.now, 1e9));
            assert_eq!(w.feed("web1", &known), 2);
            assert!(w.is_live("busy") && w.is_live("errors"), "one sweep is enough");
        }
        w.run(10);
        assert_eq!(w.is_live("busy"), fed, "without its past it would have to cover a minute first");
        w.run(60);
        assert!(w.is_live("busy"));
    }
}

#[test]
fn the_past_goes_to_where_the_wall_clock_was() {
    // The server's clock was set two hours ahead during the session: the history's times are of the new one.
    let text = watch("busy", "avg(cpu.busy_ratio, \"10m\") > 0.5");
    let mut w = World::new(&watch("other", "load.one > 5"));
    w.set("web1", "cpu.busy_ratio", 0.9);
    w.run(3);
    let hours = 7_200_000;
    w.push(&text);
    let id = server("web1");
    let sweep = |started: i64, boot: i64| skynet_engine::Sweep {
        sensor: "cpu",
        every: skynet_model::time::Span::seconds(1),
        started: skynet_model::time::Timestamp(started),
        started_boot_ms: boot,
        readings: &[(1, 0.9)],
        end: skynet_engine::SweepEnd::Complete,
    };
    let (now, boot) = (w.now, 10_000);
    w.call(|engine, at, out| engine.sweep(at, &id, &sweep(now + hours, boot), out));
    let past = (1..100).rev().map(|n| (now + hours - n * 1000, 0.9)).collect();
    assert_eq!(w.feed("web1", &BTreeMap::from([("cpu.busy_ratio".to_owned(), past)])), 1);
    assert!(w.is_live("busy"));
}

#[test]
fn a_process_that_is_gone_cures_its_window() {
    let mut w = World::new(&watch("runaway", "avg(process.cpu_ratio, \"10s\") > 0.5"));
    for by_retiring in [true, false] {
        w.set("web1", P7, 0.9);
        w.run(6);
        assert!(w.is_live("runaway"));
        assert_eq!(w.last().labels, Labels::new([("pid", "7")]));
        if by_retiring {
            w.retire("web1", P7)
        } else {
            w.remove("web1", P7)
        }
        w.run(1);
        assert!(!w.is_live("runaway"), "by retiring: {by_retiring}");
        // What comes back under the name of one that ended is another.
        if by_retiring {
            w.set("web1", P7, 0.9);
            w.run(4);
            assert!(!w.is_live("runaway"));
            w.retire("web1", P7);
        }
    }
    let mut w = World::new(&watch("full", "avg(disk.used_ratio, \"10s\") > 0.5"));
    w.set("web1", ROOT, 0.9);
    w.run(6);
    w.remove("web1", ROOT);
    w.run(60);
    assert!(w.is_live("full"), "a mount that is gone is unknown");
}

#[test]
fn where_chooses_the_label_sets_that_are_looked_back_over() {
    let mut w = World::new(&watch(
        "full",
        "avg(disk.used_ratio.where({\"mount\": \"/var\"}), \"10s\") > 0.5 && cpu.busy_ratio > 0",
    ));
    w.set("web1", "cpu.busy_ratio", 0.5);
    w.set("web1", ROOT, 0.9);
    w.run(20);
    assert!(w.opened().is_empty());
    w.set("web1", "disk.used_ratio{mount=\"/var\"}", 0.9);
    w.run(5);
    assert!(w.is_live("full"));
    assert_eq!(w.last().labels, Labels::default());
    assert_eq!(w.feed("web1", &BTreeMap::new()), 1, "the other mount has no window");
}

#[test]
fn windows_and_series_join_on_the_labels_they_share() {
    let mut w = World::new(&watch(
        "filling",
        "disk.used_ratio > 0.8 && delta(disk.used_ratio, \"10s\") > 0.05 && load.one > 1",
    ));
    w.set("web1", "load.one", 2.0);
    for n in 0..20 {
        w.set("web1", ROOT, 0.95);
        w.set("web1", "disk.used_ratio{mount=\"/var\"}", 0.7 + f64::from(n) * 0.01);
        w.run(1);
    }
    let opened = w.opened();
    assert_eq!(opened.iter().map(|i| i.labels.to_string()).collect::<Vec<_>>(), ["{mount=\"/var\"}"]);
}

#[test]
fn a_cure_is_proved_by_a_window_in_two_fresh_sweeps() {
    let text = "scenario: hot\nwhen: cpu.busy_ratio > 0.9\nmode: enforce\nrespond:\n  - do: service.restart\n    \
                with: { unit: x.service }\n    verify: 'avg(cpu.busy_ratio, \"6s\") < 0.5'\n    verify_within: 30s\n";
    let mut w = World::new(text);
    w.cures("web1", "service.restart", &[("cpu.busy_ratio", Some(0.1))]);
    w.set("web1", "cpu.busy_ratio", 0.2);
    w.run(10);
    w.set("web1", "cpu.busy_ratio", 0.95);
    w.run(1);
    assert_eq!(w.states(), [State::Acting], "the mean is low already, but no sweep after the step has said so");
    w.run(1);
    assert_eq!(w.states(), [State::Verifying], "one sweep is not enough");
    w.run(1);
    assert_eq!(w.states(), [State::Contained]);

    let mut w = World::new(&text.replace("mode:", "for: 10s\nmode:"));
    w.cures("web1", "service.restart", &[("cpu.busy_ratio", Some(0.1))]);
    w.set("web1", "cpu.busy_ratio", 0.95);
    w.run(11);
    assert_eq!(w.states(), [State::Verifying]);
    w.run(3);
    assert_eq!(w.states(), [State::Verifying], "the window has held what was before until now");
    w.run(1);
    assert_eq!(w.states(), [State::Contained]);
}

#[test]
fn an_incident_says_what_its_window_said_and_shows_what_it_read() {
    let text = "scenario: busy\nwhen: 'avg(cpu.busy_ratio, \"10s\") > 0.5 && load.one > 1'\nmode: observe\nsummary: \
                \"mean {{ value | round(2) }}\"\n";
    let mut w = World::new(text);
    w.set("web1", "load.one", 3.0);
    w.set("web1", "cpu.busy_ratio", 0.0);
    w.run(1);
    for n in 0..11 {
        w.set("web1", "cpu.busy_ratio", if n < 5 { 0.0 } else { 1.0 });
        w.run(1);
    }
    let incident = w.last();
    assert_eq!(incident.summary, "mean 0.55");
    let readings: Vec<String> = incident.readings.iter().map(|r| format!("{} {}", r.series, r.value)).collect();
    assert_eq!(readings, ["cpu.busy_ratio 1", "load.one 3"]);
}

#[test]
fn more_windows_than_are_kept_are_said_and_unknown() {
    let text = watch("a", "avg(process.cpu_ratio, \"10s\") > 0.5 && avg(process.cpu_ratio, \"20s\") > 0.5");
    let mut w = World::new(&text);
    for pid in 0..5003 {
        w.set("web1", &format!("process.cpu_ratio{{pid=\"{pid}\"}}"), 0.1);
    }
    w.sweep("web1", "process", 0);
    w.sweep("web1", "process", 0);
    let said: Vec<&str> = w
        .events
        .iter()
        .filter_map(|e| match &e.body {
            EventBody::Remark { topic, .. } => Some(topic.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(said, ["windows_capped"], "once");
}
