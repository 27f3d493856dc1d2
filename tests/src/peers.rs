//! `make bench-peers`: the same work through the monitoring systems of others, as Debian packages them, in the same run.
//! Everything listens on loopback, lives in a temporary folder, and is stopped when its figure is taken.
//!
//! A peer that is not installed is left out, and said. A new peer is one file here and one line in [`PEERS`].

mod alertmanager;
mod collectd;
mod exporter;
mod node_exporter;
mod prometheus;
mod scrape;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context;

use crate::bench::{Bench, Measure};

const PEERS: &[(&str, Measure)] = &[
    ("prometheus", prometheus::measure),
    ("alertmanager", alertmanager::measure),
    ("node_exporter", node_exporter::measure),
    ("collectd", collectd::measure),
];

/// What is compared: the ratio's name, ours, the peer's, and whether more is better.
const RATIOS: &[(&str, &str, &str, bool)] = &[
    (
        "ratio_readings_per_cpu_second_to_prometheus",
        "controller_readings_per_cpu_second",
        "peer_prometheus_readings_per_cpu_second",
        true,
    ),
    ("ratio_bytes_per_series_to_prometheus", "controller_bytes_per_series", "peer_prometheus_bytes_per_series", false),
    ("ratio_pss_to_prometheus", "controller_pss_mib", "peer_prometheus_pss_mib", false),
    (
        "ratio_effect_latency_p50_to_alertmanager",
        "effect_latency_p50_ms",
        "peer_alertmanager_effect_latency_p50_ms",
        false,
    ),
    ("ratio_agent_cpu_to_node_exporter", "agent_cpu_percent", "peer_node_exporter_cpu_percent", false),
    (
        "ratio_agent_cpu_every_1s_to_node_exporter",
        "agent_cpu_percent_every_1s",
        "peer_node_exporter_cpu_percent",
        false,
    ),
    ("ratio_agent_pss_to_node_exporter", "agent_pss_mib", "peer_node_exporter_pss_mib", false),
    ("ratio_wire_bytes_to_node_exporter", "wire_bytes_per_reading", "peer_node_exporter_wire_bytes_per_reading", false),
    ("ratio_agent_cpu_to_collectd", "agent_cpu_percent", "peer_collectd_cpu_percent", false),
    ("ratio_agent_cpu_every_1s_to_collectd", "agent_cpu_percent_every_1s", "peer_collectd_cpu_percent", false),
    ("ratio_agent_pss_to_collectd", "agent_pss_mib", "peer_collectd_pss_mib", false),
];

/// Measures every installed peer whose name is in `only`, or all, and prints the ratios to what the run knows of ours.
///
/// # Errors
/// How many could not be measured.
pub fn run(bench: &mut Bench, only: &[String]) -> anyhow::Result<()> {
    let measured = bench.run_all(PEERS, only);
    for (name, ours, peer, more) in RATIOS {
        bench.ratio(name, ours, peer, *more);
    }
    measured
}

/// A peer's process; ended when it is dropped.
#[derive(Debug)]
struct Peer {
    child: Child,
    log: PathBuf,
}

impl Peer {
    /// Starts a program with its output in a log.
    fn start(program: &Path, args: &[String], folder: &Path) -> anyhow::Result<Self> {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let log = folder.join(format!("{name}.log"));
        let file = std::fs::File::create(&log)?;
        let child = Command::new(program)
            .args(args)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        Ok(Self { child, log })
    }

    fn id(&self) -> u32 {
        self.child.id()
    }

    /// The log's end, for a message.
    fn log(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program of one of these paths; none, having said so: it is not installed.
fn installed(package: &str, paths: &[&str]) -> Option<PathBuf> {
    let found = paths.iter().map(PathBuf::from).find(|path| path.is_file());
    if found.is_none() {
        eprintln!("skynet-bench: {package} is not installed, so it is not measured; `make bench-peers` installs it");
    }
    found
}

fn free_port() -> anyhow::Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).context("finding a free port")?;
    Ok(listener.local_addr()?.port())
}
