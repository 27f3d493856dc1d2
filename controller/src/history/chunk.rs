//! A chunk on its own: the packed samples of one series, with all that it takes to read them.
//!
//! Version (1), number of samples, length of the times, times, values, CRC32. It holds no name: whoever keeps it knows
//! whose it is.

use super::bytes::{Cursor, put_varint};
use super::column;

const VERSION: u8 = 1;

/// Why bytes are no chunk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// A later build made it.
    #[error("the chunk's format version is {0}; this build reads 1: read it with a newer one")]
    Version(u8),
    /// It is damaged.
    #[error("the chunk is damaged: its checksum does not fit")]
    Damaged,
}

/// Makes a chunk of packed columns.
pub(super) fn encode(samples: usize, times: &[u8], values: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(times.len() + values.len() + 12);
    out.push(VERSION);
    put_varint(&mut out, samples as u64);
    put_varint(&mut out, times.len() as u64);
    out.extend_from_slice(times);
    out.extend_from_slice(values);
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// Times (Unix milliseconds) and values of a chunk.
///
/// # Errors
/// [`ChunkError`]
pub fn decode(bytes: &[u8]) -> Result<(Vec<i64>, Vec<f64>), ChunkError> {
    let version = bytes.first().copied().ok_or(ChunkError::Damaged)?;
    if version != VERSION {
        return Err(ChunkError::Version(version));
    }
    whole(bytes).ok_or(ChunkError::Damaged)
}

fn whole(bytes: &[u8]) -> Option<(Vec<i64>, Vec<f64>)> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let mut cursor = Cursor::new(body.get(1..)?);
    let samples = usize::try_from(cursor.varint()?).ok()?;
    let length = cursor.count(1)?;
    let times = column::unpack_times(cursor.take(length)?, samples)?;
    let values = column::unpack_values(cursor.rest(), samples)?;
    Some((times, values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_comes_back_and_a_damaged_one_is_named() {
        let times: Vec<i64> = (0..100).map(|i| i * 1000 + i % 3).collect();
        let values: Vec<f64> = (0..100).map(|i| f64::from(i) / 7.0).collect();
        let packed = (column::pack_times(&times).unwrap(), column::pack_values(&values).unwrap());
        let bytes = encode(100, &packed.0, &packed.1);
        assert_eq!(decode(&bytes), Ok((times, values)));
        for bit in 8..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&damaged), Err(ChunkError::Damaged), "bit {bit}");
        }
        assert_eq!(decode(&[2, 0, 0]), Err(ChunkError::Version(2)));
        assert_eq!(decode(&[]), Err(ChunkError::Damaged));
    }
}
