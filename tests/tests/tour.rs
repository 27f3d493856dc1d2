//! The README's tour of policy: every command in it is run, and must print what is written there.
//!
//! `yaml` blocks begin with a comment that names the file they are; `console` blocks hold commands behind `$ ` and what
//! they print. What differs from run to run (digests, times, ids) is compared as such. `UPDATE_README=1` writes anew what
//! the commands print.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use skynet_tests::stage;

const BEGIN: &str = "## Write policy";

fn readme() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")
}

/// A fenced block of the section: its language and its lines.
#[derive(Debug, PartialEq)]
enum Piece {
    Text(String),
    Block { language: String, lines: Vec<String> },
}

fn pieces(section: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut open: Option<(String, Vec<String>)> = None;
    for line in section.lines() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(language), None) => open = Some((language.to_owned(), Vec::new())),
            (Some(_), Some((language, lines))) => pieces.push(Piece::Block { language, lines }),
            (None, Some((language, mut lines))) => {
                lines.push(line.to_owned());
                open = Some((language, lines));
            }
            (None, None) => pieces.push(Piece::Text(line.to_owned())),
        }
    }
    assert!(open.is_none(), "a block is not closed");
    pieces
}

fn written(pieces: &[Piece]) -> String {
    let block = |piece: &Piece| match piece {
        Piece::Text(line) => format!("{line}\n"),
        Piece::Block { language, lines } => format!("```{language}\n{}\n```\n", lines.join("\n")),
    };
    pieces.iter().map(block).collect()
}

/// What is the same in every run: hex, times and fingerprints are replaced by their kind.
fn settled(line: &str) -> String {
    let kind = |word: &str| -> String {
        let core = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let hex =
            core.len() >= 6 && core.bytes().all(|b| b.is_ascii_hexdigit()) && core.bytes().any(|b| b.is_ascii_digit());
        let time = core.len() >= 20 && core.ends_with('Z') && core.contains('T');
        let id = core.split_once('-').is_some_and(|(head, tail)| {
            matches!(head, "i" | "n") && tail.len() == 6 && tail.bytes().all(|b| b.is_ascii_hexdigit())
        });
        match (hex, time, id) {
            (true, ..) => word.replace(core, "HEX"),
            (_, true, _) => word.replace(core, "TIME"),
            (.., true) => word.replace(core, "ID"),
            _ if core.starts_with("SHA256:") => "FINGERPRINT".to_owned(),
            _ => word.to_owned(),
        }
    };
    line.split(' ').map(kind).collect::<Vec<_>>().join(" ").trim_end().to_owned()
}

#[tokio::test]
async fn the_tour_prints_what_the_readme_says() {
    let text = fs::read_to_string(readme()).unwrap();
    let start = text.find(BEGIN).expect("the README has the section");
    let length = text[start + 3..].find("\n## ").map_or(text.len() - start, |at| at + 4);
    let section = &text[start..start + length];
    let mut pieces = pieces(section);

    let mut stage = stage(&["web1"]).await;
    let dir = stage.dir().join("tour");
    fs::create_dir_all(&dir).unwrap();
    // The controller and the agent take what the operator of the tour signs, and nothing else.
    let key = dir.join("ana");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "ana@example.net", "-f"])
        .arg(&key)
        .status()
        .unwrap();
    assert!(made.success(), "ssh-keygen made no key");
    let public = fs::read_to_string(dir.join("ana.pub")).unwrap();
    let signers = dir.join("allowed_signers");
    fs::write(&signers, format!("ana@example.net namespaces=\"skynet-policy\" {public}")).unwrap();
    for name in ["controller", "web1"] {
        let file = stage.dir().join(format!("{name}.toml"));
        let config = fs::read_to_string(&file).unwrap();
        let config = config.replace("insecure_unsigned = true", &format!("signers = \"{}\"", signers.display()));
        fs::write(file, config.replace("demo = \"yes\"", "role = \"web\"")).unwrap();
    }
    stage.start_controller().await.unwrap();
    stage.start_agent("web1").unwrap();

    let programs = stage.skynetctl().parent().unwrap().to_owned();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let mut differs = Vec::new();
    let mut commands = 0;
    for piece in &mut pieces {
        let Piece::Block { language, lines } = piece else { continue };
        if language == "yaml" {
            let name = lines.first().and_then(|line| line.strip_prefix("# ")).expect("the block names its file");
            let file = dir.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, format!("{}\n", lines[1..].join("\n"))).unwrap();
        }
        if language != "console" {
            continue;
        }
        let mut anew = Vec::new();
        for command in lines.iter().filter_map(|line| line.strip_prefix("$ ")) {
            commands += 1;
            let output = Command::new("/bin/sh")
                .args(["-c", command])
                .current_dir(&dir)
                .env("PATH", &path)
                .env("SKYNET_SOCKET", stage.socket())
                .output()
                .unwrap();
            anew.push(format!("$ {command}"));
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            anew.extend(said.lines().map(|line| line.trim_end().to_owned()));
        }
        let same = lines.iter().map(|l| settled(l)).eq(anew.iter().map(|l| settled(l)));
        if !same {
            differs.push(format!("--- README\n{}\n--- printed\n{}", lines.join("\n"), anew.join("\n")));
            *lines = anew;
        }
    }
    stage.strike().await;
    assert!(commands >= 6, "the tour has {commands} commands");
    if std::env::var_os("UPDATE_README").is_some() && !differs.is_empty() {
        fs::write(readme(), format!("{}{}{}", &text[..start], written(&pieces), &text[start + length..])).unwrap();
    }
    assert!(differs.is_empty(), "UPDATE_README=1 writes it anew\n{}", differs.join("\n"));
}

#[test]
fn what_differs_from_run_to_run_is_compared_as_such() {
    assert_eq!(settled("until 2027-02-01T00:00:00Z (digest 1a2b3c4d5e6f)"), "until TIME (digest HEX)");
    assert_eq!(settled("i-1a2b3c opened, faded 12 times"), "ID opened, faded 12 times");
    assert_eq!(settled("by ana@example.net SHA256:abcDEF12"), "by ana@example.net FINGERPRINT");
    let section = "a\n```sh\n$ x\ny\n```\nb\n";
    assert_eq!(written(&pieces(section)), section);
}
