//! The write-ahead log of readings: batches wait in memory, one thread writes and syncs them in groups.
//!
//! What must never enter: decisions (those never wait for this), what readings mean. A batch's position in the log is its
//! ticket; a ticket is durable when the log is on disk up to there, and only then is the batch acknowledged.
//! While the disk is full or failing nothing is acknowledged, memory stays bounded, and the log goes on by itself.

pub(super) mod record;
pub(super) mod scan;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::disk::Disk;
use record::HEADER;

/// Between two syncs, unless much waits: an acknowledgement is in no hurry, and a sync costs the same for one batch and
/// for a thousand.
const PAUSE: Duration = Duration::from_millis(20);
/// So many waiting bytes end the pause.
const MUCH: usize = 1 << 20;
/// So many waiting bytes are the bound.
const MOST: usize = 64 << 20;
/// Between two attempts after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// A buffer larger than this is given back after the storm.
const KEPT_BUFFER: usize = 4 << 20;

/// A place in the log: segment, and byte within it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position(pub(super) u64);

impl Position {
    /// Before everything.
    pub(super) const START: Self = Self(0);

    pub(super) fn new(segment: u32, offset: u64) -> Self {
        Self(u64::from(segment) << 40 | offset)
    }
}

/// What became of a record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It waits to be written; it ends there.
    At(Position),
    /// The log went on to this segment meanwhile; places must be named anew.
    Segment(u32),
    /// Too much waits already.
    Full,
}

#[derive(Debug)]
struct Queue {
    bytes: Vec<u8>,
    /// Where in the waiting bytes a new segment begins.
    cut: Option<usize>,
    segment: u32,
    /// Where the next record begins.
    offset: u64,
    hurry: bool,
    stop: bool,
}

/// The log. Clones of the handle are one log.
#[derive(Clone, Debug)]
pub(super) struct Wal {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    durable: watch::Sender<Position>,
    trouble: watch::Sender<Option<String>>,
}

/// A segment's file.
pub(super) fn segment_name(segment: u32) -> String {
    format!("{segment:010}.log")
}

/// The number in a segment's file name.
pub(super) fn segment_number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".log")?;
    (digits.len() == 10).then(|| digits.parse().ok()).flatten()
}

impl Wal {
    /// A log that goes on with a new segment; its thread writes to `disk` until [`Wal::stop`].
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(disk: Arc<dyn Disk>, segment: u32) -> std::io::Result<(Self, std::thread::JoinHandle<()>)> {
        let offset = HEADER.len() as u64;
        let queue = Queue { bytes: HEADER.to_vec(), cut: None, segment, offset, hurry: true, stop: false };
        let (durable, trouble) = (watch::Sender::new(Position::START), watch::Sender::new(None));
        let shared = Arc::new(Shared { queue: Mutex::new(queue), wake: Condvar::new(), durable, trouble });
        let scribe = Scribe { shared: Arc::clone(&shared), disk, segment, offset: 0 };
        let thread = std::thread::Builder::new().name("history-log".to_owned()).spawn(move || scribe.run())?;
        Ok((Self { shared }, thread))
    }

    /// The segment that grows.
    pub(super) fn segment(&self) -> u32 {
        self.shared.queue().segment
    }

    /// How long it is.
    pub(super) fn length(&self) -> u64 {
        self.shared.queue().offset
    }

    /// Adds a record that was made for `segment`: head and body of its payload.
    pub(super) fn push(&self, segment: u32, head: &[u8], body: &[u8]) -> Pushed {
        let length = head.len() + body.len();
        let word = u32::try_from(length).unwrap_or(u32::MAX);
        let mut crc = crc32fast::Hasher::new();
        crc.update(&word.to_le_bytes());
        crc.update(head);
        crc.update(body);
        let crc = crc.finalize();
        let mut queue = self.shared.queue();
        if queue.segment != segment {
            return Pushed::Segment(queue.segment);
        }
        if queue.bytes.len() + length > MOST || length > record::MAX_RECORD {
            return Pushed::Full;
        }
        let idle = queue.bytes.is_empty();
        queue.bytes.extend_from_slice(&word.to_le_bytes());
        queue.bytes.extend_from_slice(&crc.to_le_bytes());
        queue.bytes.extend_from_slice(head);
        queue.bytes.extend_from_slice(body);
        queue.offset += (length + super::bytes::PREFIX) as u64;
        let (position, much) = (Position::new(segment, queue.offset), queue.bytes.len() >= MUCH);
        drop(queue);
        if idle || much {
            self.shared.wake.notify_all();
        }
        Pushed::At(position)
    }

    /// Goes on with a new segment; gives its number. Records pushed from now on are in it. `None`: the one before has not
    /// even been begun.
    pub(super) fn rotate(&self) -> Option<u32> {
        let mut queue = self.shared.queue();
        if queue.cut.is_some() {
            return None;
        }
        queue.cut = Some(queue.bytes.len());
        queue.bytes.extend_from_slice(&HEADER);
        queue.segment += 1;
        queue.offset = HEADER.len() as u64;
        queue.hurry = true;
        let segment = queue.segment;
        drop(queue);
        self.shared.wake.notify_all();
        Some(segment)
    }

    /// Up to where the log is on disk.
    pub(super) fn durable(&self) -> watch::Receiver<Position> {
        self.shared.durable.subscribe()
    }

    /// Why it cannot be written at present.
    pub(super) fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.shared.trouble.subscribe()
    }

    /// Waits, but not for long, until the log has gone on to this segment on disk; whether it has.
    pub(super) fn has_begun(&self, segment: u32) -> bool {
        let begun = || *self.shared.durable.borrow() >= Position::new(segment, 0);
        let queue = self.shared.queue();
        drop(self.shared.wake.wait_timeout_while(queue, RETRY, |q| !begun() && !q.stop));
        begun()
    }

    /// What waits is written at once.
    pub(super) fn hurry(&self) {
        self.shared.queue().hurry = true;
        self.shared.wake.notify_all();
    }

    /// The thread writes what waits, once, and ends.
    pub(super) fn stop(&self) {
        self.shared.queue().stop = true;
        self.shared.wake.notify_all();
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that writes.
struct Scribe {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    segment: u32,
    /// How much of the segment is on disk.
    offset: u64,
}

impl Scribe {
    fn run(mut self) {
        let mut bytes = Vec::new();
        loop {
            let mut queue = self.shared.queue();
            let waits = |q: &mut Queue| q.bytes.is_empty() && !q.stop;
            queue = self.shared.wake.wait_while(queue, waits).unwrap_or_else(PoisonError::into_inner);
            if queue.bytes.is_empty() {
                return;
            }
            std::mem::swap(&mut queue.bytes, &mut bytes);
            let cut = queue.cut.take();
            queue.hurry = false;
            drop(queue);
            self.shared.wake.notify_all();
            let (old, new) = bytes.split_at(cut.unwrap_or(0));
            if cut.is_some() {
                if !self.write(old) {
                    return;
                }
                (self.segment, self.offset) = (self.segment + 1, 0);
            }
            if !self.write(new) {
                return;
            }
            bytes.clear();
            bytes.shrink_to(KEPT_BUFFER);
            let queue = self.shared.queue();
            let rests = |q: &mut Queue| q.bytes.len() < MUCH && !q.hurry && !q.stop;
            drop(self.shared.wake.wait_timeout_while(queue, PAUSE, rests).unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Writes and syncs, again and again until it is done; gives up only when the process is going down.
    fn write(&mut self, bytes: &[u8]) -> bool {
        if bytes.is_empty() {
            return true;
        }
        let name = segment_name(self.segment);
        while let Err(error) = self.attempt(&name, bytes) {
            let place = self.disk.place(&name);
            let text = format!(
                "cannot write readings to {place}: {error}; they are not acknowledged and agents spool them; see that \
                 the disk has room and is writable, then it goes on by itself"
            );
            let news = self.shared.trouble.send_if_modified(|trouble| trouble.replace(text.clone()).is_none());
            if news {
                tracing::error!("{text}");
            }
            let queue = self.shared.queue();
            let queue = self.shared.wake.wait_timeout_while(queue, RETRY, |q| !q.stop);
            if queue.unwrap_or_else(PoisonError::into_inner).0.stop {
                return false;
            }
        }
        self.offset += bytes.len() as u64;
        if self.shared.trouble.send_replace(None).is_some() {
            tracing::info!("readings can be written again");
        }
        self.shared.durable.send_replace(Position::new(self.segment, self.offset));
        // Taken for a moment, so that whoever looks at the position and then waits does not miss this.
        drop(self.shared.queue());
        self.shared.wake.notify_all();
        true
    }

    fn attempt(&self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        // After a failed sync what was written may be gone from memory too: it is written anew.
        self.disk.write_at(name, self.offset, bytes)?;
        self.disk.sync(name)
    }
}
