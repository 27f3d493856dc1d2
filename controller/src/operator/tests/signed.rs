//! Pushes to a controller that takes signed policy only.

use std::path::PathBuf;
use std::process::Command;

use skynet_model::event::EventBody;
use skynet_model::policy::Bundle;
use skynet_model::sign::{Signers, Trust};
use skynet_proto::v1::controller_message::Body;

use super::*;
use crate::policies::Policies;

struct Keys(tempfile::TempDir);

impl Keys {
    fn new() -> Self {
        let keys = Self(tempfile::tempdir().unwrap());
        for name in ["anna", "ben"] {
            let mut program = Command::new("ssh-keygen");
            program.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(keys.path(name));
            assert!(program.status().expect("the tests need ssh-keygen: run `make deps`").success());
        }
        keys
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn terms(&self, names: &[&str]) -> Terms {
        let line = |n: &&str| format!("{n} {}", std::fs::read_to_string(self.path(&format!("{n}.pub"))).unwrap());
        let signers = Signers::parse(&names.iter().map(line).collect::<String>()).unwrap();
        Terms { trust: Trust::new(Some(signers), 1, false).unwrap(), ..terms() }
    }

    fn sign(&self, namespace: &str, name: &str, bytes: &[u8]) -> Vec<u8> {
        std::fs::write(self.path("document"), bytes).unwrap();
        let document = std::fs::File::open(self.path("document")).unwrap();
        let mut program = Command::new("ssh-keygen");
        program.args(["-q", "-Y", "sign", "-n", namespace, "-f"]).arg(self.path(name)).stdin(document);
        program.output().unwrap().stdout
    }
}

/// What the controller says of a push, and whether it is in the log.
async fn push(office: &mut Office, bundle: &[u8], signatures: &[Vec<u8>]) -> Result<Value, Status> {
    let request = v1::PushPolicyRequest {
        bundle: bundle.to_vec(),
        signatures: signatures.to_vec(),
        // Whoever says so changes nothing where signers are known.
        insecure_unsigned: true,
    };
    let pushed = office.client.push_policy(request).await?.into_inner().json;
    Ok(serde_json::from_str(&pushed).unwrap())
}

#[tokio::test]
async fn only_what_the_signers_signed_is_pushed_and_each_refusal_is_answered_and_journalled() {
    let keys = Keys::new();
    let mut office = Office::with(keys.terms(&["anna", "ben"])).await;
    let (second, third) = (bundle(2, POLICY), bundle(3, POLICY));
    let sign = |bytes: &[u8]| vec![keys.sign("skynet-policy", "anna", bytes)];
    let pushed = push(&mut office, &second, &sign(&second)).await.unwrap();
    assert_eq!(pushed["signed_by"][0]["principals"], serde_json::json!(["anna"]));
    let listed = office.list("policies").await;
    assert!(listed[0]["signed_by"][0]["fingerprint"].as_str().unwrap().starts_with("SHA256:"), "{listed:?}");
    let mut agent = Agent::connect(&office.rig, "web1", 1, 1).await.unwrap();
    let push_down = |b: &Body| if let Body::Policy(push) = b { Some(push.clone()) } else { None };
    let down = agent.receive("the policy", push_down).await;
    assert_eq!((down.bundle, down.signatures), (second.clone(), sign(&second)), "agents check for themselves");

    let mut flipped = third.clone();
    flipped[40] ^= 1;
    let older = bundle(1, POLICY);
    let two = bundle(3, &POLICY.replace("fleet: demo", "fleet: demo\nsigners: 2"));
    let mut expired = Bundle::decode(&third).unwrap();
    expired.expires = skynet_model::time::Timestamp(1_700_000_000_000);
    let expired = expired.encode();
    let mut foreign = Bundle::decode(&third).unwrap();
    foreign.fleet = "elsewhere".to_owned();
    let foreign = foreign.encode();
    type Case<'a> = (&'a [u8], Vec<Vec<u8>>, &'a str);
    let cases: Vec<Case<'_>> = vec![
        (&third, vec![], "it is not signed"),
        (&third, sign(&second), "not a signature of these bytes"),
        (&flipped, sign(&third), "not a signature of these bytes"),
        (&third, vec![keys.sign("file", "anna", &third)], "sign with -n skynet-policy"),
        (&third, vec![b"x".to_vec(); 17], "at most 16"),
        (&older, sign(&older), "policy version 1 does not come after version 2"),
        (&two, sign(&two), "the policy says `signers: 2`, and 1 signed it"),
        (&expired, sign(&expired), "expired at 2023-"),
        (&foreign, sign(&foreign), "the bundle is for fleet `elsewhere`; this is fleet `demo`"),
    ];
    let count = cases.len();
    for (bytes, signatures, words) in cases {
        let refused = push(&mut office, bytes, &signatures).await.unwrap_err();
        assert!(refused.message().contains(words), "{}", refused.message());
    }
    office.rig.settle().await;
    let events = office.rig.events();
    let remarks: Vec<&String> = events
        .iter()
        .filter_map(|event| {
            let EventBody::Remark { topic, message, .. } = &event.body else { return None };
            (topic == "policy_refused").then_some(message)
        })
        .collect();
    assert_eq!(remarks.len(), count, "{remarks:?}");
    assert!(remarks[0].contains("is refused: the policy's signatures: 0 of 1 needed"), "{}", remarks[0]);
    assert_eq!(office.list("policies").await.len(), 1, "version 2 goes on");
}

#[tokio::test]
async fn a_restart_checks_what_is_kept_and_a_signer_who_was_taken_out_signs_no_more() {
    let keys = Keys::new();
    let mut office = Office::with(keys.terms(&["anna", "ben"])).await;
    let second = bundle(2, POLICY);
    let signature = keys.sign("skynet-policy", "anna", &second);
    push(&mut office, &second, std::slice::from_ref(&signature)).await.unwrap();
    office.rig.settle().await;
    let (events, folder) = (office.rig.events(), office.rig.folder.path());
    let open = |names: &[&str]| Policies::open(folder, &events, &keys.terms(names)).unwrap();
    let kept = open(&["anna", "ben"]);
    let active = kept.current().unwrap();
    assert_eq!((active.candidate.version, &active.candidate.signatures), (2, &vec![signature]));
    assert_eq!(kept.untrusted(), None);
    let without = open(&["ben"]);
    assert!(without.current().is_none());
    let why = without.untrusted().unwrap();
    assert!(why.contains("policy 2 was in force") && why.contains("is not in the signers file"), "{why}");
    assert_eq!(without.versions().len(), 1, "its version is not forgotten: versions only rise");
    let digest = Bundle::digest(&second);
    std::fs::remove_file(folder.join(format!("2-{digest}.signatures"))).unwrap();
    assert!(open(&["anna", "ben"]).untrusted().unwrap().contains("it is not signed"));
}
