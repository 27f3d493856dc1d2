//! Policy versions: checked, stored, and the one in force.
//!
//! A bundle and its signatures are on disk before the event that activates it or begins its rollout, so that a restart
//! always finds what the log names. Signatures are checked before a bundle is parsed, at a push and again at every start.
//! Bundles of these are at hand: the one in force, the one that was offered last, and for readers the last [`KEPT`].

mod signatures;

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skynet_model::catalogue::Catalogue;
use skynet_model::event::{Event, EventBody};
use skynet_model::policy::{Bundle, MAX_BUNDLE_BYTES, Policy, load};
use skynet_model::sign::{POLICY_NAMESPACE, SignatureError, Signer, Trust};
use skynet_model::time::Timestamp;

/// Versions whose bundles are kept.
pub const KEPT: usize = 20;
/// Most mistakes a refusal lists.
const MAX_MISTAKES: usize = 100;
/// Conditions nest; their parser recurses.
const STACK: usize = 16 << 20;

/// Why a policy is not taken. Messages name the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The bundle or what is in it is wrong.
    #[error("{0}")]
    Invalid(String),
    /// Not allowed here, or not now.
    #[error("{0}")]
    Refused(String),
    /// The disk failed.
    #[error("{0}")]
    Storage(String),
}

/// A policy that is good in itself.
#[derive(Debug)]
pub struct Candidate {
    /// Its version.
    pub version: u64,
    /// SHA-256 of the bundle, hex.
    pub digest: String,
    /// When its actions stop.
    pub expires: Timestamp,
    /// The bundle.
    pub bytes: Vec<u8>,
    /// Its signatures as they came, armored: agents check them for themselves.
    pub signatures: Vec<Vec<u8>>,
    /// Whose signatures were good; nobody's where anybody may push.
    pub signers: Vec<Signer>,
    /// What it says.
    pub policy: Arc<Policy>,
}

/// What pushes are checked against.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The fleet's name.
    pub fleet: String,
    /// Whose policy is taken.
    pub trust: Trust,
    /// What sensors and actions there are.
    pub catalogue: &'static Catalogue,
}

impl Terms {
    /// Checks a pushed bundle by itself. It takes its time: keep it off the core's thread.
    ///
    /// # Errors
    /// [`PolicyError`], with all mistakes of the policy.
    pub fn check(
        &self,
        bytes: Vec<u8>,
        signatures: Vec<Vec<u8>>,
        insecure_unsigned: bool,
        now: Timestamp,
    ) -> Result<Candidate, PolicyError> {
        if self.trust.is_insecure() && !insecure_unsigned {
            return Err(PolicyError::Refused(
                "this controller checks no signatures (insecure_unsigned = true); push it with --insecure-unsigned if \
                 that is meant"
                    .to_owned(),
            ));
        }
        self.read(bytes, signatures, now, Some(now))
    }

    /// Reads a bundle: size, signatures as they were at `signed`, form, fleet, expiry where it counts, content, and the
    /// number of signers the policy itself asks for.
    fn read(
        &self,
        bytes: Vec<u8>,
        signatures: Vec<Vec<u8>>,
        signed: Timestamp,
        expires_after: Option<Timestamp>,
    ) -> Result<Candidate, PolicyError> {
        if bytes.len() > MAX_BUNDLE_BYTES {
            let message = format!("the bundle has {} bytes; at most {MAX_BUNDLE_BYTES} are taken", bytes.len());
            return Err(PolicyError::Invalid(message));
        }
        let unsigned = |error: SignatureError| PolicyError::Refused(format!("the policy's signatures: {error}"));
        let signers = self.trust.check(POLICY_NAMESPACE, &bytes, &signatures, signed).map_err(unsigned)?;
        let bundle = Bundle::decode(&bytes).map_err(|e| PolicyError::Invalid(e.to_string()))?;
        if bundle.fleet != self.fleet {
            let message = format!("the bundle is for fleet `{}`; this is fleet `{}`", bundle.fleet, self.fleet);
            return Err(PolicyError::Invalid(message));
        }
        if expires_after.is_some_and(|now| bundle.expires <= now) {
            return Err(PolicyError::Invalid(format!("the bundle expired at {}; build it again", bundle.expires)));
        }
        let catalogue = self.catalogue;
        let files = bundle.files;
        let loader = std::thread::Builder::new().name("policy".to_owned()).stack_size(STACK);
        let loaded = loader.spawn(move || load(&files, catalogue)).map(std::thread::JoinHandle::join);
        let loaded = match loaded {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(_)) => return Err(PolicyError::Invalid("the policy could not be read to its end".to_owned())),
            Err(error) => return Err(PolicyError::Storage(format!("no thread to read the policy on: {error}"))),
        };
        let policy = loaded.map_err(|mistakes| {
            let mut lines: Vec<String> = mistakes.iter().take(MAX_MISTAKES).map(ToString::to_string).collect();
            if mistakes.len() > MAX_MISTAKES {
                lines.push(format!("... and {} more", mistakes.len() - MAX_MISTAKES));
            }
            PolicyError::Invalid(lines.join("\n"))
        })?;
        self.trust.enough(&signers, policy.fleet.signers).map_err(unsigned)?;
        let digest = Bundle::digest(&bytes);
        let (version, expires) = (bundle.version, bundle.expires);
        Ok(Candidate { version, digest, expires, bytes, signatures, signers, policy: Arc::new(policy) })
    }
}

/// The policy in force.
#[derive(Debug)]
pub struct Active {
    /// The bundle.
    pub candidate: Arc<Candidate>,
    /// Since when.
    pub activated: Timestamp,
    /// Who pushed it.
    pub by: String,
}

/// One version that was activated.
#[derive(Clone, Debug)]
pub struct Version {
    /// Its number.
    pub version: u64,
    /// Its digest.
    pub digest: String,
    /// When.
    pub activated: Timestamp,
    /// By whom.
    pub by: String,
    /// Its scenarios; empty when its bundle is not kept any more.
    pub scenarios: Vec<String>,
    /// Whose signatures are good; empty as well where anybody may push.
    pub signers: Vec<Signer>,
}

/// The store.
#[derive(Debug)]
pub struct Policies {
    folder: PathBuf,
    versions: Vec<Version>,
    current: Option<Arc<Active>>,
    /// The newest that a rollout gave to some servers, when it is not the one in force.
    offered: Option<Arc<Candidate>>,
    /// The highest version that any server was given.
    highest: u64,
    untrusted: Option<String>,
}

fn file_name(version: u64, digest: &str) -> String {
    format!("{version}-{digest}.bundle")
}

fn scenarios(policy: &Policy) -> Vec<String> {
    policy.scenarios.keys().map(ToString::to_string).collect()
}

impl Policies {
    /// Opens the store and loads what the log says is in force.
    ///
    /// # Errors
    /// The folder cannot be made, or the bundle in force cannot be read; with the remedy.
    pub fn open(folder: &Path, events: &[Event], terms: &Terms) -> Result<Self, PolicyError> {
        let storage = |e: io::Error| PolicyError::Storage(format!("cannot open {}: {e}", folder.display()));
        std::fs::create_dir_all(folder).map_err(storage)?;
        let mut store = Self {
            folder: folder.to_owned(),
            versions: Vec::new(),
            current: None,
            offered: None,
            highest: 0,
            untrusted: None,
        };
        let mut offered: Option<(u64, &str, Timestamp)> = None;
        for event in events {
            if let EventBody::RolloutStarted { version, digest, .. } = &event.body {
                offered = Some((*version, digest, event.time));
                store.highest = store.highest.max(*version);
            } else if let EventBody::PolicyActivated { version, digest, by } = &event.body {
                offered = offered.filter(|(offered, ..)| offered != version);
                store.highest = store.highest.max(*version);
                store.versions.push(Version {
                    version: *version,
                    digest: digest.clone(),
                    activated: event.time,
                    by: by.clone(),
                    scenarios: Vec::new(),
                    signers: Vec::new(),
                });
            }
        }
        let read_as = |version: u64, digest: &str, taken: Timestamp| -> Result<Candidate, PolicyError> {
            let path = folder.join(file_name(version, digest));
            let bytes = std::fs::read(&path).map_err(|e| PolicyError::Storage(e.to_string()))?;
            if Bundle::digest(&bytes) != digest {
                return Err(PolicyError::Invalid("its content is not what was activated".to_owned()));
            }
            let signatures = signatures::read(folder, version, digest)?;
            // A key that has ended since signed it while it was good.
            terms.read(bytes, signatures, taken, None)
        };
        let read = |version: &Version| read_as(version.version, &version.digest, version.activated);
        // Without it its rollout ends, and every server goes back: nothing that is in force is lost.
        store.offered = offered.and_then(|(version, digest, taken)| match read_as(version, digest, taken) {
            Ok(candidate) => Some(Arc::new(candidate)),
            Err(error) => {
                tracing::warn!("policy {version} was rolled out, and its bundle cannot be used: {error}");
                None
            }
        });
        let older = store.versions.len().saturating_sub(1);
        for version in store.versions[..older].iter_mut().rev().take(KEPT - 1) {
            if let Ok(candidate) = read(version) {
                (version.scenarios, version.signers) = (scenarios(&candidate.policy), candidate.signers);
            }
        }
        if let Some(version) = store.versions.last_mut() {
            let path = folder.join(file_name(version.version, &version.digest));
            match read(version) {
                Ok(candidate) => {
                    (version.scenarios, version.signers) = (scenarios(&candidate.policy), candidate.signers.clone());
                    let (activated, by) = (version.activated, version.by.clone());
                    store.current = Some(Arc::new(Active { candidate: Arc::new(candidate), activated, by }));
                }
                Err(PolicyError::Refused(error)) => {
                    store.untrusted = Some(format!(
                        "policy {} was in force, and is not any more: {error}. Nothing is done until a newer one is \
                         signed and pushed",
                        version.version
                    ));
                }
                Err(error) => {
                    return Err(PolicyError::Storage(format!(
                        "policy {} is in force by the journal, but {} cannot be used: {error}; restore that file",
                        version.version,
                        path.display()
                    )));
                }
            }
        }
        Ok(store)
    }

    /// Why what was in force before this start is not in force: its signatures do not do any more.
    #[must_use]
    pub fn untrusted(&self) -> Option<&str> {
        self.untrusted.as_deref()
    }

    /// The policy in force.
    #[must_use]
    pub fn current(&self) -> Option<&Arc<Active>> {
        self.current.as_ref()
    }

    /// Versions that were activated, oldest first.
    #[must_use]
    pub fn versions(&self) -> &[Version] {
        &self.versions
    }

    /// Checks the version and puts the bundle on disk. Activation comes after, with its event.
    ///
    /// # Errors
    /// The version does not rise, or the disk fails.
    pub fn store(&self, candidate: &Candidate) -> Result<(), PolicyError> {
        let in_force = self.versions.last().map_or(0, |v| v.version);
        if candidate.version <= self.highest {
            let which = if self.highest == in_force { "is in force" } else { "servers were given before" };
            let message = format!(
                "policy version {} does not come after version {}, which {which}; build it with a higher one",
                candidate.version, self.highest
            );
            return Err(PolicyError::Refused(message));
        }
        signatures::write(&self.folder, candidate)?;
        let path = self.folder.join(file_name(candidate.version, &candidate.digest));
        let temporary = self.folder.join("new.tmp");
        let write = || -> io::Result<()> {
            let mut file = File::create(&temporary)?;
            file.write_all(&candidate.bytes)?;
            file.sync_all()?;
            std::fs::rename(&temporary, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(|e| {
            PolicyError::Storage(format!("cannot write {}: {e}; see that the disk has room", path.display()))
        })
    }

    /// Keeps a stored policy at hand for the servers of its rollout; the one offered before is forgotten.
    pub fn offer(&mut self, candidate: Arc<Candidate>) {
        self.highest = self.highest.max(candidate.version);
        if let Some(old) = self.offered.replace(candidate) {
            let path = self.folder.join(file_name(old.version, &old.digest));
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::debug!("cannot delete {}: {error}", path.display());
            }
            signatures::remove(&self.folder, old.version, &old.digest);
        }
    }

    /// The policy that a rollout gave to some servers last, when it is not the one in force.
    #[must_use]
    pub fn offered(&self) -> Option<&Arc<Candidate>> {
        self.offered.as_ref()
    }

    /// A version that is at hand.
    #[must_use]
    pub fn bundle(&self, version: u64) -> Option<&Arc<Candidate>> {
        let current = self.current.as_ref().map(|active| &active.candidate);
        current.into_iter().chain(&self.offered).find(|candidate| candidate.version == version)
    }

    /// Puts a stored policy in force; its event is in the log.
    pub fn activate(&mut self, candidate: Arc<Candidate>, activated: Timestamp, by: String) -> Arc<Active> {
        self.offered = self.offered.take().filter(|offered| offered.version != candidate.version);
        self.highest = self.highest.max(candidate.version);
        self.versions.push(Version {
            version: candidate.version,
            digest: candidate.digest.clone(),
            activated,
            by: by.clone(),
            scenarios: scenarios(&candidate.policy),
            signers: candidate.signers.clone(),
        });
        if let Some(old) = self.versions.len().checked_sub(KEPT + 1).map(|i| &mut self.versions[i]) {
            let path = self.folder.join(file_name(old.version, &old.digest));
            old.scenarios.clear();
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::debug!("cannot delete {}: {error}", path.display());
            }
            signatures::remove(&self.folder, old.version, &old.digest);
        }
        let active = Arc::new(Active { candidate, activated, by });
        self.current = Some(Arc::clone(&active));
        active
    }
}
