//! The session against a scripted controller: real mTLS, real acting process, this machine's sensors.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod controller;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use controller::{Controller, LIMIT, Line, Pki};
use skynet_agent::agent::Agent;
use skynet_agent::config::Config;
use skynet_agent::link::Link;
use skynet_model::command::{Command, command_id};
use skynet_model::name::{IncidentId, ScenarioName, ServerId};
use skynet_model::policy::{Bundle, File, load};
use skynet_model::series::Labels;
use skynet_model::time::{Span, Timestamp};
use skynet_node::host::{Host, LocalHost};
use skynet_proto::convert::command_to_wire;
use skynet_proto::v1;
use skynet_proto::v1::agent_message::Body as Up;
use skynet_proto::v1::controller_message::Body as Down;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// An agent whose acting process is a thread.
struct Running {
    pki: Pki,
    stop: watch::Sender<bool>,
    done: JoinHandle<()>,
    acting: std::thread::JoinHandle<()>,
}

impl Running {
    /// Starts it in `pki`'s folder, talking to `address`.
    async fn start(pki: Pki, address: &str) -> Self {
        let dir = pki.dir().display();
        let text = format!(
            "controller = \"{address}\"\nca = \"{dir}/ca.pem\"\ncert = \"{dir}/server.pem\"\n\
             key = \"{dir}/server.key\"\ndata_dir = \"{dir}/data\"\ninsecure_unsigned = true\n"
        );
        std::fs::write(pki.dir().join("agent.toml"), text).unwrap();
        let config = Config::load(&pki.dir().join("agent.toml")).unwrap_or_else(|e| panic!("{e}"));
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let actor = config.actor();
        let acting = std::thread::spawn(move || {
            skynet_node::actor::serve(theirs, actor, Arc::new(LocalHost::new())).unwrap();
        });
        let host: Arc<dyn Host> = Arc::new(LocalHost::new());
        let agent = Agent::start(&config, host, Link::new(ours).unwrap()).await.unwrap();
        let (stop, stopped) = watch::channel(false);
        let done = tokio::spawn(async move { agent.run(stopped).await.unwrap() });
        Self { pki, stop, done, acting }
    }

    /// Stops it as SIGTERM would and gives back its folder.
    async fn stop(self) -> Pki {
        self.stop.send(true).unwrap();
        tokio::time::timeout(LIMIT, self.done).await.expect("the agent did not drain").unwrap();
        tokio::task::spawn_blocking(move || self.acting.join().unwrap()).await.unwrap();
        self.pki
    }
}

fn policy(version: u64, mark: &str, extra: &str) -> v1::PolicyPush {
    let text = format!(
        "profile: web\nmatch: {{ role: web }}\nsensors:\n  - load: {{ every: 1s }}\n{extra}---\nscript: mark\ninterpreter: /bin/sh\n\
         body: |\n  echo x >> {mark}; sleep 0.$1\n---\nscenario: s\nwhere: {{ role: web }}\nwhen: server.connected == 0\n\
         mode: enforce\nrespond:\n  - do: script.run\n    approve: false\n    with: {{ script: mark, args: [\"0\"] }}\n  \
         - do: script.run\n    approve: false\n    with: {{ script: mark, args: [\"5\"] }}\n"
    );
    let files = vec![File { name: "p.yaml".to_owned(), text }];
    let bundle = Bundle { format: 1, fleet: "f".to_owned(), version, expires: Timestamp(4_000_000_000_000), files };
    let labels = vec!["role".to_owned(), "web".to_owned()];
    v1::PolicyPush { bundle: bundle.encode(), signatures: vec![], labels }
}

fn command(push: &v1::PolicyPush, incident: &str, step: u32, ping: u64) -> v1::Command {
    let (incident, server) = (IncidentId::new(incident).unwrap(), ServerId::new("web1").unwrap());
    let bundle = Bundle::decode(&push.bundle).unwrap();
    let policy = load(&bundle.files, skynet_node::catalogue()).unwrap();
    let scenario = ScenarioName::new("s").unwrap();
    let params = policy.scenarios[&scenario].respond[step as usize].render(&Labels::default()).unwrap();
    let command = Command {
        id: command_id(&incident, step, 1, &server),
        incident,
        scenario,
        step,
        attempt: 1,
        server,
        action: "script.run".to_owned(),
        labels: Labels::default(),
        params,
        policy: 1,
        epoch: 1,
        ttl: Span::seconds(60),
    };
    command_to_wire(&command, ping)
}

fn marks(path: &PathBuf) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

async fn take_policy(line: &mut Line, push: v1::PolicyPush) {
    line.send(Down::Policy(push)).await;
    let status = line.until(|up| if let Up::Policy(status) = up { Some(status.clone()) } else { None }).await;
    assert_eq!(status.error, "");
}

async fn readings(line: &mut Line) -> v1::ReadingBatch {
    line.until(|up| if let Up::Readings(batch) = up { Some(batch.clone()) } else { None }).await
}

async fn outcome(line: &mut Line) -> v1::Outcome {
    line.until(|up| if let Up::Outcome(outcome) = up { Some(outcome.clone()) } else { None }).await
}

#[tokio::test]
async fn a_pushed_policy_is_read_by_acted_on_and_kept() {
    let pki = Pki::new();
    let mut controller = Controller::start(&pki, "127.0.0.1:0").await;
    let mark = pki.dir().join("mark");
    let push = policy(1, &mark.display().to_string(), "");
    let agent = Running::start(pki, &controller.address.to_string()).await;

    let mut line = controller.next().await;
    let first = line.hello.session;
    assert_eq!((line.hello.policy_version, line.peer.as_str()), (0, "spiffe://f/server/web1"));
    assert!(line.inventory.entries.is_empty());
    line.welcome(1).await;
    take_policy(&mut line, push.clone()).await;
    let batch = readings(&mut line).await;
    assert!(!batch.late && !batch.announce.is_empty() && batch.sweeps[0].complete, "{batch:?}");

    // A deadline counts from a ping: one that never came gives none.
    line.send(Down::Ping(v1::Ping { number: 1 })).await;
    let pong = line.until(|up| if let Up::Pong(pong) = up { Some(*pong) } else { None }).await;
    assert_eq!(pong.number, 1);
    line.send(Down::Command(command(&push, "i-1", 0, 2))).await;
    let late = outcome(&mut line).await;
    assert_eq!(late.status(), v1::Status::Expired, "{}", late.message);
    assert_eq!(marks(&mark), 0);
    line.send(Down::Command(command(&push, "i-2", 0, 1))).await;
    let done = outcome(&mut line).await;
    assert_eq!(done.status(), v1::Status::Done, "{}", done.message);
    assert_eq!(marks(&mark), 1);
    // Sent again, it keeps its id: the outcome is told again, nothing is done again.
    line.send(Down::Command(command(&push, "i-2", 0, 1))).await;
    assert_eq!(outcome(&mut line).await, done);
    assert_eq!(marks(&mark), 1);

    // The connection breaks: a new session with a higher number shows what was done.
    drop(line);
    let mut line = controller.next().await;
    assert!(line.hello.session > first);
    assert_eq!(line.hello.policy_version, 1);
    assert!(line.inventory.entries.iter().any(|e| e.outcome.as_ref() == Some(&done)), "{:?}", line.inventory);
    line.welcome(1).await;
    assert!(!readings(&mut line).await.announce.is_empty(), "a new stream announces anew");

    // Drained, it says goodbye; started again, its sensors run before the controller has said a word.
    let stopped = tokio::spawn(agent.stop());
    line.until(|up| matches!(up, Up::Goodbye(_)).then_some(())).await;
    drop(line);
    let agent = Running::start(stopped.await.unwrap(), &controller.address.to_string()).await;
    let mut line = controller.next().await;
    assert_eq!(line.hello.policy_version, 1);
    readings(&mut line).await;
    agent.stop().await;
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_again_late_after_the_present() {
    let pki = Pki::new();
    let mut controller = Controller::start(&pki, "127.0.0.1:0").await;
    let push = policy(1, "/dev/null", "");
    let agent = Running::start(pki, &controller.address.to_string()).await;
    let mut line = controller.next().await;
    line.welcome(1).await;
    take_policy(&mut line, push.clone()).await;
    let (kept, lost) = (readings(&mut line).await, readings(&mut line).await);
    assert!(lost.seq > kept.seq);
    line.ack(kept.seq).await;
    // The acknowledgement has surely been read once the agent answers a later ping.
    line.send(Down::Ping(v1::Ping { number: 1 })).await;
    line.until(|up| matches!(up, Up::Pong(_)).then_some(())).await;
    drop(line);
    let mut line = controller.next().await;
    line.welcome(1).await;
    let mut last_live = 0;
    let late = loop {
        let batch = readings(&mut line).await;
        if batch.late {
            break batch;
        }
        assert!(batch.seq > lost.seq && batch.seq > last_live);
        last_live = batch.seq;
    };
    assert_eq!(late.seq, lost.seq);
    assert_eq!(late.sweeps[0].boot_ms, lost.sweeps[0].boot_ms);
    line.ack(late.seq).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_new_policy_leaves_unchanged_sensors_without_a_gap() {
    let pki = Pki::new();
    let mut controller = Controller::start(&pki, "127.0.0.1:0").await;
    let (one, two) = (policy(1, "/dev/null", ""), policy(2, "/dev/null", "  - memory: { every: 1s }\n"));
    let agent = Running::start(pki, &controller.address.to_string()).await;
    let mut line = controller.next().await;
    line.welcome(1).await;
    take_policy(&mut line, one).await;
    let mut times = Vec::new();
    let mut seen_memory = false;
    while times.len() < 4 || !seen_memory {
        let batch = readings(&mut line).await;
        for sweep in batch.sweeps {
            seen_memory |= sweep.sensor == "memory";
            if sweep.sensor == "load" {
                times.push(sweep.boot_ms);
            }
        }
        if times.len() == 2 && !seen_memory {
            line.send(Down::Policy(two.clone())).await;
        }
    }
    for pair in times.windows(2) {
        assert!((500..1_900).contains(&(pair[1] - pair[0])), "a gap or a double: {times:?}");
    }
    // The same bundle with other labels: the profile does not fit any more, its series end.
    line.send(Down::Policy(v1::PolicyPush { labels: vec![], ..two })).await;
    line.until(|up| matches!(up, Up::Policy(_)).then_some(())).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_bad_policy_is_refused_with_its_reason_and_the_old_one_goes_on() {
    let pki = Pki::new();
    let mut controller = Controller::start(&pki, "127.0.0.1:0").await;
    let agent = Running::start(pki, &controller.address.to_string()).await;
    let mut line = controller.next().await;
    line.welcome(1).await;
    take_policy(&mut line, policy(2, "/dev/null", "")).await;
    for bad in [
        policy(1, "/dev/null", ""),
        policy(3, "/dev/null", "  - telepathy\n"),
        v1::PolicyPush { bundle: b"{}".to_vec(), ..v1::PolicyPush::default() },
    ] {
        line.send(Down::Policy(bad)).await;
        let status = line.until(|up| if let Up::Policy(status) = up { Some(status.clone()) } else { None }).await;
        assert_ne!(status.error, "");
    }
    let batch = readings(&mut line).await;
    assert_eq!(batch.sweeps[0].sensor, "load");
    agent.stop().await;
}

#[tokio::test]
async fn a_drain_waits_for_the_running_action_and_tells_its_outcome() {
    let pki = Pki::new();
    let mut controller = Controller::start(&pki, "127.0.0.1:0").await;
    let mark = pki.dir().join("mark");
    let push = policy(1, &mark.display().to_string(), "");
    let agent = Running::start(pki, &controller.address.to_string()).await;
    let mut line = controller.next().await;
    line.welcome(1).await;
    take_policy(&mut line, push.clone()).await;
    line.send(Down::Command(command(&push, "i-1", 1, 0))).await;
    let deadline = tokio::time::Instant::now() + LIMIT;
    while marks(&mark) == 0 {
        assert!(tokio::time::Instant::now() < deadline, "the action did not begin");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let stopped = tokio::spawn(agent.stop());
    let mut told = None;
    line.until(|up| {
        if let Up::Outcome(outcome) = up {
            told = Some(outcome.status());
        }
        matches!(up, Up::Goodbye(_)).then_some(())
    })
    .await;
    assert_eq!(told, Some(v1::Status::Done), "the outcome comes before the goodbye");
    drop(line);
    stopped.await.unwrap();
}

#[tokio::test]
async fn a_controller_of_an_older_epoch_gets_no_readings_and_no_obedience() {
    let pki = Pki::new();
    let mut controller = Controller::start(&pki, "127.0.0.1:0").await;
    let agent = Running::start(pki, &controller.address.to_string()).await;
    let mut line = controller.next().await;
    line.welcome(7).await;
    line.send(Down::Ping(v1::Ping { number: 1 })).await;
    line.until(|up| matches!(up, Up::Pong(_)).then_some(())).await;
    drop(line);
    let mut line = controller.next().await;
    assert_eq!(line.hello.epoch, 7);
    line.welcome(6).await;
    assert!(line.ended().await, "the agent stays with a controller that was replaced");
    agent.stop().await;
}

#[tokio::test]
async fn a_controller_that_comes_up_late_is_found() {
    let pki = Pki::new();
    // Something answers and hangs up, as a controller does that is not up yet.
    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = deaf.local_addr().unwrap().to_string();
    let dir = pki.dir().to_owned();
    let agent = Running::start(pki, &address).await;
    tokio::time::timeout(LIMIT, deaf.accept()).await.unwrap().unwrap();
    drop(deaf);
    let mut controller = Controller::start_in(&dir, &address).await;
    let line = controller.next().await;
    line.welcome(1).await;
    drop(line);
    agent.stop().await;
}
