//! The acting process' own copy of the policy, and the version before it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use skynet_model::command::COMMAND_TTL;
use skynet_model::policy::{Bundle, Policy, load};
use skynet_model::series::Labels;
use skynet_model::time::Timestamp;

use super::{ActorConfig, ActorError, state};
use crate::ledger::{Moment, Storage};

const FILE: &str = "policy";
/// Most mistakes of a policy that are named in one answer.
const MAX_TOLD: usize = 20;

/// A policy version in force.
#[derive(Clone, Debug)]
pub(super) struct Applied {
    pub(super) bundle: String,
    pub(super) version: u64,
    pub(super) digest: String,
    pub(super) expires: Timestamp,
    /// Without the profiles that the ceiling does not accept.
    pub(super) policy: Arc<Policy>,
}

/// What is kept on disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    labels: Labels,
    version: u64,
    bundle: String,
    previous: Option<KeptPrevious>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct KeptPrevious {
    bundle: String,
    /// When it was replaced, on the clock of this boot.
    replaced_boot_ms: i64,
    boot_id: String,
}

#[derive(Clone, Debug)]
struct Previous {
    applied: Applied,
    replaced_boot_ms: i64,
    boot_id: String,
}

/// The version in force, the one before it, and this server's labels.
#[derive(Debug, Default)]
pub(super) struct Policies {
    current: Option<Applied>,
    previous: Option<Previous>,
    labels: Labels,
    /// The highest version ever taken: even where its text no longer loads, nothing older is.
    floor: u64,
}

impl Policies {
    /// What was in force before a restart. A stored policy that does not load any more is left out, with a warning.
    pub(super) fn open(storage: &dyn Storage, config: &ActorConfig) -> Result<Self, ActorError> {
        let Some(kept) = state::load::<Kept>(storage, FILE)? else { return Ok(Self::default()) };
        let read = |bundle: &str| match read(bundle, config) {
            Ok(applied) => Some(applied),
            Err((_, error)) => {
                tracing::warn!(error, "the stored policy is not taken; actions wait for the next one");
                None
            }
        };
        let previous = kept.previous.and_then(|p| {
            let KeptPrevious { bundle, replaced_boot_ms, boot_id } = p;
            read(&bundle).map(|applied| Previous { applied, replaced_boot_ms, boot_id })
        });
        Ok(Self { current: read(&kept.bundle), previous, labels: kept.labels, floor: kept.version })
    }

    pub(super) fn current(&self) -> Option<&Applied> {
        self.current.as_ref()
    }

    pub(super) fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The version a command may name now: the one in force, or the one before it for one time to live.
    pub(super) fn for_command(&self, version: u64, now: &Moment) -> Option<&Applied> {
        let fresh = |p: &&Previous| p.boot_id == now.boot_id && now.boot_ms - p.replaced_boot_ms <= COMMAND_TTL.0;
        self.current
            .as_ref()
            .filter(|a| a.version == version)
            .or_else(|| self.previous.as_ref().filter(fresh).map(|p| &p.applied).filter(|a| a.version == version))
    }

    /// The version of a command that was checked before: its age does not matter any more.
    pub(super) fn by_version(&self, version: u64) -> Option<&Applied> {
        let previous = self.previous.as_ref().map(|p| &p.applied);
        self.current.iter().chain(previous).find(|a| a.version == version)
    }

    /// Takes a pushed bundle, or only new labels when it is the one in force. Nothing changes on an error.
    ///
    /// # Errors
    /// What was asked (version 0 where the bytes are no bundle), and a sentence for people.
    pub(super) fn take(
        &mut self,
        bundle: &str,
        labels: Labels,
        now: &Moment,
        storage: &dyn Storage,
        config: &ActorConfig,
    ) -> Result<&Applied, (u64, String)> {
        let new = read(bundle, config)?;
        let version = new.version;
        let fail = |error: String| (version, error);
        if version < self.floor {
            return Err(fail(format!(
                "policy version {version} is older than version {}, and versions only rise; build it with a higher version",
                self.floor
            )));
        }
        let same = self.current.as_ref().filter(|a| a.version == version);
        if same.is_some_and(|a| a.digest != new.digest) {
            return Err(fail(format!(
                "policy version {version} is in force with another text; build the new one with a higher version"
            )));
        }
        let previous = if same.is_some() {
            self.previous.clone()
        } else {
            let replaced = |applied| Previous { applied, replaced_boot_ms: now.boot_ms, boot_id: now.boot_id.clone() };
            self.current.clone().map(replaced)
        };
        let kept = Kept {
            labels: labels.clone(),
            version,
            bundle: new.bundle.clone(),
            previous: previous.as_ref().map(|p| KeptPrevious {
                bundle: p.applied.bundle.clone(),
                replaced_boot_ms: p.replaced_boot_ms,
                boot_id: p.boot_id.clone(),
            }),
        };
        state::save(storage, FILE, &kept).map_err(fail)?;
        self.previous = previous;
        self.labels = labels;
        self.floor = version;
        Ok(self.current.insert(new))
    }
}

/// The bundle in force and this server's labels, read from a data folder that an acting process may hold; none when no
/// policy was taken yet.
///
/// # Errors
/// A sentence that names the file.
pub fn kept_policy(data: &std::path::Path) -> Result<Option<(String, Labels)>, String> {
    use std::io::Read;
    let path = data.join(FILE);
    let told = |error: String| format!("{}: {error}", path.display());
    let file = match std::fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(told(format!("{error}; run this as the user that the agent acts as"))),
    };
    let mut text = String::new();
    file.take(super::MAX_FRAME as u64).read_to_string(&mut text).map_err(|error| told(error.to_string()))?;
    let kept: Kept = serde_json::from_str(&text).map_err(|error| told(error.to_string()))?;
    Ok(Some((kept.bundle, kept.labels)))
}

fn read(bundle: &str, config: &ActorConfig) -> Result<Applied, (u64, String)> {
    if !config.insecure_unsigned {
        return Err((
            0,
            "policy is refused: this version cannot verify signatures, and unsigned policy is only taken with \
             insecure_unsigned = true in the agent's configuration"
                .to_owned(),
        ));
    }
    let decoded = Bundle::decode(bundle.as_bytes()).map_err(|error| (0, error.to_string()))?;
    let version = decoded.version;
    if version == 0 {
        return Err((0, "policy version 0 means none; build it with version 1 or higher".to_owned()));
    }
    if let Some(fleet) = config.fleet.as_ref().filter(|fleet| **fleet != decoded.fleet) {
        return Err((version, format!("policy is for fleet `{}`; this server belongs to `{fleet}`", decoded.fleet)));
    }
    let mut policy = load(&decoded.files, crate::catalogue()).map_err(|mistakes| {
        let mut told: Vec<String> = mistakes.iter().take(MAX_TOLD).map(ToString::to_string).collect();
        if mistakes.len() > MAX_TOLD {
            told.push(format!("and {} more", mistakes.len() - MAX_TOLD));
        }
        (version, format!("policy does not load here: {}", told.join("; ")))
    })?;
    policy.profiles.retain(|name, _| config.ceiling.accepts(name));
    Ok(Applied {
        bundle: bundle.to_owned(),
        version,
        digest: Bundle::digest(bundle.as_bytes()),
        expires: decoded.expires,
        policy: Arc::new(policy),
    })
}
