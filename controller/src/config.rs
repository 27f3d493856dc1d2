//! The controller's configuration file: TOML, unknown keys are errors.

mod emergency;
mod history;
mod offsite;
mod operators;
pub mod signers;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use skynet_model::name::ServerId;
use skynet_model::series::{Labels, MAX_LABELS, MAX_TEXT};
use skynet_model::sign::Trust;

use crate::journal::Address;
pub use emergency::EmergencyConfig;
pub use history::HistoryConfig;
pub use offsite::Offsite;
pub use operators::Operators;

/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 4 << 20;

/// The configuration. Relative paths are relative to the file's folder.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The fleet's name: certificates are `spiffe://<fleet>/...`, bundles are for one fleet.
    pub fleet: String,
    /// Where agents connect; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The CA's certificate, PEM.
    pub ca: PathBuf,
    /// The controller's certificate, PEM.
    pub cert: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// Journal, policies and history, and the operators' socket unless it is set.
    pub data_dir: PathBuf,
    /// The operators' socket: `operator.sock` in `data_dir`, if absent. Its folder must be there, and nobody else may
    /// write to it.
    pub socket: Option<PathBuf>,
    /// Who may do what through the socket.
    #[serde(default)]
    pub operators: Operators,
    /// Where Prometheus finds `/metrics`; nowhere if absent. It answers whoever can reach it: keep it on loopback, or
    /// behind something that asks who is there.
    pub metrics_listen: Option<SocketAddr>,
    /// How much of the past is kept.
    #[serde(default)]
    pub history: HistoryConfig,
    /// Whose policy is taken: a file in OpenSSH's `allowed_signers` format. Agents have their own.
    pub signers: Option<PathBuf>,
    /// How many of them must sign; a policy may ask for more.
    #[serde(default = "one")]
    pub signers_needed: u32,
    /// Whether policies without signatures are taken.
    #[serde(default)]
    pub insecure_unsigned: bool,
    /// Known servers and the labels operators give them.
    #[serde(default)]
    pub servers: BTreeMap<ServerId, Server>,
    /// What `contact:` documents and `[redis]` name.
    #[serde(default)]
    pub credentials: BTreeMap<String, Credential>,
    /// Where signed emergency documents are looked for.
    #[serde(default)]
    pub emergency: EmergencyConfig,
    /// The offsite copy, where there is one.
    pub redis: Option<Offsite>,
}

fn one() -> u32 {
    1
}

/// `[servers.NAME]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// `[credentials] NAME = {...}`: where a webhook's URL comes from. Exactly one of the two.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// A file whose first line it is.
    pub file: Option<PathBuf>,
    /// The URL itself; only for this machine (loopback), where it is no secret.
    pub url: Option<String>,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// What is wrong, in words, with the file's name and the remedy.
    pub fn read(path: &Path) -> Result<Self, String> {
        let place = path.display();
        let size = std::fs::metadata(path).map_err(|e| format!("cannot read {place}: {e}"))?.len();
        if size > MAX_BYTES {
            return Err(format!("{place} has {size} bytes; at most {MAX_BYTES} are read"));
        }
        let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read {place}: {e}"))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Self::parse(&text, folder).map_err(|e| format!("{place}: {e}"))
    }

    /// Parses and checks a text; `folder` is what relative paths are relative to.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        let mut config: Self = toml::from_str(text).map_err(|e| e.to_string().trim_end().to_owned())?;
        for path in [&mut config.ca, &mut config.cert, &mut config.key, &mut config.data_dir] {
            *path = folder.join(&*path);
        }
        config.socket = config.socket.map(|path| folder.join(path));
        config.operators.check()?;
        if !config.operators.is_empty() && config.socket.is_none() {
            return Err(
                "[operators] names people who cannot reach data_dir, which is its owner's alone: set a place for \
                        the socket too, as in socket = \"/run/skynet/operator.sock\""
                    .to_owned(),
            );
        }
        config.signers = config.signers.map(|path| folder.join(path));
        for (name, credential) in &mut config.credentials {
            match (&mut credential.file, &credential.url) {
                (Some(file), None) => *file = folder.join(&*file),
                (None, Some(url)) if is_loopback(url) => {}
                (None, Some(_)) => {
                    return Err(format!(
                        "credential `{name}`: a literal url must be http://127.0.0.1, [::1] or localhost; \
                         write others into a file of their own: {name} = {{ file = \"...\" }}"
                    ));
                }
                (Some(_), Some(_)) | (None, None) => {
                    return Err(format!("credential `{name}` needs either `file` or `url`"));
                }
            }
        }
        config.history.check()?;
        config.emergency.settle(folder)?;
        if let Some(offsite) = &mut config.redis {
            offsite.settle(folder, &config.credentials)?;
            Address::parse(&offsite.url, offsite.insecure_plaintext).map_err(|e| format!("[redis] url: {e}"))?;
        }
        let fleet_fine = ServerId::new(&config.fleet).is_ok();
        if !fleet_fine {
            return Err(format!("fleet `{}` is not a name: use 1 to 128 of a-z, 0-9, `-`, `.` and `_`", config.fleet));
        }
        for (server, entry) in &config.servers {
            let fine =
                |s: &str, empty: bool| s.len() <= MAX_TEXT && (empty || !s.is_empty()) && !s.contains(char::is_control);
            if entry.labels.len() > MAX_LABELS || !entry.labels.iter().all(|(n, v)| fine(n, false) && fine(v, true)) {
                return Err(format!(
                    "server `{server}`: at most {MAX_LABELS} labels of at most {MAX_TEXT} bytes without control \
                     characters are allowed"
                ));
            }
        }
        Ok(config)
    }

    /// The labels operators gave a server; none for one without an entry.
    #[must_use]
    pub fn labels(&self, server: &ServerId) -> Labels {
        self.servers.get(server).map(|entry| Labels::new(&entry.labels)).unwrap_or_default()
    }

    /// Whose policy is taken; reads the signers file.
    ///
    /// # Errors
    /// What is wrong with it, in words, with its name.
    pub fn trust(&self) -> Result<Trust, String> {
        let signers = self.signers.as_deref().map(signers::read).transpose()?;
        Trust::new(signers, self.signers_needed, self.insecure_unsigned)
    }

    /// The operators' socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| self.data_dir.join("operator.sock"))
    }
}

/// Whether a URL leads to this machine.
pub(crate) fn is_loopback(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else { return false };
    let local = match url.host_str() {
        Some("localhost" | "[::1]") => true,
        Some(host) => host.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback()),
        None => false,
    };
    local && matches!(url.scheme(), "http" | "https")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
fleet = "demo"
listen = "127.0.0.1:7700"
ca = "ca.pem"
cert = "/etc/c.pem"
key = "c.key"
data_dir = "data"
[servers.web1]
labels = { role = "web" }
[credentials]
pager = { url = "http://127.0.0.1:9/x" }
other = { file = "pager.url" }
"#;

    #[test]
    fn a_good_file_is_read_and_relative_paths_are_its_folders() {
        let config = Config::parse(GOOD, Path::new("/srv")).unwrap();
        assert_eq!(config.ca, Path::new("/srv/ca.pem"));
        assert_eq!(config.cert, Path::new("/etc/c.pem"));
        assert_eq!(config.credentials["other"].file.as_deref(), Some(Path::new("/srv/pager.url")));
        assert_eq!(config.labels(&ServerId::new("web1").unwrap()).get("role"), Some("web"));
        assert!(config.labels(&ServerId::new("web2").unwrap()).is_empty());
        assert!(!config.insecure_unsigned);
        assert_eq!((config.history, config.metrics_listen), (HistoryConfig::default(), None));
        let more = GOOD.replace("[servers.web1]", "[history]\nkeep = \"7d\"\nmax_bytes = \"1GiB\"\n[servers.web1]");
        let history = Config::parse(&more, Path::new("/")).unwrap().history;
        assert_eq!(history, HistoryConfig { keep: "7d".parse().unwrap(), max_bytes: 1 << 30 });
    }

    #[test]
    fn a_file_that_is_missing_or_too_large_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        assert!(Config::read(&path).unwrap_err().contains("c.toml"));
        std::fs::write(&path, format!("{GOOD}{}", " ".repeat(5 << 20))).unwrap();
        assert!(Config::read(&path).unwrap_err().contains("at most"));
        std::fs::write(&path, GOOD).unwrap();
        assert_eq!(Config::read(&path).unwrap().socket(), folder.path().join("data/operator.sock"));
    }

    #[test]
    fn mistakes_are_named() {
        for (from, to, word) in [
            ("fleet = \"demo\"", "fleet = \"De mo\"", "De mo"),
            ("fleet = \"demo\"", "fleat = \"demo\"", "fleat"),
            ("listen = \"127.0.0.1:7700\"", "listen = \"here\"", "listen"),
            ("labels = {", "lables = {", "lables"),
            ("[servers.web1]", "[servers.WEB]", "WEB"),
            ("http://127.0.0.1:9/x", "http://example.net/x", "pager"),
            ("http://127.0.0.1:9/x", "http://127.0.0.1.example.net/x", "pager"),
            ("{ file = \"pager.url\" }", "{}", "other"),
            ("[servers.web1]", "[history]\nkeep = \"5m\"\n[servers.web1]", "history.keep"),
            ("[servers.web1]", "[history]\nmax_bytes = \"20GB\"\n[servers.web1]", "20GiB"),
            ("[servers.web1]", "[history]\nmax_bytes = \"1MiB\"\n[servers.web1]", "history.max_bytes"),
            ("[servers.web1]", "[operators]\nviewers = [\"ann\"]\n[servers.web1]", "socket ="),
            ("[servers.web1]", "[operators]\nviewers = [\"group:\"]\n[servers.web1]", "operators.viewers"),
            ("[servers.web1]", "[operators]\nwatchers = [\"ann\"]\n[servers.web1]", "watchers"),
            ("data_dir", "metrics_listen = \"here\"\ndata_dir", "metrics_listen"),
        ] {
            let text = GOOD.replace(from, to);
            assert_ne!(text, GOOD);
            let error = Config::parse(&text, Path::new("/")).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
