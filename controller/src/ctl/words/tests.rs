use skynet_model::time::Timestamp;

use super::super::fixture;
use super::*;

fn line(json: &str) -> String {
    let mut value: serde_json::Value = serde_json::from_str(json).unwrap();
    value["seq"] = 1.into();
    value["time"] = fixture::NOW.0.into();
    let line = event_line(&serde_json::from_value(value).unwrap());
    let rest = line.strip_prefix("2026-11-01T03:14:15.926Z  ").unwrap();
    rest.split("  ").filter(|part| !part.is_empty()).map(str::trim).collect::<Vec<_>>().join(" | ")
}

fn outcome(status: &str, message: &str) -> String {
    format!(
        r#"{{"event":"command_ended","incident":"i-1","outcome":{{"command":"c-1","status":"{status}",
            "message":"{message}","finished":1,"finished_boot_ms":1,"took_ms":12}}}}"#
    )
}

#[test]
fn every_event_has_its_sentence() {
    let opened = format!(r#"{{"event":"incident_opened","incident":{}}}"#, fixture::INCIDENT);
    let raised = format!(r#"{{"event":"notice_raised","notice":{}}}"#, fixture::NOTICE);
    let issued = r#"{"event":"command_issued","risk":"disruptive","command":{"id":"c-1","incident":"i-1",
        "scenario":"runaway","step":1,"attempt":2,"server":"web1","action":"process.signal","labels":{},
        "params":{"pid":{"int":12},"signal":{"text":"KILL"}},"policy":3,"epoch":1,"ttl":"1m"}}"#;
    for (json, expected) in [
        (
            r#"{"event":"controller_started","epoch":4,"version":"0.1.0"}"#,
            "controller_started | controller | the controller 0.1.0 has started, epoch 4",
        ),
        (
            r#"{"event":"policy_activated","version":3,"digest":"0123456789abcdef","by":"root"}"#,
            "policy_activated | policy v3 | in force, pushed by root (digest 0123456789ab)",
        ),
        (
            r#"{"event":"server_labelled","server":"web1","labels":{"role":"web","cluster":"shop-1"}}"#,
            "server_labelled | web1 | has the labels cluster=shop-1, role=web",
        ),
        (
            r#"{"event":"server_labelled","server":"web1","labels":{}}"#,
            "server_labelled | web1 | is known, without labels",
        ),
        (
            r#"{"event":"server_connected","server":"web1","boot":"b-1","version":"0.1.0"}"#,
            "server_connected | web1 | its agent 0.1.0 is connected (boot b-1)",
        ),
        (
            r#"{"event":"server_disconnected","server":"web1","reason":"no ping for 30s"}"#,
            "server_disconnected | web1 | its agent is away: no ping for 30s",
        ),
        (
            r#"{"event":"server_policy","server":"web1","version":3,"error":null}"#,
            "server_policy | web1 | runs policy v3",
        ),
        (
            r#"{"event":"server_policy","server":"web1","version":3,"error":"no signature"}"#,
            "server_policy | web1 | refused policy v3: no signature",
        ),
        (
            &opened,
            "incident_opened | i-7f3a9c web1 | web1 /var is 93 % full\\n\\u{1b}[31m (disk-filling, warning); \
             disk.used_ratio{mount=\"/var\"} 93.0 %",
        ),
        (
            r#"{"event":"incident_held","incident":"i-1","hold":{"rail":"rate","why":"20 of 20 an hour used","since":1}}"#,
            "incident_held | i-1 | the next step waits, held back by rate: 20 of 20 an hour used",
        ),
        (issued, "command_issued | i-1 web1 | step 2, try 2: process.signal pid=12 signal=KILL (disruptive)"),
        (&outcome("done", ""), "command_ended | i-1 | the action ran in 12ms"),
        (&outcome("failed", "no such unit"), "command_ended | i-1 | the action failed after 12ms: no such unit"),
        (
            &outcome("refused", "ceiling"),
            "command_ended | i-1 | the server refused the command, nothing was done: ceiling",
        ),
        (&outcome("expired", ""), "command_ended | i-1 | the command came too late, nothing was done"),
        (
            &outcome("indeterminate", ""),
            "command_ended | i-1 | a crash hides whether the action had an effect; it is not run again",
        ),
        (
            r#"{"event":"step_ended","incident":"i-1","command":"c-1","verified":true,"reason":"gone in two sweeps"}"#,
            "step_ended | i-1 | the readings prove the cure: gone in two sweeps",
        ),
        (
            r#"{"event":"step_ended","incident":"i-1","command":"c-1","verified":false,"reason":"still 0.97"}"#,
            "step_ended | i-1 | the step did not cure it: still 0.97",
        ),
        (
            r#"{"event":"incident_changed","incident":"i-1","state":"escalated","reason":"both steps failed",
                "readings":[{"series":"process.cpu_ratio{pid=\"12\"}","value":0.97,"time":1}]}"#,
            "incident_changed | i-1 | escalated: a person has to look: both steps failed; process.cpu_ratio{pid=\"12\"} 97.0 %",
        ),
        (
            r#"{"event":"incident_acknowledged","incident":"i-1","by":"ana","comment":"on it"}"#,
            "incident_acknowledged | i-1 | taken over by ana: on it",
        ),
        (
            &raised,
            "notice_raised | n-1 i-7f3a9c | a person is told (mail ops@example.net, contact pager): disk-filling on web1 is \
             not contained",
        ),
        (
            r#"{"event":"notice_delivered","notice":"n-1","target":"console"}"#,
            "notice_delivered | n-1 | arrived at console",
        ),
        (
            r#"{"event":"notice_failed","notice":"n-1","target":"pager","error":"404"}"#,
            "notice_failed | n-1 | did not arrive at pager and will not be tried again: 404",
        ),
        (
            r#"{"event":"halted","by":"root","reason":"migration"}"#,
            "halted | fleet | acting was stopped by root: migration",
        ),
        (r#"{"event":"resumed","by":"root"}"#, "resumed | fleet | acting goes on, says root"),
        (
            r#"{"event":"remark","server":null,"topic":"startup_waiting","message":"2 of 3 agents are back"}"#,
            "remark | controller | 2 of 3 agents are back [startup_waiting]",
        ),
    ] {
        assert_eq!(line(json), expected);
    }
}

#[test]
fn the_word_of_an_event_is_that_of_its_json() {
    let body: EventBody = serde_json::from_str(r#"{"event":"resumed","by":"a"}"#).unwrap();
    let event = Event { seq: 1, time: Timestamp(0), body };
    assert_eq!(serde_json::to_value(&event).unwrap()["event"], words(&event.body).event);
}

#[test]
fn a_hostile_message_stays_on_its_line() {
    let line = line(r#"{"event":"server_disconnected","server":"web1","reason":"x\n2026 halted\u001b[2J\u202e"}"#);
    assert_eq!(line, "server_disconnected | web1 | its agent is away: x\\n2026 halted\\u{1b}[2J\\u{202e}");
}
