//! What becomes of a batch: checked, kept in the history, evaluated; and what may be acknowledged of it.

use std::cell::RefCell;

use skynet_model::time::Timestamp;
use skynet_proto::stream::{Decoded, Decoder};
use skynet_proto::{WireError, v1};

use crate::core::Desk;
use crate::history::{Slot, Writer};

thread_local! {
    /// A batch while it is taken in: one for all sessions of a thread, so that it stays in the cache.
    static DECODED: RefCell<Decoded> = RefCell::default();
}

/// One stream's way in.
pub(super) struct Intake {
    desk: Desk,
    decoder: Decoder,
    writer: Writer,
    /// By the decoder's slots: where the stream's series are in the history.
    slots: Vec<Option<Slot>>,
    capped: bool,
    boot: String,
    /// The newest batch that is not acknowledged, and the newest late one.
    live: Option<u64>,
    late: Option<(u64, Option<String>)>,
}

/// What waits to be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pending {
    Nothing,
    Live,
    /// The agent sends its backlog at the pace of these.
    Late,
}

/// What came of a batch.
pub(super) struct Taken {
    /// Whether the core has to be told.
    pub(super) found: bool,
    /// A series found no room, for the first time.
    pub(super) complaint: Option<String>,
}

impl Intake {
    pub(super) fn new(desk: Desk, writer: Writer, boot: String) -> Self {
        Self { desk, decoder: Decoder::new(), writer, slots: Vec::new(), capped: false, boot, live: None, late: None }
    }

    /// Takes a `ReadingBatch` as it came from the wire.
    ///
    /// # Errors
    /// [`WireError`]: the stream must end.
    pub(super) fn take(&mut self, now: Timestamp, batch: &[u8]) -> Result<Taken, WireError> {
        let mut decoded = DECODED.take();
        let taken = self.decoder.decode(batch, &mut decoded).map(|()| {
            // Evaluated first: decisions wait for nothing.
            let found = self.desk.take(now, &decoded);
            let complaint = self.store(&decoded);
            match decoded.late {
                false => self.live = Some(decoded.seq),
                true => self.late = Some((decoded.seq, decoded.boot_id.take())),
            }
            Taken { found, complaint }
        });
        DECODED.set(decoded);
        taken
    }

    /// Writes a batch; gives the complaint when a series found no room for the first time.
    fn store(&mut self, batch: &Decoded) -> Option<String> {
        let mut complaint = None;
        for (slot, key) in &batch.announced {
            let index = *slot as usize;
            if self.slots.len() <= index {
                self.slots.resize(index + 1, None);
            }
            self.slots[index] = match self.writer.slot(key) {
                Ok(place) => Some(place),
                Err(capped) => {
                    if !std::mem::replace(&mut self.capped, true) {
                        complaint = Some(capped.to_string());
                    }
                    None
                }
            };
        }
        for (sweep, readings) in batch.sweeps() {
            let place = |(slot, value): &(u32, f64)| {
                self.slots.get(*slot as usize).copied().flatten().map(|place| (place, *value))
            };
            self.writer.write(sweep.started, readings.iter().filter_map(place));
        }
        for slot in &batch.retired {
            if let Some(place) = self.slots.get_mut(*slot as usize).and_then(Option::take) {
                self.writer.retire(place);
            }
        }
        complaint
    }

    /// What waits to be acknowledged.
    pub(super) fn pending(&self) -> Pending {
        match (&self.late, self.live) {
            (Some(_), _) => Pending::Late,
            (None, Some(_)) => Pending::Live,
            (None, None) => Pending::Nothing,
        }
    }

    /// Acknowledgements of all that is kept.
    pub(super) fn acks(&mut self) -> impl Iterator<Item = v1::Ack> + use<> {
        let boot = &self.boot;
        let live = self.live.take().map(|seq| v1::Ack { seq, boot_id: boot.clone() });
        let late = self.late.take();
        let late = late.map(|(seq, of)| v1::Ack { seq, boot_id: of.unwrap_or_else(|| boot.clone()) });
        [live, late].into_iter().flatten()
    }

    /// Forgets series that ended and whose past is over.
    pub(super) fn forget(&self, now: Timestamp) {
        self.writer.sweep(now);
    }
}
