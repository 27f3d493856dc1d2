//! The way to the acting process: frames over a socket pair.

use skynet_node::actor::{MAX_FRAME, Reply, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

/// Frames that may wait on either way.
const QUEUE: usize = 64;

/// Why there is no word from the acting process.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// It ended.
    #[error("the acting process ended; see its last message above. The agent must be started again")]
    Gone,
    /// It takes requests more slowly than they come.
    #[error("the acting process does not take requests any more; the agent must be started again")]
    Stuck,
    /// The socket is of no use.
    #[error("the socket to the acting process: {0}")]
    Socket(#[from] std::io::Error),
}

/// The session process' end.
#[derive(Debug)]
pub struct Link {
    requests: mpsc::Sender<Request>,
    replies: mpsc::Receiver<Reply>,
}

impl Link {
    /// Takes one end of the socket pair. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`LinkError::Socket`].
    pub fn new(stream: std::os::unix::net::UnixStream) -> Result<Self, LinkError> {
        stream.set_nonblocking(true)?;
        let (read, write) = UnixStream::from_std(stream)?.into_split();
        let (requests, to_write) = mpsc::channel(QUEUE);
        let (read_in, replies) = mpsc::channel(QUEUE);
        tokio::spawn(write_frames(write, to_write));
        tokio::spawn(read_frames(read, read_in));
        Ok(Self { requests, replies })
    }

    /// Sends a request. Never waits: the caller bounds how many are open.
    ///
    /// # Errors
    /// [`LinkError`]; there is no acting any more.
    pub fn send(&self, request: Request) -> Result<(), LinkError> {
        self.requests.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => LinkError::Stuck,
            mpsc::error::TrySendError::Closed(_) => LinkError::Gone,
        })
    }

    /// The next reply. Cancel safe.
    ///
    /// # Errors
    /// [`LinkError::Gone`].
    pub async fn receive(&mut self) -> Result<Reply, LinkError> {
        self.replies.recv().await.ok_or(LinkError::Gone)
    }
}

async fn write_frames(mut to: OwnedWriteHalf, mut requests: mpsc::Receiver<Request>) {
    while let Some(request) = requests.recv().await {
        let Ok(json) = serde_json::to_vec(&request) else { continue };
        drop(request);
        let Some(length) = u32::try_from(json.len()).ok().filter(|_| json.len() <= MAX_FRAME) else {
            tracing::error!(bytes = json.len(), "a request to the acting process is too large and was left out");
            continue;
        };
        if to.write_all(&length.to_be_bytes()).await.is_err() || to.write_all(&json).await.is_err() {
            return;
        }
    }
}

async fn read_frames(mut from: OwnedReadHalf, replies: mpsc::Sender<Reply>) {
    let mut body = Vec::new();
    while let Ok(length) = from.read_u32().await {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > MAX_FRAME {
            tracing::error!(bytes = length, "a reply of the acting process is too large");
            return;
        }
        body.clear();
        body.resize(length, 0);
        if from.read_exact(&mut body).await.is_err() {
            return;
        }
        match serde_json::from_slice(&body) {
            Ok(reply) => {
                if replies.send(reply).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::error!(%error, "a reply of the acting process cannot be read");
                return;
            }
        }
        // A bundle or an inventory is rare and large; its room is not kept.
        body.shrink_to(4096);
    }
}
