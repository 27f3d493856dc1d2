//! Which servers a wave has. Deterministic: the same fleet gives the same waves.

use std::collections::{BTreeMap, BTreeSet};

use skynet_model::name::ServerId;
use skynet_model::policy::Wave;

/// A server as far as waves are concerned.
#[derive(Clone, Debug)]
pub struct Member {
    /// Which.
    pub server: ServerId,
    /// Its cluster; its own name where it has none.
    pub cluster: String,
    /// Whether its agent is there.
    pub connected: bool,
    /// Whether its sensors do their work.
    pub healthy: bool,
}

impl Member {
    /// Lower goes first: what is away or ill proves little.
    fn rank(&self) -> u8 {
        match (self.connected, self.healthy) {
            (true, true) => 0,
            (true, false) => 1,
            (false, _) => 2,
        }
    }
}

/// The servers of each wave. Each takes from every cluster in proportion; the first is of servers that are there and well,
/// of the largest cluster first. What no wave covers is a last one. Waves that add nobody are left out.
#[must_use]
pub fn waves(fleet: &[Member], sizes: &[Wave]) -> Vec<Vec<ServerId>> {
    let mut clusters: BTreeMap<&str, Vec<&Member>> = BTreeMap::new();
    for member in fleet {
        clusters.entry(&member.cluster).or_default().push(member);
    }
    // A server's place within its cluster, as a fraction: ordered by it, every beginning of the list has its share of each.
    let mut order: Vec<(u64, u64, &Member)> = Vec::new();
    for members in clusters.values_mut() {
        members.sort_by(|a, b| (a.rank(), &a.server).cmp(&(b.rank(), &b.server)));
        let size = members.len() as u64;
        order.extend((0u64..).zip(members.iter()).map(|(at, member)| (2 * at + 1, 2 * size, *member)));
    }
    order.sort_by(|(a, of_a, one), (b, of_b, other)| {
        (a * of_b).cmp(&(b * of_a)).then_with(|| (&one.cluster, &one.server).cmp(&(&other.cluster, &other.server)))
    });
    let order: Vec<&Member> = order.into_iter().map(|(_, _, member)| member).collect();
    let total = order.len();
    let mut planned: Vec<Vec<ServerId>> = Vec::new();
    let mut taken: BTreeSet<&ServerId> = BTreeSet::new();
    for size in sizes.iter().copied().chain([Wave::Share(1.0)]) {
        let reach = match size {
            Wave::Count(count) => count as usize,
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "at most the fleet's size"
            )]
            Wave::Share(share) => (share * total as f64).ceil() as usize,
        };
        let missing = reach.min(total).saturating_sub(taken.len());
        if missing == 0 {
            continue;
        }
        let mut left: Vec<&Member> = order.iter().copied().filter(|member| !taken.contains(&member.server)).collect();
        if planned.is_empty() {
            left.sort_by_key(|member| member.rank());
        }
        let wave: Vec<ServerId> = left.iter().take(missing).map(|member| member.server.clone()).collect();
        taken.extend(left.iter().take(missing).map(|member| &member.server));
        planned.push(wave);
    }
    planned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(clusters: &[(&str, usize)]) -> Vec<Member> {
        let mut all = Vec::new();
        for (cluster, size) in clusters {
            for n in 0..*size {
                let server = ServerId::new(&format!("{cluster}-{n:03}")).unwrap();
                all.push(Member { server, cluster: (*cluster).to_owned(), connected: true, healthy: true });
            }
        }
        all
    }

    const USUAL: [Wave; 4] = [Wave::Count(1), Wave::Share(0.05), Wave::Share(0.25), Wave::Share(1.0)];

    fn sizes(waves: &[Vec<ServerId>]) -> Vec<usize> {
        waves.iter().map(Vec::len).collect()
    }

    #[test]
    fn shares_are_of_the_whole_fleet_and_count_what_went_before() {
        assert_eq!(sizes(&waves(&fleet(&[("a", 100), ("b", 200)]), &USUAL)), [1, 14, 60, 225]);
        assert_eq!(sizes(&waves(&fleet(&[("a", 3)]), &USUAL)), [1, 2]);
        assert_eq!(sizes(&waves(&fleet(&[("a", 1)]), &USUAL)), [1]);
        assert_eq!(sizes(&waves(&fleet(&[("a", 10)]), &[Wave::Count(1)])), [1, 9], "nobody is left behind");
        assert_eq!(sizes(&waves(&fleet(&[("a", 10)]), &[Wave::Share(1.0)])), [10]);
        assert!(waves(&[], &USUAL).is_empty());
    }

    #[test]
    fn every_wave_takes_from_every_cluster_in_proportion_and_the_plan_is_the_same_each_time() {
        let fleet = fleet(&[("a", 40), ("b", 40), ("c", 120)]);
        let planned = waves(&fleet, &USUAL);
        let of = |wave: &[ServerId], cluster: &str| wave.iter().filter(|s| s.as_str().starts_with(cluster)).count();
        let first: Vec<ServerId> = planned[..3].concat();
        assert_eq!([of(&first, "a"), of(&first, "b"), of(&first, "c")], [10, 10, 30]);
        assert!(planned[0][0].as_str().starts_with('c'), "the largest cluster misses one server least");
        let mut reversed = fleet.clone();
        reversed.reverse();
        assert_eq!(waves(&reversed, &USUAL), planned);
    }

    #[test]
    fn the_canary_is_there_and_well_and_whoever_is_away_comes_last() {
        let mut fleet = fleet(&[("a", 10)]);
        for (n, member) in fleet.iter_mut().enumerate() {
            (member.connected, member.healthy) = (n > 3, n != 4);
        }
        let planned = waves(&fleet, &[Wave::Count(1), Wave::Count(6)]);
        assert_eq!(planned[0][0].as_str(), "a-005");
        let away: BTreeSet<&str> = planned[2].iter().map(ServerId::as_str).collect();
        assert_eq!(away, BTreeSet::from(["a-000", "a-001", "a-002", "a-003"]));
        // With nobody there it is still one server.
        fleet.iter_mut().for_each(|member| member.connected = false);
        assert_eq!(waves(&fleet, &USUAL)[0].len(), 1);
    }
}
