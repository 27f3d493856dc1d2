//! Who a certificate is for: `spiffe://<fleet>/<role>/<name>`, its only SPIFFE id.

use std::fmt;
use std::str::FromStr;

use rustls::pki_types::CertificateDer;
use skynet_model::name::ServerId;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// What the holder of a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// One server's agent.
    Server,
    /// A controller.
    Controller,
}

impl Role {
    /// The word in the id.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Controller => "controller",
        }
    }
}

/// A SPIFFE id of ours. It comes from a certificate only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The fleet: the id's trust domain.
    pub fleet: String,
    /// What it is.
    pub role: Role,
    /// Its name: for a server the server's id.
    pub name: ServerId,
}

/// Why there is no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not an id of ours.
    #[error("`{0}` is not spiffe://<fleet>/server/<name> or spiffe://<fleet>/controller/<name>")]
    NotAnId(String),
    /// Not a certificate.
    #[error("the certificate cannot be read: {0}")]
    Unreadable(String),
    /// None or several SPIFFE ids.
    #[error("the certificate has {0} SPIFFE ids; one is needed as its URI subject alternative name")]
    Count(usize),
    /// Another role or fleet than may be here.
    #[error("the certificate is for {found}; one of spiffe://{fleet}/{role}/ is needed", role = .role.as_str())]
    Wrong {
        /// Whose it is.
        found: Identity,
        /// The fleet that is asked for.
        fleet: String,
        /// The role that is asked for.
        role: Role,
    },
}

impl Identity {
    /// The identity in a certificate. The certificate's signature is for the TLS verifier to check.
    ///
    /// # Errors
    /// [`IdentityError`], also when there are several SPIFFE ids.
    pub fn from_certificate(certificate: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let unreadable = |e: &dyn fmt::Display| IdentityError::Unreadable(e.to_string());
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|e| unreadable(&e))?;
        let names = parsed.subject_alternative_name().map_err(|e| unreadable(&e))?;
        let names = names.map(|san| san.value.general_names.as_slice()).unwrap_or_default();
        let uris: Vec<&str> = names
            .iter()
            .filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None })
            .filter(|uri| uri.starts_with("spiffe:"))
            .collect();
        match uris.as_slice() {
            [uri] => uri.parse(),
            other => Err(IdentityError::Count(other.len())),
        }
    }

    /// This identity, if it has `role` in `fleet`.
    ///
    /// # Errors
    /// [`IdentityError::Wrong`].
    pub fn expect(self, role: Role, fleet: &str) -> Result<Self, IdentityError> {
        if self.role == role && self.fleet == fleet {
            return Ok(self);
        }
        Err(IdentityError::Wrong { found: self, fleet: fleet.to_owned(), role })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/{}/{}", self.fleet, self.role.as_str(), self.name)
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let bad = || IdentityError::NotAnId(text.chars().take(300).collect());
        let rest = text.strip_prefix("spiffe://").ok_or_else(bad)?;
        let mut parts = rest.splitn(3, '/');
        let (Some(fleet), Some(role), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(bad());
        };
        let role = match role {
            "server" => Role::Server,
            "controller" => Role::Controller,
            _ => return Err(bad()),
        };
        // A fleet's name has the alphabet of all names.
        ServerId::new(fleet).map_err(|_| bad())?;
        Ok(Self { fleet: fleet.to_owned(), role, name: ServerId::new(name).map_err(|_| bad())? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_as_written_and_nothing_else_is_an_id() {
        for text in ["spiffe://example/server/web1", "spiffe://f.example/controller/main"] {
            assert_eq!(text.parse::<Identity>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "spiffe://",
            "spiffe://f/server",
            "spiffe://f/server/",
            "spiffe://f/server/a/b",
            "spiffe:///server/a",
            "spiffe://f/root/a",
            "spiffe://F/server/a",
            "https://f/server/a",
            "spiffe://f/server/a?x",
            "spiffe://f@g/server/a",
        ] {
            assert!(bad.parse::<Identity>().is_err(), "{bad}");
        }
    }

    #[test]
    fn another_role_or_fleet_is_not_what_was_asked_for() {
        let id: Identity = "spiffe://f/server/web1".parse().unwrap();
        assert!(id.clone().expect(Role::Server, "f").is_ok());
        assert!(id.clone().expect(Role::Controller, "f").is_err());
        let error = id.expect(Role::Server, "g").unwrap_err();
        assert!(error.to_string().contains("spiffe://f/server/web1"), "{error}");
    }
}
