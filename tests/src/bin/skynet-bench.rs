//! `make bench`: one JSON line a figure on standard output; what fails, on standard error.
//!
//! `skynet-bench [--quick] [--peers] [--only GROUP]...`: programs are looked for beside this one.

use std::process::ExitCode;

use anyhow::Context;
use skynet_tests::bench::Bench;
use skynet_tests::peers;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("skynet-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let (mut quick, mut with_peers, mut only) = (false, false, Vec::new());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--quick" => quick = true,
            "--peers" => with_peers = true,
            "--only" => only.push(words.next().context("--only wants the name of a group")?),
            other => anyhow::bail!("`{other}` is not known; skynet-bench [--quick] [--peers] [--only GROUP]..."),
        }
    }
    let own = std::env::current_exe()?;
    let programs = own.parent().context("this program has no folder")?;
    let mut bench = Bench::new(quick, programs.to_owned());
    let ours = bench.run(&only);
    let theirs = if with_peers { peers::run(&mut bench, &only) } else { Ok(()) };
    ours.and(theirs)
}
