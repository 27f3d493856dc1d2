//! A cheap look at a condition's text before the parser sees it: what the parser would spend a stack or much time on is
//! refused here, in one pass, and so are characters and words that it would explain badly.

use super::{ConditionError, MAX_DEPTH, MAX_OPERATORS, MAX_SOURCE};

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lexeme {
    Word,
    Number,
    Text,
    Symbol,
}

/// One token: where it is and what it reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'s> {
    pub(super) lexeme: Lexeme,
    pub(super) text: &'s str,
    /// Bytes from the start.
    pub(super) byte: usize,
    /// Characters from the start.
    pub(super) offset: usize,
}

/// Words other languages use; what to write instead.
const FOREIGN: [(&str, &str); 7] =
    [("and", "&&"), ("or", "||"), ("not", "!"), ("AND", "&&"), ("OR", "||"), ("NOT", "!"), ("is", "==")];
/// The parser would unroll these into loops.
const MACROS: [&str; 6] = ["has", "all", "exists", "exists_one", "map", "filter"];
const DOUBLE: [&str; 6] = ["&&", "||", "==", "!=", "<=", ">="];
const SINGLE: &str = "()[]{}.,:?!<>+-*/%";

/// Splits `source` into tokens, or says everything that is wrong with it.
pub(super) fn scan(source: &str) -> Result<Vec<Token<'_>>, Vec<ConditionError>> {
    if source.len() > MAX_SOURCE {
        let message =
            format!("the condition has {} bytes; at most {MAX_SOURCE} are read: split the scenario", source.len());
        return Err(vec![fault(0, message)]);
    }
    let mut tokens = Vec::new();
    let mut errors = Vec::new();
    let mut rest = source;
    let mut offset = 0;
    while let Some(c) = rest.chars().next() {
        let byte = source.len() - rest.len();
        let (length, lexeme) = if c.is_ascii_whitespace() {
            (1, None)
        } else {
            match token(rest, c) {
                Ok((length, lexeme)) => (length, Some(lexeme)),
                Err((length, message)) => {
                    errors.push(fault(offset, message));
                    (length, None)
                }
            }
        };
        let text = rest.get(..length).unwrap_or(rest);
        if let Some(lexeme) = lexeme {
            tokens.push(Token { lexeme, text, byte, offset });
        }
        offset += text.chars().count();
        rest = &rest[text.len()..];
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    measure(&tokens).map_err(|e| vec![e])?;
    for pair in tokens.windows(2) {
        if MACROS.contains(&pair[0].text) && pair[1].text == "(" {
            errors.push(fault(pair[0].offset, format!("`{}` is not part of conditions", pair[0].text)));
        }
    }
    if errors.is_empty() { Ok(tokens) } else { Err(errors) }
}

fn fault(offset: usize, message: String) -> ConditionError {
    ConditionError { offset, message, suggestion: None }
}

/// Length and kind of the token `rest` begins with, or how much to skip and why.
fn token(rest: &str, first: char) -> Result<(usize, Lexeme), (usize, String)> {
    if first.is_ascii_alphabetic() || first == '_' {
        let length = run_of(rest, |b| b.is_ascii_alphanumeric() || b == b'_');
        let word = &rest[..length];
        if let Some((_, instead)) = FOREIGN.iter().find(|(foreign, _)| *foreign == word) {
            return Err((length, format!("`{word}` is not an operator here: write `{instead}`")));
        }
        if rest[length..].starts_with(['"', '\'']) {
            return Err((length, format!("text is written without the prefix `{word}`")));
        }
        return Ok((length, Lexeme::Word));
    }
    if first.is_ascii_digit() {
        return number(rest);
    }
    if first == '"' || first == '\'' {
        return text(rest, first);
    }
    if let Some(symbol) = DOUBLE.iter().find(|symbol| rest.starts_with(**symbol)) {
        return Ok((symbol.len(), Lexeme::Symbol));
    }
    if rest.starts_with("//") {
        return Err((rest.len(), "a condition holds no comments; YAML has them: `# ...`".to_owned()));
    }
    if first == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit()) {
        let length = 1 + run_of(&rest[1..], |b| b.is_ascii_alphanumeric() || b == b'_');
        return Err((
            length,
            "a part of a series name begins with a letter; a number with a digit, like `0.5`".to_owned(),
        ));
    }
    if SINGLE.contains(first) {
        return Ok((1, Lexeme::Symbol));
    }
    let message = match first {
        '=' => "`=` alone means nothing here: write `==`".to_owned(),
        '&' => "`&` alone means nothing here: write `&&`".to_owned(),
        '|' => "`|` alone means nothing here: write `||`".to_owned(),
        '$' => "`${...}` fills parameters only; write `label.NAME` to read a label".to_owned(),
        other => format!("`{}` does not belong in a condition", other.escape_default()),
    };
    Err((first.len_utf8(), message))
}

fn run_of(text: &str, fits: impl Fn(u8) -> bool) -> usize {
    text.bytes().take_while(|b| fits(*b)).count()
}

fn number(rest: &str) -> Result<(usize, Lexeme), (usize, String)> {
    let digits = |from: usize| run_of(rest.get(from..).unwrap_or(""), |b| b.is_ascii_digit());
    let mut length = digits(0);
    if rest[length..].starts_with('.') && digits(length + 1) > 0 {
        length += 1 + digits(length + 1);
    }
    if rest[length..].starts_with(['e', 'E']) {
        let sign = usize::from(rest[length + 1..].starts_with(['+', '-']));
        if digits(length + 1 + sign) > 0 {
            length += 1 + sign + digits(length + 1 + sign);
        }
    }
    let tail = run_of(&rest[length..], |b| b.is_ascii_alphanumeric() || b == b'_');
    if tail > 0 {
        let word = &rest[..length + tail];
        let message = format!("`{word}` is not a number: conditions know plain numbers, in the series' own unit");
        return Err((length + tail, message));
    }
    // Beyond 15 digits the text would not be the number it seems to be.
    if length > 24 || rest[..length].parse::<f64>().map_or(true, |n| !n.is_finite()) {
        return Err((length, "the number is too long".to_owned()));
    }
    Ok((length, Lexeme::Number))
}

fn text(rest: &str, quote: char) -> Result<(usize, Lexeme), (usize, String)> {
    let triple = rest.bytes().take(3).filter(|b| u32::from(*b) == u32::from(quote)).count() == 3;
    if triple {
        return Err((3, "text is written between single or double quotes".to_owned()));
    }
    for (i, c) in rest.char_indices().skip(1) {
        if c == quote {
            return Ok((i + 1, Lexeme::Text));
        }
        if c == '\\' {
            return Err((rest.len(), "text in a condition holds no `\\`".to_owned()));
        }
        if c.is_control() {
            break;
        }
    }
    Err((rest.len(), format!("the text is not closed: a {quote} is missing")))
}

/// Depth of brackets and number of operators.
fn measure(tokens: &[Token<'_>]) -> Result<(), ConditionError> {
    let mut open: Vec<&Token<'_>> = Vec::new();
    let mut operators = 0;
    for token in tokens.iter().filter(|t| t.lexeme == Lexeme::Symbol) {
        match token.text {
            "(" | "[" | "{" => {
                open.push(token);
                if open.len() > MAX_DEPTH {
                    let message = format!("nested more than {MAX_DEPTH} deep: split the scenario");
                    return Err(fault(token.offset, message));
                }
            }
            ")" | "]" | "}" => {
                let pair = open.pop().map(|o| (o.text, token.text));
                if !matches!(pair, Some(("(", ")") | ("[", "]") | ("{", "}"))) {
                    return Err(fault(token.offset, format!("`{}` closes nothing", token.text)));
                }
            }
            _ => {
                operators += 1;
                if operators > MAX_OPERATORS {
                    let message = format!("more than {MAX_OPERATORS} operators: split the scenario");
                    return Err(fault(token.offset, message));
                }
            }
        }
    }
    match open.last() {
        Some(token) => Err(fault(token.offset, format!("`{}` is never closed", token.text))),
        None => Ok(()),
    }
}
