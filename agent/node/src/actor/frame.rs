//! Frames between the session process and the acting process: a big-endian u32 length, then JSON.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::MAX_FRAME;

/// Why a frame was not read or written. The stream is of no further use.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The stream failed, or ended within a frame.
    #[error("the stream to the acting process broke: {0}")]
    Io(#[from] io::Error),
    /// Longer than [`MAX_FRAME`].
    #[error("a frame of {0} bytes; at most {MAX_FRAME} are allowed")]
    TooLarge(usize),
    /// Not the JSON that was expected.
    #[error("a frame that is no message: {0}")]
    Malformed(String),
}

/// Reads one frame; `None` when the stream ended before it. Blocks.
///
/// # Errors
/// [`FrameError`].
pub fn read<T: DeserializeOwned>(from: &mut impl Read) -> Result<Option<T>, FrameError> {
    let mut prefix = [0u8; 4];
    let mut got = 0;
    while got < prefix.len() {
        match from.read(&mut prefix[got..]) {
            Ok(0) if got == 0 => return Ok(None),
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The peer was killed with something of ours unread.
            Err(error) if got == 0 && error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    let length = usize::try_from(u32::from_be_bytes(prefix)).unwrap_or(usize::MAX);
    if length > MAX_FRAME {
        return Err(FrameError::TooLarge(length));
    }
    // Grows with what comes, not with what was promised.
    let mut body = Vec::new();
    from.take(length as u64).read_to_end(&mut body)?;
    if body.len() < length {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    serde_json::from_slice(&body).map(Some).map_err(|error| FrameError::Malformed(error.to_string()))
}

/// Writes one frame and flushes. Blocks.
///
/// # Errors
/// [`FrameError`]; too large a frame leaves the stream as it was.
pub fn write<T: Serialize>(to: &mut impl Write, value: &T) -> Result<(), FrameError> {
    let mut frame = vec![0u8; 4];
    serde_json::to_writer(&mut frame, value).map_err(|error| FrameError::Malformed(error.to_string()))?;
    let length = frame.len() - 4;
    let prefix = u32::try_from(length).ok().filter(|_| length <= MAX_FRAME).ok_or(FrameError::TooLarge(length))?;
    frame[..4].copy_from_slice(&prefix.to_be_bytes());
    to.write_all(&frame)?;
    Ok(to.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_and_bad_ones_are_told_apart() {
        let mut stream = Vec::new();
        write(&mut stream, &"one").unwrap();
        write(&mut stream, &"two").unwrap();
        let mut from = stream.as_slice();
        assert_eq!(read::<String>(&mut from).unwrap().unwrap(), "one");
        assert_eq!(read::<String>(&mut from).unwrap().unwrap(), "two");
        assert!(read::<String>(&mut from).unwrap().is_none());

        assert!(matches!(read::<String>(&mut &stream[..3]), Err(FrameError::Io(_))));
        assert!(matches!(read::<String>(&mut &stream[..6]), Err(FrameError::Io(_))));
        assert!(matches!(read::<u32>(&mut stream.as_slice()), Err(FrameError::Malformed(_))));
        assert!(matches!(read::<String>(&mut &[0xff; 8][..]), Err(FrameError::TooLarge(_))));
        let mut sink = Vec::new();
        assert!(matches!(write(&mut sink, &"x".repeat(MAX_FRAME)), Err(FrameError::TooLarge(_))));
        assert!(sink.is_empty());
    }
}
