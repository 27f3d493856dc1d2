//! `[redis]`: where the offsite copy lies, and its bounds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use skynet_model::time::Span;

use super::Credential;

const GIB: u64 = 1 << 30;

/// `[redis]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offsite {
    /// `rediss://USER@HOST:PORT/DB`, `rediss+sentinel://USER@H1:P1,H2:P2/SERVICE`, `rediss+cluster://USER@H1,H2`; each
    /// also without TLS, as `redis...`. Never with a password.
    pub url: String,
    /// The named credential whose file holds the password; none for a Redis without passwords.
    pub credential: Option<String>,
    /// The CA that signed the server's certificate, PEM; the system's own ones when there is none.
    pub ca: Option<PathBuf>,
    /// The named credential whose file holds the key that seals the chain of events.
    pub chain_key: Option<String>,
    /// How many bytes of events may wait on disk for Redis to come back.
    #[serde(default = "outbox_max", deserialize_with = "bytes")]
    pub outbox_max: u64,
    /// How long events may wait on disk.
    #[serde(default = "outbox_age")]
    pub outbox_age: Span,
    /// How many events a second are sent at most, so that a backlog leaves room for others.
    #[serde(default = "drain_per_second")]
    pub drain_per_second: u32,
    /// How many events stay in the stream; older ones that still matter stay beside it.
    #[serde(default = "events_max")]
    pub events_max: u64,
    /// How long chunks of readings stay.
    #[serde(default = "chunks_keep")]
    pub chunks_keep: Span,
    /// How long Redis may take to answer.
    #[serde(default = "timeout")]
    pub timeout: Span,
    /// Whether a Redis on another machine may be reached without TLS.
    #[serde(default)]
    pub insecure_plaintext: bool,
}

fn outbox_max() -> u64 {
    10 * GIB
}

fn outbox_age() -> Span {
    Span::hours(72)
}

fn drain_per_second() -> u32 {
    5_000
}

fn events_max() -> u64 {
    1_000_000
}

fn chunks_keep() -> Span {
    Span::hours(30 * 24)
}

fn timeout() -> Span {
    Span::seconds(5)
}

fn bytes<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_bytes(&text)
        .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not a size such as 512MiB or 10GiB")))
}

fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let unit = match text[digits..].trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => GIB,
        "TiB" => 1 << 40,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(unit)
}

/// What stands in `[credentials]` for `name`, which has to be a file.
fn secret<'a>(credentials: &'a BTreeMap<String, Credential>, key: &str, name: &str) -> Result<&'a Path, String> {
    match credentials.get(name) {
        None => Err(format!(
            "[redis] {key} = \"{name}\": there is no such credential; add [credentials] {name} = {{ file = \"...\" }}"
        )),
        Some(Credential { file: Some(file), .. }) => Ok(file),
        Some(Credential { file: None, .. }) => Err(format!(
            "[redis] {key} = \"{name}\": that credential is no file; use {name} = {{ file = \"...\" }}, readable by the controller only"
        )),
    }
}

impl Offsite {
    /// Checks the bounds and what is named; the URL's form is checked by the room that connects.
    pub(super) fn settle(&mut self, folder: &Path, credentials: &BTreeMap<String, Credential>) -> Result<(), String> {
        if let Some(ca) = &mut self.ca {
            *ca = folder.join(&*ca);
        }
        self.password_file(credentials)?;
        self.chain_key_file(credentials)?;
        let bounds = [
            ("outbox_max", self.outbox_max, 64 << 20, 1 << 50, "bytes"),
            ("outbox_age", self.outbox_age.0.unsigned_abs(), 60_000, 31 * 86_400_000, "ms"),
            ("drain_per_second", u64::from(self.drain_per_second), 10, 1_000_000, "events"),
            ("events_max", self.events_max, 1_000, 100_000_000, "events"),
            ("chunks_keep", self.chunks_keep.0.unsigned_abs(), 3_600_000, 3_660 * 86_400_000, "ms"),
            ("timeout", self.timeout.0.unsigned_abs(), 100, 60_000, "ms"),
        ];
        for (name, value, least, most, unit) in bounds {
            if !(least..=most).contains(&value) {
                return Err(format!("[redis] {name} is {value} {unit}; it may be {least} to {most}"));
            }
        }
        Ok(())
    }

    /// The file whose first line is the password.
    ///
    /// # Errors
    /// The credential is not there or is no file; with the remedy.
    pub fn password_file<'a>(&self, credentials: &'a BTreeMap<String, Credential>) -> Result<Option<&'a Path>, String> {
        self.credential.as_deref().map(|name| secret(credentials, "credential", name)).transpose()
    }

    /// The file that holds the chain's key.
    ///
    /// # Errors
    /// The credential is not there or is no file; with the remedy.
    pub fn chain_key_file<'a>(
        &self,
        credentials: &'a BTreeMap<String, Credential>,
    ) -> Result<Option<&'a Path>, String> {
        self.chain_key.as_deref().map(|name| secret(credentials, "chain_key", name)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn parse(redis: &str) -> Result<Config, String> {
        let text = format!(
            "fleet = \"demo\"\nlisten = \"127.0.0.1:1\"\nca = \"a\"\ncert = \"b\"\nkey = \"c\"\ndata_dir = \"d\"\n\
             [credentials]\npw = {{ file = \"pw\" }}\nweb = {{ url = \"http://127.0.0.1/\" }}\n[redis]\n{redis}\n"
        );
        Config::parse(&text, Path::new("/srv"))
    }

    #[test]
    fn it_has_defaults_that_keep_what_is_promised() {
        let config = parse("url = \"rediss://w@h\"\ncredential = \"pw\"\nca = \"ca.pem\"").unwrap();
        let offsite = config.redis.as_ref().unwrap();
        assert_eq!((offsite.outbox_max, offsite.outbox_age), (10 * GIB, Span::hours(72)));
        assert_eq!(offsite.ca.as_deref(), Some(Path::new("/srv/ca.pem")));
        assert_eq!(offsite.password_file(&config.credentials).unwrap(), Some(Path::new("/srv/pw")));
        assert_eq!(offsite.chain_key_file(&config.credentials).unwrap(), None);
    }

    #[test]
    fn mistakes_are_named_with_their_remedy() {
        for (text, word) in [
            ("url = \"rediss://h\"\ncredential = \"gone\"", "[credentials] gone = { file"),
            ("url = \"rediss://h\"\nchain_key = \"web\"", "chain_key = \"web\": that credential is no file"),
            ("url = \"rediss://h\"\noutbox_max = \"ten\"", "not a size such as"),
            ("url = \"rediss://h\"\noutbox_max = \"1MiB\"", "outbox_max is 1048576 bytes"),
            ("url = \"rediss://h\"\noutbox_age = \"1s\"", "outbox_age"),
            ("url = \"rediss://h\"\ndrain_per_second = 0", "drain_per_second"),
            ("url = \"rediss://h\"\ntimeout = \"1h\"", "timeout"),
            ("url = \"rediss://w:secret@h\"", "password"),
            ("url = \"redis://10.1.2.3\"", "rediss://"),
            ("urls = \"rediss://h\"", "urls"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn sizes_read_as_people_write_them() {
        assert_eq!(parse_bytes("10GiB"), Some(10 * GIB));
        assert_eq!(parse_bytes("512 MiB"), Some(512 << 20));
        assert_eq!(parse_bytes("7"), Some(7));
        for wrong in ["", "GiB", "1 GB", "-1KiB", "99999999999TiB"] {
            assert_eq!(parse_bytes(wrong), None, "{wrong}");
        }
    }
}
