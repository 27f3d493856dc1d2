//! Broken policies and what is said about them: one fault to a file, each message good enough to act on.
//!
//! `tests/broken/NAME.yaml` is read under its own name; `NAME.txt` is what `policy check` says, a line a mistake.
//! `UPDATE_GOLDEN=1` writes what is missing and never changes what is there. Names that begin with `shape-` have a fault
//! that an editor can find by the schema alone.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use skynet_model::policy::{File, load};

use crate::catalogue::CATALOGUE;

/// The folder of the corpus.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken")
}

/// Names and texts of the corpus, in order of name.
pub(crate) fn corpus() -> Vec<(String, String)> {
    let mut corpus: Vec<(String, String)> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(&path).unwrap()))
        .collect();
    corpus.sort();
    corpus
}

#[test]
fn every_broken_policy_is_told_as_people_can_use_it() {
    let corpus = corpus();
    assert!(corpus.len() >= 100, "{} broken policies", corpus.len());
    let mut wrong = String::new();
    for (name, text) in &corpus {
        let file = File { name: format!("{name}.yaml"), text: text.clone() };
        let told = match load(&[file], &CATALOGUE) {
            Ok(_) => {
                let _ = writeln!(wrong, "{name}: it loads");
                continue;
            }
            Err(mistakes) => mistakes,
        };
        let lines: String = told.iter().map(|mistake| format!("{mistake}\n")).collect();
        let golden = folder().join(format!("{name}.txt"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() && !golden.exists() {
            std::fs::write(&golden, &lines).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        if lines != expected {
            let _ = writeln!(wrong, "{name}\n--- expected\n{expected}--- told\n{lines}");
        }
        let places: BTreeSet<(u32, u32)> = told.iter().map(|m| (m.line, m.column)).collect();
        let rows: Vec<&str> = text.lines().collect();
        for (line, column) in places {
            // The end of the text is one row further where a bracket is still open there.
            let row = rows.get(line as usize - 1).copied().unwrap_or_default();
            if column as usize > row.chars().count() + 1 || line as usize > rows.len() + 1 {
                let _ = writeln!(wrong, "{name}: {line}:{column} is not in the text");
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn no_golden_message_is_left_behind() {
    let names: BTreeSet<String> = corpus().into_iter().map(|(name, _)| name).collect();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(names.contains(&name), "{} has no policy", path.display());
    }
}
