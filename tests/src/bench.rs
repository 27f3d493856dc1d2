//! `make bench`: the figures that say what Skynet costs, one JSON line each. CPU seconds and bytes, not wall time: compare
//! ratios within one run. What a figure means and what it was: docs/performance.md.
//!
//! A new figure is one file here and one line in `FIGURES`.

mod agent;
mod agents;
mod condition;
mod conditions;
mod controller;
mod day;
mod engine;
mod history;
mod latency;
mod redis;
mod series;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;

use crate::Stage;
use crate::load::Load;

pub(crate) type Measure = fn(&mut Bench) -> anyhow::Result<()>;

/// Every group of figures, by the name `--only` takes, in the order they are measured.
const FIGURES: &[(&str, Measure)] = &[
    ("condition", condition::measure),
    ("engine", engine::measure),
    ("conditions", conditions::by_kind),
    ("scenarios", conditions::by_number),
    ("history", history::measure),
    ("controller", controller::measure),
    ("series", series::measure),
    ("day", day::measure),
    ("agents", agents::measure),
    ("latency", latency::measure),
    ("agent", agent::measure),
    ("redis", redis::measure),
];

/// What is measured, and where what was measured goes.
#[derive(Debug)]
pub struct Bench {
    /// A first value of each, within a minute.
    pub quick: bool,
    /// The folder of the programs that are measured.
    pub programs: PathBuf,
    known: BTreeMap<String, f64>,
}

impl Bench {
    /// Nothing measured yet.
    #[must_use]
    pub fn new(quick: bool, programs: PathBuf) -> Self {
        Self { quick, programs, known: BTreeMap::new() }
    }

    /// Measures the groups whose names are in `only`, or all. One that fails is told, and the others go on.
    ///
    /// # Errors
    /// How many failed.
    pub fn run(&mut self, only: &[String]) -> anyhow::Result<()> {
        self.run_all(FIGURES, only)
    }

    pub(crate) fn run_all(&mut self, groups: &[(&str, Measure)], only: &[String]) -> anyhow::Result<()> {
        let mut failed = Vec::new();
        for (name, measure) in groups.iter().filter(|(name, _)| only.is_empty() || only.iter().any(|o| o == name)) {
            if let Err(error) = measure(self) {
                eprintln!("skynet-bench: {name}: {error:#}");
                failed.push(*name);
            }
        }
        anyhow::ensure!(failed.is_empty(), "not measured: {}", failed.join(", "));
        Ok(())
    }

    /// Prints a figure, and remembers it for ratios.
    pub fn figure(&mut self, name: &str, value: f64, unit: &str, note: &str) {
        // Four digits that mean something; the rest is noise.
        let digits = if value.abs() >= 1000.0 { 0 } else { 4 - (value.abs().max(1e-9).log10().floor() as i32 + 1) };
        let scale = 10f64.powi(digits);
        let value = (value * scale).round() / scale;
        let text = |text: &str| serde_json::Value::from(text).to_string();
        println!("{{\"figure\":{},\"value\":{value},\"unit\":{},\"note\":{}}}", text(name), text(unit), text(note));
        self.known.insert(name.to_owned(), value);
    }

    /// Prints how many times better ours is than a peer's of the same run, where both were measured.
    pub fn ratio(&mut self, name: &str, ours: &str, peer: &str, more_is_better: bool) {
        let (Some(our_value), Some(peer_value)) = (self.known.get(ours), self.known.get(peer)) else { return };
        let times = if more_is_better { our_value / peer_value } else { peer_value / our_value };
        self.figure(name, times, "x", &format!("{ours} against {peer}, of this run; above 1 ours is better"));
    }

    /// Short in a quick run, else long.
    #[must_use]
    pub fn pick<T>(&self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }
}

pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting a runtime")
}

/// The middle and the 99th of a hundred.
pub(crate) fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

/// A controller with so many servers under the load's policy, and nothing connected.
async fn controller(programs: &std::path::Path, servers: usize) -> anyhow::Result<(Stage, Vec<String>)> {
    let names: Vec<String> = (0..servers).map(|n| format!("s{n}")).collect();
    let refs: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut stage = Stage::set_with(programs, &refs).await?;
    stage.start_controller().await?;
    stage.push(1, &crate::load::policy(crate::load::SCENARIOS)).await?;
    Ok((stage, names))
}

/// How long many sessions may take to come up.
const CONNECT: Duration = Duration::from_secs(60);

async fn load(stage: &Stage, servers: &[String], series: usize, every: Duration) -> anyhow::Result<Load> {
    let load = Load::start(crate::load::LoadConfig {
        controller: stage.address(),
        certs: stage.dir().join("certs"),
        servers: servers.to_vec(),
        series,
        every,
        cures: true,
        seed: 1,
    })?;
    load.connected(CONNECT).await?;
    Ok(load)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((percentile(&hundred, 50), percentile(&hundred, 99)), (50.0, 99.0));
        assert_eq!((percentile(&[7.0], 50), percentile(&[7.0], 99)), (7.0, 7.0));
        assert!(percentile(&[], 50).is_nan());
    }

    #[test]
    fn a_ratio_is_of_two_figures_of_the_run_and_above_one_when_ours_is_better() {
        let mut bench = Bench::new(true, PathBuf::new());
        bench.figure("ours", 2.0, "s", "");
        bench.ratio("none", "ours", "theirs", false);
        assert!(!bench.known.contains_key("none"));
        bench.figure("theirs", 8.0, "s", "");
        bench.ratio("less", "ours", "theirs", false);
        bench.ratio("more", "ours", "theirs", true);
        assert_eq!((bench.known["less"], bench.known["more"]), (4.0, 0.25));
    }

    #[test]
    fn a_group_that_fails_does_not_stop_the_next() {
        let mut bench = Bench::new(true, PathBuf::new());
        let groups: [(&str, Measure); 3] = [
            ("bad", |_| anyhow::bail!("no")),
            ("good", |bench| {
                bench.figure("one", 1.0, "", "");
                Ok(())
            }),
            ("other", |_| unreachable!("it was not asked for")),
        ];
        let error = bench.run_all(&groups, &["bad".to_owned(), "good".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("bad"));
        assert_eq!(bench.known["one"], 1.0);
    }
}
