//! The demo's stage, which end-to-end tests use as well: one controller and one agent as real processes on loopback, with
//! certificates of their own, in one temporary folder.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use skynet_model::event::Event;
use skynet_model::policy::{Bundle, File as PolicyFile};
use skynet_model::time::{Span, Timestamp};
use skynet_proto::v1;
use skynet_proto::v1::operator_service_client::OperatorServiceClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::transport::Channel;

use super::faults::Faults;

/// The one server's name.
pub const SERVER: &str = "demo1";

/// How long a process may take to come up or to end.
const PATIENCE: Duration = Duration::from_secs(15);

/// Controller, agent, faults and a duty officer's telephone.
#[derive(Debug)]
pub struct Stage {
    dir: PathBuf,
    programs: PathBuf,
    address: SocketAddr,
    controller: Option<Child>,
    agents: BTreeMap<String, Child>,
    /// What can be broken.
    pub faults: Faults,
    telephone: Telephone,
}

impl Stage {
    /// Makes folder, certificates and configuration; nothing runs yet. The programs are looked for beside this one.
    ///
    /// # Errors
    /// When a program is missing or the folder cannot be made.
    pub async fn set() -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("finding this program's folder")?;
        Self::set_with(own.parent().context("this program has no folder")?, &[SERVER]).await
    }

    /// Like [`Stage::set`], with the folder of `skynet-controller`, `skynet-agent` and `skynetctl`, and the servers' names.
    ///
    /// # Errors
    /// As [`Stage::set`].
    pub async fn set_with(programs: &Path, servers: &[&str]) -> anyhow::Result<Self> {
        for program in ["skynet-controller", "skynet-agent", "skynetctl"] {
            anyhow::ensure!(
                programs.join(program).is_file(),
                "{} is not there: build it with `cargo build --release -p skynet-agent -p skynet-controller`",
                programs.join(program).display()
            );
        }
        let dir = temporary_folder()?;
        // A free port: taken, noted, and given back to the controller.
        let address = std::net::TcpListener::bind(("127.0.0.1", 0))
            .and_then(|l| l.local_addr())
            .context("finding a free port")?;
        let telephone = Telephone::listen().await?;
        crate::certs::generate(&dir.join("certs"), "demo", servers).context("making certificates")?;
        let faults = Faults::lay_out(&dir)?;
        let stage = Self {
            dir,
            programs: programs.to_owned(),
            address,
            controller: None,
            agents: BTreeMap::new(),
            faults,
            telephone,
        };
        stage.write_config(servers)?;
        Ok(stage)
    }

    fn write_config(&self, servers: &[&str]) -> anyhow::Result<()> {
        let (dir, address) = (self.dir.display(), self.address);
        let mut controller = format!(
            r#"fleet = "demo"
listen = "{address}"
ca = "{dir}/certs/ca.pem"
cert = "{dir}/certs/controller.pem"
key = "{dir}/certs/controller.key"
data_dir = "{dir}/controller"
insecure_unsigned = true

[credentials]
duty-officer-url = {{ file = "{dir}/duty-officer-url" }}
"#
        );
        let url = format!("http://{}/\n", self.telephone.address);
        fs::OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(self.dir.join("duty-officer-url"))?
            .write_all(url.as_bytes())?;
        for server in servers {
            controller.push_str(&format!("\n[servers.{server}]\nlabels = {{ demo = \"yes\" }}\n"));
            let agent = format!(
                r#"controller = "{address}"
ca = "{dir}/certs/ca.pem"
cert = "{dir}/certs/server-{server}.pem"
key = "{dir}/certs/server-{server}.key"
data_dir = "{dir}/{server}"
insecure_unsigned = true
"#
            );
            fs::write(self.dir.join(format!("{server}.toml")), agent)?;
        }
        fs::write(self.dir.join("controller.toml"), controller)?;
        Ok(())
    }

    /// The folder everything lives in.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where agents connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The operators' socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.join("controller/operator.sock")
    }

    /// The operators' command.
    #[must_use]
    pub fn skynetctl(&self) -> PathBuf {
        self.programs.join("skynetctl")
    }

    /// Starts the controller and waits until it answers operators.
    ///
    /// # Errors
    /// When it does not come up; its log's end is in the message.
    pub async fn start_controller(&mut self) -> anyhow::Result<()> {
        self.start_controller_by(&[]).await
    }

    /// Like [`Stage::start_controller`], with a command line before the controller's own that ends by executing it.
    ///
    /// # Errors
    /// As [`Stage::start_controller`].
    pub async fn start_controller_by(&mut self, wrapper: &[&str]) -> anyhow::Result<()> {
        self.controller = Some(self.start("skynet-controller", "controller.toml", "controller.log", wrapper, &[])?);
        let began = Ticker::start();
        loop {
            if let Ok(mut client) = self.operator().await
                && client.list(list("servers")).await.is_ok()
            {
                return Ok(());
            }
            let ended = self.controller.as_mut().and_then(|c| c.try_wait().ok().flatten());
            if let Some(status) = ended {
                anyhow::bail!("the controller ended ({status})\n{}", self.log_tails());
            }
            anyhow::ensure!(began.within(PATIENCE), "the controller did not come up\n{}", self.log_tails());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Starts a server's agent.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_agent(&mut self, server: &str) -> anyhow::Result<()> {
        self.start_agent_by(server, &[], &[])
    }

    /// Starts a server's agent with a command line before its own that ends by executing it, and additions to its
    /// environment.
    ///
    /// # Errors
    /// As [`Stage::start_agent`].
    pub fn start_agent_by(&mut self, server: &str, wrapper: &[&str], env: &[(&str, &str)]) -> anyhow::Result<()> {
        let child = self.start("skynet-agent", &format!("{server}.toml"), &format!("{server}.log"), wrapper, env)?;
        self.agents.insert(server.to_owned(), child);
        Ok(())
    }

    fn start(
        &self,
        program: &str,
        config: &str,
        log: &str,
        wrapper: &[&str],
        env: &[(&str, &str)],
    ) -> anyhow::Result<Child> {
        let log = File::options().create(true).append(true).open(self.dir.join(log))?;
        let program = self.programs.join(program);
        let mut line = wrapper.iter().map(OsString::from).chain([program.clone().into_os_string()]);
        Command::new(line.next().unwrap_or_default())
            .args(line)
            .args(["run", "--config"])
            .arg(self.dir.join(config))
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))
    }

    /// The controller's process id, while it runs.
    #[must_use]
    pub fn controller_pid(&self) -> Option<u32> {
        self.controller.as_ref().map(Child::id)
    }

    /// An agent's process id, while it runs.
    #[must_use]
    pub fn agent_pid(&self, server: &str) -> Option<u32> {
        self.agents.get(server).map(Child::id)
    }

    /// Ends the controller with SIGKILL, as a power cut would.
    pub fn kill_controller(&mut self) {
        end(&mut self.controller);
    }

    /// Ends an agent's session process with SIGKILL.
    pub fn kill_agent(&mut self, server: &str) {
        end(&mut self.agents.remove(server));
    }

    /// Waits until an agent has ended by itself.
    ///
    /// # Errors
    /// When it goes on.
    pub async fn wait_agent(&mut self, server: &str) -> anyhow::Result<()> {
        let Some(mut child) = self.agents.remove(server) else { return Ok(()) };
        let began = Ticker::start();
        while child.try_wait()?.is_none() {
            anyhow::ensure!(began.within(PATIENCE), "the agent goes on\n{}", self.log_tails());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Ends an agent with SIGTERM and waits: it drains.
    ///
    /// # Errors
    /// When it does not end in time, or not with success.
    pub async fn stop_agent(&mut self, server: &str) -> anyhow::Result<()> {
        let Some(mut child) = self.agents.remove(server) else { return Ok(()) };
        let status = terminate(&mut child).await;
        let status = status.with_context(|| format!("the agent did not drain\n{}", self.log_tails()))?;
        anyhow::ensure!(status.success(), "the agent ended with {status}\n{}", self.log_tails());
        Ok(())
    }

    /// A client of the operators' API.
    ///
    /// # Errors
    /// When the socket does not answer.
    pub async fn operator(&self) -> anyhow::Result<OperatorServiceClient<Channel>> {
        let socket = self.socket();
        let connect = tower::service_fn(move |_: tonic::transport::Uri| {
            let socket = socket.clone();
            async move { tokio::net::UnixStream::connect(socket).await.map(hyper_util::rt::TokioIo::new) }
        });
        let channel = tonic::transport::Endpoint::from_static("http://operator")
            .connect_with_connector(connect)
            .await
            .context("connecting to the operators' socket")?;
        Ok(OperatorServiceClient::new(channel))
    }

    /// Pushes the demo's own policy as version 1.
    ///
    /// # Errors
    /// When the controller refuses it.
    pub async fn push_policy(&self) -> anyhow::Result<()> {
        self.push(1, include_str!("policy/demo.yaml")).await
    }

    /// Pushes a policy of one file; `@DIR@` in it stands for the stage's folder.
    ///
    /// # Errors
    /// When the controller refuses it.
    pub async fn push(&self, version: u64, text: &str) -> anyhow::Result<()> {
        let text = text.replace("@DIR@", &self.dir.to_string_lossy());
        let bundle = Bundle {
            format: 1,
            fleet: "demo".to_owned(),
            version,
            expires: now().plus(Span::hours(24)),
            files: vec![PolicyFile { name: "demo.yaml".to_owned(), text }],
        };
        let request =
            v1::PushPolicyRequest { bundle: bundle.encode(), signatures: Vec::new(), insecure_unsigned: true };
        let pushed = self.operator().await?.push_policy(request).await;
        pushed.map_err(|status| anyhow::anyhow!("the policy was refused: {}", status.message()))?;
        Ok(())
    }

    /// Waits until a server's agent runs the demo's policy and every sensor of its stories has read once.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn wait_until_watched(&self, server: &str) -> anyhow::Result<()> {
        let began = Ticker::start();
        let wanted = ["service.up", "exec.value{check=\"scratch\"", "exec.state{check=\"mirror\"", "process.count"];
        loop {
            let mut client = self.operator().await?;
            let request = v1::DescribeRequest { kind: "server".to_owned(), name: server.to_owned() };
            if let Ok(document) = client.describe(request).await {
                let text = document.into_inner().json;
                let server: serde_json::Value = serde_json::from_str(&text).context("the server's description")?;
                let latest: Vec<&str> =
                    server["latest"].as_array().into_iter().flatten().filter_map(|r| r["series"].as_str()).collect();
                if wanted.iter().all(|w| latest.iter().any(|series| series.starts_with(w))) {
                    return Ok(());
                }
            }
            anyhow::ensure!(began.within(PATIENCE), "the agent did not begin to read\n{}", self.log_tails());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The event log from event `after` on, as it comes.
    ///
    /// # Errors
    /// When the controller does not answer.
    pub async fn follow(&self, after: u64) -> anyhow::Result<Log> {
        let request = v1::LogsRequest { follow: true, after, tail: if after == 0 { 100_000 } else { 0 } };
        Ok(Log { stream: self.operator().await?.logs(request).await?.into_inner() })
    }

    /// All events so far.
    ///
    /// # Errors
    /// When the controller does not answer.
    pub async fn events(&self) -> anyhow::Result<Vec<Event>> {
        let request = v1::LogsRequest { follow: false, after: 0, tail: 100_000 };
        let mut log = Log { stream: self.operator().await?.logs(request).await?.into_inner() };
        let mut events = Vec::new();
        while let Some(event) = log.next().await? {
            events.push(event);
        }
        Ok(events)
    }

    /// Bodies of what the duty officer's telephone received.
    #[must_use]
    pub fn calls(&self) -> Vec<serde_json::Value> {
        self.telephone.calls.lock().map(|calls| calls.clone()).unwrap_or_default()
    }

    /// The ends of both logs, for a message about what went wrong.
    #[must_use]
    pub fn log_tails(&self) -> String {
        let tail = |name: &str| {
            let text = fs::read_to_string(self.dir.join(name)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("--- {name} ---\n{}", lines[lines.len().saturating_sub(15)..].join("\n"))
        };
        let agents: Vec<String> = self.agents.keys().map(|server| tail(&format!("{server}.log"))).collect();
        format!("{}\n{}", tail("controller.log"), agents.join("\n"))
    }

    /// Ends everything and removes the folder.
    pub async fn strike(&mut self) {
        let agents = std::mem::take(&mut self.agents).into_values();
        for mut child in agents.chain(self.controller.take()) {
            let _ = terminate(&mut child).await;
        }
        self.faults.clean_up();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for child in std::mem::take(&mut self.agents).into_values() {
            end(&mut Some(child));
        }
        end(&mut self.controller);
        self.faults.clean_up();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Events as they come.
#[derive(Debug)]
pub struct Log {
    stream: tonic::Streaming<v1::Document>,
}

impl Log {
    /// The next event; none when the log ends.
    ///
    /// # Errors
    /// When the controller went away or sent what is not an event.
    pub async fn next(&mut self) -> anyhow::Result<Option<Event>> {
        let Some(document) = self.stream.message().await? else { return Ok(None) };
        serde_json::from_str(&document.json).context("reading an event").map(Some)
    }

    /// The first event that `pick` turns into something.
    ///
    /// # Errors
    /// After `patience`, or when the log ends; `what` says what was waited for.
    pub async fn until<T>(
        &mut self,
        what: &str,
        patience: Duration,
        mut pick: impl FnMut(&Event) -> Option<T>,
    ) -> anyhow::Result<T> {
        let search = async {
            while let Some(event) = self.next().await? {
                if let Some(found) = pick(&event) {
                    return Ok(found);
                }
            }
            anyhow::bail!("the event log ended before {what}")
        };
        tokio::time::timeout(patience, search).await.with_context(|| format!("no {what} within {patience:?}"))?
    }
}

/// Takes webhooks, as a duty officer's pager service would.
#[derive(Debug)]
struct Telephone {
    address: SocketAddr,
    calls: std::sync::Arc<std::sync::Mutex<Vec<serde_json::Value>>>,
}

impl Telephone {
    async fn listen() -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.context("listening for webhooks")?;
        let address = listener.local_addr()?;
        let calls = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let kept = calls.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(Some(body)) = tokio::time::timeout(Duration::from_secs(5), take_call(stream)).await
                    && let Ok(mut calls) = kept.lock()
                {
                    calls.push(body);
                }
            }
        });
        Ok(Self { address, calls })
    }
}

/// One POST with a `content-length` body of JSON.
async fn take_call(mut stream: tokio::net::TcpStream) -> Option<serde_json::Value> {
    let mut bytes = Vec::new();
    let mut block = [0; 4096];
    loop {
        let n = stream.read(&mut block).await.ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&block[..n]);
        let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let length: usize = head.lines().find_map(|l| l.strip_prefix("content-length:"))?.trim().parse().ok()?;
        if length > 1 << 20 {
            return None;
        }
        if bytes.len() >= end + 4 + length {
            let body = serde_json::from_slice(&bytes[end + 4..end + 4 + length]).ok();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
            return body;
        }
    }
}

/// A list request without bounds of its own.
#[must_use]
pub fn list(kind: &str) -> v1::ListRequest {
    v1::ListRequest { kind: kind.to_owned(), all: true, limit: 0 }
}

fn temporary_folder() -> anyhow::Result<PathBuf> {
    let base = std::env::temp_dir();
    for n in 0..1000 {
        let dir = base.join(format!("skynet-demo-{}-{n}", std::process::id()));
        match fs::DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) => return dir.canonicalize().context("the temporary folder"),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("making {}", dir.display())),
        }
    }
    anyhow::bail!("{} is full of old demo folders; remove skynet-demo-*", base.display())
}

fn end(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        let _ = child.kill();
        let _ = child.wait();
    }
}

async fn terminate(child: &mut Child) -> Option<std::process::ExitStatus> {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    let began = Ticker::start();
    while began.within(PATIENCE) {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

/// The wall clock: the demo is an edge.
#[must_use]
pub fn now() -> Timestamp {
    crate::clock::now()
}

/// Patience with a limit.
struct Ticker(tokio::time::Instant);

impl Ticker {
    fn start() -> Self {
        Self(tokio::time::Instant::now())
    }

    fn within(&self, patience: Duration) -> bool {
        self.0.elapsed() < patience
    }
}
