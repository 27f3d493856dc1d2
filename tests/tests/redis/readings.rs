//! Latest values, the live channel, and chunks.

use std::sync::Arc;

use skynet_controller::clock;
use skynet_controller::history::{Archive, History, Keep, Limits, read_hour};
use skynet_controller::history::{Sealed, decode_chunk};
use skynet_controller::journal::{Call, Reply};
use skynet_model::name::ServerId;
use skynet_model::series::SeriesKey;
use skynet_model::time::Timestamp;
use skynet_tests::redis::RedisServer;
use skynet_tests::redis::readings::write;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::rig::{Rig, keys, text};

const HOUR: i64 = 3_600_000;

/// A chunk that began so many hours ago, at the beginning of that hour.
pub fn chunk(server: &str, series: &str, hours: i64, bytes: &[u8]) -> Sealed {
    let first = Timestamp((clock::now().0 / HOUR - hours) * HOUR);
    Sealed {
        server: ServerId::new(server).unwrap(),
        series: series.parse().unwrap(),
        first,
        last: Timestamp(first.0 + 359_000),
        samples: 360,
        bytes: Arc::from(bytes),
    }
}

#[tokio::test]
async fn latest_values_are_there_within_seconds_and_go_when_their_series_ends() {
    let server = RedisServer::start(&[]).await;
    let mut rig = Rig::new(&server);
    let web1 = ServerId::new("web1").unwrap();
    let writer = rig.history.writer(&web1);
    let mount: SeriesKey = "disk.used_ratio{mount=\"/\"}".parse().unwrap();
    let (disk, cpu) = (writer.slot(&mount).unwrap(), writer.slot(&SeriesKey::plain("cpu.busy_ratio")).unwrap());
    let now = clock::now();
    let _ = writer.write(now, [(disk, 0.5), (cpu, 0.25)]);
    rig.start();
    rig.append(1);
    rig.copied().await;
    rig.until("two values", || rig.status()["latest"]["sent"] == 2).await;
    let latest = server.command(&["HGET", &keys().latest(&web1), "disk.used_ratio{mount=\"/\"}"]).await;
    assert_eq!(text(&latest), format!("0.5 {}", now.0));
    writer.retire(disk);
    let key = keys().latest(&web1);
    let began = tokio::time::Instant::now();
    while server.command(&["HLEN", &key]).await != Reply::Int(1) {
        assert!(began.elapsed() < crate::rig::PATIENCE);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    // Of another type: named, and the events go on.
    server.command(&["DEL", &key]).await;
    server.command(&["SET", &key, "x"]).await;
    let _ = writer.write(clock::now(), [(cpu, 0.75)]);
    rig.told(&["skynet:{demo}:latest:web1", "holds a string where a hash belongs"]).await;
    rig.append(10);
    rig.copied().await;
    server.command(&["DEL", &key]).await;
    rig.until("the end of the trouble", || rig.status()["troubles"].as_array().unwrap().is_empty()).await;
    rig.stop().await;
}

#[tokio::test]
async fn dashboards_hear_of_events_and_values_as_they_come() {
    let server = RedisServer::start(&[]).await;
    let mut rig = Rig::new(&server);
    let mut dashboard = tokio::net::TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
    dashboard.write_all(format!("SUBSCRIBE {}\r\n", keys().live()).as_bytes()).await.unwrap();
    let mut lines = BufReader::new(dashboard).lines();
    // Until it is subscribed, nothing is sent.
    while !lines.next_line().await.unwrap().unwrap().contains("subscribe") {}
    let writer = rig.history.writer(&ServerId::new("web1").unwrap());
    let slot = writer.slot(&SeriesKey::plain("load.one")).unwrap();
    let _ = writer.write(Timestamp(7), [(slot, 0.5)]);
    rig.start();
    rig.append(1);
    let (mut event, mut latest) = (None, None);
    let hear = async {
        while event.is_none() || latest.is_none() {
            let line = lines.next_line().await.unwrap().unwrap();
            match serde_json::from_str::<serde_json::Value>(&line) {
                Ok(message) if message["events"].is_array() => event = Some(message),
                Ok(message) if message["latest"].is_object() => latest = Some(message),
                Ok(_) | Err(_) => {}
            }
        }
    };
    tokio::time::timeout(crate::rig::PATIENCE, hear).await.unwrap();
    let (event, latest) = (event.unwrap(), latest.unwrap());
    assert_eq!((&event["v"], &event["events"][0]["seq"]), (&1.into(), &1.into()));
    assert_eq!((&latest["server"], &latest["latest"]["load.one"]), (&"web1".into(), &serde_json::json!([0.5, 7])));
    rig.stop().await;
}

#[tokio::test]
async fn chunks_are_read_back_as_they_were_and_a_wiped_store_gets_them_again() {
    let server = RedisServer::start(&[]).await;
    let mut rig = Rig::new(&server);
    for n in 0..200_u64 {
        let bytes = vec![u8::try_from(n).unwrap(); 300];
        let mut chunk = chunk("web1", &format!("s{}", n % 100), 2 - i64::try_from(n / 100).unwrap(), &bytes);
        chunk.first.0 += i64::try_from(n).unwrap();
        rig.shelf.push(vec![chunk]);
    }
    rig.start();
    rig.append(1);
    rig.until("200 chunks", || rig.status()["chunks"]["sent"] == 200).await;
    let mut connection = server.connect().await;
    let wanted = rig.shelf.all()[137].clone();
    let hour = wanted.first.0 / HOUR;
    let found = read_hour(&mut connection, &keys(), &wanted.server, &wanted.series, hour).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].first, found[0].last, found[0].samples), (wanted.first, wanted.last, 360));
    assert_eq!(found[0].bytes[..], wanted.bytes[..]);
    let ttl = connection.call(&Call::new("TTL").arg(keys().chunks(&wanted.server, hour))).await.unwrap();
    assert!((29 * 86_400..31 * 86_400).contains(&ttl.int().unwrap()), "{ttl:?}");

    // Nothing is sent twice by a restart; everything again when it is gone.
    rig.stop().await;
    rig.start();
    rig.append(1);
    rig.copied().await;
    server.command(&["FLUSHALL"]).await;
    rig.told(&["was wiped"]).await;
    rig.until("200 chunks again", || rig.status()["chunks"]["sent"] == 200).await;
    let found = read_hour(&mut connection, &keys(), &wanted.server, &wanted.series, hour).await.unwrap();
    assert_eq!(found.len(), 1);
    rig.stop().await;

    // A data folder that was restored has sent nothing yet: its places are not those that Redis knows.
    std::fs::remove_file(rig.settings.data_dir.join("store-chunks.json")).unwrap();
    rig.start();
    rig.append(1);
    rig.until("200 chunks of another folder", || rig.status()["chunks"]["sent"] == 200).await;
    rig.stop().await;
}

/// The real history packs what hosts read, and Redis holds it.
#[tokio::test]
async fn a_sample_needs_about_a_byte() {
    let server = RedisServer::start(&[]).await;
    let mut rig = Rig::new(&server);
    let folder = rig.dir.path().join("history");
    let history = History::open_folder(&folder, Limits::default(), Keep::default(), Box::new(clock::now)).unwrap();
    rig.archive = Some(Arc::clone(&history) as Arc<dyn Archive>);
    rig.start();
    rig.append(1);
    rig.copied().await;
    let before = memory(&server).await;
    let (servers, sweeps) = (2, 2200_u16);
    // In one hour, so that what is paid once an hour is paid once.
    let begin = Timestamp((clock::now().0 / HOUR - 1) * HOUR);
    let writing = Arc::clone(&history);
    tokio::task::spawn_blocking(move || write(&writing, servers, 100, begin, sweeps)).await.unwrap();
    // What is certainly in full blocks: a server's blocks are of 360 rows and some more, so that not all get full at once.
    let full = u64::from(sweeps / 2) * 100 * servers as u64;
    rig.until("all full blocks", || rig.status()["chunks"]["samples"].as_u64().unwrap() >= full).await;
    let samples = rig.status()["chunks"]["samples"].as_f64().unwrap();
    let (mut packs, mut names) = (0, 0);
    let mut connection = server.connect().await;
    for n in 1..=servers {
        let web = ServerId::new(&format!("web{n}")).unwrap();
        for (key, sum) in [(keys().chunks(&web, begin.0 / HOUR), &mut packs), (keys().series(&web), &mut names)] {
            let call = Call::new("MEMORY").arg("USAGE").arg(&key).arg("SAMPLES").number(0);
            *sum += connection.call(&call).await.unwrap().int().unwrap();
        }
    }
    let own = rig.status()["chunks"]["bytes"].as_f64().unwrap() / samples;
    let (packs, names) = (packs as f64 / samples, names as f64 / samples);
    let grown = (memory(&server).await - before) as f64 / samples;
    println!(
        "{{\"figure\":\"redis_bytes_per_sample\",\"value\":{packs:.3},\"unit\":\"B\",\"note\":\"chunks {own:.3}, what Redis \
         adds {:.3}; once a series, not an hour: names {names:.3}; used_memory grew by {grown:.3}\"}}",
        packs - own
    );
    assert!(packs - own < 0.16, "Redis adds {:.3} bytes to a sample", packs - own);

    // What is there is what was read.
    let web1 = ServerId::new("web1").unwrap();
    let (series, ..) = history.latest(&web1).swap_remove(40);
    let found = read_hour(&mut connection, &keys(), &web1, &series, begin.0 / HOUR).await.unwrap();
    let read: u32 = found.iter().map(|chunk| chunk.samples).sum();
    assert!(u64::from(read) * 100 * servers as u64 >= full, "{read}");
    let (times, values) = decode_chunk(&found[0].bytes).unwrap();
    assert_eq!((times[0], times.len(), values.len()), (begin.0, found[0].samples as usize, times.len()));
    rig.stop().await;
    tokio::task::spawn_blocking(move || history.close()).await.unwrap();
}

async fn memory(server: &RedisServer) -> i64 {
    let info = server.command(&["INFO", "memory"]).await;
    let line = text(&info).lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().to_owned();
    line.trim().parse().unwrap()
}
