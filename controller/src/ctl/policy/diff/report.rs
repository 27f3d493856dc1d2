//! The answer: a page for people, an object for programs.

use serde_json::json;

use super::changes::{Change, KeyChange, What};
use super::reach::Servers;
use super::source::Side;
use crate::ctl::page::{Ink, Page, Span};

/// For programs.
pub(super) fn json(from: &Side, to: &Side, changes: &[Change], servers: &Servers) -> String {
    json!({
        "from": from.name,
        "to": to.name,
        "same": changes.is_empty(),
        "servers_known": servers.known.as_ref().map(Vec::len),
        "alarms": alarms(changes),
        "changes": changes,
    })
    .to_string()
}

fn alarms(changes: &[Change]) -> Vec<&String> {
    changes.iter().flat_map(|change| &change.alarms).collect()
}

/// For people: first what should be looked at twice.
pub(super) fn page(from: &Side, to: &Side, changes: &[Change], servers: &Servers) -> Page {
    let mut page = Page::new();
    if changes.is_empty() {
        page.line([Ink::Green.on("nothing changes"), format!(" from {} to {}", from.name, to.name).into()]);
        return page;
    }
    page.line([Ink::Bold.on(format!("from {} to {}", from.name, to.name))]);
    if servers.known.is_none() {
        page.line([Ink::Dim.on("no controller was asked: servers are told by their labels")]);
    }
    let alarms = alarms(changes);
    if !alarms.is_empty() {
        page.heading("LOOK TWICE");
        for alarm in alarms {
            page.line([Ink::Red.on(format!("! {alarm}"))]);
        }
    }
    page.line([]);
    for change in changes {
        told(&mut page, change);
    }
    let count = |what: What| changes.iter().filter(|change| change.change == what).count();
    page.line([]);
    page.line([format!(
        "{} added, {} removed, {} changed",
        count(What::Added),
        count(What::Removed),
        count(What::Changed)
    )
    .into()]);
    page
}

fn told(page: &mut Page, change: &Change) {
    let (mark, ink) = match change.change {
        What::Added => ("+", Ink::Green),
        What::Removed => ("-", Ink::Red),
        What::Changed => ("~", Ink::Yellow),
    };
    let mut line: Vec<Span> = vec![ink.on(format!("{mark} {} ", change.kind)), Ink::Bold.on(&change.name)];
    if let Some(servers) = &change.servers {
        line.push(Ink::Dim.on(format!("  [{servers}]")));
    }
    page.line(line);
    if let Some(about) = &change.about {
        page.line([format!("    {about}").into()]);
    }
    for KeyChange { key, was, is } in &change.keys {
        let text = match (was, is) {
            (Some(was), Some(is)) => format!("was {was}, is {is}"),
            (Some(was), None) => format!("is gone, was {was}"),
            (None, Some(is)) => format!("is new: {is}"),
            (None, None) => continue,
        };
        page.line([format!("    {key} ").into(), text.into()]);
    }
    for text in &change.lines {
        let ink = match text.chars().next() {
            Some('+') => Ink::Green,
            Some('-') => Ink::Red,
            Some(_) | None => Ink::Dim,
        };
        page.line([ink.on(format!("    {text}"))]);
    }
}
