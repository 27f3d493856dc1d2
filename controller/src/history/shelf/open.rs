//! The file that grows, and its index in memory: small, for the file is finished before it is large.

use std::collections::HashMap;

use skynet_model::series::SeriesKey;
use skynet_model::time::Timestamp;

use super::frame::{Frame, Place};
use super::index::{Footer, Listing};

/// What one server has in the file.
#[derive(Clone, Debug, Default)]
struct Index {
    /// Keys in order, and their numbers.
    keys: Vec<(SeriesKey, u32)>,
    places: Vec<(u32, Place)>,
}

/// The series of a file.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Contents {
    servers: HashMap<String, Index>,
    pub(in super::super) footer: Footer,
}

impl Contents {
    /// Adds a frame that lies at `offset`.
    pub(in super::super) fn add(&mut self, offset: u64, frame: &Frame) {
        let Ok(offset) = u32::try_from(offset) else { return };
        if !self.servers.contains_key(&frame.server) {
            self.servers.insert(frame.server.clone(), Index::default());
        }
        let Some(index) = self.servers.get_mut(&frame.server) else { return };
        for (key, place) in &frame.series {
            let number = match index.keys.binary_search_by(|(known, _)| known.cmp(key)) {
                Ok(at) => index.keys[at].1,
                Err(at) => {
                    let number = index.keys.len() as u32;
                    index.keys.insert(at, (key.clone(), number));
                    number
                }
            };
            let (times, values) = (place.times.saturating_add(offset), place.values.saturating_add(offset));
            index.places.push((number, Place { times, values, ..*place }));
            let footer = &mut self.footer;
            let fresh = footer.chunks == 0;
            footer.first = if fresh { place.first } else { footer.first.min(place.first) };
            footer.last = if fresh { place.last() } else { footer.last.max(place.last()) };
            footer.chunks += 1;
        }
    }

    /// A server's series that `wanted` wants.
    pub(in super::super) fn find(&self, server: &str, wanted: &dyn Fn(&SeriesKey) -> bool) -> Listing {
        let Some(index) = self.servers.get(server) else { return Listing::new() };
        let names: HashMap<u32, &SeriesKey> =
            index.keys.iter().filter(|(key, _)| wanted(key)).map(|(key, number)| (*number, key)).collect();
        let place = |(number, place): &(u32, Place)| names.get(number).map(|key| ((*key).clone(), *place));
        index.places.iter().filter_map(place).collect()
    }

    /// All servers with all their series.
    pub(in super::super) fn listings(&self) -> impl Iterator<Item = (&str, Listing)> {
        self.servers.keys().map(|server| (server.as_str(), self.find(server, &|_| true)))
    }
}

/// The file that grows.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Open {
    pub(in super::super) number: u64,
    pub(in super::super) length: u64,
    /// When its first frame was written.
    pub(in super::super) since: Option<Timestamp>,
    pub(in super::super) contents: Contents,
}
