//! A sweep like the one before it allocates nothing, for the sensors that run every second or on every server.
//!
//! A binary of its own with one test: its allocator counts for the whole process.

#![allow(unsafe_code, reason = "an allocator is unsafe by nature; this one only counts and hands on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use skynet_node::host::{Host, LocalHost};
use skynet_node::sensors::{all_builtin_uses, build};

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
    let before = COUNT.load(Ordering::SeqCst);
    drop(std::hint::black_box(vec![1u8; 100]));
    assert!(COUNT.load(Ordering::SeqCst) > before, "the allocator does not count");
}
