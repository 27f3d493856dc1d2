//! The API over a real socket.

use std::os::unix::fs::PermissionsExt;

use skynet_model::time::Span;
use skynet_proto::v1::operator_service_client::OperatorServiceClient;
use tokio_stream::StreamExt;
use tonic::Code;
use tonic::transport::Channel;

use super::*;
use crate::core::FromAgent;
use crate::fixture::{Agent, PATIENCE as LIMIT, POLICY, Rig, bundle, terms};

struct Office {
    rig: Rig,
    client: OperatorServiceClient<Channel>,
    folder: tempfile::TempDir,
}

/// The name of the user who runs the tests.
fn myself() -> String {
    let users = peer::read_users("/etc/passwd".as_ref(), "/etc/group".as_ref());
    users.name(rustix::process::geteuid().as_raw())
}

async fn connect(path: std::path::PathBuf) -> OperatorServiceClient<Channel> {
    let connector = tower::service_fn(move |_: tonic::transport::Uri| {
        let path = path.clone();
        async move { tokio::net::UnixStream::connect(path).await.map(hyper_util::rt::TokioIo::new) }
    });
    let endpoint = tonic::transport::Endpoint::from_static("http://operator");
    OperatorServiceClient::new(endpoint.connect_with_connector(connector).await.unwrap())
}

impl Office {
    async fn open() -> Self {
        Self::with(terms()).await
    }

    async fn with(terms: Terms) -> Self {
        let rig = Rig::start();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operator.sock");
        let operator = Operator::new(rig.core.clone(), Arc::clone(&rig.history), Arc::clone(&rig.feed), terms);
        tokio::spawn(operator.serve(bind(&path, false).unwrap(), std::future::pending()));
        Self { rig, client: connect(path).await, folder }
    }

    async fn list(&mut self, kind: &str) -> Vec<Value> {
        let request = v1::ListRequest { kind: kind.to_owned(), all: true, limit: 0 };
        let found = self.client.list(request).await.unwrap().into_inner().json;
        found.iter().map(|json| serde_json::from_str(json).unwrap()).collect()
    }

    async fn describe(&mut self, kind: &str, name: &str) -> Result<Value, Status> {
        let request = v1::DescribeRequest { kind: kind.to_owned(), name: name.to_owned() };
        let found = self.client.describe(request).await?.into_inner().json;
        Ok(serde_json::from_str(&found).unwrap())
    }

    async fn verify_store(&mut self) -> Result<(), Status> {
        self.client.verify_store(v1::VerifyStoreRequest {}).await.map(|_| ())
    }

    async fn push(&mut self, version: u64, text: &str, insecure_unsigned: bool) -> Result<(), Status> {
        let request = v1::PushPolicyRequest { bundle: bundle(version, text), signatures: vec![], insecure_unsigned };
        self.client.push_policy(request).await.map(|_| ())
    }

    async fn agent(&mut self) -> Agent {
        let mut agent = Agent::connect(&self.rig, "web1", 1, 1).await.unwrap();
        agent.say(FromAgent::Inventory(Vec::new())).await;
        agent.read(1.0).await;
        agent
    }
}

#[tokio::test]
async fn the_socket_is_its_owners_and_a_stale_one_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("operator.sock");
    let listener = bind(&path, false).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(bind(&path, false), Err(SocketError::Taken(_))));
    drop(listener);
    drop(bind(&path, true).unwrap());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
    bind(&path, false).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(bind(&path, false), Err(SocketError::Foreign(_))));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn servers_are_listed_and_described_with_their_latest_values() {
    let mut office = Office::open().await;
    office.push(1, POLICY, true).await.unwrap();
    let _agent = office.agent().await;
    let writer = office.rig.history.writer(&crate::fixture::server("web1"));
    let slot = writer.slot(&"probe.value".parse().unwrap()).unwrap();
    let _ = writer.write(skynet_model::time::Timestamp(5), [(slot, 1.0)]);
    let servers = office.list("servers").await;
    assert_eq!(servers.len(), 1);
    let web1 = &servers[0];
    assert_eq!(
        (&web1["name"], &web1["connected"], &web1["labels"]["role"]),
        (&"web1".into(), &true.into(), &"web".into())
    );
    assert_eq!((&web1["series"], &web1["last_reading"], &web1["lost_readings"]), (&1.into(), &5.into(), &0.into()));
    assert_eq!((&web1["boot"], &web1["version"]), (&"boot-1".into(), &"0.1.0".into()));
    assert_eq!((&web1["insecure_unsigned"], &web1["controller_insecure_unsigned"]), (&false.into(), &true.into()));
    let sensor = &web1["sensors"][0];
    assert_eq!((&sensor["id"], &sensor["healthy"], &sensor["every"]), (&"probe".into(), &true.into(), &"1s".into()));
    let full = office.describe("server", "web1").await.unwrap();
    let latest = serde_json::json!([{ "series": "probe.value", "value": 1.0, "time": 5, "unit": "count" }]);
    assert_eq!(full["latest"], latest);
    assert_eq!(office.describe("server", "web9").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(office.describe("server", "WEB").await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(office.describe("planet", "x").await.unwrap_err().code(), Code::InvalidArgument);
    let planets = v1::ListRequest { kind: "planets".to_owned(), all: false, limit: 0 };
    assert_eq!(office.client.list(planets).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn an_incident_is_described_acknowledged_and_its_notice_listed() {
    let mut office = Office::open().await;
    office.push(1, POLICY, true).await.unwrap();
    let mut agent = office.agent().await;
    agent.read(50.0).await;
    agent.command().await;
    let acting = office.list("incidents").await;
    assert_eq!((acting.len(), &acting[0]["state"]), (1, &"acting".into()));
    let id = acting[0]["id"].as_str().unwrap().to_owned();
    let full = office.describe("incident", &id).await.unwrap();
    let words = full["explanation"].as_str().unwrap();
    assert!(words.contains("step 1 of 1, fix") && words.contains("a person is told"), "{words}");

    agent.read(500.0).await;
    office.rig.until("notice", |b| matches!(b, skynet_model::event::EventBody::NoticeRaised { .. })).await;
    let notices = office.list("notices").await;
    assert_eq!((&notices[0]["route"], &notices[0]["delivered"]), (&"oncall".into(), &serde_json::json!([])));
    let id = notices[0]["incident"].as_str().unwrap().to_owned();
    let comment = "mine".to_owned();
    office.client.acknowledge(v1::AcknowledgeRequest { incident: id.clone(), comment }).await.unwrap();
    let taken = office.describe("incident", &id).await.unwrap();
    assert_eq!(taken["acknowledged"]["comment"], "mine");
    let by = taken["acknowledged"]["by"].as_str().unwrap();
    assert_eq!(by, myself());
    assert!(taken["explanation"].as_str().unwrap().contains("took it over"));
    let none = v1::AcknowledgeRequest { incident: "i-none".to_owned(), comment: String::new() };
    assert_eq!(office.client.acknowledge(none).await.unwrap_err().code(), Code::NotFound);
    let long = v1::AcknowledgeRequest { incident: id, comment: "x".repeat(MAX_TEXT + 1) };
    assert_eq!(office.client.acknowledge(long).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn policies_are_refused_with_all_reasons_and_listed_when_taken() {
    let mut office = Office::open().await;
    assert_eq!(office.describe("bundle", "current").await.unwrap_err().code(), Code::NotFound, "none is in force");
    let unsigned = office.push(1, POLICY, false).await.unwrap_err();
    assert!(unsigned.code() == Code::FailedPrecondition && unsigned.message().contains("--insecure-unsigned"));
    let bad = POLICY.replace("probe.value > 10", "prob.value > 10").replace("do: fix", "do: fxi");
    let wrong = office.push(1, &bad, true).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
    assert!(wrong.message().contains("prob.value") && wrong.message().contains("fxi"), "{}", wrong.message());
    assert!(wrong.message().contains("p.yaml:"), "{}", wrong.message());
    let garbage = v1::PushPolicyRequest { bundle: b"{}".to_vec(), signatures: vec![], insecure_unsigned: true };
    assert_eq!(office.client.push_policy(garbage).await.unwrap_err().code(), Code::InvalidArgument);
    office.push(3, POLICY, true).await.unwrap();
    let old = office.push(3, POLICY, true).await.unwrap_err();
    assert!(old.code() == Code::FailedPrecondition && old.message().contains("version 3"));
    let policies = office.list("policies").await;
    assert_eq!(policies.len(), 1);
    assert_eq!((&policies[0]["version"], &policies[0]["current"]), (&3.into(), &true.into()));
    assert_eq!(policies[0]["scenarios"], serde_json::json!(["high", "hopeless"]));
    assert_eq!(office.describe("policy", "3").await.unwrap()["contacts"], serde_json::json!(["pager"]));
    assert_eq!(office.describe("policy", "4").await.unwrap_err().code(), Code::NotFound);
    let kept = office.describe("bundle", "current").await.unwrap();
    assert_eq!((&kept["version"], &kept["files"][0]["text"]), (&3.into(), &POLICY.into()), "what diff compares with");

    let strict = Terms { trust: skynet_model::sign::Trust::Nobody, ..terms() };
    let mut office = Office::with(strict).await;
    let refused = office.push(1, POLICY, true).await.unwrap_err();
    assert!(refused.code() == Code::FailedPrecondition && refused.message().contains("insecure_unsigned = true"));
    let other = Terms { fleet: "other".to_owned(), ..terms() };
    let expired = bundle(1, POLICY);
    assert!(other.check(expired.clone(), Vec::new(), true, crate::clock::now()).is_err());
    let later = crate::clock::now().plus(Span::hours(2));
    assert!(terms().check(expired, Vec::new(), true, later).unwrap_err().to_string().contains("expired"));
}

#[tokio::test]
async fn the_log_gives_what_is_kept_and_follows() {
    let mut office = Office::open().await;
    office.rig.settle().await;
    let all = v1::LogsRequest { follow: false, after: 0, tail: 100 };
    let kept: Vec<_> = office.client.logs(all).await.unwrap().into_inner().collect().await;
    assert!(kept.len() >= 2, "{kept:?}");
    let newest = v1::LogsRequest { follow: true, after: 0, tail: 1 };
    let mut following = office.client.logs(newest).await.unwrap().into_inner();
    assert_eq!(following.message().await.unwrap().unwrap().json, kept.last().unwrap().as_ref().unwrap().json);
    office.client.halt(v1::HaltRequest { reason: "drill".to_owned() }).await.unwrap();
    let called = tokio::time::timeout(LIMIT, following.message()).await.unwrap().unwrap().unwrap();
    assert!(called.json.contains("operator_called"), "{}", called.json);
    let next = tokio::time::timeout(LIMIT, following.message()).await.unwrap().unwrap().unwrap();
    let event: Value = serde_json::from_str(&next.json).unwrap();
    assert_eq!((&event["event"], &event["reason"]), (&"halted".into(), &"drill".into()));
    office.client.resume(v1::ResumeRequest {}).await.unwrap();
    let after = v1::LogsRequest { follow: false, after: event["seq"].as_u64().unwrap(), tail: 0 };
    let rest: Vec<_> = office.client.logs(after).await.unwrap().into_inner().collect().await;
    assert!(rest[1].as_ref().unwrap().json.contains("resumed"));
    assert!(office.folder.path().join("operator.sock").exists());
}

#[tokio::test]
async fn the_past_is_answered_and_what_is_not_there_is_named_with_what_is_like_it() {
    let mut office = Office::open().await;
    let writer = office.rig.history.writer(&crate::fixture::server("web1"));
    let slot = writer.slot(&"load.one".parse().unwrap()).unwrap();
    for i in 0..10 {
        let _ = writer.write(skynet_model::time::Timestamp(i * 1000), [(slot, i as f64)]);
    }
    let request = |series: &str, server: &str, step_ms: i64| v1::QueryRequest {
        series: series.to_owned(),
        servers: vec![server.to_owned()],
        from_ms: 0,
        until_ms: 9000,
        step_ms,
    };
    let raw = office.client.query(request("load.*", "web*", 0)).await.unwrap().into_inner();
    assert_eq!((raw.series[0].time_ms.len(), raw.series[0].time_ms[9], raw.series[0].avg[9]), (10, 1000, 9.0));
    assert!(raw.series[0].count.is_empty() && raw.holes.is_empty() && !raw.cut);
    let steps = office.client.query(request("load.one", "web1", 5000)).await.unwrap().into_inner();
    let steps = &steps.series[0];
    assert_eq!((&steps.avg[..], &steps.count[..]), (&[2.0, 7.0][..], &[5, 5][..]));
    assert_eq!((&steps.min[..], &steps.max[..]), (&[0.0, 5.0][..], &[4.0, 9.0][..]));
    let empty = v1::QueryRequest { from_ms: 20_000, until_ms: 30_000, ..request("load.one", "web1", 0) };
    assert!(office.client.query(empty).await.unwrap().into_inner().series.is_empty());
    for (request, code, word) in [
        (request("laod.one", "web1", 0), Code::NotFound, "did you mean load.one"),
        (request("load.one", "wbe1", 0), Code::NotFound, "did you mean web1"),
        (request("load.one", "zzz*", 0), Code::NotFound, "get servers"),
        (request("load one", "web1", 0), Code::InvalidArgument, "selects no series"),
        (request("load.one", "web1", -1), Code::InvalidArgument, "step"),
        (v1::QueryRequest { until_ms: -1, ..request("load.one", "web1", 0) }, Code::InvalidArgument, "ends before"),
        (v1::QueryRequest { servers: vec![], ..request("load.one", "web1", 0) }, Code::InvalidArgument, "servers"),
    ] {
        let status = office.client.query(request).await.unwrap_err();
        assert!(status.code() == code && status.message().contains(word), "{status:?}");
    }
}

#[tokio::test]
async fn without_an_offsite_copy_its_status_says_so_and_there_is_nothing_to_verify() {
    let mut office = Office::open().await;
    assert_eq!(office.describe("store", "").await.unwrap(), serde_json::json!({ "redis": null }));
    let refused = office.verify_store().await.unwrap_err();
    assert!(refused.code() == Code::FailedPrecondition && refused.message().contains("[redis]"), "{refused}");
}

mod roles;
mod signed;
mod standing;
