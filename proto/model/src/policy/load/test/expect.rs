//! `expect:`.

use std::collections::BTreeMap;

use super::super::report::{Fields, Report};
use super::super::yaml::Node;
use super::{Context, list, time};
use crate::incident::{Rail, State};
use crate::policy::Scope;
use crate::policy::test::{Expectation, Moment, Wanted};

const STATES: [(&str, State); 10] = [
    ("acting", State::Acting),
    ("cleared", State::Cleared),
    ("contained", State::Contained),
    ("escalated", State::Escalated),
    ("observed", State::Observed),
    ("pending", State::Pending),
    ("resolved", State::Resolved),
    ("superseded", State::Superseded),
    ("verifying", State::Verifying),
    ("waiting", State::Waiting),
];
const RAILS: [(&str, Rail); 16] = [
    ("approval", Rail::Approval),
    ("blast_radius", Rail::BlastRadius),
    ("breaker", Rail::Breaker),
    ("common_cause", Rail::CommonCause),
    ("cooldown", Rail::Cooldown),
    ("destructive", Rail::Destructive),
    ("expired", Rail::Expired),
    ("flapping", Rail::Flapping),
    ("halt", Rail::Halt),
    ("journal", Rail::Journal),
    ("maintenance", Rail::Maintenance),
    ("rate", Rail::Rate),
    ("readings", Rail::Readings),
    ("server", Rail::Server),
    ("startup", Rail::Startup),
    ("target", Rail::Target),
];

pub(super) fn expectation(node: &Node, context: &Context<'_>, report: &mut Report<'_>) -> Option<Expectation> {
    let mut fields = Fields::of(node, report)?;
    let within = fields.take("within").map(|node| report.parsed(node, time).map(Moment::Within));
    let at = fields.take("at").map(|node| report.parsed(node, time).map(Moment::At));
    let when = match (within, at) {
        (Some(when), None) | (None, Some(when)) => when,
        (Some(_), Some(_)) => {
            report.at(node.place, "`within` and `at` exclude each other".to_owned());
            None
        }
        (None, None) => {
            report.at(node.place, "when is missing: `within: 10m` (by then), or `at: 10m` (just then)".to_owned());
            None
        }
    };
    let there = fields.take("incident");
    let none = fields.take("no_incident");
    let wanted = match (there, none) {
        (Some(what), None) => wanted(what, true, context, report).map(|wanted| (true, wanted)),
        (None, Some(what)) => wanted(what, false, context, report).map(|wanted| (false, wanted)),
        (Some(_), Some(_)) => {
            report.at(node.place, "`incident` and `no_incident` exclude each other: make two entries".to_owned());
            None
        }
        (None, None) => {
            report.at(
                node.place,
                "what is expected is missing: `incident: { scenario: NAME, ... }`, or `no_incident:`".to_owned(),
            );
            None
        }
    };
    fields.finish(report);
    let (there, incident) = wanted?;
    Some(Expectation { line: node.place.line, when: when?, there, incident })
}

fn wanted(node: &Node, there: bool, context: &Context<'_>, report: &mut Report<'_>) -> Option<Wanted> {
    let mut fields = Fields::of(node, report)?;
    let named = fields.require("scenario", node.place, report).map(|node| context.scenario(node, report));
    let server_node = fields.take("server");
    let server = server_node.and_then(|node| context.servers.one(node, report));
    let cluster_node = fields.take("cluster");
    let cluster = cluster_node.and_then(|node| report.text(node)).map(str::to_owned);
    let mut labels = BTreeMap::new();
    for (key, value) in fields.take("labels").and_then(|node| report.mapping(node)).unwrap_or(&[]) {
        labels.extend(report.text(value).map(|text| (key.text.clone(), text.to_owned())));
    }
    let state = fields.take("state").and_then(|node| report.word(node, "state", &STATES));
    // What is not to be has no steps.
    let (mut steps, mut notices, mut held) = (None, None, None);
    if there {
        steps = fields.take("steps").map(|node| {
            list(Some(node), report, |item, report| {
                let name = report.text(item)?;
                if context.catalogue.action(name).is_none() {
                    report.unknown(item.place, "action", name, context.catalogue.actions.iter().map(|a| a.name));
                }
                Some(name.to_owned())
            })
        });
        notices = fields.take("notices").and_then(|node| report.whole(node, 0, 1000));
        held = fields.take("held").and_then(|node| report.word(node, "rail", &RAILS));
    }
    fields.finish(report);
    let scenario = named??;
    if let Some(found) = context.policy.and_then(|policy| policy.scenarios.get(&scenario)) {
        if let (Some(node), Scope::Cluster | Scope::Fleet) = (server_node, found.scope) {
            report.at(node.place, format!("`{scenario}` is not about single servers: leave `server` out"));
        }
        if let (Some(node), Scope::Server | Scope::Fleet) = (cluster_node, found.scope) {
            report.at(node.place, format!("`{scenario}` is not about clusters: leave `cluster` out"));
        }
    }
    Some(Wanted { scenario, server, cluster, labels, state, steps, notices, held })
}
