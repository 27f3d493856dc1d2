//! `peer_node_exporter_*`: node_exporter with the collectors that read what our default sensors read, scraped each second.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::scrape::Scraper;
use super::{Peer, free_port, installed};
use crate::bench::{Bench, runtime};
use crate::gauge::Gauge;

const PATHS: [&str; 3] =
    ["/usr/bin/prometheus-node-exporter", "/usr/bin/node_exporter", "/usr/local/bin/node_exporter"];
/// cpu, load, memory (with swap and pressure), network, disk, process: what our defaults read.
const COLLECTORS: [&str; 9] =
    ["cpu", "loadavg", "meminfo", "vmstat", "pressure", "netdev", "filesystem", "stat", "processes"];
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    let Some(program) = installed("prometheus-node-exporter", &PATHS) else { return Ok(()) };
    let scrapes = bench.pick(10, 60);
    let (cpu, pss, bytes, readings, seconds) = runtime()?.block_on(async {
        let folder = tempfile::tempdir()?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let mut arguments = vec![
            format!("--web.listen-address={address}"),
            "--collector.disable-defaults".to_owned(),
            "--web.disable-exporter-metrics".to_owned(),
        ];
        arguments.extend(COLLECTORS.iter().map(|name| format!("--collector.{name}")));
        let exporter = Peer::start(&program, &arguments, folder.path())?;
        let began = Instant::now();
        let mut scraper = loop {
            match Scraper::connect(address).await {
                Ok(scraper) => break scraper,
                Err(_) if began.elapsed() < PATIENCE => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(error) => anyhow::bail!("node_exporter does not come up: {error}\n{}", exporter.log()),
            }
        };
        let page = String::from_utf8(scraper.get(false).await?)?;
        let readings = page.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
        let gauge = Gauge::new(exporter.id());
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        // The first second is for what is set up once.
        for _ in 0..2 {
            tick.tick().await;
            scraper.get(true).await?;
        }
        let (began, cpu, bytes) = (Instant::now(), gauge.cpu_seconds()?, scraper.bytes);
        for _ in 0..scrapes {
            tick.tick().await;
            scraper.get(true).await?;
        }
        let (cpu, seconds) = (gauge.cpu_seconds()? - cpu, began.elapsed().as_secs_f64());
        let bytes = (scraper.bytes - bytes) as f64 / (scrapes * readings) as f64;
        anyhow::Ok((cpu, gauge.pss_bytes()?, bytes, readings, seconds))
    })?;
    let note = format!("{} collectors, {readings} readings, scraped each second for {seconds:.0} s", COLLECTORS.len());
    bench.figure("peer_node_exporter_cpu_percent", cpu / seconds * 100.0, "%", &note);
    bench.figure("peer_node_exporter_pss_mib", pss / f64::from(1 << 20), "MiB", "at the end of that window");
    let note = "gzip, HTTP/1.1 over a kept connection, no TLS; TCP and IP out";
    bench.figure("peer_node_exporter_wire_bytes_per_reading", bytes, "bytes", note);
    Ok(())
}
