//! An agent's message with its readings left as they came: the rest of the contract through the generated type, a batch
//! as a slice of the receive buffer that [`crate::stream::Decoder`] takes apart where it lies.

pub use prost::bytes::Bytes;
use prost::bytes::{Buf, BufMut, BytesMut};
use prost::encoding::{DecodeContext, WireType};
use prost::{DecodeError, Message};

use crate::v1;

/// The number of `AgentMessage.readings`.
const READINGS: u32 = 3;

/// The same bytes on the wire as [`v1::AgentMessage`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AgentFrame {
    /// A `ReadingBatch`, not decoded.
    pub readings: Option<Bytes>,
    /// Everything else; without a body when `readings` is there.
    pub other: v1::AgentMessage,
}

impl Message for AgentFrame {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        self.other.encode_raw(buf);
        if let Some(readings) = &self.readings {
            prost::encoding::bytes::encode(READINGS, readings, buf);
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        if tag != READINGS {
            self.other.merge_field(tag, wire_type, buf, ctx)?;
            // Of several bodies the last counts; what is no body leaves the readings alone.
            if self.other.body.is_some() {
                self.readings = None;
            }
            return Ok(());
        }
        self.other.body = None;
        let mut bytes = Bytes::new();
        prost::encoding::bytes::merge(wire_type, &mut bytes, buf, ctx)?;
        // Two pieces of one message are the message of their bytes in turn.
        self.readings = Some(match self.readings.take() {
            Some(before) => {
                // Grown in place: a message of a million pieces must not be copied a million times.
                let mut all = before.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
                all.extend_from_slice(&bytes);
                all.freeze()
            }
            None => bytes,
        });
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        let readings = self.readings.as_ref().map_or(0, |r| prost::encoding::bytes::encoded_len(READINGS, r));
        self.other.encoded_len() + readings
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::agent_message::Body;

    #[test]
    fn it_has_the_bytes_of_the_contracts_message() {
        let batch = v1::ReadingBatch { seq: 300, base_ms: 5, retire: vec![1, 2, 900], ..v1::ReadingBatch::default() };
        let messages = [
            Some(Body::Readings(batch.clone())),
            Some(Body::Pong(v1::Pong { number: 7, wall_ms: 1, boot_ms: 2 })),
            Some(Body::Hello(v1::Hello { version: "1".to_owned(), ..v1::Hello::default() })),
            None,
        ];
        for body in messages {
            let message = v1::AgentMessage { body };
            let bytes = message.encode_to_vec();
            let frame = AgentFrame::decode(&bytes[..]).unwrap();
            assert_eq!(frame.encode_to_vec(), bytes);
            assert_eq!(frame.encoded_len(), bytes.len());
            assert_eq!(frame.readings.is_some(), matches!(message.body, Some(Body::Readings(_))));
            if let Some(readings) = frame.readings {
                assert_eq!(v1::ReadingBatch::decode(readings).unwrap(), batch);
                assert_eq!(frame.other.body, None);
            } else {
                assert_eq!(frame.other, message);
            }
        }
    }

    #[test]
    fn of_several_bodies_the_last_counts_and_pieces_are_one_batch() {
        let piece = |batch: v1::ReadingBatch| v1::AgentMessage { body: Some(Body::Readings(batch)) }.encode_to_vec();
        let one = piece(v1::ReadingBatch { seq: 1, ..v1::ReadingBatch::default() });
        let two = piece(v1::ReadingBatch { base_ms: 2, ..v1::ReadingBatch::default() });
        let pong = v1::AgentMessage { body: Some(Body::Pong(v1::Pong::default())) }.encode_to_vec();
        let both = AgentFrame::decode(&[&one[..], &two[..]].concat()[..]).unwrap();
        let batch = v1::ReadingBatch::decode(both.readings.unwrap()).unwrap();
        assert_eq!((batch.seq, batch.base_ms), (1, 2));
        let last = AgentFrame::decode(&[&one[..], &pong[..]].concat()[..]).unwrap();
        assert!(last.readings.is_none() && last.other.body.is_some());
        let last = AgentFrame::decode(&[&pong[..], &one[..]].concat()[..]).unwrap();
        assert!(last.readings.is_some() && last.other.body.is_none());
        // Field 99, a number: of a newer agent.
        let newer = AgentFrame::decode(&[&one[..], &[0x98, 0x06, 1]].concat()[..]).unwrap();
        assert!(newer.readings.is_some() && newer.other.body.is_none());
    }

    #[test]
    fn a_message_of_a_million_pieces_is_not_copied_a_million_times() {
        let pieces = [0x1a, 1, 0x55].repeat(1_300_000);
        let frame = AgentFrame::decode(&pieces[..]).unwrap();
        assert_eq!(frame.readings.unwrap().len(), 1_300_000);
    }
}
