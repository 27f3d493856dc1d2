//! `skynet-controller demo`: breaks real things on this machine, one after another, and tells how they are healed.
//!
//! A controller and an agent run as two real processes on loopback, with mTLS certificates made on the fly and the embedded
//! storage. Everything lives in one temporary folder that is removed at the end. No root, no systemd, no network.

pub mod faults;
pub mod stage;
mod stories;
mod tell;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

pub use stage::Stage;
pub use stories::{IncidentResult, STORIES, StepResult, Story, Told};

use tell::Teller;

/// The longest a demo may take, with all of its stories.
const WHOLE: Duration = Duration::from_secs(48);

/// `skynet-controller demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// End after the four stories; else stay up until Ctrl-C, to look around with skynetctl.
    #[arg(long)]
    pub once: bool,
    /// `json`: the last line is one JSON object that says how it went.
    #[arg(short, long, default_value = "text")]
    pub output: Output,
}

/// How the result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Runs the demo. Exit code 0 only if every story came true.
///
/// # Errors
/// When the stage cannot be set: no agent binary beside this one, no temporary folder, a port taken.
pub async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let teller = Teller::new(std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    teller.title("Skynet: four faults on this machine, healed while you watch");
    // Before anything is there that would have to be removed.
    let stop = stop_signal().context("listening for signals")?;
    tokio::pin!(stop);
    let mut stage = Stage::set().await?;
    let result = tokio::select! {
        result = tokio::time::timeout(WHOLE, play(&mut stage, &teller)) => result,
        code = &mut stop => {
            teller.line("stopped; cleaning up");
            stage.strike().await;
            return Ok(ExitCode::from(code));
        }
    };
    let told = match result {
        Ok(Ok(told)) => told,
        Ok(Err(error)) => {
            let logs = stage.log_tails();
            stage.strike().await;
            return Err(error.context(logs));
        }
        Err(_) => {
            let logs = stage.log_tails();
            stage.strike().await;
            anyhow::bail!("the demo did not end within {} s\n{logs}", WHOLE.as_secs());
        }
    };
    let good = told.came_true();
    teller.line("");
    teller.title(&told.sentence());
    if !args.once {
        teller.line("");
        teller.line("Everything is still up. Look around, in another terminal:");
        for words in ["get servers", "get incidents --all", "describe incident ID", "describe server demo1", "logs -f"]
        {
            teller.line(&format!("  {} --socket {} {words}", stage.skynetctl().display(), stage.socket().display()));
        }
        teller.line("Ctrl-C ends it and removes everything.");
        stop.await;
    }
    stage.strike().await;
    if args.output == Output::Json {
        teller.line(&serde_json::to_string(&told)?);
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn play(stage: &mut Stage, teller: &Teller) -> anyhow::Result<Told> {
    stage.start_controller().await?;
    stage.push_policy().await?;
    stage.faults.start_worker()?;
    stage.start_agent(stage::SERVER)?;
    stage.wait_until_watched(stage::SERVER).await?;
    teller.line(&format!(
        "controller and agent are up (mTLS on {}), watching this machine under policy version 1",
        stage.address()
    ));
    let mut told = Told::default();
    for story in STORIES {
        stories::play(story, stage, teller, &mut told).await?;
    }
    Ok(told)
}

/// Waits for a signal that ends the demo, and gives its exit code. A terminal that is closed is one too: the runaway
/// process must not outlive it.
fn stop_signal() -> std::io::Result<impl Future<Output = u8>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (mut hangup, mut quit) = (signal(SignalKind::hangup())?, signal(SignalKind::quit())?);
    Ok(async move {
        tokio::select! {
            _ = hangup.recv() => 128 + 1,
            _ = interrupt.recv() => 128 + 2,
            _ = quit.recv() => 128 + 3,
            _ = terminate.recv() => 128 + 15,
        }
    })
}
