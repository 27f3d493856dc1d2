//! `ack`, `halt`, `resume`: what operators ask the controller to do.

use super::Failure;
use super::args::Output;
use super::link::Link;
use super::page::{Ink, Page};
use super::print::Printer;

/// Takes an incident over.
///
/// # Errors
/// [`Failure`].
pub(super) async fn acknowledge(
    link: &mut Link,
    incident: &str,
    comment: &str,
    output: Output,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let json = link.acknowledge(incident, comment).await?;
    answer(&json, &format!("{incident} is taken over"), output, printer)
}

/// Stops acting.
///
/// # Errors
/// [`Failure`].
pub(super) async fn halt(link: &mut Link, reason: &str, output: Output, printer: &mut Printer) -> Result<(), Failure> {
    if reason.trim().is_empty() {
        return Err(Failure::Usage("say why with -m: whoever is on call next has to know".to_owned()));
    }
    let json = link.halt(reason).await?;
    let text = format!("{}\nrunning commands end; `skynetctl resume` lets acting go on", stopped(&json, reason));
    answer(&json, &text, output, printer)
}

/// Lets acting go on.
///
/// # Errors
/// [`Failure`].
pub(super) async fn resume(link: &mut Link, output: Output, printer: &mut Printer) -> Result<(), Failure> {
    let json = link.resume().await?;
    answer(&json, "acting goes on", output, printer)
}

/// What the controller answers to a halt.
#[derive(serde::Deserialize)]
struct Halted {
    #[serde(default)]
    before: Option<First>,
}

/// The halt that is in force, when it was there before.
#[derive(serde::Deserialize)]
struct First {
    by: String,
    reason: String,
}

/// A second halt changes nothing: the reason that counts, and whom to ask, is the first one.
fn stopped(json: &str, reason: &str) -> String {
    match serde_json::from_str::<Halted>(json).ok().and_then(|halted| halted.before) {
        Some(first) => format!("acting was stopped already, by {}: {}", first.by, first.reason),
        None => format!("acting is stopped: {reason}"),
    }
}

/// The answer as it came, or in words.
///
/// # Errors
/// [`Failure`].
pub(super) fn answer(json: &str, text: &str, output: Output, printer: &mut Printer) -> Result<(), Failure> {
    match output {
        Output::Json | Output::Yaml => printer.document(json, output),
        Output::Table => {
            let mut page = Page::new();
            for line in text.lines() {
                page.line([Ink::Plain.on(line)]);
            }
            printer.page(&page)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_halt_names_the_first() {
        assert_eq!(stopped(r#"{"halted":true,"before":null}"#, "mine"), "acting is stopped: mine");
        assert_eq!(stopped(r#"{"halted":true}"#, "mine"), "acting is stopped: mine");
        let text = stopped(r#"{"halted":true,"before":{"by":"ann","reason":"theirs"}}"#, "mine");
        assert_eq!(text, "acting was stopped already, by ann: theirs");
    }
}
