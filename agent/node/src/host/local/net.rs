//! Names, connections and datagrams from this machine.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use skynet_model::time::Span;

use super::clock::boot_us;
use super::io_error;
use crate::host::{HostError, MAX_ADDRESSES, Stream};

/// Most names being looked up at one time, those included that nobody waits for any more.
const MAX_LOOKUPS: usize = 8;
/// The C library's resolver wants some stack.
const STACK: usize = 256 << 10;
/// Largest datagram that is taken.
const MAX_DATAGRAM: usize = 4096;

static LOOKUPS: AtomicUsize = AtomicUsize::new(0);

impl Stream for TcpStream {
    fn limit(&mut self, wait: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(wait))?;
        self.set_write_timeout(Some(wait))
    }
}

fn timed_out(what: String, after: Duration) -> HostError {
    HostError::TimedOut { what, after: Span(i64::try_from(after.as_millis()).unwrap_or(i64::MAX)) }
}

/// See [`crate::host::Host::resolve`]. The system's resolver has its own time limits, longer than ours: it is asked on a
/// thread of its own, which may be left behind.
pub(super) fn resolve(name: &str, timeout: Duration) -> Result<Vec<IpAddr>, HostError> {
    if let Ok(address) = name.parse() {
        return Ok(vec![address]);
    }
    let what = || format!("looking up {name}");
    if LOOKUPS.fetch_add(1, Ordering::SeqCst) >= MAX_LOOKUPS {
        LOOKUPS.fetch_sub(1, Ordering::SeqCst);
        return Err(HostError::Failed { what: what(), error: "too many other names hang; is DNS down?".to_owned() });
    }
    let (done, answer) = mpsc::channel();
    let asked = name.to_owned();
    let ask = move || {
        let found = (asked.as_str(), 0).to_socket_addrs();
        LOOKUPS.fetch_sub(1, Ordering::SeqCst);
        // Refused when nobody waits any more.
        let _ = done.send(found.map(|list| list.map(|a| a.ip()).take(MAX_ADDRESSES).collect::<Vec<_>>()));
    };
    if let Err(error) = std::thread::Builder::new().name("lookup".into()).stack_size(STACK).spawn(ask) {
        LOOKUPS.fetch_sub(1, Ordering::SeqCst);
        return Err(io_error(&what(), &error));
    }
    match answer.recv_timeout(timeout) {
        Ok(Ok(found)) if found.is_empty() => Err(HostError::Missing(format!("an address of {name}"))),
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => Err(HostError::Failed { what: what(), error: error.to_string() }),
        Err(_) => Err(timed_out(what(), timeout)),
    }
}

/// See [`crate::host::Host::connect`].
pub(super) fn connect(to: SocketAddr, timeout: Duration) -> Result<Box<dyn Stream>, HostError> {
    let what = || format!("connecting to {to}");
    let stream = TcpStream::connect_timeout(&to, timeout).map_err(|error| {
        if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) {
            timed_out(what(), timeout)
        } else {
            HostError::Failed { what: what(), error: error.to_string() }
        }
    })?;
    // Small questions, small answers. Where it cannot be set the probe is only slower.
    let _ = stream.set_nodelay(true);
    Ok(Box::new(stream))
}

/// See [`crate::host::Host::ask`]. The socket is connected, so that the kernel drops what comes from elsewhere.
pub(super) fn ask(
    to: SocketAddr,
    question: &[u8],
    timeout: Duration,
    fits: &dyn Fn(&[u8]) -> bool,
) -> Result<Vec<u8>, HostError> {
    let what = || format!("asking {to}");
    let failed = |error: io::Error| HostError::Failed { what: what(), error: error.to_string() };
    let own: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let until = boot_us().saturating_add(i64::try_from(timeout.as_micros()).unwrap_or(i64::MAX));
    let socket = UdpSocket::bind(own).map_err(failed)?;
    socket.connect(to).map_err(failed)?;
    socket.send(question).map_err(failed)?;
    let mut buf = [0; MAX_DATAGRAM];
    loop {
        let left = u64::try_from(until - boot_us()).ok().filter(|us| *us > 0);
        let Some(left) = left else { return Err(timed_out(what(), timeout)) };
        socket.set_read_timeout(Some(Duration::from_micros(left))).map_err(failed)?;
        match socket.recv(&mut buf) {
            Ok(n) if fits(&buf[..n]) => return Ok(buf[..n].to_vec()),
            Ok(_) => {}
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            Err(e) => return Err(failed(e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_system_and_addresses_are_their_own() {
        let local = resolve("localhost", Duration::from_secs(10)).unwrap();
        assert!(local.iter().all(IpAddr::is_loopback) && !local.is_empty(), "{local:?}");
        assert_eq!(resolve("::1", Duration::ZERO).unwrap(), [IpAddr::from(Ipv6Addr::LOCALHOST)]);
        assert!(resolve("no..such", Duration::from_secs(10)).is_err());
    }

    #[test]
    fn datagrams_that_do_not_fit_are_passed_over_until_the_time_is_up() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = server.local_addr().unwrap();
        let answers = std::thread::spawn(move || {
            for answers in [&["x", "yes"][..], &["x"]] {
                let (_, from) = server.recv_from(&mut [0; 9]).unwrap();
                for answer in answers {
                    server.send_to(answer.as_bytes(), from).unwrap();
                }
            }
        });
        let fits = |answer: &[u8]| answer == b"yes";
        assert_eq!(ask(to, b"?", Duration::from_secs(10), &fits), Ok(b"yes".to_vec()));
        let error = ask(to, b"?", Duration::from_millis(100), &fits).unwrap_err();
        assert_eq!(error.to_string(), format!("asking {to} took longer than 100ms"));
        answers.join().unwrap();
    }
}
