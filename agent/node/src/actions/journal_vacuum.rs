//! `journal.vacuum`.

use skynet_model::catalogue::{ActionSpec, Idempotence, Risk};
use skynet_model::time::Span;
use skynet_model::value::{ParamKind, ParamSpec, Params};

use super::{Action, ActionError, Context, ended, int};
use crate::host::{Exec, Host};

/// Its catalogue entry.
pub(super) const SPEC: ActionSpec = ActionSpec {
    name: "journal.vacuum",
    help: "deletes the oldest archived files of systemd's journal until it is no larger than `keep`",
    params: &[ParamSpec {
        name: "keep",
        kind: ParamKind::Size,
        required: true,
        default: None,
        help: "how much of the journal stays: 200MB",
    }],
    // Old journal files do not come back, but the journal deletes them by itself all the time: losing them a little
    // earlier needs no approval. It is not `reversible`, so that the rails of disruptive actions hold for it.
    risk: Risk::Disruptive,
    idempotence: Idempotence::Declarative,
    deadline: Span::seconds(30),
    inverse: None,
};

/// Shrinks the journal.
#[derive(Debug)]
pub(super) struct JournalVacuum;

impl Action for JournalVacuum {
    fn run(&self, host: &dyn Host, params: &Params, context: &Context<'_>) -> Result<String, ActionError> {
        let keep = int(params, "keep")?;
        let exec = Exec {
            program: "journalctl".to_owned(),
            args: vec![format!("--vacuum-size={keep}")],
            stdin: Vec::new(),
            env: Vec::new(),
            timeout: context.timeout,
        };
        let said = ended("journalctl", &host.run(&exec)?)?;
        // A line for each file, then the sum.
        Ok(said.lines().last().unwrap_or_default().to_owned())
    }
}
