//! What sensors share that ask over the network: one deadline over everything, connections, TLS that is looked at.
//!
//! What must never enter: readings, and what one protocol alone needs.

pub(crate) mod tls;

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use skynet_model::time::Span;

use crate::host::{Host, Stream};

/// The timeout of a use that names none.
pub(crate) const TIMEOUT: Span = Span::seconds(5);

/// When a probe is given up, whatever it waits for. By the host's boot clock.
#[derive(Clone)]
pub(crate) struct Deadline {
    host: Arc<dyn Host>,
    began_us: i64,
    timeout: Span,
}

impl Deadline {
    /// The time begins now.
    pub(crate) fn new(host: &Arc<dyn Host>, timeout: Span) -> Self {
        Self { host: Arc::clone(host), began_us: host.boot_us(), timeout }
    }

    /// What is left of it, more than nothing.
    ///
    /// # Errors
    /// When it is over.
    pub(crate) fn left(&self) -> Result<Duration, String> {
        let left = self.timeout.0.saturating_mul(1000).saturating_sub(self.host.boot_us() - self.began_us);
        let left = u64::try_from(left).ok().filter(|us| *us > 0).map(Duration::from_micros);
        left.ok_or_else(|| format!("no answer within {}", self.timeout))
    }

    /// Seconds since it began.
    pub(crate) fn took_s(&self) -> f64 {
        super::sensors::seconds_between(self.began_us, self.host.boot_us())
    }
}

/// Connects to the first address of a host that answers; each gets its share of the time.
///
/// # Errors
/// A sentence: what the last address said.
pub(crate) fn connect(name: &str, port: u16, deadline: &Deadline) -> Result<Timed, String> {
    let found = deadline.host.resolve(name, deadline.left()?).map_err(|e| e.to_string())?;
    let mut last = format!("{name} has no address");
    for (i, address) in found.iter().enumerate() {
        let share = u32::try_from(found.len() - i).unwrap_or(1);
        match deadline.host.connect(SocketAddr::new(*address, port), deadline.left()? / share) {
            Ok(stream) => return Ok(Timed { stream, deadline: deadline.clone() }),
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}

/// A connection whose every read and write ends with the deadline.
pub(crate) struct Timed {
    stream: Box<dyn Stream>,
    deadline: Deadline,
}

impl Timed {
    fn ready(&mut self) -> io::Result<&mut Box<dyn Stream>> {
        let left = self.deadline.left().map_err(|words| io::Error::new(ErrorKind::TimedOut, words))?;
        self.stream.limit(left)?;
        Ok(&mut self.stream)
    }

    fn said(&self, error: io::Error) -> io::Error {
        // The kernel says EAGAIN when a socket's time is up.
        if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) {
            return io::Error::new(ErrorKind::TimedOut, format!("no answer within {}", self.deadline.timeout));
        }
        error
    }
}

impl Read for Timed {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.ready()?.read(buf);
        read.map_err(|e| self.said(e))
    }
}

impl Write for Timed {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let written = self.ready()?.write(buf);
        written.map_err(|e| self.said(e))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
