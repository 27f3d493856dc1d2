//! Files that were once written must load for ever, to the same readings.
//!
//! `UPDATE_GOLDEN=1` writes files that are missing and never changes one that is there. A new format adds files; it does
//! not edit one.

use std::path::{Path, PathBuf};

use super::super::disk::Memory;
use super::store::{House, START};
use super::*;

const ROWS: i64 = 500;
const SERIES: [&str; 6] = ["same", "counter{of=\"x\"}", "share", "rest", "float", "odd"];

fn value(series: usize, row: i64) -> f64 {
    let odd = [0.0, -0.0, f64::MAX, f64::MIN_POSITIVE, 0.1];
    match series {
        0 => 42.5,
        1 => (row * row * 8) as f64,
        2 => (row * 7919 % 200) as f64 / (199 + row % 3) as f64,
        3 => 1.0 - (row + 5_000_000) as f64 / 15_941_851.0,
        4 => (row as f64).sqrt(),
        _ => odd[(row % 5) as usize],
    }
}

fn time(row: i64) -> Timestamp {
    Timestamp(START + row * 1000 + row % 3)
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/history/golden").join(name)
}

/// The golden file; `made` makes it where it is missing.
fn golden(name: &str, made: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    let path = path(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() && !path.exists() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, made()).unwrap();
    }
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

const LOG: &str = "0000000001.log";
const HEADS: &str = "0000000002.heads";
const OPEN: &str = "00000000000000000000.open";
const CHUNKS: &str = "00000000000000000000.chunks";

/// A history with everything in it, and what each kind of file was on the way.
fn made() -> [(&'static str, Vec<u8>); 5] {
    let mut house = House::new();
    let writer = house.history.writer(&server("web1"));
    let slots = SERIES.map(|key| writer.slot(&key.parse().unwrap()).unwrap());
    let mut last = Ticket::NONE;
    for row in 0..ROWS {
        let Ok(mut batch) = writer.batch("boot-1", row as u64 + 1) else { panic!("a new batch is known") };
        batch.write(time(row), slots.iter().enumerate().map(|(i, slot)| (*slot, value(i, row))));
        last = batch.commit();
    }
    assert!(house.durable(last));
    let log = house.log.bytes(LOG).unwrap();
    house.snapshot();
    let (heads, open) = (house.log.bytes(HEADS).unwrap(), house.chunks.bytes(OPEN).unwrap());
    house.history.store.as_ref().unwrap().shelf.finish(Timestamp(START)).unwrap();
    let chunks = house.chunks.bytes(CHUNKS).unwrap();
    let chunk = house.history.sealed_after(None, usize::MAX).unwrap()[3].1.bytes.to_vec();
    [
        ("log-1.log", log),
        ("heads-1.heads", heads),
        ("open-1.open", open),
        ("chunks-1.chunks", chunks),
        ("chunk-1.bin", chunk),
    ]
}

fn with(log: &[(&str, Vec<u8>)], chunks: &[(&str, Vec<u8>)]) -> House {
    let disks = (Memory::default(), Memory::default());
    for (disk, files) in [(&disks.0, log), (&disks.1, chunks)] {
        for (name, bytes) in files {
            disk.put(name, bytes.clone());
        }
    }
    let house = House::on(disks.0, disks.1);
    assert!(house.history.holes().is_empty(), "{:?}", house.history.holes());
    house
}

fn check(house: &House, rows: std::ops::Range<i64>) {
    for (i, key) in SERIES.iter().enumerate() {
        let found = house.history.samples(&server("web1"), &key.parse().unwrap(), Timestamp(0), Timestamp(i64::MAX));
        let expected: Vec<_> = rows.clone().map(|row| (time(row), value(i, row).to_bits())).collect();
        let found: Vec<_> = found.into_iter().map(|(time, value)| (time, value.to_bits())).collect();
        assert_eq!(found, expected, "{key}");
    }
    house.history.close();
}

#[test]
fn files_of_the_first_format_load_for_ever() {
    let files = made().map(|(name, bytes)| golden(name, || bytes));
    let [log, heads, open, chunks, chunk] = files;
    // The longest block of this server ended here.
    let packed = i64::try_from(decode_chunk(&chunk).unwrap().0.len()).unwrap();
    assert!((360..ROWS).contains(&packed));
    check(&with(&[(LOG, log)], &[]), 0..ROWS);
    let snapshot = with(&[(HEADS, heads)], &[(OPEN, open.clone())]);
    assert!(snapshot.history.writer(&server("web1")).batch("boot-1", 7).is_err(), "batches are remembered");
    check(&snapshot, 0..ROWS);
    check(&with(&[], &[(OPEN, open)]), 0..packed);
    check(&with(&[], &[(CHUNKS, chunks)]), 0..packed);
    let (times, values) = decode_chunk(&chunk).unwrap();
    for (row, (at, found)) in times.into_iter().zip(values).enumerate() {
        assert_eq!((at, found.to_bits()), (time(row as i64).0, value(3, row as i64).to_bits()));
    }
}

#[test]
fn readings_of_a_real_host_load_for_ever_and_take_less_than_a_byte_each() {
    let bytes = std::fs::read(path("readings-1.open")).unwrap();
    let house = with(&[], &[(OPEN, bytes.clone())]);
    let all = house.history.samples_of(&server("host"), &|_| true, Timestamp(0), Timestamp(i64::MAX));
    let samples: usize = all.series.iter().map(|past| past.samples.len()).sum();
    assert_eq!((all.series.len(), all.holes.len(), samples), (97, 0, samples));
    assert!(samples > 97 * 360 && bytes.len() < samples, "{} bytes for {samples} samples", bytes.len());
    // What is packed today is not larger than what was packed then.
    let mut again = House::new();
    let writer = again.history.writer(&server("host"));
    for past in &all.series {
        let slot = writer.slot(&past.series).unwrap();
        for (time, value) in &past.samples {
            let _ = writer.write(*time, [(slot, *value)]);
        }
    }
    again.round();
    let found = again.history.samples_of(&server("host"), &|_| true, Timestamp(0), Timestamp(i64::MAX));
    assert_eq!(found.series, all.series);
    again.history.close();
}
