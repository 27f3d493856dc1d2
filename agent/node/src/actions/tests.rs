//! Every action, on real processes and folders where it has effects of its own, else on a host that counts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering::SeqCst;

use skynet_model::catalogue::{Idempotence, Risk};
use skynet_model::command::command_id;
use skynet_model::name::{IncidentId, ScenarioName, ServerId};
use skynet_model::policy::{Match, Profile, Script, SensorUse};
use skynet_model::time::Span;

use super::*;
use crate::fake::Fake;
use crate::host::{LocalHost, ServiceState};

mod firewall;

fn params(pairs: &[(&str, &str)], action: &str) -> Params {
    let (spec, _) = find(action).unwrap();
    let kind = |name: &str| spec.params.iter().find(|p| p.name == name).unwrap().kind;
    pairs.iter().map(|(name, text)| ((*name).to_owned(), kind(name).parse(text).unwrap())).collect()
}

/// What actions find around them: a policy with scripts and one declared service, `worker`.
struct World {
    policy: Policy,
    labels: Labels,
    command: Command,
}

impl World {
    fn new(scripts: &[(&str, &str)], worker: &[(&str, &str)]) -> Self {
        let mut policy = Policy::default();
        for (name, body) in scripts {
            let script = Script { interpreter: "/bin/sh".to_owned(), body: (*body).to_owned() };
            policy.scripts.insert((*name).to_owned(), script);
        }
        let text = |(k, v): &(&str, &str)| ((*k).to_owned(), Value::Text((*v).to_owned()));
        let sensor = SensorUse {
            sensor: "service",
            id: "service:worker".to_owned(),
            name: Some("worker".to_owned()),
            every: Span::seconds(1),
            params: worker.iter().map(text).collect(),
        };
        let matches = Match(BTreeMap::from([("role".to_owned(), "web".to_owned())]));
        policy.profiles.insert("web".to_owned(), Profile { matches, sensors: vec![sensor] });
        let (incident, server) = (IncidentId::new("i-1").unwrap(), ServerId::new("web1").unwrap());
        let command = Command {
            id: command_id(&incident, 0, 1, &server),
            incident,
            scenario: ScenarioName::new("mad").unwrap(),
            step: 0,
            attempt: 1,
            server,
            action: String::new(),
            labels: Labels::new([("mount", "/a b; reboot"), ("odd.name", "$(x)")]),
            params: Params::new(),
            policy: 1,
            epoch: 1,
            ttl: Span::seconds(60),
        };
        Self { policy, labels: Labels::new([("role", "web")]), command }
    }

    fn context(&self) -> Context<'_> {
        Context {
            command: &self.command,
            policy: &self.policy,
            labels: &self.labels,
            timeout: Duration::from_secs(20),
            intent_boot_ms: Some(0),
        }
    }

    fn run(&self, host: &dyn Host, action: &str, pairs: &[(&str, &str)]) -> Result<String, ActionError> {
        find(action).unwrap().1.run(host, &params(pairs, action), &self.context())
    }
}

fn nothing() -> World {
    World::new(&[], &[])
}

#[track_caller]
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let host = LocalHost::new();
    let deadline = host.boot_ms() + 20_000;
    while !holds() {
        assert!(host.boot_ms() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn the_catalogue_is_in_order_and_whole() {
    assert!(SPECS.windows(2).all(|pair| pair[0].name < pair[1].name));
    for spec in SPECS {
        assert!(spec.deadline.0 > 0 && !spec.help.is_empty(), "{}", spec.name);
        assert!(spec.inverse.is_none_or(|inverse| find(inverse).is_some()), "{}", spec.name);
        for param in spec.params {
            assert!(param.default.is_none_or(|text| param.kind.parse(text).is_ok()), "{} {}", spec.name, param.name);
            assert!(!(param.required && param.default.is_some()), "{} {}", spec.name, param.name);
        }
    }
    assert_eq!(find("files.delete").unwrap().0.risk, Risk::Destructive);
    assert!(find("files.create").is_none());
}

#[test]
fn a_signal_ends_the_one_process_it_names() {
    let host = LocalHost::new();
    let mut child = std::process::Command::new("sleep").arg("300").spawn().unwrap();
    let start = host.process(child.id()).unwrap().start;
    let (pid, start, other) = (child.id().to_string(), start.to_string(), (start + 1).to_string());
    let send = |start: &str| {
        nothing().run(&host, "process.signal", &[("pid", &pid), ("start", start), ("signal", "TERM")]).unwrap()
    };
    let probe = |start: &str, signal: &str, boot: Option<i64>| {
        let params = params(&[("pid", &pid), ("start", start), ("signal", signal)], "process.signal");
        let world = nothing();
        let context = Context { intent_boot_ms: boot, ..world.context() };
        find("process.signal").unwrap().1.probe(&host, &params, &context)
    };
    assert_eq!(send(&other), format!("process {pid} is already gone"));
    assert_eq!(probe(&other, "KILL", Some(0)), Probe::Done);
    assert_eq!(probe(&start, "KILL", Some(0)), Probe::NotDone);
    assert_eq!(probe(&start, "KILL", None), Probe::Done, "another boot");
    assert_eq!(probe(&start, "HUP", Some(0)), Probe::Unknown);
    assert!(child.try_wait().unwrap().is_none());
    assert_eq!(send(&start), format!("sent TERM to process {pid} (sleep)"));
    // Not waited for yet: a zombie is gone, too.
    wait_until("the process lives on", || probe(&start, "TERM", Some(0)) == Probe::Done);
    assert_eq!(send(&start), format!("process {pid} is already gone"));
    child.wait().unwrap();
    assert_eq!(send(&start), format!("process {pid} is already gone"));
}

#[test]
fn a_signal_to_process_one_does_not_even_parse() {
    let (spec, action) = find("process.signal").unwrap();
    for bad in ["0", "1", "-1", "4194305", "2; reboot"] {
        assert!(spec.params[0].kind.parse(bad).is_err(), "{bad}");
    }
    let mut by_hand = params(&[("start", "5"), ("signal", "TERM")], "process.signal");
    by_hand.insert("pid".to_owned(), Value::Int(1));
    let (host, world) = (Fake::new(), nothing());
    host.add_process(1, 5, "init");
    assert!(matches!(action.run(&host, &by_hand, &world.context()), Err(ActionError::Refused(_))));
    assert_eq!(host.effects(), [""; 0]);
}

#[test]
fn files_are_deleted_and_a_missing_directory_is_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a"), "123").unwrap();
    std::fs::write(dir.path().join("b"), "4").unwrap();
    let host = LocalHost::new();
    let delete = |path: PathBuf| nothing().run(&host, "files.delete", &[("path", path.to_str().unwrap())]);
    let pattern = dir.path().join("*");
    assert_eq!(delete(pattern.clone()).unwrap(), format!("deleted 2 files, 4 bytes, of {}", pattern.display()));
    assert!(delete(pattern).unwrap().starts_with("deleted 0 files"));
    assert!(delete(dir.path().join("none/*")).unwrap().starts_with("nothing to delete"));
    assert!(matches!(delete(PathBuf::from("/etc/*")), Err(ActionError::Failed(_))));
}

#[test]
fn the_journal_is_vacuumed_to_bytes() {
    let host = Fake::new();
    assert_eq!(nothing().run(&host, "journal.vacuum", &[("keep", "200MB")]).unwrap(), "the sum");
    assert_eq!(host.effects(), ["run journalctl --vacuum-size=200000000"]);
    host.code.store(1, SeqCst);
    let error = nothing().run(&host, "journal.vacuum", &[("keep", "200MB")]).unwrap_err();
    assert_eq!(error, ActionError::Failed("journalctl ended with code 1: complaint".to_owned()));
}

#[test]
fn a_script_gets_arguments_and_labels_as_data() {
    let body = "printf '%s|' \"$@\" \"$SKYNET_INCIDENT\" \"$SKYNET_SCENARIO\" \"$label_mount\" \"$label_odd_name\"\n\
                env | cut -d= -f1 | sort | tr '\\n' ' '";
    let world = World::new(&[("show", body)], &[]);
    let args = Value::List(vec![Value::Text("$(reboot)".into()), Value::Text("a b".into())]);
    let mut with = params(&[("script", "show"), ("timeout", "10s")], "script.run");
    with.insert("args".to_owned(), args);
    let said = find("script.run").unwrap().1.run(&LocalHost::new(), &with, &world.context()).unwrap();
    assert_eq!(
        said,
        "$(reboot)|a b|i-1|mad|/a b; reboot|$(x)|HOME LANG PATH PWD SKYNET_INCIDENT SKYNET_SCENARIO label_mount label_odd_name"
    );
}

#[test]
fn scripts_that_fail_hang_or_are_not_in_policy_say_so() {
    let world =
        World::new(&[("fails", "echo out; echo oh no >&2; exit 3"), ("hangs", "sleep 300"), ("quiet", "")], &[]);
    let run = |script: &str, timeout: &str| {
        world.run(&LocalHost::new(), "script.run", &[("script", script), ("timeout", timeout)])
    };
    assert_eq!(run("fails", "10s"), Err(ActionError::Failed("script fails ended with code 3: oh no".to_owned())));
    assert_eq!(run("quiet", "10s"), Ok("script quiet ended well".to_owned()));
    assert!(run("hangs", "200ms").unwrap_err().to_string().contains("took longer than 200ms"));
    let missing = ActionError::Refused("script `other` is not in the applied policy".to_owned());
    assert_eq!(run("other", "10s"), Err(missing));
    assert_eq!(find("script.run").unwrap().0.idempotence, Idempotence::Once);
}

#[test]
fn what_is_said_is_cut_between_characters() {
    assert_eq!(cut("abc"), "abc");
    let long = "é".repeat(MAX_OUTCOME_TEXT);
    let odd = format!("x{long}");
    assert_eq!(cut(&long).len(), MAX_OUTCOME_TEXT);
    assert_eq!(cut(&odd).len(), MAX_OUTCOME_TEXT - 1);
}

#[test]
fn units_are_left_to_systemd() {
    let host = Fake::new();
    let run = |verb: &str| nothing().run(&host, verb, &[("unit", "nginx.service")]).unwrap();
    let state = |up, word: &str, pid| ServiceState { up, word: word.to_owned(), pid, restarts: None };
    let set = |state| drop(host.services.lock().unwrap().insert("nginx.service".to_owned(), state));
    assert_eq!(run("service.start"), "started nginx.service");
    set(state(true, "active", Some(50)));
    assert_eq!(run("service.start"), "nginx.service is already running");
    assert_eq!(run("service.restart"), "restarted nginx.service");
    assert_eq!(run("service.reload"), "reloaded nginx.service");
    assert_eq!(run("service.stop"), "stopped nginx.service");
    assert_eq!(host.effects(), ["Start", "Restart", "Reload", "Stop"].map(|verb| format!("{verb} nginx.service")));

    let world = nothing();
    let probe = |boot| {
        let context = Context { intent_boot_ms: boot, ..world.context() };
        find("service.restart").unwrap().1.probe(
            &host,
            &params(&[("unit", "nginx.service")], "service.restart"),
            &context,
        )
    };
    host.add_process(50, 100, "nginx");
    // A hundred ticks are a second.
    assert_eq!(probe(Some(1000)), Probe::Done, "within the same tick");
    assert_eq!(probe(Some(1010)), Probe::NotDone);
    assert_eq!(probe(None), Probe::Done, "the machine was restarted");
    set(state(false, "activating", None));
    assert_eq!(probe(Some(1010)), Probe::Unknown);
    set(state(true, "active", None));
    assert_eq!(probe(Some(1010)), Probe::Unknown, "a unit without a main process");
    set(state(false, "failed", None));
    assert_eq!(probe(Some(0)), Probe::NotDone);
}

/// A daemon that writes its pid file and runs until it is told to end.
struct Daemon {
    dir: tempfile::TempDir,
    world: World,
}

impl Daemon {
    fn new(stop: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pid_file = dir.path().join("worker.pid");
        let pid_file = pid_file.to_str().unwrap();
        let start = format!("sleep 300 &\necho $! > {pid_file}\n");
        let stopping = format!("kill \"$(cat {pid_file})\" && rm {pid_file} && touch {pid_file}.stopped\n");
        let mut sensor = vec![("pid_file", pid_file), ("start", "start-worker")];
        if stop {
            sensor.push(("stop", "stop-worker"));
        }
        let world = World::new(&[("start-worker", &start), ("stop-worker", &stopping)], &sensor);
        Self { dir, world }
    }

    fn pid(&self) -> Option<u32> {
        std::fs::read_to_string(self.dir.path().join("worker.pid")).ok()?.trim().parse().ok()
    }

    fn run(&self, verb: &str) -> Result<String, ActionError> {
        self.world.run(&LocalHost::new(), verb, &[("unit", "worker")])
    }

    fn lives(&self) -> bool {
        self.pid().is_some_and(|pid| LocalHost::new().process(pid).is_ok_and(|p| p.state != 'Z'))
    }

    fn kill(&self) {
        let host = LocalHost::new();
        if let Some(process) = self.pid().and_then(|pid| host.process(pid).ok()) {
            host.signal(process.pid, process.start, "KILL").unwrap();
        }
        wait_until("the daemon lives on", || !self.lives());
    }
}

#[test]
fn what_is_about_the_whole_machine_is_no_service() {
    let host = Fake::new();
    for verb in ["service.start", "service.stop", "service.restart", "service.reload"] {
        for unit in ["poweroff.target", "multi-user.target", "systemd-reboot", "systemd-kexec.service"] {
            let refused = nothing().run(&host, verb, &[("unit", unit)]);
            assert!(matches!(&refused, Err(ActionError::Refused(why)) if why.contains("whole machine")), "{refused:?}");
        }
    }
    assert_eq!(host.effects(), [""; 0]);
}

#[test]
fn a_declared_service_is_started_by_its_script_and_lives_on() {
    let daemon = Daemon::new(true);
    assert_eq!(daemon.run("service.start").unwrap(), "started worker by script start-worker");
    assert!(daemon.lives());
    let pid = daemon.pid().unwrap();
    assert_eq!(daemon.run("service.start").unwrap(), format!("worker is already running as process {pid}"));
    assert_eq!(daemon.pid(), Some(pid));
    // Killed, its pid file is stale.
    daemon.kill();
    daemon.run("service.start").unwrap();
    assert!(daemon.lives() && daemon.pid() != Some(pid));

    assert_eq!(daemon.run("service.stop").unwrap(), "stopped worker by script stop-worker");
    assert!(daemon.dir.path().join("worker.pid.stopped").exists());
    assert_eq!(daemon.run("service.stop").unwrap(), "worker was not running");
    assert!(matches!(daemon.run("service.reload"), Err(ActionError::Refused(_))));
}

#[test]
fn a_declared_service_is_restarted_and_that_can_be_probed() {
    let daemon = Daemon::new(false);
    let host = LocalHost::new();
    assert_eq!(daemon.run("service.restart").unwrap(), "worker was not running; started worker by script start-worker");
    let first = daemon.pid().unwrap();
    let probe = |boot| {
        let context = Context { intent_boot_ms: boot, ..daemon.world.context() };
        find("service.restart").unwrap().1.probe(&host, &params(&[("unit", "worker")], "service.restart"), &context)
    };
    let began = i64::try_from(host.process(first).unwrap().start).unwrap() * 10;
    wait_until("the clock stands", || host.boot_ms() > began + 20);
    let intent = host.boot_ms();
    assert_eq!(probe(Some(intent)), Probe::NotDone);
    assert_eq!(daemon.run("service.restart").unwrap(), "stopped worker by TERM; started worker by script start-worker");
    assert_ne!(daemon.pid(), Some(first));
    assert_eq!(probe(Some(intent)), Probe::Done);
    daemon.kill();
    assert_eq!(probe(Some(intent)), Probe::NotDone);
}

#[test]
fn declarations_of_other_profiles_and_without_scripts_are_not_used() {
    let host = Fake::new();
    let mut world = World::new(&[], &[("pid_file", "/run/worker.pid")]);
    let error = world.run(&host, "service.start", &[("unit", "worker")]).unwrap_err();
    assert!(matches!(&error, ActionError::Refused(told) if told.contains("has no start script")), "{error}");
    world.labels = Labels::new([("role", "db")]);
    world.run(&host, "service.start", &[("unit", "worker")]).unwrap();
    assert_eq!(host.effects(), ["Start worker"], "without a declaration it is a unit");
}

#[test]
fn a_pid_file_is_believed_only_if_the_process_has_the_declared_name() {
    let host = Fake::new();
    host.add_process(77, 5, "somebody-else");
    for text in ["77\n", "", "x", "1\n", "-5", "99999999999\n"] {
        host.files.lock().unwrap().insert(PathBuf::from("/run/w.pid"), text.to_owned());
        let sensor = [("pid_file", "/run/w.pid"), ("process", "worker"), ("start", "go")];
        let world = World::new(&[("go", "going")], &sensor);
        assert_eq!(
            world.run(&host, "service.stop", &[("unit", "worker")]).unwrap(),
            "worker was not running",
            "{text}"
        );
    }
    assert_eq!(host.effects(), [""; 0]);
}

#[test]
fn a_service_without_a_name_is_called_as_its_readings_are() {
    let host = Fake::new();
    let start = |sensor: &[(&str, &str)], unit: &str| {
        let mut world = World::new(&[("go", "going")], sensor);
        for profile in world.policy.profiles.values_mut() {
            profile.sensors[0].name = None;
        }
        world.run(&host, "service.start", &[("unit", unit)]).unwrap()
    };
    let started = |name: &str| format!("started {name} by script go");
    assert_eq!(start(&[("pid_file", "/run/queue.pid"), ("start", "go")], "queue"), started("queue"));
    assert_eq!(
        start(&[("process", "a-long-process-name"), ("start", "go")], "a-long-process-name"),
        started("a-long-process-name")
    );
    host.add_process(9, 9, "a-long-process-");
    let said = start(&[("process", "a-long-process-name"), ("start", "go")], "a-long-process-name");
    assert_eq!(said, "a-long-process-name is already running as process 9");
}
