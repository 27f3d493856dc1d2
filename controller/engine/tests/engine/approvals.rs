//! A person's word on a step.

use std::collections::BTreeMap;

use skynet_engine::Input;
use skynet_model::event::EventBody;
use skynet_model::incident::{NoticeKind, Rail, State};
use skynet_model::name::IncidentId;
use skynet_model::time::{Span, Timestamp};

use crate::steps::{DISK, P7, ROOT, RUNAWAY};
use crate::world::{World, server};

fn wipe() -> String {
    DISK.replace("disk.tidy", "disk.wipe")
}

fn waits(text: &str) -> (World, IncidentId) {
    let mut w = World::new(text);
    w.cures("web1", "disk.wipe", &[(ROOT, Some(0.5))]);
    w.set("web1", ROOT, 0.9);
    w.run(3);
    let id = w.last().id;
    (w, id)
}

fn approve(w: &mut World, id: &IncidentId) {
    w.input(Input::Approve { incident: id.clone(), by: "ann".into(), comment: "go".into() });
}

fn why_not(w: &World, id: &IncidentId) -> String {
    w.engine.approvable(Timestamp(w.now), id).unwrap_err()
}

#[test]
fn an_approved_step_is_done_and_the_word_is_in_the_journal() {
    let (mut w, id) = waits(&wipe());
    assert!(w.last().held[0].why.contains(&format!("skynetctl approve {id}")));
    let asked = w.engine.approvals(Timestamp(w.now));
    assert_eq!((asked.len(), asked[0].call().as_str()), (1, "disk.wipe mount=/"));
    assert_eq!(asked[0].hold.as_ref().unwrap().rail, Rail::Approval);
    approve(&mut w, &id);
    w.run(4);
    assert_eq!(w.states(), [State::Contained]);
    let said = w.events.iter().find_map(|e| match &e.body {
        EventBody::StepApproved { incident, step, by, params, until, .. } => {
            Some((incident, *step, by, params, *until, e.time))
        }
        _ => None,
    });
    let (incident, step, by, params, until, at) = said.unwrap();
    assert_eq!((incident, step, by.as_str(), until), (&id, 0, "ann", at.plus(Span::minutes(30))));
    assert_eq!(params[&server("web1")]["mount"].to_string(), "/");
    assert!(w.notices().is_empty());
}

#[test]
fn an_approval_lapses_after_half_an_hour() {
    let text = format!("fleet: f\nrails: {{ hold_patience: 2h }}\n---{}", wipe());
    let (mut w, id) = waits(&text);
    w.input(Input::Halt { by: "ann".into(), reason: "wait".into() });
    approve(&mut w, &id);
    assert!(why_not(&w, &id).contains("approved already, by ann until"));
    w.pass(1801);
    w.run(2);
    w.input(Input::Resume { by: "ann".into() });
    assert_eq!(w.acted(), 0);
    let held = w.last().hold.unwrap();
    assert!(held.rail == Rail::Approval && held.why.contains("by ann lapsed at"), "{held:?}");
    approve(&mut w, &id);
    assert_eq!(w.acted(), 1);
}

#[test]
fn an_approval_of_other_parameters_or_another_step_does_not_count() {
    let (mut w, id) = waits(&wipe());
    let other = w.engine.approvable(Timestamp(w.now), &id).unwrap();
    let mut params = other.params.clone();
    let var = skynet_model::value::Value::Text("/var".into());
    params.get_mut(&server("web1")).unwrap().insert("mount".to_owned(), var);
    // As a journal of another policy could say it.
    for (step, params, word) in [
        (0, params, "with other parameters"),
        (0, BTreeMap::new(), "for other servers"),
        (1, other.params, "needs a person's"),
    ] {
        let (by, comment, until) = ("ann".to_owned(), String::new(), Timestamp(w.now).plus(Span::hours(1)));
        let body = EventBody::StepApproved { incident: id.clone(), step, by, comment, params, until };
        let seq = w.events.len() as u64 + 1;
        let event = skynet_model::event::Event { seq, time: Timestamp(w.now), body };
        w.events.push(event.clone());
        w.engine.replay(&event);
        w.run(1);
        assert_eq!(w.acted(), 0, "{word}");
        let asked = w.engine.approvals(Timestamp(w.now));
        assert!(asked[0].approved.is_none(), "{word}");
    }
}

#[test]
fn what_waits_for_nothing_cannot_be_approved_and_says_why() {
    let (w, _) = waits(&wipe());
    assert!(why_not(&w, &IncidentId::new("i-none").unwrap()).contains("no incident i-none"));
    let mut w = World::new(RUNAWAY);
    w.set("web1", P7, 0.99);
    w.run(2);
    assert!(why_not(&w, &w.last().id).contains("under way"));
    w.run(30);
    assert!(why_not(&w, &w.last().id).contains("does not wait for approval: it is escalated"));
    w.remove("web1", P7);
    w.run(3);
    assert!(why_not(&w, &w.last().id).contains("it is over"));
    let mut w = World::new(DISK);
    w.input(Input::Halt { by: "ann".into(), reason: "wait".into() });
    w.set("web1", ROOT, 0.9);
    w.run(3);
    assert!(
        why_not(&w, &w.last().id).contains("step 1 of i-") && why_not(&w, &w.last().id).contains("needs no approval")
    );
    let (w, id) = waits(&wipe().replace("enforce", "observe"));
    assert!(why_not(&w, &id).contains("mode observe"));
    let before = w.events.len();
    let mut w = w;
    approve(&mut w, &id);
    assert_eq!(w.events.len(), before, "and nothing happens");
}

#[test]
fn who_was_told_after_ten_minutes_may_still_approve_and_hears_the_end() {
    let (mut w, id) = waits(&wipe());
    w.run(605);
    assert_eq!(w.states(), [State::Escalated]);
    assert_eq!(w.engine.approvals(Timestamp(w.now)).len(), 1);
    approve(&mut w, &id);
    assert_eq!(w.acted(), 1);
    w.run(4);
    assert_eq!(w.states(), [State::Contained]);
    let kinds: Vec<_> = w.notices().iter().map(|n| n.kind).collect();
    assert_eq!(kinds, [NoticeKind::Escalated, NoticeKind::Resolved]);
    assert!(w.notices()[1].title.contains("contained after all"), "{}", w.notices()[1].title);
}

#[test]
fn an_approved_step_that_does_not_cure_is_told_again() {
    let (mut w, id) = waits(&wipe());
    w.cures("web1", "disk.wipe", &[]);
    w.run(605);
    approve(&mut w, &id);
    w.run(20);
    assert_eq!(w.states(), [State::Escalated]);
    let ids: Vec<_> = w.notices().iter().map(|n| n.id.to_string()).collect();
    let hex = id.as_str().trim_start_matches("i-");
    assert_eq!(ids, [format!("n-{hex}"), format!("n-{hex}-2")]);
}

#[test]
fn an_approval_outlives_a_restart() {
    let (mut w, id) = waits(&wipe());
    w.input(Input::JournalBlocked(true));
    approve(&mut w, &id);
    assert_eq!(w.acted(), 0);
    w.restart();
    w.connect("web1");
    w.merge("web1");
    w.run(4);
    assert_eq!(w.states(), [State::Contained]);
}
