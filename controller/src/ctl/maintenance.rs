//! `maintenance start`, `maintenance end`, and the list of what is worked on.

use clap::Subcommand;
use serde::Deserialize;
use skynet_model::incident::Maintenance;
use skynet_model::time::{Span, Timestamp};
use skynet_proto::v1;

use super::Failure;
use super::age::{age, to_the_second};
use super::args::Output;
use super::get::labels;
use super::link::Link;
use super::operate::answer;
use super::page::{Ink, Table};
use super::print::{Printer, parse};
use super::silence::{distinct, pair, span};

/// Servers that are named in a line.
const NAMED: usize = 5;

/// What to do with maintenance.
#[derive(Debug, Subcommand)]
pub enum MaintenanceCommand {
    /// Begin: `maintenance start --server web1 --for 2h -m 'new RAM'`.
    Start {
        /// A server, or several.
        #[arg(short, long = "server", value_name = "NAME", required_unless_present = "matches")]
        servers: Vec<String>,
        /// Servers with this label, and with all of several; `*` stands for any text. They are in it besides those named.
        #[arg(short = 'l', long = "where", value_name = "LABEL=VALUE", value_parser = pair)]
        matches: Vec<(String, String)>,
        /// For how long: `2h`, `1d`; it always ends.
        #[arg(long = "for", value_name = "SPAN", value_parser = span)]
        lasts: Span,
        /// Why; the others will read it.
        #[arg(short = 'm', long = "message", visible_alias = "comment", value_name = "TEXT")]
        comment: String,
        /// How to print it.
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// End it before its time. What is still wrong goes on as usual.
    End {
        /// Its id.
        id: String,
        /// How to print what became of it.
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
}

/// Maintenance, and the servers that are in it now.
#[derive(Debug, Deserialize)]
pub(super) struct Listed {
    #[serde(flatten)]
    maintenance: Maintenance,
    #[serde(default)]
    now: Vec<String>,
}

fn names(servers: &[String]) -> String {
    match servers.len().checked_sub(NAMED) {
        None | Some(0) => servers.join(", "),
        Some(more) => format!("{} and {more} more", servers[..NAMED].join(", ")),
    }
}

/// Asks and prints.
///
/// # Errors
/// [`Failure`].
pub(super) async fn run(link: &mut Link, what: MaintenanceCommand, printer: &mut Printer) -> Result<(), Failure> {
    match what {
        MaintenanceCommand::Start { servers, matches, lasts, comment, output } => {
            let (matches, lasts_ms) = (distinct(matches)?, lasts.0);
            let request = v1::StartMaintenanceRequest { servers, matches, lasts_ms, comment };
            let json = link.start_maintenance(request).await?;
            let Listed { maintenance, now } = parse("answer", &json)?;
            let text = format!(
                "{}: {} in maintenance until {}: {}",
                maintenance.id,
                if now.len() == 1 { "1 server is".to_owned() } else { format!("{} servers are", now.len()) },
                to_the_second(maintenance.until),
                names(&now)
            );
            answer(&json, &text, output, printer)
        }
        MaintenanceCommand::End { id, output } => {
            let json = link.end_maintenance(id.clone()).await?;
            answer(&json, &format!("{id} has ended"), output, printer)
        }
    }
}

/// Maintenance in force.
pub(super) fn table(all: &[Listed], now: Timestamp) -> Table {
    let mut table = Table::new(&["ID", "SERVERS", "WHERE", "ENDS", "BY", "COMMENT"]);
    for Listed { maintenance, now: servers } in all {
        let matches = labels(maintenance.matches.iter());
        table.row([
            Ink::Cyan.on(&maintenance.id),
            names(servers).into(),
            if matches.is_empty() { "-".into() } else { matches.into() },
            age(maintenance.until, now).into(),
            (&maintenance.by).into(),
            (&maintenance.comment).into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::super::page::Page;
    use super::*;

    #[test]
    fn maintenance_is_listed_with_the_servers_that_are_in_it() {
        let json = r#"{"id":"m-3fa210","servers":["web1"],"matches":{"role":"lb"},"from":1793502795926,
            "until":1793503155926,"by":"ann","comment":"new RAM","now":["lb1","lb2","lb3","lb4","lb5","web1"]}"#;
        let mut page = Page::new();
        page.table(table(&[serde_json::from_str(json).unwrap()], fixture::NOW));
        assert_eq!(
            page.render(false),
            "\
ID        SERVERS                             WHERE    ENDS   BY   COMMENT
m-3fa210  lb1, lb2, lb3, lb4, lb5 and 1 more  role=lb  in 5m  ann  new RAM
"
        );
    }
}
