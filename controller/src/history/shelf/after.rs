//! Reading packed readings back in the order in which they were written: for a mirror that was away.

use std::io;

use skynet_model::name::ServerId;
use skynet_model::time::Timestamp;

use super::frame::HEADER;
use super::{Hole, Shelf, closed_name, open_name, scan, take};
use crate::history::chunk;
use crate::history::sealed::{Cursor, Offer, Sealed};

impl Shelf {
    /// What one block of a server became, from the first frame at `cursor` or behind it; `None` if there is none yet.
    /// Chunks that cannot be read are left out and named.
    ///
    /// # Errors
    /// The system's.
    pub(in super::super) fn after(&self, cursor: Cursor, holes: &mut Vec<Hole>) -> io::Result<Option<Offer>> {
        let files: Vec<(u64, String, u64)> = {
            let state = self.state();
            let closed = state.closed.iter().map(|file| {
                let end = if file.contents.is_some() { file.bytes } else { file.footer.frames_end() };
                (file.number, closed_name(file.number), end)
            });
            let open = &state.open;
            closed.chain([(open.number, open_name(open.number), open.length)]).collect()
        };
        for (number, name, end) in files.into_iter().filter(|(number, ..)| *number >= cursor.file) {
            let start = if number == cursor.file { cursor.offset } else { 0 };
            let mut at = start.max(HEADER.len() as u64);
            if at >= end {
                continue;
            }
            let file = match self.disk.open(&name).or_else(|_| self.disk.open(&closed_name(number))) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let place = self.disk.place(&name);
            let mut hole = |what: String| holes.push(Hole { place: place.clone(), what });
            let Some(frame) = scan::next(&*file, &mut at, end, &mut hole)? else { continue };
            let begins = Cursor { file: number, offset: at };
            let ends = Cursor { file: number, offset: at + frame.length as u64 };
            let Ok(server) = ServerId::new(&frame.server) else { continue };
            let mut chunks = Vec::new();
            for (series, place) in frame.series {
                let column =
                    |offset: u32| take::column_at(&*file, u32::try_from(at).unwrap_or(u32::MAX).saturating_add(offset));
                match column(place.times).and_then(|times| Ok((times, column(place.values)?))) {
                    Ok((times, values)) => chunks.push(Sealed {
                        server: server.clone(),
                        series,
                        first: Timestamp(place.first),
                        last: Timestamp(place.last()),
                        samples: place.samples,
                        bytes: chunk::encode(place.samples as usize, &times, &values).into(),
                    }),
                    Err(what) => hole(format!("{what} ({series})")),
                }
            }
            return Ok(Some(Offer { chunks, begins, ends }));
        }
        Ok(None)
    }
}
