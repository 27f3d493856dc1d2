//! Connections from agents: accepted, shaken hands with, each handshake on its own and bounded in time and number.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;
use tonic::transport::server::Connected;

use crate::identity::Identity;

/// How long a handshake may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Most handshakes under way; further connections wait in the kernel's queue.
pub const MAX_HALF_OPEN: usize = 512;
/// Connections that are ready and not yet taken.
const READY: usize = 64;

/// Who is at the other end. In a tonic request: `request.extensions().get::<Peer>()`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// From its certificate, which was verified.
    pub identity: Identity,
    /// Where it comes from.
    pub address: SocketAddr,
}

/// A connection whose peer is known.
#[derive(Debug)]
pub struct PeerStream {
    stream: TlsStream<TcpStream>,
    peer: Peer,
}

impl Connected for PeerStream {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Connections for `Server::serve_with_incoming`. Accepting ends when this is dropped.
#[derive(Debug)]
pub struct Incoming(mpsc::Receiver<PeerStream>);

impl Stream for Incoming {
    type Item = io::Result<PeerStream>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|stream| stream.map(Ok))
    }
}

/// Accepts on `listener`. A connection that fails its handshake is told so by TLS, reported to `refused` with its address
/// and the reason, and dropped; nothing else notices. Must be called within a tokio runtime.
pub fn incoming(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    refused: impl Fn(SocketAddr, String) + Send + Sync + 'static,
) -> Incoming {
    let (ready, taken) = mpsc::channel(READY);
    let acceptor = TlsAcceptor::from(config);
    let half_open = Arc::new(Semaphore::new(MAX_HALF_OPEN));
    let refused = Arc::new(refused);
    tokio::spawn(async move {
        loop {
            let Ok(permit) = half_open.clone().acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = ready.closed() => return,
            };
            let (tcp, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, mostly: give others time to close theirs.
                    refused(([0, 0, 0, 0], 0).into(), format!("accept: {error}"));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (acceptor, ready, refused) = (acceptor.clone(), ready.clone(), refused.clone());
            tokio::spawn(async move {
                let shaken = match tokio::time::timeout(HANDSHAKE_TIMEOUT, shake(acceptor, tcp, address)).await {
                    Ok(shaken) => shaken,
                    Err(_) => Err(format!("no TLS handshake within {} s", HANDSHAKE_TIMEOUT.as_secs())),
                };
                drop(permit);
                match shaken {
                    // Refused only when the server is going down.
                    Ok(stream) => drop(ready.send(stream).await),
                    Err(reason) => refused(address, reason),
                }
            });
        }
    });
    Incoming(taken)
}

async fn shake(acceptor: TlsAcceptor, tcp: TcpStream, address: SocketAddr) -> Result<PeerStream, String> {
    tcp.set_nodelay(true).map_err(|e| e.to_string())?;
    let stream = acceptor.accept(tcp).await.map_err(|e| e.to_string())?;
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let certificate = certificates.first().ok_or("no certificate")?;
    // Role and fleet are the verifier's to check; this only reads them back.
    let identity = Identity::from_certificate(certificate).map_err(|e| e.to_string())?;
    Ok(PeerStream { stream, peer: Peer { identity, address } })
}
