//! The alphabet of the history's formats: little-endian words, varints, lengths before texts.
//!
//! What must never enter: what the bytes mean. Reading never fails but with `None`: bytes come from a disk.

/// A frame's checked payload and where the next frame begins.
pub(super) struct Framed<'a> {
    pub(super) payload: &'a [u8],
    pub(super) next: usize,
}

/// Length and CRC32 before each payload.
pub(super) const PREFIX: usize = 8;

/// CRC32 of a frame: of its length and its payload, so that a run of zeros is no frame.
pub(super) fn checksum(length: u32, payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&length.to_le_bytes());
    crc.update(payload);
    crc.finalize()
}

/// Appends a frame.
pub(super) fn put_frame(out: &mut Vec<u8>, payload: &[u8]) {
    let length = payload.len() as u32;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&checksum(length, payload).to_le_bytes());
    out.extend_from_slice(payload);
}

/// The whole and undamaged frame at `at`, if one is there.
pub(super) fn frame(bytes: &[u8], at: usize) -> Option<Framed<'_>> {
    let mut cursor = Cursor::new(bytes.get(at..)?);
    let (length, crc) = (cursor.u32()?, cursor.u32()?);
    let payload = cursor.take(length as usize)?;
    (checksum(length, payload) == crc).then_some(Framed { payload, next: at + PREFIX + payload.len() })
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push((n as u8) | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Small numbers of either sign in few bytes.
pub(super) fn put_signed(out: &mut Vec<u8>, n: i64) {
    put_varint(out, ((n << 1) ^ (n >> 63)) as u64);
}

/// A text of at most 64 KiB.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Reads what the functions above wrote.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(n)?;
        self.rest = rest;
        Some(taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        Some(i64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            n |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(n);
            }
        }
        None
    }

    pub(super) fn signed(&mut self) -> Option<i64> {
        let n = self.varint()?;
        Some(((n >> 1) as i64) ^ -((n & 1) as i64))
    }

    /// A count of things that take at least a byte (or `per_byte` of them one): never more than the bytes can hold.
    pub(super) fn count(&mut self, per_byte: usize) -> Option<usize> {
        let n = usize::try_from(self.varint()?).ok()?;
        (n <= self.rest.len().saturating_mul(per_byte)).then_some(n)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        let n = self.count(1)?;
        std::str::from_utf8(self.take(n)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_come_back_and_cut_ones_are_none() {
        let mut bytes = Vec::new();
        for n in [0, 1, 127, 128, u64::MAX] {
            put_varint(&mut bytes, n);
        }
        for n in [0, -1, 1, i64::MIN, i64::MAX] {
            put_signed(&mut bytes, n);
        }
        put_text(&mut bytes, "é");
        let mut cursor = Cursor::new(&bytes);
        assert_eq!([(); 5].map(|()| cursor.varint().unwrap()), [0, 1, 127, 128, u64::MAX]);
        assert_eq!([(); 5].map(|()| cursor.signed().unwrap()), [0, -1, 1, i64::MIN, i64::MAX]);
        assert_eq!((cursor.text(), cursor.is_empty()), (Some("é"), true));
        assert_eq!(Cursor::new(&[0x80; 11]).varint(), None);
        assert_eq!(Cursor::new(&[9, b'x']).text(), None);
    }

    #[test]
    fn a_frame_with_a_flipped_bit_is_none() {
        let mut bytes = Vec::new();
        put_frame(&mut bytes, b"payload");
        assert_eq!(frame(&bytes, 0).map(|f| (f.payload, f.next)), Some((&b"payload"[..], bytes.len())));
        for bit in 0..bytes.len() * 8 {
            let mut other = bytes.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(frame(&other, 0).is_none(), "bit {bit}");
        }
        assert!(frame(&[0; 64], 0).is_none());
    }
}
