//! A real redis-server for a test: on a free port of this machine, in a folder of its own, always stopped.
//!
//! What must never enter: what a test makes of it.

mod certificates;
pub mod readings;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use skynet_controller::journal::{Access, Address, Call, Connection, Reply};
use tokio::time::Instant;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A port that nobody listens on just now.
///
/// # Panics
/// When the system has none.
#[must_use]
pub fn free_port() -> u16 {
    // A cluster's node listens 10,000 above its port, too.
    loop {
        let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr()).expect("a free port").port();
        if port < 50_000 {
            return port;
        }
    }
}

const DOCS: &str = include_str!("../../docs/redis.md");

/// The `ACL SETUSER` of a user, word by word, as the documentation says it, for a fleet and a password.
///
/// # Panics
/// When the documentation does not say it.
#[must_use]
pub fn acl_user(name: &str, fleet: &str, password: &str) -> Vec<String> {
    let line = DOCS.lines().find(|line| line.starts_with(&format!("ACL SETUSER {name} ")));
    let line = line.expect("the user is documented").replace("FLEET", fleet).replace("PASSWORD", password);
    line.split_whitespace().map(str::to_owned).collect()
}

/// A redis-server.
#[derive(Debug)]
pub struct RedisServer {
    dir: tempfile::TempDir,
    port: u16,
    options: Vec<String>,
    tls: bool,
    child: Option<Child>,
}

impl RedisServer {
    /// A server with these options, `--name value`; it does not run yet. Nothing is saved unless they say so.
    ///
    /// # Panics
    /// When no folder can be made.
    #[must_use]
    pub fn new(options: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        Self { dir, port: free_port(), options, tls: false, child: None }
    }

    /// A server that runs.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start(options: &[&str]) -> Self {
        let mut server = Self::new(options);
        server.run().await;
        server
    }

    /// A server that speaks TLS only, with certificates of its own in its folder; it does not run yet.
    ///
    /// # Panics
    /// When no folder or certificate can be made.
    #[must_use]
    pub fn new_tls(options: &[&str]) -> Self {
        let mut server = Self::new(options);
        certificates::make(server.dir());
        server.tls = true;
        server
    }

    /// A server that speaks TLS only and has the documented writer of a fleet, also after a restart; it does not run yet.
    ///
    /// # Panics
    /// When no folder or certificate can be made.
    #[must_use]
    pub fn new_secured(options: &[&str], fleet: &str, password: &str) -> Self {
        let writer = acl_user("writer", fleet, password)[2..].join(" ");
        Self::new_tls(&[options, &["--user", &writer]].concat())
    }

    /// A server that speaks TLS only and runs.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start_tls(options: &[&str]) -> Self {
        let mut server = Self::new_tls(options);
        server.run().await;
        server
    }

    /// Starts it, or starts it again, and waits until it answers.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn run(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.dir().join("log")).expect("a log");
        let port = self.port.to_string();
        let (plain, tls) = if self.tls { ("0", port.as_str()) } else { (port.as_str(), "0") };
        let mut text = format!("bind 127.0.0.1\nport {plain}\nsave \"\"\nappendonly no\ndaemonize no\n");
        if self.tls {
            text.push_str(&format!(
                "tls-port {tls}\ntls-cert-file server.pem\ntls-key-file server.key\ntls-ca-cert-file ca.pem\ntls-auth-clients no\n"
            ));
        }
        for pair in self.options.chunks(2).filter(|pair| pair[0] != "--sentinel") {
            text.push_str(&format!(
                "{} {}\n",
                pair[0].trim_start_matches("--"),
                pair.get(1).map_or("", String::as_str)
            ));
        }
        let conf = self.dir().join("redis.conf");
        std::fs::write(&conf, text).expect("a configuration");
        let mut command = Command::new("redis-server");
        command.arg(&conf).current_dir(self.dir()).stdin(Stdio::null());
        if self.options.iter().any(|option| option == "--sentinel") {
            command.arg("--sentinel");
        }
        let child = command.stdout(log.try_clone().expect("a log")).stderr(log).spawn();
        self.child = Some(child.expect("redis-server is not installed: `make deps` installs it"));
        let began = Instant::now();
        loop {
            // It answers when it has loaded its data; without a password or with one.
            let answer = match self.try_connect(None).await {
                Ok(mut connection) => connection.call(&Call::new("PING")).await.map(|_| ()),
                Err(error) => Err(error),
            };
            match answer {
                Ok(()) => return,
                Err(fault) if matches!(fault.word(), "denied" | "no_permission") => return,
                Err(fault) => {
                    let log = std::fs::read_to_string(self.dir().join("log")).unwrap_or_default();
                    assert!(began.elapsed() < PATIENCE, "redis-server does not come up: {fault}\n{log}");
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Its folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL, for a user.
    #[must_use]
    pub fn url(&self, user: &str) -> String {
        let at = if user.is_empty() { String::new() } else { format!("{user}@") };
        let (scheme, host) = if self.tls { ("rediss", "localhost") } else { ("redis", "127.0.0.1") };
        format!("{scheme}://{at}{host}:{}", self.port)
    }

    fn access(&self, user: Option<(&str, PathBuf)>) -> Access {
        let (user, password) = user.map_or(("", None), |(user, password)| (user, Some(password)));
        Access {
            address: Address::parse(&self.url(user), false).expect("a URL"),
            password,
            ca: self.tls.then(|| self.dir().join("ca.pem")),
            timeout: TIMEOUT,
        }
    }

    async fn try_connect(
        &self,
        user: Option<(&str, PathBuf)>,
    ) -> Result<Connection, skynet_controller::journal::RedisFault> {
        Connection::open(&self.access(user)).await
    }

    /// A connection as the default user.
    ///
    /// # Panics
    /// When there is none.
    pub async fn connect(&self) -> Connection {
        self.try_connect(None).await.expect("a connection")
    }

    /// A connection as another user.
    ///
    /// # Panics
    /// When there is none.
    pub async fn connect_as(&self, user: &str, password: &str) -> Connection {
        let file = self.dir().join(format!("{user}.password"));
        std::fs::write(&file, password).expect("a file");
        self.try_connect(Some((user, file))).await.expect("a connection")
    }

    /// One command, as the default user: words of a line.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn command(&self, words: &[&str]) -> Reply {
        let mut connection = self.connect().await;
        let call = words[1..].iter().fold(Call::new(words[0]), |call, word| call.arg(word));
        connection.call(&call).await.unwrap_or_else(|fault| panic!("{words:?}: {fault}"))
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("the signal arrives");
    }

    /// Stands still: it takes connections, and answers nothing.
    ///
    /// # Panics
    /// When it does not run.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Goes on.
    ///
    /// # Panics
    /// When it does not run.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
