//! `controller_bytes_per_series`: how the controller's memory grows from few to many series, with as many sessions.

use std::time::Duration;

use anyhow::Context;

use super::Bench;
use crate::gauge::Gauge;

const SERVERS: usize = 200;
const FEW: usize = 50;
const EVERY: Duration = Duration::from_secs(1);

pub(super) fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    let (many, sweeps) = bench.pick((300, 3), (1000, 60));
    let programs = bench.programs.clone();
    let runtime = super::runtime()?;
    let few_bytes = runtime.block_on(pss(&programs, FEW, sweeps))?;
    let many_bytes = runtime.block_on(pss(&programs, many, sweeps))?;
    let value = (many_bytes - few_bytes) / (SERVERS * (many - FEW)) as f64;
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    let note = format!(
        "PSS with {SERVERS} servers x {FEW} series: {:.1} MiB, x {many}: {:.1} MiB; {sweeps} readings of each series",
        mib(few_bytes),
        mib(many_bytes)
    );
    bench.figure("controller_bytes_per_series", value, "bytes", &note);
    Ok(())
}

async fn pss(programs: &std::path::Path, series: usize, sweeps: usize) -> anyhow::Result<f64> {
    let (mut stage, servers) = super::controller(programs, SERVERS).await?;
    let gauge = Gauge::new(stage.controller_pid().context("the controller is gone")?);
    let mut load = super::load(&stage, &servers, series, EVERY).await?;
    let wanted = (SERVERS * series * sweeps) as u64;
    let patience = Duration::from_secs(60) + EVERY * u32::try_from(sweeps)?;
    load.until("acknowledged readings", patience, |stats| stats.acked >= wanted).await?;
    let bytes = gauge.pss_bytes()?;
    load.stop().await?;
    stage.strike().await;
    Ok(bytes)
}
