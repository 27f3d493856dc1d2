//! The real `skynetctl` against a controller that follows a script: what it asks, what it prints, how it exits.
#![allow(clippy::unwrap_used, reason = "a test")]

mod fake;

use skynet_model::policy::Bundle;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use fake::{EVENTS, Fake, GOOD, INCIDENT, SERVER, VERIFIED, command, policy, run};

#[test]
fn lists_are_tables_for_people_and_what_the_controller_gave_for_programs() {
    let fake = Fake::start();
    let ran = fake.run(&["get", "servers"]);
    assert_eq!(ran.code, 0);
    assert!(ran.out.starts_with("NAME  STATE "), "{}", ran.out);
    assert!(ran.out.contains("\nweb1  connected "), "{}", ran.out);
    assert!(!ran.out.contains('\u{1b}'), "no colours outside of a terminal");
    assert_eq!(fake.run(&["get", "servers", "-o", "json"]).out, format!("[\n{SERVER}\n]\n"));
    assert!(fake.run(&["get", "servers", "-o", "yaml"]).out.starts_with("- name: web1\n  zzz: 1\n  connected: true\n"));
    assert_eq!(fake.asked(), ["list servers false"; 3]);
}

#[test]
fn an_empty_list_is_no_failure_and_leaves_standard_output_to_programs() {
    let fake = Fake::start();
    let ran = fake.run(&["get", "incidents"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""));
    assert_eq!(ran.err, "no incidents; --all shows those that have ended\n");
    assert_eq!(fake.run(&["get", "incidents", "-o", "json"]).out, "[]\n");
    let ran = fake.run(&["get", "inc", "--all"]);
    assert!(ran.out.contains("web1 is away \\u{1b}[31m"), "{}", ran.out);
}

#[test]
fn a_bad_copy_is_a_failure_that_names_its_first_bad_event() {
    let fake = Fake::start();
    let ran = fake.run(&["store", "verify"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert_eq!(ran.err, "skynetctl: event 1201: odd \\u{1b}[2J\n");
    let ran = fake.run(&["store", "verify", "-o", "json"]);
    assert_eq!((ran.code, ran.out.trim_end()), (1, VERIFIED[1]));
    let ran = fake.run(&["store", "status"]);
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "there is no offsite copy: the controller's configuration has no [redis]\n")
    );
    assert_eq!(fake.run(&["store", "status", "-o", "json"]).out, "{\"redis\":null}\n");
}

#[test]
fn an_incident_is_described_with_what_comes_next() {
    let fake = Fake::start();
    let ran = fake.run(&["describe", "incident", "i-1"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("WHAT COMES NEXT\n  it waits for a person\n"), "{}", ran.out);
    assert!(ran.out.contains("WHO WAS TOLD\n  nobody\n"), "{}", ran.out);
    let json = fake.run(&["describe", "incident", "i-1", "-o", "json"]).out;
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(value(&json), value(INCIDENT));
}

#[test]
fn a_refusal_is_a_failure_in_the_controllers_words_made_harmless() {
    let fake = Fake::start();
    let ran = fake.run(&["describe", "server", "db9"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    assert_eq!(ran.err, "skynetctl: there is no server called db9\\u{1b}[2J\n");
    let ran = fake.run(&["describe", "incident", "odd"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("not as this skynetctl knows it"), "{}", ran.err);
}

#[test]
fn the_log_is_one_event_a_line_and_a_lost_connection_is_told() {
    let fake = Fake::start();
    let ran = fake.run(&["logs", "-n", "5"]);
    assert_eq!(ran.code, 0);
    assert_eq!(
        ran.out,
        "2026-11-01T03:14:15.926Z  halted                 fleet           acting was stopped by root: \
         a\\u{1b}]0;x\\u{7}b\n\
         2026-11-01T03:14:15.927Z  resumed                fleet           acting goes on, says root\n"
    );
    let mut follow = command(&fake.socket(), &["logs", "-f", "-o", "json"]);
    let mut child = follow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for event in EVENTS {
        assert_eq!(lines.next().unwrap().unwrap(), event);
    }
    assert_eq!(fake.asked(), ["logs false 5", "logs true 100"]);
    drop(fake);
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{err}");
    assert!(err.contains("the connection to the controller at ") && lines.next().is_none(), "{err}");
}

#[test]
fn operators_words_reach_the_controller_as_they_are() {
    let fake = Fake::start();
    assert_eq!(fake.run(&["ack", "i-1", "-m", "on it"]).out, "i-1 is taken over\n");
    assert!(fake.run(&["halt", "-m", "migration"]).out.starts_with("acting is stopped: migration\n"));
    assert_eq!(fake.run(&["resume", "-o", "json"]).out, "{\"halted\":false}\n");
    assert_eq!(fake.asked(), ["ack i-1 \"on it\"", "halt \"migration\"", "resume"]);
    assert_eq!(fake.run(&["halt", "-m", " "]).code, 2);
    assert!(fake.asked().is_empty(), "a halt without a reason is not sent");
}

/// A test that ships with it.
const TEST: &str =
    "test: x\nservers: { web1: { role: web } }\nexpect: [{ within: 1m, no_incident: { scenario: away } }]\n";

#[test]
fn a_pushed_folder_gets_the_next_version_and_leaves_its_tests_at_home() {
    let fake = Fake::start();
    let dir = policy(&[("b.yaml", GOOD), ("a.yaml", "profile: all\n"), ("b.test.yaml", TEST)]);
    let path = dir.path().to_str().unwrap();
    let ran = fake.run(&["policy", "push", path, "--insecure-unsigned"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.starts_with("policy v42 of fleet shop is in force until "), "{}", ran.out);
    let pushed = r#"push v42 of shop ["a.yaml", "b.yaml"] unsigned true"#;
    assert_eq!(fake.asked(), ["list policies true", pushed]);
    fake.run(&["policy", "push", path, "--insecure-unsigned", "--version", "7"]);
    assert_eq!(fake.asked(), [pushed.replace("v42", "v7")]);
    assert_eq!(fake.run(&["policy", "push", path]).code, 2, "unsigned must be said");
    assert!(fake.asked().is_empty());
}

#[test]
fn a_policy_that_is_too_large_is_not_sent() {
    let fake = Fake::start();
    // Small enough to load; as a bundle, where a newline takes two bytes, it is not.
    let filler = "\n".repeat(250 << 10);
    let names: Vec<String> = (0..6).map(|i| format!("{i}.yaml")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), filler.as_str())).collect();
    let dir = policy(&files);
    let ran = fake.run(&["policy", "push", dir.path().to_str().unwrap(), "--insecure-unsigned", "--version", "1"]);
    assert_eq!((ran.code, fake.asked().len()), (1, 0), "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("at most 2097152 can be sent"), "{}", ran.err);
}

#[test]
fn a_bundle_is_pushed_as_it_is() {
    let fake = Fake::start();
    let files = vec![skynet_model::policy::File { name: "a.yaml".to_owned(), text: GOOD.to_owned() }];
    let expires = skynet_model::time::Timestamp(4_000_000_000_000);
    let bundle = Bundle { format: 1, fleet: "shop".to_owned(), version: 9, expires, files };
    let path = fake.dir.path().join("p.bundle");
    fs::write(&path, bundle.encode()).unwrap();
    let path = path.to_str().unwrap();
    let ran = fake.run(&["policy", "push", path, "--insecure-unsigned"]);
    assert_eq!((ran.code, fake.asked()), (0, vec![r#"push v9 of shop ["a.yaml"] unsigned true"#.to_owned()]));
    assert_eq!(fake.run(&["policy", "push", path, "--insecure-unsigned", "--version", "10"]).code, 2);
    fs::write(path, "not a bundle").unwrap();
    let ran = fake.run(&["policy", "push", path, "--insecure-unsigned"]);
    assert_eq!(ran.code, 1);
    assert!(fake.asked().is_empty() && ran.err.contains("not a policy bundle"), "{}", ran.err);
}

#[test]
fn a_policy_is_built_signed_verified_and_pushed() {
    let fake = Fake::start();
    let dir = policy(&[("a.yaml", GOOD), ("a.test.yaml", TEST)]);
    let work = fake.dir.path();
    let at = |name: &str| work.join(name).to_str().unwrap().to_owned();
    let bundle = at("p.bundle");
    for name in ["anna", "ben"] {
        let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &at(name)]).status();
        assert!(made.expect("the tests need ssh-keygen: run `make deps`").success());
    }
    let line = |name: &str| format!("{name}@example.net {}", fs::read_to_string(at(&format!("{name}.pub"))).unwrap());
    fs::write(at("signers"), line("anna") + &line("ben")).unwrap();
    let folder = dir.path().to_str().unwrap();

    // The same again gives the same bytes; without a version the controller is asked.
    let build = ["policy", "build", folder, "-o", &bundle, "--expires", "2096-01-01T00:00:00Z"];
    let ran = fake.run(&build);
    assert_eq!((ran.code, fake.asked()), (0, vec!["list policies true".to_owned()]), "{}", ran.err);
    assert!(ran.out.starts_with("policy v42 of fleet shop is in "), "{}", ran.out);
    assert!(
        ran.out.contains("expires 2096-01-01T00:00:00Z\n") && ran.out.contains("to be signed by 1: "),
        "{}",
        ran.out
    );
    let first = fs::read(&bundle).unwrap();
    let again = run(Path::new("/nowhere"), &[&build[..], &["--version", "42", "--output", "json"]].concat());
    assert_eq!((again.code, fs::read(&bundle).unwrap()), (0, first.clone()), "{}", again.err);
    let json: serde_json::Value = serde_json::from_str(&again.out).unwrap();
    assert_eq!((&json["version"], &json["digest"]), (&42.into(), &Bundle::digest(&first).into()));
    let ran = run(Path::new("/nowhere"), &build);
    assert!(ran.code == 2 && ran.err.contains("say --version N"), "{}", ran.err);
    let late =
        run(Path::new("/nowhere"), &["policy", "build", folder, "-o", &at("x"), "--version", "1", "--valid", "0s"]);
    assert!(late.code == 2 && late.err.contains("expired already"), "{}", late.err);

    let verify = ["policy", "verify", &bundle, "--allowed-signers", &at("signers")];
    let ran = fake.run(&verify);
    assert!(ran.code == 1 && ran.err.contains("0 of 1 needed signatures are good: it is not signed"), "{}", ran.err);
    let ran = fake.run(&["policy", "push", &bundle]);
    assert!(ran.code == 1 && ran.err.contains("no signature beside"), "{}", ran.err);
    let ran = fake.run(&["policy", "sign", &bundle, "-f", &at("anna")]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(
        ran.out.starts_with("signed policy v42 of fleet shop, expires 2096-")
            && Path::new(&at("p.bundle.sig")).exists()
    );
    let ran = fake.run(&verify);
    assert!(ran.code == 0 && ran.out.starts_with("good: policy v42 of fleet shop"), "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("\nsigned by anna@example.net (SHA256:"), "{}", ran.out);
    let both = [&verify[..], &["--signers", "2"]].concat();
    assert!(fake.run(&both).err.contains("1 of 2 needed signatures are good"));
    // The second signature has its key's name, and is never written over another.
    assert_eq!(fake.run(&["policy", "sign", &bundle, "-f", &at("ben"), "-o", "json"]).code, 0);
    assert!(Path::new(&at("p.bundle.ben.sig")).exists());
    let ran = fake.run(&["policy", "sign", &bundle, "-f", &at("ben")]);
    assert!(ran.code == 1 && ran.err.contains("is there already"), "{}", ran.err);
    assert_eq!(fake.run(&["policy", "sign", &bundle, "-f", &at("ben"), "--name", "../x"]).code, 2);
    let ran = fake.run(&[&both[..], &["-o", "json"]].concat());
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, json["signed_by"].as_array().unwrap().len()), (0, 2));
    let ran = fake.run(&["policy", "push", &bundle]);
    assert_eq!(
        (ran.code, fake.asked()),
        (0, vec![r#"push v42 of shop ["a.yaml"] unsigned false signed 2"#.to_owned()])
    );

    // ssh-keygen takes it for what it is, and what it signs is taken.
    let mut check = Command::new("ssh-keygen");
    check.args(["-Y", "verify", "-n", "skynet-policy", "-I", "ben@example.net", "-f", &at("signers")]);
    check.args(["-s", &at("p.bundle.ben.sig")]).stdin(fs::File::open(&bundle).unwrap());
    assert!(check.output().unwrap().status.success());
    let mut changed = first;
    let last = changed.len() - 3;
    changed[last] ^= 1;
    fs::write(&bundle, &changed).unwrap();
    let ran = fake.run(&verify);
    assert!(ran.code == 1 && ran.err.contains("p.bundle.ben.sig: it is not a signature of these bytes"), "{}", ran.err);
    let ran = fake.run(&["policy", "sign", &bundle, "-f", "/nonexistent", "--name", "n"]);
    assert!(ran.code == 1 && !Path::new(&at("p.bundle.n.sig")).exists(), "{}", ran.err);
}

#[test]
fn policy_with_mistakes_is_told_in_full_and_never_sent() {
    let fake = Fake::start();
    let dir = policy(&[("a.yaml", "scenario: away\nwehn: server.connected == 0\n"), ("b.yml", "")]);
    let path = dir.path().to_str().unwrap();
    let ran = fake.run(&["policy", "check", path]);
    assert_eq!((ran.code, ran.err.as_str()), (1, ""));
    assert!(ran.out.contains("a.yaml:2:1: "), "{}", ran.out);
    assert!(ran.out.contains("\n  2 | wehn: server.connected == 0\n    | ^^^^\n"), "{}", ran.out);
    assert!(ran.out.ends_with("3 mistakes in 2 files\n"), "{}", ran.out);
    let ran = fake.run(&["policy", "check", path, "-o", "json"]);
    let list: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, list.as_array().unwrap().len()), (1, 3));
    assert_eq!((&list[0]["file"], &list[0]["line"]), (&"a.yaml".into(), &1.into()));
    assert_eq!(fake.run(&["policy", "push", path, "--insecure-unsigned"]).code, 1);
    assert!(fake.asked().is_empty());
}

#[test]
fn checking_and_explaining_need_no_controller() {
    let (dir, nowhere) = (policy(&[("a.yaml", GOOD)]), Path::new("/nonexistent/operator.sock"));
    let ran = run(nowhere, &["policy", "check", dir.path().to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{}", ran.out);
    assert_eq!(ran.out, "no mistakes in 1 file: fleet shop, 0 profiles, 1 scenario, 0 scripts, 0 routes, 0 tests\n");
    assert_eq!(run(nowhere, &["policy", "check", dir.path().to_str().unwrap(), "-o", "json"]).out, "[]\n");
    assert_eq!(run(nowhere, &["policy", "check", "/nonexistent"]).code, 1);
    assert!(run(nowhere, &["explain", "function", "absent"]).out.contains("absent(x)"));
    let ran = run(nowhere, &["explain", "abent"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("did you mean `absent`?"), "{}", ran.err);
}

#[test]
fn usage_and_an_unreachable_controller_have_their_own_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("operator.sock");
    for args in [&[] as &[&str], &["get", "cats"], &["halt"], &["logs", "-n", "many"], &["explain", "x", "y"]] {
        assert_eq!(run(&socket, args).code, 2, "{args:?}");
    }
    let ran = run(&socket, &["get", "servers"]);
    assert_eq!((ran.code, ran.out.as_str()), (3, ""));
    let path = socket.to_str().unwrap();
    assert!(ran.err.contains(path) && ran.err.contains("systemctl start skynet-controller"), "{}", ran.err);
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let ran = run(Path::new("/unused"), &["--socket", path, "resume"]);
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("nobody listens"), "{}", ran.err);
    assert_eq!(run(&socket, &["--help"]).code, 0);
}

#[test]
fn a_reader_that_has_read_enough_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = command(Path::new("/unused"), &["explain", "--all"]);
    let output = command.stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &[] as &[u8]));
}

#[test]
fn the_past_is_asked_for_and_printed_for_people_and_programs() {
    let fake = Fake::start();
    let query = |more: &[&str]| {
        let args = ["query", "load.one", "--until", "2026-11-01T03:00:02Z", "--since", "2026-11-01T02:00:02Z"];
        fake.run(&[&args, more].concat())
    };
    let table = query(&["--server", "web*", "--server", "db1", "--step", "5m"]);
    assert_eq!(table.code, 0, "{}", table.err);
    assert!(table.out.contains("web1  load.one") && table.out.contains("2026-11-01T03:00:02Z  3\n"), "{}", table.out);
    assert!(table.err.contains("a hole: a file: it is damaged"), "{}", table.err);
    assert_eq!(query(&["--all", "-o", "sparkline"]).out.lines().last().unwrap(), "web1    load.one  ▁▅█  1    3    3");
    let json: serde_json::Value = serde_json::from_str(&query(&["-A", "-o", "json"]).out).unwrap();
    assert_eq!((&json[0]["server"], &json[0]["points"][2]["avg"]), (&"web1".into(), &3.0.into()));
    assert!(query(&["-A", "-o", "yaml"]).out.contains("server: web1"));
    assert_eq!(
        fake.asked(),
        [
            r#"query load.one ["web*", "db1"] 3600000 300000"#,
            r#"query load.one ["*"] 3600000 60000"#,
            r#"query load.one ["*"] 3600000 0"#,
            r#"query load.one ["*"] 3600000 0"#,
        ]
    );
    let unknown = fake.run(&["query", "laod.one", "--all"]);
    assert_eq!(unknown.code, 1);
    assert!(unknown.err.contains("did you mean load.one?"), "{}", unknown.err);
    assert_eq!(query(&[]).code, 2, "no server is named");
    assert_eq!(fake.run(&["query", "a", "-A", "--since", "yesterday"]).code, 2);
}

#[test]
fn the_reference_in_the_docs_is_what_skynetctl_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference.md");
    let said = run(Path::new("/unused"), &["explain", "--all", "-o", "markdown"]).out;
    let written = fs::read_to_string(path).unwrap_or_default();
    assert!(said == written, "write it anew: skynetctl explain --all -o markdown > docs/reference.md");
}

#[test]
fn the_examples_in_the_docs_are_policy() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/policy.md")).unwrap();
    let blocks: Vec<&str> = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty());
    let names: Vec<String> = (0..blocks.len()).map(|i| format!("{i}.yaml")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(String::as_str).zip(blocks).collect();
    let dir = policy(&files);
    let ran = run(Path::new("/unused"), &["policy", "check", dir.path().to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{}", ran.out);
}
