//! Readings on their way: latest values at most once a second, chunks as they are sealed.
//!
//! They go over a connection of their own, so that they never hold events up. Nothing of the present is kept for later:
//! while Redis is away, latest values are simply not sent. Chunks stay on disk and are read from there, and Redis itself
//! knows how far they are.

use std::sync::Arc;
use std::time::Duration;

use skynet_model::time::{Span, Timestamp};
use tokio::sync::watch;

use super::board::{Board, Part};
use super::{Keys, Settings, Sources, Trouble};
use crate::history::{Archive, History, Latest, Packs, Place, Sealed};
use crate::journal::{Call, Connection, FaultKind};

/// How often latest values are looked at.
const EVERY: Duration = Duration::from_secs(1);
/// Series that are looked at in one second; with more, each server's come less often.
const SERIES: usize = 50_000;
/// Commands that are sent at once.
const CALLS: usize = 256;
/// Bytes of chunks that are read back at once, and in one second at most.
const CHUNK_BYTES: usize = 4 << 20;
/// The wait after a trouble.
const PAUSE: Duration = Duration::from_secs(2);
/// The file that says that chunks of this data folder were sent: without it all are sent again.
const MARK: &str = "store-chunks.json";

/// The readings' part of the copy.
pub(super) struct Readings {
    settings: Settings,
    keys: Keys,
    history: Arc<History>,
    archive: Arc<dyn Archive>,
    board: Arc<Board>,
    /// How often the events' part has taken up the copy; 0 while it has not.
    ready: watch::Receiver<u64>,
    turn: usize,
}

/// What is known on one connection.
#[derive(Default)]
struct Known {
    latest: Latest,
    packs: Packs,
    place: Option<Place>,
}

impl Readings {
    pub(super) fn new(settings: &Settings, sources: &Sources, board: Arc<Board>, ready: watch::Receiver<u64>) -> Self {
        let (settings, history) = (settings.clone(), Arc::clone(&sources.history));
        let archive = Arc::clone(&sources.archive);
        Self { keys: Keys::new(&settings.fleet), settings, history, archive, board, ready, turn: 0 }
    }

    /// Runs for ever.
    pub(super) async fn run(mut self) {
        loop {
            // The events' part knows whether what is there is ours. When it ends, so does this.
            let Ok(attached) = self.ready.wait_for(|attached| *attached > 0).await.map(|attached| *attached) else {
                return std::future::pending().await;
            };
            if let Err(trouble) = self.session(attached).await {
                self.board.begin(Part::Readings, &trouble).await;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// One connection, as long as the events' part is well. What is taken up anew may have been wiped.
    async fn session(&mut self, attached: u64) -> Result<(), Trouble> {
        let mut connection = Connection::open(&self.settings.access).await?;
        let place = self.place(&mut connection).await?;
        let mut known = Known { place, ..Known::default() };
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut looked: Option<tokio::time::Instant> = None;
        loop {
            tick.tick().await;
            if *self.ready.borrow() != attached {
                return Ok(());
            }
            self.send_latest(&mut connection, &mut known.latest).await?;
            // What was packed together goes together.
            if looked.is_none_or(|looked| looked.elapsed() >= self.settings.chunks_every) {
                let more = self.send_packed(&mut connection, &mut known).await?;
                looked = (!more).then(tokio::time::Instant::now);
            }
            self.board.end(Part::Readings).await;
        }
    }

    async fn send_latest(&mut self, connection: &mut Connection, latest: &mut Latest) -> Result<(), Trouble> {
        let mut servers = self.history.servers();
        servers.sort_unstable();
        let (mut seen, mut sent) = (0, 0);
        let mut calls = Vec::new();
        for _ in 0..servers.len() {
            let Some(server) = servers.get(self.turn % servers.len()) else { break };
            self.turn = (self.turn + 1) % servers.len();
            let values = self.history.latest(server);
            seen += values.len() + 1;
            let changes = latest.changes(server, &values);
            if !changes.is_empty() {
                sent += changes.set.len() as u64;
                calls.extend(changes.calls(&self.keys, server));
                calls.push(Call::new("PUBLISH").arg(self.keys.live()).arg(changes.message(server)));
            }
            if calls.len() >= CALLS {
                self.pipeline(connection, std::mem::take(&mut calls), &self.keys.latest(server)).await?;
            }
            if seen > SERIES {
                break;
            }
        }
        let key = servers.first().map_or_else(|| self.keys.meta(), |server| self.keys.latest(server));
        self.pipeline(connection, calls, &key).await?;
        if sent > 0 {
            self.board.latest_sent(sent, self.board.now());
        }
        Ok(())
    }

    /// Sends what was packed since. Whether there may be more.
    async fn send_packed(&self, connection: &mut Connection, known: &mut Known) -> Result<bool, Trouble> {
        let found = self.archive.sealed_after(known.place, CHUNK_BYTES);
        let found = found.map_err(|e| Trouble::Own(format!("readings cannot be read back for the copy: {e}")))?;
        let Some((place, _)) = found.last() else { return Ok(false) };
        let place = *place;
        let mut chunks: Vec<Sealed> = found.into_iter().map(|(_, chunk)| chunk).collect();
        let newest = chunks.iter().map(|chunk| chunk.last).max().unwrap_or_default();
        let oldest = Timestamp(self.board.now().0 - self.settings.chunks_keep.0 - Span::hours(1).0);
        // What would end at once need not be sent.
        chunks.retain(|chunk| chunk.first > oldest);
        let mut calls = known.packs.calls(connection, &self.keys, &chunks, self.settings.chunks_keep).await?;
        let text = format!("{} {}", place.file, place.offset);
        calls.push(Call::new("HSET").arg(self.keys.archive()).arg("place").arg(text));
        let key = chunks.first().map_or_else(|| self.keys.archive(), |chunk| self.keys.series(&chunk.server));
        while !calls.is_empty() {
            let rest = calls.split_off(calls.len().min(CALLS));
            self.pipeline(connection, std::mem::replace(&mut calls, rest), &key).await?;
        }
        self.mark()?;
        known.place = Some(place);
        self.board.chunks_sent(&chunks, newest);
        Ok(true)
    }

    /// Sends; a wrong type is told with the key that is asked about.
    async fn pipeline(&self, connection: &mut Connection, calls: Vec<Call>, key: &str) -> Result<(), Trouble> {
        let Err(fault) = connection.pipeline(calls).await else { return Ok(()) };
        if fault.kind == FaultKind::WrongType {
            let is = connection.call(&Call::new("TYPE").arg(key)).await?;
            let is = is.text().unwrap_or_default().to_owned();
            if is != "hash" && is != "none" {
                return Err(Trouble::WrongType { key: key.to_owned(), is, should: "hash" });
            }
        }
        Err(fault.into())
    }

    /// Behind which chunk the copy goes on. Redis knows it, so that a wiped or rolled back one gets again what it lost;
    /// a data folder that has sent nothing yet begins with its first chunk.
    async fn place(&self, connection: &mut Connection) -> Result<Option<Place>, Trouble> {
        if !self.settings.data_dir.join(MARK).exists() {
            return Ok(None);
        }
        let reply = connection.call(&Call::new("HGET").arg(self.keys.archive()).arg("place")).await?;
        Ok(reply.text().and_then(parse_place))
    }

    fn mark(&self) -> Result<(), Trouble> {
        let path = self.settings.data_dir.join(MARK);
        if path.exists() {
            return Ok(());
        }
        super::state::replace(&path, "{\"format\":1}\n")
            .map_err(|e| Trouble::Own(format!("cannot write {}: {e}", path.display())))
    }
}

fn parse_place(text: &str) -> Option<Place> {
    let (file, offset) = text.split_once(' ')?;
    Some(Place { file: file.parse().ok()?, offset: offset.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_of_format_1_is_read_for_ever() {
        assert_eq!(parse_place("7 4096"), Some(Place { file: 7, offset: 4096 }));
        assert_eq!(parse_place("7"), None);
        assert_eq!(parse_place(""), None);
    }
}
