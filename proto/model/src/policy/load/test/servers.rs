//! The servers of a test: `web1: { role: web }`, and `web1..web20: { role: web }` for many that are alike.

use std::collections::BTreeMap;

use super::super::report::{Fields, Place, Report, quote};
use super::super::yaml::{Node, NodeKind};
use crate::name::ServerId;
use crate::policy::fits;
use crate::series::Labels;

/// Most servers of a test.
const MAX_SERVERS: usize = 1000;

/// The servers there are.
#[derive(Default)]
pub(super) struct Servers {
    pub(super) labels: BTreeMap<ServerId, Labels>,
    /// Some could not be read, so that none can be called unknown.
    open: bool,
}

impl Servers {
    pub(super) fn read(node: &Node, report: &mut Report<'_>) -> Self {
        let mut servers = Self::default();
        let entries = report.mapping(node);
        servers.open = entries.is_none();
        for (key, value) in entries.unwrap_or(&[]) {
            let mut pairs = Vec::new();
            for (label, text) in report.mapping(value).unwrap_or(&[]) {
                pairs.extend(report.text(text).map(|text| (label.text.clone(), text.to_owned())));
            }
            let labels = Labels::new(pairs);
            match names(&key.text) {
                Ok(names) if servers.labels.len() + names.len() > MAX_SERVERS => {
                    report.at(key.place, format!("a test has at most {MAX_SERVERS} servers"));
                    servers.open = true;
                }
                Ok(names) => {
                    for name in names {
                        if servers.labels.insert(name.clone(), labels.clone()).is_some() {
                            report.at(key.place, format!("the server {name} is written twice"));
                        }
                    }
                }
                Err(message) => {
                    if !key.text.is_empty() {
                        report.at(key.place, message);
                    }
                    servers.open = true;
                }
            }
        }
        if servers.labels.is_empty() && !servers.open {
            report.at(node.place, "a test has at least one server: `servers: { web1: { role: web } }`".to_owned());
        }
        servers
    }

    /// The servers that `server:` or `servers:` names. `place`: one of the two must be there.
    pub(super) fn meant(
        &self,
        fields: &mut Fields<'_>,
        place: Option<Place>,
        report: &mut Report<'_>,
    ) -> Vec<ServerId> {
        let (one, many) = (fields.take("server"), fields.take("servers"));
        let mut meant: Vec<ServerId> = Vec::new();
        let items: Vec<&Node> = match many.map(|node| (&node.kind, node)) {
            Some((NodeKind::Sequence(items), _)) => items.iter().chain(one).collect(),
            Some((NodeKind::Scalar { .. } | NodeKind::Mapping(_) | NodeKind::Broken, node)) => {
                one.into_iter().chain([node]).collect()
            }
            None => one.into_iter().collect(),
        };
        if let (true, Some(place)) = (items.is_empty(), place) {
            report.at(place, "which servers is missing: `server: web1`, or `servers: [web1, \"db*\"]`".to_owned());
        }
        for node in items {
            let Some(glob) = report.text(node) else { continue };
            let before = meant.len();
            let found = self.labels.keys().filter(|id| fits(glob, id.as_str()));
            for id in found {
                if !meant.contains(id) {
                    meant.push(id.clone());
                }
            }
            if meant.len() == before && !self.open && !self.labels.keys().any(|id| fits(glob, id.as_str())) {
                report.unknown(node.place, "server of this test,", glob, self.labels.keys().map(ServerId::as_str));
            }
        }
        meant
    }

    /// One server by its name.
    pub(super) fn one(&self, node: &Node, report: &mut Report<'_>) -> Option<ServerId> {
        let text = report.text(node)?;
        let found = self.labels.keys().find(|id| id.as_str() == text);
        if found.is_none() && !self.open {
            report.unknown(node.place, "server of this test,", text, self.labels.keys().map(ServerId::as_str));
        }
        found.cloned()
    }
}

/// `web1`, or `web1..web20`.
fn names(text: &str) -> Result<Vec<ServerId>, String> {
    let Some((first, last)) = text.split_once("..") else {
        return ServerId::new(text).map(|name| vec![name]).map_err(|e| e.to_string());
    };
    let part = |text: &str| {
        let stem = text.trim_end_matches(|c: char| c.is_ascii_digit());
        text[stem.len()..].parse::<u32>().ok().map(|number| (stem.to_owned(), number))
    };
    let wrong = || format!("`{}` is not a row of servers: write `web1..web20`", quote(text));
    let ((stem, from), (other, to)) = part(first).zip(part(last)).ok_or_else(wrong)?;
    if stem != other || from > to || (to - from) as usize >= MAX_SERVERS {
        return Err(wrong());
    }
    (from..=to).map(|number| ServerId::new(&format!("{stem}{number}")).map_err(|e| e.to_string())).collect()
}
