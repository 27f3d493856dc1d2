//! One number of a server, asked for once: what orders the servers of a step.

use skynet_model::condition::{Condition, Fold, FoldRef, Measure, SeriesRef, Slot};
use skynet_model::series::Labels;

use super::dictionary::Sight;
use super::server::Server;

impl Server {
    /// The value of a condition that no scenario is evaluated by; NaN where it is not known. Windows are kept for scenarios
    /// only, and are unknown here.
    pub(crate) fn number_of(&self, condition: &Condition) -> f64 {
        let labels = Labels::default();
        let value = |slot: &Slot| match slot {
            Slot::Series(wanted) => {
                let point = self.dictionary.find(wanted, &labels).and_then(|at| self.dictionary.point(at));
                point.map_or(f64::NAN, |point| point.value)
            }
            Slot::Absent(wanted) => self.absent(wanted, &labels),
            Slot::Text(_) => self.text(slot, &labels).unwrap_or(f64::NAN),
            Slot::Fold(FoldRef { fold, of: Measure::Series(wanted) }) => self.folded_now(*fold, wanted),
            Slot::Fold(FoldRef { of: Measure::Window(_), .. }) | Slot::Window(_) | Slot::Servers(_) => f64::NAN,
        };
        let values: Vec<f64> = condition.slots().iter().map(value).collect();
        condition.value(&values)
    }

    /// All label sets of a series as one number.
    fn folded_now(&self, fold: Fold, wanted: &SeriesRef) -> f64 {
        let ours = self.dictionary.named(&wanted.name).iter().filter(|at| self.dictionary.rest(**at, wanted).is_some());
        let points = ours.filter_map(|at| self.dictionary.point(*at)).filter(|point| point.sight != Sight::Gone);
        let both = |a: f64, b: f64| match fold {
            // One that is not known leaves nothing known.
            _ if a.is_nan() || b.is_nan() => f64::NAN,
            Fold::Total => a + b,
            Fold::Highest => a.max(b),
            Fold::Lowest => a.min(b),
        };
        points.map(|point| point.value).reduce(both).unwrap_or(f64::NAN)
    }
}
