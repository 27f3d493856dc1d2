//! What there is to know of the copy, and who is told: each trouble once when it begins and once when it ends.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skynet_model::time::{Span, Timestamp};

use super::{Settings, Trouble};
use crate::core::{Handle, Input};
use crate::history::Sealed;
use crate::journal::{Feed, Hold};

/// The topic of the copy's remarks.
const TOPIC: &str = "store";
/// The same trouble within this time is not told again.
const AGAIN: Span = Span::minutes(1);

/// A part of the copy that has its own troubles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Part {
    Events,
    Live,
    Readings,
}

impl Part {
    fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Live => "live",
            Self::Readings => "readings",
        }
    }
}

#[derive(Clone, Debug)]
struct Active {
    word: &'static str,
    same: String,
    message: String,
    since: Timestamp,
    told: bool,
}

#[derive(Debug, Default)]
struct Inner {
    connected: bool,
    seq: u64,
    /// When the oldest event that is not copied happened.
    oldest: Option<Timestamp>,
    troubles: BTreeMap<Part, Active>,
    told: HashMap<String, Timestamp>,
    sent: u64,
    stream: u64,
    latest: u64,
    latest_time: Option<Timestamp>,
    chunks: u64,
    chunk_bytes: u64,
    samples: u64,
    chunks_to: Option<Timestamp>,
}

/// The state of the copy, for readers.
pub struct Board {
    address: String,
    pub(super) settings: Settings,
    hold: Arc<Hold>,
    feed: Arc<Feed>,
    core: Handle,
    clock: fn() -> Timestamp,
    inner: Mutex<Inner>,
}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Board").field("address", &self.address).finish_non_exhaustive()
    }
}

/// One trouble, for readers.
#[derive(Clone, Debug)]
pub struct Told {
    /// Which part of the copy has it.
    pub part: &'static str,
    /// A stable word.
    pub word: &'static str,
    /// In words.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
}

/// The state at one moment.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Where the copy is.
    pub redis: String,
    /// Whether it is connected.
    pub connected: bool,
    /// Whether heads are sealed.
    pub sealed: bool,
    /// The last event that Redis has.
    pub mirrored: u64,
    /// The last event there is.
    pub journal: u64,
    /// Bytes of the segments in which events wait.
    pub waiting_bytes: u64,
    /// How old the oldest event is that waits.
    pub waiting_age: Span,
    /// How much longer it may wait.
    pub left: Span,
    /// Events sent since the start.
    pub sent: u64,
    /// Entries in the stream.
    pub stream: u64,
    /// Latest values sent since the start.
    pub latest: u64,
    /// When latest values were sent last.
    pub latest_time: Option<Timestamp>,
    /// Chunks sent since the start.
    pub chunks: u64,
    /// Their bytes.
    pub chunk_bytes: u64,
    /// Their samples.
    pub samples: u64,
    /// The end of the newest chunk sent.
    pub chunks_to: Option<Timestamp>,
    /// What is wrong.
    pub troubles: Vec<Told>,
}

impl Board {
    pub(super) fn new(
        settings: &Settings,
        hold: Arc<Hold>,
        feed: Arc<Feed>,
        core: Handle,
        clock: fn() -> Timestamp,
    ) -> Self {
        let (address, settings) = (settings.access.address.to_string(), settings.clone());
        Self { address, settings, hold, feed, core, clock, inner: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Says something to the operators: in the log and as an event.
    pub(super) async fn remark(&self, message: String) {
        self.core.tell(Input::Remark { server: None, topic: TOPIC, message }).await;
    }

    /// A part has a trouble; told if it is a new one.
    pub(super) async fn begin(&self, part: Part, trouble: &Trouble) {
        let (word, same, now) = (trouble.word(), trouble.same(), self.now());
        let message = format!("{}{}", lower_reason(&trouble.to_string()), self.waiting_text(now));
        let told = {
            let mut inner = self.inner();
            inner.connected = inner.connected && part != Part::Events;
            if let Some(active) = inner.troubles.get_mut(&part).filter(|active| active.same == same) {
                active.message = message;
                return;
            }
            // Both connections fail when Redis does; it is said once.
            let known = inner.troubles.values().any(|active| active.same == same && active.told);
            let recent = inner.told.get(&same).is_some_and(|at| now.since(*at) < AGAIN);
            let told = !known && !recent;
            // One trouble that turns into another is one trouble to its end.
            let before = inner.troubles.get(&part).map(|active| (active.since, active.told));
            let since = before.map_or(now, |(since, _)| since);
            if told {
                inner.told.retain(|_, at| now.since(*at) < AGAIN);
                inner.told.insert(same.clone(), now);
            }
            inner.troubles.insert(
                part,
                Active {
                    word,
                    same,
                    message: message.clone(),
                    since,
                    told: told || before.is_some_and(|(_, told)| told),
                },
            );
            told
        };
        if told {
            self.remark(format!("offsite copy: {message}")).await;
        } else {
            tracing::debug!("offsite copy ({}): {message}", part.as_str());
        }
    }

    /// A part works again; told if its trouble was.
    pub(super) async fn end(&self, part: Part) {
        let ended = {
            let mut inner = self.inner();
            inner.connected = inner.connected || part == Part::Events;
            inner.troubles.remove(&part)
        };
        if let Some(ended) = ended.filter(|ended| ended.told) {
            let lasted = Span(self.now().since(ended.since).0 / 1000 * 1000);
            self.remark(format!("offsite copy: {} works again after {lasted} ({})", self.address, ended.word)).await;
        }
    }

    /// `; N events wait on disk, 71 h left`, when something waits.
    fn waiting_text(&self, now: Timestamp) -> String {
        let shown = self.show(now);
        let count = shown.journal.saturating_sub(shown.mirrored);
        if count == 0 {
            return String::new();
        }
        format!("; {count} events wait on disk, {} left", hours(shown.left))
    }

    pub(super) fn copied(&self, seq: u64, sent: u64, stream: Option<u64>, oldest: Option<Timestamp>) {
        self.hold.copied_to(seq);
        let mut inner = self.inner();
        (inner.seq, inner.oldest) = (seq, oldest);
        inner.sent += sent;
        inner.stream = stream.unwrap_or(inner.stream);
    }

    pub(super) fn waits_since(&self, oldest: Option<Timestamp>) {
        self.inner().oldest = oldest;
    }

    pub(super) fn latest_sent(&self, values: u64, now: Timestamp) {
        let mut inner = self.inner();
        inner.latest += values;
        inner.latest_time = Some(now);
    }

    pub(super) fn chunks_sent(&self, chunks: &[Sealed], to: Timestamp) {
        let mut inner = self.inner();
        inner.chunks += chunks.len() as u64;
        inner.chunk_bytes += chunks.iter().map(|chunk| chunk.bytes.len() as u64).sum::<u64>();
        inner.samples += chunks.iter().map(|chunk| u64::from(chunk.samples)).sum::<u64>();
        inner.chunks_to = inner.chunks_to.max(Some(to));
    }

    /// The state now.
    #[must_use]
    pub fn show(&self, now: Timestamp) -> Shown {
        let journal = self.feed.last();
        let waiting = self.hold.waiting();
        let inner = self.inner();
        let behind = journal > inner.seq;
        let age = inner.oldest.filter(|_| behind).map_or(Span::default(), |oldest| now.since(oldest));
        let troubles = inner.troubles.iter().map(|(part, active)| Told {
            part: part.as_str(),
            word: active.word,
            message: active.message.clone(),
            since: active.since,
        });
        Shown {
            redis: self.address.clone(),
            connected: inner.connected,
            sealed: self.settings.chain_key.is_some(),
            mirrored: inner.seq,
            journal,
            waiting_bytes: if behind { waiting.bytes } else { 0 },
            waiting_age: age,
            left: Span((self.settings.bounds.age.0 - age.0).max(0)),
            sent: inner.sent,
            stream: inner.stream,
            latest: inner.latest,
            latest_time: inner.latest_time,
            chunks: inner.chunks,
            chunk_bytes: inner.chunk_bytes,
            samples: inner.samples,
            chunks_to: inner.chunks_to,
            troubles: troubles.collect(),
        }
    }
}

fn hours(span: Span) -> String {
    match span.0 {
        ms if ms >= 3_600_000 => format!("{} h", ms / 3_600_000),
        ms => format!("{} min", ms / 60_000),
    }
}

/// Systems begin their reasons with a capital: `...: Connection refused` reads better small.
fn lower_reason(text: &str) -> String {
    text.replace(": Connection refused", ": connection refused").replace(": Connection reset", ": connection reset")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_and_times_read_well() {
        assert_eq!(lower_reason("no Redis at x: Connection refused"), "no Redis at x: connection refused");
        assert_eq!((hours(Span::hours(71)), hours(Span::minutes(5))), ("71 h".to_owned(), "5 min".to_owned()));
    }
}
