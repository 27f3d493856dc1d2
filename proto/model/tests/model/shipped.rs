//! Tests that ship with a policy: what is read of them, and what is said of broken ones.

use skynet_model::command::Status;
use skynet_model::incident::{Rail, State};
use skynet_model::name::ServerId;
use skynet_model::policy::test::{Course, Level, Moment, Test};
use skynet_model::policy::{File, Mode, Policy, load, load_tests};
use skynet_model::time::Span;

use crate::catalogue::CATALOGUE;

const POLICY: &str = "
profile: web
match: { role: web }
sensors: [disk, process]
---
scenario: disk-filling
when: disk.used_ratio > 0.8
mode: enforce
respond: [{ do: journal.vacuum, with: { keep: 200MB } }]
";

fn policy() -> Policy {
    let file = File { name: "p.yaml".to_owned(), text: POLICY.to_owned() };
    load(&[file], &CATALOGUE).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

fn file(text: &str) -> File {
    File { name: "a.test.yaml".to_owned(), text: text.to_owned() }
}

fn read(text: &str) -> Vec<Test> {
    load_tests(&[file(text)], Some(&policy()), &CATALOGUE).unwrap_or_else(|mistakes| {
        let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        panic!("{}", lines.join("\n"))
    })
}

/// What is said of a test, a line each, without the file's name.
fn told(text: &str) -> Vec<String> {
    let mistakes = load_tests(&[file(text)], Some(&policy()), &CATALOGUE).err().unwrap_or_default();
    mistakes.iter().map(|m| m.to_string().trim_start_matches("a.test.yaml:").to_owned()).collect()
}

#[test]
fn every_key_of_a_test_is_read() {
    let text = r#"
test: a disk fills, and other stories
mode: enforce
servers: { web1..web3: { role: web, cluster: shop }, db1: { role: web } }
readings:
  - at: 0s..40m step 30s
    server: web1
    series: { 'disk.used_ratio{mount="/"}': "70% -> 0.95", 'disk.free_bytes{mount="/"}': "30GiB -> 5GiB" }
  - at: 5m
    servers: ["web*", db1]
    series: { 'disk.used_ratio{mount="/"}': gone }
  - at: 0s..10m step 1m
    servers: "web?"
    series: { 'disk.used_ratio{mount="/var"}': [0.9, unknown, 2h] }
outcomes:
  journal.vacuum:
    - { after: 5s, status: failed, message: no room }
    - { sets: { 'disk.used_ratio{mount="/"}': 0.6 }, servers: [web2] }
disconnected:
  - { at: 5m..6m, server: web3 }
approve:
  - { at: 7m, scenario: disk-filling, server: web1, by: ana }
expect:
  - within: 40m
    incident: { scenario: disk-filling, server: web1, labels: { mount: / }, state: contained, steps: [journal.vacuum], notices: 0, held: cooldown }
  - at: 10m
    no_incident: { scenario: disk-filling, state: pending }
"#;
    let tests = read(text);
    let [test] = tests.as_slice() else { panic!("{tests:?}") };
    assert_eq!((test.name.as_str(), test.line, test.mode), ("a disk fills, and other stories", 2, Some(Mode::Enforce)));
    let names: Vec<&str> = test.servers.keys().map(ServerId::as_str).collect();
    assert_eq!(names, ["db1", "web1", "web2", "web3"]);
    assert_eq!(test.length(), Span::minutes(40));
    let [first, second, third] = test.readings.as_slice() else { panic!("{:?}", test.readings) };
    assert_eq!((first.from, first.until, first.step), (Span(0), Some(Span::minutes(40)), Some(Span::seconds(30))));
    assert_eq!(first.series[0].1, Course::Ramp(0.7, 0.95));
    assert_eq!(first.series[1].1, Course::Ramp(30.0 * 1_073_741_824.0, 5.0 * 1_073_741_824.0));
    assert_eq!((second.servers.len(), &second.series[0].1), (4, &Course::Steady(Level::Gone)));
    let cycle = Course::Cycle(vec![Level::Value(0.9), Level::Unknown, Level::Value(7200.0)]);
    assert_eq!((third.servers.len(), &third.series[0].1), (3, &cycle));
    let [failed, cured] = test.outcomes["journal.vacuum"].as_slice() else { panic!("{:?}", test.outcomes) };
    assert_eq!((failed.after, failed.status, failed.message.as_str()), (Span::seconds(5), Status::Failed, "no room"));
    assert_eq!((cured.after, cured.status, cured.servers.len()), (Span::seconds(1), Status::Done, 1));
    assert_eq!(cured.sets[0].1, Level::Value(0.6));
    assert_eq!((test.away[0].from, test.away[0].until), (Span::minutes(5), Some(Span::minutes(6))));
    assert_eq!((test.approvals[0].at, test.approvals[0].by.as_str()), (Span::minutes(7), "ana"));
    let [there, none] = test.expect.as_slice() else { panic!("{:?}", test.expect) };
    assert_eq!((there.when, there.there, none.there), (Moment::Within(Span::minutes(40)), true, false));
    assert_eq!((there.incident.state, there.incident.held), (Some(State::Contained), Some(Rail::Cooldown)));
    assert_eq!(there.incident.steps.as_deref(), Some(&["journal.vacuum".to_owned()][..]));
    assert_eq!((none.when, none.incident.state), (Moment::At(Span::minutes(10)), Some(State::Pending)));
}

#[test]
fn what_is_wrong_with_a_test_is_told_with_its_place() {
    let with = |key: &str| {
        format!(
            "test: t\nservers: {{ web1: {{ role: web }} }}\n{key}\nexpect: [{{ within: 1m, no_incident: {{ scenario: disk-filling }} }}]\n"
        )
    };
    let feed =
        |at: &str, series: &str| with(&format!("readings: [{{ at: {at}, server: web1, series: {{ {series} }} }}]"));
    let ratio = |at: &str, value: &str| feed(at, &format!("'disk.used_ratio{{mount=\"/\"}}': {value}"));
    let expecting = |what: &str| format!("test: t\nservers: {{ web1: {{ role: web }} }}\nexpect: [{{ {what} }}]\n");
    for (text, message) in [
        ("scenario: x\n".to_owned(), "1:1: a file ending in `.test.yaml` holds tests alone, which begin with `test: NAME`"),
        ("test: t\nexpect: []\n".to_owned(), "the key `servers` is missing"),
        ("test: t\nservers: { web1: {} }\n".to_owned(), "the key `expect` is missing"),
        (
            "test: t\nservers: { web1: {} }\nexpect: []\n".to_owned(),
            "3:9: a test that expects nothing cannot fail",
        ),
        ("test: t\nservers: {}\nexpect: []\n".to_owned(), "a test has at least one server"),
        ("test: t\nservers: { web9..web1: {} }\nexpect: []\n".to_owned(), "is not a row of servers: write `web1..web20`"),
        ("test: t\nservers: { web1..web2000: {} }\nexpect: []\n".to_owned(), "is not a row of servers"),
        ("test: t\nservers: { Web 1: {} }\nexpect: []\n".to_owned(), "is not a name"),
        (with("reading: []"), "3:1: unknown key `reading` (did you mean `readings`?)"),
        (with("mode: enforced"), "unknown mode `enforced`"),
        (ratio("5 min", "1"), "`5 min` is not a time since the test's begin: write `0s`, `5m` or `2h`, at most 31 days"),
        (ratio("0s..40d", "1"), "at most 31 days"),
        (ratio("5m..5m", "1"), "ends before it begins"),
        (ratio("5m step 1m", "1"), "names one moment: a `step` needs a time like `0s..40m step 30s`"),
        (ratio("0s..5m step 1ms", "1"), "a step is at least 100ms long"),
        (ratio("5m", "0.7 -> 0.8"), "a value that changes needs a time in which it does: write `at: 5m..15m`"),
        (ratio("0s..5m", "[1, 2]"), "values that follow each other need a step: write `at: 0s..10m` step 1m"),
        (ratio("5m", "much"), "`much` is not a value: write a number, a size (`5GiB`), a share (`80%`)"),
        (ratio("5m", ".inf"), "is not a value"),
        (ratio("0s..5m step 1m", "[]"), "a list has 1 to 1000 values, one a step"),
        (feed("5m", "'disk.usd_ratio{mount=\"/\"}': 1"), "unknown series `disk.usd_ratio` (did you mean `disk.used_ratio`?)"),
        (feed("5m", "disk.used_ratio: 1"), "the label `mount` is missing: write 'disk.used_ratio{mount=\"...\"}'"),
        (feed("5m", "'disk.used_ratio{mount=\"/\",a=\"b\"}': 1"), "unknown label of `disk.used_ratio`, `a`"),
        (feed("5m", "'disk{': 1"), "`disk{` is not a series"),
        (feed("5m", "server.connected: 1"), "`server.connected` is the controller's own"),
        (feed("5m", "load.one: 1"), "web1 has no `load.one`: its profile `web` runs no `load` sensor"),
        (
            "test: t\nservers: { db1: { role: db } }\nreadings: [{ at: 0s, server: db1, series: { load.one: 1 } }]\nexpect: []\n".to_owned(),
            "db1 runs no sensors at all: no profile's `match` fits its labels {role=\"db\"}",
        ),
        (with("readings: [{ at: 0s, series: {} }]"), "which servers is missing: `server: web1`, or `servers: [web1, \"db*\"]`"),
        (with("readings: [{ at: 0s, server: web2, series: {} }]"), "unknown server of this test, `web2` (did you mean `web1`?)"),
        (with("outcomes: { journal.vacum: {} }"), "unknown action `journal.vacum` (did you mean `journal.vacuum`?)"),
        (with("outcomes: { journal.vacuum: { status: ok } }"), "unknown status `ok`: it is one of done"),
        (with("outcomes: { journal.vacuum: [] }"), "at least one outcome is needed here"),
        (
            with("outcomes: { journal.vacuum: { sets: { 'disk.used_ratio{mount=\"/\"}': 1 -> 2 } } }"),
            "an outcome sets one value: a number, `gone` or `unknown`",
        ),
        (with("disconnected: [{ at: 1m step 5s, server: web1 }]"), "no `step` is needed here"),
        (with("approve: [{ at: 1m }]"), "the key `scenario` is missing"),
        (with("request: [{ at: 1m, name: unblock, server: web1 }]"), "unknown request `unblock`"),
        (expecting("incident: { scenario: disk-filling }"), "when is missing: `within: 10m` (by then), or `at: 10m` (just then)"),
        (expecting("within: 1m, at: 1m, incident: { scenario: disk-filling }"), "`within` and `at` exclude each other"),
        (expecting("within: 1m"), "what is expected is missing: `incident: { scenario: NAME, ... }`, or `no_incident:`"),
        (expecting("within: 1m, incident: {}"), "the key `scenario` is missing"),
        (expecting("within: 1m, incident: { scenario: disk-fillin }"), "unknown scenario `disk-fillin` (did you mean `disk-filling`?)"),
        (expecting("within: 1m, incident: { scenario: disk-filling, server: web7 }"), "unknown server of this test, `web7`"),
        (expecting("within: 1m, incident: { scenario: disk-filling, cluster: a }"), "`disk-filling` is not about clusters"),
        (expecting("within: 1m, incident: { scenario: disk-filling, state: done }"), "unknown state `done`: it is one of acting"),
        (expecting("within: 1m, incident: { scenario: disk-filling, held: luck }"), "unknown rail `luck`: it is one of approval"),
        (expecting("within: 1m, incident: { scenario: disk-filling, steps: [vacuum] }"), "unknown action `vacuum`"),
        (expecting("within: 1m, no_incident: { scenario: disk-filling, notices: 0 }"), "unknown key `notices`"),
    ] {
        let told = told(&text);
        assert!(told.iter().any(|line| line.contains(message)), "no `{message}` in\n{}\nof\n{text}", told.join("\n"));
    }
    let twice = format!("{}---\n{}", with(""), with(""));
    assert_eq!(told(&twice), ["6:7: there is a test of that name at a.test.yaml:1 already"]);
}

#[test]
fn a_broken_policy_does_not_hide_what_is_wrong_with_its_tests_and_makes_nothing_up() {
    let text = "test: t\nservers: { web1: { role: web } }\nreadings: [{ at: 0s, server: web1, series: { load.one: 1 } }]\n\
                expect: [{ within: 1m, incident: { scenario: gone, state: don } }]\n";
    let told = load_tests(&[file(text)], None, &CATALOGUE).unwrap_err();
    let lines: Vec<String> = told.iter().map(|m| m.message.clone()).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("unknown state `don`"));
    assert!(load(&[file(text)], &CATALOGUE).is_ok(), "tests are no part of a policy");
}
