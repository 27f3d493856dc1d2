//! One number of a server, asked for once: what orders the servers of a step.

use skynet_model::condition::{Condition, Slot};
use skynet_model::series::Labels;

use super::server::Server;

impl Server {
    /// The value of a condition that no scenario is evaluated by; NaN where it is not known. Windows and folds are kept
    /// for scenarios only, and are unknown here.
    pub(crate) fn number_of(&self, condition: &Condition) -> f64 {
        let labels = Labels::default();
        let value = |slot: &Slot| match slot {
            Slot::Series(wanted) => {
                let point = self.dictionary.find(wanted, &labels).and_then(|at| self.dictionary.point(at));
                point.map_or(f64::NAN, |point| point.value)
            }
            Slot::Absent(wanted) => self.absent(wanted, &labels),
            Slot::Text(_) => self.text(slot, &labels).unwrap_or(f64::NAN),
            Slot::Window(_) | Slot::Fold(_) | Slot::Servers(_) => f64::NAN,
        };
        let values: Vec<f64> = condition.slots().iter().map(value).collect();
        condition.value(&values)
    }
}
