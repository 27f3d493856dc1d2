//! `policy check` and `policy push`; what a policy goes through before it is pushed is in rooms of its own.

pub(super) mod backtest;
mod build;
pub(super) mod diff;
mod finding;
pub(super) mod rollout;
pub(super) mod schema;
mod sign;
mod snippet;
pub(super) mod status;
pub(super) mod test;
mod verify;

use std::path::Path;

use skynet_model::catalogue::Catalogue;
use skynet_model::diagnostic::Diagnostic;
use skynet_model::policy::test::Test;
use skynet_model::policy::{Bundle, File, MAX_BUNDLE_BYTES, Policy, load, load_tests};
use skynet_model::time::{Span, Timestamp};

use super::age::to_the_second;
use super::args::Output;
use super::clock;
use super::documents::PolicyVersion;
use super::folder;
use super::link::Link;
use super::page::{Ink, Page};
use super::print::{Printer, parse};
use super::{Failure, print};

pub(super) use build::{Build, build};
pub(super) use sign::sign;
pub(super) use verify::verify;

/// How long a bundle built for a push is valid: 90 days.
const VALID: Span = Span::hours(90 * 24);

/// A folder that was read and loaded.
struct Checked {
    files: Vec<File>,
    result: Result<Policy, Vec<Diagnostic>>,
    /// None when there are mistakes.
    tests: Vec<Test>,
}

impl Checked {
    fn read(dir: &Path, catalogue: &Catalogue) -> Result<Self, Failure> {
        let mut folder = folder::read(dir)?;
        let mut result = load(&folder.files, catalogue);
        let tests = load_tests(&folder.files, result.as_ref().ok(), catalogue);
        let tests = tests.unwrap_or_else(|more| {
            folder.mistakes.extend(more);
            Vec::new()
        });
        if !folder.mistakes.is_empty() {
            // What could not be read may be what the rest refers to; both are told all the same.
            folder.mistakes.extend(result.err().unwrap_or_default());
            folder.mistakes.sort();
            result = Err(folder.mistakes);
        }
        Ok(Self { files: folder.files, result, tests })
    }
}

/// Prints every mistake; none is a success.
///
/// # Errors
/// [`Failure::Failed`], with an empty text when the mistakes are printed.
pub(super) fn check(dir: &Path, catalogue: &Catalogue, output: Output, printer: &mut Printer) -> Result<(), Failure> {
    let Checked { files, result, tests } = Checked::read(dir, catalogue)?;
    match result {
        Ok(policy) => match output {
            Output::Json | Output::Yaml => printer.documents(&[], output),
            Output::Table => printer.page(&fine(&policy, files.len(), tests.len())),
        },
        Err(mistakes) => Err(tell(&mistakes, &files, output, printer)),
    }
}

fn fine(policy: &Policy, files: usize, tests: usize) -> Page {
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let mut page = Page::new();
    page.line([
        Ink::Green.on("no mistakes"),
        format!(
            " in {}: fleet {}, {}, {}, {}, {}, {}",
            count(files, "file"),
            policy.fleet.name,
            count(policy.profiles.len(), "profile"),
            count(policy.scenarios.len(), "scenario"),
            count(policy.scripts.len(), "script"),
            count(policy.routes.len(), "route"),
            count(tests, "test"),
        )
        .into(),
    ]);
    page
}

fn tell(mistakes: &[Diagnostic], files: &[File], output: Output, printer: &mut Printer) -> Failure {
    let printed = match output {
        Output::Table => printer.page(&snippet::page(mistakes, files)),
        Output::Json | Output::Yaml => {
            let jsons: Result<Vec<String>, _> =
                mistakes.iter().map(|m| serde_json::to_string(&finding::Finding::of(m, files))).collect();
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
    let (mut bundle, signatures, mut link) = if source.is_dir() {
        if !insecure_unsigned {
            return Err(Failure::Usage(
                "a folder carries no signature: build it, sign the bundle and push that (skynetctl policy build, sign, \
                 push); or say --insecure-unsigned, for a controller and agents that allow it"
                    .to_owned(),
            ));
        }
        let Checked { files, result, .. } = Checked::read(source, catalogue)?;
        let policy = match result {
            Ok(policy) => policy,
            Err(mistakes) => return Err(tell(&mistakes, &files, output, printer)),
        };
        let mut link = Link::open(socket).await?;
        let version = match version {
            Some(version) => version,
            None => next_version(&mut link).await?,
        };
        (bundle_of(files, &policy, version, clock::now().plus(VALID)), Vec::new(), Some(link))
    } else {
        if version.is_some() {
            return Err(Failure::Usage("--version is for folders; a bundle has its version inside".to_owned()));
        }
        let bundle = read_bundle(source)?;
        let signatures = sign::beside(source)?;
        if signatures.is_empty() && !insecure_unsigned {
            return Err(Failure::Failed(format!(
                "there is no signature beside {0}: sign it with `skynetctl policy sign {0} -f KEY`",
                source.display()
            )));
        }
        (bundle, signatures.into_iter().map(|(_, bytes)| bytes).collect(), None)
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
    let json = open.push(bytes, signatures, insecure_unsigned).await?;
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
fn bundle_of(files: Vec<File>, policy: &Policy, version: u64, expires: Timestamp) -> Bundle {
    let files = files.into_iter().filter(|f| !f.name.ends_with(".test.yaml")).collect();
    Bundle { format: 1, fleet: policy.fleet.name.clone(), version, expires, files }
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
