//! `policy build`: a folder becomes the one file that is signed.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde_json::json;
use skynet_model::catalogue::Catalogue;
use skynet_model::policy::{Bundle, MAX_BUNDLE_BYTES};
use skynet_model::time::{Span, Timestamp};

use super::super::Failure;
use super::super::age::to_the_second;
use super::super::args::Output;
use super::super::clock;
use super::super::link::Link;
use super::super::page::{Ink, Page};
use super::super::print::{Printer, remark};
use super::{Checked, bundle_of, next_version, sign, tell};

/// What is to be built.
pub(in super::super) struct Build<'a> {
    /// From which folder.
    pub(in super::super) dir: &'a Path,
    /// Into which file.
    pub(in super::super) out: &'a Path,
    /// None: the controller's newest and one more.
    pub(in super::super) version: Option<u64>,
    /// A span.
    pub(in super::super) valid: &'a str,
    /// An instant, which wins.
    pub(in super::super) expires: Option<&'a str>,
}

/// Checks the folder and writes its bundle.
///
/// # Errors
/// [`Failure`].
pub(in super::super) async fn build(
    socket: &Path,
    asked: &Build<'_>,
    catalogue: &Catalogue,
    output: Output,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let expires = expiry(asked)?;
    let Checked { files, result, .. } = Checked::read(asked.dir, catalogue)?;
    let policy = match result {
        Ok(policy) => policy,
        Err(mistakes) => return Err(tell(&mistakes, &files, output, printer)),
    };
    let version = match asked.version {
        Some(version) => version,
        None => match Link::open(socket).await {
            Ok(mut link) => next_version(&mut link).await?,
            Err(error) => {
                return Err(Failure::Usage(format!(
                    "the newest version is not known ({error}): say --version N, higher than any before"
                )));
            }
        },
    };
    let bundle = bundle_of(files, &policy, version, expires);
    let bytes = bundle.encode();
    if bytes.len() > MAX_BUNDLE_BYTES {
        let size = bytes.len();
        return Err(Failure::Failed(format!("the policy has {size} bytes; at most {MAX_BUNDLE_BYTES} can be sent")));
    }
    let same = std::fs::read(asked.out).is_ok_and(|before| before == bytes);
    if !same {
        write(asked.out, &bytes)?;
        for (path, _) in sign::beside(asked.out)? {
            remark(&format!("{} was made for other bytes: sign anew", path.display()));
        }
    }
    let (out, digest) = (asked.out.display().to_string(), Bundle::digest(&bytes));
    let document = json!({
        "bundle": out, "fleet": bundle.fleet, "version": version, "expires": expires, "digest": digest,
        "bytes": bytes.len(), "signers": policy.fleet.signers,
    });
    match output {
        Output::Json | Output::Yaml => printer.document(&document.to_string(), output),
        Output::Table => {
            let mut page = Page::new();
            page.line([
                Ink::Green.on(format!("policy v{version}")),
                format!(
                    " of fleet {} is in {out}, {} bytes, expires {}",
                    bundle.fleet,
                    bytes.len(),
                    to_the_second(expires)
                )
                .into(),
            ]);
            page.line([format!("digest {digest}").into()]);
            let count = policy.fleet.signers.max(1);
            page.line([format!("to be signed by {count}: skynetctl policy sign {out} -f KEY").into()]);
            printer.page(&page)
        }
    }
}

fn expiry(asked: &Build<'_>) -> Result<Timestamp, Failure> {
    let now = clock::now();
    let expires = match asked.expires {
        Some(text) => {
            let time = text.parse::<jiff::Timestamp>();
            let time =
                time.map_err(|_| Failure::Usage(format!("--expires {text} is no instant like 2027-02-01T00:00:00Z")))?;
            Timestamp(time.as_millisecond())
        }
        None => {
            let valid: Span = asked.valid.parse().map_err(|error| Failure::Usage(format!("--valid: {error}")))?;
            // To the second, as it is shown.
            Timestamp(now.plus(valid).0 / 1000 * 1000)
        }
    };
    if expires <= now {
        return Err(Failure::Usage(format!("it would have expired already, at {}", to_the_second(expires))));
    }
    Ok(expires)
}

/// Whole or not at all.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    });
    written.map_err(|error| Failure::Failed(format!("cannot write {}: {error}", path.display())))
}
