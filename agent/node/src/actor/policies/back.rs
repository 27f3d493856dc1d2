//! The one way back: to this server's own last good version, unexpired, within a day. The controller may ask for it, and
//! an acting process that is started anew again and again under a new version takes it by itself.

use serde::{Deserialize, Serialize};
use skynet_model::series::Labels;
use skynet_model::time::Span;

use super::{Applied, Policies, state};
use crate::ledger::{Moment, Storage};

/// How long a version that was replaced may be gone back to.
const WITHIN: Span = Span::hours(24);
/// Starts so soon after a new version are laid at its door.
const SOON: Span = Span::minutes(5);
/// So many of them are too many.
const STARTS: u32 = 2;

const FILE: &str = "starts";

/// A version that was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::actor) struct Returned {
    pub(in crate::actor) version: u64,
    pub(in crate::actor) digest: String,
    pub(in crate::actor) why: String,
    /// Nobody asked for it.
    pub(in crate::actor) alone: bool,
}

/// Starts under a version.
#[derive(Serialize, Deserialize)]
struct Starts {
    version: u64,
    starts: u32,
}

impl Policies {
    /// The version that was given up by itself for the one in force.
    pub(in crate::actor) fn given_up(&self) -> Option<&Returned> {
        self.returned.as_ref().filter(|returned| returned.alone)
    }

    /// How long ago the version in force replaced the one before it; below zero where the clock was set back since.
    fn age(&self, now: &Moment) -> Option<Span> {
        let (current, previous) = (self.current.as_ref()?, self.previous.as_ref()?);
        // Boot clocks of two boots cannot be compared; the wall clock has to do.
        Some(match previous.boot_id == now.boot_id {
            true => Span(now.boot_ms.saturating_sub(previous.replaced_boot_ms)),
            false => Span(now.wall.0.saturating_sub(current.taken.0)),
        })
    }

    /// Goes back to the version before, which must be the one that is named. Asked again, it only takes the labels.
    ///
    /// # Errors
    /// A sentence; then everything stays as it was.
    pub(in crate::actor) fn go_back(
        &mut self,
        named: (u64, &str),
        labels: Labels,
        now: &Moment,
        storage: &dyn Storage,
    ) -> Result<&Applied, String> {
        let (version, digest) = named;
        let is_named = |applied: &Applied| applied.version == version && applied.digest == digest;
        if let Some(current) = self.current.clone().filter(is_named) {
            let (previous, returned) = (self.previous.clone(), self.returned.clone());
            return self.put(current, previous, labels, returned, storage);
        }
        let why = "the controller said so".to_owned();
        self.give_up(is_named, &format!("version {version}"), why, false, labels, now, storage)
    }

    #[expect(clippy::too_many_arguments, reason = "each is another thing, and there are two callers")]
    fn give_up(
        &mut self,
        fits: impl Fn(&Applied) -> bool,
        wanted: &str,
        why: String,
        alone: bool,
        labels: Labels,
        now: &Moment,
        storage: &dyn Storage,
    ) -> Result<&Applied, String> {
        let no =
            |what: String| format!("cannot go back to {wanted}: {what}; push its content as a new, higher version");
        let (Some(current), Some(previous)) = (&self.current, &self.previous) else {
            return Err(no("no version before the one in force is kept here".to_owned()));
        };
        let last = &previous.applied;
        if !fits(last) {
            return Err(no(format!("the last good version here is {} (digest {})", last.version, last.digest)));
        }
        if last.expires <= now.wall {
            return Err(no(format!("version {} expired at {}", last.version, last.expires)));
        }
        // Whoever can set a clock back could otherwise make a version go back long after its day.
        if !alone && self.age(now).is_some_and(|age| age < Span(0)) {
            let taken = current.taken;
            return Err(no(format!(
                "the clock says {}, and version {} was taken at {taken}",
                now.wall, current.version
            )));
        }
        if let Some(age) = self.age(now).filter(|age| *age > WITHIN) {
            return Err(no(format!("it was replaced {age} ago, and only {WITHIN} are allowed")));
        }
        let returned = Returned { version: current.version, digest: current.digest.clone(), why, alone };
        self.put(last.clone(), None, labels, Some(returned), storage)
    }

    /// Counts this start if the version in force is new; after too many it goes back alone. Says what it did.
    pub(in crate::actor) fn count_start(&mut self, now: &Moment, storage: &dyn Storage) -> Option<String> {
        let version = self.current.as_ref()?.version;
        self.age(now).filter(|age| *age <= SOON)?;
        let before = state::load::<Starts>(storage, FILE).ok().flatten().filter(|kept| kept.version == version);
        let starts = before.map_or(0, |kept| kept.starts).saturating_add(1);
        if let Err(error) = state::save(storage, FILE, &Starts { version, starts }) {
            tracing::warn!(error, "that the agent began anew under a new policy is not kept");
        }
        if starts < STARTS {
            return None;
        }
        let why = format!("the agent began anew {starts} times within {SOON} of taking it");
        let labels = self.labels.clone();
        Some(match self.give_up(|_| true, "the last good version", why.clone(), true, labels, now, storage) {
            Ok(last) => format!("policy version {version} is given up for version {}: {why}", last.version),
            Err(error) => format!("policy version {version} stays although {why}: {error}"),
        })
    }
}
