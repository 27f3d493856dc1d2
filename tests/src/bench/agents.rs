//! `controller_agents_on_two_cores`: how many agents would fill two cores, reckoned from what as many as one process holds
//! cost the controller. In a full run only: two thousand handshakes take their time.

use std::time::Duration;

use anyhow::Context;

use super::Bench;
use crate::gauge::Gauge;

const AGENTS: usize = 2000;
/// What a real agent sends at its default intervals: about as many readings, in one batch a second.
const SERIES: usize = 50;
const EVERY: Duration = Duration::from_secs(1);
/// The two cores of the goal.
const CORES: f64 = 2.0;

pub(super) fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    if bench.quick {
        eprintln!("skynet-bench: controller_agents_on_two_cores is measured in a full run only");
        return Ok(());
    }
    more_files()?;
    let programs = bench.programs.clone();
    let (cpu, pss, readings, seconds) = super::runtime()?.block_on(async {
        let (mut stage, servers) = super::controller(&programs, AGENTS).await?;
        let gauge = Gauge::new(stage.controller_pid().context("the controller is gone")?);
        let mut load = super::load(&stage, &servers, SERIES, EVERY).await?;
        tokio::time::sleep(Duration::from_secs(10)).await;
        let (began, before, cpu) = (tokio::time::Instant::now(), load.stats().acked, gauge.cpu_seconds()?);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let (cpu, stats, seconds) = (gauge.cpu_seconds()? - cpu, load.stats(), began.elapsed().as_secs_f64());
        anyhow::ensure!(stats.lost_sessions == 0, "sessions were lost: {stats:?} {:?}", load.last_loss());
        let pss = gauge.pss_bytes()?;
        load.stop().await?;
        stage.strike().await;
        anyhow::Ok((cpu, pss, (stats.acked - before) as f64, seconds))
    })?;
    let share = cpu / seconds;
    let note = format!(
        "reckoned from {AGENTS} agents x {SERIES} series each second, which took {:.1} % of one core for {seconds:.0} s \
         ({:.0} readings a second) and {:.0} MiB PSS",
        share * 100.0,
        readings / seconds,
        pss / f64::from(1 << 20)
    );
    bench.figure("controller_agents_on_two_cores", AGENTS as f64 * CORES / share, "agents", &note);
    Ok(())
}

/// As many open files as the system lets this process and the controller it starts have.
fn more_files() -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    let allowed = limit.maximum.unwrap_or(u64::MAX);
    anyhow::ensure!(allowed > 2 * AGENTS as u64, "only {allowed} open files are allowed; raise `ulimit -Hn`");
    Ok(())
}
