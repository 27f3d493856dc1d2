//! The agent's configuration: one TOML file. `check-config` and `run` load it with the same code.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use skynet_model::sign::{Signers, Trust};
use skynet_node::actor::{ActorConfig, Ceiling};
use skynet_proto::identity::{Identity, Role};
use skynet_proto::tls::{Files, Target};

use crate::store::Limits;

/// Largest configuration file, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// Least and most readings that may be spooled in memory.
const SPOOL: std::ops::RangeInclusive<usize> = 1_000..=10_000_000;

/// Most MiB of them on disk, and for how many hours they may be kept there.
const MAX_SPOOL_MIB: u64 = 16 << 10;
const SPOOL_HOURS: std::ops::RangeInclusive<u64> = 1..=720;

/// The file as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    controller: String,
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
    data_dir: PathBuf,
    signers: Option<PathBuf>,
    #[serde(default = "default_needed")]
    signers_needed: u32,
    #[serde(default)]
    insecure_unsigned: bool,
    #[serde(default = "default_spool")]
    spool_max: usize,
    spool_dir: Option<PathBuf>,
    #[serde(default = "default_spool_mib")]
    spool_disk_mib: u64,
    #[serde(default = "default_spool_hours")]
    spool_hours: u64,
    user: Option<String>,
    #[serde(default)]
    single_operator: bool,
    #[serde(default)]
    ceiling: Ceiling,
}

fn default_needed() -> u32 {
    1
}

fn default_spool() -> usize {
    200_000
}

fn default_spool_mib() -> u64 {
    256
}

fn default_spool_hours() -> u64 {
    24
}

/// The configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the controller is.
    pub controller: Target,
    /// Certificates and key.
    pub files: Files,
    /// Who the certificate says we are.
    pub identity: Identity,
    /// Where the acting process keeps its ledger and policy.
    pub data_dir: PathBuf,
    /// Whose policy is taken.
    pub trust: Trust,
    /// Most readings spooled in memory.
    pub spool_max: usize,
    /// Where readings that cannot be sent are kept on disk.
    pub spool_dir: PathBuf,
    /// How much of them; none: not at all.
    pub spool_limits: Option<Limits>,
    /// Whom the session process becomes when it was started as root.
    pub user: Option<User>,
    /// The server's own limits.
    pub ceiling: Ceiling,
    /// Whether one signer may let acting go on after a signed HALT.
    pub single_operator: bool,
}

/// A user of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// All that is wrong with a configuration, one line each.
#[derive(Debug, thiserror::Error)]
pub struct ConfigError {
    path: PathBuf,
    faults: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.faults.iter().enumerate() {
            write!(f, "{}{}: {fault}", if i > 0 { "\n" } else { "" }, self.path.display())?;
        }
        Ok(())
    }
}

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// Everything that is wrong, each with its remedy.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::load_with(path, false)
    }

    /// [`Config::load`] for a command line that may say `--insecure-unsigned`.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_with(path: &Path, insecure_unsigned: bool) -> Result<Self, ConfigError> {
        let fail = |faults| ConfigError { path: path.to_owned(), faults };
        let file: File = read(path)
            .and_then(|text| toml::from_str(&text).map_err(|e| e.to_string().trim_end().to_owned()))
            .map_err(|fault| fail(vec![fault]))?;
        let mut faults = Vec::new();
        let mut note = |fault: String| faults.push(fault);
        let controller = file.controller.parse::<Target>().map_err(|e| note(format!("controller: {e}"))).ok();
        if !file.data_dir.is_absolute() {
            note(format!("data_dir: `{}` is not an absolute path", file.data_dir.display()));
        } else if file.data_dir.exists() && !file.data_dir.is_dir() {
            note(format!("data_dir: {} is not a folder; name one that may be made", file.data_dir.display()));
        }
        if !SPOOL.contains(&file.spool_max) {
            note(format!("spool_max: {} is not from {} to {}", file.spool_max, SPOOL.start(), SPOOL.end()));
        }
        if file.spool_disk_mib > MAX_SPOOL_MIB {
            note(format!(
                "spool_disk_mib: {} is not from 0 (no spool on disk) to {MAX_SPOOL_MIB}",
                file.spool_disk_mib
            ));
        }
        if !SPOOL_HOURS.contains(&file.spool_hours) {
            let (least, most) = (SPOOL_HOURS.start(), SPOOL_HOURS.end());
            note(format!("spool_hours: {} is not from {least} to {most}", file.spool_hours));
        }
        let spool_dir = file.spool_dir.unwrap_or_else(|| file.data_dir.join("spool"));
        if !spool_dir.is_absolute() && file.data_dir.is_absolute() {
            note(format!("spool_dir: `{}` is not an absolute path", spool_dir.display()));
        }
        let limits = Limits {
            bytes: file.spool_disk_mib.saturating_mul(1 << 20),
            age_ms: i64::try_from(file.spool_hours.saturating_mul(3_600_000)).unwrap_or(i64::MAX),
        };
        let user = file.user.as_deref().and_then(|name| find_user(name).map_err(|e| note(format!("user: {e}"))).ok());
        if let Err(fault) = private(&file.key) {
            note(fault);
        }
        let insecure_unsigned = insecure_unsigned || file.insecure_unsigned;
        let trust = trust(file.signers.as_deref(), file.signers_needed, insecure_unsigned);
        let trust = trust.map_err(|faults| faults.into_iter().for_each(&mut note)).ok();
        let files = Files { ca: file.ca, cert: file.cert, key: file.key };
        let identity = check_files(&files).map_err(note).ok();
        match (controller, identity, trust, faults.is_empty()) {
            (Some(controller), Some(identity), Some(trust), true) => Ok(Self {
                controller,
                files,
                identity,
                data_dir: file.data_dir,
                trust,
                spool_max: file.spool_max,
                spool_dir,
                spool_limits: (limits.bytes > 0).then_some(limits),
                user,
                ceiling: file.ceiling,
                single_operator: file.single_operator,
            }),
            _ => Err(fail(faults)),
        }
    }

    /// What the acting process is started with.
    #[must_use]
    pub fn actor(&self) -> ActorConfig {
        ActorConfig {
            server: self.identity.name.clone(),
            fleet: Some(self.identity.fleet.clone()),
            data: self.data_dir.clone(),
            trust: self.trust.clone(),
            ceiling: self.ceiling.clone(),
            single_operator: self.single_operator,
        }
    }
}

fn check_files(files: &Files) -> Result<Identity, String> {
    let credentials = files.load(Role::Server).map_err(|e| e.to_string())?;
    let identity = credentials.identity.clone();
    credentials.client_config().map_err(|e| e.to_string())?;
    Ok(identity)
}

fn read(path: &Path) -> Result<String, String> {
    read_open(std::fs::File::open(path).map_err(|e| format!("cannot be read: {e}"))?)
}

fn read_open(file: std::fs::File) -> Result<String, String> {
    use std::io::Read;
    let mut text = String::new();
    file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(|e| format!("cannot be read: {e}"))?;
    if text.len() as u64 > MAX_FILE {
        return Err(format!("larger than {MAX_FILE} bytes; this is not an agent's configuration"));
    }
    Ok(text)
}

/// Whose policy is taken. A signers file that others may change is no authority.
fn trust(signers: Option<&Path>, needed: u32, insecure_unsigned: bool) -> Result<Trust, Vec<String>> {
    let Some(path) = signers else {
        return Trust::new(None, needed, insecure_unsigned).map_err(|error| vec![error]);
    };
    let place = path.display();
    // What is looked at is what is read: nobody exchanges it in between.
    let opened = std::fs::File::open(path).and_then(|file| Ok((file.metadata()?, file)));
    let (metadata, file) = opened.map_err(|error| vec![format!("signers: {place} cannot be read: {error}")])?;
    let theirs = |metadata: &std::fs::Metadata| metadata.uid() != 0 && metadata.uid() != own_uid();
    let others_write = |metadata: &std::fs::Metadata| metadata.mode() & 0o022 != 0;
    if others_write(&metadata) || theirs(&metadata) {
        return Err(vec![format!("signers: others may change {place}; run `chown root {place}; chmod go-w {place}`")]);
    }
    // Whoever may write its folder may put another file in its place.
    let folder = path.canonicalize().ok().and_then(|path| Some(path.parent()?.to_owned())).unwrap_or_default();
    let above = std::fs::metadata(&folder).map_err(|error| vec![format!("signers: {}: {error}", folder.display())])?;
    let sticky = above.mode() & 0o1000 != 0;
    if (others_write(&above) && !sticky) || theirs(&above) {
        let folder = folder.display();
        return Err(vec![format!(
            "signers: others may replace {place}; run `chown root {folder}; chmod go-w {folder}`, or put it elsewhere"
        )]);
    }
    let text = read_open(file).map_err(|error| vec![format!("signers: {place} {error}")])?;
    let signers = Signers::parse(&text).map_err(|mistakes| {
        mistakes.into_iter().map(|mistake| format!("signers: {place}, {mistake}")).collect::<Vec<_>>()
    })?;
    Trust::new(Some(signers), needed, insecure_unsigned).map_err(|error| vec![format!("signers: {error}")])
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// A key that others may read is no secret.
fn private(key: &Path) -> Result<(), String> {
    // A missing file is told by the loader.
    let Ok(metadata) = std::fs::metadata(key) else { return Ok(()) };
    if metadata.mode() & 0o007 != 0 {
        return Err(format!("key: {0} may be read by everyone; run `chmod o= {0}`", key.display()));
    }
    Ok(())
}

fn find_user(name: &str) -> Result<User, String> {
    let passwd = read(Path::new("/etc/passwd")).map_err(|e| format!("/etc/passwd {e}"))?;
    let line = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|f| f.first() == Some(&name));
    let id = |field: Option<&&str>| field.and_then(|text| text.parse().ok());
    match line.map(|fields| (id(fields.get(2)), id(fields.get(3)))) {
        Some((Some(uid), Some(gid))) => Ok(User { uid, gid }),
        Some(_) => Err(format!("the entry of `{name}` in /etc/passwd has no ids")),
        None => Err(format!("there is no user `{name}`; make one with `useradd --system {name}`")),
    }
}

#[cfg(test)]
mod tests;
