//! `logs`: the event log, one event a line.

use skynet_model::event::Event;

use super::Failure;
use super::args::Output;
use super::link::Link;
use super::page::{Ink, Page};
use super::print::Printer;
use super::words::words;

/// Asks and prints until the log ends, or for ever.
///
/// # Errors
/// [`Failure`].
pub(super) async fn run(
    link: &mut Link,
    follow: bool,
    lines: u32,
    output: Output,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let mut events = link.logs(follow, lines).await?;
    while let Some(json) = events.next().await? {
        match output {
            Output::Table => printer.page(&line(&json))?,
            Output::Json => printer.document(&json, output)?,
            Output::Yaml => {
                printer.raw("---\n")?;
                printer.document(&json, output)?;
            }
        }
    }
    Ok(())
}

/// An event as one line; one of a kind that is not known here as the JSON it came as.
pub(super) fn line(json: &str) -> Page {
    let mut page = Page::new();
    match serde_json::from_str::<Event>(json) {
        Ok(event) => {
            let words = words(&event.body);
            page.line([
                Ink::Dim.on(event.time.to_string()),
                format!("  {:<21}  ", words.event).into(),
                Ink::Cyan.on(format!("{:<14}", words.subject)),
                "  ".into(),
                words.ink.on(words.text),
            ]);
        }
        Err(_) => page.line([json.into()]),
    }
    page
}

#[cfg(test)]
mod tests {
    use super::super::words::event_line;
    use super::*;

    #[test]
    fn a_line_of_the_log_is_the_line_of_the_console() {
        let json = r#"{"seq":1,"time":0,"event":"halted","by":"root","reason":"x\u001b"}"#;
        let event = serde_json::from_str(json).unwrap();
        assert_eq!(line(json).render(false), format!("{}\n", event_line(&event)));
    }

    #[test]
    fn an_event_of_the_future_is_still_shown() {
        assert_eq!(line("{\"event\":\"new\u{1b}\"}").render(false), "{\"event\":\"new\\u{1b}\"}\n");
    }
}
