//! Sentinel and Cluster.

use std::time::Duration;

use skynet_tests::redis::RedisServer;
use tokio::time::Instant;

use crate::rig::{PATIENCE, Rig};

#[tokio::test]
async fn a_cluster_takes_the_copy() {
    let server = RedisServer::start(&["--cluster-enabled", "yes"]).await;
    server.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
    let began = Instant::now();
    while !server.command(&["CLUSTER", "INFO"]).await.text().unwrap().contains("cluster_state:ok") {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut rig = Rig::with(&format!("redis+cluster://127.0.0.1:{}", server.port()), "");
    rig.settings.events_max = 1000;
    let writer = rig.history.writer(&"web1".parse().unwrap());
    let slot = writer.slot(&"cpu.busy_ratio".parse().unwrap()).unwrap();
    let _ = writer.write(skynet_controller::clock::now(), [(slot, 0.5)]);
    rig.shelf.push(vec![crate::readings::chunk("web1", "cpu.busy_ratio", 1, b"chunk")]);
    rig.start();
    rig.append(3000);
    rig.copied().await;
    rig.until("chunks", || rig.status()["chunks"]["sent"] == 1 && rig.status()["latest"]["sent"] == 1).await;
    assert_eq!(rig.verify().await.bad, None);
    assert_eq!(rig.remarks(), Vec::<String>::new());
    rig.stop().await;
}

#[tokio::test]
async fn sentinels_name_the_primary() {
    let server = RedisServer::start(&[]).await;
    let port = server.port().to_string();
    let sentinel =
        RedisServer::start(&["--sentinel", "yes", "--sentinel monitor", &format!("fleet 127.0.0.1 {port} 1")]).await;
    let mut rig = Rig::with(&format!("redis+sentinel://127.0.0.1:{}/fleet", sentinel.port()), "");
    rig.start();
    rig.append(1000);
    rig.copied().await;
    rig.sound(&server).await;
    rig.stop().await;

    let mut other = Rig::with(&format!("redis+sentinel://127.0.0.1:{}/none", sentinel.port()), "");
    other.append(1);
    other.start();
    other.told(&["no Redis at redis+sentinel://"]).await;
    other.stop().await;
}
