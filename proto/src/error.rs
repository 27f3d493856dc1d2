//! Why a stream ends: a stable word for programs, a sentence for people.

use crate::v1;

/// A stable word for what was wrong; it goes into `Refusal.code` and never changes its spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// A reading or a retirement names a series id that was not announced.
    UnknownSeries,
    /// A value is NaN or infinite.
    NotFinite,
    /// A sequence number did not rise.
    Sequence,
    /// A message, or one part of it, is over its bound.
    TooLarge,
    /// More series are live on one stream than are allowed.
    TooManySeries,
    /// A field is missing, or does not hold what it must.
    Malformed,
    /// A message came when it may not: no hello, a second hello.
    Order,
    /// A newer session of the same agent took over.
    Superseded,
    /// The certificate does not allow this.
    Identity,
    /// The controller is going down; come back.
    Draining,
}

impl Code {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownSeries => "unknown_series",
            Self::NotFinite => "not_finite",
            Self::Sequence => "sequence",
            Self::TooLarge => "too_large",
            Self::TooManySeries => "too_many_series",
            Self::Malformed => "malformed",
            Self::Order => "order",
            Self::Superseded => "superseded",
            Self::Identity => "identity",
            Self::Draining => "draining",
        }
    }
}

/// Bad input from the wire: it ends that stream and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct WireError {
    /// The stable word.
    pub code: Code,
    /// A sentence that names the thing. It may quote the peer: escape it where it is shown.
    pub message: String,
}

impl WireError {
    /// An error.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(Code::Malformed, message)
    }
}

impl From<&WireError> for v1::Refusal {
    fn from(error: &WireError) -> Self {
        Self { code: error.code.as_str().to_owned(), message: error.message.clone() }
    }
}

impl From<&WireError> for v1::ControllerMessage {
    fn from(error: &WireError) -> Self {
        Self { body: Some(v1::controller_message::Body::Refusal(error.into())) }
    }
}
