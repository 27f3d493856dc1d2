//! Scenarios about clusters and the fleet: what many servers say together.

use skynet_engine::{Input, Sweep, SweepEnd};
use skynet_model::command::Status;
use skynet_model::event::EventBody;
use skynet_model::incident::{Incident, State, Subject};
use skynet_model::series::Labels;
use skynet_model::time::{Span, Timestamp};

use crate::world::{World, server};

/// The example of the policy's documentation, on an action of the tests' catalogue.
const TIER: &str = r#"
scenario: web-tier-down
scope: cluster
where: { role: web }
when: servers.share(http.up == 0 || server.connected == 0) >= 0.5
for: 5s
severity: critical
mode: enforce
respond:
  - do: service.restart
    with: { unit: haproxy.service }
    target: { where: { role: lb }, pick: 1, order: highest cpu.busy_ratio }
    verify_within: 20s
"#;
const UP: &str = "http.up{name=\"shop\"}";

/// A scenario that only watches, with this condition.
fn watching(scope: &str, when: &str) -> String {
    format!("scenario: many\nscope: {scope}\nwhere: {{ role: web }}\nwhen: '{when}'\nmode: observe\n")
}

/// Web servers of cluster `shop`.
fn cluster(text: &str, count: usize) -> World {
    let mut w = World::empty(text);
    for i in 1..=count {
        w.add(&format!("web{i}"));
    }
    w
}

/// The same with http checks that pass and two load balancers.
fn tier(text: &str, count: usize) -> World {
    let mut w = cluster(text, count);
    for i in 1..=count {
        w.set(&format!("web{i}"), UP, 1.0);
    }
    for (name, busy) in [("lb1", 0.2), ("lb2", 0.7)] {
        w.add_with(name, &[("role", "lb"), ("cluster", "shop")]);
        w.set(name, "cpu.busy_ratio", busy);
    }
    w.run(2);
    w
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::new(pairs.iter().copied())
}

#[track_caller]
fn only(w: &World) -> Incident {
    let opened = w.opened();
    assert_eq!(opened.len(), 1, "{opened:?}");
    opened[0].clone()
}

#[test]
fn half_a_cluster_down_is_one_incident_and_is_cured_on_the_server_its_step_picks() {
    let mut w = tier(TIER, 4);
    w.set("web1", UP, 0.0);
    w.run(10);
    assert!(w.opened().is_empty(), "a quarter is not half");
    w.set("web2", UP, 0.0);
    w.run(4);
    let pending: Vec<_> = w.engine.incidents();
    assert_eq!(pending[0].state, State::Pending);
    assert_eq!(pending[0].subject, Subject::Cluster("shop".to_owned()));
    w.run(3);
    let incident = only(&w);
    assert_eq!(incident.subject, Subject::Cluster("shop".to_owned()));
    assert_eq!(incident.labels, labels(&[("name", "shop")]));
    assert_eq!(incident.summary, "web-tier-down on cluster shop {name=\"shop\"}");
    let read: Vec<String> = incident.readings.iter().map(|r| format!("{}={}", r.series, r.value)).collect();
    assert!(read[0].starts_with("servers.share{") && read[0].ends_with("=0.5"), "{read:?}");
    assert!(read.iter().any(|r| r.contains("server=\"web1\"")) && !read.iter().any(|r| r.contains("web3")), "{read:?}");
    assert_eq!((w.effects("lb2").len(), w.effects("lb1").len(), w.effects("web1").len()), (1, 0, 0));
    assert_eq!(incident.state, State::Verifying);
    for name in ["web1", "web2"] {
        w.set(name, UP, 1.0);
    }
    w.run(2);
    assert_eq!(w.states(), [State::Verifying], "two fresh sweeps of every member are needed");
    w.run(3);
    assert_eq!(w.states(), [State::Contained]);
    assert!(w.notices().is_empty());
}

#[test]
fn what_is_not_cured_is_told_once_for_the_cluster() {
    let mut w = tier(TIER, 4);
    for name in ["web1", "web2", "web3"] {
        w.set(name, UP, 0.0);
    }
    w.run(40);
    assert_eq!(only(&w).state, State::Escalated);
    let notices = w.notices();
    assert_eq!(notices.len(), 1);
    assert!(notices[0].title.contains("web-tier-down on cluster shop"), "{}", notices[0].title);
    assert!(notices[0].server.is_none());
    assert!(
        notices[0].story.contains("Tried on lb2, step 1 (service.restart unit=haproxy.service)"),
        "{}",
        notices[0].story
    );
    for name in ["web1", "web2", "web3"] {
        w.set(name, UP, 1.0);
    }
    w.run(3);
    assert_eq!(only(&w).state, State::Resolved);
}

#[test]
fn servers_that_are_away_count_where_the_condition_says_so() {
    let mut w = tier(TIER, 4);
    w.disconnect("web1");
    w.disconnect("web2");
    w.run(7);
    assert_eq!(only(&w).subject, Subject::Cluster("shop".to_owned()));
    // Without the `|| server.connected == 0` nothing is known of them, and half may be down or not.
    let text = TIER.replace(" || server.connected == 0", "");
    let mut w = tier(&text, 4);
    w.disconnect("web1");
    w.disconnect("web2");
    w.run(20);
    assert!(w.opened().is_empty());
}

/// Each server of a cluster of four: 1 and 0 are known, `?` is not.
#[track_caller]
fn fires(when: &str, states: &str, expected: bool) {
    // While the servers come, one after the other, there are fewer of them.
    let mut w = cluster(&watching("cluster", when).replace("mode:", "for: 2s\nmode:"), 4);
    for (name, state) in ["web1", "web2", "web3", "web4"].into_iter().zip(states.chars()) {
        w.set(name, "load.one", if state == '1' { 9.0 } else { 1.0 });
        if state == '?' {
            w.fakes.get_mut(name).unwrap().failing.insert("load".to_owned());
        }
    }
    w.run(5);
    assert_eq!(!w.opened().is_empty(), expected, "{when} of {states}");
}

#[test]
fn a_comparison_is_known_when_it_is_the_same_whichever_way_the_unknown_ones_are() {
    for (of_load, states, expected) in [
        ("servers.count(load.one > 8) >= 2", "1100", true),
        ("servers.count(load.one > 8) >= 2", "1000", false),
        ("servers.count(load.one > 8) >= 2", "11??", true),
        ("servers.count(load.one > 8) >= 2", "1???", false),
        ("servers.share(load.one > 8) < 0.5", "1000", true),
        ("servers.share(load.one > 8) < 0.5", "100?", false),
        ("servers.share(load.one > 8) < 0.6", "100?", true),
        ("!(servers.share(load.one > 8) >= 0.5)", "100?", false),
        ("servers.count(load.one > 8) == 2", "11??", false),
        ("servers.count(load.one > 8) == 2", "1100", true),
        ("servers.count(load.one > 8) != 2", "1111", true),
        ("servers.count(load.one > 8) != 2", "111?", true),
        ("servers.count(load.one > 8) != 2", "110?", false),
        ("servers.count(load.one > 8) > servers.count(load.one <= 8)", "1110", true),
        ("servers.count(load.one > 8) > servers.count(load.one <= 8)", "11?0", false),
        ("servers.avg(load.one) > 4", "1100", true),
        ("servers.avg(load.one) > 8", "11??", true),
        ("servers.avg(load.one) > 8", "1???", false),
        ("servers.sum(load.one) == 20", "1100", true),
        ("servers.max(load.one) > 8", "1000", true),
        ("servers.min(load.one) > 8", "1110", false),
        ("servers.min(load.one) > 8", "111?", true),
        ("servers.max(load.one) - servers.min(load.one) > 5", "1000", true),
    ] {
        fires(of_load, states, expected);
    }
}

#[test]
fn a_cluster_without_members_and_members_without_readings_say_nothing() {
    let mut w = cluster(&watching("cluster", "servers.count(load.one > 8) == 0"), 2);
    w.run(3);
    assert!(w.opened().is_empty(), "no load was read yet");
    w.set("web1", "load.one", 1.0);
    w.set("web2", "load.one", 1.0);
    w.run(2);
    assert_eq!(w.opened().len(), 1);
    // All leave: the incident has nothing more to be about.
    for name in ["web1", "web2"] {
        w.input(Input::Labelled { server: server(name), labels: labels(&[("role", "db"), ("cluster", "shop")]) });
    }
    w.run(2);
    assert_eq!(only(&w).state, State::Observed, "unknown neither clears nor resolves");
    for name in ["web1", "web2"] {
        w.input(Input::Labelled { server: server(name), labels: labels(&[("role", "db")]) });
    }
    w.run(1);
    assert_eq!(only(&w).state, State::Superseded, "there is no such cluster any more");
}

#[test]
fn clusters_are_apart_and_a_server_without_one_is_its_own() {
    let mut w = World::empty(&watching("cluster", "servers.share(load.one > 8) > 0.5"));
    w.add("web1");
    w.add_with("web2", &[("role", "web"), ("cluster", "other")]);
    w.add_with("web3", &[("role", "web")]);
    for name in ["web1", "web2", "web3"] {
        w.set(name, "load.one", 9.0);
    }
    w.run(2);
    let mut subjects: Vec<String> = w.opened().iter().map(|i| i.subject.to_string()).collect();
    subjects.sort();
    assert_eq!(subjects, ["cluster other", "cluster shop", "cluster web3"]);
}

#[test]
fn the_fleet_is_one() {
    let text = format!("fleet: example\n---\n{}", watching("fleet", "servers.count(load.one > 8) > 1"));
    let mut w = World::empty(&text);
    w.add("web1");
    w.add_with("web2", &[("role", "web"), ("cluster", "other")]);
    w.add_with("db1", &[("role", "db"), ("cluster", "other")]);
    for name in ["web1", "db1"] {
        w.set(name, "load.one", 9.0);
    }
    w.run(2);
    assert!(w.opened().is_empty(), "the scenario is not about db1");
    w.set("web2", "load.one", 9.0);
    w.run(2);
    assert_eq!(only(&w).subject, Subject::Fleet("example".to_owned()));
}

#[test]
fn each_label_set_is_an_instance_of_its_own_and_goes_with_its_last_series() {
    let text = watching("cluster", "servers.count(service.up == 0) >= 2");
    let mut w = cluster(&text, 3);
    for unit in ["a", "b"] {
        for name in ["web1", "web2", "web3"] {
            w.set(name, &format!("service.up{{unit=\"{unit}\"}}"), 1.0);
        }
    }
    w.run(2);
    for name in ["web1", "web2"] {
        w.set(name, "service.up{unit=\"a\"}", 0.0);
    }
    w.set("web3", "service.up{unit=\"b\"}", 0.0);
    w.run(2);
    assert_eq!(only(&w).labels, labels(&[("unit", "a")]));
    // A server that lacks the series is unknown: the other two are enough still, one would not be.
    w.retire("web3", "service.up{unit=\"a\"}");
    w.run(2);
    assert_eq!(only(&w).state, State::Observed);
    w.retire("web2", "service.up{unit=\"a\"}");
    w.run(2);
    assert_eq!(only(&w).state, State::Observed);
    w.set("web1", "service.up{unit=\"a\"}", 1.0);
    w.set("web2", "service.up{unit=\"a\"}", 1.0);
    w.run(2);
    assert_eq!(only(&w).state, State::Cleared);
    for name in ["web1", "web2"] {
        w.retire(name, "service.up{unit=\"a\"}");
    }
    w.run(2);
    assert_eq!(w.opened().len(), 1);
}

#[test]
fn who_comes_and_goes_is_counted_and_for_goes_on() {
    let text = watching("cluster", "servers.share(load.one > 8) >= 0.5").replace("mode:", "for: 10s\nmode:");
    let mut w = cluster(&text, 4);
    for (name, load) in [("web1", 9.0), ("web2", 9.0), ("web3", 1.0), ("web4", 1.0)] {
        w.set(name, "load.one", load);
    }
    w.run(6);
    // Nothing is read of a new one yet: two or three of five.
    w.add("web5");
    w.set("web5", "load.one", 9.0);
    w.run(3);
    assert!(w.opened().is_empty());
    w.run(3);
    assert_eq!(w.opened().len(), 1, "it did not begin again");
    // Two of them leave for another cluster, where they fire on their own.
    for name in ["web1", "web2"] {
        w.input(Input::Labelled { server: server(name), labels: labels(&[("role", "web"), ("cluster", "far")]) });
    }
    w.run(2);
    assert_eq!(only(&w).state, State::Cleared, "one of three is left");
    w.run(10);
    assert_eq!(w.last().subject, Subject::Cluster("far".to_owned()));
}

#[test]
fn servers_that_are_worked_on_do_not_count() {
    let mut w = cluster(&watching("cluster", "servers.share(load.one > 8) >= 0.5"), 4);
    for (name, load) in [("web1", 9.0), ("web2", 1.0), ("web3", 1.0), ("web4", 1.0)] {
        w.set(name, "load.one", load);
    }
    w.run(2);
    let servers = ["web2", "web3"].map(server).into_iter().collect();
    let now = Timestamp(w.now);
    let work = w.engine.maintenance(now, servers, [].into(), Span::seconds(30), "ann".into(), String::new());
    w.input(Input::StartMaintenance(work.unwrap().0));
    w.run(1);
    assert_eq!(only(&w).state, State::Observed, "one of the two that are left");
    w.restart();
    for name in ["web1", "web2", "web3", "web4"] {
        w.connect(name);
        w.merge(name);
    }
    w.run(3);
    assert_eq!(only(&w).state, State::Observed);
    w.run(30);
    assert_eq!(only(&w).state, State::Cleared, "they are back when it has ended");
}

#[test]
fn clear_and_settle_are_the_groups() {
    let text =
        TIER.replace("for: 5s", "clear: servers.share(http.up == 1) > 0.9\nsettle: 6s").replace("enforce", "observe");
    let mut w = tier(&text, 4);
    for name in ["web1", "web2"] {
        w.set(name, UP, 0.0);
    }
    w.run(2);
    assert_eq!(only(&w).state, State::Observed);
    w.set("web1", UP, 1.0);
    w.run(10);
    assert_eq!(only(&w).state, State::Observed, "neither firing nor clear");
    w.set("web2", UP, 1.0);
    w.run(4);
    assert_eq!(only(&w).state, State::Observed);
    w.run(4);
    assert_eq!(only(&w).state, State::Cleared);
}

#[test]
fn a_member_that_is_silent_proves_nothing_and_one_that_is_away_is_not_waited_for() {
    let text = TIER.replace(" || server.connected == 0", "");
    let mut w = tier(&text, 4);
    for name in ["web1", "web2"] {
        w.set(name, UP, 0.0);
    }
    w.run(7);
    assert_eq!(only(&w).state, State::Verifying);
    for name in ["web1", "web2"] {
        w.set(name, UP, 1.0);
    }
    // One answers no more: it may be up or down, which changes nothing; but it has to be heard.
    w.fakes.get_mut("web4").unwrap().silent.insert("http".to_owned());
    w.run(8);
    assert_eq!(only(&w).state, State::Verifying);
    w.disconnect("web4");
    w.run(1);
    assert_eq!(only(&w).state, State::Contained);
}

#[test]
fn a_proof_that_breaks_begins_anew() {
    let mut w = tier(TIER, 4);
    for name in ["web1", "web2"] {
        w.set(name, UP, 0.0);
    }
    w.run(7);
    w.set("web1", UP, 1.0);
    w.run(2);
    w.set("web1", UP, 0.0);
    w.run(1);
    w.set("web1", UP, 1.0);
    w.run(2);
    assert_eq!(only(&w).state, State::Verifying);
    w.run(2);
    assert_eq!(only(&w).state, State::Contained);
}

#[test]
fn a_proof_of_its_own_may_ask_something_else() {
    let text = TIER.replace("verify_within: 20s", "verify: servers.min(cpu.busy_ratio) < 0.5\n    verify_within: 20s");
    let mut w = tier(&text, 4);
    for name in ["web1", "web2", "web3", "web4"] {
        w.set(name, "cpu.busy_ratio", 0.9);
    }
    for name in ["web1", "web2"] {
        w.set(name, UP, 0.0);
    }
    w.run(12);
    assert_eq!(only(&w).state, State::Verifying);
    w.set("web3", "cpu.busy_ratio", 0.2);
    w.run(5);
    assert_eq!(only(&w).state, State::Contained);
}

#[test]
fn a_restart_in_the_middle_goes_on_where_it_was_and_does_nothing_twice() {
    for seconds in 0..14 {
        let text = TIER.replace(", pick: 1, order: highest cpu.busy_ratio", "").replace("service.restart", "disk.tidy");
        let text = text.replace("unit: haproxy.service", "mount: /");
        let mut w = tier(&text, 4);
        w.add_with("lb3", &[("role", "lb"), ("cluster", "shop")]);
        w.ends("lb2", "disk.tidy", Status::Done, Some(2));
        w.ends("lb3", "disk.tidy", Status::Done, Some(4));
        for name in ["web1", "web2"] {
            w.set(name, UP, 0.0);
        }
        w.run(seconds);
        w.restart();
        w.run(1);
        for name in ["lb3", "web1", "web2", "web3", "lb1", "web4", "lb2"] {
            w.connect(name);
            w.merge(name);
        }
        w.run(12);
        for name in ["lb1", "lb2", "lb3"] {
            assert_eq!(w.effects(name).len(), 1, "{name} after {seconds} s");
        }
        for name in ["web1", "web2"] {
            w.set(name, UP, 1.0);
        }
        w.run(5);
        assert_eq!(only(&w).state, State::Contained, "after {seconds} s");
        assert_eq!(only(&w).steps.len(), 3);
    }
}

#[test]
fn an_unchanged_text_keeps_what_it_had_and_a_changed_one_begins_again() {
    let text = watching("cluster", "servers.share(load.one > 8) >= 0.5").replace("mode:", "for: 10s\nmode:");
    let more = "---\nscenario: aaa\nwhen: cpu.busy_ratio > 2\n";
    let mut w = cluster(&text, 2);
    w.set("web1", "load.one", 9.0);
    w.set("web2", "load.one", 9.0);
    w.run(6);
    w.push(&format!("{text}{more}"));
    w.run(6);
    assert_eq!(only(&w).state, State::Observed);
    w.push(&text);
    assert_eq!(only(&w).state, State::Observed);
    w.push(&text.replace("> 8", "> 7"));
    assert_eq!(only(&w).state, State::Superseded);
    w.run(8);
    assert_eq!(w.opened().len(), 1);
    w.run(4);
    assert_eq!(w.states(), [State::Superseded, State::Observed]);
}

#[test]
fn a_running_step_is_proved_under_its_own_text() {
    let mut w = tier(TIER, 4);
    w.ends("lb2", "service.restart", Status::Done, Some(3));
    for name in ["web1", "web2"] {
        w.set(name, UP, 0.0);
    }
    w.run(6);
    assert_eq!(only(&w).state, State::Acting);
    w.push(&TIER.replace("critical", "warning"));
    w.run(4);
    assert_eq!(w.states()[0], State::Verifying);
    for name in ["web1", "web2"] {
        w.set(name, UP, 1.0);
    }
    w.run(5);
    assert_eq!(w.states()[0], State::Contained);
}

#[test]
fn in_observe_it_says_on_which_servers_it_would_act() {
    let mut w = tier(&TIER.replace("enforce", "observe"), 4);
    for name in ["web1", "web2"] {
        w.set(name, UP, 0.0);
    }
    w.run(7);
    let reason = only(&w).reason.unwrap();
    let words = "service.restart unit=haproxy.service on 1 server of role=lb, highest cpu.busy_ratio first";
    assert!(reason.contains(words), "{reason}");
}

#[test]
fn readings_that_change_no_answer_are_not_told_to_the_engine() {
    let mut w = cluster(&watching("cluster", "servers.share(load.one > 8) >= 0.5"), 2);
    w.set("web1", "load.one", 1.0);
    w.set("web2", "load.one", 1.0);
    w.run(2);
    let seat = w.engine.seat(&server("web1")).unwrap();
    let id = 1;
    let mut tell = |value: f64| {
        w.now += 1000;
        let mut hot = seat.enter(Timestamp(w.now)).unwrap();
        hot.sweep(&Sweep {
            sensor: "load",
            every: Span::seconds(1),
            started: Timestamp(w.now),
            started_boot_ms: w.now,
            readings: &[(id, value)],
            end: SweepEnd::Complete,
        });
        hot.leave()
    };
    assert!(!tell(2.0) && !tell(3.0));
    assert!(tell(9.0));
    w.input(Input::Found { server: server("web1") });
    assert_eq!(w.opened().len(), 1);
}

#[test]
fn windows_and_folds_may_be_asked_of_each_server() {
    let mut w = cluster(&watching("cluster", "servers.count(min(load.one, \"10s\") > 8) >= 2"), 3);
    for name in ["web1", "web2", "web3"] {
        w.set(name, "load.one", 1.0);
    }
    w.run(12);
    for name in ["web1", "web2"] {
        w.set(name, "load.one", 9.0);
    }
    w.run(5);
    assert!(w.opened().is_empty(), "the windows still hold the time before");
    w.run(8);
    assert_eq!(only(&w).labels, Labels::default());

    // In the first second half of the servers are known, which is enough.
    let text = watching("cluster", "servers.avg(total(process.cpu_ratio)) > 1").replace("mode:", "for: 2s\nmode:");
    let mut w = cluster(&text, 2);
    for (name, pid, ratio) in [("web1", 1, 0.9), ("web1", 2, 0.8), ("web2", 1, 0.1)] {
        w.set(name, &format!("process.cpu_ratio{{pid=\"{pid}\"}}"), ratio);
    }
    w.run(3);
    assert!(w.opened().is_empty());
    w.set("web2", "process.cpu_ratio{pid=\"9\"}", 0.5);
    w.run(4);
    assert_eq!(only(&w).state, State::Observed);
}

#[test]
fn both_kinds_of_scenarios_stand_side_by_side() {
    let text = format!(
        "{}---\nscenario: hot\nwhen: load.one > 8\nmode: observe\n",
        watching("cluster", "servers.count(load.one > 8) > 1")
    );
    let mut w = cluster(&text, 3);
    for name in ["web1", "web2"] {
        w.set(name, "load.one", 9.0);
    }
    w.run(2);
    let mut subjects: Vec<String> = w.opened().iter().map(|i| i.subject.to_string()).collect();
    subjects.sort();
    assert_eq!(subjects, ["cluster shop", "web1", "web2"]);
    let opened = w.events.iter().filter(|e| matches!(e.body, EventBody::IncidentOpened { .. })).count();
    assert_eq!(opened, 3);
}
