//! The rails a fleet may set in `fleet: rails`: names, how each is written, defaults. What holds what back is the
//! engine's; the loader, the schema and the docs read this table.

/// How a rail is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RailKind {
    /// A percentage, kept as 0..1.
    Share,
    /// A whole number from 1.
    Count,
    /// A duration, kept in seconds.
    Length,
}

/// One rail.
#[derive(Clone, Copy, Debug)]
pub struct RailSpec {
    /// Its key.
    pub name: &'static str,
    /// How it is written.
    pub kind: RailKind,
    /// Its default, as written.
    pub default: &'static str,
    /// One line for people.
    pub help: &'static str,
}

const fn rail(name: &'static str, kind: RailKind, default: &'static str, help: &'static str) -> RailSpec {
    RailSpec { name, kind, default, help }
}

/// Every rail, in order of name.
pub const RAILS: &[RailSpec] = &[
    rail("approval_lapses", RailKind::Length, "30m", "how long an approval is good for"),
    rail("at_once", RailKind::Count, "5", "disruptive and destructive steps of one scenario under way at a time"),
    rail(
        "blast_radius",
        RailKind::Share,
        "5%",
        "servers of a cluster that disruptive and destructive steps may be under way on at a time; at least one",
    ),
    rail(
        "blast_radius_per_hour",
        RailKind::Share,
        "10%",
        "servers of a cluster that such steps may be taken on within an hour; at least one",
    ),
    rail(
        "breaker_after",
        RailKind::Count,
        "3",
        "incidents in a row, on as many servers, that acted and were not contained: automation pauses",
    ),
    rail(
        "common_cause_servers",
        RailKind::Count,
        "3",
        "fewest servers of a cluster with the same trouble that count as one cause",
    ),
    rail(
        "common_cause_share",
        RailKind::Share,
        "30%",
        "share of a cluster with the same trouble that counts as one cause: nothing more is done, a person is told",
    ),
    rail("common_cause_window", RailKind::Length, "10m", "how close together that trouble begins"),
    rail(
        "cooldown",
        RailKind::Length,
        "15m",
        "before the same action with the same parameters is taken on a server for another incident; doubles each time",
    ),
    rail("cooldown_max", RailKind::Length, "4h", "longest cooldown"),
    rail("cooldown_per_day", RailKind::Count, "3", "how often that may happen in a day"),
    rail("destructive_every", RailKind::Length, "30m", "between two destructive steps in a cluster"),
    rail("flapping_after", RailKind::Count, "5", "openings of one instance after which nothing more is done for it"),
    rail("flapping_window", RailKind::Length, "1h", "within which those openings are counted"),
    rail("hold_patience", RailKind::Length, "10m", "how long a step may be held before a person is told"),
    rail("per_hour", RailKind::Count, "20", "disruptive and destructive steps of one scenario in an hour"),
    rail("reversible_per_hour", RailKind::Count, "60", "reversible steps of one scenario on one server in an hour"),
    rail(
        "startup_share",
        RailKind::Share,
        "80%",
        "share of the known servers that have to be back after a restart before anything is done",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rails_are_in_order_and_each_once() {
        assert!(RAILS.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert_eq!(RAILS.len(), 18);
    }
}
