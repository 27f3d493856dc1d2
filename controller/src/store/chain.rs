//! The chain of hashes over the events, and the seal on its head.
//!
//! h(n) = SHA-256(h(n-1) || event n), over the event's JSON as it is stored. Events that are missing are a link of their
//! own: SHA-256(h || "gap FIRST-LAST"). The chain begins with SHA-256("skynet chain 1\n" || fleet). Whoever can write to
//! Redis can make up a chain; only who has the key can seal its head.

use std::str::FromStr;

use aws_lc_rs::{digest, hmac};

/// Fewest bytes of a key.
const MIN_KEY: usize = 32;

/// A link of the chain.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash([u8; 32]);

/// Events that are not there any more: from, to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}

impl std::fmt::Display for Gap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for Gap {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (first, last) = text.split_once('-').ok_or(())?;
        let gap = Self { first: first.parse().map_err(|_| ())?, last: last.parse().map_err(|_| ())? };
        // Only the form that is written: what is hashed is the text.
        (gap.first <= gap.last && gap.to_string() == text).then_some(gap).ok_or(())
    }
}

fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    Hash(hash)
}

impl Hash {
    /// Where a fleet's chain begins.
    #[must_use]
    pub fn start(fleet: &str) -> Self {
        sha256(&[b"skynet chain 1\n", fleet.as_bytes()])
    }

    /// The hash of a whole: a bundle, say.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        sha256(&[bytes])
    }

    /// The next link.
    #[must_use]
    pub fn then(self, gap: Option<Gap>, event: &[u8]) -> Self {
        let before = gap.map_or(self, |gap| sha256(&[&self.0, b"gap ", gap.to_string().as_bytes()]));
        sha256(&[&before.0, event])
    }
}

impl std::fmt::Display for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl FromStr for Hash {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        unhex(text.as_bytes()).and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(())
    }
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let digit =
        |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok()).filter(|_| !c.is_ascii_uppercase());
    text.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}

/// The key that seals heads. It never leaves this machine.
#[derive(Clone)]
pub struct Key(hmac::Key);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    /// A key of at least 32 bytes.
    ///
    /// # Errors
    /// It is shorter; with the remedy.
    pub fn new(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() < MIN_KEY {
            return Err(format!(
                "the chain's key has {} characters; it needs {MIN_KEY}: `openssl rand -hex 32` makes one",
                bytes.len()
            ));
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
    }
}

/// Where the stream was cut: older events that still matter lie in a list beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// The last event before the cut.
    pub seq: u64,
    /// The chain's link there.
    pub hash: Hash,
    /// The hash of the list: SHA-256 over each event and a newline.
    pub digest: Hash,
}

/// The chain's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The last event.
    pub seq: u64,
    /// The chain's link there.
    pub hash: Hash,
    /// Where the stream was cut, if it was.
    pub base: Option<Base>,
}

impl Head {
    fn text(&self, fleet: &str, instance: &str) -> String {
        let Self { seq, hash, base } = self;
        let base = base.map_or("-".to_owned(), |Base { seq, hash, digest }| format!("{seq} {hash} {digest}"));
        format!("skynet head 1\n{fleet}\n{instance}\n{seq} {hash}\n{base}\n")
    }

    /// The seal: HMAC-SHA256 as hex; empty without a key.
    #[must_use]
    pub fn seal(&self, key: Option<&Key>, fleet: &str, instance: &str) -> String {
        let Some(Key(key)) = key else { return String::new() };
        let tag = hmac::sign(key, self.text(fleet, instance).as_bytes());
        tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether `seal` is this head's.
    #[must_use]
    pub fn sealed(&self, Key(key): &Key, fleet: &str, instance: &str, seal: &str) -> bool {
        unhex(seal.as_bytes()).is_some_and(|tag| hmac::verify(key, self.text(fleet, instance).as_bytes(), &tag).is_ok())
    }
}

/// The digest of a base's list, taken event by event.
#[derive(Clone)]
pub(super) struct BaseDigest(digest::Context);

impl BaseDigest {
    pub(super) fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    pub(super) fn add(&mut self, event: &[u8]) {
        self.0.update(event);
        self.0.update(b"\n");
    }

    pub(super) fn finish(self) -> Hash {
        let mut hash = [0; 32];
        hash.copy_from_slice(self.0.finish().as_ref());
        Hash(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &[u8] = br#"{"seq":1,"time":2,"event":"resumed","by":"ann"}"#;

    #[test]
    fn the_chain_of_format_1_never_changes() {
        let start = Hash::start("demo");
        assert_eq!(start.to_string(), "9cc3de7b2defb6d35e4cb1c633e959f1f5c73271f7e5dd5c6a86fbae90f59e1b");
        let one = start.then(None, EVENT);
        assert_eq!(one.to_string(), "1e85bfc9ebc55d862d5d69dbce648d3c3638bbe36878d13e586dd723629b17cb");
        let gap = one.then(Some(Gap { first: 2, last: 9 }), EVENT);
        assert_eq!(gap.to_string(), "c3270067690553f5f0932beae97fddd99f22a834ac20e9142a4e2a93d9f509c5");
        let key = Key::new(&[7; 32]).unwrap();
        let base = Some(Base { seq: 1, hash: one, digest: Hash::of(b"x") });
        let seal = Head { seq: 10, hash: gap, base }.seal(Some(&key), "demo", "i");
        assert_eq!(seal, "247bfd77cdc1923fb5aaf2b759e4f54761951a91fd128948c0de08f0b984447e");
    }

    #[test]
    fn a_seal_covers_all_of_the_head() {
        let key = Key::new(&[7; 32]).unwrap();
        let hash = Hash::start("demo");
        let head = Head { seq: 10, hash, base: None };
        let seal = head.seal(Some(&key), "demo", "i");
        assert!(head.sealed(&key, "demo", "i", &seal));
        let base = Some(Base { seq: 1, hash, digest: hash });
        for other in [
            Head { seq: 11, ..head.clone() },
            Head { hash: Hash::of(b"x"), ..head.clone() },
            Head { base, ..head.clone() },
        ] {
            assert!(!other.sealed(&key, "demo", "i", &seal), "{other:?}");
        }
        assert!(!head.sealed(&key, "demo", "j", &seal) && !head.sealed(&key, "dem", "i", &seal));
        assert!(!head.sealed(&key, "demo", "i", "") && !head.sealed(&key, "demo", "i", "zz"));
        assert!(!head.sealed(&Key::new(&[8; 32]).unwrap(), "demo", "i", &seal));
        assert!(Key::new(&[7; 31]).unwrap_err().contains("openssl rand"));
    }

    #[test]
    fn texts_are_read_only_as_they_are_written() {
        let hash = Hash::of(b"x");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        let upper: Result<Hash, ()> = hash.to_string().to_uppercase().parse();
        assert!(upper.is_err() && "00".parse::<Hash>().is_err());
        assert_eq!("2-9".parse(), Ok(Gap { first: 2, last: 9 }));
        for wrong in ["", "2", "9-2", "02-9", "2-9 ", "+2-9"] {
            assert!(wrong.parse::<Gap>().is_err(), "{wrong}");
        }
    }
}
