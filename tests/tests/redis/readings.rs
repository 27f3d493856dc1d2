//! Latest values, the live channel, and chunks.

use std::sync::{Arc, Mutex};

use skynet_controller::clock;
use skynet_controller::history::{Archive, Place, Sealed, read_hour};
use skynet_controller::journal::{Call, Reply};
use skynet_model::name::ServerId;
use skynet_model::series::SeriesKey;
use skynet_model::time::Timestamp;
use skynet_tests::redis::RedisServer;
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
    writer.write(now, [(disk, 0.5), (cpu, 0.25)]);
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
    writer.write(clock::now(), [(cpu, 0.75)]);
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
    writer.write(Timestamp(7), [(slot, 0.5)]);
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

/// Chunks as a history on disk would give them: a test double of that room.
#[derive(Default)]
struct Shelf(Mutex<Vec<(Place, Sealed)>>);

impl Archive for Shelf {
    fn sealed_after(&self, after: Option<Place>, bytes: usize) -> std::io::Result<Vec<(Place, Sealed)>> {
        let all = self.0.lock().unwrap();
        let mut left = bytes;
        let fits = |(_, chunk): &&(Place, Sealed)| {
            let room = left > 0;
            left = left.saturating_sub(chunk.bytes.len());
            room
        };
        Ok(all.iter().filter(|(place, _)| Some(*place) > after).take_while(fits).cloned().collect())
    }
}

#[tokio::test]
async fn chunks_are_read_back_as_they_were_and_a_wiped_store_gets_them_again() {
    let server = RedisServer::start(&[]).await;
    let mut rig = Rig::new(&server);
    let shelf = Arc::new(Shelf::default());
    for n in 0..200_u64 {
        let bytes = vec![u8::try_from(n).unwrap(); 300];
        let mut chunk = chunk("web1", &format!("s{}", n % 100), 2 - i64::try_from(n / 100).unwrap(), &bytes);
        chunk.first.0 += i64::try_from(n).unwrap();
        shelf.0.lock().unwrap().push((Place { file: n / 50, offset: n }, chunk));
    }
    rig.archive = Some(Arc::clone(&shelf) as Arc<dyn Archive>);
    rig.start();
    rig.append(1);
    rig.until("200 chunks", || rig.status()["chunks"]["sent"] == 200).await;
    let mut connection = server.connect().await;
    let wanted = shelf.0.lock().unwrap()[137].1.clone();
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

/// What Redis needs around the chunks: the figure `redis_bytes_per_sample` is this and the chunks' own bytes.
#[tokio::test]
async fn what_redis_adds_to_a_sample_is_small() {
    let server = RedisServer::start(&[]).await;
    let mut rig = Rig::new(&server);
    let seals = rig.start();
    rig.append(1);
    rig.copied().await;
    let before = memory(&server).await;
    // As they are sealed: at 1 s, a chunk of every series each six minutes, ten an hour.
    let (servers, series, rounds, size) = (4_u8, 100_u8, 10_i64, 330_usize);
    let mut sent = 0;
    for round in 0..rounds {
        for (s, n) in (0..servers).flat_map(|s| (0..series).map(move |n| (s, n))) {
            let bytes: Vec<u8> = (0..size + usize::from(n) % 7).map(|i| (i as u8).wrapping_mul(31) ^ n ^ s).collect();
            let mut chunk = chunk(&format!("web{s}"), &format!("name.of.series.{n}"), 1, &bytes);
            (chunk.first.0, chunk.last.0) = (chunk.first.0 + round * 360_000, chunk.last.0 + round * 360_000);
            seals.send(chunk).await.unwrap();
            sent += 1;
        }
        rig.until("all chunks", || rig.status()["chunks"]["sent"] == sent).await;
    }
    let (mut packs, mut names) = (0, 0);
    let mut connection = server.connect().await;
    let hour = clock::now().0 / HOUR - 1;
    for s in 0..servers {
        let web = ServerId::new(&format!("web{s}")).unwrap();
        for (key, sum) in [(keys().chunks(&web, hour), &mut packs), (keys().series(&web), &mut names)] {
            let call = Call::new("MEMORY").arg("USAGE").arg(&key).arg("SAMPLES").number(0);
            *sum += connection.call(&call).await.unwrap().int().unwrap();
        }
    }
    let samples = sent as f64 * 360.0;
    let own = rig.status()["chunks"]["bytes"].as_f64().unwrap() / samples;
    let (packs, names) = (packs as f64 / samples, names as f64 / samples);
    let grown = (memory(&server).await - before) as f64 / samples;
    println!(
        "{{\"figure\":\"redis_bytes_per_sample\",\"value\":{packs:.3},\"unit\":\"B\",\"note\":\"chunks {own:.3}, what Redis \
         adds {:.3}; once a series, not an hour: names {names:.3}; used_memory grew by {grown:.3}\"}}",
        packs - own
    );
    assert!(packs - own < 0.16, "Redis adds {:.3} bytes to a sample", packs - own);
    rig.stop().await;
}

async fn memory(server: &RedisServer) -> i64 {
    let info = server.command(&["INFO", "memory"]).await;
    let line = text(&info).lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().to_owned();
    line.trim().parse().unwrap()
}
