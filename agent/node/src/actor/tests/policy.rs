//! Which bundles are taken, and for how long the one before counts.

use super::*;

pub(super) fn ready(rig: &Rig) -> (u64, bool) {
    let Reply::Ready { version, bundle, digest, .. } = rig.actor.ready() else { panic!() };
    assert_eq!(bundle.as_deref().map(|b| Bundle::digest(b.as_bytes())).unwrap_or_default(), digest);
    (version, bundle.is_some())
}

#[test]
fn unsigned_policy_is_refused_unless_that_was_chosen() {
    let mut rig = Rig::new();
    rig.restart_with(ActorConfig { trust: Trust::Nobody, ..config() });
    assert_eq!(ready(&rig), (0, false), "not even what was taken under the choice");
    let error = rig.push(&bundle(2, POLICY)).unwrap();
    assert!(error.contains("set `signers`") && error.contains("insecure_unsigned"), "{error}");
    assert_eq!(rig.execute(&command("once", 1)).status, Status::Refused);
}

#[test]
fn versions_only_rise_and_one_version_has_one_text() {
    let mut rig = Rig::new();
    assert_eq!(rig.push(&bundle(3, POLICY)), None);
    assert!(rig.push(&bundle(2, POLICY)).unwrap().contains("older than version 3"));
    assert!(rig.push(&bundle(3, &POLICY.replace("fix", "mend"))).unwrap().contains("with another text"));
    assert_eq!(rig.push(&bundle(3, POLICY)), None);
    rig.restart();
    assert_eq!(ready(&rig), (3, true));
    assert!(rig.push(&bundle(2, POLICY)).unwrap().contains("older than version 3"));
}

#[test]
fn the_same_bundle_again_changes_labels_only() {
    let mut rig = Rig::new();
    let request = |labels| Request::Policy { bundle: bundle(1, POLICY), signatures: Vec::new(), labels };
    rig.actor.handle(request(Labels::new([("role", "db")])));
    assert!(rig.execute(&command("once", 1)).message.contains("does not apply"));
    assert_eq!(rig.execute(&command("elsewhere", 2)).status, Status::Done);
    rig.restart();
    assert_eq!(rig.execute(&command("elsewhere", 3)).status, Status::Done, "labels outlive a restart");
}

#[test]
fn other_fleets_other_texts_and_policy_with_mistakes_are_refused_and_what_was_in_force_stays() {
    let mut rig = Rig::new();
    let foreign = bundle(2, POLICY).replace("\"fleet\":\"f\"", "\"fleet\":\"g\"");
    assert!(rig.push(&foreign).unwrap().contains("for fleet `g`"));
    assert!(rig.push("{}").unwrap().contains("not a policy bundle"));
    assert!(rig.push(&bundle(0, POLICY)).unwrap().contains("version 0"));
    let error = rig.push(&bundle(2, "scenario: x\nwhen: nothing.known > 1\n")).unwrap();
    assert!(error.contains("policy.yaml:2:"), "{error}");
    let endless: String = (0..50).map(|i| format!("---\nsillyness: s{i}\n")).collect();
    let error = rig.push(&bundle(2, &endless)).unwrap();
    assert!(error.contains("and 30 more") && error.len() < 8000, "{error}");
    assert_eq!(ready(&rig), (1, true));
    assert_eq!(rig.execute(&command("once", 1)).status, Status::Done);
}

#[test]
fn a_policy_that_cannot_be_kept_is_not_taken() {
    let mut rig = Rig::new();
    rig.storage.set_fault(Fault::Full { torn: 0 });
    assert!(rig.push(&bundle(2, POLICY)).unwrap().contains("free space on memory"));
    assert_eq!(ready(&rig), (1, true));
}

#[test]
fn the_version_before_counts_for_one_time_to_live() {
    let mut rig = Rig::new();
    rig.execute(&command("declarative", 1));
    assert_eq!(rig.push(&bundle(2, POLICY)), None);
    rig.host.pass(60_000);
    assert_eq!(rig.execute(&command("declarative", 2)).status, Status::Done);
    rig.restart();
    assert_eq!(rig.execute(&command("declarative", 3)).status, Status::Done);
    rig.host.pass(1);
    let outcome = rig.execute(&command("declarative", 4));
    assert!(outcome.message.contains("policy version 1 is not in force here; 2 is"), "{}", outcome.message);
    assert_eq!(rig.execute(&Command { policy: 2, ..command("declarative", 5) }).status, Status::Done);
}

#[test]
fn the_version_before_does_not_outlive_a_reboot() {
    let mut rig = Rig::new();
    assert_eq!(rig.push(&bundle(2, POLICY)), None);
    rig.host.reboot();
    assert!(rig.execute(&command("declarative", 1)).message.contains("version 1 is not in force"));
}

#[test]
fn an_expired_policy_stays_in_force_and_acts_no_more() {
    let mut rig = Rig::new();
    rig.host.wall_ms.store(FOREVER.0, SeqCst);
    let outcome = rig.execute(&command("declarative", 1));
    assert!(outcome.message.contains("policy version 1 expired at 2030-"), "{}", outcome.message);
    assert_eq!(rig.host.effects().len(), 0);
    rig.restart();
    assert_eq!(ready(&rig), (1, true));
    assert_eq!(rig.push(&bundle(1, POLICY)), None, "labels may change under an expired policy");
    let error = rig.push(&bundle(2, POLICY)).unwrap();
    assert!(error.contains("policy version 2 expired at 2030-") && error.contains("sign it anew"), "{error}");
    assert_eq!(ready(&rig), (1, true));
}

#[test]
fn damaged_files_of_the_data_folder_are_named() {
    let rig = Rig::new();
    for file in ["policy", "epoch", "halt"] {
        let storage = Arc::new(rig.storage.survivor());
        storage.save(file, b"{").unwrap();
        let error = Actor::open(config(), storage, rig.host.clone()).unwrap_err().to_string();
        assert!(error.contains(&format!("memory/{file} cannot be read")), "{error}");
    }
}
