//! A controller that says what a test tells it to.

use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use skynet_proto::identity::Role;
use skynet_proto::tls::{self, Files, Peer};
use skynet_proto::v1::agent_message::Body as Up;
use skynet_proto::v1::agent_service_server::{AgentService, AgentServiceServer};
use skynet_proto::v1::controller_message::Body as Down;
use skynet_proto::{MAX_MESSAGE, v1};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// How long anything may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A folder with a CA and the certificates of one controller and one server.
pub(crate) struct Pki(tempfile::TempDir);

impl Pki {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
        write("ca.pem", ca.pem());
        for (file, id) in [("server", "spiffe://f/server/web1"), ("controller", "spiffe://f/controller/main")] {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::default();
            params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
            write(&format!("{file}.pem"), params.signed_by(&key, &ca).unwrap().pem());
            write(&format!("{file}.key"), key.serialize_pem());
            let key = folder.path().join(format!("{file}.key"));
            std::fs::set_permissions(key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        }
        Self(folder)
    }

    pub(crate) fn dir(&self) -> &Path {
        self.0.path()
    }
}

/// Hands each session to the test.
struct Script(mpsc::Sender<Line>);

type Outbound = Pin<Box<dyn Stream<Item = Result<v1::ControllerMessage, Status>> + Send>>;

#[tonic::async_trait]
impl AgentService for Script {
    type SessionStream = Outbound;

    async fn session(&self, request: Request<Streaming<v1::AgentMessage>>) -> Result<Response<Outbound>, Status> {
        let peer = request.extensions().get::<Peer>().unwrap().identity.to_string();
        let mut inbound = request.into_inner();
        let (to, from) = mpsc::channel(16);
        let lines = self.0.clone();
        // The answer's head must not wait for the agent's first words.
        tokio::spawn(async move {
            let Ok(Some(v1::AgentMessage { body: Some(Up::Hello(hello)) })) = inbound.message().await else {
                panic!("the first message is not a hello");
            };
            let Ok(Some(v1::AgentMessage { body: Some(Up::Inventory(inventory)) })) = inbound.message().await else {
                return;
            };
            drop(lines.send(Line { peer, hello, inventory, inbound, to }).await);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(from))))
    }
}

/// The controller's end of one session.
pub(crate) struct Line {
    pub(crate) peer: String,
    pub(crate) hello: v1::Hello,
    pub(crate) inventory: v1::Inventory,
    inbound: Streaming<v1::AgentMessage>,
    to: mpsc::Sender<Result<v1::ControllerMessage, Status>>,
}

impl Line {
    pub(crate) async fn send(&self, body: Down) {
        self.to.send(Ok(v1::ControllerMessage { body: Some(body) })).await.unwrap();
    }

    pub(crate) async fn welcome(&self, epoch: u64) {
        self.send(Down::Welcome(v1::Welcome { epoch, ..v1::Welcome::default() })).await;
    }

    pub(crate) async fn ack(&self, seq: u64) {
        self.send(Down::Ack(v1::Ack { seq, boot_id: self.hello.boot_id.clone() })).await;
    }

    /// Reads until `wanted` finds something; the rest is dropped.
    pub(crate) async fn until<T>(&mut self, mut wanted: impl FnMut(&Up) -> Option<T>) -> T {
        let found = async {
            loop {
                let message = self.inbound.message().await.expect("the stream broke").expect("the stream ended");
                if let Some(found) = message.body.as_ref().and_then(&mut wanted) {
                    return found;
                }
            }
        };
        tokio::time::timeout(LIMIT, found).await.expect("what was waited for did not come")
    }

    /// Whether the agent ends the session.
    pub(crate) async fn ended(&mut self) -> bool {
        let ended = async { while let Ok(Some(_)) = self.inbound.message().await {} };
        tokio::time::timeout(LIMIT, ended).await.is_ok()
    }
}

/// The controller.
pub(crate) struct Controller {
    pub(crate) address: SocketAddr,
    lines: mpsc::Receiver<Line>,
}

impl Controller {
    pub(crate) async fn start(pki: &Pki, address: &str) -> Self {
        Self::start_in(pki.dir(), address).await
    }

    pub(crate) async fn start_in(dir: &Path, address: &str) -> Self {
        let files = Files { ca: dir.join("ca.pem"), cert: dir.join("controller.pem"), key: dir.join("controller.key") };
        let config = files.load(Role::Controller).unwrap().server_config().unwrap();
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (to, lines) = mpsc::channel(4);
        let service = AgentServiceServer::new(Script(to))
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        let incoming = tls::incoming(listener, config, |address, reason| eprintln!("{address}: {reason}"));
        tokio::spawn(tonic::transport::Server::builder().serve_with_incoming(service, incoming));
        Self { address, lines }
    }

    /// The next session, after its hello and its inventory.
    pub(crate) async fn next(&mut self) -> Line {
        tokio::time::timeout(LIMIT, self.lines.recv()).await.expect("no session came").unwrap()
    }
}
