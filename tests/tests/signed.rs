//! Signed policy from the operator's folder to an effect on a server, with real processes: and nothing without signatures.

use std::fs;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use skynet_controller::demo::stage::list;
use skynet_model::command::Status;
use skynet_model::event::EventBody;
use skynet_model::incident::NoticeKind;
use skynet_proto::v1;
use skynet_tests::signing::Keys;
use skynet_tests::{SERVER, Stage, stage};

const PATIENCE: Duration = Duration::from_secs(30);
/// A server whose own signers file names somebody else.
const WARY: &str = "wary1";

const POLICY: &str = r#"
fleet: demo
---
profile: all
match: { demo: "yes" }
sensors:
  - exec: { name: queue, script: check-queue, every: 500ms, timeout: 5s, format: nagios }
---
script: check-queue
interpreter: /bin/sh
body: |
  echo "WARNING - 12 jobs wait | jobs=12;5;10"
  exit 1
---
script: drain-queue
interpreter: /bin/sh
body: |
  echo drained >> "@DIR@/effects.log"
---
scenario: queue-long
when: 'exec.value.where({"metric": "jobs"}) > 10'
mode: enforce
respond:
  - do: script.run
    with: { script: drain-queue }
    verify: 'exec.value.where({"metric": "jobs"}) == 12'
    verify_within: 10s
"#;

fn skynetctl(stage: &Stage, args: &[&str]) -> Output {
    Command::new(stage.skynetctl()).arg("--socket").arg(stage.socket()).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Takes signed policy only, in the controller and in every agent.
async fn strict(keys: &Keys) -> Stage {
    let stage = stage(&[SERVER, WARY]).await;
    let dir = stage.dir();
    for (config, signer) in [("controller", "anna"), (SERVER, "anna"), (WARY, "ben")] {
        let signers = dir.join(format!("{config}.signers"));
        keys.allow(&[signer], &signers);
        let file = dir.join(format!("{config}.toml"));
        let text = fs::read_to_string(&file).unwrap();
        let strict = text.replace("insecure_unsigned = true", &format!("signers = \"{}\"", signers.display()));
        assert_ne!(strict, text);
        fs::write(file, strict).unwrap();
    }
    stage
}

#[tokio::test]
async fn signed_policy_acts_and_what_nobody_signed_is_refused_by_controller_and_agents() {
    let keys = Keys::of(&["anna", "ben"]);
    let mut stage = strict(&keys).await;
    let dir = stage.dir().to_owned();
    fs::create_dir(dir.join("policy")).unwrap();
    fs::write(dir.join("policy/p.yaml"), POLICY.replace("@DIR@", &dir.to_string_lossy())).unwrap();
    let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    stage.start_controller().await.unwrap();
    let mut log = stage.follow(0).await.unwrap();
    for server in [SERVER, WARY] {
        stage.start_agent(server).unwrap();
    }

    let unsigned = skynetctl(&stage, &["policy", "push", &at("policy"), "--insecure-unsigned"]);
    assert_eq!(unsigned.status.code(), Some(1));
    assert!(text(&unsigned.stderr).contains("it is not signed"), "{}", text(&unsigned.stderr));
    log.until("the refusal in the log", PATIENCE, |e| match &e.body {
        EventBody::Remark { topic, .. } if topic == "policy_refused" => Some(()),
        _ => None,
    })
    .await
    .unwrap();

    let key = keys.path("anna").to_str().unwrap().to_owned();
    for line in [
        &["policy", "build", &at("policy"), "-o", &at("p.bundle")][..],
        &["policy", "sign", &at("p.bundle"), "-f", &key],
        &["policy", "verify", &at("p.bundle"), "--allowed-signers", &at("controller.signers")],
        &["policy", "push", &at("p.bundle")],
    ] {
        let output = skynetctl(&stage, line);
        assert!(output.status.success(), "{line:?}: {}{}", text(&output.stdout), text(&output.stderr));
    }

    // The one agent takes it and acts; the other refuses it, and a person hears of it.
    let (mut acted, mut told) = (false, None);
    log.until("an effect here and a refusal there", PATIENCE, |e| {
        match &e.body {
            EventBody::CommandEnded { outcome, .. } => acted |= outcome.status == Status::Done,
            EventBody::NoticeRaised { notice } if notice.kind == NoticeKind::Skynet => told = Some(notice.clone()),
            _ => {}
        }
        (acted && told.is_some()).then_some(())
    })
    .await
    .unwrap();
    assert!(fs::read_to_string(dir.join("effects.log")).unwrap().starts_with("drained\n"));
    let told = told.unwrap();
    assert_eq!(told.server.as_ref().map(|s| s.as_str()), Some(WARY));
    assert!(told.story.contains("is not in the signers file"), "{}", told.story);
    let request = v1::DescribeRequest { kind: "server".to_owned(), name: WARY.to_owned() };
    let wary = stage.operator().await.unwrap().describe(request).await.unwrap().into_inner().json;
    let wary: Value = serde_json::from_str(&wary).unwrap();
    let why = wary["policy_error"].as_str().unwrap();
    assert!(why.contains("its key SHA256:") && why.contains("is not in the signers file"), "{why}");
    assert!(wary["policy_version"].is_null(), "{wary}");
    let described = text(&skynetctl(&stage, &["describe", "server", WARY]).stdout);
    assert!(
        described.contains("is not in the signers file") || described.contains("not in the signers"),
        "{described}"
    );

    // Both sides check again what they kept.
    stage.kill_controller();
    stage.stop_agent(SERVER).await.unwrap();
    stage.start_controller().await.unwrap();
    stage.start_agent(SERVER).unwrap();
    let listed = stage.operator().await.unwrap().list(list("policies")).await.unwrap().into_inner().json;
    let policy: Value = serde_json::from_str(&listed[0]).unwrap();
    assert_eq!((&policy["version"], &policy["current"]), (&1.into(), &true.into()));
    assert_eq!(policy["signed_by"][0]["principals"], serde_json::json!(["anna@example.net"]));
    let mut log = stage.follow(0).await.unwrap();
    let mut starts = 0;
    log.until("the agent back under its kept policy", PATIENCE, |e| match &e.body {
        EventBody::ControllerStarted { .. } => {
            starts += 1;
            None
        }
        EventBody::ServerConnected { server, .. } if starts == 2 && server.as_str() == SERVER => Some(()),
        _ => None,
    })
    .await
    .unwrap();
    let request = v1::DescribeRequest { kind: "server".to_owned(), name: SERVER.to_owned() };
    let back = stage.operator().await.unwrap().describe(request).await.unwrap().into_inner().json;
    let back: Value = serde_json::from_str(&back).unwrap();
    assert_eq!((&back["policy_version"], &back["policy_error"]), (&1.into(), &Value::Null), "{back}");
    stage.strike().await;
}
