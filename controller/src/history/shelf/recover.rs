//! Finding the files after a start.
//!
//! A snapshot of what was in memory says up to where the files were written then. What lies behind that is cut off: the
//! log still has it, and it is packed anew. Without a snapshot everything whole is kept.

use std::io;
use std::sync::{Arc, RwLock};

use skynet_model::time::Timestamp;

use super::frame::HEADER;
use super::index;
use super::open::{Contents, Open};
use super::{Closed, Hole, Shelf, State, closed_name, number, open_name, scan};
use crate::history::disk::Disk;

/// The files, and what is wrong with them.
pub(in super::super) struct Recovered {
    pub(in super::super) shelf: Shelf,
    pub(in super::super) holes: Vec<Hole>,
}

impl Shelf {
    /// Finds the files; `position` is the snapshot's.
    ///
    /// # Errors
    /// The system's; damage is no error.
    pub(in super::super) fn recover(
        disk: Arc<dyn Disk>,
        position: Option<(u64, u64)>,
        now: Timestamp,
    ) -> io::Result<Recovered> {
        let mut holes = Vec::new();
        let mut state = State::default();
        let mut growing: Vec<u64> = Vec::new();
        let mut highest = None;
        for (name, bytes) in disk.list()? {
            let of = number(&name, ".open").or_else(|| number(&name, ".chunks"));
            highest = highest.max(of);
            if let Some(n) = number(&name, ".open") {
                if position.is_some_and(|(newest, _)| n > newest) { disk.remove(&name)? } else { growing.push(n) }
            } else if let Some(n) = number(&name, ".chunks") {
                match position {
                    Some((newest, _)) if n > newest => disk.remove(&name)?,
                    // It was finished after the snapshot: what it got since then comes again.
                    Some((newest, _)) if n == newest => {
                        disk.rename(&name, &open_name(n))?;
                        growing.push(n);
                    }
                    Some(_) | None => state.closed.push(Arc::new(closed(&*disk, n, bytes, &mut holes)?)),
                }
            }
        }
        growing.sort_unstable();
        growing.dedup();
        let last = growing.last().copied();
        for n in growing {
            let name = open_name(n);
            let limit = position.filter(|(newest, _)| *newest == n).map(|(_, length)| length);
            let (contents, length) = grown(&*disk, &name, limit, &mut holes)?;
            if Some(n) == last && position.is_none_or(|(newest, _)| newest == n) {
                if length == 0 {
                    disk.remove(&name)?;
                } else {
                    disk.write_at(&name, length, &[])?;
                }
                let since = (length > 0).then_some(now);
                state.open = Open { number: n, length, since, contents };
            } else {
                // A file that nobody finished; its index is made anew and held in memory.
                disk.rename(&name, &closed_name(n))?;
                let mut footer = contents.footer;
                footer.closed = now.0;
                state.closed.push(Arc::new(Closed { number: n, bytes: length, footer, contents: Some(contents) }));
            }
        }
        state.closed.sort_by_key(|file| file.number);
        let next = state.closed.last().map_or(0, |file| file.number + 1);
        let wanted = position.map_or(next, |(newest, _)| newest.max(next));
        if state.open.length == 0 {
            state.open.number = wanted;
        }
        let shelf = Self { disk, state: RwLock::new(state) };
        // What is packed anew goes into a file of its own behind all that ever were, so that whoever copies by place does not
        // take it for what it has. Files may be gone whose names no crash has left: a number of seconds is above theirs.
        if let Some(highest) = highest.max(position.map(|(newest, _)| newest)) {
            shelf.finish(now)?;
            shelf.change().open.number = (highest + 1).max(u64::try_from(now.0 / 1000).unwrap_or(0));
        }
        Ok(Recovered { shelf, holes })
    }
}

fn closed(disk: &dyn Disk, number: u64, bytes: u64, holes: &mut Vec<Hole>) -> io::Result<Closed> {
    let name = closed_name(number);
    let file = disk.open(&name)?;
    if file.read_at(0, HEADER.len())? == HEADER
        && let Some(footer) = index::footer(&*file)?
    {
        return Ok(Closed { number, bytes, footer, contents: None });
    }
    let (contents, _) = grown(disk, &name, None, holes)?;
    let what = "its index is damaged; it was made anew from what is whole".to_owned();
    holes.push(Hole { place: disk.place(&name), what });
    let mut footer = contents.footer;
    // What cannot be read is not old: nobody knows how old it is.
    footer.closed = if footer.chunks == 0 { i64::MAX } else { footer.last };
    Ok(Closed { number, bytes, footer, contents: Some(contents) })
}

/// Reads a file without an index, up to `limit`; gives where its last frame ends.
fn grown(disk: &dyn Disk, name: &str, limit: Option<u64>, holes: &mut Vec<Hole>) -> io::Result<(Contents, u64)> {
    let file = disk.open(name)?;
    let length = file.length()?;
    let end = limit.unwrap_or(length);
    let mut contents = Contents::default();
    let place = disk.place(name);
    let mut hole = |what: String| holes.push(Hole { place: place.clone(), what });
    if end == 0 {
        return Ok((contents, 0));
    }
    if length < end {
        hole(format!("it has {length} bytes and had {end} before: what is missing is lost"));
    }
    let start = file.read_at(0, HEADER.len())?;
    if start != HEADER {
        let newer = start.get(..8) == Some(&HEADER[..8]);
        hole(if newer {
            "its format version is not 1; a newer build wrote it".to_owned()
        } else {
            "its first bytes are not those of packed readings".to_owned()
        });
        // Nothing is overwritten that somebody may still want to look at.
        if newer {
            return Ok((contents, length));
        }
    }
    let end = end.min(length);
    let first = HEADER.len() as u64;
    let valid = scan::frames(&*file, first, end, &mut hole, &mut |offset, frame| contents.add(offset, &frame))?;
    if limit.is_some() && valid < end {
        hole(format!("bytes {valid} to {end} are damaged"));
    }
    Ok((contents, if limit.is_some() { end } else { valid }))
}
