//! Many samples of one series, packed: times, and values.
//!
//! Values of real servers are seldom any number: they stay, they are whole (bytes, counters), or they are one whole number
//! divided by another (shares of jiffies, counts over milliseconds, sizes over a total). So a column of values is one of:
//! one value; numerators over denominators, each of them whole (a denominator of 1 is a whole number), with exceptions;
//! or, where that does not fit, the floats as they are. Whole numbers and floats are packed with `pco`.
//! A value always comes back bit by bit. What must never enter: names, files.

use pco::data_types::Number;
use pco::wrapped::{FileCompressor, FileDecompressor};
use pco::{ChunkConfig, DeltaSpec, ModeSpec};

use super::bytes::{Cursor, put_signed, put_varint};
use super::fraction::{Finder, Fraction};

/// Most samples of one column.
pub(super) const MOST: usize = 8192;

/// More effort costs time and gains hardly a byte (measured).
const LEVEL: usize = 4;

const SAME: u8 = 0;
const FLOATS: u8 = 1;
const FRACTIONS: u8 = 2;
/// One minus a fraction: a share that is used, taken from one that is free.
const COMPLEMENTS: u8 = 3;

/// A column cannot be packed; nothing known leads here.
#[derive(Debug, thiserror::Error)]
#[error("cannot pack samples: {0}")]
pub(super) struct PackError(String);

fn pack<T: Number>(values: &[T], mode: ModeSpec, delta: DeltaSpec, out: &mut Vec<u8>) -> Result<(), PackError> {
    let config = ChunkConfig::default().with_compression_level(LEVEL).with_mode_spec(mode).with_delta_spec(delta);
    let mut write = || {
        let file = FileCompressor::default();
        file.write_header(&mut *out)?;
        let mut chunk = file.chunk_compressor(values, &config)?;
        chunk.write_meta(&mut *out)?;
        chunk.write_page(0, &mut *out).map(|_| ())
    };
    write().map_err(|error: pco::errors::PcoError| PackError(error.to_string()))
}

fn unpack<T: Number + Default>(bytes: &[u8], count: usize) -> Option<Vec<T>> {
    let (file, rest) = FileDecompressor::new(bytes).ok()?;
    let (mut chunk, rest) = file.chunk_decompressor::<T, _>(rest).ok()?;
    let mut page = chunk.page_decompressor(rest, count).ok()?;
    let mut values = vec![T::default(); count];
    let progress = page.read(&mut values).ok()?;
    (progress.n_processed == count).then_some(values)
}

/// Packs whole numbers: their common factor, and what is left of them or the differences of that, whichever is smaller.
fn pack_whole(values: &[i64], out: &mut Vec<u8>) -> Result<(), PackError> {
    let factor = common_factor(values);
    put_varint(out, factor as u64);
    let divided: Vec<i64>;
    let values = if factor > 1 {
        divided = values.iter().map(|n| n / factor).collect();
        &divided
    } else {
        values
    };
    let bits = |n: i64| u64::from(64 - ((n << 1) ^ (n >> 63)).leading_zeros());
    let least = values.iter().copied().min().unwrap_or(0);
    let plain: u64 = values.iter().map(|n| bits(n.wrapping_sub(least)).saturating_sub(1)).sum();
    let steps: u64 = values.windows(2).map(|pair| bits(pair[1].wrapping_sub(pair[0]))).sum();
    let delta = if steps < plain { DeltaSpec::TryConsecutive(1) } else { DeltaSpec::NoOp };
    pack(values, ModeSpec::Classic, delta, out)
}

fn unpack_whole(bytes: &[u8], count: usize) -> Option<Vec<i64>> {
    let mut cursor = Cursor::new(bytes);
    let factor = cursor.varint()? as i64;
    let mut values: Vec<i64> = unpack(cursor.rest(), count)?;
    if factor > 1 {
        values.iter_mut().for_each(|n| *n = n.wrapping_mul(factor));
    }
    Some(values)
}

/// Sizes are multiples of pages, rates of a thousand milliseconds.
pub(super) fn common_factor(values: &[i64]) -> i64 {
    let all = values.iter().fold(0, |all, n| all | n);
    // Equal numbers take nothing anyway.
    if values.iter().all(|n| Some(n) == values.first()) {
        return 1;
    }
    let zeros = all.trailing_zeros().min(40);
    let mut odd = 0u64;
    for n in values {
        let (mut a, mut b) = (odd, (n >> zeros).unsigned_abs());
        while b != 0 {
            (a, b) = (b, a % b);
        }
        odd = a;
        if odd == 1 {
            break;
        }
    }
    i64::try_from(odd).ok().and_then(|odd| odd.checked_mul(1 << zeros)).map_or(1, |factor| factor.max(1))
}

/// Packs times, which should rise.
pub(super) fn pack_times(times: &[i64]) -> Result<Vec<u8>, PackError> {
    let mut out = Vec::new();
    let Some((first, rest)) = times.split_first() else { return Ok(out) };
    put_signed(&mut out, *first);
    let step = rest.first().map_or(0, |second| second.wrapping_sub(*first));
    put_signed(&mut out, step);
    let steady = times.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) == step);
    if !steady {
        pack(times, ModeSpec::Classic, DeltaSpec::TryConsecutive(1), &mut out)?;
    }
    Ok(out)
}

/// Unpacks `count` times.
pub(super) fn unpack_times(bytes: &[u8], count: usize) -> Option<Vec<i64>> {
    if count == 0 || count > MOST {
        return None;
    }
    let mut cursor = Cursor::new(bytes);
    let (first, step) = (cursor.signed()?, cursor.signed()?);
    if cursor.is_empty() {
        return Some((0..count as i64).map(|i| first.wrapping_add(step.wrapping_mul(i))).collect());
    }
    unpack(cursor.rest(), count)
}

/// Packs values.
pub(super) fn pack_values(values: &[f64]) -> Result<Vec<u8>, PackError> {
    let mut out = Vec::new();
    let Some(first) = values.first() else { return Ok(out) };
    if values.iter().all(|value| value.to_bits() == first.to_bits()) {
        out.push(SAME);
        out.extend_from_slice(&first.to_bits().to_le_bytes());
        return Ok(out);
    }
    for (kind, complement) in [(FRACTIONS, false), (COMPLEMENTS, true)] {
        if let Some(fractions) = Fractions::of(values, complement) {
            out.push(kind);
            fractions.pack(&mut out)?;
            return Ok(out);
        }
    }
    out.push(FLOATS);
    let steps: f64 = values.windows(2).map(|pair| (pair[1] - pair[0]).abs()).sum();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let spread: f64 = values.iter().map(|value| (value - mean).abs()).sum();
    let delta = if steps < spread { DeltaSpec::TryConsecutive(1) } else { DeltaSpec::NoOp };
    pack(values, ModeSpec::Auto, delta, &mut out)?;
    Ok(out)
}

/// Unpacks `count` values.
pub(super) fn unpack_values(bytes: &[u8], count: usize) -> Option<Vec<f64>> {
    if count == 0 || count > MOST {
        return None;
    }
    let mut cursor = Cursor::new(bytes);
    match cursor.u8()? {
        SAME => Some(vec![f64::from_bits(cursor.u64()?); count]),
        FLOATS => unpack(cursor.rest(), count),
        FRACTIONS => Fractions::unpack(&mut cursor, count, false),
        COMPLEMENTS => Fractions::unpack(&mut cursor, count, true),
        _ => None,
    }
}

/// Values as fractions.
struct Fractions {
    numerators: Vec<i64>,
    denominators: Vec<i64>,
    /// Values that are no fraction, and where they stand.
    odd: Vec<(usize, u64)>,
}

impl Fractions {
    fn of(values: &[f64], complement: bool) -> Option<Self> {
        let most = values.len() / 16;
        let mut finder = Finder::new(complement);
        let (mut numerators, mut denominators, mut odd) = (Vec::new(), Vec::new(), Vec::new());
        numerators.reserve_exact(values.len());
        denominators.reserve_exact(values.len());
        for (at, value) in values.iter().enumerate() {
            if finder.vague() > 4 + at / 8 {
                return None;
            }
            let Fraction { numerator, denominator } = match finder.find(*value) {
                Some(fraction) => fraction,
                None => {
                    // The first value tells most columns that are none.
                    if odd.len() >= most.min(1 + at / 16) {
                        return None;
                    }
                    odd.push((at, value.to_bits()));
                    finder.last()
                }
            };
            numerators.push(numerator);
            denominators.push(denominator);
        }
        Some(Self { numerators, denominators, odd })
    }

    fn pack(&self, out: &mut Vec<u8>) -> Result<(), PackError> {
        put_varint(out, self.odd.len() as u64);
        let mut before = 0;
        for (at, bits) in &self.odd {
            put_varint(out, (at - before) as u64);
            out.extend_from_slice(&bits.to_le_bytes());
            before = *at;
        }
        let one = self.denominators.first().filter(|first| self.denominators.iter().all(|d| d == *first));
        match one {
            // Denominators are not 0.
            Some(one) => put_varint(out, *one as u64),
            None => {
                out.push(0);
                let mut packed = Vec::new();
                pack_whole(&self.denominators, &mut packed)?;
                put_varint(out, packed.len() as u64);
                out.extend_from_slice(&packed);
            }
        }
        pack_whole(&self.numerators, out)
    }

    fn unpack(cursor: &mut Cursor<'_>, count: usize, complement: bool) -> Option<Vec<f64>> {
        let mut at = 0usize;
        let odd: Option<Vec<(usize, u64)>> = (0..cursor.count(1)?)
            .map(|_| {
                at = at.checked_add(usize::try_from(cursor.varint()?).ok()?)?;
                Some((at, cursor.u64()?))
            })
            .collect();
        let one = cursor.varint()? as i64;
        let denominators = match one {
            0 => {
                let length = cursor.count(1)?;
                unpack_whole(cursor.take(length)?, count)?
            }
            one => vec![one; count],
        };
        let numerators = unpack_whole(cursor.rest(), count)?;
        let whole = numerators.iter().zip(&denominators);
        let mut values: Vec<f64> =
            whole.map(|(n, d)| Fraction { numerator: *n, denominator: *d }.value(complement)).collect();
        for (at, bits) in odd? {
            *values.get_mut(at)? = f64::from_bits(bits);
        }
        Some(values)
    }
}

#[cfg(test)]
mod tests;
