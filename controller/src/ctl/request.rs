//! `request`: asks for something that a scenario answers, and shows how it goes.

use std::collections::{BTreeMap, BTreeSet};

use skynet_model::event::{Event, EventBody};
use skynet_model::incident::State;
use skynet_model::name::IncidentId;
use skynet_model::time::Span;
use skynet_proto::v1;

use super::Failure;
use super::args::{Output, RequestArgs};
use super::link::{Events, Link};
use super::logs;
use super::page::{Ink, Page};
use super::print::{Printer, parse};

/// What the controller answers.
#[derive(serde::Deserialize)]
struct Made {
    incidents: Vec<IncidentId>,
    servers: Vec<String>,
}

/// Most servers that are named.
const MAX_NAMED: usize = 10;

/// Asks, and waits for the end where that is wanted.
///
/// # Errors
/// [`Failure`]; with `--wait` also when it was not done.
pub(super) async fn run(link: &mut Link, args: &RequestArgs, printer: &mut Printer) -> Result<(), Failure> {
    if args.servers.is_empty() && args.selector.is_empty() && args.customer.is_none() {
        let text = "say for which servers: --server web1, --where role=web, or --customer acme for all of theirs";
        return Err(Failure::Usage(text.to_owned()));
    }
    let wait = match &args.wait {
        None => None,
        Some(text) => Some(text.parse::<Span>().map_err(|error| Failure::Usage(format!("--wait: {error}")))?),
    };
    let request = v1::RequestRequest {
        request: args.name.clone(),
        parameters: pairs(&args.parameters, "parameter")?,
        servers: args.servers.clone(),
        selector: pairs(&args.selector, "label")?,
        customer: args.customer.clone().unwrap_or_default(),
    };
    // Before it is asked for, so that nothing of it is missed.
    let events = match wait {
        Some(_) => Some(link.logs(true, 0).await?),
        None => None,
    };
    let json = link.request(request).await?;
    let made: Made = parse("answer", &json)?;
    match args.output {
        Output::Json | Output::Yaml => printer.document(&json, args.output)?,
        Output::Table => printer.page(&page(&args.name, &made))?,
    }
    let (Some(events), Some(wait)) = (events, wait) else { return Ok(()) };
    match tokio::time::timeout(wait.std(), follow(events, &made, args.output, printer)).await {
        Ok(result) => result,
        Err(_) => {
            Err(Failure::Failed(format!("it is not over after {wait}; `skynetctl get incidents` shows how it is")))
        }
    }
}

fn pairs(given: &[(String, String)], what: &str) -> Result<BTreeMap<String, String>, Failure> {
    let mut map = BTreeMap::new();
    for (name, value) in given {
        if map.insert(name.clone(), value.clone()).is_some() {
            return Err(Failure::Usage(format!("the {what} `{name}` is given twice")));
        }
    }
    Ok(map)
}

fn page(name: &str, made: &Made) -> Page {
    let mut page = Page::new();
    let named = made.servers.iter().take(MAX_NAMED).cloned().collect::<Vec<_>>().join(", ");
    let more = match made.servers.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    page.line([format!("{name} is asked for on {named}{more}").into()]);
    for incident in &made.incidents {
        page.line([Ink::Cyan.on(incident.to_string())]);
    }
    page
}

/// Shows what happens to the incidents until all are over.
async fn follow(mut events: Events, made: &Made, output: Output, printer: &mut Printer) -> Result<(), Failure> {
    let mut open: BTreeSet<IncidentId> = made.incidents.iter().cloned().collect();
    let mut undone: Vec<String> = Vec::new();
    while !open.is_empty() {
        let Some(json) = events.next().await? else {
            return Err(Failure::Unreachable("the log ended before it was over".to_owned()));
        };
        let Ok(event) = serde_json::from_str::<Event>(&json) else { continue };
        let Some(incident) = event.body.incident().filter(|id| made.incidents.contains(id)).cloned() else { continue };
        if output == Output::Table {
            printer.page(&logs::line(&json))?;
        }
        if let EventBody::IncidentChanged { state, reason, .. } = &event.body
            && (state.is_end() || *state == State::Escalated)
        {
            if !matches!(state, State::Contained | State::Cleared) && open.contains(&incident) {
                undone.push(format!("{incident} is {}: {reason}", state.as_str()));
            }
            open.remove(&incident);
        }
    }
    if undone.is_empty() { Ok(()) } else { Err(Failure::Failed(undone.join("; "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_and_where_is_said() {
        let made = Made {
            incidents: vec![IncidentId::new("i-1").unwrap()],
            servers: (0..12).map(|i| format!("web{i}")).collect(),
        };
        let text = page("unblock", &made).render(false);
        assert!(
            text.starts_with("unblock is asked for on web0, ") && text.contains("web9 and 2 more\ni-1\n"),
            "{text}"
        );
    }

    #[test]
    fn a_parameter_has_one_value() {
        let twice = [("ip".to_owned(), "1".to_owned()), ("ip".to_owned(), "2".to_owned())];
        assert!(pairs(&twice, "parameter").unwrap_err().to_string().contains("`ip` is given twice"));
        assert_eq!(pairs(&twice[..1], "parameter").unwrap().len(), 1);
    }
}
