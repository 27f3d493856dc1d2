//! Reads protobuf's encoding in place, for the one message that comes a million times: a batch is taken apart where it
//! lies, and nothing is allocated for it. Rarer messages go through the generated types.
//!
//! Source: the protocol buffers encoding reference (varints, zigzag, wire types 0, 1, 2 and 5). Groups, which proto3 does
//! not have, are refused.

use crate::error::WireError;

/// One field as it lies in a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64([u8; 8]),
    /// Wire type 2.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32,
}

fn broken(what: &str) -> WireError {
    WireError::malformed(format!("a batch cannot be decoded: {what}"))
}

/// What is left of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.0.len()
    }

    /// The next varint.
    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, WireError> {
        match self.0 {
            [byte, rest @ ..] if *byte < 0x80 => {
                self.0 = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0u64;
        for (at, byte) in self.0.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if *byte < 0x80 {
                if at == 9 && *byte > 1 {
                    break;
                }
                self.0 = &self.0[at + 1..];
                return Ok(value);
            }
        }
        Err(broken("a number does not end, or is too large"))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], WireError> {
        let split = usize::try_from(length).ok().and_then(|length| self.0.split_at_checked(length));
        let (taken, rest) = split.ok_or_else(|| broken("a field is longer than its message"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// The next field and its number; none at the end.
    pub(super) fn field(&mut self) -> Result<Option<(u32, Value<'a>)>, WireError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = u32::try_from(self.varint()?).map_err(|_| broken("a field's number is too large"))?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                let mut fixed = [0; 8];
                fixed.copy_from_slice(self.take(8)?);
                Value::Fixed64(fixed)
            }
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Value::Fixed32
            }
            _ => return Err(broken("a field has a wire type that is not used")),
        };
        if key >> 3 == 0 {
            return Err(broken("a field has number 0"));
        }
        Ok(Some((key >> 3, value)))
    }
}

impl<'a> Value<'a> {
    fn wrong() -> WireError {
        broken("a field has another type than the contract says")
    }

    pub(super) fn number(self) -> Result<u64, WireError> {
        match self {
            Self::Varint(value) => Ok(value),
            Self::Fixed64(_) | Self::Bytes(_) | Self::Fixed32 => Err(Self::wrong()),
        }
    }

    pub(super) fn bytes(self) -> Result<&'a [u8], WireError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Varint(_) | Self::Fixed64(_) | Self::Fixed32 => Err(Self::wrong()),
        }
    }

    pub(super) fn text(self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| broken("a text is not UTF-8"))
    }
}

/// `sint64`.
pub(super) fn zigzag64(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// `sint32`: as every 32-bit number on the wire, the low half of what is there.
#[inline]
pub(super) fn zigzag32(value: u64) -> i32 {
    #[allow(clippy::cast_possible_truncation, reason = "the encoding says so")]
    let value = value as u32;
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// A repeated number: packed in one piece where it lies, or gathered from several pieces and single values.
#[derive(Clone, Copy, Debug)]
pub(super) enum Packed<'a> {
    None,
    Whole(&'a [u8]),
    Gathered,
}

impl<'a> Packed<'a> {
    /// Adds a field; `rest` is where pieces are gathered.
    pub(super) fn add(&mut self, value: Value<'a>, rest: &mut Vec<u8>) -> Result<(), WireError> {
        if let (Self::None, Value::Bytes(bytes)) = (&self, value) {
            *self = Self::Whole(bytes);
            return Ok(());
        }
        match std::mem::replace(self, Self::Gathered) {
            Self::None => rest.clear(),
            Self::Whole(bytes) => {
                rest.clear();
                rest.extend_from_slice(bytes);
            }
            Self::Gathered => {}
        }
        match value {
            Value::Bytes(bytes) => rest.extend_from_slice(bytes),
            Value::Fixed64(bytes) => rest.extend_from_slice(&bytes),
            Value::Varint(mut number) => {
                while number >= 0x80 {
                    rest.push((number & 0x7f) as u8 | 0x80);
                    number >>= 7;
                }
                rest.push(number as u8);
            }
            Value::Fixed32 => return Err(Value::wrong()),
        }
        Ok(())
    }

    /// All its bytes.
    pub(super) fn bytes<'b>(self, rest: &'b [u8]) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Self::None => &[],
            Self::Whole(bytes) => bytes,
            Self::Gathered => rest,
        }
    }
}
