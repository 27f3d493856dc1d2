//! `policy schema`: the language for editors.

use skynet_model::catalogue::Catalogue;
use skynet_model::policy;

use crate::ctl::Failure;
use crate::ctl::args::Output;
use crate::ctl::print::Printer;

/// Prints the schema.
///
/// # Errors
/// It cannot be printed.
pub(in crate::ctl) fn run(catalogue: &Catalogue, output: Output, printer: &mut Printer) -> Result<(), Failure> {
    let schema = policy::schema(catalogue);
    match output {
        Output::Yaml => printer.document(&schema.to_string(), output),
        Output::Table | Output::Json => {
            let text = serde_json::to_string_pretty(&schema);
            let text = text.map_err(|e| Failure::Failed(format!("cannot write the schema: {e}")))?;
            printer.raw(&format!("{text}\n"))
        }
    }
}
