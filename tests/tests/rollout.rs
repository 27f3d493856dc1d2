//! Rollouts over 300 simulated servers in 10 clusters: a bad version never gets past its canary and everything is back on
//! last good by itself; a good one arrives. `SKYNET_ROLLOUT_SEEDS=1000` for more, `SKYNET_FIRST_SEED=n` for others.

use std::sync::Arc;

use skynet_model::policy::Policy;
use skynet_tests::sim::{Bad, Course, Rollout, rollout_policy};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

const KINDS: [Bad; 5] = [Bad::Sensor, Bad::Scenario, Bad::Both, Bad::Crash, Bad::Nothing];

#[test]
fn a_bad_version_never_gets_past_its_canary_and_a_good_one_arrives() {
    let (seeds, first) = (number("SKYNET_ROLLOUT_SEEDS", 50), number("SKYNET_FIRST_SEED", 1));
    let policies: Vec<Arc<Policy>> = KINDS.iter().map(|bad| rollout_policy(*bad).unwrap()).collect();
    let next = std::sync::atomic::AtomicU64::new(first);
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    let courses: Vec<Result<Vec<(Bad, Course)>, String>> = std::thread::scope(|scope| {
        let work = || {
            let mut courses = Vec::new();
            loop {
                let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if seed >= first + seeds {
                    return Ok(courses);
                }
                let kind = usize::try_from(seed).unwrap() % KINDS.len();
                let (good, new) = (Arc::clone(&policies[4]), Arc::clone(&policies[kind]));
                courses.push((KINDS[kind], Rollout::new(seed, KINDS[kind], good, new).run()?));
            }
        };
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    });
    let courses: Vec<(Bad, Course)> =
        courses.into_iter().flat_map(|part| part.unwrap_or_else(|what| panic!("{what}"))).collect();
    for kind in KINDS {
        let of: Vec<&Course> = courses.iter().filter(|(bad, _)| *bad == kind).map(|(_, course)| course).collect();
        let reached = of.iter().map(|course| course.reached).max().unwrap_or(0);
        // A simulation in which nothing happens proves nothing.
        assert!(reached >= if kind == Bad::Nothing { 300 } else { 1 }, "{kind:?} reached {reached} servers");
        if matches!(kind, Bad::Scenario) {
            assert!(of.iter().any(|course| course.acted == 1), "nothing was ever done under the bad scenario");
        }
        let minutes = of.iter().map(|course| course.took / 60_000).max().unwrap_or(0);
        let restarts: u64 = of.iter().map(|course| course.restarts).sum();
        println!("{kind:?}: {} seeds, at most {reached} servers, {minutes} min, {restarts} restarts", of.len());
    }
    assert!(courses.iter().any(|(_, course)| course.restarts > 0));
}
