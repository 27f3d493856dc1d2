//! TLS and ACL users, with the very lines of docs/redis.md.

use skynet_controller::journal::{Call, Connection, FaultKind};
use skynet_tests::redis::{RedisServer, acl_user};

use crate::rig::{Rig, keys, length};

async fn make(server: &RedisServer, words: &[String]) {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    server.command(&words).await;
}

#[tokio::test]
async fn the_documented_writer_copies_everything_and_can_do_nothing_else() {
    let server = RedisServer::start_tls(&[]).await;
    make(&server, &acl_user("writer", "demo", "s3cret")).await;
    make(&server, &acl_user("reader", "demo", "r3ader")).await;
    let mut rig = Rig::secured(&server, "writer", "s3cret", "");
    rig.settings.events_max = 1000;
    let web1 = "web1".parse().unwrap();
    let writer = rig.history.writer(&web1);
    let slot = writer.slot(&"cpu.busy_ratio".parse().unwrap()).unwrap();
    let _ = writer.write(skynet_controller::clock::now(), [(slot, 0.5)]);
    rig.shelf.push(vec![crate::readings::chunk("web1", "cpu.busy_ratio", 1, b"chunk")]);
    rig.start();
    rig.append(3000);
    rig.copied().await;
    rig.until("readings", || rig.status()["chunks"]["sent"] == 1 && rig.status()["latest"]["sent"] == 1).await;
    assert_eq!(rig.remarks(), Vec::<String>::new());
    assert_eq!(rig.verify().await.bad, None);

    let mut writer = server.connect_as("writer", "s3cret").await;
    let mut reader = server.connect_as("reader", "r3ader").await;
    assert!(length(&mut reader).await >= 1000);
    reader.call(&Call::new("HGETALL").arg(keys().latest(&web1))).await.unwrap();
    let refused: [(&mut Connection, &[&[&str]]); 2] = [
        (
            &mut writer,
            &[
                &["SET", "other", "x"],
                &["GET", "skynet:{prod}:meta"],
                &["FLUSHALL"],
                &["CONFIG", "GET", "*"],
                &["PUBLISH", "other", "x"],
            ],
        ),
        (
            &mut reader,
            &[
                &["HSET", "skynet:{demo}:meta", "fleet", "x"],
                &["XTRIM", "skynet:{demo}:events", "MAXLEN", "0"],
                &["DEL", "skynet:{demo}:events"],
                &["GET", "other"],
                &["PUBLISH", "skynet:{demo}:live", "x"],
                &["EVAL", "return redis.call('DEL', 'skynet:{demo}:events')", "0"],
            ],
        ),
    ];
    for (who, commands) in refused {
        for words in commands {
            let call = words[1..].iter().fold(Call::new(words[0]), |call, word| call.arg(word));
            let fault = who.call(&call).await.expect_err(&format!("{words:?} is not allowed"));
            assert_eq!(fault.kind, FaultKind::NoPermission, "{words:?}: {fault}");
        }
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_wrong_password_and_missing_rights_are_said_and_nothing_is_half_written() {
    let server = RedisServer::start_tls(&[]).await;
    make(&server, &acl_user("writer", "demo", "s3cret")).await;
    let mut rig = Rig::secured(&server, "writer", "wrong", "");
    rig.append(10);
    rig.start();
    rig.told(&["lets nobody in with that user and password", "docs/redis.md"]).await;
    rig.shows("denied").await;
    // A changed password counts at once.
    std::fs::write(rig.dir.path().join("writer"), "s3cret\n").unwrap();
    rig.copied().await;
    server.command(&["ACL", "SETUSER", "writer", "-xadd"]).await;
    rig.append(10);
    rig.told(&["does not allow its user something", "ACL SETUSER"]).await;
    rig.shows("no_permission").await;
    server.command(&["ACL", "SETUSER", "writer", "+xadd", "-hset"]).await;
    rig.append(10);
    rig.shows("no_permission").await;
    server.command(&["ACL", "SETUSER", "writer", "+hset", "resetchannels"]).await;
    rig.copied().await;
    rig.append(1);
    rig.told(&["the live channel cannot be told", "&skynet:{demo}:live"]).await;
    make(&server, &acl_user("writer", "demo", "s3cret")).await;
    rig.append(1);
    rig.copied().await;
    rig.sound(&server).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_server_whose_certificate_nobody_we_know_signed_is_not_spoken_to() {
    let server = RedisServer::start_tls(&[]).await;
    let other = RedisServer::start_tls(&[]).await;
    let mut rig = Rig::secured(&server, "", "x", "");
    rig.settings.access.password = None;
    rig.settings.access.ca = Some(other.dir().join("ca.pem"));
    rig.append(1);
    rig.start();
    rig.told(&["no Redis at rediss://localhost", "certificate"]).await;
    rig.stop().await;
}
