//! A sweep like the one before it allocates nothing: for the sensors that run every second or on every server, and for the
//! engine, whatever windows and folds its conditions hold.
//!
//! A binary of its own with one test: its allocator counts for the whole process.

#![allow(unsafe_code, reason = "an allocator is unsafe by nature; this one only counts and hands on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use skynet_engine::{Engine, Input, Sweep, SweepEnd};
use skynet_model::name::ServerId;
use skynet_model::policy::{File, load};
use skynet_model::series::{Labels, SeriesKey};
use skynet_model::time::{Span, Timestamp};
use skynet_node::host::{Host, LocalHost};
use skynet_node::sensors::{all_builtin_uses, build};
use tokio::time::Instant;

struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::SeqCst);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Sweeps in a row that must allocate nothing.
const RUN: usize = 20;

#[test]
fn a_sweep_in_a_steady_state_allocates_nothing() {
    sensors();
    engine();
    let before = COUNT.load(Ordering::SeqCst);
    drop(std::hint::black_box(vec![1u8; 100]));
    assert!(COUNT.load(Ordering::SeqCst) > before, "the allocator does not count");
}

fn sensors() {
    let host: Arc<dyn Host> = Arc::new(LocalHost::new());
    let uses = all_builtin_uses();
    for name in ["cpu", "disk", "load", "memory", "network", "process"] {
        let usage = uses.iter().find(|usage| usage.sensor == name).unwrap();
        let mut sensor = build(usage, &BTreeMap::new());
        let mut out = Vec::with_capacity(10_000);
        // Processes, mounts and interfaces of this machine come and go: it is steady only now and then.
        let began = Instant::now();
        let mut least = u64::MAX;
        while least > 0 {
            assert!(began.elapsed() < Duration::from_secs(20), "{name}: at least {least} allocations in {RUN} sweeps");
            let before = COUNT.load(Ordering::SeqCst);
            for _ in 0..RUN {
                out.clear();
                sensor.sweep(&host, &mut out).unwrap();
            }
            least = least.min(COUNT.load(Ordering::SeqCst) - before);
        }
        assert!(!out.is_empty(), "{name} saw nothing");
    }
}

/// Conditions that use each kind of window and fold, over readings that change but make nothing fire.
const POLICY: &str = r#"
profile: all
match: { role: web }
sensors: [cpu, disk, load]
---
scenario: plain
when: disk.used_ratio > 2
---
scenario: windows
when: >-
  avg(disk.used_ratio, "20s") > 2 && min(disk.used_ratio, "30s") > 2 || max(disk.used_ratio, "20s") > 2
  || sum(disk.used_ratio, "20s") > 9999 || delta(disk.used_ratio, "20s") > 2
  || forecast(disk.used_ratio, "1m", "5s") > 99
---
scenario: folds
when: total(disk.used_ratio) > 9999 || highest(disk.used_ratio) > 2 || lowest(avg(disk.used_ratio, "20s")) > 2
---
scenario: grouped
when: total(disk.used_ratio) > 9999
per: [mount]
"#;

fn engine() {
    let files = [File { name: "p.yaml".to_owned(), text: POLICY.to_owned() }];
    let policy = load(&files, skynet_node::catalogue()).unwrap();
    let (mut engine, mut out, server) = (Engine::new(), Vec::new(), ServerId::new("web1").unwrap());
    let start = Timestamp(1_700_000_000_000);
    engine.start(start, 1);
    engine.set_policy(start, 1, Arc::new(policy), &mut out);
    let labels = Labels::new([("role", "web")]);
    engine.handle(start, Input::Labelled { server: server.clone(), labels }, &mut out);
    let (boot, version) = ("b".to_owned(), "1".to_owned());
    engine.handle(start, Input::Connected { server: server.clone(), boot, version }, &mut out);
    let seat = engine.seat(&server).unwrap();
    let mut hot = seat.enter(start).unwrap();
    for id in 0..10 {
        hot.announce(id, SeriesKey::new("disk.used_ratio", [("mount", format!("/{id}"))]));
    }
    assert!(!hot.leave());
    let sweep = |second: i64| {
        let now = start.plus(Span::seconds(second));
        let mut readings = [(0, 0.0); 10];
        for (id, reading) in (0u32..).zip(&mut readings) {
            *reading = (id, f64::from(id + second as u32 % 7) / 20.0);
        }
        let sweep = Sweep {
            sensor: "disk",
            every: Span::seconds(1),
            started: now,
            started_boot_ms: second * 1000,
            readings: &readings,
            end: SweepEnd::Complete,
        };
        let mut hot = seat.enter(now).unwrap();
        hot.sweep(&sweep);
        hot.leave()
    };
    // Windows are full and know their past.
    (1..200).for_each(|second| {
        sweep(second);
    });
    let mut hot = seat.enter(start).unwrap();
    assert_eq!(hot.hungry(1000).len(), 60, "there are windows");
    let _ = hot.leave();
    engine.handle(start.plus(Span::seconds(199)), Input::Found { server: server.clone() }, &mut out);
    let before = COUNT.load(Ordering::SeqCst);
    let found = (200..1200).filter(|second| sweep(*second)).count();
    let made = COUNT.load(Ordering::SeqCst) - before;
    assert_eq!(found, 0, "nothing fires");
    assert_eq!(made, 0, "allocations of the engine in 1000 sweeps");
}
