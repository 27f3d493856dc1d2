//! `files.delete`.

use std::path::PathBuf;

use skynet_model::catalogue::{ActionSpec, Idempotence, Risk};
use skynet_model::time::Span;
use skynet_model::value::{ParamKind, ParamSpec, Params, Value};

use super::{Action, ActionError, Context, text};
use crate::host::{DeleteFiles, Host, HostError, MAX_DELETE};

/// Its catalogue entry.
pub(super) const SPEC: ActionSpec = ActionSpec {
    name: "files.delete",
    help: "deletes regular files of one directory; never follows links, never below a system directory",
    params: &[
        ParamSpec {
            name: "path",
            kind: ParamKind::PathGlob,
            required: true,
            default: None,
            help: "a directory and a pattern for the names in it: /var/tmp/cache/*; `*` leaves out names that begin with a dot",
        },
        ParamSpec {
            name: "older_than",
            kind: ParamKind::Duration,
            required: false,
            default: Some("0s"),
            help: "only files last written longer ago",
        },
    ],
    risk: Risk::Destructive,
    // What matches is deleted; what was deleted matches no more.
    idempotence: Idempotence::Declarative,
    deadline: Span::seconds(30),
    inverse: None,
};

/// Deletes files.
#[derive(Debug)]
pub(super) struct FilesDelete;

impl Action for FilesDelete {
    fn run(&self, host: &dyn Host, params: &Params, _context: &Context<'_>) -> Result<String, ActionError> {
        let pattern = text(params, "path")?;
        let older_than = params.get("older_than").and_then(Value::as_span).unwrap_or_default();
        match host.delete_files(&DeleteFiles { pattern: PathBuf::from(pattern), older_than }) {
            Ok(deleted) if deleted.files >= MAX_DELETE => Ok(format!(
                "deleted {} files, {} bytes, of {pattern}; that is the most of one run, and more may be there",
                deleted.files, deleted.bytes
            )),
            Ok(deleted) => Ok(format!("deleted {} files, {} bytes, of {pattern}", deleted.files, deleted.bytes)),
            Err(HostError::Missing(what)) => Ok(format!("nothing to delete: {what} is not there")),
            Err(error) => Err(error.into()),
        }
    }
}
