//! Packed readings on disk: files of some hours, the newest of which grows.
//!
//! What must never enter: readings that are not packed, locks of servers. One thread writes; any thread reads. A file is
//! finished by writing its index behind its frames, syncing it and giving it its last name; from then on it never changes,
//! and nothing of it is kept in memory but where its index begins.

mod after;
pub(super) mod frame;
mod index;
mod open;
mod recover;
mod scan;
mod take;

use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use skynet_model::name::ServerId;
use skynet_model::series::SeriesKey;
use skynet_model::time::{Span, Timestamp};

use super::disk::{Disk, Pages};
use frame::{HEADER, Packed};
use index::{Footer, Listing, Trouble};
use open::{Contents, Open};

pub(super) use recover::Recovered;

/// A file is finished when it is so old, ...
const PERIOD: Span = Span::hours(4);
/// ... or holds so many chunks (its index is in memory until then), ...
const MOST_CHUNKS: u64 = 131_072;
/// ... or so many bytes.
const MOST_BYTES: u64 = 256 << 20;

/// A finished file.
#[derive(Debug)]
struct Closed {
    number: u64,
    bytes: u64,
    footer: Footer,
    /// Its index, where the one on disk is damaged.
    contents: Option<Contents>,
}

#[derive(Debug, Default)]
struct State {
    closed: Vec<Arc<Closed>>,
    open: Open,
}

/// All files of packed readings.
pub(super) struct Shelf {
    disk: Arc<dyn Disk>,
    state: RwLock<State>,
}

impl std::fmt::Debug for Shelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shelf").field("state", &self.state).finish_non_exhaustive()
    }
}

/// A part of the past that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// File and place in it.
    pub place: String,
    /// What is wrong.
    pub what: String,
}

impl std::fmt::Display for Hole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

fn open_name(number: u64) -> String {
    format!("{number:020}.open")
}

fn closed_name(number: u64) -> String {
    format!("{number:020}.chunks")
}

fn number(name: &str, ending: &str) -> Option<u64> {
    let digits = name.strip_suffix(ending)?;
    (digits.len() == 20).then(|| digits.parse().ok()).flatten()
}

impl Shelf {
    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file that grows, and how long it is.
    pub(super) fn position(&self) -> (u64, u64) {
        let state = self.state();
        (state.open.number, state.open.length)
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        let state = self.state();
        state.closed.iter().map(|file| file.bytes).sum::<u64>() + state.open.length
    }

    /// How many files there are.
    pub(super) fn files(&self) -> usize {
        let state = self.state();
        state.closed.len() + usize::from(state.open.length > 0)
    }

    /// Adds what one block of a server became; gives where that begins and ends. On an error nothing of it is there.
    pub(super) fn append(&self, server: &ServerId, packed: &[Packed], now: Timestamp) -> io::Result<()> {
        let (number, length) = self.position();
        let mut bytes = if length == 0 { HEADER.to_vec() } else { Vec::new() };
        let before = bytes.len() as u64;
        let frame = frame::encode(server.as_str(), packed, &mut bytes);
        self.disk.write_at(&open_name(number), length, &bytes)?;
        let mut state = self.change();
        state.open.length = length + bytes.len() as u64;
        state.open.since.get_or_insert(now);
        state.open.contents.add(length + before, &frame);
        Ok(())
    }

    /// Waits until all that was added is on disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        let (number, length) = self.position();
        if length == 0 { Ok(()) } else { self.disk.sync(&open_name(number)) }
    }

    /// Whether the file that grows is to be finished.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        let open = &self.state().open;
        let old = open.since.is_some_and(|since| now.since(since) >= PERIOD);
        old || open.contents.footer.chunks >= MOST_CHUNKS || open.length >= MOST_BYTES
    }

    /// Finishes the file that grows; the next one begins with the next frame.
    pub(super) fn finish(&self, now: Timestamp) -> io::Result<()> {
        let (number, length, index, footer) = {
            let state = self.state();
            let open = &state.open;
            if open.length == 0 {
                return Ok(());
            }
            let mut footer = open.contents.footer;
            footer.closed = now.0;
            let index = index::encode(open.contents.listings(), open.length, footer);
            (open.number, open.length, index, footer)
        };
        let (open, closed) = (open_name(number), closed_name(number));
        // An earlier try may have failed after the file had got its name: then it is whole already.
        let renamed = self.disk.open(&open).is_err() && self.disk.open(&closed).is_ok();
        if !renamed {
            self.disk.write_at(&open, length, &index)?;
            self.disk.sync(&open)?;
            self.disk.rename(&open, &closed)?;
        }
        // What was written is looked at once: from here on the file's own index is all there is, if it can be read.
        let written = self.disk.open(&closed).and_then(|file| index::footer(&*file)).ok().flatten();
        let contents = written.is_none().then(|| self.state().open.contents.clone());
        let footer = written.unwrap_or(footer);
        let closed = Closed { number, bytes: length + index.len() as u64, footer, contents };
        let mut state = self.change();
        state.closed.push(Arc::new(closed));
        state.open = Open { number: number + 1, ..Open::default() };
        Ok(())
    }

    /// Deletes finished files: those older than `keep`, and the oldest while all together have more than `most` bytes.
    /// Gives how many went.
    pub(super) fn retain(&self, now: Timestamp, keep: Span, most: u64) -> io::Result<usize> {
        let mut gone = 0;
        loop {
            let bytes = self.bytes();
            let oldest = self.state().closed.first().cloned();
            let over = |file: &Closed| now.since(Timestamp(file.footer.closed)) > keep || bytes > most;
            let Some(oldest) = oldest.filter(|file| over(file)) else { return Ok(gone) };
            match self.disk.remove(&closed_name(oldest.number)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            self.change().closed.retain(|file| file.number != oldest.number);
            gone += 1;
        }
    }

    /// Gives all samples that a server has here from `from` to `until`, of series that `wanted` wants: a call a chunk,
    /// in no order. What cannot be read is named in `holes`. `see` says whether to go on.
    pub(super) fn read(
        &self,
        server: &str,
        wanted: &dyn Fn(&SeriesKey) -> bool,
        (from, until): (i64, i64),
        holes: &mut Vec<Hole>,
        mut see: impl FnMut(SeriesKey, Vec<i64>, Vec<f64>) -> bool,
    ) {
        let (closed, number, listing) = {
            let state = self.state();
            let fits = |file: &&Arc<Closed>| file.footer.first <= until && file.footer.last >= from;
            let closed: Vec<Arc<Closed>> = state.closed.iter().filter(fits).cloned().collect();
            (closed, state.open.number, state.open.contents.find(server, wanted))
        };
        let mut hole = |name: &str, what: String| holes.push(Hole { place: self.disk.place(name), what });
        for file in closed {
            let name = closed_name(file.number);
            let pages = match self.disk.open(&name) {
                Ok(pages) => pages,
                // It was deleted because of its age meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    hole(&name, format!("cannot be read: {error}"));
                    continue;
                }
            };
            let listing = match self.listing(&file, &*pages, server, wanted, &mut |what| hole(&name, what)) {
                Ok(listing) => listing,
                Err(error) => {
                    hole(&name, format!("cannot be read: {error}"));
                    continue;
                }
            };
            if !take::samples(&*pages, listing, (from, until), &mut |what| hole(&name, what), &mut see) {
                return;
            }
        }
        if listing.is_empty() {
            return;
        }
        let name = open_name(number);
        // It may have been finished meanwhile; its frames stay where they are.
        let pages = self.disk.open(&name).or_else(|_| self.disk.open(&closed_name(number)));
        match pages {
            Ok(pages) => {
                take::samples(&*pages, listing, (from, until), &mut |what| hole(&name, what), &mut see);
            }
            Err(error) => hole(&name, format!("cannot be read: {error}")),
        }
    }

    fn listing(
        &self,
        file: &Closed,
        pages: &dyn Pages,
        server: &str,
        wanted: &dyn Fn(&SeriesKey) -> bool,
        hole: &mut dyn FnMut(String),
    ) -> io::Result<Listing> {
        if let Some(contents) = &file.contents {
            return Ok(contents.find(server, wanted));
        }
        match index::find(pages, &file.footer, server, wanted) {
            Ok(listing) => Ok(listing),
            Err(Trouble::Io(error)) => Err(error),
            Err(Trouble::Damaged) => {
                // Slow, but the frames say all that the index says.
                let mut contents = Contents::default();
                let end = file.footer.frames_end();
                scan::frames(pages, HEADER.len() as u64, end, hole, &mut |offset, frame| {
                    if frame.server == server {
                        contents.add(offset, &frame);
                    }
                })?;
                Ok(contents.find(server, wanted))
            }
        }
    }
}
