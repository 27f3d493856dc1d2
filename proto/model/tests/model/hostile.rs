//! Any bytes as a policy: mistakes with their places, never a panic, within bounds of time. `make fuzz` asks for more
//! rounds than `make test`.

use std::time::{Duration, Instant};

use skynet_model::policy::{File, MAX_BUNDLE_BYTES, MAX_FILE_BYTES, load};

use crate::broken;
use crate::catalogue::CATALOGUE;
use crate::random::{Random, rounds};

/// Longest that any policy may take to load in a debug build on a machine that is busy with other things. What was
/// measured is printed; without a bound of work these inputs take hours.
const PATIENCE: Duration = Duration::from_secs(60);
/// Texts that mean something somewhere in the language.
const WORDS: [&str; 40] = [
    "scenario: a\n",
    "when: ",
    "on_request: unblock\n",
    "respond:\n",
    "  - do: service.reload\n",
    "    with: { unit: x }\n",
    "    target: request\n",
    "request: unblock\n",
    "parameters: { ip: ip }\n",
    "phrases: [\"unblock {ip}\"]\n",
    "customer: c\n",
    "servers: { a: b }\n",
    "fleet: f\n",
    "rails: { blast_radius: 5% }\n",
    "rollout: { waves: [1, 100%] }\n",
    "---\n",
    "...\n",
    "never: n\n",
    "actions: [firewall.block]\n",
    "per: [mount]\n",
    "scope: cluster\n",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    ": ",
    "- ",
    "&a ",
    "*a",
    "!!str ",
    "|\n",
    ">-\n",
    "${ip}",
    "{{ value }}",
    "avg(load.one, \"5m\")",
    "servers.share(load.one > 1)",
    "\u{0}",
    "\u{feff}",
];

/// Takes lines and words from several policies: most of what comes out is nearly right.
fn mutated(random: &mut Random, corpus: &[String]) -> String {
    let mut lines: Vec<String> = random.pick(corpus).lines().map(|line| format!("{line}\n")).collect();
    for _ in 0..=random.below(5) {
        let at = random.below(lines.len().max(1)).min(lines.len());
        match random.below(8) {
            0 if !lines.is_empty() => drop(lines.remove(at.min(lines.len() - 1))),
            1 => {
                let other: Vec<&str> = random.pick(corpus).lines().collect();
                if !other.is_empty() {
                    lines.insert(at, format!("{}\n", random.pick(&other)));
                }
            }
            2 => lines.insert(at, (*random.pick(&WORDS)).to_owned()),
            3 if at < lines.len() => {
                let line = &mut lines[at];
                let cut = line.char_indices().map(|(i, _)| i).nth(random.below(line.chars().count().max(1)));
                line.insert_str(cut.unwrap_or(0), random.pick::<&str>(&WORDS));
            }
            4 if at < lines.len() => {
                let line = &mut lines[at];
                let cut = line.char_indices().map(|(i, _)| i).nth(random.below(line.chars().count().max(1)));
                line.truncate(cut.unwrap_or(0));
            }
            5 if at < lines.len() => lines[at].insert_str(0, "  "),
            6 if lines.len() > 1 => {
                let other = random.below(lines.len());
                lines.swap(at.min(other), other);
            }
            _ if at < lines.len() => {
                let copy = lines[at].clone();
                lines.insert(at, copy);
            }
            _ => lines.push("---\n".to_owned()),
        }
    }
    lines.concat()
}

#[test]
fn policies_made_of_policies_are_told_or_loaded_and_loading_never_panics() {
    let mut corpus: Vec<String> = broken::corpus().into_iter().map(|(_, text)| text).collect();
    for good in ["base", "scenarios", "people", "odd"] {
        let path = broken::folder().join(format!("../policies/good/{good}.yaml"));
        corpus.extend(std::fs::read_to_string(path).unwrap().split("---\n").map(str::to_owned));
    }
    let run = move || {
        let mut random = Random(23);
        let (mut failed, mut loaded, mut longest) = (0, 0, Duration::ZERO);
        for _ in 0..rounds(4000) {
            let text = mutated(&mut random, &corpus);
            let begun = clock();
            match load(&[File { name: "p".to_owned(), text: text.clone() }], &CATALOGUE) {
                Ok(_) => loaded += 1,
                Err(told) => {
                    failed += 1;
                    let last = u32::try_from(text.lines().count()).unwrap() + 1;
                    assert!(!told.is_empty());
                    assert!(told.iter().all(|d| (1..=last).contains(&d.line) && d.column > 0), "{text}\n{told:#?}");
                    assert!(told.iter().all(|d| d.message.len() < 2000), "{text}");
                }
            }
            longest = longest.max(begun.elapsed());
        }
        assert!(failed > 100 && loaded > 10, "{failed} failed, {loaded} loaded");
        assert!(longest < Duration::from_secs(5), "{longest:?} for a single document");
        eprintln!("{failed} told, {loaded} loaded, the longest took {longest:?}");
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(run).unwrap().join().unwrap();
}

#[expect(clippy::disallowed_methods, reason = "measuring is what this test is for")]
fn clock() -> Instant {
    Instant::now()
}

/// A policy as large as is read, out of one document repeated, `{n}` being its number.
fn filled(document: &str) -> Vec<File> {
    let mut files = vec![String::new()];
    let mut total = 0;
    for n in 0..4999 {
        let text = format!("{}---\n", document.replace("{n}", &n.to_string()));
        if total + text.len() > MAX_BUNDLE_BYTES {
            break;
        }
        if files.last().unwrap().len() + text.len() > MAX_FILE_BYTES {
            files.push(String::new());
        }
        total += text.len();
        files.last_mut().unwrap().push_str(&text);
    }
    files.into_iter().enumerate().map(|(n, text)| File { name: format!("{n}.yaml"), text }).collect()
}

#[test]
fn the_costliest_policies_load_within_bounds() {
    let deep = format!("{}load.one > 1{}", "(".repeat(15), ")".repeat(15));
    let wide = vec!["load.one > 1"; 60].join(" || ");
    let long_list = vec!["\"/etc/*\""; 1000].join(", ");
    let phrases = (0..32).map(|i| format!("\"say {i} {{n}} {{x}}\"")).collect::<Vec<_>>().join(", ");
    for (what, document) in [
        ("5,000 scenarios", "scenario: s{n}\nwhen: load.one > {n}\n".to_owned()),
        ("deep conditions", format!("scenario: s{{n}}\nwhen: {deep}\n")),
        ("wide conditions", format!("scenario: s{{n}}\nwhen: '{wide}'\n")),
        (
            "many steps",
            format!(
                "scenario: s{{n}}\nwhen: load.one > 1\nrespond: [{}]\n",
                vec!["{ do: journal.vacuum, with: { keep: 1B } }"; 16].join(", ")
            ),
        ),
        ("long lists", format!("never: n{{n}}\nactions: [files.delete]\nwith: {{ path: [{long_list}] }}\n")),
        ("unknown names", "scenario: s{n}\nwhen: load.one > 1\nescalate: nobody-{n}\n".to_owned()),
        ("wrong words", "scenario: s{n}\nwhen: load.onne > 1 && lod.one > 2\nmoode: x\n".to_owned()),
        ("phrases", format!("request: r{{n}}\nparameters: {{ x: text }}\nphrases: [{phrases}]\n")),
        ("one name", "profile: p\nsensors: [cpu]\n".to_owned()),
        (
            "summaries",
            "scenario: s{n}\nwhen: load.one > 1\nsummary: \"{{ ((((value))))|round|abs|int }}\"\n".to_owned(),
        ),
        ("brackets", format!("profile: p{{n}}\nmatch: {}\n", "[".repeat(300))),
        ("quotes", format!("profile: p{{n}}\nmatch: {{ a: \"{}\" }}\n", "\\n".repeat(300))),
    ] {
        let files = filled(&document);
        let (bytes, documents) = (
            files.iter().map(|f| f.text.len()).sum::<usize>(),
            files.iter().map(|f| f.text.matches("---\n").count()).sum::<usize>(),
        );
        let begun = clock();
        let told = load(&files, &CATALOGUE).err().unwrap_or_default();
        let took = begun.elapsed();
        eprintln!("{what}: {documents} documents, {bytes} bytes, {} mistakes, {took:?}", told.len());
        assert!(took < PATIENCE, "{what}: {took:?}");
        assert!(told.len() <= 1000);
    }
}
