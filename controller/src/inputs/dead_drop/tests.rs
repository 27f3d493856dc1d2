use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use skynet_model::emergency::{Action, Emergency};
use skynet_model::event::EventBody;
use skynet_model::incident::Rail;
use skynet_model::sign::{Signers, Trust};
use skynet_model::time::Span;
use skynet_proto::v1;
use skynet_proto::v1::controller_message::Body;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::clock;
use crate::core::{FromAgent, Order};
use crate::fixture::{Agent, Rig};

/// Two operators with real keys, and a folder to leave documents in.
struct Operators(tempfile::TempDir);

impl Operators {
    fn new() -> Self {
        let operators = Self(tempfile::tempdir().unwrap());
        for name in ["anna", "ben"] {
            let mut program = Command::new("ssh-keygen");
            program.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(operators.path(name));
            assert!(program.status().expect("the tests need ssh-keygen: run `make deps`").success());
        }
        operators
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn terms(&self) -> Terms {
        let line = |name: &str| {
            let key = std::fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap();
            format!("{name}@example.net {key}")
        };
        let signers = Signers::parse(&format!("{}{}", line("anna"), line("ben"))).unwrap();
        let trust = Trust::new(Some(signers), 1, false).unwrap();
        Terms { fleet: "demo".to_owned(), trust, single_operator: false }
    }

    /// The document's text, and one signature for each name.
    fn make(&self, action: Action, sequence: u64, names: &[&str]) -> (String, Vec<String>) {
        let issued = clock::now();
        let (fleet, reason) = ("demo".to_owned(), "intruder".to_owned());
        let expires = issued.plus(Span::hours(24));
        let bytes = Emergency { format: 1, fleet, sequence, action, issued, expires, reason }.encode();
        let document = self.path("to-sign");
        std::fs::write(&document, &bytes).unwrap();
        let sign = |name: &&str| {
            let mut program = Command::new("ssh-keygen");
            program.args(["-q", "-Y", "sign", "-n", EMERGENCY_NAMESPACE, "-f"]).arg(self.path(name));
            let program = program.stdin(Stdio::from(std::fs::File::open(&document).unwrap()));
            let output = program.stderr(Stdio::null()).output().unwrap();
            assert!(output.status.success());
            String::from_utf8(output.stdout).unwrap()
        };
        (String::from_utf8(bytes).unwrap(), names.iter().map(sign).collect())
    }

    /// Signatures first: whoever looks between the two must not find a document without them.
    fn drop(&self, action: Action, sequence: u64, names: &[&str]) {
        let (document, signatures) = self.make(action, sequence, names);
        for name in ["stop.json.sig", "stop.json.2.sig"] {
            let _ = std::fs::remove_file(self.path(name));
        }
        for (name, signature) in ["stop.json.sig", "stop.json.2.sig"].iter().zip(signatures) {
            std::fs::write(self.path(name), signature).unwrap();
        }
        std::fs::write(self.path("new"), document).unwrap();
        std::fs::rename(self.path("new"), self.path("stop.json")).unwrap();
    }

    fn watch(&self, rig: &Rig, drop: &str, ca: Option<&Path>) -> tokio::task::JoinHandle<()> {
        let config = EmergencyConfig {
            drops: vec![drop.to_owned()],
            every: Span(100),
            ca: ca.map(Path::to_owned),
            ..EmergencyConfig::default()
        };
        tokio::spawn(DeadDrop::new(&config, self.terms(), rig.core.clone(), clock::now).unwrap().run())
    }
}

async fn healthy(rig: &Rig, token: u64) -> Agent {
    let mut agent = Agent::connect(rig, "web1", token, token).await.unwrap();
    agent.say(FromAgent::Inventory(Vec::new())).await;
    agent.receive("merged inventory", |b| matches!(b, Body::InventoryAck(_)).then_some(())).await;
    agent
}

fn relayed(body: &Body) -> Option<v1::Emergency> {
    if let Body::Emergency(emergency) = body { Some(emergency.clone()) } else { None }
}

async fn refused(rig: &Rig, words: &str) {
    let fits = |body: &EventBody| matches!(body, EventBody::Remark { topic, message, .. } if topic == TOPIC && message.contains(words));
    rig.until(words, fits).await;
}

async fn taken(rig: &Rig, sequence: u64) {
    let fits = |body: &EventBody| matches!(body, EventBody::EmergencyTaken { taken, .. } if taken.sequence == sequence);
    rig.until("emergency", fits).await;
}

#[tokio::test]
async fn a_signed_halt_in_a_file_stops_everything_until_a_signed_resume() {
    let operators = Operators::new();
    let rig = Rig::start();
    rig.push(1).await.unwrap();
    let mut agent = healthy(&rig, 1).await;
    let drop = operators.path("stop.json").display().to_string();
    let watching = operators.watch(&rig, &drop, None);
    operators.drop(Action::Halt, 7, &["anna"]);
    let relay = agent.receive("signed halt", relayed).await;
    assert_eq!(relay.document, std::fs::read(operators.path("stop.json")).unwrap(), "the very bytes");
    assert_eq!(relay.signatures, [std::fs::read(operators.path("stop.json.sig")).unwrap()]);
    agent.read(50.0).await;
    let held = |b: &EventBody| matches!(b, EventBody::IncidentHeld { hold, .. } if hold.rail == Rail::Halt);
    let EventBody::IncidentHeld { hold, .. } = rig.until("hold", held).await else { panic!("another event") };
    assert!(hold.why.starts_with("signed HALT 7 by anna@example.net: intruder"), "{}", hold.why);
    // The local latch does not undo it, nor one signer, nor a restart.
    let _ = rig.core.order(Order::Resume { by: "ann".to_owned() }).await;
    operators.drop(Action::Resume, 8, &["anna"]);
    refused(&rig, "a RESUME needs 2 different signers").await;
    watching.abort();
    rig.settle().await;
    let rig = rig.restart().await;
    let mut agent = healthy_after(&rig, agent).await;
    agent.read(50.0).await;
    rig.settle().await;
    assert!(rig.core.ask(|v| v.engine.signed_halt().is_some()).await.unwrap());
    assert!(!rig.on_disk().iter().any(|b| matches!(b, EventBody::CommandIssued { .. })));
    let watching = operators.watch(&rig, &drop, None);
    operators.drop(Action::Resume, 8, &["anna", "ben"]);
    assert_eq!(agent.receive("signed resume", relayed).await.signatures.len(), 2);
    taken(&rig, 8).await;
    agent.read(50.0).await;
    agent.command().await;
    // The HALT of before is old now.
    operators.drop(Action::Halt, 7, &["anna"]);
    refused(&rig, "its sequence 7 is not above 8").await;
    watching.abort();
}

/// The agent's next session; it is given the document that stands at once.
async fn healthy_after(rig: &Rig, before: Agent) -> Agent {
    drop(before);
    let mut agent = Agent::connect(rig, "web1", 9, 9).await.unwrap();
    assert!(!agent.receive("the halt that stands", relayed).await.document.is_empty());
    agent.say(FromAgent::Inventory(Vec::new())).await;
    agent.receive("merged inventory", |b| matches!(b, Body::InventoryAck(_)).then_some(())).await;
    agent
}

type Pages = Arc<Mutex<BTreeMap<String, String>>>;

/// An HTTPS server on loopback, whose certificate the CA in `folder/web-ca.pem` signed; pages by path.
async fn serve(folder: &Path, pages: Pages) -> String {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(folder.join("web-ca.pem"), ca.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, pages) = (acceptor.clone(), Arc::clone(&pages));
            tokio::spawn(async move {
                // A client that does not trust us ends it here.
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                let head = String::from_utf8(head).unwrap();
                let path = head.split(' ').nth(1).unwrap().to_owned();
                let page = pages.lock().unwrap().get(&path).cloned();
                let answer = match page {
                    Some(away) if away.starts_with("/") => {
                        format!("HTTP/1.1 302 Found\r\nLocation: {away}\r\nContent-Length: 0\r\n\r\n")
                    }
                    Some(body) => {
                        format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
                    }
                    None => "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_owned(),
                };
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    format!("https://localhost:{port}/stop.json")
}

#[tokio::test]
async fn a_url_is_fetched_over_tls_that_is_checked_and_never_followed() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let operators = Operators::new();
    let rig = Rig::start();
    let pages = Pages::default();
    let url = serve(operators.0.path(), Arc::clone(&pages)).await;
    let ca = operators.path("web-ca.pem");
    // Without the CA the certificate is nobody's.
    let stranger = operators.watch(&rig, &url, None);
    refused(&rig, "certificate").await;
    stranger.abort();
    let page = |name: &str, body: String| drop(pages.lock().unwrap().insert(name.to_owned(), body));
    let watching = operators.watch(&rig, &url, Some(&ca));
    page("/stop.json", "/elsewhere.json".to_owned());
    refused(&rig, "redirects are not followed").await;
    page("/stop.json", "x".repeat(9000));
    refused(&rig, "it has more than 8192 bytes").await;
    page("/stop.json", "{}".to_owned());
    refused(&rig, "it is not signed").await;
    let (document, signatures) = operators.make(Action::Shutdown, 3, &["anna", "ben"]);
    page("/stop.json.sig", signatures.concat());
    page("/stop.json", document);
    taken(&rig, 3).await;
    assert!(rig.core.ask(|v| v.engine.signed_halt().is_some()).await.unwrap());
    watching.abort();
}

#[test]
fn a_place_is_looked_at_about_as_often_as_it_is_said() {
    let every = Duration::from_secs(60);
    let all: Vec<Duration> = (0..100).map(|_| jitter(every)).collect();
    assert!(all.iter().all(|one| (54..=66).contains(&one.as_secs())));
    assert!(all.iter().any(|one| *one != all[0]), "all the same");
}
