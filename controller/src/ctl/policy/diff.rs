//! `policy diff`: what changes from one policy to another, in words.
//!
//! Policies are compared as they were read, not as they were written: layout, order and spelled-out defaults are no change.

mod changes;
mod fleet;
mod people;
mod reach;
mod report;
mod scenario;
mod script;
mod source;

use std::path::Path;

use skynet_model::catalogue::Catalogue;

use super::super::Failure;
use super::super::args::Output;
use super::super::print::Printer;
use reach::Servers;
use source::Side;

/// Reads both sides, compares them and tells.
///
/// # Errors
/// [`Failure::Failed`] with an empty text when they differ (exit code 1), [`Failure::Trouble`] when they cannot be compared.
pub(in crate::ctl) async fn run(
    socket: &Path,
    from: &Path,
    to: &Path,
    catalogue: &Catalogue,
    output: Output,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let from = Side::read(socket, from, catalogue, printer).await.map_err(trouble)?;
    let to = Side::read(socket, to, catalogue, printer).await.map_err(trouble)?;
    let servers = Servers::ask(socket, from.current || to.current).await.map_err(trouble)?;
    let changes = changes::between(&from.policy, &to.policy, &servers);
    let printed = match output {
        Output::Table => printer.page(&report::page(&from, &to, &changes, &servers)),
        Output::Json | Output::Yaml => printer.document(&report::json(&from, &to, &changes, &servers), output),
    };
    printed.map_err(trouble)?;
    if changes.is_empty() { Ok(()) } else { Err(Failure::Failed(String::new())) }
}

/// Exit code 1 is kept for policies that differ.
fn trouble(failure: Failure) -> Failure {
    match failure {
        Failure::Failed(text) | Failure::Unreachable(text) => Failure::Trouble(text),
        other @ (Failure::Usage(_) | Failure::Trouble(_) | Failure::Output(_)) => other,
    }
}

#[cfg(test)]
#[path = "diff/tests.rs"]
mod tests;
