//! TLS 1.3 with certificates on both sides, one pinned CA, one provider passed by hand.
//!
//! The controller takes only certificates with the role `server`, the agent only ones with the role `controller`, each of
//! its own fleet. DNS names play no part: the SPIFFE id is the identity.

mod connect;
mod incoming;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

pub use connect::{ConnectError, Target, connect};
pub use incoming::{HANDSHAKE_TIMEOUT, Incoming, MAX_HALF_OPEN, Peer, PeerStream, incoming};

use crate::identity::{Identity, IdentityError, Role};

/// Largest PEM file that is read, in bytes.
pub const MAX_PEM: u64 = 1 << 20;

/// Why there is no TLS set-up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or holds something else.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong, and what it must hold.
        error: String,
    },
    /// The own certificate is for something else.
    #[error("{path}: {error}")]
    Identity {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        error: IdentityError,
    },
    /// Key and certificate do not fit, or the like.
    #[error("TLS cannot be set up with {path}: {error}; are certificate, key and CA of one another?")]
    Setup {
        /// The certificate's file.
        path: PathBuf,
        /// The library's words.
        error: rustls::Error,
    },
}

/// Where the PEM files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The CA that both sides trust, and no other.
    pub ca: PathBuf,
    /// The own certificate, then its chain without the root.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What the files hold, read and checked.
#[derive(Debug)]
pub struct Credentials {
    /// Who the certificate says we are.
    pub identity: Identity,
    path: PathBuf,
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// The provider of all TLS here: aws-lc-rs.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

impl Files {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] naming the file, also when the certificate is not one of `role`.
    pub fn load(&self, role: Role) -> Result<Credentials, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.ca)? {
            roots.add(certificate).map_err(|e| bad(&self.ca, format!("not a CA certificate: {e}")))?;
        }
        let chain = certificates(&self.cert)?;
        let of_file = |error| TlsError::Identity { path: self.cert.clone(), error };
        let identity = Identity::from_certificate(&chain[0]).map_err(of_file)?;
        let fleet = identity.fleet.clone();
        let identity = identity.expect(role, &fleet).map_err(of_file)?;
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?)
            .map_err(|e| bad(&self.key, format!("no private key in PEM form: {e}")))?;
        Ok(Credentials { identity, path: self.cert.clone(), roots: Arc::new(roots), chain, key })
    }
}

impl Credentials {
    /// The controller's side: takes certificates of our CA with the role `server` in our own fleet.
    ///
    /// # Errors
    /// [`TlsError::Setup`].
    pub fn server_config(self) -> Result<Arc<ServerConfig>, TlsError> {
        let setup = |error| TlsError::Setup { path: self.path.clone(), error };
        let verifier = verify::Agents::new(self.roots.clone(), self.identity.fleet.clone()).map_err(setup)?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(setup)?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(setup)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // No resumption: every connection shows its certificate again.
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// The agent's side: takes a certificate of our CA with the role `controller` in our own fleet.
    ///
    /// # Errors
    /// [`TlsError::Setup`].
    pub fn client_config(self) -> Result<Arc<ClientConfig>, TlsError> {
        let setup = |error| TlsError::Setup { path: self.path.clone(), error };
        let verifier = verify::Controller::new(self.roots.clone(), self.identity.fleet.clone());
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(setup)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())
            .map_err(setup)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Arc::new(config))
    }
}

fn bad(path: &Path, error: String) -> TlsError {
    TlsError::File { path: path.to_owned(), error }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| bad(path, e.to_string()))?;
    file.take(MAX_PEM + 1).read_to_end(&mut bytes).map_err(|e| bad(path, e.to_string()))?;
    if u64::try_from(bytes.len()).is_ok_and(|n| n > MAX_PEM) {
        return Err(bad(path, format!("larger than {MAX_PEM} bytes; a PEM file is needed")));
    }
    Ok(bytes)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<_, _>>()
        .map_err(|e| bad(path, format!("not in PEM form: {e}")))?;
    if found.is_empty() {
        return Err(bad(path, "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)".to_owned()));
    }
    Ok(found)
}
