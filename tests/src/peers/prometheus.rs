//! `peer_prometheus_*`: Prometheus scraping as many servers and series as our controller is sent, with as many rules.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::exporter::Exporter;
use super::{Peer, free_port, installed};
use crate::bench::{Bench, runtime};
use crate::gauge::Gauge;

const SERVERS: usize = 200;
const SERIES: usize = 100;
const FEW: usize = 50;
const RULES: usize = 50;
const PATIENCE: Duration = Duration::from_secs(60);
/// The binary's places.
pub(super) const PATHS: [&str; 2] = ["/usr/bin/prometheus", "/usr/local/bin/prometheus"];

/// The conditions of our load's policy in PromQL, as near as it comes.
const SENT: [&str; 10] = [
    "cpu_busy_ratio > 2.#",
    "load_one > 40# and cpu_busy_ratio > 1.#",
    "memory_used_ratio > 1.# or swap_used_ratio > 40#",
    "disk_used_ratio > 1.#",
    "disk_used_ratio > 1.# and disk_free_bytes < 1#",
    "network_receive_drops_total < 0 - 1#",
    "service_up == 40# or service_failed > 40#",
    "pressure_cpu_some_ratio + pressure_io_some_ratio > 4.#",
    "exec_value{check=\"app0\"} < 0 - 1#",
    "memory_free_bytes / memory_total_bytes < 0 - 1#",
];
const UNSENT: [&str; 2] = ["process_cpu_ratio{name=\"no-such\"} > 4.#", "process_zombie_count > 10#"];

pub(super) fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    let Some(program) = installed("prometheus", &PATHS) else { return Ok(()) };
    let (warm, long) = bench.pick((5, 10), (15, 60));
    let runtime = runtime()?;
    let (readings, cpu, pss) = runtime.block_on(async {
        let rig = Rig::start(&program, SERIES, 2).await?;
        tokio::time::sleep(Duration::from_secs(warm)).await;
        let (pages, cpu) = (rig.exporter.pages(), rig.gauge.cpu_seconds()?);
        tokio::time::sleep(Duration::from_secs(long)).await;
        let (pages, cpu) = (rig.exporter.pages() - pages, rig.gauge.cpu_seconds()? - cpu);
        anyhow::Ok(((pages * SERIES as u64) as f64, cpu, rig.gauge.pss_bytes()?))
    })?;
    let note = format!(
        "{SERVERS} targets x {SERIES} series each second, {RULES} rules each second; {readings:.0} readings, {cpu:.2} CPU \
         seconds in {long} s"
    );
    bench.figure("peer_prometheus_readings_per_cpu_second", readings / cpu, "1/s", &note);
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    let note = format!("{SERVERS} targets x {SERIES} series, {} s of them", warm + long);
    bench.figure("peer_prometheus_pss_mib", mib(pss), "MiB", &note);

    let (many, sweeps) = bench.pick((300, 3), (1000, 60));
    let few_bytes = runtime.block_on(pss_after(&program, FEW, sweeps))?;
    let many_bytes = runtime.block_on(pss_after(&program, many, sweeps))?;
    let note = format!(
        "PSS with {SERVERS} targets x {FEW} series: {:.1} MiB, x {many}: {:.1} MiB; {sweeps} scrapes of each",
        mib(few_bytes),
        mib(many_bytes)
    );
    let value = (many_bytes - few_bytes) / (SERVERS * (many - FEW)) as f64;
    bench.figure("peer_prometheus_bytes_per_series", value, "bytes", &note);
    Ok(())
}

async fn pss_after(program: &Path, series: usize, sweeps: u64) -> anyhow::Result<f64> {
    let rig = Rig::start(program, series, sweeps).await?;
    rig.gauge.pss_bytes()
}

struct Rig {
    exporter: Exporter,
    gauge: Gauge,
    _prometheus: Peer,
    _folder: tempfile::TempDir,
}

impl Rig {
    /// Runs it until every target was scraped so often.
    async fn start(program: &Path, series: usize, sweeps: u64) -> anyhow::Result<Self> {
        let exporter = Exporter::start(SERVERS, series)?;
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("rules.yml"), rules())?;
        let mut text = String::from(
            "global: { scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }\nrule_files: [rules.yml]\n\
             scrape_configs:\n- job_name: load\n  static_configs:\n",
        );
        for n in 0..SERVERS {
            let address = exporter.address();
            writeln!(
                text,
                "  - {{ targets: ['{address}'], labels: {{ __metrics_path__: '/{n}', instance: 's{n}' }} }}"
            )?;
        }
        std::fs::write(folder.path().join("prometheus.yml"), text)?;
        let prometheus = Peer::start(program, &arguments(free_port()?), folder.path())?;
        let began = Instant::now();
        while exporter.pages() < SERVERS as u64 * sweeps {
            anyhow::ensure!(
                began.elapsed() < PATIENCE + Duration::from_secs(sweeps),
                "prometheus does not scrape: {}",
                prometheus.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let gauge = Gauge::new(prometheus.id());
        Ok(Self { exporter, gauge, _prometheus: prometheus, _folder: folder })
    }
}

/// Prometheus in its own folder.
pub(super) fn arguments(port: u16) -> Vec<String> {
    vec![
        "--config.file=prometheus.yml".to_owned(),
        "--storage.tsdb.path=data".to_owned(),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--log.level=warn".to_owned(),
    ]
}

fn rules() -> String {
    let mut text = String::from("groups:\n- name: load\n  rules:\n");
    for n in 1..=RULES {
        let expression = match n % 5 {
            0 | 1 => UNSENT[n % UNSENT.len()],
            _ => SENT[n % SENT.len()],
        };
        let expression = expression.replace('#', &n.to_string());
        // Writing into a text cannot fail.
        let _ = writeln!(text, "  - {{ alert: load_{n}, expr: '{expression}', for: 10s }}");
    }
    text
}
