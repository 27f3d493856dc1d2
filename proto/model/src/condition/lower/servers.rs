//! Functions of many servers: what is asked of each server becomes a condition of its own.

use std::sync::Arc;

use cel::common::ast::{CallExpr, IdedExpr};

use super::{Kind, Lowering};
use crate::condition::functions::{FUNCTIONS, FunctionKind, function};
use crate::condition::program;
use crate::condition::{Aggregate, Condition, ServersRef, Slot};
use crate::diagnostic::nearest;

const PREFIX: &str = "servers.";

fn aggregate(name: &str) -> Option<Aggregate> {
    Some(match name {
        "count" => Aggregate::Count,
        "share" => Aggregate::Share,
        "avg" => Aggregate::Avg,
        "sum" => Aggregate::Sum,
        "min" => Aggregate::Min,
        "max" => Aggregate::Max,
        _ => return None,
    })
}

impl Lowering<'_> {
    /// `servers.share(c)` and its kin: a slot that is filled from many servers.
    pub(super) fn servers(&mut self, call: &CallExpr, e: &IdedExpr) -> Kind {
        let start = self.start(e);
        let name = format!("{PREFIX}{}", call.func_name);
        let Some((aggregate, spec)) = aggregate(&call.func_name).zip(function(&name)) else {
            let fleet = FUNCTIONS.iter().filter(|f| f.kind == FunctionKind::Fleet);
            let suggestion = nearest(&name, fleet.map(|f| f.name));
            return self.fail(start, format!("unknown function `{name}`"), suggestion);
        };
        if self.inside {
            let message =
                format!("`{name}` cannot stand within another `{PREFIX}` function: it would look at one server");
            return self.fail(start, message, None);
        }
        let [arg] = call.args.as_slice() else {
            return self.fail(start, format!("write `{}`", spec.usage), None);
        };
        let mut inner = Lowering {
            tokens: self.tokens,
            info: self.info,
            catalogue: self.catalogue,
            slots: Vec::new(),
            ops: Vec::new(),
            errors: Vec::new(),
            inside: true,
        };
        match aggregate {
            Aggregate::Count | Aggregate::Share => inner.truth(arg, &format!("what `{name}` asks of each server")),
            Aggregate::Avg | Aggregate::Sum | Aggregate::Min | Aggregate::Max => {
                if inner.value(arg) == Kind::Truth {
                    let instead = "count how many it holds for with `servers.count(...)`";
                    let message = format!("`{name}` takes a number of each server, this is true or false: {instead}");
                    inner.fail(inner.start(arg), message, None);
                }
            }
        }
        if inner.errors.is_empty() && !program::fits(&inner.ops) {
            inner.fail(start, "the condition is nested too deep: split the scenario".to_owned(), None);
        }
        if inner.errors.is_empty() && inner.slots.iter().all(|slot| slot.series().is_none()) {
            let message = format!("`{name}` asks nothing of a server: name a series, like `{name}(load.one > 8)`");
            inner.fail(start, message, None);
        }
        if !inner.errors.is_empty() {
            self.errors.append(&mut inner.errors);
            return Kind::Unclear;
        }
        let of = Condition { source: self.within(e), slots: inner.slots, program: inner.ops };
        self.slot(Slot::Servers(ServersRef { function: aggregate, of: Arc::new(of) }));
        Kind::Number
    }

    /// The text between the brackets of a call, with one space where there was any.
    fn within(&self, call: &IdedExpr) -> String {
        let mut text = String::new();
        let Some(open) = self.token(call.id) else { return text };
        let mut depth = 0_usize;
        let mut end = None;
        for token in self.tokens.iter().skip(open) {
            let before = depth;
            match token.text {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                break;
            }
            if before == 0 {
                continue;
            }
            if end.is_some_and(|end| end < token.byte) {
                text.push(' ');
            }
            text.push_str(token.text);
            end = Some(token.byte + token.text.len());
        }
        text
    }
}
