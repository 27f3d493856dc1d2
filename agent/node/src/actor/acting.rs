//! One acting process, without its stream: requests in, replies out, one after the other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use skynet_model::catalogue::{Idempotence, Risk};
use skynet_model::command::{Command, Outcome, Status};
use skynet_model::name::CommandId;
use skynet_model::time::Span;

use super::envelope::{self, No, refused};
use super::latch::Latch;
use super::policies::Policies;
use super::{ActorConfig, ActorError, GivenUp, Reply, Request, state};
use crate::actions::{self, Action, ActionError, Context, Probe, cut};
use crate::host::Host;
use crate::ledger::{Intent, Ledger, LedgerError, Moment, Storage};

const EPOCH_FILE: &str = "epoch";
/// No command waits longer than this, whatever deadline it brings.
const MAX_WAIT: Span = Span::minutes(10);
/// Refusals remembered, so that a resend is answered alike. They are not in the ledger: they had no effect.
const MAX_REFUSALS: usize = 1000;
/// Bytes of an inventory: below a frame and below a message to the controller.
const INVENTORY_BYTES: usize = 3 << 20;

#[derive(Serialize, Deserialize)]
struct KeptEpoch {
    epoch: u64,
}

/// The acting process. Every call blocks until its work is done.
pub struct Actor {
    config: ActorConfig,
    host: Arc<dyn Host>,
    storage: Arc<dyn Storage>,
    /// A damaged ledger refuses every command; sensors and policy go on.
    ledger: Result<Ledger, LedgerError>,
    policies: Policies,
    latch: Arc<Latch>,
    epoch: u64,
    refusals: BTreeMap<CommandId, Outcome>,
    refusal_order: VecDeque<CommandId>,
}

impl std::fmt::Debug for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Actor").field("server", &self.config.server).field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl Actor {
    /// Opens what an earlier process left. Call [`Actor::recover`] before the first command.
    ///
    /// # Errors
    /// [`ActorError::State`] when a file of the data folder is not readable.
    pub fn open(config: ActorConfig, storage: Arc<dyn Storage>, host: Arc<dyn Host>) -> Result<Self, ActorError> {
        let ledger = Ledger::open(Arc::clone(&storage), host.now());
        if let Err(error) = &ledger {
            tracing::error!(%error, "no action will be taken");
        }
        if config.trust.is_insecure() {
            tracing::warn!("INSECURE: the acting process takes policy that nobody signed (insecure_unsigned)");
        }
        let mut policies = Policies::open(&*storage, &config)?;
        if let Ok(boot_id) = host.boot_id() {
            let now = Moment { wall: host.now(), boot_ms: host.boot_ms(), boot_id };
            if let Some(what) = policies.count_start(&now, &*storage) {
                tracing::error!("{what}");
            }
        }
        let latch = Arc::new(Latch::open(&config, Arc::clone(&storage), Arc::clone(&host))?);
        let epoch = state::load::<KeptEpoch>(&*storage, EPOCH_FILE)?.map_or(0, |kept| kept.epoch);
        let (refusals, refusal_order) = (BTreeMap::new(), VecDeque::new());
        Ok(Self { config, host, storage, ledger, policies, latch, epoch, refusals, refusal_order })
    }

    /// The first reply, unasked.
    #[must_use]
    pub fn ready(&self) -> Reply {
        let current = self.policies.current();
        Reply::Ready {
            version: current.map_or(0, |a| a.version),
            digest: current.map(|a| a.digest.clone()).unwrap_or_default(),
            bundle: current.map(|a| a.bundle.clone()),
            labels: self.policies.labels().clone(),
            epoch: self.epoch,
            given_up: self.policies.given_up().map(|given_up| GivenUp {
                version: given_up.version,
                digest: given_up.digest.clone(),
                why: given_up.why.clone(),
            }),
        }
    }

    pub(super) fn latch(&self) -> Arc<Latch> {
        Arc::clone(&self.latch)
    }

    /// Carries out one request to its end.
    pub fn handle(&mut self, request: Request) -> Option<Reply> {
        match request {
            Request::Policy { bundle, signatures, labels } => Some(self.policy(&bundle, signatures, labels)),
            Request::Return { version, digest, labels } => Some(self.go_back(version, digest, labels)),
            Request::Execute { command, deadline_boot_ms } => {
                self.recover();
                Some(Reply::Outcome { outcome: self.execute(*command, deadline_boot_ms) })
            }
            Request::Inventory => {
                self.recover();
                let entries = self.ledger.as_ref().map(|l| l.inventory(INVENTORY_BYTES)).unwrap_or_default();
                Some(Reply::Inventory { entries })
            }
            Request::Forget { commands } => {
                if let Ok(ledger) = &mut self.ledger {
                    ledger.forget(&commands);
                }
                None
            }
            Request::Halt { halted } => {
                self.latch.set(halted);
                None
            }
            Request::Emergency { signed } => {
                self.latch.emergency(&signed);
                None
            }
        }
    }

    fn policy(&mut self, bundle: &str, signatures: Vec<String>, labels: skynet_model::series::Labels) -> Reply {
        let digest = skynet_model::policy::Bundle::digest(bundle.as_bytes());
        let taken = match self.moment() {
            Ok(now) => {
                let taken = self.policies.take(bundle, signatures, labels, &now, &*self.storage, &self.config);
                taken.map(|applied| applied.version)
            }
            Err((_, error)) => Err((0, error)),
        };
        match taken {
            Ok(version) => Reply::Policy { version, digest, error: None },
            Err((version, error)) => Reply::Policy { version, digest, error: Some(error) },
        }
    }

    fn go_back(&mut self, version: u64, digest: String, labels: skynet_model::series::Labels) -> Reply {
        let gone = self.moment().map_err(|(_, error)| error).and_then(|now| {
            let gone = self.policies.go_back((version, &digest), labels.clone(), &now, &*self.storage);
            gone.map(|applied| applied.bundle.clone())
        });
        let (bundle, error) = match gone {
            Ok(bundle) => (Some(bundle), None),
            Err(error) => (None, Some(error)),
        };
        Reply::Returned { version, digest, bundle, labels, error }
    }

    fn execute(&mut self, command: Command, deadline_boot_ms: i64) -> Outcome {
        if let Some(outcome) = self.answered(&command.id) {
            return outcome;
        }
        let begun = self.host.boot_ms();
        match self.prepare(&command, deadline_boot_ms) {
            Ok(intent) => self.act(&intent),
            Err((status, message)) => {
                let outcome = self.outcome(&command.id, status, &message, begun);
                self.remember(outcome.clone());
                outcome
            }
        }
    }

    /// The stored answer to a command that came before.
    fn answered(&self, id: &CommandId) -> Option<Outcome> {
        let entry = self.ledger.as_ref().ok().and_then(|ledger| ledger.entry(id));
        match entry {
            Some(entry) => Some(entry.outcome.clone().unwrap_or_else(|| {
                // It stays open only while nothing can be written; see `recover`.
                let message = "a crash left it open whether this ran, and the ledger cannot be written";
                self.outcome(id, Status::Indeterminate, message, self.host.boot_ms())
            })),
            None => self.refusals.get(id).cloned(),
        }
    }

    /// All checks, in the order of trust; then the intent, on disk.
    fn prepare(&mut self, command: &Command, deadline_boot_ms: i64) -> Result<Intent, No> {
        let now = self.moment()?;
        let spec = envelope::check(command, &self.policies, &self.config.server, &self.config.ceiling, &now)?;
        let ledger = self.ledger.as_mut().map_err(|error| refused(error.to_string()))?;
        let (all, grave) = ledger.last_hour(&now);
        let ceiling = &self.config.ceiling;
        if all >= ceiling.per_hour {
            return Err(refused(format!(
                "local rate: {all} actions within the last hour, {} allowed",
                ceiling.per_hour
            )));
        }
        if spec.risk > Risk::Reversible && grave >= ceiling.disruptive_per_hour {
            return Err(refused(format!(
                "local rate: {grave} disruptive or destructive actions within the last hour, {} allowed",
                ceiling.disruptive_per_hour
            )));
        }
        if command.epoch < self.epoch {
            return Err(refused(format!(
                "epoch {} is older than {}: another controller has taken over",
                command.epoch, self.epoch
            )));
        }
        // Told here and again by `intend`: nothing else is written to a disk that takes no intent.
        ledger.ready(now.wall).map_err(|error| refused(error.to_string()))?;
        if command.epoch > self.epoch {
            state::save(&*self.storage, EPOCH_FILE, &KeptEpoch { epoch: command.epoch }).map_err(refused)?;
            self.epoch = command.epoch;
        }
        let deadline_boot_ms = deadline_boot_ms.min(now.boot_ms.saturating_add(MAX_WAIT.0));
        still_in_time(now.boot_ms, deadline_boot_ms)?;
        not_halted(&self.latch)?;
        let intent = Intent {
            command: command.clone(),
            risk: spec.risk,
            idempotence: spec.idempotence,
            begun: now.wall,
            begun_boot_ms: now.boot_ms,
            boot_id: now.boot_id,
            deadline_boot_ms,
        };
        ledger.intend(intent.clone()).map_err(|error| refused(error.to_string()))?;
        Ok(intent)
    }

    /// From an intent on disk to an outcome on disk.
    fn act(&mut self, intent: &Intent) -> Outcome {
        // The disk may have taken its time.
        let begun = self.host.boot_ms();
        let (status, message) = still_in_time(begun, intent.deadline_boot_ms)
            .and_then(|()| not_halted(&self.latch))
            .and_then(|()| self.run(intent, true))
            .unwrap_or_else(|no| no);
        self.finish(&intent.command.id, status, &message, begun)
    }

    fn run(&self, intent: &Intent, same_boot: bool) -> Result<(Status, String), No> {
        self.with_action(intent, same_boot, |action, host, context| {
            match action.run(host, &context.command.params, context) {
                Ok(message) => (Status::Done, message),
                Err(ActionError::Refused(message)) => (Status::Refused, message),
                Err(ActionError::Failed(message)) => (Status::Failed, message),
            }
        })
        .ok_or_else(|| refused(format!("policy version {} is no longer here", intent.command.policy)))
    }

    fn with_action<T>(
        &self,
        intent: &Intent,
        same_boot: bool,
        work: impl FnOnce(&dyn Action, &dyn Host, &Context<'_>) -> T,
    ) -> Option<T> {
        let command = &intent.command;
        let (spec, action) = actions::find(&command.action)?;
        let applied = self.policies.by_version(command.policy)?;
        let context = Context {
            command,
            policy: &applied.policy,
            labels: self.policies.labels(),
            timeout: spec.deadline.std(),
            intent_boot_ms: same_boot.then_some(intent.begun_boot_ms),
        };
        Some(work(action, &*self.host, &context))
    }

    /// Settles what a crash left open: `declarative` runs again within its deadline, `probeable` is probed, `once` is
    /// never run again. Does nothing while the ledger cannot be written.
    pub fn recover(&mut self) {
        let now = self.host.now();
        let Ok(ledger) = &mut self.ledger else { return };
        let open: Vec<Intent> = ledger.unfinished().cloned().collect();
        if open.is_empty() || ledger.ready(now).is_err() {
            return;
        }
        let boot = self.host.boot_id().ok();
        for intent in open {
            let begun = self.host.boot_ms();
            let same_boot = boot.as_ref() == Some(&intent.boot_id);
            let (status, message) = self.settle(&intent, same_boot);
            tracing::warn!(command = %intent.command.id, status = status.as_str(), "settled what a crash left open");
            self.finish(&intent.command.id, status, &message, begun);
        }
    }

    fn settle(&self, intent: &Intent, same_boot: bool) -> (Status, String) {
        let action = &intent.command.action;
        let late = if same_boot {
            still_in_time(self.host.boot_ms(), intent.deadline_boot_ms)
        } else {
            Err((Status::Expired, "the machine was restarted since".to_owned()))
        };
        // What was allowed before the crash may not be any more.
        let barred = not_halted(&self.latch).and_then(|()| {
            let allowed = self.config.ceiling.allows(action);
            if allowed { Ok(()) } else { Err(refused("the ceiling of this server does not allow it any more")) }
        });
        let unknown =
            |why: &str| (Status::Indeterminate, format!("a crash left it open whether {action} took place; {why}"));
        match intent.idempotence {
            Idempotence::Once => unknown("it is never run again"),
            Idempotence::Declarative => match late.and(barred).and_then(|()| self.run(intent, same_boot)) {
                Ok((status, message)) => (status, format!("run again after a crash: {message}")),
                Err((_, why)) => unknown(&why),
            },
            Idempotence::Probeable => {
                let params = &intent.command.params;
                let found = self.with_action(intent, same_boot, |a, host, context| a.probe(host, params, context));
                match found.unwrap_or(Probe::Unknown) {
                    Probe::Done => (Status::Done, format!("{action} found done after a crash")),
                    Probe::Unknown => unknown("it cannot be found out"),
                    Probe::NotDone => match late.and(barred).and_then(|()| self.run(intent, same_boot)) {
                        Ok((status, message)) => {
                            (status, format!("found not done after a crash, run again: {message}"))
                        }
                        Err((status, why)) => (status, format!("found not done after a crash; {why}")),
                    },
                }
            }
        }
    }

    fn finish(&mut self, id: &CommandId, status: Status, message: &str, begun: i64) -> Outcome {
        let mut outcome = self.outcome(id, status, message, begun);
        if let Ok(ledger) = &mut self.ledger
            && let Err(error) = ledger.finish(outcome.clone())
        {
            // The truth is told all the same: after a crash the intent on disk keeps it from being done twice.
            tracing::error!(%error, command = %id, "an outcome is not on disk");
            outcome.message = cut(&format!("{error}; {}", outcome.message)).to_owned();
        }
        outcome
    }

    fn outcome(&self, id: &CommandId, status: Status, message: &str, begun: i64) -> Outcome {
        let finished_boot_ms = self.host.boot_ms();
        Outcome {
            command: id.clone(),
            status,
            message: cut(message).to_owned(),
            finished: self.host.now(),
            finished_boot_ms,
            took_ms: u64::try_from(finished_boot_ms - begun).unwrap_or(0),
        }
    }

    fn remember(&mut self, outcome: Outcome) {
        if self.refusal_order.len() >= MAX_REFUSALS
            && let Some(oldest) = self.refusal_order.pop_front()
        {
            self.refusals.remove(&oldest);
        }
        self.refusal_order.push_back(outcome.command.clone());
        self.refusals.insert(outcome.command.clone(), outcome);
    }

    fn moment(&self) -> Result<Moment, No> {
        let boot_id = self.host.boot_id().map_err(|error| refused(format!("the boot id is not known: {error}")))?;
        Ok(Moment { wall: self.host.now(), boot_ms: self.host.boot_ms(), boot_id })
    }
}

fn still_in_time(now: i64, deadline: i64) -> Result<(), No> {
    if now <= deadline {
        return Ok(());
    }
    Err((
        Status::Expired,
        format!("its time to live ended {} before it could begin", Span(now.saturating_sub(deadline))),
    ))
}

fn not_halted(latch: &Latch) -> Result<(), No> {
    latch.why().map_or(Ok(()), |why| Err(refused(why)))
}
