//! Requests, customers, targets and the fleet's own document.

use skynet_model::name::ScenarioName;
use skynet_model::policy::{
    File, Match, Order, Pick, Policy, RAILS, RailKind, Scope, StepTarget, Target, Wave, Where, load,
};
use skynet_model::series::Labels;
use skynet_model::value::ParamKind;

use crate::catalogue::CATALOGUE;

fn policy(texts: &[&str]) -> Policy {
    let files: Vec<File> = texts
        .iter()
        .enumerate()
        .map(|(i, text)| File { name: format!("{i}.yaml"), text: (*text).to_owned() })
        .collect();
    load(&files, &CATALOGUE).unwrap_or_else(|e| panic!("{e:#?}"))
}

/// Every mistake of one document, a line each.
fn told(text: &str) -> String {
    let files = [File { name: "p".to_owned(), text: text.to_owned() }];
    load(&files, &CATALOGUE).err().into_iter().flatten().map(|d| format!("{d}\n")).collect()
}

#[test]
fn requests_and_customers_load_as_they_are_written() {
    let policy = policy(&[include_str!("../policies/good/base.yaml"), include_str!("../policies/good/people.yaml")]);
    let report = &policy.requests["report"];
    assert_eq!(report.parameters["about"], ParamKind::Text);
    assert!(matches!(report.parameters["days"], ParamKind::Int { .. }));
    assert_eq!(policy.requests["unblock"].phrases.len(), 3);
    let acme = &policy.customers["acme"];
    assert_eq!(acme.servers, Match([("cluster".to_owned(), "shop-1".to_owned())].into()));
    assert_eq!(acme.from, ["it@acme.example", "boss@acme.example"]);
    assert_eq!(acme.may, ["unblock"]);
    assert_eq!(acme.challenge, Some(Target::Mail("owner@acme.example".to_owned())));
    assert_eq!(policy.customers["other"].challenge, Some(Target::Sms("+351900000000".to_owned())));
}

#[test]
fn what_is_written_oddly_loads_all_the_same() {
    let policy = policy(&[include_str!("../policies/good/odd.yaml")]);
    assert_eq!((policy.fleet.name.as_str(), policy.fleet.signers), ("42", 2));
    assert_eq!(policy.fleet.rails["blast_radius"], 0.005);
    assert_eq!(policy.profiles["7"].sensors.len(), 5);
    assert_eq!(policy.scripts["s"].body, "true");
    assert_eq!(policy.nevers["some"].with["pid"], ["7", "8"]);
}

#[test]
fn a_scenario_answers_a_request_on_the_servers_it_names() {
    let policy = policy(&[include_str!("../policies/good/base.yaml"), include_str!("../policies/good/people.yaml")]);
    let scenario = &policy.scenarios[&ScenarioName::new("unblock-request").unwrap()];
    assert_eq!((scenario.scope, scenario.on_request.as_deref()), (Scope::Server, Some("unblock")));
    assert!(scenario.when.is_none());
    assert_eq!(scenario.per, ["ip"], "the request's parameters are the incident's labels");
    let [first, second] = scenario.respond.as_slice() else { panic!("{:?}", scenario.respond) };
    assert_eq!(first.target, Some(StepTarget::Request));
    let params = first.render(&Labels::new([("ip", "203.0.113.7")])).unwrap();
    assert_eq!(params["ip"].as_text(), Some("203.0.113.7"));
    assert!(first.render(&Labels::new([("ip", "203.0.113.7; reboot")])).is_err());
    let Some(StepTarget::Pick(Pick { selects: Where::Labels(labels), pick: Some(2), order: Some(order) })) =
        &second.target
    else {
        panic!("{:?}", second.target)
    };
    assert_eq!(labels.0["role"], "lb");
    let Order { highest: true, by } = order else { panic!("{order:?}") };
    assert!((by.value(&[0.25]) - 0.5).abs() < 1e-9, "an order is a number of each server");
}

#[test]
fn every_rail_can_be_set_and_only_in_its_own_form() {
    for rail in RAILS {
        let (good, kept) = match rail.kind {
            RailKind::Share => ("25%", 0.25),
            RailKind::Count => ("7", 7.0),
            RailKind::Length => ("90s", 90.0),
        };
        let fleet = policy(&[&format!("fleet: f\nrails: {{ {}: {good} }}\n", rail.name)]).fleet;
        assert_eq!(fleet.rails[rail.name], kept, "{}", rail.name);
        policy(&[&format!("fleet: f\nrails: {{ {}: {} }}\n", rail.name, rail.default)]);
        for bad in ["0", "-1", "many", "101%", "0%", "40d"] {
            assert_eq!(told(&format!("fleet: f\nrails: {{ {}: {bad} }}\n", rail.name)).lines().count(), 1, "{bad}");
        }
    }
}

#[test]
fn the_docs_name_every_rail_with_its_default() {
    let docs = include_str!("../../../../docs/policy.md");
    for rail in RAILS {
        let (name, default) = (rail.name, rail.default);
        let row = docs.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        assert!(row.is_some_and(|row| row.contains(&format!("| {default} | {} |", rail.help))), "{name}: {row:?}");
    }
}

#[test]
fn waves_rise_and_end_with_everything() {
    let waves = |text: &str| policy(&[&format!("fleet: f\nrollout: {{ waves: {text} }}\n")]).fleet.waves;
    assert_eq!(waves("[1, 10, 5%, 100%]"), [Wave::Count(1), Wave::Count(10), Wave::Share(0.05), Wave::Share(1.0)]);
    assert_eq!(waves("[100%]"), [Wave::Share(1.0)], "all at once");
    for (bad, expected) in [
        ("[]", "1 to 16 waves"),
        ("[1, 1, 100%]", "not larger than the one before"),
        ("[5%, 1, 100%]", "not larger than the one before"),
        ("[25%, 5%, 100%]", "not larger than the one before"),
        ("[1, 50%]", "end the list with `100%`"),
        ("[1]", "end the list with `100%`"),
        ("[half, 100%]", "is not a wave"),
        ("[1.5, 100%]", "is not a wave"),
    ] {
        let lines = told(&format!("fleet: f\nrollout: {{ waves: {bad} }}\n"));
        assert!(lines.contains(expected) && lines.lines().count() == 1, "{bad}: {lines}");
    }
}

#[test]
fn phrases_that_could_mean_two_things_are_told() {
    let two = |parameters: (&str, &str), phrases: (&str, &str)| {
        told(&format!(
            "request: a\nparameters: {{ {} }}\nphrases: [\"{}\"]\n---\nrequest: b\nparameters: {{ {} }}\nphrases: [\"{}\"]\n",
            parameters.0, phrases.0, parameters.1, phrases.1
        ))
    };
    for (parameters, phrases, clash) in [
        (("x: ip", "x: ip"), ("open {x}", "close {x}"), false),
        (("x: ip", "x: ip"), ("open {x}", "open {x}"), true),
        (("x: ip", "y: ip"), ("Open  {x}", "open {y}"), true),
        (("x: ip", "x: integer"), ("open {x}", "open {x}"), false),
        (("x: ip", "x: host"), ("open {x}", "open {x}"), true),
        (("x: unit", "y: ip"), ("stop {x}", "{y} stop"), false),
        (("x: unit", ""), ("stop {x}", "stop everything"), true),
        (("x: ip", ""), ("stop {x}", "stop everything"), false),
        (("x: text", ""), ("say {x}", "say it to me"), true),
        (("x: text", ""), ("say {x} now", "say it to me"), false),
        (("x: text", "x: text"), ("say {x} now", "say me {x}"), true),
        (("x: text", "x: text"), ("{x} now", "now {x}"), true),
        (("x: text", ""), ("say {x} now", "say now"), false),
    ] {
        let lines = two(parameters, phrases);
        assert_eq!(lines.contains("the same words could mean"), clash, "{phrases:?}: {lines}");
        assert_eq!(lines.lines().count(), usize::from(clash), "{phrases:?}: {lines}");
    }
}
