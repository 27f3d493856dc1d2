//! `readings --watch`: the readings of this machine on a terminal, drawn anew as they change.
//!
//! What must never enter: what a sensor reads, and any connection.

mod table;
mod terminal;

use std::io::{IsTerminal, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use skynet_model::time::Span;
use skynet_node::host::{Host, LocalHost};
use skynet_node::runner::Runner;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::config::Config;
use crate::readings;
use table::{Table, View};
use terminal::Terminal;

/// Shortest interval between two drawings.
const MIN_EVERY: Duration = Duration::from_millis(100);
/// After the first sensors began: so long that most have said something.
const FIRST: Duration = Duration::from_millis(300);

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    End,
    /// Rows down; up when negative.
    Line(isize),
    Page(isize),
    Top,
    Bottom,
}

/// The keys in what a terminal sent; others are nothing.
fn keys(mut bytes: &[u8]) -> Vec<Key> {
    const KEYS: [(&[u8], Key); 14] = [
        (b"q", Key::End),
        (b"Q", Key::End),
        // Ctrl-C, Ctrl-D.
        (b"\x03", Key::End),
        (b"\x04", Key::End),
        (b"\x1b[A", Key::Line(-1)),
        (b"k", Key::Line(-1)),
        (b"\x1b[B", Key::Line(1)),
        (b"j", Key::Line(1)),
        (b"\x1b[5~", Key::Page(-1)),
        (b"\x1b[6~", Key::Page(1)),
        (b" ", Key::Page(1)),
        (b"g", Key::Top),
        (b"\x1b[H", Key::Top),
        (b"G", Key::Bottom),
    ];
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let known = KEYS.iter().find(|(text, _)| bytes.starts_with(text));
        found.extend(known.map(|(_, key)| *key));
        let sequence = bytes.strip_prefix(b"\x1b[").and_then(|rest| Some(rest.iter().position(|b| *b >= 0x40)? + 3));
        let used = known.map(|(text, _)| text.len()).or(sequence).unwrap_or(1);
        bytes = &bytes[used.min(bytes.len())..];
    }
    found
}

/// Shows the readings until q, Ctrl-C or a signal; then the terminal is as it was. Where standard output is no terminal
/// the whole list is printed every time, without colours.
///
/// # Errors
/// When the kept policy cannot be read or the terminal cannot be used.
pub fn run(config: Option<&Config>, filter: Option<&str>, every: Span) -> anyhow::Result<()> {
    let (uses, scripts) = readings::used(config)?;
    let table = Arc::new(Mutex::new(Table::new(filter)));
    let taken = Arc::clone(&table);
    let host: Arc<dyn Host> = Arc::new(LocalHost::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let terminal = Terminal::take().context("setting the terminal up")?;
    let mut runner = Runner::new(host, Arc::new(move |sweep| lock(&taken).take(&sweep)));
    runner.apply(&uses, &scripts);
    let shown = runtime.block_on(show(&table, terminal.as_ref(), every.std().max(MIN_EVERY)));
    drop(terminal);
    match shown {
        // Whoever read it has read enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        shown => Ok(shown?),
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    // Rows are whole after every call, even one that panicked.
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads keys on a thread that ends with the process: a read of a terminal cannot be called off.
fn listen() -> std::io::Result<mpsc::UnboundedReceiver<Key>> {
    let (pressed, keys_of) = mpsc::unbounded_channel();
    std::thread::Builder::new().name("keys".into()).stack_size(64 << 10).spawn(move || {
        let mut buf = [0; 64];
        while let Ok(n @ 1..) = std::io::stdin().read(&mut buf) {
            for key in keys(&buf[..n]) {
                if pressed.send(key).is_err() {
                    return;
                }
            }
        }
        // The terminal is gone.
        let _ = pressed.send(Key::End);
    })?;
    Ok(keys_of)
}

async fn show(table: &Mutex<Table>, terminal: Option<&Terminal>, every: Duration) -> std::io::Result<()> {
    let mut ends = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
    let [Ok(term), Ok(int), Ok(hup)] = &mut ends else { return Err(std::io::Error::other("signals cannot be taken")) };
    let mut resized = signal(SignalKind::window_change())?;
    let listens = terminal.is_some() && std::io::stdin().is_terminal();
    let mut keys = if listens { listen()? } else { mpsc::unbounded_channel().1 };
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + FIRST.min(every), every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut view = View::default();
    loop {
        let fresh = tokio::select! {
            _ = term.recv() => return Ok(()),
            _ = int.recv() => return Ok(()),
            _ = hup.recv() => return Ok(()),
            _ = resized.recv() => false,
            Some(key) = keys.recv() => match key {
                Key::End => return Ok(()),
                Key::Line(n) => { view.scroll(n); false }
                Key::Page(n) => { view.page(n); false }
                Key::Top => { view.top(); false }
                Key::Bottom => { view.bottom(); false }
            },
            _ = ticks.tick() => true,
        };
        let mut rows = lock(table);
        if fresh {
            rows.refresh();
        }
        let text = match terminal {
            Some(terminal) => rows.screen(&mut view, terminal.size(), terminal.colours),
            None => rows.list(),
        };
        drop(rows);
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_what_is_none_is_passed_over() {
        assert_eq!(
            keys(b"jk\x1b[A\x1b[6~x\x1b[1;5Cq"),
            [Key::Line(1), Key::Line(-1), Key::Line(-1), Key::Page(1), Key::End]
        );
        assert_eq!(keys(b"\x1b"), []);
        assert_eq!(keys(b"\x03"), [Key::End]);
    }
}
