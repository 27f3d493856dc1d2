use std::sync::Arc;

use prost::Message;
use skynet_model::series::SeriesKey;
use skynet_model::time::{Span, Timestamp};

use super::*;
use crate::Code;
use crate::v1;

type Readings = Vec<(Arc<SeriesKey>, f64)>;

fn key(name: &str) -> Arc<SeriesKey> {
    Arc::new(SeriesKey::new(name, [("of", "x")]))
}

fn readings(names: &[&str]) -> Readings {
    names.iter().enumerate().map(|(i, name)| (key(name), f64::from(u32::try_from(i).unwrap()) + 0.5)).collect()
}

fn part<'a>(sensor: &'a Arc<str>, readings: &'a Readings) -> SweepPart<'a> {
    SweepPart {
        sensor,
        every: Span::seconds(1),
        started: Timestamp(1_000),
        boot_ms: 77,
        result: Ok(readings),
        complete: true,
    }
}

/// Encoder and decoder back to back; the decoder's slots are turned back into names.
#[derive(Default)]
struct Pair {
    encoder: Encoder,
    decoder: Decoder,
    names: std::collections::BTreeMap<u32, SeriesKey>,
    seq: u64,
}

impl Pair {
    fn send(&mut self, late: bool, sensor: &str, names: &[&str]) -> (v1::ReadingBatch, Vec<(String, f64)>) {
        let (sensor, readings) = (Arc::from(sensor), readings(names));
        self.seq += 1;
        let batch = self.encoder.batch(self.seq, late, [part(&sensor, &readings)]);
        let got = self.take(&batch);
        let want: Vec<(String, f64)> = readings.iter().map(|(k, v)| (k.to_string(), *v)).collect();
        assert_eq!(got, want);
        (batch, got)
    }

    fn take(&mut self, batch: &v1::ReadingBatch) -> Vec<(String, f64)> {
        let mut out = Decoded::default();
        self.decoder.decode(&batch.encode_to_vec(), &mut out).unwrap();
        for (slot, key) in out.announced.drain(..) {
            assert!(self.names.insert(slot, key).is_none(), "slot {slot} is in use");
        }
        let got = out.sweeps().flat_map(|(_, r)| r.to_vec()).map(|(s, v)| (self.names[&s].to_string(), v)).collect();
        for slot in &out.retired {
            assert!(self.names.remove(slot).is_some());
        }
        assert_eq!(self.decoder.live(), self.names.len());
        assert_eq!(self.encoder.live(), self.names.len());
        got
    }
}

#[test]
fn a_series_is_announced_once_and_retired_when_a_complete_sweep_lacks_it() {
    let mut pair = Pair::default();
    let (first, _) = pair.send(false, "s", &["a", "b", "c"]);
    assert_eq!(first.announce.len(), 3);
    let (second, _) = pair.send(false, "s", &["a", "b", "c"]);
    assert!(second.announce.is_empty() && second.retire.is_empty());
    let (third, _) = pair.send(false, "s", &["c", "a"]);
    assert_eq!(third.retire.len(), 1);
    let (fourth, _) = pair.send(false, "s", &["a", "b", "c"]);
    assert_eq!(fourth.announce.len(), 1);
    assert_eq!(fourth.announce[0].id, 4, "ids are not used again");
    pair.send(false, "t", &["d"]);
    let (quiet, _) = pair.send(false, "s", &["a", "b", "c"]);
    assert!(quiet.retire.is_empty(), "a sweep retires only its own sensor's series");
}

#[test]
fn a_series_that_two_sensors_give_belongs_to_the_last() {
    let mut pair = Pair::default();
    pair.send(false, "s", &["a", "b"]);
    pair.send(false, "t", &["a"]);
    pair.send(false, "s", &["b"]);
    pair.send(false, "s", &["b"]);
    let (batch, _) = pair.send(false, "t", &["c"]);
    assert_eq!(batch.retire, [1]);
}

#[test]
fn a_sweep_in_parts_retires_at_its_end_only() {
    let mut pair = Pair::default();
    pair.send(false, "s", &["a", "b", "c"]);
    let sensor: Arc<str> = Arc::from("s");
    let (left, right) = (readings(&["a"]), readings(&["b"]));
    let batch = pair.encoder.batch(2, false, [SweepPart { complete: false, ..part(&sensor, &left) }]);
    assert!(batch.retire.is_empty() && !batch.sweeps[0].complete);
    pair.take(&batch);
    let batch = pair.encoder.batch(3, false, [part(&sensor, &right)]);
    assert_eq!(batch.retire, [3]);
    pair.take(&batch);
}

#[test]
fn late_batches_retire_nothing_until_the_backlog_ends() {
    let mut pair = Pair::default();
    pair.send(false, "s", &["a"]);
    let (late, _) = pair.send(true, "s", &["a", "old"]);
    assert_eq!((late.announce.len(), late.retire.len()), (1, 0));
    let (live, _) = pair.send(false, "s", &["a"]);
    assert!(live.retire.is_empty());
    pair.encoder.end_late();
    let (live, _) = pair.send(false, "s", &["a"]);
    assert_eq!(live.retire, [2]);
}

#[test]
fn a_sensor_that_is_forgotten_leaves_no_series() {
    let mut pair = Pair::default();
    pair.send(false, "s", &["a", "b"]);
    pair.encoder.forget_sensor("s");
    let (batch, _) = pair.send(false, "t", &["c"]);
    assert_eq!(batch.retire, [1, 2]);
    pair.send(false, "s", &["a"]);
    assert_eq!(pair.encoder.live(), 2);
}

#[test]
fn a_failed_sweep_carries_its_reason_and_keeps_the_series() {
    let mut pair = Pair::default();
    pair.send(false, "s", &["a"]);
    let sensor: Arc<str> = Arc::from("s");
    let none = Readings::new();
    let long = "\u{e9}".repeat(MAX_ERROR_TEXT);
    let batch = pair.encoder.batch(2, false, [SweepPart { result: Err(&long), ..part(&sensor, &none) }]);
    let mut out = Decoded::default();
    pair.decoder.decode(&batch.encode_to_vec(), &mut out).unwrap();
    let (sweep, readings) = out.sweeps().next().unwrap();
    assert!(!sweep.complete && readings.is_empty());
    assert_eq!(sweep.error.as_ref().unwrap().len(), MAX_ERROR_TEXT);
    let (next, _) = (pair.encoder.batch(3, false, []), ());
    assert!(next.retire.is_empty());
}

#[test]
fn the_encoder_leaves_out_what_the_decoder_would_refuse() {
    let mut encoder = Encoder::new();
    let sensor: Arc<str> = Arc::from("s");
    let mut bad = readings(&["a", "b"]);
    bad[0].1 = f64::NAN;
    bad.push((key("no good"), 1.0));
    let batch = encoder.batch(1, false, [part(&sensor, &bad)]);
    assert_eq!(batch.sweeps[0].values, [1.5]);
    assert_eq!(encoder.dropped(), 1);
    let mut many: Readings = (0..=MAX_SERIES).map(|i| (key(&format!("n{i}")), 1.0)).collect();
    many.push((key("b"), 1.0));
    encoder.batch(2, false, [part(&sensor, &many)]);
    assert_eq!(encoder.live(), MAX_SERIES);
}

fn announce(id: u32) -> v1::SeriesAnnounce {
    v1::SeriesAnnounce { id, name: "a".to_owned(), labels: vec!["n".to_owned(), id.to_string()] }
}

fn batch(seq: u64) -> v1::ReadingBatch {
    v1::ReadingBatch { seq, ..v1::ReadingBatch::default() }
}

fn sweep(series: &[i32], values: &[f64]) -> v1::Sweep {
    v1::Sweep { sensor: "s".to_owned(), series: series.to_vec(), values: values.to_vec(), ..v1::Sweep::default() }
}

fn refuse(decoder: &mut Decoder, batch: &v1::ReadingBatch) -> Code {
    decoder.decode(&batch.encode_to_vec(), &mut Decoded::default()).unwrap_err().code
}

#[test]
fn each_kind_of_bad_batch_is_refused_with_its_code() {
    let fresh = || {
        let mut decoder = Decoder::new();
        let first = v1::ReadingBatch { announce: vec![announce(1), announce(2)], ..batch(5) };
        decoder.decode(&first.encode_to_vec(), &mut Decoded::default()).unwrap();
        decoder
    };
    let with = |sweep: v1::Sweep| v1::ReadingBatch { sweeps: vec![sweep], ..batch(6) };
    let cases = [
        (batch(5), Code::Sequence),
        (batch(4), Code::Sequence),
        (v1::ReadingBatch { late: true, ..batch(0) }, Code::Sequence),
        (v1::ReadingBatch { announce: vec![announce(2)], ..batch(6) }, Code::Sequence),
        (v1::ReadingBatch { boot_id: "b".to_owned(), ..batch(6) }, Code::Malformed),
        (v1::ReadingBatch { retire: vec![3], ..batch(6) }, Code::UnknownSeries),
        (v1::ReadingBatch { retire: vec![1, 1], ..batch(6) }, Code::UnknownSeries),
        (with(sweep(&[3], &[1.0])), Code::UnknownSeries),
        (with(sweep(&[-1], &[1.0])), Code::UnknownSeries),
        (with(sweep(&[1, i32::MAX, i32::MAX, i32::MAX], &[1.0; 4])), Code::UnknownSeries),
        (with(sweep(&[1, 1], &[1.0, f64::NAN])), Code::NotFinite),
        (with(sweep(&[1], &[f64::NEG_INFINITY])), Code::NotFinite),
        (with(sweep(&[1, 1], &[1.0])), Code::Malformed),
        (with(v1::Sweep { error: "x".to_owned(), ..sweep(&[1], &[1.0]) }), Code::Malformed),
        (with(v1::Sweep { error: "x".to_owned(), complete: true, ..sweep(&[], &[]) }), Code::Malformed),
        (with(v1::Sweep { sensor: String::new(), ..sweep(&[1], &[1.0]) }), Code::Malformed),
        (with(v1::Sweep { sensor: "x".repeat(MAX_SENSOR + 1), ..sweep(&[1], &[1.0]) }), Code::Malformed),
        (
            v1::ReadingBatch {
                announce: vec![v1::SeriesAnnounce { name: "no good".into(), ..announce(3) }],
                ..batch(6)
            },
            Code::Malformed,
        ),
    ];
    for (bad, code) in cases {
        assert_eq!(refuse(&mut fresh(), &bad), code, "{bad:?}");
    }
    fresh().decode(&with(sweep(&[2, -1], &[1.0, 2.0])).encode_to_vec(), &mut Decoded::default()).unwrap();
}

#[test]
fn late_batches_have_a_sequence_of_their_own_per_boot() {
    let mut decoder = Decoder::new();
    let late = |seq, boot: &str| v1::ReadingBatch { late: true, boot_id: boot.to_owned(), ..batch(seq) };
    for good in [batch(10), late(3, ""), batch(11), late(4, ""), late(1, "other"), late(2, "other")] {
        decoder.decode(&good.encode_to_vec(), &mut Decoded::default()).unwrap();
    }
    assert_eq!(refuse(&mut decoder, &late(2, "other")), Code::Sequence);
}

#[test]
fn more_series_than_the_cap_end_the_stream() {
    let mut decoder = Decoder::new();
    let cap = u32::try_from(MAX_SERIES).unwrap();
    let full = v1::ReadingBatch { announce: (1..=cap).map(announce).collect(), ..batch(1) };
    decoder.decode(&full.encode_to_vec(), &mut Decoded::default()).unwrap();
    let swap = v1::ReadingBatch { retire: vec![7], ..batch(2) };
    decoder.decode(&swap.encode_to_vec(), &mut Decoded::default()).unwrap();
    let one = v1::ReadingBatch { announce: vec![announce(cap + 1)], ..batch(3) };
    decoder.decode(&one.encode_to_vec(), &mut Decoded::default()).unwrap();
    let over = v1::ReadingBatch { announce: vec![announce(cap + 2)], ..batch(4) };
    assert_eq!(refuse(&mut decoder, &over), Code::TooManySeries);
}

/// A batch's bytes with a repeated number in pieces: the encoding allows one by one, packed, and any mix.
#[test]
fn repeated_numbers_may_come_in_pieces_and_unknown_fields_are_passed_over() {
    let mut bytes =
        v1::ReadingBatch { announce: vec![announce(1), announce(2), announce(300)], ..batch(1) }.encode_to_vec();
    let mut inner = v1::Sweep { sensor: "s".to_owned(), every_ms: 7, ..v1::Sweep::default() }.encode_to_vec();
    // Field 4: 1 alone, then 1 and 298 packed (zigzag: 2, 2, 596); field 5: two packed, one alone; field 99: unknown.
    inner.extend([0x20, 2, 0x22, 3, 2, 0xd4, 0x04]);
    inner.extend([0x2a, 16]);
    inner.extend(1.5f64.to_le_bytes());
    inner.extend(2.5f64.to_le_bytes());
    inner.push(0x29);
    inner.extend(3.5f64.to_le_bytes());
    inner.extend([0x98, 0x06, 1]);
    bytes.extend([0x2a, u8::try_from(inner.len()).unwrap()]);
    bytes.extend(&inner);
    let reference = v1::ReadingBatch::decode(&bytes[..]).unwrap();
    assert_eq!(reference.sweeps[0].series, [1, 1, 298]);
    assert_eq!(reference.sweeps[0].values, [1.5, 2.5, 3.5]);
    let (mut decoder, mut out) = (Decoder::new(), Decoded::default());
    decoder.decode(&bytes, &mut out).unwrap();
    let (sweep, readings) = out.sweeps().next().unwrap();
    assert_eq!((readings, sweep.every), (&[(0, 1.5), (1, 2.5), (2, 3.5)][..], Span(7)));
    // The same again, only packed: memory of the batch before is not taken for this one's.
    let again = v1::ReadingBatch { sweeps: vec![self::sweep(&[1], &[9.0])], ..batch(2) };
    decoder.decode(&again.encode_to_vec(), &mut out).unwrap();
    assert_eq!(out.sweeps().next().unwrap().1, [(0, 9.0)]);
}

#[test]
fn ids_that_were_retired_stay_retired_however_many_there_were() {
    let mut decoder = Decoder::new();
    let mut out = Decoded::default();
    for round in 0..200u32 {
        let fresh = v1::ReadingBatch { announce: vec![announce(round + 1)], ..batch(u64::from(2 * round + 1)) };
        decoder.decode(&fresh.encode_to_vec(), &mut out).unwrap();
        let gone = v1::ReadingBatch { retire: vec![round + 1], ..batch(u64::from(2 * round + 2)) };
        decoder.decode(&gone.encode_to_vec(), &mut out).unwrap();
        assert_eq!(out.retired, [0]);
    }
    assert_eq!(decoder.live(), 0);
    let old = v1::ReadingBatch { sweeps: vec![sweep(&[7], &[1.0])], ..batch(1000) };
    assert_eq!(refuse(&mut decoder, &old), Code::UnknownSeries);
}
