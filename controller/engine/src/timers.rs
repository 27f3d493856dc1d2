//! Deadlines: what is due when. Pure data; the caller asks for the next one and wakes the engine then.

use std::collections::{BTreeMap, BTreeSet};

use skynet_model::name::IncidentId;
use skynet_model::time::Timestamp;

/// What a deadline is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The startup wait has gone on for long: say why.
    Startup,
    /// A server has not come back for long: it is away.
    Away { server: u32 },
    /// A sensor's readings are too old to be believed.
    Sensor { server: u32, sensor: u16 },
    /// `for`, `settle` or a proof may be complete, or its unknown time used up.
    Instance { server: u32, instance: u32 },
    /// The same for a group.
    Group { group: u32 },
    /// A maintenance ends.
    Maintenance,
    /// The policy in force expires, or that is to be said.
    Expiry,
    /// A notice is due: a silence or quiet hours end, a tier was not heard.
    Tell(IncidentId),
    /// An incident's outcome, verification or hold has run out of time.
    Incident(IncidentId),
}

/// Deadlines, at most one for each timer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timers {
    due: BTreeSet<(Timestamp, Timer)>,
    at: BTreeMap<Timer, Timestamp>,
}

impl Timers {
    /// Moves a timer, or removes it.
    pub(crate) fn set(&mut self, timer: Timer, at: Option<Timestamp>) {
        let before = match at {
            Some(at) => self.at.insert(timer.clone(), at),
            None => self.at.remove(&timer),
        };
        if before == at {
            return;
        }
        match (before, at) {
            (Some(before), Some(at)) => {
                self.due.remove(&(before, timer.clone()));
                self.due.insert((at, timer));
            }
            (Some(before), None) => {
                self.due.remove(&(before, timer));
            }
            (None, Some(at)) => {
                self.due.insert((at, timer));
            }
            (None, None) => {}
        }
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes one timer that is due.
    pub(crate) fn pop(&mut self, now: Timestamp) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        let (_, timer) = self.due.pop_first()?;
        self.at.remove(&timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_is_due_once_at_its_last_time() {
        let mut timers = Timers::default();
        let sensor = Timer::Sensor { server: 1, sensor: 2 };
        timers.set(sensor.clone(), Some(Timestamp(10)));
        timers.set(Timer::Startup, Some(Timestamp(20)));
        timers.set(sensor.clone(), Some(Timestamp(30)));
        assert_eq!(timers.next(), Some(Timestamp(20)));
        assert_eq!(timers.pop(Timestamp(19)), None);
        assert_eq!(timers.pop(Timestamp(40)), Some(Timer::Startup));
        assert_eq!(timers.pop(Timestamp(40)), Some(sensor.clone()));
        assert_eq!(timers.pop(Timestamp(40)), None);
        timers.set(sensor.clone(), Some(Timestamp(50)));
        timers.set(sensor, None);
        assert_eq!(timers.next(), None);
    }
}
