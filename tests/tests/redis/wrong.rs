//! What is in Redis is not what belongs there, or Redis does not take what comes.

use skynet_model::event::EventBody;
use skynet_tests::redis::RedisServer;

use crate::rig::{Rig, keys, length, text};

#[tokio::test]
async fn a_key_of_another_type_is_named_with_its_remedy() {
    let server = RedisServer::start(&[]).await;
    let mut rig = Rig::new(&server);
    server.command(&["SET", &keys().events(), "x"]).await;
    rig.append(10);
    rig.start();
    let told = rig.told(&["skynet:{demo}:events", "holds a string where a stream belongs", "RENAME"]).await;
    assert!(told.contains("10 events wait on disk"), "{told}");
    rig.shows("wrong_type").await;
    server.command(&["RENAME", &keys().events(), "skynet:{demo}:events.old"]).await;
    rig.copied().await;
    // And one that becomes so later.
    server.command(&["DEL", &keys().policies()]).await;
    server.command(&["SET", &keys().head(), "y"]).await;
    rig.append(1);
    rig.told(&["skynet:{demo}:head", "holds a string where a hash belongs"]).await;
    server.command(&["FLUSHALL"]).await;
    rig.copied().await;
    rig.sound(&server).await;
    rig.stop().await;
}

#[tokio::test]
async fn another_fleets_keys_and_another_controllers_are_left_alone() {
    let server = RedisServer::start(&[]).await;
    let mut first = Rig::new(&server);
    first.start();
    first.append(50);
    first.copied().await;
    first.stop().await;
    let mut second = Rig::new(&server);
    second.append(7);
    second.start();
    second.told(&["is of another controller of a fleet of this name", "store restore", "skynet:{demo}:"]).await;
    second.shows("other_instance").await;
    assert_eq!(length(&mut server.connect().await).await, 50);
    server.command(&["HSET", &keys().meta(), "fleet", "prod"]).await;
    second.told(&["of fleet `prod`, not of this one", "[redis] url"]).await;
    server.command(&["HSET", &keys().meta(), "format", "9"]).await;
    second.told(&["of format 9", "newer build"]).await;
    server.command(&["DEL", &keys().meta()]).await;
    second.told(&["holds events, but nothing says whose"]).await;
    assert_eq!(length(&mut server.connect().await).await, 50, "nothing was written");
    server.command(&["FLUSHALL"]).await;
    second.copied().await;
    second.sound(&server).await;
    second.stop().await;
}

#[tokio::test]
async fn read_only_it_is_told_to_name_the_primary() {
    let server = RedisServer::start(&[]).await;
    let mut rig = Rig::new(&server);
    rig.start();
    rig.append(10);
    rig.copied().await;
    let dead = skynet_tests::redis::free_port().to_string();
    server.command(&["REPLICAOF", "127.0.0.1", &dead]).await;
    rig.append(10);
    rig.told(&["is read only", "name the primary", "rediss+sentinel://"]).await;
    rig.shows("read_only").await;
    server.command(&["REPLICAOF", "NO", "ONE"]).await;
    rig.copied().await;
    rig.sound(&server).await;
    rig.stop().await;
}

#[tokio::test]
async fn out_of_memory_it_keeps_what_it_has_and_goes_on_with_more() {
    let server = RedisServer::start(&["--maxmemory-policy", "noeviction"]).await;
    let mut rig = Rig::new(&server);
    rig.start();
    rig.append(100);
    rig.copied().await;
    server.command(&["CONFIG", "SET", "maxmemory", "1mb"]).await;
    rig.append(5000);
    rig.told(&["out of memory", "maxmemory", "events_max"]).await;
    rig.shows("out_of_memory").await;
    server.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
    rig.copied().await;
    rig.sound(&server).await;
    rig.stop().await;
}

#[tokio::test]
async fn foreign_and_deleted_entries_are_noticed_before_anything_is_written() {
    let server = RedisServer::start(&[]).await;
    let mut rig = Rig::new(&server);
    rig.start();
    rig.append(100);
    rig.copied().await;
    server.command(&["XADD", &keys().events(), "101-0", "e", "{}", "h", "00"]).await;
    rig.append(5);
    rig.told(&["ends with 101-0 where event 100 should be the last", "RENAME"]).await;
    rig.shows("damaged").await;
    server.command(&["RENAME", &keys().events(), "skynet:{demo}:events.old"]).await;
    rig.copied().await;
    rig.sound(&server).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_head_that_somebody_else_wrote_is_not_gone_on_with() {
    let server = RedisServer::start(&[]).await;
    let mut rig = Rig::new(&server);
    rig.start();
    rig.append(100);
    rig.copied().await;
    let hmac = server.command(&["HGET", &keys().head(), "hmac"]).await;
    server.command(&["HSET", &keys().head(), "hmac", &"0".repeat(64), "hash", &"1".repeat(64)]).await;
    rig.append(1);
    rig.told(&["is not sealed with this controller's chain key", "put the old key back"]).await;
    rig.shows("seal").await;
    let found = rig.verify().await;
    assert_eq!(found.bad, Some(100));
    assert_eq!(text(&hmac).len(), 64);
    rig.stop().await;
}

#[tokio::test]
async fn a_journal_that_is_older_than_its_copy_is_not_made_the_truth() {
    let server = RedisServer::start(&[]).await;
    let mut rig = Rig::new(&server);
    rig.start();
    rig.append(100);
    rig.copied().await;
    rig.stop().await;
    let old = rig.settings.data_dir.join("old");
    std::fs::create_dir(&old).unwrap();
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().flatten() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    };
    copy(&rig.settings.data_dir.join("journal"), &old);
    let state = std::fs::read(rig.settings.data_dir.join("store.json")).unwrap();
    rig.start();
    rig.append(50);
    rig.copied().await;
    rig.stop().await;
    // The data folder of before, as a snapshot of the machine would bring it back.
    let mut back = Rig::new(&server);
    std::fs::remove_dir_all(back.settings.data_dir.join("journal")).unwrap();
    copy(&old, &back.settings.data_dir.join("journal"));
    std::fs::write(back.settings.data_dir.join("store.json"), state).unwrap();
    let (journal, events) =
        skynet_controller::journal::Journal::open_folder(&back.settings.data_dir.join("journal")).unwrap();
    assert_eq!(events.len(), 100);
    events.into_iter().for_each(|event| back.feed.publish(event));
    back.journal = journal;
    back.start();
    back.told(&["events up to 150", "the journal ends at 100", "store restore"]).await;
    back.shows("ahead").await;
    // It goes its own way, and still nothing is overwritten.
    back.append_body(EventBody::Resumed { by: "ann".to_owned() });
    back.append(60);
    back.told(&["is another one than in the journal"]).await;
    back.shows("forked").await;
    assert_eq!(length(&mut server.connect().await).await, 150);
    back.stop().await;
}

#[tokio::test]
async fn verify_names_the_first_bad_event() {
    let server = RedisServer::start(&[]).await;
    let mut rig = Rig::new(&server);
    rig.start();
    rig.append(2500);
    rig.copied().await;
    assert_eq!(rig.verify().await.bad, None);
    server.command(&["XDEL", &keys().events(), "1777-0"]).await;
    let found = rig.verify().await;
    assert_eq!(found.bad, Some(1778));
    assert!(found.fault.as_deref().unwrap().contains("1777-1777 are missing"), "{found:?}");
    rig.stop().await;
}

#[tokio::test]
async fn a_change_of_owner_while_copying_stops_the_copy() {
    let server = RedisServer::start(&[]).await;
    let mut rig = Rig::new(&server);
    // With a key, the seal would tell it first.
    rig.settings.chain_key = None;
    rig.start();
    rig.append(20);
    rig.copied().await;
    server.command(&["HSET", &keys().meta(), "instance", "another"]).await;
    rig.append(20);
    rig.shows("other_instance").await;
    assert_eq!(length(&mut server.connect().await).await, 20, "nothing was written");
    rig.stop().await;
}

#[tokio::test]
async fn a_deleted_last_entry_is_noticed_at_the_next_event() {
    let server = RedisServer::start(&[]).await;
    let mut rig = Rig::new(&server);
    rig.start();
    rig.append(20);
    rig.copied().await;
    server.command(&["XDEL", &keys().events(), "20-0"]).await;
    rig.append(1);
    rig.told(&["ends with 19-0 where event 20 should be the last"]).await;
    assert_eq!(length(&mut server.connect().await).await, 19, "nothing was written");
    rig.stop().await;
}

#[tokio::test]
async fn a_made_up_past_is_not_taken_for_a_rollback_even_without_a_key() {
    let server = RedisServer::start(&[]).await;
    let mut rig = Rig::new(&server);
    rig.settings.chain_key = None;
    rig.start();
    rig.append(100);
    rig.copied().await;
    rig.stop().await;
    let hash = "1".repeat(64);
    server.command(&["DEL", &keys().events()]).await;
    server.command(&["XADD", &keys().events(), "50-0", "e", "{\"seq\":50}", "h", &hash]).await;
    server.command(&["HSET", &keys().head(), "seq", "50", "hash", &hash]).await;
    rig.start();
    rig.told(&["event 50 in Redis is another one than in the journal"]).await;
    rig.shows("forked").await;
    assert_eq!(length(&mut server.connect().await).await, 1);
    rig.stop().await;
}
