use std::path::{Path, PathBuf};

use skynet_model::series::SeriesKey;
use skynet_model::time::{Span, Timestamp};

use super::*;
use crate::spool::Spool;
use crate::store::Folder;

const LIMITS: Limits = Limits { bytes: 64 << 20, age_ms: 86_400_000 };

fn shared(max: usize, first_seq: u64) -> Arc<Shared> {
    Shared::new(Spool::new(max, first_seq))
}

fn keeper(shared: &Arc<Shared>, boot: &str, path: &Path, limits: Limits) -> Keeper {
    let path: PathBuf = path.to_owned();
    let open = Box::new(move || Folder::open(&path).map(|folder| Box::new(folder) as Box<dyn Disk>));
    Keeper::new(shared.clone(), boot.to_owned(), open, limits)
}

fn push(shared: &Shared, at: i64, readings: usize) {
    let key = |i| Arc::new(SeriesKey::new("a.x", [("n", format!("{i}").as_str())]));
    shared.push(Sweep {
        sensor: "a".into(),
        every: Span::seconds(1),
        started: Timestamp(at),
        started_boot_ms: at,
        result: Ok((0..readings).map(|i| (key(i), 0.5)).collect()),
    });
}

/// What a session would send of the backlog, acknowledged at once: boot and time of each sweep, and readings.
fn drain(shared: &Shared, keeper: &mut Keeper) -> (Vec<(Option<String>, i64)>, u64) {
    let (mut sweeps, mut readings) = (Vec::new(), 0);
    for _ in 0..10_000 {
        keeper.turn(0, 2 * PAUSE_MS, false);
        let mut held = shared.lock();
        while let Some(batch) = held.spool.next_late(4) {
            let (boot, seq) = (batch.boot.as_deref().map(str::to_owned), batch.seq);
            readings += batch.readings();
            sweeps.extend(batch.parts().map(|part| (boot.clone(), part.boot_ms)));
            match boot {
                Some(boot) => held.spool.ack_other(&boot, seq),
                None => held.spool.ack(seq),
            }
        }
        if !held.spool.has_backlog() {
            return (sweeps, readings);
        }
    }
    panic!("the backlog does not end");
}

#[test]
fn the_backlog_goes_to_disk_and_comes_back_after_a_restart_and_after_a_reboot() {
    let dir = tempfile::tempdir().unwrap();
    let first = shared(200_000, 1);
    let mut one = keeper(&first, "boot-1", dir.path(), LIMITS);
    for at in 0..50 {
        push(&first, at, 100);
        one.turn(0, 0, false);
    }
    assert!(first.lock().spool.len() <= 101, "but for the latest sweep all is on disk");
    // Killed: the latest sweep is lost, no other.
    drop(one);
    let second = shared(200_000, 1000);
    let mut two = keeper(&second, "boot-1", dir.path(), LIMITS);
    push(&second, 50, 100);
    two.turn(0, 0, false);
    // Stopped: nothing is lost.
    two.turn(0, 0, true);
    drop(two);
    let third = shared(200_000, 7);
    let mut three = keeper(&third, "boot-2", dir.path(), LIMITS);
    push(&third, 1, 100);
    push(&third, 2, 100);
    three.turn(0, 0, false);
    third.lock().spool.begin_session();
    assert_eq!(third.lock().spool.next_live().unwrap().readings(), 100, "the present goes first");
    let (sweeps, readings) = drain(&third, &mut three);
    let expected: Vec<_> = (0..49).chain([50]).map(|at| (Some("boot-1".to_owned()), at)).chain([(None, 1)]).collect();
    assert_eq!(sweeps, expected);
    assert_eq!(readings, 51 * 100);
    three.turn(0, 0, false);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "only the lock is left");
}

#[test]
fn a_session_that_breaks_gets_what_was_not_acknowledged_again() {
    let dir = tempfile::tempdir().unwrap();
    let shared = shared(200_000, 1);
    let mut keeper = keeper(&shared, "boot", dir.path(), LIMITS);
    for at in 0..20 {
        push(&shared, at, 10);
        keeper.turn(0, 0, false);
    }
    for _ in 0..3 {
        shared.lock().spool.begin_session();
        keeper.turn(0, 0, false);
        let sent = std::iter::from_fn(|| shared.lock().spool.next_late(4).map(|batch| batch.seq)).collect::<Vec<_>>();
        assert_eq!(sent.len(), 4, "the window");
        assert!(sent.is_sorted());
        shared.lock().spool.end_session();
        keeper.turn(0, 0, false);
    }
    shared.lock().spool.begin_session();
    let (sweeps, _) = drain(&shared, &mut keeper);
    let mut times: Vec<i64> = sweeps.into_iter().map(|(_, at)| at).collect();
    times.sort_unstable();
    times.dedup();
    assert_eq!(times.len() + usize::from(shared.lock().spool.has_live()), 20);
}

#[test]
fn while_acknowledged_promptly_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let shared = shared(200_000, 1);
    let mut keeper = keeper(&shared, "boot", dir.path(), LIMITS);
    shared.lock().spool.begin_session();
    for at in 0..20 {
        push(&shared, at, 10);
        let mut held = shared.lock();
        let seq = held.spool.next_live().unwrap().seq;
        held.spool.ack(seq);
        drop(held);
        assert!(!keeper.turn(0, 0, false));
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_loss_is_kept_on_disk_until_it_was_told_and_heard() {
    let dir = tempfile::tempdir().unwrap();
    let first = shared(1000, 1);
    (0..20).for_each(|at| push(&first, at, 99));
    let mut one = keeper(&first, "boot-1", dir.path(), LIMITS);
    one.turn(0, 0, true);
    drop(one);
    let second = shared(200_000, 1000);
    let mut two = keeper(&second, "boot-2", dir.path(), LIMITS);
    for proved in [false, true, true] {
        push(&second, 1, 1);
        two.turn(0, 0, false);
        second.lock().spool.begin_session();
        two.turn(0, 0, false);
        let mut losses = second.lock().spool.take_losses();
        let (_, _) = drain(&second, &mut two);
        losses.extend(second.lock().spool.take_losses());
        let lost: u64 = losses.iter().map(|loss| loss.readings).sum();
        let boots: Vec<_> = losses.iter().filter_map(|loss| loss.boot.as_deref()).collect();
        if !dir.path().join("heard").exists() {
            assert_eq!((lost, boots), (11 * 99, vec!["boot-1"]), "{losses:?}");
        } else {
            assert_eq!(lost, 0);
        }
        if proved {
            let seq = second.lock().spool.next_live().unwrap().seq;
            second.lock().spool.ack(seq);
            std::fs::write(dir.path().join("heard"), "").unwrap();
        }
        second.lock().spool.end_session();
    }
}

#[test]
fn a_folder_that_cannot_be_used_leaves_readings_in_memory_and_is_tried_again_later() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool");
    std::fs::write(&path, "not a folder").unwrap();
    let shared = shared(1000, 1);
    let mut keeper = keeper(&shared, "boot", &path, LIMITS);
    for at in 0..20 {
        push(&shared, at, 99);
        keeper.turn(0, at, false);
    }
    assert!(shared.lock().spool.len() <= 1000);
    std::fs::remove_file(&path).unwrap();
    keeper.turn(0, PAUSE_MS - 1, false);
    assert!(!path.exists());
    keeper.turn(0, PAUSE_MS + 20, false);
    shared.lock().spool.begin_session();
    let losses = shared.lock().spool.take_losses();
    let live = shared.lock().spool.next_live().unwrap().readings();
    let (_, late) = drain(&shared, &mut keeper);
    let told: u64 = losses.iter().chain(&shared.lock().spool.take_losses()).map(|loss| loss.readings).sum();
    assert_eq!(live + late + told, 20 * 99, "each reading is there, or in a gap");
    assert_eq!(told, 11 * 99);
}

#[test]
fn what_does_not_fit_the_disk_is_a_gap_of_the_right_size() {
    let dir = tempfile::tempdir().unwrap();
    let shared = shared(200_000, 1);
    let mut keeper = keeper(&shared, "boot", dir.path(), Limits { bytes: 2 << 20, ..LIMITS });
    for at in 0..60 {
        push(&shared, at, 2000);
        keeper.turn(0, 0, false);
    }
    shared.lock().spool.begin_session();
    let live = shared.lock().spool.next_live().unwrap().readings();
    keeper.turn(0, 0, false);
    let mut told: u64 = shared.lock().spool.take_losses().iter().map(|loss| loss.readings).sum();
    let (_, late) = drain(&shared, &mut keeper);
    told += shared.lock().spool.take_losses().iter().map(|loss| loss.readings).sum::<u64>();
    assert!(told > 0);
    assert_eq!(live + late + told, 60 * 2000);
}
