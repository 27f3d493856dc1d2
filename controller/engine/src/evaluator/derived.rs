//! What is kept of a server's series besides their values: windows and folds, and which hang on which series. A series
//! that neither uses costs nothing.
//!
//! A window is one for all instances that look back over the same series in the same way. A fold is one for all instances
//! of one group; it is reckoned anew once a sweep, and only when one of its members has changed.

use std::collections::BTreeMap;

use skynet_model::series::{Labels, SeriesKey};
use skynet_model::time::Timestamp;

use super::board::NONE;
use super::slab::Slab;
use super::window::{Key, Lookback};

/// Most windows of one server.
pub(crate) const MAX_WINDOWS: usize = 10_000;

/// What hangs on a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Window(u32),
    Fold(u32),
}

/// One link of a list of targets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tap {
    pub(super) target: Target,
    pub(super) next: u32,
}

/// How far a window is with its past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fed {
    /// It has no sample yet.
    Empty,
    /// What was before its first sample is wanted.
    Wanted,
    /// Somebody looks it up.
    Asked,
    /// It has what there is.
    Known,
}

/// A window and where it goes.
#[derive(Debug)]
pub(super) struct Windowed {
    pub(super) lookback: Lookback,
    /// The series it looks back over.
    pub(super) of: u32,
    /// What it says now; NaN while its series is not known.
    pub(super) value: f64,
    pub(super) fed: Fed,
    /// The first of the value places it fills, in the [`Board`](super::board::Board).
    pub(super) users: u32,
    /// The fold it is a member of, one after the other.
    pub(super) folds: u32,
}

/// One group of a fold.
#[derive(Debug)]
pub(super) struct Folded {
    /// Which fold, by its number in the rules.
    pub(super) fold: u32,
    /// Whether its members are windows.
    pub(super) windowed: bool,
    /// The labels its members share.
    pub(super) group: Labels,
    /// Numbers of series, or of windows.
    pub(super) members: Vec<u32>,
    pub(super) value: f64,
    /// Whether it waits to be reckoned.
    pub(super) dirty: bool,
    /// The first of the value places it fills.
    pub(super) users: u32,
}

/// The time of samples: the server's boot clock, moved once a session to where its wall clock was. It does not go back
/// within a session, and it tells what the history, which has wall time, says of the time before.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    /// Wall time minus boot time when the session began.
    moved: Option<i64>,
    /// How far the wall clock was set since.
    set: i64,
    /// The sweep that is taken in.
    pub(super) now: i64,
}

impl Clock {
    /// A sweep began at these times.
    pub(super) fn see(&mut self, started: Timestamp, started_boot_ms: i64) {
        let apart = started.0.saturating_sub(started_boot_ms);
        let moved = *self.moved.get_or_insert(apart);
        self.set = apart.saturating_sub(moved);
        self.now = started_boot_ms.saturating_add(moved);
    }

    /// How much wall time is ahead of this clock.
    pub(super) fn ahead(self) -> i64 {
        self.set
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Derived {
    pub(super) windows: Slab<Windowed>,
    pub(super) folds: Slab<Folded>,
    pub(super) groups: BTreeMap<(u32, Labels), u32>,
    /// By fold: whether its groups are kept up.
    pub(super) active: Vec<bool>,
    taps: Vec<Tap>,
    /// The first free tap.
    unused: u32,
    /// Folds that are to be reckoned.
    pub(super) dirty: Vec<u32>,
    /// Windows whose past is wanted; some may be gone.
    pub(super) hungry: Vec<u32>,
    /// Windows of series that have no number at present.
    parked: BTreeMap<(SeriesKey, Key), (Lookback, Fed)>,
    pub(super) clock: Clock,
    pub(super) capped: bool,
}

impl Default for Derived {
    fn default() -> Self {
        Self {
            windows: Slab::default(),
            folds: Slab::default(),
            groups: BTreeMap::new(),
            active: Vec::new(),
            taps: Vec::new(),
            unused: NONE,
            dirty: Vec::new(),
            hungry: Vec::new(),
            parked: BTreeMap::new(),
            clock: Clock::default(),
            capped: false,
        }
    }
}

impl Derived {
    /// The link at a place of a list.
    #[inline]
    pub(super) fn tap(&self, place: u32) -> Option<Tap> {
        self.taps.get(place as usize).copied()
    }

    /// Adds to the list that begins at `first`.
    pub(super) fn hang(&mut self, first: &mut u32, target: Target) {
        let tap = Tap { target, next: *first };
        *first = match self.taps.get(self.unused as usize).map(|free| free.next) {
            Some(next) => {
                let place = std::mem::replace(&mut self.unused, next);
                self.taps[place as usize] = tap;
                place
            }
            None => {
                self.taps.push(tap);
                self.taps.len() as u32 - 1
            }
        };
    }

    /// Takes a target out of the list that begins at `first`.
    pub(super) fn unhang(&mut self, first: &mut u32, target: Target) {
        let (mut place, mut before) = (*first, NONE);
        while let Some(tap) = self.tap(place) {
            if tap.target == target {
                match self.taps.get_mut(before as usize) {
                    Some(before) => before.next = tap.next,
                    None => *first = tap.next,
                }
                self.taps[place as usize].next = std::mem::replace(&mut self.unused, place);
                return;
            }
            (before, place) = (place, tap.next);
        }
    }

    /// The window of this kind in the list that begins at `first`.
    pub(super) fn window(&self, first: u32, key: Key) -> Option<u32> {
        let mut place = first;
        while let Some(tap) = self.tap(place) {
            place = tap.next;
            if let Target::Window(w) = tap.target
                && self.windows.get(w).is_some_and(|w| w.lookback.key == key)
            {
                return Some(w);
            }
        }
        None
    }

    /// A fold is to be reckoned.
    #[inline]
    pub(super) fn soil(&mut self, fold: u32) {
        if let Some(folded) = self.folds.get_mut(fold)
            && !folded.dirty
        {
            folded.dirty = true;
            self.dirty.push(fold);
        }
    }

    /// All folds are to be reckoned.
    pub(super) fn soil_all(&mut self) {
        for (number, folded) in self.folds.iter_mut() {
            if !folded.dirty {
                folded.dirty = true;
                self.dirty.push(number);
            }
        }
    }

    /// Lays the windows aside by the names of their series, and forgets everything else.
    pub(super) fn park(&mut self, name: impl Fn(u32) -> Option<SeriesKey>) {
        let parked = std::mem::take(&mut self.parked);
        let clock = self.clock;
        let windows = std::mem::replace(self, Self { parked, clock, ..Self::default() }).windows;
        for window in windows.into_items() {
            // What somebody looked up cannot be given any more.
            let fed = if window.fed == Fed::Asked { Fed::Empty } else { window.fed };
            if let Some(series) = name(window.of).filter(|_| self.parked.len() < MAX_WINDOWS) {
                self.parked.insert((series, window.lookback.key), (window.lookback, fed));
            }
        }
    }

    /// A session begins: what no session has named again for the length of its window is forgotten, and the clock is a new
    /// one.
    pub(super) fn begin(&mut self) {
        let now = self.clock.now;
        let young = |l: &Lookback| l.ends().is_some_and(|(_, newest)| newest >= now.saturating_sub(l.key.span.0));
        self.parked.retain(|_, (lookback, _)| young(lookback));
        self.clock = Clock { now, ..Clock::default() };
    }

    /// Forgets laid aside windows that do not fit.
    pub(super) fn retain_parked(&mut self, fits: impl Fn(&str, Key) -> bool) {
        self.parked.retain(|(series, key), _| fits(&series.name, *key));
    }

    /// A window over a series: the one that was laid aside, or an empty one. None when there are too many.
    pub(super) fn open(&mut self, of: u32, series: &SeriesKey, key: Key) -> Option<u32> {
        if self.windows.len() >= MAX_WINDOWS {
            return None;
        }
        let kept = self.parked.remove(&(series.clone(), key));
        let (lookback, fed) = kept.unwrap_or_else(|| (Lookback::new(key), Fed::Empty));
        let wanted = fed == Fed::Wanted;
        let number = self.windows.insert(Windowed { lookback, of, value: f64::NAN, fed, users: NONE, folds: NONE });
        if wanted {
            self.hungry.push(number);
        }
        Some(number)
    }
}
