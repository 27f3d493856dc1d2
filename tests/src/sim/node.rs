//! A simulated agent: the real acting process on a simulated server, with a disk in memory that outlives it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use skynet_model::command::{Command, LedgerEntry, Outcome};
use skynet_model::name::{CommandId, ServerId};
use skynet_model::policy::{Bundle, File};
use skynet_model::series::Labels;
use skynet_model::sign::Trust;
use skynet_model::time::Timestamp;
use skynet_node::actor::{Actor, ActorConfig, Ceiling, Reply, Request};
use skynet_node::ledger::{Fault, Memory};

use super::host::{Crash, SimHost};
use super::policy_text;

/// How long a dead agent stays away, milliseconds.
const AWAY: i64 = 2000;

/// One agent.
pub(super) struct Node {
    /// Its server.
    pub(super) host: SimHost,
    server: ServerId,
    disk: Arc<Memory>,
    actor: Option<Actor>,
    /// The policy it has.
    version: u64,
    down_until: i64,
    /// Effects by the command during which they happened.
    by_command: BTreeMap<CommandId, Vec<String>>,
    /// Effects while an agent settled what a crash had left open.
    by_recovery: Vec<String>,
}

impl Node {
    pub(super) fn new(server: ServerId) -> Self {
        Self {
            host: SimHost::default(),
            server,
            disk: Arc::new(Memory::default()),
            actor: None,
            version: 0,
            down_until: 0,
            by_command: BTreeMap::new(),
            by_recovery: Vec::new(),
        }
    }

    pub(super) fn is_down(&self) -> bool {
        self.actor.is_none()
    }

    /// Whether it runs now; a dead one comes back when its time has come.
    pub(super) fn up(&mut self, now: i64) -> Result<bool, String> {
        if self.actor.is_some() {
            return Ok(true);
        }
        if now < self.down_until {
            return Ok(false);
        }
        let config = ActorConfig {
            server: self.server.clone(),
            fleet: None,
            data: PathBuf::from("/sim"),
            trust: Trust::Anybody,
            ceiling: Ceiling { per_hour: 1000, disruptive_per_hour: 1000, ..Ceiling::default() },
            single_operator: false,
        };
        let host = Arc::new(self.host.clone());
        let actor =
            Actor::open(config, self.disk.clone(), host).map_err(|e| format!("{} does not start: {e}", self.server))?;
        let fresh = matches!(actor.ready(), Reply::Ready { version: 0, .. });
        self.actor = Some(actor);
        if fresh && !self.take_policy(1)? {
            self.crash();
            return Ok(false);
        }
        Ok(self.recover())
    }

    /// Takes a policy, unless its disk is full or it died of it.
    pub(super) fn take_policy(&mut self, version: u64) -> Result<bool, String> {
        if version == self.version {
            return Ok(true);
        }
        let file = File { name: "sim.yaml".to_owned(), text: policy_text(version) };
        let (fleet, expires) = ("sim".to_owned(), Timestamp(i64::MAX));
        let bundle = Bundle { format: 1, fleet, version, expires, files: vec![file] };
        let bundle = String::from_utf8_lossy(&bundle.encode()).into_owned();
        let labels = Labels::new([("sim", "yes")]);
        match self.ask(Request::Policy { bundle, signatures: Vec::new(), labels }) {
            None => Ok(false),
            Some(Some(Reply::Policy { error: None, .. })) => {
                self.version = version;
                Ok(true)
            }
            // It is offered again with the next session.
            Some(Some(Reply::Policy { error: Some(error), .. })) if error.contains("No space left") => Ok(false),
            other => Err(format!("{} does not take the policy: {other:?}", self.server)),
        }
    }

    /// Settles what a crash left open, as far as the disk lets it; false: it died of that, too.
    fn recover(&mut self) -> bool {
        let before = self.effects().len();
        let Some(actor) = &mut self.actor else { return false };
        let ended = catch_unwind(AssertUnwindSafe(|| actor.recover()));
        self.by_recovery.extend_from_slice(&self.effects()[before..]);
        if ended.is_err() {
            self.crash();
        }
        ended.is_ok()
    }

    /// Dies now: what is on its disk stays.
    pub(super) fn crash(&mut self) {
        self.actor = None;
        self.down_until = self.host.state().now + AWAY;
    }

    pub(super) fn fill_disk(&self) {
        self.disk.set_fault(Fault::Full { torn: 7 });
    }

    pub(super) fn free_disk(&self) {
        self.disk.set_fault(Fault::None);
    }

    /// None: it died of it.
    pub(super) fn inventory(&mut self) -> Result<Option<Vec<LedgerEntry>>, String> {
        match self.ask(Request::Inventory) {
            None => Ok(None),
            Some(Some(Reply::Inventory { entries })) => Ok(Some(entries)),
            Some(other) => Err(format!("no inventory but {other:?}")),
        }
    }

    /// None: it died of it.
    pub(super) fn execute(&mut self, command: &Command) -> Result<Option<Outcome>, String> {
        // As it would by itself; here, so that its effects are not taken for the command's.
        if !self.recover() {
            return Ok(None);
        }
        let before = self.effects().len();
        let deadline_boot_ms = self.host.state().now + command.ttl.0;
        let reply = self.ask(Request::Execute { command: Box::new(command.clone()), deadline_boot_ms });
        let done = self.effects()[before..].to_vec();
        self.by_command.entry(command.id.clone()).or_default().extend(done);
        match reply {
            None => Ok(None),
            Some(Some(Reply::Outcome { outcome })) => Ok(Some(outcome)),
            Some(other) => Err(format!("no outcome but {other:?}")),
        }
    }

    fn ask(&mut self, request: Request) -> Option<Option<Reply>> {
        let actor = self.actor.as_mut()?;
        match catch_unwind(AssertUnwindSafe(|| actor.handle(request))) {
            Ok(reply) => Some(reply),
            Err(what) if what.is::<Crash>() => {
                self.crash();
                None
            }
            Err(what) => std::panic::resume_unwind(what),
        }
    }

    fn effects(&self) -> Vec<String> {
        self.host.state().effects.iter().map(|e| e.what.clone()).collect()
    }

    /// Each command had at most one effect; what may not be run again was not.
    pub(super) fn check_effects(&self, issued: &BTreeMap<CommandId, Command>) -> Result<(), String> {
        for (id, effects) in &self.by_command {
            if effects.len() > 1 {
                return Err(format!("{} had {} effects: {effects:?}", id, effects.len()));
            }
            if !issued.contains_key(id) {
                return Err(format!("an effect of {id}, which the journal does not know"));
            }
        }
        if let Some(what) = self.by_recovery.iter().find(|what| what.as_str() == "script") {
            return Err(format!("{what} was run again after a crash, although it may run once only"));
        }
        let scripts = self.effects().iter().filter(|what| what.as_str() == "script").count();
        let commands = issued.values().filter(|c| c.server == self.server && c.action == "script.run").count();
        if scripts > commands {
            return Err(format!("{scripts} effects of {commands} commands that may run once only"));
        }
        Ok(())
    }
}
