//! `make bench`: one JSON line a figure. CPU seconds, not wall time; compare ratios within one run.

use std::hint::black_box;
use std::sync::Arc;

use skynet_engine::{Engine, Input, Sweep, SweepEnd};
use skynet_model::condition::Condition;
use skynet_model::name::ServerId;
use skynet_model::policy::{File, load};
use skynet_model::series::{Labels, SeriesKey};
use skynet_model::time::{Span, Timestamp};

const SERVERS: usize = 20;
const SERIES: u32 = 100;
const SCENARIOS: usize = 50;

fn main() {
    conditions();
    engine();
}

fn figure(name: &str, value: f64, unit: &str, note: &str) {
    println!("{}", serde_json::json!({ "figure": name, "value": value, "unit": unit, "note": note }));
}

/// CPU time of this process so far, seconds.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn conditions() {
    let source = "disk.used_ratio > 0.8 && disk.free_bytes < 5000000000 || disk.inodes_used_ratio > 0.95";
    let condition = Condition::compile(source, skynet_node::catalogue()).expect("the condition compiles");
    let rounds = 5_000_000_u32;
    let begun = cpu_seconds();
    for n in 0..rounds {
        let values = [f64::from(n % 100) / 100.0, 4e9, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0];
        black_box(condition.eval(black_box(&values[..condition.slots().len()])));
    }
    let per_second = f64::from(rounds) / (cpu_seconds() - begun);
    figure("condition_evaluations_per_cpu_second", per_second.round(), "1/s", "three series, three comparisons");
}

fn engine() {
    let mut text = String::from("fleet: bench\n---\nprofile: all\nmatch: { bench: \"yes\" }\nsensors: [disk]\n");
    for n in 0..SCENARIOS {
        text.push_str(&format!("---\nscenario: s{n}\nwhen: disk.used_ratio > 0.9{n} && label.mount == \"/{n}\"\n"));
    }
    let files = [File { name: "bench.yaml".to_owned(), text }];
    let policy = load(&files, skynet_node::catalogue()).expect("the policy loads");
    let mut engine = Engine::new();
    let (mut now, mut out) = (Timestamp(1_000_000), Vec::new());
    engine.start(now, 1);
    engine.set_policy(now, 1, Arc::new(policy), &mut out);
    let servers: Vec<ServerId> = (0..SERVERS).map(|n| ServerId::new(&format!("s{n}")).expect("a name")).collect();
    for server in &servers {
        let labels = Labels::new([("bench", "yes")]);
        engine.handle(now, Input::Labelled { server: server.clone(), labels }, &mut out);
        let (boot, version) = (String::new(), String::new());
        engine.handle(now, Input::Connected { server: server.clone(), boot, version }, &mut out);
        engine.handle(now, Input::Inventory { server: server.clone(), entries: Vec::new() }, &mut out);
        for id in 1..=SERIES {
            let series = SeriesKey::new("disk.used_ratio", [("mount", format!("/{}", id - 1))]);
            engine.handle(now, Input::Announced { server: server.clone(), id, series }, &mut out);
        }
    }
    out.clear();
    let rounds = 1000_u32;
    let mut readings: Vec<(u32, f64)> = (1..=SERIES).map(|id| (id, 0.5)).collect();
    let begun = cpu_seconds();
    for round in 0..rounds {
        now = now.plus(Span::seconds(1));
        for (id, value) in &mut readings {
            *value = f64::from((*id + round) % 80) / 100.0;
        }
        for server in &servers {
            let sweep = Sweep {
                sensor: "disk",
                every: Span::seconds(1),
                started: now,
                started_boot_ms: now.0,
                readings: &readings,
                end: SweepEnd::Complete,
            };
            engine.sweep(now, server, &sweep, &mut out);
        }
    }
    let count = f64::from(rounds) * SERVERS as f64 * f64::from(SERIES);
    let note = format!("engine alone, one thread: {SERVERS} servers x {SERIES} series, {SCENARIOS} scenarios");
    figure("engine_readings_per_cpu_second", (count / (cpu_seconds() - begun)).round(), "1/s", &note);
    black_box(out);
}
