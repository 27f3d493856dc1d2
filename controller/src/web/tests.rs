use std::collections::{BTreeMap, HashSet};
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};

use skynet_model::series::SeriesKey;

use super::*;
use crate::fixture::{Rig, server};

static NOW: AtomicI64 = AtomicI64::new(10_000_000);

fn clock() -> Timestamp {
    Timestamp(NOW.load(Ordering::Relaxed))
}

/// Reads the text as Prometheus' parser does, and is as strict: names, labels, values, each family once, each line once.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let (mut families, mut values, mut family) = (HashSet::new(), BTreeMap::new(), String::new());
    let word = |s: &str, more: &str| {
        let mut chars = s.chars();
        let fine = |c: char| c.is_ascii_alphabetic() || c == '_' || more.contains(c);
        chars.next().is_some_and(fine) && chars.all(|c| fine(c) || c.is_ascii_digit())
    };
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(word(name, ":") && matches!(kind, "gauge" | "counter"), "{line}");
            assert!(families.insert(name.to_owned()), "{name} comes twice");
            family = name.to_owned();
            continue;
        }
        if line.starts_with("# HELP ") {
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        assert_eq!(name, family, "{line} stands in another family");
        let mut rest = labels.strip_suffix('}').unwrap();
        let mut known = HashSet::new();
        while !rest.is_empty() {
            let (label, quoted) = rest.split_once("=\"").unwrap();
            assert!(word(label, "") && !label.starts_with("__") && known.insert(label), "{line}");
            let mut escaped = false;
            let end = quoted.find(|c| match c {
                _ if escaped => {
                    escaped = false;
                    false
                }
                '\\' => {
                    escaped = true;
                    false
                }
                c => c == '"',
            });
            rest = &quoted[end.unwrap() + 1..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        assert!(values.insert(series.to_owned(), value.parse().unwrap()).is_none(), "{series} comes twice");
    }
    values
}

/// Prometheus' own checker, where it is installed.
fn promtool(text: &str) {
    let started =
        Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut child) = started else { return };
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // It lints names too (exit code 3); what cannot be parsed is code 1.
    assert_ne!(output.status.code(), Some(1), "{said}");
}

#[tokio::test]
async fn prometheus_gets_the_latest_values_of_all_servers_and_how_the_controller_is() {
    let rig = Rig::start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(Web::new(rig.core.clone(), Arc::clone(&rig.history), clock).serve(listener));
    let put = |name: &str, series: SeriesKey, time: Timestamp, value: f64| {
        let writer = rig.history.writer(&server(name));
        let slot = writer.slot(&series).unwrap();
        let _ = writer.write(time, [(slot, value)]);
    };
    let now = clock();
    put("web1", "disk.used_ratio{mount=\"/a \\\"b\\\" {},\"}".parse().unwrap(), now, 0.25);
    put("web2", "disk.used_ratio{mount=\"/\"}".parse().unwrap(), now, 1e300);
    put("web1", "net.bytes_total".parse().unwrap(), now, 7.0);
    put(
        "web1",
        SeriesKey::new("a.b", [("server", "x"), ("__name__", "y"), ("a.b", "1"), ("a_b", "2"), ("1", "3")]),
        now,
        -0.5,
    );
    put("web1", SeriesKey::plain("a_b"), now, 2.0);
    put("web1", SeriesKey::plain("gone.value"), Timestamp(now.0 - STALE_MS), 3.0);
    let client = reqwest::Client::new();
    let answer = client.get(format!("{url}/metrics")).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = answer.text().await.unwrap();
    promtool(&text);
    let values = parse(&text);
    let of = |series: &str| values.get(series).copied();
    assert_eq!(of(r#"skynet_disk_used_ratio{server="web1",mount="/a \"b\" {},"}"#), Some(0.25), "{text}");
    assert_eq!(of(r#"skynet_disk_used_ratio{server="web2",mount="/"}"#), Some(1e300));
    assert_eq!(of(r#"skynet_net_bytes_total{server="web1"}"#), Some(7.0));
    assert!(text.contains("# TYPE skynet_net_bytes_total counter"));
    assert_eq!(of(r#"skynet_a_b{server="web1",skynet_series="a_b"}"#), Some(2.0), "{text}");
    assert!(!text.contains("skynet_gone_value"), "stale values are left out");
    assert_eq!(of("skynet_controller_history_series"), Some(6.0));
    assert_eq!(of("skynet_controller_halted"), Some(0.0));

    // Rendered at most once a second, whoever asks.
    put("web1", SeriesKey::plain("new.value"), now, 4.0);
    let again = || async { client.get(format!("{url}/metrics")).send().await.unwrap().text().await.unwrap() };
    assert_eq!(again().await, text);
    NOW.fetch_add(1000, Ordering::Relaxed);
    assert!(again().await.contains("skynet_new_value{server=\"web1\"} 4.0\n"));

    for (method, path, status) in [("GET", "/", 404), ("POST", "/metrics", 405), ("HEAD", "/metrics", 200)] {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let answer = client.request(method, format!("{url}{path}")).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path}");
    }
    serving.abort();
}

const STALE_MS: i64 = 5 * 60 * 1000 + 1;

#[tokio::test]
async fn connections_are_bounded_and_one_more_is_closed() {
    let rig = Rig::start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(Web::new(rig.core.clone(), Arc::clone(&rig.history), clock).serve(listener));
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let mut more = TcpStream::connect(address).await.unwrap();
    let mut byte = [0; 1];
    let closed = tokio::io::AsyncReadExt::read(&mut more, &mut byte);
    let closed = tokio::time::timeout(Duration::from_secs(5), closed).await.unwrap();
    assert!(matches!(closed, Ok(0) | Err(_)));
    drop(silent);
    let url = format!("http://{address}/metrics");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while reqwest::get(&url).await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "places are not given back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    serving.abort();
}
