//! What people ask for: checked, journalled, done on the servers it was asked about.

use std::collections::BTreeSet;

use skynet_engine::{Asking, Input};
use skynet_model::command::Status;
use skynet_model::event::EventBody;
use skynet_model::incident::{Rail, State, Subject};
use skynet_model::series::Labels;

use crate::world::{World, server};

pub(crate) const TIDY: &str = r#"
request: tidy
parameters: { mount: text }
phrases: ["tidy {mount}"]
---
request: nobody
parameters: { n: integer }
phrases: ["do {n} of nothing"]
---
customer: acme
servers: { cluster: shop }
from: ["it@acme.example"]
may: [tidy]
---
customer: other
servers: { cluster: elsewhere }
from: ["it@other.example"]
may: [nobody]
---
never: no-root
actions: [disk.tidy]
with: { mount: ["/root*"] }
---
scenario: tidy-request
on_request: tidy
where: { role: web }
mode: enforce
summary: "tidies {{ mount }}"
respond:
  - do: disk.tidy
    with: { mount: "${mount}" }
    target: request
"#;

fn world(text: &str) -> World {
    let mut w = World::empty(text);
    for name in ["web1", "web2", "web3"] {
        w.add(name);
    }
    w
}

#[test]
fn what_is_asked_for_is_done_on_each_server_and_contained_when_all_have_done_it() {
    let mut w = world(TIDY);
    w.ends("web2", "disk.tidy", Status::Done, Some(5));
    let id = w.ask("tidy", &[("mount", "/var")], &["web2", "web1", "web2"]).unwrap();
    let incident = w.engine.incident(&id).unwrap().clone();
    assert_eq!(incident.subject, Subject::Request("tidy".to_owned()));
    assert_eq!(incident.labels, Labels::new([("mount", "/var")]));
    assert_eq!(incident.asked.unwrap().servers, [server("web1"), server("web2")], "each once, in order");
    assert_eq!(incident.summary, "tidies /var");
    w.run(2);
    assert_eq!(w.states(), [State::Acting]);
    w.run(5);
    assert_eq!(w.states(), [State::Contained], "no readings are needed: it was asked for, and done");
    assert_eq!((w.effects("web1").len(), w.effects("web2").len(), w.effects("web3").len()), (1, 1, 0));
    assert!(w.notices().is_empty());
    assert!(w.last().reason.unwrap().contains("on web1, web2 was done"));
    let made = w.events.iter().position(|e| matches!(e.body, EventBody::RequestMade { .. })).unwrap();
    let issued = w.events.iter().position(|e| matches!(e.body, EventBody::CommandIssued { .. })).unwrap();
    assert!(made < issued);
}

#[test]
fn one_server_that_fails_is_one_that_has_not_done_it() {
    let mut w = world(TIDY);
    w.ends("web2", "disk.tidy", Status::Failed, Some(2));
    w.ask("tidy", &[("mount", "/var")], &["web1", "web2"]).unwrap();
    w.run(5);
    let incident = w.last();
    assert_eq!(incident.state, State::Escalated);
    let reasons: Vec<_> = incident.steps.iter().map(|s| s.reason.clone().unwrap()).collect();
    assert_eq!(reasons, ["it was done on 1 of 2 servers", "the action failed"]);
    let story = &w.notices()[0].story;
    assert!(story.contains("ann asked for it on web1, web2") && story.contains("Tried on web2"), "{story}");
    // A person takes it over: there is nothing more to be read.
    w.input(Input::Acknowledge { incident: incident.id, by: "bob".into(), comment: String::new() });
    assert_eq!(w.states(), [State::Resolved]);
}

#[test]
fn what_was_not_done_can_be_asked_for_again_and_is_not_open_for_ever() {
    let mut w = world(TIDY);
    w.ends("web1", "disk.tidy", Status::Refused, Some(0));
    w.ask("tidy", &[("mount", "/var")], &["web1"]).unwrap();
    w.run(2);
    assert_eq!(w.states(), [State::Escalated]);
    w.cures("web1", "disk.tidy", &[]);
    w.ask("tidy", &[("mount", "/var")], &["web1"]).unwrap();
    w.run(2);
    assert_eq!(w.states(), [State::Resolved, State::Contained]);
    w.ends("web1", "disk.tidy", Status::Failed, Some(0));
    w.ask("tidy", &[("mount", "/srv")], &["web1"]).unwrap();
    w.pass(86_400 - 10);
    assert_eq!(w.last().state, State::Escalated);
    w.pass(20);
    assert_eq!(w.last().state, State::Resolved);
}

#[test]
fn the_same_is_not_begun_twice_at_once() {
    let mut w = world(TIDY);
    w.ends("web1", "disk.tidy", Status::Done, Some(9));
    let id = w.ask("tidy", &[("mount", "/var")], &["web1"]).unwrap();
    let events = w.events.len();
    let error = w.ask("tidy", &[("mount", "/var")], &["web1", "web2"]).unwrap_err();
    assert!(error.contains(id.as_str()) && error.contains("is at it already"), "{error}");
    assert_eq!(w.events.len(), events);
    w.ask("tidy", &[("mount", "/srv")], &["web1"]).unwrap();
}

#[test]
fn what_is_wrong_with_a_request_is_said_and_nothing_is_journalled() {
    let mut w = world(TIDY);
    let events = w.events.len();
    let mut no = |request: &str, parameters: &[(&str, &str)], on: &[&str], customer: Option<&str>, words: &str| {
        let error = w
            .ask_all(Asking {
                request: request.to_owned(),
                parameters: Labels::new(parameters.iter().copied()),
                by: "ann".to_owned(),
                servers: on.iter().map(|name| server(name)).collect(),
                customer: customer.map(str::to_owned),
            })
            .unwrap_err();
        assert!(error.contains(words), "{error}");
        assert_eq!(w.events.len(), events);
    };
    let var = &[("mount", "/var")];
    no("tdy", var, &["web1"], None, "unknown request `tdy`; did you mean `tidy`?");
    no("tidy", &[], &["web1"], None, "needs the parameter `mount` (");
    no("tidy", &[("mount", "/"), ("mont", "/")], &["web1"], None, "unknown parameter of `tidy` `mont`; did you mean");
    no("nobody", &[("n", "many")], &["web1"], None, "the parameter `n`");
    no("nobody", &[("n", "7")], &["web1"], None, "no scenario answers the request `nobody`");
    no("tidy", var, &[], None, "names no server");
    no("tidy", var, &["web1", "wbe2"], None, "unknown server `wbe2`; did you mean `web2`?");
    no("tidy", &[("mount", "/root/x")], &["web1"], None, "`never: no-root` of the policy refuses disk.tidy");
    no("tidy", &[("mount", &"x".repeat(2000))], &["web1"], None, "at most 1000 are taken");
    no("tidy", var, &["web1"], Some("acne"), "unknown customer `acne`; did you mean `acme`?");
    no("tidy", var, &["web1"], Some("other"), "customer other may not ask for `tidy`");
    w.add_with("db1", &[("role", "db"), ("cluster", "far")]);
    let asking = Asking {
        request: "tidy".to_owned(),
        parameters: Labels::new(*var),
        by: "acme".to_owned(),
        servers: vec![server("web1"), server("db1")],
        customer: Some("acme".to_owned()),
    };
    let error = w.ask_all(asking.clone()).unwrap_err();
    assert!(error.contains("db1 is none of the servers of customer acme"), "{error}");
    // A customer who names none asks about all of theirs.
    w.ask_all(Asking { servers: vec![], ..asking }).unwrap();
    assert_eq!(w.last().asked.unwrap().servers, ["web1", "web2", "web3"].map(server));
}

#[test]
fn only_servers_within_the_scenarios_own_where_are_acted_on() {
    let mut w = world(TIDY);
    w.add_with("db1", &[("role", "db")]);
    w.ask("tidy", &[("mount", "/a")], &["db1", "web1"]).unwrap();
    w.run(3);
    assert_eq!((w.effects("db1").len(), w.effects("web1").len()), (0, 1));
    assert_eq!(w.last().state, State::Escalated, "one of those asked about has not done it");
    w.ask("tidy", &[("mount", "/b")], &["db1"]).unwrap();
    assert_eq!(w.last().state, State::Escalated);
    assert_eq!(w.holds().last(), Some(&Rail::Target));
    assert!(w.last().reason.unwrap().contains("resolved to no server that the scenario is about"));
}

#[test]
fn in_observe_it_says_what_it_would_do_and_is_over() {
    let mut w = world(&TIDY.replace("mode: enforce", "mode: observe"));
    w.ask("tidy", &[("mount", "/var")], &["web1", "web2"]).unwrap();
    assert_eq!(w.states(), [State::Cleared]);
    let said = w.events.iter().find_map(|e| match &e.body {
        EventBody::IncidentChanged { state: State::Observed, reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert!(said.unwrap().contains("disk.tidy mount=/var on web1, web2"));
    assert!(w.effects("web1").is_empty());
}

#[test]
fn with_a_proof_of_its_own_every_server_has_to_prove_it() {
    let proof = "    verify: disk.used_ratio < 0.8\n    verify_within: 20s\n";
    let text = format!("{}{proof}", TIDY);
    let mut w = world(&text);
    let mount = "disk.used_ratio{mount=\"/var\"}";
    for name in ["web1", "web2"] {
        w.set(name, mount, 0.9);
    }
    w.run(2);
    w.cures("web1", "disk.tidy", &[(mount, Some(0.5))]);
    w.ask("tidy", &[("mount", "/var")], &["web1", "web2"]).unwrap();
    w.run(5);
    assert_eq!(w.states(), [State::Verifying], "web2 has not proved it");
    w.set("web2", mount, 0.6);
    w.run(3);
    assert_eq!(w.states(), [State::Contained]);
    // Not proved within its time, and after a restart of the controller.
    for name in ["web1", "web2"] {
        w.set(name, mount, 0.9);
    }
    w.run(1);
    w.pass(86_400);
    w.cures("web1", "disk.tidy", &[]);
    w.ask("tidy", &[("mount", "/var")], &["web1", "web2"]).unwrap();
    w.run(4);
    w.restart();
    for name in ["web1", "web2", "web3"] {
        w.connect(name);
        w.merge(name);
    }
    w.run(20);
    assert_eq!(w.last().state, State::Escalated);
    assert!(w.last().steps[0].reason.as_ref().unwrap().contains("did not hold within"));
    assert_eq!(w.effects("web2").len(), 2);
}

#[test]
fn a_restart_in_the_middle_does_nothing_twice_and_leaves_nobody_out() {
    for seconds in 0..6 {
        let mut w = world(TIDY);
        for (name, after) in [("web1", 0), ("web2", 2), ("web3", 4)] {
            w.ends(name, "disk.tidy", Status::Done, Some(after));
        }
        w.disconnect("web3");
        w.ask("tidy", &[("mount", "/var")], &["web1", "web2", "web3"]).unwrap();
        w.run(seconds);
        w.restart();
        w.run(1);
        for name in ["web3", "web2", "web1"] {
            w.connect(name);
            w.merge(name);
            w.run(1);
        }
        w.run(8);
        assert_eq!(w.states(), [State::Contained], "after {seconds} s");
        for name in ["web1", "web2", "web3"] {
            assert_eq!(w.effects(name).len(), 1, "{name} after {seconds} s");
        }
        let ids: BTreeSet<_> = w.last().steps.iter().map(|s| s.command.id.clone()).collect();
        assert_eq!(ids.len(), 3);
    }
}

#[test]
fn a_server_that_stays_away_is_given_up_and_the_rest_is_done() {
    let mut w = world(TIDY);
    w.disconnect("web2");
    w.ask("tidy", &[("mount", "/var")], &["web1", "web2", "web3"]).unwrap();
    w.run(3);
    assert_eq!(w.states(), [State::Acting]);
    assert_eq!((w.effects("web1").len(), w.effects("web3").len()), (1, 1), "those that are there need not wait");
    let hold = w.last().hold.unwrap();
    assert_eq!(hold.rail, Rail::Server);
    assert!(hold.why.contains("web2"), "{}", hold.why);
    w.pass(601);
    assert_eq!(w.states(), [State::Escalated]);
    assert_eq!(w.last().steps[0].reason.as_deref(), Some("it was done on 2 of 3 servers"));
}

#[test]
fn steps_of_a_changed_text_are_not_sent_to_the_rest() {
    let mut w = world(TIDY);
    w.disconnect("web2");
    w.ends("web1", "disk.tidy", Status::Done, Some(5));
    w.ask("tidy", &[("mount", "/var")], &["web1", "web2"]).unwrap();
    w.run(1);
    w.push(&TIDY.replace("tidies", "cleans"));
    w.connect("web2");
    w.merge("web2");
    w.run(10);
    assert!(w.effects("web2").is_empty());
    assert_eq!(w.states(), [State::Superseded]);
}
