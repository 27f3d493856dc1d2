//! `approve`, and the list of what waits for it.

use serde::Deserialize;
use skynet_model::catalogue::Risk;
use skynet_model::incident::{Hold, State};
use skynet_model::time::Timestamp;
use skynet_proto::v1;

use super::Failure;
use super::age::age;
use super::args::Output;
use super::link::Link;
use super::operate::answer;
use super::page::{Ink, Table};
use super::print::{Printer, parse};
use super::words::risk_word;

/// A step that waits, or has a person's word.
#[derive(Debug, Deserialize)]
pub(super) struct Awaiting {
    incident: String,
    subject: String,
    summary: String,
    state: State,
    step: u32,
    call: String,
    risk: Risk,
    hold: Option<Hold>,
    approved: Option<Given>,
}

/// A word that was given.
#[derive(Debug, Deserialize)]
struct Given {
    by: String,
    until: Timestamp,
}

/// What the controller answers.
#[derive(Debug, Deserialize)]
struct Approved {
    step: u32,
    call: String,
    hold: Option<Hold>,
}

/// Approves and says what will be done.
///
/// # Errors
/// [`Failure`].
pub(super) async fn run(
    link: &mut Link,
    incident: &str,
    comment: &str,
    output: Output,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let request = v1::ApproveRequest { incident: incident.to_owned(), comment: comment.to_owned() };
    let json = link.approve(request).await?;
    let Approved { step, call, hold } = parse("answer", &json)?;
    let held = hold.filter(|h| h.rail != skynet_model::incident::Rail::Approval);
    let held = held.map(|h| format!("; it still waits: {}, {}", h.rail.as_str(), h.why)).unwrap_or_default();
    answer(&json, &format!("step {} of {incident} is approved: {call}{held}", step + 1), output, printer)
}

/// Steps that wait for approval.
pub(super) fn table(steps: &[Awaiting], now: Timestamp) -> Table {
    let mut table = Table::new(&["INCIDENT", "STEP", "WOULD DO", "ABOUT", "RISK", "APPROVAL", "SUMMARY"]);
    for step in steps {
        let word = match (&step.approved, &step.hold) {
            (Some(given), _) => Ink::Green.on(format!("by {}, lapses {}", given.by, age(given.until, now))),
            (None, _) if step.state == State::Escalated => Ink::Red.on("waits; a person was told"),
            (None, Some(hold)) => Ink::Yellow.on(format!("waits for {}", age(hold.since, now))),
            (None, None) => Ink::Yellow.on("waits"),
        };
        table.row([
            Ink::Cyan.on(&step.incident),
            (step.step + 1).to_string().into(),
            (&step.call).into(),
            (&step.subject).into(),
            risk_word(step.risk).into(),
            word,
            (&step.summary).into(),
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
    fn what_waits_says_what_would_be_done_and_what_has_a_word_by_whom() {
        let step = |approved: &str, state: &str, hold: &str| {
            let json = format!(
                r#"{{"incident":"i-7f3a9c","scenario":"disk","subject":"web1","summary":"full","state":"{state}","step":0,
                "action":"disk.wipe","call":"disk.wipe mount=/","params":{{}},"risk":"destructive","hold":{hold},
                "approved":{approved}}}"#
            );
            serde_json::from_str(&json).unwrap()
        };
        let hold = r#"{"rail":"approval","why":"x","since":1793502795926}"#;
        let given = r#"{"step":0,"by":"ann","comment":"","until":1793503155926,"params":{}}"#;
        let steps: [Awaiting; 3] =
            [step("null", "waiting", hold), step("null", "escalated", "null"), step(given, "waiting", hold)];
        let mut page = Page::new();
        page.table(table(&steps, fixture::NOW));
        assert_eq!(
            page.render(false),
            "\
INCIDENT  STEP  WOULD DO           ABOUT  RISK         APPROVAL                  SUMMARY
i-7f3a9c  1     disk.wipe mount=/  web1   destructive  waits for 60s             full
i-7f3a9c  1     disk.wipe mount=/  web1   destructive  waits; a person was told  full
i-7f3a9c  1     disk.wipe mount=/  web1   destructive  by ann, lapses in 5m      full
"
        );
    }
}
