//! Chunks in packs: several chunks of a server in one field, so that what Redis needs for each field weighs little.
//!
//! A server's chunks that begin in the same hour lie in one hash, which ends by itself. A server's series have short
//! numbers, kept in a hash beside it; chunks that are sent together are packed in order of these numbers. A field is
//! named `LOWEST.HIGHEST.OFFSET`: the lowest and the highest number in it, and the offset (ms into the hour) of its first
//! chunk. A reader of one series asks for the fields around its number.
//!
//! A pack is the byte 1 (its version), then for each chunk as LEB128 numbers: series number, offset of its first sample
//! into the hour in ms, from its first to its last sample in ms, samples, bytes; and the chunk's bytes.

use std::collections::{BTreeMap, HashMap};

use skynet_model::name::ServerId;
use skynet_model::series::SeriesKey;
use skynet_model::time::{Span, Timestamp};

use crate::history::Sealed;
use crate::journal::{Call, Connection, RedisFault, Reply};
use crate::store::Keys;

/// Bytes of a pack: its allocator gives Redis memory in few sizes, of which 8 KiB is one, less what it puts before it.
const PACK: usize = 8192 - 16;
/// Most bytes that stand before a chunk in a pack.
const BEFORE: usize = 5 + 5 + 5 + 5 + 5;
const HOUR: i64 = 3_600_000;
const VERSION: u8 = 1;

/// What is known of the series' numbers.
#[derive(Debug, Default)]
pub struct Packs {
    servers: HashMap<ServerId, Numbers>,
}

/// The numbers of a server's series.
#[derive(Debug, Default)]
struct Numbers {
    known: HashMap<SeriesKey, u32>,
    next: u32,
}

/// A chunk in a pack, with its series' number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// The series' number.
    pub number: u32,
    /// When its first sample was taken.
    pub first: Timestamp,
    /// When its last sample was taken.
    pub last: Timestamp,
    /// How many samples it holds.
    pub samples: u32,
    /// The chunk.
    pub bytes: Vec<u8>,
}

/// A chunk and its series' number.
type Numbered<'a> = (u32, &'a Sealed);

fn put(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn hour_of(time: Timestamp) -> i64 {
    time.0.div_euclid(HOUR)
}

fn encode<'a>(hour: i64, chunks: impl IntoIterator<Item = Numbered<'a>>) -> Vec<u8> {
    let mut out = vec![VERSION];
    for (number, chunk) in chunks {
        put(u64::from(number), &mut out);
        put((chunk.first.0 - hour * HOUR).unsigned_abs(), &mut out);
        put(chunk.last.since(chunk.first).0.unsigned_abs(), &mut out);
        put(u64::from(chunk.samples), &mut out);
        put(chunk.bytes.len() as u64, &mut out);
        out.extend_from_slice(&chunk.bytes);
    }
    out
}

/// The chunks of a pack of that hour.
///
/// # Errors
/// What is wrong with it, in words.
fn decode(hour: i64, pack: &[u8]) -> Result<Vec<Packed>, String> {
    let (version, mut rest) = pack.split_first().ok_or("it is empty")?;
    if *version != VERSION {
        return Err(format!("it is of version {version}; this build knows {VERSION}"));
    }
    let mut found = Vec::new();
    while !rest.is_empty() {
        let mut next = || take(&mut rest).ok_or_else(|| "it ends within a number".to_owned());
        let (number, offset, length, samples, bytes) = (next()?, next()?, next()?, next()?, next()?);
        let split = usize::try_from(bytes).ok().filter(|bytes| *bytes <= rest.len());
        let (chunk, after) = rest.split_at(split.ok_or("it ends within a chunk")?);
        rest = after;
        let small = |number: u64| u32::try_from(number).map_err(|_| "a number in it is too large".to_owned());
        let ms = |number: u64| i64::from(u32::try_from(number).unwrap_or(u32::MAX));
        let first = Timestamp(hour.saturating_mul(HOUR).saturating_add(ms(offset)));
        let last = first.plus(Span(ms(length)));
        found.push(Packed { number: small(number)?, first, last, samples: small(samples)?, bytes: chunk.to_vec() });
    }
    Ok(found)
}

/// Cuts chunks into packs that are full, or hold one chunk.
fn packed<'a, 'b>(mut chunks: &'b [Numbered<'a>]) -> Vec<&'b [Numbered<'a>]> {
    let mut packs = Vec::new();
    while !chunks.is_empty() {
        let mut left = PACK;
        let fits = |(_, chunk): &&Numbered<'_>| {
            let needed = BEFORE + chunk.bytes.len();
            let room = needed <= left;
            left = left.saturating_sub(needed);
            room
        };
        let count = chunks.iter().take_while(fits).count().max(1);
        let (pack, rest) = chunks.split_at(count);
        packs.push(pack);
        chunks = rest;
    }
    packs
}

/// Whether a field of that name may hold a series of that number.
fn around(name: &str, number: u32) -> bool {
    let mut parts = name.split('.').map(|part| part.parse::<u32>());
    let (Some(Ok(lowest)), Some(Ok(highest))) = (parts.next(), parts.next()) else { return false };
    (lowest..=highest).contains(&number)
}

async fn numbers(connection: &mut Connection, key: &str) -> Result<Numbers, RedisFault> {
    let reply = connection.call(&Call::new("HGETALL").arg(key)).await?;
    let known = reply.list().chunks(2).filter_map(|pair| {
        let [series, number] = pair else { return None };
        Some((series.text()?.parse().ok()?, number.text()?.parse().ok()?))
    });
    let known: HashMap<SeriesKey, u32> = known.collect();
    let next = known.values().max().map_or(0, |highest| highest.saturating_add(1));
    Ok(Numbers { known, next })
}

impl Packs {
    /// The commands that write `chunks`, which stay for `keep` after the end of their hour. Series get their numbers.
    ///
    /// # Errors
    /// [`RedisFault`]; the chunks may be given again.
    pub async fn calls(
        &mut self,
        connection: &mut Connection,
        keys: &Keys,
        chunks: &[Sealed],
        keep: Span,
    ) -> Result<Vec<Call>, RedisFault> {
        let mut calls = Vec::new();
        let mut grouped: BTreeMap<(&ServerId, i64), Vec<Numbered<'_>>> = BTreeMap::new();
        for chunk in chunks {
            let key = keys.series(&chunk.server);
            if !self.servers.contains_key(&chunk.server) {
                self.servers.insert(chunk.server.clone(), numbers(connection, &key).await?);
            }
            let Some(Numbers { known, next }) = self.servers.get_mut(&chunk.server) else { continue };
            let number = match known.get(&chunk.series) {
                Some(number) => *number,
                None => {
                    let number = *next;
                    *next = next.saturating_add(1);
                    known.insert(chunk.series.clone(), number);
                    calls.push(Call::new("HSET").arg(&key).arg(chunk.series.to_string()).number(u64::from(number)));
                    number
                }
            };
            grouped.entry((&chunk.server, hour_of(chunk.first))).or_default().push((number, chunk));
        }
        for ((server, hour), mut chunks) in grouped {
            let key = keys.chunks(server, hour);
            chunks.sort_by_key(|(number, chunk)| (*number, chunk.first));
            for pack in packed(&chunks) {
                let (Some((lowest, first)), Some((highest, _))) = (pack.first(), pack.last()) else { continue };
                let field = format!("{lowest}.{highest}.{}", first.first.0 - hour * HOUR);
                calls.push(Call::new("HSET").arg(&key).arg(field).arg(encode(hour, pack.iter().copied())));
            }
            let until = Timestamp((hour + 1) * HOUR).plus(keep).0 / 1000;
            calls.push(Call::new("EXPIREAT").arg(&key).arg(until.to_string()));
        }
        Ok(calls)
    }
}

/// The chunks of one series that begin in an hour (since 1970), in order of time, each once.
///
/// # Errors
/// [`RedisFault`]. A pack that cannot be read is passed over with a warning.
pub async fn read_hour(
    connection: &mut Connection,
    keys: &Keys,
    server: &ServerId,
    series: &SeriesKey,
    hour: i64,
) -> Result<Vec<Packed>, RedisFault> {
    let call = Call::new("HGET").arg(keys.series(server)).arg(series.to_string());
    let Some(number) = connection.call(&call).await?.int().and_then(|n| u32::try_from(n).ok()) else {
        return Ok(Vec::new());
    };
    let key = keys.chunks(server, hour);
    let names = connection.call(&Call::new("HKEYS").arg(&key)).await?;
    let names: Vec<&str> = names.list().iter().filter_map(Reply::text).filter(|name| around(name, number)).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let call = names.iter().fold(Call::new("HMGET").arg(&key), |call, name| call.arg(name));
    let packs = connection.call(&call).await?;
    let mut found = Vec::new();
    for (name, pack) in names.iter().zip(packs.list()) {
        match decode(hour, pack.bytes().unwrap_or_default()) {
            Ok(chunks) => found.extend(chunks.into_iter().filter(|chunk| chunk.number == number)),
            Err(error) => tracing::warn!("the pack {name} of {key} in Redis cannot be read: {error}"),
        }
    }
    found.sort_by_key(|chunk| chunk.first);
    found.dedup_by_key(|chunk| chunk.first);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn chunk(series: &str, first: i64, bytes: &[u8]) -> Sealed {
        Sealed {
            server: ServerId::new("web1").unwrap(),
            series: series.parse().unwrap(),
            first: Timestamp(first),
            last: Timestamp(first + 359_000),
            samples: 360,
            bytes: Arc::from(bytes),
        }
    }

    /// Laid down by hand: hour 500,000; series 3 at 1 s into it, series 300 at 70 s.
    const GOLDEN: &[u8] = include_bytes!("../golden/pack-1.bin");

    #[test]
    fn a_pack_of_version_1_loads_for_ever() {
        let hour = 500_000;
        let chunks = [chunk("a", hour * HOUR + 1_000, b"one"), chunk("b", hour * HOUR + 70_000, b"")];
        assert_eq!(encode(hour, [(3, &chunks[0]), (300, &chunks[1])]), GOLDEN);
        let found = decode(hour, GOLDEN).unwrap();
        let first = Timestamp(hour * HOUR + 1_000);
        let last = Timestamp(first.0 + 359_000);
        assert_eq!(found[0], Packed { number: 3, first, last, samples: 360, bytes: b"one".to_vec() });
        assert_eq!((found[1].number, found[1].bytes.len(), found.len()), (300, 0, 2));
    }

    #[test]
    fn packs_are_full_and_none_is_too_large_for_its_chunk() {
        let chunks: Vec<Sealed> = (0..100).map(|n| chunk("a", n, &[0; 330])).collect();
        let numbered: Vec<Numbered<'_>> = (0..).zip(&chunks).collect();
        let packs = packed(&numbered);
        assert_eq!(packs.iter().map(|pack| pack.len()).sum::<usize>(), 100);
        for pack in &packs[..packs.len() - 1] {
            let size = encode(0, pack.iter().copied()).len();
            assert!((PACK - 2 * 355..=PACK).contains(&size), "{size}");
        }
        let large = chunk("a", 0, &[0; 10_000]);
        assert_eq!(packed(&[(0, &large), (1, &large)]).len(), 2);
        assert!(around("3.7.100", 3) && around("3.7.100", 7) && !around("3.7.100", 8) && !around("x", 3));
    }

    #[test]
    fn a_damaged_pack_is_an_error_and_never_a_panic() {
        for length in 0..GOLDEN.len() {
            let _ = decode(500_000, &GOLDEN[..length]);
        }
        for at in 0..GOLDEN.len() {
            for bit in 0..8 {
                let mut bytes = GOLDEN.to_vec();
                bytes[at] ^= 1 << bit;
                let _ = decode(i64::MAX, &bytes);
            }
        }
        assert!(decode(0, &[]).unwrap_err().contains("empty"));
        assert!(decode(0, &[2]).unwrap_err().contains("version 2"));
        assert!(decode(0, &GOLDEN[..GOLDEN.len() - 1]).unwrap_err().contains("within"));
        assert!(decode(0, &[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_err());
    }
}
