//! `conditions_per_second_{threshold,window,fold,aggregate}`: how many conditions of each kind the engine evaluates in a
//! CPU second, readings taken in and all; `reading_cost_ns_{50,500,5000}_scenarios`: what one reading costs when only 20 of
//! so many scenarios use its series.

use std::hint::black_box;
use std::sync::Arc;

use skynet_engine::{Engine, Input, Sweep, SweepEnd};
use skynet_model::name::ServerId;
use skynet_model::policy::{File, MAX_DOCUMENTS, load};
use skynet_model::series::{Labels, SeriesKey};
use skynet_model::time::{Span, Timestamp};

use super::Bench;
use crate::gauge::own_cpu_seconds;

const SERVERS: usize = 20;
/// Label sets of the one series that is read.
const SERIES: u32 = 100;
/// Scenarios that use it, where most use others.
const USING: usize = 20;
const PROFILE: &str = "profile: all\nmatch: { bench: \"yes\" }\nsensors: [disk, memory, load]\n";

/// What is evaluated, how often for each sweep of one server, and in words.
const KINDS: [(&str, &str, f64, &str); 4] = [
    ("threshold", "when: disk.used_ratio > 0.9", SERIES as f64, "one comparison for each reading"),
    ("window", "when: avg(disk.used_ratio, \"5m\") > 0.9", SERIES as f64, "one window of 5 min for each reading"),
    ("fold", "when: highest(disk.used_ratio) > 0.9", 1.0, "one fold of 100 label sets for each sweep"),
    (
        "aggregate",
        "scope: fleet\nwhere: { bench: \"yes\" }\nwhen: servers.share(highest(disk.used_ratio) > 0.9) > 0.5",
        1.0,
        "one aggregate over 20 servers, each a fold of 100 label sets, for each sweep of one of them",
    ),
];

pub(super) fn by_kind(bench: &mut Bench) -> anyhow::Result<()> {
    for (kind, text, each, what) in KINDS {
        let mut fleet = Fleet::new(vec![format!("{PROFILE}---\nscenario: s\n{text}\n")])?;
        let rounds = bench.pick(300, 3000);
        let seconds = fleet.run(rounds);
        let evaluations = f64::from(rounds) * SERVERS as f64 * each;
        let note = format!("{what}; {SERVERS} servers x {SERIES} series, taking readings in is part of it");
        bench.figure(&format!("conditions_per_second_{kind}"), evaluations / seconds, "1/s", &note);
    }
    Ok(())
}

pub(super) fn by_number(bench: &mut Bench) -> anyhow::Result<()> {
    for scenarios in [50_usize, 500, 5000] {
        // The profile is a document too.
        let number = scenarios.min(MAX_DOCUMENTS - 1);
        let mut texts = vec![PROFILE.to_owned()];
        for first in (0..number).step_by(1000) {
            let of = |n: usize| match n {
                n if n < USING => format!("scenario: s{n}\nwhen: disk.used_ratio > 0.9{n}\n"),
                n if n.is_multiple_of(2) => format!("scenario: s{n}\nwhen: memory.used_ratio > 0.9{n}\n"),
                n => format!("scenario: s{n}\nwhen: load.one > {n}\n"),
            };
            let documents: Vec<String> = (first..number.min(first + 1000)).map(of).collect();
            texts.push(documents.join("---\n"));
        }
        let mut fleet = Fleet::new(texts)?;
        let rounds = bench.pick(100, 1000);
        let seconds = fleet.run(rounds);
        let readings = f64::from(rounds) * SERVERS as f64 * f64::from(SERIES);
        let note = format!("{number} scenarios, of which {USING} use the series and are evaluated; {SERVERS} servers");
        bench.figure(&format!("reading_cost_ns_{scenarios}_scenarios"), seconds * 1e9 / readings, "ns", &note);
    }
    Ok(())
}

/// Servers that are connected and have said which series they have.
struct Fleet {
    engine: Engine,
    servers: Vec<ServerId>,
    now: Timestamp,
}

impl Fleet {
    fn new(texts: Vec<String>) -> anyhow::Result<Self> {
        let file = |(n, text): (usize, String)| File { name: format!("{n:02}.yaml"), text };
        let files: Vec<File> = texts.into_iter().enumerate().map(file).collect();
        let policy =
            load(&files, skynet_node::catalogue()).map_err(|e| anyhow::anyhow!("the policy: {:?}", e.first()))?;
        let (mut engine, now, mut out) = (Engine::new(), Timestamp(1_000_000), Vec::new());
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
                let series = SeriesKey::new("disk.used_ratio", [("mount", format!("/{id}"))]);
                engine.handle(now, Input::Announced { server: server.clone(), id, series }, &mut out);
            }
        }
        Ok(Self { engine, servers, now })
    }

    /// Sweeps a second apart, each value another; gives the CPU seconds they took.
    fn run(&mut self, rounds: u32) -> f64 {
        let (mut readings, mut out) = ((1..=SERIES).map(|id| (id, 0.5)).collect::<Vec<(u32, f64)>>(), Vec::new());
        // Some rounds beforehand, so that windows hold enough to answer.
        let mut begun = 0.0;
        for round in 0..rounds + 60 {
            if round == 60 {
                begun = own_cpu_seconds();
            }
            self.now = self.now.plus(Span::seconds(1));
            for (id, value) in &mut readings {
                *value = f64::from((*id + round) % 80) / 100.0;
            }
            for server in &self.servers {
                let sweep = Sweep {
                    sensor: "disk",
                    every: Span::seconds(1),
                    started: self.now,
                    started_boot_ms: self.now.0,
                    readings: &readings,
                    end: SweepEnd::Complete,
                };
                self.engine.sweep(self.now, server, &sweep, &mut out);
            }
        }
        black_box(out);
        own_cpu_seconds() - begun
    }
}
