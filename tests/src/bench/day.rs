//! `controller_pss_a_day_mib`: the controller's memory with a day of history of 200 servers x 100 series behind it, while
//! agents send on. The day is written by the real history, into the folder the controller then opens.

use std::time::Duration;

use anyhow::Context;
use skynet_controller::clock;
use skynet_controller::history::{History, Keep, Limits};
use skynet_model::time::{Span, Timestamp};

use super::Bench;
use crate::gauge::Gauge;
use crate::redis::readings;

const SERVERS: usize = 200;
const SERIES: usize = 100;
const STEP: Span = Span::seconds(10);
const DAY: Span = Span::hours(24);

pub(super) fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    if bench.quick {
        // A day takes longer to write than the whole quick run.
        return Ok(());
    }
    let programs = bench.programs.clone();
    let runtime = super::runtime()?;
    let (pss, disk) = runtime.block_on(async {
        let (mut stage, servers) = super::controller(&programs, SERVERS).await?;
        stage.kill_controller();
        let folder = stage.dir().join("controller/history");
        std::fs::remove_dir_all(&folder)?;
        let history = History::open_folder(&folder, Limits::default(), Keep::default(), Box::new(clock::now))?;
        let begin = Timestamp(clock::now().0 - DAY.0);
        let sweeps = u16::try_from(DAY.0 / STEP.0)?;
        let names = servers.clone();
        let disk = tokio::task::spawn_blocking(move || {
            for name in &names {
                readings::write_one(&history, name, SERIES, begin, sweeps, STEP);
                // As fast as it is packed, so that nothing is dropped for want of memory.
                while history.waiting() > 0 {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            let bytes = history.health().disk_bytes;
            history.close();
            bytes
        })
        .await?;
        stage.start_controller().await?;
        let gauge = Gauge::new(stage.controller_pid().context("the controller is gone")?);
        let mut load = super::load(&stage, &servers, SERIES, Duration::from_secs(1)).await?;
        let wanted = (SERVERS * SERIES * 30) as u64;
        load.until("acknowledged readings", Duration::from_secs(120), |stats| stats.acked >= wanted).await?;
        let pss = gauge.pss_bytes()?;
        load.stop().await?;
        stage.strike().await;
        anyhow::Ok((pss, disk))
    })?;
    let samples = (SERVERS * SERIES) as f64 * (DAY.0 / STEP.0) as f64;
    let note = format!(
        "{SERVERS} servers x {SERIES} series every 10 s for a day before, {:.0} MiB on disk ({:.2} bytes a sample), and \
         30 readings of each since",
        disk as f64 / f64::from(1 << 20),
        disk as f64 / samples
    );
    bench.figure("controller_pss_a_day_mib", pss / f64::from(1 << 20), "MiB", &note);
    Ok(())
}
