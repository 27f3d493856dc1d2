//! The bytes of a segment: records, each with a header that has its own checksum. A header says how many readings were
//! written before its record, so that what damage has taken is counted from the two sides of it.

/// Bytes of a record's header.
pub(super) const HEADER: usize = 52;
/// Largest body.
pub(super) const MAX_BODY: usize = 8 << 20;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A batch of readings.
    Batch,
    /// A loss that was not told yet.
    Gap,
}

impl Kind {
    const fn magic(self) -> [u8; 4] {
        match self {
            Self::Batch => *b"SKB1",
            Self::Gap => *b"SKG1",
        }
    }
}

/// A record's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// What follows.
    pub kind: Kind,
    /// The record's place in the queue; rises.
    pub ordinal: u64,
    /// Readings of all records written before it.
    pub before: u64,
    /// The batch's number.
    pub seq: u64,
    /// Its readings.
    pub readings: u32,
    /// When it was written, wall clock, milliseconds.
    pub at_ms: i64,
    length: u32,
    body_sum: u32,
}

/// A record as it is written or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Header.
    pub head: Head,
    /// Content.
    pub body: Vec<u8>,
}

/// Readings that cannot be read any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// First batch, as far as is known.
    pub first_seq: u64,
    /// Last batch.
    pub last_seq: u64,
    /// How many readings.
    pub readings: u64,
}

/// A piece of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Sound.
    Record(Record),
    /// Not.
    Damage(Damage),
}

/// What a segment holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// In order.
    pub pieces: Vec<Piece>,
    /// Bytes at the end that are no record.
    pub torn: usize,
    /// Readings written before what would follow.
    pub before: u64,
}

/// Appends a record's bytes.
pub(super) fn encode(into: &mut Vec<u8>, mut head: Head, body: &[u8]) -> bool {
    let Some(length) = u32::try_from(body.len()).ok().filter(|_| body.len() <= MAX_BODY) else { return false };
    (head.length, head.body_sum) = (length, crc32fast::hash(body));
    let start = into.len();
    into.extend_from_slice(&head.kind.magic());
    into.extend_from_slice(&head.length.to_le_bytes());
    into.extend_from_slice(&head.ordinal.to_le_bytes());
    into.extend_from_slice(&head.before.to_le_bytes());
    into.extend_from_slice(&head.seq.to_le_bytes());
    into.extend_from_slice(&head.readings.to_le_bytes());
    into.extend_from_slice(&head.at_ms.to_le_bytes());
    into.extend_from_slice(&head.body_sum.to_le_bytes());
    let sum = crc32fast::hash(&into[start..]);
    into.extend_from_slice(&sum.to_le_bytes());
    into.extend_from_slice(body);
    true
}

/// A header to be completed by [`encode`].
pub(super) fn head(kind: Kind, ordinal: u64, before: u64, seq: u64, readings: u32, at_ms: i64) -> Head {
    Head { kind, ordinal, before, seq, readings, at_ms, length: 0, body_sum: 0 }
}

fn head_at(bytes: &[u8]) -> Option<Head> {
    let raw: &[u8; HEADER] = bytes.get(..HEADER)?.try_into().ok()?;
    let kind = [Kind::Batch, Kind::Gap].into_iter().find(|kind| raw.starts_with(&kind.magic()))?;
    let u32_at = |at: usize| raw.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    let u64_at = |at: usize| raw.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
    if crc32fast::hash(&raw[..HEADER - 4]) != u32_at(HEADER - 4)? {
        return None;
    }
    let head = Head {
        kind,
        length: u32_at(4)?,
        ordinal: u64_at(8)?,
        before: u64_at(16)?,
        seq: u64_at(24)?,
        readings: u32_at(32)?,
        at_ms: u64_at(36)?.cast_signed(),
        body_sum: u32_at(44)?,
    };
    (head.length as usize <= MAX_BODY).then_some(head)
}

/// Reads a segment. `before`: readings written before it, where that is known.
pub(super) fn scan(bytes: &[u8], before: Option<u64>) -> Scan {
    let mut scan = Scan { before: before.unwrap_or(0), ..Scan::default() };
    let mut known = before.is_some();
    let (mut at, mut last_seq) = (0, None);
    while at < bytes.len() {
        let Some(head) = head_at(&bytes[at..]) else {
            match (at + 1..bytes.len()).find(|later| head_at(&bytes[*later..]).is_some()) {
                Some(later) => at = later,
                None => {
                    scan.torn = bytes.len() - at;
                    break;
                }
            }
            continue;
        };
        let missing = head.before.saturating_sub(scan.before);
        if known && missing > 0 {
            let first_seq = last_seq.map_or(0, |seq: u64| seq.saturating_add(1)).min(head.seq);
            let damage = Damage { first_seq, last_seq: head.seq.saturating_sub(1).max(first_seq), readings: missing };
            scan.pieces.push(Piece::Damage(damage));
        }
        known = true;
        scan.before = head.before.saturating_add(u64::from(head.readings)).max(scan.before);
        last_seq = (head.kind == Kind::Batch).then_some(head.seq).or(last_seq);
        let (start, length) = (at + HEADER, head.length as usize);
        let end = start.saturating_add(length).min(bytes.len());
        let body = &bytes[start..end];
        if body.len() == length && crc32fast::hash(body) == head.body_sum {
            scan.pieces.push(Piece::Record(Record { head, body: body.to_vec() }));
        } else {
            let (seq, readings) = (head.seq, u64::from(head.readings));
            scan.pieces.push(Piece::Damage(Damage { first_seq: seq, last_seq: seq, readings }));
        }
        at = end;
    }
    scan
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Segment bytes and where each record ends.
    fn written(records: u64) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut ends) = (Vec::new(), vec![0]);
        for i in 0..records {
            let head = head(Kind::Batch, i + 1, i * 10, 100 + i, 10, 5);
            assert!(encode(&mut bytes, head, &[u8::try_from(i).unwrap(); 150]));
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    fn count(scan: &Scan) -> (u64, u64) {
        scan.pieces.iter().fold((0, 0), |(sound, lost), piece| match piece {
            Piece::Record(record) => {
                assert_eq!(record.body, [u8::try_from(record.head.seq - 100).unwrap(); 150]);
                (sound + u64::from(record.head.readings), lost)
            }
            Piece::Damage(damage) => (sound, lost + damage.readings),
        })
    }

    #[test]
    fn each_of_the_last_4_kib_bytes_flipped_costs_a_counted_gap_or_the_last_record() {
        let (bytes, ends) = written(30);
        let last = ends[29];
        for at in bytes.len() - 4096..bytes.len() {
            for bit in [1_u8, 0x80] {
                let mut damaged = bytes.clone();
                damaged[at] ^= bit;
                let scan = scan(&damaged, Some(0));
                let (sound, lost) = count(&scan);
                assert_eq!(sound, 290, "byte {at}: one record is lost, no other");
                if at >= last && at < last + HEADER {
                    assert_eq!((lost, scan.torn), (0, bytes.len() - last), "byte {at}: told as a torn tail");
                } else {
                    assert_eq!((lost, scan.torn), (10, 0), "byte {at}");
                }
            }
        }
    }

    #[test]
    fn cut_anywhere_the_longest_sound_prefix_is_read() {
        let (bytes, ends) = written(30);
        for length in bytes.len() - 4096..bytes.len() {
            let scan = scan(&bytes[..length], Some(0));
            let whole = ends.iter().filter(|end| **end <= length).count() as u64 - 1;
            let (sound, lost) = count(&scan);
            assert_eq!(sound, whole * 10, "cut at {length}");
            let rest = length - ends[usize::try_from(whole).unwrap()];
            match rest {
                0 => assert_eq!((lost, scan.torn), (0, 0)),
                1..HEADER => assert_eq!((lost, scan.torn), (0, rest)),
                // Its header is there: what it held is counted.
                _ => assert_eq!((lost, scan.torn), (10, 0)),
            }
        }
    }

    #[test]
    fn what_is_missing_between_two_segments_is_counted() {
        let (bytes, ends) = written(4);
        let scan = scan(&bytes[ends[2]..], Some(5));
        assert_eq!(count(&scan), (20, 15));
        assert_eq!(scan.before, 40);
    }
}
