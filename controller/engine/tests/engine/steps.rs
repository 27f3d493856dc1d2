//! From firing to the end: steps, proofs, and what a person is told.

use skynet_model::command::Status;
use skynet_model::event::EventBody;
use skynet_model::incident::{NoticeKind, State};

use crate::world::World;

pub(crate) const RUNAWAY: &str = r#"
scenario: runaway
when: process.cpu_ratio > 0.9
mode: enforce
respond:
  - do: process.signal
    with: { pid: "${pid}", signal: TERM }
    verify_within: 10s
  - do: process.signal
    with: { pid: "${pid}", signal: KILL }
    verify_within: 10s
"#;
pub(crate) const P7: &str = "process.cpu_ratio{pid=\"7\"}";

pub(crate) const DISK: &str = r#"
scenario: disk
when: disk.used_ratio > 0.8
clear: disk.used_ratio < 0.7
mode: enforce
respond:
  - do: disk.tidy
    with: { mount: "${mount}" }
    verify_within: 10s
"#;
pub(crate) const ROOT: &str = "disk.used_ratio{mount=\"/\"}";

#[test]
fn a_killed_process_is_gone_and_so_contained() {
    let mut w = World::new(RUNAWAY);
    w.cures("web1", "process.signal", &[(P7, None)]);
    w.set("web1", P7, 0.99);
    w.run(10);
    let incident = w.last();
    assert_eq!(incident.state, State::Contained);
    assert_eq!(incident.steps.len(), 1);
    assert_eq!(incident.steps[0].verified, Some(true));
    assert!(w.notices().is_empty());
}

#[test]
fn a_step_that_is_not_proved_is_followed_by_the_next() {
    let mut w = World::new(RUNAWAY);
    w.set("web1", P7, 0.99);
    w.run(5);
    assert_eq!(w.last().state, State::Verifying);
    w.cures("web1", "process.signal", &[(P7, None)]);
    w.run(15);
    let incident = w.last();
    assert_eq!(incident.state, State::Contained);
    let verified: Vec<_> = incident.steps.iter().map(|s| s.verified).collect();
    assert_eq!(verified, [Some(false), Some(true)]);
    assert!(incident.steps[0].reason.as_ref().unwrap().contains("0.990"), "{:?}", incident.steps[0].reason);
}

#[test]
fn after_the_last_step_a_person_is_told_the_whole_story() {
    let mut w = World::new(RUNAWAY);
    w.set("web1", P7, 0.99);
    w.run(30);
    let incident = w.last();
    assert_eq!(incident.state, State::Escalated);
    let notices = w.notices();
    assert_eq!(notices.len(), 1);
    assert_eq!(notices[0].kind, NoticeKind::Escalated);
    for part in [
        "process.cpu_ratio{pid=\"7\"} = 0.990",
        "signal=TERM",
        "signal=KILL",
        "not verified",
        "Still wrong",
        "none of its 2 steps",
    ] {
        assert!(notices[0].story.contains(part), "{part} is not in:\n{}", notices[0].story);
    }
    w.run(600);
    assert_eq!(w.notices().len(), 1, "told once");
    w.remove("web1", P7);
    w.run(2);
    assert_eq!(w.last().state, State::Resolved);
    assert_eq!(w.notices()[1].kind, NoticeKind::Resolved);
}

#[test]
fn a_step_that_did_not_work_is_followed_at_once() {
    for status in [Status::Failed, Status::Refused, Status::Expired, Status::Indeterminate] {
        let mut w = World::new(RUNAWAY);
        w.ends("web1", "process.signal", status, Some(0));
        w.set("web1", P7, 0.99);
        w.run(3);
        assert_eq!(w.states(), [State::Escalated], "{status:?}");
        assert_eq!(w.last().steps.len(), 2);
    }
}

#[test]
fn a_step_without_an_outcome_is_given_up() {
    let mut w = World::new(RUNAWAY);
    w.ends("web1", "process.signal", Status::Done, None);
    w.set("web1", P7, 0.99);
    w.run(119);
    assert_eq!(w.last().steps.len(), 1);
    w.run(3);
    let incident = w.last();
    assert_eq!(incident.steps.len(), 2);
    assert!(incident.steps[0].reason.as_ref().unwrap().contains("no outcome came within 2m"));
}

#[test]
fn a_late_outcome_is_kept_and_starts_nothing() {
    let mut w = World::new(RUNAWAY);
    w.ends("web1", "process.signal", Status::Done, Some(300));
    w.set("web1", P7, 0.99);
    w.run(290);
    assert_eq!(w.states(), [State::Escalated]);
    let before = w.events.len();
    w.run(200);
    let incident = w.last();
    assert_eq!(incident.state, State::Escalated);
    assert!(incident.steps.iter().all(|s| s.outcome.is_some() && s.verified == Some(false)));
    let after: Vec<_> = w.events[before..].iter().map(|e| &e.body).collect();
    assert!(after.iter().all(|e| matches!(e, EventBody::CommandEnded { .. })), "{after:?}");
    assert_eq!(after.len(), 2);
}

#[test]
fn an_outcome_is_taken_once_and_from_its_server_only() {
    let mut w = World::new(RUNAWAY);
    w.add("web2");
    w.ends("web1", "process.signal", Status::Done, None);
    w.set("web1", P7, 0.99);
    w.run(2);
    let command = w.last().steps[0].command.clone();
    let outcome = skynet_model::command::Outcome {
        command: command.id,
        status: Status::Failed,
        message: String::new(),
        finished: skynet_model::time::Timestamp(w.now),
        finished_boot_ms: 0,
        took_ms: 0,
    };
    let events = w.events.len();
    let from = |w: &mut World, name: &str| {
        let input = skynet_engine::Input::Outcome { server: crate::world::server(name), outcome: outcome.clone() };
        w.input(input);
    };
    from(&mut w, "web2");
    assert_eq!(w.events.len(), events);
    from(&mut w, "web1");
    let events = w.events.len();
    from(&mut w, "web1");
    assert_eq!(w.events.len(), events);
}

#[test]
fn two_fresh_sweeps_prove_and_one_does_not() {
    let mut w = World::new(DISK);
    w.cures("web1", "disk.tidy", &[(ROOT, Some(0.5))]);
    w.set("web1", ROOT, 0.9);
    w.pass(1);
    w.sweep("web1", "disk", 0);
    assert_eq!(w.last().state, State::Acting);
    w.pass(1);
    assert_eq!(w.last().state, State::Verifying);
    w.sweep("web1", "disk", 0);
    w.sweep("web1", "disk", 0);
    assert_eq!(w.last().state, State::Verifying, "the same sweep again is not a second one");
    w.pass(1);
    w.sweep("web1", "cpu", 0);
    w.sweep("web1", "cpu", 0);
    assert_eq!(w.last().state, State::Verifying, "sweeps of other sensors prove nothing");
    w.sweep("web1", "disk", 0);
    assert_eq!(w.last().state, State::Contained);
}

#[test]
fn sweeps_begun_before_the_end_of_the_step_prove_nothing() {
    let mut w = World::new(DISK);
    w.cures("web1", "disk.tidy", &[(ROOT, Some(0.5))]);
    w.set("web1", ROOT, 0.9);
    w.pass(1);
    w.sweep("web1", "disk", 900);
    w.pass(5);
    for age in [4900, 4800, 4700] {
        w.sweep("web1", "disk", age);
    }
    let finished = w.last().steps[0].outcome.as_ref().unwrap().finished.0;
    assert!(w.now - finished < 4700, "the sweeps are older than the outcome");
    assert_eq!(w.last().state, State::Verifying);
    w.sweep("web1", "disk", 0);
    w.pass(1);
    w.sweep("web1", "disk", 0);
    assert_eq!(w.last().state, State::Contained);
}

#[test]
fn a_proof_that_breaks_begins_anew() {
    let mut w = World::new(DISK);
    w.set("web1", ROOT, 0.9);
    w.run(2);
    assert_eq!(w.last().state, State::Verifying);
    for value in [0.5, 0.75, 0.5] {
        w.set("web1", ROOT, value);
        w.run(1);
        assert_eq!(w.last().state, State::Verifying, "{value}");
    }
    w.run(1);
    assert_eq!(w.last().state, State::Contained);
}

#[test]
fn a_verify_that_stays_unknown_to_its_deadline_has_failed() {
    let mut w = World::new(DISK);
    w.set("web1", ROOT, 0.9);
    w.run(2);
    w.fakes.get_mut("web1").unwrap().failing.insert("disk".to_owned());
    w.run(12);
    let incident = w.last();
    assert_eq!(incident.state, State::Escalated);
    assert!(incident.steps[0].reason.as_ref().unwrap().contains("still unknown"), "{:?}", incident.steps[0].reason);
}

#[test]
fn a_step_may_have_a_proof_of_its_own() {
    let text = DISK.replace("verify_within: 10s", "verify_within: 10s\n    verify: disk.used_ratio < 0.78");
    let mut w = World::new(&text);
    w.cures("web1", "disk.tidy", &[(ROOT, Some(0.75))]);
    w.set("web1", ROOT, 0.9);
    w.run(5);
    assert_eq!(w.states(), [State::Contained]);
}

#[test]
fn what_goes_away_by_itself_is_cleared_and_nobody_is_told() {
    let text = DISK.replace("mode: enforce", "mode: enforce\nsettle: 5s");
    let mut w = World::new(&text);
    w.input(skynet_engine::Input::Halt { by: "ann".into(), reason: "work".into() });
    w.set("web1", ROOT, 0.9);
    w.run(3);
    assert_eq!(w.states(), [State::Waiting]);
    w.set("web1", ROOT, 0.5);
    w.run(5);
    assert_eq!(w.states(), [State::Waiting], "clear has to settle");
    w.run(2);
    assert_eq!(w.states(), [State::Cleared]);
    assert!(w.notices().is_empty());
    assert!(w.effects("web1").is_empty());
}

#[test]
fn what_is_over_between_steps_is_contained_by_the_steps_before() {
    let mut w = World::new(RUNAWAY);
    w.set("web1", P7, 0.99);
    w.run(2);
    w.input(skynet_engine::Input::Halt { by: "ann".into(), reason: "work".into() });
    w.run(11);
    assert_eq!(w.states(), [State::Waiting]);
    w.remove("web1", P7);
    w.run(1);
    assert_eq!(w.states(), [State::Contained]);
    assert_eq!(w.last().steps.len(), 1);
}

#[test]
fn steps_that_came_to_nothing_do_not_make_it_contained() {
    let mut w = World::new(RUNAWAY);
    w.ends("web1", "process.signal", Status::Refused, Some(0));
    w.set("web1", P7, 0.99);
    w.pass(1);
    w.sweep("web1", "process", 0);
    w.input(skynet_engine::Input::Halt { by: "ann".into(), reason: "work".into() });
    w.report();
    w.remove("web1", P7);
    w.run(1);
    assert_eq!(w.states(), [State::Cleared]);
}

#[test]
fn clear_while_a_step_runs_is_that_steps_to_prove() {
    let mut w = World::new(DISK);
    w.ends("web1", "disk.tidy", Status::Done, Some(20));
    w.set("web1", ROOT, 0.9);
    w.run(2);
    w.set("web1", ROOT, 0.5);
    w.run(15);
    assert_eq!(w.states(), [State::Acting]);
    w.run(8);
    assert_eq!(w.states(), [State::Contained]);
    assert_eq!(w.last().steps[0].verified, Some(true));
}

#[test]
fn without_steps_a_person_is_told_at_once() {
    let mut w = World::new(
        "scenario: hot\nwhen: cpu.busy_ratio > 0.9\nmode: enforce\nescalate: oncall\n---\nroute: oncall\ntell: [{ to: [{ mail: ops@example.net }] }]\n",
    );
    w.set("web1", "cpu.busy_ratio", 0.95);
    w.run(1);
    assert_eq!(w.states(), [State::Escalated]);
    let notice = &w.notices()[0];
    assert_eq!(notice.route, "oncall");
    assert_eq!(notice.to, [skynet_model::policy::Target::Mail("ops@example.net".into())]);
}

#[test]
fn in_observe_it_says_what_it_would_do_and_does_nothing() {
    let mut w = World::new(&RUNAWAY.replace("enforce", "observe"));
    w.set("web1", P7, 0.99);
    w.run(700);
    let incident = w.last();
    assert_eq!(incident.state, State::Observed);
    let reason = incident.reason.unwrap();
    assert!(reason.contains("process.signal pid=7 signal=TERM, then process.signal pid=7 signal=KILL"), "{reason}");
    assert!(w.effects("web1").is_empty() && w.notices().is_empty());
    w.remove("web1", P7);
    w.run(1);
    assert_eq!(w.states(), [State::Cleared]);
    assert!(w.notices().is_empty());
}

#[test]
fn a_step_that_cannot_be_filled_in_is_told() {
    let mut w = World::new(RUNAWAY);
    w.set("web1", "process.cpu_ratio{pid=\"1\"}", 0.99);
    w.run(1);
    assert_eq!(w.states(), [State::Escalated]);
    assert!(w.notices()[0].story.contains("pid"), "{}", w.notices()[0].story);
    assert!(w.effects("web1").is_empty());
}

#[test]
fn one_trouble_has_one_live_incident_and_opens_anew_after_its_end() {
    let mut w = World::new(&format!("{DISK}limits: {{ cooldown: 1s }}\n"));
    w.cures("web1", "disk.tidy", &[(ROOT, Some(0.5))]);
    w.set("web1", ROOT, 0.9);
    w.set("web1", "disk.used_ratio{mount=\"/var\"}", 0.95);
    w.run(20);
    assert_eq!(w.states(), [State::Contained, State::Escalated]);
    w.set("web1", ROOT, 0.9);
    w.run(20);
    assert_eq!(w.states(), [State::Contained, State::Escalated, State::Contained]);
    let ids: std::collections::BTreeSet<_> = w.opened().into_iter().map(|i| i.id).collect();
    assert_eq!(ids.len(), 3);
}

#[test]
fn acknowledging_is_remembered() {
    let mut w = World::new(RUNAWAY);
    w.set("web1", P7, 0.99);
    w.run(1);
    let id = w.last().id;
    w.input(skynet_engine::Input::Acknowledge { incident: id, by: "ann".into(), comment: "mine".into() });
    assert_eq!(w.last().acknowledged.unwrap().by, "ann");
}

#[test]
fn a_proof_by_clear_has_to_settle() {
    let mut w = World::new(&DISK.replace("mode: enforce", "mode: enforce\nsettle: 5s"));
    w.cures("web1", "disk.tidy", &[(ROOT, Some(0.5))]);
    w.set("web1", ROOT, 0.9);
    w.run(6);
    assert_eq!(w.states(), [State::Verifying]);
    w.run(2);
    assert_eq!(w.states(), [State::Contained]);
}

#[test]
fn nothing_is_done_while_clear_settles() {
    let mut w = World::new(&DISK.replace("mode: enforce", "mode: enforce\nsettle: 5s"));
    w.input(skynet_engine::Input::Halt { by: "ann".into(), reason: "work".into() });
    w.set("web1", ROOT, 0.9);
    w.run(2);
    w.set("web1", ROOT, 0.5);
    w.run(2);
    w.input(skynet_engine::Input::Resume { by: "ann".into() });
    w.run(1);
    assert_eq!(w.holds(), [skynet_model::incident::Rail::Halt], "no rail holds it: it is nearly over");
    assert!(w.effects("web1").is_empty());
    w.run(4);
    assert_eq!(w.states(), [State::Cleared]);
}

#[test]
fn a_late_outcome_does_not_end_the_next_step() {
    let mut w = World::new(RUNAWAY);
    w.ends("web1", "process.signal", Status::Done, Some(130));
    w.set("web1", P7, 0.99);
    w.run(135);
    let incident = w.last();
    assert_eq!(incident.steps.len(), 2);
    assert!(incident.steps[0].outcome.is_some() && incident.steps[1].outcome.is_none());
    assert_eq!(incident.state, State::Acting);
}

#[test]
fn the_thousand_latest_ends_are_kept() {
    let mut w = World::new("scenario: hot\nwhen: cpu.busy_ratio > 0.9\nmode: observe\n");
    for _ in 0..1003 {
        for value in [0.95, 0.1] {
            w.set("web1", "cpu.busy_ratio", value);
            w.pass(1);
            w.sweep("web1", "cpu", 0);
        }
    }
    assert_eq!(w.engine.incidents().len(), 1000);
    assert!(w.engine.incidents()[999].opened < w.engine.incidents()[0].opened);
}
