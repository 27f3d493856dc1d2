//! Who gets through the handshake, on real sockets with real certificates.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::{ClientConfig, RootCertStore};
use skynet_proto::identity::Role;
use skynet_proto::tls::{self, Files, Peer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;

const LIMIT: Duration = Duration::from_secs(10);

struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Files of a certificate with these ids.
    fn issue(&self, file: &str, ids: &[&str]) -> Files {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = ids.iter().map(|id| SanType::URI((*id).try_into().unwrap())).collect();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let (cert_path, key_path) = (self.path(&format!("{file}.pem")), self.path(&format!("{file}.key")));
        std::fs::write(&cert_path, cert.pem()).unwrap();
        std::fs::write(&key_path, key.serialize_pem()).unwrap();
        Files { ca: self.path("ca.pem"), cert: cert_path, key: key_path }
    }
}

/// What the server saw of one connection.
type Seen = Result<Peer, String>;

/// A server that greets each peer it takes.
async fn serve(files: &Files) -> (SocketAddr, mpsc::UnboundedReceiver<Seen>) {
    let config = files.load(Role::Controller).unwrap().server_config().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (seen, sight) = mpsc::unbounded_channel();
    let refused = seen.clone();
    let mut incoming = tls::incoming(listener, config, move |_, reason| drop(refused.send(Err(reason))));
    tokio::spawn(async move {
        while let Some(Ok(mut stream)) = incoming.next().await {
            use tonic::transport::server::Connected;
            drop(seen.send(Ok(stream.connect_info())));
            stream.write_all(b"hi").await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    (address, sight)
}

/// Connects and reads the greeting.
async fn dial(address: SocketAddr, config: Arc<ClientConfig>) -> Result<Vec<u8>, String> {
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let connector = tokio_rustls::TlsConnector::from(config);
    let mut stream = connector.connect(name, tcp).await.map_err(|e| e.to_string())?;
    let mut got = Vec::new();
    tokio::time::timeout(LIMIT, stream.read_to_end(&mut got)).await.unwrap().map_err(|e| e.to_string())?;
    Ok(got)
}

async fn next(sight: &mut mpsc::UnboundedReceiver<Seen>) -> Seen {
    tokio::time::timeout(LIMIT, sight.recv()).await.expect("the server saw nothing").unwrap()
}

/// A client that takes any server of `ca` and shows whatever certificate it is given.
fn careless(ca: &Path, own: Option<&Files>) -> Arc<ClientConfig> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(roots.into(), tls::provider());
    let builder = ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Nameless(verifier.build().unwrap())));
    Arc::new(match own {
        Some(files) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(&files.cert).unwrap()],
                PrivateKeyDer::from_pem_file(&files.key).unwrap(),
            )
            .unwrap(),
        None => builder.with_no_client_auth(),
    })
}

/// Takes any name, so that only the server's checks are under test.
#[derive(Debug)]
struct Nameless(Arc<rustls::client::WebPkiServerVerifier>);

impl rustls::client::danger::ServerCertVerifier for Nameless {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        m: &[u8],
        c: &rustls::pki_types::CertificateDer<'_>,
        d: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(m, c, d)
    }

    fn verify_tls13_signature(
        &self,
        m: &[u8],
        c: &rustls::pki_types::CertificateDer<'_>,
        d: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(m, c, d)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[tokio::test]
async fn a_server_of_the_fleet_gets_in_and_is_known_by_its_certificate() {
    let ca = Ca::new();
    let (address, mut sight) = serve(&ca.issue("c", &["spiffe://f/controller/main"])).await;
    let config = ca.issue("s", &["spiffe://f/server/web1"]).load(Role::Server).unwrap().client_config().unwrap();
    assert_eq!(dial(address, config).await.unwrap(), b"hi");
    let peer = next(&mut sight).await.unwrap();
    assert_eq!(peer.identity.to_string(), "spiffe://f/server/web1");
}

#[tokio::test]
async fn a_client_of_another_ca_or_role_or_fleet_or_none_is_refused() {
    let (ca, other) = (Ca::new(), Ca::new());
    let (address, mut sight) = serve(&ca.issue("c", &["spiffe://f/controller/main"])).await;
    let cases = [
        (Some(other.issue("a", &["spiffe://f/server/web1"])), "BadSignature"),
        (Some(ca.issue("b", &["spiffe://f/controller/web1"])), "spiffe://f/server/ is needed"),
        (Some(ca.issue("d", &["spiffe://g/server/web1"])), "spiffe://f/server/ is needed"),
        (Some(ca.issue("e", &[])), "0 SPIFFE ids"),
        (Some(ca.issue("h", &["spiffe://f/server/a", "spiffe://f/server/b"])), "2 SPIFFE ids"),
        (Some(ca.issue("i", &["spiffe://f/root/a"])), "is not spiffe"),
        (None, "no certificates"),
    ];
    for (files, reason) in cases {
        assert!(dial(address, careless(&ca.path("ca.pem"), files.as_ref())).await.is_err(), "{reason}");
        let seen = next(&mut sight).await.unwrap_err();
        assert!(seen.contains(reason), "{seen} lacks {reason}");
    }
    let good = ca.issue("s", &["spiffe://f/server/web1"]);
    assert!(dial(address, careless(&ca.path("ca.pem"), Some(&good))).await.is_ok(), "others go on unharmed");
}

#[tokio::test]
async fn an_agent_takes_only_a_controller_of_its_ca_and_fleet() {
    let (ca, other) = (Ca::new(), Ca::new());
    let agent = ca.issue("s", &["spiffe://f/server/web1"]);
    for (files, reason) in [
        (ca.issue("a", &["spiffe://g/controller/main"]), "spiffe://f/controller/ is needed"),
        (other.issue("b", &["spiffe://f/controller/main"]), "BadSignature"),
    ] {
        let (address, _sight) = serve(&files).await;
        let error = dial(address, agent.load(Role::Server).unwrap().client_config().unwrap()).await.unwrap_err();
        assert!(error.contains(reason), "{error} lacks {reason}");
    }
    // A server's certificate must not pass for a controller's: `serve` would not load it, so it is shown raw.
    let fake = ca.issue("d", &["spiffe://f/server/web2"]);
    use rustls::pki_types::pem::PemObject;
    let config = rustls::ServerConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![rustls::pki_types::CertificateDer::from_pem_file(&fake.cert).unwrap()],
            rustls::pki_types::PrivateKeyDer::from_pem_file(&fake.key).unwrap(),
        )
        .unwrap();
    let mut config = config;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        drop(tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(tcp).await);
    });
    let error = dial(address, agent.load(Role::Server).unwrap().client_config().unwrap()).await.unwrap_err();
    assert!(error.contains("spiffe://f/controller/ is needed"), "{error}");
}

#[tokio::test]
async fn a_peer_that_never_speaks_delays_nobody() {
    let ca = Ca::new();
    let (address, mut sight) = serve(&ca.issue("c", &["spiffe://f/controller/main"])).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let agent = ca.issue("s", &["spiffe://f/server/web1"]);
    let config = agent.load(Role::Server).unwrap().client_config().unwrap();
    assert_eq!(tokio::time::timeout(LIMIT, dial(address, config)).await.unwrap().unwrap(), b"hi");
    assert!(next(&mut sight).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_takes_too_long_is_dropped() {
    let ca = Ca::new();
    let (address, mut sight) = serve(&ca.issue("c", &["spiffe://f/controller/main"])).await;
    let _silent = TcpStream::connect(address).await.unwrap();
    // Time is paused: it jumps to the deadline once nothing else can happen.
    let seen = tokio::time::timeout(10 * LIMIT, sight.recv()).await.unwrap().unwrap();
    assert!(seen.unwrap_err().contains("no TLS handshake within 10 s"));
}

#[test]
fn files_that_do_not_fit_are_named_with_what_they_lack() {
    let (ca, other) = (Ca::new(), Ca::new());
    let good = ca.issue("s", &["spiffe://f/server/web1"]);
    let load = |files: &Files| files.load(Role::Server).map(|_| ()).unwrap_err().to_string();
    let missing = Files { ca: ca.path("none.pem"), ..good.clone() };
    assert!(load(&missing).contains("none.pem"));
    let swapped = Files { cert: good.key.clone(), ..good.clone() };
    assert!(load(&swapped).contains("holds no certificate"), "{}", load(&swapped));
    let swapped = Files { key: good.cert.clone(), ..good.clone() };
    assert!(load(&swapped).contains("no private key"), "{}", load(&swapped));
    let controller = ca.issue("c", &["spiffe://f/controller/main"]);
    assert!(load(&controller).contains("spiffe://f/server/ is needed"), "{}", load(&controller));
    let strange = Files { key: other.issue("x", &["spiffe://f/server/web1"]).key, ..good };
    let error = strange.load(Role::Server).unwrap().client_config().unwrap_err();
    assert!(error.to_string().contains("of one another"), "{error}");
}
