//! `silence add`, `silence expire`, and the list of silences.

use std::collections::BTreeMap;

use clap::Subcommand;
use serde::Deserialize;
use skynet_model::incident::Silence;
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

/// What to do with silences.
#[derive(Debug, Subcommand)]
pub enum SilenceCommand {
    /// Hold back notices that match all of these: `silence add scenario=disk-filling cluster=shop-1 --for 2h -m 'known'`.
    Add {
        /// `scenario`, `server`, `cluster`, `severity` or a label, and its value; `*` stands for any text.
        #[arg(required = true, value_name = "NAME=VALUE", value_parser = pair)]
        matchers: Vec<(String, String)>,
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
    /// End a silence before its time. What is still wrong is told then.
    Expire {
        /// Its id.
        id: String,
        /// How to print what became of it.
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
}

/// `NAME=VALUE`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty());
    if let Some((name, _)) = pair.filter(|(name, value)| name.ends_with(['!', '~']) || value.starts_with('~')) {
        let name = name.trim_end_matches(['!', '~']);
        return Err(format!("only `{name}=VALUE` is understood, where `*` in VALUE stands for any text"));
    }
    let pair = pair.map(|(name, value)| (name.to_owned(), value.to_owned()));
    pair.ok_or_else(|| "write NAME=VALUE, like `role=web`".to_owned())
}

/// `2h`.
pub(super) fn span(text: &str) -> Result<Span, String> {
    text.parse().map_err(|e: skynet_model::time::SpanError| e.to_string())
}

/// Pairs, each name once.
///
/// # Errors
/// [`Failure::Usage`] with the name that is there twice.
pub(super) fn distinct(pairs: Vec<(String, String)>) -> Result<BTreeMap<String, String>, Failure> {
    let mut map = BTreeMap::new();
    for (name, value) in pairs {
        if map.insert(name.clone(), value).is_some() {
            return Err(Failure::Usage(format!("`{name}` is there twice, and all matchers have to match")));
        }
    }
    Ok(map)
}

/// Asks and prints.
///
/// # Errors
/// [`Failure`].
pub(super) async fn run(link: &mut Link, what: SilenceCommand, printer: &mut Printer) -> Result<(), Failure> {
    match what {
        SilenceCommand::Add { matchers, lasts, comment, output } => {
            let request = v1::AddSilenceRequest { matches: distinct(matchers)?, lasts_ms: lasts.0, comment };
            let json = link.add_silence(request).await?;
            let silence: Silence = parse("answer", &json)?;
            let until = to_the_second(silence.until);
            let text =
                format!("{}: notices with {} are held back until {until}", silence.id, labels(silence.matches.iter()));
            answer(&json, &text, output, printer)
        }
        SilenceCommand::Expire { id, output } => {
            let json = link.expire_silence(id.clone()).await?;
            answer(&json, &format!("{id} has ended"), output, printer)
        }
    }
}

/// A silence and what it holds back now.
#[derive(Debug, Deserialize)]
pub(super) struct Listed {
    #[serde(flatten)]
    silence: Silence,
    #[serde(default)]
    incidents: Vec<String>,
}

/// Silences in force.
pub(super) fn table(silences: &[Listed], now: Timestamp) -> Table {
    let mut table = Table::new(&["ID", "MATCHES", "ENDS", "BY", "HOLDS BACK", "COMMENT"]);
    for Listed { silence, incidents } in silences {
        let held = if incidents.is_empty() { "nothing now".to_owned() } else { incidents.join(", ") };
        table.row([
            Ink::Cyan.on(&silence.id),
            labels(silence.matches.iter()).into(),
            age(silence.until, now).into(),
            (&silence.by).into(),
            held.into(),
            (&silence.comment).into(),
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
    fn silences_are_listed_with_what_they_hold_back() {
        let json = r#"{"id":"s-3fa210","matches":{"cluster":"shop-1","scenario":"disk-*"},"from":1793502795926,
            "until":1793503155926,"by":"ann","comment":"known","incidents":["i-7f3a9c"]}"#;
        let mut page = Page::new();
        page.table(table(&[serde_json::from_str(json).unwrap()], fixture::NOW));
        assert_eq!(
            page.render(false),
            "\
ID        MATCHES                         ENDS   BY   HOLDS BACK  COMMENT
s-3fa210  cluster=shop-1,scenario=disk-*  in 5m  ann  i-7f3a9c    known
"
        );
    }

    #[test]
    fn matchers_that_are_not_understood_say_what_is() {
        assert_eq!(pair("role=web").unwrap(), ("role".to_owned(), "web".to_owned()));
        for wrong in ["role", "=web", "role="] {
            assert!(pair(wrong).unwrap_err().contains("NAME=VALUE"));
        }
        for wrong in ["role!=web", "role=~web.*"] {
            assert!(pair(wrong).unwrap_err().contains("`role=VALUE`"), "{wrong}");
        }
        let twice = distinct(vec![("a".into(), "1".into()), ("a".into(), "2".into())]).unwrap_err();
        assert!(matches!(twice, Failure::Usage(text) if text.contains("`a` is there twice")));
    }
}
