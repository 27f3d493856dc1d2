//! Questions and answers as RFC 1035 writes them: just what a probe needs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What may be asked about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind(u16);

/// Words and numbers of the types (IANA, "DNS parameters").
const KINDS: [(&str, u16); 10] = [
    ("A", 1),
    ("AAAA", 28),
    ("CAA", 257),
    ("CNAME", 5),
    ("MX", 15),
    ("NS", 2),
    ("PTR", 12),
    ("SOA", 6),
    ("SRV", 33),
    ("TXT", 16),
];
const INTERNET: u16 = 1;
const HEADER: usize = 12;
/// Most records of an answer that are looked at.
const MAX_RECORDS: u16 = 1000;

impl Kind {
    /// The words of [`KINDS`], for policy.
    pub(super) const WORDS: &[&str] = &["A", "AAAA", "CAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT"];

    pub(super) fn of(word: &str) -> Self {
        Self(KINDS.iter().find(|(w, _)| *w == word).map_or(1, |(_, number)| *number))
    }
}

/// One question as it is sent.
pub(super) struct Question {
    bytes: Vec<u8>,
    kind: Kind,
}

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) rcode: u8,
    /// There is more, over TCP.
    pub(super) truncated: bool,
    /// Records of the asked type.
    pub(super) records: u64,
    /// Their addresses, for A and AAAA.
    pub(super) addresses: Vec<IpAddr>,
}

impl Question {
    /// Asks for `kind` of a name that [`skynet_model::address::is_name`] takes; recursion is desired.
    pub(super) fn new(id: u16, name: &str, kind: Kind) -> Self {
        let mut bytes = Vec::with_capacity(HEADER + name.len() + 6);
        for word in [id, 0x0100, 1, 0, 0, 0] {
            bytes.extend_from_slice(&word.to_be_bytes());
        }
        for label in name.trim_end_matches('.').split('.') {
            bytes.push(u8::try_from(label.len()).unwrap_or(0));
            bytes.extend_from_slice(label.as_bytes());
        }
        bytes.push(0);
        bytes.extend_from_slice(&kind.0.to_be_bytes());
        bytes.extend_from_slice(&INTERNET.to_be_bytes());
        Self { bytes, kind }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether `answer` has our id, is an answer, and repeats our question.
    pub(super) fn is_answered_by(&self, answer: &[u8]) -> bool {
        let same = |range: std::ops::Range<usize>| answer.get(range.clone()) == self.bytes.get(range);
        let asked = answer.get(HEADER..self.bytes.len());
        let ours = &self.bytes[HEADER..];
        same(0..2)
            && answer.get(2).is_some_and(|flags| flags & 0x80 != 0)
            && same(4..6)
            && asked.is_some_and(|asked| asked.eq_ignore_ascii_case(ours))
    }

    /// Reads an answer that [`Question::is_answered_by`].
    ///
    /// # Errors
    /// When its records are not what it says.
    pub(super) fn read(&self, answer: &[u8]) -> Result<Answer, String> {
        let malformed = || "its answer has no form that DNS knows".to_owned();
        let short = |at: usize| Some(u16::from_be_bytes([*answer.get(at)?, *answer.get(at + 1)?]));
        let flags = short(2).ok_or_else(malformed)?;
        let count = short(6).ok_or_else(malformed)?;
        let truncated = flags & 0x0200 != 0;
        let mut said = Answer { rcode: (flags & 0xf).to_le_bytes()[0], truncated, records: 0, addresses: Vec::new() };
        if truncated {
            return Ok(said);
        }
        let mut at = self.bytes.len();
        for _ in 0..count.min(MAX_RECORDS) {
            at = after_name(answer, at).ok_or_else(malformed)?;
            let kind = short(at).ok_or_else(malformed)?;
            let length = usize::from(short(at + 8).ok_or_else(malformed)?);
            let data = answer.get(at + 10..at + 10 + length).ok_or_else(malformed)?;
            at += 10 + length;
            if kind != self.kind.0 {
                continue;
            }
            said.records += 1;
            if kind == 1 {
                let octets: [u8; 4] = data.try_into().map_err(|_| malformed())?;
                said.addresses.push(Ipv4Addr::from(octets).into());
            } else if kind == 28 {
                let octets: [u8; 16] = data.try_into().map_err(|_| malformed())?;
                said.addresses.push(Ipv6Addr::from(octets).into());
            }
        }
        Ok(said)
    }
}

/// Where a name ends that begins at `at`: labels up to an empty one or a pointer. Pointers are not followed: whose record
/// it is does not matter, an alias' is as good.
fn after_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = *bytes.get(at)?;
        match length {
            0 => return Some(at + 1),
            1..=63 => at += 1 + usize::from(length),
            192.. => return Some(at + 2),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_policy_are_those_of_the_table() {
        assert_eq!(KINDS.map(|(word, _)| word), Kind::WORDS);
    }

    #[test]
    fn no_answer_however_wrong_does_harm() {
        let question = Question::new(7, "a.example", Kind::of("A"));
        let mut answer = question.bytes().to_vec();
        answer[2] = 0x81;
        answer[7] = 1;
        answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1]);
        assert!(question.is_answered_by(&answer));
        assert_eq!(question.read(&answer).unwrap().addresses, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        for cut in 0..answer.len() {
            let part = &answer[..cut];
            assert!(!question.is_answered_by(part) || question.read(part).is_err(), "{cut}");
        }
        for at in 0..answer.len() {
            for byte in [0, 1, 63, 64, 191, 192, 255] {
                let mut bent = answer.clone();
                bent[at] = byte;
                let _ = question.is_answered_by(&bent).then(|| question.read(&bent));
            }
        }
    }
}
