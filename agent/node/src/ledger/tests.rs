use skynet_model::catalogue::Idempotence;
use skynet_model::command::{Command, Status, command_id};
use skynet_model::name::{IncidentId, ScenarioName, ServerId};
use skynet_model::series::Labels;
use skynet_model::value::Params;

use super::*;

const NOW: Timestamp = Timestamp(1_800_000_000_000);

fn intent(number: u32) -> Intent {
    let (incident, server) = (IncidentId::new("i-1").unwrap(), ServerId::new("web1").unwrap());
    let command = Command {
        id: command_id(&incident, 0, number, &server),
        incident,
        scenario: ScenarioName::new("s").unwrap(),
        step: 0,
        attempt: number,
        server,
        action: "script.run".to_owned(),
        labels: Labels::new([("mount", "/var \"x\"")]),
        params: Params::new(),
        policy: 1,
        epoch: 1,
        ttl: Span::seconds(60),
    };
    Intent {
        command,
        risk: Risk::Disruptive,
        idempotence: Idempotence::Once,
        begun: NOW,
        begun_boot_ms: 1000,
        boot_id: "b".to_owned(),
        deadline_boot_ms: 61_000,
    }
}

fn outcome(number: u32) -> Outcome {
    Outcome {
        command: intent(number).command.id,
        status: Status::Done,
        message: "did it".to_owned(),
        finished: NOW,
        finished_boot_ms: 1010,
        took_ms: 10,
    }
}

fn open(storage: &Arc<Memory>) -> Result<Ledger, LedgerError> {
    Ledger::open(Arc::clone(storage) as Arc<dyn Storage>, NOW)
}

fn id(number: u32) -> CommandId {
    intent(number).command.id
}

/// A ledger with one whole command and the intent of a second.
fn filled() -> Arc<Memory> {
    let storage = Arc::new(Memory::default());
    let mut ledger = open(&storage).unwrap();
    ledger.intend(intent(1)).unwrap();
    ledger.finish(outcome(1)).unwrap();
    ledger.intend(intent(2)).unwrap();
    storage
}

#[test]
fn what_was_written_is_there_after_a_restart() {
    let storage = filled();
    let mut ledger = open(&storage).unwrap();
    assert_eq!(ledger.entry(&id(1)).unwrap().outcome, Some(outcome(1)));
    assert_eq!(ledger.unfinished().cloned().collect::<Vec<_>>(), [intent(2)]);
    assert_eq!(ledger.inventory(usize::MAX).len(), 2);
    ledger.forget(&[id(1), id(2)]);
    let ledger = open(&storage).unwrap();
    assert!(ledger.entry(&id(1)).unwrap().acknowledged);
    assert!(!ledger.entry(&id(2)).unwrap().acknowledged, "what has no outcome cannot have been journalled");
}

#[test]
fn a_tail_torn_at_any_byte_loses_that_record_and_nothing_else() {
    let storage = filled();
    let whole = storage.log();
    let mut ledger = open(&storage).unwrap();
    ledger.finish(outcome(2)).unwrap();
    let longer = storage.log();
    assert!(longer.starts_with(&whole) && longer.len() > whole.len());
    for length in whole.len()..longer.len() {
        let torn = Arc::new(Memory::with_log(longer[..length].to_vec()));
        let mut ledger = open(&torn).unwrap();
        assert_eq!(ledger.entry(&id(1)).unwrap().outcome, Some(outcome(1)), "{length}");
        assert_eq!(ledger.unfinished().count(), 1, "{length}");
        // And it goes on as if the record had never been begun.
        ledger.finish(outcome(2)).unwrap();
        drop(ledger);
        assert_eq!(open(&torn).unwrap().unfinished().count(), 0, "{length}");
    }
    // The same with every byte of the last record spoilt instead of missing.
    for at in whole.len()..longer.len() {
        let mut spoilt = longer.clone();
        spoilt[at] ^= 0x55;
        let ledger = open(&Arc::new(Memory::with_log(spoilt))).unwrap();
        assert_eq!(ledger.unfinished().count(), 1, "{at}");
    }
}

#[test]
fn a_header_torn_at_any_byte_is_an_empty_ledger() {
    for length in 0..HEADER.len() {
        let storage = Arc::new(Memory::with_log(HEADER[..length].to_vec()));
        assert!(open(&storage).unwrap().inventory(usize::MAX).is_empty());
        assert_eq!(storage.log(), HEADER);
    }
}

#[test]
fn damage_before_the_tail_is_refused_with_the_repair() {
    let log = filled().log();
    for at in [HEADER.len(), HEADER.len() + 5, HEADER.len() + 100] {
        let mut damaged = log.clone();
        damaged[at] ^= 1;
        let error = open(&Arc::new(Memory::with_log(damaged))).unwrap_err();
        assert!(matches!(error, LedgerError::Damaged { at: 16, .. }), "{error}");
        assert!(error.to_string().contains("mv memory/ledger memory/ledger.damaged"), "{error}");
    }
    for other in [&b"skynet-ledger 2\nxxxx"[..], b"PNG", &[0; 64]] {
        let error = open(&Arc::new(Memory::with_log(other.to_vec()))).unwrap_err();
        assert!(matches!(error, LedgerError::Damaged { at: 0, .. }), "{error}");
    }
}

#[test]
fn an_intent_that_is_not_on_disk_does_not_count_now_or_later() {
    for fault in [Fault::Full { torn: 0 }, Fault::Full { torn: 7 }, Fault::Full { torn: usize::MAX }, Fault::SyncFails]
    {
        let storage = filled();
        let mut ledger = open(&storage).unwrap();
        storage.set_fault(fault);
        let error = ledger.intend(intent(3)).unwrap_err();
        assert!(error.to_string().contains("cannot be written: No space left on device; free space on memory"));
        assert!(ledger.intend(intent(4)).is_err(), "one failure stops all");
        assert!(ledger.entry(&id(3)).is_none());
        assert!(open(&Arc::new(storage.survivor())).unwrap().entry(&id(3)).is_none(), "{fault:?}");
        // Space is back.
        storage.set_fault(Fault::None);
        ledger.intend(intent(5)).unwrap();
        let ledger = open(&storage).unwrap();
        assert!(ledger.entry(&id(3)).is_none() && ledger.entry(&id(5)).is_some() && ledger.entry(&id(1)).is_some());
    }
}

#[test]
fn an_outcome_that_cannot_be_written_is_written_when_space_is_back() {
    let storage = filled();
    let mut ledger = open(&storage).unwrap();
    storage.set_fault(Fault::Full { torn: 3 });
    assert!(ledger.finish(outcome(2)).is_err());
    assert!(ledger.entry(&id(2)).unwrap().outcome.is_some());
    assert_eq!(open(&Arc::new(storage.survivor())).unwrap().unfinished().count(), 1);
    storage.set_fault(Fault::None);
    ledger.ready(NOW).unwrap();
    assert_eq!(open(&storage).unwrap().unfinished().count(), 0);
}

#[test]
fn compaction_drops_what_is_old_and_acknowledged_only() {
    let storage = filled();
    let mut ledger = open(&storage).unwrap();
    ledger.forget(&[id(1)]);
    ledger.finish(outcome(2)).unwrap();
    let later = |span: Span| Ledger::open(Arc::clone(&storage) as Arc<dyn Storage>, NOW.plus(span)).unwrap();
    assert!(later(Span(KEEP.0 - 1)).entry(&id(1)).is_some());
    let ledger = later(KEEP);
    assert!(ledger.entry(&id(1)).is_none());
    assert!(ledger.entry(&id(2)).is_some());
}

#[test]
fn a_full_ledger_drops_the_oldest_acknowledged_first_and_never_what_is_open() {
    let storage = Arc::new(Memory::default());
    let mut ledger = open(&storage).unwrap();
    let last = u32::try_from(MAX_ENTRIES).unwrap() + 3;
    for number in 0..last {
        ledger.take(Record::Intent { intent: Box::new(intent(number)) });
        if number > 0 {
            ledger.take(Record::Outcome { outcome: outcome(number) });
        }
    }
    ledger.take(Record::Forget { commands: vec![id(9000), id(9001)] });
    ledger.compact(NOW);
    let ledger = open(&storage).unwrap();
    assert_eq!(ledger.entries.len(), MAX_ENTRIES);
    assert!(ledger.entry(&id(0)).is_some(), "open");
    assert!(ledger.entry(&id(1)).is_none(), "the oldest");
    assert!(ledger.entry(&id(2)).is_some());
    assert!(ledger.entry(&id(9000)).is_none() && ledger.entry(&id(9001)).is_none(), "acknowledged");
}

#[test]
fn the_inventory_is_bounded_and_the_unacknowledged_come_first() {
    let storage = filled();
    let mut ledger = open(&storage).unwrap();
    ledger.finish(outcome(2)).unwrap();
    ledger.forget(&[id(2)]);
    let commands = |budget| ledger.inventory(budget).into_iter().map(|entry| entry.command).collect::<Vec<CommandId>>();
    assert_eq!(commands(usize::MAX), [id(1), id(2)]);
    assert_eq!(commands(400), [id(1)]);
    assert_eq!(commands(0), []);
}

#[test]
fn the_last_hour_is_counted_on_the_boot_clock_and_over_a_restart_on_the_wall_clock() {
    let mut ledger = open(&filled()).unwrap();
    ledger.intend(Intent { risk: Risk::Reversible, ..intent(3) }).unwrap();
    let hour = Span::hours(1).0;
    let at = |wall: i64, boot_ms: i64, boot: &str| {
        ledger.last_hour(&Moment { wall: Timestamp(NOW.0 + wall), boot_ms, boot_id: boot.to_owned() })
    };
    assert_eq!(at(0, 1000, "b"), (3, 2));
    assert_eq!(at(100 * hour, 999 + hour, "b"), (3, 2), "a wall clock that jumps frees nothing");
    assert_eq!(at(0, 1000 + hour, "b"), (0, 0));
    assert_eq!(at(hour - 1, 0, "c"), (3, 2));
    assert_eq!(at(-50 * hour, 0, "c"), (3, 2));
    assert_eq!(at(hour, 0, "c"), (0, 0));
}

/// A log of format 1, written once. `UPDATE_GOLDEN=1` writes it where it is missing and never changes it.
#[test]
fn a_ledger_of_format_1_loads_for_ever() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ledger/golden/ledger-1.log");
    if std::env::var_os("UPDATE_GOLDEN").is_some() && !path.exists() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, filled().log()).unwrap();
    }
    let golden = std::fs::read(&path).unwrap();
    let ledger = open(&Arc::new(Memory::with_log(golden.clone()))).unwrap();
    assert_eq!(ledger.entry(&id(1)).unwrap().outcome, Some(outcome(1)));
    assert_eq!(ledger.unfinished().cloned().collect::<Vec<_>>(), [intent(2)]);
    assert_eq!(filled().log(), golden, "what is written today is still format 1");
}
