//! `engine_readings_per_cpu_second`: the engine alone, on one thread, without wire, history and journal.

use std::hint::black_box;
use std::sync::Arc;

use skynet_engine::{Engine, Input, Sweep, SweepEnd};
use skynet_model::name::ServerId;
use skynet_model::policy::{File, load};
use skynet_model::series::{Labels, SeriesKey};
use skynet_model::time::{Span, Timestamp};

use super::Bench;
use crate::gauge::own_cpu_seconds;

const SERVERS: usize = 20;
const SERIES: u32 = 100;
const SCENARIOS: usize = 50;

pub(super) fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    let mut text = String::from("fleet: bench\n---\nprofile: all\nmatch: { bench: \"yes\" }\nsensors: [disk]\n");
    for n in 0..SCENARIOS {
        text.push_str(&format!("---\nscenario: s{n}\nwhen: disk.used_ratio > 0.9{n} && label.mount == \"/{n}\"\n"));
    }
    let files = [File { name: "bench.yaml".to_owned(), text }];
    let policy = load(&files, skynet_node::catalogue()).map_err(|e| anyhow::anyhow!("the policy: {e:?}"))?;
    let mut engine = Engine::new();
    let (mut now, mut out) = (Timestamp(1_000_000), Vec::new());
    engine.start(now, 1);
    engine.set_policy(now, 1, Arc::new(policy), &mut out);
    let servers = (0..SERVERS).map(|n| ServerId::new(&format!("s{n}"))).collect::<Result<Vec<_>, _>>()?;
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
    let rounds = bench.pick(300_u32, 3000);
    let mut readings: Vec<(u32, f64)> = (1..=SERIES).map(|id| (id, 0.5)).collect();
    let begun = own_cpu_seconds();
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
    bench.figure("engine_readings_per_cpu_second", count / (own_cpu_seconds() - begun), "1/s", &note);
    black_box(out);
    Ok(())
}
