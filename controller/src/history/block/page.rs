//! A page of rows that is full, turned over: column by column, so that a value costs the bits its whole number needs.
//!
//! Each column is one value; or numerators over denominators (see `fraction`), each as the difference to their least or to
//! the one before, with as many bits as the greatest needs; or, where that is not smaller, what changes from value to
//! value, as in a row. This is cheaper than what files use, and undone when the block is packed.

use super::super::bytes::{Cursor, put_signed, put_varint};
use super::super::column::common_factor;
use super::super::fraction::{Finder, Fraction};
use super::{bits, put_bits};

/// What a column is. Also the hint that is kept for the next page's.
const UNKNOWN: u8 = 0;
const SAME: u8 = 1;
const CHANGES: u8 = 2;
const FRACTIONS: u8 = 3;
const COMPLEMENTS: u8 = 4;

/// Packs the columns of a page; `values` column by column. `hints` has what each column was before.
pub(super) fn pack(times: &[i64], before: i64, values: &[u64], hints: &mut [u8], out: &mut Vec<u8>) {
    let rows = times.len();
    put_varint(out, rows as u64);
    let first = times.first().copied().unwrap_or(before);
    put_signed(out, first.wrapping_sub(before));
    let steps: Vec<i64> = times.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    put_numbers(out, &steps);
    let mut numbers = Vec::with_capacity(2 * rows);
    for (column, hint) in values.chunks(rows.max(1)).zip(hints) {
        let start = out.len();
        let same = column.iter().all(|bits| *bits == column[0]);
        if same {
            out.push(SAME);
            put_changes(out, &column[..1]);
            continue;
        }
        let tried: &[u8] = match *hint {
            UNKNOWN => &[FRACTIONS, COMPLEMENTS],
            FRACTIONS => &[FRACTIONS],
            COMPLEMENTS => &[COMPLEMENTS],
            _ => &[],
        };
        *hint = CHANGES;
        for kind in tried {
            numbers.clear();
            if fractions(column, *kind == COMPLEMENTS, &mut numbers) {
                *hint = *kind;
                out.push(*kind);
                let (numerators, denominators) = numbers.split_at(rows);
                put_numbers(out, numerators);
                put_numbers(out, denominators);
                break;
            }
        }
        // A column that hardly changes is smaller as its changes.
        let size = out.len() - start;
        if size == 0 || size > rows / 8 + 4 {
            let end = out.len();
            out.push(CHANGES);
            put_changes(out, column);
            if size > 0 && out.len() - end >= size {
                out.truncate(end);
            } else {
                out.drain(start..end);
            }
        }
    }
}

/// Numerators, then denominators; whether all values are fractions.
fn fractions(column: &[u64], complement: bool, numbers: &mut Vec<i64>) -> bool {
    let mut finder = Finder::new(complement);
    let mut denominators = Vec::with_capacity(column.len());
    for (at, bits) in column.iter().enumerate() {
        if finder.vague() > 2 + at / 8 {
            return false;
        }
        let Some(found) = finder.find(f64::from_bits(*bits)) else { return false };
        numbers.push(found.numerator);
        denominators.push(found.denominator);
    }
    numbers.extend(denominators);
    true
}

/// Whole numbers: common factor; whether differences; least; bits of each; and these, packed.
fn put_numbers(out: &mut Vec<u8>, numbers: &[i64]) {
    let Some(first) = numbers.first() else { return };
    let factor = common_factor(numbers);
    let divided = || numbers.iter().map(|n| if factor > 1 { n / factor } else { *n });
    let (least, most) = divided().fold((i64::MAX, i64::MIN), |(least, most), n| (least.min(n), most.max(n)));
    let mut before = first / factor;
    let (mut down, mut up) = (i64::MAX, i64::MIN);
    for n in divided().skip(1) {
        let step = n.wrapping_sub(before);
        (down, up, before) = (down.min(step), up.max(step), n);
    }
    let plain = width(least, most);
    let stepped = if numbers.len() > 1 { width(down, up) } else { 0 };
    // A first value of its own is worth it only for many.
    let steps = (stepped as usize) * (numbers.len() - 1) + 40 < plain as usize * numbers.len();
    put_varint(out, factor as u64);
    let (least, width) = if steps { (down, stepped) } else { (least, plain) };
    out.push((width as u8) << 1 | u8::from(steps));
    let mut bits = Bits::default();
    let mut before = first / factor;
    if steps {
        put_signed(out, before);
        put_signed(out, least);
        for n in divided().skip(1) {
            bits.put(out, n.wrapping_sub(before).wrapping_sub(least) as u64, width);
            before = n;
        }
    } else {
        put_signed(out, least);
        divided().for_each(|n| bits.put(out, n.wrapping_sub(least) as u64, width));
    }
    bits.end(out);
}

fn get_numbers(cursor: &mut Cursor<'_>, count: usize) -> Option<Vec<i64>> {
    if count == 0 {
        return Some(Vec::new());
    }
    let factor = cursor.varint()? as i64;
    let shape = cursor.u8()?;
    let (width, steps) = (u32::from(shape >> 1), shape & 1 == 1);
    if width > 64 {
        return None;
    }
    let mut numbers = Vec::with_capacity(count);
    let mut value = 0i64;
    if steps {
        value = cursor.signed()?;
        numbers.push(value.wrapping_mul(factor));
    }
    let least = cursor.signed()?;
    let left = count - numbers.len();
    let mut packed = Packed { bytes: cursor.take((left * width as usize).div_ceil(8))?, at: 0 };
    for _ in 0..left {
        let n = least.wrapping_add(packed.get(width) as i64);
        value = if steps { value.wrapping_add(n) } else { n };
        numbers.push(value.wrapping_mul(factor));
    }
    Some(numbers)
}

/// Bits that the distance of two numbers takes.
fn width(least: i64, most: i64) -> u32 {
    64 - (most.wrapping_sub(least) as u64).leading_zeros()
}

/// Bits on their way into bytes, lowest first.
#[derive(Default)]
struct Bits {
    held: u128,
    count: u32,
}

impl Bits {
    fn put(&mut self, out: &mut Vec<u8>, value: u64, width: u32) {
        self.held |= u128::from(value) << self.count;
        self.count += width;
        if self.count >= 64 {
            out.extend_from_slice(&(self.held as u64).to_le_bytes());
            self.held >>= 64;
            self.count -= 64;
        }
    }

    fn end(self, out: &mut Vec<u8>) {
        let bytes = self.held.to_le_bytes();
        out.extend_from_slice(&bytes[..self.count.div_ceil(8) as usize]);
    }
}

struct Packed<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Packed<'_> {
    fn get(&mut self, width: u32) -> u64 {
        let (byte, shift) = (self.at / 8, self.at % 8);
        self.at += width as usize;
        let mut held = [0u8; 16];
        let rest = self.bytes.get(byte..).unwrap_or(&[]);
        let n = rest.len().min(9);
        held[..n].copy_from_slice(&rest[..n]);
        let value = (u128::from_le_bytes(held) >> shift) as u64;
        if width >= 64 { value } else { value & ((1 << width) - 1) }
    }
}

/// One bit a value that says whether it changed, and what did.
fn put_changes(out: &mut Vec<u8>, column: &[u64]) {
    let map = out.len();
    out.resize(map + column.len().div_ceil(8), 0);
    let mut before = 0;
    for (i, value) in column.iter().enumerate() {
        if *value != before {
            out[map + i / 8] |= 1 << (i % 8);
            put_bits(out, value ^ before);
            before = *value;
        }
    }
}

fn get_changes(cursor: &mut Cursor<'_>, count: usize, values: &mut Vec<u64>) -> Option<()> {
    let map = cursor.take(count.div_ceil(8))?;
    let mut value = 0;
    for i in 0..count {
        if map.get(i / 8)? & (1 << (i % 8)) != 0 {
            value ^= bits(cursor)?;
        }
        values.push(value);
    }
    Some(())
}

/// A page's times, and its values column by column.
pub(super) fn unpack(
    cursor: &mut Cursor<'_>,
    before: i64,
    columns: usize,
    most: usize,
) -> Option<(Vec<i64>, Vec<u64>)> {
    let rows = usize::try_from(cursor.varint()?).ok().filter(|rows| (1..=most).contains(rows))?;
    let mut time = before.wrapping_add(cursor.signed()?);
    let mut times = vec![time];
    for step in get_numbers(cursor, rows - 1)? {
        time = time.wrapping_add(step);
        times.push(time);
    }
    let mut values = Vec::with_capacity(rows * columns);
    for _ in 0..columns {
        match cursor.u8()? {
            SAME => {
                let start = values.len();
                get_changes(cursor, 1, &mut values)?;
                values.resize(start + rows, *values.get(start)?);
            }
            CHANGES => get_changes(cursor, rows, &mut values)?,
            kind @ (FRACTIONS | COMPLEMENTS) => {
                let (numerators, denominators) = (get_numbers(cursor, rows)?, get_numbers(cursor, rows)?);
                let pairs = numerators.into_iter().zip(denominators);
                let value = |(numerator, denominator)| Fraction { numerator, denominator }.value(kind == COMPLEMENTS);
                values.extend(pairs.map(|pair| value(pair).to_bits()));
            }
            _ => return None,
        }
    }
    cursor.is_empty().then_some((times, values))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(times: &[i64], columns: &[Vec<f64>], hints: &mut [u8]) -> usize {
        let values: Vec<u64> = columns.iter().flatten().map(|v| v.to_bits()).collect();
        let mut out = Vec::new();
        pack(times, 77, &values, hints, &mut out);
        let back = unpack(&mut Cursor::new(&out), 77, columns.len(), 60).unwrap();
        assert_eq!(back, (times.to_vec(), values));
        for cut in 0..out.len() {
            assert!(unpack(&mut Cursor::new(&out[..cut]), 77, columns.len(), 60).is_none(), "cut at {cut}");
        }
        out.len()
    }

    #[test]
    fn columns_of_any_kind_come_back_bit_by_bit() {
        let odd = [0.0, -0.0, 1.0, -0.5, f64::MIN_POSITIVE, f64::MAX, f64::MIN, 0.1, 1e300, 5e-324, 9e15, -9e15];
        for rows in [1usize, 2, 3, 36, 60] {
            let times: Vec<i64> = (0..rows as i64).map(|i| 1_700_000_000_000 + i * 1000 + i * 7 % 3).collect();
            let column = |f: &dyn Fn(usize) -> f64| (0..rows).map(f).collect::<Vec<f64>>();
            let columns = [
                column(&|_| -0.0),
                column(&|i| odd[i % odd.len()]),
                column(&|i| (i as f64).sqrt()),
                column(&|i| (i * i * 4096) as f64),
                column(&|i| (i * 7919 % 200) as f64 / (199 + i % 3) as f64),
                column(&|i| 1.0 - (i as f64 + 5e6) / 15_941_851.0),
                column(&|i| if i == 17 { 1e9 } else { 0.0 }),
                column(&|i| if i % 2 == 0 { 9e15 } else { -9e15 }),
            ];
            let mut hints = [UNKNOWN; 8];
            // The second time the hints tell.
            let sizes = [(); 2].map(|()| round_trip(&times, &columns, &mut hints));
            if rows > 4 {
                assert_eq!(hints, [UNKNOWN, CHANGES, CHANGES, FRACTIONS, FRACTIONS, COMPLEMENTS, FRACTIONS, FRACTIONS]);
                assert_eq!(sizes[0], sizes[1]);
            }
        }
        round_trip(&[i64::MIN, i64::MAX, 0], &[vec![1.0, 2.0, 3.0]], &mut [UNKNOWN]);
    }

    #[test]
    fn a_share_takes_what_its_whole_numbers_take() {
        let times: Vec<i64> = (0..36).map(|i| i * 1000).collect();
        let shares: Vec<f64> = (0..36u64).map(|i| (i * 7919 % 200) as f64 / (199 + i % 3) as f64).collect();
        let size = round_trip(&times, &[shares], &mut [UNKNOWN]);
        assert!(size < 36 * 3, "{size}");
    }
}
