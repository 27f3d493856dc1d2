//! Which series a scenario reads.

use super::select::series_of;
use super::{Scenario, StepTarget};
use crate::condition::{Condition, SeriesRef};

impl Scenario {
    /// Every series that one of its conditions reads or asks for, in order of first use; a series may come twice.
    pub fn reads(&self) -> impl Iterator<Item = &SeriesRef> {
        let steps = self.respond.iter().flat_map(|step| {
            let order = match &step.target {
                Some(StepTarget::Pick(pick)) => pick.order.as_ref().map(|order| &order.by),
                Some(StepTarget::Request) | None => None,
            };
            step.verify.iter().chain(order)
        });
        let conditions: Vec<&Condition> = self.when.iter().chain(&self.clear).chain(steps).collect();
        conditions.into_iter().flat_map(series_of)
    }
}
