//! `skynet-controller init`: the files a fleet begins with, made on the operator's own machine.
//!
//! All that can be wrong is found before the first file is written. A file that exists is never touched, and what was written
//! before something failed is taken away again, so that a second try finds what the first one found.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rcgen::KeyPair;
use skynet_model::name::{NameError, ServerId};
use skynet_model::sign::{Signers, Trust};
use skynet_model::time::{Span, Timestamp};

use super::CertsError;

/// How long the CA is valid: ten years.
const CA_VALID: Span = Span::hours(10 * 365 * 24);
/// How long the controller's certificate is valid: a year.
const CONTROLLER_VALID: Span = Span::hours(365 * 24);
/// Largest public key file that is read, in bytes.
const MAX_KEY_BYTES: u64 = 16 << 10;
/// What the operators' keys count for: Skynet's documents, and no mail or commit that the same key signs.
const NAMESPACES: &str = "skynet-*";

/// What `init` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct InitArgs {
    /// The folder to write into; made if need be.
    folder: PathBuf,
    /// The fleet's name: 1 to 128 of a-z, 0-9, `-`, `.` and `_`. It cannot be changed later.
    #[arg(long)]
    fleet: String,
    /// An operator who signs policy, and the file of the public SSH key; once for each operator.
    #[arg(long = "signer", value_name = "NAME=KEY.pub", required = true)]
    signers: Vec<String>,
    /// How many operators must sign.
    #[arg(long, default_value_t = 1)]
    signers_needed: u32,
    /// Where agents will connect.
    #[arg(long, default_value = "[::]:7700")]
    listen: SocketAddr,
    /// Where the controller will keep its data.
    #[arg(long, default_value = "/var/lib/skynet")]
    data_dir: String,
}

/// Why no fleet was begun. Nothing was written, or it was taken away again.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The fleet's name does not fit.
    #[error("--fleet: {0}")]
    Fleet(#[from] NameError),
    /// A signer is not usable.
    #[error("--signer {text}: {why}")]
    Signer {
        /// What was given.
        text: String,
        /// What is wrong, with the remedy.
        why: String,
    },
    /// The signers together are not usable.
    #[error("the signers do not do: {0}")]
    Signers(String),
    /// Something is there already.
    #[error("{0} exists and is not overwritten; choose another folder")]
    Exists(String),
    /// Certificates cannot be made, or files cannot be written.
    #[error(transparent)]
    Certs(#[from] CertsError),
}

/// A file to be: its name, what it holds, its mode.
struct Planned {
    name: &'static str,
    text: String,
    mode: u32,
}

/// Makes the files and says what to do next.
///
/// # Errors
/// [`InitError`].
pub fn init(args: &InitArgs, now: Timestamp) -> Result<String, InitError> {
    ServerId::new(&args.fleet)?;
    let (signers, digest) = signers(args)?;
    let (files, pin) = plan(args, signers, now)?;
    write_all(&args.folder, &files)?;
    Ok(next_steps(args, &pin, &digest))
}

/// The signers file and its SHA-256.
fn signers(args: &InitArgs) -> Result<(String, String), InitError> {
    let mut text = format!("# Whose signatures fleet {} takes.\n", args.fleet);
    let mut names: Vec<&str> = Vec::new();
    for given in &args.signers {
        let bad = |why: String| InitError::Signer { text: given.chars().take(300).collect(), why };
        let (name, file) = given.split_once('=').ok_or_else(|| bad("NAME=KEY.pub is needed".to_owned()))?;
        // `*`, `?`, `!` and `,` are patterns in a signers file: a name that matches others would count as each of them.
        let plain = |c: char| c.is_ascii_alphanumeric() || "@.-_+".contains(c);
        if name.is_empty() || name.len() > 128 || !name.chars().all(plain) {
            return Err(bad("a name is 1 to 128 letters, digits, `@`, `.`, `-`, `_` and `+`".to_owned()));
        }
        if names.contains(&name) {
            return Err(bad(format!("`{name}` is given twice; each operator needs a name and a key of their own")));
        }
        let key = public_key(Path::new(file)).map_err(bad)?;
        let line = format!("{name} namespaces=\"{NAMESPACES}\" {key}\n");
        Signers::parse(&line).map_err(|mistakes| {
            let first = mistakes.first().map(ToString::to_string).unwrap_or_default();
            bad(format!("{file} is no public key that can sign: {first}"))
        })?;
        names.push(name);
        text.push_str(&line);
    }
    let parsed = Signers::parse(&text).map_err(|mistakes| {
        InitError::Signers(mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    })?;
    if parsed.len() < names.len() {
        return Err(InitError::Signers(
            "two operators have the same key; such a pair never counts as two: give each a key of their own".to_owned(),
        ));
    }
    let digest = parsed.digest().to_owned();
    Trust::new(Some(parsed), args.signers_needed, false).map_err(InitError::Signers)?;
    Ok((text, digest))
}

/// Type and key of a `.pub` file; its comment is left out, for it is not signed by anyone.
fn public_key(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    file.take(MAX_KEY_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    if text.len() as u64 > MAX_KEY_BYTES {
        return Err(format!("{} has more than {MAX_KEY_BYTES} bytes; a public key is needed", path.display()));
    }
    if text.contains("PRIVATE KEY") {
        return Err(format!("{} is a private key; give the file that ends in .pub", path.display()));
    }
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Err(format!("{} must hold one public key, on one line", path.display()));
    };
    let mut words = line.split_ascii_whitespace();
    match (words.next(), words.next()) {
        (Some(kind), Some(key)) => Ok(format!("{kind} {key}")),
        _ => Err(format!("{} must hold a public key: its type, then the key", path.display())),
    }
}

/// What will be written, and the SHA-256 of the CA's certificate.
fn plan(args: &InitArgs, signers: String, now: Timestamp) -> Result<(Vec<Planned>, String), CertsError> {
    let ca = super::authority(&args.fleet, now, CA_VALID)?;
    let key = KeyPair::generate()?;
    let cert =
        super::leaf(&args.fleet, "controller/main", "controller", now, CONTROLLER_VALID)?.signed_by(&key, &ca)?;
    let pin = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, ca.der());
    let pin = pin.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let files = vec![
        Planned { name: "ca.key", text: ca.key().serialize_pem(), mode: 0o600 },
        Planned { name: "ca.pem", text: ca.pem(), mode: 0o644 },
        Planned { name: "controller.key", text: key.serialize_pem(), mode: 0o600 },
        Planned { name: "controller.pem", text: cert.pem(), mode: 0o644 },
        Planned { name: "allowed_signers", text: signers, mode: 0o644 },
        Planned { name: "controller.toml", text: configuration(args), mode: 0o644 },
    ];
    Ok((files, pin))
}

fn configuration(args: &InitArgs) -> String {
    // A JSON string is a TOML string.
    let data_dir = serde_json::Value::from(args.data_dir.as_str());
    format!(
        "# Relative paths are relative to this file's folder.\n\
         fleet = \"{fleet}\"\n\
         # Where agents connect.\n\
         listen = \"{listen}\"\n\
         ca = \"ca.pem\"\n\
         cert = \"controller.pem\"\n\
         key = \"controller.key\"\n\
         data_dir = {data_dir}\n\
         # Whose policy is taken, and how many must sign it.\n\
         signers = \"allowed_signers\"\n\
         signers_needed = {needed}\n\
         # For Prometheus; keep it on loopback.\n\
         # metrics_listen = \"127.0.0.1:9470\"\n",
        fleet = args.fleet,
        listen = args.listen,
        needed = args.signers_needed,
    )
}

/// Writes all of the files or none.
fn write_all(folder: &Path, files: &[Planned]) -> Result<(), InitError> {
    let failed = |place: &Path, source| CertsError::Write { place: place.display().to_string(), source };
    for file in files {
        let path = folder.join(file.name);
        // A dangling link is something that exists, too.
        if path.symlink_metadata().is_ok() {
            return Err(InitError::Exists(path.display().to_string()));
        }
    }
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|e| failed(folder, e))?;
    let mut written: Vec<PathBuf> = Vec::new();
    for file in files {
        let path = folder.join(file.name);
        let done = OpenOptions::new().write(true).create_new(true).mode(file.mode).open(&path).and_then(|mut open| {
            written.push(path.clone());
            open.write_all(file.text.as_bytes())?;
            open.sync_all()
        });
        if let Err(error) = done {
            for path in &written {
                // The first error is the one to tell.
                let _ = std::fs::remove_file(path);
            }
            return Err(failed(&path, error).into());
        }
    }
    File::open(folder).and_then(|open| open.sync_all()).map_err(|e| failed(folder, e))?;
    Ok(())
}

fn next_steps(args: &InitArgs, pin: &str, signers: &str) -> String {
    let folder = args.folder.display();
    format!(
        "Fleet {fleet} begins in {folder}.\n\
         \x20 CA              sha256:{pin}, valid for 10 years\n\
         \x20 allowed_signers sha256:{signers}, {count} given, {needed} must sign\n\
         \x20 controller.pem  valid for a year\n\
         \n\
         Next:\n\
         1. Put {folder}/ca.key somewhere safe and offline. Who has it can be any server and any controller of the fleet;\n\
         \x20  the controller does not need it to run.\n\
         2. Copy the other five files into /etc/skynet on the controller; controller.key for its user alone.\n\
         3. There: skynet-controller check-config && skynet-controller run\n\
         4. Put ca.pem and allowed_signers on every server, by your own means and not through the controller.",
        fleet = args.fleet,
        count = args.signers.len(),
        needed = args.signers_needed,
    )
}
