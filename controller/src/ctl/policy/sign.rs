//! `policy sign`: the operator's own `ssh-keygen` signs; no key ever enters this program.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;
use skynet_model::policy::Bundle;
use skynet_model::sign::{MAX_SIGNATURE_BYTES, MAX_SIGNATURES, POLICY_NAMESPACE};

use super::super::Failure;
use super::super::age::to_the_second;
use super::super::args::Output;
use super::super::folder;
use super::super::page::{Ink, Page};
use super::super::print::Printer;
use super::{build, read_bundle};

/// Signs a bundle and writes the signature beside it.
///
/// # Errors
/// [`Failure`].
pub(in super::super) fn sign(
    bundle: &Path,
    key: &Path,
    name: Option<&str>,
    output: Output,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let read = read_bundle(bundle)?;
    let bytes = read.encode();
    let target = target(bundle, key, name)?;
    let failed =
        |error: &dyn std::fmt::Display| Failure::Failed(format!("ssh-keygen cannot be run: {error}; install it"));
    // From standard input to standard output: passphrase, agent and touch go by the terminal, as its user knows them.
    // What was read is signed, whatever the file holds by now.
    let run = Command::new("ssh-keygen")
        .args(["-q", "-Y", "sign", "-n", POLICY_NAMESPACE, "-f"])
        .arg(key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            if let Some(mut input) = child.stdin.take() {
                // One that ends before it has read all says why, and with which code.
                drop(input.write_all(&bytes));
            }
            child.wait_with_output()
        })
        .map_err(|error| failed(&error))?;
    if !run.status.success() || run.stdout.is_empty() {
        return Err(Failure::Failed(format!("ssh-keygen did not sign ({}) with {}", run.status, key.display())));
    }
    build::write(&target, &run.stdout)?;
    let (path, digest) = (target.display().to_string(), Bundle::digest(&bytes));
    let document = json!({
        "signature": path, "fleet": read.fleet, "version": read.version, "expires": read.expires, "digest": digest,
    });
    match output {
        Output::Json | Output::Yaml => printer.document(&document.to_string(), output),
        Output::Table => {
            let mut page = Page::new();
            page.line([
                Ink::Green.on(format!("signed policy v{}", read.version)),
                format!(" of fleet {}, expires {}: {path}", read.fleet, to_the_second(read.expires)).into(),
            ]);
            page.line([format!("digest {digest}").into()]);
            printer.page(&page)
        }
    }
}

/// Where the signature goes: never over another one.
fn target(bundle: &Path, key: &Path, name: Option<&str>) -> Result<PathBuf, Failure> {
    let file = bundle.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let first = bundle.with_file_name(format!("{file}.sig"));
    let name = match name {
        None if !first.exists() => return Ok(first),
        None => key.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        Some(name) => name.to_owned(),
    };
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'@')) {
        return Err(Failure::Usage(format!(
            "`{name}` is no name for a file: say --name with letters, digits, - and _"
        )));
    }
    let named = bundle.with_file_name(format!("{file}.{name}.sig"));
    if named.exists() {
        return Err(Failure::Failed(format!("{} is there already: take it away, or say --name", named.display())));
    }
    Ok(named)
}

/// The signatures beside a bundle, by name: `BUNDLE.sig` and `BUNDLE.*.sig`.
///
/// # Errors
/// The folder or a signature cannot be read, or there are too many.
pub(super) fn beside(bundle: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>, Failure> {
    let failed =
        |path: &Path, error: std::io::Error| Failure::Failed(format!("cannot read {}: {error}", path.display()));
    let folder = bundle.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let start = format!("{}.", bundle.file_name().unwrap_or_default().to_string_lossy());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| failed(folder, e))? {
        let entry = entry.map_err(|e| failed(folder, e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let rest = name.strip_prefix(&start);
        if rest.is_some_and(|rest| rest == "sig" || rest.ends_with(".sig")) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    if paths.len() > MAX_SIGNATURES {
        let (count, place) = (paths.len(), bundle.display());
        return Err(Failure::Failed(format!(
            "there are {count} signatures beside {place}; at most {MAX_SIGNATURES} are sent"
        )));
    }
    let read = |path: PathBuf| match folder::read_file(&path, MAX_SIGNATURE_BYTES) {
        Ok(bytes) => Ok((path, bytes)),
        Err(error) => Err(failed(&path, error)),
    };
    paths.into_iter().map(read).collect()
}
