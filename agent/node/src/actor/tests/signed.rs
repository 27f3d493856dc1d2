//! Signed policy: taken only with good signatures by this server's own signers, now and after every start.

use std::path::Path;
use std::process::Command as Program;

use skynet_model::sign::{Signers, is_breach};

use super::policy::ready;
use super::*;

/// Real keys, and what trusts them.
pub(super) struct Signing(tempfile::TempDir);

impl Signing {
    pub(super) fn new() -> Self {
        let signing = Self(tempfile::tempdir().unwrap());
        for name in ["anna", "ben", "carl"] {
            let path = signing.0.path().join(name);
            let mut program = Program::new("ssh-keygen");
            let made = program.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status();
            assert!(made.expect("the tests need ssh-keygen: run `make deps`").success());
        }
        signing
    }

    /// `needed` of these must sign.
    pub(super) fn trust(&self, names: &[&str], options: &str, needed: u32) -> Trust {
        let line = |name: &&str| {
            let key = std::fs::read_to_string(self.0.path().join(format!("{name}.pub"))).unwrap();
            format!("{name} {options} {key}")
        };
        Trust::new(Some(Signers::parse(&names.iter().map(line).collect::<String>()).unwrap()), needed, false).unwrap()
    }

    fn sign(&self, name: &str, text: &str) -> String {
        self.sign_in("skynet-policy", name, text)
    }

    pub(super) fn sign_in(&self, namespace: &str, name: &str, text: &str) -> String {
        let file = |name: &str| -> std::path::PathBuf { Path::new(self.0.path()).join(name) };
        std::fs::write(file("text"), text).unwrap();
        let _ = std::fs::remove_file(file("text.sig"));
        let mut program = Program::new("ssh-keygen");
        program.args(["-q", "-Y", "sign", "-n", namespace, "-f"]).arg(file(name)).arg(file("text"));
        assert!(program.output().unwrap().status.success());
        std::fs::read_to_string(file("text.sig")).unwrap()
    }
}

pub(super) fn trusting(trust: Trust) -> ActorConfig {
    ActorConfig { trust, ..config() }
}

/// With version 1 in force, signed by anna; any of the three may sign.
pub(super) fn rig(signing: &Signing) -> Rig {
    let mut rig = Rig::new();
    rig.storage = Arc::new(Memory::default());
    rig.restart_with(trusting(signing.trust(&["anna", "ben", "carl"], "", 1)));
    let first = bundle(1, POLICY);
    assert_eq!(rig.push_signed(&first, &[signing.sign("anna", &first)]), None);
    rig
}

/// Refused with these words, as what no signature stands behind; version 1 goes on.
#[track_caller]
fn stays(rig: &mut Rig, bundle: &str, signatures: &[String], words: &str) {
    let error = rig.push_signed(bundle, signatures).expect("it is refused");
    assert!(error.contains(words) && is_breach(&error), "{error}");
    assert_eq!(ready(rig), (1, true));
}

#[test]
fn each_kind_of_bad_signature_is_refused_and_what_was_in_force_goes_on() {
    let signing = Signing::new();
    let mut rig = rig(&signing);
    let (second, other) = (bundle(2, POLICY), bundle(2, &POLICY.replace("fix", "harm")));
    let good = signing.sign("anna", &second);
    stays(&mut rig, &second, &[], "it is not signed");
    stays(&mut rig, &other, std::slice::from_ref(&good), "not a signature of these bytes");
    stays(&mut rig, &second, &[signing.sign_in("skynet-emergency", "anna", &second)], "sign with -n skynet-policy");
    stays(&mut rig, &second, &["nonsense".to_owned()], "not what `ssh-keygen -Y sign` writes");
    stays(&mut rig, &second, &vec![good.clone(); 17], "at most 16");
    stays(&mut rig, &second.replace("example", "exampl\u{65}x"), &[], "not signed");
    for at in (0..second.len()).step_by(7) {
        let mut flipped = second.clone().into_bytes();
        flipped[at] ^= 1;
        let flipped = String::from_utf8(flipped).unwrap();
        stays(&mut rig, &flipped, std::slice::from_ref(&good), "not a signature of these bytes");
    }
    for at in 0..good.len() {
        let mut flipped = good.clone().into_bytes();
        flipped[at] ^= 1;
        stays(&mut rig, &second, &[String::from_utf8(flipped).unwrap()], "0 of 1 needed signatures are good");
    }
    assert_eq!(rig.execute(&command("once", 1)).status, Status::Done, "the running policy is untouched");
    assert_eq!(rig.push_signed(&second, &[good]), None);
    assert_eq!(ready(&rig), (2, true));
}

#[test]
fn what_was_signed_must_be_for_this_fleet_newer_and_not_expired() {
    let signing = Signing::new();
    let mut rig = rig(&signing);
    let foreign = bundle(2, POLICY).replace("\"fleet\":\"f\"", "\"fleet\":\"g\"");
    let signed = |text: &str| [signing.sign("ben", text)];
    stays(&mut rig, &foreign, &signed(&foreign), "policy is for fleet `g`; this server belongs to `f`");
    let again = bundle(1, &POLICY.replace("fix", "mend"));
    stays(&mut rig, &again, &signed(&again), "version 1 is in force with another text");
    let late = bundle(2, POLICY).replace(&FOREVER.0.to_string(), "1700000000000");
    let error = rig.push_signed(&late, &signed(&late)).unwrap();
    assert!(error.contains("policy version 2 expired at 2023-"), "{error}");
    let third = bundle(3, POLICY);
    assert_eq!(rig.push_signed(&third, &signed(&third)), None);
    let second = bundle(2, POLICY);
    let error = rig.push_signed(&second, &signed(&second)).unwrap();
    assert!(error.contains("version 2 is older than version 3") && is_breach(&error), "{error}");
    assert_eq!(ready(&rig), (3, true));
}

#[test]
fn both_the_servers_and_the_policys_number_of_signers_hold() {
    let signing = Signing::new();
    let mut rig = rig(&signing);
    rig.restart_with(trusting(signing.trust(&["anna", "ben", "carl"], "", 2)));
    assert_eq!(ready(&rig), (0, false), "version 1 was signed by one");
    let second = bundle(2, POLICY);
    let by = |names: &[&str], text: &str| names.iter().map(|name| signing.sign(name, text)).collect::<Vec<_>>();
    let error = rig.push_signed(&second, &by(&["anna", "anna"], &second)).unwrap();
    assert!(error.contains("1 of 2 needed signatures are good"), "{error}");
    assert_eq!(rig.push_signed(&second, &by(&["anna", "carl"], &second)), None);
    let strict = bundle(3, &format!("fleet: f\nsigners: 3\n---\n{POLICY}"));
    let error = rig.push_signed(&strict, &by(&["anna", "carl"], &strict)).unwrap();
    assert!(error.contains("the policy says `signers: 3`, and 2 signed it"), "{error}");
    assert_eq!(ready(&rig), (2, true));
    assert_eq!(rig.push_signed(&strict, &by(&["anna", "carl", "ben"], &strict)), None);
}

#[test]
fn what_is_kept_is_checked_again_at_every_start() {
    let signing = Signing::new();
    let mut rig = rig(&signing);
    let all = signing.trust(&["anna", "ben", "carl"], "", 1);
    rig.restart_with(trusting(all.clone()));
    assert_eq!(ready(&rig), (1, true));
    // Edited on disk.
    let kept = String::from_utf8(rig.storage.read("policy").unwrap().unwrap()).unwrap();
    let edited = kept.replace("older_than", "younger_than").replace("precious", "prescient");
    assert_ne!(edited, kept);
    rig.storage.save("policy", edited.as_bytes()).unwrap();
    rig.restart_with(trusting(all.clone()));
    assert_eq!(ready(&rig), (0, false));
    assert_eq!(rig.execute(&command("once", 1)).status, Status::Refused);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("policy"), &edited).unwrap();
    let error = kept_policy(folder.path(), &all).unwrap_err();
    assert!(error.contains("not a signature of these bytes"), "{error}");
    std::fs::write(folder.path().join("policy"), &kept).unwrap();
    assert!(kept_policy(folder.path(), &all).unwrap().is_some());
    // A signer taken out of the file.
    rig.storage.save("policy", kept.as_bytes()).unwrap();
    rig.restart_with(trusting(signing.trust(&["ben", "carl"], "", 1)));
    assert_eq!(ready(&rig), (0, false));
    let first = bundle(1, POLICY);
    let error = rig.push_signed(&first, &[signing.sign("anna", &first)]).unwrap();
    assert!(error.contains("is not in the signers file"), "{error}");
    assert_eq!(rig.push_signed(&first, &[signing.sign("ben", &first)]), None, "the others can sign it");
}

#[test]
fn a_key_that_ends_later_leaves_in_force_what_it_signed_before() {
    let signing = Signing::new();
    let mut rig = rig(&signing);
    // The fake host's time is 2027-01-15T08:00Z.
    let until = |day: &str| trusting(signing.trust(&["anna"], &format!("valid-before=\"{day}\""), 1));
    rig.restart_with(until("20270116"));
    let second = bundle(2, POLICY);
    assert_eq!(rig.push_signed(&second, &[signing.sign("anna", &second)]), None);
    rig.host.pass(2 * 86_400_000);
    rig.restart_with(until("20270116"));
    assert_eq!(ready(&rig), (2, true));
    let third = bundle(3, POLICY);
    let error = rig.push_signed(&third, &[signing.sign("anna", &third)]).unwrap();
    assert!(error.contains("was good until 2027-01-16T00:00:00.000Z"), "{error}");
    let change = Request::Policy { bundle: second, signatures: Vec::new(), labels: Labels::new([("role", "db")]) };
    let Some(Reply::Policy { error: None, .. }) = rig.actor.handle(change) else { panic!("labels may still change") };
    assert_eq!(ready(&rig), (2, true));
}

#[test]
fn a_command_that_no_signed_policy_says_is_told_from_one_that_only_comes_at_a_bad_time() {
    let mut rig = Rig::new();
    let mut forged = command("declarative", 1);
    forged.params.insert("older_than".to_owned(), Value::Duration(Span(1)));
    assert!(is_breach(&rig.execute(&forged).message));
    rig.actor.handle(Request::Halt { halted: true });
    for honest in [command("declarative", 2), Command { policy: 7, ..command("declarative", 3) }] {
        let outcome = rig.execute(&honest);
        assert!(outcome.status == Status::Refused && !is_breach(&outcome.message), "{}", outcome.message);
    }
}
