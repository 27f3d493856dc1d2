//! `skynetctl`: parse, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use skynet_controller::ctl::{self, Args};
use skynet_controller::fleet::catalogue::catalogue;

fn main() -> ExitCode {
    ctl::main(Args::parse(), catalogue())
}
