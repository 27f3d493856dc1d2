//! Silences: notices that match are held back, until it ends.

use std::collections::BTreeMap;

use skynet_engine::{Input, MAX_SILENCE};
use skynet_model::incident::{NoticeKind, Silence, State};
use skynet_model::time::{Span, Timestamp};

use crate::world::World;

const HOT: &str = "scenario: hot\nwhen: cpu.busy_ratio > 0.9\nmode: enforce\n";

fn made(w: &World, pairs: &[(&str, &str)], lasts: Span) -> Result<Silence, String> {
    let matches: BTreeMap<_, _> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    w.engine.silence(Timestamp(w.now), matches, lasts, "ann".into(), "known".into())
}

fn silence(w: &mut World, pairs: &[(&str, &str)], lasts: Span) -> String {
    let made = made(w, pairs, lasts).unwrap();
    let id = made.id.clone();
    w.input(Input::Silence(made));
    id
}

fn burns(w: &mut World) {
    w.set("web1", "cpu.busy_ratio", 0.95);
    w.run(3);
    assert_eq!(w.last().state, State::Escalated);
}

#[test]
fn every_kind_of_matcher_holds_a_notice_back_and_one_that_differs_does_not() {
    for (pairs, silent) in [
        (&[("scenario", "hot")][..], true),
        (&[("scenario", "h*"), ("cluster", "shop")], true),
        (&[("server", "web?")], true),
        (&[("severity", "warning")], true),
        (&[("role", "web")], true),
        (&[("scenario", "hot"), ("server", "db1")], false),
        (&[("cluster", "blog")], false),
        (&[("severity", "critical")], false),
        (&[("mount", "*")], false),
    ] {
        let mut w = World::new(HOT);
        silence(&mut w, pairs, Span::hours(1));
        burns(&mut w);
        assert_eq!(w.notices().is_empty(), silent, "{pairs:?}");
        assert_eq!(w.engine.silenced(&w.last(), Timestamp(w.now)).is_some(), silent, "{pairs:?}");
    }
}

#[test]
fn at_its_end_what_is_still_wrong_is_told() {
    let mut w = World::new(HOT);
    silence(&mut w, &[("scenario", "hot")], Span::minutes(10));
    burns(&mut w);
    w.run(590);
    assert!(w.notices().is_empty());
    w.run(10);
    assert_eq!(w.notices().len(), 1);
}

#[test]
fn expired_by_hand_it_ends_at_once() {
    let mut w = World::new(HOT);
    let id = silence(&mut w, &[("scenario", "hot")], Span::hours(1));
    burns(&mut w);
    w.input(Input::ExpireSilence { id, by: "ann".into() });
    assert_eq!(w.notices().len(), 1);
    assert!(w.engine.silences(Timestamp(w.now)).is_empty());
}

#[test]
fn what_went_away_in_silence_is_never_told() {
    let mut w = World::new(HOT);
    silence(&mut w, &[("scenario", "hot")], Span::minutes(10));
    burns(&mut w);
    w.set("web1", "cpu.busy_ratio", 0.1);
    w.run(5);
    assert_eq!(w.states(), [State::Resolved]);
    w.pass(1000);
    assert!(w.notices().is_empty());
}

#[test]
fn the_end_of_what_was_told_passes_a_silence() {
    let mut w = World::new(HOT);
    burns(&mut w);
    silence(&mut w, &[("scenario", "hot")], Span::minutes(10));
    w.set("web1", "cpu.busy_ratio", 0.1);
    w.run(5);
    let kinds: Vec<_> = w.notices().iter().map(|n| n.kind).collect();
    assert_eq!(kinds, [NoticeKind::Escalated, NoticeKind::Resolved]);
}

#[test]
fn a_silence_outlives_a_restart() {
    let mut w = World::new(HOT);
    silence(&mut w, &[("scenario", "hot")], Span::minutes(10));
    burns(&mut w);
    w.restart();
    w.connect("web1");
    w.merge("web1");
    w.run(100);
    assert!(w.notices().is_empty());
    w.run(500);
    assert_eq!(w.notices().len(), 1);
}

#[test]
fn a_silence_of_everything_or_for_ever_is_refused() {
    let w = World::new(HOT);
    for (pairs, lasts, word) in [
        (&[][..], Span::hours(1), "would silence everything"),
        (&[("scenario", "")], Span::hours(1), "is not a matcher"),
        (&[("scenario", "hot")], Span(-1), "always ends"),
        (&[("scenario", "hot")], Span(MAX_SILENCE.0 + 1), "at most 90d"),
    ] {
        let error = made(&w, pairs, lasts).unwrap_err();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn ids_are_short_and_differ() {
    let mut w = World::new(HOT);
    let ids: std::collections::BTreeSet<_> =
        (0..20).map(|_| silence(&mut w, &[("scenario", "hot")], Span::hours(1))).collect();
    assert_eq!(ids.len(), 20);
    assert!(ids.iter().all(|id| id.len() == 8 && id.starts_with("s-")), "{ids:?}");
}
