//! The dictionary of one stream, without I/O: a series is announced once and named by a small id from then on.
//!
//! The agent's side is [`Encoder`], the controller's [`Decoder`]; each lives as long as one stream.
//!
//! Sequence numbers: batches that are not late rise strictly, late ones rise strictly among themselves. An agent drops a
//! batch when it is acknowledged; an `Ack` covers what was sent on this stream *of its own kind*: late batches have lower
//! numbers than the first one that is not late. So acknowledge the highest stored of each kind, not only the highest.

mod decode;
mod encode;
mod wire;

pub use decode::{Decoded, DecodedSweep, Decoder};
pub use encode::{Encoder, SweepPart};

/// Most series that may be live on one stream.
pub const MAX_SERIES: usize = 100_000;
/// Most characters of a sensor's error that cross the wire.
pub const MAX_ERROR_TEXT: usize = 1024;
/// Longest id of a sensor, in bytes.
pub const MAX_SENSOR: usize = 256;

#[cfg(test)]
mod tests;
