//! The way to the controller.

use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

use super::HANDSHAKE_TIMEOUT;

/// `host:port`, as in the agent's configuration; `https://host:port` is taken too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    host: String,
    port: u16,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not host:port or https://host:port (with [..] around an IPv6 address)");
        let rest = text.strip_prefix("https://").unwrap_or(text);
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = rest.rsplit_once(':').ok_or_else(bad)?;
        let host = match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']').ok_or_else(bad)?,
            None if host.contains(':') => return Err(bad()),
            None => host,
        };
        let port = port.parse().ok().filter(|p| *p != 0).ok_or_else(bad)?;
        ServerName::try_from(host).map_err(|_| bad())?;
        Ok(Self { host: host.to_owned(), port })
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Why there is no connection. Always worth another try.
#[derive(Debug, thiserror::Error)]
#[error("no connection to the controller at {target}: {error}")]
pub struct ConnectError {
    /// Where.
    pub target: Target,
    /// What went wrong, innermost cause last.
    pub error: String,
}

/// Connects once: TCP, TLS, HTTP/2, all within ten seconds. The channel dies with its connection and is not to be kept.
///
/// # Errors
/// [`ConnectError`].
pub async fn connect(target: &Target, config: Arc<ClientConfig>) -> Result<Channel, ConnectError> {
    let fail = |error: String| ConnectError { target: target.clone(), error };
    let tls = tokio::time::timeout(HANDSHAKE_TIMEOUT, dial(target.clone(), config))
        .await
        .map_err(|_| fail(format!("no answer within {} s", HANDSHAKE_TIMEOUT.as_secs())))?
        .map_err(|e| fail(chain(&e)))?;
    // One stream for one channel: a second call of the connector has nothing to give and fails.
    let mut once = Some(tls);
    let connector = tower::service_fn(move |_: tonic::codegen::http::Uri| {
        let tls = once.take().map(TokioIo::new);
        async move { tls.ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "the connection ended")) }
    });
    Endpoint::from_static("http://controller")
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true)
        .connect_timeout(HANDSHAKE_TIMEOUT)
        .connect_with_connector(connector)
        .await
        .map_err(|e| fail(chain(&e)))
}

async fn dial(target: Target, config: Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(target.host.clone()).map_err(io::Error::other)?;
    let tcp = TcpStream::connect((target.host.as_str(), target.port)).await?;
    tcp.set_nodelay(true)?;
    TlsConnector::from(config).connect(name, tcp).await
}

/// An error with its causes, which libraries hide from `Display`.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_host_and_port() {
        for (text, shown) in [
            ("localhost:7400", "localhost:7400"),
            ("https://127.0.0.1:7400/", "127.0.0.1:7400"),
            ("[::1]:7400", "[::1]:7400"),
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), shown);
        }
        for bad in ["", "host", "host:0", "host:99999", "::1:80", "http://h:1", "[::1:80", "a b:80"] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }
}
