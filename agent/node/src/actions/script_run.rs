//! `script.run`.

use skynet_model::catalogue::{ActionSpec, Idempotence, Risk};
use skynet_model::time::Span;
use skynet_model::value::{ParamKind, ParamSpec, Params, Value};

use super::{Action, ActionError, Context, ended, script, text};
use crate::host::Host;

/// Its catalogue entry.
pub(super) const SPEC: ActionSpec = ActionSpec {
    name: "script.run",
    help: "runs a script of the policy; its arguments are never read by a shell",
    params: &[
        ParamSpec {
            name: "script",
            kind: ParamKind::Script,
            required: true,
            default: None,
            help: "the name of a `script:` document",
        },
        ParamSpec {
            name: "args",
            kind: ParamKind::List(&ParamKind::Text),
            required: false,
            default: None,
            help: "its arguments; each may hold ${label}",
        },
        ParamSpec {
            name: "timeout",
            kind: ParamKind::Duration,
            required: false,
            default: Some("30s"),
            help: "when it is killed with all it started; at most 5m",
        },
    ],
    risk: Risk::Disruptive,
    // Nobody knows what a script does.
    idempotence: Idempotence::Once,
    deadline: Span::minutes(5),
    inverse: None,
};

/// Runs a script.
#[derive(Debug)]
pub(super) struct ScriptRun;

impl Action for ScriptRun {
    fn run(&self, host: &dyn Host, params: &Params, context: &Context<'_>) -> Result<String, ActionError> {
        let name = text(params, "script")?;
        let args = params.get("args").map(|args| args.texts().map(str::to_owned).collect()).unwrap_or_default();
        let timeout = params.get("timeout").and_then(Value::as_span).unwrap_or(Span::seconds(30));
        let (exec, body) = script(name, args, timeout.std().min(context.timeout), context)?;
        ended(&format!("script {name}"), &host.run_script(&exec, body)?)
    }
}
