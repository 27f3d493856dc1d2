//! Samples of one series, packed: 2 bytes for a value that stays the same at a steady pace, at most 18.
//!
//! A sample is the change of the time step (zigzag varint of milliseconds), then the value's bits XORed with those of
//! the value before: one byte (leading zero bytes in the high half, length in the low one) and the bytes that differ.

use skynet_model::time::Timestamp;

/// A run of samples in order of time.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    first: i64,
    last: i64,
    step: i64,
    bits: u64,
    bytes: Vec<u8>,
}

fn put_varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push((n as u8) | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn get_varint(bytes: &mut std::slice::Iter<'_, u8>) -> Option<u64> {
    let mut n = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.next()?;
        n |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(n);
        }
    }
    None
}

impl Chunk {
    /// An empty chunk that begins at `time`.
    pub(crate) fn new(time: Timestamp) -> Self {
        Self { first: time.0, last: time.0, step: 0, bits: 0, bytes: Vec::new() }
    }

    /// Adds a sample not older than the newest.
    pub(crate) fn push(&mut self, time: Timestamp, value: f64) {
        let step = time.0 - self.last;
        let change = step.wrapping_sub(self.step);
        put_varint(((change << 1) ^ (change >> 63)) as u64, &mut self.bytes);
        let xor = value.to_bits() ^ self.bits;
        let lead = (xor.leading_zeros() / 8).min(7);
        let trail = if xor == 0 { 8 } else { xor.trailing_zeros() / 8 };
        let length = if xor == 0 { 0 } else { 8 - lead - trail };
        self.bytes.push((lead as u8) << 4 | length as u8);
        let big = xor.to_be_bytes();
        self.bytes.extend_from_slice(&big[lead as usize..(lead + length) as usize]);
        (self.last, self.step, self.bits) = (time.0, step, value.to_bits());
    }

    /// When the first sample was taken.
    pub(crate) fn first(&self) -> Timestamp {
        Timestamp(self.first)
    }

    /// When the newest was.
    pub(crate) fn last(&self) -> Timestamp {
        Timestamp(self.last)
    }

    /// Bytes it takes.
    pub(crate) fn size(&self) -> usize {
        self.bytes.capacity() + std::mem::size_of::<Self>()
    }

    /// No more samples will come.
    pub(crate) fn seal(&mut self) {
        self.bytes.shrink_to_fit();
    }

    /// The samples in order.
    pub(crate) fn samples(&self) -> impl Iterator<Item = (Timestamp, f64)> + '_ {
        let (mut time, mut step, mut bits) = (self.first, 0i64, 0u64);
        let mut bytes = self.bytes.iter();
        std::iter::from_fn(move || {
            let packed = get_varint(&mut bytes)?;
            step = step.wrapping_add(((packed >> 1) as i64) ^ -((packed & 1) as i64));
            time += step;
            let shape = *bytes.next()?;
            let (lead, length) = (usize::from(shape >> 4), usize::from(shape & 15));
            let mut big = [0u8; 8];
            for slot in big.get_mut(lead..lead + length)? {
                *slot = *bytes.next()?;
            }
            bits ^= u64::from_be_bytes(big);
            Some((Timestamp(time), f64::from_bits(bits)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_come_back_as_they_went_in_and_steady_ones_take_two_bytes() {
        let mut values = vec![0.0, 1.0, 1.0, -0.5, f64::MIN_POSITIVE, f64::MAX, 0.1, 0.30000000000000004, 1e300, 0.0];
        values.extend((0..500).map(|i| f64::from(i).sin()));
        let mut chunk = Chunk::new(Timestamp(1_700_000_000_000));
        let mut expected = Vec::new();
        for (i, value) in values.into_iter().enumerate() {
            let i = i64::try_from(i).unwrap();
            let time = Timestamp(1_700_000_000_000 + i * 1000 + i * 7 % 13);
            chunk.push(time, value);
            expected.push((time, value));
        }
        assert_eq!(chunk.samples().collect::<Vec<_>>(), expected);

        let mut steady = Chunk::new(Timestamp(0));
        for i in 0..1000 {
            steady.push(Timestamp(i * 1000), 42.5);
        }
        assert!(steady.bytes.len() < 2020, "{}", steady.bytes.len());
    }
}
