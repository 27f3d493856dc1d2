//! `allowed_signers`: a line a key, `PRINCIPALS [OPTIONS] KEYTYPE KEY [COMMENT]`.

use ssh_key::PublicKey;
use ssh_key::public::KeyData;

use super::error::Fault;
use super::{date, sshsig};
use crate::diagnostic::nearest;
use crate::policy::fits;
use crate::time::Timestamp;

/// Longest file that is read, in bytes.
pub const MAX_SIGNERS_BYTES: usize = 256 << 10;
/// Most keys of a file.
pub const MAX_SIGNERS: usize = 256;
/// Most mistakes that are told.
const MAX_TOLD: usize = 20;
/// Most names of one line.
const MAX_PRINCIPALS: usize = 16;
const OPTIONS: [&str; 4] = ["namespaces", "valid-after", "valid-before", "cert-authority"];

/// One mistake of a signers file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct SignersError {
    /// From 1.
    pub line: usize,
    /// What is wrong, and what to write.
    pub message: String,
}

/// One line.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Its names; patterns as they are written, without those that begin with `!`.
    pub(super) principals: Vec<String>,
    pub(super) key: KeyData,
    namespaces: Option<String>,
    after: Option<Timestamp>,
    before: Option<Timestamp>,
}

impl Line {
    /// Whether the key is good for documents of this namespace, at this time.
    pub(super) fn allows(&self, namespace: &str, now: Timestamp) -> Result<(), Fault> {
        let principals = self.principals.join(",");
        if let Some(allowed) = self.namespaces.as_ref().filter(|allowed| !listed(allowed, namespace)) {
            return Err(Fault::KeyNamespace { principals, allowed: allowed.clone(), wanted: namespace.to_owned() });
        }
        if let Some(after) = self.after.filter(|after| now < *after) {
            return Err(Fault::NotYet { principals, after });
        }
        if let Some(before) = self.before.filter(|before| now >= *before) {
            return Err(Fault::Over { principals, before });
        }
        Ok(())
    }
}

/// Whether a list of patterns names `text`; one with `!` that fits excludes it.
fn listed(patterns: &str, text: &str) -> bool {
    let mut found = false;
    for pattern in patterns.split(',') {
        match pattern.strip_prefix('!') {
            Some(not) if fits(not, text) => return false,
            Some(_) => {}
            None => found |= fits(pattern, text),
        }
    }
    found
}

pub(super) fn parse(text: &str) -> Result<Vec<Line>, Vec<SignersError>> {
    let one = |line: usize, message: String| vec![SignersError { line, message }];
    if text.len() > MAX_SIGNERS_BYTES {
        return Err(one(1, format!("the file has {} bytes; at most {MAX_SIGNERS_BYTES} are read", text.len())));
    }
    let (mut lines, mut mistakes) = (Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match read(line) {
            Ok(_) if lines.len() == MAX_SIGNERS => {
                mistakes.push(SignersError { line: index + 1, message: format!("more than {MAX_SIGNERS} keys") });
                break;
            }
            Ok(read) => lines.push(read),
            Err(message) if mistakes.len() < MAX_TOLD => mistakes.push(SignersError { line: index + 1, message }),
            Err(_) => break,
        }
    }
    match (mistakes.is_empty(), lines.is_empty()) {
        (false, _) => Err(mistakes),
        (true, true) => Err(one(1, "no key in it; write `NAME namespaces=\"skynet-policy\" KEYTYPE KEY`".to_owned())),
        (true, false) => Ok(lines),
    }
}

fn read(line: &str) -> Result<Line, String> {
    let (names, rest) = first_field(line)?;
    let principals: Vec<String> =
        names.split(',').filter(|name| !name.is_empty() && !name.starts_with('!')).map(str::to_owned).collect();
    if principals.is_empty() || principals.len() > MAX_PRINCIPALS {
        return Err(format!("`{names}` is not a list of 1 to {MAX_PRINCIPALS} names"));
    }
    let mut read = Line { principals, key: placeholder(), namespaces: None, after: None, before: None };
    let mut key = rest;
    let word = rest.split_ascii_whitespace().next().unwrap_or_default();
    if !is_key_type(word) {
        let (options, after) = options(rest)?;
        key = after;
        for (name, value) in options {
            set(&mut read, &name, value)?;
        }
        if let (Some(after), Some(before)) = (read.after, read.before)
            && after >= before
        {
            return Err("valid-after is not before valid-before: the key would never be good".to_owned());
        }
    }
    let mut words = key.split_ascii_whitespace();
    let (Some(kind), Some(body)) = (words.next(), words.next()) else {
        return Err(
            "a key is missing; write what is in the signer's .pub file after the name and the options".to_owned()
        );
    };
    if !is_key_type(kind) {
        return Err(format!("`{kind}` is not a kind of key, like `ssh-ed25519`"));
    }
    if kind.contains("-cert-") {
        return Err(format!("{kind} is a certificate; write the signer's own key, from the .pub file without -cert"));
    }
    let parsed = PublicKey::from_openssh(&format!("{kind} {body}"));
    let parsed =
        parsed.map_err(|error| format!("the {kind} key cannot be read ({error}); copy the .pub file again"))?;
    read.key = parsed.key_data().clone();
    sshsig::supported(&read.key)?;
    Ok(read)
}

/// Stands where the key comes later.
fn placeholder() -> KeyData {
    KeyData::Ed25519(ssh_key::public::Ed25519PublicKey([0; 32]))
}

fn is_key_type(word: &str) -> bool {
    ["ssh-", "ecdsa-", "sk-", "webauthn-"].iter().any(|start| word.starts_with(start))
}

/// The first word, which may be in double quotes, and what follows.
fn first_field(line: &str) -> Result<(&str, &str), String> {
    let (field, rest) = match line.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').ok_or("the quotes around the names do not end")?,
        None => line.split_once([' ', '\t']).unwrap_or((line, "")),
    };
    Ok((field, rest.trim_start()))
}

type Given = Vec<(String, Option<String>)>;

/// `name="value",name` up to white space outside of quotes, and what follows.
fn options(text: &str) -> Result<(Given, &str), String> {
    let mut quoted = false;
    let end = text.find(|c: char| {
        quoted ^= c == '"';
        c.is_ascii_whitespace() && !quoted
    });
    let (options, rest) = text.split_at(end.unwrap_or(text.len()));
    if options.matches('"').count() % 2 != 0 {
        return Err("the quotes of an option do not end".to_owned());
    }
    let mut found = Vec::new();
    let mut inside = false;
    let pieces = options.split(|c: char| {
        inside ^= c == '"';
        c == ',' && !inside
    });
    for piece in pieces {
        let (name, value) = piece.split_once('=').map_or((piece, None), |(name, value)| (name, Some(value)));
        let value = match value {
            None => None,
            Some(value) => {
                let bare = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
                Some(bare.ok_or_else(|| format!("the value of {name} must be in double quotes"))?.to_owned())
            }
        };
        found.push((name.to_ascii_lowercase(), value));
    }
    Ok((found, rest.trim_start()))
}

fn set(line: &mut Line, name: &str, value: Option<String>) -> Result<(), String> {
    let time = |value: Option<String>| {
        let value = value.unwrap_or_default();
        let time = date::parse(&value);
        time.ok_or_else(|| format!("{name}=\"{value}\" is no time; write YYYYMMDD or YYYYMMDDHHMM[SS], in UTC"))
    };
    let twice = match name {
        "namespaces" => {
            let value = value.filter(|v| !v.is_empty());
            line.namespaces
                .replace(value.ok_or("namespaces needs a value, like namespaces=\"skynet-policy\"")?)
                .is_some()
        }
        "valid-after" => line.after.replace(time(value)?).is_some(),
        "valid-before" => line.before.replace(time(value)?).is_some(),
        "cert-authority" => {
            return Err("cert-authority is not taken: certificates would let the CA name signers; \
                        write a line for each signer's own key"
                .to_owned());
        }
        other => {
            let hint = nearest(other, OPTIONS).map(|word| format!(" (did you mean `{word}`?)")).unwrap_or_default();
            return Err(format!("`{other}` is neither an option nor a kind of key{hint}"));
        }
    };
    if twice { Err(format!("{name} is given twice")) } else { Ok(()) }
}
