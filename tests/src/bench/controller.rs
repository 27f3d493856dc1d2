//! `controller_readings_per_cpu_second` and `controller_pss_mib`: the whole controller process, from bytes on its sockets
//! to evaluated scenarios, under the load of many agents.

use std::time::Duration;

use anyhow::Context;

use super::Bench;
use crate::gauge::Gauge;

const SERVERS: usize = 200;
const SERIES: usize = 100;

/// What one window showed.
struct Window {
    readings: f64,
    cpu: f64,
    seconds: f64,
}

impl Window {
    fn per_cpu_second(&self) -> f64 {
        self.readings / self.cpu
    }
}

pub(super) fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    let (fast, slow) = (Duration::from_millis(100), Duration::from_secs(1));
    let (warm, long) = bench.pick((1, 5), (10, 60));
    let programs = bench.programs.clone();
    let result = super::runtime()?.block_on(async {
        let (mut stage, servers) = super::controller(&programs, SERVERS).await?;
        let gauge = Gauge::new(stage.controller_pid().context("the controller is gone")?);
        let mut load = super::load(&stage, &servers, SERIES, slow).await?;
        let at_1s = window(&load, &gauge, warm, long).await?;
        load.stop().await?;
        let mut load = super::load(&stage, &servers, SERIES, fast).await?;
        let at_100ms = window(&load, &gauge, warm, long).await?;
        let (pss, stats) = (gauge.pss_bytes()?, load.stats());
        anyhow::ensure!(stats.lost_sessions == 0, "sessions were lost: {stats:?} {:?}", load.last_loss());
        load.stop().await?;
        stage.strike().await;
        anyhow::Ok((at_1s, at_100ms, pss, stats))
    });
    let (at_1s, at_100ms, pss, stats) = result?;
    let scenarios = crate::load::SCENARIOS;
    let note = format!(
        "{SERVERS} agents x {SERIES} series, {scenarios} scenarios, 30 of them on series sent; every 100 ms: {:.0} \
         readings acknowledged a second, {:.2} CPU seconds in {:.0} s; at 1 s: {:.0} readings a CPU second, {:.2} CPU \
         seconds in {:.0} s",
        at_100ms.readings / at_100ms.seconds,
        at_100ms.cpu,
        at_100ms.seconds,
        at_1s.per_cpu_second(),
        at_1s.cpu,
        at_1s.seconds,
    );
    bench.figure("controller_readings_per_cpu_second", at_100ms.per_cpu_second(), "1/s", &note);
    let note = format!(
        "{SERVERS} servers x {SERIES} series, {} readings of each series in the history",
        stats.acked / (SERVERS * SERIES) as u64
    );
    bench.figure("controller_pss_mib", pss / f64::from(1 << 20), "MiB", &note);
    Ok(())
}

async fn window(load: &crate::load::Load, gauge: &Gauge, warm: u64, long: u64) -> anyhow::Result<Window> {
    tokio::time::sleep(Duration::from_secs(warm)).await;
    let (began, before, cpu) = (tokio::time::Instant::now(), load.stats().acked, gauge.cpu_seconds()?);
    tokio::time::sleep(Duration::from_secs(long)).await;
    let (cpu, after) = (gauge.cpu_seconds()? - cpu, load.stats().acked);
    Ok(Window { readings: (after - before) as f64, cpu, seconds: began.elapsed().as_secs_f64() })
}
