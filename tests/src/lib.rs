//! What end-to-end tests and the bench share: the folder of built programs, the demo's stage, simulated agents.

pub mod bench;
pub mod gauge;
pub mod hostile;
pub mod load;
pub mod peers;
pub mod redis;
pub mod relay;
pub mod signing;
pub mod sim;

use std::path::PathBuf;

pub use skynet_controller::demo::stage::{Log, SERVER, Stage};

/// The folder with `skynet-agent`, `skynet-controller` and `skynetctl` of this build (`cargo build --workspace --bins`).
///
/// # Panics
/// When they are not built.
#[must_use]
pub fn programs() -> PathBuf {
    let own = std::env::current_exe().expect("a test program has a path");
    let dir = own.ancestors().nth(2).expect("target/PROFILE/deps/TEST").to_owned();
    for program in ["skynet-agent", "skynet-controller", "skynetctl"] {
        assert!(
            dir.join(program).is_file(),
            "{program} is not built: run `make test`, or `cargo build --workspace --bins`"
        );
    }
    dir
}

/// A stage with these servers; nothing runs yet.
///
/// # Panics
/// When it cannot be set.
pub async fn stage(servers: &[&str]) -> Stage {
    Stage::set_with(&programs(), servers).await.expect("the stage is set")
}

/// Whether to skip, having said so: the test touches what only root may.
#[must_use]
pub fn skip_without_root(what: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root for {what}");
    }
    !root
}
