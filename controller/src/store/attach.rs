//! Taking up the copy: what is there is compared with what was sent, before anything is written.

use super::append::Writer;
use super::chain::{Gap, Hash, Head, Key};
use super::state::State;
use super::walk::{self, Stored, There};
use super::{FORMAT, Keys, Trouble};
use crate::journal::{Connection, Outbox};
use skynet_model::time::Timestamp;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// What was sent, and no more.
    Same,
    /// Nothing, and nothing was sent before.
    New,
    /// Nothing, although so much had been sent.
    Wiped { had: u64 },
    /// An older state: it ends here, although so much had been sent.
    RolledBack { to: u64, had: u64 },
    /// More than is known to have arrived: an answer was lost, or the file that says how far the copy is.
    TakenUp { to: u64 },
}

/// Who attaches.
#[derive(Debug)]
pub(super) struct Attach<'a> {
    pub(super) keys: &'a Keys,
    pub(super) fleet: &'a str,
    pub(super) key: Option<&'a Key>,
    /// The journal's last event.
    pub(super) last: u64,
    pub(super) now: Timestamp,
}

impl Attach<'_> {
    /// Compares and, where nothing is there, marks the keys as ours. `state` is then how far the copy is.
    ///
    /// # Errors
    /// [`Trouble`]: nothing was written.
    pub(super) async fn run(
        &self,
        connection: &mut Connection,
        state: &mut State,
        outbox: &mut Outbox,
    ) -> Result<(Found, Head), Trouble> {
        let there = walk::look(connection, self.keys).await?;
        let known = !there.meta.is_empty();
        if known {
            self.check_marks(&there)?;
        } else if there.last.is_some() {
            return Err(Trouble::Unmarked { key: self.keys.events() });
        }
        let head = there.head.clone().filter(|head| head.seq > 0 && there.last.is_some() && known);
        let Some(head) = head else {
            if there.meta("instance") != state.instance && known {
                return Err(self.other_instance());
            }
            if there.last.is_some() {
                return Err(self.damaged(&there, 0));
            }
            return self.begin(connection, state).await;
        };
        self.check_seal(&there, &head, state)?;
        match &there.last {
            Some((id, _)) if *id == format!("{}-0", head.seq) => {}
            Some(_) | None => return Err(self.damaged(&there, head.seq)),
        }
        if there.meta("instance") != state.instance {
            // Only the file that says how far the copy is may be lost: then the journal knows the last event.
            if !state.fresh || !self.same_event(&there, outbox)?.unwrap_or(false) {
                return Err(self.other_instance());
            }
            state.instance = there.meta("instance").to_owned();
            (state.seq, state.hash) = (head.seq, head.hash);
            return Ok((Found::TakenUp { to: head.seq }, head));
        }
        let had = state.seq;
        let found = if head.seq == had {
            if head.hash != state.hash {
                return Err(Trouble::Forked { seq: head.seq });
            }
            Found::Same
        } else if head.seq < had {
            if self.same_event(&there, outbox)? == Some(false) {
                return Err(Trouble::Forked { seq: head.seq });
            }
            Found::RolledBack { to: head.seq, had }
        } else {
            if head.seq > self.last {
                return Err(Trouble::Ahead { redis: head.seq, journal: self.last });
            }
            if self.chain_to(head.seq, state, outbox)? != Some(head.hash) {
                return Err(Trouble::Forked { seq: had + 1 });
            }
            Found::TakenUp { to: head.seq }
        };
        (state.seq, state.hash) = (head.seq, head.hash);
        Ok((found, head))
    }

    async fn begin(&self, connection: &mut Connection, state: &mut State) -> Result<(Found, Head), Trouble> {
        let writer = Writer { keys: self.keys, instance: &state.instance };
        if !writer.claim(connection, self.fleet, self.now.0).await? {
            return Err(self.other_instance());
        }
        let found = if state.seq == 0 { Found::New } else { Found::Wiped { had: state.seq } };
        (state.seq, state.hash) = (0, Hash::start(self.fleet));
        Ok((found, Head { seq: 0, hash: state.hash, base: None }))
    }

    fn check_marks(&self, there: &There) -> Result<(), Trouble> {
        let version = there.meta("format");
        if version.parse::<u32>().ok().is_none_or(|version| version > FORMAT) {
            return Err(Trouble::Format { version: version.to_owned() });
        }
        if there.meta("fleet") != self.fleet {
            return Err(Trouble::OtherFleet { fleet: there.meta("fleet").to_owned(), key: self.keys.meta() });
        }
        Ok(())
    }

    fn check_seal(&self, there: &There, head: &Head, state: &State) -> Result<(), Trouble> {
        let Some(key) = self.key else { return Ok(()) };
        // A key that was configured later seals from the next batch on, if nothing else changed.
        let unsealed = there.seal.is_empty() && (head.seq, head.hash) == (state.seq, state.hash);
        if unsealed || head.sealed(key, self.fleet, there.meta("instance"), &there.seal) {
            return Ok(());
        }
        Err(Trouble::Seal { key: self.keys.head() })
    }

    fn other_instance(&self) -> Trouble {
        Trouble::OtherInstance { key: self.keys.meta(), prefix: self.keys.prefix().to_owned() }
    }

    fn damaged(&self, there: &There, head: u64) -> Trouble {
        let stream = there.last.as_ref().map(|(id, _)| id.clone());
        Trouble::Damaged { head, stream, key: self.keys.events() }
    }

    /// Whether the stream's last event is the journal's; none when the journal does not have it any more.
    fn same_event(&self, there: &There, outbox: &mut Outbox) -> Result<Option<bool>, Trouble> {
        let Some((_, Stored { seq, json, .. })) = &there.last else { return Ok(None) };
        if *seq == 0 || *seq > self.last {
            return Ok(Some(false));
        }
        let kept = outbox.next(seq - 1, *seq, 1, 1).map_err(|e| Trouble::Own(e.to_string()))?;
        Ok(kept.first().map(|kept| same_json(&kept.json, json)))
    }

    /// The chain's link at event `to`, by the journal.
    fn chain_to(&self, to: u64, state: &State, outbox: &mut Outbox) -> Result<Option<Hash>, Trouble> {
        let (mut seq, mut hash) = (state.seq, state.hash);
        while seq < to {
            let kept = outbox.next(seq, to, 1000, 1 << 20).map_err(|e| Trouble::Own(e.to_string()))?;
            if kept.is_empty() {
                return Ok(None);
            }
            for event in kept {
                let gap = (event.seq > seq + 1).then(|| Gap { first: seq + 1, last: event.seq - 1 });
                (seq, hash) = (event.seq, hash.then(gap, &event.json));
            }
        }
        Ok((seq == to).then_some(hash))
    }
}

/// Whether two texts are the same event: a newer build may write its fields in another way.
pub(super) fn same_json(one: &[u8], other: &[u8]) -> bool {
    let value = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).ok();
    one == other || value(one).is_some_and(|one| value(other) == Some(one))
}
