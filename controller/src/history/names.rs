//! Names that many servers share are kept once.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use skynet_model::series::{Labels, SeriesKey};

use super::lock;

/// Names that are remembered; a fleet has a few hundred, and label sets of mounts, cores and interfaces by the thousand.
const MOST: usize = 16_384;

/// What was seen before.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: Mutex<(HashSet<Arc<str>>, HashSet<Labels>)>,
}

impl Names {
    /// The same key, made of memory that is there already where possible.
    pub(super) fn share(&self, key: &SeriesKey) -> SeriesKey {
        let mut known = lock(&self.known);
        let (names, labels) = &mut *known;
        SeriesKey { name: one_of(names, &key.name), labels: one_of(labels, &key.labels) }
    }
}

fn one_of<T: Clone + Eq + std::hash::Hash>(known: &mut HashSet<T>, wanted: &T) -> T {
    if let Some(known) = known.get(wanted) {
        return known.clone();
    }
    // Invented names do not stay for ever; whoever uses one holds it.
    if known.len() >= MOST {
        known.clear();
    }
    known.insert(wanted.clone());
    wanted.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_keys_are_kept_once_and_memory_is_bounded() {
        let names = Names::default();
        let key = || SeriesKey::new("disk.used_ratio", [("mount", "/")]);
        let (one, two) = (names.share(&key()), names.share(&key()));
        assert!(Arc::ptr_eq(&one.name, &two.name) && one == key());
        for i in 0..2 * MOST {
            names.share(&SeriesKey::new("x", [("n", i.to_string())]));
        }
        assert!(lock(&names.known).1.len() <= MOST);
    }
}
