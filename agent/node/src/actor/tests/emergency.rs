//! Signed HALT and RESUME: judged here, kept over restarts, and not undone by the local latch.

use skynet_model::emergency::{Action, EMERGENCY_NAMESPACE, Emergency, SignedDocument};

use super::signed::{Signing, rig, trusting};
use super::*;

fn document(rig: &Rig, action: Action, sequence: u64) -> Emergency {
    let (fleet, issued) = ("f".to_owned(), rig.host.now());
    let (expires, reason) = (Timestamp(issued.0 + 86_400_000), "intruder".to_owned());
    Emergency { format: 1, fleet, sequence, action, issued, expires, reason }
}

fn give(rig: &mut Rig, signing: &Signing, document: &Emergency, names: &[&str]) {
    let document = String::from_utf8(document.encode()).unwrap();
    let signatures = names.iter().map(|name| signing.sign_in(EMERGENCY_NAMESPACE, name, &document)).collect();
    let signed = SignedDocument { document, signatures };
    assert_eq!(rig.actor.handle(Request::Emergency { signed }), None);
}

#[track_caller]
fn halted(rig: &mut Rig, attempt: u32) {
    let outcome = rig.execute(&command("declarative", attempt));
    assert_eq!(outcome.status, Status::Refused);
    assert!(outcome.message.contains("signed HALT 5 by anna: intruder"), "{}", outcome.message);
}

#[test]
fn a_signed_halt_outlives_restarts_and_the_local_latch() {
    let signing = Signing::new();
    let mut rig = rig(&signing);
    let halt = document(&rig, Action::Halt, 5);
    give(&mut rig, &signing, &halt, &["anna"]);
    halted(&mut rig, 1);
    rig.actor.handle(Request::Halt { halted: true });
    rig.actor.handle(Request::Halt { halted: false });
    halted(&mut rig, 2);
    rig.restart_with(trusting(signing.trust(&["anna", "ben", "carl"], "", 1)));
    halted(&mut rig, 3);
    // Too few signers, an old sequence, a key that is not in the file.
    let (resume, old) = (document(&rig, Action::Resume, 6), document(&rig, Action::Resume, 4));
    give(&mut rig, &signing, &resume, &["anna"]);
    give(&mut rig, &signing, &resume, &["anna", "anna"]);
    give(&mut rig, &signing, &old, &["anna", "ben"]);
    give(&mut rig, &signing, &Emergency { fleet: "g".to_owned(), ..resume.clone() }, &["anna", "ben"]);
    halted(&mut rig, 4);
    give(&mut rig, &signing, &resume, &["anna", "ben"]);
    assert_eq!(rig.execute(&command("declarative", 5)).status, Status::Done);
    // The old HALT cannot be brought back, now or after a restart.
    give(&mut rig, &signing, &halt, &["anna"]);
    rig.restart_with(trusting(signing.trust(&["anna", "ben", "carl"], "", 1)));
    give(&mut rig, &signing, &halt, &["anna"]);
    assert_eq!(rig.execute(&command("declarative", 6)).status, Status::Done);
}

#[test]
fn a_signed_resume_does_not_undo_the_local_latch() {
    let signing = Signing::new();
    let mut rig = rig(&signing);
    rig.actor.handle(Request::Halt { halted: true });
    let resume = document(&rig, Action::Resume, 1);
    give(&mut rig, &signing, &resume, &["anna", "ben"]);
    let outcome = rig.execute(&command("declarative", 1));
    assert!(outcome.message.contains("`skynetctl resume` lets them go on"), "{}", outcome.message);
}

#[test]
fn a_halt_holds_when_it_cannot_be_kept_and_a_resume_does_not_count() {
    let signing = Signing::new();
    let mut rig = rig(&signing);
    let (halt, resume) = (document(&rig, Action::Halt, 5), document(&rig, Action::Resume, 6));
    rig.storage.set_fault(Fault::Full { torn: 0 });
    give(&mut rig, &signing, &halt, &["anna"]);
    rig.storage.set_fault(Fault::None);
    halted(&mut rig, 1);
    rig.storage.set_fault(Fault::Full { torn: 0 });
    give(&mut rig, &signing, &resume, &["anna", "ben"]);
    rig.storage.set_fault(Fault::None);
    halted(&mut rig, 2);
    give(&mut rig, &signing, &resume, &["anna", "ben"]);
    assert_eq!(rig.execute(&command("declarative", 3)).status, Status::Done);
}

#[test]
fn unsigned_policy_is_no_licence_for_unsigned_emergencies() {
    let mut rig = Rig::new();
    let document = String::from_utf8(document(&rig, Action::Halt, 1).encode()).unwrap();
    rig.actor.handle(Request::Emergency { signed: SignedDocument { document, signatures: Vec::new() } });
    assert_eq!(rig.execute(&command("declarative", 1)).status, Status::Done);
}
