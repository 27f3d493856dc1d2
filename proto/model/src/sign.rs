//! Signatures of documents: SSHSIG, as `ssh-keygen -Y sign` makes them, by the keys of an `allowed_signers` file.
//!
//! Authority is offline: whoever carries a document proves nothing, its signatures do. They are checked before the
//! document is parsed. What must never enter: keys that sign, files, clocks. The formats are OpenSSH's
//! (`PROTOCOL.sshsig`, `PROTOCOL.u2f`, ssh-keygen(1) "ALLOWED SIGNERS").

mod allowed;
mod date;
mod error;
mod sshsig;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use allowed::{MAX_SIGNERS, MAX_SIGNERS_BYTES, SignersError};
pub use error::{Bad, Fault, SignatureError};

use crate::policy::fits;
use crate::time::Timestamp;
use allowed::Line;
use sshsig::Signature;

/// The namespace of policy bundles: what else a key signs is no policy.
pub const POLICY_NAMESPACE: &str = "skynet-policy";
/// Most signatures that are looked at.
pub const MAX_SIGNATURES: usize = 16;
/// Longest signature that is looked at, in bytes.
pub const MAX_SIGNATURE_BYTES: usize = 16 << 10;

/// What the acting process puts before a refusal of what no signature stands behind: other bytes than were signed, or a
/// command that is no step of signed policy. An honest controller never hears it.
pub const NOT_AUTHORISED: &str = "not authorised: ";

/// `why` as a refusal of what no signature stands behind.
#[must_use]
pub fn not_authorised(why: impl fmt::Display) -> String {
    format!("{NOT_AUTHORISED}{why}")
}

/// Whether a refusal says that no signature stands behind what was asked.
#[must_use]
pub fn is_breach(refusal: &str) -> bool {
    refusal.starts_with(NOT_AUTHORISED)
}

/// Whose signature was good.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Signer {
    /// The key's fingerprint, as `ssh-keygen -l` prints it: `SHA256:...`.
    pub fingerprint: String,
    /// The names that the signers file gives it.
    pub principals: Vec<String>,
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.principals.join(","), self.fingerprint)
    }
}

/// The keys of an `allowed_signers` file.
#[derive(Clone, Debug)]
pub struct Signers {
    lines: Vec<Line>,
    digest: String,
}

impl Signers {
    /// Reads a file's text. Times without a `Z` are UTC here, so that all servers judge alike.
    ///
    /// # Errors
    /// Every mistake, each with its line; a file without a key is one.
    pub fn parse(text: &str) -> Result<Self, Vec<SignersError>> {
        let digest = Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
        Ok(Self { lines: allowed::parse(text)?, digest })
    }

    /// SHA-256 of the file, hex.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.iter().map(|line| &line.key).collect::<BTreeSet<_>>().len()
    }

    /// Whether there is none; such a file is not read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Checks that `needed` different signers signed `bytes` in `namespace`, with keys that are good at `now`. Signers
    /// are different when neither a key nor a name of theirs is the same. Bad signatures beside enough good ones do no harm.
    ///
    /// # Errors
    /// [`SignatureError`], which says for each signature what is wrong with it.
    pub fn verify(
        &self,
        namespace: &str,
        bytes: &[u8],
        signatures: &[impl AsRef<[u8]>],
        needed: u32,
        now: Timestamp,
    ) -> Result<Vec<Signer>, SignatureError> {
        if signatures.len() > MAX_SIGNATURES {
            return Err(SignatureError::TooMany(signatures.len()));
        }
        let (mut good, mut bad): (Vec<Signer>, Vec<Bad>) = (Vec::new(), Vec::new());
        for (index, signature) in signatures.iter().enumerate() {
            let signer = self.check(namespace, bytes, signature.as_ref(), now);
            match signer.map(|signer| match good.iter().find(|other| same(other, &signer)) {
                Some(other) => Err(Fault::Repeated { signer: signer.to_string(), other: other.to_string() }),
                None => Ok(signer),
            }) {
                Ok(Ok(signer)) => good.push(signer),
                Ok(Err(fault)) | Err(fault) => bad.push(Bad { number: index + 1, fault }),
            }
        }
        // No threshold at all would be none: 0 counts as 1.
        let needed = needed.max(1);
        if good.len() < needed as usize {
            return Err(SignatureError::TooFew { needed, good, bad });
        }
        Ok(good)
    }

    fn check(&self, namespace: &str, bytes: &[u8], signature: &[u8], now: Timestamp) -> Result<Signer, Fault> {
        let signature = Signature::parse(signature)?;
        if signature.namespace() != namespace {
            return Err(Fault::Namespace { is: signature.namespace().to_owned(), wanted: namespace.to_owned() });
        }
        let fingerprint = signature.fingerprint();
        let lines: Vec<&Line> = self.lines.iter().filter(|line| line.key == *signature.key()).collect();
        if lines.is_empty() {
            return Err(Fault::UnknownKey { fingerprint });
        }
        let mut principals = BTreeSet::new();
        let mut fault = None;
        for line in lines {
            match line.allows(namespace, now) {
                Ok(()) => principals.extend(line.principals.iter().cloned()),
                Err(why) => fault = Some(why),
            }
        }
        if principals.is_empty() {
            return Err(fault.unwrap_or(Fault::UnknownKey { fingerprint }));
        }
        signature.verify(bytes)?;
        Ok(Signer { fingerprint, principals: principals.into_iter().collect() })
    }
}

/// Whether two signers may be one person: the same key, or a name of one that is, or stands for, a name of the other.
fn same(one: &Signer, other: &Signer) -> bool {
    let meet = |a: &String, b: &String| fits(a, b) || fits(b, a);
    one.fingerprint == other.fingerprint || one.principals.iter().any(|a| other.principals.iter().any(|b| meet(a, b)))
}

/// Whose documents a machine takes; from its own configuration.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Nobody's: no signers file is configured.
    Nobody,
    /// Whoever can push. Only for trying things out.
    Anybody,
    /// Documents that `needed` of these signed.
    Signed {
        /// The signers.
        signers: Arc<Signers>,
        /// k of n.
        needed: u32,
    },
}

impl Trust {
    /// From what a configuration says.
    ///
    /// # Errors
    /// A sentence, when what is said contradicts itself.
    pub fn new(signers: Option<Signers>, needed: u32, insecure_unsigned: bool) -> Result<Self, String> {
        match (signers, insecure_unsigned) {
            (Some(_), true) => Err("signers and insecure_unsigned exclude each other: whoever may push without a \
                 signature needs none; take one of them out"
                .to_owned()),
            (None, true) => Ok(Self::Anybody),
            (None, false) => Ok(Self::Nobody),
            (Some(signers), false) if needed == 0 || needed as usize > signers.len() => Err(format!(
                "signers_needed is {needed}, and the signers file has {} keys: it must be from 1 to that",
                signers.len()
            )),
            (Some(signers), false) => Ok(Self::Signed { signers: Arc::new(signers), needed }),
        }
    }

    /// Whether documents without signatures are taken.
    #[must_use]
    pub fn is_insecure(&self) -> bool {
        matches!(self, Self::Anybody)
    }

    /// Checks a document before it is parsed. Gives who signed it; nobody where anybody may push.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn check(
        &self,
        namespace: &str,
        bytes: &[u8],
        signatures: &[impl AsRef<[u8]>],
        now: Timestamp,
    ) -> Result<Vec<Signer>, SignatureError> {
        match self {
            Self::Nobody => Err(SignatureError::NoSigners),
            Self::Anybody if signatures.len() > MAX_SIGNATURES => Err(SignatureError::TooMany(signatures.len())),
            Self::Anybody => Ok(Vec::new()),
            Self::Signed { signers, needed } => signers.verify(namespace, bytes, signatures, *needed, now),
        }
    }

    /// Checks the number of signers that the document itself asks for, once it is parsed.
    ///
    /// # Errors
    /// [`SignatureError::Policy`].
    pub fn enough(&self, signers: &[Signer], asked: u32) -> Result<(), SignatureError> {
        match self {
            Self::Signed { .. } if signers.len() < asked as usize => {
                Err(SignatureError::Policy { asked, good: signers.to_vec() })
            }
            Self::Signed { .. } | Self::Anybody | Self::Nobody => Ok(()),
        }
    }
}
