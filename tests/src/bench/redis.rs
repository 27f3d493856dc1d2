//! `redis_bytes_per_sample`: what a sample needs in the offsite Redis, packed by the real history and written as the copy
//! writes it; and `redis_copy_cpu_percent`: what copying costs the controller while 200 servers send 100 series a second.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use skynet_controller::clock;
use skynet_controller::history::{Archive, History, Keep, Limits, Packs, Sealed};
use skynet_controller::journal::{Call, Connection};
use skynet_controller::store::Keys;
use skynet_model::name::ServerId;
use skynet_model::time::{Span, Timestamp};

use super::Bench;
use crate::gauge::Gauge;
use crate::redis::{RedisServer, readings};

const SERVERS: usize = 5;
const SERIES: usize = 100;
const SWEEPS: u16 = 3600;
/// About what 100 series are when they were packed: what is sent together in quiet times.
const BLOCK: usize = 32 << 10;
const HOUR: i64 = 3_600_000;
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    if std::process::Command::new("redis-server").arg("--version").output().is_err() {
        eprintln!("skynet-bench: redis-server is not installed (`make deps`); its figures are left out");
        return Ok(());
    }
    let runtime = super::runtime()?;
    let (packs, names, chunks) = runtime.block_on(bytes())?;
    let note = format!(
        "{SERVERS} servers x {SERIES} series x {SWEEPS} sweeps a second apart; of it the chunks themselves {chunks:.3}; names, \
         once a series, {names:.3} more"
    );
    bench.figure("redis_bytes_per_sample", packs, "B", &note);
    let plain = runtime.block_on(xadd())?;
    let note = format!(
        "one stream a server, one entry for ten readings as name and value, {SERVERS} servers x {SERIES} series"
    );
    bench.figure("peer_redis_xadd_bytes_per_sample", plain, "B", &note);
    let note = "redis_bytes_per_sample against peer_redis_xadd_bytes_per_sample, of this run; above 1 ours is better";
    bench.figure("ratio_redis_bytes_to_xadd", plain / packs, "x", note);
    if bench.quick {
        // The whole quick run has less than a minute.
        return Ok(());
    }
    let (warm, seconds) = (10, 30);
    let programs = bench.programs.clone();
    let without = runtime.block_on(cpu(&programs, false, warm, seconds))?;
    let with = runtime.block_on(cpu(&programs, true, warm, seconds))?;
    let note =
        format!("of one core, 200 x 100 at 1 s: {with:.1} with the copy, {without:.1} without, over {seconds} s each");
    bench.figure("redis_copy_cpu_percent", with - without, "%", &note);
    Ok(())
}

/// Bytes a sample: packs, names, and the chunks alone.
async fn bytes() -> anyhow::Result<(f64, f64, f64)> {
    let folder = tempfile::tempdir()?;
    let history = History::open_folder(folder.path(), Limits::default(), Keep::default(), Box::new(clock::now))?;
    let begin = Timestamp((clock::now().0 / HOUR - 1) * HOUR);
    readings::write(&history, SERVERS, SERIES, begin, SWEEPS);
    let server = RedisServer::start(&[]).await;
    let (mut connection, mut packs, keys) = (server.connect().await, Packs::default(), Keys::new("bench"));
    let (mut place, mut samples, mut own) = (None, 0_u64, 0_usize);
    // The newest rows are not packed until their block is full.
    let most = u64::from(SWEEPS) * (SERVERS * SERIES) as u64 * 2 / 3;
    let began = tokio::time::Instant::now();
    // Of every server something: a block at a time, in the order in which they filled.
    let mut seen = std::collections::BTreeSet::new();
    while samples < most || seen.len() < SERVERS {
        let found = history.sealed_after(place, BLOCK)?;
        let Some((last, _)) = found.last() else {
            anyhow::ensure!(began.elapsed() < PATIENCE, "only {samples} samples of {most} were packed");
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        place = Some(*last);
        let chunks: Vec<Sealed> = found.into_iter().map(|(_, chunk)| chunk).collect();
        samples += chunks.iter().map(|chunk| u64::from(chunk.samples)).sum::<u64>();
        own += chunks.iter().map(|chunk| chunk.bytes.len()).sum::<usize>();
        seen.extend(chunks.iter().map(|chunk| chunk.server.clone()));
        let calls = packs.calls(&mut connection, &keys, &chunks, Span::hours(24)).await?;
        connection.pipeline(calls).await?;
    }
    let mut used = [0_i64; 2];
    for n in 1..=SERVERS {
        let server = ServerId::new(&format!("web{n}"))?;
        used[0] += usage(&mut connection, &keys.chunks(&server, begin.0 / HOUR)).await?;
        used[1] += usage(&mut connection, &keys.series(&server)).await?;
    }
    history.close();
    let each = |bytes: f64| bytes / samples as f64;
    Ok((each(used[0] as f64), each(used[1] as f64), each(own as f64)))
}

/// Bytes a sample where each ten readings are an entry of a stream: what is done where nothing packs.
async fn xadd() -> anyhow::Result<f64> {
    const ROWS: i64 = 400;
    let server = RedisServer::start(&[]).await;
    let mut connection = server.connect().await;
    let layout = crate::load::host::Layout::new(SERIES);
    let mut used = 0;
    for n in 0..SERVERS {
        let (key, mut host) = (format!("web{n}"), layout.host(n as u64));
        for row in 0..ROWS {
            host.step();
            let mut calls = Vec::new();
            for (i, ten) in host.values.chunks(10).enumerate() {
                let mut call = Call::new("XADD").arg(&key).arg(format!("{}-{i}", 1_793_500_000_000 + row * 1000));
                for (at, value) in ten.iter().enumerate() {
                    call = call.arg((10 * i + at).to_string()).arg(value.to_string());
                }
                calls.push(call);
            }
            connection.pipeline(calls).await?;
        }
        used += usage(&mut connection, &key).await?;
    }
    Ok(used as f64 / (ROWS * (SERVERS * SERIES) as i64) as f64)
}

async fn usage(connection: &mut Connection, key: &str) -> anyhow::Result<i64> {
    let call = Call::new("MEMORY").arg("USAGE").arg(key).arg("SAMPLES").number(0);
    connection.call(&call).await?.int().with_context(|| format!("{key} is not there"))
}

/// Percent of a core that the controller needs.
async fn cpu(programs: &Path, copy: bool, warm: u64, seconds: u64) -> anyhow::Result<f64> {
    let names: Vec<String> = (0..200).map(|n| format!("s{n}")).collect();
    let mut stage = crate::Stage::set_with(programs, &names.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let server = RedisServer::start(&[]).await;
    if copy {
        let mut file = std::fs::File::options().append(true).open(stage.dir().join("controller.toml"))?;
        write!(file, "\n[redis]\nurl = \"{}\"\n", server.url(""))?;
    }
    stage.start_controller().await?;
    stage.push(1, &crate::load::policy(crate::load::SCENARIOS)).await?;
    let gauge = Gauge::new(stage.controller_pid().context("the controller is gone")?);
    let mut load = super::load(&stage, &names, SERIES, Duration::from_secs(1)).await?;
    tokio::time::sleep(Duration::from_secs(warm)).await;
    let (began, before) = (tokio::time::Instant::now(), gauge.cpu_seconds()?);
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let used = (gauge.cpu_seconds()? - before) / began.elapsed().as_secs_f64();
    load.stop().await?;
    stage.strike().await;
    Ok(used * 100.0)
}
