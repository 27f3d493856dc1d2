//! A bundle's signatures on disk, beside it: a JSON list of armored texts. What they prove is for `Terms` to say.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use skynet_model::sign::{MAX_SIGNATURE_BYTES, MAX_SIGNATURES};

use super::{Candidate, PolicyError};

fn path(folder: &Path, version: u64, digest: &str) -> PathBuf {
    folder.join(format!("{version}-{digest}.signatures"))
}

/// Writes what a candidate came with; on disk when it returns. Without signatures there is no file.
pub(super) fn write(folder: &Path, candidate: &Candidate) -> Result<(), PolicyError> {
    let path = path(folder, candidate.version, &candidate.digest);
    // Whatever is no text, or longer than is ever read, proves nothing.
    let proofs = candidate.signatures.iter().filter(|signature| signature.len() <= MAX_SIGNATURE_BYTES);
    let texts: Vec<&str> = proofs.filter_map(|signature| std::str::from_utf8(signature).ok()).collect();
    if texts.is_empty() {
        return Ok(());
    }
    let temporary = folder.join("new-signatures.tmp");
    let written = || -> std::io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(&texts)?)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &path)
    };
    written()
        .map_err(|e| PolicyError::Storage(format!("cannot write {}: {e}; see that the disk has room", path.display())))
}

/// The signatures of a stored bundle; none where it has none.
pub(super) fn read(folder: &Path, version: u64, digest: &str) -> Result<Vec<Vec<u8>>, PolicyError> {
    let path = path(folder, version, digest);
    let failed = |error: String| PolicyError::Storage(format!("{}: {error}", path.display()));
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error.to_string())),
    };
    let texts: Vec<String> = serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?;
    Ok(texts.into_iter().take(MAX_SIGNATURES).map(String::into_bytes).collect())
}

/// Deletes the signatures of a bundle that is kept no longer.
pub(super) fn remove(folder: &Path, version: u64, digest: &str) {
    // Nothing reads it any more.
    let _ = std::fs::remove_file(path(folder, version, digest));
}
