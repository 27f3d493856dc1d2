//! TLS as a client that looks: the server's certificate is noted and judged, and only then believed or not.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, StreamOwned,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Timed;
use crate::host::Host;

/// Where distributions keep the CAs they trust, in one file: Debian, Red Hat, SUSE, Alpine.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// How long the CAs that were read are used before they are read anew.
const FRESH_MS: i64 = 3_600_000;

/// What was seen of a server.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// When its certificate ends, seconds of wall time; none when it cannot be read.
    pub(crate) expires: Option<i64>,
    /// Whether it is valid for the name that was asked for; or why not.
    pub(crate) verdict: Result<(), String>,
}

/// The CAs that servers are judged by.
pub(crate) struct Trust {
    file: Option<PathBuf>,
    /// What was made of them, and when by the boot clock.
    made: Option<(Result<Arc<WebPkiServerVerifier>, String>, i64)>,
}

impl Trust {
    /// The CAs in `file` (PEM), else the system's. Nothing is read yet.
    pub(crate) fn new(file: Option<&str>) -> Self {
        Self { file: file.map(PathBuf::from), made: None }
    }

    fn verifier(&mut self, host: &dyn Host) -> Result<Arc<WebPkiServerVerifier>, String> {
        let now = host.boot_ms();
        if let Some((made, at)) = &self.made
            && now - at < FRESH_MS
            && made.is_ok()
        {
            return made.clone();
        }
        let made = self.read(host);
        self.made = Some((made.clone(), now));
        made
    }

    fn read(&self, host: &dyn Host) -> Result<Arc<WebPkiServerVerifier>, String> {
        let mut pem = Vec::new();
        let read = match &self.file {
            Some(file) => host.read(file, &mut pem).map_err(|e| e.to_string()),
            None => SYSTEM
                .iter()
                .find_map(|file| host.read(Path::new(file), &mut pem).ok())
                .ok_or_else(|| "this server has no file of CAs; install ca-certificates or name a ca_file".to_owned()),
        };
        read?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().map_err(|_| {
            let file = self.file.as_deref().unwrap_or(Path::new("the system's file of CAs"));
            format!("{} holds no certificate of a CA", file.display())
        })
    }

    /// Shakes hands with the server on `stream` as one that must be `name`. `strict`: what is not valid is hung up on.
    /// What was seen of the certificate is given in either case, if it came to that.
    pub(crate) fn shake(
        &mut self,
        host: &dyn Host,
        stream: Timed,
        name: &str,
        strict: bool,
    ) -> (Option<Seen>, Result<StreamOwned<ClientConnection, Timed>, String>) {
        let name = name.strip_suffix('.').unwrap_or(name);
        let Ok(server) = ServerName::try_from(name.to_owned()) else {
            return (None, Err(format!("`{name}` is no name that a certificate can be for")));
        };
        let now = Duration::from_millis(u64::try_from(host.now().0).unwrap_or(0));
        let looker = Arc::new(Looker {
            inner: self.verifier(host),
            provider: provider(),
            strict,
            now: UnixTime::since_unix_epoch(now),
            seen: Mutex::new(None),
        });
        let done = handshake(Arc::clone(&looker), server, stream);
        let seen = looker.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (seen, done)
    }
}

/// The one provider of this program, passed by hand.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn handshake(
    looker: Arc<Looker>,
    server: ServerName<'static>,
    stream: Timed,
) -> Result<StreamOwned<ClientConnection, Timed>, String> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|e| e.to_string())?;
    let mut config = builder.dangerous().with_custom_certificate_verifier(looker).with_no_client_auth();
    // Each handshake is a whole one: a resumed one shows no certificate.
    config.resumption = Resumption::disabled();
    let connection = ClientConnection::new(Arc::new(config), server).map_err(|e| e.to_string())?;
    let mut stream = StreamOwned::new(connection, stream);
    while stream.conn.is_handshaking() {
        let (read, written) = stream.conn.complete_io(&mut stream.sock).map_err(|e| e.to_string())?;
        if read == 0 && written == 0 {
            return Err("the server hung up in the handshake".to_owned());
        }
    }
    Ok(stream)
}

/// Notes and judges certificates.
#[derive(Debug)]
struct Looker {
    /// Why there are no CAs to judge by, where there are none.
    inner: Result<Arc<WebPkiServerVerifier>, String>,
    provider: Arc<CryptoProvider>,
    strict: bool,
    now: UnixTime,
    seen: Mutex<Option<Seen>>,
}

impl ServerCertVerifier for Looker {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server: &ServerName<'_>,
        ocsp: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judged = match &self.inner {
            Ok(inner) => inner.verify_server_cert(end_entity, intermediates, server, ocsp, self.now).map(|_| ()),
            Err(words) => Err(Error::General(words.clone())),
        };
        let expires = X509Certificate::from_der(end_entity).ok().map(|(_, c)| c.validity().not_after.timestamp());
        let verdict = judged.as_ref().map_err(ToString::to_string).copied();
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Seen { expires, verdict });
        match judged {
            Err(error) if self.strict => Err(error),
            Ok(()) | Err(_) => Ok(ServerCertVerified::assertion()),
        }
    }

    // Whoever shows the certificate must hold its key, valid or not.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A connection with or without TLS.
pub(crate) trait Connection: Read + Write {}

impl<T: Read + Write> Connection for T {}

#[cfg(test)]
pub(crate) mod testing {
    //! A TLS server of the test's own, with certificates made for it.

    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::path::Path;
    use std::sync::Arc;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ServerConfig, ServerConnection, StreamOwned};

    pub(crate) type Issuer = CertifiedIssuer<'static, KeyPair>;

    /// A CA, its certificate in `file`.
    pub(crate) fn ca(file: &Path) -> Issuer {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(file, ca.pem()).unwrap();
        ca
    }

    /// A server on loopback whose certificate is for `name` until the year `until`; each connection is given to `serve`
    /// on one thread, which ends with the test's process.
    pub(crate) fn server(
        ca: &Issuer,
        name: &str,
        until: i32,
        serve: impl Fn(StreamOwned<ServerConnection, TcpStream>) + Send + 'static,
    ) -> SocketAddr {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let cert = params.signed_by(&key, ca).unwrap();
        let config = ServerConfig::builder_with_provider(super::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap());
        let config = Arc::new(config.unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                serve(StreamOwned::new(connection, stream.unwrap()));
            }
        });
        address
    }
}
