//! What there is, for programs.

use serde_json::{Value, json};
use skynet_model::value::ParamSpec;

use super::lookup::Choice;

/// `{"sensors":[...],"actions":[...],"functions":[...]}`.
pub(super) fn json(choice: &Choice) -> String {
    let sensors = choice.sensors.iter().map(|sensor| {
        let series = sensor.series.iter().map(|s| {
            json!({"name": s.name, "labels": s.labels, "open_labels": s.open_labels, "unit": s.unit.as_str(),
                "ephemeral": s.ephemeral, "help": s.help})
        });
        json!({"name": sensor.name, "help": sensor.help, "every": sensor.every, "params": params(sensor.params),
            "series": series.collect::<Vec<_>>()})
    });
    let actions = choice.actions.iter().map(|action| {
        json!({"name": action.name, "help": action.help, "risk": action.risk, "idempotence": action.idempotence,
            "deadline": action.deadline, "inverse": action.inverse, "params": params(action.params)})
    });
    let functions = choice.functions.iter().map(|function| {
        json!({"name": function.name, "kind": function.kind.as_str(), "usage": function.usage, "help": function.help})
    });
    let (sensors, actions, functions): (Vec<Value>, Vec<Value>, Vec<Value>) =
        (sensors.collect(), actions.collect(), functions.collect());
    json!({"sensors": sensors, "actions": actions, "functions": functions}).to_string()
}

fn params(specs: &[ParamSpec]) -> Vec<Value> {
    let param = |spec: &ParamSpec| {
        json!({"name": spec.name, "kind": spec.kind.to_string(), "required": spec.required, "default": spec.default,
            "help": spec.help})
    };
    specs.iter().map(param).collect()
}
