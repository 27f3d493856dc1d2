//! A bundle of keys as text: `skynet-keys 1`, then each key under its name in brackets.
//!
//! ```text
//! skynet-keys 1
//! [ca-key]
//! -----BEGIN PRIVATE KEY-----
//! ...
//! [redis-writer]
//! the password
//! ```
//!
//! It is read where it lies: names are copied, keys never. A key has no empty line at its end.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use super::memory::Locked;
use super::{MAX_BYTES, VaultError};

/// Most keys.
const MAX_KEYS: usize = 64;
/// Longest name, in bytes.
const MAX_NAME: usize = 64;
/// The first line.
const HEAD: &[u8] = b"skynet-keys 1";

/// Keys in locked memory.
pub(super) struct Bundle {
    memory: Locked,
    keys: BTreeMap<String, Range<usize>>,
}

impl std::fmt::Debug for Bundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bundle").field("names", &self.names()).finish_non_exhaustive()
    }
}

fn wrong(text: &str) -> VaultError {
    VaultError::Bundle(text.to_owned())
}

fn name_of(bytes: &[u8]) -> Option<String> {
    let fine = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
    let fits = !bytes.is_empty() && bytes.len() <= MAX_NAME && bytes.iter().all(fine);
    fits.then(|| String::from_utf8_lossy(bytes).into_owned())
}

impl Bundle {
    /// Reads the bundle that lies in `memory` at `range`. No message repeats what is there.
    ///
    /// # Errors
    /// [`VaultError::Bundle`].
    pub(super) fn parse(memory: Locked, range: Range<usize>) -> Result<Self, VaultError> {
        let text = memory.bytes().get(range.clone()).ok_or_else(|| wrong("they are longer than what was read"))?;
        if text.starts_with(b"age-encryption.org/") || text.starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----") {
            return Err(wrong(
                "they are encrypted; decrypt them where you are, with a passphrase or an SSH key that stays there: \
                 age -d keys.age | ssh controller skynetctl unseal",
            ));
        }
        let (mut keys, mut open, mut at) = (BTreeMap::new(), None, range.start);
        for (number, line) in text.split_inclusive(|b| *b == b'\n').enumerate() {
            let end = at + line.len();
            let bare = line.trim_ascii_end();
            let name = bare.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")).and_then(name_of);
            if number == 0 {
                if bare != HEAD {
                    return Err(wrong("the first line is not `skynet-keys 1`"));
                }
            } else if let Some(name) = name {
                if keys.insert(name.clone(), end..end).is_some() {
                    return Err(VaultError::Bundle(format!("`{name}` is there twice")));
                }
                if keys.len() > MAX_KEYS {
                    return Err(VaultError::Bundle(format!("at most {MAX_KEYS} keys are taken")));
                }
                open = Some(name);
            } else if !bare.is_empty() {
                let open = open.as_ref().and_then(|name| keys.get_mut(name));
                let key = open.ok_or_else(|| VaultError::Bundle(format!("line {} is under no name", number + 1)))?;
                key.end = at + bare.len();
            }
            at = end;
        }
        if let Some((name, _)) = keys.iter().find(|(_, key)| key.is_empty()) {
            return Err(VaultError::Bundle(format!("`{name}` is empty")));
        }
        if keys.is_empty() {
            return Err(wrong("there is no key"));
        }
        Ok(Self { memory, keys })
    }

    /// One key a file, named as it is.
    ///
    /// # Errors
    /// [`VaultError`].
    pub(super) fn from_folder(folder: &Path) -> Result<Self, VaultError> {
        let bad = |place: &Path, why: String| VaultError::Folder { place: place.display().to_string(), why };
        let mut memory = Locked::new(MAX_BYTES)?;
        let (mut keys, mut at) = (BTreeMap::new(), 0);
        let files = std::fs::read_dir(folder).map_err(|e| bad(folder, e.to_string()))?;
        for file in files.take(MAX_KEYS + 1) {
            let path = file.map_err(|e| bad(folder, e.to_string()))?.path();
            let name = path.file_name().and_then(|name| name_of(name.as_encoded_bytes()));
            let name = name.filter(|name| !name.starts_with('.'));
            let name = name.ok_or_else(|| bad(&path, "a key's name is of a-z, 0-9, `-`, `_` and `.`".to_owned()))?;
            let mut source = std::fs::File::open(&path).map_err(|e| bad(&path, e.to_string()))?;
            let begin = at;
            loop {
                let room = memory.bytes_mut().get_mut(at..).unwrap_or_default();
                if room.is_empty() {
                    return Err(bad(&path, format!("all keys together have at most {MAX_BYTES} bytes")));
                }
                match source.read(room).map_err(|e| bad(&path, e.to_string()))? {
                    0 => break,
                    read => at += read,
                }
            }
            let bytes = memory.bytes().get(begin..at).unwrap_or_default().trim_ascii_end().len();
            if bytes == 0 {
                return Err(bad(&path, "it is empty".to_owned()));
            }
            keys.insert(name, begin..begin + bytes);
        }
        if keys.is_empty() || keys.len() > MAX_KEYS {
            return Err(bad(folder, format!("1 to {MAX_KEYS} files are taken, one a key")));
        }
        Ok(Self { memory, keys })
    }

    pub(super) fn key(&self, name: &str) -> Option<&[u8]> {
        self.memory.bytes().get(self.keys.get(name)?.clone())
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.keys.keys().map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(text: &str) -> Result<Bundle, VaultError> {
        let mut memory = Locked::new(MAX_BYTES).unwrap();
        memory.bytes_mut()[3..3 + text.len()].copy_from_slice(text.as_bytes());
        Bundle::parse(memory, 3..3 + text.len())
    }

    #[test]
    fn keys_are_found_by_name_in_all_their_lines() {
        let bundle = bundle("skynet-keys 1\n\n[ca-key]\n-----BEGIN\n\nabc\n-----END\n\n[pw]\r\n [x] \n").unwrap();
        assert_eq!(bundle.names(), ["ca-key", "pw"]);
        assert_eq!(bundle.key("ca-key"), Some(&b"-----BEGIN\n\nabc\n-----END"[..]));
        assert_eq!(bundle.key("pw"), Some(&b" [x]"[..]), "what looks like a name but is indented is a key");
        assert_eq!(bundle.key("nosuch"), None);
        assert_eq!(format!("{bundle:?}"), "Bundle { names: [\"ca-key\", \"pw\"], .. }", "no key is printed");
    }

    #[test]
    fn mistakes_are_named_without_a_word_of_the_keys() {
        for (text, word) in [
            ("", "no key"),
            ("skynet-keys 1\n", "no key"),
            ("skynet-keys 2\n[a]\nhunter2\n", "first line"),
            ("hunter2", "first line"),
            ("skynet-keys 1\nhunter2\n", "line 2"),
            ("skynet-keys 1\n[a]\n\n[b]\nhunter2\n", "`a` is empty"),
            ("skynet-keys 1\n[a]\nhunter2\n[a]\nhunter2", "`a` is there twice"),
            ("age-encryption.org/v1\n-> scrypt", "age -d"),
            ("-----BEGIN AGE ENCRYPTED FILE-----", "age -d"),
        ] {
            let error = bundle(text).unwrap_err().to_string();
            assert!(error.contains(word) && !error.contains("hunter2"), "{error}");
        }
        let many: String = (0..=MAX_KEYS).map(|i| format!("[k{i}]\nx\n")).collect();
        assert!(bundle(&format!("skynet-keys 1\n{many}")).unwrap_err().to_string().contains("at most 64"));
    }

    #[test]
    fn a_folder_is_one_key_a_file() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Bundle::from_folder(folder.path()).is_err());
        std::fs::write(folder.path().join("ca-key"), "abc\ndef\n").unwrap();
        std::fs::write(folder.path().join("pw"), "x").unwrap();
        let bundle = Bundle::from_folder(folder.path()).unwrap();
        assert_eq!((bundle.key("ca-key"), bundle.key("pw")), (Some(&b"abc\ndef"[..]), Some(&b"x"[..])));
        std::fs::write(folder.path().join("big"), vec![b'x'; MAX_BYTES]).unwrap();
        assert!(Bundle::from_folder(folder.path()).unwrap_err().to_string().contains("at most"));
    }
}
