//! Simulation: the real engine and the real acting process (ledger, envelope, actions) under a virtual clock, network and
//! disk. A seed decides everything, so a seed reproduces bit for bit.
//!
//! What is simulated: the servers' services, processes and checks ([`host::SimHost`]), the stream between agent and controller (delay, loss of
//! what was under way when a session ends), the journal's disk (appends that fail for a while), crashes of either side.

mod check;
mod fleet;
pub mod host;
mod node;
mod rng;
mod rollout;
mod server;
mod world;

pub use fleet::{Figures, Fleet, Rails};
pub use rng::Rng;
pub use rollout::{Bad, Course, Rollout, policy as rollout_policy};
pub use world::{Report, World};

/// The policy of a version: every second one has another text of two scenarios.
#[must_use]
pub fn policy_text(version: u64) -> String {
    match version % 2 {
        1 => POLICY.to_owned(),
        _ => POLICY
            .replace("verify_within: 15s", "verify_within: 14s")
            .replace("verify_within: 12s", "verify_within: 13s"),
    }
}

/// The policy all seeds begin under.
const POLICY: &str = r#"
fleet: sim
---
profile: all
match: { sim: "yes" }
sensors:
  - process: { every: 2s }
  - service: { units: [a.service, b.service], every: 2s }
  - exec: { name: disk, script: check, every: 2s, format: nagios }
---
script: check
interpreter: /bin/check
body: check
---
script: repair
interpreter: /bin/repair
body: repair
---
scenario: dead-service
when: service.up == 0
mode: enforce
respond:
  - do: service.start
    with: { unit: "${service}" }
    verify_within: 15s
  - do: service.restart
    with: { unit: "${service}" }
    verify_within: 15s
---
scenario: runaway
when: process.cpu_ratio > 0.9
for: 4s
mode: enforce
respond:
  - do: process.signal
    with: { pid: "${pid}", start: "${start}", signal: TERM }
    verify_within: 10s
  - do: process.signal
    with: { pid: "${pid}", start: "${start}", signal: KILL }
    verify_within: 10s
---
scenario: bad-disk
when: exec.state == 2
mode: enforce
severity: critical
respond:
  - do: script.run
    with: { script: repair }
    verify_within: 12s
"#;
