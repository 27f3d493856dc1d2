//! `get`: lists.

use skynet_model::incident::{Incident, NoticeKind, State};
use skynet_model::policy::Severity;
use skynet_model::time::Timestamp;

use super::Failure;
use super::age::age;
use super::args::{Kind, Output};
use super::clock;
use super::documents::{PolicyVersion, Scenarios, Server, Story, Told};
use super::link::Link;
use super::page::{Ink, Page, Span, Table};
use super::print::{Printer, parse, remark};
use super::words::target;
use super::{approve, maintenance, silence};

/// What is said of a controller that checks no signatures.
pub(super) const CONTROLLER_UNSIGNED: &str =
    "INSECURE: the controller takes policy that nobody signed (insecure_unsigned)";

/// Asks and prints.
///
/// # Errors
/// [`Failure`].
pub(super) async fn run(
    link: &mut Link,
    kind: Kind,
    all: bool,
    limit: u32,
    output: Output,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let jsons = link.list(kind.as_str(), all, limit).await?;
    match output {
        Output::Json | Output::Yaml => printer.documents(&jsons, output),
        Output::Table if jsons.is_empty() => {
            let more = if kind == Kind::Incidents && !all { "; --all shows those that have ended" } else { "" };
            remark(&format!("no {}{more}", kind.as_str()));
            Ok(())
        }
        Output::Table => {
            printer.page(&page(kind, &jsons, clock::now())?)?;
            if kind == Kind::Servers && read::<Server>(kind, &jsons)?.iter().any(|s| s.controller_insecure_unsigned) {
                remark(CONTROLLER_UNSIGNED);
            }
            if jsons.len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
                remark(&format!("only the first {limit} are shown; --limit shows more"));
            }
            Ok(())
        }
    }
}

/// The list as a table.
fn page(kind: Kind, jsons: &[String], now: Timestamp) -> Result<Page, Failure> {
    let mut page = Page::new();
    page.table(match kind {
        Kind::Servers => servers(&read(kind, jsons)?, now),
        Kind::Incidents => incidents(&read(kind, jsons)?, now),
        Kind::Policies => policies(&read(kind, jsons)?, now),
        Kind::Notices => notices(&read(kind, jsons)?, now),
        Kind::Approvals => approve::table(&read(kind, jsons)?, now),
        Kind::Silences => silence::table(&read(kind, jsons)?, now),
        Kind::Maintenance => maintenance::table(&read(kind, jsons)?, now),
    });
    Ok(page)
}

fn read<T: serde::de::DeserializeOwned>(kind: Kind, jsons: &[String]) -> Result<Vec<T>, Failure> {
    jsons.iter().map(|json| parse(kind.as_str(), json)).collect()
}

fn servers(servers: &[Server], now: Timestamp) -> Table {
    let mut table = Table::new(&["NAME", "STATE", "SINCE", "POLICY", "SENSORS", "SERIES", "READ", "AGENT", "LABELS"]);
    for server in servers {
        let fit = server.sensors.iter().filter(|s| s.healthy).count();
        let sensors = format!("{fit}/{}", server.sensors.len());
        table.row([
            Ink::Cyan.on(&server.name),
            connection(server),
            ago(server.since, now),
            policy_of(server),
            if fit < server.sensors.len() { Ink::Yellow.on(sensors) } else { sensors.into() },
            server.series.to_string().into(),
            ago(server.last_reading, now),
            or_dash(server.version.as_deref()),
            or_dash(Some(&labels(server.labels.iter()))),
        ]);
    }
    table
}

/// Whether a server's agent is there.
pub(super) fn connection(server: &Server) -> Span {
    if server.connected { Ink::Green.on("connected") } else { Ink::Red.on("away") }
}

/// What policy a server runs.
pub(super) fn policy_of(server: &Server) -> Span {
    let version = server.policy_version.map_or_else(|| "none".to_owned(), |v| format!("v{v}"));
    match (server.policy_error.is_some(), server.insecure_unsigned) {
        (false, false) => version.into(),
        (true, false) => Ink::Red.on(format!("{version}, refused newer")),
        (false, true) => Ink::Red.on(format!("{version}, TAKES UNSIGNED")),
        (true, true) => Ink::Red.on(format!("{version}, refused newer, TAKES UNSIGNED")),
    }
}

fn incidents(incidents: &[Story], now: Timestamp) -> Table {
    let mut table = Table::new(&["ID", "STATE", "SEVERITY", "SCENARIO", "ABOUT", "AGE", "STEPS", "SUMMARY"]);
    for story in incidents {
        let incident = &story.incident;
        table.row([
            Ink::Cyan.on(incident.id.as_str()),
            state(incident),
            severity(incident.severity),
            incident.scenario.as_str().into(),
            incident.subject.to_string().into(),
            age(incident.opened, now).into(),
            incident.steps.len().to_string().into(),
            (&incident.summary).into(),
        ]);
    }
    table
}

/// Where an incident stands.
pub(super) fn state(incident: &Incident) -> Span {
    let ink = match incident.state {
        State::Contained | State::Resolved | State::Cleared => Ink::Green,
        State::Escalated => Ink::Red,
        State::Waiting | State::Acting | State::Verifying => Ink::Yellow,
        State::Pending | State::Observed | State::Superseded => Ink::Plain,
    };
    let mut words = incident.state.as_str().to_owned();
    // A list in which everything waits has to say for what: a forgotten halt looks like calm.
    if let (State::Waiting, Some(hold)) = (incident.state, &incident.hold) {
        words = format!("{words}, held by {}", hold.rail.as_str());
    }
    if incident.acknowledged.is_some() && !incident.state.is_end() {
        words.push_str(", taken");
    }
    ink.on(words)
}

/// How bad it is.
pub(super) fn severity(severity: Severity) -> Span {
    let ink = match severity {
        Severity::Info => Ink::Plain,
        Severity::Warning => Ink::Yellow,
        Severity::Critical => Ink::Red,
    };
    ink.on(severity.as_str())
}

fn policies(policies: &[PolicyVersion], now: Timestamp) -> Table {
    let mut table = Table::new(&["VERSION", "STATE", "ACTIVATED", "BY", "SIGNED BY", "SCENARIOS", "DIGEST"]);
    for policy in policies {
        let scenarios = policy.scenarios.as_ref().map(|scenarios| match scenarios {
            Scenarios::Count(count) => count.to_string(),
            Scenarios::Names(names) => names.len().to_string(),
        });
        table.row([
            Ink::Cyan.on(format!("v{}", policy.version)),
            if policy.current { Ink::Green.on("in force") } else { "past".into() },
            ago(policy.activated, now),
            or_dash(policy.by.as_deref()),
            signers(policy),
            or_dash(scenarios.as_deref()),
            policy.digest.chars().take(12).collect::<String>().into(),
        ]);
    }
    table
}

/// Who signed a version.
pub(super) fn signers(policy: &PolicyVersion) -> Span {
    let names: Vec<String> = policy.signed_by.iter().map(|signer| signer.principals.join(",")).collect();
    if names.is_empty() { Ink::Red.on("nobody") } else { names.join(", ").into() }
}

fn notices(notices: &[Told], now: Timestamp) -> Table {
    let mut table = Table::new(&["ID", "AGE", "KIND", "SEVERITY", "INCIDENT", "TO", "DELIVERED", "TITLE"]);
    for told in notices {
        let notice = &told.notice;
        let kind = match notice.kind {
            NoticeKind::Escalated => "escalated",
            NoticeKind::Resolved => "resolved",
            NoticeKind::Skynet => "skynet",
        };
        table.row([
            Ink::Cyan.on(notice.id.as_str()),
            age(notice.at, now).into(),
            kind.into(),
            severity(notice.severity),
            or_dash(notice.incident.as_ref().map(|i| i.as_str())),
            targets(told).into(),
            delivered(told),
            (&notice.title).into(),
        ]);
    }
    table
}

/// Whom a notice is for.
pub(super) fn targets(told: &Told) -> String {
    if told.notice.to.is_empty() {
        return "console".to_owned();
    }
    told.notice.to.iter().map(target).collect::<Vec<_>>().join(", ")
}

/// Where a notice has arrived, and where it never will.
pub(super) fn delivered(told: &Told) -> Span {
    let missed = told.failed.iter().map(|m| format!("not {}", m.target));
    let parts: Vec<String> = told.delivered.iter().cloned().chain(missed).collect();
    match (parts.is_empty(), told.failed.is_empty()) {
        (true, _) => Ink::Yellow.on("not yet"),
        (false, true) => parts.join(", ").into(),
        (false, false) => Ink::Red.on(parts.join(", ")),
    }
}

/// How long ago, or a dash.
pub(super) fn ago(time: Option<Timestamp>, now: Timestamp) -> Span {
    time.map_or_else(|| "-".into(), |time| age(time, now).into())
}

/// The text, or a dash when there is none.
pub(super) fn or_dash(text: Option<&str>) -> Span {
    text.filter(|t| !t.is_empty()).unwrap_or("-").into()
}

/// Labels as `role=web,cluster=shop-1`.
pub(super) fn labels<N: AsRef<str>, V: AsRef<str>>(labels: impl Iterator<Item = (N, V)>) -> String {
    labels.map(|(name, value)| format!("{}={}", name.as_ref(), value.as_ref())).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    fn table(kind: Kind, jsons: &[&str]) -> String {
        let jsons: Vec<String> = jsons.iter().map(|j| (*j).to_owned()).collect();
        page(kind, &jsons, fixture::NOW).unwrap().render(false)
    }

    #[test]
    fn servers_are_listed_with_what_is_wrong_with_them() {
        assert_eq!(
            table(Kind::Servers, &[fixture::SERVER, fixture::SERVER_AWAY]),
            "\
NAME  STATE      SINCE  POLICY             SENSORS  SERIES  READ   AGENT  LABELS
web1  connected  3h5m   v3                 1/2      42      1s     0.1.0  cluster=shop-1,role=web
db1   away       3m12s  v2, refused newer  0/0      0       3m12s  0.1.0  -
"
        );
    }

    #[test]
    fn a_server_that_takes_unsigned_policy_says_so() {
        let unsigned = fixture::SERVER.replace("\"series\":42", "\"insecure_unsigned\":true,\"series\":42");
        assert!(table(Kind::Servers, &[&unsigned]).contains("  v3, TAKES UNSIGNED  "));
    }

    #[test]
    fn incidents_are_listed_with_their_state_and_age() {
        assert_eq!(
            table(Kind::Incidents, &[fixture::INCIDENT]),
            "\
ID        STATE      SEVERITY  SCENARIO      ABOUT  AGE    STEPS  SUMMARY
i-7f3a9c  verifying  warning   disk-filling  web1   3m12s  1      web1 /var is 93 % full\\n\\u{1b}[31m
"
        );
    }

    #[test]
    fn an_incident_that_waits_says_which_rail_holds_it() {
        let mut story: Story = serde_json::from_str(fixture::INCIDENT).unwrap();
        let hold = skynet_model::incident::Hold {
            rail: skynet_model::incident::Rail::Halt,
            why: "migration".to_owned(),
            since: fixture::NOW,
        };
        story.incident.state = State::Waiting;
        assert_eq!(state(&story.incident), Ink::Yellow.on("waiting"));
        story.incident.hold = Some(hold);
        assert_eq!(state(&story.incident), Ink::Yellow.on("waiting, held by halt"));
    }

    #[test]
    fn policies_and_notices_are_listed() {
        assert_eq!(
            table(
                Kind::Policies,
                &[
                    r#"{"version":3,"digest":"0123456789abcdef","activated":1793502843926,"by":"root","scenarios":4,"current":true,
                    "signed_by":[{"fingerprint":"SHA256:a","principals":["anna"]},{"fingerprint":"SHA256:b","principals":["ben","b"]}]}"#,
                    r#"{"version":2,"digest":"fe","activated":1793416455926,"by":"uid 1000","scenarios":["a"],"current":false}"#,
                ]
            ),
            "\
VERSION  STATE     ACTIVATED  BY        SIGNED BY    SCENARIOS  DIGEST
v3       in force  12s        root      anna, ben,b  4          0123456789ab
v2       past      1d         uid 1000  nobody       1          fe
"
        );
        assert_eq!(
            table(Kind::Notices, &[fixture::NOTICE]),
            "\
ID   AGE  KIND       SEVERITY  INCIDENT  TO                                   DELIVERED  TITLE
n-1  60s  escalated  warning   i-7f3a9c  mail ops@example.net, contact pager  console    disk-filling on web1 is not contained
"
        );
    }

    #[test]
    fn a_notice_that_did_not_arrive_says_where() {
        let missed =
            fixture::NOTICE.replace("\"delivered\"", r#""failed":[{"target":"pager","error":"404"}],"delivered""#);
        assert!(table(Kind::Notices, &[&missed]).contains("  console, not pager  "));
    }

    #[test]
    fn a_document_of_another_shape_is_an_error_and_says_what_to_do() {
        let error = page(Kind::Incidents, &["{\"id\":\"I\u{1b}\"}".to_owned()], fixture::NOW).unwrap_err().to_string();
        assert!(error.contains("-o json") && !error.contains('\u{1b}'), "{error}");
    }
}
