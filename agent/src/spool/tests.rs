use super::*;

fn sweep(sensor: &str, at: i64, readings: usize) -> Sweep {
    Sweep {
        sensor: sensor.into(),
        every: Span::seconds(1),
        started: Timestamp(at),
        started_boot_ms: at,
        result: Ok((0..readings).map(|i| (Arc::new(SeriesKey::plain(&format!("{sensor}.{i}"))), 1.0)).collect()),
    }
}

/// (sensor, time) of each sweep.
fn shown(batch: Option<&Batch>) -> Vec<(String, i64)> {
    batch.into_iter().flat_map(Batch::parts).map(|p| (p.sensor.to_string(), p.boot_ms)).collect()
}

fn pairs(expected: &[(&str, i64)]) -> Vec<(String, i64)> {
    expected.iter().map(|(s, at)| ((*s).to_owned(), *at)).collect()
}

#[test]
fn what_is_queued_travels_together_and_leaves_when_acknowledged() {
    let mut spool = Spool::new(1000, 5);
    spool.begin_session();
    assert!(spool.next_live().is_none() && !spool.has_live());
    spool.push(sweep("a", 1, 3));
    spool.push(sweep("b", 1, 3));
    assert!(spool.has_live());
    let batch = spool.next_live();
    assert_eq!(batch.map(|b| b.seq), Some(5));
    assert_eq!(shown(batch), pairs(&[("a", 1), ("b", 1)]));
    spool.push(sweep("a", 2, 3));
    assert_eq!(spool.next_live().map(|b| b.seq), Some(6));
    assert!(spool.next_live().is_none());
    spool.ack(5);
    assert!(!spool.is_empty());
    spool.ack(600);
    assert!(spool.is_empty());
    assert_eq!(spool.len(), 0);
    assert!(spool.take_losses().is_empty());
}

#[test]
fn after_a_break_the_present_goes_first_and_the_rest_is_backlog() {
    let mut spool = Spool::new(1000, 1);
    spool.begin_session();
    spool.push(sweep("a", 1, 1));
    spool.next_live().unwrap();
    for at in 2..6 {
        spool.push(sweep("a", at, 1));
    }
    spool.push(sweep("slow", 2, 1));
    spool.begin_session();
    // Batch 1 was sent before: the controller may have it, so it keeps its number and comes late.
    let present = spool.next_live();
    assert_eq!(shown(present), pairs(&[("a", 5), ("slow", 2)]));
    assert_eq!(present.unwrap().seq, 3);
    assert!(spool.next_live().is_none());
    spool.push(sweep("a", 6, 1));
    let late = spool.next_late(1);
    assert_eq!((late.map(|b| b.seq), shown(late)), (Some(1), pairs(&[("a", 1)])));
    assert!(spool.next_late(1).is_none(), "the window is full");
    assert_eq!(shown(spool.next_live()), pairs(&[("a", 6)]));
    // An acknowledgement of the present says nothing of the backlog.
    spool.ack(4);
    assert!(spool.has_backlog() && !spool.has_live());
    assert!(spool.next_late(1).is_none());
    spool.ack(1);
    assert_eq!(shown(spool.next_late(1)), pairs(&[("a", 2), ("a", 3), ("a", 4)]));
    spool.ack(2);
    assert!(spool.is_empty() && !spool.has_backlog());
}

#[test]
fn only_what_was_sent_in_this_session_is_acknowledged() {
    let mut spool = Spool::new(1000, 1);
    spool.begin_session();
    spool.push(sweep("a", 1, 1));
    spool.push(sweep("a", 2, 1));
    spool.ack(1);
    assert!(!spool.is_empty());
    spool.next_live().unwrap();
    spool.begin_session();
    spool.ack(1);
    assert!(!spool.is_empty(), "the backlog has not been sent again yet");
    spool.next_late(4).unwrap();
    spool.ack(1);
    assert!(spool.is_empty());
}

#[test]
fn a_full_spool_drops_the_oldest_and_tells_of_it_until_it_is_heard() {
    let mut spool = Spool::new(10_000, 1);
    for at in 0..40 {
        spool.push(sweep("a", at, 999));
        assert!(spool.len() <= 10_000);
    }
    spool.begin_session();
    let losses = spool.take_losses();
    let [loss] = &losses[..] else { panic!("{losses:?}") };
    assert_eq!(loss.first_seq, 1);
    assert!(loss.readings >= 30_000 - 4096, "{loss:?}");
    assert!(spool.take_losses().is_empty());
    // The session broke before anything was acknowledged: it is told again.
    spool.begin_session();
    assert_eq!(spool.take_losses(), losses);
    let seq = spool.next_live().unwrap().seq;
    spool.ack(seq);
    spool.begin_session();
    assert_eq!(spool.take_losses(), []);
}

#[test]
fn failed_and_empty_sweeps_are_bounded_too() {
    let mut spool = Spool::new(100, 1);
    for at in 0..100_000 {
        spool.push(Sweep { result: Err("no".to_owned()), ..sweep("a", at, 0) });
        spool.push(sweep("b", at, 0));
    }
    assert!(spool.len() <= 100);
    spool.begin_session();
    let late: usize = std::iter::from_fn(|| spool.next_late(1000).map(|b| b.parts.len())).sum();
    assert!(late <= 100);
}

#[test]
fn a_huge_sweep_travels_in_parts_and_only_the_last_completes_it() {
    let mut spool = Spool::new(100_000, 1);
    spool.begin_session();
    spool.push(sweep("a", 1, 2 * MAX_BATCH_READINGS + 1));
    let mut complete = Vec::new();
    let mut readings = 0;
    while let Some(batch) = spool.next_live() {
        readings += batch.readings();
        assert!(batch.readings() <= MAX_BATCH_READINGS as u64);
        complete.extend(batch.parts().map(|p| p.complete));
    }
    assert_eq!(complete, [false, false, true]);
    assert_eq!(readings, 2 * MAX_BATCH_READINGS as u64 + 1);
}

#[test]
fn a_spool_smaller_than_one_sweep_drops_it_and_goes_on() {
    let mut spool = Spool::new(10, 1);
    spool.begin_session();
    spool.push(sweep("a", 1, 50));
    assert!(spool.is_empty());
    let reason = "the agent's spool was full".to_owned();
    assert_eq!(spool.take_losses(), [Loss { boot: None, first_seq: 1, last_seq: 1, readings: 50, reason }]);
    spool.push(sweep("a", 2, 5));
    assert_eq!(shown(spool.next_live()), pairs(&[("a", 2)]));
}
