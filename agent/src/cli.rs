//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use skynet_model::time::Span;
use tracing_subscriber::filter::LevelFilter;

use crate::config::{Config, ConfigError};
use crate::{app, readings, watch};

/// Watches this server for Skynet and heals it.
#[derive(Debug, Parser)]
#[command(name = "skynet-agent", version)]
pub struct Cli {
    #[command(subcommand)]
    command: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Runs the agent until SIGTERM.
    Run {
        #[command(flatten)]
        given: Given,
        /// The acting process runs already, at the other end of standard input.
        #[arg(long, hide = true)]
        acting_on_stdin: bool,
    },
    /// The acting process: started by `run`, speaks on standard input.
    #[command(hide = true)]
    Act {
        #[command(flatten)]
        given: Given,
    },
    /// Shows every reading of this machine.
    #[command(group(clap::ArgGroup::new("how").required(true).args(["once", "watch"])))]
    Readings {
        /// Prints them once and ends.
        #[arg(long)]
        once: bool,
        /// Shows them as they change, until q or Ctrl-C.
        #[arg(long)]
        watch: bool,
        /// With --watch: how often the screen is drawn anew. Sensors keep their own intervals.
        #[arg(long, default_value = "1s", conflicts_with = "once")]
        every: Span,
        /// Only series that this stands for, name and labels together; `*` is any text, `?` any character.
        #[arg(long, value_name = "GLOB")]
        filter: Option<String>,
        /// With --once: how they are printed.
        #[arg(short, long, value_enum, default_value_t = Output::Table, conflicts_with = "watch")]
        output: Output,
        /// The agent's configuration: the sensors of the policy it keeps. Without it: every built-in sensor.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Checks a configuration and says everything that is wrong with it.
    CheckConfig {
        /// The file.
        #[arg(long)]
        config: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct Given {
    /// The agent's configuration.
    #[arg(long)]
    config: PathBuf,
    /// Takes policy without signatures. Only for trying things out.
    #[arg(long)]
    insecure_unsigned: bool,
}

/// How readings are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// An object a line.
    Json,
}

impl Given {
    fn load(&self) -> Result<Config, ConfigError> {
        Config::load_with(&self.config, self.insecure_unsigned)
    }
}

impl Cli {
    /// What is logged where the environment does not say. Beside a screen that is drawn a log line is only dirt.
    #[must_use]
    pub fn log_level(&self) -> LevelFilter {
        if matches!(self.command, What::Readings { watch: true, .. }) { LevelFilter::OFF } else { LevelFilter::INFO }
    }
}

/// Does what the command line says. Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    let done = match &cli.command {
        What::Run { given, acting_on_stdin } => {
            given.load().map(|config| app::run(&config, &given.config, given.insecure_unsigned, *acting_on_stdin))
        }
        What::Act { given } => given.load().map(|config| app::act(&config)),
        What::Readings { once: _, watch, every, filter, output, config } => {
            config.as_deref().map(Config::load).transpose().map(|config| match filter.as_deref() {
                filter if *watch => watch::run(config.as_ref(), filter, *every),
                filter => readings::print(*output, config.as_ref(), filter),
            })
        }
        What::CheckConfig { config } => Config::load(config).map(|config| {
            say(&format!("ok: this is {}, its controller is at {}", config.identity, config.controller));
            Ok(())
        }),
    };
    match done {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => complain(&format!("{error:#}"), 1),
        Err(error) => complain(&error.to_string(), 2),
    }
}

#[allow(clippy::print_stdout, reason = "this is what the user asked for")]
fn say(text: &str) {
    println!("{text}");
}

#[allow(clippy::print_stderr, reason = "the last word to whoever started this, also when logs go elsewhere")]
fn complain(text: &str, code: u8) -> ExitCode {
    for line in text.lines() {
        eprintln!("skynet-agent: {line}");
    }
    ExitCode::from(code)
}
