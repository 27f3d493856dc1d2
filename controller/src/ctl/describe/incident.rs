//! One incident, as the story a person wants in the night.

use skynet_model::catalogue::Catalogue;
use skynet_model::incident::{Incident, StepRecord, Subject};
use skynet_model::name::ServerId;
use skynet_model::policy::Mode;
use skynet_model::series::SeriesKey;
use skynet_model::time::Timestamp;

use super::super::age::{age, instant, rough, took};
use super::super::documents::{Latest, Story, Told};
use super::super::figure::{figure, unit_of};
use super::super::get::{delivered, labels, or_dash, severity, state, targets};
use super::super::page::{Ink, Page, Span, Table};
use super::super::words::{params, risk_word};

/// The page. `told` is none when it could not be asked for; `latest` are the server's readings by now, if it is there.
pub(super) fn page(
    story: &Story,
    told: Option<&[Told]>,
    latest: &[Latest],
    catalogue: &Catalogue,
    now: Timestamp,
) -> Page {
    let incident = &story.incident;
    let mut page = header(incident, now);
    readings(&mut page, incident, latest, catalogue);
    steps(&mut page, incident, now);
    holds(&mut page, incident, now);
    people(&mut page, incident, told, now);
    if let Some(text) = story.explanation.as_ref().filter(|t| !t.is_empty()) {
        page.heading("WHAT COMES NEXT");
        page.paragraph(text, 2);
    }
    page
}

fn header(incident: &Incident, now: Timestamp) -> Page {
    let mut page = Page::new();
    page.field("Incident", [Ink::Bold.on(incident.id.as_str())]);
    page.field("Summary", [Ink::Bold.on(&incident.summary)]);
    page.field("State", [state(incident)]);
    if let Some(reason) = incident.reason.as_ref().filter(|r| !r.is_empty()) {
        page.field("Because", [reason.into()]);
    }
    let about = match &incident.subject {
        Subject::Server(_) => "Server",
        Subject::Cluster(_) | Subject::Fleet(_) | Subject::Request(_) => "About",
    };
    page.field(about, [Ink::Cyan.on(incident.subject.to_string())]);
    if let Some(asked) = &incident.asked {
        page.field("Asked", [format!("by {}, on {}", asked.by, names(&asked.servers)).into()]);
    }
    if let Some(chosen) = &incident.chosen {
        let given_up = match chosen.given_up.is_empty() {
            true => String::new(),
            false => format!("; given up on {}", names(&chosen.given_up)),
        };
        page.field("Chosen", [format!("for step {}: {}{given_up}", chosen.step + 1, names(&chosen.servers)).into()]);
    }
    page.field("Labels", [or_dash(Some(&labels(incident.labels.iter())))]);
    let mode = match incident.mode {
        Mode::Observe => ", observed only: nothing is done",
        Mode::Enforce => "",
    };
    page.field("Scenario", [format!("{} of policy v{}{mode}", incident.scenario, incident.policy).into()]);
    page.field("Severity", [severity(incident.severity)]);
    page.field("Since", [instant(incident.since, now).into()]);
    let held = rough(incident.opened.since(incident.since));
    page.field("Opened", [format!("{}, after {held}", instant(incident.opened, now)).into()]);
    if let Some(closed) = incident.closed {
        let lasted = rough(closed.since(incident.opened));
        page.field("Closed", [format!("{}, after {lasted}", instant(closed, now)).into()]);
    }
    if let Some(ack) = &incident.acknowledged {
        let comment = if ack.comment.is_empty() { String::new() } else { format!(": {}", ack.comment) };
        page.field("Taken over", [format!("by {}, {}{comment}", ack.by, instant(ack.at, now)).into()]);
    }
    page
}

/// The first ten.
fn names(servers: &[ServerId]) -> String {
    let named: Vec<&str> = servers.iter().take(10).map(ServerId::as_str).collect();
    match (named.is_empty(), servers.len().saturating_sub(named.len())) {
        (true, _) => "no server".to_owned(),
        (false, 0) => named.join(", "),
        (false, more) => format!("{} and {more} more", named.join(", ")),
    }
}

fn readings(page: &mut Page, incident: &Incident, latest: &[Latest], catalogue: &Catalogue) {
    page.heading("READINGS");
    let mut series: Vec<&SeriesKey> = Vec::new();
    for reading in incident.readings.iter().chain(&incident.last_readings) {
        if !series.contains(&&reading.series) {
            series.push(&reading.series);
        }
    }
    if series.is_empty() {
        page.paragraph("none were known when it opened", 2);
        return;
    }
    let show = |key: &SeriesKey, value: Option<f64>| -> Span {
        value.map_or_else(|| "-".into(), |v| figure(v, unit_of(&key.name, Some(catalogue))).into())
    };
    let mut columns = vec!["SERIES", "AT OPENING", "LAST CHANGE"];
    if !incident.state.is_end() && !latest.is_empty() {
        columns.push("NOW");
    }
    let mut table = Table::new(&columns).indent(2);
    for key in series {
        let at = |list: &[skynet_model::series::Reading]| list.iter().find(|r| r.series == *key).map(|r| r.value);
        let mut row = vec![
            Ink::Cyan.on(key.to_string()),
            show(key, at(&incident.readings)),
            show(key, at(&incident.last_readings)),
        ];
        if columns.len() > 3 {
            let text = key.to_string();
            let now = latest.iter().find(|l| l.series == text).map(|l| l.value);
            row.push(if now.is_some() { show(key, now) } else { "gone".into() });
        }
        table.row(row);
    }
    page.table(table);
}

fn steps(page: &mut Page, incident: &Incident, now: Timestamp) {
    page.heading("STEPS");
    if incident.steps.is_empty() {
        page.paragraph("nothing has been done", 2);
        return;
    }
    // Steps of what is about one server are done there.
    let elsewhere = incident.server().is_none();
    let columns = ["STEP", "SERVER", "ACTION", "PARAMETERS", "RISK", "ISSUED", "OUTCOME", "CURED"];
    let columns: Vec<&str> = columns.into_iter().filter(|column| elsewhere || *column != "SERVER").collect();
    let mut table = Table::new(&columns).indent(2);
    let mut notes: Vec<(String, &StepRecord)> = Vec::new();
    for step in &incident.steps {
        let command = &step.command;
        let number = match command.attempt {
            0 | 1 => (command.step + 1).to_string(),
            attempt => format!("{}, try {attempt}", command.step + 1),
        };
        let outcome = match &step.outcome {
            None => Ink::Yellow.on("running"),
            Some(outcome) => format!("{} ({})", outcome.status.as_str(), took(outcome.took_ms)).into(),
        };
        let cured = match (step.verified, &step.outcome) {
            (Some(true), _) => Ink::Green.on("yes, proved"),
            (Some(false), _) => Ink::Red.on("no"),
            (None, Some(_)) => Ink::Yellow.on("not proved yet"),
            (None, None) => "-".into(),
        };
        let mut row: Vec<Span> = vec![number.clone().into()];
        if elsewhere {
            row.push(command.server.as_str().into());
        }
        row.extend([
            Ink::Cyan.on(&command.action),
            or_dash(Some(&params(&command.params))),
            risk_word(step.risk).into(),
            format!("{} ago", age(step.issued, now)).into(),
            outcome,
            cured,
        ]);
        table.row(row);
        let number = if elsewhere { format!("{number} on {}", command.server) } else { number };
        notes.push((number, step));
    }
    page.table(table);
    for (number, step) in notes {
        if let Some(message) = step.outcome.as_ref().map(|o| &o.message).filter(|m| !m.is_empty()) {
            page.line([format!("  step {number} said: {message}").into()]);
        }
        if let Some(reason) = step.reason.as_ref().filter(|r| !r.is_empty()) {
            let what = if step.verified == Some(true) { "is proved" } else { "did not cure it" };
            page.line([format!("  step {number} {what}: {reason}").into()]);
        }
    }
}

fn holds(page: &mut Page, incident: &Incident, now: Timestamp) {
    if incident.hold.is_none() && incident.held.is_empty() {
        return;
    }
    page.heading("HELD BACK");
    let mut table = Table::new(&["WHEN", "RAIL", "SINCE", "WHY"]).indent(2);
    if let Some(hold) = &incident.hold {
        let since = format!("{} ago", age(hold.since, now));
        table.row([Ink::Red.on("now"), hold.rail.as_str().into(), since.into(), (&hold.why).into()]);
    }
    for hold in incident.held.iter().filter(|h| Some(*h) != incident.hold.as_ref()) {
        let since = format!("{} ago", age(hold.since, now));
        table.row(["before".into(), hold.rail.as_str().into(), since.into(), (&hold.why).into()]);
    }
    page.table(table);
}

fn people(page: &mut Page, incident: &Incident, told: Option<&[Told]>, now: Timestamp) {
    page.heading("WHO WAS TOLD");
    let route = incident.route.as_deref().map(|r| format!("; the route is {r}")).unwrap_or_default();
    match told {
        None => page.paragraph("not known: the controller did not give its notices", 2),
        Some([]) => page.line([format!("  nobody{route}").into()]),
        Some(told) => {
            let mut table = Table::new(&["NOTICE", "WHEN", "TO", "ARRIVED", "TITLE"]).indent(2);
            for one in told {
                table.row([
                    one.notice.id.as_str().into(),
                    format!("{} ago", age(one.notice.at, now)).into(),
                    targets(one).into(),
                    delivered(one),
                    (&one.notice.title).into(),
                ]);
            }
            page.table(table);
            for (one, missed) in told.iter().flat_map(|one| one.failed.iter().map(move |missed| (one, missed))) {
                page.line([format!("  {} did not reach {}: {}", one.notice.id, missed.target, missed.error).into()]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use skynet_model::incident::{Acknowledgement, Hold, Rail, State};

    use super::super::super::fixture;
    use super::*;

    const NOTHING: Catalogue = Catalogue { sensors: &[], actions: &[] };

    fn latest() -> Vec<Latest> {
        serde_json::from_str::<super::super::Server>(fixture::SERVER).unwrap().latest.unwrap()
    }

    #[test]
    fn an_incident_is_told_as_a_whole_story() {
        let story = serde_json::from_str(fixture::INCIDENT).unwrap();
        let told = [serde_json::from_str(fixture::NOTICE).unwrap()];
        assert_eq!(
            page(&story, Some(&told), &latest(), &NOTHING, fixture::NOW).render(false),
            "\
Incident    i-7f3a9c
Summary     web1 /var is 93 % full\\n\\u{1b}[31m
State       verifying
Server      web1
Labels      mount=/var
Scenario    disk-filling of policy v3
Severity    warning
Since       2026-11-01T03:09:03Z (5m12s ago)
Opened      2026-11-01T03:11:03Z (3m12s ago), after 2m

READINGS
  SERIES                         AT OPENING  LAST CHANGE  NOW
  disk.used_ratio{mount=\"/var\"}  93.0 %      94.0 %       74.0 %

STEPS
  STEP  ACTION          PARAMETERS      RISK         ISSUED     OUTCOME      CURED
  1     journal.vacuum  keep=200000000  destructive  3m11s ago  done (1.2s)  not proved yet
  step 1 said: freed 1.2 GB\\u{1b}[2J

HELD BACK
  WHEN    RAIL      SINCE      WHY
  before  cooldown  3m12s ago  acted 2 min ago; next at 03:12

WHO WAS TOLD
  NOTICE  WHEN     TO                                   ARRIVED  TITLE
  n-1     60s ago  mail ops@example.net, contact pager  console  disk-filling on web1 is not contained

WHAT COMES NEXT
  step 1 of 2 must be proved by 03:16:06; else step 2, files.delete
"
        );
    }

    #[test]
    fn an_ended_incident_says_why_who_had_it_and_what_failed() {
        let mut story: Story = serde_json::from_str(fixture::INCIDENT).unwrap();
        let incident = &mut story.incident;
        incident.state = State::Resolved;
        incident.closed = Some(fixture::NOW);
        incident.reason = Some("the readings are fine again".to_owned());
        incident.acknowledged =
            Some(Acknowledgement { by: "ana".to_owned(), at: fixture::NOW, comment: "on it".to_owned() });
        incident.steps[0].verified = Some(false);
        incident.steps[0].reason = Some("still 94 % at the deadline".to_owned());
        incident.hold = Some(Hold { rail: Rail::Halt, why: "migration".to_owned(), since: fixture::NOW });
        let text = page(&story, Some(&[]), &latest(), &NOTHING, fixture::NOW).render(false);
        for part in [
            "Because     the readings are fine again\n",
            "Closed      2026-11-01T03:14:15Z (0s ago), after 3m12s\n",
            "Taken over  by ana, 2026-11-01T03:14:15Z (0s ago): on it\n",
            "LAST CHANGE\n",
            "  step 1 did not cure it: still 94 % at the deadline\n",
            "  now     halt      0s ago     migration\n",
            "  nobody; the route is oncall\n",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
