//! The house's rules (ARCHITECTURE.md, "Invariants"), as far as a program can read them off the sources.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every Rust file below `dir`, without generated code and build output.
fn sources(dir: &str) -> Vec<(String, String)> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() && !matches!(name.as_str(), "target" | "gen" | "node_modules" | ".git") {
                walk(&path, found);
            } else if name.ends_with(".rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(dir), &mut found);
    found.sort();
    assert!(!found.is_empty(), "no sources below {dir}: this test looks in the wrong place");
    let name = |p: &Path| p.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
    found.iter().map(|p| (name(p), fs::read_to_string(p).unwrap())).collect()
}

/// The file without its comments and its inline test module.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

const CRATES: [(&str, &str, &[&str]); 7] = [
    ("skynet-model", "proto/model", &[]),
    ("skynet-proto", "proto", &["skynet-model"]),
    ("skynet-node", "agent/node", &["skynet-model"]),
    ("skynet-engine", "controller/engine", &["skynet-model"]),
    ("skynet-agent", "agent", &["skynet-model", "skynet-node", "skynet-proto"]),
    ("skynet-controller", "controller", &["skynet-engine", "skynet-model", "skynet-node", "skynet-proto"]),
    (
        "skynet-tests",
        "tests",
        &["skynet-agent", "skynet-controller", "skynet-engine", "skynet-model", "skynet-node", "skynet-proto"],
    ),
];

#[test]
fn crates_import_only_whom_they_may() {
    for (name, dir, allowed) in CRATES {
        let manifest = fs::read_to_string(root().join(dir).join("Cargo.toml")).unwrap();
        let mut section = "";
        for line in manifest.lines().map(str::trim) {
            if line.starts_with('[') {
                section = line;
            }
            if section != "[dependencies]" || !line.starts_with("skynet-") {
                continue;
            }
            let dependency = line.split(['.', ' ', '=']).next().unwrap();
            assert!(
                allowed.contains(&dependency),
                "{name} may not import {dependency} (ARCHITECTURE.md, \"Who may import whom\")"
            );
        }
    }
}

#[test]
fn rooms_name_only_what_is_theirs() {
    // (what is named, the crate, where it may be named, why)
    let rules: [(&str, &str, &[&str]); 5] = [
        ("skynet_node", "controller/src", &["controller/src/fleet/"]),
        ("russh", "controller/src", &["controller/src/fleet/ssh"]),
        ("redis::", "controller/src", &["controller/src/journal/redis.rs", "controller/src/history/redis.rs"]),
        ("tonic", "agent/node/src", &[]),
        ("skynet_proto", "agent/node/src", &[]),
    ];
    for (word, dir, places) in rules {
        for (file, text) in sources(dir) {
            let allowed = places.iter().any(|p| file.starts_with(p));
            assert!(allowed || !code(&text).contains(word), "{file} names {word}; only {places:?} may");
        }
    }
}

#[test]
fn extensions_never_import_each_other() {
    let mut rooms: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let dirs = ["agent/node/src/sensors", "agent/node/src/actions", "controller/src/notify"];
    for dir in dirs {
        for (file, _) in sources(dir) {
            let name = Path::new(&file).strip_prefix(dir).unwrap().components().next().unwrap();
            rooms.entry(dir).or_default().push(name.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned());
        }
    }
    for (dir, names) in rooms {
        let room = dir.rsplit('/').next().unwrap();
        for (file, text) in sources(dir) {
            let own = Path::new(&file).strip_prefix(dir).unwrap().components().next().unwrap();
            let own = own.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned();
            // `testing` is the room's own fixture, compiled for tests alone.
            for other in names.iter().filter(|n| **n != own && *n != "testing") {
                for path in [format!("{room}::{other}::"), format!("super::{other}::"), format!("super::{{{other}")] {
                    assert!(
                        !code(&text).contains(&path),
                        "{file} imports its sibling {other}; share through the room itself"
                    );
                }
            }
        }
    }
}

#[test]
fn sensors_and_actions_are_registered() {
    for (dir, registry) in [
        ("agent/node/src/sensors", "agent/node/src/sensors.rs"),
        ("agent/node/src/actions", "agent/node/src/actions.rs"),
    ] {
        let list = fs::read_to_string(root().join(registry)).unwrap();
        for (file, text) in sources(dir) {
            if !text.contains("pub const SPEC")
                && !text.contains("pub static SPEC")
                && !text.contains("pub(super) const SPEC")
            {
                continue;
            }
            let name = Path::new(&file).file_stem().unwrap().to_string_lossy().into_owned();
            assert!(list.contains(&format!("{name}::")), "{file} declares a SPEC that {registry} does not list");
        }
    }
}

#[test]
fn unsafe_code_is_in_one_file_of_the_tests() {
    let word = ["uns", "afe"].concat();
    for dir in ["agent", "controller", "proto", "tests"] {
        for (file, text) in sources(dir) {
            let found =
                code(&text).lines().any(|l| l.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == word));
            assert!(!found || file == "tests/tests/allocations.rs", "{file} is {word}");
        }
    }
}

#[test]
fn engine_and_model_are_pure() {
    let words = [
        "tokio",
        "tonic",
        "redis",
        "std::fs",
        "std::net",
        "std::process",
        "std::thread",
        "std::env",
        "Instant::now",
        "SystemTime::now",
        "rand::",
        "std::io",
    ];
    for dir in ["controller/engine/src", "proto/model/src"] {
        for (file, text) in sources(dir) {
            for word in words {
                assert!(
                    !code(&text).contains(word),
                    "{file} names {word}: engine and model are functions of their arguments"
                );
            }
        }
    }
}

#[test]
fn the_dependency_trees_of_engine_and_model_hold_no_io() {
    let banned = [
        "tokio",
        "tokio-rustls",
        "tonic",
        "redis",
        "mio",
        "socket2",
        "hyper",
        "reqwest",
        "rustls",
        "rustix",
        "nix",
        "async-std",
        "smol",
        "notify",
        "tempfile",
        "skynet-proto",
        "skynet-node",
    ];
    for package in ["skynet-engine", "skynet-model"] {
        let tree = std::process::Command::new(env!("CARGO"))
            .args(["tree", "-p", package, "-e", "normal", "--prefix", "none", "--locked", "--offline"])
            .current_dir(root())
            .output()
            .unwrap();
        assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
        let text = String::from_utf8(tree.stdout).unwrap();
        assert!(text.contains("serde"), "the tree of {package} is empty");
        for line in text.lines() {
            let name = line.split(' ').next().unwrap_or_default();
            assert!(!banned.contains(&name), "{package} depends on {name}");
        }
    }
}

#[test]
fn files_are_short_and_none_is_a_drawer_of_leftovers() {
    for dir in ["agent", "controller", "proto", "tests"] {
        for (file, text) in sources(dir) {
            let lines = text.lines().count();
            let reason = text.lines().take(12).any(|l| l.contains("Long because"));
            assert!(
                lines <= 600 || reason,
                "{file} has {lines} lines; split it, or say in its first comment: Long because ..."
            );
            let stem = Path::new(&file).file_stem().unwrap().to_string_lossy().into_owned();
            assert!(
                !matches!(stem.as_str(), "utils" | "util" | "common" | "helpers" | "misc"),
                "{file}: name the thing it defines"
            );
            assert!(stem != "mod", "{file}: x.rs beside x/, not mod.rs");
        }
    }
}

#[test]
fn mains_are_short_and_the_top_level_is_what_it_should_be() {
    for main in ["agent/src/main.rs", "controller/src/main.rs", "controller/src/bin/skynetctl.rs"] {
        let lines = fs::read_to_string(root().join(main)).unwrap().lines().count();
        assert!(lines <= 60, "{main} has {lines} lines; at most 60");
    }
    for file in [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "LICENSE",
        "Makefile",
        "clippy.toml",
        "deny.toml",
        "rustfmt.toml",
        ".config/nextest.toml",
        ".ci/run",
        "Cargo.lock",
    ] {
        assert!(root().join(file).is_file(), "{file} is missing");
    }
    let folders = ["agent", "controller", "proto", "packaging", "tests", "docs", "target"];
    for entry in fs::read_dir(root()).unwrap().flatten().filter(|e| e.path().is_dir()) {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(name.starts_with('.') || folders.contains(&name.as_str()), "{name}/ has no place at the top level");
    }
}
