//! How far the copy is: a small file in the data folder.
//!
//! It is written after Redis has answered. When it is older than Redis, the chain shows that nothing is missing; so it
//! need not be on disk before anything else.

use std::io::Write;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use serde::{Deserialize, Serialize};

use super::chain::Hash;

const NAME: &str = "store.json";
/// The version of the file.
const FORMAT: u32 = 1;
const MAX_BYTES: u64 = 64 << 10;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    instance: String,
    seq: u64,
    hash: String,
}

/// How far the copy is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Which log this is: made with the first copy, the same after a restore.
    pub instance: String,
    /// The last event that Redis has.
    pub seq: u64,
    /// The chain's link there.
    pub hash: Hash,
    /// Whether there was no file.
    pub fresh: bool,
    path: PathBuf,
}

/// Writes a file so that it is there whole or not at all.
pub(super) fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = std::fs::File::create(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_data()?;
    drop(file);
    std::fs::rename(&temporary, path)
}

impl State {
    /// A copy that has not begun.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new(folder: &Path, fleet: &str) -> Result<Self, String> {
        let mut bytes = [0; 16];
        rand::fill(&mut bytes).map_err(|_| "the system gives no random numbers".to_owned())?;
        let instance = bytes.iter().map(|b| format!("{b:02x}")).collect();
        let (hash, path) = (Hash::start(fleet), folder.join(NAME));
        Ok(Self { instance, seq: 0, hash, fresh: true, path })
    }

    /// Reads the file; a copy that has not begun when there is none.
    ///
    /// # Errors
    /// It cannot be read, with the remedy.
    pub fn load(folder: &Path, fleet: &str) -> Result<Self, String> {
        let path = folder.join(NAME);
        let place = path.display().to_string();
        let size = match std::fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Self::new(folder, fleet),
            Err(error) => return Err(format!("cannot read {place}: {error}")),
        };
        let remedy = "move it away: what Redis has is then compared with the journal and taken up from there";
        if size == 0 {
            // A power cut on a file system that had the name and not yet the content.
            return Self::new(folder, fleet);
        }
        if size > MAX_BYTES {
            return Err(format!("{place} has {size} bytes, which is no such file; {remedy}"));
        }
        let text = std::fs::read_to_string(&path).map_err(|e| format!("cannot read {place}: {e}"))?;
        let file: File = serde_json::from_str(&text).map_err(|e| format!("{place}: {e}; {remedy}"))?;
        if file.format != FORMAT {
            return Err(format!("{place} is of format {}; this build knows {FORMAT}: use a newer one", file.format));
        }
        let hash = file.hash.parse().map_err(|()| format!("{place}: `hash` is not one; {remedy}"))?;
        Ok(Self { instance: file.instance, seq: file.seq, hash, fresh: false, path })
    }

    /// Writes the file.
    ///
    /// # Errors
    /// The disk's, in words. What Redis has is not lost by it.
    pub fn save(&mut self) -> Result<(), String> {
        let Self { instance, seq, hash, path, .. } = self;
        let file = File { format: FORMAT, instance: instance.clone(), seq: *seq, hash: hash.to_string() };
        let text = serde_json::to_string(&file).map_err(|e| e.to_string())?;
        replace(path, &text).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        self.fresh = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_there_after_a_restart_and_damage_has_a_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let mut state = State::load(folder.path(), "demo").unwrap();
        assert!(state.fresh && state.seq == 0 && state.instance.len() == 32);
        state.seq = 7;
        state.hash = Hash::of(b"x");
        state.save().unwrap();
        assert_eq!(State::load(folder.path(), "demo").unwrap(), state);
        for (text, word) in [
            ("{", "move it away"),
            (r#"{"format":2,"instance":"i","seq":1,"hash":""}"#, "newer"),
            (r#"{"format":1,"instance":"i","seq":1,"hash":"zz"}"#, "`hash`"),
        ] {
            std::fs::write(folder.path().join(NAME), text).unwrap();
            let error = State::load(folder.path(), "demo").unwrap_err();
            assert!(error.contains(word) && error.contains(NAME), "{error}");
        }
    }

    #[test]
    fn a_file_of_format_1_loads_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(NAME), include_str!("golden/store-1.json")).unwrap();
        let state = State::load(folder.path(), "demo").unwrap();
        assert_eq!((state.instance.as_str(), state.seq), ("00112233445566778899aabbccddeeff", 42));
        assert_eq!(state.hash, Hash::of(b""));
    }
}
