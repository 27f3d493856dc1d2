use skynet_model::condition::{
    Aggregate, Condition, ConditionError, FoldRef, MAX_DEPTH, MAX_OPERATORS, MAX_SOURCE, Measure, Slot, Truth,
};

use crate::catalogue::CATALOGUE;
use crate::random::Random;

const U: f64 = f64::NAN;

fn compile(source: &str) -> Condition {
    Condition::compile(source, &CATALOGUE).unwrap_or_else(|e| panic!("{source}: {e:?}"))
}

fn errors(source: &str) -> Vec<ConditionError> {
    match Condition::compile(source, &CATALOGUE) {
        Ok(_) => panic!("{source} compiled"),
        Err(errors) => errors,
    }
}

/// `@offset message (suggestion)` for each mistake.
fn told(source: &str) -> Vec<String> {
    let line = |e: ConditionError| match e.suggestion {
        Some(word) => format!("@{} {} ({word})", e.offset, e.message),
        None => format!("@{} {}", e.offset, e.message),
    };
    errors(source).into_iter().map(line).collect()
}

fn truth(source: &str, values: &[f64]) -> Truth {
    let condition = compile(source);
    assert_eq!(condition.slots().len(), values.len(), "{source}");
    condition.eval(values)
}

#[test]
fn every_operator_means_what_it_says() {
    for (source, a, b) in [
        ("cpu.busy_ratio + load.one == 5", 2.0, 3.0),
        ("cpu.busy_ratio - load.one == -1.0", 2.0, 3.0),
        ("cpu.busy_ratio * load.one == 6", 2.0, 3.0),
        ("cpu.busy_ratio / load.one == 0.5", 2.0, 4.0),
        ("cpu.busy_ratio % load.one == 1", 7.0, 3.0),
        ("-cpu.busy_ratio == load.one", 2.0, -2.0),
        ("cpu.busy_ratio < load.one", 2.0, 3.0),
        ("cpu.busy_ratio <= load.one", 3.0, 3.0),
        ("load.one > cpu.busy_ratio", 3.0, 2.0),
        ("cpu.busy_ratio >= load.one", 3.0, 3.0),
        ("cpu.busy_ratio != load.one", 3.0, 2.0),
        ("cpu.busy_ratio == 1 && load.one == 2", 1.0, 2.0),
        ("cpu.busy_ratio == 1 || load.one == 2", 1.0, 3.0),
        ("!(cpu.busy_ratio == load.one)", 1.0, 3.0),
        ("(cpu.busy_ratio > 1 ? load.one : 9) == 4", 2.0, 4.0),
        ("(cpu.busy_ratio > 1 ? 9 : load.one) == 4", 1.0, 4.0),
        ("cpu.busy_ratio + load.one * 2 == 7 && true", 1.0, 3.0),
        ("(cpu.busy_ratio > load.one) == false", 1.0, 3.0),
        ("cpu.busy_ratio == 1e3 && load.one == 1.5e-3", 1000.0, 0.0015),
    ] {
        let condition = compile(source);
        assert_eq!(condition.slots().len(), 2, "{source}");
        assert_eq!(condition.eval(&[a, b]), Truth::True, "{source}");
    }
}

#[test]
fn unknown_spreads_as_kleene_says() {
    let (t, f, u) = (Truth::True, Truth::False, Truth::Unknown);
    let number = |truth| match truth {
        Truth::True => 1.0,
        Truth::False => 0.0,
        Truth::Unknown => U,
    };
    for (a, b, and, or) in
        [(t, t, t, t), (t, f, f, t), (f, f, f, f), (u, t, u, t), (u, f, f, u), (u, u, u, u), (t, u, u, t), (f, u, f, u)]
    {
        let values = [number(a), number(b)];
        assert_eq!(truth("cpu.busy_ratio == 1 && load.one == 1", &values), and, "{a:?} && {b:?}");
        assert_eq!(truth("cpu.busy_ratio == 1 || load.one == 1", &values), or, "{a:?} || {b:?}");
    }
    assert_eq!(truth("!(load.one > 1)", &[U]), u);
    assert_eq!(truth("load.one > 1 ? true : true", &[U]), u);
    assert_eq!(truth("load.one + 1 > 1", &[U]), u);
    for comparison in ["<", "<=", ">", ">=", "==", "!="] {
        assert_eq!(truth(&format!("load.one {comparison} 1"), &[U]), u, "{comparison}");
    }
}

#[test]
fn results_that_are_no_numbers_are_unknown() {
    for source in ["1 / load.one > 0", "1 % load.one == 0", "load.one / load.one == 1", "1e300 * 1e300 > load.one"] {
        assert_eq!(truth(source, &[0.0]), Truth::Unknown, "{source}");
    }
    assert_eq!(truth("load.one > 1", &[f64::INFINITY]), Truth::Unknown);
    assert_eq!(compile("load.one > 1").eval(&[]), Truth::Unknown);
}

#[test]
fn slots_say_what_they_are_filled_from_and_are_shared() {
    let condition = compile(
        "disk.used_ratio > 0.8 && disk.used_ratio < 0.9 && disk.used_ratio.where({\"mount\": \"/\"}) > 0.5 \
         && !absent(disk.free_bytes) && label.mount != '/tmp' && server.label.role == \"web\" \
         && server.connected == 1 && process.cpu_ratio > 0 && prom.some_name > 0 && \"/tmp\" != label.mount",
    );
    let slots = condition.slots();
    assert_eq!(slots.len(), 8, "{slots:#?}");
    let Slot::Series(used) = &slots[0] else { panic!("{slots:?}") };
    assert_eq!((used.name.as_str(), used.sensor, used.ephemeral), ("disk.used_ratio", Some("disk"), false));
    assert_eq!(used.labels, ["mount"]);
    let Slot::Series(root) = &slots[1] else { panic!("{slots:?}") };
    assert_eq!(root.selected, [("mount".to_owned(), "/".to_owned())]);
    assert!(root.labels.is_empty());
    assert!(matches!(&slots[2], Slot::Absent(s) if s.name == "disk.free_bytes"));
    assert!(matches!(&slots[3], Slot::Text(t) if t.negated && !t.of_server && t.label == "mount" && t.text == "/tmp"));
    assert!(matches!(&slots[4], Slot::Text(t) if !t.negated && t.of_server && t.label == "role"));
    assert!(matches!(&slots[5], Slot::Series(s) if s.name == "server.connected" && s.sensor.is_none()));
    let Slot::Series(process) = &slots[6] else { panic!("{slots:?}") };
    assert!(process.ephemeral);
    assert_eq!(process.labels, ["name", "pid", "start", "user"]);
    assert!(matches!(&slots[7], Slot::Series(s) if s.open && s.name == "prom.some_name"));
}

#[test]
fn a_text_slot_is_one_or_zero() {
    let value = |source: &str, text: &str| match &compile(source).slots()[0] {
        Slot::Text(test) => test.value(text),
        other @ (Slot::Series(_) | Slot::Absent(_) | Slot::Window(_) | Slot::Fold(_) | Slot::Servers(_)) => {
            panic!("{source}: {other:?}")
        }
    };
    assert_eq!(value("label.user == \"www\" && load.one > 1", "www"), 1.0);
    assert_eq!(value("label.user == \"www\" && load.one > 1", ""), 0.0);
    assert_eq!(value("label.user != \"www\" && load.one > 1", "www"), 0.0);
    assert_eq!(value("label.user != \"www\" && load.one > 1", ""), 1.0);
}

#[test]
fn a_label_may_be_one_of_several_texts() {
    let source = "label.user in [\"www\", \"mail\"] && process.cpu_ratio > 0.5";
    assert_eq!(truth(source, &[0.0, 1.0, 0.9]), Truth::True);
    assert_eq!(truth(source, &[0.0, 0.0, 0.9]), Truth::False);
}

#[test]
fn all_mistakes_of_a_condition_are_told_with_their_places() {
    assert_eq!(
        told("disk.used_raito > 0.8 && cpu + 1 > 2 && load.one"),
        [
            "@0 unknown series `disk.used_raito` (disk.used_ratio)",
            "@25 unknown series `cpu` (cpu.busy_ratio)",
            "@40 each side of `&&` must be true or false, this is a number: compare it, like `... > 0`",
        ]
    );
    for (source, expected) in [
        ("", "@0 the condition is empty: write one, like `cpu.busy_ratio > 0.9`"),
        ("load.one", "@0 the condition must be true or false, this is a number: compare it, like `... > 0`"),
        ("load.one = 1", "@9 `=` alone means nothing here: write `==`"),
        ("load.one > 1 and true", "@13 `and` is not an operator here: write `&&`"),
        ("load.one > 80%", "@13 `%` divides and keeps the rest; write a percentage as a ratio: `0.8`"),
        ("load.one > 5m", "@11 `5m` is not a number: conditions know plain numbers, in the series' own unit"),
        ("load.1m > 5", "@4 a part of a series name begins with a letter; a number with a digit, like `0.5`"),
        ("load.one > > 1", "@11 `>` cannot stand here"),
        ("load.one >", "@10 the condition ends too early: something is missing here"),
        ("(load.one > 1", "@0 `(` is never closed"),
        ("load.one > 1)", "@12 `)` closes nothing"),
        ("load.one > \"x", "@11 the text is not closed: a \" is missing"),
        ("load.one > true", "@11 `>` takes numbers, this is true or false: join comparisons with `&&`"),
        ("(load.one > 1) + 1 > 2", "@1 `+` takes numbers, this is true or false"),
        ("load.one == \"x\"", "@12 text may only be compared with a label: `label.user == \"www\"`"),
        ("label.user == 3", "@14 a label is text: compare it with text between quotes"),
        ("label.user > \"a\"", "@0 a label is text: `==`, `!=` and `in` compare it, `>` does not"),
        ("label.user && true", "@0 a label is text: compare it, like `label.user == \"web\"`"),
        ("load.one == true", "@12 a number is compared with true or false: write `== 1` or `== 0`"),
        ("!load.one", "@1 what follows `!` must be true or false, this is a number: compare it, like `... > 0`"),
        ("true ? 1 : false", "@11 `a ? b : c` needs two numbers or two conditions after `?`"),
        (
            "servers.share(load.one) > 0.5",
            "@14 what `servers.share` asks of each server must be true or false, this is a number: compare it, like \
             `... > 0`",
        ),
        (
            "load.one > 1 && servers.sum(load.one > 1) > 5",
            "@28 `servers.sum` takes a number of each server, this is true or false: count how many it holds for with \
             `servers.count(...)`",
        ),
        ("servers.count() > 1", "@0 write `servers.count(c)`"),
        ("servers.avg(load.one, cpu.busy_ratio) > 1", "@0 write `servers.avg(e)`"),
        (
            "servers.count(servers.avg(load.one) > 1) > 1",
            "@14 `servers.avg` cannot stand within another `servers.` function: it would look at one server",
        ),
        (
            "servers.count(1 > 0) > 1",
            "@0 `servers.count` asks nothing of a server: name a series, like `servers.count(load.one > 8)`",
        ),
        ("servers.max(lood.one) > 1", "@12 unknown series `lood.one` (load.one)"),
        (
            "servers.share(load.one > 1)",
            "@0 the condition must be true or false, this is a number: compare it, like `... > 0`",
        ),
        ("servers.shar(load.one > 1) > 0.5", "@0 unknown function `servers.shar` (servers.share)"),
        ("absnt(load.one)", "@0 unknown function `absnt` (absent)"),
        ("absent(load.one + 1)", "@7 a series name must stand here, like `disk.used_ratio`"),
        ("absent()", "@0 write `absent(x)`"),
        ("load.one.rate(\"5m\") > 1", "@9 `rate` is written `rate(x, \"5m\")`"),
        ("load.one[0] > 1", "@0 `x[...]` is not part of conditions: choose labels with `.where({...})`"),
        ("[1].exists(x, true)", "@4 `exists` is not part of conditions"),
        (
            "disk.used_ratio.where({\"mont\": \"/\"}) > 1",
            "@0 `disk.used_ratio` has no label `mont` (it has: mount) (mount)",
        ),
        (
            "disk.used_ratio.where({\"mount\": label.x}) > 1",
            "@0 `.where` takes constants: `x.where({\"mount\": \"/\"})`",
        ),
        (
            "disk.used_ratio.where({\"mount\": \"/\", \"mount\": \"/var\"}) > 1",
            "@0 `.where` names the label `mount` twice",
        ),
        ("{1: 2} == 3", "@0 `{...}` may only stand in `x.where({\"mount\": \"/\"})`"),
        ("null == 3", "@0 this is not part of conditions"),
        ("\"é\" == label.x && lod.one > 1", "@18 unknown series `lod.one` (load.one)"),
    ] {
        assert_eq!(told(source), [expected], "{source}");
    }
}

#[test]
fn mistakes_in_windows_and_folds_are_told_where_they_are() {
    for (source, expected) in [
        ("avg(load.one) > 1", "@0 write `avg(x, \"5m\")`"),
        ("sum(disk.free_bytes) > 1", "@0 write `sum(x, \"5m\")`; over the label sets of a series it is `total(x)`"),
        ("max(load.one) > 1", "@0 write `max(x, \"5m\")`; over the label sets of a series it is `highest(x)`"),
        ("min(load.one) > 1", "@0 write `min(x, \"5m\")`; over the label sets of a series it is `lowest(x)`"),
        ("1 < forecast(load.one, \"1h\")", "@4 write `forecast(x, \"1h\", \"4h\")`"),
        ("avg(load.one, \"1h\", \"4h\") > 1", "@0 write `avg(x, \"5m\")`"),
        ("avg(load.one, 300) > 1", "@14 a window is a duration between quotes, like `\"5m\"`"),
        (
            "forecast(load.one, \"1h\", 4) > 1",
            "@25 how far `forecast` looks ahead is a duration between quotes, like `\"5m\"`",
        ),
        (
            "avg(load.one, \"5 m\") > 1",
            "@14 `5 m` is not a duration: write a whole number and a unit, like `30s`, `5m`, `2h` or `1d`",
        ),
        ("avg(load.one, \"4999ms\") > 1", "@14 a window is between 5s and 7d, this is 4s999ms"),
        ("avg(load.one, \"7d1ms\") > 1", "@14 a window is between 5s and 7d, this is 7d1ms"),
        (
            "forecast(load.one, \"1h\", \"8d\") > 1",
            "@25 how far `forecast` looks ahead is between 5s and 7d, this is 8d",
        ),
        (
            "avg(server.connected, \"5m\") < 1",
            "@4 `server.connected` has no samples to look back over: say with `for` how long",
        ),
        ("avg(lod.one, \"5m\") > 1", "@4 unknown series `lod.one` (load.one)"),
        ("avg(1, \"5m\") > 1", "@4 a series name must stand here, like `disk.used_ratio`"),
        ("avg(load.one + 1, \"5m\") > 1", "@4 a series name must stand here, like `disk.used_ratio`"),
        (
            "1 < avg(total(disk.free_bytes), \"5m\")",
            "@8 a window looks back over one series, not over a fold; write it the other way round: `total(avg(x, \"5m\"))`",
        ),
        (
            "max(rate(network.errors_total, \"5m\"), \"5m\") > 1",
            "@4 a window looks back over a series, not over another window",
        ),
        (
            "rate(load.one, \"5m\") > 1",
            "@5 `rate` is for counters, whose names end in `_total`; `load.one` is a gauge: use `delta`",
        ),
        (
            "delta(network.errors_total, \"5m\") > 1",
            "@6 `delta` is for gauges; `network.errors_total` is a counter: use `rate`",
        ),
        (
            "forecast(network.errors_total.where({\"interface\": \"eth0\"}), \"5m\", \"1h\") > 1",
            "@9 `forecast` is for gauges; `network.errors_total` is a counter: use `rate`",
        ),
        ("total() > 1", "@0 write `total(x)`; to look back as well: `total(avg(x, \"5m\"))`"),
        ("total(load.one, \"5m\") > 1", "@0 write `total(x)`; to look back as well: `total(avg(x, \"5m\"))`"),
        ("total(highest(load.one)) > 1", "@6 a fold takes a series or a window over one, not another fold"),
        ("total(absent(load.one)) > 1", "@6 a series name must stand here, like `disk.used_ratio`"),
        ("highest(load.one > 1) == 1", "@8 a series name must stand here, like `disk.used_ratio`"),
        ("totl(load.one) > 1", "@0 unknown function `totl` (total)"),
        ("total(load.one)", "@0 the condition must be true or false, this is a number: compare it, like `... > 0`"),
        (
            "avg(load.one, \"5m\") && true",
            "@0 each side of `&&` must be true or false, this is a number: compare it, like `... > 0`",
        ),
        ("load.one.total() > 1", "@9 `total` is written `total(x)`"),
        ("label.user == avg(load.one, \"5m\")", "@14 a label is text: compare it with text between quotes"),
    ] {
        assert_eq!(told(source), [expected], "{source}");
    }
}

#[test]
fn windows_and_folds_are_slots_of_their_own_and_are_shared() {
    let condition = compile(
        "avg(load.one, \"5m\") > 1 && avg(load.one, \"300s\") < 9 && avg(load.one, \"5s\") > 1 \
         && forecast(disk.free_bytes.where({\"mount\": \"/\"}), \"7d\", \"1h30m\") < 0 && load.one > 0 \
         && total(disk.free_bytes) + highest(disk.free_bytes) > lowest(disk.free_bytes) \
         && total(rate(network.errors_total, \"5m\")) > 3",
    );
    let text: Vec<String> = condition
        .slots()
        .iter()
        .map(|slot| match slot {
            Slot::Series(series) => series.name.clone(),
            Slot::Window(w) => format!("{:?}({}{:?}, {}, {})", w.function, w.of.name, w.of.selected, w.span, w.ahead),
            Slot::Fold(FoldRef { fold, of: Measure::Series(series) }) => format!("{fold:?}({})", series.name),
            Slot::Fold(FoldRef { fold, of: Measure::Window(w) }) => {
                format!("{fold:?}({:?}({}, {}))", w.function, w.of.name, w.span)
            }
            Slot::Absent(_) | Slot::Text(_) | Slot::Servers(_) => panic!("{slot:?}"),
        })
        .collect();
    assert_eq!(
        text,
        [
            "Avg(load.one[], 5m, 0s)",
            "Avg(load.one[], 5s, 0s)",
            "Forecast(disk.free_bytes[(\"mount\", \"/\")], 7d, 1h30m)",
            "load.one",
            "Total(disk.free_bytes)",
            "Highest(disk.free_bytes)",
            "Lowest(disk.free_bytes)",
            "Total(Rate(network.errors_total, 5m))",
        ]
    );
    assert_eq!(condition.eval(&[2.0, 2.0, -1.0, 1.0, 9.0, 1.0, 1.0, 4.0]), Truth::True);
    assert_eq!(condition.eval(&[U, 2.0, -1.0, 1.0, 9.0, 1.0, 1.0, 4.0]), Truth::Unknown);
}

#[test]
fn deep_and_endless_conditions_are_refused_before_they_are_parsed() {
    let deep = |n: usize| format!("{}load.one > 1{}", "(".repeat(n), ")".repeat(n));
    compile(&deep(MAX_DEPTH));
    assert!(told(&deep(MAX_DEPTH + 1))[0].contains("nested more than 16 deep"));
    assert!(told(&deep(1000))[0].contains("nested more than 16 deep"));
    let endless = |n: usize| format!("load.one > 1{}", "+1".repeat(n));
    compile(&endless(MAX_OPERATORS - 2));
    assert!(told(&endless(MAX_OPERATORS - 1))[0].contains("more than 200 operators"));
    assert!(told(&endless(5000))[0].contains(&format!("at most {MAX_SOURCE} are read")));
    assert!(told(&format!("load.one > {}", "9".repeat(400)))[0].contains("too long"));
    assert!(told(&format!("{} > 1", "a".repeat(2000)))[0].len() < 300, "what is repeated is cut");
    // Held values, not brackets: each `a ? b :` waits for the last.
    assert!(told(&format!("{}true", "load.one > 1 ? true : ".repeat(40)))[0].contains("nested too deep"));
}

/// The longest chains inside the deepest brackets of each kind.
fn costliest() -> Vec<String> {
    let mut all = Vec::new();
    for (open, close) in
        [("(", ")"), ("[", "]"), ("{1:", "}"), ("-(", ")"), ("!(", ")"), ("f(", ")"), ("a.f(", ")"), ("1<(a&&1+", ")")]
    {
        for chain in ["+1", "<1", "&&a", ".a", "?a:b", "*1", "||a"] {
            let left = (MAX_OPERATORS - 4 * MAX_DEPTH) / chain.chars().filter(char::is_ascii_punctuation).count();
            let chain = format!("a{}", chain.repeat(left));
            all.push(format!("{}{chain}{}", open.repeat(MAX_DEPTH), close.repeat(MAX_DEPTH)));
        }
    }
    all
}

#[test]
fn the_costliest_conditions_compile_on_half_a_mebibyte_of_stack() {
    let run = || {
        for source in costliest() {
            // None may be refused for its size, or this test would prove nothing.
            let told = Condition::compile(&source, &CATALOGUE).err().into_iter().flatten();
            assert!(told.into_iter().all(|e| !e.message.contains("more than")), "{source}");
        }
    };
    std::thread::Builder::new().stack_size(512 << 10).spawn(run).unwrap().join().unwrap();
}

#[test]
fn compiling_never_panics_on_any_text() {
    const WORDS: [&str; 44] = [
        "load.one",
        "cpu.busy_ratio",
        "disk.used_ratio",
        "label.x",
        "server.label.y",
        "servers",
        "absent",
        "rate",
        "f",
        "true",
        "false",
        "null",
        "in",
        "1",
        "0.5",
        "1e9",
        "\"a\"",
        "'b'",
        "\"\"",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ".",
        ",",
        ":",
        "?",
        "!",
        "<",
        ">",
        "<=",
        "==",
        "!=",
        "+",
        "-",
        "*",
        "/",
        "%",
        "&&",
        "||",
        ".where({\"mount\": \"/\"})",
        "for",
    ];
    let run = || {
        let mut random = Random(7);
        for round in 0..crate::random::rounds(6000) {
            let source: String = if round % 3 == 0 {
                let bytes: Vec<u8> = (0..random.below(40)).map(|_| u8::try_from(random.below(256)).unwrap()).collect();
                String::from_utf8_lossy(&bytes).into_owned()
            } else {
                let space = if round % 2 == 0 { " " } else { "" };
                (0..random.below(14)).map(|_| format!("{}{space}", random.pick(&WORDS))).collect()
            };
            match Condition::compile(&source, &CATALOGUE) {
                Ok(condition) => {
                    let _ = condition.eval(&vec![U; condition.slots().len()]);
                }
                Err(errors) => {
                    assert!(!errors.is_empty());
                    assert!(errors.iter().all(|e| e.offset <= source.chars().count()), "{source:?} {errors:?}");
                }
            }
        }
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(run).unwrap().join().unwrap();
}

#[test]
fn what_is_asked_of_many_servers_is_a_condition_of_its_own() {
    let source = "servers.share( load.one>1||(cpu.busy_ratio > 0.5) ) >= 0.5 && servers.avg(load.one) < 3";
    let condition = compile(source);
    let asked: Vec<(Aggregate, &str, usize)> = condition
        .slots()
        .iter()
        .map(|slot| {
            let Slot::Servers(servers) = slot else { panic!("{slot:?}") };
            (servers.function, servers.of.source(), servers.of.slots().len())
        })
        .collect();
    assert_eq!(asked, [(Aggregate::Share, "load.one>1||(cpu.busy_ratio > 0.5)", 2), (Aggregate::Avg, "load.one", 1)]);
    let Slot::Servers(share) = &condition.slots()[0] else { panic!() };
    assert_eq!(share.of.eval(&[2.0, U]), Truth::True);
    assert_eq!(condition.eval(&[0.5, 2.0]), Truth::True);
    // The same question twice is one slot.
    assert_eq!(compile("servers.count(load.one > 1) > 1 || servers.count(load.one > 1) == 0").slots().len(), 1);
    assert_eq!(condition.eval_between(&[(0.5, 0.75), (2.0, 2.0)]), Truth::True);
    assert_eq!(condition.eval_between(&[(0.25, 0.75), (2.0, 2.0)]), Truth::Unknown);
    assert_eq!(condition.eval_between(&[(0.25, 0.75), (3.0, 3.0)]), Truth::False);
    assert_eq!(condition.eval_between(&[(U, U), (2.0, 2.0)]), Truth::Unknown);
}
