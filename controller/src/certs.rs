//! Certificates: of a fleet that lives a day (the demo's and the tests', whose CA key is thrown away), and of a real one
//! ([`init`]).
//!
//! What must never enter: a running controller. Everything here is done once, before one starts.

pub mod init;

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType, string::Ia5String,
};
use skynet_model::name::{NameError, ServerId};
use skynet_model::time::{Span, Timestamp};

/// How long the certificates of a fleet that lives a day are valid.
pub const VALID: Span = Span::hours(24);

/// Why no certificates were made.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// A file cannot be written.
    #[error("cannot write {place}: {source}")]
    Write {
        /// The file.
        place: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A certificate cannot be made.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// The fleet's or a server's name does not fit a SPIFFE id.
    #[error(transparent)]
    Name(#[from] NameError),
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), CertsError> {
    let done = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path).and_then(|mut file| {
        use std::os::unix::fs::PermissionsExt;
        // The mode of an existing file is not changed by opening it.
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    done.map_err(|source| CertsError::Write { place: path.display().to_string(), source })
}

fn params(name: &str, now: Timestamp, valid: Span) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let at = |time: Timestamp| {
        let days = time.0.div_euclid(86_400_000);
        // rcgen takes a date and time; counting on from the epoch keeps this free of calendars.
        rcgen::date_time_ymd(1970, 1, 1)
            + std::time::Duration::from_secs(u64::try_from(days).unwrap_or(0) * 86_400)
            + std::time::Duration::from_millis(u64::try_from(time.0.rem_euclid(86_400_000)).unwrap_or(0))
    };
    // Clocks differ a little.
    params.not_before = at(Timestamp(now.0 - 300_000));
    params.not_after = at(now.plus(valid));
    params
}

/// A CA that signs certificates and no further CA.
fn authority(fleet: &str, now: Timestamp, valid: Span) -> Result<CertifiedIssuer<'static, KeyPair>, CertsError> {
    let mut ca = params(&format!("{fleet} CA"), now, valid);
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?)
}

/// What a certificate says; `role` is the SPIFFE id's path.
fn leaf(fleet: &str, role: &str, name: &str, now: Timestamp, valid: Span) -> Result<CertificateParams, CertsError> {
    let mut leaf = params(name, now, valid);
    leaf.is_ca = IsCa::ExplicitNoCa;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    leaf.subject_alt_names.push(SanType::URI(Ia5String::try_from(format!("spiffe://{fleet}/{role}"))?));
    Ok(leaf)
}

/// Writes `ca.pem`, `controller.pem`, `controller.key` and, for each server, `server-NAME.pem` and `server-NAME.key`
/// into `folder` (made if need be). Keys are readable by their owner only; the CA's own key is not kept.
///
/// # Errors
/// [`CertsError`].
pub fn generate(folder: &Path, fleet: &str, servers: &[&str]) -> Result<(), CertsError> {
    for name in servers.iter().chain([&fleet]) {
        ServerId::new(name)?;
    }
    let now = crate::clock::now();
    std::fs::create_dir_all(folder)
        .map_err(|source| CertsError::Write { place: folder.display().to_string(), source })?;

    let ca = authority(fleet, now, VALID)?;
    write(&folder.join("ca.pem"), &ca.pem(), 0o644)?;

    let issue = |file: &str, role: &str, name: &str, hosts: bool| -> Result<(), CertsError> {
        let mut leaf = leaf(fleet, role, name, now, VALID)?;
        if hosts {
            leaf.subject_alt_names.push(SanType::DnsName(Ia5String::try_from("localhost".to_owned())?));
            for ip in [std::net::Ipv4Addr::LOCALHOST.into(), std::net::Ipv6Addr::LOCALHOST.into()] {
                leaf.subject_alt_names.push(SanType::IpAddress(ip));
            }
        }
        let key = KeyPair::generate()?;
        let cert = leaf.signed_by(&key, &ca)?;
        write(&folder.join(format!("{file}.key")), &key.serialize_pem(), 0o600)?;
        write(&folder.join(format!("{file}.pem")), &cert.pem(), 0o644)
    };
    issue("controller", "controller/main", "controller", true)?;
    for server in servers {
        issue(&format!("server-{server}"), &format!("server/{server}"), server, false)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_are_their_owners_and_files_have_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("certs");
        generate(&folder, "demo", &["web1"]).unwrap();
        for (file, mode) in [
            ("ca.pem", 0o644),
            ("controller.pem", 0o644),
            ("controller.key", 0o600),
            ("server-web1.pem", 0o644),
            ("server-web1.key", 0o600),
        ] {
            assert_eq!(std::fs::metadata(folder.join(file)).unwrap().permissions().mode() & 0o777, mode, "{file}");
        }
        assert!(!folder.join("ca.key").exists());
        assert!(matches!(generate(&folder, "De mo", &[]), Err(CertsError::Name(_))));
        assert!(matches!(generate(&folder, "demo", &["../x"]), Err(CertsError::Name(_))));
    }
}
