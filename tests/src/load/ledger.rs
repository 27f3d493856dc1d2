//! A simulated agent's ledger: what it was asked, what it did, and what it may forget.

use std::collections::BTreeMap;

use skynet_agent::session::Moment;
use skynet_model::command::{Command, LedgerEntry, Outcome, Status};
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
    /// Answers what it has seen as it answered before; else has the `effect`, unless all action is halted or the deadline
    /// has passed.
    pub(super) fn execute(
        &mut self,
        command: &Command,
        halted: bool,
        deadline_boot_ms: i64,
        now: Moment,
        effect: impl FnOnce(),
    ) -> Outcome {
        if let Some(entry) = self.entries.get(&command.id) {
            return entry.outcome.clone();
        }
        let (status, message) = if halted {
            (Status::Refused, "halted")
        } else if now.boot_ms > deadline_boot_ms {
            (Status::Expired, "it came too late")
        } else {
            effect();
            (Status::Done, "simulated")
        };
        let outcome = Outcome {
            command: command.id.clone(),
            status,
            message: message.to_owned(),
            finished: now.wall,
            finished_boot_ms: now.boot_ms,
            took_ms: 0,
        };
        self.next += 1;
        let entry = Entry { outcome: outcome.clone(), number: self.next, acknowledged: false };
        self.entries.insert(command.id.clone(), entry);
        outcome
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
    use skynet_model::name::{IncidentId, ScenarioName, ServerId};
    use skynet_model::series::Labels;
    use skynet_model::time::{Span, Timestamp};

    const NOW: Moment = Moment { wall: Timestamp(1_000_000), boot_ms: 5000 };

    fn command(id: &str) -> Command {
        Command {
            id: CommandId::new(id).unwrap(),
            incident: IncidentId::new("i-1").unwrap(),
            scenario: ScenarioName::new("fires").unwrap(),
            step: 0,
            attempt: 1,
            server: ServerId::new("s1").unwrap(),
            action: "service.start".to_owned(),
            labels: Labels::default(),
            params: Default::default(),
            policy: 1,
            epoch: 1,
            ttl: Span::seconds(60),
        }
    }

    #[test]
    fn a_command_that_is_asked_for_again_has_one_effect_and_one_outcome() {
        let (mut ledger, mut effects) = (Ledger::default(), 0);
        let first = ledger.execute(&command("c1"), false, 6000, NOW, || effects += 1);
        let again = ledger.execute(&command("c1"), true, 0, NOW, || effects += 1);
        assert_eq!((first.status, effects), (Status::Done, 1));
        assert_eq!(first, again);
    }

    #[test]
    fn neither_a_halted_nor_a_late_command_has_an_effect() {
        let mut ledger = Ledger::default();
        let halted = ledger.execute(&command("c1"), true, 6000, NOW, || panic!("halted"));
        let late = ledger.execute(&command("c2"), false, 4999, NOW, || panic!("late"));
        assert_eq!((halted.status, late.status), (Status::Refused, Status::Expired));
        assert_eq!(ledger.open(), 2);
    }

    #[test]
    fn what_is_not_acknowledged_stays_and_of_the_rest_the_newest() {
        let mut ledger = Ledger::default();
        let commands: Vec<_> = (0..KEPT + 3).map(|n| command(&format!("c{n}"))).collect();
        for command in &commands {
            ledger.execute(command, false, 6000, NOW, || {});
        }
        let ids: Vec<_> = commands.iter().map(|command| command.id.clone()).collect();
        ledger.forget(&ids[1..]);
        assert_eq!(ledger.open(), 1);
        let has = |at: usize| ledger.entries.contains_key(&ids[at]);
        assert_eq!([has(0), has(1), has(2), has(3)], [true, false, false, true]);
        assert_eq!(ledger.inventory().len(), KEPT + 1);
    }
}
