//! The one way back.

use super::*;

const HOUR: i64 = 3_600_000;

/// Asks to go back to version 1; the error if it does not.
fn back(rig: &mut Rig) -> Option<String> {
    back_to(rig, 1, &Bundle::digest(bundle(1, POLICY).as_bytes()))
}

fn back_to(rig: &mut Rig, version: u64, digest: &str) -> Option<String> {
    let request = Request::Return { version, digest: digest.to_owned(), labels: labels() };
    let Some(Reply::Returned { error, bundle, .. }) = rig.actor.handle(request) else { panic!("no answer") };
    assert_eq!(bundle.is_some(), error.is_none());
    error
}

fn in_force(rig: &Rig) -> u64 {
    let Reply::Ready { version, .. } = rig.actor.ready() else { panic!() };
    version
}

#[test]
fn the_last_good_version_comes_back_and_the_one_given_up_does_not() {
    let mut rig = Rig::new();
    assert_eq!(rig.push(&bundle(2, POLICY)), None);
    assert_eq!(back(&mut rig), None);
    assert_eq!(in_force(&rig), 1);
    assert_eq!(rig.execute(&command("once", 1)).status, Status::Done);
    assert_eq!(back(&mut rig), None, "asked again it has it already");
    rig.restart();
    assert_eq!(in_force(&rig), 1);
    assert!(rig.push(&bundle(2, POLICY)).unwrap().contains("was given up here"));
    // What is in force may be pushed with other labels, and the floor stays where it was.
    assert_eq!(rig.push(&bundle(1, POLICY)), None);
    assert!(rig.push(&bundle(2, POLICY)).unwrap().contains("was given up here"));
    assert_eq!(rig.push(&bundle(3, POLICY)), None);
    assert!(rig.push(&bundle(2, POLICY)).unwrap().contains("older than version 3"));
}

#[test]
fn nothing_but_the_own_last_good_version_is_gone_back_to() {
    let mut rig = Rig::new();
    assert!(back_to(&mut rig, 0, "").unwrap().contains("no version before"));
    assert_eq!(rig.push(&bundle(2, POLICY)), None);
    assert!(back_to(&mut rig, 7, "ab").unwrap().contains("the last good version here is 1"));
    assert!(back_to(&mut rig, 1, "ab").unwrap().contains("the last good version here is 1"));
    assert_eq!(in_force(&rig), 2);
    // Back once is all: what was before that is not kept.
    assert_eq!(back(&mut rig), None);
    assert!(back_to(&mut rig, 2, &Bundle::digest(bundle(2, POLICY).as_bytes())).unwrap().contains("no version before"));
}

#[test]
fn a_day_later_or_expired_it_is_too_late() {
    let mut rig = Rig::new();
    assert_eq!(rig.push(&bundle(2, POLICY)), None);
    rig.host.pass(24 * HOUR);
    rig.restart();
    rig.host.pass(1);
    assert!(back(&mut rig).unwrap().contains("only 1d are allowed"));
    assert_eq!(in_force(&rig), 2);

    let mut rig = Rig::new();
    assert_eq!(rig.push(&bundle(2, POLICY)), None);
    rig.host.wall_ms.store(FOREVER.0, SeqCst);
    assert!(back(&mut rig).unwrap().contains("version 1 expired at 2030-"));
    assert_eq!(in_force(&rig), 2);
}

#[test]
fn a_clock_that_was_set_back_does_not_bring_the_day_back() {
    let mut rig = Rig::new();
    assert_eq!(rig.push(&bundle(2, POLICY)), None);
    rig.host.pass(48 * HOUR);
    rig.host.reboot();
    rig.restart();
    let wall = rig.host.wall_ms.load(SeqCst);
    rig.host.wall_ms.store(wall - 49 * HOUR, SeqCst);
    let error = back(&mut rig).unwrap();
    assert!(error.contains("the clock says ") && error.contains("version 2 was taken at "), "{error}");
    assert_eq!(in_force(&rig), 2);
    rig.host.wall_ms.store(wall - 47 * HOUR, SeqCst);
    assert_eq!(back(&mut rig), None);
}

#[test]
fn a_return_that_cannot_be_kept_is_none() {
    let mut rig = Rig::new();
    assert_eq!(rig.push(&bundle(2, POLICY)), None);
    rig.storage.set_fault(Fault::Full { torn: 0 });
    assert!(back(&mut rig).unwrap().contains("free space on memory"));
    assert_eq!(in_force(&rig), 2);
}

#[test]
fn an_agent_that_begins_anew_twice_soon_after_a_new_policy_goes_back_alone_and_says_so() {
    let mut rig = Rig::new();
    assert_eq!(rig.push(&bundle(2, POLICY)), None);
    rig.host.pass(60_000);
    rig.restart();
    assert_eq!(in_force(&rig), 2, "one start is none");
    rig.host.pass(60_000);
    rig.restart();
    assert_eq!(in_force(&rig), 1);
    for _ in 0..2 {
        let Reply::Ready { given_up: Some(given_up), .. } = rig.actor.ready() else {
            panic!("{:?}", rig.actor.ready())
        };
        assert_eq!(given_up.version, 2);
        assert!(given_up.why.contains("2 times within 5m"), "{}", given_up.why);
        rig.restart();
    }
    assert_eq!(rig.push(&bundle(3, POLICY)), None);
    let Reply::Ready { given_up: None, .. } = rig.actor.ready() else { panic!() };
}

#[test]
fn starts_count_for_five_minutes_of_their_own_version_and_never_without_a_way_back() {
    let mut rig = Rig::new();
    rig.restart();
    rig.restart();
    rig.restart();
    assert_eq!(in_force(&rig), 1, "there is nothing before it");
    assert_eq!(rig.push(&bundle(2, POLICY)), None);
    rig.restart();
    assert_eq!(rig.push(&bundle(3, POLICY)), None);
    rig.restart();
    assert_eq!(in_force(&rig), 3, "the first start under this version");
    rig.host.pass(5 * 60_000 + 1);
    rig.restart();
    rig.restart();
    assert_eq!(in_force(&rig), 3);
}

#[test]
fn a_policy_that_brings_the_machine_down_counts_too() {
    let mut rig = Rig::new();
    assert_eq!(rig.push(&bundle(2, POLICY)), None);
    for _ in 0..2 {
        rig.host.reboot();
        rig.restart();
    }
    assert_eq!(in_force(&rig), 1);
}
