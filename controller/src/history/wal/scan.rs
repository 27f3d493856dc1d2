//! Reading a segment of the write-ahead log: what is whole in it, and where it is not.

use super::super::bytes::{PREFIX, frame};
use super::record::{HEADER, MAX_RECORD};

/// Bytes that may be summed while looking for the next whole record: readings are a stranger's, and could be made to look
/// like records.
const SEARCH: usize = 1 << 30;

/// A part of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Part<'a> {
    /// A record's payload, and where it ends.
    Record(&'a [u8], usize),
    /// Bytes that are no record, with whole ones behind them.
    Hole(usize, usize),
    /// The end that a crash cut off.
    Torn(usize),
    /// No segment of this version.
    Foreign(String),
}

/// Gives the parts of a segment in order.
pub(in super::super) fn scan<'a>(bytes: &'a [u8], mut see: impl FnMut(Part<'a>)) {
    if bytes.get(..HEADER.len()) != Some(&HEADER[..]) {
        let torn = bytes.len() < HEADER.len() && HEADER.starts_with(bytes);
        return see(match (torn, bytes.get(..8) == Some(&HEADER[..8])) {
            (true, _) => Part::Torn(0),
            (false, true) => Part::Foreign("its format version is not 1; a newer build wrote it".to_owned()),
            (false, false) => Part::Foreign("its first bytes are not those of a log of readings".to_owned()),
        });
    }
    let (mut at, mut budget) = (HEADER.len(), SEARCH);
    while at < bytes.len() {
        if let Some(whole) = frame(bytes, at) {
            at = whole.next;
            see(Part::Record(whole.payload, at));
            continue;
        }
        let Some(next) = (at + 1..bytes.len()).find(|at| begins_a_record(bytes, *at, &mut budget)) else {
            return see(Part::Torn(at));
        };
        see(Part::Hole(at, next));
        at = next;
    }
}

fn begins_a_record(bytes: &[u8], at: usize, budget: &mut usize) -> bool {
    let Some([a, b, c, d]) = bytes.get(at..at + 4).and_then(|b| <[u8; 4]>::try_from(b).ok()) else { return false };
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    // Length and kind are looked at first: they spare the checksum at nearly every place.
    let plausible = length <= MAX_RECORD
        && at + PREFIX + length <= bytes.len()
        && matches!(bytes.get(at + PREFIX), Some(1 | 2))
        && *budget >= length;
    if !plausible {
        return false;
    }
    *budget -= length;
    frame(bytes, at).is_some()
}

#[cfg(test)]
mod tests {
    use super::super::super::bytes::put_frame;
    use super::*;

    fn parts(bytes: &[u8]) -> Vec<Part<'_>> {
        let mut parts = Vec::new();
        scan(bytes, |part| parts.push(part));
        parts
    }

    #[test]
    fn holes_are_found_and_what_is_behind_them_is_read() {
        let mut bytes = HEADER.to_vec();
        let mut ends = Vec::new();
        for text in [&b"\x01one"[..], b"\x02two", b"\x01three"] {
            put_frame(&mut bytes, text);
            ends.push(bytes.len());
        }
        let whole = parts(&bytes);
        assert_eq!(whole[1], Part::Record(b"\x02two", ends[1]));
        assert_eq!(whole.len(), 3);
        for at in ends[0]..ends[1] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x40;
            let parts = parts(&damaged);
            assert_eq!(parts[1], Part::Hole(ends[0], ends[1]), "byte {at}");
            assert_eq!(parts[2], Part::Record(b"\x01three", ends[2]));
        }
        for cut in ends[1]..ends[2] {
            let expected = if cut == ends[1] { None } else { Some(&Part::Torn(ends[1])) };
            assert_eq!(parts(&bytes[..cut]).get(2), expected, "cut at {cut}");
        }
        for cut in 0..HEADER.len() {
            assert_eq!(parts(&bytes[..cut]), [Part::Torn(0)]);
        }
        assert!(matches!(&parts(b"SKYHWAL\n\x02\0\0\0")[..], [Part::Foreign(why)] if why.contains("newer")));
        assert!(matches!(&parts(b"something else")[..], [Part::Foreign(why)] if why.contains("first bytes")));
    }
}
