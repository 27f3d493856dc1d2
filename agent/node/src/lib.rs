//! One server, seen through a [`host::Host`]: sensors, actions, the command ledger, the envelope check and the ceiling.
//!
//! What must never enter: any transport. The agent drives this with its own machine; the controller drives the same code over SSH.

pub mod actions;
pub mod actor;
#[cfg(test)]
mod fake;
mod glob;
pub mod host;
pub mod ledger;
mod mounts;
mod probe;
#[cfg(test)]
mod proxy;
pub mod runner;
pub mod sensors;

use skynet_model::catalogue::Catalogue;

/// All sensors and actions.
#[must_use]
pub fn catalogue() -> &'static Catalogue {
    static CATALOGUE: Catalogue = Catalogue { sensors: sensors::SPECS, actions: actions::SPECS };
    &CATALOGUE
}
