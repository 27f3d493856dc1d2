//! Policy versions: checked, stored, and the one in force.
//!
//! A bundle is on disk before the event that activates it or begins its rollout, so that a restart always finds what the
//! log names. Bundles of these are at hand: the one in force, the one that was offered last, and for readers the last
//! [`KEPT`].

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skynet_model::catalogue::Catalogue;
use skynet_model::event::{Event, EventBody};
use skynet_model::policy::{Bundle, Policy, load};
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
    /// The bundle.
    pub bytes: Vec<u8>,
    /// What it says.
    pub policy: Arc<Policy>,
}

/// What pushes are checked against.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The fleet's name.
    pub fleet: String,
    /// Whether unsigned policy is taken.
    pub insecure_unsigned: bool,
    /// What sensors and actions there are.
    pub catalogue: &'static Catalogue,
}

impl Terms {
    /// Checks a pushed bundle by itself. It takes its time: keep it off the core's thread.
    ///
    /// # Errors
    /// [`PolicyError`], with all mistakes of the policy.
    pub fn check(&self, bytes: Vec<u8>, insecure_unsigned: bool, now: Timestamp) -> Result<Candidate, PolicyError> {
        if !self.insecure_unsigned {
            return Err(PolicyError::Refused(
                "this controller takes no unsigned policy, and this release cannot verify signatures; to try things \
                 out, set insecure_unsigned = true in its configuration"
                    .to_owned(),
            ));
        }
        if !insecure_unsigned {
            return Err(PolicyError::Refused(
                "the policy is not signed; push it with --insecure-unsigned if that is meant".to_owned(),
            ));
        }
        let candidate = self.read(bytes)?;
        if candidate.1 <= now {
            return Err(PolicyError::Invalid(format!("the bundle expired at {}; build it again", candidate.1)));
        }
        Ok(candidate.0)
    }

    /// Reads a bundle; gives when it expires, too.
    fn read(&self, bytes: Vec<u8>) -> Result<(Candidate, Timestamp), PolicyError> {
        let bundle = Bundle::decode(&bytes).map_err(|e| PolicyError::Invalid(e.to_string()))?;
        if bundle.fleet != self.fleet {
            let message = format!("the bundle is for fleet `{}`; this is fleet `{}`", bundle.fleet, self.fleet);
            return Err(PolicyError::Invalid(message));
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
        let digest = Bundle::digest(&bytes);
        Ok((Candidate { version: bundle.version, digest, bytes, policy: Arc::new(policy) }, bundle.expires))
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
        let mut store =
            Self { folder: folder.to_owned(), versions: Vec::new(), current: None, offered: None, highest: 0 };
        let mut offered: Option<(u64, &str)> = None;
        for event in events {
            if let EventBody::RolloutStarted { version, digest, .. } = &event.body {
                offered = Some((*version, digest));
                store.highest = store.highest.max(*version);
            } else if let EventBody::PolicyActivated { version, digest, by } = &event.body {
                offered = offered.filter(|(offered, _)| offered != version);
                store.highest = store.highest.max(*version);
                store.versions.push(Version {
                    version: *version,
                    digest: digest.clone(),
                    activated: event.time,
                    by: by.clone(),
                    scenarios: Vec::new(),
                });
            }
        }
        let read_as = |version: u64, digest: &str| -> Result<Candidate, PolicyError> {
            let path = folder.join(file_name(version, digest));
            let bytes = std::fs::read(&path).map_err(|e| PolicyError::Storage(e.to_string()))?;
            let candidate = terms.read(bytes)?.0;
            if candidate.digest != digest {
                return Err(PolicyError::Invalid("its content is not what was activated".to_owned()));
            }
            Ok(candidate)
        };
        let read = |version: &Version| read_as(version.version, &version.digest);
        // Without it its rollout ends, and every server goes back: nothing that is in force is lost.
        store.offered = offered.and_then(|(version, digest)| match read_as(version, digest) {
            Ok(candidate) => Some(Arc::new(candidate)),
            Err(error) => {
                tracing::warn!("policy {version} was rolled out, and its bundle cannot be used: {error}");
                None
            }
        });
        let older = store.versions.len().saturating_sub(1);
        for version in store.versions[..older].iter_mut().rev().take(KEPT - 1) {
            version.scenarios = read(version).map(|candidate| scenarios(&candidate.policy)).unwrap_or_default();
        }
        if let Some(version) = store.versions.last_mut() {
            let candidate = read(version).map_err(|error| {
                let path = folder.join(file_name(version.version, &version.digest));
                PolicyError::Storage(format!(
                    "policy {} is in force by the journal, but {} cannot be used: {error}; restore that file",
                    version.version,
                    path.display()
                ))
            })?;
            version.scenarios = scenarios(&candidate.policy);
            let (activated, by) = (version.activated, version.by.clone());
            store.current = Some(Arc::new(Active { candidate: Arc::new(candidate), activated, by }));
        }
        Ok(store)
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
        });
        if let Some(old) = self.versions.len().checked_sub(KEPT + 1).map(|i| &mut self.versions[i]) {
            let path = self.folder.join(file_name(old.version, &old.digest));
            old.scenarios.clear();
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::debug!("cannot delete {}: {error}", path.display());
            }
        }
        let active = Arc::new(Active { candidate, activated, by });
        self.current = Some(Arc::clone(&active));
        active
    }
}
