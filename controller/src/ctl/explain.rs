//! `explain`: what there is, from the catalogue.

mod lookup;
mod markdown;
mod pages;
mod values;

use skynet_model::catalogue::Catalogue;

use super::Failure;
use super::args::ExplainOutput;
use super::print::Printer;
use super::tree::Tree;
use lookup::Choice;

/// Prints what is asked for.
///
/// # Errors
/// [`Failure`]; an unknown name comes with the nearest known one.
pub(super) fn run(
    what: Option<&str>,
    name: Option<&str>,
    all: bool,
    output: ExplainOutput,
    catalogue: &Catalogue,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let choice = Choice::of(what, name, catalogue)?;
    match output {
        ExplainOutput::Table => printer.page(&pages::page(&choice, all || name.is_some() || choice.is_one())),
        ExplainOutput::Json => printer.raw(&format!("{}\n", values::json(&choice))),
        ExplainOutput::Yaml => {
            let tree: Tree = super::print::parse("catalogue", &values::json(&choice))?;
            printer.raw(&tree.yaml())
        }
        ExplainOutput::Markdown => printer.raw(&markdown::document(&choice)),
    }
}

#[cfg(test)]
#[path = "explain/tests.rs"]
mod tests;
