//! How people are told: routes to targets, targets to notifiers; retries, back-off and time limits.
//!
//! What must never enter: what is told (the engine's notices say it). A notifier makes one attempt and says whether
//! another is worth it; everything else is here. A notice is never lost: what the journal does not name as delivered or
//! failed is given here again at the next start.

mod console;
mod webhook;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use skynet_model::incident::Notice;
use skynet_model::name::NoticeId;
use skynet_model::policy::{Policy, Target};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

pub use console::Console;
pub use webhook::Webhook;

use crate::config::Credential;
use crate::plain::plain;

/// Attempts under way at once.
const AT_ONCE: usize = 64;
/// Notices that wait or are being told; further ones wait for the next start, which finds them in the journal.
pub const WAITING: usize = 10_000;

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotifyError {
    /// It may work later.
    #[error("{0}")]
    Retry(String),
    /// It will not.
    #[error("{0}")]
    Permanent(String),
}

/// How often and how long it is tried.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The first pause; it doubles.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
    /// Attempts.
    pub attempts: u32,
    /// How long one may take.
    pub timeout: Duration,
}

impl Default for Patience {
    /// About two hours in all.
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_mins(5),
            attempts: 32,
            timeout: Duration::from_secs(15),
        }
    }
}

/// What became of a notice at one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Which notice.
    pub notice: NoticeId,
    /// The target's name: `console`, `contact:pager`.
    pub target: String,
    /// Why it was not reached.
    pub result: Result<(), String>,
}

/// Names of a notice's targets, as `NoticeDelivered` has them: `console`, `contact:pager`, `mail:a@b`, `sms:+1`.
#[must_use]
pub fn target_names(notice: &Notice) -> Vec<String> {
    targets(notice).iter().map(target_name).collect()
}

fn targets(notice: &Notice) -> Vec<Target> {
    let mut targets = notice.to.clone();
    if targets.is_empty() {
        targets.push(Target::Console);
    }
    let mut seen = HashSet::new();
    targets.retain(|target| seen.insert(target.clone()));
    targets
}

/// One target's name.
#[must_use]
pub fn target_name(target: &Target) -> String {
    match target {
        Target::Mail(address) => format!("mail:{address}"),
        Target::Sms(number) => format!("sms:{number}"),
        Target::Contact(name) => format!("contact:{name}"),
        Target::Console => "console".to_owned(),
    }
}

/// Tells notices. Runs until its sender is gone.
pub struct Runner {
    console: Arc<Console>,
    webhook: Arc<Webhook>,
    policy: watch::Receiver<Option<Arc<Policy>>>,
    patience: Patience,
    told: mpsc::Sender<Told>,
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner").field("patience", &self.patience).finish_non_exhaustive()
    }
}

impl Runner {
    /// A runner. `policy` gives the contacts in force, `told` takes what became of each notice.
    ///
    /// # Errors
    /// The HTTP client cannot be made.
    pub fn new(
        console: Console,
        credentials: BTreeMap<String, Credential>,
        policy: watch::Receiver<Option<Arc<Policy>>>,
        patience: Patience,
        told: mpsc::Sender<Told>,
    ) -> Result<Self, String> {
        let webhook = Webhook::new(credentials, patience.timeout)?;
        Ok(Self { console: Arc::new(console), webhook: Arc::new(webhook), policy, patience, told })
    }

    /// Tells what comes: a notice and the names of targets that are left; none: all of them.
    pub async fn run(self, mut notices: mpsc::Receiver<(Notice, Option<HashSet<String>>)>) {
        let runner = Arc::new(self);
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        let mut attempts = JoinSet::new();
        loop {
            tokio::select! {
                next = notices.recv() => {
                    let Some((notice, left)) = next else { break };
                    let notice = Arc::new(notice);
                    for target in targets(&notice) {
                        if left.as_ref().is_some_and(|left| !left.contains(&target_name(&target))) {
                            continue;
                        }
                        let (runner, notice, slots) = (Arc::clone(&runner), Arc::clone(&notice), Arc::clone(&slots));
                        attempts.spawn(async move { runner.tell(&notice, &target, &slots).await });
                    }
                }
                Some(_) = attempts.join_next() => {}
            }
        }
        // Going down: what is under way is in the journal as not delivered, and told again at the next start.
        attempts.shutdown().await;
    }

    async fn tell(&self, notice: &Notice, target: &Target, slots: &Semaphore) {
        let mut pause = self.patience.first;
        let mut attempt = 1;
        let result = loop {
            let failed = {
                let Ok(_slot) = slots.acquire().await else { return };
                let one = tokio::time::timeout(self.patience.timeout, self.attempt(notice, target)).await;
                let late = || NotifyError::Retry(format!("no answer within {} s", self.patience.timeout.as_secs()));
                one.unwrap_or_else(|_| Err(late()))
            };
            match failed {
                Ok(()) => break Ok(()),
                Err(NotifyError::Permanent(error)) => break Err(error),
                Err(NotifyError::Retry(error)) if attempt >= self.patience.attempts => {
                    break Err(format!("{error}; given up after {attempt} attempts"));
                }
                Err(NotifyError::Retry(error)) => {
                    let name = target_name(target);
                    tracing::info!("notice {} not yet at {name}: {}; attempt {attempt}", notice.id, plain(&error));
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(self.patience.longest);
                    attempt += 1;
                }
            }
        };
        let target = target_name(target);
        if let Err(error) = &result {
            // A person must hear of it all the same: the console is always there.
            let failed = format!("this notice did not reach {target}: {error}");
            if let Err(error) = self.console.tell(notice, Some(&failed)) {
                tracing::error!("notice {} reached neither {target} nor the console: {error}", notice.id);
            }
        }
        // The core may be gone; then the notice is told again at the next start.
        let _ = self.told.send(Told { notice: notice.id.clone(), target, result }).await;
    }

    /// One attempt. A new notifier is a file and a line here.
    async fn attempt(&self, notice: &Notice, target: &Target) -> Result<(), NotifyError> {
        match target {
            Target::Console => self.console.tell(notice, None),
            Target::Contact(name) => {
                let contact = self.policy.borrow().as_ref().and_then(|policy| policy.contacts.get(name).cloned());
                let missing = || NotifyError::Permanent(format!("the policy in force has no `contact: {name}`"));
                self.webhook.tell(notice, &contact.ok_or_else(missing)?).await
            }
            Target::Mail(_) => Err(unsupported("mail")),
            Target::Sms(_) => Err(unsupported("SMS")),
        }
    }
}

fn unsupported(what: &str) -> NotifyError {
    NotifyError::Permanent(format!("this release has no {what} notifier; use a contact with a webhook"))
}

#[cfg(test)]
mod tests;
