//! With a disk: what is acknowledged survives, what is packed is read, what is damaged is named.

use super::super::disk::{Fault, Memory};
use super::*;

/// A history on disks in memory, its keeper driven by hand.
pub(super) struct House {
    pub(super) log: Memory,
    pub(super) chunks: Memory,
    pub(super) history: Arc<History>,
    keeper: Keeper,
}

pub(super) const START: i64 = 1_700_000_000_000;

impl House {
    pub(super) fn new() -> Self {
        Self::on(Memory::default(), Memory::default())
    }

    pub(super) fn on(log: Memory, chunks: Memory) -> Self {
        Self::with(log, chunks, Keep::default(), START)
    }

    pub(super) fn with(log: Memory, chunks: Memory, keep: Keep, now: i64) -> Self {
        let disks = Disks { log: Arc::new(log.clone()), chunks: Arc::new(chunks.clone()) };
        let limits = Limits { series_per_server: 100, ..Limits::default() };
        let (history, keeper) = History::assemble(disks, limits, keep, Box::new(move || Timestamp(now))).unwrap();
        Self { log, chunks, history, keeper }
    }

    pub(super) fn round(&mut self) {
        self.keeper.round(false);
    }

    /// A round after which the log is short.
    pub(super) fn snapshot(&mut self) {
        self.keeper.round(true);
    }

    pub(super) fn durable(&self, ticket: Ticket) -> bool {
        let Some(position) = ticket.0 else { return false };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        self.history.flush();
        let wait = async {
            let mut durable = self.history.wal().unwrap().durable();
            let done = durable.wait_for(|durable| *durable >= position);
            tokio::time::timeout(std::time::Duration::from_secs(10), done).await.is_ok()
        };
        runtime.block_on(wait)
    }

    /// The machine goes down, with `kept` bytes of what was not synced on its disks, and comes up again.
    pub(super) fn crash(self, kept: usize) -> Self {
        self.log.set_fault(Fault::Dead(0));
        self.chunks.set_fault(Fault::Dead(0));
        self.history.close();
        self.log.crash(kept);
        self.chunks.crash(kept);
        Self::on(self.log, self.chunks)
    }
}

fn key(i: usize) -> SeriesKey {
    format!("series.s{i}{{mount=\"/{i}\"}}").parse().unwrap()
}

/// Writes `rows` rows of `series` series, a second apart, and gives the last ticket.
fn fill(house: &House, name: &str, series: usize, rows: std::ops::Range<i64>) -> Ticket {
    let writer = house.history.writer(&server(name));
    let slots: Vec<Slot> = (0..series).map(|i| writer.slot(&key(i)).unwrap()).collect();
    let mut last = Ticket(None);
    for row in rows {
        let readings = slots.iter().enumerate().map(|(i, slot)| (*slot, value(i, row)));
        last = writer.write(Timestamp(START + row * 1000), readings);
    }
    last
}

fn value(series: usize, row: i64) -> f64 {
    match series % 4 {
        0 => 42.0,
        1 => (row * row) as f64,
        2 => (row % 199) as f64 / 199.0,
        _ => (row as f64).sqrt(),
    }
}

fn check(house: &House, name: &str, series: usize, rows: std::ops::Range<i64>) {
    for i in 0..series {
        let found = house.history.samples(&server(name), &key(i), Timestamp(START), Timestamp(i64::MAX));
        let expected: Vec<_> = rows.clone().map(|row| (Timestamp(START + row * 1000), value(i, row))).collect();
        assert_eq!(found.len(), expected.len(), "series {i}");
        assert_eq!(found, expected, "series {i}");
    }
}

#[test]
fn what_was_acknowledged_is_there_after_a_crash_from_log_and_files_and_snapshot() {
    let mut house = House::new();
    let ticket = fill(&house, "web1", 5, 0..100);
    assert!(house.durable(ticket));
    let mut house2 = house.crash(0);
    check(&house2, "web1", 5, 0..100);
    assert_eq!(house2.history.latest(&server("web1"))[1], (key(1), 9801.0, Timestamp(START + 99_000)));
    // Full blocks go into a file; the log is replaced by a snapshot.
    let ticket = fill(&house2, "web1", 5, 100..1000);
    house2.round();
    assert!(house2.chunks.bytes("00000000000000000000.open").is_some());
    house2.snapshot();
    assert!(house2.durable(ticket));
    check(&house2, "web1", 5, 0..1000);
    house = house2.crash(0);
    check(&house, "web1", 5, 0..1000);
    let ticket = fill(&house, "web1", 5, 1000..1500);
    assert!(house.durable(ticket));
    house.round();
    // What was packed after the snapshot is packed again, once.
    let mut house = house.crash(usize::MAX);
    house.round();
    check(&house, "web1", 5, 0..1500);
    assert!(house.history.holes().is_empty(), "{:?}", house.history.holes());
}

#[test]
fn a_batch_that_is_sent_again_is_stored_once() {
    let house = House::new();
    let writer = house.history.writer(&server("web1"));
    let slot = writer.slot(&key(0)).unwrap();
    let send = |writer: &Writer, seq: u64, time: i64| {
        writer.batch("boot", seq).map(|mut batch| {
            batch.write(Timestamp(time), [(slot, 1.0)]);
            batch.commit()
        })
    };
    let first = send(&writer, 1, START).unwrap();
    assert!(send(&writer, 1, START).is_err());
    let again = send(&writer, 1, START).unwrap_err();
    assert!(house.durable(again) && house.durable(first));
    let house = house.crash(0);
    let writer = house.history.writer(&server("web1"));
    let slot = writer.slot(&key(0)).unwrap();
    assert!(writer.batch("boot", 1).is_err(), "a restart remembers");
    // Even where it is not remembered, a sample is there once.
    let _ = writer.write(Timestamp(START), [(slot, 1.0)]);
    assert_eq!(house.history.samples(&server("web1"), &key(0), Timestamp(0), Timestamp(i64::MAX)).len(), 1);
}

#[test]
fn a_full_disk_acknowledges_nothing_and_it_goes_on_by_itself() {
    let house = House::new();
    let first = fill(&house, "web1", 2, 0..10);
    assert!(house.durable(first));
    house.log.set_fault(Fault::Full(100));
    let mut trouble = house.history.trouble().unwrap();
    let second = fill(&house, "web1", 2, 10..100);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(trouble.wait_for(Option::is_some)).unwrap();
    let text = trouble.borrow().clone().unwrap();
    assert!(text.contains("No space left") && text.contains("room"), "{text}");
    assert!(*house.history.wal().unwrap().durable().borrow() < second.0.unwrap());
    check(&house, "web1", 2, 0..100);
    house.log.set_fault(Fault::None);
    assert!(house.durable(second));
    assert!(house.history.trouble().unwrap().borrow().is_none());
    check(&house.crash(0), "web1", 2, 0..100);
}

#[test]
fn when_too_much_waits_a_batch_is_only_in_memory_and_says_so() {
    let house = House::new();
    let writer = house.history.writer(&server("web1"));
    let slots: Vec<Slot> = (0..100).map(|i| writer.slot(&key(i)).unwrap()).collect();
    house.log.set_fault(Fault::Full(0));
    let mut row = 0;
    let lost = loop {
        let Ok(mut batch) = writer.batch("boot", row) else { panic!("a new batch is known") };
        for _ in 0..1000 {
            row += 1;
            let readings = slots.iter().map(|slot| (*slot, 0.1 + row as f64));
            batch.write(Timestamp(START + row as i64), readings);
        }
        let ticket = batch.commit();
        if ticket.0.is_none() {
            break ticket;
        }
        assert!(row < 1_000_000, "the log's memory has no bound");
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(house.history.durable(lost)), Err(NotStored));
    assert_eq!(house.history.latest(&server("web1"))[0].1, 0.1 + row as f64);
    assert!(writer.batch("boot", row - 1000).is_ok(), "it can be sent again");
    house.log.set_fault(Fault::None);
    house.history.close();
}

#[test]
fn files_are_finished_read_by_their_index_and_deleted_by_age_and_size() {
    let mut house = House::new();
    for (i, name) in ["web1", "web2", "db1"].into_iter().enumerate() {
        let _ = fill(&house, name, 3 + i, 0..720);
    }
    house.round();
    let store = house.history.store.clone().unwrap();
    store.shelf.finish(Timestamp(START)).unwrap();
    assert_eq!(store.shelf.position(), (1, 0));
    for (i, name) in ["web1", "web2", "db1"].into_iter().enumerate() {
        check(&house, name, 3 + i, 0..720);
    }
    house.snapshot();
    let mut house = house.crash(0);
    check(&house, "db1", 5, 0..720);
    let _ = fill(&house, "web1", 3, 720..1440);
    house.round();
    let store = house.history.store.clone().unwrap();
    store.shelf.finish(Timestamp(START + 1000)).unwrap();
    assert_eq!(
        (store.shelf.files(), store.shelf.retain(Timestamp(START + 2000), Span(5000), u64::MAX).unwrap()),
        (2, 0)
    );
    assert_eq!(store.shelf.retain(Timestamp(START + 2000), Span(1500), u64::MAX).unwrap(), 1);
    let found = house.history.samples(&server("web1"), &key(1), Timestamp(0), Timestamp(i64::MAX));
    assert_eq!((found.len(), found[0].0), (720, Timestamp(START + 720_000)));
    assert_eq!(store.shelf.retain(Timestamp(START + 2000), Span(1500), 10).unwrap(), 1);
    assert_eq!(store.shelf.files(), 0);
    assert!(house.chunks.bytes("00000000000000000001.chunks").is_none());
}

#[test]
fn a_server_that_invents_series_is_capped_in_memory_and_on_disk_and_others_are_not() {
    let mut house = House::new();
    let mad = house.history.writer(&server("mad"));
    let mut capped = 0;
    for i in 0..100_000 {
        match mad.slot(&SeriesKey::new("x", [("n", i.to_string())])) {
            Ok(slot) => assert!(mad.write(Timestamp(START), [(slot, 1.0)]).0.is_some()),
            Err(error) => {
                assert_eq!(error, Capped { what: "the server", limit: 100 });
                capped += 1;
            }
        }
    }
    assert_eq!(capped, 100_000 - 100);
    let ticket = fill(&house, "web1", 3, 0..400);
    assert!(house.durable(ticket));
    house.snapshot();
    let house = house.crash(0);
    assert_eq!(house.history.latest(&server("mad")).len(), 100);
    assert!(house.history.writer(&server("mad")).slot(&SeriesKey::plain("one.more")).is_err());
    check(&house, "web1", 3, 0..400);
}

#[test]
fn a_copy_gets_what_is_packed_and_reads_what_it_missed() {
    let mut house = House::new();
    let _ = fill(&house, "web1", 2, 0..1080);
    house.round();
    let first = house.history.sealed_after(None, 1).unwrap();
    let chunk = &first[1].1;
    assert_eq!((&chunk.server, &chunk.series, chunk.samples), (&server("web1"), &key(1), 360));
    let (times, values) = decode_chunk(&chunk.bytes).unwrap();
    assert_eq!((times[0], values[359]), (chunk.first.0, value(1, 359)));
    // From the beginning, one by one or many at a time, and across the end of a file.
    house.history.store.as_ref().unwrap().shelf.finish(Timestamp(START)).unwrap();
    let _ = fill(&house, "web1", 2, 1080..1440);
    house.round();
    let all = house.history.sealed_after(None, usize::MAX).unwrap();
    assert_eq!(all[..2], first[..2]);
    assert_eq!((all.len(), all[7].0.file), (8, 1));
    assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0));
    for (i, (place, _)) in all.iter().enumerate() {
        assert_eq!(house.history.sealed_after(Some(*place), usize::MAX).unwrap(), all[i + 1..]);
        let next = house.history.sealed_after(Some(*place), 1).unwrap();
        assert_eq!(next.first(), all.get(i + 1));
        assert!(next.len() <= 2, "a frame at a time");
    }
}

#[test]
fn what_is_packed_anew_after_a_crash_lies_behind_what_a_copy_has_seen() {
    let mut house = House::new();
    let names: Vec<String> = (0..8).map(|n| format!("web{n}")).collect();
    for name in &names {
        let _ = fill(&house, name, 1, 0..500);
    }
    house.round();
    house.snapshot();
    // One after the other, and then once more in the other order: anew they come in an order of their own.
    for (rows, order) in [(500..1000, [0, 1, 2, 3, 4, 5, 6, 7]), (1000..1500, [7, 6, 5, 4, 3, 2, 1, 0])] {
        for n in order {
            let ticket = fill(&house, &names[n], 1, rows.clone());
            house.round();
            assert!(house.durable(ticket));
        }
    }
    let what = |chunk: &Sealed| (chunk.server.clone(), chunk.series.clone(), chunk.first);
    let seen = house.history.sealed_after(None, usize::MAX).unwrap();
    let mut house = house.crash(0);
    house.round();
    let now = house.history.sealed_after(None, usize::MAX).unwrap();
    assert!(now.windows(2).all(|pair| pair[0].0 < pair[1].0));
    // Wherever the copy was: with what it had seen up to there and what comes behind it, it has everything.
    for (at, (place, _)) in seen.iter().enumerate() {
        let mut held: Vec<_> = seen[..=at].iter().map(|(_, chunk)| what(chunk)).collect();
        let coming = house.history.sealed_after(Some(*place), usize::MAX).unwrap();
        held.extend(coming.iter().map(|(_, chunk)| what(chunk)));
        let lacks = now.iter().find(|(_, chunk)| !held.contains(&what(chunk)));
        assert!(lacks.is_none(), "after {place:?} it lacks {lacks:?}");
    }
    for name in &names {
        check(&house, name, 1, 0..1500);
    }
}

#[test]
fn series_that_came_and_went_are_not_lost_at_a_crash_because_they_are_many_together() {
    let house = House::new();
    let writer = house.history.writer(&server("web1"));
    let name = |generation: i64, n: i64| SeriesKey::new("container", [("id", format!("{generation}-{n}"))]);
    let mut last = Ticket::NONE;
    for generation in 0..5 {
        let now = Timestamp(START + generation * 2 * 3_600_000);
        for n in 0..60 {
            let slot = writer.slot(&name(generation, n)).unwrap();
            let _ = writer.write(now, [(slot, 1.0)]);
            writer.retire(slot);
        }
        let mut batch = writer.batch("boot", generation as u64 + 1).unwrap();
        let slot = batch.slot(&SeriesKey::plain("stays")).unwrap();
        batch.write(now, [(slot, generation as f64)]);
        last = batch.commit();
        // What ended is forgotten an hour later: 60 at a time, 300 in all, where 100 may live.
        writer.sweep(Timestamp(now.0 + 2 * 3_600_000));
    }
    assert!(house.durable(last));
    let mut house = house.crash(0);
    house.snapshot();
    let house = house.crash(0);
    let all = house.history.samples_of(&server("web1"), &|_| true, Timestamp(0), Timestamp(i64::MAX));
    assert_eq!(all.series.len(), 5 * 60 + 1);
    assert_eq!(all.series.iter().map(|past| past.samples.len()).sum::<usize>(), 5 * 60 + 5);
}
