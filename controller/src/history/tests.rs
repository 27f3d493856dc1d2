use skynet_model::time::Span;

use super::server::KEPT;
use super::*;

mod faults;
mod golden;
mod store;

fn server(name: &str) -> ServerId {
    ServerId::new(name).unwrap()
}

fn history(series_per_server: usize, series: usize, bytes: usize) -> Arc<History> {
    Arc::new(History::new(Limits { series_per_server, series, bytes }))
}

#[test]
fn the_latest_value_and_the_last_hour_are_there() {
    let history = history(10, 10, 1 << 20);
    let writer = history.writer(&server("web1"));
    let key: SeriesKey = "disk.used_ratio{mount=\"/\"}".parse().unwrap();
    let slot = writer.slot(&key).unwrap();
    for i in 0..7200 {
        let _ = writer.write(Timestamp(i * 1000), [(slot, f64::from(u16::try_from(i).unwrap()))]);
    }
    assert_eq!(history.latest(&server("web1")), [(key.clone(), 7199.0, Timestamp(7_199_000))]);
    assert_eq!(history.count(&server("web1")), (1, Some(Timestamp(7_199_000))));
    let past = history.query(&server("web1"), "disk.*", Timestamp(0));
    let kept = past[0].samples.len();
    assert!((3600..=3600 + 1200).contains(&kept), "{kept}");
    let last_minute = history.query(&server("web1"), "*mount=\"/\"*", Timestamp(7_140_000));
    assert_eq!(last_minute[0].samples.len(), 60);
    assert!(history.query(&server("web1"), "cpu.*", Timestamp(0)).is_empty());
    assert!(history.query(&server("web2"), "*", Timestamp(0)).is_empty());
}

#[test]
fn an_ended_series_has_no_latest_value_and_makes_room_when_its_past_is_over() {
    let history = history(1, 10, 1 << 20);
    let writer = history.writer(&server("web1"));
    let (one, two) = (SeriesKey::plain("one"), SeriesKey::plain("two"));
    let slot = writer.slot(&one).unwrap();
    let _ = writer.write(Timestamp(0), [(slot, 1.0)]);
    writer.retire(slot);
    assert!(history.latest(&server("web1")).is_empty());
    assert_eq!(history.query(&server("web1"), "one", Timestamp(0)).len(), 1);
    assert_eq!(writer.slot(&two), Err(Capped { what: "the server", limit: 1 }));
    writer.sweep(Timestamp(0).plus(KEPT).plus(Span(1)));
    writer.slot(&two).unwrap();
    assert!(history.query(&server("web1"), "one", Timestamp(0)).is_empty());
}

#[test]
fn series_and_bytes_of_the_fleet_are_bounded() {
    let history = history(10, 2, 4000);
    let writers = [history.writer(&server("web1")), history.writer(&server("web2"))];
    let slots = writers.each_ref().map(|w| w.slot(&SeriesKey::plain("one")).unwrap());
    assert_eq!(writers[0].slot(&SeriesKey::plain("two")), Err(Capped { what: "the fleet", limit: 2 }));
    for i in 0..7200 {
        for (writer, slot) in writers.iter().zip(slots) {
            let _ = writer.write(Timestamp(i * 1000), [(slot, 1.0)]);
        }
    }
    let bytes = history.bytes.load(Ordering::Relaxed);
    assert!(bytes < 3 * 4000, "{bytes}");
    assert_eq!(history.latest(&server("web2")).len(), 1);
}

#[test]
fn a_session_begins_without_series_and_an_older_ones_slots_lead_nowhere() {
    let history = history(10, 10, 1 << 20);
    let (old, new) = (history.writer(&server("web1")), history.writer(&server("web1")));
    let (one, two) = (SeriesKey::plain("one"), SeriesKey::plain("two"));
    let stale = old.slot(&one).unwrap();
    let kept = old.slot(&two).unwrap();
    let _ = old.write(Timestamp(0), [(kept, 2.0)]);
    new.begin(Timestamp(1));
    assert!(history.latest(&server("web1")).is_empty());
    // `one` never had a reading: its place is free and taken again.
    let slot = new.slot(&SeriesKey::plain("three")).unwrap();
    assert_eq!(slot.index, stale.index);
    let _ = old.write(Timestamp(2), [(stale, 1.0)]);
    new.slot(&two).unwrap();
    assert_eq!(history.latest(&server("web1")), [(two, 2.0, Timestamp(0))]);
}

#[test]
fn spooled_readings_fill_the_past_once() {
    let history = history(10, 10, 1 << 20);
    let writer = history.writer(&server("web1"));
    let slot = writer.slot(&SeriesKey::plain("one")).unwrap();
    for (time, value) in [(1000, 1.0), (9000, 9.0), (10_000, 10.0), (1000, 1.0), (2000, 2.0), (3000, 3.0)] {
        let _ = writer.write(Timestamp(time), [(slot, value)]);
    }
    let past = history.query(&server("web1"), "one", Timestamp(0));
    let values: Vec<f64> = past[0].samples.iter().map(|(_, value)| *value).collect();
    assert_eq!(values, [1.0, 2.0, 3.0, 9.0, 10.0]);
    assert_eq!(history.latest(&server("web1"))[0].1, 10.0);
}
