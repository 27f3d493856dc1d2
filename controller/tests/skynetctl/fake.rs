//! A controller that follows a script, and the real `skynetctl` that talks to it.

use skynet_model::policy::Bundle;
use skynet_proto::v1;
use skynet_proto::v1::operator_service_server::{OperatorService, OperatorServiceServer};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

pub(crate) const SERVER: &str =
    r#"{"name":"web1","zzz":1,"connected":true,"labels":{"role":"web"},"series":7,"sensors":[]}"#;
pub(crate) const INCIDENT: &str = r#"{"id":"i-1","scenario":"away","policy":3,"digest":"aa","server":"web1","labels":{},
  "severity":"critical","mode":"enforce","state":"escalated","summary":"web1 is away \u001b[31m","since":1,"opened":2,
  "closed":null,"reason":null,"readings":[],"last_readings":[],"steps":[],"hold":null,"held":[],"acknowledged":null,
  "route":null,"explanation":"it waits for a person"}"#;
pub(crate) const EVENTS: [&str; 2] = [
    r#"{"seq":1,"time":1793502855926,"event":"halted","by":"root","reason":"a\u001b]0;x\u0007b"}"#,
    r#"{"seq":2,"time":1793502855927,"event":"resumed","by":"root"}"#,
];

pub(crate) const VERIFIED: [&str; 2] = [
    r#"{"events":1000,"total":1500,"compared":900,"missing":0,"sealed":true,"done":false,"bad":null,"fault":null}"#,
    r#"{"events":1200,"total":1500,"compared":900,"missing":0,"sealed":true,"done":true,"bad":1201,"fault":"odd \u001b[2J"}"#,
];

/// A controller that answers by the script above and notes what it was asked.
#[derive(Clone, Default)]
pub(crate) struct Script {
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
}

pub(crate) type Answer<T> = Result<Response<T>, Status>;

pub(crate) fn document(json: &str) -> Answer<v1::Document> {
    Ok(Response::new(v1::Document { json: json.to_owned() }))
}

impl Script {
    pub(crate) fn note(&self, what: String) {
        self.asked.lock().unwrap().push(what);
    }
}

#[tonic::async_trait]
impl OperatorService for Script {
    async fn list(&self, request: Request<v1::ListRequest>) -> Answer<v1::Documents> {
        let request = request.into_inner();
        self.note(format!("list {} {}", request.kind, request.all));
        let json: Vec<&str> = match request.kind.as_str() {
            "servers" => vec![SERVER],
            "incidents" if request.all => vec![INCIDENT],
            "policies" => vec![r#"{"version":6,"digest":"ab","current":false}"#, r#"{"version":41,"current":true}"#],
            _ => Vec::new(),
        };
        Ok(Response::new(v1::Documents { json: json.into_iter().map(str::to_owned).collect() }))
    }

    async fn describe(&self, request: Request<v1::DescribeRequest>) -> Answer<v1::Document> {
        let request = request.into_inner();
        match request.name.as_str() {
            "i-1" => document(INCIDENT),
            "web1" => document(SERVER),
            "" => document(r#"{"redis":null}"#),
            "odd" => document("{\"id\":"),
            name => Err(Status::not_found(format!("there is no {} called {name}\u{1b}[2J", request.kind))),
        }
    }

    type LogsStream = std::pin::Pin<Box<dyn tokio_stream::Stream<Item = Result<v1::Document, Status>> + Send>>;

    async fn logs(&self, request: Request<v1::LogsRequest>) -> Answer<Self::LogsStream> {
        let request = request.into_inner();
        self.note(format!("logs {} {}", request.follow, request.tail));
        let items: Vec<Result<v1::Document, Status>> =
            EVENTS.iter().map(|json| Ok(v1::Document { json: (*json).to_owned() })).collect();
        let (kept, coming) = (tokio_stream::iter(items), tokio_stream::pending());
        Ok(Response::new(if request.follow { Box::pin(kept.chain(coming)) } else { Box::pin(kept) }))
    }

    async fn push_policy(&self, request: Request<v1::PushPolicyRequest>) -> Answer<v1::Document> {
        let request = request.into_inner();
        let bundle = Bundle::decode(&request.bundle).map_err(|e| Status::invalid_argument(e.to_string()))?;
        let names: Vec<String> = bundle.files.into_iter().map(|f| f.name).collect();
        let unsigned = request.insecure_unsigned;
        let signed = match request.signatures.len() {
            0 => String::new(),
            n => format!(" signed {n}"),
        };
        self.note(format!("push v{} of {} {names:?} unsigned {unsigned}{signed}", bundle.version, bundle.fleet));
        document(r#"{"version":42}"#)
    }

    async fn pause_rollout(&self, request: Request<v1::PauseRolloutRequest>) -> Answer<v1::Document> {
        self.note(format!("paused {}", request.into_inner().paused));
        document(r#"{"version":2,"rollout":"paused"}"#)
    }

    async fn roll_back(&self, request: Request<v1::RollBackRequest>) -> Answer<v1::Document> {
        self.note(format!("rollback {:?}", request.into_inner().reason));
        document(r#"{"version":2,"rollout":"rolled_back"}"#)
    }

    async fn label_server(&self, request: Request<v1::LabelServerRequest>) -> Answer<v1::Document> {
        let request = request.into_inner();
        self.note(format!("label {} {:?} {:?}", request.server, request.set, request.remove));
        document(r#"{"server":"web1","labels":{"role":"web"},"changed":true,"missing":["tier"]}"#)
    }

    async fn acknowledge(&self, request: Request<v1::AcknowledgeRequest>) -> Answer<v1::Document> {
        let request = request.into_inner();
        self.note(format!("ack {} {:?}", request.incident, request.comment));
        document(INCIDENT)
    }

    async fn request(&self, request: Request<v1::RequestRequest>) -> Answer<v1::Document> {
        self.note(format!("{:?}", request.into_inner()));
        document("{}")
    }

    async fn approve(&self, request: Request<v1::ApproveRequest>) -> Answer<v1::Document> {
        self.note(format!("{:?}", request.into_inner()));
        document("{}")
    }

    async fn add_silence(&self, request: Request<v1::AddSilenceRequest>) -> Answer<v1::Document> {
        self.note(format!("{:?}", request.into_inner()));
        document("{}")
    }

    async fn expire_silence(&self, request: Request<v1::ExpireSilenceRequest>) -> Answer<v1::Document> {
        self.note(format!("{:?}", request.into_inner()));
        document("{}")
    }

    async fn start_maintenance(&self, request: Request<v1::StartMaintenanceRequest>) -> Answer<v1::Document> {
        self.note(format!("{:?}", request.into_inner()));
        document("{}")
    }

    async fn end_maintenance(&self, request: Request<v1::EndMaintenanceRequest>) -> Answer<v1::Document> {
        self.note(format!("{:?}", request.into_inner()));
        document("{}")
    }

    async fn halt(&self, request: Request<v1::HaltRequest>) -> Answer<v1::Document> {
        self.note(format!("halt {:?}", request.into_inner().reason));
        document(r#"{"halted":true}"#)
    }

    async fn resume(&self, _: Request<v1::ResumeRequest>) -> Answer<v1::Document> {
        self.note("resume".to_owned());
        document(r#"{"halted":false}"#)
    }

    async fn query(&self, request: Request<v1::QueryRequest>) -> Answer<v1::QueryAnswer> {
        let request = request.into_inner();
        let step = request.step_ms;
        self.note(format!(
            "query {} {:?} {} {step}",
            request.series,
            request.servers,
            request.until_ms - request.from_ms
        ));
        if request.series == "laod.one" {
            return Err(Status::not_found("no series fits `laod.one` there; did you mean load.one?"));
        }
        let (server, series) = ("web1".to_owned(), "load.one".to_owned());
        let (time_ms, avg) = (vec![1_793_502_000_000, 1000, 1000], vec![1.0, 2.0, 3.0]);
        let series = vec![v1::PastSeries { server, series, time_ms, avg, ..v1::PastSeries::default() }];
        Ok(Response::new(v1::QueryAnswer { series, holes: vec!["a file: it is damaged".to_owned()], cut: false }))
    }

    type ReplayStream = std::pin::Pin<Box<dyn tokio_stream::Stream<Item = Result<v1::ReplayPart, Status>> + Send>>;

    async fn replay(&self, request: Request<v1::ReplayRequest>) -> Answer<Self::ReplayStream> {
        self.note(format!("replay {:?} {:?}", request.get_ref().series, request.get_ref().servers));
        Ok(Response::new(Box::pin(tokio_stream::empty())))
    }

    type VerifyStoreStream = Self::LogsStream;

    async fn verify_store(&self, _: Request<v1::VerifyStoreRequest>) -> Answer<Self::VerifyStoreStream> {
        self.note("verify store".to_owned());
        let json = VERIFIED.map(|json| Ok(v1::Document { json: json.to_owned() }));
        Ok(Response::new(Box::pin(tokio_stream::iter(json))))
    }
}

/// The controller on a socket of its own, until it is dropped.
pub(crate) struct Fake {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) script: Script,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) thread: Option<JoinHandle<()>>,
}

impl Fake {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = Script::default();
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (path, service) = (dir.path().join("operator.sock"), OperatorServiceServer::new(script.clone()));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = UnixListenerStream::new(UnixListener::bind(path).unwrap());
                ready.send(()).unwrap();
                let server = tonic::transport::Server::builder();
                // Stopping is sudden, as a crash is: open connections end with the runtime.
                tokio::select! {
                    _ = stopped => {}
                    ended = server.serve_with_incoming(service, listener) => ended.unwrap(),
                }
            });
        });
        is_ready.recv().unwrap();
        Self { dir, script, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("operator.sock")
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        run(&self.socket(), args)
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.script.asked.lock().unwrap())
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn command(socket: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skynetctl"));
    command.args(args).env("SKYNET_SOCKET", socket).stdin(Stdio::null());
    command
}

pub(crate) fn run(socket: &Path, args: &[&str]) -> Ran {
    let Output { status, stdout, stderr } = command(socket, args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: status.code().unwrap(), out: text(stdout), err: text(stderr) }
}

pub(crate) fn policy(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

pub(crate) const GOOD: &str = "fleet: shop\n---\nscenario: away\nwhen: server.connected == 0\nfor: 1m\n";
