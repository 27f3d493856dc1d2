//! Reading samples where an index says they are.

use std::collections::HashMap;
use std::sync::Arc;

use skynet_model::series::SeriesKey;

use super::super::bytes::{PREFIX, frame};
use super::super::column;
use super::super::disk::Pages;
use super::index::Listing;

/// Columns are mostly smaller than this: one read is enough.
const GUESS: usize = 1 << 10;
/// Largest column.
const MOST: usize = 1 << 20;

/// A column's bytes.
pub(super) fn column_at(file: &dyn Pages, at: u32) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("cannot be read at byte {at}: {error}");
    let damaged = || format!("the chunk at byte {at} is damaged: its checksum does not fit");
    let mut bytes = file.read_at(u64::from(at), GUESS).map_err(failed)?;
    let length = bytes.first_chunk::<4>().map(|word| u32::from_le_bytes(*word) as usize).ok_or_else(damaged)?;
    if length > MOST {
        return Err(damaged());
    }
    if PREFIX + length > bytes.len() {
        bytes = file.read_at(u64::from(at), PREFIX + length).map_err(failed)?;
    }
    let whole = frame(&bytes, 0).ok_or_else(damaged)?;
    Ok(whole.payload.to_vec())
}

/// Gives the samples of a listing that lie between two times, and names what cannot be read. Whether to go on.
pub(super) fn samples(
    file: &dyn Pages,
    listing: Listing,
    (from, until): (i64, i64),
    hole: &mut dyn FnMut(String),
    see: &mut dyn FnMut(SeriesKey, Vec<i64>, Vec<f64>) -> bool,
) -> bool {
    // Series of one sensor share their times.
    let mut known: HashMap<(u32, u32), Option<Arc<Vec<i64>>>> = HashMap::new();
    for (key, place) in listing {
        if !place.touches(from, until) {
            continue;
        }
        let count = place.samples as usize;
        let damaged = |at: u32| format!("the chunk at byte {at} is damaged: it is not {count} samples");
        let times = known.entry((place.times, place.samples)).or_insert_with(|| {
            let unpacked = column_at(file, place.times)
                .and_then(|bytes| column::unpack_times(&bytes, count).ok_or_else(|| damaged(place.times)));
            unpacked.map_err(&mut *hole).ok().map(Arc::new)
        });
        let Some(times) = times.clone() else { continue };
        let values = column_at(file, place.values)
            .and_then(|bytes| column::unpack_values(&bytes, count).ok_or_else(|| damaged(place.values)));
        match values {
            Ok(mut values) => {
                let (low, high) = (times.partition_point(|t| *t < from), times.partition_point(|t| *t <= until));
                let (low, high) = (low.min(high), high);
                values.truncate(high);
                if !see(key, times[low..high].to_vec(), values.split_off(low)) {
                    return false;
                }
            }
            Err(what) => hole(format!("{what} ({key})")),
        }
    }
    true
}
