//! Events on their way: what the journal has and Redis has not, batch by batch, each with its head.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::append::{Appended, Entry, Writer};
use super::attach::{Attach, Found};
use super::board::{Board, Part};
use super::chain::{Gap, Hash, Head, Key};
use super::state::State;
use super::{Keys, Settings, Sources, Store, Trouble, bundles, trim, walk};
use crate::journal::{Connection, Dropped, FaultKind, Feed, Kept, Outbox};

/// Events of one batch.
const BATCH: usize = 500;
/// Bytes of one batch, about.
const BATCH_BYTES: usize = 1 << 20;
/// How long events gather before they are sent.
const GATHER: Duration = Duration::from_millis(20);
/// How often an idle store is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// The shortest and the longest wait between two tries.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// How long what is left may take at the end.
const DRAIN: Duration = Duration::from_secs(3);

/// The events' part of the copy.
pub(super) struct Mirror {
    settings: Settings,
    keys: Keys,
    key: Option<Key>,
    /// How far the copy is; none until its file could be read.
    state: Option<State>,
    outbox: Outbox,
    feed: Arc<Feed>,
    board: Arc<Board>,
    policies: PathBuf,
    ready: watch::Sender<u64>,
    dropped: Arc<crate::journal::Hold>,
    /// The stream's head while attached.
    head: Head,
    unsaved: Option<String>,
    /// Which journal this is, by the last attachment.
    instance: String,
    /// How often the copy was taken up.
    attached: u64,
}

impl Mirror {
    pub(super) fn new(store: Store, sources: &Sources, board: Arc<Board>, ready: watch::Sender<u64>) -> Self {
        let Store { settings, hold } = store;
        let outbox = Outbox::new(&settings.journal(), Arc::clone(&sources.feed));
        let head = Head { seq: 0, hash: Hash::start(&settings.fleet), base: None };
        Self {
            keys: Keys::new(&settings.fleet),
            policies: settings.policies(),
            feed: Arc::clone(&sources.feed),
            dropped: hold,
            settings,
            key: None,
            state: None,
            outbox,
            board,
            ready,
            head,
            unsaved: None,
            instance: String::new(),
            attached: 0,
        }
    }

    /// Runs until `stop`.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut tries = 0;
        loop {
            let mut ending = stop.clone();
            let overdue = async move {
                let _ = ending.wait_for(|stop| *stop).await;
                tokio::time::sleep(DRAIN + DRAIN / 2).await;
            };
            let result = tokio::select! {
                result = self.session(&mut stop) => result,
                () = overdue => return,
            };
            self.ready.send_replace(0);
            match result {
                Ok(Ended::Stopped) => return,
                // Somebody else changed something: what it is shows when the copy is taken up again.
                Ok(Ended::Unexpected) => tries = 0,
                Err((trouble, attached)) => {
                    tries = if attached { 0 } else { tries + 1 };
                    self.note_waiting();
                    self.board.begin(Part::Events, &trouble).await;
                }
            }
            self.note_dropped().await;
            let pause = backoff(tries, self.settings.fleet.as_str(), (self.board.now()).0);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// One connection, until it ends. The flag of an error says whether the copy had been taken up.
    async fn session(&mut self, stop: &mut watch::Receiver<bool>) -> Result<Ended, (Trouble, bool)> {
        let own = |text| (Trouble::Own(text), false);
        self.key = self.settings.key().map_err(own)?;
        if self.state.is_none() {
            let state = State::load(&self.settings.data_dir, &self.settings.fleet).map_err(own)?;
            self.board.copied(state.seq, 0, None, None);
            self.state = Some(state);
        }
        let mut connection = Connection::open(&self.settings.access).await.map_err(|fault| (fault.into(), false))?;
        self.attach(&mut connection).await.map_err(|trouble| (trouble, false))?;
        self.flow(&mut connection, stop).await.map_err(|trouble| (trouble, true))
    }

    async fn attach(&mut self, connection: &mut Connection) -> Result<(), Trouble> {
        let (last, now) = (self.feed.last(), self.board.now());
        let attach = Attach { keys: &self.keys, fleet: &self.settings.fleet, key: self.key.as_ref(), last, now };
        let Some(state) = &mut self.state else { return Ok(()) };
        let (found, head) = attach.run(connection, state, &mut self.outbox).await?;
        self.instance.clone_from(&state.instance);
        self.head = head;
        // That it can be written is known only when it was.
        if matches!(self.append(connection, &[], last).await?, Appended::Unexpected) {
            return Err(Trouble::Own("Redis was changed while the copy was taken up; it is tried again".to_owned()));
        }
        self.save(0, None);
        bundles::mirror(connection, &self.keys, &self.policies).await?;
        let place = &self.settings.access.address;
        match found {
            Found::Same => {}
            Found::New => tracing::info!("the offsite copy begins at {place}"),
            Found::TakenUp { to } => tracing::info!("the offsite copy at {place} was taken up at event {to}"),
            Found::Wiped { had } => {
                let text = format!(
                    "offsite copy: Redis at {place} was wiped (or is another one than before): events up to {had} had been \
                     copied and nothing is there; all that \
                     the journal still has is sent again, older events are gone"
                );
                self.board.remark(text).await;
            }
            Found::RolledBack { to, had } => {
                let text = format!(
                    "offsite copy: Redis at {place} was rolled back: it ends at event {to}, events up to {had} had been \
                     copied; they are sent again as far as the journal has them"
                );
                self.board.remark(text).await;
            }
        }
        self.board.end(Part::Events).await;
        self.attached += 1;
        self.ready.send_replace(self.attached);
        Ok(())
    }

    async fn flow(&mut self, connection: &mut Connection, stop: &mut watch::Receiver<bool>) -> Result<Ended, Trouble> {
        let mut coming = self.feed.listen();
        let mut end: Option<tokio::time::Instant> = None;
        loop {
            self.note_dropped().await;
            let last = self.feed.last();
            let kept =
                self.outbox.next(self.head.seq, last, BATCH, BATCH_BYTES).map_err(|e| Trouble::Own(e.to_string()))?;
            let began = tokio::time::Instant::now();
            let count = kept.len();
            if !self.send(connection, kept, last).await? {
                return Ok(Ended::Unexpected);
            }
            if *stop.borrow() {
                let end = *end.get_or_insert_with(|| began + DRAIN);
                if self.head.seq >= self.feed.last() || began >= end {
                    return Ok(Ended::Stopped);
                }
                continue;
            }
            if self.head.seq < self.feed.last() && count > 0 {
                let least = Duration::from_secs_f64(count as f64 / f64::from(self.settings.drain_per_second));
                tokio::select! {
                    () = tokio::time::sleep_until(began + least) => {}
                    _ = stop.wait_for(|stop| *stop) => {}
                }
                continue;
            }
            tokio::select! {
                _ = coming.recv() => {
                    tokio::time::sleep(GATHER).await;
                    coming = coming.resubscribe();
                }
                () = tokio::time::sleep(LOOK) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
    }

    /// Sends a batch; an empty one only looks. False when something unexpected is there.
    async fn send(&mut self, connection: &mut Connection, kept: Vec<Kept>, last: u64) -> Result<bool, Trouble> {
        if kept.iter().any(activates) {
            bundles::mirror(connection, &self.keys, &self.policies).await?;
        }
        let Appended::Done(length, live) = self.append(connection, &kept, last).await? else { return Ok(false) };
        match live {
            Some(text) => {
                let text = format!("the live channel cannot be told: {text}; give the user `&{}`", self.keys.live());
                self.board.begin(Part::Live, &Trouble::Own(text)).await;
            }
            None => self.board.end(Part::Live).await,
        }
        if let Some(newest) = kept.last() {
            self.save(kept.len() as u64, Some(length));
            // What still waits is about as old.
            self.board.waits_since(Some(newest.time));
        }
        if length > self.settings.events_max + self.settings.events_max / 10 {
            let writer = Writer { keys: &self.keys, instance: &self.instance };
            let names = (self.settings.fleet.as_str(), self.key.as_ref());
            let keep = self.settings.events_max;
            return trim::cut(connection, writer, names, &mut self.head, &mut self.outbox, keep).await;
        }
        Ok(true)
    }

    async fn append(&mut self, connection: &mut Connection, kept: &[Kept], last: u64) -> Result<Appended, Trouble> {
        let (mut seq, mut hash) = (self.head.seq, self.head.hash);
        let entries: Vec<Entry> = kept
            .iter()
            .map(|kept| {
                let gap = (kept.seq > seq + 1).then(|| Gap { first: seq + 1, last: kept.seq - 1 });
                hash = hash.then(gap, &kept.json);
                seq = kept.seq;
                let gap = gap.map_or_else(String::new, |gap| gap.to_string());
                Entry { seq, json: kept.json.clone(), hash: hash.to_string(), gap }
            })
            .collect();
        let after = Head { seq, hash, base: self.head.base };
        let seal = after.seal(self.key.as_ref(), &self.settings.fleet, &self.instance);
        // Dashboards are told of the present; a backlog they read in the stream.
        let message = if seq == last && !kept.is_empty() { live_message(kept) } else { String::new() };
        let writer = Writer { keys: &self.keys, instance: &self.instance };
        let now = self.board.now().0;
        let result = writer.append(connection, &self.head, (&after, &seal), now, &message, &entries).await;
        match result {
            Ok(Appended::Done(..)) => self.head = after,
            // Which key it is, only a look at them tells.
            Err(Trouble::Fault(fault)) if fault.kind == FaultKind::WrongType => {
                walk::check_types(connection, &self.keys).await?;
                return Err(Trouble::Fault(fault));
            }
            Ok(Appended::Unexpected) | Err(_) => {}
        }
        result
    }

    /// Notes how far the copy is: in the file first, so that the journal never lets go what the file does not know.
    fn save(&mut self, sent: u64, length: Option<u64>) {
        let Some(state) = &mut self.state else { return };
        (state.seq, state.hash) = (self.head.seq, self.head.hash);
        match state.save() {
            Ok(()) => {
                if self.unsaved.take().is_some() {
                    tracing::info!("how far the offsite copy is can be written down again");
                }
                self.board.copied(self.head.seq, sent, length, None);
            }
            Err(error) => {
                if self.unsaved.as_ref() != Some(&error) {
                    tracing::warn!("{error}; the journal keeps what is copied meanwhile, too");
                    self.unsaved = Some(error);
                }
            }
        }
    }

    /// Since when the oldest event waits.
    fn note_waiting(&mut self) {
        let copied = self.state.as_ref().map_or(0, |state| state.seq);
        let oldest = self.outbox.next(copied, self.feed.last(), 1, 1);
        self.board.waits_since(oldest.ok().and_then(|kept| kept.first().map(|kept| kept.time)));
    }

    async fn note_dropped(&mut self) {
        for Dropped { first, last, why } in self.dropped.take_dropped() {
            let text = format!(
                "offsite copy: events {first} to {last} were compacted before Redis had them, because {why}; what still \
                 matters of them is kept and will be sent, the gap is marked in the stream"
            );
            self.board.remark(text).await;
        }
    }
}

enum Ended {
    Stopped,
    Unexpected,
}

fn activates(kept: &Kept) -> bool {
    const WORD: &[u8] = b"\"event\":\"policy_activated\"";
    kept.json.windows(WORD.len()).any(|window| window == WORD)
}

/// `{"v":1,"events":[...]}`, each event as it is in the stream.
fn live_message(kept: &[Kept]) -> String {
    let events: Vec<_> = kept.iter().map(|kept| String::from_utf8_lossy(&kept.json)).collect();
    format!("{{\"v\":{},\"events\":[{}]}}", super::FORMAT, events.join(","))
}

/// The wait before try number `tries`: doubling, up to a quarter shorter so that controllers do not come together.
fn backoff(tries: u32, fleet: &str, now: i64) -> Duration {
    let (shortest, longest) = BACKOFF;
    let full = shortest.saturating_mul(1 << tries.min(10)).min(longest);
    let seed = fleet.bytes().fold(now.unsigned_abs(), |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
    full - full.mul_f64((seed % 1000) as f64 / 4000.0)
}

#[cfg(test)]
mod tests {
    use skynet_model::time::Timestamp;

    use super::*;

    #[test]
    fn waits_double_and_end_at_half_a_minute() {
        assert!(backoff(0, "demo", 0) <= BACKOFF.0);
        for tries in 0..40 {
            let wait = backoff(tries, "demo", 12_345);
            assert!(wait >= BACKOFF.0.mul_f64(0.74) && wait <= BACKOFF.1, "{tries}: {wait:?}");
        }
        assert_ne!(backoff(9, "demo", 1), backoff(9, "demo", 2));
    }

    #[test]
    fn the_live_message_of_version_1_never_changes() {
        let json = br#"{"seq":1,"time":2,"event":"policy_activated","version":1,"digest":"d","by":"b"}"#.to_vec();
        let kept = Kept { seq: 1, time: Timestamp(2), json };
        assert!(activates(&kept));
        assert_eq!(
            live_message(&[kept]),
            r#"{"v":1,"events":[{"seq":1,"time":2,"event":"policy_activated","version":1,"digest":"d","by":"b"}]}"#
        );
    }
}
