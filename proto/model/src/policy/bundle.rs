//! The canonical file that is pushed: same input and version, same bytes.

use serde::{Deserialize, Serialize};

use super::load::File;
use crate::time::Timestamp;

/// Largest bundle that is read, in bytes.
pub const MAX_BUNDLE_BYTES: usize = 2 << 20;

/// A policy's files with fleet, version and expiry: what is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// The format's version: 1.
    pub format: u32,
    /// The fleet it is for.
    pub fleet: String,
    /// Only rises.
    pub version: u64,
    /// When actions stop under it.
    pub expires: Timestamp,
    /// The files, in order of name.
    pub files: Vec<File>,
}

/// Why bytes are not a bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Larger than [`MAX_BUNDLE_BYTES`].
    #[error("the bundle has {0} bytes; at most {MAX_BUNDLE_BYTES} are read")]
    TooLarge(usize),
    /// Not this format.
    #[error("not a policy bundle of format 1: {0}")]
    Malformed(String),
}

impl Bundle {
    /// The canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut sorted = self.clone();
        sorted.files.sort_by(|a, b| a.name.cmp(&b.name));
        serde_json::to_vec(&sorted).unwrap_or_default()
    }

    /// Reads a bundle; only canonical bytes are taken.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, BundleError> {
        if bytes.len() > MAX_BUNDLE_BYTES {
            return Err(BundleError::TooLarge(bytes.len()));
        }
        let bundle: Self = serde_json::from_slice(bytes).map_err(|e| BundleError::Malformed(e.to_string()))?;
        if bundle.format != 1 {
            return Err(BundleError::Malformed(format!("its format is {}", bundle.format)));
        }
        if bundle.encode() != bytes {
            return Err(BundleError::Malformed("its bytes are not in canonical form".to_owned()));
        }
        Ok(bundle)
    }

    /// SHA-256 of bundle bytes, hex.
    #[must_use]
    pub fn digest(bytes: &[u8]) -> String {
        use sha2::{Digest, Sha256};
        Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_canonical_and_bounded() {
        let file = |name: &str| File { name: name.to_owned(), text: "x".to_owned() };
        let mut bundle = Bundle {
            format: 1,
            fleet: "f".to_owned(),
            version: 3,
            expires: Timestamp(9),
            files: vec![file("b.yaml"), file("a.yaml")],
        };
        let bytes = bundle.encode();
        bundle.files.reverse();
        assert_eq!(bytes, bundle.encode());
        assert_eq!(Bundle::decode(&bytes).unwrap(), bundle);
        let mut spaced = bytes.clone();
        spaced.push(b' ');
        assert!(Bundle::decode(&spaced).is_err());
        assert!(Bundle::decode(&vec![b' '; MAX_BUNDLE_BYTES + 1]).is_err());
    }
}
