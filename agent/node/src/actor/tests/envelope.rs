//! Every reason not to act has its test: the words of the refusal, no effect, nothing in the ledger.

use super::*;

/// The command is answered with this status and these words, leaves no intent and has no effect.
#[track_caller]
fn no(rig: &mut Rig, command: &Command, status: Status, words: &str) {
    let effects = rig.host.effects();
    let entries = rig.inventory();
    let outcome = rig.execute(command);
    assert_eq!((outcome.status, outcome.message.contains(words)), (status, true), "{}", outcome.message);
    assert_eq!(rig.host.effects(), effects);
    assert_eq!(rig.inventory(), entries);
    assert_eq!(rig.execute(command), outcome, "a resend is answered alike");
}

#[track_caller]
fn refused(change: impl FnOnce(&mut Command), words: &str) {
    let mut rig = Rig::new();
    let mut command = command("declarative", 1);
    change(&mut command);
    no(&mut rig, &with_id(command), Status::Refused, words);
}

#[test]
fn the_untouched_command_is_accepted() {
    let mut rig = Rig::new();
    assert_eq!(rig.execute(&command("declarative", 1)).status, Status::Done);
    assert_eq!(rig.host.effects(), ["delete /srv/app/cache/*"]);
}

#[test]
fn an_unknown_policy_version() {
    refused(|c| c.policy = 2, "policy version 2 is not in force here; 1 is");
    let (host, storage) = (Arc::new(Fake::new()), Arc::new(Memory::default()));
    let actor = Actor::open(config(), storage.clone(), host.clone()).unwrap();
    no(&mut Rig { host, storage, actor }, &command("declarative", 1), Status::Refused, "none is");
}

#[test]
fn a_scenario_that_is_not_in_policy_only_observes_or_is_for_others() {
    refused(|c| c.scenario = ScenarioName::new("invented").unwrap(), "has no scenario `invented`");
    let mut rig = Rig::new();
    no(&mut rig, &command("watching", 1), Status::Refused, "only observes");
    no(&mut rig, &command("elsewhere", 2), Status::Refused, "does not apply to this server's labels {role=\"web\"}");
}

#[test]
fn a_step_that_is_not_there_or_is_another_action() {
    refused(|c| c.step = 3, "has no step 3");
    refused(|c| c.step = u32::MAX, "has no step");
    refused(|c| c.step = 2, "step 2 of scenario `declarative` is service.start, not `files.delete`");
    refused(|c| c.action = "script.run".to_owned(), "is files.delete, not `script.run`");
}

#[test]
fn parameters_that_differ_in_anything_from_the_rendered_step() {
    let words = "the command's parameters are not those of step 0";
    let path = |path: &str| Value::Text(path.to_owned());
    refused(|c| drop(c.params.insert("path".to_owned(), path("/srv/app/other/*"))), words);
    refused(|c| drop(c.params.insert("older_than".to_owned(), Value::Duration(Span(1)))), words);
    refused(|c| drop(c.params.insert("force".to_owned(), Value::Bool(true))), words);
    refused(|c| drop(c.params.remove("older_than")), words);
    refused(|c| c.params.clear(), words);
}

#[test]
fn labels_out_of_bounds() {
    refused(|c| c.labels = Labels::new([("x".repeat(300), "y")]), "the command's labels");
    refused(|c| c.labels = Labels::new([("LD PRELOAD=x", "y")]), "the command's labels");
}

#[test]
fn parameters_that_a_never_document_names() {
    let precious = Value::Text("/srv/app/precious/*".to_owned());
    let change = |c: &mut Command| {
        c.step = 1;
        c.params.insert("path".to_owned(), precious);
    };
    refused(change, "`never: precious` refuses files.delete");
}

#[test]
fn another_server_and_another_id() {
    refused(|c| c.server = ServerId::new("web2").unwrap(), "for server web2; this is web1");
    let mut rig = Rig::new();
    let wrong = Command { attempt: 2, ..command("declarative", 1) };
    no(&mut rig, &wrong, Status::Refused, "id is not that of its incident");
}

#[test]
fn what_the_ceiling_does_not_allow() {
    let ceiling = Ceiling { allow: vec!["service.*".to_owned()], ..Ceiling::default() };
    let mut rig = Rig::with(ActorConfig { ceiling, ..config() });
    no(&mut rig, &command("declarative", 1), Status::Refused, "ceiling of this server does not allow files.delete");
    let start = Command {
        step: 2,
        params: command("x", 1).params,
        action: "service.start".to_owned(),
        ..command("declarative", 1)
    };
    assert_eq!(rig.execute(&with_id(start)).status, Status::Done);
}

#[test]
fn scenarios_of_a_profile_that_the_ceiling_does_not_accept() {
    let text = POLICY.replace("where: { role: web }", "where: { profile: web }");
    let mut rig = Rig::new();
    assert_eq!(rig.push(&bundle(2, &text)), None);
    let second = |attempt| Command { policy: 2, ..command("declarative", attempt) };
    assert_eq!(rig.execute(&second(1)).status, Status::Done);
    let ceiling = Ceiling { profiles: vec!["db-*".to_owned()], ..Ceiling::default() };
    rig.restart_with(ActorConfig { ceiling, ..config() });
    no(&mut rig, &second(2), Status::Refused, "does not apply");
}

#[test]
fn more_than_the_local_rate() {
    let ceiling = Ceiling { per_hour: 4, disruptive_per_hour: 2, ..Ceiling::default() };
    let mut rig = Rig::with(ActorConfig { ceiling: ceiling.clone(), ..config() });
    let start = |attempt| {
        let step = Command { step: 2, action: "service.start".to_owned(), ..command("declarative", attempt) };
        with_id(Command { params: command("x", 1).params, ..step })
    };
    for attempt in 1..=2 {
        assert_eq!(rig.execute(&command("declarative", attempt)).status, Status::Done);
    }
    no(
        &mut rig,
        &command("declarative", 3),
        Status::Refused,
        "2 disruptive or destructive actions within the last hour",
    );
    assert_eq!(rig.execute(&start(4)).status, Status::Done);
    assert_eq!(rig.execute(&start(5)).status, Status::Done);
    no(&mut rig, &start(6), Status::Refused, "local rate: 4 actions within the last hour, 4 allowed");
    // A restart forgets nothing.
    rig.restart_with(ActorConfig { ceiling, ..config() });
    no(&mut rig, &start(7), Status::Refused, "local rate");
    rig.host.pass(3_600_000);
    assert_eq!(rig.execute(&start(8)).status, Status::Done);
    assert_eq!(rig.execute(&command("declarative", 9)).status, Status::Done);
}

#[test]
fn an_older_epoch_even_after_a_restart() {
    let mut rig = Rig::new();
    let at = |epoch, attempt| Command { epoch, ..command("declarative", attempt) };
    assert_eq!(rig.execute(&at(7, 1)).status, Status::Done);
    no(&mut rig, &at(6, 2), Status::Refused, "epoch 6 is older than 7");
    rig.restart();
    let Reply::Ready { epoch: 7, version: 1, .. } = rig.actor.ready() else { panic!("{:?}", rig.actor.ready()) };
    no(&mut rig, &at(6, 3), Status::Refused, "epoch 6 is older than 7");
    assert_eq!(rig.execute(&at(7, 4)).status, Status::Done);
    // A command that is refused for another reason does not move it.
    no(&mut rig, &Command { policy: 9, ..at(99, 5) }, Status::Refused, "policy version 9");
    assert_eq!(rig.execute(&at(7, 6)).status, Status::Done);
}

#[test]
fn a_deadline_that_has_passed() {
    let mut rig = Rig::new();
    let outcome = rig.execute_by(&command("declarative", 1), rig.host.boot_ms() - 1);
    assert_eq!(outcome.status, Status::Expired);
    assert_eq!(rig.host.effects(), [""; 0]);
    assert_eq!(rig.inventory(), []);
    assert_eq!(rig.execute_by(&command("declarative", 2), rig.host.boot_ms()).status, Status::Done);
}

#[test]
fn a_halt_that_outlives_a_restart() {
    let mut rig = Rig::new();
    rig.actor.handle(Request::Halt { halted: true });
    no(&mut rig, &command("declarative", 1), Status::Refused, "actions are halted");
    rig.restart();
    no(&mut rig, &command("declarative", 2), Status::Refused, "actions are halted");
    rig.actor.handle(Request::Halt { halted: false });
    assert_eq!(rig.execute(&command("declarative", 3)).status, Status::Done);
    rig.restart();
    assert_eq!(rig.execute(&command("declarative", 4)).status, Status::Done);
}

/// A disk on which something happens while an intent is synced.
struct Slow {
    inner: Memory,
    meanwhile: Box<dyn Fn() + Send + Sync>,
}

impl Storage for Slow {
    fn place(&self) -> String {
        self.inner.place()
    }
    fn load(&self) -> std::io::Result<Vec<u8>> {
        self.inner.load()
    }
    fn append(&self, bytes: &[u8]) -> std::io::Result<()> {
        self.inner.append(bytes)
    }
    fn sync(&self) -> std::io::Result<()> {
        (self.meanwhile)();
        self.inner.sync()
    }
    fn truncate(&self, length: u64) -> std::io::Result<()> {
        self.inner.truncate(length)
    }
    fn replace(&self, bytes: &[u8]) -> std::io::Result<()> {
        self.inner.replace(bytes)
    }
    fn read(&self, name: &str) -> std::io::Result<Option<Vec<u8>>> {
        self.inner.read(name)
    }
    fn save(&self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        self.inner.save(name, bytes)
    }
}

#[test]
fn a_deadline_that_passes_while_the_intent_is_written() {
    let mut rig = Rig::new();
    let host = Arc::clone(&rig.host);
    let storage = Slow { inner: rig.storage.survivor(), meanwhile: Box::new(move || host.pass(61_000)) };
    rig.actor = Actor::open(config(), Arc::new(storage), rig.host.clone()).unwrap();
    let outcome = rig.execute(&command("declarative", 1));
    assert_eq!((outcome.status, rig.host.effects().len()), (Status::Expired, 0), "{}", outcome.message);
    assert_eq!(rig.inventory().len(), 1, "its intent is on disk, and so is this outcome");
}

#[test]
fn a_halt_that_comes_while_the_intent_is_written() {
    let mut rig = Rig::new();
    let latch: Arc<std::sync::OnceLock<Arc<Latch>>> = Arc::default();
    let late = Arc::clone(&latch);
    let meanwhile = Box::new(move || {
        if let Some(latch) = late.get() {
            latch.set(true);
        }
    });
    let storage = Slow { inner: rig.storage.survivor(), meanwhile };
    rig.actor = Actor::open(config(), Arc::new(storage), rig.host.clone()).unwrap();
    assert!(latch.set(rig.actor.latch()).is_ok());
    let outcome = rig.execute(&command("declarative", 1));
    assert_eq!((outcome.status, rig.host.effects().len()), (Status::Refused, 0));
    assert!(outcome.message.contains("halted"));
}

#[test]
fn labels_fill_parameters_here_and_not_at_the_controller() {
    let of = |pid: &str, params_pid: i64, attempt| {
        let labels = Labels::new([("pid", pid), ("start", "77"), ("name", "mad"), ("user", "root")]);
        let params =
            [("pid", Value::Int(params_pid)), ("start", Value::Int(77)), ("signal", Value::Text("TERM".into()))];
        let params = params.map(|(name, value)| (name.to_owned(), value)).into();
        Command {
            scenario: ScenarioName::new("runaway").unwrap(),
            action: "process.signal".to_owned(),
            labels,
            params,
            ..command("probeable", attempt)
        }
    };
    let mut rig = Rig::new();
    no(&mut rig, &of("4242", 4243, 1), Status::Refused, "the command's parameters are not those of step 0");
    no(&mut rig, &of("1", 1, 2), Status::Refused, "parameter `pid` of process.signal");
    no(&mut rig, &of("4242 1", 4242, 3), Status::Refused, "parameter `pid` of process.signal");
    let without = Command { labels: Labels::default(), ..of("4242", 4242, 4) };
    no(&mut rig, &without, Status::Refused, "parameter `pid` of process.signal");
    assert_eq!(rig.execute(&of("4242", 4242, 5)).status, Status::Done);
    assert_eq!(rig.host.effects(), ["TERM 4242"]);
}

/// Scenarios whose steps are done on servers that the controller chooses.
const TARGETED: &str = r#"
---
request: fix
parameters: { unit: text }
phrases: ["fix {unit}"]
---
scenario: tier
where: { role: db }
scope: cluster
when: servers.count(server.connected == 0) > 1
mode: enforce
respond:
  - do: service.start
    with: { unit: x.service }
    target: { where: { role: web }, pick: 1 }
  - do: service.start
    with: { unit: x.service }
    target: { where: { role: lb } }
---
scenario: asked
on_request: fix
mode: enforce
respond:
  - do: service.start
    with: { unit: x.service }
    target: request
---
scenario: asked-of-db
on_request: fix
where: { role: db }
mode: enforce
respond:
  - do: service.start
    with: { unit: x.service }
    target: request
"#;

#[test]
fn steps_for_chosen_servers_are_done_where_their_target_selects_this_one() {
    let mut rig = Rig::new();
    assert_eq!(rig.push(&bundle(2, &format!("{POLICY}{TARGETED}"))), None);
    let of = |scenario: &str, step, attempt| {
        let params = command("x", 1).params;
        let base = command("declarative", attempt);
        let labels = if scenario == "tier" { Labels::default() } else { Labels::new([("unit", "nginx")]) };
        let scenario = ScenarioName::new(scenario).unwrap();
        with_id(Command { scenario, step, policy: 2, action: "service.start".to_owned(), params, labels, ..base })
    };
    assert_eq!(rig.execute(&of("tier", 0, 1)).status, Status::Done, "though the scenario is about role=db");
    no(&mut rig, &of("tier", 1, 2), Status::Refused, "its target does not select this server's labels");
    assert_eq!(rig.execute(&of("asked", 0, 3)).status, Status::Done);
    no(&mut rig, &of("asked-of-db", 0, 4), Status::Refused, "its target does not select this server's labels");
}

#[test]
fn parameters_of_a_request_that_are_not_as_it_declares_them() {
    let text = TARGETED.replace("parameters: { unit: text }", "parameters: { unit: unit }");
    let text = text.replace(
        "target: request",
        "target: request\n  - do: script.run\n    with: { script: fix, args: [\"${unit}\"] }\n    target: request",
    );
    let mut rig = Rig::new();
    assert_eq!(rig.push(&bundle(2, &format!("{POLICY}{text}"))), None);
    let of = |labels: &[(&str, &str)], attempt| {
        let args = Value::List(vec![Value::Text(labels[0].1.to_owned())]);
        let params = Params::from([("args".to_owned(), args)]);
        let params = params.into_iter().chain(command("once", 1).params.into_iter().filter(|(name, _)| name != "args"));
        let (params, labels) = (params.collect(), Labels::new(labels.iter().copied()));
        let scenario = ScenarioName::new("asked").unwrap();
        let action = "script.run".to_owned();
        with_id(Command { scenario, step: 1, policy: 2, action, params, labels, ..command("once", attempt) })
    };
    assert_eq!(rig.execute(&of(&[("unit", "nginx")], 1)).status, Status::Done);
    // An argument of a script is any text, so only the request says what may be asked for.
    no(&mut rig, &of(&[("unit", "--force /")], 2), Status::Refused, "is not a unit or service name");
    let more = of(&[("unit", "nginx"), ("path", "/")], 3);
    no(&mut rig, &more, Status::Refused, "has no parameter `path`");
}

#[test]
fn a_step_outside_server_scope_that_names_no_servers() {
    let text = format!("{POLICY}{TARGETED}");
    let files = [File { name: "policy.yaml".to_owned(), text }];
    let policy = skynet_model::policy::load(&files, crate::catalogue()).unwrap();
    let mut scenario = (*policy.scenarios[&ScenarioName::new("tier").unwrap()]).clone();
    scenario.selects = policy.scenarios[&ScenarioName::new("once").unwrap()].selects.clone();
    scenario.respond[0].target = None;
    let words = super::super::envelope::check_target(&policy, &scenario, &scenario.respond[0], &labels()).unwrap_err();
    assert!(words.contains("is about more than one server, and its step names none"), "{words}");
    scenario.respond[0].target = Some(skynet_model::policy::StepTarget::Request);
    let words = super::super::envelope::check_target(&policy, &scenario, &scenario.respond[0], &labels()).unwrap_err();
    assert!(words.contains("answers no request"), "{words}");
}
