//! A small catalogue: what the tests' policies may name.

use skynet_model::catalogue::{ActionSpec, Catalogue, Idempotence, Risk, SensorSpec, SeriesSpec, Unit};
use skynet_model::time::Span;
use skynet_model::value::{ParamKind, ParamSpec};

const fn series(name: &'static str, labels: &'static [&'static str], ephemeral: bool) -> SeriesSpec {
    SeriesSpec { name, labels, open_labels: false, unit: Unit::Any, ephemeral, help: "" }
}

const fn sensor(name: &'static str, series: &'static [SeriesSpec]) -> SensorSpec {
    SensorSpec { name, help: "", every: Span::seconds(1), params: &[], series }
}

const fn param(name: &'static str, kind: ParamKind) -> ParamSpec {
    ParamSpec { name, kind, required: true, default: None, help: "" }
}

const fn action(name: &'static str, params: &'static [ParamSpec], risk: Risk) -> ActionSpec {
    let deadline = Span::seconds(30);
    ActionSpec { name, help: "", params, risk, idempotence: Idempotence::Declarative, deadline, inverse: None }
}

pub(crate) const CATALOGUE: Catalogue = Catalogue {
    sensors: &[
        &sensor("auth", &[series("auth.failures_per_min", &["ip", "user"], true)]),
        &sensor("cpu", &[series("cpu.busy_ratio", &[], false)]),
        &sensor("disk", &[series("disk.used_ratio", &["mount"], false), series("disk.slow", &["mount"], false)]),
        &sensor("http", &[series("http.up", &["name"], false)]),
        &sensor("load", &[series("load.one", &[], false)]),
        &sensor("network", &[series("network.errors_total", &["interface"], false)]),
        &sensor("process", &[series("process.cpu_ratio", &["pid"], true)]),
        &sensor("service", &[series("service.up", &["unit"], false)]),
    ],
    actions: &[
        &action("disk.tidy", &[param("mount", ParamKind::Text)], Risk::Reversible),
        &action("disk.wipe", &[param("mount", ParamKind::Text)], Risk::Destructive),
        &action(
            "process.signal",
            &[
                param("pid", ParamKind::Int { min: 2, max: 4_194_304 }),
                param("signal", ParamKind::Word(&["TERM", "KILL"])),
            ],
            Risk::Disruptive,
        ),
        &action("service.restart", &[param("unit", ParamKind::Unit)], Risk::Disruptive),
    ],
};
