//! `test:` documents, which stand in `*.test.yaml` beside the policy. Keys and their meaning: `docs/policy.md`.

mod course;
mod expect;
mod servers;

use std::collections::{BTreeMap, BTreeSet};

use self::servers::Servers;
use super::report::{Fields, Place, Report, quote};
use super::yaml::{self, Chunk, Node, NodeKind};
use super::{MAX_DOCUMENTS, MAX_FILE_BYTES, finish};
use crate::catalogue::{Catalogue, SeriesSpec};
use crate::command::Status;
use crate::diagnostic::{Diagnostic, nearest};
use crate::name::{ScenarioName, ServerId};
use crate::policy::test::{Approval, Asking, Away, Course, Effect, Feed, MAX_TEST, Test};
use crate::policy::{File, Mode, Policy};
use crate::series::SeriesKey;
use crate::time::Span;

/// Longest name of a test, in characters.
const MAX_NAME: usize = 200;
/// Most entries of one list of a test.
const MAX_ENTRIES: usize = 1000;
/// Words for how a command ends.
const STATUSES: [(&str, Status); 5] = [
    ("done", Status::Done),
    ("expired", Status::Expired),
    ("failed", Status::Failed),
    ("indeterminate", Status::Indeterminate),
    ("refused", Status::Refused),
];
const MODES: [(&str, Mode); 2] = [("observe", Mode::Observe), ("enforce", Mode::Enforce)];

/// Parses and checks the tests in files ending in `.test.yaml`, in order of file and place. Without a policy (it has
/// mistakes of its own) nothing that a test says about it is checked.
///
/// # Errors
/// Every mistake found, in order of file and place.
pub fn load_tests(
    files: &[File],
    policy: Option<&Policy>,
    catalogue: &Catalogue,
) -> Result<Vec<Test>, Vec<Diagnostic>> {
    let mut files: Vec<&File> = files.iter().filter(|f| f.name.ends_with(".test.yaml")).collect();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let mut tests: Vec<Test> = Vec::new();
    let mut diagnostics = Vec::new();
    let mut seen: BTreeMap<String, (String, u32)> = BTreeMap::new();
    let mut left = MAX_DOCUMENTS;
    for file in files {
        let mut report = Report { file: &file.name, diagnostics: Vec::new() };
        if file.text.len() > MAX_FILE_BYTES {
            let message =
                format!("the file has {} bytes; at most {MAX_FILE_BYTES} are read: split it", file.text.len());
            report.at(Place { line: 1, column: 1 }, message);
        } else {
            for chunk in yaml::split(&file.text, &mut report) {
                if left == 0 {
                    let place = Place { line: chunk.lines_before + 1, column: 1 };
                    report.at(place, format!("there are more than {MAX_DOCUMENTS} tests; the rest is not read"));
                    break;
                }
                left -= 1;
                let Some((test, place)) = test(file, &chunk, policy, catalogue, &mut report) else { continue };
                match seen.get(&test.name) {
                    Some((file, line)) => {
                        report.at(place, format!("there is a test of that name at {file}:{line} already"));
                    }
                    None => {
                        seen.insert(test.name.clone(), (test.file.clone(), test.line));
                    }
                }
                tests.push(test);
            }
        }
        diagnostics.append(&mut report.diagnostics);
    }
    finish(tests, diagnostics)
}

/// What a test is checked against.
struct Context<'a> {
    policy: Option<&'a Policy>,
    catalogue: &'a Catalogue,
    servers: Servers,
}

fn test(
    file: &File,
    chunk: &Chunk<'_>,
    policy: Option<&Policy>,
    catalogue: &Catalogue,
    report: &mut Report<'_>,
) -> Option<(Test, Place)> {
    let root = yaml::parse(chunk, report)?;
    let NodeKind::Mapping(entries) = &root.kind else {
        report.at(root.place, "a test is a mapping whose first key is `test:`".to_owned());
        return None;
    };
    let (key, value) = entries.first()?;
    if key.text != "test" {
        let word = quote(&key.text);
        report.suggest(
            key.place,
            format!("a file ending in `.test.yaml` holds tests alone, which begin with `test: NAME`: `{word}` is none"),
            nearest(&key.text, ["test"]).filter(|_| key.text.len() <= 64),
        );
        return None;
    }
    let place = value.place;
    let mut fields = Fields::of(&root, report)?;
    fields.take("test");
    let name = report.parsed(value, |text| {
        let fine = !text.trim().is_empty() && text.chars().count() <= MAX_NAME && !text.contains(char::is_control);
        if fine { Ok(text.trim().to_owned()) } else { Err(format!("a test's name has 1 to {MAX_NAME} characters")) }
    });
    let mode = fields.take("mode").and_then(|node| report.word(node, "mode", &MODES));
    let servers = fields.require("servers", place, report).map(|node| Servers::read(node, report));
    let context = Context { policy, catalogue, servers: servers.unwrap_or_default() };
    let readings = list(fields.take("readings"), report, |node, report| feed(node, &context, report));
    let outcomes = fields.take("outcomes").map(|node| outcomes(node, &context, report)).unwrap_or_default();
    let away = list(fields.take("disconnected"), report, |node, report| away(node, &context, report));
    let approvals = list(fields.take("approve"), report, |node, report| approval(node, &context, report));
    let requests = list(fields.take("request"), report, |node, report| asking(node, &context, report));
    let expected = fields.require("expect", place, report);
    let expect = list(expected, report, |node, report| expect::expectation(node, &context, report));
    if let Some(node) = expected.filter(|node| matches!(&node.kind, NodeKind::Sequence(items) if items.is_empty())) {
        report.at(node.place, "a test that expects nothing cannot fail".to_owned());
    }
    fields.finish(report);
    let servers = context.servers.labels;
    let (name, file, line) = (name?, file.name.clone(), key.place.line);
    Some((Test { name, file, line, mode, servers, readings, outcomes, away, approvals, requests, expect }, place))
}

fn list<T>(
    node: Option<&Node>,
    report: &mut Report<'_>,
    mut read: impl FnMut(&Node, &mut Report<'_>) -> Option<T>,
) -> Vec<T> {
    let items = node.and_then(|node| report.list(node)).unwrap_or(&[]);
    if let Some(node) = items.get(MAX_ENTRIES) {
        report.at(node.place, format!("at most {MAX_ENTRIES} entries are read"));
    }
    items.iter().take(MAX_ENTRIES).filter_map(|item| read(item, report)).collect()
}

/// A time since the test's begin.
fn time(text: &str) -> Result<Span, String> {
    let span = text.trim().parse::<Span>().ok().filter(|span| *span <= MAX_TEST);
    let text = quote(text);
    span.ok_or_else(|| {
        format!("`{text}` is not a time since the test's begin: write `0s`, `5m` or `2h`, at most 31 days")
    })
}

/// `0s..40m step 30s`, `5m..10m` or `5m`.
fn times(text: &str, may_step: bool) -> Result<(Span, Option<Span>, Option<Span>), String> {
    let (range, step) = match text.split_once(" step ") {
        Some((range, step)) => (range, Some(step)),
        None => (text, None),
    };
    if step.is_some() && !may_step {
        return Err(format!("`{}`: no `step` is needed here", quote(text)));
    }
    let (from, until) = match range.split_once("..") {
        Some((from, until)) => (time(from)?, Some(time(until)?)),
        None => (time(range)?, None),
    };
    if until.is_some_and(|until| until <= from) {
        return Err(format!("`{}` ends before it begins", quote(range)));
    }
    let step = step.map(time).transpose()?;
    if step.is_some_and(|step| step.0 < 100) {
        return Err("a step is at least 100ms long".to_owned());
    }
    if step.is_some() && until.is_none() {
        return Err(format!("`{}` names one moment: a `step` needs a time like `0s..40m step 30s`", quote(text)));
    }
    Ok((from, until, step))
}

fn feed(node: &Node, context: &Context<'_>, report: &mut Report<'_>) -> Option<Feed> {
    let mut fields = Fields::of(node, report)?;
    let at = fields.require("at", node.place, report).and_then(|node| report.parsed(node, |text| times(text, true)));
    let servers = context.servers.meant(&mut fields, Some(node.place), report);
    let entries = fields.require("series", node.place, report).and_then(|node| report.mapping(node));
    let mut series = Vec::new();
    for (key, value) in entries.unwrap_or(&[]) {
        let read = context.series(key.place, &key.text, &servers, report);
        let course = course::course(value, report);
        if let (Some(course), Some((from, until, step))) = (&course, at) {
            course::check(course, from, until, step, value.place, report);
        }
        series.extend(read.zip(course));
    }
    fields.finish(report);
    let (from, until, step) = at?;
    Some(Feed { from, until, step, servers, series })
}

fn outcomes(node: &Node, context: &Context<'_>, report: &mut Report<'_>) -> BTreeMap<String, Vec<Effect>> {
    let mut outcomes = BTreeMap::new();
    for (key, value) in report.mapping(node).unwrap_or(&[]) {
        if context.catalogue.action(&key.text).is_none() {
            report.unknown(key.place, "action", &key.text, context.catalogue.actions.iter().map(|a| a.name));
        }
        let effects = match &value.kind {
            NodeKind::Sequence(items) if !items.is_empty() => {
                items.iter().take(MAX_ENTRIES).filter_map(|item| effect(item, context, report)).collect()
            }
            NodeKind::Sequence(_) => {
                report.at(value.place, "at least one outcome is needed here".to_owned());
                Vec::new()
            }
            NodeKind::Mapping(_) | NodeKind::Scalar { .. } | NodeKind::Broken => {
                effect(value, context, report).into_iter().collect::<Vec<_>>()
            }
        };
        if !effects.is_empty() {
            outcomes.insert(key.text.clone(), effects);
        }
    }
    outcomes
}

fn effect(node: &Node, context: &Context<'_>, report: &mut Report<'_>) -> Option<Effect> {
    let mut fields = Fields::of(node, report)?;
    let after = fields.take("after").and_then(|node| report.parsed(node, time)).unwrap_or(Span::seconds(1));
    let status = fields.take("status").and_then(|node| report.word(node, "status", &STATUSES));
    let message = fields.take("message").and_then(|node| report.text(node)).unwrap_or_default();
    let servers = context.servers.meant(&mut fields, None, report);
    let mut sets = Vec::new();
    for (key, value) in fields.take("sets").and_then(|node| report.mapping(node)).unwrap_or(&[]) {
        let read = context.series(key.place, &key.text, &servers, report);
        let level = match course::course(value, report) {
            Some(Course::Steady(level)) => Some(level),
            Some(Course::Ramp(..) | Course::Cycle(_)) => {
                report.at(value.place, "an outcome sets one value: a number, `gone` or `unknown`".to_owned());
                None
            }
            None => None,
        };
        sets.extend(read.zip(level));
    }
    fields.finish(report);
    let status = status.unwrap_or(Status::Done);
    Some(Effect { after, status, message: quote(message), sets, servers })
}

fn away(node: &Node, context: &Context<'_>, report: &mut Report<'_>) -> Option<Away> {
    let mut fields = Fields::of(node, report)?;
    let at = fields.require("at", node.place, report).and_then(|node| report.parsed(node, |text| times(text, false)));
    let servers = context.servers.meant(&mut fields, Some(node.place), report);
    fields.finish(report);
    let (from, until, _) = at?;
    Some(Away { from, until, servers })
}

fn by(fields: &mut Fields<'_>, report: &mut Report<'_>) -> String {
    fields.take("by").and_then(|node| report.text(node)).map_or_else(|| "operator".to_owned(), quote)
}

fn approval(node: &Node, context: &Context<'_>, report: &mut Report<'_>) -> Option<Approval> {
    let mut fields = Fields::of(node, report)?;
    let at = fields.require("at", node.place, report).and_then(|node| report.parsed(node, time));
    let scenario = fields.require("scenario", node.place, report).and_then(|node| context.scenario(node, report));
    let server = fields.take("server").and_then(|node| context.servers.one(node, report));
    let by = by(&mut fields, report);
    fields.finish(report);
    Some(Approval { at: at?, scenario: scenario?, server, by })
}

fn asking(node: &Node, context: &Context<'_>, report: &mut Report<'_>) -> Option<Asking> {
    let mut fields = Fields::of(node, report)?;
    let at = fields.require("at", node.place, report).and_then(|node| report.parsed(node, time));
    let name_node = fields.require("name", node.place, report);
    let name = name_node.and_then(|node| report.text(node));
    let servers = context.servers.meant(&mut fields, Some(node.place), report);
    let by = by(&mut fields, report);
    let request = name.zip(context.policy).map(|(name, policy)| (policy.requests.get(name), name, policy));
    if let (Some((None, name, policy)), Some(node)) = (request, name_node) {
        report.unknown(node.place, "request", name, policy.requests.keys().map(String::as_str));
    }
    let known = request.and_then(|(request, ..)| request);
    let written = fields.take("parameters");
    let mut parameters = BTreeMap::new();
    for (key, value) in written.and_then(|node| report.mapping(node)).unwrap_or(&[]) {
        let Some(request) = known else { continue };
        match request.parameters.get(&key.text) {
            Some(kind) => {
                let value = report.parsed(value, |text| kind.parse(text));
                parameters.extend(value.map(|value| (key.text.clone(), value)));
            }
            None => report.unknown(key.place, "parameter", &key.text, request.parameters.keys().map(String::as_str)),
        }
    }
    let place = written.map_or(node.place, |node| node.place);
    let written: BTreeSet<&str> = match written.map(|node| &node.kind) {
        Some(NodeKind::Mapping(entries)) => entries.iter().map(|(key, _)| key.text.as_str()).collect(),
        Some(NodeKind::Scalar { .. } | NodeKind::Sequence(_) | NodeKind::Broken) | None => BTreeSet::new(),
    };
    for name in known.into_iter().flat_map(|r| r.parameters.keys()).filter(|name| !written.contains(name.as_str())) {
        report.at(place, format!("the request's parameter `{name}` is missing"));
    }
    fields.finish(report);
    Some(Asking { at: at?, request: name?.to_owned(), parameters, servers, by })
}

impl Context<'_> {
    fn scenario(&self, node: &Node, report: &mut Report<'_>) -> Option<ScenarioName> {
        let text = report.text(node)?;
        let name = report.parsed(node, |text| ScenarioName::new(text).map_err(|e| e.to_string()))?;
        if let Some(policy) = self.policy
            && !policy.scenarios.contains_key(&name)
        {
            report.unknown(node.place, "scenario", text, policy.scenarios.keys().map(ScenarioName::as_str));
            return None;
        }
        Some(name)
    }

    /// A series as a sensor gives it, and as each of the servers has a sensor for it.
    fn series(&self, place: Place, text: &str, servers: &[ServerId], report: &mut Report<'_>) -> Option<SeriesKey> {
        if text.is_empty() {
            return None;
        }
        let key: SeriesKey = match text.parse() {
            Ok(key) => key,
            Err(_) => {
                let text = quote(text);
                report.at(place, format!("`{text}` is not a series: write 'disk.used_ratio{{mount=\"/\"}}' in quotes"));
                return None;
            }
        };
        let Some((sensor, spec)) = self.catalogue.series(&key.name) else {
            report.unknown(place, "series", &key.name, self.catalogue.series_names());
            return None;
        };
        let Some(sensor) = sensor else {
            report.at(
                place,
                format!("`{}` is the controller's own: write when servers are away under `disconnected`", key.name),
            );
            return None;
        };
        labels_fit(&key, spec, place, report);
        for server in servers {
            let (Some(policy), Some(labels)) = (self.policy, self.servers.labels.get(server)) else { continue };
            let profiles: Vec<&str> = policy.profiles_for(labels).into_iter().map(|(name, _)| name).collect();
            if policy.sensors_for(labels).iter().all(|used| used.sensor != sensor.name) {
                let message = match profiles.as_slice() {
                    [] => format!("{server} runs no sensors at all: no profile's `match` fits its labels {labels}"),
                    [one] => {
                        format!("{server} has no `{}`: its profile `{one}` runs no `{}` sensor", key.name, sensor.name)
                    }
                    more => format!(
                        "{server} has no `{}`: none of its profiles ({}) runs a `{}` sensor",
                        key.name,
                        more.join(", "),
                        sensor.name
                    ),
                };
                report.at(place, message);
                break;
            }
        }
        Some(key)
    }
}

/// Whether a series has the labels that its sensor gives it.
fn labels_fit(key: &SeriesKey, spec: &SeriesSpec, place: Place, report: &mut Report<'_>) {
    if let Some(missing) = spec.labels.iter().find(|label| key.labels.get(label).is_none()) {
        let all: Vec<String> = spec.labels.iter().map(|label| format!("{label}=\"...\"")).collect();
        report.at(place, format!("the label `{missing}` is missing: write '{}{{{}}}'", key.name, all.join(",")));
    }
    let more = key.labels.iter().find(|(name, _)| !spec.open_labels && !spec.labels.contains(name));
    if let Some((name, _)) = more {
        report.unknown(place, &format!("label of `{}`,", key.name), name, spec.labels.iter().copied());
    }
}
