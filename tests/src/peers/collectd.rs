//! `peer_collectd_*`: collectd with the plugins that read what our default sensors read, each second, sent by its own
//! network plugin.

use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::{Peer, installed};
use crate::bench::{Bench, runtime};
use crate::gauge::Gauge;

const PATHS: [&str; 2] = ["/usr/sbin/collectd", "/usr/local/sbin/collectd"];
const PLUGINS: [&str; 7] = ["cpu", "load", "memory", "swap", "interface", "df", "processes"];
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    let Some(program) = installed("collectd-core", &PATHS) else { return Ok(()) };
    let long = Duration::from_secs(bench.pick(10, 60));
    let (cpu, pss, bytes, seconds) = runtime()?.block_on(async {
        let folder = tempfile::tempdir()?;
        let socket = UdpSocket::bind(("127.0.0.1", 0)).await?;
        let port = socket.local_addr()?.port();
        let dir = folder.path().display();
        let mut text = format!(
            "Hostname \"bench\"\nFQDNLookup false\nInterval 1\nBaseDir \"{dir}\"\nPIDFile \"{dir}/pid\"\n\
             TypesDB \"/usr/share/collectd/types.db\"\nReadThreads 1\nWriteThreads 1\n"
        );
        for plugin in PLUGINS {
            text.push_str(&format!("LoadPlugin {plugin}\n"));
        }
        text.push_str(&format!("LoadPlugin network\n<Plugin network>\n  Server \"127.0.0.1\" \"{port}\"\n</Plugin>\n"));
        let config = folder.path().join("collectd.conf");
        std::fs::write(&config, text)?;
        let arguments = ["-f".to_owned(), "-C".to_owned(), config.display().to_string()];
        let collectd = Peer::start(&program, &arguments, folder.path())?;
        let gauge = Gauge::new(collectd.id());
        let mut packet = vec![0; 64 << 10];
        // The first packets: it reads.
        for _ in 0..3 {
            let received = tokio::time::timeout(PATIENCE, socket.recv(&mut packet)).await;
            anyhow::ensure!(matches!(received, Ok(Ok(_))), "collectd sends nothing: {}", collectd.log());
        }
        let (began, cpu) = (Instant::now(), gauge.cpu_seconds()?);
        let mut bytes = 0;
        while let Ok(received) = tokio::time::timeout_at(began + long, socket.recv(&mut packet)).await {
            bytes += received?;
        }
        anyhow::Ok((gauge.cpu_seconds()? - cpu, gauge.pss_bytes()?, bytes, began.elapsed().as_secs_f64()))
    })?;
    let note = format!(
        "{} plugins each second for {seconds:.0} s, {:.0} bytes a second sent as UDP, neither sealed nor acknowledged",
        PLUGINS.len(),
        bytes as f64 / seconds
    );
    bench.figure("peer_collectd_cpu_percent", cpu / seconds * 100.0, "%", &note);
    bench.figure("peer_collectd_pss_mib", pss / f64::from(1 << 20), "MiB", "at the end of that window");
    Ok(())
}
