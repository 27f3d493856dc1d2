//! Policy bundles: there before the event that activates them, gone with those that the controller lets go.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Keys, Trouble};
use crate::journal::{Call, Connection, Reply};

/// Largest bundle that is sent.
const MAX_BUNDLE: u64 = 8 << 20;

/// A bundle's file: its version and digest.
fn parse(name: &str) -> Option<(u64, String)> {
    let (version, digest) = name.strip_suffix(".bundle")?.split_once('-')?;
    Some((version.parse().ok()?, digest.to_owned()))
}

fn on_disk(folder: &Path) -> BTreeMap<u64, BTreeSet<String>> {
    let mut found: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if let Some((version, digest)) = parse(&entry.file_name().to_string_lossy()) {
            found.entry(version).or_default().insert(digest);
        }
    }
    found
}

/// Sends the bundles that `folder` holds and Redis does not; takes away those that are not kept here any more.
pub(super) async fn mirror(connection: &mut Connection, keys: &Keys, folder: &Path) -> Result<(), Trouble> {
    let reply = connection.call(&Call::new("HGETALL").arg(keys.policies())).await?;
    let there: BTreeMap<u64, String> = reply
        .list()
        .chunks(2)
        .filter_map(|pair| {
            let [version, digest] = pair else { return None };
            Some((version.text()?.parse().ok()?, digest.text()?.to_owned()))
        })
        .collect();
    let here = on_disk(folder);
    for (version, digests) in &here {
        for digest in digests {
            if there.get(version) == Some(digest) {
                continue;
            }
            let path = folder.join(format!("{version}-{digest}.bundle"));
            // One that compaction of versions has just deleted is not needed.
            let Ok(size) = std::fs::metadata(&path).map(|m| m.len()) else { continue };
            if size > MAX_BUNDLE {
                tracing::warn!("{} has {size} bytes; only {MAX_BUNDLE} are copied offsite", path.display());
                continue;
            }
            let Ok(bytes) = std::fs::read(&path) else { continue };
            let number = version.to_string();
            let mut calls = vec![Call::new("SET").arg(keys.policy(*version)).arg(bytes)];
            // On disk before the bundle is.
            if let Ok(signatures) = std::fs::read(folder.join(format!("{version}-{digest}.signatures"))) {
                calls.push(Call::new("HSET").arg(keys.policies()).arg(signatures_of(*version)).arg(signatures));
            }
            calls.push(Call::new("HSET").arg(keys.policies()).arg(&number).arg(digest));
            connection.pipeline(calls).await?;
        }
    }
    for version in there.keys().filter(|version| !here.contains_key(version)) {
        let calls = vec![
            Call::new("HDEL").arg(keys.policies()).number(*version).arg(signatures_of(*version)),
            Call::new("DEL").arg(keys.policy(*version)),
        ];
        connection.pipeline(calls).await?;
    }
    Ok(())
}

/// The field of the versions' hash that holds a bundle's signatures, as they lie on disk.
fn signatures_of(version: u64) -> String {
    format!("{version}.signatures")
}

/// A bundle, and its signatures where it has any.
pub(super) struct Stored {
    pub(super) bundle: Vec<u8>,
    pub(super) signatures: Option<Vec<u8>>,
}

/// A bundle by its version, if it is there.
pub(super) async fn fetch(connection: &mut Connection, keys: &Keys, version: u64) -> Result<Option<Stored>, Trouble> {
    let bytes = |reply| match reply {
        Reply::Bytes(bytes) => Some(bytes),
        Reply::Nil | Reply::Int(_) | Reply::List(_) => None,
    };
    let bundle = connection.call(&Call::new("GET").arg(keys.policy(version))).await?;
    let Some(bundle) = bytes(bundle) else { return Ok(None) };
    let signatures = connection.call(&Call::new("HGET").arg(keys.policies()).arg(signatures_of(version))).await?;
    Ok(Some(Stored { bundle, signatures: bytes(signatures) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bundles_are_taken_for_bundles() {
        assert_eq!(parse("12-ab.bundle"), Some((12, "ab".to_owned())));
        for other in ["new.tmp", "12.bundle", "x-ab.bundle", "12-ab.tmp"] {
            assert_eq!(parse(other), None);
        }
    }
}
