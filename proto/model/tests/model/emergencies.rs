//! Emergency documents, signed by a real `ssh-keygen`: what is taken, and every refusal.

use skynet_model::emergency::{
    Action, BEACON_NAMESPACE, EMERGENCY_NAMESPACE, Emergency, EmergencyError, MAX_AHEAD, MAX_EMERGENCY_BYTES, MAX_TERM,
    SignedDocument, Taken, Terms, Verdict, check,
};
use skynet_model::sign::{SignatureError, Signers, Trust};
use skynet_model::time::{Span, Timestamp};

use crate::signatures::{Keys, NOW};

struct Office {
    keys: Keys,
    terms: Terms,
}

fn office() -> Office {
    let keys = Keys::new();
    let mut file = String::new();
    for name in ["anna", "ben"] {
        keys.make(name, "-t ed25519");
        file.push_str(&format!("{name}@example.net {}\n", keys.public(name)));
    }
    keys.make("mallory", "-t ed25519");
    keys.make("policy", "-t ed25519");
    file.push_str(&format!("policy@example.net namespaces=\"skynet-policy\" {}\n", keys.public("policy")));
    let trust = Trust::new(Some(Signers::parse(&file).unwrap()), 2, false).unwrap();
    Office { keys, terms: Terms { fleet: "f".to_owned(), trust, single_operator: false } }
}

fn document(action: Action, sequence: u64) -> Emergency {
    let (fleet, reason) = ("f".to_owned(), "intruder".to_owned());
    Emergency { format: 1, fleet, sequence, action, issued: NOW, expires: Timestamp(NOW.0 + MAX_TERM.0), reason }
}

impl Office {
    fn sign(&self, bytes: &[u8], namespace: &str, names: &[&str]) -> SignedDocument {
        let signatures = names.iter().map(|name| self.keys.sign(name, namespace, bytes)).collect();
        SignedDocument::new(bytes.to_vec(), signatures).unwrap()
    }

    fn check(&self, signed: &SignedDocument, last: Option<&Taken>) -> Result<Verdict, EmergencyError> {
        check(EMERGENCY_NAMESPACE, signed, &self.terms, last, NOW)
    }

    fn refused(&self, bytes: &[u8]) -> EmergencyError {
        self.check(&self.sign(bytes, EMERGENCY_NAMESPACE, &["anna", "ben"]), None).unwrap_err()
    }

    fn take(&self, document: &Emergency, names: &[&str]) -> Result<Taken, EmergencyError> {
        match self.check(&self.sign(&document.encode(), EMERGENCY_NAMESPACE, names), None)? {
            Verdict::New(taken) => Ok(taken),
            Verdict::Known => panic!("nothing was taken before"),
        }
    }
}

#[test]
fn one_signer_halts_and_two_let_go_on() {
    let mut office = office();
    let halt = office.take(&document(Action::Halt, 7), &["anna"]).unwrap();
    assert_eq!(halt.to_string(), "signed HALT 7 by anna@example.net: intruder");
    for action in [Action::Resume, Action::Shutdown] {
        let one = office.take(&document(action, 8), &["anna"]).unwrap_err();
        assert_eq!(one, EmergencyError::TooFew { action, needed: 2, good: 1 });
        let twice = office.take(&document(action, 8), &["anna", "anna"]).unwrap_err();
        assert_eq!(twice, EmergencyError::TooFew { action, needed: 2, good: 1 });
        let foreign = office.take(&document(action, 8), &["anna", "mallory"]).unwrap_err();
        assert_eq!(foreign, EmergencyError::TooFew { action, needed: 2, good: 1 });
        assert_eq!(office.take(&document(action, 8), &["anna", "ben"]).unwrap().signers.len(), 2);
    }
    office.terms.single_operator = true;
    assert_eq!(office.take(&document(Action::Resume, 8), &["ben"]).unwrap().action, Action::Resume);
}

#[test]
fn the_sequence_only_rises() {
    let office = office();
    let signed = office.sign(&document(Action::Halt, 7).encode(), EMERGENCY_NAMESPACE, &["anna"]);
    let Verdict::New(last) = office.check(&signed, None).unwrap() else { panic!("it is new") };
    assert_eq!(office.check(&signed, Some(&last)), Ok(Verdict::Known));
    for sequence in [6, 7] {
        let resume = office.sign(&document(Action::Resume, sequence).encode(), EMERGENCY_NAMESPACE, &["anna", "ben"]);
        assert_eq!(office.check(&resume, Some(&last)), Err(EmergencyError::Old { sequence, last: 7 }));
    }
    let resume = office.sign(&document(Action::Resume, 8).encode(), EMERGENCY_NAMESPACE, &["anna", "ben"]);
    assert!(matches!(office.check(&resume, Some(&last)), Ok(Verdict::New(_))));
}

#[test]
fn who_may_not_sign_and_what_is_not_signed() {
    let office = office();
    let bytes = document(Action::Halt, 1).encode();
    let signature = |signed: &SignedDocument| {
        let error = office.check(signed, None).unwrap_err();
        assert!(matches!(error, EmergencyError::Signature(SignatureError::TooFew { .. })), "{error}");
        error.to_string()
    };
    let unknown = signature(&office.sign(&bytes, EMERGENCY_NAMESPACE, &["mallory"]));
    assert!(unknown.contains("not in the signers file"), "{unknown}");
    let policy_only = signature(&office.sign(&bytes, EMERGENCY_NAMESPACE, &["policy"]));
    assert!(policy_only.contains("for namespaces `skynet-policy` only"), "{policy_only}");
    let as_policy = signature(&office.sign(&bytes, "skynet-policy", &["anna"]));
    assert!(as_policy.contains("sign with -n skynet-emergency"), "{as_policy}");
    let mut other = office.sign(&bytes, EMERGENCY_NAMESPACE, &["anna"]);
    other.document = other.document.replace("intruder", "intruded");
    assert!(signature(&other).contains("not a signature of these bytes"));
    let bare = SignedDocument::new(bytes.clone(), Vec::new()).unwrap();
    assert_eq!(office.check(&bare, None), Err(EmergencyError::Unsigned(EMERGENCY_NAMESPACE)));
    let good = office.sign(&bytes, EMERGENCY_NAMESPACE, &["anna"]);
    for trust in [Trust::Nobody, Trust::Anybody] {
        let terms = Terms { trust, ..office.terms.clone() };
        assert_eq!(check(EMERGENCY_NAMESPACE, &good, &terms, None, NOW), Err(EmergencyError::NoSigners));
    }
    let many = SignedDocument { signatures: vec![good.signatures[0].clone(); 17], ..good };
    assert!(matches!(office.check(&many, None), Err(EmergencyError::Signature(SignatureError::TooMany(17)))));
}

#[test]
fn a_beacon_is_no_halt_and_a_halt_no_beacon() {
    let office = office();
    let beacon = document(Action::Beacon, 1).encode();
    let wrong = office.check(&office.sign(&beacon, EMERGENCY_NAMESPACE, &["anna"]), None);
    assert_eq!(wrong, Err(EmergencyError::Namespace(Action::Beacon, BEACON_NAMESPACE)));
    let right = office.sign(&beacon, BEACON_NAMESPACE, &["anna"]);
    assert!(check(BEACON_NAMESPACE, &right, &office.terms, None, NOW).is_ok());
    let halt = office.sign(&document(Action::Halt, 1).encode(), BEACON_NAMESPACE, &["anna"]);
    let wrong = check(BEACON_NAMESPACE, &halt, &office.terms, None, NOW);
    assert_eq!(wrong, Err(EmergencyError::Namespace(Action::Halt, EMERGENCY_NAMESPACE)));
}

#[test]
fn another_fleet_and_the_wrong_time() {
    let office = office();
    let halt = || document(Action::Halt, 1);
    let foreign = office.refused(&Emergency { fleet: "g".to_owned(), ..halt() }.encode());
    assert_eq!(foreign, EmergencyError::Fleet { is: "g".to_owned(), wanted: "f".to_owned() });
    let over = Emergency { issued: Timestamp(NOW.0 - 10), expires: NOW, ..halt() };
    assert_eq!(office.refused(&over.encode()), EmergencyError::Expired(NOW));
    let ahead = Timestamp(NOW.0 + MAX_AHEAD.0 + 1);
    let early = Emergency { issued: ahead, expires: Timestamp(ahead.0 + 1), ..halt() };
    assert_eq!(office.refused(&early.encode()), EmergencyError::NotYet(ahead));
    for term in [Span(0), Span(-1), Span(MAX_TERM.0 + 1)] {
        let bytes = Emergency { expires: Timestamp(NOW.0 + term.0), ..halt() }.encode();
        assert!(office.refused(&bytes).to_string().contains("must expire after it is issued"), "{term}");
    }
}

#[test]
fn bytes_are_canonical_and_bounded() {
    let office = office();
    let text = String::from_utf8(document(Action::Halt, 1).encode()).unwrap();
    assert!(text.starts_with(r#"{"format":1,"fleet":"f","sequence":1,"action":"halt","issued":"#), "{text}");
    assert!(Emergency::decode(format!("{text}\n").as_bytes()).is_ok(), "as editors end a file");
    for bad in [
        format!("{text}\n\n"),
        format!(" {text}"),
        text.replace(":1,\"fleet", ":2,\"fleet"),
        text.replace("\"halt\"", "\"stop\""),
        text.replace("\"sequence\":1", "\"sequence\":0"),
        text.replace("\"sequence\":1", "\"sequence\":18446744073709551615"),
        text.replace("intruder", ""),
        text.replace("intruder", "a\\nb"),
        text.replace("intruder", &"x".repeat(1001)),
        text.replace('}', ",\"more\":1}"),
        String::new(),
    ] {
        let refused = office.refused(bad.as_bytes());
        assert!(matches!(refused, EmergencyError::Malformed(_)), "{bad}: {refused}");
    }
    let large = vec![b' '; MAX_EMERGENCY_BYTES + 1];
    assert!(matches!(SignedDocument::new(large.clone(), Vec::new()), Err(EmergencyError::TooLarge(_))));
    let large = SignedDocument { document: String::from_utf8(large).unwrap(), signatures: vec![String::new()] };
    assert!(matches!(office.check(&large, None), Err(EmergencyError::TooLarge(_))));
    assert!(SignedDocument::new(vec![0xff], Vec::new()).is_err());
    assert!(SignedDocument::new(Vec::new(), vec![vec![b'x'; (16 << 10) + 1]]).is_err());
}
