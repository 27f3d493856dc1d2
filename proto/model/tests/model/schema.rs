//! The JSON Schema against the loader: what loads is valid, what has a fault of shape is not, and the keys are the same.

use std::collections::BTreeSet;

use serde_json::Value;
use skynet_model::policy::{File, load, schema};

use crate::broken;
use crate::catalogue::CATALOGUE;

fn validator() -> jsonschema::Validator {
    jsonschema::draft7::new(&schema(&CATALOGUE)).unwrap()
}

/// The documents of a text, as a YAML language server sees them.
fn documents(text: &str) -> Vec<Value> {
    // YAML 1.2: `no` and `on` are text.
    let options = serde_saphyr::options! { strict_booleans: true };
    let mut documents = vec![String::new()];
    for line in text.lines() {
        match line {
            "---" => documents.push(String::new()),
            line => {
                let document = documents.last_mut().unwrap();
                document.push_str(line);
                document.push('\n');
            }
        }
    }
    documents
        .iter()
        .filter(|d| !d.trim().is_empty())
        .map(|d| serde_saphyr::from_str_with_options(d, options.clone()).unwrap())
        .collect()
}

/// What is wrong with a text by the schema alone.
fn faults(validator: &jsonschema::Validator, text: &str) -> Vec<String> {
    documents(text).iter().flat_map(|d| validator.iter_errors(d).map(|e| e.to_string()).collect::<Vec<_>>()).collect()
}

#[test]
fn the_schema_is_one_itself() {
    assert!(jsonschema::draft7::meta::is_valid(&schema(&CATALOGUE)));
}

#[test]
fn what_loads_is_valid() {
    let validator = validator();
    for text in [
        include_str!("../policies/good/base.yaml"),
        include_str!("../policies/good/scenarios.yaml"),
        include_str!("../policies/good/people.yaml"),
        include_str!("../policies/good/odd.yaml"),
    ] {
        assert_eq!(faults(&validator, text), Vec::<String>::new());
    }
}

#[test]
fn faults_of_shape_are_found_without_the_loader() {
    let validator = validator();
    let mut checked = 0;
    for (name, text) in broken::corpus().into_iter().filter(|(name, _)| name.starts_with("shape-")) {
        assert!(!faults(&validator, &text).is_empty(), "{name}: the schema finds nothing");
        checked += 1;
    }
    assert!(checked >= 80, "{checked}");
}

#[test]
fn keys_are_those_the_loader_asks_for() {
    let schema = schema(&CATALOGUE);
    for kind in ["contact", "customer", "fleet", "never", "profile", "request", "route", "scenario", "script"] {
        let properties = schema["definitions"][kind]["properties"].as_object().unwrap();
        let ours: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
        let text = match kind {
            "scenario" => "scenario: a\nwhen: load.one > 1\nqqqqqqqqqqqqqqqqqqqqq: 1\n".to_owned(),
            kind => format!("{kind}: a\nqqqqqqqqqqqqqqqqqqqqq: 1\n"),
        };
        let told = load(&[File { name: "p".to_owned(), text }], &CATALOGUE).unwrap_err();
        let message = &told.iter().find(|d| d.message.starts_with("unknown key")).unwrap().message;
        let listed = message.split_once("there are ").unwrap().1;
        let theirs: BTreeSet<&str> = listed.split(", ").collect();
        assert_eq!(ours, theirs, "{kind}");
    }
}

#[test]
fn every_sensor_and_action_is_there_with_its_parameters() {
    let schema = schema(&CATALOGUE);
    let sensors = &schema["definitions"]["profile"]["properties"]["sensors"]["items"]["anyOf"][1]["properties"];
    for sensor in CATALOGUE.sensors {
        for param in sensor.params {
            assert!(sensors[sensor.name]["properties"].get(param.name).is_some(), "{} {}", sensor.name, param.name);
        }
    }
    let steps = &schema["definitions"]["scenario"]["properties"]["respond"]["items"]["allOf"];
    assert_eq!(steps.as_array().unwrap().len(), CATALOGUE.actions.len());
}
