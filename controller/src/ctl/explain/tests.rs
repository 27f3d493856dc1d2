use skynet_model::catalogue::{ActionSpec, Idempotence, Risk, SensorSpec, SeriesSpec, Unit};
use skynet_model::time::Span;
use skynet_model::value::{ParamKind, ParamSpec};

use super::*;

const fn param(name: &'static str, kind: ParamKind, default: Option<&'static str>, help: &'static str) -> ParamSpec {
    ParamSpec { name, kind, required: default.is_none(), default, help }
}

static DISK: SensorSpec = SensorSpec {
    name: "disk",
    help: "file systems",
    every: Span::seconds(30),
    params: &[param("mounts", ParamKind::List(&ParamKind::Path), Some(""), "only these")],
    series: &[
        SeriesSpec {
            name: "disk.used_ratio",
            labels: &["mount"],
            open_labels: false,
            unit: Unit::Ratio,
            ephemeral: false,
            help: "used share",
        },
        SeriesSpec {
            name: "disk.x",
            labels: &[],
            open_labels: true,
            unit: Unit::Any,
            ephemeral: true,
            help: "this | that",
        },
    ],
};
static CPU: SensorSpec =
    SensorSpec { name: "cpu", help: "processors", every: Span::seconds(1), params: &[], series: &[] };
static BLOCK: ActionSpec = ActionSpec {
    name: "firewall.block",
    help: "blocks an address",
    params: &[
        param("ip", ParamKind::Ip, None, "which"),
        param("ttl", ParamKind::Duration, Some("1h"), "for how long"),
        param("how", ParamKind::Word(&["drop", "reject"]), Some("drop"), "in which way"),
    ],
    risk: Risk::Reversible,
    idempotence: Idempotence::Declarative,
    deadline: Span::seconds(30),
    inverse: Some("firewall.unblock"),
};
static CATALOGUE: Catalogue = Catalogue { sensors: &[&CPU, &DISK], actions: &[&BLOCK] };

fn choice(what: Option<&str>, name: Option<&str>) -> Choice {
    Choice::of(what, name, &CATALOGUE).unwrap()
}

fn failure(what: &str, name: Option<&str>) -> String {
    Choice::of(Some(what), name, &CATALOGUE).unwrap_err().to_string()
}

#[test]
fn what_there_is_is_listed() {
    let text = pages::page(&choice(None, None), false).render(false);
    assert!(
        text.starts_with(
            "\
SENSORS
  NAME  EVERY  READS
  cpu   1s     processors
  disk  30s    file systems

The controller itself gives server.connected for every server.

ACTIONS
  NAME            RISK        DOES
  firewall.block  reversible  blocks an address

FUNCTIONS
"
        ),
        "{text}"
    );
}

#[test]
fn a_sensor_is_explained_by_its_name_and_by_that_of_a_series() {
    let expected = "\
Sensor      disk
Reads       file systems
Every       30s unless `every` says otherwise

PARAMETERS
  NAME    VALUE         DEFAULT  MEANING
  mounts  list of path  empty    only these

SERIES
  SERIES                  UNIT   MEANING
  disk.used_ratio{mount}  ratio  used share
  disk.x{...}             any    this | that; gone counts as cured
";
    for (what, name) in [("disk", None), ("disk.used_ratio", None), ("sensor", Some("disk"))] {
        assert_eq!(pages::page(&choice(Some(what), name), true).render(false), expected, "{what}");
    }
}

#[test]
fn an_action_is_explained_with_its_risk_and_what_a_crash_does() {
    assert_eq!(
        pages::page(&choice(Some("action"), Some("firewall.block")), true).render(false),
        "\
Action      firewall.block
Does        blocks an address
Risk        reversible
Crash       declarative: after a crash it is run again
Deadline    30s
Undone by   firewall.unblock

PARAMETERS
  NAME  VALUE        DEFAULT   MEANING
  ip    ip           required  which
  ttl   duration     1h        for how long
  how   drop|reject  drop      in which way
"
    );
}

#[test]
fn an_unknown_name_comes_with_the_nearest_known_one() {
    assert_eq!(failure("dsk", None), "nothing is called `dsk` (did you mean `disk`?); `skynetctl explain` lists all");
    assert!(failure("sensor", Some("firewall.block")).starts_with("nothing is called `firewall.block`;"));
    assert!(failure("server.conected", None).contains("server.connected"));
    assert!(matches!(Choice::of(Some("sensr"), Some("disk"), &CATALOGUE), Err(Failure::Usage(_))));
}

#[test]
fn programs_get_the_whole_entry() {
    let value: serde_json::Value = serde_json::from_str(&values::json(&choice(Some("firewall.block"), None))).unwrap();
    assert_eq!(value["sensors"].as_array().unwrap().len(), 0);
    let action = &value["actions"][0];
    assert_eq!((&action["risk"], &action["deadline"]), (&"reversible".into(), &"30s".into()));
    assert_eq!((&action["params"][0]["required"], &action["params"][1]["default"]), (&true.into(), &"1h".into()));
}

#[test]
fn the_reference_has_tables_that_hold() {
    let text = markdown::document(&choice(None, None));
    for line in [
        "### disk",
        "File systems. Every 30s by default.",
        "| `mounts` | list of path | empty | only these |",
        "| `disk.x{...}` | any | this \\| that; gone counts as cured |",
        "| `ttl` | duration | `1h` | for how long |",
        "| `how` | drop\\|reject | `drop` | in which way |",
        "- Undone by: `firewall.unblock`",
        "| `absent(x)` | presence | true when the connected server does not have the series |",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
    assert!(!text.contains("\n\n\n"));
}
