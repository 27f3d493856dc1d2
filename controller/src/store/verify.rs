//! `store verify`: the whole chain recomputed, its head's seal checked, and its events compared with the journal's.

use std::sync::Arc;

use serde::Serialize;
use tokio::sync::mpsc;

use super::attach::same_json;
use super::board::Board;
use super::chain::Head;
use super::walk::{self, Walker};
use super::{Keys, Settings, Trouble};
use crate::journal::{Connection, Feed, Outbox};

/// How far it is, and in the end what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Entries that were looked at.
    pub events: u64,
    /// Entries there are.
    pub total: u64,
    /// Of them, events that the journal has as well, and which are equal.
    pub compared: u64,
    /// Events that are missing, and marked as such.
    pub missing: u64,
    /// Whether the head's seal was checked with the chain's key.
    pub sealed: bool,
    /// Whether it is at its end.
    pub done: bool,
    /// The first bad event's number.
    pub bad: Option<u64>,
    /// What is wrong, in words.
    pub fault: Option<String>,
}

/// What is needed to verify.
#[derive(Debug)]
pub struct Verifier {
    settings: Settings,
    feed: Arc<Feed>,
}

impl Verifier {
    /// A verifier of the copy that `board` shows.
    #[must_use]
    pub fn new(board: &Board, feed: Arc<Feed>) -> Self {
        Self { settings: board.settings.clone(), feed }
    }

    /// Walks the stream; `tell` is told now and then, and of the end.
    ///
    /// # Errors
    /// [`Trouble`]: it could not be walked to its end. What is wrong with the events is in the last [`Progress`].
    pub async fn run(&self, tell: &mpsc::Sender<Progress>) -> Result<(), Trouble> {
        let mut progress = Progress::default();
        if let Some((bad, fault)) = self.walk(&mut progress, tell).await? {
            (progress.bad, progress.fault) = (Some(bad), Some(fault));
        }
        progress.done = true;
        // Whoever asked may have gone.
        let _ = tell.send(progress).await;
        Ok(())
    }

    /// Gives the first bad event and what is wrong with it.
    async fn walk(
        &self,
        progress: &mut Progress,
        tell: &mpsc::Sender<Progress>,
    ) -> Result<Option<(u64, String)>, Trouble> {
        let key = self.settings.key().map_err(Trouble::Own)?;
        let keys = Keys::new(&self.settings.fleet);
        let mut connection = Connection::open(&self.settings.access).await?;
        // Events may come while it walks: it ends at the head that is there now.
        let there = walk::look(&mut connection, &keys).await?;
        progress.total = there.length;
        let Some(head) = there.head.clone().filter(|head| head.seq > 0) else {
            return Ok((there.length > 0).then(|| (0, format!("there are {} events, but no head", there.length))));
        };
        if let Some(key) = &key {
            if !head.sealed(key, &self.settings.fleet, there.meta("instance"), &there.seal) {
                let text = format!("{} is not sealed with this controller's chain key", keys.head());
                return Ok(Some((head.seq, text)));
            }
            progress.sealed = true;
        }
        if let Some(base) = &head.base
            && !walk::base(&mut connection, &keys, base).await?.1
        {
            return Ok(Some((base.seq, format!("{} is not the list that the head names", keys.base(base.seq)))));
        }
        let mut walker = Walker::new(&self.settings.fleet, head.base.as_ref());
        let mut journal = Outbox::new(&self.settings.journal(), Arc::clone(&self.feed));
        let mut after = String::new();
        while walker.seq < head.seq {
            let page = walk::page(&mut connection, &keys, &after).await?;
            if page.is_empty() {
                let text = format!("the stream ends with event {}, its head says {}", walker.seq, head.seq);
                return Ok(Some((walker.seq + 1, text)));
            }
            let first = walker.seq;
            for (id, entry) in &page {
                after.clone_from(id);
                if entry.seq > head.seq {
                    break;
                }
                let before = walker.seq;
                if let Err(fault) = walker.step(entry) {
                    return Ok(Some((if entry.seq > 0 { entry.seq } else { before + 1 }, fault)));
                }
                progress.missing += entry.seq - before - 1;
                progress.events += 1;
            }
            if let Some(bad) = self.compare(&mut journal, first, &page, progress)? {
                return Ok(Some((bad, "the journal has another event of that number".to_owned())));
            }
            if tell.send(progress.clone()).await.is_err() {
                return Ok(None);
            }
        }
        let Head { seq, hash, .. } = head;
        let ends = (walker.seq, walker.hash) == (seq, hash);
        Ok((!ends).then(|| (seq, "the chain does not end in the head's hash".to_owned())))
    }

    /// Compares a page with the journal; gives the first event that differs. What only one of them has is no difference.
    fn compare(
        &self,
        journal: &mut Outbox,
        first: u64,
        page: &[(String, walk::Stored)],
        progress: &mut Progress,
    ) -> Result<Option<u64>, Trouble> {
        let Some((_, newest)) = page.last() else { return Ok(None) };
        let (mut after, last) = (first, newest.seq.min(self.feed.last()));
        let mut entries = page.iter().map(|(_, entry)| entry).peekable();
        while after < last {
            let kept = journal.next(after, last, page.len(), 4 << 20).map_err(|e| Trouble::Own(e.to_string()))?;
            let Some(newest) = kept.last() else { break };
            after = newest.seq;
            for kept in kept {
                while entries.next_if(|entry| entry.seq < kept.seq).is_some() {}
                if let Some(entry) = entries.next_if(|entry| entry.seq == kept.seq) {
                    if !same_json(&entry.json, &kept.json) {
                        return Ok(Some(kept.seq));
                    }
                    progress.compared += 1;
                }
            }
        }
        Ok(None)
    }
}
