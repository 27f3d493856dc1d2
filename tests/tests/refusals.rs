//! Bad certificates and bad messages against a real controller: each is refused, and nobody else notices.

use std::time::Duration;

use serde_json::Value;
use skynet_controller::certs;
use skynet_proto::v1;
use skynet_proto::v1::agent_message::Body as Up;
use skynet_proto::v1::agent_service_client::AgentServiceClient;
use skynet_proto::v1::controller_message::Body as Down;
use skynet_tests::hostile::{Shown, channel};
use skynet_tests::{SERVER, Stage, stage};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

const INTRUDER: &str = "intruder";

async fn up() -> Stage {
    let mut stage = stage(&[SERVER, INTRUDER]).await;
    stage.start_controller().await.unwrap();
    stage.push_policy().await.unwrap();
    stage.faults.start_worker().unwrap();
    stage.start_agent(SERVER).unwrap();
    stage.wait_until_watched(SERVER).await.unwrap();
    stage
}

/// Every method of every service, read off the contract: a new one cannot be forgotten.
fn methods() -> Vec<String> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto");
    let files = protox::compile(["skynet/v1/agent.proto", "skynet/v1/operator.proto"], [root]).unwrap();
    let mut all = Vec::new();
    for file in files.file {
        for service in &file.service {
            all.extend(service.method.iter().map(|m| format!("/skynet.v1.{}/{}", service.name(), m.name())));
        }
    }
    assert!(all.contains(&"/skynet.v1.AgentService/Session".to_owned()));
    all
}

async fn call(stage: &Stage, shown: Shown<'_>, method: &str) -> Result<(), String> {
    let attempt = async {
        let channel = channel(stage.address(), shown).await.map_err(|e| format!("{e:#}"))?;
        let mut grpc = tonic::client::Grpc::new(channel);
        grpc.ready().await.map_err(|e| e.to_string())?;
        let path = method.parse().map_err(|_| "path".to_owned())?;
        let codec = tonic_prost::ProstCodec::<(), ()>::default();
        grpc.unary(tonic::Request::new(()), path, codec)
            .await
            .map(|_| ())
            .map_err(|s| format!("{:?}: {}", s.code(), s.message()))
    };
    tokio::time::timeout(Duration::from_secs(10), attempt).await.unwrap_or_else(|_| Err("no answer".to_owned()))
}

#[tokio::test]
async fn certificates_of_others_are_refused_on_every_method() {
    let mut stage = up().await;
    let other = tempfile::tempdir().unwrap();
    certs::generate(other.path(), "demo", &[SERVER]).unwrap();
    let other_fleet = tempfile::tempdir().unwrap();
    certs::generate(other_fleet.path(), "elsewhere", &[SERVER]).unwrap();
    let own = stage.dir().join("certs");
    let (foreign_cert, foreign_key) = (other.path().join("server-demo1.pem"), other.path().join("server-demo1.key"));
    let (fleet_cert, fleet_key) =
        (other_fleet.path().join("server-demo1.pem"), other_fleet.path().join("server-demo1.key"));
    let (role_cert, role_key) = (own.join("controller.pem"), own.join("controller.key"));
    let (good_cert, good_key) = (own.join("server-intruder.pem"), own.join("server-intruder.key"));

    for method in methods() {
        for (who, shown) in [
            ("no certificate", None),
            ("a certificate of another CA", Some((foreign_cert.as_path(), foreign_key.as_path()))),
            ("a certificate of another fleet", Some((fleet_cert.as_path(), fleet_key.as_path()))),
            ("a certificate of another role", Some((role_cert.as_path(), role_key.as_path()))),
        ] {
            let error = call(&stage, shown, &method).await.expect_err(&format!("{method} with {who}"));
            // Refused in the handshake: no method ever answers, not even to say that it does not exist.
            assert!(
                !error.contains("Unimplemented") && !error.contains("InvalidArgument"),
                "{method} with {who}: {error}"
            );
        }
    }
    // The control: a good certificate gets through TLS, to a method that answers in words of its own.
    let error = call(&stage, Some((&good_cert, &good_key)), "/skynet.v1.OperatorService/Halt").await.unwrap_err();
    assert!(error.contains("Unimplemented"), "operators' methods are not served to agents at all: {error}");
    unharmed(&stage).await;
    stage.strike().await;
}

/// Opens a session as the intruder, sends the messages, and gives back the refusal.
async fn refusal(stage: &Stage, messages: Vec<Up>) -> (String, String) {
    let own = stage.dir().join("certs");
    let (cert, key) = (own.join("server-intruder.pem"), own.join("server-intruder.key"));
    let channel = channel(stage.address(), Some((&cert, &key))).await.unwrap();
    let mut client = AgentServiceClient::new(channel).max_encoding_message_size(64 << 20);
    let (tx, rx) = tokio::sync::mpsc::channel(16);
    for body in messages {
        tx.send(v1::AgentMessage { body: Some(body) }).await.unwrap();
    }
    let talk = async {
        let mut stream = match client.session(ReceiverStream::new(rx)).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => return (format!("{:?}", status.code()), status.message().to_owned()),
        };
        let mut said = None;
        loop {
            match stream.next().await {
                Some(Ok(message)) => {
                    if let Some(Down::Refusal(refusal)) = message.body {
                        said = Some((refusal.code, refusal.message));
                    }
                }
                Some(Err(status)) => {
                    return said.unwrap_or((format!("{:?}", status.code()), status.message().to_owned()));
                }
                None => return said.unwrap_or(("ended".to_owned(), String::new())),
            }
        }
    };
    let refusal = tokio::time::timeout(Duration::from_secs(20), talk).await.expect("the stream ends");
    drop(tx);
    refusal
}

fn hello() -> Up {
    Up::Hello(v1::Hello { version: "0".into(), boot_id: "b".into(), session: 1, ..Default::default() })
}

fn start() -> Vec<Up> {
    vec![hello(), Up::Inventory(v1::Inventory { entries: Vec::new() })]
}

fn batch(seq: u64, series: &[i32], values: &[f64]) -> Up {
    let sweep = v1::Sweep {
        sensor: "cpu".into(),
        series: series.to_vec(),
        values: values.to_vec(),
        complete: true,
        every_ms: 1000,
        ..Default::default()
    };
    let announce = if seq == 1 {
        vec![v1::SeriesAnnounce { id: 1, name: "cpu.busy_ratio".into(), labels: vec![] }]
    } else {
        vec![]
    };
    Up::Readings(v1::ReadingBatch { seq, base_ms: 1, announce, sweeps: vec![sweep], ..Default::default() })
}

#[tokio::test]
async fn bad_messages_end_their_own_stream_and_nothing_else() {
    let mut stage = up().await;
    let cases: Vec<(&str, Vec<Up>, &[&str])> = vec![
        ("unknown series", vec![batch(1, &[7], &[1.0])], &["unknown_series"]),
        ("NaN", vec![batch(1, &[1], &[f64::NAN])], &["not_finite"]),
        ("infinity", vec![batch(1, &[1], &[f64::INFINITY])], &["not_finite"]),
        (
            "a sequence going backwards",
            vec![batch(1, &[1], &[0.5]), batch(2, &[1], &[0.5]), batch(1, &[], &[])],
            &["sequence"],
        ),
        ("more values than ids", vec![batch(1, &[1], &[0.5, 0.6])], &["malformed"]),
        ("a second hello", vec![hello()], &["order"]),
        ("a message of 5 MiB", vec![Up::Goodbye(v1::Goodbye { reason: "x".repeat(5 << 20) })], &["too_large"]),
    ];
    for (what, messages, codes) in cases {
        let (code, message) = refusal(&stage, start().into_iter().chain(messages).collect()).await;
        assert!(codes.contains(&code.as_str()), "{what}: {code}: {message}");
        assert!(!message.is_empty(), "{what} is refused with a sentence");
        unharmed(&stage).await;
    }
    let (code, message) = refusal(&stage, vec![batch(1, &[], &[])]).await;
    assert_eq!(code, "order", "readings before hello: {message}");
    let remarks = stage.events().await.unwrap();
    let remarks = remarks.iter().filter(|e| format!("{:?}", e.body).contains("bad_input")).count();
    assert!(remarks >= 6, "operators can see the refusals: {remarks}");
    unharmed(&stage).await;
    stage.strike().await;
}

/// The real agent's session goes on: connected, since the same moment, and still read.
async fn unharmed(stage: &Stage) {
    let events = stage.events().await.unwrap();
    let of_server = |e: &&skynet_model::event::Event| matches!(&e.body, skynet_model::event::EventBody::ServerDisconnected { server, .. } if server.as_str() == SERVER);
    assert_eq!(events.iter().filter(of_server).count(), 0);
    let request = v1::DescribeRequest { kind: "server".to_owned(), name: SERVER.to_owned() };
    let text = stage.operator().await.unwrap().describe(request).await.unwrap().into_inner().json;
    let server: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(server["connected"], true, "{text}");
}
