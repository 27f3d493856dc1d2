//! `skynet-agent`: parses, logs, runs, and ends with an exit code.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use skynet_agent::cli::{self, Cli};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Targets and levels are all that is chosen by; more would bring regular expressions into every server's memory.
    let chosen = std::env::var("RUST_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    let filter = chosen.unwrap_or_else(|| Targets::new().with_default(cli.log_level()));
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    tracing_subscriber::registry().with(layer.with_filter(filter)).init();
    cli::run(cli)
}
