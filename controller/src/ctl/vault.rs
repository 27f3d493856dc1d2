//! `unseal` and `seal`: keys go from standard input straight to the vault's socket.

use std::io::{IsTerminal, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::json;

use super::Failure;
use super::args::Output;
use super::clean::clean;
use super::link::unreachable;
use super::operate::answer;
use super::print::Printer;
use crate::vault;

/// Longest answer that is read, in bytes.
const MAX_ANSWER: u64 = 64 << 10;

/// Brings keys.
///
/// # Errors
/// [`Failure`].
pub(super) fn unseal(socket: &Path, output: Output, printer: &mut Printer) -> Result<(), Failure> {
    let keys = std::io::stdin();
    if keys.is_terminal() {
        let text = "the keys come on standard input: age -d keys.age | ssh controller skynetctl unseal";
        return Err(Failure::Usage(text.to_owned()));
    }
    // They pass through this process too.
    vault::harden().map_err(Failure::Failed)?;
    let said = speak(socket, vault::UNSEAL, keys.lock())?;
    answer(&json!({ "sealed": false }).to_string(), &said, output, printer)
}

/// Takes the keys away.
///
/// # Errors
/// [`Failure`].
pub(super) fn seal(socket: &Path, output: Output, printer: &mut Printer) -> Result<(), Failure> {
    let said = speak(socket, vault::SEAL, std::io::empty())?;
    answer(&json!({ "sealed": true }).to_string(), &said, output, printer)
}

fn speak(operators: &Path, verb: &[u8], keys: impl Read) -> Result<String, Failure> {
    let socket = vault::socket(operators);
    let mut stream = UnixStream::connect(&socket).map_err(|e| unreachable(&socket, &e))?;
    let sent = stream.write_all(verb).and_then(|()| {
        std::io::copy(&mut keys.take(vault::MAX_BYTES as u64 + 1), &mut stream)?;
        stream.shutdown(Shutdown::Write)
    });
    // Whoever is refused is told so before everything is sent.
    let mut text = String::new();
    let heard = (&stream).take(MAX_ANSWER).read_to_string(&mut text);
    let text = clean(text.trim_end()).into_owned();
    if let Some(why) = text.strip_prefix("refused ") {
        return Err(Failure::Failed(why.to_owned()));
    }
    sent.and(heard).map_err(|e| Failure::Failed(format!("the vault did not answer: {e}")))?;
    let said = text.strip_prefix("ok ").map(str::to_owned);
    said.ok_or_else(|| Failure::Failed("the vault did not say what became of it; see the controller's log".to_owned()))
}
