//! `scenario:`.

mod target;

pub(in crate::policy) use target::MAX_PICK;

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::params::{self, Holes};
use super::profile::labels;
use super::report::{Fields, Place, Report};
use super::yaml::{Node, NodeKind};
use super::{Document, Names, request, template};
use crate::catalogue::{Catalogue, Risk};
use crate::condition::{Condition, SeriesRef, Slot, TextTest, WindowRef};
use crate::diagnostic::nearest;
use crate::name::ScenarioName;
use crate::policy::{Limits, Mode, ParamText, Request, Scenario, Scope, Script, Severity, Step, StepTarget, Where};
use crate::series::Labels;
use crate::time::Span;
use crate::value::{ParamKind, Value};

/// Most steps of `respond`.
pub(in crate::policy) const MAX_STEPS: usize = 16;
/// The words for severities.
pub(in crate::policy) const SEVERITIES: [(&str, Severity); 3] =
    [("info", Severity::Info), ("warning", Severity::Warning), ("critical", Severity::Critical)];
/// The words for modes.
pub(in crate::policy) const MODES: [(&str, Mode); 2] = [("observe", Mode::Observe), ("enforce", Mode::Enforce)];
/// The words for scopes.
pub(in crate::policy) const SCOPES: [(&str, Scope); 3] =
    [("server", Scope::Server), ("cluster", Scope::Cluster), ("fleet", Scope::Fleet)];
/// What only belongs to a scenario with `when`.
const OF_WHEN: [&str; 4] = ["for", "per", "scope", "when"];

/// What a scenario is checked against.
pub(super) struct Context<'a> {
    pub(super) names: &'a Names,
    pub(super) scripts: &'a BTreeMap<String, Script>,
    /// Those that could be read.
    pub(super) requests: &'a BTreeMap<String, Request>,
    pub(super) catalogue: &'a Catalogue,
}

pub(super) fn scenario(
    document: &Document<'_>,
    fields: &mut Fields<'_>,
    context: &Context<'_>,
    report: &mut Report<'_>,
) -> Option<Scenario> {
    let place = document.place;
    let selects = fields.take("where").map_or(Some(Where::Declaring), |node| selects(node, context, report));
    let cause = match fields.take("on_request") {
        Some(node) => on_request(node, fields, context, report),
        None => on_condition(place, fields, context, report),
    };
    let instance = &cause.instance;
    let hold = fields.take("for").and_then(|node| report.span(node)).unwrap_or(Span(0));
    let clear = fields.take("clear").and_then(|node| instance.condition(node, context, report));
    let settle = fields.take("settle").and_then(|node| report.span(node)).unwrap_or(Span(0));
    let severity = fields.take("severity").and_then(|node| report.word(node, "severity", &SEVERITIES));
    let mode = fields.take("mode").and_then(|node| report.word(node, "mode", &MODES));
    let summary = fields.take("summary").and_then(|node| summary(node, instance, report));
    let respond = steps(fields.take("respond"), &cause, context, report);
    let escalate = fields.take("escalate").and_then(|node| {
        let name = report.text(node)?;
        if !context.names.routes.contains(name) {
            report.unknown(node.place, "route", name, context.names.routes.iter().map(String::as_str));
        }
        Some(name.to_owned())
    });
    let limits = fields.take("limits").map(|node| limits(node, report)).unwrap_or_default();
    if cause.on_request.is_some() && respond.is_empty() && !fields.has("respond") {
        report.at(place, "the key `respond` is missing: nothing would be done for the request".to_owned());
    }
    Some(Scenario {
        name: ScenarioName::new(&document.name).ok()?,
        digest: digest(document, &respond, context.scripts),
        scope: cause.scope?,
        selects: selects?,
        when: cause.when,
        on_request: cause.on_request,
        clear,
        per: cause.instance.labels,
        hold,
        settle,
        severity: severity.unwrap_or_default(),
        mode: mode.unwrap_or_default(),
        summary,
        respond,
        escalate,
        limits,
    })
}

/// What sets a scenario off, and what its incidents are about.
struct Cause {
    /// None: it could not be read.
    scope: Option<Scope>,
    when: Option<Condition>,
    on_request: Option<String>,
    instance: Instance,
    /// Whether the cause was read without fault.
    fine: bool,
}

fn on_condition(place: Place, fields: &mut Fields<'_>, context: &Context<'_>, report: &mut Report<'_>) -> Cause {
    let scope = fields.take("scope").map_or(Some(Scope::Server), |node| report.word(node, "scope", &SCOPES));
    let node = fields.take("when");
    if node.is_none() {
        report.at(place, "the key `when` is missing: what sets the scenario off (or `on_request`)".to_owned());
    }
    let when = node.and_then(|node| condition(node, context, report));
    if let (Some(node), Some(when), Some(scope)) = (node, &when, scope) {
        target::check_when(when, scope, node, report);
    }
    let instance = instance(fields.take("per"), when.as_ref(), scope.unwrap_or_default(), report);
    if let (Some(node), Some(when)) = (node, &when) {
        instance.check_texts(when, node, report);
    }
    let fine = when.is_some() && scope.is_some();
    Cause { scope, when, on_request: None, instance, fine }
}

/// A scenario that answers a request: its incidents have the request's parameters as labels.
fn on_request(node: &Node, fields: &mut Fields<'_>, context: &Context<'_>, report: &mut Report<'_>) -> Cause {
    let name = request::known_request(node, context.names, report);
    for key in OF_WHEN {
        if let Some(place) = fields.refuse(key) {
            let message = match key {
                "when" => "a scenario has `when` or `on_request`, not both: write two".to_owned(),
                _ => format!("`{key}` goes with `when`; a request names its servers and parameters itself"),
            };
            report.at(place, message);
        }
    }
    let request = name.as_ref().and_then(|name| context.requests.get(name));
    let labels = request.map(|r| r.parameters.keys().cloned().collect()).unwrap_or_default();
    // Of a request that could not be read nothing is known.
    let instance = Instance { labels, open: request.is_none(), scope: Scope::Server, what: "request's parameters" };
    Cause { scope: Some(Scope::Server), when: None, fine: name.is_some(), on_request: name, instance }
}

fn selects(node: &Node, context: &Context<'_>, report: &mut Report<'_>) -> Option<Where> {
    let entries = report.mapping(node)?;
    if entries.is_empty() {
        report
            .at(node.place, "an empty `where` selects no server: leave it out, or name labels or a profile".to_owned());
        return None;
    }
    let Some((_, profile)) = entries.iter().find(|(key, _)| key.text == "profile") else {
        return Some(Where::Labels(labels(node, report)));
    };
    if let Some((other, _)) = entries.iter().find(|(key, _)| key.text != "profile") {
        report.at(other.place, "`where` takes a profile or labels, not both".to_owned());
    }
    let name = report.text(profile)?;
    if !context.names.profiles.contains(name) {
        report.unknown(profile.place, "profile", name, context.names.profiles.iter().map(String::as_str));
    }
    Some(Where::Profile(name.to_owned()))
}

/// Compiles a condition; its mistakes are told at their places within the file.
fn condition(node: &Node, context: &Context<'_>, report: &mut Report<'_>) -> Option<Condition> {
    let text = report.text(node)?;
    match Condition::compile(text, context.catalogue) {
        Ok(condition) => Some(condition),
        Err(errors) => {
            for error in errors {
                report.suggest(node.place_of(error.offset), error.message, error.suggestion);
            }
            None
        }
    }
}

/// What tells a scenario's instances from each other.
struct Instance {
    /// Sorted.
    labels: Vec<String>,
    /// Whether a series may bring labels of its own, so that no label can be called unknown.
    open: bool,
    /// How far the scenario looks.
    scope: Scope,
    /// What the labels are called in a message.
    what: &'static str,
}

/// All that a condition reads, within `servers.*` too.
fn all_slots(condition: &Condition) -> impl Iterator<Item = &Slot> {
    let inner = condition.slots().iter().filter_map(|slot| match slot {
        Slot::Servers(servers) => Some(servers.of.slots()),
        Slot::Series(_) | Slot::Absent(_) | Slot::Text(_) | Slot::Window(_) | Slot::Fold(_) => None,
    });
    condition.slots().iter().chain(inner.flatten())
}

/// The series whose label sets make instances: those that are read as they are or looked back over, within `servers.*`
/// too. Those a condition only asks about with `absent()` have no label sets to join; those in a fold bring what `per`
/// names.
fn read_series(condition: &Condition) -> impl Iterator<Item = &SeriesRef> {
    all_slots(condition).filter_map(|slot| match slot {
        Slot::Series(series) | Slot::Window(WindowRef { of: series, .. }) => Some(series),
        Slot::Absent(_) | Slot::Text(_) | Slot::Fold(_) | Slot::Servers(_) => None,
    })
}

/// The series a condition folds.
fn folded_series(condition: &Condition) -> impl Iterator<Item = &SeriesRef> {
    all_slots(condition).filter(|slot| matches!(slot, Slot::Fold(_))).filter_map(Slot::series)
}

/// Reads `per`: by default all labels of the series in `when` that are not inside a fold.
fn instance(per: Option<&Node>, when: Option<&Condition>, scope: Scope, report: &mut Report<'_>) -> Instance {
    let what = "scenario's instances";
    let all: BTreeSet<&String> = when.into_iter().flat_map(read_series).flat_map(|s| &s.labels).collect();
    // Without a condition nothing is known: what follows from it shall not be told as well.
    let open = when.is_none_or(|when| read_series(when).any(|s| s.open));
    let Some(node) = per else {
        return Instance { labels: all.into_iter().cloned().collect(), open, scope, what };
    };
    let folded: BTreeSet<&String> = when.into_iter().flat_map(folded_series).flat_map(|s| &s.labels).collect();
    let any = open || when.is_some_and(|when| folded_series(when).any(|s| s.open));
    let mut labels = BTreeSet::new();
    let mut fine = true;
    for item in report.list(node).unwrap_or(&[]) {
        let Some(label) = report.text(item) else {
            fine = false;
            continue;
        };
        if !any && !all.iter().chain(&folded).any(|l| *l == label) {
            report.unknown(item.place, "label", label, all.union(&folded).map(|l| l.as_str()));
            fine = false;
        }
        labels.insert(label.to_owned());
    }
    let left_out = when.into_iter().flat_map(read_series).find_map(|series| {
        series.labels.iter().find(|l| !labels.contains(*l)).map(|label| (label.clone(), series.name.clone()))
    });
    if let (true, Some((label, series)), NodeKind::Sequence(_)) = (fine, &left_out, &node.kind) {
        report.at(
            node.place,
            format!(
                "`per` leaves out `{label}`, a label of `{series}`: name it, choose one with `.where({{...}})`, or put \
                 `total`, `highest` or `lowest` around the series"
            ),
        );
    }
    let labels = match fine && left_out.is_none() {
        true => labels.into_iter().collect(),
        // What follows from the mistake shall not be told as well.
        false => all.into_iter().cloned().chain(labels).collect::<BTreeSet<_>>().into_iter().collect(),
    };
    Instance { labels, open, scope, what }
}

impl Instance {
    /// A condition about an instance that exists: `clear` or `verify`.
    fn condition(&self, node: &Node, context: &Context<'_>, report: &mut Report<'_>) -> Option<Condition> {
        let condition = condition(node, context, report)?;
        target::check_scope(&condition, self.scope, node, report);
        self.check_texts(&condition, node, report);
        for series in read_series(&condition) {
            let more = series.labels.iter().find(|label| !self.has(label));
            if let Some(label) = more {
                let at = place_of_word(node, &series.name);
                let message = format!(
                    "`{}` has the label `{label}`, which this scenario's instances do not have: choose one with \
                     `.where({{...}})`, or put `total`, `highest` or `lowest` around it",
                    series.name
                );
                report.at(at, message);
            }
        }
        Some(condition)
    }

    /// Checks `label.x`.
    fn check_texts(&self, condition: &Condition, node: &Node, report: &mut Report<'_>) {
        for slot in all_slots(condition) {
            if let Slot::Text(TextTest { of_server: false, label, .. }) = slot
                && !self.has(label)
            {
                let has = if self.labels.is_empty() { "none".to_owned() } else { self.labels.join(", ") };
                let message = format!("this scenario's instances have no label `{label}` (they have: {has})");
                let suggestion = nearest(label, self.labels.iter().map(String::as_str));
                report.suggest(place_of_word(node, &format!("label.{label}")), message, suggestion);
            }
        }
    }

    fn has(&self, label: &String) -> bool {
        self.open || self.labels.contains(label)
    }
}

fn place_of_word(node: &Node, word: &str) -> Place {
    let text = node.text().unwrap_or_default();
    node.place_of(text.find(word).map_or(0, |byte| text[..byte].chars().count()))
}

fn summary(node: &Node, instance: &Instance, report: &mut Report<'_>) -> Option<String> {
    let text = report.text(node)?;
    let labels = Labels::new(instance.labels.iter().map(|label| (label, "x")));
    if let Err(message) = template::check(text, &labels, instance.open) {
        report.at(node.place, message);
    }
    Some(text.to_owned())
}

fn steps(node: Option<&Node>, cause: &Cause, context: &Context<'_>, report: &mut Report<'_>) -> Vec<Step> {
    let items = node.and_then(|node| report.list(node)).unwrap_or(&[]);
    if let Some(node) = items.get(MAX_STEPS) {
        report.at(node.place, format!("`respond` has at most {MAX_STEPS} steps"));
    }
    items.iter().take(MAX_STEPS).filter_map(|item| step(item, cause, context, report)).collect()
}

fn step(node: &Node, cause: &Cause, context: &Context<'_>, report: &mut Report<'_>) -> Option<Step> {
    let mut fields = Fields::of(node, report)?;
    let instance = &cause.instance;
    let action = fields.need("do", "the action, like `do: service.restart`", node.place, report).and_then(|node| {
        let name = report.text(node)?;
        let action = context.catalogue.action(name);
        if action.is_none() {
            report.unknown(node.place, "action", name, context.catalogue.actions.iter().map(|a| a.name));
        }
        action.map(|action| (action, node.place))
    });
    let with = fields.take("with");
    // Without a known action nothing can be said about parameters.
    let with = action.map(|(action, place)| {
        let holes = Holes { labels: &instance.labels, open: instance.open, what: instance.what };
        params::of_step(action.params, with, place, &holes, context.names, report)
    });
    let approve = fields.take("approve").and_then(|node| report.truth(node));
    let verify = fields.take("verify").and_then(|node| instance.condition(node, context, report));
    let verify_within = fields.take("verify_within").and_then(|node| report.span(node));
    let target = step_target(&mut fields, node.place, cause, context, report);
    fields.finish(report);
    let (action, _) = action?;
    Some(Step {
        action,
        with: with?,
        target: target?,
        approve: approve.unwrap_or(action.risk == Risk::Destructive),
        verify,
        verify_within: verify_within.unwrap_or(Span::minutes(2)),
    })
}

/// Outside server scope a step names its servers; inside it they are the incident's own. None: it was wrong.
#[expect(clippy::option_option, reason = "wrong, not there, there")]
fn step_target(
    fields: &mut Fields<'_>,
    place: Place,
    cause: &Cause,
    context: &Context<'_>,
    report: &mut Report<'_>,
) -> Option<Option<StepTarget>> {
    let asked = cause.on_request.is_some();
    let Some(node) = fields.take("target") else {
        match (asked, cause.scope) {
            _ if !cause.fine => {}
            (true, _) => {
                report
                    .at(place, "the step names no servers: write `target: request`, for those asked about".to_owned());
                return None;
            }
            (false, Some(Scope::Cluster | Scope::Fleet)) => {
                let message = "the step names no servers: write `target: { where: { role: lb }, pick: 1 }`";
                report.at(place, message.to_owned());
                return None;
            }
            (false, Some(Scope::Server) | None) => {}
        }
        return Some(None);
    };
    if cause.fine && !asked && cause.scope == Some(Scope::Server) {
        let message = "in the scope `server` a step is done on the incident's own server: take `target` away";
        report.at(node.place, message.to_owned());
        return None;
    }
    target::target(node, asked || !cause.fine, context, report).map(Some)
}

fn limits(node: &Node, report: &mut Report<'_>) -> Limits {
    let Some(mut fields) = Fields::of(node, report) else { return Limits::default() };
    let limits = Limits {
        cooldown: fields.take("cooldown").and_then(|node| report.span(node)),
        per_hour: fields.take("per_hour").and_then(|node| report.whole(node, 1, 10_000)),
        blast_radius: fields.take("blast_radius").and_then(|node| report.share(node)),
    };
    fields.finish(report);
    limits
}

/// SHA-256 over the document's canonical form and the scripts its steps run.
fn digest(document: &Document<'_>, steps: &[Step], scripts: &BTreeMap<String, Script>) -> String {
    let mut bytes = Vec::new();
    document.root.canonical(&mut bytes);
    let mut hash = Sha256::new();
    hash.update(&bytes);
    let mut used = BTreeSet::new();
    for step in steps {
        for spec in step.action.params.iter().filter(|p| p.kind == ParamKind::Script) {
            if let Some(ParamText::Literal(Value::Text(name))) = step.with.get(spec.name) {
                used.insert(name);
            }
        }
    }
    for (name, script) in used.into_iter().filter_map(|name| scripts.get(name).map(|s| (name, s))) {
        for text in [name, &script.interpreter, &script.body] {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}
