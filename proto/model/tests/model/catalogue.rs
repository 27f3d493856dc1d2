//! A small catalogue in the shape of the real one.

use skynet_model::catalogue::{ActionSpec, Catalogue, Idempotence, Risk, SensorSpec, SeriesSpec, Unit};
use skynet_model::time::Span;
use skynet_model::value::{ParamKind, ParamSpec};

const fn series(name: &'static str, labels: &'static [&'static str], unit: Unit) -> SeriesSpec {
    SeriesSpec { name, labels, open_labels: false, unit, ephemeral: false, help: "" }
}

const fn of_process(name: &'static str, unit: Unit) -> SeriesSpec {
    SeriesSpec { ephemeral: true, ..series(name, &["pid", "start", "name", "user"], unit) }
}

const fn sensor(
    name: &'static str,
    every: i64,
    params: &'static [ParamSpec],
    series: &'static [SeriesSpec],
) -> SensorSpec {
    SensorSpec { name, help: "", every: Span::seconds(every), params, series }
}

const fn param(name: &'static str, kind: ParamKind) -> ParamSpec {
    ParamSpec { name, kind, required: false, default: None, help: "" }
}

const fn needed(name: &'static str, kind: ParamKind) -> ParamSpec {
    ParamSpec { required: true, ..param(name, kind) }
}

const fn defaulting(name: &'static str, kind: ParamKind, default: &'static str) -> ParamSpec {
    ParamSpec { default: Some(default), ..param(name, kind) }
}

const fn action(
    name: &'static str,
    params: &'static [ParamSpec],
    risk: Risk,
    inverse: Option<&'static str>,
) -> ActionSpec {
    let (idempotence, deadline) = (Idempotence::Declarative, Span::seconds(30));
    ActionSpec { name, help: "", params, risk, idempotence, deadline, inverse }
}

const UNIT: &[ParamSpec] = &[needed("unit", ParamKind::Unit)];

static CPU: SensorSpec = sensor("cpu", 1, &[], &[series("cpu.busy_ratio", &[], Unit::Ratio)]);
static DISK: SensorSpec = sensor(
    "disk",
    30,
    &[param("mounts", ParamKind::List(&ParamKind::Path))],
    &[
        series("disk.used_ratio", &["mount"], Unit::Ratio),
        series("disk.free_bytes", &["mount"], Unit::Bytes),
        series("disk.inodes_used_ratio", &["mount"], Unit::Ratio),
    ],
);
static EXEC: SensorSpec = sensor(
    "exec",
    60,
    &[
        needed("script", ParamKind::Script),
        param("args", ParamKind::List(&ParamKind::Text)),
        defaulting("timeout", ParamKind::Duration, "10s"),
        defaulting("format", ParamKind::Word(&["nagios", "prometheus", "json"]), "nagios"),
    ],
    &[
        series("exec.value", &["check", "metric"], Unit::Any),
        series("exec.state", &["check"], Unit::State),
        SeriesSpec { open_labels: true, ..series("prom.*", &[], Unit::Any) },
    ],
);
static LOAD: SensorSpec = sensor("load", 1, &[], &[series("load.one", &[], Unit::Count)]);
static MEMORY: SensorSpec = sensor("memory", 1, &[], &[series("memory.used_ratio", &[], Unit::Ratio)]);
static NETWORK: SensorSpec = sensor(
    "network",
    1,
    &[],
    &[
        series("network.rx_bytes_per_s", &["interface"], Unit::BytesPerSecond),
        series("network.errors_total", &["interface"], Unit::Count),
    ],
);
static PROCESS: SensorSpec = sensor(
    "process",
    10,
    &[defaulting("top", ParamKind::Int { min: 1, max: 50 }, "5")],
    &[
        series("process.count", &[], Unit::Count),
        of_process("process.cpu_ratio", Unit::Ratio),
        of_process("process.memory_bytes", Unit::Bytes),
    ],
);
static SERVICE: SensorSpec = sensor(
    "service",
    10,
    &[
        param("units", ParamKind::List(&ParamKind::Unit)),
        param("pid_file", ParamKind::Path),
        param("start", ParamKind::Script),
        param("stop", ParamKind::Script),
    ],
    &[series("service.up", &["unit"], Unit::Bool)],
);

static FILES_DELETE: ActionSpec = action(
    "files.delete",
    &[needed("path", ParamKind::PathGlob), defaulting("older_than", ParamKind::Duration, "0s")],
    Risk::Destructive,
    None,
);
static FIREWALL_BLOCK: ActionSpec = action(
    "firewall.block",
    &[needed("ip", ParamKind::Ip), defaulting("ttl", ParamKind::Duration, "1h")],
    Risk::Reversible,
    Some("firewall.unblock"),
);
static JOURNAL_VACUUM: ActionSpec =
    action("journal.vacuum", &[needed("keep", ParamKind::Size)], Risk::Disruptive, None);
static PROCESS_SIGNAL: ActionSpec = action(
    "process.signal",
    &[
        needed("pid", ParamKind::Int { min: 2, max: 4_194_304 }),
        needed("start", ParamKind::Int { min: 0, max: i64::MAX }),
        needed("signal", ParamKind::Word(&["TERM", "KILL", "HUP"])),
    ],
    Risk::Disruptive,
    None,
);
static SCRIPT_RUN: ActionSpec = action(
    "script.run",
    &[
        needed("script", ParamKind::Script),
        param("args", ParamKind::List(&ParamKind::Text)),
        param("env", ParamKind::List(&ParamKind::Text)),
    ],
    Risk::Disruptive,
    None,
);
static SERVICE_RELOAD: ActionSpec = action("service.reload", UNIT, Risk::Reversible, None);
static SERVICE_RESTART: ActionSpec = action("service.restart", UNIT, Risk::Disruptive, None);
static SERVICE_START: ActionSpec = action("service.start", UNIT, Risk::Reversible, Some("service.stop"));
static SERVICE_STOP: ActionSpec = action("service.stop", UNIT, Risk::Disruptive, Some("service.start"));

pub(crate) static CATALOGUE: Catalogue = Catalogue {
    sensors: &[&CPU, &DISK, &EXEC, &LOAD, &MEMORY, &NETWORK, &PROCESS, &SERVICE],
    actions: &[
        &FILES_DELETE,
        &FIREWALL_BLOCK,
        &JOURNAL_VACUUM,
        &PROCESS_SIGNAL,
        &SCRIPT_RUN,
        &SERVICE_RELOAD,
        &SERVICE_RESTART,
        &SERVICE_START,
        &SERVICE_STOP,
    ],
};
