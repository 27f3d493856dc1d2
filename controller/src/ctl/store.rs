//! `store status` and `store verify`: the offsite copy.

use serde::Deserialize;

use super::Failure;
use super::age::rough;
use super::args::Output;
use super::clock;
use super::link::Link;
use super::page::{Ink, Page, Table};
use super::print::{Printer, parse};
use crate::progress::Bar;
use skynet_model::time::{Span, Timestamp};

#[derive(Deserialize)]
struct Status {
    redis: Option<String>,
    #[serde(default)]
    state: String,
    #[serde(default)]
    sealed: bool,
    #[serde(default)]
    mirrored: u64,
    #[serde(default)]
    journal: u64,
    #[serde(default)]
    behind: u64,
    outbox: Option<Outbox>,
    #[serde(default)]
    stream: u64,
    latest: Option<Sent>,
    chunks: Option<Sent>,
    #[serde(default)]
    troubles: Vec<Trouble>,
}

#[derive(Deserialize)]
struct Outbox {
    bytes: u64,
    bytes_max: u64,
    age: Span,
    left: Span,
}

#[derive(Deserialize)]
struct Sent {
    sent: u64,
    time: Option<Timestamp>,
    to: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Trouble {
    part: String,
    kind: String,
    since: Timestamp,
    message: String,
}

/// What is copied, how far, and what is wrong.
///
/// # Errors
/// [`Failure`].
pub(super) async fn status(link: &mut Link, output: Output, printer: &mut Printer) -> Result<(), Failure> {
    let json = link.store().await?;
    match output {
        Output::Json | Output::Yaml => printer.document(&json, output),
        Output::Table => printer.page(&page(&parse("store", &json)?, clock::now())),
    }
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn page(status: &Status, now: Timestamp) -> Page {
    let mut page = Page::new();
    let Some(redis) = &status.redis else {
        page.line(["there is no offsite copy: the controller's configuration has no [redis]".into()]);
        return page;
    };
    let ink = match status.state.as_str() {
        "copied" => Ink::Green,
        "draining" | "connecting" => Ink::Yellow,
        _ => Ink::Red,
    };
    page.field("Redis", [Ink::Cyan.on(redis)]);
    page.field("State", [ink.on(&status.state)]);
    let seal = if status.sealed { "its head is sealed" } else { "no chain key: its head is not sealed" };
    let of = format!("{} of {}, {} in the stream; ", status.mirrored, status.journal, status.stream);
    page.field("Events", [of.into(), if status.sealed { seal.into() } else { Ink::Yellow.on(seal) }]);
    if let Some(Outbox { bytes, bytes_max, age, left }) = &status.outbox {
        let text = match status.behind {
            0 => "nothing".to_owned(),
            count => format!(
                "{count} events, {} of {}, the oldest since {}; {} left",
                mib(*bytes),
                mib(*bytes_max),
                rough(*age),
                rough(*left)
            ),
        };
        page.field("Waiting", [text.into()]);
    }
    let ago =
        |time: Option<Timestamp>| time.map_or("never".to_owned(), |time| format!("{} ago", rough(now.since(time))));
    if let Some(latest) = &status.latest {
        page.field("Latest", [format!("{} values sent, the last {}", latest.sent, ago(latest.time)).into()]);
    }
    if let Some(chunks) = &status.chunks {
        page.field("Chunks", [format!("{} sent, readings up to {}", chunks.sent, ago(chunks.to)).into()]);
    }
    if !status.troubles.is_empty() {
        page.heading("TROUBLES");
        let mut table = Table::new(&["KIND", "PART", "SINCE", "MESSAGE"]);
        for Trouble { part, kind, since, message } in &status.troubles {
            let since = rough(now.since(*since));
            table.row([Ink::Red.on(kind), part.into(), since.into(), message.into()]);
        }
        page.table(table);
    }
    page
}

#[derive(Deserialize)]
struct Progress {
    events: u64,
    total: u64,
    compared: u64,
    missing: u64,
    sealed: bool,
    done: bool,
    bad: Option<u64>,
    fault: Option<String>,
}

/// Walks the copy and tells what was found.
///
/// # Errors
/// [`Failure`]; the first bad event if there is one.
pub(super) async fn verify(link: &mut Link, output: Output, printer: &mut Printer) -> Result<(), Failure> {
    let mut coming = link.verify_store().await?;
    let mut bar = Bar::new("verifying");
    while let Some(json) = coming.next().await? {
        let progress: Progress = parse("progress", &json)?;
        if !progress.done {
            bar.at(progress.events, progress.total);
            continue;
        }
        bar.end();
        match output {
            Output::Json | Output::Yaml => printer.document(&json, output)?,
            Output::Table if progress.bad.is_none() => printer.page(&found(&progress))?,
            Output::Table => {}
        }
        return match (progress.bad, progress.fault) {
            (Some(bad), fault) => Err(Failure::Failed(format!("event {bad}: {}", fault.unwrap_or_default()))),
            (None, _) => Ok(()),
        };
    }
    Err(Failure::Failed("the controller ended before the copy was verified".to_owned()))
}

fn found(progress: &Progress) -> Page {
    let mut page = Page::new();
    page.line([Ink::Green.on("the copy is sound")]);
    page.field(
        "Events",
        [format!("{}, of which {} are equal to the journal's", progress.events, progress.compared).into()],
    );
    if progress.missing > 0 {
        page.field("Missing", [format!("{}, each gap marked as such", progress.missing).into()]);
    }
    let seal = match progress.sealed {
        true => Ink::Green.on("checked"),
        false => Ink::Yellow.on("none: without [redis] chain_key, whoever can write to Redis can make up a chain"),
    };
    page.field("Seal", [seal]);
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(json: &str) -> String {
        page(&serde_json::from_str(json).unwrap(), Timestamp(100_000)).render(false)
    }

    #[test]
    fn the_status_tells_what_waits_and_what_is_wrong() {
        assert!(shown(r#"{"redis":null}"#).contains("no offsite copy"));
        let text = shown(
            r#"{"redis":"rediss://w@h","state":"down","sealed":true,"mirrored":5,"journal":47,"behind":42,"stream":5,
            "outbox":{"bytes":1048576,"bytes_max":2097152,"age":"1h","left":"71h"},"latest":{"sent":7,"time":99000},
            "chunks":{"sent":0,"bytes":0,"to":null},
            "troubles":[{"part":"events","kind":"down","since":40000,"message":"no Redis \u001b[31m"}]}"#,
        );
        for word in
            ["5 of 47", "sealed", "42 events, 1.0 MiB of 2.0 MiB", "2d23h left", "7 values sent", "never", "TROUBLES"]
        {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert!(text.contains("\\u{1b}[31m"), "{text}");
    }
}
