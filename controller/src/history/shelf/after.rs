//! Reading packed readings back in the order in which they were written: for a copy that was away.

use std::io;

use skynet_model::name::ServerId;
use skynet_model::time::Timestamp;

use super::frame::{Frame, HEADER};
use super::{Hole, Shelf, closed_name, open_name, scan, take};
use crate::history::chunk;
use crate::history::disk::Pages;
use crate::history::sealed::{Place, Sealed};

/// A place's offset is that of its frame, and the number of the chunk in the frame in so many bits.
const NUMBER_BITS: u32 = 20;

impl Shelf {
    /// Chunks after a place, in order, of about `bytes` bytes together; at least one if there is one. What cannot be read
    /// is left out and named.
    ///
    /// # Errors
    /// The system's.
    pub(in super::super) fn after(
        &self,
        after: Option<Place>,
        bytes: usize,
        holes: &mut Vec<Hole>,
    ) -> io::Result<Vec<(Place, Sealed)>> {
        let files: Vec<(u64, String, u64)> = {
            let state = self.state();
            let closed = state.closed.iter().map(|file| {
                let end = if file.contents.is_some() { file.bytes } else { file.footer.frames_end() };
                (file.number, closed_name(file.number), end)
            });
            let open = &state.open;
            closed.chain([(open.number, open_name(open.number), open.length)]).collect()
        };
        let (mut found, mut size) = (Vec::new(), 0usize);
        for (number, name, end) in files {
            let (start, seen) = match after {
                Some(after) if number < after.file => continue,
                Some(after) if number == after.file => {
                    (after.offset >> NUMBER_BITS, Some(after.offset & ((1 << NUMBER_BITS) - 1)))
                }
                Some(_) | None => (HEADER.len() as u64, None),
            };
            if start >= end {
                continue;
            }
            let file = match self.disk.open(&name).or_else(|_| self.disk.open(&closed_name(number))) {
                Ok(file) => file,
                // It was deleted because of its age meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let place = self.disk.place(&name);
            let mut hole = |what: String| holes.push(Hole { place: place.clone(), what });
            let mut at = start;
            while size < bytes || found.is_empty() {
                let Some(frame) = scan::next(&*file, &mut at, end, &mut hole)? else { break };
                let skip = seen.filter(|_| at == start).map_or(0, |seen| seen as usize + 1);
                let length = frame.length as u64;
                for (i, sealed) in chunks(&*file, at, frame, &mut hole).into_iter().filter(|(i, _)| *i >= skip) {
                    size += sealed.bytes.len();
                    found.push((Place { file: number, offset: at << NUMBER_BITS | i as u64 }, sealed));
                }
                at += length;
            }
            if size >= bytes && !found.is_empty() {
                break;
            }
        }
        Ok(found)
    }
}

/// The chunks of a frame that can be read, with their numbers.
fn chunks(file: &dyn Pages, at: u64, frame: Frame, hole: &mut dyn FnMut(String)) -> Vec<(usize, Sealed)> {
    let Ok(server) = ServerId::new(&frame.server) else { return Vec::new() };
    let at = u32::try_from(at).unwrap_or(u32::MAX);
    let mut found = Vec::new();
    for (i, (series, place)) in frame.series.into_iter().enumerate() {
        let column = |offset: u32| take::column_at(file, at.saturating_add(offset));
        match column(place.times).and_then(|times| Ok((times, column(place.values)?))) {
            Ok((times, values)) => found.push((
                i,
                Sealed {
                    server: server.clone(),
                    series,
                    first: Timestamp(place.first),
                    last: Timestamp(place.last()),
                    samples: place.samples,
                    bytes: chunk::encode(place.samples as usize, &times, &values).into(),
                },
            )),
            Err(what) => hole(format!("{what} ({series})")),
        }
    }
    found
}
