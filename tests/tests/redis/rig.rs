//! The copy as the controller runs it, on a journal and a feed of the test's own: the test is the core.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use skynet_controller::clock;
use skynet_controller::config::Config;
use skynet_controller::core::{Handle, Input};
use skynet_controller::history::{Archive, History, Limits, Place, Sealed};
use skynet_controller::journal::{Call, Connection, Feed, Journal, Reply};
use skynet_controller::store::{Keys, Progress, Restored, Running, Settings, Sources, Store, Verifier, restore};
use skynet_model::event::{Event, EventBody};
use skynet_tests::redis::RedisServer;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Settings of a copy, and the folder they live in.
pub struct Rig {
    pub dir: tempfile::TempDir,
    pub settings: Settings,
    pub journal: Journal,
    pub feed: Arc<Feed>,
    pub history: Arc<History>,
    running: Option<Running>,
    remarks: Arc<Mutex<Vec<String>>>,
    pub shelf: Arc<Shelf>,
    /// In place of the shelf.
    pub archive: Option<Arc<dyn Archive>>,
}

/// Packed readings as a history on disk gives them, made up: a test double of its files.
#[derive(Default)]
pub struct Shelf(Mutex<Vec<(Place, Sealed)>>);

impl Shelf {
    /// More of them; now and then in another file.
    pub fn push(&self, chunks: Vec<Sealed>) {
        let mut shelf = self.0.lock().unwrap();
        for chunk in chunks {
            let number = shelf.len() as u64;
            shelf.push((Place { file: number / 11, offset: 100 * (number % 11) }, chunk));
        }
    }

    /// All that was put here.
    pub fn all(&self) -> Vec<Sealed> {
        self.0.lock().unwrap().iter().map(|(_, chunk)| chunk.clone()).collect()
    }
}

impl Archive for Shelf {
    fn sealed_after(&self, after: Option<Place>, bytes: usize) -> std::io::Result<Vec<(Place, Sealed)>> {
        let mut left = bytes;
        let shelf = self.0.lock().unwrap();
        let coming = shelf.iter().filter(|(place, _)| after.is_none_or(|after| *place > after));
        let fitting = coming.take_while(|(_, chunk)| {
            let fits = left > 0;
            left = left.saturating_sub(chunk.bytes.len());
            fits
        });
        Ok(fitting.cloned().collect())
    }
}

/// `[redis]` with a chain key, an answer within a second, and more lines.
pub fn settings(dir: &Path, url: &str, more: &str) -> Settings {
    std::fs::write(dir.join("chain-key"), "0123456789abcdef0123456789abcdef\n").unwrap();
    let text = format!(
        "fleet = \"demo\"\nlisten = \"127.0.0.1:0\"\nca = \"a\"\ncert = \"b\"\nkey = \"c\"\ndata_dir = \"data\"\n\
         [credentials]\nchain-key = {{ file = \"chain-key\" }}\nwriter = {{ file = \"writer\" }}\n\
         [redis]\nurl = \"{url}\"\nchain_key = \"chain-key\"\ntimeout = \"1s\"\n{more}\n"
    );
    let config = Config::parse(&text, dir).unwrap();
    std::fs::create_dir_all(&config.data_dir).unwrap();
    Settings { chunks_every: Duration::from_millis(200), ..Settings::of(&config).unwrap().unwrap() }
}

/// How Redis is reached.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    /// Without a password, unencrypted.
    Plain,
    /// Over TLS, as the documented writer.
    Secured,
}

impl Way {
    /// A server that is reached so, and a copy to it; neither runs yet. `more`: lines of `[redis]`.
    pub fn set(self, options: &[&str], more: &str) -> (RedisServer, Rig) {
        match self {
            Self::Plain => {
                let server = RedisServer::new(options);
                let rig = Rig::with(&server.url(""), more);
                (server, rig)
            }
            Self::Secured => {
                let server = RedisServer::new_secured(options, "demo", "s3cret");
                let rig = Rig::secured(&server, "writer", "s3cret", more);
                (server, rig)
            }
        }
    }
}

impl Rig {
    /// A copy over TLS, as a user.
    pub fn secured(server: &RedisServer, user: &str, password: &str, more: &str) -> Self {
        let ca = server.dir().join("ca.pem");
        let more = format!("credential = \"writer\"\nca = \"{}\"\n{more}", ca.display());
        let rig = Self::with(&server.url(user), &more);
        std::fs::write(rig.dir.path().join("writer"), format!("{password}\n")).unwrap();
        rig
    }

    /// A copy to `server`; nothing runs yet.
    pub fn new(server: &RedisServer) -> Self {
        Self::with(&server.url(""), "")
    }

    pub fn with(url: &str, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path(), url, more);
        let (journal, _) = Journal::open_folder(&settings.data_dir.join("journal")).unwrap();
        let history = Arc::new(History::new(Limits::default()));
        let (feed, remarks) = (Arc::new(Feed::default()), Arc::default());
        Self { dir, settings, journal, feed, history, running: None, remarks, shelf: Arc::default(), archive: None }
    }

    /// Starts copying.
    pub fn start(&mut self) {
        let (core, mut inputs) = Handle::new();
        let remarks = Arc::clone(&self.remarks);
        tokio::spawn(async move {
            while let Some(input) = inputs.recv().await {
                if let Input::Remark { topic, message, .. } = input {
                    assert_eq!(topic, "store");
                    remarks.lock().unwrap().push(message);
                }
            }
        });
        let store = Store::open(self.settings.clone(), &mut self.journal);
        let (feed, history) = (Arc::clone(&self.feed), Arc::clone(&self.history));
        let archive = self.archive.clone().unwrap_or_else(|| Arc::clone(&self.shelf) as Arc<dyn Archive>);
        let sources = Sources { feed, history, archive, core, clock: clock::now };
        self.running = Some(store.start(sources).unwrap());
    }

    /// Ends copying, as a controller that goes down does.
    pub async fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            tokio::task::spawn_blocking(move || running.stop()).await.unwrap();
        }
    }

    /// Journals so many events, each on disk before the next batch, and tells the feed.
    pub fn append(&mut self, count: u64) {
        self.append_large(count, 0);
    }

    /// The same, with messages that are longer by so many bytes.
    pub fn append_large(&mut self, count: u64, more: usize) {
        let first = self.journal.last() + 1;
        let event = |seq: u64| {
            let message = format!("number {seq}: the disk of web{} is filling{}", seq % 200, ".".repeat(more));
            let body = EventBody::Remark { server: None, topic: "test".to_owned(), message };
            Event { seq, time: clock::now(), body }
        };
        let events: Vec<Event> = (first..first + count).map(event).collect();
        for batch in events.chunks(200) {
            self.journal.append(batch).unwrap();
            batch.iter().for_each(|event| self.feed.publish(event.clone()));
        }
    }

    pub fn append_body(&mut self, body: EventBody) {
        let event = Event { seq: self.journal.last() + 1, time: clock::now(), body };
        self.journal.append(std::slice::from_ref(&event)).unwrap();
        self.feed.publish(event);
    }

    pub fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    /// The document of `store status`.
    pub fn status(&self) -> serde_json::Value {
        self.running().board.document(clock::now())
    }

    /// Waits until Redis has all that the journal has.
    pub async fn copied(&self) {
        let last = self.journal.last();
        self.until("everything to be copied", || {
            let status = self.status();
            status["mirrored"] == last && status["connected"] == true
        })
        .await;
    }

    pub async fn until(&self, what: &str, fits: impl Fn() -> bool) {
        let began = Instant::now();
        while !fits() {
            let (status, remarks) = (self.running.as_ref().map(|_| self.status()), self.remarks());
            assert!(began.elapsed() < PATIENCE, "waited in vain for {what}: {status:?}\n{remarks:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub fn remarks(&self) -> Vec<String> {
        self.remarks.lock().unwrap().clone()
    }

    /// Waits for a remark with these words, and for the status to say the same.
    pub async fn told(&self, words: &[&str]) -> String {
        let found = || self.remarks().into_iter().find(|remark| words.iter().all(|word| remark.contains(word)));
        self.until(&format!("a remark with {words:?}"), || found().is_some()).await;
        found().unwrap()
    }

    /// Waits until `store status` shows a trouble of this kind.
    pub async fn shows(&self, kind: &str) {
        let shown = || self.status()["troubles"].as_array().unwrap().iter().any(|trouble| trouble["kind"] == kind);
        self.until(&format!("the status to show {kind}"), shown).await;
    }

    /// How often something with that word was remarked.
    pub fn count(&self, word: &str) -> usize {
        self.remarks().iter().filter(|remark| remark.contains(word)).count()
    }

    /// What `store verify` finds.
    pub async fn verify(&self) -> Progress {
        let (tell, mut told) = mpsc::channel(1000);
        let verifier = Verifier::new(&self.running().board, Arc::clone(&self.feed));
        verifier.run(&tell).await.unwrap();
        drop(tell);
        let mut last = Progress::default();
        while let Some(progress) = told.recv().await {
            last = progress;
        }
        assert!(last.done);
        last
    }

    /// Asserts that every event of the journal is in the stream once, equal, and the chain is sound.
    pub async fn sound(&self, server: &RedisServer) {
        let found = self.verify().await;
        assert_eq!((found.bad, found.fault.clone()), (None, None), "{found:?}");
        assert!(found.sealed);
        assert_eq!(found.compared, self.journal.last(), "{found:?}");
        assert_eq!(length(&mut server.connect().await).await, self.journal.last());
    }

    /// Restores into a folder of its own.
    pub async fn restore(&self, unverified: bool) -> (PathBuf, Result<Restored, String>) {
        let settings = Settings { data_dir: self.dir.path().join("restored"), ..self.settings.clone() };
        let done = restore(&settings, unverified, clock::now(), |_, _| {}).await;
        (settings.data_dir, done)
    }
}

pub fn keys() -> Keys {
    Keys::new("demo")
}

pub async fn length(connection: &mut Connection) -> u64 {
    let reply = connection.call(&Call::new("XLEN").arg(keys().events())).await.unwrap();
    u64::try_from(reply.int().unwrap()).unwrap()
}

pub fn text(reply: &Reply) -> &str {
    reply.text().unwrap_or_else(|| panic!("{reply:?} is no text"))
}
