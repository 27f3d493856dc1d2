//! The signers file: as OpenSSH reads it, every mistake with its line, and nothing that hurts.

use std::process::{Command, Stdio};

use skynet_model::sign::{MAX_SIGNERS, Signers};

use super::random::{Random, rounds};
use super::signatures::{Keys, NOW};

fn mistakes(text: &str) -> Vec<String> {
    Signers::parse(text).map(|_| Vec::new()).unwrap_or_else(|all| all.iter().map(ToString::to_string).collect())
}

#[test]
fn every_mistake_is_told_with_its_line_and_remedy() {
    let keys = Keys::new();
    keys.make("anna", "-t ed25519");
    let key = keys.public("anna");
    let (kind, body) = key.split_once(' ').unwrap();
    for (line, words) in [
        (format!("anna cert-authority {key}"), "cert-authority is not taken"),
        (format!("anna CERT-AUTHORITY,namespaces=\"a\" {key}"), "cert-authority is not taken"),
        (format!("anna namespace=\"skynet-policy\" {key}"), "did you mean `namespaces`?"),
        (format!("anna namespaces=skynet-policy {key}"), "must be in double quotes"),
        (format!("anna namespaces=\"\" {key}"), "namespaces needs a value"),
        (format!("anna namespaces=\"a\",namespaces=\"b\" {key}"), "namespaces is given twice"),
        (format!("anna namespaces=\"a {key}"), "quotes"),
        (format!("anna valid-before=\"tomorrow\" {key}"), "valid-before=\"tomorrow\" is no time"),
        (format!("anna valid-after=\"20270101\",valid-before=\"20260101\" {key}"), "would never be good"),
        (format!("!anna {key}"), "is not a list of 1 to 16 names"),
        (format!(", {key}"), "is not a list of 1 to 16 names"),
        (format!("\"anna {key}"), "do not end"),
        (key.clone(), "neither an option nor a kind of key"),
        ("anna".to_owned(), "neither an option nor a kind of key"),
        (format!("anna {kind}"), "a key is missing"),
        (format!("anna {kind} {}", &body[4..]), "cannot be read"),
        (format!("anna ssh-rsa {body}"), "cannot be read"),
    ] {
        let told = mistakes(&format!("# a comment\n\n{line}\n"));
        assert!(told.len() == 1 && told[0].starts_with("line 3: ") && told[0].contains(words), "{line}: {told:?}");
    }
    assert!(mistakes("# nobody yet\n")[0].contains("no key in it"));
    let two = mistakes(&format!("a bad {key}\nb {key}\nc worse {key}"));
    assert_eq!(two.len(), 2, "{two:?}");
    assert_eq!(mistakes(&"x\n".repeat(100)).len(), 20);
    let many: String = (0..=MAX_SIGNERS).map(|n| format!("n{n} {key}\n")).collect();
    assert_eq!(mistakes(&many), [format!("line {}: more than {MAX_SIGNERS} keys", MAX_SIGNERS + 1)]);
    assert!(mistakes(&"#".repeat(300_000))[0].contains("at most"));
}

#[test]
fn the_digest_and_the_number_of_keys_are_those_of_the_file() {
    let keys = Keys::new();
    keys.make("anna", "-t ed25519");
    let text = format!("anna {0}\r\nanna,\tanna-2 {0}\r\n", keys.public("anna")).replace(",\t", ",");
    let signers = Signers::parse(&text).unwrap();
    assert_eq!((signers.len(), signers.is_empty()), (1, false), "one key on two lines");
    assert_eq!(signers.digest(), skynet_model::policy::Bundle::digest(text.as_bytes()));
}

/// Files that are unusual and right, or wrong: what we take, OpenSSH takes; what it refuses, we refuse.
#[test]
fn a_file_means_what_it_means_to_openssh() {
    let keys = Keys::new();
    keys.make("anna", "-t ed25519");
    keys.make("ben", "-t ecdsa");
    let (anna, ben) = (keys.public("anna"), keys.public("ben"));
    let document = b"a document".to_vec();
    let signature = keys.sign("anna", "skynet-policy", &document);
    let (sig, file) = (keys.path().join("s.sig"), keys.path().join("signers"));
    std::fs::write(&sig, &signature).unwrap();
    for text in [
        format!("anna {anna}"),
        format!("  anna\t{anna}"),
        format!("\"anna\" namespaces=\"skynet-policy\" {anna}"),
        format!("anna NameSpaces=\"x,skynet-*\" {anna}"),
        format!("anna namespaces=\"x,y\" {anna}"),
        format!("anna namespaces=\"*,!skynet-policy\" {anna}"),
        format!("anna namespaces=\"skynet-polic?\",valid-after=\"19990101Z\" {anna}"),
        format!("anna valid-after=\"20200101Z\",valid-before=\"20400101Z\" {anna}"),
        format!("anna valid-after=\"20300101Z\" {anna}"),
        format!("anna valid-before=\"20260101Z\" {anna}"),
        format!("anna valid-before=\"2026\" {anna}"),
        format!("anna namespaces=skynet-policy {anna}"),
        format!("anna nonsense {anna}"),
        format!("anna {ben}"),
        format!("# only ben\nben {ben}\nanna {anna}"),
        format!("anna namespaces=\"other\" {anna}\nanna namespaces=\"skynet-policy\" {anna}"),
    ] {
        std::fs::write(&file, format!("{text}\n")).unwrap();
        let document_file = keys.path().join("d");
        std::fs::write(&document_file, &document).unwrap();
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-Y", "verify", "-n", "skynet-policy", "-I", "anna", "-O", "verify-time=20270115080000Z"]);
        command.arg("-f").arg(&file).arg("-s").arg(&sig).stdin(std::fs::File::open(&document_file).unwrap());
        let theirs = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success();
        let signers = Signers::parse(&format!("{text}\n"));
        let ours = signers.is_ok_and(|s| s.verify("skynet-policy", &document, &[&signature], 1, NOW).is_ok());
        assert_eq!(ours, theirs, "{text}");
    }
}

#[test]
fn hostile_signers_and_signatures_never_panic() {
    let keys = Keys::new();
    keys.make("anna", "-t ed25519");
    let good = format!("anna,ben namespaces=\"skynet-*\",valid-after=\"20200101\" {}\n", keys.public("anna"));
    let signature = keys.sign("anna", "skynet-policy", b"x");
    let signers = Signers::parse(&good).unwrap();
    let mut random = Random(11);
    for _ in 0..rounds(3000) {
        let mut bytes = good.clone().into_bytes();
        let mut proof = signature.clone();
        for _ in 0..1 + random.below(4) {
            let (at, value) = (random.below(bytes.len()), random.below(256) as u8);
            bytes[at] = value;
            let at = random.below(proof.len());
            match random.below(3) {
                0 => proof[at] = value,
                1 => drop(proof.remove(at)),
                _ => proof.insert(at, b"A-/=\n \xff"[random.below(7)]),
            }
        }
        let _ = Signers::parse(&String::from_utf8_lossy(&bytes));
        let taken = signers.verify("skynet-policy", b"x", &[&proof], 1, NOW);
        assert!(taken.is_err() || proof == signature, "{}", String::from_utf8_lossy(&proof));
    }
}
