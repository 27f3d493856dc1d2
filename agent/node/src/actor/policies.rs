//! The acting process' own copy of the policy, and the version before it.

mod back;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use skynet_model::command::COMMAND_TTL;
use skynet_model::policy::{Bundle, MAX_BUNDLE_BYTES, Policy, load};
use skynet_model::series::Labels;
use skynet_model::sign::{MAX_SIGNATURE_BYTES, POLICY_NAMESPACE, Trust, not_authorised};
use skynet_model::time::Timestamp;

pub(super) use back::Returned;

use super::{ActorConfig, ActorError, state};
use crate::ledger::{Moment, Storage};

const FILE: &str = "policy";
/// Most mistakes of a policy that are named in one answer.
const MAX_TOLD: usize = 20;

/// A policy version in force.
#[derive(Clone, Debug)]
pub(super) struct Applied {
    pub(super) bundle: String,
    signatures: Vec<String>,
    /// When its signatures were checked first, by the wall clock: a key may end afterwards.
    taken: Timestamp,
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
    #[serde(flatten)]
    document: Document,
    previous: Option<KeptPrevious>,
    /// The version that was given up for this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    returned: Option<Returned>,
}

/// A bundle with what proves it: checked again whenever it is read back.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Document {
    bundle: String,
    #[serde(default)]
    signatures: Vec<String>,
    #[serde(default)]
    taken: Timestamp,
}

impl Document {
    /// Whether this machine trusts it; nothing of it is parsed before. Signatures are judged at the time it was taken.
    fn check(&self, trust: &Trust) -> Result<Vec<skynet_model::sign::Signer>, String> {
        if self.bundle.len() > MAX_BUNDLE_BYTES {
            return Err(format!("the policy has {} bytes; at most {MAX_BUNDLE_BYTES} are taken", self.bundle.len()));
        }
        let signers = trust.check(POLICY_NAMESPACE, self.bundle.as_bytes(), &self.signatures, self.taken);
        signers.map_err(|error| not_authorised(format_args!("the policy's signatures: {error}")))
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct KeptPrevious {
    #[serde(flatten)]
    document: Document,
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
    returned: Option<Returned>,
}

impl Policies {
    /// What was in force before a restart, checked as if it came now: the file may have been edited, or a signer taken
    /// out of the signers file. What does not do is left out, and that is told.
    pub(super) fn open(storage: &dyn Storage, config: &ActorConfig) -> Result<Self, ActorError> {
        let Some(kept) = state::load::<Kept>(storage, FILE)? else { return Ok(Self::default()) };
        let read = |document: Document| match read(document, config, |_| Ok(())) {
            Ok(applied) => Some(applied),
            Err((_, error)) => {
                tracing::error!(error, "the stored policy is not taken; actions wait for the next one");
                None
            }
        };
        let previous = kept.previous.and_then(|p| {
            let KeptPrevious { document, replaced_boot_ms, boot_id } = p;
            read(document).map(|applied| Previous { applied, replaced_boot_ms, boot_id })
        });
        let (labels, floor, returned) = (kept.labels, kept.version, kept.returned);
        Ok(Self { current: read(kept.document), previous, labels, floor, returned })
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
    /// What was asked (version 0 where that cannot be told), and a sentence for people.
    pub(super) fn take(
        &mut self,
        bundle: &str,
        signatures: Vec<String>,
        labels: Labels,
        now: &Moment,
        storage: &dyn Storage,
        config: &ActorConfig,
    ) -> Result<&Applied, (u64, String)> {
        // These very bytes were judged when they came first.
        let standing = self.current.as_ref().filter(|a| a.bundle == bundle);
        let (new, previous, returned) = match standing {
            Some(standing) => (standing.clone(), self.previous.clone(), self.returned.clone()),
            None => {
                let document = Document { bundle: bundle.to_owned(), signatures, taken: now.wall };
                let new = read(document, config, |bundle| self.rises(bundle, now.wall))?;
                let replaced =
                    |applied| Previous { applied, replaced_boot_ms: now.boot_ms, boot_id: now.boot_id.clone() };
                (new, self.current.clone().map(replaced), None)
            }
        };
        let version = new.version;
        self.put(new, previous, labels, returned, storage).map_err(|error| (version, error))
    }

    /// Puts a version in force: on disk first.
    fn put(
        &mut self,
        new: Applied,
        previous: Option<Previous>,
        labels: Labels,
        returned: Option<Returned>,
        storage: &dyn Storage,
    ) -> Result<&Applied, String> {
        let kept = Kept {
            labels: labels.clone(),
            version: self.floor.max(new.version),
            document: new.document(),
            previous: previous.as_ref().map(|p| KeptPrevious {
                document: p.applied.document(),
                replaced_boot_ms: p.replaced_boot_ms,
                boot_id: p.boot_id.clone(),
            }),
            returned: returned.clone(),
        };
        state::save(storage, FILE, &kept)?;
        (self.previous, self.labels, self.returned) = (previous, labels, returned);
        self.floor = kept.version;
        Ok(self.current.insert(new))
    }

    /// Whether a bundle may follow what was taken before, now.
    fn rises(&self, bundle: &Bundle, now: Timestamp) -> Result<(), String> {
        let version = bundle.version;
        if version < self.floor {
            return Err(not_authorised(format_args!(
                "policy version {version} is older than version {}, and versions only rise; build it with a higher \
                 version",
                self.floor
            )));
        }
        if self.returned.as_ref().is_some_and(|given_up| given_up.version == version) {
            return Err(not_authorised(format_args!(
                "policy version {version} was given up here; build what replaces it with a higher version"
            )));
        }
        if self.current.as_ref().is_some_and(|a| a.version == version) {
            return Err(not_authorised(format_args!(
                "policy version {version} is in force with another text; build the new one with a higher version"
            )));
        }
        if bundle.expires <= now {
            return Err(format!("policy version {version} expired at {}; build and sign it anew", bundle.expires));
        }
        Ok(())
    }
}

impl Applied {
    fn document(&self) -> Document {
        Document { bundle: self.bundle.clone(), signatures: self.signatures.clone(), taken: self.taken }
    }
}

/// The bundle in force and this server's labels, read from a data folder that an acting process may hold; none when no
/// policy was taken yet. Its signatures are checked again.
///
/// # Errors
/// A sentence that names the file.
pub fn kept_policy(data: &std::path::Path, trust: &Trust) -> Result<Option<(String, Labels)>, String> {
    use std::io::Read;
    let path = data.join(FILE);
    let told = |error: String| format!("{}: {error}", path.display());
    let file = match std::fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(told(format!("{error}; run this as the user that the agent acts as"))),
    };
    let mut text = String::new();
    // The version in force and the one before it.
    file.take(2 * super::MAX_FRAME as u64).read_to_string(&mut text).map_err(|error| told(error.to_string()))?;
    let kept: Kept = serde_json::from_str(&text).map_err(|error| told(error.to_string()))?;
    kept.document.check(trust).map_err(told)?;
    Ok(Some((kept.document.bundle, kept.labels)))
}

/// All checks of a bundle in order: size, signatures, form, fleet, what `follows` says, content, and the number of signers
/// that the policy itself asks for.
fn read(
    document: Document,
    config: &ActorConfig,
    follows: impl FnOnce(&Bundle) -> Result<(), String>,
) -> Result<Applied, (u64, String)> {
    let signers = document.check(&config.trust).map_err(|error| (0, error))?;
    let Document { bundle, mut signatures, taken } = document;
    let decoded = Bundle::decode(bundle.as_bytes()).map_err(|error| (0, error.to_string()))?;
    let version = decoded.version;
    let fail = |error: String| (version, error);
    if version == 0 {
        return Err(fail("policy version 0 means none; build it with version 1 or higher".to_owned()));
    }
    if let Some(fleet) = config.fleet.as_ref().filter(|fleet| **fleet != decoded.fleet) {
        let error = format_args!("policy is for fleet `{}`; this server belongs to `{fleet}`", decoded.fleet);
        return Err(fail(not_authorised(error)));
    }
    follows(&decoded).map_err(fail)?;
    let mut policy = load(&decoded.files, crate::catalogue()).map_err(|mistakes| {
        let mut told: Vec<String> = mistakes.iter().take(MAX_TOLD).map(ToString::to_string).collect();
        if mistakes.len() > MAX_TOLD {
            told.push(format!("and {} more", mistakes.len() - MAX_TOLD));
        }
        fail(format!("policy does not load here: {}", told.join("; ")))
    })?;
    let enough = config.trust.enough(&signers, policy.fleet.signers);
    enough.map_err(|error| fail(not_authorised(format_args!("the policy's signatures: {error}"))))?;
    policy.profiles.retain(|name, _| config.ceiling.accepts(name));
    signatures.retain(|signature| signature.len() <= MAX_SIGNATURE_BYTES);
    Ok(Applied {
        version,
        digest: Bundle::digest(bundle.as_bytes()),
        expires: decoded.expires,
        policy: Arc::new(policy),
        bundle,
        signatures,
        taken,
    })
}
