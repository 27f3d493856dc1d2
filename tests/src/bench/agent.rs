//! `agent_cpu_percent`, `agent_pss_mib`, `wire_bytes_per_reading`: the real agent of this machine, both of its processes,
//! with every sensor that needs no configuration, connected through a counting relay. Beside it runs a second one with all
//! of its sensors at 1 s (`agent_cpu_percent_every_1s`): the work that peers do at their one interval.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use skynet_node::sensors::all_builtin_uses;
use skynet_proto::v1;
use tokio::time::Instant;

use super::Bench;
use crate::Stage;
use crate::gauge::Gauge;
use crate::relay::Relay;

const PATIENCE: Duration = Duration::from_secs(20);
/// Sensors at their default intervals.
const DEFAULTS: &str = "defaults";
/// All of them at 1 s.
const EVERY_1S: &str = "every-1s";

/// One agent's window.
struct Window {
    cpu: f64,
    up: u64,
    down: u64,
    readings: u64,
    seconds: f64,
}

impl Window {
    fn cpu_percent(&self) -> f64 {
        self.cpu / self.seconds * 100.0
    }

    fn bytes_per_reading(&self) -> f64 {
        (self.up + self.down) as f64 / self.readings as f64
    }
}

fn policy() -> String {
    let list = |suffix: &str| {
        let sensors: Vec<String> = all_builtin_uses().iter().map(|usage| format!("{}{suffix}", usage.id)).collect();
        sensors.join(", ")
    };
    format!(
        "fleet: demo\n---\nprofile: defaults\nmatch: {{ pace: {DEFAULTS} }}\nsensors: [{}]\n---\nprofile: every-1s\n\
         match: {{ pace: {EVERY_1S} }}\nsensors: [{}]\n",
        list(""),
        list(": { every: 1s }")
    )
}

pub(super) fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    let long = Duration::from_secs(bench.pick(11, 60));
    let programs = bench.programs.clone();
    let ([defaults, every_1s], pss) = super::runtime()?.block_on(measure_both(&programs, long))?;
    let sensors = all_builtin_uses().len();
    let note = format!(
        "session and acting process, {sensors} sensors at their default intervals, connected; {:.0} readings a second for \
         {:.0} s; of one core",
        defaults.readings as f64 / defaults.seconds,
        defaults.seconds
    );
    bench.figure("agent_cpu_percent", defaults.cpu_percent(), "%", &note);
    let note = format!(
        "the same with every sensor at 1 s: {:.0} readings a second, {:.1} bytes a reading on the wire",
        every_1s.readings as f64 / every_1s.seconds,
        every_1s.bytes_per_reading()
    );
    bench.figure("agent_cpu_percent_every_1s", every_1s.cpu_percent(), "%", &note);
    let note = "both processes, default intervals, at the end of that window";
    bench.figure("agent_pss_mib", pss / f64::from(1 << 20), "MiB", note);
    let note = format!(
        "the agent with default intervals: {} bytes up, {} down (acknowledgements, pings), {} readings; TLS and HTTP/2 in, \
         TCP and IP out",
        defaults.up, defaults.down, defaults.readings
    );
    bench.figure("wire_bytes_per_reading", defaults.bytes_per_reading(), "bytes", &note);
    Ok(())
}

async fn measure_both(programs: &Path, long: Duration) -> anyhow::Result<([Window; 2], f64)> {
    let servers = [DEFAULTS, EVERY_1S];
    let mut stage = Stage::set_with(programs, &servers).await?;
    let config = stage.dir().join("controller.toml");
    let mut text = std::fs::read_to_string(&config)?;
    for server in servers {
        let section = format!("[servers.{server}]\nlabels = {{");
        anyhow::ensure!(text.contains(&section), "the stage's configuration has no {section}");
        text = text.replace(&section, &format!("{section} pace = \"{server}\","));
    }
    std::fs::write(&config, text)?;
    stage.start_controller().await?;
    stage.push(1, &policy()).await?;
    let mut relays = Vec::new();
    for server in servers {
        let relay = Relay::start(stage.address()).await?;
        let config = stage.dir().join(format!("{server}.toml"));
        let text = std::fs::read_to_string(&config)?;
        std::fs::write(&config, text.replace(&stage.address().to_string(), &relay.address().to_string()))?;
        stage.start_agent(server)?;
        relays.push(relay);
    }
    // Every sensor has said what it sees: what is announced once, at the beginning, is not in the window.
    let began = Instant::now();
    for server in servers {
        while readings(&stage, server).await?.len() < all_builtin_uses().len() {
            anyhow::ensure!(began.elapsed() < PATIENCE, "not every sensor reads\n{}", stage.log_tails());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    tokio::time::sleep(Duration::from_secs(2)).await;

    let gauge = |stage: &Stage, server: &str| stage.agent_pid(server).map(Gauge::new).context("the agent is gone");
    let gauges = [gauge(&stage, DEFAULTS)?, gauge(&stage, EVERY_1S)?];
    let mut before = Vec::new();
    for ((server, gauge), relay) in servers.iter().zip(&gauges).zip(&relays) {
        before.push((readings(&stage, server).await?, gauge.cpu_seconds()?, relay.passed(), Instant::now()));
    }
    tokio::time::sleep(long).await;
    let mut windows = Vec::new();
    for (((server, gauge), relay), (sweeps, cpu, passed, began)) in servers.iter().zip(&gauges).zip(&relays).zip(before)
    {
        let (now, seconds) = (relay.passed(), began.elapsed().as_secs_f64());
        let cpu = gauge.cpu_seconds()? - cpu;
        let after = readings(&stage, server).await?;
        let count = after.iter().map(|(sensor, (now, series))| {
            let before = sweeps.get(sensor).map_or(0, |(sweeps, _)| *sweeps);
            (now - before) * series
        });
        windows.push(Window {
            cpu,
            up: now.up - passed.up,
            down: now.down - passed.down,
            readings: count.sum(),
            seconds,
        });
    }
    // Two agents share their program's pages; a server runs one.
    stage.stop_agent(EVERY_1S).await?;
    let pss = gauges[0].pss_bytes()?;
    stage.strike().await;
    Ok((windows.try_into().map_err(|_| anyhow::anyhow!("two agents, two windows"))?, pss))
}

/// Sweeps so far and series at present, by sensor; sensors without series are left out.
async fn readings(stage: &Stage, server: &str) -> anyhow::Result<BTreeMap<String, (u64, u64)>> {
    let request = v1::DescribeRequest { kind: "server".to_owned(), name: server.to_owned() };
    let document = stage.operator().await?.describe(request).await?.into_inner();
    let server: Value = serde_json::from_str(&document.json)?;
    let mut all = BTreeMap::new();
    for sensor in server["sensors"].as_array().into_iter().flatten() {
        let id = sensor["id"].as_str().unwrap_or_default().to_owned();
        all.insert(id, (sensor["sweeps"].as_u64().unwrap_or(0), 0));
    }
    for latest in server["latest"].as_array().into_iter().flatten() {
        let series = latest["series"].as_str().unwrap_or_default().split('{').next().unwrap_or_default();
        let sensor = skynet_node::catalogue().series(series).and_then(|(sensor, _)| Some(sensor?.name));
        if let Some((_, series)) = sensor.and_then(|sensor| all.get_mut(sensor)) {
            *series += 1;
        }
    }
    Ok(all.into_iter().filter(|(_, (_, series))| *series > 0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use skynet_model::policy::{File, load};
    use skynet_model::series::Labels;
    use skynet_model::time::Span;

    #[test]
    fn each_pace_runs_every_sensor_that_needs_no_configuration() {
        let files = [File { name: "bench.yaml".to_owned(), text: policy() }];
        let policy = load(&files, skynet_node::catalogue()).unwrap();
        let uses = |pace: &str| policy.sensors_for(&Labels::new([("pace", pace)])).into_iter().cloned().collect();
        let (defaults, every_1s): (Vec<_>, Vec<_>) = (uses(DEFAULTS), uses(EVERY_1S));
        assert_eq!(defaults, all_builtin_uses());
        assert_eq!(every_1s.len(), defaults.len());
        assert!(every_1s.iter().all(|usage| usage.every == Span::seconds(1)));
    }
}
