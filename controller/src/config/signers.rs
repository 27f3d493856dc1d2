//! Reading a signers file, for the controller and for `skynetctl policy verify`.

use std::io::Read;
use std::path::Path;

use skynet_model::sign::{MAX_SIGNERS_BYTES, Signers};

/// Reads and parses an `allowed_signers` file.
///
/// # Errors
/// Every mistake in words, a line each, with the file's name and line.
pub fn read(path: &Path) -> Result<Signers, String> {
    let place = path.display();
    let file = std::fs::File::open(path).map_err(|e| format!("cannot read the signers file {place}: {e}"))?;
    let mut text = String::new();
    let limited = file.take(MAX_SIGNERS_BYTES as u64 + 1).read_to_string(&mut text);
    limited.map_err(|e| format!("cannot read the signers file {place}: {e}"))?;
    Signers::parse(&text).map_err(|mistakes| {
        let lines: Vec<String> = mistakes.iter().map(|mistake| format!("{place}, {mistake}")).collect();
        lines.join("\n")
    })
}
