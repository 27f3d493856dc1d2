//! `controller_readings_per_cpu_second` and `controller_pss_mib`: the whole controller process, from bytes on its sockets
//! to evaluated scenarios, under the load of many agents. At 20 ms (a million readings a second) the sessions are busy and
//! the figure is what readings cost; at 100 ms and at 1 s nearly every batch finds the process asleep, and the waking up
//! counts: those are figures of their own.

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
    let [busy, fast, slow] = [20, 100, 1000].map(Duration::from_millis);
    let (warm, long) = bench.pick((1, 4), (10, 40));
    let programs = bench.programs.clone();
    let result = super::runtime()?.block_on(async {
        let (mut stage, servers) = super::controller(&programs, SERVERS).await?;
        let gauge = Gauge::new(stage.controller_pid().context("the controller is gone")?);
        let mut load = super::load(&stage, &servers, SERIES, slow).await?;
        let at_1s = window(&load, &gauge, warm, long).await?;
        let few = (gauge.pss_bytes()?, load.stop().await?.acked);
        let mut load = super::load(&stage, &servers, SERIES, fast).await?;
        let at_100ms = window(&load, &gauge, warm, long).await?;
        let before = load.stop().await?;
        let mut load = super::load(&stage, &servers, SERIES, busy).await?;
        let at_20ms = window(&load, &gauge, warm, long).await?;
        let pss = gauge.pss_bytes()?;
        let stats = load.stop().await?;
        anyhow::ensure!(stats.lost_sessions == 0, "sessions were lost: {stats:?} {:?}", load.last_loss());
        stage.strike().await;
        anyhow::Ok((at_1s, at_100ms, at_20ms, few, (pss, few.1 + before.acked + stats.acked)))
    });
    let (at_1s, at_100ms, at_20ms, few, many) = result?;
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
    let name = "controller_readings_per_cpu_second";
    bench.figure(name, at_20ms.per_cpu_second(), "1/s", &note(&at_20ms, "every 20 ms"));
    let name = "controller_readings_per_cpu_second_every_100ms";
    bench.figure(name, at_100ms.per_cpu_second(), "1/s", &note(&at_100ms, "every 100 ms"));
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
