//! Redis is away, dies, loses what it had, or is slow.

use std::time::Duration;

use skynet_tests::redis::RedisServer;

use crate::rig::{Rig, Way, length};

/// Each case both without and with TLS and ACL users.
macro_rules! both_ways {
    ($($case:ident),*) => {
        $(mod $case {
            #[tokio::test]
            async fn plain() {
                super::$case(crate::rig::Way::Plain).await;
            }

            #[tokio::test]
            async fn with_tls_and_acl() {
                super::$case(crate::rig::Way::Secured).await;
            }
        })*
    };
}

both_ways!(
    down_at_the_start_is_said_with_what_waits_and_made_up_for,
    killed_under_load_it_has_everything_once,
    killed_under_load_with_lazy_syncs_it_has_everything_once,
    wiped_under_load_it_gets_again_what_the_journal_has,
    rolled_back_under_load_it_gets_again_what_it_lost,
    slow_it_is_waited_for_and_nothing_is_written_twice
);

async fn down_at_the_start_is_said_with_what_waits_and_made_up_for(way: Way) {
    let (mut server, mut rig) = way.set(&[], "");
    rig.append(700);
    rig.start();
    let told = rig.told(&["no Redis at redis", "connection refused"]).await;
    assert!(told.contains("; 700 events wait on disk, 71 h left"), "{told}");
    rig.shows("down").await;
    rig.append(300);
    server.run().await;
    rig.copied().await;
    rig.told(&["works again", "down"]).await;
    rig.sound(&server).await;
    assert_eq!(rig.count("no Redis"), 1, "said once: {:?}", rig.remarks());
    assert_eq!(rig.status()["troubles"].as_array().unwrap().len(), 0);
    rig.stop().await;
}

/// Kills it again and again while events come; with `fsync` what it had answered may be lost or not.
async fn killed_under_load(way: Way, fsync: &str) {
    let (mut server, mut rig) = way.set(&["--appendonly", "yes", "--appendfsync", fsync], "");
    server.run().await;
    rig.start();
    for round in 0..4 {
        for _ in 0..20 {
            rig.append(50);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let before = rig.status()["mirrored"].as_u64().unwrap();
        rig.until("something copied", || rig.status()["mirrored"].as_u64().unwrap() > round * 500).await;
        server.kill();
        rig.append(100);
        assert!(before <= rig.journal.last());
        server.run().await;
    }
    rig.copied().await;
    rig.sound(&server).await;
    rig.stop().await;
}

async fn killed_under_load_it_has_everything_once(way: Way) {
    killed_under_load(way, "always").await;
}

async fn killed_under_load_with_lazy_syncs_it_has_everything_once(way: Way) {
    killed_under_load(way, "no").await;
}

async fn wiped_under_load_it_gets_again_what_the_journal_has(way: Way) {
    let (mut server, mut rig) = way.set(&[], "");
    server.run().await;
    rig.start();
    rig.append(1500);
    rig.copied().await;
    for round in 0..20 {
        rig.append(25);
        if round == 5 {
            server.command(&["FLUSHALL"]).await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    rig.told(&["was wiped", "events up to 1", "sent again"]).await;
    rig.copied().await;
    rig.sound(&server).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_wiped_idle_store_is_noticed_without_an_event() {
    let server = RedisServer::start(&[]).await;
    let mut rig = Rig::new(&server);
    rig.start();
    rig.append(5);
    rig.copied().await;
    server.command(&["FLUSHALL"]).await;
    rig.told(&["was wiped"]).await;
    rig.copied().await;
    rig.sound(&server).await;
    rig.stop().await;
}

async fn rolled_back_under_load_it_gets_again_what_it_lost(way: Way) {
    let (mut server, mut rig) = way.set(&[], "");
    server.run().await;
    rig.start();
    rig.append(1000);
    rig.copied().await;
    server.command(&["SAVE"]).await;
    let old = server.dir().join("dump.rdb");
    rig.append(800);
    rig.copied().await;
    server.kill();
    assert!(old.exists());
    rig.append(50);
    server.run().await;
    for _ in 0..20 {
        rig.append(25);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    rig.told(&["was rolled back", "ends at event 1000", "up to 1800 had been copied"]).await;
    rig.copied().await;
    rig.sound(&server).await;
    rig.stop().await;
}

async fn slow_it_is_waited_for_and_nothing_is_written_twice(way: Way) {
    let (mut server, mut rig) = way.set(&[], "");
    server.run().await;
    rig.start();
    rig.append(100);
    rig.copied().await;
    server.freeze();
    rig.append(100);
    rig.told(&["did not answer within 1 s"]).await;
    rig.shows("slow").await;
    server.thaw();
    rig.append(100);
    rig.copied().await;
    rig.told(&["works again", "slow"]).await;
    rig.sound(&server).await;
    rig.stop().await;
}

#[tokio::test]
async fn what_is_left_goes_along_when_the_controller_goes_down_and_the_next_one_goes_on() {
    let server = RedisServer::start(&[]).await;
    let mut rig = Rig::new(&server);
    rig.start();
    rig.copied().await;
    rig.append(2500);
    rig.stop().await;
    assert_eq!(length(&mut server.connect().await).await, 2500);
    rig.start();
    rig.append(5);
    rig.copied().await;
    rig.sound(&server).await;
    assert_eq!(rig.remarks(), Vec::<String>::new());
    rig.stop().await;
}

#[tokio::test]
async fn without_the_file_that_says_how_far_it_is_the_copy_is_taken_up() {
    let server = RedisServer::start(&[]).await;
    let mut rig = Rig::new(&server);
    rig.start();
    rig.append(300);
    rig.copied().await;
    rig.stop().await;
    std::fs::remove_file(rig.settings.data_dir.join("store.json")).unwrap();
    rig.append(20);
    rig.start();
    rig.copied().await;
    rig.sound(&server).await;
    // An older file: an answer that did not arrive.
    rig.stop().await;
    let file = rig.settings.data_dir.join("store.json");
    let old = std::fs::read_to_string(&file).unwrap();
    rig.start();
    rig.append(80);
    rig.copied().await;
    rig.stop().await;
    std::fs::write(&file, old).unwrap();
    rig.start();
    rig.append(1);
    rig.copied().await;
    rig.sound(&server).await;
    assert_eq!(rig.remarks(), Vec::<String>::new());
    rig.stop().await;
}

#[tokio::test]
async fn a_backlog_drains_no_faster_than_it_may() {
    let mut server = RedisServer::new(&[]);
    let mut rig = Rig::with(&server.url(""), "drain_per_second = 500");
    rig.append(2000);
    rig.start();
    rig.told(&["no Redis"]).await;
    server.run().await;
    rig.until("a beginning", || rig.status()["mirrored"] != 0).await;
    let began = tokio::time::Instant::now();
    assert_eq!(rig.status()["state"], "draining");
    rig.copied().await;
    // Three batches of 500 after the first, each a second after the one before.
    assert!(began.elapsed() > Duration::from_millis(2500), "{:?}", began.elapsed());
    rig.sound(&server).await;
    rig.stop().await;
}

#[tokio::test]
async fn what_had_to_be_dropped_leaves_a_gap_and_a_remark() {
    let mut server = RedisServer::new(&[]);
    let mut rig = Rig::with(&server.url(""), "drain_per_second = 100000");
    rig.settings.bounds.bytes = 8 << 20;
    rig.start();
    rig.told(&["no Redis"]).await;
    // Two segments and a little.
    for _ in 0..350 {
        rig.append_large(100, 1 << 10);
    }
    rig.told(&["events 1 to", "were compacted before Redis had them", "more than 8 MiB waited"]).await;
    assert_eq!(rig.status()["outbox"]["bytes_max"], 8 << 20);
    server.run().await;
    rig.copied().await;
    let found = rig.verify().await;
    assert_eq!((found.bad, found.fault), (None, None));
    assert!(found.missing > 1000, "{}", found.missing);
    assert_eq!(found.events + found.missing, 35_000);
    rig.stop().await;
}

#[tokio::test]
async fn files_of_its_own_that_cannot_be_read_keep_nobody_from_acting() {
    let server = RedisServer::start(&[]).await;
    let mut rig = Rig::new(&server);
    let key = rig.dir.path().join("chain-key");
    std::fs::remove_file(&key).unwrap();
    std::fs::write(rig.settings.data_dir.join("store.json"), "{").unwrap();
    rig.append(10);
    rig.start();
    rig.told(&["cannot read", "chain-key"]).await;
    rig.shows("own").await;
    std::fs::write(&key, "short").unwrap();
    rig.told(&["chain-key", "openssl rand -hex 32"]).await;
    std::fs::write(&key, "0123456789abcdef0123456789abcdef\n").unwrap();
    rig.told(&["store.json", "move it away"]).await;
    std::fs::remove_file(rig.settings.data_dir.join("store.json")).unwrap();
    rig.copied().await;
    rig.told(&["works again"]).await;
    rig.sound(&server).await;
    rig.stop().await;
}
