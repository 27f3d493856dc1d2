//! A process that dies between INTENT and OUTCOME, and a disk that is full.

use super::*;

/// Dies when the intent is on disk and, with `acted`, the effect has taken place; then `meanwhile`, then the next process.
fn crash(scenario: &str, acted: bool, meanwhile: impl FnOnce(&Fake)) -> (Rig, Outcome) {
    let mut rig = Rig::new();
    if acted {
        // The intent is written, and nothing after it.
        rig.storage.set_fault(Fault::DiesAfter(1));
        rig.execute(&command(scenario, 1));
        assert_eq!(rig.host.effects().len(), 1);
    } else {
        // The same disk contents without the effect.
        rig.storage.set_fault(Fault::DiesAfter(1));
        let host = Arc::clone(&rig.host);
        let process = host.process(4242).unwrap();
        rig.execute(&command(scenario, 1));
        host.effects.lock().unwrap().clear();
        host.processes.lock().unwrap().insert(4242, process);
    }
    meanwhile(&rig.host);
    rig.restart();
    let outcome = rig.execute(&command(scenario, 1));
    let told = rig.inventory().remove(0).outcome.unwrap();
    assert_eq!(told, outcome);
    // What was settled stays so.
    let effects = rig.host.effects();
    rig.restart();
    assert_eq!(rig.execute(&command(scenario, 1)), outcome);
    assert_eq!(rig.host.effects(), effects);
    (rig, outcome)
}

#[test]
fn once_is_indeterminate_and_never_run_again() {
    for acted in [false, true] {
        let (rig, outcome) = crash("once", acted, |_| {});
        assert_eq!(outcome.status, Status::Indeterminate);
        assert!(outcome.message.contains("never run again"), "{}", outcome.message);
        assert_eq!(rig.host.effects().len(), usize::from(acted));
    }
}

#[test]
fn declarative_is_run_again_within_its_deadline() {
    for acted in [false, true] {
        let (rig, outcome) = crash("declarative", acted, |host| host.pass(60_000));
        assert_eq!(outcome.status, Status::Done);
        assert!(outcome.message.contains("run again after a crash"), "{}", outcome.message);
        assert_eq!(rig.host.effects().len(), 1 + usize::from(acted));
    }
}

#[test]
fn declarative_is_indeterminate_after_its_deadline_a_reboot_or_a_halt() {
    let (rig, outcome) = crash("declarative", true, |host| host.pass(60_001));
    assert_eq!((outcome.status, rig.host.effects().len()), (Status::Indeterminate, 1));
    // The boot clock of another boot says nothing about this deadline.
    let (rig, outcome) = crash("declarative", true, Fake::reboot);
    assert_eq!((outcome.status, rig.host.effects().len()), (Status::Indeterminate, 1));

    let mut rig = Rig::new();
    rig.storage.set_fault(Fault::DiesAfter(1));
    rig.execute(&command("declarative", 1));
    rig.storage = Arc::new(rig.storage.survivor());
    rig.storage.save("halt", br#"{"format":1,"halted":true}"#).unwrap();
    rig.restart();
    let outcome = rig.execute(&command("declarative", 1));
    assert_eq!((outcome.status, rig.host.effects().len()), (Status::Indeterminate, 1));
    assert!(outcome.message.contains("halted"), "{}", outcome.message);
}

#[test]
fn a_deadline_without_end_is_ten_minutes() {
    for (wait, effects) in [(600_000, 2), (600_001, 1)] {
        let mut rig = Rig::new();
        rig.storage.set_fault(Fault::DiesAfter(1));
        rig.execute_by(&command("declarative", 1), i64::MAX);
        rig.host.pass(wait);
        rig.restart();
        assert_eq!(rig.host.effects().len(), effects, "{wait}");
    }
}

#[test]
fn probeable_is_probed_first() {
    let (rig, outcome) = crash("probeable", true, |_| {});
    assert_eq!((outcome.status, rig.host.effects().len()), (Status::Done, 1), "found done, not done again");
    assert_eq!(outcome.message, "process.signal found done after a crash");

    let (rig, outcome) = crash("probeable", false, |_| {});
    assert_eq!((outcome.status, rig.host.effects().len()), (Status::Done, 1), "found not done, done once");
    assert!(outcome.message.contains("run again"), "{}", outcome.message);

    let (rig, outcome) = crash("probeable", false, |host| host.pass(60_001));
    assert_eq!((outcome.status, rig.host.effects().len()), (Status::Expired, 0));

    let (rig, outcome) = crash("probeable", false, Fake::reboot);
    assert_eq!((outcome.status, rig.host.effects().len()), (Status::Done, 0), "no process outlives its boot");
}

#[test]
fn what_the_ceiling_forbids_since_is_not_run_again() {
    let mut rig = Rig::new();
    rig.storage.set_fault(Fault::DiesAfter(1));
    rig.execute(&command("declarative", 1));
    let ceiling = Ceiling { allow: Vec::new(), ..Ceiling::default() };
    rig.restart_with(ActorConfig { ceiling, ..config() });
    assert_eq!(rig.execute(&command("declarative", 1)).status, Status::Indeterminate);
    assert_eq!(rig.host.effects().len(), 1);
}

#[test]
fn a_crash_before_the_intent_is_whole_leaves_nothing() {
    let mut rig = Rig::new();
    rig.storage.set_fault(Fault::Dead);
    rig.execute(&command("once", 1));
    rig.host.effects.lock().unwrap().clear();
    rig.restart();
    assert_eq!(rig.inventory(), []);
    assert_eq!(rig.execute(&command("once", 1)).status, Status::Done);
    assert_eq!(rig.host.effects().len(), 1);
}

#[test]
fn a_full_disk_stops_actions_with_no_effect_until_there_is_space() {
    for fault in [Fault::Full { torn: 0 }, Fault::Full { torn: 20 }, Fault::SyncFails] {
        let mut rig = Rig::new();
        // The epoch is known already: the intent is the first thing to be written.
        rig.execute(&command("declarative", 1));
        rig.storage.set_fault(fault);
        for attempt in 2..6 {
            let outcome = rig.execute(&command("declarative", attempt));
            assert_eq!(outcome.status, Status::Refused);
            let words = "ledger cannot be written: No space left on device; free space on memory";
            assert_eq!(outcome.message, words);
        }
        let newer = Command { epoch: 9, ..command("declarative", 20) };
        assert!(rig.execute(&newer).message.starts_with("ledger cannot be written"), "before anything else is");
        assert_eq!(rig.host.effects().len(), 1);
        assert_eq!(rig.inventory().len(), 1);
        // A restart on the full disk changes nothing.
        let host = Arc::clone(&rig.host) as Arc<dyn Host>;
        rig.actor = Actor::open(config(), rig.storage.clone(), host).unwrap();
        rig.actor.recover();
        assert_eq!(rig.execute(&command("declarative", 6)).status, Status::Refused);
        assert_eq!(rig.host.effects().len(), 1);
        rig.storage.set_fault(Fault::None);
        assert_eq!(rig.execute(&command("declarative", 7)).status, Status::Done);
        assert_eq!(rig.host.effects().len(), 2);
    }
}

#[test]
fn a_crash_is_not_settled_by_acting_while_the_disk_is_full() {
    let mut rig = Rig::new();
    rig.storage.set_fault(Fault::DiesAfter(1));
    rig.execute(&command("declarative", 1));
    rig.storage = Arc::new(rig.storage.survivor());
    rig.storage.set_fault(Fault::Full { torn: 0 });
    rig.actor = Actor::open(config(), rig.storage.clone(), rig.host.clone()).unwrap();
    rig.actor.recover();
    assert_eq!(rig.host.effects().len(), 1);
    assert_eq!(rig.inventory(), [LedgerEntry { command: command("declarative", 1).id, outcome: None }]);
    assert_eq!(rig.execute(&command("declarative", 1)).status, Status::Indeterminate);
    rig.storage.set_fault(Fault::None);
    assert_eq!(rig.execute(&command("declarative", 1)).status, Status::Done);
    assert_eq!(rig.host.effects().len(), 2);
}

#[test]
fn a_disk_that_fills_between_intent_and_outcome_does_not_hide_what_was_done() {
    let mut rig = Rig::new();
    rig.execute(&command("declarative", 1));
    let storage = Arc::clone(&rig.storage);
    *rig.host.hook.lock().unwrap() = Some(Box::new(move |_| storage.set_fault(Fault::Full { torn: 4 })));
    let outcome = rig.execute(&command("once", 2));
    assert_eq!(outcome.status, Status::Done);
    assert!(outcome.message.contains("ledger cannot be written"), "{}", outcome.message);
    assert_eq!(rig.execute(&command("once", 2)).status, Status::Done, "remembered");
    *rig.host.hook.lock().unwrap() = None;
    assert_eq!(rig.execute(&command("once", 3)).status, Status::Refused);
    assert_eq!(rig.host.effects().len(), 2);
    rig.restart();
    assert_eq!(rig.execute(&command("once", 2)).status, Status::Indeterminate);
    assert_eq!(rig.host.effects().len(), 2);
}

#[test]
fn a_damaged_ledger_refuses_commands_and_nothing_else() {
    let mut rig = Rig::new();
    rig.execute(&command("once", 1));
    let mut log = rig.storage.log();
    log[30] ^= 1;
    rig.storage.replace(&log).unwrap();
    rig.restart();
    let outcome = rig.execute(&command("declarative", 2));
    assert_eq!(outcome.status, Status::Refused);
    assert!(outcome.message.contains("damaged at byte 16"), "{}", outcome.message);
    assert_eq!(rig.host.effects().len(), 1);
    assert_eq!(rig.storage.log(), log, "left for the repair");
    assert_eq!(rig.push(&bundle(2, POLICY)), None);
}
