//! How packed readings lie in a file.
//!
//! A file begins with [`HEADER`]. A frame holds what one block of one server became: a checked head (kind, server, columns
//! of times with their number, span and length, series with their column of times and their length), then the columns,
//! each with length and CRC32 of its own: one series is read without the others.

use std::sync::Arc;

use skynet_model::series::SeriesKey;

use super::super::bytes::{Cursor, PREFIX, put_frame, put_signed, put_text, put_varint};
use super::super::column::{self, PackError};
use super::super::server::Full;

/// `SKYHIST`, newline, format version 1.
pub(in super::super) const HEADER: [u8; 12] = *b"SKYHIST\n\x01\0\0\0";
/// What every head begins with; no column does.
const KIND: u8 = 0xf5;
/// Largest head, in bytes.
pub(in super::super) const MAX_HEAD: usize = 64 << 20;

/// Where the samples of one series are in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Place {
    pub(in super::super) first: i64,
    /// Milliseconds from the first sample to the last.
    pub(in super::super) span: u32,
    pub(in super::super) samples: u32,
    /// Where its columns begin.
    pub(in super::super) times: u32,
    pub(in super::super) values: u32,
}

impl Place {
    pub(in super::super) fn last(&self) -> i64 {
        self.first.saturating_add(i64::from(self.span))
    }

    pub(in super::super) fn touches(&self, from: i64, until: i64) -> bool {
        self.first <= until && self.last() >= from
    }
}

/// A frame that was made or read.
#[derive(Debug, Default)]
pub(in super::super) struct Frame {
    pub(in super::super) server: String,
    /// Series, and where they are, counted from the frame's beginning.
    pub(in super::super) series: Vec<(SeriesKey, Place)>,
    /// How long it is.
    pub(in super::super) length: usize,
}

/// The samples of one column of times.
struct Times {
    times: Vec<i64>,
    packed: Vec<u8>,
}

/// Packed columns of one series.
pub(in super::super) struct Packed {
    pub(in super::super) key: SeriesKey,
    pub(in super::super) first: i64,
    pub(in super::super) last: i64,
    pub(in super::super) samples: u32,
    pub(in super::super) times: Arc<[u8]>,
    pub(in super::super) values: Vec<u8>,
    column: usize,
}

/// Packs a block: each series once, or more often where it is too long for one column.
pub(in super::super) fn pack(full: &Full) -> Result<Vec<Packed>, PackError> {
    let mut columns: Vec<(Times, Arc<[u8]>)> = Vec::new();
    let mut packed = Vec::new();
    for (place, times, values) in full.block.columns(|_| true) {
        let Some(key) = full.key(place) else { continue };
        let (times, values) = in_order(times, values);
        let (mut times, mut values) = (&times[..], &values[..]);
        while let Some(first) = times.first().copied() {
            let near = times.partition_point(|time| time.wrapping_sub(first) as u64 <= u64::from(u32::MAX));
            let count = near.min(column::MOST);
            let (piece, piece_values) = (&times[..count], &values[..count]);
            // Series of one sensor share their times; the shapes of a block are few.
            let known = columns.iter().rposition(|(known, _)| known.times == piece);
            let index = match known {
                Some(index) => index,
                None => {
                    let times = Times { times: piece.to_vec(), packed: column::pack_times(piece)? };
                    let shared = times.packed.as_slice().into();
                    columns.push((times, shared));
                    columns.len() - 1
                }
            };
            packed.push(Packed {
                key: key.clone(),
                first,
                last: piece[count - 1],
                samples: count as u32,
                times: Arc::clone(&columns[index].1),
                values: column::pack_values(piece_values)?,
                column: index,
            });
            (times, values) = (&times[count..], &values[count..]);
        }
    }
    packed.sort_by(|a, b| (&a.key, a.first).cmp(&(&b.key, b.first)));
    Ok(packed)
}

/// Samples in order of time, each time once.
pub(in super::super) fn in_order(times: Vec<i64>, values: Vec<f64>) -> (Vec<i64>, Vec<f64>) {
    if times.windows(2).all(|pair| pair[0] < pair[1]) {
        return (times, values);
    }
    in_order_pairs(times.into_iter().zip(values).collect())
}

/// The same for samples as pairs.
pub(in super::super) fn in_order_pairs(mut samples: Vec<(i64, f64)>) -> (Vec<i64>, Vec<f64>) {
    samples.sort_by_key(|(time, _)| *time);
    samples.dedup_by_key(|(time, _)| *time);
    samples.into_iter().unzip()
}

/// Makes a frame of packed columns.
pub(in super::super) fn encode(server: &str, packed: &[Packed], out: &mut Vec<u8>) -> Frame {
    // Columns of times in the order in which series name them.
    let mut order: Vec<usize> = packed.iter().map(|p| p.column).collect();
    order.sort_unstable();
    order.dedup();
    let number = |column: usize| order.binary_search(&column).unwrap_or(0);
    let mut head = vec![KIND];
    put_text(&mut head, server);
    put_varint(&mut head, order.len() as u64);
    let mut times_of: Vec<&Packed> = Vec::new();
    for column in &order {
        if let Some(one) = packed.iter().find(|p| p.column == *column) {
            put_varint(&mut head, u64::from(one.samples));
            put_signed(&mut head, one.first);
            put_varint(&mut head, one.last.wrapping_sub(one.first) as u64);
            put_varint(&mut head, one.times.len() as u64);
            times_of.push(one);
        }
    }
    put_varint(&mut head, packed.len() as u64);
    let mut before = String::new();
    for one in packed {
        before = put_key(&mut head, &before, &one.key);
        put_varint(&mut head, number(one.column) as u64);
        put_varint(&mut head, one.values.len() as u64);
    }
    let start = out.len();
    put_frame(out, &head);
    let mut offsets = Vec::new();
    for one in &times_of {
        offsets.push(out.len() - start);
        put_frame(out, &one.times);
    }
    let mut frame = Frame { server: server.to_owned(), ..Frame::default() };
    for one in packed {
        let times = offsets.get(number(one.column)).copied().unwrap_or(0) as u32;
        let (span, values) = (one.last.wrapping_sub(one.first) as u32, (out.len() - start) as u32);
        let place = Place { first: one.first, span, samples: one.samples, times, values };
        frame.series.push((one.key.clone(), place));
        put_frame(out, &one.values);
    }
    frame.length = out.len() - start;
    frame
}

/// Appends a key as the difference to the one before; gives its text.
pub(in super::super) fn put_key(out: &mut Vec<u8>, before: &str, key: &SeriesKey) -> String {
    let text = key.to_string();
    let shared = before.bytes().zip(text.bytes()).take_while(|(a, b)| a == b).count();
    let shared = (0..=shared).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    put_varint(out, shared as u64);
    put_text(out, &text[shared..]);
    text
}

/// Reads a key after the one before, whose text becomes this one's.
pub(in super::super) fn get_key(cursor: &mut Cursor<'_>, before: &mut String) -> Option<SeriesKey> {
    let shared = usize::try_from(cursor.varint()?).ok()?;
    before.is_char_boundary(shared).then(|| before.truncate(shared))?;
    before.push_str(cursor.text()?);
    before.parse().ok()
}

/// Reads the head of a frame whose payload this is; places count from the frame's beginning.
pub(in super::super) fn parse(head: &[u8]) -> Option<Frame> {
    let mut cursor = Cursor::new(head);
    if cursor.u8()? != KIND {
        return None;
    }
    let server = cursor.text()?.to_owned();
    let mut offset = PREFIX + head.len();
    let mut columns = Vec::new();
    for _ in 0..cursor.count(1)? {
        let samples = u32::try_from(cursor.varint()?).ok()?;
        let (first, span) = (cursor.signed()?, u32::try_from(cursor.varint()?).ok()?);
        let length = usize::try_from(cursor.varint()?).ok()?;
        columns.push(Place { first, span, samples, times: u32::try_from(offset).ok()?, values: 0 });
        offset = offset.checked_add(PREFIX)?.checked_add(length)?;
    }
    let (mut series, mut before) = (Vec::new(), String::new());
    for _ in 0..cursor.count(1)? {
        let key = get_key(&mut cursor, &mut before)?;
        let column = columns.get(usize::try_from(cursor.varint()?).ok()?)?;
        let length = usize::try_from(cursor.varint()?).ok()?;
        series.push((key, Place { values: u32::try_from(offset).ok()?, ..*column }));
        offset = offset.checked_add(PREFIX)?.checked_add(length)?;
    }
    cursor.is_empty().then_some(Frame { server, series, length: offset })
}

/// Whether a frame may begin with these bytes.
pub(in super::super) fn may_begin(bytes: &[u8]) -> bool {
    bytes.get(PREFIX) == Some(&KIND)
}
