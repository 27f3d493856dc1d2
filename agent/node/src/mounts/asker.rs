//! Asks mounts on a thread of its own.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::host::{FsStat, Host, HostError};

/// Statvfs needs little.
const STACK: usize = 64 << 10;

/// What a mount said.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    /// This, after so many microseconds.
    Said(Result<FsStat, HostError>, i64),
    /// Nothing yet, in this or an earlier round.
    Silent,
}

#[derive(Default)]
struct Round {
    host: Option<Arc<dyn Host>>,
    todo: Vec<Arc<str>>,
    /// The answers so far, in the order of `todo`.
    answers: Vec<Answer>,
    /// Nobody waits for this thread any more: what it still does ends with its present question.
    left_behind: bool,
}

#[derive(Default)]
struct Shared {
    round: Mutex<Round>,
    wake: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Round> {
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        let mut round = self.lock();
        while !round.left_behind {
            let next = round.todo.get(round.answers.len()).cloned().zip(round.host.clone());
            let Some((mount, host)) = next else {
                round = self.wake.wait(round).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(round);
            let began = host.boot_us();
            let stat = host.fs_stat(Path::new(&*mount));
            let took = host.boot_us().saturating_sub(began);
            drop(host);
            round = self.lock();
            round.answers.push(Answer::Said(stat, took));
            self.wake.notify_all();
        }
    }
}

/// Asks mounts one after the other on a helping thread, which is kept from round to round. One that has not answered in
/// time is left behind with the thread that asked it, and asked again only after that one came back: a mount that hangs
/// costs one thread, however long it hangs.
pub(crate) struct Asker {
    patience: Duration,
    helper: Option<Arc<Shared>>,
    stuck: BTreeMap<Arc<str>, Arc<Shared>>,
}

impl Asker {
    /// `patience`: how long one mount may take before the others go on without it.
    pub(crate) fn new(patience: Duration) -> Self {
        Self { patience, helper: None, stuck: BTreeMap::new() }
    }

    /// How many mounts hang.
    #[cfg(test)]
    pub(crate) fn stuck(&self) -> usize {
        self.stuck.len()
    }

    fn helper(&mut self) -> std::io::Result<Arc<Shared>> {
        if let Some(helper) = &self.helper {
            return Ok(Arc::clone(helper));
        }
        let shared = Arc::new(Shared::default());
        let mine = Arc::clone(&shared);
        std::thread::Builder::new().name("mounts".into()).stack_size(STACK).spawn(move || mine.serve())?;
        self.helper = Some(Arc::clone(&shared));
        Ok(shared)
    }

    /// Asks each of `mounts` and tells `take` its number and its answer, in order.
    ///
    /// # Errors
    /// When there is no thread to ask with.
    pub(crate) fn ask(
        &mut self,
        host: &Arc<dyn Host>,
        mounts: &[Arc<str>],
        mut take: impl FnMut(usize, &Answer),
    ) -> std::io::Result<()> {
        // Its late answer is old: only that it came counts.
        self.stuck.retain(|_, asked| asked.lock().answers.is_empty());
        let mut at = 0;
        while at < mounts.len() {
            if self.stuck.contains_key(&mounts[at]) {
                take(at, &Answer::Silent);
                at += 1;
                continue;
            }
            let run = mounts[at..].iter().take_while(|m| !self.stuck.contains_key(*m)).count();
            let helper = self.helper()?;
            let mut round = helper.lock();
            round.host = Some(Arc::clone(host));
            round.answers.clear();
            round.todo.clear();
            round.todo.extend(mounts[at..at + run].iter().cloned());
            helper.wake.notify_all();
            let mut told = 0;
            while told < run {
                let more = |round: &mut Round| round.answers.len() <= told;
                round = match helper.wake.wait_timeout_while(round, self.patience, more) {
                    Ok((round, _)) => round,
                    Err(poisoned) => poisoned.into_inner().0,
                };
                if round.answers.len() <= told {
                    break;
                }
                while let Some(answer) = round.answers.get(told) {
                    take(at + told, answer);
                    told += 1;
                }
            }
            if told < run {
                round.left_behind = true;
                round.answers.clear();
                drop(round);
                take(at + told, &Answer::Silent);
                self.stuck.insert(Arc::clone(&mounts[at + told]), helper);
                self.helper = None;
                told += 1;
            }
            at += told;
        }
        Ok(())
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        if let Some(helper) = &self.helper {
            helper.lock().left_behind = true;
            helper.wake.notify_all();
        }
    }
}
