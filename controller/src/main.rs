//! `skynet-controller`.

use std::process::ExitCode;

use clap::Parser;
use skynet_controller::{app, cli};

#[tokio::main]
async fn main() -> ExitCode {
    let command = cli::Command::parse();
    app::start_log();
    cli::run(command).await.unwrap_or_else(|error| {
        tracing::error!("{error:#}");
        ExitCode::FAILURE
    })
}
