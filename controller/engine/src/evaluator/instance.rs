//! One scenario on one label set of one server: its slots, and how its conditions stand.

use skynet_model::condition::Truth;
use skynet_model::name::IncidentId;
use skynet_model::series::Labels;
use skynet_model::time::{Span, Timestamp};

use super::held::Held;
use super::many::Turns;

/// Fresh sweeps a proof takes.
pub(crate) const PROOF_SWEEPS: u8 = 2;

/// One scenario instance, without what lies on the [`Board`](super::board::Board): its slots' values and how `when` stands.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) rule: u32,
    /// How long `when` has held.
    pub(crate) held: Held,
    /// Clear, while an incident is live, and how long it has held.
    pub(crate) clear: Truth,
    pub(crate) settle: Held,
    /// The live incident it fired.
    pub(crate) incident: Option<IncidentId>,
    /// The proof that is awaited.
    pub(crate) watch: Option<Box<Watch>>,
    /// When its timer is set.
    pub(crate) due: Option<Timestamp>,
    pub(crate) labels: Labels,
    /// Of a member: what it says, one value for each thing that is asked of it.
    pub(crate) measures: Box<[f64]>,
    /// Of a member: its sweeps, while a group's proof awaits them.
    pub(crate) turns: Option<Box<Turns>>,
    /// The series that fills each slot.
    pub(crate) bound: Box<[Option<u32>]>,
    /// The group that fills each of the rule's folds.
    pub(crate) groups: Vec<u32>,
}

impl Instance {
    pub(crate) fn new(rule: u32, labels: Labels, slots: usize) -> Self {
        Self {
            rule,
            held: Held::default(),
            clear: Truth::Unknown,
            settle: Held::default(),
            incident: None,
            watch: None,
            due: None,
            labels,
            measures: Box::default(),
            turns: None,
            bound: vec![None; slots].into_boxed_slice(),
            groups: Vec::new(),
        }
    }

    /// Whether nothing is lost when it goes.
    pub(crate) fn is_idle(&self) -> bool {
        self.incident.is_none() && self.held.first().is_none()
    }
}

/// What a proof is awaited for, and how far it is.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    /// The step to be proved.
    pub(crate) step: usize,
    /// The end of the step on the boot clock; none when the server has booted since.
    pub(crate) after_boot_ms: Option<i64>,
    /// The end of the step on the server's wall clock.
    pub(crate) after: Timestamp,
    /// How long the truth must have held besides.
    pub(crate) need: Span,
    /// Fresh sweeps, by sensor, since it has been true.
    pub(crate) sweeps: Vec<(u16, u8)>,
    /// Since when it has been true.
    pub(crate) since: Option<Timestamp>,
    /// How it stands.
    pub(crate) truth: Truth,
    /// Whether enough fresh sweeps of all sensors have agreed.
    pub(crate) seen: bool,
    /// Whether it is proved.
    pub(crate) proved: bool,
}

impl Watch {
    /// Whether a sweep began after the step had ended.
    pub(crate) fn is_fresh(&self, started: Timestamp, started_boot_ms: i64) -> bool {
        match self.after_boot_ms {
            Some(after) => started_boot_ms >= after,
            None => started >= self.after,
        }
    }

    /// Counts a fresh sweep that agreed.
    pub(crate) fn count(&mut self, sensor: u16) {
        match self.sweeps.iter_mut().find(|(s, _)| *s == sensor) {
            Some((_, n)) => *n = n.saturating_add(1),
            None => self.sweeps.push((sensor, 1)),
        }
    }

    /// How many fresh sweeps of a sensor have agreed.
    pub(crate) fn of(&self, sensor: u16) -> u8 {
        self.sweeps.iter().find(|(s, _)| *s == sensor).map_or(0, |(_, n)| *n)
    }

    /// It is not true: the proof begins anew.
    pub(crate) fn reset(&mut self) {
        self.sweeps.clear();
        self.since = None;
        self.seen = false;
        self.proved = false;
    }
}
