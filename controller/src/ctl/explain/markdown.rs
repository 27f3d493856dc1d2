//! What there is, as the reference in the docs.

use std::fmt::Write as _;

use skynet_model::catalogue::SERVER_CONNECTED;
use skynet_model::value::ParamSpec;

use super::super::words::risk_word;
use super::lookup::Choice;
use super::pages::{default_text, idempotence, meaning, series_text};

/// The whole document.
pub(super) fn document(choice: &Choice) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write(choice, &mut out);
    out
}

fn write(choice: &Choice, out: &mut String) -> std::fmt::Result {
    out.push_str(
        "# Reference: sensors, actions, functions\n\nWritten by `skynetctl explain --all -o markdown`; change the \
         catalogue's entries beside the code, not this file. The format around them is in [policy.md](policy.md).\n",
    );
    if !choice.sensors.is_empty() {
        out.push_str("\n## Sensors\n\nEvery sensor takes `every`, and `name` where it may be used more than once.\n");
    }
    for sensor in &choice.sensors {
        write!(out, "\n### {}\n\n{}. Every {} by default.\n", sensor.name, sentence(sensor.help), sensor.every)?;
        params(sensor.params, out)?;
        out.push_str("\n| series | unit | meaning |\n|---|---|---|\n");
        for series in sensor.series {
            let (name, unit) = (series_text(series), series.unit.as_str());
            writeln!(out, "| `{}` | {unit} | {} |", cell(&name), cell(&meaning(series)))?;
        }
    }
    if choice.own {
        out.push_str("\n### The controller's own series\n\n| series | unit | meaning |\n|---|---|---|\n");
        let (name, unit) = (SERVER_CONNECTED.name, SERVER_CONNECTED.unit.as_str());
        writeln!(out, "| `{name}` | {unit} | {} |", cell(SERVER_CONNECTED.help))?;
    }
    if !choice.actions.is_empty() {
        out.push_str("\n## Actions\n");
    }
    for action in &choice.actions {
        write!(out, "\n### {}\n\n{}.\n\n", action.name, sentence(action.help))?;
        writeln!(out, "- Risk: {}", risk_word(action.risk))?;
        writeln!(out, "- {}", sentence(idempotence(action.idempotence)))?;
        writeln!(out, "- Deadline: {}", action.deadline)?;
        if let Some(inverse) = action.inverse {
            writeln!(out, "- Undone by: `{inverse}`")?;
        }
        params(action.params, out)?;
    }
    if !choice.functions.is_empty() {
        out.push_str("\n## Functions of conditions\n\n| function | kind | gives |\n|---|---|---|\n");
    }
    for function in &choice.functions {
        let (usage, help) = (cell(function.usage), cell(function.help));
        writeln!(out, "| `{usage}` | {} | {help} |", function.kind.as_str())?;
    }
    Ok(())
}

fn params(specs: &[ParamSpec], out: &mut String) -> std::fmt::Result {
    if specs.is_empty() {
        return Ok(());
    }
    out.push_str("\n| parameter | value | default | meaning |\n|---|---|---|---|\n");
    for spec in specs {
        let default = default_text(spec);
        let default = if spec.default.is_some_and(|d| !d.is_empty()) && !spec.required {
            format!("`{}`", cell(default))
        } else {
            default.to_owned()
        };
        writeln!(out, "| `{}` | {} | {default} | {} |", spec.name, cell(&spec.kind.to_string()), cell(spec.help))?;
    }
    Ok(())
}

/// A text within a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// With a capital, without a full stop.
fn sentence(text: &str) -> String {
    let text = text.trim_end_matches('.');
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
