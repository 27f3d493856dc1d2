//! `history_*`: what the history costs alone, fed with recorded readings of a real host: the write path with its log and
//! its packing, bytes in memory, in the log and on disk, and the time a chart of a day takes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use skynet_controller::history::{History, Keep, Limits, Question, Slot, Ticket, Writer};
use skynet_model::name::ServerId;
use skynet_model::series::SeriesKey;
use skynet_model::time::{Span, Timestamp};
use tokio::time::Instant;

use super::Bench;
use crate::gauge::own_cpu_seconds;

/// A file of the history: 97 series of one host that compiled all the while, every second for a quarter of an hour.
const RECORDED: &[u8] = include_bytes!("../../../controller/src/history/golden/readings-1.open");
const SERVERS: usize = 50;
/// A wall clock that no retention finds too late.
const NOW: Timestamp = Timestamp(1_800_000_000_000);
const PATIENCE: Duration = Duration::from_secs(60);

/// What was recorded, by sensor.
struct Recorded {
    sensors: Vec<Vec<(SeriesKey, Vec<f64>)>>,
    times: Vec<Timestamp>,
}

fn open(folder: &Path) -> anyhow::Result<Arc<History>> {
    let history = History::open_folder(folder, Limits::default(), Keep::default(), Box::new(|| NOW));
    history.with_context(|| format!("opening a history in {}", folder.display()))
}

fn recorded() -> anyhow::Result<Recorded> {
    let folder = tempfile::tempdir()?;
    std::fs::create_dir_all(folder.path().join("chunks"))?;
    std::fs::write(folder.path().join("chunks/00000000000000000000.open"), RECORDED)?;
    let history = open(folder.path())?;
    let all = history.samples_of(&ServerId::new("host")?, &|_| true, Timestamp(0), NOW);
    history.close();
    let times: Vec<Timestamp> = all.series.first().context("no recorded series")?.samples.iter().map(|s| s.0).collect();
    let mut sensors: Vec<Vec<(SeriesKey, Vec<f64>)>> = Vec::new();
    for past in all.series.into_iter().filter(|past| past.samples.len() == times.len()) {
        let of = |key: &SeriesKey| key.name.split('.').next().map(str::to_owned);
        let series = (past.series, past.samples.into_iter().map(|(_, value)| value).collect());
        match sensors.last_mut().filter(|sensor| sensor.first().is_some_and(|(key, _)| of(key) == of(&series.0))) {
            Some(sensor) => sensor.push(series),
            None => sensors.push(vec![series]),
        }
    }
    Ok(Recorded { sensors, times })
}

/// One server's slots, by sensor.
fn slots(writer: &Writer, recorded: &Recorded) -> anyhow::Result<Vec<Vec<Slot>>> {
    let of = |sensor: &Vec<(SeriesKey, Vec<f64>)>| sensor.iter().map(|(key, _)| Ok(writer.slot(key)?)).collect();
    recorded.sensors.iter().map(of).collect()
}

fn row(writer: &Writer, slots: &[Vec<Slot>], recorded: &Recorded, at: usize, time: Timestamp, seq: u64) -> Ticket {
    let Ok(mut batch) = writer.batch("boot", seq) else { return Ticket::NONE };
    for (sensor, slots) in recorded.sensors.iter().zip(slots) {
        batch.write(time, slots.iter().zip(sensor).map(|(slot, (_, values))| (*slot, values[at])));
    }
    batch.commit()
}

fn files(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}

pub(super) fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    let recorded = recorded()?;
    let series: usize = recorded.sensors.iter().map(Vec::len).sum();
    write(bench, &recorded, series)?;
    chart(bench, &recorded)
}

fn write(bench: &mut Bench, recorded: &Recorded, series: usize) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let history = open(folder.path())?;
    let servers = bench.pick(SERVERS / 5, SERVERS);
    let mut writers = Vec::new();
    for n in 0..servers {
        let writer = history.writer(&ServerId::new(&format!("s{n}"))?);
        let slots = slots(&writer, recorded)?;
        writers.push((writer, slots));
    }
    // Blocks are full after 360 to 423 rows: this leaves each server's second one half full.
    let rows = recorded.times.len().min(600);
    let begun = own_cpu_seconds();
    let (mut seq, mut last) = (0, Ticket::NONE);
    for at in 0..rows {
        seq += 1;
        for (writer, slots) in &writers {
            last = row(writer, slots, recorded, at, recorded.times[at], seq);
        }
    }
    super::runtime()?.block_on(history.durable(last))?;
    // What is packed leaves memory.
    let deadline = Instant::now() + PATIENCE;
    while history.health().disk_bytes == 0 || history.waiting() > 0 {
        anyhow::ensure!(Instant::now() < deadline, "the history packs nothing");
        std::thread::sleep(Duration::from_millis(10));
    }
    let cpu = own_cpu_seconds() - begun;
    let readings = (rows * servers * series) as f64;
    let note = format!("{servers} servers x {series} recorded series: memory, log, sync, packing; all threads");
    bench.figure("history_cpu_ns_per_reading", cpu * 1e9 / readings, "ns", &note);
    let log = files(&folder.path().join("wal"))? as f64;
    bench.figure("history_log_bytes_per_reading", log / readings, "B", "write-ahead log");
    let health = history.health();
    let note = "rows in memory, blocks half full; names, latest values and allocator not counted";
    bench.figure("history_row_bytes_per_series", health.memory_bytes as f64 / health.series as f64, "B", note);
    let samples: usize = {
        use skynet_controller::history::Archive;
        history.sealed_after(None, usize::MAX)?.iter().map(|(_, chunk)| chunk.samples as usize).sum()
    };
    let note = "packed files, a host that compiled all the while, every second";
    bench.figure("history_disk_bytes_per_sample", health.disk_bytes as f64 / samples as f64, "B", note);
    history.close();
    Ok(())
}

fn chart(bench: &mut Bench, recorded: &Recorded) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let history = open(folder.path())?;
    let id = ServerId::new("s0")?;
    let writer = history.writer(&id);
    let slots = slots(&writer, recorded)?;
    let mut last = Ticket::NONE;
    let start = NOW.0 - 86_400_000;
    for at in 0..8640 {
        let time = Timestamp(start + i64::try_from(at)? * 10_000);
        last = row(&writer, &slots, recorded, at % recorded.times.len(), time, at as u64 + 1);
    }
    super::runtime()?.block_on(history.durable(last))?;
    history.close();
    let history = open(folder.path())?;
    let series = recorded.sensors.first().and_then(|sensor| sensor.first()).context("no recorded series")?;
    let selector = series.0.to_string().parse().map_err(anyhow::Error::msg)?;
    let question = Question { series: selector, from: Timestamp(start), until: NOW, step: Some(Span::minutes(5)) };
    let mut took = Vec::new();
    for _ in 0..bench.pick(5, 50) {
        let begun = Instant::now();
        let answer = history.ask(&id, &question);
        took.push(begun.elapsed().as_secs_f64() * 1000.0);
        let count: u64 = answer.series.iter().flat_map(|past| &past.samples).map(|point| point.count).sum();
        anyhow::ensure!(count == 8640, "the chart holds {count} samples");
    }
    took.sort_by(f64::total_cmp);
    let note = "one series at 10 s, 5 min steps, after a restart; slowest of all";
    bench.figure("history_chart_24h_ms", took.last().copied().unwrap_or(f64::NAN), "ms", note);
    history.close();
    Ok(())
}
