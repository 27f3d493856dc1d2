//! Random readings, crashes at any write, bits flipped in every kind of file: never a panic, never a wrong value, nothing
//! missing that was acknowledged, but where it is told.

use std::collections::{BTreeMap, HashMap};

use super::super::disk::{Fault, Memory};
use super::store::{House, START};
use super::*;

/// Numbers that look random and are the same each time.
pub(super) struct Noise(u64);

impl Noise {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

const SERVERS: [&str; 2] = ["web1", "db1"];
const SERIES: usize = 6;

fn key(i: usize) -> SeriesKey {
    format!("s{i}").parse().unwrap()
}

/// Server and series by number, and time.
type Sample = ((usize, usize), i64);

/// What was ever written, and what of it was acknowledged.
#[derive(Default)]
struct Model {
    written: HashMap<(usize, usize), BTreeMap<i64, (f64, bool)>>,
    clock: i64,
    seq: u64,
}

impl Model {
    /// Writes a few sweeps to a server; gives its samples and the ticket.
    fn batch(&mut self, house: &House, noise: &mut Noise) -> (Vec<Sample>, Ticket) {
        let which = noise.below(2) as usize;
        let writer = house.history.writer(&server(SERVERS[which]));
        self.seq += 1 + noise.below(2);
        let Ok(mut batch) = writer.batch("boot", self.seq) else { panic!("a new batch is known") };
        let mut samples = Vec::new();
        for _ in 0..1 + noise.below(200) {
            self.clock += 900 + noise.below(200) as i64;
            let late = noise.below(20) == 0;
            let time = if late { START + noise.below(1 + self.clock as u64) as i64 } else { START + self.clock };
            let first = noise.below(SERIES as u64 - 1) as usize;
            let mut readings = Vec::new();
            for series in first..first + 1 + noise.below((SERIES - first) as u64) as usize {
                let value = match noise.below(4) {
                    0 => 1.0,
                    1 => noise.below(1000) as f64,
                    2 => noise.below(200) as f64 / 199.0,
                    _ => (noise.below(1 << 40) as f64).sqrt(),
                };
                let known = self.written.entry((which, series)).or_default();
                if known.contains_key(&time) {
                    continue;
                }
                known.insert(time, (value, false));
                samples.push(((which, series), time));
                readings.push((batch.slot(&key(series)).unwrap(), value));
            }
            batch.write(Timestamp(time), readings);
        }
        (samples, batch.commit())
    }

    fn acknowledge(&mut self, samples: &[Sample]) {
        for (series, time) in samples {
            if let Some(entry) = self.written.get_mut(series).and_then(|s| s.get_mut(time)) {
                entry.1 = true;
            }
        }
    }

    /// Nothing is there that was not written; gives how many acknowledged samples are missing.
    fn check(&self, house: &House, seed: u64) -> usize {
        let mut missing = 0;
        for ((which, series), written) in &self.written {
            let found = house.history.samples(
                &server(SERVERS[*which]),
                &key(*series),
                Timestamp(i64::MIN),
                Timestamp(i64::MAX),
            );
            assert!(found.windows(2).all(|pair| pair[0].0 < pair[1].0), "seed {seed}: not in order, or twice");
            for (time, value) in &found {
                let expected = written.get(&time.0).map(|(value, _)| value.to_bits());
                assert_eq!(expected, Some(value.to_bits()), "seed {seed}: {time} of s{series}");
            }
            let there: std::collections::HashSet<i64> = found.iter().map(|(time, _)| time.0).collect();
            missing += written.iter().filter(|(time, (_, acked))| *acked && !there.contains(time)).count();
        }
        missing
    }

    /// What was never acknowledged and is not there may be forgotten.
    fn forget(&mut self, house: &House) {
        for ((which, series), written) in &mut self.written {
            let found = house.history.samples(
                &server(SERVERS[*which]),
                &key(*series),
                Timestamp(i64::MIN),
                Timestamp(i64::MAX),
            );
            let there: std::collections::HashSet<i64> = found.iter().map(|(time, _)| time.0).collect();
            written.retain(|time, _| there.contains(time));
        }
    }
}

#[test]
fn crashes_at_any_write_lose_nothing_that_was_acknowledged() {
    for seed in 0..40 {
        let mut noise = Noise::new(seed);
        let (mut house, mut model) = (House::new(), Model::default());
        for _ in 0..12 {
            match noise.below(10) {
                0..=5 => {
                    let (samples, ticket) = model.batch(&house, &mut noise);
                    if noise.below(3) > 0 && house.durable(ticket) {
                        model.acknowledge(&samples);
                    }
                }
                6 => house.round(),
                7 => house.snapshot(),
                8 => {
                    let store = house.history.store.clone().unwrap();
                    house.round();
                    store.shelf.finish(Timestamp(START)).unwrap();
                }
                _ => {
                    // The machine dies in the middle of packing, finishing or a snapshot.
                    house.chunks.set_fault(Fault::Dead(noise.below(4) as usize));
                    house.log.set_fault(Fault::Dead(noise.below(6) as usize));
                    house.snapshot();
                    house = house.crash(noise.below(3000) as usize);
                    assert!(house.history.holes().is_empty(), "seed {seed}: {:?}", house.history.holes());
                    assert_eq!(model.check(&house, seed), 0, "seed {seed}");
                    model.forget(&house);
                }
            }
            if noise.below(4) == 0 {
                house = house.crash(noise.below(3000) as usize);
                assert_eq!(model.check(&house, seed), 0, "seed {seed}");
                model.forget(&house);
            }
        }
        assert_eq!(model.check(&house, seed), 0, "seed {seed}");
        house.history.close();
    }
}

/// Disks with something in every kind of file: a log, a snapshot, a finished and a growing file.
fn disks() -> (Memory, Memory, Model) {
    let mut noise = Noise::new(99);
    let (mut house, mut model) = (House::new(), Model::default());
    for round in 0..4 {
        for _ in 0..24 {
            let (samples, ticket) = model.batch(&house, &mut noise);
            assert!(house.durable(ticket));
            model.acknowledge(&samples);
        }
        if round < 3 {
            house.round();
        }
        if round == 0 {
            house.history.store.as_ref().unwrap().shelf.finish(Timestamp(START)).unwrap();
        }
        if round == 2 {
            house.snapshot();
        }
    }
    house.log.set_fault(Fault::Dead(0));
    house.history.close();
    (house.log.copy(), house.chunks.copy(), model)
}

#[test]
fn flipped_bits_in_any_file_are_named_and_nothing_wrong_is_served() {
    let (log, chunks, model) = disks();
    let names = |disk: &Memory| disk.list().unwrap().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let (logs, files) = (names(&log), names(&chunks));
    let kinds: Vec<&str> = logs.iter().chain(&files).map(|n| n.rsplit('.').next().unwrap()).collect();
    for kind in ["log", "heads", "chunks", "open"] {
        assert!(kinds.contains(&kind), "{kind}: {kinds:?}");
    }
    let mut noise = Noise::new(7);
    for (of_log, name) in logs.iter().map(|n| (true, n)).chain(files.iter().map(|n| (false, n))) {
        for turn in 0..40 {
            let (log, chunks) = (log.copy(), chunks.copy());
            let disk = if of_log { &log } else { &chunks };
            let mut bytes = disk.bytes(name).unwrap();
            assert!(!bytes.is_empty(), "{name} is empty: {logs:?} {files:?}");
            let at = if turn < 12 { turn } else { noise.below(bytes.len() as u64) as usize };
            // A version from the future is refused, not read.
            if (8..12).contains(&at) {
                continue;
            }
            bytes[at] ^= 1 << noise.below(8);
            disk.put(name, bytes);
            let house = House::on(log.clone(), chunks.clone());
            let missing = model.check(&house, at as u64);
            let all =
                |server: &ServerId| house.history.samples_of(server, &|_| true, Timestamp(0), Timestamp(i64::MAX));
            let holes = house.history.holes().len()
                + usize::from(house.history.torn().is_some())
                + SERVERS.iter().map(|s| all(&super::server(s)).holes.len()).sum::<usize>();
            assert!(missing == 0 || holes > 0, "{name}, byte {at}: {missing} samples are missing and nothing says so");
            house.history.close();
        }
    }
}

#[test]
fn files_of_a_newer_build_are_refused_and_left_alone() {
    let (log, chunks, _) = disks();
    for name in ["log", "heads"] {
        let (log, chunks) = (log.copy(), chunks.copy());
        let files = log.list().unwrap();
        let (file, _) = files.iter().rfind(|(n, _)| n.ends_with(name)).unwrap();
        let mut bytes = log.bytes(file).unwrap();
        bytes[8] = 2;
        log.put(file, bytes.clone());
        let disks = Disks { log: Arc::new(log.clone()), chunks: Arc::new(chunks) };
        let opened = History::assemble(disks, Limits::default(), Keep::default(), Box::new(|| Timestamp(0)));
        let error = opened.map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("newer") && error.contains(file), "{error}");
        assert_eq!(log.bytes(file), Some(bytes));
    }
}
