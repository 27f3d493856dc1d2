//! Going through the frames of a file one after the other: for files without an index, or with a damaged one.

use std::io;

use super::super::bytes::{PREFIX, frame};
use super::super::disk::Pages;
use super::frame::{Frame, MAX_HEAD, may_begin, parse};

/// How much is read at a time.
const WINDOW: usize = 1 << 20;
/// Heads are mostly smaller than this.
const HEAD: usize = 4 << 10;
/// Bytes that may be summed while looking for the next whole frame.
const SEARCH: usize = 1 << 28;

/// Gives the frames between two places with their offsets, and names what is none. Gives where the last one ends.
pub(super) fn frames(
    file: &dyn Pages,
    from: u64,
    end: u64,
    hole: &mut dyn FnMut(String),
    see: &mut dyn FnMut(u64, Frame),
) -> io::Result<u64> {
    let (mut at, mut valid) = (from, from);
    while let Some(found) = next(file, &mut at, end, hole)? {
        valid = at + found.length as u64;
        see(at, found);
        at = valid;
    }
    Ok(valid)
}

/// The first whole frame at `at` or behind it; `at` moves there. What is skipped is named.
pub(super) fn next(
    file: &dyn Pages,
    at: &mut u64,
    end: u64,
    hole: &mut dyn FnMut(String),
) -> io::Result<Option<Frame>> {
    if *at >= end {
        return Ok(None);
    }
    if let Some(found) = frame_at(file, *at, end)? {
        return Ok(Some(found));
    }
    let Some(next) = search(file, *at + 1, end)? else { return Ok(None) };
    hole(format!("bytes {at} to {next} are damaged"));
    *at = next;
    frame_at(file, next, end)
}

/// The frame at `at`, if one is there and ends before `end`.
fn frame_at(file: &dyn Pages, at: u64, end: u64) -> io::Result<Option<Frame>> {
    let mut bytes = file.read_at(at, HEAD)?;
    let Some(length) = length(&bytes).filter(|_| may_begin(&bytes)) else { return Ok(None) };
    if length > MAX_HEAD || at + (PREFIX + length) as u64 > end {
        return Ok(None);
    }
    if PREFIX + length > bytes.len() {
        bytes = file.read_at(at, PREFIX + length)?;
    }
    let found = frame(&bytes, 0).and_then(|whole| parse(whole.payload));
    Ok(found.filter(|found| found.length as u64 <= end - at))
}

/// The next place at which a whole head lies.
fn search(file: &dyn Pages, mut at: u64, end: u64) -> io::Result<Option<u64>> {
    let mut budget = SEARCH;
    while at < end {
        let bytes = file.read_at(at, WINDOW)?;
        for i in 0..bytes.len().saturating_sub(PREFIX) {
            let rest = &bytes[i..];
            let Some(length) = length(rest).filter(|n| *n <= MAX_HEAD && *n <= budget && may_begin(rest)) else {
                continue;
            };
            budget -= length;
            if frame_at(file, at + i as u64, end)?.is_some() {
                return Ok(Some(at + i as u64));
            }
        }
        // A head may begin in the last bytes of this window.
        at += (bytes.len().saturating_sub(PREFIX)).max(1) as u64;
    }
    Ok(None)
}

fn length(bytes: &[u8]) -> Option<usize> {
    Some(u32::from_le_bytes(*bytes.first_chunk::<4>()?) as usize)
}
