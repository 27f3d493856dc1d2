use std::sync::Arc;

use skynet_model::policy::{File, Policy, load};
use skynet_model::series::Labels;

use super::changes::{Change, What, between};
use super::reach::Servers;
use super::script::lines;
use super::source::Side;
use super::*;
use crate::fixture::{Rig, terms};
use crate::operator::{Operator, bind};

const BASE: &str = r#"
fleet: demo
signers: 2
rails: { blast_radius: 5%, cooldown: 15m }
---
profile: web
match: { role: web }
sensors:
  - cpu
  - disk: { every: 30s }
  - exec: { name: queue, script: check-queue }
---
script: check-queue
interpreter: /bin/sh
body: |
  set -e
  count=$(ls /var/spool | wc -l)
  echo "OK | jobs=$count"
---
scenario: disk-filling
when: disk.used_ratio > 0.8
for: 2m
respond:
  - do: files.delete
    with: { path: "${mount}/cache/*" }
---
scenario: busy
when: cpu.busy_ratio > 0.9
---
route: oncall
tell: [{ to: [{ mail: ops@example.net }] }]
---
never: system
actions: [files.delete]
with: { path: ["/etc/*", "/home/*"] }
---
request: report
phrases: [report please]
---
customer: acme
servers: { role: web }
from: [it@acme.example]
may: [report]
challenge: { sms: "+351900000000" }
"#;

fn policy(text: &str) -> Policy {
    let file = File { name: "p.yaml".to_owned(), text: text.to_owned() };
    load(&[file], crate::fleet::catalogue::catalogue()).unwrap_or_else(|e| panic!("{e:#?}"))
}

fn known() -> Servers {
    let servers = [("web1", "web"), ("web2", "web"), ("db1", "db")];
    Servers { known: Some(servers.map(|(name, role)| (name.to_owned(), Labels::new([("role", role)]))).to_vec()) }
}

/// What changes when each of these texts is replaced.
fn changed(replace: &[(&str, &str)], servers: &Servers) -> Vec<Change> {
    let mut text = BASE.to_owned();
    for (was, is) in replace {
        assert!(text.contains(was), "{was}");
        text = text.replacen(was, is, 1);
    }
    between(&policy(BASE), &policy(&text), servers)
}

fn one(replace: &[(&str, &str)]) -> Change {
    let changes = changed(replace, &known());
    assert_eq!(changes.len(), 1, "{changes:#?}");
    changes.into_iter().next().unwrap()
}

fn key(change: &Change, key: &str) -> (String, String) {
    let found = change.keys.iter().find(|k| k.key == key).unwrap_or_else(|| panic!("{key}: {change:#?}"));
    (found.was.clone().unwrap_or_default(), found.is.clone().unwrap_or_default())
}

#[test]
fn layout_order_and_spelled_out_defaults_are_no_change() {
    let spelled = [
        ("for: 2m\n", "for:   120s   # two minutes\nmode: observe\nseverity: warning\nper: [mount]\n"),
        ("  - cpu\n", "  - cpu: { every: 1s }\n"),
    ];
    assert_eq!(changed(&spelled, &known()), []);
}

#[test]
fn keys_say_what_was_and_what_is_and_which_servers() {
    let change = one(&[("when: disk.used_ratio > 0.8", "when: disk.used_ratio > 0.9")]);
    assert_eq!((change.kind, change.name.as_str(), change.change), ("scenario", "disk-filling", What::Changed));
    assert_eq!(key(&change, "when"), ("disk.used_ratio > 0.8".to_owned(), "disk.used_ratio > 0.9".to_owned()));
    assert_eq!(change.servers.as_deref(), Some("2 servers: web1, web2"));
    assert!(change.alarms.is_empty());
    let unknown = changed(&[("for: 2m", "for: 3m")], &Servers::default());
    assert_eq!(unknown[0].servers.as_deref(), Some("servers whose profiles run its sensors"));
}

#[test]
fn acting_for_the_first_time_is_shouted() {
    let change = one(&[("for: 2m\n", "for: 2m\nmode: enforce\n")]);
    assert_eq!(change.alarms, ["scenario disk-filling only observed and acts now: files.delete (destructive)"]);
    let acting = BASE.replace("for: 2m\n", "for: 2m\nmode: enforce\n");
    let bolder = acting.replace("cache/*\" }", "cache/*\" }\n    approve: false");
    let changes = between(&policy(&acting), &policy(&bolder), &known());
    assert_eq!(changes[0].alarms, ["scenario disk-filling: step 1, files.delete, no longer waits for approval"]);
    let wider = acting.replace("${mount}/cache/*", "${mount}/*");
    let changes = between(&policy(&acting), &policy(&wider), &known());
    assert!(changes[0].alarms[0].contains("is new or has other parameters (destructive)"), "{changes:#?}");
    let gone = between(&policy(&acting), &policy(BASE), &known());
    assert!(gone[0].alarms.is_empty(), "to act no more alarms nobody");
}

#[test]
fn what_moves_between_servers_is_told_though_the_scenario_reads_the_same() {
    let changes = changed(&[("match: { role: web }\nsensors", "match: { role: db }\nsensors")], &known());
    let disk = changes.iter().find(|c| c.name == "disk-filling").unwrap();
    assert!(disk.keys.is_empty());
    let servers = disk.servers.as_deref();
    assert_eq!(servers, Some("1 server: db1; now also 1 server: db1; no longer 2 servers: web1, web2"));
    let profile = changes.iter().find(|c| c.kind == "profile").unwrap();
    assert_eq!(profile.servers.as_deref(), Some("other sensors on 3 servers: db1, web1, web2"));
}

#[test]
fn sensors_come_and_go_on_the_servers_that_run_them() {
    let change = one(&[("  - disk: { every: 30s }\n", "  - disk: { every: 30s }\n  - load\n")]);
    assert_eq!(key(&change, "sensor load").1, "every 1s");
    assert_eq!(change.servers.as_deref(), Some("other sensors on 2 servers: web1, web2"));
    let offline = changed(&[("  - cpu\n", "  - cpu: { every: 5s }\n")], &Servers::default());
    let profile = offline.iter().find(|c| c.kind == "profile").unwrap();
    assert_eq!(
        key(profile, "sensor cpu"),
        ("every 1s, per_core false".to_owned(), "every 5s, per_core false".to_owned())
    );
    assert_eq!(profile.servers.as_deref(), Some("role=web"));
}

#[test]
fn rails_that_hold_back_less_are_shouted_and_tighter_ones_are_not() {
    let change = one(&[("blast_radius: 5%, cooldown: 15m", "blast_radius: 50%, cooldown: 1m, at_once: 2")]);
    assert_eq!(key(&change, "rails.blast_radius"), ("5%".to_owned(), "50%".to_owned()));
    assert_eq!(key(&change, "rails.at_once"), ("5".to_owned(), "2".to_owned()), "against the default");
    assert_eq!(
        change.alarms,
        [
            "the rail blast_radius holds back less: 50% instead of 5%",
            "the rail cooldown holds back less: 1m instead of 15m",
        ]
    );
    assert_eq!(one(&[("signers: 2", "signers: 1")]).alarms, ["policy needs fewer signers: 1 instead of 2"]);
}

#[test]
fn what_is_no_longer_refused_is_shouted_unless_another_never_refuses_it() {
    let change = one(&[("\"/etc/*\", ", "")]);
    assert_eq!(change.alarms, ["never system: files.delete with path /etc/* may now be done"]);
    let moved = changed(
        &[
            ("\"/etc/*\", ", ""),
            ("request: report", "never: etc\nactions: [files.delete]\nwith: { path: /etc/* }\n---\nrequest: report"),
        ],
        &known(),
    );
    assert!(moved.iter().all(|change| change.alarms.is_empty()), "{moved:#?}");
}

#[test]
fn customers_who_may_more_are_shouted() {
    let change = one(&[("challenge: { sms: \"+351900000000\" }\n", "")]);
    assert_eq!(change.alarms, ["customer acme: requests are no longer confirmed"]);
    assert_eq!(change.servers.as_deref(), Some("2 servers: web1, web2"));
    let more = BASE.replace("request: report\n", "request: reboot\nphrases: [reboot]\n---\nrequest: report\n");
    let changes = between(&policy(&more), &policy(&more.replace("may: [report]", "may: [report, reboot]")), &known());
    assert_eq!(changes[0].alarms, ["customer acme may now ask for reboot"]);
}

#[test]
fn documents_that_come_and_go_say_what_they_are() {
    let changes = changed(
        &[(
            "scenario: busy\nwhen: cpu.busy_ratio > 0.9",
            "scenario: idle\nwhen: cpu.busy_ratio < 0.1\nmode: enforce\nrespond: [{ do: script.run, with: { script: check-queue } }]",
        )],
        &known(),
    );
    let [gone, come] = changes.as_slice() else { panic!("{changes:#?}") };
    assert_eq!((gone.name.as_str(), gone.change), ("busy", What::Removed));
    assert_eq!(gone.about.as_deref(), Some("warning, observes, when cpu.busy_ratio > 0.9"));
    assert_eq!((come.name.as_str(), come.change), ("idle", What::Added));
    assert_eq!(come.alarms, ["scenario idle is new and acts: script.run (disruptive)"]);
    let route = one(&[("mail: ops@example.net", "sms: \"+351900000000\"")]);
    assert_eq!(key(&route, "tier 1"), ("after 0s: mail ops@example.net".into(), "after 0s: sms +351900000000".into()));
}

#[test]
fn scripts_show_their_lines_and_what_runs_them() {
    let change = one(&[("count=$(ls /var/spool | wc -l)", "count=$(find /var/spool | wc -l)")]);
    assert_eq!(
        change.lines,
        [
            "  set -e",
            "- count=$(ls /var/spool | wc -l)",
            "+ count=$(find /var/spool | wc -l)",
            "  echo \"OK | jobs=$count\""
        ]
    );
    assert_eq!(change.servers.as_deref(), Some("run by the sensor exec:queue of profile web"));
}

#[test]
fn lines_are_compared_with_a_little_of_what_is_around_them() {
    let numbered = |n: u32| (1..=n).map(|i| format!("{i}\n")).collect::<String>();
    let was = numbered(20);
    assert_eq!(
        lines(&was, &was.replace("10\n", "ten\n")),
        ["...", "  8", "  9", "- 10", "+ ten", "  11", "  12", "..."]
    );
    assert_eq!(lines("", "a\n"), ["+ a"]);
    assert_eq!(lines("a\nb\nc\n", "b\nc\nd\n"), ["- a", "  b", "  c", "+ d"]);
    assert_eq!(lines(&numbered(3000), &numbered(3000).replace('1', "x")).iter().filter(|l| *l == "  2999").count(), 0);
}

/// Both sides of the shown page, over a controller with its policy in force.
#[tokio::test]
async fn the_policy_in_force_is_asked_of_the_controller() {
    let rig = Rig::start();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("operator.sock");
    let operator = Operator::new(rig.core.clone(), Arc::clone(&rig.history), Arc::clone(&rig.feed), terms());
    tokio::spawn(operator.serve(bind(&socket, false).unwrap(), std::future::pending()));
    let catalogue = terms().catalogue;
    let mut printer = Printer::stdout();
    let current = Path::new("current");
    let none = Side::read(&socket, current, catalogue, &mut printer).await.unwrap_err();
    assert!(none.to_string().contains("no policy is in force yet"), "{none}");
    rig.push(7).await.unwrap();
    let side = Side::read(&socket, current, catalogue, &mut printer).await.unwrap();
    assert_eq!((side.name.as_str(), side.current), ("current (v7)", true));
    assert_eq!(side.policy.scenarios.len(), 2);
    let servers = Servers::ask(&socket, true).await.unwrap();
    assert_eq!(servers.known.as_ref().unwrap()[0].0, "web1");
    let away = folder.path().join("none.sock");
    assert!(Servers::ask(&away, true).await.is_err());
    assert!(Servers::ask(&away, false).await.unwrap().known.is_none(), "two folders need no controller");
}
