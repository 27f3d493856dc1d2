//! The command line of `skynet-controller`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::progress::Bar;
use crate::vault::{self, Vault};
use crate::{app, certs, clock, demo, store};

/// What it can be asked.
#[derive(Debug, Parser)]
#[command(version, about = "Watches servers, heals what it can, and calls a person for the rest")]
pub enum Command {
    /// Run the controller.
    Run {
        /// The configuration.
        #[command(flatten)]
        file: File,
        /// INSECURE: take the vault's keys from a folder, one file a key, instead of waiting for `skynetctl unseal`.
        /// Whoever can read the disk, or a copy of it, has them.
        #[arg(long, value_name = "DIR")]
        keys_from: Option<PathBuf>,
    },
    /// Check the configuration and the files it names; start nothing.
    CheckConfig(#[command(flatten)] File),
    /// Break real things on this machine, one after another, and watch them being healed.
    Demo(demo::DemoArgs),
    /// Bring back from the offsite copy what a lost data folder held.
    #[command(subcommand)]
    Store(StoreCommand),
    /// Begin a fleet, on your own machine: CA, the controller's certificate and key, the signers file and a
    /// configuration to start with. Nothing is overwritten.
    Init(certs::init::InitArgs),
    /// Write certificates that are valid for a day: to try things out, not for a real fleet.
    DevCerts {
        /// The folder to write into.
        folder: PathBuf,
        /// The fleet's name.
        #[arg(long)]
        fleet: String,
        /// Names of servers.
        #[arg(long, required = true, num_args = 1..)]
        server: Vec<String>,
    },
}

/// What can be done with the offsite copy while no controller runs.
#[derive(Debug, clap::Subcommand)]
pub enum StoreCommand {
    /// Write journal and policies anew from Redis into an empty data folder. The controller then starts halted, until
    /// `skynetctl resume`.
    Restore {
        /// The configuration.
        #[command(flatten)]
        file: File,
        /// Restore also what cannot be proved to be this fleet's own: without a chain key, with a broken chain.
        #[arg(long)]
        accept_unverified: bool,
    },
}

/// Where the configuration is.
#[derive(Debug, clap::Args)]
pub struct File {
    /// The configuration file.
    #[arg(long, default_value = "/etc/skynet/controller.toml")]
    config: PathBuf,
}

/// Does what was asked.
///
/// # Errors
/// Whatever stops it, in words for the one who asked.
pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run { file, keys_from } => {
            if let Err(error) = vault::harden() {
                tracing::warn!("{error}");
            }
            let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
            let stop = async move {
                tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
            };
            let config = match Config::read(&file.config) {
                Ok(config) => config,
                Err(error) => return Ok(misconfigured(&error)),
            };
            let mut app = app::App::build(config).await?;
            if let Some(folder) = keys_from {
                app = app.with_vault(Vault::from_folder(&folder)?);
                tracing::warn!(
                    "INSECURE: the vault's keys are on disk in {} (--keys-from): whoever reads the disk or a copy of it \
                     has them",
                    folder.display()
                );
            }
            app.run(stop).await?;
        }
        Command::CheckConfig(file) => {
            match Config::read(&file.config).map(|config| app::check(&config).and_then(|_| app::check_copy(&config))) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Ok(misconfigured(&format!("{error:#}"))),
                Err(error) => return Ok(misconfigured(&error)),
            }
        }
        Command::Init(args) => match certs::init::init(&args, clock::now()) {
            Ok(next) => writeln!(std::io::stdout(), "{next}")?,
            Err(error) => return Ok(misconfigured(&error.to_string())),
        },
        Command::DevCerts { folder, fleet, server } => {
            certs::generate(&folder, &fleet, &server.iter().map(String::as_str).collect::<Vec<_>>())?;
        }
        Command::Store(StoreCommand::Restore { file, accept_unverified }) => {
            return restore(&file, accept_unverified).await;
        }
        Command::Demo(args) => return demo::run(args).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn restore(file: &File, unverified: bool) -> anyhow::Result<ExitCode> {
    let settings = Config::read(&file.config).and_then(|config| store::Settings::of(&config));
    let settings = match settings {
        Ok(Some(settings)) => settings,
        Ok(None) => return Ok(misconfigured(&format!("{} has no [redis]: there is no copy", file.config.display()))),
        Err(error) => return Ok(misconfigured(&error)),
    };
    let mut bar = Bar::new("restoring");
    let restored = store::restore(&settings, unverified, clock::now(), |done, total| bar.at(done, total)).await;
    bar.end();
    let restored = restored.map_err(anyhow::Error::msg)?;
    for lost in &restored.lost {
        tracing::warn!("not proved: {lost}");
    }
    tracing::info!(
        "restored {} events up to number {} and {} policies; start the controller: it is halted until `skynetctl resume`",
        restored.events,
        restored.last,
        restored.policies
    );
    Ok(ExitCode::SUCCESS)
}

/// Says what is wrong with the configuration; 2, as for wrong usage.
fn misconfigured(error: &str) -> ExitCode {
    tracing::error!("{error}");
    ExitCode::from(2)
}
