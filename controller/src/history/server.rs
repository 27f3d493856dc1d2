//! One server's series and the readings of it that are in memory: latest values, rows that grow, blocks that are full.
//!
//! What must never enter: files, the log, other servers. The places of series are small numbers; names are looked at only
//! when a series begins, and when a block is full.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use skynet_model::series::SeriesKey;
use skynet_model::time::{Span, Timestamp};

use super::block::Block;
use super::seen::Seen;
use super::wal::Position;

/// Rows of a full block, and so samples of nearly every chunk; ...
pub(super) const ROWS: u32 = 360;
/// ... and up to so many more, by server: a fleet that came up at once is not packed at once.
const SPREAD: u32 = 64;
/// A block covers at most so much.
const BLOCK: Span = Span::hours(6);
/// A sensor that has been silent for so long has its block packed.
const SILENT: Span = Span::hours(1);
/// Late readings come from many sensors: rows and bytes of their block.
const LATE_ROWS: u32 = 8192;
const LATE_BYTES: usize = 128 << 10;
/// How long an ended series keeps its place.
pub(super) const KEPT: Span = Span::hours(1);

const NO_GROUP: u32 = u32::MAX;
const NEVER: i64 = i64::MIN;

/// What a reading touches.
#[derive(Clone, Copy, Debug)]
struct Hot {
    /// Tells this series from others that had its place before; 0: the place is free.
    generation: u32,
    group: u32,
    /// The segment of the log in which the place was last named.
    segment: u32,
    retired: bool,
    /// It began anew: its next reading is its latest, whatever its server thought the time was before.
    renewed: bool,
    time: i64,
    bits: u64,
}

/// A series' place in the history; the history gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    pub(super) index: u32,
    generation: u32,
}

/// A block to which nothing will be added.
#[derive(Debug)]
pub(super) struct Full {
    pub(super) block: Block,
    /// What its places mean, in order of place.
    pub(super) keys: Vec<(u32, SeriesKey)>,
}

impl Full {
    pub(super) fn size(&self) -> usize {
        self.block.size() + self.keys.len() * 40
    }

    pub(super) fn key(&self, place: u32) -> Option<&SeriesKey> {
        let at = self.keys.binary_search_by_key(&place, |(place, _)| *place).ok()?;
        self.keys.get(at).map(|(_, key)| key)
    }
}

/// One server.
#[derive(Debug, Default)]
pub(super) struct Server {
    hot: Vec<Hot>,
    keys: Vec<Option<SeriesKey>>,
    /// Places in use, in order of key.
    order: Vec<u32>,
    free: Vec<u32>,
    generations: u32,
    /// How many rows more than others its blocks have.
    more_rows: u32,
    groups: Vec<Block>,
    late: Block,
    late_rows_before: u32,
    /// Blocks that wait to be packed, oldest first.
    pub(super) full: VecDeque<Arc<Full>>,
    /// Bytes of blocks that got full and that nobody has counted yet.
    pub(super) uncounted: usize,
    pub(super) seen: Seen,
    /// Up to where this server's records of the log are in here.
    pub(super) applied: Position,
}

/// What a batch leaves for the log: kept between batches, so that a reading allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) places: Vec<u32>,
    pub(super) bits: Vec<u64>,
    /// Places that the log's segment does not know yet.
    pub(super) unnamed: Vec<u32>,
}

impl Row {
    pub(super) fn clear(&mut self) {
        self.places.clear();
        self.bits.clear();
        self.unnamed.clear();
    }
}

impl Server {
    /// One without series; `number` is any number that differs from server to server.
    pub(super) fn new(number: u64) -> Self {
        Self { more_rows: (number % u64::from(SPREAD)) as u32, ..Self::default() }
    }

    fn position(&self, key: &SeriesKey) -> Result<usize, usize> {
        self.order.binary_search_by(|place| self.keys[*place as usize].as_ref().cmp(&Some(key)))
    }

    /// How many series have a place.
    pub(super) fn series(&self) -> usize {
        self.order.len()
    }

    /// The place of a series that has one; the series lives again.
    pub(super) fn known(&mut self, key: &SeriesKey) -> Option<Slot> {
        let index = self.order[self.position(key).ok()?];
        let hot = self.hot.get_mut(index as usize)?;
        hot.renewed |= std::mem::replace(&mut hot.retired, false);
        Some(Slot { index, generation: hot.generation })
    }

    /// Gives a place to a series that has none.
    pub(super) fn add(&mut self, key: SeriesKey) -> Slot {
        let at = self.position(&key).unwrap_or_else(|at| at);
        self.generations = self.generations.wrapping_add(1).max(1);
        let generation = self.generations;
        let hot = Hot { generation, group: NO_GROUP, segment: 0, retired: false, renewed: false, time: NEVER, bits: 0 };
        let index = match self.free.pop() {
            Some(index) => {
                self.hot[index as usize] = hot;
                self.keys[index as usize] = Some(key);
                index
            }
            None => {
                self.hot.push(hot);
                self.keys.push(Some(key));
                (self.hot.len() - 1) as u32
            }
        };
        self.order.insert(at, index);
        Slot { index, generation }
    }

    fn at(&mut self, slot: Slot) -> Option<&mut Hot> {
        self.hot.get_mut(slot.index as usize).filter(|hot| hot.generation == slot.generation)
    }

    /// The log's segment knows the place from now on; whether it did not before.
    pub(super) fn name_place(&mut self, place: u32, segment: u32) -> bool {
        let hot = self.hot.get_mut(place as usize);
        hot.is_some_and(|hot| std::mem::replace(&mut hot.segment, segment) != segment)
    }

    /// The series ended; whether it was there.
    pub(super) fn retire(&mut self, slot: Slot) -> bool {
        self.at(slot).map(|hot| hot.retired = true).is_some()
    }

    /// All series ended, for all that is known.
    pub(super) fn retire_all(&mut self) {
        for hot in &mut self.hot {
            hot.retired = true;
        }
    }

    pub(super) fn key(&self, place: u32) -> Option<&SeriesKey> {
        self.keys.get(place as usize)?.as_ref()
    }

    /// Adds readings taken at `time` and appends to `row` what was added. Readings not newer than what their series
    /// already has only fill the past. Whether a block got full.
    pub(super) fn write(
        &mut self,
        time: i64,
        readings: impl IntoIterator<Item = (Slot, f64)>,
        segment: u32,
        row: &mut Row,
    ) -> bool {
        let start = row.places.len();
        let mut fresh = true;
        for (slot, value) in readings {
            let Some(hot) = self.hot.get_mut(slot.index as usize) else { continue };
            if hot.generation != slot.generation {
                continue;
            }
            let bits = value.to_bits();
            if time > hot.time || hot.renewed {
                (hot.time, hot.bits, hot.renewed) = (time, bits, false);
            } else {
                fresh = false;
            }
            if hot.segment != segment {
                hot.segment = segment;
                row.unnamed.push(slot.index);
            }
            row.places.push(slot.index);
            row.bits.push(bits);
        }
        let (places, bits) = (&row.places[start..], &row.bits[start..]);
        let Some(first) = places.first() else { return false };
        if !fresh {
            self.late.push(time, places, bits);
            let late = &self.late;
            if late.rows() < LATE_ROWS && !late.is_motley() && late.packed() < LATE_BYTES {
                return false;
            }
            return self.fill_late();
        }
        let mut group = self.hot[*first as usize].group as usize;
        if group >= self.groups.len() {
            group = self.groups.iter().position(|g| g.rows() == 0).unwrap_or(self.groups.len());
            if group == self.groups.len() {
                self.groups.push(Block::default());
            }
            self.hot[*first as usize].group = group as u32;
        }
        let block = &mut self.groups[group];
        if block.push(time, places, bits) {
            for place in places {
                let hot = &mut self.hot[*place as usize];
                if hot.group == NO_GROUP {
                    hot.group = group as u32;
                }
            }
        }
        let block = &self.groups[group];
        if block.rows() < ROWS + self.more_rows && !block.is_motley() && time.saturating_sub(block.first()) < BLOCK.0 {
            return false;
        }
        self.fill(group)
    }

    fn fill(&mut self, group: usize) -> bool {
        let block = std::mem::take(&mut self.groups[group]);
        self.filled(block)
    }

    fn fill_late(&mut self) -> bool {
        let block = std::mem::take(&mut self.late);
        self.late_rows_before = 0;
        self.filled(block)
    }

    fn filled(&mut self, mut block: Block) -> bool {
        if block.rows() == 0 {
            return false;
        }
        block.freeze();
        let mut places: Vec<u32> = block.slots().collect();
        places.sort_unstable();
        places.dedup();
        let keys = places.into_iter().filter_map(|place| Some((place, self.key(place)?.clone()))).collect();
        let full = Full { block, keys };
        self.uncounted += full.size();
        self.full.push_back(Arc::new(full));
        true
    }

    /// Forgets series that ended and whose past here is over, and packs what has been silent. Gives how many series
    /// went.
    pub(super) fn sweep(&mut self, now: Timestamp) -> usize {
        let over = |hot: &Hot| hot.retired && (hot.time == NEVER || now.since(Timestamp(hot.time)) > KEPT);
        let gone: HashSet<u32> = self.order.iter().copied().filter(|place| over(&self.hot[*place as usize])).collect();
        for group in 0..self.groups.len() {
            let block = &self.groups[group];
            let silent = now.since(Timestamp(block.last())) > SILENT;
            if block.rows() > 0 && (silent || block.slots().any(|place| gone.contains(&place))) {
                self.fill(group);
            }
        }
        let rows = self.late.rows();
        if rows > 0 && (rows == self.late_rows_before || self.late.slots().any(|place| gone.contains(&place))) {
            self.fill_late();
        }
        self.late_rows_before = self.late.rows();
        self.order.retain(|place| !gone.contains(place));
        for place in &gone {
            self.hot[*place as usize].generation = 0;
            self.keys[*place as usize] = None;
            self.free.push(*place);
        }
        gone.len()
    }

    /// Latest values of series that have not ended, in order of series.
    pub(super) fn latest(&self) -> impl Iterator<Item = (&SeriesKey, f64, Timestamp)> {
        self.order.iter().filter_map(|place| {
            let hot = self.hot.get(*place as usize).filter(|hot| !hot.retired && hot.time != NEVER)?;
            Some((self.key(*place)?, f64::from_bits(hot.bits), Timestamp(hot.time)))
        })
    }

    /// How many series have not ended, and when the newest of their readings was taken.
    pub(super) fn count(&self) -> (usize, Option<Timestamp>) {
        let live = || self.order.iter().map(|place| &self.hot[*place as usize]).filter(|hot| !hot.retired);
        (live().count(), live().map(|hot| hot.time).filter(|time| *time != NEVER).max().map(Timestamp))
    }

    /// Places and keys of all series, in order of key.
    pub(super) fn keys(&self) -> impl Iterator<Item = (u32, &SeriesKey)> {
        self.order.iter().filter_map(|place| Some((*place, self.key(*place)?)))
    }

    /// Copies of the blocks that grow and may hold something from `from` to `until`.
    pub(super) fn growing(&self, from: i64, until: i64) -> Vec<Block> {
        let blocks = self.groups.iter().chain([&self.late]);
        blocks.filter(|b| b.rows() > 0 && b.last() >= from && b.first() <= until).cloned().collect()
    }

    /// Bytes of the rows in memory, about.
    pub(super) fn bytes(&self) -> usize {
        let blocks = self.groups.iter().chain([&self.late]).map(Block::size);
        blocks.chain(self.full.iter().map(|full| full.size())).sum()
    }
}

mod saved;
