//! `policy pause`, `policy resume`, `policy rollback`.

use skynet_model::time::Span;

use crate::ctl::Failure;
use crate::ctl::args::Output;
use crate::ctl::link::Link;
use crate::ctl::page::{Ink, Page};
use crate::ctl::print::{Printer, parse};

/// What the controller answers.
#[derive(serde::Deserialize)]
struct Steered {
    version: u64,
}

/// What the controller answers to a push.
#[derive(serde::Deserialize)]
struct Begun {
    #[serde(default)]
    waves: Vec<usize>,
    #[serde(default)]
    soak: Span,
}

/// The waves that a push began, in words; none when it is in force at once.
pub(super) fn begun(json: &str) -> Option<String> {
    let Begun { waves, soak } = serde_json::from_str(json).ok()?;
    let sizes: Vec<String> = waves.iter().map(ToString::to_string).collect();
    let text = format!(
        "goes out to {} servers in waves of {}, each watched for {soak}; `skynetctl policy status --watch` shows how it fares",
        waves.iter().sum::<usize>(),
        sizes.join(", ")
    );
    (!waves.is_empty()).then_some(text)
}

/// The version of the newest rollout.
pub(super) fn version(json: &str) -> Option<u64> {
    serde_json::from_str::<Steered>(json).ok().map(|steered| steered.version)
}

/// Lets the rollout wait, or go on.
///
/// # Errors
/// [`Failure`].
pub(in crate::ctl) async fn pause(
    link: &mut Link,
    paused: bool,
    output: Output,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let json = link.pause_rollout(paused).await?;
    let text = match paused {
        true => "no further wave begins, and what has begun is still watched; `skynetctl policy resume` lets it go on",
        false => "the rollout goes on",
    };
    answer(&json, text, output, printer)
}

/// Ends the rollout.
///
/// # Errors
/// [`Failure`].
pub(in crate::ctl) async fn roll_back(
    link: &mut Link,
    reason: &str,
    output: Output,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let json = link.roll_back(reason).await?;
    let text = "every server goes back to its last good version; `skynetctl policy status` shows where each one is";
    answer(&json, text, output, printer)
}

fn answer(json: &str, text: &str, output: Output, printer: &mut Printer) -> Result<(), Failure> {
    match output {
        Output::Json | Output::Yaml => printer.document(json, output),
        Output::Table => {
            let steered: Steered = parse("rollout", json)?;
            let mut page = Page::new();
            page.line([Ink::Plain.on(format!("policy v{}: {text}", steered.version))]);
            printer.page(&page)
        }
    }
}
