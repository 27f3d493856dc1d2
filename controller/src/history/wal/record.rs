//! How batches lie in the write-ahead log.
//!
//! A segment begins with [`HEADER`]. A record is a frame (length, CRC32, payload). The payload: kind (1: with boot and
//! number, 2: without), the server, what its places mean (each place is named once a segment, so that a segment can be
//! read without those before it), places whose series ended, and the sweeps: the time's difference to the sweep before,
//! the number of values, runs of consecutive places, and the values, two after one byte with their lengths, without the
//! zero bytes at their ends.

use skynet_model::series::SeriesKey;

use super::super::bytes::{Cursor, put_signed, put_text, put_varint};

/// `SKYHWAL`, newline, format version 1.
pub(in super::super) const HEADER: [u8; 12] = *b"SKYHWAL\n\x01\0\0\0";
/// Largest record, in bytes.
pub(in super::super) const MAX_RECORD: usize = 32 << 20;

/// Boot and number of a batch.
pub(in super::super) type Key = Option<(u64, u64)>;

/// Begins a payload: all but the sweeps.
pub(in super::super) fn put_head<'a>(
    out: &mut Vec<u8>,
    server: &str,
    key: Key,
    announced: impl Iterator<Item = (u32, &'a SeriesKey)> + Clone,
    retired: &[u32],
) {
    out.push(if key.is_some() { 1 } else { 2 });
    put_text(out, server);
    if let Some((boot, seq)) = key {
        out.extend_from_slice(&boot.to_le_bytes());
        put_varint(out, seq);
    }
    put_varint(out, announced.clone().count() as u64);
    for (place, key) in announced {
        put_varint(out, u64::from(place));
        put_text(out, &key.to_string());
    }
    put_varint(out, retired.len() as u64);
    for place in retired {
        put_varint(out, u64::from(*place));
    }
}

/// Appends a sweep; `before` is the time of the one before it in the record, or 0.
pub(in super::super) fn put_sweep(out: &mut Vec<u8>, before: i64, time: i64, places: &[u32], bits: &[u64]) {
    put_signed(out, time.wrapping_sub(before));
    put_varint(out, places.len() as u64);
    let (mut rest, mut end) = (places, 0i64);
    while let Some(first) = rest.first() {
        let run = 1 + rest.windows(2).take_while(|pair| pair[0].wrapping_add(1) == pair[1]).count();
        put_signed(out, i64::from(*first) - end);
        put_varint(out, run as u64);
        end = i64::from(*first) + run as i64;
        rest = &rest[run..];
    }
    out.reserve(places.len() * 9);
    for pair in bits.chunks(2) {
        let control = out.len();
        out.push(0);
        let one = put_value(out, pair[0]);
        let two = pair.get(1).map_or(0, |bits| put_value(out, *bits));
        out[control] = one << 4 | two;
    }
}

fn put_value(out: &mut Vec<u8>, bits: u64) -> u8 {
    let length = 8 - bits.trailing_zeros() / 8;
    let end = out.len() + length as usize;
    // A copy of fixed length is cheaper than one of the right length.
    out.extend_from_slice(&bits.to_be_bytes());
    out.truncate(end);
    length as u8
}

/// One sweep of a record.
#[derive(Debug, Default, PartialEq)]
pub(in super::super) struct Sweep {
    pub(in super::super) time: i64,
    pub(in super::super) places: Vec<u32>,
    pub(in super::super) values: Vec<f64>,
}

/// A record that was read.
#[derive(Debug, PartialEq)]
pub(in super::super) struct Record<'a> {
    pub(in super::super) server: &'a str,
    pub(in super::super) key: Key,
    pub(in super::super) announced: Vec<(u32, SeriesKey)>,
    pub(in super::super) retired: Vec<u32>,
    pub(in super::super) sweeps: Vec<Sweep>,
}

/// Reads a payload.
pub(in super::super) fn decode(payload: &[u8]) -> Option<Record<'_>> {
    let mut cursor = Cursor::new(payload);
    let kind = cursor.u8()?;
    let server = cursor.text()?;
    let key = match kind {
        1 => Some((cursor.u64()?, cursor.varint()?)),
        2 => None,
        _ => return None,
    };
    let place = |cursor: &mut Cursor<'_>| u32::try_from(cursor.varint()?).ok();
    let announced: Option<Vec<_>> =
        (0..cursor.count(1)?).map(|_| Some((place(&mut cursor)?, cursor.text()?.parse().ok()?))).collect();
    let retired: Option<Vec<u32>> = (0..cursor.count(1)?).map(|_| place(&mut cursor)).collect();
    let mut sweeps = Vec::new();
    let mut before = 0i64;
    while !cursor.is_empty() {
        let sweep = sweep(&mut cursor, before)?;
        before = sweep.time;
        sweeps.push(sweep);
    }
    Some(Record { server, key, announced: announced?, retired: retired?, sweeps })
}

fn sweep(cursor: &mut Cursor<'_>, before: i64) -> Option<Sweep> {
    let time = before.wrapping_add(cursor.signed()?);
    let count = cursor.count(2)?;
    let mut sweep = Sweep { time, places: Vec::with_capacity(count), values: Vec::with_capacity(count) };
    let mut end = 0i64;
    while sweep.places.len() < count {
        let first = end.checked_add(cursor.signed()?)?;
        let run = usize::try_from(cursor.varint()?).ok().filter(|n| *n > 0 && *n <= count - sweep.places.len())?;
        end = first.checked_add(run as i64)?;
        let (first, end) = (u32::try_from(first).ok()?, u32::try_from(end).ok()?);
        sweep.places.extend(first..end);
    }
    while sweep.values.len() < count {
        let control = cursor.u8()?;
        sweep.values.push(value(cursor, control >> 4)?);
        if sweep.values.len() < count {
            sweep.values.push(value(cursor, control & 15)?);
        }
    }
    Some(sweep)
}

fn value(cursor: &mut Cursor<'_>, length: u8) -> Option<f64> {
    let length = usize::from(length);
    let mut big = [0u8; 8];
    big.get_mut(..length)?.copy_from_slice(cursor.take(length)?);
    Some(f64::from_bits(u64::from_be_bytes(big)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_and_a_cut_one_is_none() {
        let keys: [SeriesKey; 2] =
            ["load.one", "disk.used_ratio{mount=\"/a \\\"b\\\" {},\"}"].map(|k| k.parse().unwrap());
        let values = [0.0, -0.0, 1.0, 0.1, f64::MAX, 93.0, 1e-300];
        let bits = values.map(f64::to_bits);
        let mut bytes = Vec::new();
        put_head(&mut bytes, "web1", Some((7, 300)), [(4, &keys[0]), (9, &keys[1])].into_iter(), &[2]);
        let head = bytes.len();
        put_sweep(&mut bytes, 0, 1_700_000_000_000, &[4, 5, 6, 7, 1, 2, 9], &bits);
        let whole = bytes.len();
        put_sweep(&mut bytes, 1_700_000_000_000, 1_699_999_999_000, &[9], &bits[..1]);
        let record = decode(&bytes).unwrap();
        assert_eq!((record.server, record.key, &record.retired[..]), ("web1", Some((7, 300)), &[2][..]));
        assert_eq!(record.announced, [(4, keys[0].clone()), (9, keys[1].clone())]);
        assert_eq!(record.sweeps[0].places, [4, 5, 6, 7, 1, 2, 9]);
        assert_eq!(record.sweeps[0].values.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), bits);
        assert_eq!((record.sweeps[1].time, &record.sweeps[1].places[..]), (1_699_999_999_000, &[9][..]));
        for cut in (0..bytes.len()).filter(|cut| *cut != head && *cut != whole) {
            assert_eq!(decode(&bytes[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn a_reading_of_a_whole_number_takes_few_bytes() {
        let mut bytes = Vec::new();
        let places: Vec<u32> = (0..100).collect();
        put_sweep(&mut bytes, 0, 0, &places, &[42f64.to_bits(); 100]);
        assert!(bytes.len() < 260, "{}", bytes.len());
    }
}
