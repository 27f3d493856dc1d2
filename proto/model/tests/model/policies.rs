use std::collections::BTreeSet;

use skynet_model::diagnostic::Diagnostic;
use skynet_model::incident::Subject;
use skynet_model::name::{ScenarioName, ServerId};
use skynet_model::policy::{
    File, MAX_FILE_BYTES, MAX_FILES, Mode, Policy, Scenario, Severity, Target, Wave, Where, load, load_sensors,
};
use skynet_model::series::Labels;
use skynet_model::time::Span;
use skynet_model::value::Value;

use crate::catalogue::CATALOGUE;
use crate::random::Random;

const BASE: &str = include_str!("../policies/good/base.yaml");
const SCENARIOS: &str = include_str!("../policies/good/scenarios.yaml");

fn file(name: &str, text: &str) -> File {
    File { name: name.to_owned(), text: text.to_owned() }
}

fn good() -> Policy {
    told_none(&[file("base.yaml", BASE), file("scenarios.yaml", SCENARIOS)])
}

fn told_none(files: &[File]) -> Policy {
    load(files, &CATALOGUE).unwrap_or_else(|e| panic!("{}", lines(&e)))
}

fn lines(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(|d| format!("{d}\n")).collect()
}

/// Every mistake of one file called `p`, a line each.
fn told(text: &str) -> String {
    load(&[file("p", text)], &CATALOGUE).err().map(|e| lines(&e)).unwrap_or_default()
}

fn scenario<'p>(policy: &'p Policy, name: &str) -> &'p Scenario {
    &policy.scenarios[&ScenarioName::new(name).unwrap()]
}

fn web() -> Labels {
    Labels::new([("role", "web"), ("cluster", "shop-1")])
}

#[test]
fn sensors_alone_are_those_of_the_whole_policy_and_conditions_are_not_looked_at() {
    let files = [file("base.yaml", BASE), file("scenarios.yaml", SCENARIOS)];
    let (whole, sensors) = (good(), load_sensors(&files, &CATALOGUE).unwrap());
    assert_eq!(sensors.sensors_for(&web()), whole.sensors_for(&web()));
    assert_eq!(sensors.scripts, whole.scripts);
    assert!(sensors.scenarios.is_empty() && sensors.routes.is_empty());
    let broken = SCENARIOS.replacen("when: ", "when: this is no condition ", 1);
    let files = [file("base.yaml", BASE), file("scenarios.yaml", &broken)];
    assert!(load(&files, &CATALOGUE).is_err());
    assert!(load_sensors(&files, &CATALOGUE).is_ok());
    let files = [file("p", "profile: p\nmatch: { a: b }\nsensors: [telepathy]\n")];
    assert!(load_sensors(&files, &CATALOGUE).is_err(), "a profile's mistakes are told");
}

#[test]
fn a_whole_policy_loads_as_it_is_written() {
    let policy = good();
    assert_eq!(policy.fleet.name, "example");
    assert_eq!(policy.fleet.rails["blast_radius"], 0.05);
    assert_eq!(policy.fleet.rails["cooldown"], 900.0);
    assert_eq!(policy.fleet.waves, [Wave::Count(1), Wave::Share(0.05), Wave::Share(0.25), Wave::Share(1.0)]);
    let sensors = policy.sensors_for(&web());
    let ids: Vec<&str> = sensors.iter().map(|s| s.id.as_str()).collect();
    assert_eq!(ids, ["cpu", "disk", "process", "service", "service:worker", "exec:queue"]);
    assert_eq!(sensors[1].every, Span::seconds(30));
    assert_eq!(sensors[1].params["mounts"].texts().collect::<Vec<_>>(), ["/", "/var"]);
    assert_eq!(sensors[2].params["top"], Value::Int(5), "defaults are filled in");
    assert_eq!(sensors[5].params["args"].texts().collect::<Vec<_>>(), ["-w", "10"]);
    assert!(policy.scripts["start-worker"].body.ends_with("exec /usr/bin/worker\n"));
    let route = &policy.routes["oncall"];
    assert_eq!(route.tiers[0].to[2], Target::Console);
    assert_eq!((route.tiers[1].after, route.quiet.as_ref().unwrap().from), (Span::minutes(15), 23 * 60));
    let disk = scenario(&policy, "disk-filling");
    assert_eq!(disk.selects, Where::Profile("web".to_owned()));
    assert_eq!((disk.hold, disk.settle, disk.mode), (Span::minutes(2), Span::minutes(1), Mode::Enforce));
    assert_eq!(disk.per, ["mount"]);
    assert!(!disk.respond[1].approve);
    assert!(scenario(&policy, "clean-up").respond[0].approve, "destructive actions wait for approval by default");
    let process = scenario(&policy, "runaway-process");
    assert_eq!(process.per, ["name", "pid", "start", "user"]);
    assert_eq!((process.severity, process.respond[0].verify_within), (Severity::Warning, Span::seconds(10)));
    assert!(scenario(&policy, "worker-down").per.is_empty(), "selected labels leave the join");
}

#[test]
fn per_names_what_tells_instances_apart() {
    let per = |when: &str, more: &str| {
        let text = format!("scenario: a\nwhen: {when}\n{more}\n");
        let policy =
            load(&[File { name: "p".to_owned(), text }], &CATALOGUE).unwrap_or_else(|e| panic!("{when}: {e:?}"));
        policy.scenarios.values().next().unwrap().per.join(" ")
    };
    for (when, more, expected) in [
        ("avg(disk.used_ratio, \"5m\") > 1", "", "mount"),
        ("total(disk.used_ratio) > 1", "", ""),
        ("total(disk.used_ratio) > 1", "per: []", ""),
        ("total(disk.used_ratio) > 1", "per: [mount]", "mount"),
        ("total(process.cpu_ratio) > 1", "per: [user, name]", "name user"),
        ("total(process.cpu_ratio) > disk.used_ratio", "", "mount"),
        ("total(process.cpu_ratio) > disk.used_ratio", "per: [user, mount]", "mount user"),
        ("highest(prom.some_name) > 1", "per: [any]\nclear: total(prom.some_name) < 3 && label.any == \"x\"", "any"),
        ("total(rate(network.errors_total, \"5m\")) > 1", "clear: highest(disk.used_ratio) < 1", ""),
    ] {
        assert_eq!(per(when, more), expected, "{when} {more}");
    }
}

#[test]
fn scenarios_apply_where_their_sensors_run() {
    let policy = good();
    let applying = |labels: &Labels| -> BTreeSet<String> {
        policy.scenarios.values().filter(|s| policy.applies(s, labels)).map(|s| s.name.to_string()).collect()
    };
    assert_eq!(applying(&web()).len(), 6);
    let lone = Labels::new([("role", "lone")]);
    assert_eq!(applying(&lone), BTreeSet::from(["away".to_owned()]), "it runs neither disk nor process nor service");
    assert!(applying(&Labels::new([("role", "db")])).is_empty(), "no profile, no scenario");
    assert!(applying(&Labels::default()).is_empty());
    let idle = told_none(&[file("p", "profile: idle\nsensors: [cpu]\n")]);
    assert!(idle.sensors_for(&web()).is_empty(), "without `match` a profile is for no server");
    assert!(policy.sensors_for(&Labels::new([("role", "web")])).is_empty(), "every matcher must fit");
}

#[test]
fn steps_render_typed_parameters_and_nothing_else() {
    let policy = good();
    let step = &scenario(&policy, "runaway-process").respond[0];
    let render = |pid: &str| step.render(&Labels::new([("pid", pid), ("start", "7")]));
    let params = render("42").unwrap();
    assert_eq!((params["pid"].as_int(), params["signal"].as_text()), (Some(42), Some("TERM")));
    assert!(render("42; reboot").unwrap_err().to_string().contains("parameter `pid` of process.signal"));
    assert!(render("1").is_err(), "never init");
    assert!(step.render(&Labels::default()).unwrap_err().message.contains("no label `pid`"));
    let delete = &scenario(&policy, "disk-filling").respond[1];
    let path = |mount: &str| delete.render(&Labels::new([("mount", mount)])).map(|p| p["path"].to_string());
    assert_eq!(path("/var").as_deref(), Ok("/var/cache/*"));
    assert_eq!(path("/").as_deref(), Ok("/cache/*"));
    assert!(path("/var/../etc").is_err());
    let run = &scenario(&policy, "queue-long").respond[0];
    let params = run.render(&Labels::new([("check", "a b")])).unwrap();
    assert_eq!(params["args"].texts().collect::<Vec<_>>(), ["--check=a b", "plain"]);
}

#[test]
fn summaries_fall_back_on_plain_words() {
    let policy = good();
    let server = Subject::Server(ServerId::new("web1").unwrap());
    let labels = Labels::new([("mount", "/var")]);
    let disk = scenario(&policy, "disk-filling");
    assert_eq!(disk.summarize(&server, &labels, Some(0.934)), "web1 /var is 93 % full");
    assert_eq!(disk.summarize(&server, &labels, None), "disk-filling on web1 {mount=\"/var\"}");
    assert_eq!(scenario(&policy, "away").summarize(&server, &Labels::default(), None), "away on web1");
    let cluster = Subject::Cluster("shop-1".to_owned());
    assert_eq!(scenario(&policy, "away").summarize(&cluster, &Labels::default(), None), "away on cluster shop-1");
}

#[test]
fn digests_follow_the_text_and_its_scripts_but_not_the_layout() {
    let digests = |base: &str, scenarios: &str| {
        let policy = told_none(&[file("a.yaml", base), file("b.yaml", scenarios)]);
        policy.scenarios.iter().map(|(n, s)| (n.to_string(), s.digest.clone())).collect::<Vec<_>>()
    };
    let changed = |base: &str, scenarios: &str| -> Vec<String> {
        let before = digests(BASE, SCENARIOS);
        let after = digests(base, scenarios);
        before.into_iter().zip(after).filter(|(b, a)| b != a).map(|(b, _)| b.0).collect()
    };
    assert!(changed(BASE, &format!("# moved\n\n{}", SCENARIOS.replace("for: 2m", "for:   \"2m\"  # same"))).is_empty());
    assert_eq!(changed(BASE, &SCENARIOS.replace("for: 2m", "for: 3m")), ["disk-filling"]);
    assert_eq!(changed(&BASE.replace("echo \"OK", "echo \"Ok"), SCENARIOS), ["queue-long"]);
    assert_eq!(changed(&BASE.replace("exec /usr", "exec /opt"), SCENARIOS), ["worker-down"]);
}

#[test]
fn twenty_mistakes_give_twenty_messages_with_their_places() {
    let files = ["a.yaml", "b.yaml", "c.yaml"].map(|name| file(name, &std::fs::read_to_string(bad(name)).unwrap()));
    let diagnostics = load(&files, &CATALOGUE).unwrap_err();
    let text = lines(&diagnostics);
    let golden = std::fs::read_to_string(bad("expected.txt")).unwrap_or_default();
    assert_eq!(text, golden, "\n{text}");
    assert_eq!(diagnostics.len(), 20);
}

fn bad(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policies/bad").join(name)
}

#[test]
fn mistakes_of_every_kind_are_told() {
    let mut wrong = String::new();
    for (text, expected) in [
        ("a: 1\n", "p:1:1: a document's first key is its kind"),
        ("script: s\ninterpreter: /bin/sh\nbody: a: b\n", "is written in quotes"),
        ("script: s\ninterpreter: &x /bin/sh\nbody: b\n", "p:2:17: anchors (`&x`) are refused"),
        ("script: s\ninterpreter: *x\nbody: b\n", "p:2:14: aliases (`*x`) are refused"),
        ("script: s\ninterpreter: !!str /bin/sh\nbody: b\n", "p:2:20: tags (`!x`) are refused"),
        ("script: s\nbody: a\nbody: b\ninterpreter: /bin/sh\n", "p:3:1: the key `body` is written twice"),
        ("script: s\n\tbody: a\n", "this is not YAML"),
        ("%YAML 1.2\n---\nprofile: s\n", "p:1:1: this is not YAML: YAML directives are disallowed"),
        ("--- x\n", "p:1:5: a document begins on the line after"),
        ("script: s\ninterpreter: /bin/sh\nbody: b\n...\nscript: t\n", "a document ends at `---` only"),
        ("- a\n", "p:1:1: a document is a mapping"),
        ("[a]: b\n", "p:1:1: a key must be a plain word"),
        ("test: a sentence\n", "p:1:1: tests belong into"),
        ("scenari: x\n", "(did you mean `scenario`?)"),
        ("profile: No\n", "p:1:10: `No` is not a name"),
        ("profile:\n", "p:1:8: the profile has no name: write `profile: NAME`"),
        ("profile: a\n---\nprofile: a\n", "p:3:10: there is a profile called `a` at p:1 already"),
        ("fleet: a\n---\nfleet: b\n", "p:3:8: a policy has one `fleet:` document"),
        ("fleet: a\nrails: { blast_radis: 5% }\n", "p:2:10: unknown rail `blast_radis` (did you mean `blast_radius`?)"),
        ("fleet: a\nrails: { blast_radius: 0.05 }\n", "p:2:24: `0.05` is not a percentage of more than 0"),
        ("fleet: a\nrollout: { waves: [0] }\n", "p:2:20: `0` is not a wave"),
        ("fleet: a\nrollout: { waves: [] }\n", "p:2:19: a rollout has 1 to 16 waves"),
        ("profile: a\nsensors: [{ cpu: {}, disk: {} }]\n", "one to an item"),
        ("profile: a\nsensors: [cpu, cpu]\n", "p:2:16: the sensor `cpu` is used twice"),
        ("profile: a\nsensors:\n  - cpu: { every: 10ms }\n", "p:3:19: `every: 10ms` is not from 100ms to 1d"),
        ("profile: a\nsensors:\n  - exec: { name: q }\n", "p:3:5: the parameter `script` (script) is missing"),
        ("profile: a\nsensors:\n  - exec: { script: q }\n", "p:3:21: unknown script `q`"),
        ("profile: a\nsensors:\n  - disk: { mounts: / }\n", "p:3:21: a list is needed here"),
        ("script: a\ninterpreter: sh\nbody: b\n", "p:2:14: `sh` is not an absolute path"),
        ("script: a\ninterpreter: /bin/sh\n", "p:1:9: the key `body` is missing"),
        ("contact: a\nwebhook: { format: slack, credential: b }\n", "p:2:20: unknown format `slack`"),
        ("contact: a\nmail: x@example.net\n", "p:2:1: unknown key `mail`"),
        ("route: a\ntell: [{ to: [{ mail: nobody }] }]\n", "p:2:23: `nobody` is not a mail address"),
        ("route: a\ntell: [{ to: [{ sms: 12345 }] }]\n", "`12345` is not a telephone number"),
        ("route: a\ntell: [{ to: [{ contact: b }] }]\n", "unknown contact `b`"),
        ("route: a\ntell: [{ to: [{ mial: b }] }]\n", "unknown target `mial` (did you mean `mail`?)"),
        ("route: a\ntell: [{ to: [console] }]\nquiet: { from: 7, until: \"08:00\" }\n", "p:3:16: `7` is not a time"),
        (
            "never: a\nactions: [firewall.blok]\n",
            "p:2:11: unknown action `firewall.blok` (did you mean `firewall.block`?)",
        ),
        ("never: a\nactions: [firewall.block]\nwith: { ip: 10.0.0.0/33 }\n", "p:3:13: `10.0.0.0/33` is not an address"),
        ("never: a\nactions: [firewall.block]\nwith: { pi: 10.0.0.0/8 }\n", "p:3:9: unknown parameter `pi`"),
        ("never: a\nactions: []\n", "nothing would be refused"),
        ("scenario: a\n", "p:1:11: the key `when` is missing"),
        ("scenario: a\nwhen: true\n", "p:2:7: the condition names no series"),
        ("scenario: a\nwhen: load.one > 1\nwhere: {}\n", "an empty `where` selects no server"),
        ("scenario: a\nwhen: load.one > 1\nwhere: { profile: x }\n", "p:3:19: unknown profile `x`"),
        (
            "scenario: a\nwhen: load.one > 1\nscope: fleet\n",
            "p:2:7: `load.one` is of one server, and the scope is `fleet`",
        ),
        ("scenario: a\non_request: x\nrespond: []\n", "p:2:13: unknown request `x`"),
        ("scenario: a\nwhen: load.one > 1\nmode: enforced\n", "(did you mean `enforce`?)"),
        ("scenario: a\nwhen: load.one > 1\nfor: 2 minutes\n", "p:3:6: `2 minutes` is not a duration"),
        ("scenario: a\nwhen: load.one > 1\nfor: 40d\n", "p:3:6: `40d` is longer than 30 days"),
        ("scenario: a\nwhen: load.one > 1\nper: [mount]\n", "p:3:7: unknown label `mount`"),
        (
            "scenario: a\nwhen: total(disk.used_ratio) > 1\nper: [mont]\n",
            "p:3:7: unknown label `mont` (did you mean `mount`?)",
        ),
        (
            "scenario: a\nwhen: total(disk.used_ratio) > 1 && label.mount == \"/\"\n",
            "p:2:37: this scenario's instances have no label `mount`",
        ),
        (
            "scenario: a\nwhen: total(disk.used_ratio) > disk.free_bytes\nper: []\n",
            "p:3:6: `per` leaves out `mount`, a label of `disk.free_bytes`: name it, choose one with",
        ),
        (
            "scenario: a\nwhen: avg(disk.used_ratio, \"5m\") > 1\nper: []\n",
            "p:3:6: `per` leaves out `mount`, a label of `disk.used_ratio`",
        ),
        (
            "scenario: a\nwhen: total(disk.used_ratio) > 1\nclear: avg(disk.used_ratio, \"5m\") < 1\n",
            "p:3:12: `disk.used_ratio` has the label `mount`, which this scenario's instances do not have: choose one \
             with `.where({...})`, or put `total`, `highest` or `lowest` around it",
        ),
        (
            "scenario: a\nwhen: process.cpu_ratio > 1\nper: [pid]\n",
            "p:3:6: `per` leaves out `name`, a label of `process.cpu_ratio`",
        ),
        (
            "scenario: a\nwhen: load.one > 1\nclear: disk.used_ratio < 1\n",
            "p:3:8: `disk.used_ratio` has the label `mount`, which",
        ),
        (
            "scenario: a\nwhen: load.one > 1 && label.mount == \"x\"\n",
            "p:2:23: this scenario's instances have no label `mount`",
        ),
        (
            "scenario: a\nwhen: load.one > 1\nsummary: \"{{ mount }}\"\n",
            "p:3:10: the template uses a name that does not exist",
        ),
        ("scenario: a\nwhen: load.one > 1\nescalate: x\n", "p:3:11: unknown route `x`"),
        (
            "scenario: a\nwhen: load.one > 1\nrespond: [{ do: script.run, with: { script: \"${x}\" } }]\n",
            "never by a label",
        ),
        (
            "scenario: a\nwhen: load.one > 1\nrespond: [{ do: service.start, with: { unit: \"${x}\" } }]\n",
            "p:3:47: `${x}` is no label",
        ),
        (
            "scenario: a\nwhen: load.one > 1\nrespond: [{ do: service.start, target: request, with: { unit: x } }]\n",
            "p:3:40: in the scope `server` a step is done on the incident's own server",
        ),
        (
            "scenario: a\nwhen: load.one > 1\nrespond: [{ do: service.start }]\n",
            "p:3:17: the parameter `unit` (unit) is missing",
        ),
        ("scenario: a\nwhen: load.one > 1\nlimits: { per_hour: many }\n", "`many` is not a whole number"),
        ("scenario: a\nwhen: 'load.one > > 1'\n", "p:2:19: `>` cannot stand here"),
        ("scenario: a\nwhen: |\n  load.one > 1\n  && load.one > > 1\n", "p:4:17: `>` cannot stand here"),
    ] {
        let lines = told(text);
        // Where a key is mistaken, another is missing.
        let count = if text.starts_with("contact: a\nmail") { 2 } else { 1 };
        if !lines.contains(expected) || lines.lines().count() != count {
            wrong += &format!("{text}expected {expected}\n{lines}\n");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn yaml_1_2_words_are_text() {
    told_none(&[file("p", "profile: on\nmatch: { no: yes, off: on }\n")]);
}

#[test]
fn a_broken_document_hides_no_other_mistake_and_causes_none() {
    let text = "script: s\nbody: [\n---\nscenario: a\nwhen: load.one > 1\nmode: x\nrespond: [{ do: script.run, with: { script: s } }]\n";
    let lines = told(text);
    assert_eq!(lines.lines().count(), 2, "{lines}");
    assert!(lines.contains("this is not YAML") && lines.contains("p:6:7: unknown mode `x`"), "{lines}");
}

#[test]
fn policies_are_bounded() {
    let many: Vec<File> = (0..=MAX_FILES).map(|i| file(&format!("{i}.yaml"), "")).collect();
    assert!(lines(&load(&many, &CATALOGUE).unwrap_err()).contains("at most 1000 are read"));
    assert!(told(&"#".repeat(MAX_FILE_BYTES + 1)).contains("split it"));
    let large: Vec<File> = (0..9).map(|i| file(&format!("{i}.yaml"), &"#".repeat(MAX_FILE_BYTES))).collect();
    assert!(lines(&load(&large, &CATALOGUE).unwrap_err()).contains("at most 2097152 are read"));
    assert!(told(&"---\n".repeat(6000)).contains("more than 5000 documents"));
    let deep = format!("profile: a\nmatch: {}1{}\n", "[".repeat(5000), "]".repeat(5000));
    assert!(told(&deep).contains("this is not YAML"));
    let faulty = load(&[file("p", &"x: y\n---\n".repeat(4000))], &CATALOGUE).unwrap_err();
    assert_eq!(faulty.len(), 1000);
    assert!(faulty.last().unwrap().message.contains("the rest is not told"));
}

#[test]
fn lists_and_texts_are_bounded() {
    let nested = |n: usize| format!("profile: a\nmatch: {}1{}\n", "[".repeat(n), "]".repeat(n));
    assert!(told(&nested(15)).contains("a mapping is needed here"));
    assert!(told(&nested(17)).contains("this is not YAML"));
    let head = "scenario: a\nwhen: load.one > 1\n";
    let many = |item: &str, n: usize| vec![item; n].join(", ");
    for (text, expected) in [
        (format!("script: a\ninterpreter: /x\nbody: {}\n", "x".repeat(65537)), "at most 65536 are read"),
        (format!("{head}respond: [{}]\n", many("{ do: journal.vacuum, with: { keep: 1B } }", 17)), "at most 16 steps"),
        (
            format!("{head}respond: [{{ do: script.run, with: {{ script: s, args: [{}] }} }}]\n", many("x", 257)),
            "the list has 257 items",
        ),
        (format!("profile: a\nsensors: [{}]\n", many("x", 257)), "at most 256 sensors"),
        (format!("profile: a\nmatch: {{ a: {} }}\n", "x".repeat(257)), "is too long"),
        (format!("route: a\ntell: [{{ to: [{}] }}]\n", many("console", 65)), "1 to 64 targets"),
        (format!("route: a\ntell: [{}]\n", many("{ to: [console] }", 65)), "1 to 64 tiers"),
        ("route: a\ntell: [{ to: [] }]\n".to_owned(), "1 to 64 targets"),
        (format!("never: a\nactions: [service.stop]\nwith: {{ unit: [{}] }}\n", many("x", 1025)), "1025 items"),
        (format!("{head}summary: \"{{{{ {}1 }}}}\"\n", "1+".repeat(200)), "more than 256 bytes"),
        (format!("{head}for: {}\n", "1s".repeat(3000)), "is too long"),
        (format!("profile: {}\n", "a".repeat(65)), "is not a name"),
    ] {
        let lines = told(&text);
        assert!(lines.contains(expected), "{expected}: {lines}");
        assert!(lines.lines().all(|line| line.len() < 400), "{lines}");
    }
}

#[test]
fn test_files_are_left_out() {
    told_none(&[file("a.test.yaml", "test: anything\n")]);
}

#[test]
fn loading_never_panics_on_damaged_policies() {
    let run = || {
        let source = format!("{BASE}---\n{SCENARIOS}");
        let documents: Vec<&str> = source.split("---\n").collect();
        let mut random = Random(11);
        let (mut failed, mut loaded) = (0, 0);
        for _ in 0..crate::random::rounds(4000) {
            let mut bytes = random.pick(&documents).as_bytes().to_vec();
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len());
                match random.below(5) {
                    0 => bytes[at] = u8::try_from(random.below(256)).unwrap(),
                    1 => bytes[at] = *random.pick(b"{}[]:,#&*!|>'\"%@`-? \n\t~$.()0x\r"),
                    2 => drop(bytes.remove(at)),
                    3 => bytes.insert(at, *random.pick(b"{}[]:,#&*!|>'\"%@`-? \n\t~$.()0x\r")),
                    _ => bytes.truncate(at + 1),
                }
                if bytes.is_empty() {
                    bytes.push(b' ');
                }
            }
            match load(&[file("p", &String::from_utf8_lossy(&bytes))], &CATALOGUE) {
                Ok(_) => loaded += 1,
                Err(diagnostics) => {
                    assert!(!diagnostics.is_empty());
                    assert!(diagnostics.iter().all(|d| d.line > 0 && d.column > 0 && d.message.len() < 2000));
                    failed += 1;
                }
            }
        }
        assert!(failed > 1000 && loaded > 10, "{failed} failed, {loaded} loaded");
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(run).unwrap().join().unwrap();
}

/// `UPDATE_GOLDEN=1` writes the file where it is missing and never changes it.
#[test]
fn a_bundle_of_format_1_is_read_for_ever() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policies/golden/bundle-1.bundle");
    let files = vec![File { name: "a.yaml".to_owned(), text: "fleet: demo\n".to_owned() }];
    let expires = skynet_model::time::Timestamp(1_800_000_000_000);
    let bundle = skynet_model::policy::Bundle { format: 1, fleet: "demo".to_owned(), version: 12, expires, files };
    if std::env::var_os("UPDATE_GOLDEN").is_some() && !path.exists() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bundle.encode()).unwrap();
    }
    let golden = std::fs::read(&path).unwrap();
    assert_eq!(skynet_model::policy::Bundle::decode(&golden).unwrap(), bundle);
    assert_eq!(bundle.encode(), golden, "same input, same bytes");
}
