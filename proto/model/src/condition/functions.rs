//! What may be called in a condition, for checking and for `skynetctl explain function`.

/// What a function works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionKind {
    /// Chooses among the label sets of a series.
    Selector,
    /// Asks whether a series is there.
    Presence,
    /// Looks back over time.
    Window,
    /// Folds the label sets of one series into one number.
    Fold,
    /// Looks at many servers.
    Fleet,
}

impl FunctionKind {
    /// The kind's name for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Selector => "selector",
            Self::Presence => "presence",
            Self::Window => "window",
            Self::Fold => "fold",
            Self::Fleet => "fleet",
        }
    }
}

/// One function of the condition language.
#[derive(Clone, Copy, Debug)]
pub struct FunctionSpec {
    /// Its name; functions of many servers begin with `servers.`.
    pub name: &'static str,
    /// What it works on.
    pub kind: FunctionKind,
    /// How it is written.
    pub usage: &'static str,
    /// One line for people.
    pub help: &'static str,
}

const fn spec(name: &'static str, kind: FunctionKind, usage: &'static str, help: &'static str) -> FunctionSpec {
    FunctionSpec { name, kind, usage, help }
}

/// Every function, in order of name. One more is one more row, and its call lowered (`lower.rs`, `lower/`) to a slot that
/// the evaluator fills.
pub const FUNCTIONS: &[FunctionSpec] = &[
    spec("absent", FunctionKind::Presence, "absent(x)", "true when the connected server does not have the series"),
    spec(
        "avg",
        FunctionKind::Window,
        "avg(x, \"5m\")",
        "mean of the samples in the window; from 5 samples over 10 % of it on",
    ),
    spec(
        "delta",
        FunctionKind::Window,
        "delta(x, \"5m\")",
        "newest minus oldest sample of a gauge in the window; from 5 samples over 10 % of it on",
    ),
    spec(
        "forecast",
        FunctionKind::Window,
        "forecast(x, \"1h\", \"4h\")",
        "where a gauge will be 4 h after its newest sample, on the least-squares line through the samples of 1 h; from 5 \
         samples over 25 % of the window on",
    ),
    spec(
        "highest",
        FunctionKind::Fold,
        "highest(x)",
        "greatest value among the label sets, or among those with the instance's labels; unknown while there is none",
    ),
    spec(
        "lowest",
        FunctionKind::Fold,
        "lowest(x)",
        "least value among the label sets, or among those with the instance's labels; unknown while there is none",
    ),
    spec(
        "max",
        FunctionKind::Window,
        "max(x, \"5m\")",
        "greatest sample in the window; from 5 samples over 10 % of it on",
    ),
    spec(
        "min",
        FunctionKind::Window,
        "min(x, \"5m\")",
        "least sample in the window; from 5 samples over 10 % of it on",
    ),
    spec(
        "rate",
        FunctionKind::Window,
        "rate(x, \"5m\")",
        "increase of a `_total` counter from the oldest to the newest sample in the window, per second between them; a \
         fall is a reset, after which it counts from 0; from 5 samples over 10 % of the window on",
    ),
    spec(
        "servers.avg",
        FunctionKind::Fleet,
        "servers.avg(e)",
        "mean over the servers whose value is known; unknown when fewer than half are",
    ),
    spec(
        "servers.count",
        FunctionKind::Fleet,
        "servers.count(c)",
        "how many servers a condition holds for; those where it is unknown are taken both ways",
    ),
    spec(
        "servers.max",
        FunctionKind::Fleet,
        "servers.max(e)",
        "greatest value over the servers; unknown when fewer than half are known",
    ),
    spec(
        "servers.min",
        FunctionKind::Fleet,
        "servers.min(e)",
        "least value over the servers; unknown when fewer than half are known",
    ),
    spec(
        "servers.share",
        FunctionKind::Fleet,
        "servers.share(c)",
        "share of the servers a condition holds for, 0..1; those where it is unknown are taken both ways",
    ),
    spec(
        "servers.sum",
        FunctionKind::Fleet,
        "servers.sum(e)",
        "sum over the servers whose value is known; unknown when fewer than half are",
    ),
    spec(
        "sum",
        FunctionKind::Window,
        "sum(x, \"5m\")",
        "sum of the samples in the window; from 5 samples over 10 % of it on",
    ),
    spec(
        "total",
        FunctionKind::Fold,
        "total(x)",
        "sum over the label sets, or over those with the instance's labels; 0 when a complete sweep has none",
    ),
    spec(
        "where",
        FunctionKind::Selector,
        "x.where({\"mount\": \"/\"})",
        "the series with these label values; constants only",
    ),
];

/// The function called `name`.
#[must_use]
pub fn function(name: &str) -> Option<&'static FunctionSpec> {
    FUNCTIONS.iter().find(|f| f.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_in_order_and_each_once() {
        assert!(FUNCTIONS.windows(2).all(|pair| pair[0].name < pair[1].name));
    }
}
