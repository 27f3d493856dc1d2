use std::fs;
use std::os::unix::fs::symlink;

use super::super::testing::{FixtureHost, list, make, show, sweep, value};
use super::*;
use skynet_model::value::Value;

struct Machine {
    root: tempfile::TempDir,
    host: Arc<FixtureHost>,
    sensor: Box<dyn Sensor>,
}

impl Machine {
    fn new(paths: &[&str], more: &[(&str, i64)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("d")).unwrap();
        let host = Arc::new(FixtureHost::at(root.path().to_owned()));
        let mut params = vec![("paths", list(paths))];
        params.extend(more.iter().map(|(name, n)| (*name, Value::Int(*n))));
        Self { root, host, sensor: make("file", &params) }
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.root.path().join(&path[1..])
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.path(path), text).unwrap();
    }

    fn sweep(&mut self) -> Sample {
        let sample = sweep(&mut *self.sensor, &self.host);
        show(&sample);
        sample
    }

    fn changes(&mut self, path: &str) -> Option<f64> {
        value(&self.sweep(), &format!("file.changes_total{{path=\"{path}\"}}"))
    }
}

fn of(sample: &Sample, series: &str, path: &str) -> Option<f64> {
    value(sample, &format!("file.{series}{{path=\"{path}\"}}"))
}

#[test]
fn a_change_of_content_counts_and_a_touch_does_not() {
    let mut machine = Machine::new(&["/d/a"], &[]);
    machine.write("/d/a", "one");
    let sample = machine.sweep();
    assert_eq!((of(&sample, "present", "/d/a"), of(&sample, "size_bytes", "/d/a")), (Some(1.0), Some(3.0)));
    assert_eq!(of(&sample, "changes_total", "/d/a"), Some(0.0));
    machine.write("/d/a", "one");
    assert_eq!(machine.changes("/d/a"), Some(0.0), "written again, the same");
    machine.write("/d/a", "two");
    assert_eq!(machine.changes("/d/a"), Some(1.0));
    assert_eq!(machine.changes("/d/a"), Some(1.0));
    fs::rename(machine.path("/d/a"), machine.path("/d/b")).unwrap();
    let sample = machine.sweep();
    assert_eq!((of(&sample, "present", "/d/a"), of(&sample, "size_bytes", "/d/a")), (Some(0.0), None));
    assert_eq!(of(&sample, "changes_total", "/d/a"), Some(1.0));
    machine.write("/d/a", "two");
    assert_eq!(machine.changes("/d/a"), Some(1.0), "another file with the same content");
    machine.write("/d/a", "three");
    assert_eq!(machine.changes("/d/a"), Some(2.0));
}

#[test]
fn age_is_by_the_wall_clock() {
    let mut machine = Machine::new(&["/d/a"], &[]);
    machine.write("/d/a", "x");
    let file = fs::File::options().write(true).open(machine.path("/d/a")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(900)).unwrap();
    // The fixture's clock stands at 1,000 s.
    assert_eq!(of(&machine.sweep(), "modified_age_s", "/d/a"), Some(100.0));
}

#[test]
fn a_content_changed_behind_the_times_back_is_found_by_the_full_look() {
    let machine = Machine::new(&["/d/a"], &[]);
    machine.write("/d/a", "one");
    let mut files = Files {
        patterns: vec!["/d/a".into()],
        max_bytes: 100,
        full_every: 3,
        watched: BTreeMap::new(),
        began: false,
        troubles: Troubles::default(),
    };
    let host: Arc<dyn Host> = Arc::<FixtureHost>::clone(&machine.host);
    files.sweep(&host, &mut Vec::new()).unwrap();
    // As after a write that left no trace: the same stat, another content.
    let watched = files.watched.get_mut("/d/a").unwrap();
    watched.content.as_mut().unwrap().0.0 = [7; 32];
    for changes in [0, 0, 1, 1] {
        files.sweep(&host, &mut Vec::new()).unwrap();
        assert_eq!(files.watched["/d/a"].changes, changes);
    }
}

#[test]
fn patterns_find_files_that_come_and_remember_those_that_go() {
    let mut machine = Machine::new(&["/d/*.conf", "/none/*"], &[]);
    machine.write("/d/a.conf", "a");
    machine.write("/d/.hidden.conf", "h");
    machine.write("/d/b.txt", "b");
    fs::create_dir(machine.path("/d/dir.conf")).unwrap();
    let sample = machine.sweep();
    assert_eq!(sample.len(), 4, "{}", show(&sample));
    assert_eq!(of(&sample, "changes_total", "/d/a.conf"), Some(0.0));
    machine.write("/d/new.conf", "n");
    assert_eq!(machine.changes("/d/new.conf"), Some(1.0), "it was not there before");
    fs::remove_file(machine.path("/d/new.conf")).unwrap();
    assert_eq!(of(&machine.sweep(), "present", "/d/new.conf"), Some(0.0));
}

#[test]
fn a_named_file_that_comes_later_is_a_change() {
    let mut machine = Machine::new(&["/d/a"], &[]);
    let sample = machine.sweep();
    assert_eq!((of(&sample, "present", "/d/a"), sample.len()), (Some(0.0), 1));
    machine.write("/d/a", "x");
    assert_eq!(machine.changes("/d/a"), Some(1.0));
}

#[test]
fn what_is_hashed_in_one_sweep_is_bounded_and_the_rest_follows() {
    let mut machine = Machine::new(&["/d/*"], &[("max_bytes", 10)]);
    for name in ["a", "b", "c"] {
        machine.write(&format!("/d/{name}"), "12345678");
    }
    machine.write("/d/large", &"x".repeat(100));
    let hashed = |sample: &Sample| sample.iter().filter(|(key, _)| &*key.name == "file.changes_total").count();
    for n in 1..=4 {
        assert_eq!(hashed(&machine.sweep()), n);
    }
    machine.write("/d/large", &"x".repeat(101));
    assert_eq!(machine.changes("/d/large"), Some(1.0), "its size is part of it");
}

#[test]
fn pipes_and_loops_hold_up_nothing_and_links_are_followed() {
    let mut machine = Machine::new(&["/d/pipe", "/d/loop", "/d/link", "/d/dir"], &[]);
    assert!(std::process::Command::new("mkfifo").arg(machine.path("/d/pipe")).status().unwrap().success());
    symlink("loop", machine.path("/d/loop")).unwrap();
    symlink("a", machine.path("/d/link")).unwrap();
    fs::create_dir(machine.path("/d/dir")).unwrap();
    machine.write("/d/a", "x");
    let sample = machine.sweep();
    let present = |path| of(&sample, "present", path);
    assert_eq!((present("/d/pipe"), present("/d/loop"), present("/d/dir")), (Some(1.0), Some(0.0), Some(1.0)));
    assert_eq!(of(&sample, "changes_total", "/d/pipe"), None);
    machine.write("/d/a", "y");
    assert_eq!(machine.changes("/d/link"), Some(1.0));
}

#[test]
fn files_are_bounded_in_number() {
    let mut machine = Machine::new(&["/d/*"], &[]);
    for n in 0..MAX_FILES + 20 {
        machine.write(&format!("/d/{n:05}"), "");
    }
    let present = |sample: &Sample| sample.iter().filter(|(key, _)| &*key.name == "file.present").count();
    assert_eq!(present(&machine.sweep()), MAX_FILES);
    fs::remove_file(machine.path("/d/00000")).unwrap();
    machine.sweep();
    let sample = machine.sweep();
    assert_eq!(present(&sample), MAX_FILES);
    assert_eq!(of(&sample, "present", "/d/00000"), None, "one that went made room");
}
