use std::sync::atomic::Ordering::SeqCst;

use skynet_model::command::{Status, command_id};
use skynet_model::name::{IncidentId, ScenarioName};
use skynet_model::policy::{Bundle, File};
use skynet_model::sign::Trust;
use skynet_model::time::{Span, Timestamp};
use skynet_model::value::{Params, Value};

use super::*;
use crate::fake::Fake;
use crate::ledger::{Fault, Memory};

mod back;
mod crash;
mod emergency;
mod envelope;
mod policy;
mod signed;
mod stream;

/// One scenario for each idempotence class, and some that may not act.
const POLICY: &str = r#"
profile: web
match: { role: web }
sensors: []
---
script: fix
interpreter: /bin/sh
body: "fix"
---
scenario: once
where: { role: web }
when: server.connected == 0
mode: enforce
respond:
  - do: script.run
    with: { script: fix, args: [a, b] }
---
scenario: probeable
where: { role: web }
when: server.connected == 0
mode: enforce
respond:
  - do: process.signal
    with: { pid: 4242, start: 77, signal: KILL }
---
scenario: declarative
where: { role: web }
when: server.connected == 0
mode: enforce
respond:
  - do: files.delete
    with: { path: "/srv/app/cache/*" }
    approve: false
  - do: files.delete
    with: { path: "/srv/app/precious/*" }
    approve: false
  - do: service.start
    with: { unit: x.service }
---
scenario: watching
where: { role: web }
when: server.connected == 0
respond:
  - do: service.start
    with: { unit: x.service }
---
scenario: elsewhere
where: { role: db }
when: server.connected == 0
mode: enforce
respond:
  - do: service.start
    with: { unit: x.service }
---
scenario: runaway
where: { role: web }
when: process.cpu_ratio > 0.95
mode: enforce
respond:
  - do: process.signal
    with: { pid: "${pid}", start: "${start}", signal: TERM }
---
never: precious
actions: [files.delete]
with: { path: ["/srv/app/precious/*"] }
"#;

const FOREVER: Timestamp = Timestamp(1_900_000_000_000);

pub(super) fn bundle(version: u64, text: &str) -> String {
    let files = vec![File { name: "policy.yaml".to_owned(), text: text.to_owned() }];
    let bundle = Bundle { format: 1, fleet: "f".to_owned(), version, expires: FOREVER, files };
    String::from_utf8(bundle.encode()).unwrap()
}

/// An acting process on a fake host and a data folder in memory.
pub(super) struct Rig {
    host: Arc<Fake>,
    storage: Arc<Memory>,
    actor: Actor,
}

fn config() -> ActorConfig {
    ActorConfig {
        server: ServerId::new("web1").unwrap(),
        fleet: Some("f".to_owned()),
        data: PathBuf::new(),
        trust: Trust::Anybody,
        ceiling: Ceiling::default(),
        single_operator: false,
    }
}

fn labels() -> Labels {
    Labels::new([("role", "web")])
}

impl Rig {
    /// With policy version 1 in force.
    fn new() -> Self {
        Self::with(config())
    }

    fn with(config: ActorConfig) -> Self {
        let (host, storage) = (Arc::new(Fake::new()), Arc::new(Memory::default()));
        host.add_process(4242, 77, "mad");
        let actor = Actor::open(config, Arc::clone(&storage) as Arc<dyn Storage>, Arc::clone(&host) as Arc<dyn Host>);
        let mut rig = Self { host, storage, actor: actor.unwrap() };
        assert_eq!(rig.push(&bundle(1, POLICY)), None);
        rig
    }

    fn push(&mut self, bundle: &str) -> Option<String> {
        self.push_signed(bundle, &[])
    }

    fn push_signed(&mut self, bundle: &str, signatures: &[String]) -> Option<String> {
        let request = Request::Policy { bundle: bundle.to_owned(), signatures: signatures.to_vec(), labels: labels() };
        let Some(Reply::Policy { error, .. }) = self.actor.handle(request) else { panic!("no answer to a policy") };
        error
    }

    fn execute(&mut self, command: &Command) -> Outcome {
        self.execute_by(command, self.host.boot_ms() + 60_000)
    }

    fn execute_by(&mut self, command: &Command, deadline_boot_ms: i64) -> Outcome {
        let request = Request::Execute { command: Box::new(command.clone()), deadline_boot_ms };
        let Some(Reply::Outcome { outcome }) = self.actor.handle(request) else { panic!("no answer to a command") };
        assert_eq!(outcome.command, command.id);
        outcome
    }

    fn inventory(&mut self) -> Vec<LedgerEntry> {
        let Some(Reply::Inventory { entries }) = self.actor.handle(Request::Inventory) else { panic!("no inventory") };
        entries
    }

    /// The next process, on what the last one left on disk.
    fn restart(&mut self) {
        self.restart_with(config());
    }

    fn restart_with(&mut self, config: ActorConfig) {
        self.storage = Arc::new(self.storage.survivor());
        let storage = Arc::clone(&self.storage) as Arc<dyn Storage>;
        self.actor = Actor::open(config, storage, Arc::clone(&self.host) as Arc<dyn Host>).unwrap();
        self.actor.recover();
    }
}

/// The right command for the first step of a scenario.
fn command(scenario: &str, attempt: u32) -> Command {
    let text = |text: &str| Value::Text(text.to_owned());
    let params = |pairs: &[(&str, Value)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect::<Params>();
    let (action, params) = match scenario {
        "once" => (
            "script.run",
            params(&[
                ("script", text("fix")),
                ("args", Value::List(vec![text("a"), text("b")])),
                ("timeout", Value::Duration(Span::seconds(30))),
            ]),
        ),
        "probeable" => (
            "process.signal",
            params(&[("pid", Value::Int(4242)), ("start", Value::Int(77)), ("signal", text("KILL"))]),
        ),
        "declarative" => {
            ("files.delete", params(&[("path", text("/srv/app/cache/*")), ("older_than", Value::Duration(Span(0)))]))
        }
        _ => ("service.start", params(&[("unit", text("x.service"))])),
    };
    let (incident, server) = (IncidentId::new("i-1").unwrap(), ServerId::new("web1").unwrap());
    Command {
        id: command_id(&incident, 0, attempt, &server),
        incident,
        scenario: ScenarioName::new(scenario).unwrap(),
        step: 0,
        attempt,
        server,
        action: action.to_owned(),
        labels: Labels::default(),
        params,
        policy: 1,
        epoch: 1,
        ttl: Span::seconds(60),
    }
}

/// The same with its id made right again after a change.
fn with_id(mut command: Command) -> Command {
    command.id = command_id(&command.incident, command.step, command.attempt, &command.server);
    command
}

#[test]
fn a_command_acts_once_however_often_it_comes() {
    let mut rig = Rig::new();
    let first = rig.execute(&command("once", 1));
    assert_eq!((first.status, first.message.as_str()), (Status::Done, "ran"));
    assert_eq!(rig.execute(&command("once", 1)), first);
    rig.restart();
    rig.host.pass(100_000);
    assert_eq!(rig.execute_by(&command("once", 1), 0), first, "even late, even after a restart");
    assert_eq!(rig.host.effects(), ["script fix a b"]);
    assert_eq!(rig.inventory(), [LedgerEntry { command: first.command.clone(), outcome: Some(first) }]);
}

#[test]
fn a_failed_action_is_reported_with_its_words_and_not_run_again() {
    let mut rig = Rig::new();
    rig.host.code.store(3, SeqCst);
    let outcome = rig.execute(&command("once", 1));
    assert_eq!(outcome.status, Status::Failed);
    assert_eq!(outcome.message, "script fix ended with code 3: complaint");
    assert_eq!(rig.execute(&command("once", 1)), outcome);
    assert_eq!(rig.host.effects().len(), 1);
}

#[test]
fn what_the_controller_has_journalled_is_forgotten_when_it_is_old() {
    let mut rig = Rig::new();
    let id = rig.execute(&command("once", 1)).command;
    assert_eq!(rig.actor.handle(Request::Forget { commands: vec![id] }), None);
    rig.host.pass(23 * 3_600_000);
    rig.restart();
    assert_eq!(rig.inventory().len(), 1);
    rig.host.pass(3_600_000);
    rig.restart();
    assert_eq!(rig.inventory().len(), 0);
}
