//! `readings --watch` on a real terminal: it draws, follows keys and signals, and leaves the terminal as it was.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

const LIMIT: Duration = Duration::from_secs(30);

#[allow(clippy::disallowed_methods)]
fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < LIMIT, "waited too long");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// `readings --watch` on a pseudo-terminal of 24 rows and 100 columns.
struct Watch {
    child: Child,
    keyboard: File,
    /// Kept open, so that what was written last is not lost with the child.
    terminal: OwnedFd,
    screen: Arc<Mutex<String>>,
    before: String,
}

fn modes(terminal: &OwnedFd) -> String {
    let modes = tcgetattr(terminal).unwrap();
    format!("{:?} {:?} {:?} {:?}", modes.input_modes, modes.output_modes, modes.control_modes, modes.local_modes)
}

impl Watch {
    fn start(args: &[&str], env: &[(&str, &str)]) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let terminal = ioctl_tiocgptpeer(&master, flags).unwrap();
        tcsetwinsize(&terminal, Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let before = modes(&terminal);
        let side = || Stdio::from(terminal.try_clone().unwrap());
        let child = Command::new(env!("CARGO_BIN_EXE_skynet-agent"))
            .args(["readings", "--watch", "--every", "200ms"])
            .args(args)
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .envs(env.iter().copied())
            .stdin(side())
            .stdout(side())
            .stderr(side())
            .spawn()
            .unwrap();
        let screen = Arc::new(Mutex::new(String::new()));
        let (seen, mut output) = (Arc::clone(&screen), File::from(master.try_clone().unwrap()));
        std::thread::spawn(move || {
            let mut buf = [0; 4096];
            while let Ok(n @ 1..) = output.read(&mut buf) {
                seen.lock().unwrap().push_str(&String::from_utf8_lossy(&buf[..n]));
            }
        });
        Self { child, keyboard: File::from(master), terminal, screen, before }
    }

    fn screen(&self) -> String {
        self.screen.lock().unwrap().clone()
    }

    /// Waits until it was drawn so.
    fn sees(&self, what: &str) {
        wait_for(|| self.screen().contains(what).then_some(()));
    }

    /// Waits for its end, and that the terminal is as it was.
    fn ended(mut self) -> (ExitStatus, String) {
        let status = wait_for(|| self.child.try_wait().unwrap());
        self.sees("\x1b[?25h\x1b[?1049l");
        assert_eq!(modes(&self.terminal), self.before);
        (status, self.screen())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn q_and_ctrl_c_end_it_and_leave_the_terminal_as_it_was() {
    for key in [&b"q"[..], b"\x03"] {
        let mut watch = Watch::start(&[], &[]);
        watch.sees("memory.total_bytes");
        let now = tcgetattr(&watch.terminal).unwrap().local_modes;
        assert!(!now.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG), "{now:?}");
        watch.keyboard.write_all(key).unwrap();
        let (status, screen) = watch.ended();
        assert!(status.success(), "{status}");
        assert!(screen.starts_with("\x1b[?1049h\x1b[?25l"), "{screen:?}");
        assert!(screen.contains("GiB") || screen.contains("MiB"), "no units: {screen:?}");
    }
}

#[test]
fn signals_leave_the_terminal_as_it_was() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let watch = Watch::start(&[], &[]);
        watch.sees("load.one");
        kill_process(Pid::from_child(&watch.child), signal).unwrap();
        assert!(watch.ended().0.success(), "{signal:?}");
    }
}

#[test]
fn changes_are_coloured_unless_the_environment_says_no() {
    let watch = Watch::start(&[], &[]);
    watch.sees("\x1b[1;33m");
    drop(watch);
    let mut plain = Watch::start(&["--filter", "cpu.*"], &[("NO_COLOR", "1")]);
    plain.sees("cpu.busy_ratio");
    let drawn = || plain.screen().matches("\x1b[H").count();
    let then = drawn();
    wait_for(|| (drawn() > then + 5).then_some(()));
    plain.keyboard.write_all(b"q").unwrap();
    let (_, screen) = plain.ended();
    assert!(!screen.contains("\x1b[0m") && !screen.contains("\x1b[1"), "{screen:?}");
}

#[test]
fn a_filter_leaves_the_others_out_and_keys_scroll() {
    let mut watch = Watch::start(&["--filter", "*o*"], &[]);
    watch.sees("load.one");
    watch.sees("arrows and pages scroll");
    assert!(watch.screen().contains("readings 1-"));
    watch.keyboard.write_all(b"\x1b[B").unwrap();
    watch.sees("readings 2-");
    tcsetwinsize(&watch.terminal, Winsize { ws_row: 500, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    watch.sees("readings   q ends");
    watch.keyboard.write_all(b"q").unwrap();
    let (_, screen) = watch.ended();
    assert!(!screen.contains("cpu.busy_ratio"), "{screen:?}");
}

#[test]
fn without_a_terminal_it_prints_plain_lists_until_nobody_reads_them() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_skynet-agent"))
        .args(["readings", "--watch", "--every", "100ms", "--filter", "load.*"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = child.stdout.take().unwrap();
    let mut text = String::new();
    while text.matches("load.one").count() < 3 {
        let mut buf = [0; 1024];
        let n = output.read(&mut buf).unwrap();
        assert!(n > 0, "it ended: {text}");
        text.push_str(&String::from_utf8_lossy(&buf[..n]));
    }
    assert!(!text.contains('\x1b') && !text.contains("memory"), "{text:?}");
    drop(output);
    assert!(wait_for(|| child.try_wait().unwrap()).success());
}

#[test]
fn one_of_once_and_watch_is_asked_for() {
    for args in [&["readings"][..], &["readings", "--once", "--watch"], &["readings", "--watch", "-o", "json"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_skynet-agent")).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
    let output =
        Command::new(env!("CARGO_BIN_EXE_skynet-agent")).args(["readings", "--once", "--filter", "load.*"]).output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    assert!(text.contains("load.one") && !text.contains("cpu."), "{text}");
}
