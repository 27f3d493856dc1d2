//! Sessions over real TLS on loopback.

use std::path::Path;
use std::pin::Pin;

use skynet_model::event::EventBody;
use skynet_model::time::Timestamp;
use skynet_proto::tls::{self, Files};
use skynet_proto::v1;
use skynet_proto::v1::agent_message::Body;
use skynet_proto::v1::agent_service_client::AgentServiceClient;
use skynet_proto::v1::controller_message::Body as Answer;
use tokio::sync::mpsc;

use super::*;
use crate::fixture::{PATIENCE, POLICY, Rig, server};

/// A controller that listens; certificates lie in `certs`.
struct House {
    rig: Rig,
    certs: tempfile::TempDir,
    address: std::net::SocketAddr,
}

fn files(folder: &Path, name: &str) -> Files {
    Files {
        ca: folder.join("ca.pem"),
        cert: folder.join(format!("{name}.pem")),
        key: folder.join(format!("{name}.key")),
    }
}

impl House {
    async fn open(ping_every: Duration) -> Self {
        Self::over(Rig::start(), ping_every).await
    }

    async fn over(rig: Rig, ping_every: Duration) -> Self {
        let certs = tempfile::tempdir().unwrap();
        crate::certs::generate(certs.path(), "demo", &["web1", "web2"]).unwrap();
        let config = files(certs.path(), "controller").load(Role::Controller).unwrap().server_config().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = tls::incoming(listener, config, |_, _| {});
        let fleet = Fleet::new(rig.core.clone(), Arc::clone(&rig.history), "demo".to_owned()).pinging(ping_every);
        tokio::spawn(fleet.serve(incoming, std::future::pending()));
        Self { rig, certs, address }
    }

    async fn agent(&self, name: &str) -> Result<Agent, String> {
        let files = files(self.certs.path(), &format!("server-{name}"));
        Agent::connect(self.address, files.load(Role::Server).unwrap().client_config().unwrap()).await
    }

    /// An agent that has said hello and is welcome.
    async fn welcome(&self, name: &str, session: u64) -> Agent {
        let mut agent = self.agent(name).await.unwrap();
        agent.say(hello(session)).await;
        agent.say(Body::Inventory(v1::Inventory::default())).await;
        agent.until("merged inventory", |a| matches!(a, Answer::InventoryAck(_))).await;
        agent
    }
}

struct Agent {
    sender: mpsc::Sender<v1::AgentMessage>,
    stream: Streaming<v1::ControllerMessage>,
}

impl Agent {
    async fn connect(address: std::net::SocketAddr, config: Arc<rustls::ClientConfig>) -> Result<Self, String> {
        let channel = tls::connect(&address.to_string().parse().unwrap(), config).await.map_err(|e| e.to_string())?;
        let (sender, receiver) = mpsc::channel(16);
        // What is too large must get out of here to be refused there.
        let mut client = AgentServiceClient::new(channel).max_encoding_message_size(64 << 20);
        let stream = client.session(ReceiverStream::new(receiver)).await.map_err(|e| e.to_string())?.into_inner();
        Ok(Self { sender, stream })
    }

    async fn say(&self, body: Body) {
        // The other side may have ended the stream already.
        let _ = self.sender.send(v1::AgentMessage { body: Some(body) }).await;
    }

    async fn next(&mut self) -> Option<Answer> {
        let next = tokio::time::timeout(PATIENCE, self.stream.message()).await.expect("the stream goes on or ends");
        next.ok().flatten().and_then(|message| message.body)
    }

    async fn until(&mut self, what: &str, fits: impl Fn(&Answer) -> bool) -> Answer {
        while let Some(answer) = self.next().await {
            if fits(&answer) {
                return answer;
            }
        }
        panic!("the stream ended before {what}");
    }

    /// The refusal's code; the stream ends behind it.
    async fn refusal(&mut self) -> String {
        let refusal = self.until("a refusal", |a| matches!(a, Answer::Refusal(_))).await;
        assert_eq!(self.next().await, None, "the stream ends behind a refusal");
        if let Answer::Refusal(refusal) = refusal { refusal.code } else { unreachable!() }
    }
}

fn hello(session: u64) -> Body {
    Body::Hello(v1::Hello {
        version: "0.1.0".to_owned(),
        boot_id: "boot-1".to_owned(),
        session,
        ..v1::Hello::default()
    })
}

fn batch(seq: u64, value: f64) -> v1::ReadingBatch {
    let sweep = v1::Sweep {
        sensor: "probe".to_owned(),
        boot_ms: 1000 * i64::try_from(seq).unwrap(),
        series: vec![1],
        values: vec![value],
        complete: true,
        every_ms: 1000,
        ..v1::Sweep::default()
    };
    let announce = v1::SeriesAnnounce { id: 1, name: "probe.value".to_owned(), labels: vec![] };
    v1::ReadingBatch {
        seq,
        base_ms: 1_000_000 + 1000 * i64::try_from(seq).unwrap(),
        announce: if seq == 1 { vec![announce] } else { vec![] },
        sweeps: vec![sweep],
        ..v1::ReadingBatch::default()
    }
}

const SLOW: Duration = Duration::from_secs(60);

#[tokio::test]
async fn pongs_may_come_before_the_inventory_and_nothing_else_may() {
    let house = House::open(Duration::from_secs(5)).await;
    // An action that runs keeps the inventory waiting, and pings go on meanwhile.
    let mut patient = house.agent("web1").await.unwrap();
    patient.say(hello(1)).await;
    patient.until("first ping", |a| matches!(a, Answer::Ping(_))).await;
    patient.say(Body::Pong(v1::Pong { number: 1, ..v1::Pong::default() })).await;
    patient.say(Body::Inventory(v1::Inventory::default())).await;
    patient.until("merged inventory", |a| matches!(a, Answer::InventoryAck(_))).await;

    let mut hasty = house.agent("web2").await.unwrap();
    hasty.say(hello(1)).await;
    hasty.say(Body::Readings(v1::ReadingBatch { seq: 1, ..v1::ReadingBatch::default() })).await;
    hasty.until("refusal", |a| matches!(a, Answer::Refusal(refusal) if refusal.code == "order")).await;
}

#[tokio::test]
async fn readings_are_acknowledged_when_the_history_has_them() {
    let house = House::open(SLOW).await;
    let mut agent = house.welcome("web1", 1).await;
    for seq in 1..=3 {
        agent.say(Body::Readings(batch(seq, 1.5))).await;
        let ack = agent.until("ack", |a| matches!(a, Answer::Ack(_))).await;
        assert_eq!(ack, Answer::Ack(v1::Ack { seq, boot_id: String::new() }));
        let latest = house.rig.history.latest(&server("web1"));
        assert_eq!(latest[0].2, Timestamp(1_000_000 + 1000 * i64::try_from(seq).unwrap()));
    }
    house.rig.settle().await;
    let sweeps = house.rig.core.ask(|v| v.servers[&server("web1")].sensors.all()["probe"].clone()).await.unwrap();
    assert_eq!((sweeps.sweeps, sweeps.missed, sweeps.healthy), (3, 0, true));
    let mut late = batch(2, 7.0);
    (late.late, late.boot_id, late.base_ms) = (true, "boot-0".to_owned(), 500_000);
    agent.say(Body::Readings(late)).await;
    let ack = agent.until("ack", |a| matches!(a, Answer::Ack(_))).await;
    assert_eq!(ack, Answer::Ack(v1::Ack { seq: 2, boot_id: "boot-0".to_owned() }));
    assert_eq!(house.rig.history.latest(&server("web1"))[0].1, 1.5, "late readings are no news");
    assert_eq!(house.rig.history.query(&server("web1"), "*", Timestamp(0))[0].samples[0].1, 7.0);
}

#[tokio::test]
async fn a_series_that_is_announced_anew_as_its_old_id_ends_goes_on() {
    let house = House::open(SLOW).await;
    let mut agent = house.welcome("web1", 1).await;
    agent.say(Body::Readings(batch(1, 1.0))).await;
    // Its sensor began anew: in one batch it gets another id, and the old one ends.
    let mut anew = batch(2, 2.0);
    anew.announce = vec![v1::SeriesAnnounce { id: 2, name: "probe.value".to_owned(), labels: vec![] }];
    (anew.sweeps[0].series, anew.retire) = (vec![2], vec![1]);
    agent.say(Body::Readings(anew)).await;
    let mut next = batch(3, 3.0);
    next.sweeps[0].series = vec![2];
    agent.say(Body::Readings(next)).await;
    agent.until("ack", |a| matches!(a, Answer::Ack(ack) if ack.seq == 3)).await;
    let values = || house.rig.history.latest(&server("web1")).iter().map(|r| r.1).collect::<Vec<f64>>();
    assert_eq!(values(), [3.0]);
    // One that is announced and ends in the same batch has ended.
    let mut over = batch(4, 4.0);
    over.announce = vec![v1::SeriesAnnounce { id: 3, name: "probe.value".to_owned(), labels: vec![] }];
    (over.sweeps[0].series, over.retire) = (vec![3], vec![2, 3]);
    agent.say(Body::Readings(over)).await;
    agent.until("ack", |a| matches!(a, Answer::Ack(ack) if ack.seq == 4)).await;
    assert_eq!(values(), [0.0; 0]);
}

/// Whether an incident of this scenario opened.
fn opened(scenario: &'static str) -> impl Fn(&EventBody) -> bool {
    move |body| matches!(body, EventBody::IncidentOpened { incident } if incident.scenario.as_str() == scenario)
}

#[tokio::test]
async fn windows_that_begin_empty_are_filled_from_the_history() {
    let scenario = |name: &str, when: &str| format!("{POLICY}---\nscenario: {name}\nwhen: '{when}'\n");
    // What is older than an hour is not kept without a disk.
    let began = crate::clock::now().0 - 200_000;
    let batch = |seq: u64, value: f64| v1::ReadingBatch {
        base_ms: began + 1000 * i64::try_from(seq).unwrap(),
        ..batch(seq, value)
    };
    let house = House::open(SLOW).await;
    house.rig.push(1).await.unwrap();
    let mut agent = house.welcome("web1", 1).await;
    for seq in 1..=100 {
        agent.say(Body::Readings(batch(seq, if seq < 50 { 6.0 } else { 8.0 }))).await;
    }
    agent.until("last ack", |a| matches!(a, Answer::Ack(ack) if ack.seq == 100)).await;
    // After a restart.
    let rig = house.rig.restart().await;
    rig.push_text(2, &scenario("steady", "avg(probe.value, \"10m\") > 7 && min(probe.value, \"10m\") == 6"))
        .await
        .unwrap();
    let house = House::over(rig, SLOW).await;
    let agent = house.welcome("web1", 2).await;
    let mut first = batch(101, 8.0);
    first.announce = batch(1, 0.0).announce;
    agent.say(Body::Readings(first)).await;
    house.rig.until("an incident after one reading", opened("steady")).await;
    // Under a policy that looks back farther; a sample more makes no difference, its past does.
    let farther = scenario("rising", "delta(probe.value, \"15m\") == 2 && forecast(probe.value, \"5m\", \"10m\") > 8");
    house.rig.push_text(3, &farther).await.unwrap();
    agent.say(Body::Readings(batch(102, 8.0))).await;
    house.rig.until("an incident after one more", opened("rising")).await;
}

#[tokio::test]
async fn bad_input_ends_that_stream_with_its_code_and_a_remark_and_nothing_else() {
    let house = House::open(SLOW).await;
    let mut other = house.welcome("web2", 1).await;
    let with = |change: &dyn Fn(&mut v1::ReadingBatch)| {
        let mut bad = batch(2, 1.0);
        change(&mut bad);
        Body::Readings(bad)
    };
    let cases = [
        ("unknown_series", with(&|b| b.sweeps[0].series[0] = 9)),
        ("unknown_series", with(&|b| b.retire = vec![9])),
        ("not_finite", with(&|b| b.sweeps[0].values[0] = f64::NAN)),
        ("sequence", with(&|b| b.seq = 1)),
        ("malformed", with(&|b| b.sweeps[0].values.clear())),
        ("malformed", Body::Outcome(v1::Outcome::default())),
        ("malformed", Body::Policy(v1::PolicyStatus { digest: "x".repeat(65), ..v1::PolicyStatus::default() })),
        ("malformed", Body::Sensor(v1::SensorStatus::default())),
        ("order", hello(9)),
        ("order", Body::Inventory(v1::Inventory::default())),
        ("sequence", Body::Pong(v1::Pong { number: 99, ..v1::Pong::default() })),
        ("too_large", Body::Gap(v1::Gap { reason: "x".repeat(5 << 20), ..v1::Gap::default() })),
    ];
    for (session, (code, bad)) in (1..).zip(cases) {
        let mut agent = house.welcome("web1", session).await;
        agent.say(Body::Readings(batch(1, 1.0))).await;
        let shown = format!("{bad:.200?}");
        agent.say(bad).await;
        assert_eq!(agent.refusal().await, code, "{:.300}", shown);
        let remark = house.rig.until("a remark", |b| {
            matches!(b, EventBody::Remark { server: Some(s), topic, message }
                if *s == server("web1") && topic == "bad_input" && message.starts_with(code))
        });
        remark.await;
    }
    other.say(Body::Readings(batch(1, 1.0))).await;
    other.until("ack", |a| matches!(a, Answer::Ack(_))).await;
    let connected = house.rig.core.ask(|v| v.servers.iter().filter(|(_, s)| s.connected()).count()).await.unwrap();
    assert_eq!(connected, 1);
}

#[tokio::test]
async fn a_session_begins_with_hello_and_inventory_only() {
    let house = House::open(SLOW).await;
    let no_boot = Body::Hello(v1::Hello::default());
    for (code, first) in [
        ("order", Body::Inventory(v1::Inventory::default())),
        ("order", Body::Readings(batch(1, 1.0))),
        ("malformed", no_boot),
    ] {
        let mut agent = house.agent("web1").await.unwrap();
        agent.say(first).await;
        assert_eq!(agent.refusal().await, code);
    }
    let mut agent = house.agent("web1").await.unwrap();
    agent.say(hello(1)).await;
    agent.until("welcome", |a| matches!(a, Answer::Welcome(_))).await;
    agent.say(Body::Readings(batch(1, 1.0))).await;
    assert_eq!(agent.refusal().await, "order");
    assert!(house.rig.history.latest(&server("web1")).is_empty());
}

#[tokio::test]
async fn a_newer_session_ends_the_older_one() {
    let house = House::open(SLOW).await;
    let mut first = house.welcome("web1", 1).await;
    let _second = house.welcome("web1", 2).await;
    assert_eq!(first.refusal().await, "superseded");
    let mut third = house.agent("web1").await.unwrap();
    third.say(hello(2)).await;
    assert_eq!(third.refusal().await, "superseded");
    let connected = house.rig.core.ask(|v| v.servers[&server("web1")].connected()).await.unwrap();
    assert!(connected);
}

#[tokio::test]
async fn an_agent_that_answers_no_pings_is_disconnected_and_one_that_does_stays() {
    let house = House::open(Duration::from_millis(50)).await;
    let mut silent = house.welcome("web1", 1).await;
    let mut lively = house.welcome("web2", 1).await;
    let answering = tokio::spawn(async move {
        while let Some(answer) = lively.next().await {
            if let Answer::Ping(ping) = answer {
                if ping.number == 10 {
                    return;
                }
                lively.say(Body::Pong(v1::Pong { number: ping.number, ..v1::Pong::default() })).await;
            }
        }
        panic!("the lively agent was disconnected");
    });
    silent.refusal().await;
    answering.await.unwrap();
    let gone = house.rig.until("disconnection", |b| {
        matches!(b, EventBody::ServerDisconnected { server: s, reason } if *s == server("web1") && reason.contains("pings"))
    });
    gone.await;
}

#[tokio::test]
async fn strangers_do_not_get_in() {
    let house = House::open(SLOW).await;
    let folder = tempfile::tempdir().unwrap();
    crate::certs::generate(folder.path(), "demo", &["web1"]).unwrap();
    // Our CA as the one to trust, a certificate of another.
    std::fs::copy(house.certs.path().join("ca.pem"), folder.path().join("ca.pem")).unwrap();
    let foreign = files(folder.path(), "server-web1").load(Role::Server).unwrap().client_config().unwrap();
    let controller = files(house.certs.path(), "controller").load(Role::Controller).unwrap().client_config().unwrap();
    for (who, config) in [("another CA", foreign), ("another role", controller)] {
        let Ok(mut agent) = Agent::connect(house.address, config).await else { continue };
        agent.say(hello(1)).await;
        assert_eq!(agent.next().await, None, "{who} was let in");
    }
    assert!(!house.rig.core.ask(|v| v.servers.values().any(crate::core::Server::connected)).await.unwrap());
}

#[tokio::test]
async fn a_flood_of_messages_ends_the_session() {
    let house = House::open(SLOW).await;
    let mut agent = house.welcome("web1", 1).await;
    let sender = agent.sender.clone();
    let flood = tokio::spawn(async move {
        let status = v1::SensorStatus { sensor: "probe".to_owned(), healthy: true, message: String::new() };
        while sender.send(v1::AgentMessage { body: Some(Body::Sensor(status.clone())) }).await.is_ok() {}
    });
    assert_eq!(agent.refusal().await, "too_large");
    drop(agent);
    tokio::time::timeout(PATIENCE, flood).await.unwrap().unwrap();
}

/// A connection whose peer has shown some other certificate.
struct Impostor(tokio::net::TcpStream, &'static str);

impl tonic::transport::server::Connected for Impostor {
    type ConnectInfo = Peer;
    fn connect_info(&self) -> Peer {
        Peer { identity: self.1.parse().unwrap(), address: ([127, 0, 0, 1], 1).into() }
    }
}

impl tokio::io::AsyncRead for Impostor {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl tokio::io::AsyncWrite for Impostor {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn another_role_or_fleet_is_refused_by_the_method_itself() {
    for id in ["spiffe://demo/controller/main", "spiffe://other/server/web1"] {
        let rig = Rig::start();
        let fleet = Fleet::new(rig.core.clone(), Arc::clone(&rig.history), "demo".to_owned());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let incoming = tokio_stream::StreamExt::map(incoming, |tcp| tcp.map(|tcp| Impostor(tcp, id)));
        let service = AgentServer::new(fleet);
        tokio::spawn(tonic::transport::Server::builder().serve_with_incoming(service, incoming));
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
        let mut client = AgentServiceClient::new(endpoint.connect().await.unwrap());
        let refused = client.session(tokio_stream::empty()).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{id}");
    }
}

#[tokio::test]
async fn a_request_without_a_certificate_is_refused_even_behind_another_listener() {
    let rig = Rig::start();
    let fleet = Fleet::new(rig.core.clone(), Arc::clone(&rig.history), "demo".to_owned());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = AgentServer::new(fleet);
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    tokio::spawn(tonic::transport::Server::builder().serve_with_incoming(service, incoming));
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut client = AgentServiceClient::new(endpoint.connect().await.unwrap());
    let refused = client.session(tokio_stream::empty()).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
}
