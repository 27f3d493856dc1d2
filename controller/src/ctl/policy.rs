//! `policy check` and `policy push`.

pub(super) mod rollout;
mod snippet;
pub(super) mod status;

use std::path::Path;

use skynet_model::catalogue::Catalogue;
use skynet_model::diagnostic::Diagnostic;
use skynet_model::policy::{Bundle, File, MAX_BUNDLE_BYTES, Policy, load};
use skynet_model::time::Span;

use super::age::to_the_second;
use super::args::Output;
use super::clock;
use super::documents::PolicyVersion;
use super::folder;
use super::link::Link;
use super::page::{Ink, Page};
use super::print::{Printer, parse};
use super::{Failure, print};

/// How long a bundle built here is valid: 90 days.
const VALID: Span = Span::hours(90 * 24);

/// A folder that was read and loaded.
struct Checked {
    files: Vec<File>,
    result: Result<Policy, Vec<Diagnostic>>,
}

impl Checked {
    fn read(dir: &Path, catalogue: &Catalogue) -> Result<Self, Failure> {
        let mut folder = folder::read(dir)?;
        let mut result = load(&folder.files, catalogue);
        if !folder.mistakes.is_empty() {
            // What could not be read may be what the rest refers to; both are told all the same.
            folder.mistakes.extend(result.err().unwrap_or_default());
            folder.mistakes.sort();
            result = Err(folder.mistakes);
        }
        Ok(Self { files: folder.files, result })
    }
}

/// Prints every mistake; none is a success.
///
/// # Errors
/// [`Failure::Failed`], with an empty text when the mistakes are printed.
pub(super) fn check(dir: &Path, catalogue: &Catalogue, output: Output, printer: &mut Printer) -> Result<(), Failure> {
    let Checked { files, result } = Checked::read(dir, catalogue)?;
    match result {
        Ok(policy) => match output {
            Output::Json | Output::Yaml => printer.documents(&[], output),
            Output::Table => printer.page(&fine(&policy, files.len())),
        },
        Err(mistakes) => Err(tell(&mistakes, &files, output, printer)),
    }
}

fn fine(policy: &Policy, files: usize) -> Page {
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let mut page = Page::new();
    page.line([
        Ink::Green.on("no mistakes"),
        format!(
            " in {}: fleet {}, {}, {}, {}, {}",
            count(files, "file"),
            policy.fleet.name,
            count(policy.profiles.len(), "profile"),
            count(policy.scenarios.len(), "scenario"),
            count(policy.scripts.len(), "script"),
            count(policy.routes.len(), "route"),
        )
        .into(),
    ]);
    page
}

fn tell(mistakes: &[Diagnostic], files: &[File], output: Output, printer: &mut Printer) -> Failure {
    let printed = match output {
        Output::Table => printer.page(&snippet::page(mistakes, files)),
        Output::Json | Output::Yaml => {
            let jsons: Result<Vec<String>, _> = mistakes.iter().map(serde_json::to_string).collect();
            jsons
                .map_err(|e| Failure::Failed(format!("cannot write the mistakes: {e}")))
                .and_then(|jsons| printer.documents(&jsons, output))
        }
    };
    printed.err().unwrap_or_else(|| Failure::Failed(String::new()))
}

/// Checks, builds and sends.
///
/// # Errors
/// [`Failure`].
pub(super) async fn push(
    socket: &Path,
    source: &Path,
    version: Option<u64>,
    insecure_unsigned: bool,
    catalogue: &Catalogue,
    output: Output,
    printer: &mut Printer,
) -> Result<(), Failure> {
    if !insecure_unsigned {
        return Err(Failure::Usage(
            "this release cannot send signatures: say --insecure-unsigned, for a controller and agents that allow it"
                .to_owned(),
        ));
    }
    let (mut bundle, mut link) = if source.is_dir() {
        let Checked { files, result } = Checked::read(source, catalogue)?;
        let policy = match result {
            Ok(policy) => policy,
            Err(mistakes) => return Err(tell(&mistakes, &files, output, printer)),
        };
        let mut link = Link::open(socket).await?;
        let version = match version {
            Some(version) => version,
            None => next_version(&mut link).await?,
        };
        (build(files, &policy, version), Some(link))
    } else {
        if version.is_some() {
            return Err(Failure::Usage("--version is for folders; a bundle has its version inside".to_owned()));
        }
        (read_bundle(source)?, None)
    };
    let bytes = bundle.encode();
    if bytes.len() > MAX_BUNDLE_BYTES {
        let size = bytes.len();
        return Err(Failure::Failed(format!("the policy has {size} bytes; at most {MAX_BUNDLE_BYTES} can be sent")));
    }
    let digest = Bundle::digest(&bytes);
    let mut open = match link.take() {
        Some(link) => link,
        None => Link::open(socket).await?,
    };
    let json = open.push(bytes, insecure_unsigned).await?;
    bundle.files.clear();
    match output {
        Output::Json | Output::Yaml => printer.document(&json, output),
        Output::Table => {
            let mut page = Page::new();
            let expires = to_the_second(bundle.expires);
            let head: String = digest.chars().take(12).collect();
            page.line([
                Ink::Green.on(format!("policy v{}", bundle.version)),
                match rollout::begun(&json) {
                    None => format!(" of fleet {} is in force until {expires} (digest {head})", bundle.fleet).into(),
                    Some(waves) => format!(" of fleet {} {waves} (digest {head})", bundle.fleet).into(),
                },
            ]);
            printer.page(&page)
        }
    }
}

async fn next_version(link: &mut Link) -> Result<u64, Failure> {
    let mut newest = 0;
    for json in link.list("policies", true, 0).await? {
        newest = newest.max(parse::<PolicyVersion>("policies", &json)?.version);
    }
    // One that went back is in no list, and is never taken again.
    let given = link.describe("rollout", "").await.ok().and_then(|json| rollout::version(&json));
    Ok(newest.max(given.unwrap_or_default()).saturating_add(1))
}

/// The bundle of a checked folder. Tests stay at home.
fn build(files: Vec<File>, policy: &Policy, version: u64) -> Bundle {
    let files = files.into_iter().filter(|f| !f.name.ends_with(".test.yaml")).collect();
    Bundle { format: 1, fleet: policy.fleet.name.clone(), version, expires: clock::now().plus(VALID), files }
}

fn read_bundle(path: &Path) -> Result<Bundle, Failure> {
    let bytes = folder::read_file(path, MAX_BUNDLE_BYTES)
        .map_err(|e| Failure::Failed(format!("cannot read the bundle {}: {e}", path.display())))?;
    let bundle = Bundle::decode(&bytes).map_err(|e| Failure::Failed(format!("{}: {e}", path.display())))?;
    if bundle.expires <= clock::now() {
        let expired = to_the_second(bundle.expires);
        print::remark(&format!("{} has expired on {expired}: build it anew", path.display()));
    }
    Ok(bundle)
}
