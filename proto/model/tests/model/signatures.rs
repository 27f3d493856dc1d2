//! Signatures by a real `ssh-keygen`, and by hardware keys made of software.

use std::path::{Path, PathBuf};
use std::process::Command;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use sha2::{Digest, Sha256};
use skynet_model::sign::{
    Bad, Fault, MAX_SIGNATURES, POLICY_NAMESPACE, SignatureError, Signer, Signers, Trust, is_breach, not_authorised,
};
use skynet_model::time::Timestamp;
use ssh_key::encoding::Encode;
use ssh_key::public::{Ed25519PublicKey, KeyData, SkEcdsaSha2NistP256, SkEd25519};
use ssh_key::sec1::point::EncodedPoint;
use ssh_key::{Algorithm, HashAlg, LineEnding, Mpint, PublicKey, Signature, SshSig};

pub(crate) const NOW: Timestamp = Timestamp(1_800_000_000_000);

/// Key files in a folder of their own.
pub(crate) struct Keys(tempfile::TempDir);

impl Keys {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Makes a key; `kind` is ssh-keygen's arguments for it. Gives its file.
    pub(crate) fn make(&self, name: &str, kind: &str) -> PathBuf {
        let path = self.0.path().join(name);
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-N", "", "-C", "a comment", "-f"]).arg(&path).args(kind.split(' '));
        let made =
            command.status().unwrap_or_else(|error| panic!("the tests need ssh-keygen, run `make deps`: {error}"));
        assert!(made.success());
        path
    }

    /// `KEYTYPE KEY COMMENT`.
    pub(crate) fn public(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.path().join(format!("{name}.pub"))).unwrap().trim().to_owned()
    }

    pub(crate) fn sign(&self, name: &str, namespace: &str, bytes: &[u8]) -> Vec<u8> {
        let document = self.0.path().join("document");
        let signature = self.0.path().join("document.sig");
        std::fs::write(&document, bytes).unwrap();
        let _ = std::fs::remove_file(&signature);
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-Y", "sign", "-n", namespace, "-f"]).arg(self.0.path().join(name)).arg(&document);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::read(signature).unwrap()
    }
}

/// Three signers, a document, and their signatures of it.
struct Rig {
    keys: Keys,
    text: String,
    document: Vec<u8>,
}

const NAMES: [&str; 3] = ["anna", "ben", "carl"];

impl Rig {
    fn new() -> Self {
        let keys = Keys::new();
        let mut text = String::new();
        for name in NAMES {
            keys.make(name, "-t ed25519");
            text.push_str(&format!("{name}@example.net namespaces=\"skynet-*\" {}\n", keys.public(name)));
        }
        Self { keys, text, document: b"{\"format\":1}".to_vec() }
    }

    fn sign(&self, name: &str) -> Vec<u8> {
        self.keys.sign(name, POLICY_NAMESPACE, &self.document)
    }

    fn verify(&self, signatures: &[Vec<u8>], needed: u32) -> Result<Vec<Signer>, SignatureError> {
        verify(&self.text, &self.document, signatures, needed)
    }
}

fn verify(signers: &str, bytes: &[u8], signatures: &[Vec<u8>], needed: u32) -> Result<Vec<Signer>, SignatureError> {
    Signers::parse(signers).unwrap().verify(POLICY_NAMESPACE, bytes, signatures, needed, NOW)
}

/// What was wrong with the one signature.
#[track_caller]
fn fault(result: Result<Vec<Signer>, SignatureError>) -> Fault {
    let Err(SignatureError::TooFew { mut bad, good, .. }) = result else { panic!("{result:?}") };
    assert_eq!((bad.len(), good.len()), (1, 0), "{bad:?}");
    bad.remove(0).fault
}

#[test]
fn every_kind_of_key_that_ssh_keygen_makes_can_sign() {
    let keys = Keys::new();
    for kind in
        ["-t ed25519", "-t ecdsa -b 256", "-t ecdsa -b 384", "-t ecdsa -b 521", "-t rsa -b 2048", "-t rsa -b 3072"]
    {
        let name = kind.replace(' ', "");
        keys.make(&name, kind);
        let signers = format!("{name} {}\n", keys.public(&name));
        // Some ECDSA numbers begin with a zero: one signature in 128.
        for round in 0..if kind.contains("ecdsa") { 12 } else { 2 } {
            let document = format!("document {round}");
            let signature = keys.sign(&name, POLICY_NAMESPACE, document.as_bytes());
            let good = verify(&signers, document.as_bytes(), std::slice::from_ref(&signature), 1).unwrap();
            assert_eq!(good[0].principals, std::slice::from_ref(&name));
            assert!(good[0].fingerprint.starts_with("SHA256:"), "{good:?}");
            assert_eq!(fault(verify(&signers, b"another", &[signature], 1)), Fault::OtherBytes, "{kind}");
        }
    }
}

#[test]
fn weak_and_unknown_kinds_of_keys_are_named() {
    let keys = Keys::new();
    keys.make("short", "-t rsa -b 1024");
    let mistakes = Signers::parse(&format!("short {}\n", keys.public("short"))).unwrap_err();
    assert_eq!(mistakes[0].to_string(), "line 1: an RSA key of 1024 bits is not taken; 2048 to 8192 are");
    // A certificate stands for a CA, as `cert-authority` does.
    let (ca, own) = (keys.make("ca", "-t ed25519"), keys.make("own", "-t ed25519"));
    let certified = Command::new("ssh-keygen").args(["-q", "-I", "id", "-n", "own", "-s"]).arg(ca).arg(own).status();
    assert!(certified.unwrap().success());
    let mistakes = Signers::parse(&format!("own {}\n", keys.public("own-cert"))).unwrap_err();
    assert!(mistakes[0].to_string().contains("is a certificate; write the signer's own key"), "{mistakes:?}");
}

#[test]
fn k_of_n_counts_different_signers() {
    let rig = Rig::new();
    let [anna, ben, carl] = NAMES.map(|name| rig.sign(name));
    let both = rig.verify(&[anna.clone(), carl.clone()], 2).unwrap();
    assert_eq!(
        both.iter().map(|s| s.principals[0].as_str()).collect::<Vec<_>>(),
        ["anna@example.net", "carl@example.net"]
    );
    assert_eq!(rig.verify(&[anna.clone(), ben.clone(), carl.clone()], 2).unwrap().len(), 3);
    let error = rig.verify(std::slice::from_ref(&anna), 2).unwrap_err().to_string();
    assert!(error.starts_with("1 of 2 needed signatures are good (anna@example.net (SHA256:"), "{error}");
    let error = rig.verify(&[], 1).unwrap_err().to_string();
    assert_eq!(error, "0 of 1 needed signatures are good: it is not signed; sign it with `skynetctl policy sign`");
    // A signer who signs twice is still one, also with a second key.
    let error = rig.verify(&[anna.clone(), anna.clone()], 2).unwrap_err().to_string();
    assert!(error.contains("signature 2: anna@example.net") && error.contains("another one must sign"), "{error}");
    rig.keys.make("anna-2", "-t ed25519");
    let text = format!("{}anna@example.net {}\n", rig.text, rig.keys.public("anna-2"));
    let second = rig.sign("anna-2");
    assert!(verify(&text, &rig.document, &[anna.clone(), second.clone()], 2).is_err());
    let pattern = text.replace("anna@example.net ssh", "*@example.net ssh");
    assert!(verify(&pattern, &rig.document, &[anna.clone(), second.clone()], 2).is_err(), "a pattern may be anna");
    let other = text.replace("anna@example.net ssh", "dora@example.net ssh");
    assert_eq!(verify(&other, &rig.document, &[anna.clone(), second], 2).unwrap().len(), 2);
    // A bad one beside enough good ones does no harm; beside too few it is named.
    let bad = b"what is this".to_vec();
    assert_eq!(rig.verify(&[bad.clone(), anna.clone(), ben], 2).unwrap().len(), 2);
    let error = rig.verify(&[bad, anna.clone()], 2).unwrap_err().to_string();
    assert!(
        error.contains("; sign again") && error.contains("signature 1: it is not what `ssh-keygen -Y sign`"),
        "{error}"
    );
    assert_eq!(rig.verify(&[anna], 0).unwrap().len(), 1);
    assert!(rig.verify(&[], 0).is_err(), "no threshold is no way around signatures");
    assert_eq!(rig.verify(&vec![Vec::new(); 17], 1), Err(SignatureError::TooMany(MAX_SIGNATURES + 1)));
}

#[test]
fn one_flipped_bit_anywhere_and_it_is_no_signature_of_this() {
    let rig = Rig::new();
    let (signature, signers) = (rig.sign("anna"), Signers::parse(&rig.text).unwrap());
    let verify = |document: &[u8], signature: &[u8]| signers.verify(POLICY_NAMESPACE, document, &[signature], 1, NOW);
    assert!(verify(&rig.document, &signature).is_ok());
    for bit in 0..8 {
        for at in 0..signature.len() {
            let mut flipped = signature.clone();
            flipped[at] ^= 1 << bit;
            assert!(verify(&rig.document, &flipped).is_err(), "byte {at}, bit {bit} of the signature");
        }
        for at in 0..rig.document.len() {
            let mut flipped = rig.document.clone();
            flipped[at] ^= 1 << bit;
            assert_eq!(fault(verify(&flipped, &signature)), Fault::OtherBytes, "byte {at}, bit {bit} of the document");
        }
    }
    for cut in 0..signature.len() {
        assert!(verify(&rig.document, &signature[..cut]).is_err());
    }
    let longer = [signature.as_slice(), b"\n"].concat();
    assert!(matches!(fault(verify(&rig.document, &longer)), Fault::Malformed(_)));
    assert!(matches!(fault(verify(&rig.document, &vec![b'-'; 20_000])), Fault::TooLarge(20_000)));
    let crlf = String::from_utf8(signature).unwrap().replace('\n', "\r\n");
    assert!(verify(&rig.document, crlf.as_bytes()).is_ok(), "as a file that went through another system");
}

#[test]
fn each_reason_has_its_words() {
    let rig = Rig::new();
    let other = rig.keys.sign("anna", "skynet-emergency", &rig.document);
    assert_eq!(
        fault(rig.verify(&[other], 1)).to_string(),
        "it was made for namespace `skynet-emergency`; sign with -n skynet-policy"
    );
    rig.keys.make("stranger", "-t ed25519");
    let error = fault(rig.verify(&[rig.sign("stranger")], 1)).to_string();
    assert!(error.starts_with("its key SHA256:") && error.ends_with(" is not in the signers file"), "{error}");
    let anna = rig.sign("anna");
    let with = |options: &str| rig.text.replacen("namespaces=\"skynet-*\"", options, 1);
    for (options, words) in [
        ("namespaces=\"git,file\"", "for namespaces `git,file` only, not for `skynet-policy`"),
        ("namespaces=\"skynet-*,!skynet-policy\"", "not for `skynet-policy`"),
        ("valid-before=\"20270115\"", "was good until 2027-01-15T00:00:00.000Z; sign with a newer key"),
        ("valid-after=\"20270116Z\"", "is good only after 2027-01-16T00:00:00.000Z"),
    ] {
        let error = fault(verify(&with(options), &rig.document, std::slice::from_ref(&anna), 1)).to_string();
        assert!(error.contains(words), "{error}");
    }
    // The moment itself: 2027-01-15T08:00:00Z is NOW.
    for (options, good) in [
        ("valid-before=\"20270115080000Z\"", false),
        ("valid-before=\"20270115080001\"", true),
        ("valid-after=\"20270115080000Z\"", true),
        ("valid-after=\"202701150801\",valid-before=\"20280101\"", false),
        ("valid-after=\"20270101\",valid-before=\"20280101\",namespaces=\"skynet-policy\"", true),
    ] {
        let result = verify(&with(options), &rig.document, std::slice::from_ref(&anna), 1);
        assert_eq!(result.is_ok(), good, "{options}: {result:?}");
    }
    // Taken out of the file, a signer signs no more.
    let without: String = rig.text.lines().skip(1).map(|line| format!("{line}\n")).collect();
    assert!(matches!(fault(verify(&without, &rig.document, &[anna], 1)), Fault::UnknownKey { .. }));
}

/// A hardware key made of software: signs with whatever flags it is told.
struct Token(Ed25519KeyPair);

impl Token {
    const APPLICATION: &str = "ssh:";

    fn key(&self) -> KeyData {
        let public = Ed25519PublicKey(self.0.public_key().as_ref().try_into().unwrap());
        KeyData::SkEd25519(SkEd25519::new(public, Self::APPLICATION))
    }

    /// The signature signs `flags`; the blob says `claimed`.
    fn sign(&self, document: &[u8], flags: u8, claimed: u8) -> Vec<u8> {
        let counter = 7_u32.to_be_bytes();
        let data = SshSig::signed_data(POLICY_NAMESPACE, HashAlg::Sha512, document).unwrap();
        let mut message = Sha256::digest(Self::APPLICATION).to_vec();
        message.push(flags);
        message.extend(counter);
        message.extend(Sha256::digest(&data));
        let mut proof = self.0.sign(&message).as_ref().to_vec();
        proof.push(claimed);
        proof.extend(counter);
        let signature = Signature::new(Algorithm::SkEd25519, proof).unwrap();
        let whole = SshSig::new(self.key(), POLICY_NAMESPACE, HashAlg::Sha512, signature).unwrap();
        whole.to_pem(LineEnding::LF).unwrap().into_bytes()
    }
}

#[test]
fn a_hardware_key_must_have_been_touched() {
    let token = Token(Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap());
    let signers = format!("anna {}\n", PublicKey::new(token.key(), "").to_openssh().unwrap());
    let document = b"a document";
    let good = token.sign(document, 0x01, 0x01);
    assert_eq!(verify(&signers, document, &[good], 1).unwrap().len(), 1);
    let verified_by_pin = token.sign(document, 0x05, 0x05);
    assert!(verify(&signers, document, &[verified_by_pin], 1).is_ok());
    for flags in [0x00, 0x04, 0xfe] {
        let untouched = token.sign(document, flags, flags);
        let fault = fault(verify(&signers, document, &[untouched], 1));
        assert_eq!(fault, Fault::NoPresence, "{flags:x}");
        assert!(fault.to_string().contains("touch"), "{fault}");
    }
    let lying = token.sign(document, 0x00, 0x01);
    assert_eq!(fault(verify(&signers, document, &[lying], 1)), Fault::OtherBytes, "the flags are signed, too");
    let plain = token.sign(b"another", 0x01, 0x01);
    assert_eq!(fault(verify(&signers, document, &[plain], 1)), Fault::OtherBytes);
}

#[test]
fn a_hardware_key_of_the_older_kind_must_have_been_touched_as_well() {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let point = EncodedPoint::from_bytes(key.public_key()).unwrap();
    let public = KeyData::SkEcdsaSha2NistP256(SkEcdsaSha2NistP256::new(point, "ssh:work"));
    let signers = format!("anna {}\n", PublicKey::new(public.clone(), "").to_openssh().unwrap());
    let (document, random) = (b"a document", aws_lc_rs::rand::SystemRandom::new());
    // Numbers that begin with a zero come now and then.
    for (round, flags) in [1_u8, 0, 5, 4].into_iter().cycle().take(60).enumerate() {
        let trailer = [flags, 0, 0, 0, round as u8];
        let data = SshSig::signed_data(POLICY_NAMESPACE, HashAlg::Sha512, document).unwrap();
        let message = [Sha256::digest("ssh:work").as_slice(), &trailer, &Sha256::digest(data)].concat();
        let both = key.sign(&random, &message).unwrap();
        let mut proof = Vec::new();
        for number in both.as_ref().chunks(32) {
            Mpint::from_positive_bytes(number).encode(&mut proof).unwrap();
        }
        proof.extend(trailer);
        let signature = Signature::new(Algorithm::SkEcdsaSha2NistP256, proof).unwrap();
        let whole = SshSig::new(public.clone(), POLICY_NAMESPACE, HashAlg::Sha512, signature).unwrap();
        let whole = whole.to_pem(LineEnding::LF).unwrap().into_bytes();
        let result = verify(&signers, document, &[whole], 1);
        match flags & 1 {
            1 => assert!(result.is_ok(), "{result:?}"),
            _ => assert_eq!(fault(result), Fault::NoPresence),
        }
    }
}

#[test]
fn what_a_configuration_says_of_trust_is_checked() {
    let rig = Rig::new();
    let signers = || Some(Signers::parse(&rig.text).unwrap());
    assert!(Trust::new(signers(), 1, true).unwrap_err().contains("exclude each other"));
    for needed in [0, 4] {
        let error = Trust::new(signers(), needed, false).unwrap_err();
        assert!(error.contains("the signers file has 3 keys"), "{error}");
    }
    let none: [&[u8]; 0] = [];
    let check = |trust: &Trust| trust.check(POLICY_NAMESPACE, &rig.document, &none, NOW);
    let nobody = Trust::new(None, 1, false).unwrap();
    assert!(check(&nobody).unwrap_err().to_string().contains("set `signers`"));
    let anybody = Trust::new(None, 1, true).unwrap();
    assert!(anybody.is_insecure() && check(&anybody).unwrap().is_empty());
    assert_eq!(anybody.enough(&[], 3), Ok(()));
    let two = Trust::new(signers(), 2, false).unwrap();
    assert!(!two.is_insecure() && check(&two).is_err());
    let signed = [rig.sign("anna"), rig.sign("ben")];
    let good = two.check(POLICY_NAMESPACE, &rig.document, &signed, NOW).unwrap();
    assert_eq!(two.enough(&good, 2), Ok(()));
    let error = two.enough(&good, 3).unwrap_err().to_string();
    assert!(error.starts_with("the policy says `signers: 3`, and 2 signed it (anna@example.net"), "{error}");
    let bad = Bad { number: 1, fault: Fault::OtherBytes };
    let few = SignatureError::TooFew { needed: 1, good: Vec::new(), bad: vec![bad] };
    let refusal = not_authorised(few);
    assert!(is_breach(&refusal) && !is_breach("local rate: 31 actions"), "{refusal}");
}
