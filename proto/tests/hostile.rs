//! Hostile bytes: whatever a peer sends is decoded or refused with a reason, and the dictionary stays bounded.
//! `SKYNET_FUZZ_ROUNDS` for more.

use prost::Message;
use skynet_proto::convert;
use skynet_proto::frame::AgentFrame;
use skynet_proto::stream::{Decoded, Decoder};
use skynet_proto::v1::agent_message::Body;
use skynet_proto::v1::{AgentMessage, ReadingBatch, SeriesAnnounce, Sweep};

/// A linear congruential generator (Knuth's MMIX constants).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n.max(1)
    }
}

fn batch(seq: u64) -> AgentMessage {
    let announce = (1..4).map(|id| SeriesAnnounce {
        id,
        name: format!("disk.used_ratio{id}"),
        labels: vec!["mount".to_owned(), format!("/{id}")],
    });
    let sweep = Sweep {
        sensor: "disk".to_owned(),
        series: vec![1, 1, 1],
        values: vec![0.1, 0.2, 0.3],
        complete: true,
        every_ms: 1000,
        ..Sweep::default()
    };
    let announce = if seq == 1 { announce.collect() } else { Vec::new() };
    let batch =
        ReadingBatch { seq, base_ms: 5, announce, retire: vec![], sweeps: vec![sweep], ..ReadingBatch::default() };
    AgentMessage { body: Some(Body::Readings(batch)) }
}

/// The batch as the generated types see it.
fn same(reference: &AgentMessage, out: &Decoded) {
    let Some(Body::Readings(batch)) = &reference.body else { panic!("{reference:?}") };
    assert_eq!((batch.seq, batch.late), (out.seq, out.late));
    assert_eq!(batch.sweeps.len(), out.sweeps().count());
    for (theirs, (ours, readings)) in batch.sweeps.iter().zip(out.sweeps()) {
        assert_eq!(theirs.sensor, *ours.sensor);
        assert_eq!((theirs.boot_ms, theirs.complete), (ours.boot_ms, ours.complete));
        assert_eq!(batch.base_ms.saturating_add(theirs.offset_ms), ours.started.0);
        assert_eq!(i64::from(theirs.every_ms), ours.every.0);
        assert!(theirs.values.iter().eq(readings.iter().map(|(_, value)| value)));
    }
}

#[test]
fn decoding_never_panics_on_damaged_messages() {
    let rounds = std::env::var("SKYNET_FUZZ_ROUNDS").map_or(20_000, |text| text.parse().unwrap());
    let mut random = Random(3);
    let (mut refused, mut taken) = (0, 0);
    for _ in 0..rounds {
        let (mut decoder, mut out) = (Decoder::new(), Decoded::default());
        for seq in 1..4 {
            let mut bytes = batch(seq).encode_to_vec();
            for _ in 0..random.below(3) {
                let at = random.below(bytes.len());
                match random.below(3) {
                    0 => bytes[at] = u8::try_from(random.below(256)).unwrap(),
                    1 => bytes.truncate(at),
                    _ => bytes.insert(at, u8::try_from(random.below(256)).unwrap()),
                }
                if bytes.is_empty() {
                    bytes.push(0);
                }
            }
            let reference = AgentMessage::decode(&bytes[..]);
            let Ok(frame) = AgentFrame::decode(&bytes[..]) else {
                assert!(reference.is_err(), "what the generated types take is a frame");
                continue;
            };
            if let Some(readings) = frame.readings {
                match decoder.decode(&readings, &mut out) {
                    Ok(()) => {
                        taken += 1;
                        assert!(out.sweeps().all(|(_, readings)| readings.iter().all(|(_, v)| v.is_finite())));
                        same(&reference.expect("what is taken is what the generated types take"), &out);
                    }
                    Err(error) => {
                        refused += 1;
                        assert!(!error.message.is_empty());
                        break;
                    }
                }
                continue;
            }
            match frame.other.body {
                Some(Body::Outcome(outcome)) => drop(convert::outcome_from_wire(outcome)),
                Some(Body::Inventory(inventory)) => drop(convert::inventory_from_wire(inventory)),
                Some(_) | None => {}
            }
            assert!(decoder.live() <= 16);
        }
    }
    assert!(refused > rounds / 20 && taken > rounds / 20, "{refused} refused, {taken} taken");
}
