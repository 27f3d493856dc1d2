//! All that is in memory, on disk: what a restart begins with, so that only a short piece of the log is replayed.
//!
//! `SEGMENT.heads` begins with [`HEADER`], then come frames: first the segment of the log from which to replay and how far
//! the packed files were written; then one a server; then an empty one, the end. It is written beside and renamed.

use std::io;

use skynet_model::name::ServerId;

use super::bytes::{Cursor, frame, put_frame, put_text};
use super::disk::{self, Disk};
use super::seen::number_of;
use super::server::Server;
use super::shelf::Hole;

/// `SKYHEAD`, newline, format version 1.
const HEADER: [u8; 12] = *b"SKYHEAD\n\x01\0\0\0";
const TEMPORARY: &str = "heads.tmp";
/// So much is written at a time.
const PIECE: usize = 4 << 20;

pub(super) fn name(segment: u32) -> String {
    format!("{segment:010}.heads")
}

/// The segment in a snapshot's file name.
pub(super) fn number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".heads")?;
    (digits.len() == 10).then(|| digits.parse().ok()).flatten()
}

/// A snapshot being written.
pub(super) struct Writing<'a> {
    disk: &'a dyn Disk,
    segment: u32,
    offset: u64,
    bytes: Vec<u8>,
    server: Vec<u8>,
}

impl<'a> Writing<'a> {
    /// Begins one from which the log is replayed at `segment`; `position` is that of the packed files.
    pub(super) fn begin(disk: &'a dyn Disk, segment: u32, position: (u64, u64)) -> Self {
        let mut bytes = HEADER.to_vec();
        let mut first = Vec::new();
        first.extend_from_slice(&segment.to_le_bytes());
        first.extend_from_slice(&position.0.to_le_bytes());
        first.extend_from_slice(&position.1.to_le_bytes());
        put_frame(&mut bytes, &first);
        Self { disk, segment, offset: 0, bytes, server: Vec::new() }
    }

    /// Adds a server: `fill` appends it, under its lock, to memory only.
    pub(super) fn add(&mut self, id: &ServerId, fill: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        self.server.clear();
        put_text(&mut self.server, id.as_str());
        fill(&mut self.server);
        put_frame(&mut self.bytes, &self.server);
        if self.bytes.len() >= PIECE { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.disk.write_at(TEMPORARY, self.offset, &self.bytes)?;
        self.offset += self.bytes.len() as u64;
        self.bytes.clear();
        Ok(())
    }

    /// It is whole; from now on a restart begins with it. Gives its length.
    pub(super) fn end(mut self) -> io::Result<u64> {
        put_frame(&mut self.bytes, &[]);
        self.flush()?;
        self.disk.sync(TEMPORARY)?;
        self.disk.rename(TEMPORARY, &name(self.segment))?;
        Ok(self.offset)
    }
}

/// A snapshot that was read.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub(super) segment: u32,
    /// Where the packed files ended; `None` when the snapshot does not say.
    pub(super) position: Option<(u64, u64)>,
    pub(super) servers: Vec<(ServerId, Server)>,
}

/// Reads the newest snapshot; an empty one if there is none. Damage is named in `holes`, the rest is taken.
///
/// # Errors
/// The system's, or a newer build's snapshot.
pub(super) fn read(disk: &dyn Disk, most: usize, holes: &mut Vec<Hole>) -> io::Result<Snapshot> {
    let newest = disk.list()?.iter().filter_map(|(name, _)| number(name)).max();
    let Some(segment) = newest else { return Ok(Snapshot::default()) };
    let file = name(segment);
    let bytes = disk::read(disk, &file)?;
    let place = disk.place(&file);
    if bytes.get(..8) == Some(&HEADER[..8]) && bytes.get(..12) != Some(&HEADER[..]) {
        return Err(io::Error::other(format!(
            "{place} has a format version that is not 1: a newer build wrote it; use that one"
        )));
    }
    let mut hole = |what: &str| holes.push(Hole { place: place.clone(), what: what.to_owned() });
    let mut snapshot = Snapshot { segment, ..Snapshot::default() };
    let mut at = HEADER.len();
    match frame(&bytes, at).filter(|_| bytes.starts_with(&HEADER)) {
        Some(first) => {
            let mut cursor = Cursor::new(first.payload);
            snapshot.position = cursor.u32().and_then(|_| cursor.u64().zip(cursor.u64()));
            at = first.next;
        }
        None => {
            hole("the snapshot's beginning is damaged; what was in memory then and not packed yet is lost");
            return Ok(snapshot);
        }
    }
    let mut damaged = false;
    while at < bytes.len() {
        let Some(next) = frame(&bytes, at) else {
            // Lengths chain: behind a damaged one the next frame is searched.
            if !std::mem::replace(&mut damaged, true) {
                hole(&format!(
                    "the snapshot is damaged at byte {at}; what one server or more had in memory then is lost"
                ));
            }
            at += 1;
            continue;
        };
        if next.payload.is_empty() {
            return Ok(snapshot);
        }
        let mut cursor = Cursor::new(next.payload);
        let server = cursor.text().and_then(|id| ServerId::new(id).ok());
        match server.and_then(|id| Some((id.clone(), Server::load(&mut cursor, most, number_of(id.as_str()))?))) {
            Some(server) => snapshot.servers.push(server),
            None => hole(&format!("the server at byte {at} cannot be read; what it had in memory then is lost")),
        }
        at = next.next;
    }
    if !damaged {
        hole("the snapshot has no end; what some servers had in memory then is lost");
    }
    Ok(snapshot)
}
