//! The vault's own socket: `unseal` and keys, or `seal`, and one line back.
//!
//! The first line is what is wanted, the rest is the bundle, the end of the stream ends it. All of it is read straight
//! into locked memory.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;

use super::bundle::Bundle;
use super::memory::Locked;
use super::{MAX_BYTES, Vault, VaultError};

/// How long a silent peer is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// What begins a stream that brings keys.
pub const UNSEAL: &[u8] = b"unseal\n";
/// The stream that takes them away.
pub const SEAL: &[u8] = b"seal\n";

/// What was asked of the vault, and by whom: an event before anything comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    /// The user.
    pub by: String,
    /// `Unseal` or `Seal`.
    pub method: &'static str,
    /// The names of the keys.
    pub summary: String,
}

/// Lets a peer in by uid and gid and gives its name; or says why not.
type Admit = dyn Fn(u32, u32) -> Result<String, String> + Send + Sync;
/// Writes the call down; false when that is not possible.
type Tell = dyn Fn(Called) -> bool + Send + Sync;

/// The socket's end.
pub struct Door {
    /// What it opens.
    pub vault: Arc<Vault>,
    /// Who may.
    pub admit: Box<Admit>,
    /// Who is told, on a thread that may wait.
    pub tell: Box<Tell>,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("vault", &self.vault).finish_non_exhaustive()
    }
}

impl Door {
    /// Answers one after the other, for as long as it is polled.
    pub async fn serve(self, listener: UnixListener) {
        let door = Arc::new(self);
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // No descriptor is free, say. Whoever waits, waits a little longer.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let admitted = match stream.peer_cred() {
                Ok(peer) => (door.admit)(peer.uid(), peer.gid()),
                Err(_) => Err("who asks is not known".to_owned()),
            };
            let Ok(stream) = stream.into_std() else { continue };
            let door = Arc::clone(&door);
            let answered = tokio::task::spawn_blocking(move || door.answer(stream, admitted)).await;
            if let Ok(Err(error)) = answered {
                tracing::debug!("a peer of the vault's socket went away: {error}");
            }
        }
    }

    fn answer(&self, mut stream: UnixStream, admitted: Result<String, String>) -> std::io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let answer = match admitted {
            Ok(by) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                self.hear(&mut stream, by)
            }
            Err(why) => Err(why),
        };
        let line = match answer {
            Ok(text) => format!("ok {text}\n"),
            Err(text) => format!("refused {text}\n"),
        };
        stream.write_all(line.as_bytes())
    }

    fn hear(&self, stream: &mut UnixStream, by: String) -> Result<String, String> {
        let text = |error: VaultError| error.to_string();
        let mut memory = Locked::new(MAX_BYTES).map_err(text)?;
        let mut length = 0;
        loop {
            let room = memory.bytes_mut().get_mut(length..).unwrap_or_default();
            if room.is_empty() {
                return Err(format!("the keys have more than {MAX_BYTES} bytes"));
            }
            match stream.read(room) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) => return Err(format!("the keys did not arrive in full: {error}")),
            }
        }
        let gone = || "the controller is going down".to_owned();
        let said = memory.bytes().get(..length).unwrap_or_default();
        if said.starts_with(UNSEAL) {
            let bundle = Bundle::parse(memory, UNSEAL.len()..length).map_err(text)?;
            let names = bundle.names().join(" ");
            let told = (self.tell)(Called { by, method: "Unseal", summary: names.clone() });
            told.then(|| self.vault.unseal(bundle)).ok_or_else(gone)?;
            Ok(format!("unsealed: {names}"))
        } else if said == SEAL {
            // Taking keys away never waits for the disk.
            self.vault.seal();
            let _ = (self.tell)(Called { by, method: "Seal", summary: String::new() });
            Ok("sealed".to_owned())
        } else {
            Err("this controller takes `unseal` and `seal`".to_owned())
        }
    }
}
