//! What a controller in the wrong hands sends: commands and policies with anything changed.

use std::path::PathBuf;

use skynet_model::command::{COMMAND_TTL, Command, command_id};
use skynet_model::name::{CommandId, IncidentId, ScenarioName, ServerId};
use skynet_model::policy::{Bundle, File};
use skynet_model::series::Labels;
use skynet_model::sign::POLICY_NAMESPACE;
use skynet_model::time::{Span, Timestamp};
use skynet_model::value::{Params, Value};
use skynet_node::actor::Request;
use skynet_tests::sim::Rng;

use crate::acting::{Acting, DECOYS, decoy, placed};
use crate::envelope::Envelope;

const POLICY: &str = include_str!("policy.yaml");
/// Never signed by two.
const EVIL: &str = r#"
---
script: evil
interpreter: /bin/sh
body: echo EVIL >> "@DIR@/effects"
---
scenario: evil
where: { role: web }
when: server.connected == 0
mode: enforce
respond: [{ do: script.run, with: { script: evil } }]
"#;
const FOREVER: i64 = 1_900_000_000_000;

/// A bundle and its signatures.
type Signed = (String, Vec<String>);

pub(crate) struct Forger {
    pub(crate) chance: Rng,
    dir: PathBuf,
    in_force: Signed,
    next: Signed,
    evil: String,
    /// Each wrong in one way.
    wrong: Vec<Signed>,
    bystander: (u32, u64),
    incidents: u64,
    /// Sent before: done, or never to be done.
    sent: Vec<Command>,
}

impl Forger {
    pub(crate) fn new(acting: &Acting, chance: Rng) -> Self {
        let (keys, dir) = (&acting.keys, acting.dir());
        let bundle = |fleet: &str, version: u64, expires: i64, text: &str| {
            let files = vec![File { name: "p.yaml".to_owned(), text: placed(text, &dir) }];
            let bundle = Bundle { format: 1, fleet: fleet.to_owned(), version, expires: Timestamp(expires), files };
            String::from_utf8(bundle.encode()).unwrap()
        };
        let two = |text: String| {
            let signatures = keys.sign(&["anna", "carl"], POLICY_NAMESPACE, text.as_bytes());
            (text, signatures)
        };
        let evil_text = format!("{POLICY}{EVIL}");
        let evil = bundle("demo", 6, FOREVER, &evil_text);
        let in_force = two(bundle("demo", 5, FOREVER, POLICY));
        let mut wrong = vec![
            // All that follow but one were really signed by two signers, for something else.
            two(bundle("demo", 4, FOREVER, &evil_text)),
            two(bundle("demo", 5, FOREVER, &evil_text)),
            two(bundle("other", 6, FOREVER, &evil_text)),
            two(bundle("demo", 6, 1_700_000_000_000, &evil_text)),
            two(bundle("demo", 6, FOREVER, &evil_text.replace("signers: 2", "signers: 3"))),
            two(bundle("demo", 6, FOREVER, "scenario: evil\nwhen: no.such.series > 1\n")),
            (evil.clone(), in_force.1.clone()),
            (evil.clone(), Vec::new()),
        ];
        for names in [&["anna"][..], &["anna", "anna"], &["stranger", "anna"], &["stranger", "stranger"]] {
            wrong.push((evil.clone(), keys.sign(names, POLICY_NAMESPACE, evil.as_bytes())));
        }
        wrong.push((evil.clone(), keys.sign(&["anna", "ben", "carl"], "skynet-emergency", evil.as_bytes())));
        wrong.push((evil.clone(), keys.sign(&["anna", "ben", "carl"], "file", evil.as_bytes())));
        let next = two(bundle("demo", 6, FOREVER, POLICY));
        let bystander = acting.bystander();
        Self { chance, dir, in_force, next, evil, wrong, bystander, incidents: 0, sent: Vec::new() }
    }

    fn push((bundle, signatures): &Signed, labels: Labels) -> Request {
        Request::Policy { bundle: bundle.clone(), signatures: signatures.clone(), labels }
    }

    /// The policy in force again, with this server's labels.
    pub(crate) fn in_force(&self, envelope: &Envelope) -> Request {
        Self::push(&self.in_force, envelope.labels())
    }

    /// A newer one that two signers signed.
    pub(crate) fn next(&self) -> Request {
        Self::push(&self.next, Labels::new([("role", "web")]))
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.chance.below(n as u64)).unwrap()
    }

    /// A policy that nobody may take; none: only labels change.
    pub(crate) fn policy(&mut self) -> Option<Request> {
        let flip = |chance: &mut Rng, text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            let at = usize::try_from(chance.below(bytes.len() as u64)).unwrap();
            // Stays text: the session process passes nothing else on.
            bytes[at] ^= 1 << chance.below(6);
            bytes[at] &= 0x7f;
            String::from_utf8(bytes).unwrap()
        };
        let mut forged = match self.below(8) {
            0 => return None,
            1 => (flip(&mut self.chance, &self.in_force.0), self.in_force.1.clone()),
            2 => (flip(&mut self.chance, &self.next.0), self.next.1.clone()),
            3 => {
                let mut forged = self.next.clone();
                let which = self.below(2);
                forged.1[which] = flip(&mut self.chance, &forged.1[which]);
                forged
            }
            4 => {
                let mut forged = self.next.clone();
                forged.1.truncate(1);
                forged
            }
            5 => (self.evil.clone(), self.next.1.clone()),
            _ => {
                let which = self.below(self.wrong.len());
                self.wrong[which].clone()
            }
        };
        if self.chance.one_in(4) {
            forged.1.push("-----BEGIN SSH SIGNATURE-----\nU1NIU0lH\n-----END SSH SIGNATURE-----\n".to_owned());
        }
        Some(Self::push(&forged, Labels::new([("role", "web")])))
    }

    /// A command just as an honest controller would send it.
    pub(crate) fn plain(&mut self, envelope: &Envelope, scenario: &str, step: u32) -> Command {
        self.incidents += 1;
        let name = match scenario {
            "sweep" => decoy(self.below(DECOYS)),
            _ => format!("n{} $(id) ;'", self.incidents),
        };
        let labels = Labels::new([("name", name)]);
        let (action, params) = envelope.params(scenario, step, &labels).unwrap();
        let (incident, server) =
            (IncidentId::new(&format!("i-{}", self.incidents)).unwrap(), ServerId::new("web1").unwrap());
        Command {
            id: command_id(&incident, step, 1, &server),
            incident,
            scenario: ScenarioName::new(scenario).unwrap(),
            step,
            attempt: 1,
            server,
            action: action.to_owned(),
            labels,
            params,
            policy: envelope.version,
            epoch: envelope.epoch(),
            ttl: COMMAND_TTL,
        }
    }

    /// Any command, and its deadline.
    pub(crate) fn command(&mut self, envelope: &Envelope, now_boot_ms: i64) -> (Command, i64) {
        let later = now_boot_ms + 60_000;
        if self.chance.one_in(20) && !self.sent.is_empty() {
            let which = self.below(self.sent.len());
            return (self.sent[which].clone(), later);
        }
        let steps =
            [("mark", 0), ("mark", 1), ("elsewhere", 0), ("named", 0), ("sweep", 0), ("sweep", 0), ("sweep", 0)];
        let (scenario, step) = steps[self.below(steps.len())];
        let mut command = self.plain(envelope, scenario, step);
        let mut deadline = later;
        if !self.chance.one_in(160) {
            for _ in 0..1 + self.below(3) {
                self.change(&mut command, &mut deadline);
            }
            // A careful forger makes the id right again.
            if self.chance.one_in(2) {
                command.id = command_id(&command.incident, command.step, command.attempt, &command.server);
            }
        }
        (command, deadline)
    }

    /// A command that may be sent again: whatever it is, it is not to be done then.
    pub(crate) fn keep(&mut self, command: &Command) {
        if self.sent.len() < 5000 {
            self.sent.push(command.clone());
        }
    }

    fn change(&mut self, command: &mut Command, deadline: &mut i64) {
        let text = |text: &str| Value::Text(text.to_owned());
        let kind = self.chance.below(240);
        // Rarely what may be done all the same: each of those costs as much as a hundred refusals.
        match if kind < 60 { kind } else { 2 + kind % 23 } {
            // What an honest controller might do as well.
            0 => command.labels = Labels::new(command.labels.iter().chain([("extra", "x")])),
            1 => command.epoch += 1,
            2..=5 => command.step = [1, 2, 7, u32::MAX][self.below(4)],
            6..=10 => {
                let names = ["evil", "watching", "kill", "elsewhere", "mark", "sweep", "invented"];
                command.scenario = ScenarioName::new(names[self.below(names.len())]).unwrap();
            }
            11..=14 => {
                let actions = ["script.run", "files.delete", "process.signal", "service.stop", "", "shell"];
                command.action = actions[self.below(actions.len())].to_owned();
            }
            15..=18 => command.policy = [0, 4, 6, u64::MAX][self.below(4)],
            19..=22 => command.server = ServerId::new(["web2", "web", "db1"][self.below(3)]).unwrap(),
            23..=24 => command.id = CommandId::new(&format!("{:032x}", self.chance.bits())).unwrap(),
            25 if !self.sent.is_empty() => {
                let which = self.below(self.sent.len());
                command.id = self.sent[which].id.clone();
            }
            25..=27 => command.incident = IncidentId::new(&format!("i-x{}", self.incidents)).unwrap(),
            28 => command.attempt = 1 + self.chance.below(1000) as u32,
            29..=32 => command.epoch = command.epoch.saturating_sub(1 + self.chance.below(3)),
            33..=36 => *deadline = [i64::MIN, 0, deadline.saturating_sub(61_000), -1][self.below(4)],
            37..=42 => {
                let keep = format!("{}/keep/*", self.dir.display());
                let wild = format!("{}/cache/*", self.dir.display());
                let (name, value) = match self.below(8) {
                    0 => ("path", text(&keep)),
                    1 => ("path", text(&wild)),
                    2 => ("args", Value::List(vec![text("; echo EVIL")])),
                    3 => ("script", text("other")),
                    4 => ("timeout", Value::Duration(Span::hours(1))),
                    5 => ("older_than", Value::Duration(Span(1))),
                    6 => ("more", Value::Bool(true)),
                    _ => ("script", Value::Int(1)),
                };
                command.params.insert(name.to_owned(), value);
            }
            43..=44 => {
                if let Some(name) = command.params.keys().next().cloned() {
                    command.params.remove(&name);
                }
            }
            45..=52 => self.change_label(command),
            53..=54 => {
                let many = (0..40).map(|n| (format!("l{n}"), "x"));
                command.labels = Labels::new(many);
            }
            55..=56 => command.labels = Labels::new([("LD_PRELOAD=/x", "y"), ("name", "n")]),
            _ => {
                // All that the signed policy says of a step the ceiling forbids.
                let (pid, start) = self.bystander;
                let number = |n: u64| Value::Int(i64::try_from(n).unwrap());
                command.scenario = ScenarioName::new("kill").unwrap();
                (command.step, command.action) = (0, "process.signal".to_owned());
                let labels = [("pid", pid.to_string()), ("start", start.to_string())];
                command.labels = Labels::new(labels);
                command.params = Params::from([
                    ("pid".to_owned(), number(pid.into())),
                    ("start".to_owned(), number(start)),
                    ("signal".to_owned(), text("KILL")),
                ]);
                command.id = command_id(&command.incident, command.step, command.attempt, &command.server);
            }
        }
    }

    /// Another label, with the parameters that policy would make of it: only `never` and the shape of paths stand in the way.
    fn change_label(&mut self, command: &mut Command) {
        let names = ["../keep/one", "*", "d?", "[a-z]1", "precious1", "/", "..", "keep/one"];
        let name = names[self.below(names.len())];
        if command.scenario.as_str() != "sweep" {
            command.server = ServerId::new("web3").unwrap();
            return;
        }
        command.labels = Labels::new([("name", name)]);
        if self.chance.one_in(2) {
            let path = Value::Text(format!("{}/cache/{name}", self.dir.display()));
            command.params.insert("path".to_owned(), path);
        }
    }
}
