//! The two kinds of holes in policy text: `${label}` in parameters and `{{ expression }}` in text for people.

use minijinja::value::Value;
use minijinja::{Environment, ErrorKind, UndefinedBehavior};

use crate::series::Labels;
use crate::value::ParamKind;

/// Longest template or text for people, in bytes.
pub(super) const MAX_TEXT: usize = 1024;
/// Deepest nesting of brackets in an expression. The template engine's parser needs about 20 KiB of stack for each in a
/// debug build; what this and [`MAX_EXPRESSION`] allow is parsed on 512 KiB, and a test holds it to that.
const MAX_NESTING: usize = 4;
/// Longest `{{ expression }}`, in bytes.
const MAX_EXPRESSION: usize = 256;

/// One piece of a parameter as written.
enum Piece<'t> {
    Plain(&'t str),
    Label(&'t str),
}

/// Splits at `${label}`.
fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        pieces.push(Piece::Plain(&rest[..at]));
        let hole = &rest[at + 2..];
        let end = hole.find('}').ok_or_else(|| format!("`{text}`: `${{` is never closed"))?;
        let label = &hole[..end];
        let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':');
        if label.is_empty() || !label.bytes().all(fine) {
            return Err(format!("`${{{label}}}` is not a label: write `${{name}}`"));
        }
        pieces.push(Piece::Label(label));
        rest = &hole[end + 1..];
    }
    pieces.push(Piece::Plain(rest));
    Ok(pieces)
}

/// The labels a parameter's text asks for; none when it is a literal.
pub(super) fn labels_in(text: &str) -> Result<Vec<&str>, String> {
    let label = |piece| if let Piece::Label(label) = piece { Some(label) } else { None };
    Ok(pieces(text)?.into_iter().filter_map(label).collect())
}

/// Fills `${label}`. What a label says may not change the meaning of a path: no globs, and no `/` except from its start.
pub(super) fn fill(text: &str, labels: &Labels, kind: ParamKind) -> Result<String, String> {
    let path = matches!(kind, ParamKind::Path | ParamKind::PathGlob);
    let mut filled = String::new();
    for piece in pieces(text)? {
        match piece {
            // The root's own slash and the one that follows it are one.
            Piece::Plain(plain) if path && filled == "/" => filled.push_str(plain.strip_prefix('/').unwrap_or(plain)),
            Piece::Plain(plain) => filled.push_str(plain),
            Piece::Label(name) => {
                let value = labels.get(name).ok_or_else(|| format!("there is no label `{name}`"))?;
                if path && value.contains(['*', '?', '[']) {
                    return Err(format!("label `{name}` is `{value}`, which holds a glob"));
                }
                if path && !filled.is_empty() && value.contains('/') {
                    return Err(format!("label `{name}` is `{value}`, which holds `/`"));
                }
                filled.push_str(value);
            }
        }
    }
    Ok(filled)
}

/// What templates may use. There is no loop, no macro, no inclusion, and nothing that makes text much longer.
fn environment() -> Environment<'static> {
    use minijinja::filters;
    let mut env = Environment::empty();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.add_filter("round", round);
    env.add_filter("abs", filters::abs);
    env.add_filter("int", filters::int);
    env.add_filter("float", filters::float);
    env.add_filter("lower", filters::lower);
    env.add_filter("upper", filters::upper);
    env.add_filter("title", filters::title);
    env.add_filter("trim", filters::trim);
    env.add_filter("default", filters::default);
    env.add_filter("bytes", bytes);
    env
}

/// Names of the filters, for the message about an unknown one.
const FILTERS: &str = "round, bytes, abs, int, float, lower, upper, title, trim, default";

/// As people round: without places the result is a whole number and prints without `.0`.
#[expect(clippy::cast_possible_truncation, reason = "the cast saturates")]
fn round(number: f64, places: Option<i32>) -> Value {
    match places.unwrap_or(0).clamp(0, 9) {
        0 => Value::from(number.round() as i64),
        places => {
            let scale = 10_f64.powi(places);
            Value::from((number * scale).round() / scale)
        }
    }
}

/// `1.5 GiB`.
fn bytes(number: f64) -> String {
    let mut scaled = number;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if scaled.abs() < 1024.0 {
            return if unit == "B" { format!("{scaled:.0} B") } else { format!("{scaled:.1} {unit}") };
        }
        scaled /= 1024.0;
    }
    format!("{scaled:.1} TiB")
}

/// What a template is filled with.
fn context(scenario: &str, server: &str, labels: &Labels, value: Option<f64>) -> Value {
    let mut all: Vec<(String, Value)> = labels.iter().map(|(n, v)| (n.to_owned(), Value::from(v))).collect();
    all.push(("scenario".to_owned(), Value::from(scenario)));
    all.push(("server".to_owned(), Value::from(server)));
    all.push(("value".to_owned(), value.map_or_else(|| Value::from(()), Value::from)));
    Value::from_iter(all)
}

/// Renders a template to one line; none when it fails.
pub(super) fn expand(
    template: &str,
    scenario: &str,
    server: &str,
    labels: &Labels,
    value: Option<f64>,
) -> Option<String> {
    check_shape(template).ok()?;
    let text = environment().render_str(template, context(scenario, server, labels, value)).ok()?;
    Some(one_line(&text))
}

/// One line of at most [`MAX_TEXT`] bytes.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::new();
    for c in text.trim().chars() {
        if line.len() + c.len_utf8() > MAX_TEXT {
            break;
        }
        line.push(if c.is_control() { ' ' } else { c });
    }
    line
}

/// Checks a template with the labels an instance will have: its syntax, names and filters. With `open` there may be other
/// labels as well.
pub(super) fn check(template: &str, labels: &Labels, open: bool) -> Result<(), String> {
    check_shape(template)?;
    let env = environment();
    let parsed = env.template_from_str(template).map_err(|e| explain(&e))?;
    match parsed.render(context("scenario", "server", labels, Some(0.5))) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == ErrorKind::UndefinedError && open => Ok(()),
        Err(e) if e.kind() == ErrorKind::UndefinedError => {
            let names: Vec<&str> = labels.iter().map(|(n, _)| n).collect();
            let labels = if names.is_empty() { String::new() } else { format!(", {}", names.join(", ")) };
            Err(format!("the template uses a name that does not exist; there are: server, scenario, value{labels}"))
        }
        Err(e)
            if matches!(e.kind(), ErrorKind::UnknownFilter | ErrorKind::UnknownTest | ErrorKind::UnknownFunction) =>
        {
            Err(explain(&e))
        }
        // It fails on made-up label values only, perhaps: then the incident falls back on plain words.
        Err(_) => Ok(()),
    }
}

fn explain(error: &minijinja::Error) -> String {
    let detail = error.detail().unwrap_or("it cannot be read");
    let filters =
        if error.kind() == ErrorKind::UnknownFilter { format!("; filters are {FILTERS}") } else { String::new() };
    format!("the template is wrong: {detail}{filters}")
}

fn check_shape(template: &str) -> Result<(), String> {
    if template.len() > MAX_TEXT {
        return Err(format!("the text has {} bytes; at most {MAX_TEXT} are read", template.len()));
    }
    if let Some(at) = template.find("${") {
        let hole: String = template[at..].chars().take_while(|c| *c != '}').take(40).chain(['}']).collect();
        let name = hole.trim_start_matches("${").trim_end_matches('}');
        return Err(format!("`{hole}` is for parameters: text for people is filled with `{{{{ {name} }}}}`"));
    }
    if template.contains("{%") || template.contains("{#") {
        return Err("a summary holds `{{ ... }}` only, no `{% ... %}` and no `{# ... #}`".to_owned());
    }
    let mut rest = template;
    while let Some(at) = rest.find("{{") {
        rest = expression(&rest[at + 2..])?;
    }
    Ok(())
}

/// Measures one expression; what follows its `}}`.
fn expression(text: &str) -> Result<&str, String> {
    let (mut depth, mut quote, mut escaped) = (0_usize, None, false);
    for (at, b) in text.bytes().enumerate() {
        if at > MAX_EXPRESSION {
            return Err(format!("a `{{{{ expression }}}}` has more than {MAX_EXPRESSION} bytes"));
        }
        match (quote, b) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), b'\\') => escaped = true,
            (Some(q), _) if q == b => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(b),
            (None, b'(' | b'[' | b'{') => depth += 1,
            (None, b'}') if depth == 0 && text[at..].starts_with("}}") => return Ok(&text[at + 2..]),
            (None, b')' | b']' | b'}') => depth = depth.saturating_sub(1),
            (None, _) => {}
        }
        if depth > MAX_NESTING {
            return Err(format!("a `{{{{ expression }}}}` is nested more than {MAX_NESTING} deep"));
        }
    }
    Err("a `{{` is never closed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Labels {
        Labels::new([("mount", "/var"), ("root", "/"), ("evil", "../etc"), ("star", "*"), ("pid", "42")])
    }

    #[test]
    fn labels_are_filled_and_cannot_change_the_meaning_of_a_path() {
        let fill = |text, kind| fill(text, &labels(), kind);
        assert_eq!(fill("${pid}", ParamKind::Text).as_deref(), Ok("42"));
        assert_eq!(fill("a${pid}b${mount}", ParamKind::Text).as_deref(), Ok("a42b/var"));
        assert_eq!(fill("${mount}/cache/*", ParamKind::PathGlob).as_deref(), Ok("/var/cache/*"));
        assert_eq!(fill("${root}/cache/*", ParamKind::PathGlob).as_deref(), Ok("/cache/*"));
        for (text, kind) in [
            ("/srv/${star}", ParamKind::PathGlob),
            ("/srv/${evil}", ParamKind::Path),
            ("${nothing}", ParamKind::Text),
            ("${pid", ParamKind::Text),
            ("${a b}", ParamKind::Text),
            ("${}", ParamKind::Text),
        ] {
            assert!(fill(text, kind).is_err(), "{text}");
        }
    }

    #[test]
    fn templates_are_checked_before_they_are_needed() {
        let good = "{{ server }} {{ mount }} is {{ (value * 100) | round }} % full, {{ value | bytes }}";
        check(good, &labels(), false).unwrap();
        assert_eq!(expand(good, "s", "web1", &labels(), Some(0.934)).as_deref(), Some("web1 /var is 93 % full, 1 B"));
        assert_eq!(expand("{{ value * 2 }}", "s", "web1", &labels(), None), None);
        for (bad, part) in [
            ("{{ mont }}", "does not exist; there are: server, scenario, value, evil, mount"),
            ("{{ value | rond }}", "filters are"),
            ("{{ value", "never closed"),
            ("{{ value + }}", "wrong"),
            ("{{ '}}' ~ '{{' ~ \"\\\"}}\" ~ mont }}", "does not exist"),
            ("{% for i in [1] %}x{% endfor %}", "no `{%"),
            ("{{ range(9) }}", "wrong"),
        ] {
            let told = check(bad, &labels(), false).unwrap_err();
            assert!(told.contains(part), "{bad}: {told}");
        }
        assert!(check(&format!("{{{{ {}1{} }}}}", "(".repeat(40), ")".repeat(40)), &labels(), false).is_err());
        assert!(check(&"x".repeat(MAX_TEXT + 1), &labels(), false).is_err());
    }

    #[test]
    fn the_costliest_templates_need_little_stack() {
        let run = || {
            for part in ["not ", "-", "1+", "1 if 1 else ", "1|abs|", "1 ~ ", "1 and ", "1 < ", "1 is ", "1.a.", "1**"]
            {
                let fill = part.repeat((MAX_TEXT - 40) / part.len());
                for template in
                    [format!("{{{{ {fill}1 }}}}"), format!("{{{{ {}{fill}1{} }}}}", "(".repeat(14), ")".repeat(14))]
                {
                    assert!(template.len() <= MAX_TEXT);
                    let _ = check(&template, &labels(), false);
                    let _ = expand(&template, "s", "web1", &labels(), Some(1.0));
                }
            }
        };
        std::thread::Builder::new().stack_size(512 << 10).spawn(run).unwrap().join().unwrap();
    }

    #[test]
    fn what_people_read_is_one_bounded_line() {
        assert_eq!(one_line("a\n\u{1b}[31mb"), "a  [31mb");
        assert!(one_line(&"é".repeat(5000)).len() <= MAX_TEXT);
    }
}
