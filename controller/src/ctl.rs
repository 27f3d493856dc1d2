//! `skynetctl`: what operators type. It asks the controller over its unix socket and prints for people or for programs.
//!
//! What must never enter: decisions and state of the fleet; both are the controller's. Whatever comes from elsewhere is
//! data: it reaches the terminal only through [`page`] and [`clean()`].

pub mod age;
mod approve;
mod args;
mod clean;
mod clock;
mod describe;
pub mod documents;
mod explain;
mod figure;
#[cfg(test)]
mod fixture;
mod folder;
mod get;
mod link;
mod logs;
mod maintenance;
mod operate;
pub mod page;
mod policy;
mod print;
mod query;
mod request;
mod server;
mod silence;
mod store;
mod tree;
mod vault;
pub mod words;

use std::io;
use std::process::ExitCode;

use skynet_model::catalogue::Catalogue;

pub use args::Args;
use args::{Command, PolicyCommand, ServerCommand, StoreCommand};
pub use clean::clean;
use link::Link;
use print::Printer;

/// Why a command did not succeed; each kind has its exit code.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It did not work, or a check found mistakes that are already printed (then the text is empty).
    #[error("{0}")]
    Failed(String),
    /// It was asked for in a way that cannot work.
    #[error("{0}")]
    Usage(String),
    /// What it was to compare cannot be compared.
    #[error("{0}")]
    Trouble(String),
    /// The controller cannot be reached.
    #[error("{0}")]
    Unreachable(String),
    /// The answer cannot be printed.
    #[error("cannot write the answer: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            // Whoever reads the answer has read enough: `skynetctl logs | head`.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Failed(_) | Self::Output(_) => 1,
            Self::Usage(_) | Self::Trouble(_) => 2,
            Self::Unreachable(_) => 3,
        }
    }
}

/// Runs one command to its end and says how it went: 0 done, 1 failed, 2 wrong usage, 3 no controller.
#[must_use]
pub fn main(args: Args, catalogue: &'static Catalogue) -> ExitCode {
    let mut printer = Printer::stdout();
    let result = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run(args, catalogue, &mut printer)),
        Err(error) => Err(Failure::Failed(format!("cannot start: {error}"))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let code = failure.code();
            let text = failure.to_string();
            if code != 0 && !text.is_empty() {
                print::complain(&text);
            }
            ExitCode::from(code)
        }
    }
}

async fn run(args: Args, catalogue: &'static Catalogue, printer: &mut Printer) -> Result<(), Failure> {
    let socket = args.socket;
    match args.command {
        Command::Get { kind, all, limit, output } => {
            get::run(&mut Link::open(&socket).await?, kind, all, limit, output, printer).await
        }
        Command::Describe { kind, name, output } => {
            describe::run(&mut Link::open(&socket).await?, kind, &name, output, catalogue, printer).await
        }
        Command::Logs { follow, lines, output } => {
            logs::run(&mut Link::open(&socket).await?, follow, lines, output, printer).await
        }
        Command::Query(args) => query::run(&socket, &args, catalogue, printer).await,
        Command::Policy(PolicyCommand::Check { dir, output }) => policy::check(&dir, catalogue, output, printer),
        Command::Policy(PolicyCommand::Build { dir, out, version, valid, expires, output }) => {
            let build = policy::Build { dir: &dir, out: &out, version, valid: &valid, expires: expires.as_deref() };
            policy::build(&socket, &build, catalogue, output, printer).await
        }
        Command::Policy(PolicyCommand::Sign { bundle, key, name, output }) => {
            policy::sign(&bundle, &key, name.as_deref(), output, printer)
        }
        Command::Policy(PolicyCommand::Verify { bundle, allowed_signers, signers, output }) => {
            policy::verify(&bundle, &allowed_signers, signers, catalogue, output, printer)
        }
        Command::Policy(PolicyCommand::Test { dir, run, output }) => {
            policy::test::run(&dir, run.as_deref(), catalogue, output, printer)
        }
        Command::Policy(PolicyCommand::Backtest(args)) => {
            policy::backtest::run(&socket, &args, catalogue, printer).await
        }
        Command::Policy(PolicyCommand::Schema { output }) => policy::schema::run(catalogue, output, printer),
        Command::Policy(PolicyCommand::Diff { from, to, output }) => {
            policy::diff::run(&socket, &from, &to, catalogue, output, printer).await
        }
        Command::Policy(PolicyCommand::Push { source, version, insecure_unsigned, output }) => {
            policy::push(&socket, &source, version, insecure_unsigned, catalogue, output, printer).await
        }
        Command::Policy(PolicyCommand::Status { watch, all, output }) => {
            policy::status::run(&mut Link::open(&socket).await?, watch, all, output, printer).await
        }
        Command::Policy(PolicyCommand::Pause { output }) => {
            policy::rollout::pause(&mut Link::open(&socket).await?, true, output, printer).await
        }
        Command::Policy(PolicyCommand::Resume { output }) => {
            policy::rollout::pause(&mut Link::open(&socket).await?, false, output, printer).await
        }
        Command::Policy(PolicyCommand::Rollback { reason, output }) => {
            policy::rollout::roll_back(&mut Link::open(&socket).await?, &reason, output, printer).await
        }
        Command::Server(ServerCommand::Label { server, labels, output }) => {
            server::label(&mut Link::open(&socket).await?, &server, &labels, output, printer).await
        }
        Command::Request(args) => request::run(&mut Link::open(&socket).await?, &args, printer).await,
        Command::Ack { incident, comment, output } => {
            operate::acknowledge(&mut Link::open(&socket).await?, &incident, &comment, output, printer).await
        }
        Command::Approve { incident, comment, output } => {
            approve::run(&mut Link::open(&socket).await?, &incident, &comment, output, printer).await
        }
        Command::Silence(what) => silence::run(&mut Link::open(&socket).await?, what, printer).await,
        Command::Maintenance(what) => maintenance::run(&mut Link::open(&socket).await?, what, printer).await,
        Command::Halt { reason, output } => {
            operate::halt(&mut Link::open(&socket).await?, &reason, output, printer).await
        }
        Command::Resume { output } => operate::resume(&mut Link::open(&socket).await?, output, printer).await,
        Command::Unseal { output } => vault::unseal(&socket, output, printer),
        Command::Seal { output } => vault::seal(&socket, output, printer),
        Command::Store(StoreCommand::Status { output }) => {
            store::status(&mut Link::open(&socket).await?, output, printer).await
        }
        Command::Store(StoreCommand::Verify { output }) => {
            store::verify(&mut Link::open(&socket).await?, output, printer).await
        }
        Command::Explain { what, name, all, output } => {
            explain::run(what.as_deref(), name.as_deref(), all, output, catalogue, printer)
        }
    }
}
