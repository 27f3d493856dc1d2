//! Which sensors fail: told when it changes, not with every sweep.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A change that the controller is to hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The sensor's id.
    pub sensor: Arc<str>,
    /// None: it is well again.
    pub error: Option<String>,
}

/// The sensors' health.
#[derive(Debug, Default)]
pub struct Health {
    failing: BTreeMap<Arc<str>, String>,
    /// Not told yet; a sensor that changed twice is told once.
    changed: BTreeSet<Arc<str>>,
}

impl Health {
    /// Notes how a sweep went. Returns whether that is a change.
    pub fn note(&mut self, sensor: &Arc<str>, error: Option<&str>) -> bool {
        let failed = self.failing.contains_key(sensor);
        match error {
            Some(error) if !failed => {
                self.failing.insert(sensor.clone(), error.to_owned());
            }
            None if failed => {
                self.failing.remove(sensor);
            }
            Some(_) | None => return false,
        }
        self.changed.insert(sensor.clone());
        true
    }

    /// Only these sensors run now; the others are not spoken of any more.
    pub fn retain(&mut self, runs: impl Fn(&str) -> bool) {
        self.failing.retain(|sensor, _| runs(sensor));
        self.changed.retain(|sensor| runs(sensor));
    }

    /// A session begins: what fails is told again, what is well goes without saying.
    pub fn begin_session(&mut self) {
        self.changed = self.failing.keys().cloned().collect();
    }

    /// The next change to tell.
    pub fn take_change(&mut self) -> Option<Change> {
        let sensor = self.changed.pop_first()?;
        let error = self.failing.get(&sensor).cloned();
        Some(Change { sensor, error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sensor_is_told_once_per_change_and_again_in_a_new_session_while_it_fails() {
        let mut health = Health::default();
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        assert!(!health.note(&a, None));
        assert!(health.note(&a, Some("x")));
        assert!(!health.note(&a, Some("y")));
        assert!(health.note(&b, Some("z")));
        assert_eq!(health.take_change(), Some(Change { sensor: a.clone(), error: Some("x".to_owned()) }));
        assert!(health.take_change().is_some() && health.take_change().is_none());
        assert!(health.note(&a, None));
        assert_eq!(health.take_change(), Some(Change { sensor: a.clone(), error: None }));
        health.begin_session();
        assert_eq!(health.take_change().unwrap().sensor, b);
        assert_eq!(health.take_change(), None);
        health.retain(|_| false);
        health.begin_session();
        assert_eq!(health.take_change(), None);
    }
}
