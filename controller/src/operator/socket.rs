//! The socket: only one controller's; its owner's alone, or open to all when each call is asked who makes it.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use tokio::net::UnixListener;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody answers on it.
    #[error("{0}: another controller answers there; end it first")]
    Taken(String),
    /// Something else has that name.
    #[error("{0} is not a socket; move it away")]
    Foreign(String),
    /// The system refused.
    #[error("cannot listen on {place}: {source} (a socket's path has at most 107 bytes)")]
    System {
        /// The path.
        place: String,
        /// What it said.
        source: std::io::Error,
    },
}

/// Listens on `path`: with mode 0600, or 0666 when it is `shared`. A socket that a controller left behind is replaced.
///
/// # Errors
/// [`SocketError`].
pub fn bind(path: &Path, shared: bool) -> Result<UnixListener, SocketError> {
    let place = path.display().to_string();
    let system = |source| SocketError::System { place: place.clone(), source };
    match std::fs::symlink_metadata(path) {
        Ok(meta) if !meta.file_type().is_socket() => return Err(SocketError::Foreign(place)),
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => return Err(SocketError::Taken(place)),
        Ok(_) => std::fs::remove_file(path).map_err(system)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(system(error)),
    }
    // Made under another name and renamed when its mode is right: nobody else can connect in between.
    let temporary = path.with_extension("new");
    let _ = std::fs::remove_file(&temporary);
    let listener = UnixListener::bind(&temporary).map_err(system)?;
    let mode = if shared { 0o666 } else { 0o600 };
    std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(mode)).map_err(system)?;
    std::fs::rename(&temporary, path).map_err(system)?;
    Ok(listener)
}
