//! Reading everything back after a start: the snapshot, the packed files, the log behind the snapshot.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use skynet_model::name::ServerId;
use skynet_model::time::Timestamp;

use super::disk;
use super::server::{Row, Slot};
use super::shelf::{Hole, Recovered, Shelf};
use super::wal::record::{Record, decode};
use super::wal::scan::{Part, scan};
use super::wal::{Position, segment_name, segment_number};
use super::{Disks, History, lock, snapshot};

/// What a start found.
pub(super) struct Found {
    pub(super) shelf: Shelf,
    pub(super) holes: Vec<Hole>,
    /// Where the log ends in the middle of a record, as after any crash.
    pub(super) torn: Option<Hole>,
    /// The segment with which the log goes on.
    pub(super) segment: u32,
    /// Bytes of the log that were replayed.
    pub(super) replayed: u64,
}

/// Fills `history` with what the disks hold.
///
/// # Errors
/// The system's, or files of a newer build; damage is no error.
pub(super) fn recover(history: &History, disks: &Disks, now: Timestamp) -> io::Result<Found> {
    let mut holes = Vec::new();
    let log = &*disks.log;
    // What a replay brought back may be more than lives at once; see `Replay::record`.
    let most = history.limits.series_per_server.saturating_mul(64);
    let snapshot = snapshot::read(log, most, &mut holes)?;
    let Recovered { shelf, holes: more } = Shelf::recover(Arc::clone(&disks.chunks), snapshot.position, now)?;
    holes.extend(more);
    for (id, server) in snapshot.servers {
        history.adopt(&id, server);
    }
    let mut segments: Vec<u32> = log.list()?.iter().filter_map(|(name, _)| segment_number(name)).collect();
    segments.sort_unstable();
    let newest = segments.last().copied();
    let mut replay = Replay { history, slots: HashMap::new(), row: Row::default(), strange: 0 };
    let (mut replayed, mut torn) = (0, None);
    for segment in segments.into_iter().filter(|n| *n >= snapshot.segment) {
        let name = segment_name(segment);
        let place = log.place(&name);
        let bytes = disk::read(log, &name)?;
        replayed += bytes.len() as u64;
        let mut foreign = None;
        scan(&bytes, |part| match part {
            Part::Record(payload, end) => match decode(payload) {
                Some(record) => replay.record(&record, Position::new(segment, end as u64)),
                None => holes.push(Hole {
                    place: place.clone(),
                    what: format!("the record that ends at byte {end} is not one this build knows"),
                }),
            },
            Part::Hole(from, to) => holes.push(Hole {
                place: place.clone(),
                what: format!("bytes {from} to {to} are damaged; readings that were there are lost"),
            }),
            Part::Torn(at) if Some(segment) != newest && at < bytes.len() => holes.push(Hole {
                place: place.clone(),
                what: format!("its end is damaged from byte {at} on; readings that were there are lost"),
            }),
            Part::Torn(at) => {
                let what = format!(
                    "it ends in the middle of a record at byte {at}, as after a crash; what was not acknowledged by then is lost"
                );
                torn = Some(Hole { place: place.clone(), what });
            }
            Part::Foreign(why) => foreign = Some(why),
        });
        match foreign {
            Some(why) if why.contains("newer") => {
                return Err(io::Error::other(format!("{place}: {why}; use that one")));
            }
            Some(what) => holes.push(Hole { place, what }),
            None => {}
        }
    }
    if replay.strange > 0 {
        let what = format!("{} readings belong to series whose names are lost", replay.strange);
        holes.push(Hole { place: log.place(""), what });
    }
    let segment = newest.unwrap_or(0).max(snapshot.segment) + 1;
    Ok(Found { shelf, holes, torn, segment, replayed })
}

struct Replay<'a> {
    history: &'a History,
    /// What places meant when the log was written.
    slots: HashMap<ServerId, HashMap<u32, Slot>>,
    row: Row,
    strange: u64,
}

impl Replay<'_> {
    fn record(&mut self, record: &Record<'_>, position: Position) {
        let Ok(id) = ServerId::new(record.server) else { return };
        let shard = self.history.shard(&id);
        let slots = self.slots.entry(id).or_default();
        let mut server = lock(&shard.state);
        for (place, key) in &record.announced {
            // Without the cap: all of these had a place when it was written, though not all at once.
            let slot = server.known(key).unwrap_or_else(|| self.history.place(&mut server, key));
            slots.insert(*place, slot);
        }
        if position <= server.applied {
            return;
        }
        for sweep in &record.sweeps {
            let known = sweep.places.iter().zip(&sweep.values);
            let known = known.filter_map(|(place, value)| Some((*slots.get(place)?, *value)));
            self.row.clear();
            // Segment 0 is none: the log names every place anew.
            server.write(sweep.time, known, 0, &mut self.row);
            self.strange += (sweep.places.len() - self.row.places.len()) as u64;
        }
        for place in &record.retired {
            // It keeps its place: a series that came back is not named again, and a place that got another one is.
            if let Some(slot) = slots.get(place) {
                server.retire(*slot);
            }
        }
        if let Some((boot, seq)) = record.key {
            server.seen.insert(boot, seq);
        }
        server.applied = position;
        self.history.counted(&mut server);
        self.history.trim(&mut server, i64::MIN);
        drop(server);
        self.history.filled(&shard);
    }
}
