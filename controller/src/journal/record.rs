//! How events lie in a segment.
//!
//! A segment begins with [`HEADER`]. A record is a word (little-endian `u32`: length, and in bit 31 whether it goes on
//! with the append of the record before it), the CRC32 of word and payload, and the payload: one event as JSON.
//!
//! The bit tells a torn tail from damage. Appends are fsynced one after the other, so behind a bad record only records
//! of that same append can be whole; a whole record that begins an append proves that the bad one was once on disk.

use skynet_model::event::Event;
use skynet_model::time::Timestamp;

/// `SKYJRNL`, newline, format version 1.
pub(crate) const HEADER: [u8; 12] = *b"SKYJRNL\n\x01\0\0\0";
/// Largest payload, in bytes.
pub(crate) const MAX_PAYLOAD: usize = 16 << 20;

const PREFIX: usize = 8;
const GOES_ON: u32 = 1 << 31;
/// How every payload begins; makes the search behind a bad record cheap.
const OPENING: &[u8] = b"{\"seq\":";

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn checksum(word: u32, payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&word.to_le_bytes());
    crc.update(payload);
    crc.finalize()
}

/// Appends one event's record to `out`. `goes_on`: it is not the first of its append.
///
/// # Errors
/// The event cannot be written as JSON, or is larger than [`MAX_PAYLOAD`].
pub(crate) fn encode(event: &Event, goes_on: bool, out: &mut Vec<u8>) -> Result<(), String> {
    let payload =
        serde_json::to_vec(event).map_err(|e| format!("event {} cannot be written as JSON: {e}", event.seq))?;
    let length = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= MAX_PAYLOAD);
    let length = length.ok_or_else(|| format!("event {} has {} bytes; {MAX_PAYLOAD} fit", event.seq, payload.len()))?;
    let word = if goes_on { length | GOES_ON } else { length };
    out.extend_from_slice(&word.to_le_bytes());
    out.extend_from_slice(&checksum(word, &payload).to_le_bytes());
    out.extend_from_slice(&payload);
    Ok(())
}

/// A whole record: its payload, where the next begins, and whether it goes on with an append.
struct Whole<'a> {
    payload: &'a [u8],
    next: usize,
    goes_on: bool,
}

fn whole(bytes: &[u8], at: usize) -> Option<Whole<'_>> {
    let word_here = word(bytes, at)?;
    let crc = word(bytes, at + 4)?;
    let length = usize::try_from(word_here & !GOES_ON).ok().filter(|l| *l <= MAX_PAYLOAD)?;
    let payload = bytes.get(at + PREFIX..at + PREFIX + length)?;
    let sound = payload.starts_with(OPENING) && checksum(word_here, payload) == crc;
    sound.then_some(Whole { payload, next: at + PREFIX + length, goes_on: word_here & GOES_ON != 0 })
}

/// A record without its event being built.
pub(crate) struct Raw<'a> {
    pub(crate) seq: u64,
    pub(crate) time: Timestamp,
    pub(crate) payload: &'a [u8],
    pub(crate) next: usize,
}

/// The whole record at `at`, if there is one.
pub(crate) fn raw(bytes: &[u8], at: usize) -> Option<Raw<'_>> {
    let Whole { payload, next, .. } = whole(bytes, at)?;
    let (seq, rest) = digits(payload.strip_prefix(OPENING)?)?;
    // An event's number and time are its first two fields.
    let (time, _) = digits(rest.strip_prefix(b",\"time\":")?)?;
    Some(Raw { seq, time: Timestamp(i64::try_from(time).ok()?), payload, next })
}

fn digits(text: &[u8]) -> Option<(u64, &[u8])> {
    let length = text.iter().take_while(|b| b.is_ascii_digit()).count();
    Some((std::str::from_utf8(&text[..length]).ok()?.parse().ok()?, &text[length..]))
}

/// What a segment's bytes hold.
#[derive(Debug)]
pub(crate) struct Scan {
    /// Events of the longest valid prefix.
    pub(crate) events: Vec<Event>,
    /// Where that prefix ends.
    pub(crate) valid: usize,
    /// What is wrong behind it, if anything is there.
    pub(crate) fault: Option<Fault>,
}

/// What follows the valid prefix.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The rest of an append that a crash cut off.
    Torn,
    /// Something that was once whole; in words.
    Damaged(String),
}

/// Reads a segment whose events come after number `after`: one by one, or (`gaps`, after compaction) rising.
pub(crate) fn scan(bytes: &[u8], mut after: u64, gaps: bool) -> Scan {
    let mut events = Vec::new();
    if bytes.get(..HEADER.len()) != Some(&HEADER[..]) {
        let short = bytes.len() < HEADER.len() && HEADER.starts_with(bytes);
        let fault = match (short, bytes.get(..8) == Some(&HEADER[..8])) {
            (true, _) => Fault::Torn,
            (false, true) => Fault::Damaged("its format version is not 1; a newer build wrote it".to_owned()),
            (false, false) => Fault::Damaged("its first bytes are not a journal's".to_owned()),
        };
        return Scan { events, valid: 0, fault: Some(fault) };
    }
    let mut at = HEADER.len();
    while at < bytes.len() {
        let Some(record) = whole(bytes, at) else {
            let later = (at + 1..bytes.len()).find(|i| begins_an_append(bytes, *i));
            let fault = later.map_or(Fault::Torn, |i| {
                Fault::Damaged(format!("the record there does not match its checksum, and whole ones follow at {i}"))
            });
            return Scan { events, valid: at, fault: Some(fault) };
        };
        let event: Event = match serde_json::from_slice(record.payload) {
            Ok(event) => event,
            Err(error) => {
                let fault = Fault::Damaged(format!("the event there is not one this build knows: {error}"));
                return Scan { events, valid: at, fault: Some(fault) };
            }
        };
        if event.seq <= after || (!gaps && event.seq != after + 1) {
            let fault = Fault::Damaged(format!("event {} comes after event {after}", event.seq));
            return Scan { events, valid: at, fault: Some(fault) };
        }
        after = event.seq;
        events.push(event);
        at = record.next;
    }
    Scan { events, valid: at, fault: None }
}

fn begins_an_append(bytes: &[u8], at: usize) -> bool {
    // The opening is looked at first: it spares the checksum at nearly every place.
    bytes.get(at + PREFIX..).is_some_and(|rest| rest.starts_with(OPENING))
        && whole(bytes, at).is_some_and(|record| !record.goes_on)
}
