//! `controller_readings_per_cpu_second` and `controller_pss_mib`: the whole controller process, from bytes on its sockets
//! to evaluated scenarios, under the load of many agents. At 100 ms the sessions are busy and the figure is what readings
//! cost; at 1 s (`controller_readings_per_cpu_second_every_1s`) every batch finds the process asleep.

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
        let few = (gauge.pss_bytes()?, load.stop().await?.acked);
        let mut load = super::load(&stage, &servers, SERIES, fast).await?;
        let at_100ms = window(&load, &gauge, warm, long).await?;
        let pss = gauge.pss_bytes()?;
        let stats = load.stop().await?;
        anyhow::ensure!(stats.lost_sessions == 0, "sessions were lost: {stats:?} {:?}", load.last_loss());
        stage.strike().await;
        anyhow::Ok((at_1s, at_100ms, few, (pss, few.1 + stats.acked)))
    });
    let (at_1s, at_100ms, few, many) = result?;
    let scenarios = crate::load::SCENARIOS;
    let note = |window: &Window, pace: &str| {
        format!(
            "{SERVERS} agents x {SERIES} series {pace}, {scenarios} scenarios, 30 of them on series sent; {:.0} readings \
             acknowledged a second, {:.2} CPU seconds in {:.0} s",
            window.readings / window.seconds,
            window.cpu,
            window.seconds,
        )
    };
    bench.figure(
        "controller_readings_per_cpu_second",
        at_100ms.per_cpu_second(),
        "1/s",
        &note(&at_100ms, "every 100 ms"),
    );
    let (name, note) = ("controller_readings_per_cpu_second_every_1s", note(&at_1s, "every second"));
    bench.figure(name, at_1s.per_cpu_second(), "1/s", &note);
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    let each = |readings: u64| readings / (SERVERS * SERIES) as u64;
    let note = format!(
        "{SERVERS} servers x {SERIES} series at 1 s, {} readings of each in the history; {:.1} MiB with {} of each",
        each(few.1),
        mib(many.0),
        each(many.1)
    );
    bench.figure("controller_pss_mib", mib(few.0), "MiB", &note);
    Ok(())
}

async fn window(load: &crate::load::Load, gauge: &Gauge, warm: u64, long: u64) -> anyhow::Result<Window> {
    tokio::time::sleep(Duration::from_secs(warm)).await;
    let (began, before, cpu) = (tokio::time::Instant::now(), load.stats().acked, gauge.cpu_seconds()?);
    tokio::time::sleep(Duration::from_secs(long)).await;
    let (cpu, after) = (gauge.cpu_seconds()? - cpu, load.stats().acked);
    Ok(Window { readings: (after - before) as f64, cpu, seconds: began.elapsed().as_secs_f64() })
}
