//! Seeded simulation of engine and acting process: no command without a journal event before it, no action on unknown, no
//! second effect, every incident at an end or with a live deadline. `SKYNET_SEEDS=10000` for more, `SKYNET_FIRST_SEED=n` for others.

use std::sync::Arc;

use skynet_model::policy::{File, Policy, load};
use skynet_tests::sim::{Figures, Fleet, Report, World, policy_text};

/// The policies of even and of odd versions.
fn policies() -> [Arc<Policy>; 2] {
    [0, 1].map(|version| {
        let files = [File { name: "sim.yaml".to_owned(), text: policy_text(version) }];
        Arc::new(load(&files, skynet_node::catalogue()).unwrap_or_else(|errors| panic!("{errors:#?}")))
    })
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

#[test]
fn a_thousand_seeds_keep_every_promise() {
    let (seeds, first) = (number("SKYNET_SEEDS", 1000), number("SKYNET_FIRST_SEED", 1));
    let policies = policies();
    let next = std::sync::atomic::AtomicU64::new(first);
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    let reports: Vec<Result<Report, String>> = std::thread::scope(|scope| {
        let work = || {
            let mut sum = Report::default();
            loop {
                let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if seed >= first + seeds {
                    return Ok(sum);
                }
                sum.add(&World::new(seed, policies.clone()).run()?);
            }
        };
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        handles.into_iter().map(|h| h.join().unwrap()).collect()
    });
    let mut sum = Report::default();
    for report in reports {
        sum.add(&report.unwrap_or_else(|what| panic!("{what}")));
    }
    // A simulation in which nothing happens proves nothing.
    assert!(sum.commands > seeds && sum.effects > seeds, "{sum:?}");
    for kind in [
        "service dies",
        "process runs away",
        "check fails",
        "session lost",
        "agent died at an effect",
        "controller crash",
        "journal disk full",
        "ledger disk full",
        "policy pushed",
        "breaker opened",
    ] {
        assert!(sum.faults.contains_key(kind), "no seed had the fault `{kind}`");
    }
    assert!(sum.incidents.contains_key("contained") && sum.incidents.contains_key("escalated"), "{sum:?}");
    println!(
        "{seeds} seeds, {} simulated hours, {} commands, {} effects; faults {:?}; incidents {:?}",
        sum.simulated_ms / 3_600_000,
        sum.commands,
        sum.effects,
        sum.faults,
        sum.incidents
    );
}

/// `SKYNET_FLEET_SEEDS=1000` for more.
#[test]
fn sixty_percent_of_a_cluster_at_once_never_have_more_than_the_blast_radius_acting() {
    let (seeds, first) = (number("SKYNET_FLEET_SEEDS", 50), number("SKYNET_FIRST_SEED", 1));
    let mut sum = Figures::default();
    for seed in first..first + seeds {
        sum.add(&Fleet::new(seed).run().unwrap_or_else(|what| panic!("{what}")));
    }
    // A simulation in which nothing happens proves nothing: each radius is used up, each brake found.
    assert!(sum.restarts > 2 * seeds && sum.most_at_once == 6 && sum.faults > seeds, "{sum:?}");
    println!("{seeds} seeds of 300 servers in 10 clusters, 18 of 30 broken: {sum:?}");
}

#[test]
fn equal_seeds_have_equal_traces() {
    let policies = policies();
    let trace = |seed| World::new(seed, policies.clone()).trace().unwrap_or_else(|what| panic!("{what}"));
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7), trace(8));
}
