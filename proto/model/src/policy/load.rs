//! From files to a [`Policy`], or to all of its mistakes.
//!
//! Every document is parsed first, so that names may be used before they are written; then each is read by its kind.

mod fleet;
mod params;
mod people;
mod profile;
mod report;
mod request;
mod scenario;
mod test;
mod yaml;

pub use test::load_tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub(super) use self::fleet::{MAX_BODY, MAX_ITEMS as MAX_NEVER_ITEMS, MAX_WAVES};
pub(super) use self::params::MAX_ITEMS as MAX_PARAM_ITEMS;
pub(super) use self::people::{FORMATS, MAX_TARGETS};
pub(super) use self::profile::{MAX_LABEL, MAX_SENSORS};
use self::report::{Fields, MAX_DIAGNOSTICS, Place, Report, quote};
pub(super) use self::request::{KINDS as REQUEST_KINDS, MAX_ADDRESSES, MAX_PARAMETERS, MAX_PHRASES};
pub(super) use self::scenario::{MAX_PICK, MAX_STEPS, MODES, SCOPES, SEVERITIES};
use self::yaml::{Chunk, Key, Node, NodeKind};
use super::{MAX_BUNDLE_BYTES, Policy, Script, template};
use crate::catalogue::Catalogue;
use crate::diagnostic::Diagnostic;
use crate::name::ScenarioName;

/// Largest file that is read, in bytes.
pub const MAX_FILE_BYTES: usize = 256 << 10;
/// Most files of a policy.
pub const MAX_FILES: usize = 1000;
/// Most documents of a policy.
pub const MAX_DOCUMENTS: usize = 5000;
/// Longest name of a document.
pub(super) const MAX_NAME: usize = 64;

/// One file of a policy folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Its path within the folder.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// The kinds of documents, by their first key.
const KINDS: [&str; 9] = ["contact", "customer", "fleet", "never", "profile", "request", "route", "scenario", "script"];

/// A document that could be parsed.
struct Document<'f> {
    file: &'f str,
    kind: &'static str,
    name: String,
    place: Place,
    root: Node,
}

/// What may be referred to. A document that could not be parsed counts, if its first line says what it is.
#[derive(Default)]
struct Names {
    contacts: BTreeSet<String>,
    profiles: BTreeSet<String>,
    requests: BTreeSet<String>,
    routes: BTreeSet<String>,
    scripts: BTreeSet<String>,
}

impl Names {
    fn insert(&mut self, kind: &str, name: &str) {
        let names = match kind {
            "contact" => &mut self.contacts,
            "profile" => &mut self.profiles,
            "request" => &mut self.requests,
            "route" => &mut self.routes,
            "script" => &mut self.scripts,
            _ => return,
        };
        names.insert(name.to_owned());
    }
}

/// Parses and checks all files. Files ending in `.test.yaml` are left out.
///
/// # Errors
/// Every mistake found, in order of file and place.
pub fn load(files: &[File], catalogue: &Catalogue) -> Result<Policy, Vec<Diagnostic>> {
    load_kinds(files, catalogue, &KINDS)
}

/// Profiles and scripts alone, of a policy that was checked already: for whoever only runs sensors. Conditions cost a
/// parser and its memory; they are not looked at, nor is anything else.
///
/// # Errors
/// Every mistake found in what is read, in order of file and place.
pub fn load_sensors(files: &[File], catalogue: &Catalogue) -> Result<Policy, Vec<Diagnostic>> {
    load_kinds(files, catalogue, &["profile", "script"])
}

fn load_kinds(files: &[File], catalogue: &Catalogue, kinds: &[&str]) -> Result<Policy, Vec<Diagnostic>> {
    let start = Place { line: 1, column: 1 };
    if files.len() > MAX_FILES {
        let mut report = Report { file: &files[MAX_FILES].name, diagnostics: Vec::new() };
        report.at(start, format!("the policy has {} files; at most {MAX_FILES} are read", files.len()));
        return Err(report.diagnostics);
    }
    let bytes = files.iter().map(|f| f.text.len()).sum::<usize>();
    if bytes > MAX_BUNDLE_BYTES {
        let mut report = Report { file: &files[0].name, diagnostics: Vec::new() };
        report.at(start, format!("the policy has {bytes} bytes; at most {MAX_BUNDLE_BYTES} are read"));
        return Err(report.diagnostics);
    }
    let mut files: Vec<&File> = files.iter().filter(|f| !f.name.ends_with(".test.yaml")).collect();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let mut names = Names::default();
    let mut documents = Vec::new();
    let mut diagnostics = Vec::new();
    let mut left = MAX_DOCUMENTS;
    for file in files {
        let mut report = Report { file: &file.name, diagnostics: Vec::new() };
        if file.text.len() > MAX_FILE_BYTES {
            let message =
                format!("the file has {} bytes; at most {MAX_FILE_BYTES} are read: split it", file.text.len());
            report.at(start, message);
        } else {
            for chunk in yaml::split(&file.text, &mut report) {
                if left == 0 {
                    let place = Place { line: chunk.lines_before + 1, column: 1 };
                    report
                        .at(place, format!("the policy has more than {MAX_DOCUMENTS} documents; the rest is not read"));
                    break;
                }
                left -= 1;
                documents.extend(document(file, &chunk, &mut names, &mut report));
            }
        }
        diagnostics.append(&mut report.diagnostics);
    }
    check_unique(&documents, &mut diagnostics);
    let mut policy = Policy::default();
    let scripts = read_scripts(&documents, &mut diagnostics);
    if kinds.contains(&"request") {
        policy.requests = request::requests(&documents, &mut diagnostics);
    }
    let mut mails = BTreeMap::new();
    for document in documents.iter().filter(|d| kinds.contains(&d.kind)) {
        if diagnostics.len() > MAX_DIAGNOSTICS {
            break;
        }
        let mut report = Report { file: document.file, diagnostics: Vec::new() };
        if document.kind == "customer" {
            request::own_addresses(document, &mut mails, &mut report);
        }
        read(document, &names, &scripts, catalogue, &mut policy, &mut report);
        diagnostics.append(&mut report.diagnostics);
    }
    policy.scripts = scripts;
    finish(policy, diagnostics)
}

/// What was read, unless there are mistakes: sorted, each once, not too many.
fn finish<T>(read: T, mut diagnostics: Vec<Diagnostic>) -> Result<T, Vec<Diagnostic>> {
    if diagnostics.is_empty() {
        return Ok(read);
    }
    diagnostics.sort();
    diagnostics.dedup();
    if diagnostics.len() > MAX_DIAGNOSTICS {
        diagnostics.truncate(MAX_DIAGNOSTICS);
        if let Some(last) = diagnostics.last_mut() {
            last.message = format!("more than {MAX_DIAGNOSTICS} mistakes; the rest is not told");
            last.suggestion = None;
        }
    }
    Err(diagnostics)
}

/// Parses one document and reads its kind and name.
fn document<'f>(file: &'f File, chunk: &Chunk<'_>, names: &mut Names, report: &mut Report<'_>) -> Option<Document<'f>> {
    let before = report.diagnostics.len();
    let Some(root) = yaml::parse(chunk, report) else {
        if report.diagnostics.len() > before {
            // It cannot be read, but others may refer to it: that is no mistake of theirs.
            let line = chunk.text.lines().find(|l| !l.trim().is_empty() && !l.starts_with('#')).unwrap_or("");
            if let Some((kind, name)) = line.split_once(':') {
                names.insert(kind.trim(), name.split(" #").next().unwrap_or("").trim().trim_matches(['"', '\'']));
            }
        }
        return None;
    };
    let (key, value): &(Key, Node) = match &root.kind {
        NodeKind::Mapping(entries) => entries.first()?,
        NodeKind::Scalar { .. } | NodeKind::Sequence(_) | NodeKind::Broken => {
            report.at(
                root.place,
                "a document is a mapping whose first key is its kind, like `scenario: NAME`".to_owned(),
            );
            return None;
        }
    };
    if key.text.is_empty() {
        return None;
    }
    let Some(kind) = KINDS.into_iter().find(|k| *k == key.text) else {
        if key.text == "test" {
            report.at(key.place, "tests belong into files ending in `.test.yaml`".to_owned());
        } else if let NodeKind::Mapping(entries) = &root.kind
            && let Some((kind, _)) = entries.iter().find(|(key, _)| KINDS.contains(&key.text.as_str()))
        {
            let message = format!("a document begins with its kind: move `{}` to its top", kind.text);
            report.at(kind.place, message);
        } else {
            let suggestion = crate::diagnostic::nearest(&key.text, KINDS).filter(|_| key.text.len() <= 64);
            let kinds = KINDS.join(", ");
            let word = quote(&key.text);
            report.suggest(
                key.place,
                format!("a document's first key is its kind: `{word}` is none of {kinds}"),
                suggestion,
            );
        }
        return None;
    };
    if value.is_missing() {
        report.at(value.place, format!("the {kind} has no name: write `{kind}: NAME`, of a-z, 0-9 and `-`"));
        return None;
    }
    let name = report.parsed(value, |text| check_name(text).map(|()| text.to_owned())).unwrap_or_default();
    names.insert(kind, &name);
    let place = value.place;
    Some(Document { file: &file.name, kind, name, place, root })
}

fn check_name(text: &str) -> Result<(), String> {
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if text.is_empty() || text.len() > MAX_NAME || !text.bytes().all(fine) {
        return Err(format!("`{}` is not a name: use 1 to {MAX_NAME} of a-z, 0-9 and `-`", quote(text)));
    }
    Ok(())
}

/// Names are unique per kind, and there is one fleet.
fn check_unique(documents: &[Document<'_>], diagnostics: &mut Vec<Diagnostic>) {
    let mut seen: BTreeMap<(&str, &str), &Document<'_>> = BTreeMap::new();
    for document in documents.iter().filter(|d| !d.name.is_empty()) {
        let name = if document.kind == "fleet" { "" } else { document.name.as_str() };
        if let Some(first) = seen.get(&(document.kind, name)) {
            let (kind, file, line) = (document.kind, first.file, first.place.line);
            let message = match kind {
                "fleet" => format!("a policy has one `fleet:` document, and there is one at {file}:{line}"),
                _ => format!("there is a {kind} called `{name}` at {file}:{line} already"),
            };
            let mut report = Report { file: document.file, diagnostics: Vec::new() };
            report.at(document.place, message);
            diagnostics.append(&mut report.diagnostics);
        } else {
            seen.insert((document.kind, name), document);
        }
    }
}

/// Scripts come first: a scenario's digest covers those it runs.
fn read_scripts(documents: &[Document<'_>], diagnostics: &mut Vec<Diagnostic>) -> BTreeMap<String, Script> {
    let mut scripts = BTreeMap::new();
    for document in documents.iter().filter(|d| d.kind == "script") {
        let mut report = Report { file: document.file, diagnostics: Vec::new() };
        if let Some(mut fields) = fields_of(document, &mut report) {
            if let Some(script) = fleet::script(document, &mut fields, &mut report) {
                scripts.insert(document.name.clone(), script);
            }
            fields.finish(&mut report);
        }
        diagnostics.append(&mut report.diagnostics);
    }
    scripts
}

fn fields_of<'d>(document: &'d Document<'_>, report: &mut Report<'_>) -> Option<Fields<'d>> {
    let mut fields = Fields::of(&document.root, report)?;
    fields.take(document.kind);
    Some(fields)
}

/// Reads a document by its kind and puts it into the policy.
fn read(
    document: &Document<'_>,
    names: &Names,
    scripts: &BTreeMap<String, Script>,
    catalogue: &Catalogue,
    policy: &mut Policy,
    report: &mut Report<'_>,
) {
    let Some(mut fields) = fields_of(document, report) else { return };
    let name = document.name.clone();
    match document.kind {
        "contact" => {
            if let Some(contact) = people::contact(document, &mut fields, report) {
                policy.contacts.insert(name, contact);
            }
        }
        "customer" => {
            if let Some(customer) = request::customer(document, &mut fields, names, report) {
                policy.customers.insert(name, customer);
            }
        }
        "fleet" => policy.fleet = fleet::fleet(document, &mut fields, report),
        "never" => {
            if let Some(never) = fleet::never(document, &mut fields, names, catalogue, report) {
                policy.nevers.insert(name, never);
            }
        }
        "profile" => {
            policy.profiles.insert(name, profile::profile(&mut fields, names, catalogue, report));
        }
        "route" => {
            policy.routes.insert(name, people::route(document, &mut fields, names, report));
        }
        "scenario" => {
            let context = scenario::Context { names, scripts, requests: &policy.requests, catalogue };
            let scenario = scenario::scenario(document, &mut fields, &context, report);
            if let (Some(scenario), Ok(name)) = (scenario, ScenarioName::new(&name)) {
                policy.scenarios.insert(name, Arc::new(scenario));
            }
        }
        // Scripts and requests have been read.
        _ => return,
    }
    fields.finish(report);
}
