//! What there is, for people.

use skynet_model::catalogue::{ActionSpec, Idempotence, SERVER_CONNECTED, SensorSpec, SeriesSpec};
use skynet_model::condition::FunctionSpec;
use skynet_model::value::ParamSpec;

use super::super::page::{Ink, Page, Table};
use super::super::words::risk_word;
use super::lookup::Choice;

/// Lists, or everything in full.
pub(super) fn page(choice: &Choice, full: bool) -> Page {
    let mut page = Page::new();
    if full {
        for (i, part) in parts(choice).into_iter().enumerate() {
            if i > 0 {
                page.line([]);
            }
            page.append(part);
        }
    } else {
        lists(&mut page, choice);
    }
    page
}

fn parts(choice: &Choice) -> Vec<Page> {
    let sensors = choice.sensors.iter().map(|s| sensor(s));
    let own = choice.own.then(own);
    sensors
        .chain(own)
        .chain(choice.actions.iter().map(|a| action(a)))
        .chain(choice.functions.iter().map(|f| function(f)))
        .collect()
}

fn lists(page: &mut Page, choice: &Choice) {
    if !choice.sensors.is_empty() {
        page.heading("SENSORS");
        let mut table = Table::new(&["NAME", "EVERY", "READS"]).indent(2);
        for sensor in &choice.sensors {
            table.row([Ink::Cyan.on(sensor.name), sensor.every.to_string().into(), sensor.help.into()]);
        }
        page.table(table);
    }
    if choice.own {
        page.line([]);
        page.line([
            "The controller itself gives ".into(),
            Ink::Cyan.on(SERVER_CONNECTED.name),
            " for every server.".into(),
        ]);
    }
    if !choice.actions.is_empty() {
        page.heading("ACTIONS");
        let mut table = Table::new(&["NAME", "RISK", "DOES"]).indent(2);
        for action in &choice.actions {
            table.row([Ink::Cyan.on(action.name), risk_word(action.risk).into(), action.help.into()]);
        }
        page.table(table);
    }
    if !choice.functions.is_empty() {
        page.heading("FUNCTIONS");
        let mut table = Table::new(&["NAME", "WRITTEN", "GIVES"]).indent(2);
        for function in &choice.functions {
            table.row([Ink::Cyan.on(function.name), function.usage.into(), function.help.into()]);
        }
        page.table(table);
    }
}

fn sensor(sensor: &SensorSpec) -> Page {
    let mut page = Page::new();
    page.field("Sensor", [Ink::Bold.on(sensor.name)]);
    page.field("Reads", [sensor.help.into()]);
    page.field("Every", [format!("{} unless `every` says otherwise", sensor.every).into()]);
    params(&mut page, sensor.params);
    page.heading("SERIES");
    let mut table = Table::new(&["SERIES", "UNIT", "MEANING"]).indent(2);
    for series in sensor.series {
        table.row([Ink::Cyan.on(series_text(series)), series.unit.as_str().into(), meaning(series).into()]);
    }
    page.table(table);
    page
}

/// The controller's own series.
fn own() -> Page {
    let series = &SERVER_CONNECTED;
    let mut page = Page::new();
    page.field("Series", [Ink::Bold.on(series.name)]);
    page.field("Means", [format!("{}; the controller itself gives it for every server", series.help).into()]);
    page.field("Unit", [series.unit.as_str().into()]);
    page
}

fn action(action: &ActionSpec) -> Page {
    let mut page = Page::new();
    page.field("Action", [Ink::Bold.on(action.name)]);
    page.field("Does", [action.help.into()]);
    page.field("Risk", [risk_word(action.risk).into()]);
    page.field("Crash", [idempotence(action.idempotence).into()]);
    page.field("Deadline", [action.deadline.to_string().into()]);
    if let Some(inverse) = action.inverse {
        page.field("Undone by", [Ink::Cyan.on(inverse)]);
    }
    params(&mut page, action.params);
    page
}

fn function(function: &FunctionSpec) -> Page {
    let mut page = Page::new();
    page.field("Function", [Ink::Bold.on(function.name)]);
    page.field("Written", [function.usage.into()]);
    page.field("Gives", [function.help.into()]);
    page.field("Kind", [function.kind.as_str().into()]);
    page
}

fn params(page: &mut Page, specs: &[ParamSpec]) {
    page.heading("PARAMETERS");
    if specs.is_empty() {
        page.paragraph("none", 2);
        return;
    }
    let mut table = Table::new(&["NAME", "VALUE", "DEFAULT", "MEANING"]).indent(2);
    for spec in specs {
        table.row([Ink::Cyan.on(spec.name), spec.kind.to_string().into(), default_text(spec).into(), spec.help.into()]);
    }
    page.table(table);
}

/// What holds when a parameter is not given.
pub(super) fn default_text(spec: &ParamSpec) -> &'static str {
    match (spec.required, spec.default) {
        (true, _) => "required",
        (false, Some("")) => "empty",
        (false, Some(default)) => default,
        (false, None) => "none",
    }
}

/// A series with the names of its labels: `disk.used_ratio{mount}`.
pub(super) fn series_text(series: &SeriesSpec) -> String {
    let mut labels = series.labels.to_vec();
    if series.open_labels {
        labels.push("...");
    }
    if labels.is_empty() { series.name.to_owned() } else { format!("{}{{{}}}", series.name, labels.join(",")) }
}

/// What a series means, and what its being gone does.
pub(super) fn meaning(series: &SeriesSpec) -> String {
    format!("{}{}", series.help, if series.ephemeral { "; gone counts as cured" } else { "" })
}

/// What is done when a crash leaves open whether an action ran.
pub(super) fn idempotence(idempotence: Idempotence) -> &'static str {
    match idempotence {
        Idempotence::Declarative => "declarative: after a crash it is run again",
        Idempotence::Probeable => "probeable: after a crash it is found out whether it ran",
        Idempotence::Once => "once: after a crash it is not run again, and reported as indeterminate",
    }
}
