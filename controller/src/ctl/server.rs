//! `server label`.

use skynet_model::series::Labels;

use super::Failure;
use super::args::Output;
use super::link::Link;
use super::page::{Ink, Page};
use super::print::{Printer, parse, remark};

/// What the controller answers.
#[derive(serde::Deserialize)]
struct Labelled {
    labels: std::collections::BTreeMap<String, String>,
    changed: bool,
    missing: Vec<String>,
}

/// Labels to set and to take away: `role=web` and `tier-`.
///
/// # Errors
/// [`Failure::Usage`]: what is neither, or both.
fn changes(words: &[String]) -> Result<(Vec<String>, Vec<String>), Failure> {
    let (mut set, mut remove) = (Vec::new(), Vec::new());
    for word in words {
        match (word.split_once('='), word.strip_suffix('-')) {
            (Some((name, value)), _) if !name.is_empty() => set.extend([name.to_owned(), value.to_owned()]),
            (None, Some(name)) if !name.is_empty() => remove.push(name.to_owned()),
            (_, _) => {
                let text = format!("`{word}` is no label: `role=web` sets one, `role-` takes it away");
                return Err(Failure::Usage(text));
            }
        }
    }
    Ok((set, remove))
}

/// Gives a server other labels.
///
/// # Errors
/// [`Failure`].
pub(super) async fn label(
    link: &mut Link,
    server: &str,
    words: &[String],
    output: Output,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let (set, remove) = changes(words)?;
    let json = link.label(server, set, remove).await?;
    if output != Output::Table {
        return printer.document(&json, output);
    }
    let labelled: Labelled = parse("labels", &json)?;
    for name in &labelled.missing {
        remark(&format!("label `{name}` was not there"));
    }
    let mut page = Page::new();
    let what = if labelled.changed { "labelled" } else { "unchanged" };
    let labels = Labels::new(&labelled.labels).to_string();
    page.line([
        Ink::Cyan.on(server),
        format!(" {what}: {}", if labels.is_empty() { "no labels" } else { &labels }).into(),
    ]);
    printer.page(&page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_written_as_kubectl_writes_them() {
        let words = |list: &[&str]| changes(&list.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
        let (set, remove) = words(&["role=web", "note=a=b-", "tier-", "empty="]).unwrap();
        assert_eq!(set, ["role", "web", "note", "a=b-", "empty", ""]);
        assert_eq!(remove, ["tier"]);
        for bad in ["role", "=web", "-", ""] {
            assert!(words(&[bad]).unwrap_err().to_string().contains("role-"), "{bad}");
        }
    }
}
