//! Keys in memory that is locked, left out of core images and wiped: they arrive once, and are gone with the power.
//!
//! What must never enter: a copy of a key in any other memory, a file that is written, a log line. The bytes go from the
//! socket straight into their place, so they never pass through the buffers of a protocol.

mod bundle;
mod door;
mod memory;
mod process;

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use bundle::Bundle;
pub use door::{Called, Door, SEAL, UNSEAL};
pub use process::harden;

/// Largest bundle of keys, in bytes.
pub const MAX_BYTES: usize = 64 << 10;

/// Where the vault is spoken to: beside the operators' socket.
#[must_use]
pub fn socket(operators: &Path) -> PathBuf {
    operators.with_file_name("vault.sock")
}

/// Why there is no key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// No keys have been brought since the start, or they were taken away.
    #[error("the vault is sealed; unseal it: `age -d keys.age | ssh controller skynetctl unseal`")]
    Sealed,
    /// There are keys, but not this one.
    #[error("the vault has no key `{0}`; add it to the bundle and unseal again")]
    Missing(String),
    /// The bundle is not one.
    #[error("the keys are refused: {0}")]
    Bundle(String),
    /// The system does not give memory that is fit.
    #[error("no locked memory for keys: {0}; raise LimitMEMLOCK= (`ulimit -l`)")]
    Memory(String),
    /// A folder of keys cannot be read.
    #[error("keys in {place}: {why}")]
    Folder {
        /// Which file or folder.
        place: String,
        /// What is wrong.
        why: String,
    },
}

/// The keys, sealed at first.
#[derive(Debug, Default)]
pub struct Vault {
    keys: RwLock<Option<Bundle>>,
}

impl Vault {
    /// A vault that is opened by the files of a folder, one a key, named as they are. Whoever can read the disk has them.
    ///
    /// # Errors
    /// [`VaultError::Folder`], [`VaultError::Bundle`], [`VaultError::Memory`].
    pub fn from_folder(folder: &Path) -> Result<Self, VaultError> {
        Ok(Self { keys: RwLock::new(Some(Bundle::from_folder(folder)?)) })
    }

    /// Lends a key for as long as `using` runs; keep no copy. Sealing waits for it.
    ///
    /// # Errors
    /// [`VaultError::Sealed`], [`VaultError::Missing`].
    pub fn key<T>(&self, name: &str, using: impl FnOnce(&[u8]) -> T) -> Result<T, VaultError> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let bundle = keys.as_ref().ok_or(VaultError::Sealed)?;
        bundle.key(name).map(using).ok_or_else(|| VaultError::Missing(name.to_owned()))
    }

    /// Whether there are no keys.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Takes the keys; those it had are wiped.
    fn unseal(&self, bundle: Bundle) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Some(bundle);
    }

    /// Wipes the keys.
    pub fn seal(&self) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
