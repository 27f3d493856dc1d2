//! Emergency documents: what stops a fleet, and lets it go on, by its operators' keys alone.
//!
//! A document is canonical JSON, signed like policy but in a namespace of its own, and checked before it is parsed. Its
//! sequence only rises, so that nobody can bring an old one back. What must never enter: where documents come from.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::sign::{MAX_SIGNATURE_BYTES, MAX_SIGNATURES, SignatureError, Signer, Trust};
use crate::time::{Span, Timestamp};

/// The namespace of HALT, RESUME and SHUTDOWN.
pub const EMERGENCY_NAMESPACE: &str = "skynet-emergency";
/// The namespace of beacons.
pub const BEACON_NAMESPACE: &str = "skynet-beacon";
/// Largest document that is read, in bytes.
pub const MAX_EMERGENCY_BYTES: usize = 8 << 10;
/// Longest reason, in bytes.
pub const MAX_REASON: usize = 1000;
/// Longest time between issue and expiry: 7 days.
pub const MAX_TERM: Span = Span(7 * 24 * 3600 * 1000);
/// How far in the future a document may be issued: clocks differ.
pub const MAX_AHEAD: Span = Span(10 * 60 * 1000);

/// Sequences that need not be the seconds since 1970.
const FREE_SEQUENCES: u64 = 1_000_000;

/// What a document asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Nothing acts from here on. One signer is enough.
    Halt,
    /// Acting may go on. Two signers, unless the fleet has a single operator.
    Resume,
    /// Nothing acts, and the daemons are to end. As many signers as [`Action::Resume`].
    Shutdown,
    /// The operators are still there. One signer.
    Beacon,
}

impl Action {
    /// The word people read.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Halt => "HALT",
            Self::Resume => "RESUME",
            Self::Shutdown => "SHUTDOWN",
            Self::Beacon => "BEACON",
        }
    }

    /// The namespace it is signed in.
    #[must_use]
    pub fn namespace(self) -> &'static str {
        match self {
            Self::Halt | Self::Resume | Self::Shutdown => EMERGENCY_NAMESPACE,
            Self::Beacon => BEACON_NAMESPACE,
        }
    }

    /// Whether nothing may act after it.
    #[must_use]
    pub fn stops(self) -> bool {
        matches!(self, Self::Halt | Self::Shutdown)
    }

    /// How many different signers it needs.
    #[must_use]
    pub fn signers(self, single_operator: bool) -> u32 {
        match self {
            Self::Halt | Self::Beacon => 1,
            Self::Resume | Self::Shutdown if single_operator => 1,
            Self::Resume | Self::Shutdown => 2,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What is signed. Its canonical form is JSON without white space, the fields in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Emergency {
    /// The format's version: 1.
    pub format: u32,
    /// The fleet it is for.
    pub fleet: String,
    /// Only rises.
    pub sequence: u64,
    /// What is asked for.
    pub action: Action,
    /// When it was made.
    pub issued: Timestamp,
    /// When it may not be taken any more; at most [`MAX_TERM`] after `issued`.
    pub expires: Timestamp,
    /// Why, in words.
    pub reason: String,
}

impl Emergency {
    /// The canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a document; only canonical bytes are taken, with one newline at the end or none.
    ///
    /// # Errors
    /// [`EmergencyError::TooLarge`], [`EmergencyError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, EmergencyError> {
        let fail = |why: String| EmergencyError::Malformed(why);
        if bytes.len() > MAX_EMERGENCY_BYTES {
            return Err(EmergencyError::TooLarge(bytes.len()));
        }
        let document: Self = serde_json::from_slice(bytes).map_err(|error| fail(error.to_string()))?;
        if document.format != 1 {
            return Err(fail(format!("its format is {}", document.format)));
        }
        if document.encode() != bytes.strip_suffix(b"\n").unwrap_or(bytes) {
            return Err(fail("its bytes are not in canonical form".to_owned()));
        }
        if document.sequence == 0 {
            return Err(fail("its sequence is 0; the first is 1".to_owned()));
        }
        // Nobody can use the sequences up: what is signed later may always be higher.
        if document.sequence > u64::try_from(document.issued.0 / 1000).unwrap_or(0).max(FREE_SEQUENCES) {
            return Err(fail(format!(
                "its sequence {} is above the seconds since 1970 when it was issued; use those (`date +%s`)",
                document.sequence
            )));
        }
        let reason = &document.reason;
        if reason.trim().is_empty() || reason.len() > MAX_REASON || reason.contains(char::is_control) {
            return Err(fail(format!("its reason must be 1 to {MAX_REASON} bytes without control characters")));
        }
        let term = document.expires.0.checked_sub(document.issued.0);
        if term.is_none_or(|term| term <= 0 || term > MAX_TERM.0) {
            return Err(fail(format!("it must expire after it is issued, and at most {MAX_TERM} after it")));
        }
        Ok(document)
    }
}

/// A document as it travels: its bytes, as text, and its signatures, armored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedDocument {
    /// The document's bytes.
    pub document: String,
    /// Each as `ssh-keygen -Y sign` writes it.
    pub signatures: Vec<String>,
}

impl SignedDocument {
    /// From bytes as they came.
    ///
    /// # Errors
    /// Too many or too large, or not text.
    pub fn new(document: Vec<u8>, signatures: Vec<Vec<u8>>) -> Result<Self, EmergencyError> {
        if document.len() > MAX_EMERGENCY_BYTES {
            return Err(EmergencyError::TooLarge(document.len()));
        }
        if signatures.len() > MAX_SIGNATURES {
            return Err(SignatureError::TooMany(signatures.len()).into());
        }
        let text = |bytes: Vec<u8>, what: &str| {
            String::from_utf8(bytes).map_err(|_| EmergencyError::Malformed(format!("{what} is not text")))
        };
        if let Some(large) = signatures.iter().map(Vec::len).find(|len| *len > MAX_SIGNATURE_BYTES) {
            return Err(EmergencyError::Malformed(format!(
                "a signature has {large} bytes; at most {MAX_SIGNATURE_BYTES} are read"
            )));
        }
        let signatures = signatures.into_iter().map(|bytes| text(bytes, "a signature")).collect::<Result<_, _>>()?;
        Ok(Self { document: text(document, "the document")?, signatures })
    }
}

/// The last document that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Its sequence.
    pub sequence: u64,
    /// What it asks for.
    pub action: Action,
    /// What it says.
    pub reason: String,
    /// Who signed it.
    pub signers: Vec<Signer>,
    /// The document's bytes.
    pub document: String,
}

impl fmt::Display for Taken {
    /// `signed HALT 7 by anna@example.net: reason`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.signers.iter().map(|signer| signer.principals.join(",")).collect();
        write!(f, "signed {} {} by {}: {}", self.action, self.sequence, names.join(" and "), self.reason)
    }
}

/// On what terms documents are taken; from a machine's own configuration.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The fleet.
    pub fleet: String,
    /// Whose signatures count.
    pub trust: Trust,
    /// Whether one person may let acting go on.
    pub single_operator: bool,
}

/// Why a document is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmergencyError {
    /// Larger than [`MAX_EMERGENCY_BYTES`].
    #[error("the document has {0} bytes; at most {MAX_EMERGENCY_BYTES} are read")]
    TooLarge(usize),
    /// Not this format.
    #[error("not an emergency document of format 1: {0}")]
    Malformed(String),
    /// Without any signature.
    #[error("it is not signed; sign it with `ssh-keygen -Y sign -n {0}`")]
    Unsigned(&'static str),
    /// Nobody can be told from anybody here.
    #[error("nobody's signature is taken here: set `signers` in the configuration to an allowed_signers file")]
    NoSigners,
    /// Its signatures do not do.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// Signed in the namespace of another kind of document.
    #[error("a {0} is signed with -n {1}")]
    Namespace(Action, &'static str),
    /// Too few signers for what it asks.
    #[error("a {action} needs {needed} different signers, and {good} signed it; have another one sign it")]
    TooFew {
        /// What it asks for.
        action: Action,
        /// How many are needed.
        needed: u32,
        /// How many there are.
        good: usize,
    },
    /// For another fleet.
    #[error("it is for fleet `{is}`; this is fleet `{wanted}`")]
    Fleet {
        /// Its fleet.
        is: String,
        /// This one.
        wanted: String,
    },
    /// Made in the future.
    #[error("it was issued at {0}, which is yet to come; is this machine's clock right?")]
    NotYet(Timestamp),
    /// Too old.
    #[error("it expired at {0}; make and sign a new one with a higher sequence")]
    Expired(Timestamp),
    /// Not newer than the one that was taken.
    #[error("its sequence {sequence} is not above {last}, which was taken already; sign one with {}", last.saturating_add(1))]
    Old {
        /// Its sequence.
        sequence: u64,
        /// The one that was taken.
        last: u64,
    },
}

/// What a good document means after the ones before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It counts from now on.
    New(Taken),
    /// It is the very one that was taken last.
    Known,
}

/// Checks a document of `namespace` against `last`, the one taken before: signatures first, then what it says.
///
/// # Errors
/// [`EmergencyError`].
pub fn check(
    namespace: &'static str,
    signed: &SignedDocument,
    terms: &Terms,
    last: Option<&Taken>,
    now: Timestamp,
) -> Result<Verdict, EmergencyError> {
    let bytes = signed.document.as_bytes();
    if bytes.len() > MAX_EMERGENCY_BYTES {
        return Err(EmergencyError::TooLarge(bytes.len()));
    }
    // The bytes themselves, which were checked when they were taken: its keys and its time may be over since.
    if last.is_some_and(|last| last.document == signed.document) {
        return Ok(Verdict::Known);
    }
    let signers = match &terms.trust {
        Trust::Signed { signers, .. } => signers,
        Trust::Anybody | Trust::Nobody => return Err(EmergencyError::NoSigners),
    };
    if signed.signatures.is_empty() {
        return Err(EmergencyError::Unsigned(namespace));
    }
    // How many must sign depends on what it says, and that is read only once somebody has signed it.
    let good = signers.verify(namespace, bytes, &signed.signatures, 1, now)?;
    let document = Emergency::decode(bytes)?;
    let Emergency { fleet, sequence, action, issued, expires, reason, .. } = document;
    if action.namespace() != namespace {
        return Err(EmergencyError::Namespace(action, action.namespace()));
    }
    let needed = action.signers(terms.single_operator);
    if good.len() < needed as usize {
        return Err(EmergencyError::TooFew { action, needed, good: good.len() });
    }
    if fleet != terms.fleet {
        return Err(EmergencyError::Fleet { is: fleet, wanted: terms.fleet.clone() });
    }
    if issued.0 > now.0.saturating_add(MAX_AHEAD.0) {
        return Err(EmergencyError::NotYet(issued));
    }
    if expires <= now {
        return Err(EmergencyError::Expired(expires));
    }
    if let Some(last) = last.filter(|last| sequence <= last.sequence) {
        return Err(EmergencyError::Old { sequence, last: last.sequence });
    }
    Ok(Verdict::New(Taken { sequence, action, reason, signers: good, document: signed.document.clone() }))
}
