//! Which profiles and scenarios apply to a server.

use super::{Match, Pick, Policy, Profile, Scenario, Scope, SensorUse, Step, StepTarget, Where};
use crate::condition::{Condition, SeriesRef, Slot};
use crate::name::ServerId;
use crate::series::Labels;

impl Match {
    /// Whether every matcher fits; an empty one fits nothing. `*` in a value stands for any text, `?` for any character.
    #[must_use]
    pub fn fits(&self, labels: &Labels) -> bool {
        !self.0.is_empty() && self.0.iter().all(|(name, glob)| labels.get(name).is_some_and(|value| fits(glob, value)))
    }
}

impl Policy {
    /// Profiles whose `match` fits, in order of name.
    #[must_use]
    pub fn profiles_for(&self, labels: &Labels) -> Vec<(&str, &Profile)> {
        let fits = |(_, profile): &(&String, &Profile)| profile.matches.fits(labels);
        self.profiles.iter().filter(fits).map(|(name, profile)| (name.as_str(), profile)).collect()
    }

    /// The sensors a server with these labels runs, each id once (the first profile in order of name wins).
    #[must_use]
    pub fn sensors_for(&self, labels: &Labels) -> Vec<&SensorUse> {
        let mut uses: Vec<&SensorUse> = Vec::new();
        for (_, profile) in self.profiles_for(labels) {
            for sensor in &profile.sensors {
                if uses.iter().all(|u| u.id != sensor.id) {
                    uses.push(sensor);
                }
            }
        }
        uses
    }

    /// Whether a `where` selects a server with these labels. One that was left out selects none: what it stands for
    /// depends on where it was left out.
    #[must_use]
    pub fn selects(&self, selects: &Where, labels: &Labels) -> bool {
        match selects {
            Where::Labels(matches) => matches.fits(labels),
            Where::Profile(name) => self.profiles.get(name).is_some_and(|p| p.matches.fits(labels)),
            Where::Declaring => false,
        }
    }

    /// Whether a step of the scenario may be done on a server with these labels: in scope `server` the server is one the
    /// scenario is about; otherwise it is one the step's `target` selects. A target without `where`, and the servers of a
    /// request, are held to the scenario's own `where`.
    #[must_use]
    pub fn may_target(&self, scenario: &Scenario, step: &Step, labels: &Labels) -> bool {
        match &step.target {
            None => scenario.scope == Scope::Server && scenario.on_request.is_none() && self.applies(scenario, labels),
            Some(StepTarget::Pick(Pick { selects: Where::Declaring, .. })) => self.applies(scenario, labels),
            Some(StepTarget::Pick(pick)) => self.selects(&pick.selects, labels),
            Some(StepTarget::Request) if scenario.on_request.is_none() => false,
            Some(StepTarget::Request) => {
                scenario.selects == Where::Declaring || self.selects(&scenario.selects, labels)
            }
        }
    }

    /// Whether the scenario is about a server with these labels. Without `where`: the server's profiles declare the
    /// sensor of every series in `when`; the controller's own series need no sensor, only a profile.
    #[must_use]
    pub fn applies(&self, scenario: &Scenario, labels: &Labels) -> bool {
        match &scenario.selects {
            Where::Labels(_) | Where::Profile(_) => self.selects(&scenario.selects, labels),
            Where::Declaring => {
                let profiles = self.profiles_for(labels);
                let declares =
                    |sensor: &str| profiles.iter().any(|(_, p)| p.sensors.iter().any(|s| s.sensor == sensor));
                !profiles.is_empty() && scenario.when.iter().flat_map(series_of).filter_map(|s| s.sensor).all(declares)
            }
        }
    }
}

/// The cluster a server is in: its label `cluster`, else a cluster of its own, by its name.
#[must_use]
pub fn cluster_of<'a>(server: &'a ServerId, labels: &'a Labels) -> &'a str {
    labels.get("cluster").unwrap_or(server.as_str())
}

/// The series a condition reads, in order of first use.
pub(super) fn series_of(condition: &Condition) -> impl Iterator<Item = &SeriesRef> {
    condition.slots().iter().flat_map(|slot| {
        let inner = match slot {
            Slot::Servers(servers) => servers.of.slots(),
            Slot::Series(_) | Slot::Absent(_) | Slot::Text(_) | Slot::Window(_) | Slot::Fold(_) => &[],
        };
        slot.series().into_iter().chain(inner.iter().filter_map(Slot::series))
    })
}

/// Whether `glob` stands for the whole of `text`: `*` is any text, `?` any character.
pub fn fits(glob: &str, text: &str) -> bool {
    let (mut glob, mut text) = (glob.chars(), text.chars());
    // Where to go on when what follows the last `*` does not fit: `*` takes one character more.
    let mut retry: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
    loop {
        let mut after = glob.clone();
        match after.next() {
            Some('*') => {
                retry = Some((after.clone(), text.clone()));
                glob = after;
                continue;
            }
            None if text.as_str().is_empty() => return true,
            Some(c) => {
                let mut rest = text.clone();
                if rest.next().is_some_and(|t| c == '?' || c == t) {
                    (glob, text) = (after, rest);
                    continue;
                }
            }
            None => {}
        }
        let Some((star, from)) = &mut retry else { return false };
        if from.next().is_none() {
            return false;
        }
        (glob, text) = (star.clone(), from.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_stand_for_whole_texts() {
        for (glob, text, expected) in [
            ("web", "web", true),
            ("web", "web1", false),
            ("web*", "web", true),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("shop-*-a", "shop-1-b-a", true),
            ("*a*b", "xaxbxab", true),
            ("*a*b", "xaxbxa", false),
            ("w?b", "wéb", true),
            ("w?b", "wb", false),
            ("*?", "", false),
        ] {
            assert_eq!(fits(glob, text), expected, "{glob} {text}");
        }
        // Each star more would multiply the work of a naive matcher.
        assert!(!fits(&"a*".repeat(60), &"a".repeat(59).repeat(40).replace('a', "ab").replace("ab", "b")));
    }
}
