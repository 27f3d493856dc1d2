//! Who is let in: webpki against the pinned CA, then the SPIFFE id.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore, SignatureScheme,
};

use crate::identity::{Identity, IdentityError, Role};

fn check(certificate: &CertificateDer<'_>, role: Role, fleet: &str) -> Result<(), Error> {
    Identity::from_certificate(certificate)
        .and_then(|identity| identity.expect(role, fleet))
        .map(|_| ())
        .map_err(|e| Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Refused(e))))))
}

/// rustls shows such an error by its `Debug`; this gives it the sentence.
#[derive(thiserror::Error)]
#[error("{0}")]
struct Refused(IdentityError);

impl std::fmt::Debug for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

/// TLS 1.2 is never offered, so this is never asked.
fn no_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::General("TLS 1.3 is needed".to_owned()))
}

/// The controller's view of agents. A client without a certificate does not get past the handshake.
#[derive(Debug)]
pub(super) struct Agents {
    inner: Arc<dyn ClientCertVerifier>,
    fleet: String,
}

impl Agents {
    pub(super) fn new(roots: Arc<RootCertStore>, fleet: String) -> Result<Self, Error> {
        let inner = WebPkiClientVerifier::builder_with_provider(roots, super::provider())
            .build()
            .map_err(|e| Error::General(e.to_string()))?;
        Ok(Self { inner, fleet })
    }
}

impl ClientCertVerifier for Agents {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now)?;
        check(end_entity, Role::Server, &self.fleet)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// The agent's view of the controller: the chain must end at the pinned CA and the SPIFFE id must be a controller's of our
/// fleet. The name that was dialled is not looked at.
#[derive(Debug)]
pub(super) struct Controller {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
    fleet: String,
}

impl Controller {
    pub(super) fn new(roots: Arc<RootCertStore>, fleet: String) -> Self {
        Self { roots, provider: super::provider(), fleet }
    }
}

impl ServerCertVerifier for Controller {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        check(end_entity, Role::Controller, &self.fleet)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
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
