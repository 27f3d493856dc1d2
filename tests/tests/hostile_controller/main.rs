//! Whoever takes the controller can set off what was signed, and nothing else.
//!
//! A real acting process under a policy that two of three signers signed is asked for any number of things, most of them
//! forged: commands with anything changed, policies with anything changed, old ones again, others' labels. What may happen is
//! written down a second time, by hand, in `envelope.rs`; what did happen is read off the disk.
//!
//! `SKYNET_HOSTILE_COMMANDS` and `SKYNET_HOSTILE_SEED` choose how many requests, and which.

mod acting;
mod envelope;
mod forge;

use std::time::{Duration, Instant};

use skynet_model::command::Status;
use skynet_model::sign::is_breach;
use skynet_node::actor::{Reply, Request};
use skynet_tests::sim::Rng;

use acting::Acting;
use envelope::{Effect, Envelope};
use forge::Forger;

/// Requests that are under way at once; the acting process takes 256.
const BATCH: usize = 64;

fn chosen(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// What a request must come to.
enum Due {
    Done(Effect),
    Undone,
    Taken,
    Refused,
}

#[test]
#[allow(clippy::disallowed_methods)]
fn nothing_outside_the_envelope_is_ever_done() {
    let (count, seed) = (chosen("SKYNET_HOSTILE_COMMANDS", 100_000), chosen("SKYNET_HOSTILE_SEED", 20_261_124));
    println!("{count} requests of seed {seed}");
    let began = Instant::now();
    let mut acting = Acting::start();
    let mut envelope = Envelope::new(acting.dir());
    let mut forger = Forger::new(&acting, Rng::new(seed));
    let first = acting.ask(&forger.in_force(&envelope));
    assert!(matches!(&first, Reply::Policy { version: 5, error: None, .. }), "{first:?}");

    let (mut asked, mut done, mut breaches) = (0, 0_u64, 0_u64);
    while asked < count {
        // The operators' own latch, now and then: then nothing at all is done.
        let halted = forger.chance.one_in(40);
        if halted {
            acting.send(&Request::Halt { halted: true });
        }
        let mut due = Vec::new();
        for _ in 0..BATCH {
            let (request, due_now) = match forger.chance.below(40) {
                0 => match forger.policy() {
                    Some(forged) => (forged, Due::Refused),
                    None => {
                        envelope.change_role();
                        (forger.in_force(&envelope), Due::Taken)
                    }
                },
                _ => {
                    let (command, deadline) = forger.command(&envelope, acting.boot_ms());
                    let effect = envelope.judge(&command, deadline, acting.boot_ms(), halted);
                    if envelope.is_settled(&command) {
                        forger.keep(&command);
                    }
                    if let Some(Effect::Deleted(name)) = &effect {
                        acting.lay(name);
                    }
                    let due = effect.map_or(Due::Undone, Due::Done);
                    (Request::Execute { command: Box::new(command), deadline_boot_ms: deadline }, due)
                }
            };
            acting.send(&request);
            due.push((request, due_now));
        }
        for (request, due) in due {
            let reply = acting.receive();
            let fits = match (&due, &reply) {
                (Due::Done(effect), Reply::Outcome { outcome }) => {
                    done += 1;
                    acting.expect(effect);
                    outcome.status == Status::Done
                }
                (Due::Undone, Reply::Outcome { outcome }) => {
                    breaches += u64::from(is_breach(&outcome.message));
                    // What was done before may be told again; it is not done again.
                    outcome.status != Status::Done || envelope.was_done(&outcome.command)
                }
                (Due::Taken, Reply::Policy { error, .. }) => error.is_none(),
                (Due::Refused, Reply::Policy { error, .. }) => {
                    breaches += u64::from(error.as_deref().is_some_and(is_breach));
                    error.is_some()
                }
                _ => false,
            };
            assert!(fits, "seed {seed}: {request:?}\nwas answered by {reply:?}");
            asked += 1;
        }
        acting.check_files(seed);
        if halted {
            acting.send(&Request::Halt { halted: false });
        }
    }
    acting.check_lines(seed);
    assert!(done * 400 > asked && done > 20, "only {done} of {asked} were done: nothing is proved by refusing all");
    assert!(breaches * 2 > asked, "only {breaches} of {asked} were told as breaches");

    // The door is not simply shut: what two signers sign is taken, and acts.
    let taken = acting.ask(&forger.next());
    assert!(matches!(&taken, Reply::Policy { version: 6, error: None, .. }), "{taken:?}");
    envelope.rise();
    let last = forger.plain(&envelope, "mark", 0);
    let effect = envelope.judge(&last, acting.boot_ms() + 60_000, acting.boot_ms(), false).unwrap();
    let reply = acting.ask(&Request::Execute { command: Box::new(last), deadline_boot_ms: acting.boot_ms() + 60_000 });
    assert!(matches!(&reply, Reply::Outcome { outcome } if outcome.status == Status::Done), "{reply:?}");
    acting.expect(&effect);
    acting.check_lines(seed);
    acting.end();
    let took: Duration = began.elapsed();
    println!("{asked} requests, {done} of them done, {breaches} told as breaches, in {:.1} s", took.as_secs_f64());
}
