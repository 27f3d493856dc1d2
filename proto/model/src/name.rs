//! Names and ids: bounded text with one meaning each.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a name: use 1 to 128 of a-z, 0-9, `-`, `.` and `_`")]
pub struct NameError(pub String);

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the alphabet and the length.
            ///
            /// # Errors
            /// [`NameError`] with the offending text.
            pub fn new(text: &str) -> Result<Self, NameError> {
                let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'_');
                if text.is_empty() || text.len() > 128 || !text.bytes().all(fine) {
                    return Err(NameError(text.chars().take(140).collect()));
                }
                Ok(Self(text.into()))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// A server's id: the last part of its certificate's `spiffe://<fleet>/server/<name>`.
    ServerId
);
name!(
    /// A scenario's name, unique within a policy.
    ScenarioName
);
name!(
    /// An incident's id, short enough to type: `i-7f3a9c`.
    IncidentId
);
name!(
    /// A command's id: [`crate::command::command_id`]. A resend keeps it.
    CommandId
);
name!(
    /// A notice's id: `n-12`.
    NoticeId
);
