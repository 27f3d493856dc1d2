//! `skynet-agent`: parses, logs, runs, and ends with an exit code.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use skynet_agent::cli::{self, Cli};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(cli.log_level()));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    cli::run(cli)
}
