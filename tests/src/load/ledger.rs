//! A simulated agent's ledger: what it was asked, what it did, and what it may forget.

use std::collections::BTreeMap;

use skynet_model::command::{LedgerEntry, Outcome};
use skynet_model::name::CommandId;

/// Acknowledged outcomes that are kept all the same: a command may be asked for again.
const KEPT: usize = 1000;

#[derive(Debug)]
struct Entry {
    outcome: Outcome,
    /// In which order it came.
    number: u64,
    acknowledged: bool,
}

/// Outcomes by command. It outlives sessions.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: BTreeMap<CommandId, Entry>,
    next: u64,
}

impl Ledger {
    /// How a command ended that was asked for before.
    pub(super) fn outcome(&self, command: &CommandId) -> Option<&Outcome> {
        self.entries.get(command).map(|entry| &entry.outcome)
    }

    pub(super) fn record(&mut self, outcome: Outcome) {
        self.next += 1;
        let entry = Entry { outcome, number: self.next, acknowledged: false };
        self.entries.insert(entry.outcome.command.clone(), entry);
    }

    /// The controller has journalled these.
    pub(super) fn forget(&mut self, commands: &[CommandId]) {
        for command in commands {
            if let Some(entry) = self.entries.get_mut(command) {
                entry.acknowledged = true;
            }
        }
        let mut old: Vec<_> =
            self.entries.iter().filter(|(_, e)| e.acknowledged).map(|(id, e)| (e.number, id.clone())).collect();
        if old.len() > KEPT {
            old.sort_unstable_by_key(|(number, _)| *number);
            for (_, id) in old.drain(..old.len() - KEPT) {
                self.entries.remove(&id);
            }
        }
    }

    pub(super) fn inventory(&self) -> Vec<LedgerEntry> {
        let entry = |(id, entry): (&CommandId, &Entry)| LedgerEntry {
            command: id.clone(),
            outcome: Some(entry.outcome.clone()),
        };
        self.entries.iter().map(entry).collect()
    }

    /// Outcomes the controller has not acknowledged.
    pub(super) fn open(&self) -> usize {
        self.entries.values().filter(|entry| !entry.acknowledged).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skynet_model::command::Status;
    use skynet_model::time::Timestamp;

    #[test]
    fn what_is_not_acknowledged_stays_and_of_the_rest_the_newest() {
        let mut ledger = Ledger::default();
        let ids: Vec<_> = (0..KEPT + 3).map(|n| CommandId::new(&format!("c{n}")).unwrap()).collect();
        for id in &ids {
            ledger.record(Outcome {
                command: id.clone(),
                status: Status::Done,
                message: String::new(),
                finished: Timestamp(0),
                finished_boot_ms: 0,
                took_ms: 0,
            });
        }
        ledger.forget(&ids[1..]);
        assert_eq!(ledger.open(), 1);
        assert!(ledger.outcome(&ids[0]).is_some());
        assert!(ledger.outcome(&ids[1]).is_none() && ledger.outcome(&ids[2]).is_none());
        assert!(ledger.outcome(&ids[3]).is_some());
        assert_eq!(ledger.inventory().len(), KEPT + 1);
    }
}
