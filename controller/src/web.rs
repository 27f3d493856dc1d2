//! What the controller answers over HTTP: `/metrics`, for Prometheus.
//!
//! What must never enter: a way to change anything, and anything that is not for whoever can reach the address. It listens
//! only where the configuration says. Text is rendered at most once a second, whoever asks; connections, their time and
//! the text are bounded.

mod metrics;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use skynet_model::time::{Span, Timestamp};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore};

use crate::core::Handle;
use crate::history::History;
use metrics::{Controller, Rendered};

/// Connections at once.
const CONNECTIONS: usize = 16;
/// How long a request's head may take.
const HEAD: Duration = Duration::from_secs(10);
/// How long a connection may stand: a slow reader holds the whole text.
const CONNECTION: Duration = Duration::from_secs(60);
/// How long the core may take to say who is connected.
const PATIENCE: Duration = Duration::from_secs(5);
/// A text is good for so long.
const FRESH: Span = Span::seconds(1);
/// Prometheus' text format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// The HTTP side.
pub struct Web {
    core: Handle,
    history: Arc<History>,
    clock: fn() -> Timestamp,
    last: Mutex<Option<(Timestamp, Rendered)>>,
}

impl std::fmt::Debug for Web {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Web").finish_non_exhaustive()
    }
}

impl Web {
    /// The HTTP side of these rooms.
    #[must_use]
    pub fn new(core: Handle, history: Arc<History>, clock: fn() -> Timestamp) -> Self {
        Self { core, history, clock, last: Mutex::new(None) }
    }

    /// Serves until the task is dropped.
    pub async fn serve(self, listener: TcpListener) {
        let (web, places) = (Arc::new(self), Arc::new(Semaphore::new(CONNECTIONS)));
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, mostly: others end meanwhile.
                    tracing::warn!("a connection for metrics was not taken: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                tracing::debug!("{peer} asks for metrics, and {CONNECTIONS} connections stand already");
                continue;
            };
            let web = Arc::clone(&web);
            tokio::spawn(async move {
                web.connection(stream, peer).await;
                drop(place);
            });
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let service = service_fn(move |request: Request<Incoming>| {
            let web = Arc::clone(&self);
            async move { Ok::<_, Infallible>(web.answer(&request).await) }
        });
        let mut server = hyper::server::conn::http1::Builder::new();
        let server = server.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(16 << 10);
        let connection = server.serve_connection(TokioIo::new(stream), service);
        match tokio::time::timeout(CONNECTION, connection).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(error)) => tracing::debug!("the connection of {peer} for metrics ended: {error}"),
        }
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let plain = |status: StatusCode, text: &'static str| {
            let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
            *response.status_mut() = status;
            response.headers_mut().insert(CONTENT_TYPE, TEXT);
            response
        };
        if request.uri().path() != "/metrics" {
            return plain(StatusCode::NOT_FOUND, "only /metrics is here\n");
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match self.metrics().await {
            Some(text) => {
                let mut response = Response::new(Full::new(text));
                response.headers_mut().insert(CONTENT_TYPE, TEXT);
                response
            }
            None => plain(StatusCode::SERVICE_UNAVAILABLE, "the controller is too busy; try again\n"),
        }
    }

    /// The text, at most a second old. Who asks meanwhile waits and gets the same.
    async fn metrics(&self) -> Option<Bytes> {
        let mut last = self.last.lock().await;
        let now = (self.clock)();
        if let Some((at, rendered)) = &*last
            && at.0 <= now.0
            && now.since(*at) < FRESH
        {
            return Some(rendered.text.clone());
        }
        let asked = self.core.ask(|view| Controller::of(&view));
        let controller = tokio::time::timeout(PATIENCE, asked).await.ok().and_then(Result::ok);
        let history = Arc::clone(&self.history);
        let room = last.as_ref().map_or(0, |(_, rendered)| rendered.text.len());
        let rendered = tokio::task::spawn_blocking(move || metrics::render(&history, controller.as_ref(), now, room));
        let rendered = rendered.await.ok()?;
        if rendered.cut && !last.as_ref().is_some_and(|(_, before)| before.cut) {
            tracing::warn!(
                "/metrics is cut at {} MiB: there are more series than one scrape holds",
                metrics::MOST >> 20
            );
        }
        let text = rendered.text.clone();
        *last = Some((now, rendered));
        Some(text)
    }
}

#[cfg(test)]
mod tests;
