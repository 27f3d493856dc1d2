//! Links to servers: agents' sessions over mTLS.
//!
//! What must never enter: decisions, storage of events. A server's identity is its certificate's and nothing else's.

pub mod catalogue;
mod intake;
mod refill;
mod service;
mod session;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use skynet_proto::frame::AgentFrame;
use skynet_proto::identity::Role;
use skynet_proto::tls::{Incoming, Peer};
use tokio::sync::Semaphore;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::core::{Handle, Link, Outgoing, PING_EVERY};
use crate::history::History;
use service::AgentServer;

/// Streams one connection may have: the session, and one that takes over.
const STREAMS: u32 = 4;
/// Header bytes of one request.
const HEADERS: u32 = 16 << 10;

/// The agents' API.
#[derive(Debug)]
pub struct Fleet {
    core: Handle,
    history: Arc<History>,
    fleet: String,
    tokens: AtomicU64,
    ping_every: Duration,
    /// Who may read the history for windows: one server at a time.
    refilling: Arc<Semaphore>,
}

impl Fleet {
    /// The API for the agents of `fleet`.
    #[must_use]
    pub fn new(core: Handle, history: Arc<History>, fleet: String) -> Self {
        Self {
            core,
            history,
            fleet,
            tokens: AtomicU64::new(0),
            ping_every: PING_EVERY.std(),
            refilling: Arc::new(Semaphore::new(1)),
        }
    }

    /// Pings each session so often.
    #[must_use]
    pub fn pinging(self, every: Duration) -> Self {
        Self { ping_every: every, ..self }
    }

    /// Serves until `stop`; connections that stand then are dropped after their streams ended.
    ///
    /// # Errors
    /// The transport's.
    pub async fn serve(
        self,
        incoming: Incoming,
        stop: impl Future<Output = ()>,
    ) -> Result<(), tonic::transport::Error> {
        tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(Duration::from_secs(20)))
            .http2_keepalive_timeout(Some(Duration::from_secs(10)))
            .max_concurrent_streams(STREAMS)
            .concurrency_limit_per_connection(STREAMS as usize)
            .http2_max_header_list_size(HEADERS)
            .http2_max_pending_accept_reset_streams(Some(16))
            .serve_with_incoming_shutdown(AgentServer::new(self), incoming, stop)
            .await
    }

    /// Begins an agent's session; what the controller says to it is the answer.
    fn session(&self, request: Request<Streaming<AgentFrame>>) -> Result<Response<ReceiverStream<Outgoing>>, Status> {
        // TLS let only agents of this fleet in; this holds even if another listener is put before this service.
        let peer = request.extensions().get::<Peer>().cloned();
        let peer = peer.ok_or_else(|| Status::unauthenticated("no certificate"))?;
        let identity = peer.identity.expect(Role::Server, &self.fleet);
        let identity = identity.map_err(|e| Status::permission_denied(e.to_string()))?;
        let (link, outbox) = Link::new();
        let session = session::Session {
            server: identity.name.clone(),
            token: self.tokens.fetch_add(1, Ordering::Relaxed) + 1,
            core: self.core.clone(),
            link,
            intake: None,
            ping_every: self.ping_every,
            history: Arc::clone(&self.history),
            refill: refill::Refill::new(Arc::clone(&self.refilling)),
        };
        tokio::spawn(session.run(request.into_inner()));
        Ok(Response::new(ReceiverStream::new(outbox)))
    }
}

#[cfg(test)]
mod tests;
