//! A relay on loopback that counts what passes: every byte of a connection, TLS and HTTP/2 framing included.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Bytes that passed, by direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// From who connected.
    pub up: u64,
    /// To who connected.
    pub down: u64,
}

/// A running relay; dropping it cuts its connections.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    counts: Arc<[AtomicU64; 2]>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Listens on a free port of loopback and passes connections on to `target`.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start(target: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let counts: Arc<[AtomicU64; 2]> = Arc::default();
        let counted = Arc::clone(&counts);
        let task = tokio::spawn(async move {
            let mut passing = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                passing.spawn(pass(stream, target, Arc::clone(&counted)));
            }
        });
        Ok(Self { address, counts, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What passed so far.
    #[must_use]
    pub fn passed(&self) -> Passed {
        Passed { up: self.counts[0].load(Ordering::SeqCst), down: self.counts[1].load(Ordering::SeqCst) }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(near: TcpStream, target: SocketAddr, counts: Arc<[AtomicU64; 2]>) {
    let Ok(far) = TcpStream::connect(target).await else { return };
    // As the agent and the controller do: nothing waits to be joined with more.
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    tokio::join!(copy(near_in, far_out, &counts[0]), copy(far_in, near_out, &counts[1]));
}

async fn copy(mut from: tokio::net::tcp::OwnedReadHalf, mut to: tokio::net::tcp::OwnedWriteHalf, count: &AtomicU64) {
    let mut block = vec![0; 16 << 10];
    while let Ok(n) = from.read(&mut block).await {
        if n == 0 || to.write_all(&block[..n]).await.is_err() {
            break;
        }
        count.fetch_add(n as u64, Ordering::SeqCst);
    }
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_of_both_directions_are_counted() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let relay = Relay::start(listener.local_addr().unwrap()).await.unwrap();
        let mut near = TcpStream::connect(relay.address()).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        near.write_all(&[1; 1000]).await.unwrap();
        far.read_exact(&mut [0; 1000]).await.unwrap();
        far.write_all(&[2; 10]).await.unwrap();
        near.read_exact(&mut [0; 10]).await.unwrap();
        drop(near);
        assert_eq!(far.read(&mut [0; 1]).await.unwrap(), 0);
        assert_eq!(relay.passed(), Passed { up: 1000, down: 10 });
    }
}
