//! `peer_alertmanager_effect_latency_*`: from a value that an exporter shows to a webhook that could act on it, through
//! Prometheus and Alertmanager at intervals of one second and no grouping wait.
//!
//! Unlike ours, it has the scrape's and the rules' interval in it: a system that pulls cannot be told of a reading.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::exporter::Exporter;
use super::{Peer, free_port, installed, prometheus};
use crate::bench::{Bench, percentile, runtime};

const PATHS: [&str; 2] = ["/usr/bin/prometheus-alertmanager", "/usr/local/bin/alertmanager"];
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    let Some(program) = installed("prometheus-alertmanager", &PATHS) else { return Ok(()) };
    let Some(pulling) = installed("prometheus", &prometheus::PATHS) else { return Ok(()) };
    let rounds = bench.pick(5, 30);
    let mut latencies = runtime()?.block_on(async {
        let exporter = Exporter::start(1, 10)?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let hook = listener.local_addr()?;
        let (told, mut calls) = mpsc::unbounded_channel::<(String, Instant)>();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, told.clone()));
            }
        });
        let folder = tempfile::tempdir()?;
        let (port, address) = (free_port()?, exporter.address());
        std::fs::write(
            folder.path().join("alertmanager.yml"),
            format!(
                "route: {{ receiver: hook, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 1h }}\n\
                 receivers:\n- name: hook\n  webhook_configs: [{{ url: 'http://{hook}/', send_resolved: true }}]\n"
            ),
        )?;
        std::fs::write(
            folder.path().join("prometheus.yml"),
            format!(
                "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [rules.yml]\n\
                 alerting: {{ alertmanagers: [{{ static_configs: [{{ targets: ['127.0.0.1:{port}'] }}] }}] }}\n\
                 scrape_configs: [{{ job_name: load, metrics_path: /0, static_configs: [{{ targets: ['{address}'] }}] }}]\n"
            ),
        )?;
        let rule = "groups: [{ name: fire, rules: [{ alert: fire, expr: 'exec_value{metric=\"fire\"} > 0' }] }]\n";
        std::fs::write(folder.path().join("rules.yml"), rule)?;
        let arguments = [
            "--config.file=alertmanager.yml".to_owned(),
            "--storage.path=alertmanager".to_owned(),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--cluster.listen-address=".to_owned(),
            "--log.level=warn".to_owned(),
        ];
        let alertmanager = Peer::start(&program, &arguments, folder.path())?;
        let prometheus = Peer::start(&pulling, &prometheus::arguments(free_port()?), folder.path())?;
        let began = Instant::now();
        while exporter.pages() < 3 {
            anyhow::ensure!(began.elapsed() < PATIENCE, "prometheus does not scrape: {}", prometheus.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let mut latencies = Vec::new();
        for round in 0..rounds {
            // Not in step with its ticks.
            tokio::time::sleep(Duration::from_millis(137 * (round % 7))).await;
            let began = Instant::now();
            for (value, status) in [(1, "\"firing\""), (0, "\"resolved\"")] {
                exporter.fire(value);
                let call = async {
                    while let Some((body, at)) = calls.recv().await {
                        if body.contains(status) {
                            return Some(at);
                        }
                    }
                    None
                };
                let at = tokio::time::timeout(PATIENCE, call).await.ok().flatten();
                let at = at.ok_or_else(|| anyhow::anyhow!("no webhook call: {}", alertmanager.log()))?;
                if value == 1 {
                    latencies.push((at - began).as_secs_f64() * 1000.0);
                }
            }
        }
        anyhow::Ok(latencies)
    })?;
    latencies.sort_by(f64::total_cmp);
    let note = format!(
        "{} firings: value shown -> webhook called; scrape and rules each second, no grouping wait; nothing acted on yet",
        latencies.len()
    );
    bench.figure("peer_alertmanager_effect_latency_p50_ms", percentile(&latencies, 50), "ms", &note);
    bench.figure("peer_alertmanager_effect_latency_p99_ms", percentile(&latencies, 99), "ms", &note);
    Ok(())
}

/// Takes calls one after another and says when their bodies were there.
async fn answer(mut stream: tokio::net::TcpStream, told: mpsc::UnboundedSender<(String, Instant)>) {
    let (mut got, mut block) = (Vec::new(), vec![0; 16 << 10]);
    while let Ok(n) = stream.read(&mut block).await {
        if n == 0 || got.len() > 1 << 20 {
            return;
        }
        got.extend_from_slice(&block[..n]);
        let Some(end) = got.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&got[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
        let whole = end + 4 + length.unwrap_or(0);
        if got.len() >= whole {
            let _ = told.send((String::from_utf8_lossy(&got[end + 4..whole]).into_owned(), Instant::now()));
            got.drain(..whole);
            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_err() {
                return;
            }
        }
    }
}
