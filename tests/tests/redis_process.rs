//! The real controller with an offsite Redis: nothing that decides waits for it, and a lost controller comes back from it.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use skynet_controller::journal::Call;
use skynet_controller::store::Keys;
use skynet_model::event::{Event, EventBody};
use skynet_model::incident::State;
use skynet_model::name::{CommandId, IncidentId};
use skynet_tests::load::{Load, LoadConfig, SCENARIOS, policy};
use skynet_tests::redis::RedisServer;
use skynet_tests::{Stage, programs, stage};
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_secs(30);

/// Longer than any decision takes on a busy machine, shorter than any wait for Redis.
const DELAYED: Duration = Duration::from_secs(1);

/// What happens to Redis, and the faults during each.
const PHASES: usize = 9;
const FAULTS: usize = 10;

fn names(count: usize) -> Vec<String> {
    (1..=count).map(|n| format!("s{n}")).collect()
}

/// Adds `[redis]` to the controller's configuration; `secured`: over TLS, as the documented writer.
fn configure(stage: &Stage, redis: &RedisServer, secured: bool) {
    let dir = stage.dir();
    std::fs::write(dir.join("chain-key"), "0123456789abcdef0123456789abcdef\n").unwrap();
    let mut file = std::fs::File::options().append(true).open(dir.join("controller.toml")).unwrap();
    let (url, key) = (redis.url(if secured { "writer" } else { "" }), dir.join("chain-key"));
    let more = if secured {
        std::fs::write(dir.join("writer"), "s3cret\n").unwrap();
        format!("credential = \"writer\"\nca = \"{}\"\n", redis.dir().join("ca.pem").display())
    } else {
        String::new()
    };
    write!(
        file,
        "\n[credentials.chain-key]\nfile = \"{}\"\n[credentials.writer]\nfile = \"{}\"\n\n[redis]\nurl = \"{url}\"\n\
         chain_key = \"chain-key\"\n{more}",
        key.display(),
        dir.join("writer").display()
    )
    .unwrap();
}

async fn up(count: usize, every: Duration, redis: &RedisServer, secured: bool) -> (Stage, Load) {
    let servers = names(count);
    let mut stage = stage(&servers.iter().map(String::as_str).collect::<Vec<_>>()).await;
    configure(&stage, redis, secured);
    stage.start_controller().await.unwrap();
    stage.push(1, &policy(SCENARIOS)).await.unwrap();
    let load = Load::start(LoadConfig {
        controller: stage.address(),
        certs: stage.dir().join("certs"),
        servers,
        series: 10,
        every,
        cures: true,
        seed: 1,
    })
    .unwrap();
    load.connected(PATIENCE).await.unwrap();
    (stage, load)
}

fn skynetctl(stage: &Stage, words: &[&str]) -> Output {
    Command::new(stage.skynetctl()).arg("--socket").arg(stage.socket()).args(words).output().unwrap()
}

fn printed(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Waits until `store status` fits.
async fn status(stage: &Stage, what: &str, fits: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
    let began = Instant::now();
    loop {
        let output = skynetctl(stage, &["store", "status", "-o", "json"]);
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        if fits(&status) {
            return status;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}: {}\n{}", printed(&output), stage.log_tails());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn state_is(wanted: &str) -> impl Fn(&serde_json::Value) -> bool + '_ {
    move |status| status["state"] == wanted
}

/// From a fault on each of some servers in turn to its effect there: the longest and the middle one. Each server is used
/// once: a second fault would be held by its cooldown.
async fn latencies(stage: &Stage, load: &Load, servers: &[String]) -> (Duration, Duration) {
    let mut all = Vec::new();
    for server in servers {
        let before = load.stats().effects;
        let began = Instant::now();
        load.fire(server, 1.0);
        if let Err(error) = load.until("an effect", PATIENCE, |stats| stats.effects > before).await {
            let events = stage.events().await.unwrap();
            panic!("{server}: {error}; {:#?}", &events[events.len().saturating_sub(8)..]);
        }
        all.push(began.elapsed());
    }
    all.sort_unstable();
    (all[all.len() - 1], all[all.len() / 2])
}

#[tokio::test]
async fn no_decision_waits_for_redis_whatever_happens_to_it() {
    no_decision_waits(RedisServer::new(&[]), false).await;
}

#[tokio::test]
async fn no_decision_waits_for_redis_with_tls_and_acl_either() {
    no_decision_waits(RedisServer::new_secured(&[], "demo", "s3cret"), true).await;
}

async fn no_decision_waits(mut redis: RedisServer, secured: bool) {
    redis.run().await;
    let (mut stage, load) = up(PHASES * FAULTS, Duration::from_millis(100), &redis, secured).await;
    let all = names(PHASES * FAULTS);
    let mut servers = all.chunks(FAULTS);
    status(&stage, "a first copy", state_is("copied")).await;
    let mut delayed = Vec::new();
    let mut phase = async |name: &str| {
        let (longest, middle) = latencies(&stage, &load, servers.next().unwrap()).await;
        println!(
            "{{\"figure\":\"effect_latency_with_redis_{name}_ms\",\"value\":{:.1},\"unit\":\"ms\",\"note\":\"longest of {FAULTS}, the \
             middle one {:.1}; sweeps every 100 ms, debug build\"}}",
            longest.as_secs_f64() * 1e3,
            middle.as_secs_f64() * 1e3
        );
        if longest >= DELAYED {
            delayed.push((name.to_owned(), longest));
        }
    };
    phase("well").await;
    redis.freeze();
    phase("frozen").await;
    status(&stage, "slow", state_is("slow")).await;
    phase("slow").await;
    redis.thaw();
    redis.kill();
    phase("killed").await;
    status(&stage, "down", state_is("down")).await;
    phase("down").await;
    redis.run().await;
    phase("wiped").await;
    status(&stage, "a copy", |status| status["state"] == "copied" && status["behind"] == 0).await;
    redis.command(&["SAVE"]).await;
    phase("saved").await;
    status(&stage, "a copy", |status| status["state"] == "copied" && status["behind"] == 0).await;
    redis.kill();
    redis.run().await;
    phase("rolled_back").await;
    status(&stage, "a copy", |status| status["state"] == "copied" && status["behind"] == 0).await;
    redis.command(&["CONFIG", "SET", "maxmemory", "1mb"]).await;
    phase("full").await;
    status(&stage, "out of memory", state_is("out_of_memory")).await;
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(delayed, [], "decisions waited");
    status(&stage, "a copy", |status| status["state"] == "copied" && status["behind"] == 0).await;

    let verified = skynetctl(&stage, &["store", "verify", "-o", "json"]);
    assert!(verified.status.success(), "{}", printed(&verified));
    let verified: serde_json::Value = serde_json::from_slice(&verified.stdout).unwrap();
    let last = stage.events().await.unwrap().last().unwrap().seq;
    assert!(verified["compared"].as_u64().unwrap() + 5 >= last, "{verified} of {last}");
    let table = printed(&skynetctl(&stage, &["store", "status"]));
    assert!(table.contains("copied") && table.contains("its head is sealed"), "{table}");
    let events = stage.events().await.unwrap();
    for words in
        ["did not answer within", "no Redis at", "was wiped", "was rolled back", "out of memory", "works again"]
    {
        let told = |event: &&Event| matches!(&event.body, EventBody::Remark { topic, message, .. } if topic == "store" && message.contains(words));
        assert!(events.iter().any(|event| told(&event)), "{words}");
    }
    redis.command(&["XDEL", &Keys::new("demo").events(), "3-0"]).await;
    let verified = skynetctl(&stage, &["store", "verify"]);
    assert_eq!(verified.status.code(), Some(1));
    assert!(printed(&verified).contains("event 4: events 3-3 are missing"), "{}", printed(&verified));
    drop(load);
    stage.strike().await;
}

/// The command of an incident that Redis knows of, once it does.
async fn issued_in_redis(redis: &RedisServer, server: &str) -> (IncidentId, CommandId) {
    let began = Instant::now();
    let mut connection = redis.connect().await;
    loop {
        let call = Call::new("XREVRANGE").arg(Keys::new("demo").events()).arg("+").arg("-").arg("COUNT").number(200);
        let entries = connection.call(&call).await.unwrap();
        for entry in entries.list() {
            let event: Event = serde_json::from_slice(entry.list()[1].list()[1].bytes().unwrap()).unwrap();
            if let EventBody::CommandIssued { command, .. } = event.body
                && command.server.as_str() == server
            {
                return (command.incident, command.id);
            }
        }
        assert!(began.elapsed() < PATIENCE, "no command in Redis");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn restore(config: &Path) -> Output {
    Command::new(programs().join("skynet-controller"))
        .args(["store", "restore", "--config"])
        .arg(config)
        .output()
        .unwrap()
}

#[tokio::test]
async fn a_lost_controller_of_200_agents_comes_back_halted_without_a_second_effect() {
    let redis = RedisServer::start(&[]).await;
    let (mut stage, load) = up(200, Duration::from_secs(1), &redis, false).await;
    status(&stage, "everything copied", |status| status["state"] == "copied" && status["behind"] == 0).await;
    // Mid-remediation: the effect has happened, its proof takes two sweeps, two seconds.
    load.fire("s7", 1.0);
    let (incident, command) = issued_in_redis(&redis, "s7").await;
    load.until("the effect", PATIENCE, |stats| stats.effects == 1).await.unwrap();
    stage.kill_controller();
    let config = stage.dir().join("controller.toml");
    let refused = restore(&config);
    assert!(!refused.status.success() && printed(&refused).contains("is not empty"), "{}", printed(&refused));
    std::fs::remove_dir_all(stage.dir().join("controller")).unwrap();
    let restored = restore(&config);
    assert!(restored.status.success(), "{}", printed(&restored));
    assert!(printed(&restored).contains("1 policies"), "{}", printed(&restored));
    let (_, events) =
        skynet_controller::journal::Journal::open_folder(&stage.dir().join("controller/journal")).unwrap();
    let over = |event: &Event| matches!(&event.body, EventBody::IncidentChanged { incident: id, state, .. } if *id == incident && state.is_end());
    assert!(!events.iter().any(over), "the incident was mid-remediation");
    assert!(matches!(&events.last().unwrap().body, EventBody::Halted { by, .. } if by == "store restore"));

    stage.start_controller().await.unwrap();
    load.until("all agents back", PATIENCE, |stats| stats.connected == 200 && stats.sessions >= 400).await.unwrap();
    // The incident goes on from where it was: the outcome comes from the agent's ledger, the proof from its readings.
    let mut log = stage.follow(0).await.unwrap();
    log.until("the end of the incident", PATIENCE, |event| match &event.body {
        EventBody::IncidentChanged { incident: id, state: State::Contained, .. } => (*id == incident).then_some(()),
        _ => None,
    })
    .await
    .unwrap();
    // Halted: a new fault opens an incident, and nothing acts.
    load.fire("s9", 1.0);
    log.until("a held incident", PATIENCE, |event| match &event.body {
        EventBody::IncidentHeld { hold, .. } => Some(hold.clone()),
        _ => None,
    })
    .await
    .unwrap();
    assert_eq!(load.stats().effects, 1);
    let resumed = skynetctl(&stage, &["resume"]);
    assert!(resumed.status.success(), "{}", printed(&resumed));
    load.until("the effect on s9", PATIENCE, |stats| stats.effects == 2).await.unwrap();
    let effects = load.effects();
    assert!(effects.values().all(|effect| effect.times == 1), "{effects:?}");
    assert_eq!(effects[&command].server.as_str(), "s7");

    // And the copy goes on where it was.
    status(&stage, "a copy", |status| status["state"] == "copied" && status["behind"] == 0).await;
    let verified = skynetctl(&stage, &["store", "verify"]);
    assert!(verified.status.success() && printed(&verified).contains("the copy is sound"), "{}", printed(&verified));
    drop(load);
    stage.strike().await;
}
