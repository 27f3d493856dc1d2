//! Which servers a change is about: those the controller knows, or, without one, whom the text names.

use std::collections::BTreeSet;
use std::path::Path;

use skynet_model::policy::{Match, Policy, Scenario, Where};
use skynet_model::series::Labels;

use crate::ctl::Failure;
use crate::ctl::documents::Server;
use crate::ctl::link::Link;
use crate::ctl::print::parse;

/// Names that are told before it is only said how many more there are.
const TOLD: usize = 5;
/// Servers that are asked for.
const MOST: u32 = 10_000;

/// The fleet's servers, where they are known.
#[derive(Debug, Default)]
pub(super) struct Servers {
    /// Names and labels; none: no controller was asked.
    pub(super) known: Option<Vec<(String, Labels)>>,
}

impl Servers {
    /// Asks the controller; one that cannot be reached is no trouble unless it is `needed`.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn ask(socket: &Path, needed: bool) -> Result<Self, Failure> {
        let mut link = match Link::open(socket).await {
            Ok(link) => link,
            Err(_) if !needed => return Ok(Self::default()),
            Err(failure) => return Err(failure),
        };
        let mut known = Vec::new();
        for json in link.list("servers", true, MOST).await? {
            let server = parse::<Server>("servers", &json)?;
            known.push((server.name, Labels::new(server.labels)));
        }
        Ok(Self { known: Some(known) })
    }

    /// Names of the servers a test holds for; none: they are not known.
    pub(super) fn that(&self, test: impl Fn(&Labels) -> bool) -> Option<BTreeSet<String>> {
        let known = self.known.as_ref()?;
        Some(known.iter().filter(|(_, labels)| test(labels)).map(|(name, _)| name.clone()).collect())
    }

    /// The servers a scenario is about under a policy.
    pub(super) fn of_scenario(&self, policy: &Policy, scenario: &Scenario) -> Option<BTreeSet<String>> {
        self.that(|labels| policy.applies(scenario, labels))
    }
}

/// `3 servers: web1, web2, web3`; `no server`.
pub(super) fn listed(names: &BTreeSet<String>) -> String {
    let first: Vec<&str> = names.iter().take(TOLD).map(String::as_str).collect();
    match names.len() {
        0 => "no server now".to_owned(),
        1 => format!("1 server: {}", first.join(", ")),
        n if n <= TOLD => format!("{n} servers: {}", first.join(", ")),
        n => format!("{n} servers: {} and {} more", first.join(", "), n - TOLD),
    }
}

/// Whom a scenario is about, by its text.
pub(super) fn worded(selects: &Where) -> String {
    match selects {
        Where::Declaring => "servers whose profiles run its sensors".to_owned(),
        Where::Profile(profile) => format!("servers of the profile {profile}"),
        Where::Labels(labels) => format!("servers with {}", matchers(labels)),
    }
}

/// `role=web, cluster=shop-*`; `no server`.
pub(super) fn matchers(matches: &Match) -> String {
    if matches.0.is_empty() {
        return "no server".to_owned();
    }
    matches.0.iter().map(|(name, glob)| format!("{name}={glob}")).collect::<Vec<_>>().join(", ")
}
