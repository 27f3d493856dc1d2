//! From text to slots and a program: CEL's parser reads it, this walk checks names and types and lowers it. It goes on
//! after a mistake, so that all of them are found.

mod calls;
mod servers;

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr, SourceInfo, operators};

use super::functions::function;
use super::program::{self, Op};
use super::scan::{Lexeme, Token};
use super::{ConditionError, SeriesRef, Slot, TextTest};
use crate::catalogue::Catalogue;
use crate::diagnostic::nearest;

/// Most characters of a message.
const MAX_MESSAGE: usize = 240;

/// What an expression gives. `Unclear` stands for one with a mistake that has been reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Number,
    Truth,
    Unclear,
}

/// A label that is read as text: `label.x` or `server.label.x`.
struct Label {
    of_server: bool,
    name: String,
}

/// Parses what [`super::scan::scan`] let through and lowers it.
pub(super) fn lower(
    source: &str,
    tokens: &[Token<'_>],
    catalogue: &Catalogue,
) -> Result<(Vec<Slot>, Vec<Op>), Vec<ConditionError>> {
    lower_as(source, tokens, catalogue, |lowering, root| lowering.truth(root, "the condition"))
}

/// The same for an expression whose value is a number.
pub(super) fn lower_number(
    source: &str,
    tokens: &[Token<'_>],
    catalogue: &Catalogue,
) -> Result<(Vec<Slot>, Vec<Op>), Vec<ConditionError>> {
    lower_as(source, tokens, catalogue, |lowering, root| {
        if lowering.value(root) == Kind::Truth {
            let message = "a number is needed here, this is true or false".to_owned();
            lowering.fail(lowering.start(root), message, None);
        }
    })
}

fn lower_as(
    source: &str,
    tokens: &[Token<'_>],
    catalogue: &Catalogue,
    of: impl FnOnce(&mut Lowering<'_>, &IdedExpr),
) -> Result<(Vec<Slot>, Vec<Op>), Vec<ConditionError>> {
    if tokens.is_empty() {
        return Err(vec![error(0, "the condition is empty: write one, like `cpu.busy_ratio > 0.9`".to_owned())]);
    }
    let parsed = cel::parser::Parser::default().parse_with_source_info(source);
    let (root, info) = parsed.map_err(|e| vec![syntax_error(source, tokens, &e)])?;
    let mut lowering = Lowering {
        tokens,
        info: &info,
        catalogue,
        slots: Vec::new(),
        ops: Vec::new(),
        errors: Vec::new(),
        inside: false,
    };
    of(&mut lowering, &root);
    if lowering.errors.is_empty() && !program::fits(&lowering.ops) {
        lowering.errors.push(error(0, "the condition is nested too deep: split the scenario".to_owned()));
    }
    if lowering.errors.is_empty() {
        Ok((lowering.slots, lowering.ops))
    } else {
        lowering.errors.sort_by_key(|e| e.offset);
        Err(lowering.errors)
    }
}

fn error(offset: usize, message: String) -> ConditionError {
    ConditionError { offset, message, suggestion: None }
}

/// The first fault only: what the parser says after it is guesswork.
fn syntax_error(source: &str, tokens: &[Token<'_>], errors: &cel::ParseErrors) -> ConditionError {
    let (line, column) = errors.errors.first().map_or((1, 1), |e| e.pos);
    let line = usize::try_from(line).unwrap_or(1).max(1);
    let column = usize::try_from(column).unwrap_or(1).max(1);
    let before: usize = source.split_inclusive('\n').take(line - 1).map(|l| l.chars().count()).sum();
    let offset = before + column - 1;
    let at = tokens.iter().position(|t| t.offset >= offset);
    let previous = at.map_or(tokens.last(), |i| i.checked_sub(1).and_then(|i| tokens.get(i)));
    let percent = previous.is_some_and(|t| t.text == "%");
    match at.and_then(|i| tokens.get(i)) {
        _ if percent => error(
            previous.map_or(offset, |t| t.offset),
            "`%` divides and keeps the rest; write a percentage as a ratio: `0.8`".to_owned(),
        ),
        Some(token) => error(token.offset, format!("`{}` cannot stand here", token.text)),
        None => error(source.chars().count(), "the condition ends too early: something is missing here".to_owned()),
    }
}

struct Lowering<'a> {
    tokens: &'a [Token<'a>],
    info: &'a SourceInfo,
    catalogue: &'a Catalogue,
    slots: Vec<Slot>,
    ops: Vec<Op>,
    errors: Vec<ConditionError>,
    /// Whether this is what a `servers.` function asks of each server.
    inside: bool,
}

impl Lowering<'_> {
    fn fail(&mut self, offset: usize, mut message: String, suggestion: Option<String>) -> Kind {
        // A message repeats a name; a name may be as long as the source.
        if let Some((at, _)) = message.char_indices().nth(MAX_MESSAGE) {
            message.truncate(at);
            message.push_str("...");
        }
        self.errors.push(ConditionError { offset, message, suggestion });
        Kind::Unclear
    }

    /// The token a node was made from.
    fn token(&self, id: u64) -> Option<usize> {
        let (start, _) = self.info.offset_for(id)?;
        self.tokens.binary_search_by_key(&start, |t| u32::try_from(t.byte).unwrap_or(u32::MAX)).ok()
    }

    /// Where an expression begins, in characters.
    fn start(&self, mut e: &IdedExpr) -> usize {
        let token = loop {
            match &e.expr {
                Expr::Select(select) => e = &select.operand,
                Expr::Call(CallExpr { target: Some(target), .. }) => e = target,
                // A call is remembered by its bracket, an operator by itself.
                Expr::Call(call) if call.func_name.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                    break self.token(e.id).and_then(|i| i.checked_sub(1));
                }
                Expr::Call(CallExpr { args, .. }) if args.len() > 1 => e = &args[0],
                Expr::Call(_)
                | Expr::Unspecified
                | Expr::Comprehension(_)
                | Expr::Ident(_)
                | Expr::List(_)
                | Expr::Literal(_)
                | Expr::Map(_)
                | Expr::Struct(_) => break self.token(e.id),
            }
        };
        token.and_then(|i| self.tokens.get(i)).map_or(0, |t| t.offset)
    }

    fn slot(&mut self, slot: Slot) {
        let index = self.slots.iter().position(|s| *s == slot).unwrap_or_else(|| {
            self.slots.push(slot);
            self.slots.len() - 1
        });
        // At most MAX_OPERATORS slots fit into one source.
        self.ops.push(Op::Slot(u16::try_from(index).unwrap_or(u16::MAX)));
    }

    fn truth(&mut self, e: &IdedExpr, what: &str) {
        if self.value(e) == Kind::Number {
            let message = format!("{what} must be true or false, this is a number: compare it, like `... > 0`");
            self.fail(self.start(e), message, None);
        }
    }

    fn number(&mut self, e: &IdedExpr, operator: &str) {
        if self.value(e) == Kind::Truth {
            let join = if operator.starts_with(['<', '>']) { ": join comparisons with `&&`" } else { "" };
            let message = format!("`{operator}` takes numbers, this is true or false{join}");
            self.fail(self.start(e), message, None);
        }
    }

    fn value(&mut self, e: &IdedExpr) -> Kind {
        match &e.expr {
            Expr::Literal(literal) => self.literal(literal, e),
            Expr::Ident(_) | Expr::Select(_) => match self.label(&e.expr) {
                Some(label) => {
                    let name = if label.of_server { "server.label." } else { "label." };
                    let message = format!("a label is text: compare it, like `{name}{} == \"web\"`", label.name);
                    self.fail(self.start(e), message, None)
                }
                None => self.series(e, Vec::new()).map_or(Kind::Unclear, |series| {
                    self.slot(Slot::Series(series));
                    Kind::Number
                }),
            },
            Expr::Call(call) => self.call(call, e),
            Expr::List(_) => {
                let message = "a list may only stand after `in`: `label.user in [\"a\", \"b\"]`".to_owned();
                self.fail(self.start(e), message, None)
            }
            Expr::Map(_) => {
                let message = "`{...}` may only stand in `x.where({\"mount\": \"/\"})`".to_owned();
                self.fail(self.start(e), message, None)
            }
            Expr::Struct(_) | Expr::Comprehension(_) | Expr::Unspecified => {
                self.fail(self.start(e), "this is not part of conditions".to_owned(), None)
            }
        }
    }

    fn literal(&mut self, literal: &LiteralValue, e: &IdedExpr) -> Kind {
        let (value, kind) = match literal {
            LiteralValue::Boolean(b) => (f64::from(u8::from(*b.inner())), Kind::Truth),
            LiteralValue::Double(n) => (*n.inner(), Kind::Number),
            #[expect(clippy::cast_precision_loss, reason = "conditions are over f64")]
            LiteralValue::Int(n) => (*n.inner() as f64, Kind::Number),
            #[expect(clippy::cast_precision_loss, reason = "conditions are over f64")]
            LiteralValue::UInt(n) => (*n.inner() as f64, Kind::Number),
            LiteralValue::String(_) => {
                let message = "text may only be compared with a label: `label.user == \"www\"`".to_owned();
                return self.fail(self.start(e), message, None);
            }
            LiteralValue::Bytes(_) | LiteralValue::Null => {
                return self.fail(self.start(e), "this is not part of conditions".to_owned(), None);
            }
        };
        self.ops.push(Op::Const(value));
        kind
    }

    /// The dotted name an expression spells.
    fn dotted(e: &Expr) -> Option<String> {
        match e {
            Expr::Ident(name) => Some(name.clone()),
            Expr::Select(SelectExpr { operand, field, test: false }) => {
                Some(format!("{}.{field}", Self::dotted(&operand.expr)?))
            }
            Expr::Select(_)
            | Expr::Unspecified
            | Expr::Call(_)
            | Expr::Comprehension(_)
            | Expr::List(_)
            | Expr::Literal(_)
            | Expr::Map(_)
            | Expr::Struct(_) => None,
        }
    }

    fn label(&self, e: &Expr) -> Option<Label> {
        let name = Self::dotted(e)?;
        let (of_server, label) = match name.strip_prefix("server.label.") {
            Some(label) => (true, label),
            None => (false, name.strip_prefix("label.")?),
        };
        (!label.contains('.')).then(|| Label { of_server, name: label.to_owned() })
    }

    /// The series an expression names, `.where` included.
    fn series(&mut self, e: &IdedExpr, selected: Vec<(String, String)>) -> Option<SeriesRef> {
        let start = self.start(e);
        if let Expr::Call(CallExpr { func_name, target: Some(target), args }) = &e.expr
            && func_name == "where"
            && selected.is_empty()
        {
            let selected = self.selection(args, e)?;
            return self.series(target, selected);
        }
        let Some(name) = Self::dotted(&e.expr) else {
            self.fail(start, "a series name must stand here, like `disk.used_ratio`".to_owned(), None);
            return None;
        };
        let Some((sensor, spec)) = self.catalogue.series(&name) else {
            let known: Vec<&str> = self.catalogue.series_names().filter(|n| !n.ends_with('*')).collect();
            let prefix = format!("{name}.");
            let suggestion = nearest(&name, known.iter().copied())
                .or_else(|| known.iter().find(|n| n.starts_with(&prefix)).map(|n| (*n).to_owned()));
            self.fail(start, format!("unknown series `{name}`"), suggestion);
            return None;
        };
        let mut labels: Vec<String> = spec.labels.iter().map(|l| (*l).to_owned()).collect();
        labels.sort();
        let mut fine = true;
        for (label, _) in &selected {
            if !spec.open_labels && !labels.contains(label) {
                let has = if labels.is_empty() { "none".to_owned() } else { labels.join(", ") };
                let suggestion = nearest(label, labels.iter().map(String::as_str));
                self.fail(start, format!("`{name}` has no label `{label}` (it has: {has})"), suggestion);
                fine = false;
            }
        }
        labels.retain(|l| !selected.iter().any(|(s, _)| s == l));
        let (sensor, ephemeral, open) = (sensor.map(|s| s.name), spec.ephemeral, spec.open_labels);
        fine.then_some(SeriesRef { name, selected, ephemeral, sensor, labels, open })
    }

    /// The constants of `.where({...})`, sorted by label.
    fn selection(&mut self, args: &[IdedExpr], call: &IdedExpr) -> Option<Vec<(String, String)>> {
        let start = self.start(call);
        let usage = || "`.where` takes constants: `x.where({\"mount\": \"/\"})`".to_owned();
        let [IdedExpr { expr: Expr::Map(map), .. }] = args else {
            self.fail(start, usage(), None);
            return None;
        };
        let mut pairs = Vec::new();
        for entry in &map.entries {
            let pair = match &entry.expr {
                EntryExpr::MapEntry(entry) => Self::text(&entry.key.expr).zip(Self::text(&entry.value.expr)),
                EntryExpr::StructField(_) => None,
            };
            let Some((label, value)) = pair else {
                self.fail(start, usage(), None);
                return None;
            };
            if pairs.iter().any(|(l, _)| *l == label) {
                self.fail(start, format!("`.where` names the label `{label}` twice"), None);
                return None;
            }
            pairs.push((label, value));
        }
        if pairs.is_empty() {
            self.fail(start, usage(), None);
            return None;
        }
        pairs.sort();
        Some(pairs)
    }

    fn text(e: &Expr) -> Option<String> {
        if let Expr::Literal(LiteralValue::String(text)) = e { Some(text.inner().to_owned()) } else { None }
    }

    fn call(&mut self, call: &CallExpr, e: &IdedExpr) -> Kind {
        if let Some(target) = &call.target {
            return self.method(call, target, e);
        }
        let (op, name) = match call.func_name.as_str() {
            operators::ADD => (Op::Add, "+"),
            operators::SUBSTRACT => (Op::Sub, "-"),
            operators::MULTIPLY => (Op::Mul, "*"),
            operators::DIVIDE => (Op::Div, "/"),
            operators::MODULO => (Op::Rem, "%"),
            operators::NEGATE => (Op::Neg, "-"),
            operators::LESS => (Op::Lt, "<"),
            operators::LESS_EQUALS => (Op::Le, "<="),
            operators::GREATER => (Op::Gt, ">"),
            operators::GREATER_EQUALS => (Op::Ge, ">="),
            operators::EQUALS => return self.equality(Op::Eq, &call.args),
            operators::NOT_EQUALS => return self.equality(Op::Ne, &call.args),
            operators::LOGICAL_AND => return self.logic(Op::And, "each side of `&&`", &call.args),
            operators::LOGICAL_OR => return self.logic(Op::Or, "each side of `||`", &call.args),
            operators::LOGICAL_NOT => return self.logic(Op::Not, "what follows `!`", &call.args),
            operators::CONDITIONAL => return self.choice(&call.args),
            operators::IN => return self.membership(&call.args, e),
            other => return self.function(other, &call.args, e),
        };
        if let Some(side) = call.args.iter().find(|a| self.label(&a.expr).is_some()) {
            let message = format!("a label is text: `==`, `!=` and `in` compare it, `{name}` does not");
            return self.fail(self.start(side), message, None);
        }
        for arg in &call.args {
            self.number(arg, name);
        }
        self.ops.push(op);
        if matches!(op, Op::Lt | Op::Le | Op::Gt | Op::Ge) { Kind::Truth } else { Kind::Number }
    }

    fn logic(&mut self, op: Op, what: &str, args: &[IdedExpr]) -> Kind {
        for arg in args {
            self.truth(arg, what);
        }
        self.ops.push(op);
        Kind::Truth
    }

    fn choice(&mut self, args: &[IdedExpr]) -> Kind {
        let [condition, then, otherwise] = args else { return Kind::Unclear };
        self.truth(condition, "what stands before `?`");
        let (a, b) = (self.value(then), self.value(otherwise));
        self.ops.push(Op::Choose);
        match (a, b) {
            (Kind::Unclear, _) | (_, Kind::Unclear) => Kind::Unclear,
            (Kind::Number, Kind::Number) => Kind::Number,
            (Kind::Truth, Kind::Truth) => Kind::Truth,
            (Kind::Number, Kind::Truth) | (Kind::Truth, Kind::Number) => {
                let message = "`a ? b : c` needs two numbers or two conditions after `?`".to_owned();
                self.fail(self.start(otherwise), message, None)
            }
        }
    }

    fn equality(&mut self, op: Op, args: &[IdedExpr]) -> Kind {
        let [left, right] = args else { return Kind::Unclear };
        for (label, other) in [(left, right), (right, left)] {
            if let Some(label) = self.label(&label.expr) {
                let Some(text) = Self::text(&other.expr) else {
                    let message = "a label is text: compare it with text between quotes".to_owned();
                    return self.fail(self.start(other), message, None);
                };
                self.text_test(label, text, op == Op::Ne);
                return Kind::Truth;
            }
        }
        match (self.value(left), self.value(right)) {
            (Kind::Number, Kind::Truth) | (Kind::Truth, Kind::Number) => {
                let message = "a number is compared with true or false: write `== 1` or `== 0`".to_owned();
                self.fail(self.start(right), message, None);
            }
            (Kind::Unclear, _) | (_, Kind::Unclear) | (Kind::Number, Kind::Number) | (Kind::Truth, Kind::Truth) => {}
        }
        self.ops.push(op);
        Kind::Truth
    }

    fn text_test(&mut self, label: Label, text: String, negated: bool) {
        self.slot(Slot::Text(TextTest { of_server: label.of_server, label: label.name, text, negated }));
    }

    fn membership(&mut self, args: &[IdedExpr], e: &IdedExpr) -> Kind {
        let start = self.start(e);
        let usage = "`in` asks whether a label is one of some texts: `label.user in [\"a\", \"b\"]`".to_owned();
        let [left, IdedExpr { expr: Expr::List(list), .. }] = args else {
            return self.fail(start, usage, None);
        };
        let texts: Option<Vec<String>> = list.elements.iter().map(|e| Self::text(&e.expr)).collect();
        let (Some(label), Some(texts)) = (self.label(&left.expr), texts.filter(|t| !t.is_empty())) else {
            return self.fail(start, usage, None);
        };
        for (i, text) in texts.into_iter().enumerate() {
            self.text_test(Label { of_server: label.of_server, name: label.name.clone() }, text, false);
            if i > 0 {
                self.ops.push(Op::Or);
            }
        }
        Kind::Truth
    }

    fn method(&mut self, call: &CallExpr, target: &IdedExpr, e: &IdedExpr) -> Kind {
        let start = self.start(e);
        if call.func_name == "where" {
            return self.series(e, Vec::new()).map_or(Kind::Unclear, |series| {
                self.slot(Slot::Series(series));
                Kind::Number
            });
        }
        if matches!(&target.expr, Expr::Ident(name) if name == "servers") {
            return self.servers(call, e);
        }
        // Point at the method's own name, which stands before its bracket.
        let own = self.token(e.id).and_then(|i| i.checked_sub(1)).and_then(|i| self.tokens.get(i));
        let offset = own.filter(|t| t.lexeme == Lexeme::Word).map_or(start, |t| t.offset);
        let message = match function(&call.func_name) {
            Some(spec) => format!("`{}` is written `{}`", spec.name, spec.usage),
            None => format!("unknown function `{}`: a series has `.where({{...}})` only", call.func_name),
        };
        let suggestion = nearest(&call.func_name, ["where"]).filter(|_| function(&call.func_name).is_none());
        self.fail(offset, message, suggestion)
    }
}
