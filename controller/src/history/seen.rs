//! Which batches of a server are stored already: a batch sent again after its acknowledgement got lost is not stored twice.
//!
//! Numbers rise within a boot, so nearly all of them are one run. What falls out of the bounds is only forgotten: its
//! samples are found to be there already, one by one, when they are read or packed.

use super::bytes::{Cursor, put_varint};

/// Boots that are remembered: the present one, and those that are still being caught up with.
const BOOTS: usize = 4;
/// Runs of numbers of one boot.
const RUNS: usize = 32;

#[derive(Clone, Debug)]
struct Boot {
    id: u64,
    /// First and last number of each run, in order, apart from each other.
    runs: Vec<(u64, u64)>,
}

/// The numbers of one server's stored batches, by boot.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    boots: Vec<Boot>,
}

/// A name as a number (FNV-1a), the same for ever: it is in files.
pub(super) fn number_of(id: &str) -> u64 {
    id.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

impl Seen {
    pub(super) fn contains(&self, boot: u64, seq: u64) -> bool {
        let boot = self.boots.iter().find(|b| b.id == boot);
        boot.is_some_and(|boot| boot.runs.iter().any(|(first, last)| (*first..=*last).contains(&seq)))
    }

    pub(super) fn insert(&mut self, id: u64, seq: u64) {
        let index = match self.boots.iter().position(|b| b.id == id) {
            Some(index) => index,
            None => {
                if self.boots.len() == BOOTS {
                    self.boots.remove(0);
                }
                self.boots.push(Boot { id, runs: Vec::new() });
                self.boots.len() - 1
            }
        };
        let runs = &mut self.boots[index].runs;
        // The run that begins last before the number, if any.
        let at = runs.partition_point(|(first, _)| *first <= seq);
        let before = at.checked_sub(1).map(|i| runs[i]);
        if before.is_some_and(|(_, last)| seq <= last) {
            return;
        }
        let joins = before.is_some_and(|(_, last)| last.checked_add(1) == Some(seq));
        let touches = runs.get(at).is_some_and(|(first, _)| seq.checked_add(1) == Some(*first));
        match (joins, touches) {
            (true, true) => {
                runs[at - 1].1 = runs[at].1;
                runs.remove(at);
            }
            (true, false) => runs[at - 1].1 = seq,
            (false, true) => runs[at].0 = seq,
            (false, false) => runs.insert(at, (seq, seq)),
        }
        if runs.len() > RUNS {
            runs.remove(0);
        }
    }

    pub(super) fn save(&self, out: &mut Vec<u8>) {
        put_varint(out, self.boots.len() as u64);
        for boot in &self.boots {
            out.extend_from_slice(&boot.id.to_le_bytes());
            put_varint(out, boot.runs.len() as u64);
            for (first, last) in &boot.runs {
                put_varint(out, *first);
                put_varint(out, last - first);
            }
        }
    }

    pub(super) fn load(cursor: &mut Cursor<'_>) -> Option<Self> {
        let mut seen = Self::default();
        for _ in 0..cursor.count(1).filter(|n| *n <= BOOTS)? {
            let id = cursor.u64()?;
            let mut runs = Vec::new();
            for _ in 0..cursor.count(1).filter(|n| *n <= RUNS)? {
                let first = cursor.varint()?;
                runs.push((first, first.checked_add(cursor.varint()?)?));
            }
            seen.boots.push(Boot { id, runs });
        }
        Some(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_any_order_are_remembered_in_few_runs() {
        let mut seen = Seen::default();
        for seq in [5, 6, 7, 10, 9, 3, 4, 8, 8, u64::MAX] {
            assert!(seq == 8 || !seen.contains(1, seq));
            seen.insert(1, seq);
            assert!(seen.contains(1, seq));
        }
        assert_eq!(seen.boots[0].runs, [(3, 10), (u64::MAX, u64::MAX)]);
        assert!(!seen.contains(1, 2) && !seen.contains(1, 11) && !seen.contains(2, 5));
        let mut saved = Vec::new();
        seen.save(&mut saved);
        let loaded = Seen::load(&mut Cursor::new(&saved)).unwrap();
        assert!(loaded.contains(1, 10) && !loaded.contains(1, 11));
    }

    #[test]
    fn boots_and_runs_are_bounded_and_the_newest_stay() {
        let mut seen = Seen::default();
        for boot in 0..10 {
            for seq in 0..200 {
                seen.insert(boot, seq * 2);
            }
        }
        assert_eq!(seen.boots.len(), BOOTS);
        assert!(seen.boots.iter().all(|b| b.runs.len() == RUNS));
        assert!(seen.contains(9, 398) && !seen.contains(9, 0) && !seen.contains(0, 398));
        assert_ne!(number_of("a"), number_of("b"));
    }
}
