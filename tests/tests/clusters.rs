//! A cluster as one trouble, and what people ask for, with real processes: a step goes to the server that its target picks,
//! a request to those it names.

use std::process::Command;
use std::time::Duration;

use skynet_model::event::EventBody;
use skynet_model::incident::{State, Subject};
use skynet_proto::v1;
use skynet_tests::{Stage, stage};

const PATIENCE: Duration = Duration::from_secs(40);
const FLEET: [(&str, &str); 3] = [("web1", "web"), ("web2", "web"), ("lb1", "lb")];

const POLICY: &str = r#"
fleet: demo
rails: { blast_radius: 100%, blast_radius_per_hour: 100% }
---
profile: all
match: { demo: "yes" }
sensors: [{ load: { every: 250ms } }]
---
script: mend
interpreter: /bin/sh
body: |
  echo "mended the tier" >> "@DIR@/effects.log"
---
script: fix
interpreter: /bin/sh
body: |
  echo "fixed $label_what" >> "@DIR@/effects.log"
---
scenario: tier-away
scope: cluster
where: { role: web }
when: servers.share(server.connected == 0) >= 0.5
severity: critical
mode: enforce
respond:
  - do: script.run
    with: { script: mend }
    target: { where: { role: lb }, pick: 1, order: highest load.one }
    verify_within: 40s
---
request: fix
parameters: { what: text }
phrases: ["fix {what}"]
---
scenario: fix-request
on_request: fix
mode: enforce
respond:
  - do: script.run
    with: { script: fix }
    target: request
"#;

async fn skynetctl(stage: &Stage, words: &[&str]) -> (i32, String) {
    let mut command = Command::new(stage.skynetctl());
    command.arg("--socket").arg(stage.socket()).args(words);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

fn effects(stage: &Stage, line: &str) -> usize {
    stage.faults.effects().iter().filter(|l| *l == line).count()
}

#[tokio::test]
async fn a_cluster_is_cured_on_the_server_that_is_picked_and_a_request_is_done_where_it_says() {
    let mut stage = stage(&FLEET.map(|(server, _)| server)).await;
    stage.start_controller().await.unwrap();
    stage.push(1, POLICY).await.unwrap();
    for (server, role) in FLEET {
        let set = ["role", role, "cluster", "c1"].map(str::to_owned).to_vec();
        let request = v1::LabelServerRequest { server: server.to_owned(), set, remove: Vec::new() };
        stage.operator().await.unwrap().label_server(request).await.unwrap();
        stage.start_agent(server).unwrap();
    }
    let mut log = stage.follow(0).await.unwrap();
    let mut ready = std::collections::BTreeSet::new();
    log.until("the policy on all servers", PATIENCE, |e| match &e.body {
        EventBody::ServerPolicy { server, error: None, .. } => {
            ready.insert(server.clone());
            (ready.len() == FLEET.len()).then_some(())
        }
        _ => None,
    })
    .await
    .unwrap();

    // Somebody asks, and sees how it goes.
    let (code, text) = skynetctl(&stage, &["request", "fix", "what=it", "--where", "role=web", "--wait=30s"]).await;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("fix is asked for on web1, web2") && text.contains("contained"), "{text}");
    assert_eq!(effects(&stage, "fixed it"), 2);
    for (words, code, said) in [
        (&["request", "fix", "what=it"][..], 2, "say for which servers"),
        (&["request", "fix", "--server", "web1"], 1, "needs the parameter `what`"),
        (&["request", "mend", "--server", "web1"], 1, "unknown request `mend`"),
        (&["request", "fix", "what=it", "--where", "role=db"], 1, "no server has the labels role=db"),
    ] {
        let (is, text) = skynetctl(&stage, words).await;
        assert!(is == code && text.contains(said), "{words:?}: {is} {text}");
    }
    assert_eq!(effects(&stage, "fixed it"), 2);

    // Half of the tier goes away and comes back.
    stage.stop_agent("web1").await.unwrap();
    let (incident, server) = log
        .until("the command of the cluster's incident", PATIENCE, |e| match &e.body {
            EventBody::CommandIssued { command, .. } if command.scenario.as_str() == "tier-away" => {
                Some((command.incident.clone(), command.server.clone()))
            }
            EventBody::IncidentOpened { incident } if incident.scenario.as_str() == "tier-away" => {
                assert_eq!(incident.subject, Subject::Cluster("c1".to_owned()));
                None
            }
            _ => None,
        })
        .await
        .unwrap();
    assert_eq!(server.as_str(), "lb1");
    let (_, text) = skynetctl(&stage, &["describe", "incident", incident.as_str()]).await;
    assert!(text.contains("cluster c1") && text.contains("SERVER") && text.contains("lb1"), "{text}");
    stage.start_agent("web1").unwrap();
    log.until("the cure of the cluster", PATIENCE, |e| match &e.body {
        EventBody::IncidentChanged { incident: of, state: State::Contained, .. } if *of == incident => Some(()),
        EventBody::IncidentChanged { incident: of, state, reason, .. } if *of == incident => {
            panic!("{state:?}: {reason}")
        }
        _ => None,
    })
    .await
    .unwrap();
    assert_eq!(effects(&stage, "mended the tier"), 1);
    let (_, text) = skynetctl(&stage, &["get", "incidents", "-A"]).await;
    assert!(text.contains("cluster c1") && text.contains("request fix"), "{text}");
}
