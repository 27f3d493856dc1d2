//! What becomes of a batch: checked, evaluated, kept in the history; and what may be acknowledged of it once that is on
//! disk.

use std::cell::RefCell;
use std::collections::HashMap;

use skynet_model::time::Timestamp;
use skynet_proto::stream::{Decoded, Decoder};
use skynet_proto::{Code, WireError, v1};

use crate::core::Desk;
use crate::history::{Batch, Slot, Ticket, Writer};

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
    /// When both are on disk.
    ticket: Ticket,
    /// What is acknowledged as soon as its ticket is on disk.
    asked: Option<(Ticket, Vec<v1::Ack>)>,
    /// A batch was not stored: nothing is acknowledged any more, for that would cover it.
    lost: bool,
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
    /// Windows want to know what the history has.
    pub(super) hungry: bool,
}

fn superseded() -> WireError {
    WireError::new(Code::Superseded, "a newer session of this server took over")
}

impl Intake {
    pub(super) fn new(desk: Desk, writer: Writer, boot: String) -> Self {
        Self {
            desk,
            decoder: Decoder::new(),
            writer,
            slots: Vec::new(),
            capped: false,
            boot,
            live: None,
            late: None,
            ticket: Ticket::NONE,
            asked: None,
            lost: false,
        }
    }

    /// Takes a `ReadingBatch` as it came from the wire.
    ///
    /// # Errors
    /// [`WireError`]: the stream must end.
    pub(super) fn take(&mut self, now: Timestamp, batch: &[u8]) -> Result<Taken, WireError> {
        let mut decoded = DECODED.take();
        let taken = self.decoder.decode(batch, &mut decoded).and_then(|()| {
            for (_, key) in &mut decoded.announced {
                *key = self.writer.share(key);
            }
            // Evaluated first: decisions wait for nothing.
            let found = self.desk.take(now, &decoded).ok_or_else(superseded)?;
            let (complaint, ticket) = self.store(&decoded);
            self.lost |= ticket == Ticket::NONE;
            self.ticket = self.ticket.max(ticket);
            match decoded.late {
                false => self.live = Some(decoded.seq),
                true => self.late = Some((decoded.seq, decoded.boot_id.take())),
            }
            Ok(Taken { found, complaint, hungry: self.desk.is_hungry(now) })
        });
        DECODED.set(decoded);
        taken
    }

    /// Writes a batch; gives the complaint when a series found no room for the first time, and the batch's ticket.
    fn store(&mut self, decoded: &Decoded) -> (Option<String>, Ticket) {
        let Self { writer, slots, capped, boot, .. } = self;
        let writer = &*writer;
        let mut complaint = None;
        let (mut open, known) = match writer.batch(decoded.boot_id.as_deref().unwrap_or(boot), decoded.seq) {
            Ok(open) => (Some(open), Ticket::NONE),
            // It is there already, but what it announces is this stream's.
            Err(known) => (None, known),
        };
        for (slot, key) in &decoded.announced {
            let index = *slot as usize;
            if slots.len() <= index {
                slots.resize(index + 1, None);
            }
            let place = open.as_mut().map_or_else(|| writer.slot(key), |open| open.slot(key));
            slots[index] = match place {
                Ok(place) => Some(place),
                Err(error) => {
                    if !std::mem::replace(capped, true) {
                        complaint = Some(error.to_string());
                    }
                    None
                }
            };
        }
        if let Some(open) = &mut open {
            for (sweep, readings) in decoded.sweeps() {
                let place = |(slot, value): &(u32, f64)| {
                    slots.get(*slot as usize).copied().flatten().map(|place| (place, *value))
                };
                open.write(sweep.started, readings.iter().filter_map(place));
            }
        }
        // What is announced anew in the batch that retires its old id goes on: both ids mean one place.
        let again: HashMap<Slot, u32> = match decoded.retired.is_empty() {
            true => HashMap::new(),
            false => {
                let place = |(slot, _): &(u32, _)| Some((slots.get(*slot as usize).copied().flatten()?, *slot));
                decoded.announced.iter().filter_map(place).collect()
            }
        };
        for slot in &decoded.retired {
            if let Some(place) = slots.get_mut(*slot as usize).and_then(Option::take)
                && again.get(&place).is_none_or(|new| new == slot)
            {
                match &mut open {
                    Some(open) => open.retire(place),
                    None => writer.retire(place),
                }
            }
        }
        (complaint, open.map_or(known, Batch::commit))
    }

    /// Where the stream's readings go.
    pub(super) fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Whether a batch was not stored.
    pub(super) fn lost(&self) -> bool {
        self.lost
    }

    /// What waits to be acknowledged and is not asked for yet.
    pub(super) fn pending(&self) -> Pending {
        match (&self.late, self.live) {
            _ if self.lost => Pending::Nothing,
            (Some(_), _) => Pending::Late,
            (None, Some(_)) => Pending::Live,
            (None, None) => Pending::Nothing,
        }
    }

    /// When what is asked for is on disk; see [`Intake::ask`].
    pub(super) fn asked(&self) -> Option<Ticket> {
        self.asked.as_ref().filter(|_| !self.lost).map(|(ticket, _)| *ticket)
    }

    /// Asks for all that came so far. What comes later is asked for next: else a quick agent would move what is waited for
    /// ahead of the disk for ever.
    pub(super) fn ask(&mut self) {
        if self.asked.is_none() {
            let live = self.live.take().map(|seq| v1::Ack { seq, boot_id: String::new() });
            let late = self.late.take();
            let late = late.map(|(seq, of)| v1::Ack { seq, boot_id: of.unwrap_or_default() });
            let acks: Vec<v1::Ack> = [live, late].into_iter().flatten().collect();
            self.asked = (!acks.is_empty()).then_some((self.ticket, acks));
        }
    }

    /// The acknowledgements that were asked for, and are on disk.
    pub(super) fn acks(&mut self) -> Vec<v1::Ack> {
        self.asked.take().filter(|_| !self.lost).map(|(_, acks)| acks).unwrap_or_default()
    }

    /// Forgets series that ended and whose past is over.
    pub(super) fn forget(&self, now: Timestamp) {
        self.writer.sweep(now);
    }
}
