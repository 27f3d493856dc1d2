//! Why signatures do not do. Every message says what to do.

use std::fmt;

use super::{MAX_SIGNATURE_BYTES, MAX_SIGNATURES, Signer};
use crate::time::Timestamp;

/// Why a document's signatures do not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// More than [`MAX_SIGNATURES`].
    #[error("{0} signatures came; at most {MAX_SIGNATURES} are looked at: send those of the signers that are needed")]
    TooMany(usize),
    /// No signers file is configured, and unsigned documents are not taken.
    #[error(
        "nobody's signature is taken here: set `signers` in the configuration to an allowed_signers file \
         (insecure_unsigned = true takes policy without signatures, only for trying things out)"
    )]
    NoSigners,
    /// Fewer good ones than are needed.
    #[error("{}", few(*.needed, .good, .bad))]
    TooFew {
        /// k.
        needed: u32,
        /// Whose signatures were good.
        good: Vec<Signer>,
        /// What is wrong with the others.
        bad: Vec<Bad>,
    },
    /// Enough for the configuration, but the document itself asks for more.
    #[error(
        "the policy says `signers: {asked}`, and {} signed it ({}); have more of the signers sign it",
        .good.len(), names(.good)
    )]
    Policy {
        /// What the document says.
        asked: u32,
        /// Who signed.
        good: Vec<Signer>,
    },
}

/// One signature that does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// Which, from 1, in the order they came.
    pub number: usize,
    /// Why.
    pub fault: Fault,
}

/// What is wrong with a signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Longer than [`MAX_SIGNATURE_BYTES`].
    #[error("it has {0} bytes, at most {MAX_SIGNATURE_BYTES} are read; is it a signature?")]
    TooLarge(usize),
    /// Not an armored SSHSIG as ssh-keygen writes it.
    #[error("it is not what `ssh-keygen -Y sign` writes ({0}); sign again")]
    Malformed(String),
    /// A kind of key or hash that is not taken.
    #[error("{0}; sign with an ed25519, ecdsa, rsa (2048 bits or more), sk-ed25519 or sk-ecdsa key")]
    Unsupported(String),
    /// Made for another kind of document.
    #[error("it was made for namespace `{is}`; sign with -n {wanted}")]
    Namespace {
        /// Its namespace.
        is: String,
        /// What it should be.
        wanted: String,
    },
    /// The signers file does not have its key.
    #[error("its key {fingerprint} is not in the signers file")]
    UnknownKey {
        /// The key's.
        fingerprint: String,
    },
    /// The signers file has the key for other namespaces.
    #[error("the signers file has its key ({principals}) for namespaces `{allowed}` only, not for `{wanted}`")]
    KeyNamespace {
        /// Whose key it is.
        principals: String,
        /// What the file says.
        allowed: String,
        /// What was needed.
        wanted: String,
    },
    /// Before `valid-after`.
    #[error("its key ({principals}) is good only after {after}; is this machine's clock right?")]
    NotYet {
        /// Whose key it is.
        principals: String,
        /// From when on it is good.
        after: Timestamp,
    },
    /// At or after `valid-before`.
    #[error("its key ({principals}) was good until {before}; sign with a newer key")]
    Over {
        /// Whose key it is.
        principals: String,
        /// Until when it was good.
        before: Timestamp,
    },
    /// The signature is of another document, or damaged.
    #[error("it is not a signature of these bytes; sign this very file again")]
    OtherBytes,
    /// A hardware key that signed without anybody's touch.
    #[error(
        "its hardware key signed without being touched; touch it (the key must not be made with no-touch-required)"
    )]
    NoPresence,
    /// The signer has signed already.
    #[error("{signer} counts as the same signer as {other}, who has signed already; another one must sign")]
    Repeated {
        /// Whose it is.
        signer: String,
        /// Whose signature counts.
        other: String,
    },
}

fn names(signers: &[Signer]) -> String {
    signers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn few(needed: u32, good: &[Signer], bad: &[Bad]) -> String {
    let mut text = format!("{} of {needed} needed signatures are good", good.len());
    if !good.is_empty() {
        text.push_str(&format!(" ({})", names(good)));
    }
    if good.is_empty() && bad.is_empty() {
        text.push_str(": it is not signed; sign it with `skynetctl policy sign`");
    }
    for (index, bad) in bad.iter().enumerate() {
        text.push_str(if index == 0 { ": " } else { "; " });
        text.push_str(&bad.to_string());
    }
    text
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "signature {}: {}", self.number, self.fault)
    }
}
