//! Keys come in over standard input, and are found nowhere but in locked memory.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

use super::rig::{Controller, NOBODY};

/// As bytes that no program holds: what is looked for must not be in the code that looks, nor in one piece in this one.
fn key() -> Vec<u8> {
    (0..48_u8).map(|i| b'A' + (i.wrapping_mul(37) ^ 0x5b) % 26).collect()
}

fn bundle() -> Vec<u8> {
    [b"skynet-keys 1\n[ca-key]\n", &*key(), b"\n[redis-writer]\nhunter2hunter2\n"].concat()
}

/// Most of a process's memory is zeros, which are skipped a page at a time.
fn count(bytes: &[u8], what: &[u8]) -> usize {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut found = 0;
    for (page, chunk) in bytes.chunks(ZEROS.len()).enumerate() {
        if chunk != &ZEROS[..chunk.len()] {
            let begins = (0..chunk.len()).filter(|at| chunk[*at] == what[0]);
            found += begins.filter(|at| bytes[page * ZEROS.len() + at..].starts_with(what)).count();
        }
    }
    found
}

/// How often the key is in the memory of a process that can be written to.
fn in_memory(pid: u32) -> usize {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut found = 0;
    for line in maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|mode| mode.starts_with("rw"))) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        let mut bytes = Vec::new();
        memory.seek(SeekFrom::Start(number(from))).unwrap();
        // A mapping may go away while it is read.
        let _ = Read::by_ref(&mut memory).take(number(to) - number(from)).read_to_end(&mut bytes);
        found += count(&bytes, &key());
    }
    found
}

fn in_files(folder: &Path) -> usize {
    let mut found = 0;
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found += in_files(&entry.path());
        } else if kind.is_file() {
            found += count(&fs::read(entry.path()).unwrap(), &key());
        }
    }
    found
}

#[allow(clippy::print_stderr, reason = "what is skipped is said")]
fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: only root can look into another process");
    }
    root
}

#[test]
fn keys_are_in_locked_memory_only_and_sealing_wipes_them() {
    if !is_root() {
        return;
    }
    // So that a core image is written if the controller does not see to it.
    let most = getrlimit(Resource::Core).maximum;
    setrlimit(Resource::Core, Rlimit { current: most, maximum: most }).unwrap();
    let mut controller = Controller::start("", &[]);
    let pid = controller.child.id();

    let (fine, text) = controller.give(&["unseal"], b"age-encryption.org/v1\n-> scrypt");
    assert!(!fine && text.contains("age -d"), "{text}");
    let (fine, text) = controller.give(&["unseal"], &[&bundle()[..], &vec![b'x'; 70_000]].concat());
    assert!(!fine && text.contains("more than 65536 bytes"), "{text}");
    assert_eq!(in_memory(pid), 0, "what was refused is wiped");
    let (fine, text) = controller.give(&["unseal"], &bundle());
    assert!(fine && text.contains("unsealed: ca-key redis-writer"), "{text}");
    assert_eq!(in_memory(pid), 1, "in its place, and nowhere else");

    let image = controller.folder.path().join("image");
    let dumped = Command::new("gcore").arg("-o").arg(&image).arg(pid.to_string()).output();
    if let Ok(dumped) = dumped
        && dumped.status.success()
    {
        let image = fs::read(controller.folder.path().join(format!("image.{pid}"))).unwrap();
        assert!(count(&image, b"skynet-controller") > 0, "the image is one");
        assert_eq!(count(&image, &key()), 0, "the keys' pages are left out of core images");
    } else {
        eprintln!("skipped: a core image needs gcore (gdb); memory and folders were searched all the same");
    }

    let (fine, text) = controller.give(&["unseal"], &bundle());
    assert!(fine, "{text}");
    assert_eq!(in_memory(pid), 1, "the former keys are wiped when others come");
    let (fine, text) = controller.give(&["seal"], b"");
    assert!(fine && text.contains("sealed"), "{text}");
    assert_eq!(in_memory(pid), 0, "sealing wipes them");

    let (_, log) = controller.give(&["logs", "-o", "json"], b"");
    let calls: Vec<&str> = log.lines().filter(|line| line.contains("operator_called")).collect();
    assert_eq!(calls.len(), 3, "{log}");
    assert!(calls[0].contains("\"Unseal\"") && calls[0].contains("ca-key redis-writer"), "{log}");
    assert!(calls[2].contains("\"Seal\""), "{log}");

    let (fine, text) = controller.give(&["unseal"], &bundle());
    assert!(fine, "{text}");
    kill_process(Pid::from_child(&controller.child), Signal::ABORT).unwrap();
    let ended = controller.child.wait().unwrap();
    assert!(ended.signal().is_some() && !ended.core_dumped(), "{ended:?}");
    assert_eq!(in_files(controller.folder.path()), 0, "neither in the data folder nor in the log");
}

#[test]
fn only_admins_open_the_vault() {
    if !is_root() {
        return;
    }
    let controller = Controller::start("[operators]\noperators = [\"nobody\"]\nadmins = [\"64200\"]", &[]);
    let (fine, text) = controller.run((NOBODY, NOBODY), &["seal"]);
    assert!(!fine && text.contains("needs the role admin; nobody is operator"), "{text}");
    let (fine, text) = controller.run((64_200, 64_200), &["seal"]);
    assert!(fine, "{text}");
}

#[test]
fn keys_from_a_folder_are_said_to_be_on_disk() {
    let keys = tempfile::tempdir().unwrap();
    fs::write(keys.path().join("ca-key"), key()).unwrap();
    let controller = Controller::start("", &["--keys-from", keys.path().to_str().unwrap()]);
    let (fine, text) = controller.give(&["logs"], b"");
    assert!(fine, "{text}");
    let log = fs::read_to_string(controller.folder.path().join("log")).unwrap();
    assert!(log.contains("INSECURE") && log.contains("--keys-from") && !log.contains("the vault is sealed"), "{log}");
}
