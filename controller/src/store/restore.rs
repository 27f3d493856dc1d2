//! `store restore`: journal and policies brought back from Redis into an empty data folder.
//!
//! The restored controller starts halted: what happened between the last copied event and the loss is not known, and
//! somebody has to look before anything acts again.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use skynet_model::event::{Event, EventBody};
use skynet_model::policy::Bundle;
use skynet_model::time::Timestamp;

use super::bundles::{self, Stored};
use super::state::State;
use super::walk::{self, There, Walker};
use super::{FORMAT, Keys, Settings, Trouble};
use crate::journal::{Connection, write_anew};

/// Who halts a restored controller.
const BY: &str = "store restore";
/// Policies that are brought back at most: as many as a controller keeps.
const POLICIES: usize = 20;

/// What was brought back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Events written to the journal.
    pub events: u64,
    /// The last one's number.
    pub last: u64,
    /// Policy bundles written.
    pub policies: u64,
    /// What could not be proved or brought back, in words.
    pub lost: Vec<String>,
}

/// Refuses a data folder that holds anything of a controller's.
fn check_empty(folder: &Path) -> Result<(), String> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("cannot read {}: {error}", folder.display())),
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // The lock's file says nothing: whoever starts makes it.
        if name != "lock" {
            return Err(format!(
                "{} is not empty ({name} is there): a controller's own data is newer than its copy; move the folder \
                 away if it is to be replaced",
                folder.display()
            ));
        }
    }
    Ok(())
}

/// Brings everything back. `unverified`: also what cannot be proved. `tell` is told how many of how many entries are read.
///
/// # Errors
/// Why not, with the remedy. The folder is then as empty as before, except for what the disk refused to take away.
pub async fn restore(
    settings: &Settings,
    unverified: bool,
    now: Timestamp,
    mut tell: impl FnMut(u64, u64),
) -> Result<Restored, String> {
    check_empty(&settings.data_dir)?;
    let key = settings.key()?;
    let keys = Keys::new(&settings.fleet);
    let mut restored = Restored::default();
    let mut unproved = |text: String| {
        if !unverified {
            return Err(format!(
                "{text}; `--accept-unverified` restores all the same, and trusts whoever can write to Redis"
            ));
        }
        restored.lost.push(text);
        Ok(())
    };
    let say = |trouble: Trouble| trouble.to_string();
    let mut connection = Connection::open(&settings.access).await.map_err(|fault| fault.to_string())?;
    let there = walk::look(&mut connection, &keys).await.map_err(say)?;
    check_marks(&there, settings, &keys)?;
    let Some(head) = there.head.clone().filter(|head| head.seq > 0) else {
        return Err(format!("{} holds no events at {}: nothing to restore", keys.events(), settings.access.address));
    };
    match &key {
        None => unproved(
            "no chain key is configured, so that nothing shows who wrote these events; name it as [redis] chain_key"
                .to_owned(),
        )?,
        Some(key) if !head.sealed(key, &settings.fleet, there.meta("instance"), &there.seal) => {
            unproved(format!(
                "{} is not sealed with the chain key: it is another key, or somebody else wrote there",
                keys.head()
            ))?;
        }
        Some(_) => {}
    }

    let mut events: BTreeMap<u64, Event> = BTreeMap::new();
    if let Some(base) = &head.base {
        let (list, right) = walk::base(&mut connection, &keys, base).await.map_err(say)?;
        if !right {
            unproved(format!("{} is not the list that the head names", keys.base(base.seq)))?;
        }
        for json in list {
            let event = read(&json)?;
            events.insert(event.seq, event);
        }
    }
    let mut walker = Walker::new(&settings.fleet, head.base.as_ref());
    let (mut after, mut done, mut broken) = (String::new(), 0, false);
    loop {
        let page = walk::page(&mut connection, &keys, &after).await.map_err(say)?;
        let Some((id, _)) = page.last() else { break };
        after.clone_from(id);
        for (id, entry) in page {
            done += 1;
            if !broken && entry.seq > head.seq {
                unproved(format!("entry {id} lies behind the chain's head"))?;
                broken = true;
            } else if !broken && let Err(fault) = walker.step(&entry) {
                unproved(format!("entry {id} breaks the chain: {fault}"))?;
                broken = true;
            }
            match read(&entry.json) {
                Ok(event) => _ = events.insert(event.seq, event),
                Err(error) if broken => restored_lost(&mut unproved, error)?,
                Err(error) => return Err(error),
            }
        }
        tell(done, there.length);
    }
    if !broken && (walker.seq, walker.hash) != (head.seq, head.hash) {
        unproved(format!("the chain ends with event {}, its head says {}", walker.seq, head.seq))?;
        broken = true;
    }
    let mut events: Vec<Event> = events.into_values().collect();
    let Some(last) = events.last().map(|event| event.seq) else { return Err("no event can be read".to_owned()) };

    // Everything is here before anything is written.
    let bundles = policies(&mut connection, &keys, &events).await?;
    let folder = &settings.data_dir;
    restored.policies = write_bundles(&settings.policies(), &bundles)?;
    (restored.events, restored.last) = (events.len() as u64, last);
    let journal = settings.journal();
    let reason = format!("restored from Redis up to event {last}; look at the incidents, then `skynetctl resume`");
    let seq = last.checked_add(1).ok_or("the last event in Redis has a number that none can follow")?;
    // With the others in one write: there is never a restored log that is not halted.
    events.push(Event { seq, time: now, body: EventBody::Halted { by: BY.to_owned(), reason } });
    write_anew(&journal, &events).map_err(|e| e.to_string())?;
    // A chain that does not hold is not gone on with: the keys have to be moved away first, as the controller will say.
    if !broken {
        let mut state = State::new(folder, &settings.fleet)?;
        there.meta("instance").clone_into(&mut state.instance);
        (state.seq, state.hash) = (head.seq, head.hash);
        state.save()?;
    }
    Ok(restored)
}

fn restored_lost(unproved: &mut impl FnMut(String) -> Result<(), String>, error: String) -> Result<(), String> {
    unproved(format!("left out: {error}"))
}

fn read(json: &[u8]) -> Result<Event, String> {
    serde_json::from_slice(json).map_err(|error| {
        let text: String = String::from_utf8_lossy(json).chars().take(60).collect();
        format!("the event `{}...` in Redis is not one that this build knows: {error}", text.escape_debug())
    })
}

fn check_marks(there: &There, settings: &Settings, keys: &Keys) -> Result<(), String> {
    if there.meta.is_empty() {
        return Err(format!(
            "{} is not there at {}: nothing was ever copied there for fleet `{}`",
            keys.meta(),
            settings.access.address,
            settings.fleet
        ));
    }
    let version = there.meta("format");
    if version.parse::<u32>().ok().is_none_or(|version| version > FORMAT) {
        return Err(Trouble::Format { version: version.to_owned() }.to_string());
    }
    if there.meta("fleet") != settings.fleet {
        return Err(Trouble::OtherFleet { fleet: there.meta("fleet").to_owned(), key: keys.meta() }.to_string());
    }
    Ok(())
}

/// A policy's version, digest, and bundle with its signatures.
type Policy = (u64, String, Stored);

/// The bundles of the newest activations, and of the newest rollout. The one in force has to be there and to be what was
/// activated; a rollout without its bundle ends when the controller starts.
async fn policies(connection: &mut Connection, keys: &Keys, events: &[Event]) -> Result<Vec<Policy>, String> {
    let mut found = Vec::new();
    let activated = events.iter().rev().filter_map(|event| {
        let EventBody::PolicyActivated { version, digest, .. } = &event.body else { return None };
        Some((*version, digest.as_str()))
    });
    let activated =
        activated.take(POLICIES).enumerate().map(|(index, (version, digest))| (index == 0, version, digest));
    let rolled_out = events.iter().rev().find_map(|event| {
        let EventBody::RolloutStarted { version, digest, .. } = &event.body else { return None };
        Some((false, *version, digest.as_str()))
    });
    for (in_force, version, digest) in activated.chain(rolled_out) {
        if found.iter().any(|(known, _, _)| *known == version) {
            continue;
        }
        let stored = bundles::fetch(connection, keys, version).await.map_err(|trouble| trouble.to_string())?;
        match stored.filter(|stored| Bundle::digest(&stored.bundle) == digest) {
            Some(stored) => found.push((version, digest.to_owned(), stored)),
            None if in_force => {
                return Err(format!(
                    "policy {version} is in force by the events, but {} does not hold it: put its bundle there (SET), \
                     its SHA-256 is {digest}",
                    keys.policy(version)
                ));
            }
            None => {}
        }
    }
    Ok(found)
}

fn write_bundles(folder: &Path, bundles: &[Policy]) -> Result<u64, String> {
    std::fs::create_dir_all(folder).map_err(|e| format!("cannot make {}: {e}", folder.display()))?;
    for (version, digest, stored) in bundles {
        let signatures = stored.signatures.as_ref().map(|bytes| ("signatures", bytes));
        for (kind, bytes) in [("bundle", &stored.bundle)].into_iter().chain(signatures) {
            // The digest is compared with the bytes before, so that it is a name and no path.
            let path = folder.join(format!("{version}-{digest}.{kind}"));
            let written = std::fs::File::create(&path).and_then(|mut file| {
                file.write_all(bytes)?;
                file.sync_all()
            });
            written.map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        }
    }
    Ok(bundles.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_empty_folder_is_restored_into() {
        let folder = tempfile::tempdir().unwrap();
        check_empty(&folder.path().join("new")).unwrap();
        std::fs::write(folder.path().join("lock"), "").unwrap();
        check_empty(folder.path()).unwrap();
        std::fs::create_dir(folder.path().join("journal")).unwrap();
        let error = check_empty(folder.path()).unwrap_err();
        assert!(error.contains("journal is there") && error.contains("move the folder away"), "{error}");
    }
}
