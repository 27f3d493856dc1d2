//! Readings in memory, packed row by row: one row a sweep, its time once, its values as the change from the row before.
//! A page of rows that is full is turned over and packed column by column.
//!
//! A row is: the number of its shape (which series, in which order), the time's difference to the row before, one bit a
//! value that says whether it changed, and for each that did one byte (leading zero bytes, length) and the bytes that
//! differ. A value that stays costs one bit. What must never enter: names of series, files, locks.

mod page;

use std::sync::Arc;

use super::bytes::{Cursor, put_signed, put_varint};

/// Rows of one page: a page that is full never changes again. Each page can be read without those before it.
const PAGE_ROWS: u32 = 36;
/// What a page begins with: rows, or columns of one shape.
const ROWS: u8 = 0;
const COLUMNS: u8 = 1;
/// Shapes one block may have.
pub(super) const MAX_SHAPES: usize = 64;

/// Which series a row holds.
#[derive(Clone, Debug)]
struct Shape {
    slots: Box<[u32]>,
    /// Bits of the page's newest row of this shape; zeros if it has none.
    before: Box<[u64]>,
    /// What the columns of the last page were.
    hints: Box<[u8]>,
}

impl Shape {
    fn new(slots: Box<[u32]>) -> Self {
        let count = slots.len();
        Self { slots, before: vec![0; count].into(), hints: vec![0; count].into() }
    }
}

/// Rows of the sweeps of one sensor.
#[derive(Clone, Debug, Default)]
pub(super) struct Block {
    shapes: Vec<Shape>,
    /// The shape of the newest row: the next one nearly always has it too.
    current: usize,
    pages: Vec<Arc<[u8]>>,
    page: Vec<u8>,
    page_rows: u32,
    /// Time of the row before the page, and whether the page's rows have several shapes.
    page_before: i64,
    page_motley: bool,
    rows: u32,
    first: i64,
    last: i64,
    /// Time of the row that came first, and of the one that came last.
    origin: i64,
    before: i64,
}

/// The samples of one series in a block: the place they had, times and values.
pub(super) type Column = (u32, Vec<i64>, Vec<f64>);

impl Block {
    pub(super) fn rows(&self) -> u32 {
        self.rows
    }

    pub(super) fn first(&self) -> i64 {
        self.first
    }

    pub(super) fn last(&self) -> i64 {
        self.last
    }

    /// Whether it can take no more shapes.
    pub(super) fn is_motley(&self) -> bool {
        self.shapes.len() >= MAX_SHAPES
    }

    /// Bytes it takes, about.
    pub(super) fn size(&self) -> usize {
        let shapes: usize = self.shapes.iter().map(|s| s.slots.len() * 13 + 48).sum();
        shapes + self.packed() + self.pages.len() * 32
    }

    /// Bytes of its rows.
    pub(super) fn packed(&self) -> usize {
        self.pages.iter().map(|page| page.len()).sum::<usize>() + self.page.capacity()
    }

    /// The series it holds; some may stand there twice.
    pub(super) fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        self.shapes.iter().flat_map(|shape| shape.slots.iter().copied())
    }

    /// Adds a row. Gives the series whose shape is new to the block.
    pub(super) fn push(&mut self, time: i64, slots: &[u32], bits: &[u64]) -> bool {
        let mut fresh = false;
        if self.shapes.get(self.current).is_none_or(|shape| *shape.slots != *slots) {
            self.current = match self.shapes.iter().position(|shape| *shape.slots == *slots) {
                Some(known) => known,
                None => {
                    fresh = true;
                    self.shapes.push(Shape::new(slots.into()));
                    self.shapes.len() - 1
                }
            };
            self.page_motley |= self.page_rows > 0;
        }
        let page = &mut self.page;
        if self.rows == 0 {
            (self.first, self.last, self.origin, self.before) = (time, time, time, time);
        }
        if self.page_rows == 0 {
            self.page_before = self.before;
        }
        put_varint(page, self.current as u64);
        put_signed(page, time.wrapping_sub(self.before));
        let shape = &mut self.shapes[self.current];
        let map = page.len();
        page.resize(map + slots.len().div_ceil(8), 0);
        for (group, (bits, before)) in bits.chunks(8).zip(shape.before.chunks_mut(8)).enumerate() {
            let mut changed = 0u8;
            for (i, (bits, before)) in bits.iter().zip(before).enumerate() {
                let xor = *bits ^ *before;
                if xor != 0 {
                    changed |= 1 << i;
                    *before = *bits;
                    put_bits(page, xor);
                }
            }
            page[map + group] = changed;
        }
        (self.first, self.last, self.before) = (self.first.min(time), self.last.max(time), time);
        self.rows += 1;
        self.page_rows += 1;
        if self.page_rows == PAGE_ROWS {
            self.turn();
        }
        fresh
    }

    /// The page is full.
    fn turn(&mut self) {
        let mut packed = Vec::with_capacity(self.page.len() / 2);
        if self.page_motley || !self.turn_over(&mut packed) {
            packed.clear();
            packed.push(ROWS);
            packed.extend_from_slice(&self.page);
        }
        self.pages.push(packed.into());
        self.page.clear();
        self.page_rows = 0;
        self.page_motley = false;
        for shape in &mut self.shapes {
            shape.before.fill(0);
        }
    }

    /// Packs the page, whose rows have one shape, by columns.
    fn turn_over(&mut self, out: &mut Vec<u8>) -> bool {
        let (rows, current) = (self.page_rows as usize, self.current);
        let Some(columns) = self.shapes.get(current).map(|shape| shape.slots.len()) else { return false };
        let (mut times, mut values) = (Vec::with_capacity(rows), vec![0u64; rows * columns]);
        let mut before = vec![0u64; columns];
        let (mut cursor, mut time) = (Cursor::new(&self.page), self.page_before);
        for at in 0..rows {
            let shape = cursor.varint();
            if shape != Some(current as u64) || row(&mut cursor, &mut before, &mut time).is_none() {
                return false;
            }
            times.push(time);
            for (column, bits) in before.iter().enumerate() {
                values[column * rows + at] = *bits;
            }
        }
        out.push(COLUMNS);
        put_varint(out, current as u64);
        if let Some(shape) = self.shapes.get_mut(current) {
            page::pack(&times, self.page_before, &values, &mut shape.hints, out);
        }
        true
    }

    /// No more rows will come.
    pub(super) fn freeze(&mut self) {
        if self.page_rows > 0 {
            self.turn();
        }
        self.page = Vec::new();
    }

    /// The samples of the series that `wanted` names, each series once, samples in the order in which they came.
    pub(super) fn columns(&self, wanted: impl Fn(u32) -> bool) -> Vec<Column> {
        let mut columns: Vec<Column> = Vec::new();
        // Where each place of each shape goes.
        let mut places: std::collections::HashMap<u32, usize> = std::collections::HashMap::new();
        let targets: Vec<Vec<Option<usize>>> = self
            .shapes
            .iter()
            .map(|shape| {
                let target = |slot: &u32| {
                    wanted(*slot).then(|| {
                        *places.entry(*slot).or_insert_with(|| {
                            columns.push((*slot, Vec::new(), Vec::new()));
                            columns.len() - 1
                        })
                    })
                };
                shape.slots.iter().map(target).collect()
            })
            .collect();
        if columns.is_empty() {
            return columns;
        }
        for (_, times, values) in &mut columns {
            times.reserve_exact(self.rows as usize);
            values.reserve_exact(self.rows as usize);
        }
        self.walk(|shape, time, before| {
            for (bits, target) in before.iter().zip(&targets[shape]) {
                if let Some((_, times, values)) = target.and_then(|target| columns.get_mut(target)) {
                    times.push(time);
                    values.push(f64::from_bits(*bits));
                }
            }
        });
        columns
    }

    /// Goes through all rows: shape, time and bits of each. Gives how many there were.
    fn walk(&self, mut see: impl FnMut(usize, i64, &[u64])) -> u32 {
        let (mut time, mut rows) = (self.origin, 0);
        let mut bits = Vec::new();
        for page in &self.pages {
            let seen = match page.split_first() {
                Some((&ROWS, page)) => self.walk_rows(page, &mut time, &mut see),
                Some((&COLUMNS, page)) => self.walk_columns(page, &mut time, &mut bits, &mut see),
                Some(_) | None => None,
            };
            let Some(seen) = seen else { return rows };
            rows += seen;
        }
        rows + self.walk_rows(&self.page, &mut time, &mut see).unwrap_or(0)
    }

    fn walk_rows(&self, page: &[u8], time: &mut i64, see: &mut impl FnMut(usize, i64, &[u64])) -> Option<u32> {
        let mut before: Vec<Vec<u64>> = self.shapes.iter().map(|shape| vec![0; shape.slots.len()]).collect();
        let (mut cursor, mut rows) = (Cursor::new(page), 0);
        while !cursor.is_empty() {
            let shape = usize::try_from(cursor.varint()?).ok()?;
            let before = before.get_mut(shape)?;
            row(&mut cursor, before, time)?;
            see(shape, *time, before);
            rows += 1;
        }
        Some(rows)
    }

    fn walk_columns(
        &self,
        page: &[u8],
        time: &mut i64,
        bits: &mut Vec<u64>,
        see: &mut impl FnMut(usize, i64, &[u64]),
    ) -> Option<u32> {
        let mut cursor = Cursor::new(page);
        let shape = usize::try_from(cursor.varint()?).ok()?;
        let columns = self.shapes.get(shape)?.slots.len();
        let (times, values) = page::unpack(&mut cursor, *time, columns, PAGE_ROWS as usize)?;
        for (at, row) in times.iter().enumerate() {
            bits.clear();
            bits.extend((0..columns).filter_map(|column| values.get(column * times.len() + at)));
            see(shape, *row, bits);
            *time = *row;
        }
        Some(times.len() as u32)
    }

    /// Appends the block to a snapshot.
    pub(super) fn save(&self, out: &mut Vec<u8>) {
        put_varint(out, self.shapes.len() as u64);
        for shape in &self.shapes {
            put_varint(out, shape.slots.len() as u64);
            let mut before = 0;
            for slot in &shape.slots {
                put_signed(out, i64::from(*slot) - before);
                before = i64::from(*slot);
            }
        }
        put_varint(out, u64::from(self.rows));
        put_signed(out, self.origin);
        put_varint(out, self.pages.len() as u64 + u64::from(self.page_rows > 0));
        for page in &self.pages {
            put_varint(out, page.len() as u64);
            out.extend_from_slice(page);
        }
        if self.page_rows > 0 {
            put_varint(out, self.page.len() as u64 + 1);
            out.push(ROWS);
            out.extend_from_slice(&self.page);
        }
    }

    /// Reads what [`Block::save`] wrote; `None` if it is not that, or names a place of `places` or more.
    pub(super) fn load(cursor: &mut Cursor<'_>, places: u32) -> Option<Self> {
        let mut block = Self::default();
        for _ in 0..cursor.count(1).filter(|n| *n <= MAX_SHAPES)? {
            let mut before = 0i64;
            let slots: Option<Box<[u32]>> = (0..cursor.count(1)?)
                .map(|_| {
                    before = before.checked_add(cursor.signed()?)?;
                    u32::try_from(before).ok().filter(|slot| *slot < places)
                })
                .collect();
            let slots = slots?;
            block.shapes.push(Shape::new(slots));
        }
        block.rows = u32::try_from(cursor.varint()?).ok()?;
        block.origin = cursor.signed()?;
        for _ in 0..cursor.count(1)? {
            let length = cursor.count(1)?;
            block.pages.push(cursor.take(length)?.into());
        }
        let (mut first, mut last, mut newest, mut current) = (i64::MAX, i64::MIN, 0, 0);
        let rows = block.walk(|shape, time, _| {
            (first, last, newest, current) = (first.min(time), last.max(time), time, shape);
        });
        if rows != block.rows {
            return None;
        }
        (block.first, block.last, block.before, block.current) = (first, last, newest, current);
        Some(block)
    }
}

/// One byte (leading zero bytes, length) and the bytes of `xor` that are not zero at its ends.
fn put_bits(out: &mut Vec<u8>, xor: u64) {
    let lead = xor.leading_zeros() / 8;
    let length = 8 - lead - xor.trailing_zeros() / 8;
    let [a, b, c, d, e, f, g, h] = (xor << (lead * 8)).to_be_bytes();
    // A copy of fixed length is cheaper than one of the right length.
    let end = out.len() + 1 + length as usize;
    out.extend_from_slice(&[(lead << 4 | length) as u8, a, b, c, d, e, f, g, h]);
    out.truncate(end);
}

fn bits(cursor: &mut Cursor<'_>) -> Option<u64> {
    let shape = cursor.u8()?;
    let (lead, length) = (usize::from(shape >> 4), usize::from(shape & 15));
    let mut big = [0u8; 8];
    big.get_mut(lead..lead + length)?.copy_from_slice(cursor.take(length)?);
    Some(u64::from_be_bytes(big))
}

/// Reads the rest of a row, behind its shape, into the bits of that shape.
fn row(cursor: &mut Cursor<'_>, before: &mut [u64], time: &mut i64) -> Option<()> {
    *time = time.wrapping_add(cursor.signed()?);
    let map = cursor.take(before.len().div_ceil(8))?;
    for (values, changed) in before.chunks_mut(8).zip(map) {
        for (i, value) in values.iter_mut().enumerate() {
            if changed & (1 << i) != 0 {
                *value ^= bits(cursor)?;
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ODD: [f64; 9] = [0.0, -0.0, 1.0, -0.5, f64::MIN_POSITIVE, f64::MAX, 0.1, 0.30000000000000004, 1e300];

    fn push(block: &mut Block, time: i64, readings: &[(u32, f64)]) -> bool {
        let slots: Vec<u32> = readings.iter().map(|r| r.0).collect();
        let bits: Vec<u64> = readings.iter().map(|r| r.1.to_bits()).collect();
        block.push(time, &slots, &bits)
    }

    #[test]
    fn rows_of_several_shapes_come_back_as_columns_and_survive_a_snapshot() {
        let mut block = Block::default();
        let mut expected: std::collections::BTreeMap<u32, Vec<(i64, u64)>> = Default::default();
        for i in 0..500i64 {
            let time = 1_700_000_000_000 + i * 1000 + i * 7 % 13;
            let value = |k: i64| ODD[((i / 5 + k) % 9) as usize] * (i as f64).sqrt();
            let row: &[(u32, f64)] = match i % 7 {
                0 => &[(3, value(1)), (1, value(2))],
                1 => &[(1, value(2))],
                _ => &[(1, value(0)), (2, 42.5), (3, value(3)), (9, i as f64)],
            };
            push(&mut block, time, row);
            for (slot, value) in row {
                expected.entry(*slot).or_default().push((time, value.to_bits()));
            }
        }
        let mut saved = Vec::new();
        block.save(&mut saved);
        let loaded = Block::load(&mut Cursor::new(&saved), 10).unwrap();
        assert!(Block::load(&mut Cursor::new(&saved), 9).is_none(), "a place that is not there");
        assert_eq!((loaded.first, loaded.last, loaded.rows), (block.first, block.last, block.rows));
        for mut block in [block, loaded] {
            push(&mut block, 2_000_000_000_000, &[(1, 5.0)]);
            for (slot, samples) in &expected {
                let columns = block.columns(|s| s == *slot);
                let (_, times, values) = &columns[0];
                let found: Vec<_> = times.iter().zip(values).map(|(t, v)| (*t, v.to_bits())).collect();
                assert_eq!(found[..samples.len()], samples[..], "series {slot}");
                assert_eq!(found.len() - samples.len(), usize::from(*slot == 1));
            }
        }
    }

    #[test]
    fn values_that_stay_cost_a_bit() {
        let mut block = Block::default();
        let row: Vec<(u32, f64)> = (0..80).map(|i| (i, f64::from(i))).collect();
        for i in 0..360 {
            assert_eq!(push(&mut block, i * 1000, &row), i == 0);
        }
        block.freeze();
        assert!(block.packed() < 360 * 14 + 80 * 4, "{}", block.packed());
        assert_eq!(block.columns(|_| true).len(), 80);
    }

    #[test]
    fn a_snapshot_cut_anywhere_is_none_or_a_whole_block() {
        let mut block = Block::default();
        for i in 0..100 {
            push(&mut block, i * 1000, &[(0, i as f64), (1, 0.1 * i as f64)]);
        }
        let mut saved = Vec::new();
        block.save(&mut saved);
        for cut in 0..saved.len() {
            assert!(Block::load(&mut Cursor::new(&saved[..cut]), 2).is_none(), "cut at {cut}");
        }
    }
}
