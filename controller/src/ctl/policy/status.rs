//! `policy status`: where every server is, and how the newest wave fares.

use std::io::IsTerminal;
use std::time::Duration;

use serde::Deserialize;
use skynet_model::time::{Span, Timestamp};

use crate::ctl::Failure;
use crate::ctl::age::age;
use crate::ctl::args::Output;
use crate::ctl::clock;
use crate::ctl::link::Link;
use crate::ctl::page::{Ink, Page, Table};
use crate::ctl::print::{Printer, parse};

/// How often `--watch` looks.
const LOOK: Duration = Duration::from_secs(1);
/// Servers that a table lists when not all are asked for.
const LISTED: usize = 20;

/// The controller's answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    state: String,
    version: u64,
    base: Option<u64>,
    by: String,
    started: Option<Timestamp>,
    ended: Option<Timestamp>,
    ended_by: Option<String>,
    reason: Option<String>,
    paused_by: Option<String>,
    soak: Span,
    soak_left: Option<Span>,
    waves: Vec<Wave>,
    gate: Option<Vec<Measure>>,
    servers: Vec<Server>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wave {
    wave: u32,
    servers: usize,
    state: String,
    accepted: usize,
    sent: usize,
    pending: usize,
    refused: usize,
    returned: usize,
    away: usize,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Measure {
    name: String,
    found: usize,
    allowed: usize,
    rest: usize,
    detail: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Server {
    name: String,
    wave: Option<u32>,
    state: String,
    version: Option<u64>,
    connected: bool,
    error: Option<String>,
}

/// Asks and prints; with `watch` until the rollout is over: anew in place on a terminal, one line a change elsewhere.
///
/// # Errors
/// [`Failure`]; with `watch` also when the rollout went back.
pub(in crate::ctl) async fn run(
    link: &mut Link,
    watch: bool,
    all: bool,
    output: Output,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let live = watch && std::io::stdout().is_terminal() && output == Output::Table;
    let mut last = String::new();
    loop {
        let json = link.describe("rollout", "").await?;
        let status: Status = parse("rollout", &json)?;
        let over = !matches!(status.state.as_str(), "running" | "paused");
        if live {
            // Home, and what is left of the picture before is wiped.
            printer.raw("\u{1b}[H\u{1b}[J")?;
        }
        if !watch || live || (over && output == Output::Table) {
            match output {
                Output::Table => printer.page(&page(&status, all, clock::now()))?,
                Output::Json | Output::Yaml => printer.document(&json, output)?,
            }
        } else if output == Output::Table {
            let line = line(&status);
            if line != last {
                printer.raw(&format!("{line}\n"))?;
                last = line;
            }
        } else if json != last {
            printer.document(&json, output)?;
            last = json;
        }
        if !watch {
            return Ok(());
        }
        if over {
            let back = status.state == "rolled_back";
            return if back { Err(Failure::Failed(String::new())) } else { Ok(()) };
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// One line that changes when something happens, and not with every second.
fn line(status: &Status) -> String {
    let has: usize = status.waves.iter().map(|wave| wave.accepted).sum();
    let begun = status.waves.iter().filter(|wave| matches!(wave.state.as_str(), "running" | "done")).count();
    let (version, waves, servers) = (status.version, status.waves.len(), status.servers.len());
    format!("policy v{version} {}: wave {begun} of {waves}, on {has} of {servers} servers", status.state)
}

fn page(status: &Status, all: bool, now: Timestamp) -> Page {
    let mut page = Page::new();
    let base = status.base.map_or_else(|| "none".to_owned(), |base| format!("v{base}"));
    if status.state == "none" || status.state.is_empty() {
        page.field("in force", [base.into()]);
        page.field("rollout", ["none yet".into()]);
    } else {
        let ink = match status.state.as_str() {
            "complete" => Ink::Green,
            "rolled_back" => Ink::Red,
            _ => Ink::Yellow,
        };
        page.field(
            "policy",
            [Ink::Cyan.on(format!("v{}", status.version)), format!(", pushed by {}", status.by).into()],
        );
        page.field("rollout", [ink.on(status.state.replace('_', " "))]);
        page.field("in force", [base.into()]);
        if let Some(started) = status.started {
            page.field("began", [format!("{} ago", age(started, now)).into()]);
        }
        if let Some(ended) = status.ended {
            let by = status.ended_by.as_deref().unwrap_or("skynet");
            page.field("ended", [format!("{} ago, by {by}", age(ended, now)).into()]);
        }
        if let Some(by) = &status.paused_by {
            page.field("paused by", [by.into()]);
        }
        if let Some(reason) = &status.reason {
            page.field("because", [reason.into()]);
        }
        if status.ended.is_none() {
            let left = status.soak_left.map_or_else(
                || "begins when a server runs it".to_owned(),
                |left| format!("{} left of {}", Span::seconds((left.0 + 999) / 1000), status.soak),
            );
            page.field("soak", [left.into()]);
        }
        waves(&mut page, status);
        gate(&mut page, status);
    }
    servers(&mut page, status, all);
    page
}

fn waves(page: &mut Page, status: &Status) {
    page.line([]);
    let mut table =
        Table::new(&["WAVE", "STATE", "SERVERS", "ACCEPTED", "SENT", "PENDING", "REFUSED", "RETURNED", "AWAY"]);
    for wave in &status.waves {
        let ink = match wave.state.as_str() {
            "done" => Ink::Green,
            "running" => Ink::Yellow,
            "failed" | "returned" => Ink::Red,
            _ => Ink::Dim,
        };
        table.row([
            wave.wave.to_string().into(),
            ink.on(&wave.state),
            wave.servers.to_string().into(),
            wave.accepted.to_string().into(),
            wave.sent.to_string().into(),
            wave.pending.to_string().into(),
            if wave.refused > 0 { Ink::Red.on(wave.refused.to_string()) } else { "0".into() },
            wave.returned.to_string().into(),
            wave.away.to_string().into(),
        ]);
    }
    page.table(table);
}

fn gate(page: &mut Page, status: &Status) {
    let Some(gate) = status.gate.as_ref().filter(|gate| !gate.is_empty()) else { return };
    page.line([]);
    let mut table = Table::new(&["GATE", "FOUND", "ALLOWED", "REST", "WHERE"]);
    for measure in gate {
        let ink = if measure.found > measure.allowed { Ink::Red } else { Ink::Plain };
        table.row([
            measure.name.replace('_', " ").into(),
            ink.on(measure.found.to_string()),
            measure.allowed.to_string().into(),
            measure.rest.to_string().into(),
            if measure.detail.is_empty() { "-".into() } else { (&measure.detail).into() },
        ]);
    }
    page.table(table);
}

fn servers(page: &mut Page, status: &Status, all: bool) {
    page.line([]);
    let mut table = Table::new(&["SERVER", "WAVE", "STATE", "RUNS", "AGENT", "SAID"]);
    let settled = |server: &&Server| matches!(server.state.as_str(), "base" | "accepted");
    // What is not as it should be first.
    let mut listed: Vec<&Server> = status.servers.iter().filter(|server| !settled(server)).collect();
    listed.extend(status.servers.iter().filter(settled));
    let shown = if all { listed.len() } else { LISTED };
    for server in listed.iter().take(shown) {
        let ink = match server.state.as_str() {
            "accepted" => Ink::Green,
            "refused" | "returned" => Ink::Red,
            "sent" | "pending" => Ink::Yellow,
            _ => Ink::Plain,
        };
        table.row([
            Ink::Cyan.on(&server.name),
            server.wave.map_or_else(|| "-".to_owned(), |wave| wave.to_string()).into(),
            ink.on(&server.state),
            server.version.map_or_else(|| "none".to_owned(), |version| format!("v{version}")).into(),
            if server.connected { Ink::Green.on("connected") } else { Ink::Red.on("away") },
            server.error.as_deref().unwrap_or("-").into(),
        ]);
    }
    page.table(table);
    if let Some(more) = listed.len().checked_sub(shown).filter(|more| *more > 0) {
        page.line([Ink::Dim.on(format!("and {more} more; --all lists them"))]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNNING: &str = r#"{"state":"running","version":8,"digest":"ab","base":7,"by":"ann","started":0,"ended":null,
        "ended_by":null,"reason":null,"paused_by":null,"soak":"10m","soak_left":"61500ms","verdict":"waits",
        "waves":[{"wave":1,"servers":1,"state":"done","accepted":1},{"wave":2,"servers":2,"state":"running","sent":1,"refused":1}],
        "gate":[{"name":"failed_actions","found":1,"allowed":0,"rest":0,"detail":"failed or refused actions on web2","at_end":false}],
        "servers":[{"name":"web1","wave":1,"state":"accepted","version":8,"connected":true,"error":null},
        {"name":"web2","wave":2,"state":"refused","version":7,"connected":true,"error":"no \u001b[31m"},
        {"name":"new","wave":null,"state":"base","version":7,"connected":false,"error":null}]}"#;

    #[test]
    fn the_page_tells_waves_gate_and_servers_with_what_is_wrong_first() {
        let status: Status = serde_json::from_str(RUNNING).unwrap();
        let text = page(&status, false, Timestamp(60_000)).render(false);
        for part in ["v8, pushed by ann", "1m2s left of 10m", "failed actions", "failed or refused actions on web2"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let place = |name: &str| text.rfind(name).unwrap_or_else(|| panic!("{name} in {text}"));
        assert!(place("\nweb2") < place("\nweb1"), "{text}");
        assert!(!text.contains('\u{1b}'), "what agents say is data: {text}");
        assert_eq!(line(&status), "policy v8 running: wave 2 of 2, on 1 of 3 servers");
    }

    #[test]
    fn without_a_rollout_it_says_what_is_in_force() {
        let status: Status = serde_json::from_str(r#"{"state":"none","base":3,"servers":[]}"#).unwrap();
        let text = page(&status, false, Timestamp(0)).render(false);
        assert!(text.contains("v3") && text.contains("none yet"), "{text}");
    }
}
