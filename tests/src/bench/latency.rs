//! `effect_latency_p50_ms`, `effect_latency_p99_ms`: from a reading handed to the agent's session to a process that is
//! dead, with both journals' syncs in between. `disk_sync_*`: what one such sync takes here.
//!
//! In: the agent's spool, encoder and session (the real code, in this process, so that the moment is known), TLS, the real
//! controller (history, engine, fsync of the journal, command), the agent's session, and the real acting process with its
//! checks, the fsync of INTENT, and the signal. Out: a sensor's interval, which is policy's choice.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use skynet_agent::agent::Agent;
use skynet_agent::config::Config;
use skynet_agent::link::Link;
use skynet_agent::sensing::Shared;
use skynet_model::event::EventBody;
use skynet_model::incident::State;
use skynet_model::series::SeriesKey;
use skynet_model::time::Span;
use skynet_node::host::{Host, LocalHost};
use skynet_node::runner::Sweep;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Bench, percentile};
use crate::gauge::start_ticks;
use crate::{Log, SERVER, Stage};

const PATIENCE: Duration = Duration::from_secs(20);
/// Between two sweeps: two of one millisecond would be taken for one that was sent twice.
const GAP: Duration = Duration::from_millis(5);

/// The server's sensor runs once a day, so that the readings are ours alone.
const POLICY: &str = r#"
fleet: demo
rails: { cooldown: 1s, cooldown_per_day: 100000, flapping_after: 100000, per_hour: 100000 }
---
profile: all
match: { demo: "yes" }
sensors: [{ exec: { name: fuse, script: nothing, every: 1d, format: json } }]
---
script: nothing
interpreter: /bin/sh
body: echo '{}'
---
scenario: fuse-blows
when: 'exec.value.where({"check": "fuse", "metric": "blown"}) > 0'
per: [pid, start]
mode: enforce
respond:
  - do: process.signal
    with: { pid: "${pid}", start: "${start}", signal: KILL }
    verify_within: 10s
limits: { per_hour: 10000 }
"#;

/// What is killed; never left behind.
struct Victim(Child);

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The agent's session in this process, and its acting process.
struct Parts {
    shared: Arc<Shared>,
    host: Arc<dyn Host>,
    stop: watch::Sender<bool>,
    session: tokio::task::JoinHandle<()>,
    acting: Victim,
}

pub(super) fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    let rounds = bench.pick(100, 1000);
    let programs = bench.programs.clone();
    let (mut latencies, mut syncs) = super::runtime()?.block_on(async {
        let mut stage = Stage::set_with(&programs, &[SERVER]).await?;
        stage.start_controller().await?;
        stage.push(1, POLICY).await?;
        let config = stage.dir().join(format!("{SERVER}.toml"));
        let mut text = std::fs::read_to_string(&config)?;
        text.push_str("\n[ceiling]\nper_hour = 1000000\ndisruptive_per_hour = 1000000\n");
        std::fs::write(&config, text)?;
        let parts = start(&programs, &config).await?;
        let mut log = stage.follow(0).await?;
        log.until("the policy on the server", PATIENCE, |event| {
            matches!(&event.body, EventBody::ServerPolicy { error: None, .. }).then_some(())
        })
        .await?;
        let (mut latencies, mut syncs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            syncs.push(sync(stage.dir())?);
            match round(&parts, &mut log).await {
                Ok(latency) => latencies.push(latency),
                Err(error) => {
                    let events = stage.events().await?;
                    let last = events.iter().rev().take(5).map(|event| format!("{:?}", event.body));
                    return Err(error.context(last.collect::<Vec<_>>().join("\n")));
                }
            }
        }
        let _ = parts.stop.send(true);
        let _ = tokio::time::timeout(PATIENCE, parts.session).await;
        drop(parts.acting);
        stage.strike().await;
        anyhow::Ok((latencies, syncs))
    })?;
    latencies.sort_by(f64::total_cmp);
    syncs.sort_by(f64::total_cmp);
    let note = format!(
        "{} kills on an idle fleet of one: reading handed to the agent's session -> process dead, both fsyncs in, \
         sensor's interval out; worst {:.2} ms",
        latencies.len(),
        latencies.last().copied().unwrap_or(f64::NAN)
    );
    bench.figure("effect_latency_p50_ms", percentile(&latencies, 50), "ms", &note);
    bench.figure("effect_latency_p99_ms", percentile(&latencies, 99), "ms", &note);
    let note =
        "4 KiB appended to a file beside the journal and synced, between the kills: two syncs are in every effect";
    bench.figure("disk_sync_p50_ms", percentile(&syncs, 50), "ms", note);
    bench.figure("disk_sync_p99_ms", percentile(&syncs, 99), "ms", note);
    Ok(())
}

async fn start(programs: &Path, config: &Path) -> anyhow::Result<Parts> {
    let (ours, theirs) = UnixStream::pair()?;
    let acting = Command::new(programs.join("skynet-agent"))
        .arg("act")
        .arg("--config")
        .arg(config)
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting the acting process")?;
    let acting = Victim(acting);
    let host: Arc<dyn Host> = Arc::new(LocalHost::new());
    let config = Config::load(config)?;
    let agent = Agent::start(&config, Arc::clone(&host), Link::new(ours)?).await?;
    let shared = Arc::clone(&agent.shared);
    let (stop, stopped) = watch::channel(false);
    let session = tokio::spawn(async move {
        if let Err(error) = agent.run(stopped).await {
            eprintln!("skynet-bench: the agent ended: {error}");
        }
    });
    Ok(Parts { shared, host, stop, session, acting })
}

/// What this disk takes for one durable append, in milliseconds.
fn sync(folder: &Path) -> anyhow::Result<f64> {
    use std::io::Write;
    let mut file = std::fs::File::options().create(true).append(true).open(folder.join("sync"))?;
    let began = Instant::now();
    file.write_all(&[0; 4096])?;
    file.sync_data()?;
    Ok(began.elapsed().as_secs_f64() * 1000.0)
}

/// One fuse blows, one process dies; then sweeps prove the cure.
async fn round(parts: &Parts, log: &mut Log) -> anyhow::Result<f64> {
    let victim = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().context("starting `sleep`")?;
    let mut victim = Victim(victim);
    let (pid, start) = (victim.0.id(), start_ticks(victim.0.id())?);
    let labels = [("check", "fuse"), ("metric", "blown"), ("pid", &pid.to_string()), ("start", &start.to_string())];
    let series = Arc::new(SeriesKey::new("exec.value", labels));
    let (told, dead) = tokio::sync::oneshot::channel();
    let waiter = std::thread::spawn(move || {
        let _ = victim.0.wait();
        let _ = told.send(Instant::now());
    });
    let began = Instant::now();
    sweep(parts, &series, 1.0);
    let died = match tokio::time::timeout(PATIENCE, dead).await {
        Ok(died) => died?,
        Err(_) => {
            // The waiter ends with it.
            let pid = rustix::process::Pid::from_raw(i32::try_from(pid)?).context("a pid is positive")?;
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            anyhow::bail!("no action within {PATIENCE:?}");
        }
    };
    let _ = waiter.join();
    // Sweeps begun after the action had ended prove the cure.
    let contained = async {
        loop {
            tokio::time::sleep(GAP).await;
            sweep(parts, &series, 0.0);
            while let Ok(event) = tokio::time::timeout(GAP, log.next()).await {
                if let Some(EventBody::IncidentChanged { state, reason, .. }) = event?.map(|event| event.body) {
                    anyhow::ensure!(!matches!(state, State::Escalated), "the cure was not seen: {reason}");
                    if state == State::Contained {
                        return Ok(());
                    }
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, contained).await.context("the incident does not end")??;
    tokio::time::sleep(GAP).await;
    Ok((died - began).as_secs_f64() * 1000.0)
}

fn sweep(parts: &Parts, series: &Arc<SeriesKey>, value: f64) {
    parts.shared.push(Sweep {
        sensor: "exec:fuse".into(),
        every: Span::seconds(1),
        started: parts.host.now(),
        started_boot_ms: parts.host.boot_ms(),
        result: Ok(vec![(Arc::clone(series), value)]),
    });
}
