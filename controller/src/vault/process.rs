//! What the whole process gives up, so that its memory cannot be had.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// No core image is written, and no other process of the same user can read this one's memory. Done once, first.
///
/// # Errors
/// The system's, in words.
pub fn harden() -> Result<(), String> {
    let refused = |e: rustix::io::Errno| format!("the system lets core images of this process be written: {e}");
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).map_err(refused)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(refused)
}
