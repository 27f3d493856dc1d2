//! The policy a load runs under: as many scenarios as asked for, thirty in fifty of them on series that are sent.

use std::fmt::Write;

/// Scenarios of the figures.
pub const SCENARIOS: usize = 50;
/// The scenario of [`super::FIRE`].
pub const FIRE_SCENARIO: &str = "load-fires";

/// Conditions on series that are sent; `#` stands for a number that makes each another one. None ever holds.
const SENT: [&str; 10] = [
    "cpu.busy_ratio > 2.#",
    "load.one > 40# && cpu.busy_ratio > 1.#",
    "memory.used_ratio > 1.# || swap.used_ratio > 40#",
    "disk.used_ratio > 1.#",
    "disk.used_ratio > 1.# && disk.free_bytes < 1#",
    "network.receive_drops_total < 0 - 1#",
    "service.up == 40# || service.failed > 40#",
    "pressure.cpu_some_ratio + pressure.io_some_ratio > 4.#",
    "exec.value.where({\"check\": \"app0\"}) < 0 - 1#",
    "memory.free_bytes / memory.total_bytes < 0 - 1#",
];
/// Conditions on series that no simulated server sends.
const UNSENT: [&str; 2] = ["process.cpu_ratio > 4.# && label.name == \"no-such\"", "process.zombie_count > 10#"];

/// A policy of `scenarios` scenarios, [`FIRE_SCENARIO`] the first of them, for the stage's servers. The firing series over
/// 0 is answered by `service.start`, which may run any number of times.
#[must_use]
pub fn policy(scenarios: usize) -> String {
    let mut text = String::from(
        r#"fleet: demo
rails: { cooldown: 1s, cooldown_max: 1s, cooldown_per_day: 100000, flapping_after: 100000, per_hour: 100000 }
---
profile: load
match: { demo: "yes" }
sensors:
  - cpu
  - load
  - memory
  - network
  - disk
  - process
  - service: { units: [unit-0.service] }
  - exec: { name: load, script: never-run, every: 1s, format: json }
  - exec: { name: app0, script: never-run, every: 1s, format: json }
---
script: never-run
interpreter: /bin/sh
body: "exit 1"
---
scenario: load-fires
when: 'exec.value.where({"check": "load", "metric": "fire"}) > 0'
mode: enforce
respond:
  - do: service.start
    with: { unit: unit-0.service }
    verify_within: 30s
limits: { per_hour: 10000 }
"#,
    );
    for n in 1..scenarios {
        let when = match n % 5 {
            0 | 1 => UNSENT[n % UNSENT.len()],
            _ => SENT[n % SENT.len()],
        };
        let when = when.replace('#', &n.to_string());
        // Writing into a text cannot fail.
        let _ = write!(text, "---\nscenario: load-{n}\nwhen: '{when}'\nfor: 10s\nmode: enforce\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use skynet_model::policy::{File, load};

    #[test]
    fn the_policy_loads_and_has_the_scenarios_asked_for() {
        for count in [1, SCENARIOS] {
            let files = [File { name: "load.yaml".to_owned(), text: policy(count) }];
            let loaded = load(&files, skynet_node::catalogue()).unwrap();
            assert_eq!(loaded.scenarios.len(), count);
        }
    }
}
