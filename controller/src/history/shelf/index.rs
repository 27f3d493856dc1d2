//! The index at the end of a finished file: read by binary search, never held in memory.
//!
//! After the frames come blocks, each checked and of one server: its name, its series, and where their samples are. Then
//! the directory, an entry of 24 bytes a block in order of the hash of the server's name: hash, place and length of the
//! block, and a checksum of these; then a footer of 68 bytes.

use std::io;

use skynet_model::series::SeriesKey;

use super::super::bytes::{Cursor, PREFIX, frame, put_frame, put_signed, put_text, put_varint};
use super::super::disk::Pages;
use super::super::seen::number_of as hash;
use super::frame::{Place, get_key, put_key};

const END: [u8; 8] = *b"SKYHEND\n";
const FOOTER: usize = 68;
const ENTRY: usize = 24;
/// A server's block of about so many bytes is continued in another.
const BLOCK: usize = 64 << 10;

/// What the footer of a finished file says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Footer {
    /// Where the blocks begin: behind the frames.
    frames: u64,
    directory: u64,
    blocks: u64,
    pub(in super::super) chunks: u64,
    pub(in super::super) first: i64,
    pub(in super::super) last: i64,
    /// When the file was finished, Unix milliseconds.
    pub(in super::super) closed: i64,
}

impl Footer {
    /// Where the frames end.
    pub(in super::super) fn frames_end(&self) -> u64 {
        self.frames
    }
}

/// A server's series in a file: places in order of key, then as they were written.
pub(in super::super) type Listing = Vec<(SeriesKey, Place)>;

/// Makes the index of a file of `length` bytes.
pub(in super::super) fn encode<'a>(
    servers: impl Iterator<Item = (&'a str, Listing)>,
    length: u64,
    mut footer: Footer,
) -> Vec<u8> {
    let mut out = Vec::new();
    let mut entries: Vec<(u64, u64, u32)> = Vec::new();
    let mut block = Vec::new();
    for (server, mut listing) in servers {
        // Stable: what was written first comes first.
        listing.sort_by(|a, b| a.0.cmp(&b.0));
        let mut rest = &listing[..];
        while !rest.is_empty() {
            block.clear();
            put_text(&mut block, server);
            let mut before = String::new();
            while let Some((key, _)) = rest.first().filter(|_| block.len() < BLOCK) {
                let count = rest.iter().take_while(|(other, _)| other == key).count();
                before = put_key(&mut block, &before, key);
                put_varint(&mut block, count as u64);
                let (mut time, mut at) = (0i64, 0i64);
                for (_, place) in &rest[..count] {
                    put_signed(&mut block, place.first.wrapping_sub(time));
                    put_varint(&mut block, u64::from(place.span));
                    put_varint(&mut block, u64::from(place.samples));
                    put_signed(&mut block, i64::from(place.times) - at);
                    put_signed(&mut block, i64::from(place.values) - i64::from(place.times));
                    (time, at) = (place.first, i64::from(place.times));
                }
                rest = &rest[count..];
            }
            entries.push((hash(server), length + out.len() as u64, (block.len() + PREFIX) as u32));
            put_frame(&mut out, &block);
        }
    }
    entries.sort_unstable();
    (footer.frames, footer.directory) = (length, length + out.len() as u64);
    footer.blocks = entries.len() as u64;
    for (hash, offset, length) in entries {
        let start = out.len();
        out.extend_from_slice(&hash.to_le_bytes());
        out.extend_from_slice(&offset.to_le_bytes());
        out.extend_from_slice(&length.to_le_bytes());
        let crc = crc32fast::hash(&out[start..]);
        out.extend_from_slice(&crc.to_le_bytes());
    }
    let start = out.len();
    for word in [footer.frames, footer.directory, footer.blocks, footer.chunks] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    for time in [footer.first, footer.last, footer.closed] {
        out.extend_from_slice(&time.to_le_bytes());
    }
    let crc = crc32fast::hash(&out[start..]);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&END);
    out
}

/// The footer of a finished file; `None` if it is damaged.
///
/// # Errors
/// The system's.
pub(in super::super) fn footer(file: &dyn Pages) -> io::Result<Option<Footer>> {
    let length = file.length()?;
    let Some(at) = length.checked_sub(FOOTER as u64) else { return Ok(None) };
    let bytes = file.read_at(at, FOOTER)?;
    let read = || {
        let (body, rest) = bytes.split_at_checked(FOOTER - 12)?;
        let mut cursor = Cursor::new(rest);
        let whole = cursor.u32()? == crc32fast::hash(body) && cursor.rest() == END;
        let mut cursor = Cursor::new(body);
        let footer = Footer {
            frames: cursor.u64()?,
            directory: cursor.u64()?,
            blocks: cursor.u64()?,
            chunks: cursor.u64()?,
            first: cursor.i64()?,
            last: cursor.i64()?,
            closed: cursor.i64()?,
        };
        let fits = footer.blocks.checked_mul(ENTRY as u64)?.checked_add(footer.directory)? == at;
        (whole && fits).then_some(footer)
    };
    Ok(read())
}

/// Why an index gave no answer.
#[derive(Debug)]
pub(in super::super) enum Trouble {
    /// The system's.
    Io(io::Error),
    /// A part of the index is damaged.
    Damaged,
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A server's series in a finished file that `wanted` wants.
///
/// # Errors
/// [`Trouble`]
pub(in super::super) fn find(
    file: &dyn Pages,
    footer: &Footer,
    server: &str,
    wanted: &dyn Fn(&SeriesKey) -> bool,
) -> Result<Listing, Trouble> {
    let entry = |at: u64| -> Result<(u64, u64, usize), Trouble> {
        let bytes = file.read_at(footer.directory + at * ENTRY as u64, ENTRY)?;
        let mut cursor = Cursor::new(&bytes);
        let read = (|| Some((cursor.u64()?, cursor.u64()?, cursor.u32()?, cursor.u32()?)))();
        let (hash, offset, length, crc) = read.ok_or(Trouble::Damaged)?;
        if crc32fast::hash(&bytes[..ENTRY - 4]) != crc {
            return Err(Trouble::Damaged);
        }
        Ok((hash, offset, length as usize))
    };
    let wanted_hash = hash(server);
    let (mut low, mut high) = (0, footer.blocks);
    while low < high {
        let middle = low + (high - low) / 2;
        if entry(middle)?.0 < wanted_hash { low = middle + 1 } else { high = middle }
    }
    let mut listing = Listing::new();
    while low < footer.blocks {
        let (hash, offset, length) = entry(low)?;
        if hash != wanted_hash {
            break;
        }
        let bytes = file.read_at(offset, length)?;
        let block = frame(&bytes, 0).ok_or(Trouble::Damaged)?;
        block_of(block.payload, server, wanted, &mut listing).ok_or(Trouble::Damaged)?;
        low += 1;
    }
    Ok(listing)
}

fn block_of(payload: &[u8], server: &str, wanted: &dyn Fn(&SeriesKey) -> bool, listing: &mut Listing) -> Option<()> {
    let mut cursor = Cursor::new(payload);
    // Another server's name may have the same hash.
    if cursor.text()? != server {
        return Some(());
    }
    let mut before = String::new();
    while !cursor.is_empty() {
        let key = get_key(&mut cursor, &mut before)?;
        let want = wanted(&key);
        let (mut time, mut at) = (0i64, 0i64);
        for _ in 0..cursor.count(1)? {
            let first = time.wrapping_add(cursor.signed()?);
            let span = u32::try_from(cursor.varint()?).ok()?;
            let samples = u32::try_from(cursor.varint()?).ok()?;
            let times = at.checked_add(cursor.signed()?)?;
            let values = u32::try_from(times.checked_add(cursor.signed()?)?).ok()?;
            (time, at) = (first, times);
            if want {
                let times = u32::try_from(times).ok()?;
                listing.push((key.clone(), Place { first, span, samples, times, values }));
            }
        }
    }
    Some(())
}
