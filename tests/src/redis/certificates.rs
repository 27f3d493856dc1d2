//! Certificates of a Redis server: a CA of its own, and a certificate for `localhost`.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};

/// Writes `ca.pem`, `server.pem` and `server.key` into a folder.
pub(super) fn make(folder: &Path) {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().expect("a key")).expect("a CA");
    let key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let leaf = leaf.signed_by(&key, &ca).expect("a certificate");
    std::fs::write(folder.join("ca.pem"), ca.pem()).expect("a file");
    std::fs::write(folder.join("server.pem"), leaf.pem()).expect("a file");
    std::fs::write(folder.join("server.key"), key.serialize_pem()).expect("a file");
}
