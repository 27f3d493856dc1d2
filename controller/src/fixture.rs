//! What tests share: a small catalogue and policy, and a core with a journal in memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prost::Message;
use skynet_model::catalogue::{ActionSpec, Catalogue, Idempotence, Risk, SensorSpec, SeriesSpec, Unit};
use skynet_model::event::{Event, EventBody};
use skynet_model::incident::Notice;
use skynet_model::name::ServerId;
use skynet_model::policy::{Bundle, File};
use skynet_model::series::Labels;
use skynet_model::sign::Trust;
use skynet_model::time::Span;
use skynet_proto::stream::{Decoded, Decoder};
use skynet_proto::v1;
use skynet_proto::v1::controller_message::Body;
use tokio::sync::{mpsc, oneshot};

use crate::clock;
use crate::core::{Core, Desk, FromAgent, Handle, Hello, Input, Link, Outgoing, Parts, SessionInput};
use crate::history::{History, Limits};
use crate::journal::{Feed, Journal, Memory, SEGMENT_BYTES};
use crate::policies::{Policies, Terms};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

static PROBE: SensorSpec = SensorSpec {
    name: "probe",
    help: "",
    every: Span::seconds(1),
    params: &[],
    series: &[SeriesSpec {
        name: "probe.value",
        labels: &[],
        open_labels: false,
        unit: Unit::Count,
        ephemeral: false,
        help: "",
    }],
};
static FIX: ActionSpec = ActionSpec {
    name: "fix",
    help: "",
    params: &[],
    risk: Risk::Reversible,
    idempotence: Idempotence::Declarative,
    deadline: Span::seconds(30),
    inverse: None,
};
pub(crate) static CATALOGUE: Catalogue = Catalogue { sensors: &[&PROBE], actions: &[&FIX] };

/// Over 10 is fixed; over 100 (`respond` is empty) is for people.
pub(crate) const POLICY: &str = r#"
fleet: demo
rollout: { waves: [100%], soak: 0s }
---
profile: all
match: { role: web }
sensors: [{ probe: { every: 1s } }]
---
scenario: high
when: probe.value > 10 && probe.value < 100
mode: enforce
respond:
  - do: fix
    verify_within: 30s
---
scenario: hopeless
when: probe.value > 100
mode: enforce
escalate: oncall
---
contact: pager
webhook: { format: alertmanager, credential: pager-url }
---
route: oncall
tell: [{ to: [{ contact: pager }] }]
"#;

pub(crate) fn bundle(version: u64, text: &str) -> Vec<u8> {
    let expires = clock::now().plus(Span::hours(1));
    let files = vec![File { name: "p.yaml".to_owned(), text: text.to_owned() }];
    Bundle { format: 1, fleet: "demo".to_owned(), version, expires, files }.encode()
}

pub(crate) fn terms() -> Terms {
    Terms { fleet: "demo".to_owned(), trust: Trust::Anybody, catalogue: &CATALOGUE }
}

pub(crate) fn server(name: &str) -> ServerId {
    ServerId::new(name).unwrap()
}

/// A running core over a journal in memory.
pub(crate) struct Rig {
    pub(crate) core: Handle,
    pub(crate) memory: Memory,
    pub(crate) feed: Arc<Feed>,
    pub(crate) history: Arc<History>,
    pub(crate) told: Arc<Mutex<Vec<Notice>>>,
    pub(crate) folder: Arc<tempfile::TempDir>,
    ahead: Arc<AtomicI64>,
    running: tokio::task::JoinHandle<()>,
}

impl Rig {
    pub(crate) fn start() -> Self {
        Self::start_on(
            Memory::default(),
            Arc::new(tempfile::tempdir().unwrap()),
            Arc::new(History::new(Limits::default())),
        )
    }

    fn start_on(memory: Memory, folder: Arc<tempfile::TempDir>, history: Arc<History>) -> Self {
        let (journal, events) = Journal::open(Box::new(memory.clone()), SEGMENT_BYTES).unwrap();
        let feed = Arc::new(Feed::default());
        let told = Arc::new(Mutex::new(Vec::new()));
        let (core, inputs) = Handle::new();
        let telling = Arc::clone(&told);
        let ahead = Arc::new(AtomicI64::new(0));
        let ahead_now = Arc::clone(&ahead);
        let labels = BTreeMap::from([(server("web1"), Labels::new([("role", "web")]))]);
        let parts = Parts {
            journal,
            feed: Arc::clone(&feed),
            policies: Policies::open(folder.path(), &events, &terms()).unwrap(),
            labels,
            tell: Box::new(move |notice| telling.lock().unwrap().push(notice)),
            activated: Box::new(|_| {}),
            clock: Box::new(move || clock::now().plus(Span(ahead_now.load(Ordering::Relaxed)))),
        };
        let running = tokio::spawn(Core::new(parts, events).run(inputs));
        Self { core, memory, feed, history, told, folder, ahead, running }
    }

    /// Kills it, as a power cut would, and starts another on what was on disk; the readings are all there.
    pub(crate) async fn restart(self) -> Self {
        self.running.abort();
        let _ = self.running.await;
        self.memory.crash();
        Self::start_on(self.memory, self.folder, self.history)
    }

    /// Ends it in order.
    pub(crate) async fn stop(self) -> Memory {
        self.core.tell(Input::Stop).await;
        tokio::time::timeout(PATIENCE, self.running).await.unwrap().unwrap();
        self.memory
    }

    pub(crate) async fn push(&self, version: u64) -> crate::core::Answer {
        self.push_text(version, POLICY).await
    }

    pub(crate) async fn push_text(&self, version: u64, text: &str) -> crate::core::Answer {
        let candidate = terms().check(bundle(version, text), Vec::new(), true, clock::now()).unwrap();
        let order = crate::core::Order::Push { candidate: Box::new(candidate), by: "ann".to_owned() };
        self.core.order(order).await
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.feed.follow(0).0.iter().map(|event| (**event).clone()).collect()
    }

    /// What a restart would find.
    pub(crate) fn on_disk(&self) -> Vec<EventBody> {
        let durable = self.memory.clone();
        let (_, events) = Journal::open(Box::new(durable), SEGMENT_BYTES).unwrap();
        events.into_iter().map(|event| event.body).collect()
    }

    /// Waits until an event like this is in the log.
    pub(crate) async fn until(&self, what: &str, fits: impl Fn(&EventBody) -> bool) -> EventBody {
        let (kept, mut coming) = self.feed.follow(0);
        if let Some(event) = kept.iter().find(|event| fits(&event.body)) {
            return event.body.clone();
        }
        let search = async {
            loop {
                let event = coming.recv().await.unwrap();
                if fits(&event.body) {
                    return event.body.clone();
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, search).await;
        found.unwrap_or_else(|_| panic!("no {what} in {:#?}", self.events()))
    }

    /// From now on the core's clock is so much ahead.
    pub(crate) fn skip(&self, span: Span) {
        self.ahead.fetch_add(span.0, Ordering::Relaxed);
    }

    /// Waits until everything told before has been taken.
    pub(crate) async fn settle(&self) {
        self.core.ask(|_| ()).await.unwrap();
    }
}

/// An agent without a wire.
pub(crate) struct Agent {
    core: Handle,
    server: ServerId,
    token: u64,
    desk: Desk,
    decoder: Decoder,
    seq: u64,
    messages: mpsc::Receiver<Outgoing>,
}

impl Agent {
    /// Begins a session; `Err` is the refusal's code.
    pub(crate) async fn connect(rig: &Rig, name: &str, token: u64, session: u64) -> Result<Self, String> {
        let (link, messages) = Link::new();
        let (answer, answered) = oneshot::channel();
        let hello = Hello { version: "0.1.0".to_owned(), boot: "boot-1".to_owned(), session, ..Hello::default() };
        let (core, server) = (rig.core.clone(), server(name));
        let what = FromAgent::Begin { hello, link, answer };
        assert!(core.tell(Input::Session(SessionInput { server: server.clone(), token, what })).await);
        let desk = answered.await.unwrap().map_err(|e| e.code.as_str().to_owned())?;
        Ok(Self { core, server, token, desk, decoder: Decoder::new(), seq: 0, messages })
    }

    pub(crate) async fn say(&self, what: FromAgent) {
        let input = SessionInput { server: self.server.clone(), token: self.token, what };
        assert!(self.core.tell(Input::Session(input)).await);
    }

    /// One complete sweep of `probe`.
    pub(crate) async fn read(&mut self, value: f64) {
        self.sweep(value, false).await;
    }

    /// The same from the spool.
    pub(crate) async fn read_late(&mut self, value: f64) {
        self.sweep(value, true).await;
    }

    async fn sweep(&mut self, value: f64, late: bool) {
        self.seq += 1;
        let now = clock::now();
        let announce = v1::SeriesAnnounce { id: 1, name: "probe.value".to_owned(), labels: vec![] };
        let sweep = v1::Sweep {
            sensor: "probe".to_owned(),
            boot_ms: i64::try_from(self.seq).unwrap() * 1000,
            series: vec![1],
            values: vec![value],
            complete: true,
            every_ms: 1000,
            ..v1::Sweep::default()
        };
        let batch = v1::ReadingBatch {
            seq: self.seq,
            base_ms: now.0,
            announce: if self.seq == 1 { vec![announce] } else { vec![] },
            sweeps: vec![sweep],
            late,
            ..v1::ReadingBatch::default()
        };
        let mut decoded = Decoded::default();
        self.decoder.decode(&batch.encode_to_vec(), &mut decoded).unwrap();
        if self.desk.take(now, &decoded) == Some(true) {
            self.say(FromAgent::Found).await;
        }
    }

    /// Messages so far, without waiting.
    pub(crate) fn received(&mut self) -> Vec<Body> {
        let mut all = Vec::new();
        while let Ok(message) = self.messages.try_recv() {
            all.extend(message.unwrap().body);
        }
        all
    }

    /// Waits for a message like this; others before it are passed over.
    pub(crate) async fn receive<T>(&mut self, what: &str, pick: impl Fn(&Body) -> Option<T>) -> T {
        let search = async {
            loop {
                let body = self.messages.recv().await.unwrap().unwrap().body.unwrap();
                if let Some(found) = pick(&body) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, search).await.unwrap_or_else(|_| panic!("no {what}"))
    }

    pub(crate) async fn command(&mut self) -> v1::Command {
        self.receive("command", |body| if let Body::Command(command) = body { Some(command.clone()) } else { None })
            .await
    }
}
