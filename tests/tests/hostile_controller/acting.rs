//! A real `skynet-agent act` on one end of a socket pair, and the traces of what it does.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use skynet_controller::certs;
use skynet_node::actor::{Reply, Request, frame};
use skynet_node::host::{Host, LocalHost};
use skynet_tests::programs;
use skynet_tests::signing::Keys;

use crate::envelope::Effect;

/// Files that no command may touch.
const KEPT: [&str; 3] = ["keep/one", "cache/precious1", "cache/precious2"];
/// Files that forged commands aim at, and a rare good one may delete.
pub(crate) const DECOYS: usize = 16;

pub(crate) struct Acting {
    dir: tempfile::TempDir,
    pub(crate) keys: Keys,
    child: Child,
    bystander: Child,
    stream: UnixStream,
    reader: std::io::BufReader<UnixStream>,
    host: LocalHost,
    lines: Vec<String>,
    deleted: BTreeSet<String>,
}

impl Acting {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().canonicalize().unwrap();
        certs::generate(&place.join("certs"), "demo", &["web1"]).unwrap();
        for folder in ["keep", "cache"] {
            std::fs::create_dir(place.join(folder)).unwrap();
        }
        let decoys = (0..DECOYS).map(|n| format!("cache/{}", decoy(n)));
        for file in KEPT.iter().map(|k| (*k).to_owned()).chain(decoys) {
            std::fs::write(place.join(file), "x").unwrap();
        }
        let keys = Keys::of(&["anna", "ben", "carl", "stranger"]);
        keys.allow(&["anna", "ben", "carl"], &place.join("allowed_signers"));
        let at = place.display();
        let config = format!(
            "controller = \"127.0.0.1:1\"\nca = \"{at}/certs/ca.pem\"\ncert = \"{at}/certs/server-web1.pem\"\n\
             key = \"{at}/certs/server-web1.key\"\ndata_dir = \"{at}/data\"\nsigners = \"{at}/allowed_signers\"\n\
             signers_needed = 2\n[ceiling]\nallow = [\"script.run\", \"files.*\"]\nper_hour = 4000000000\n\
             disruptive_per_hour = 4000000000\n"
        );
        std::fs::write(place.join("agent.toml"), config).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let log = std::fs::File::create(place.join("log")).unwrap();
        let child = Command::new(programs().join("skynet-agent"))
            .args(["act", "--config"])
            .arg(place.join("agent.toml"))
            .env("RUST_LOG", "error")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stderr(log)
            .spawn()
            .unwrap();
        let bystander = Command::new("sleep").arg("3600").spawn().unwrap();
        let reader = std::io::BufReader::new(ours.try_clone().unwrap());
        let (lines, deleted) = (Vec::new(), BTreeSet::new());
        let mut acting =
            Self { dir, keys, child, bystander, stream: ours, reader, host: LocalHost::new(), lines, deleted };
        let ready = acting.receive();
        assert!(matches!(&ready, Reply::Ready { version: 0, .. }), "{ready:?}");
        acting
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap()
    }

    pub(crate) fn boot_ms(&self) -> i64 {
        self.host.boot_ms()
    }

    /// A process that policy could kill and the ceiling forbids.
    pub(crate) fn bystander(&self) -> (u32, u64) {
        let pid = self.bystander.id();
        (pid, self.host.process(pid).unwrap().start)
    }

    pub(crate) fn send(&mut self, request: &Request) {
        frame::write(&mut self.stream, request).unwrap();
    }

    pub(crate) fn receive(&mut self) -> Reply {
        match frame::read(&mut self.reader) {
            Ok(Some(reply)) => reply,
            other => panic!("{other:?}\n{}", std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()),
        }
    }

    pub(crate) fn ask(&mut self, request: &Request) -> Reply {
        self.send(request);
        self.receive()
    }

    /// Makes sure that there is something to delete.
    pub(crate) fn lay(&self, name: &str) {
        std::fs::write(self.dir.path().join("cache").join(name), "x").unwrap();
    }

    /// This must have been done by now.
    pub(crate) fn expect(&mut self, effect: &Effect) {
        match effect {
            Effect::Line(line) => self.lines.push(line.clone()),
            Effect::Deleted(name) => drop(self.deleted.insert(name.clone())),
        }
    }

    /// The files that were to be deleted are gone, and no others.
    pub(crate) fn check_files(&mut self, seed: u64) {
        let there = |file: &str| self.dir.path().join(file).exists();
        for name in &self.deleted {
            assert!(!there(&format!("cache/{name}")), "seed {seed}: {name} was to be deleted");
        }
        for kept in KEPT {
            assert!(there(kept), "seed {seed}: {kept} was deleted");
        }
        for name in (0..DECOYS).map(decoy) {
            assert!(self.deleted.contains(&name) || there(&format!("cache/{name}")), "seed {seed}: {name} was deleted");
        }
        for name in std::mem::take(&mut self.deleted) {
            if name.starts_with('d') {
                self.lay(&name);
            }
        }
    }

    /// The scripts that ran are those that were to run, each once and in order; and nobody was killed.
    pub(crate) fn check_lines(&mut self, seed: u64) {
        let ran = std::fs::read_to_string(self.dir.path().join("effects")).unwrap_or_default();
        let ran: Vec<&str> = ran.lines().collect();
        let first =
            ran.iter().zip(&self.lines).position(|(ran, due)| ran != due).unwrap_or(ran.len().min(self.lines.len()));
        let (here, due) = (ran.get(first), self.lines.get(first));
        assert!(here.is_none() && due.is_none(), "seed {seed}: effect {first} was {here:?}, and was to be {due:?}");
        assert!(self.bystander.try_wait().unwrap().is_none(), "seed {seed}: a process was killed");
    }

    /// Closes the socket: the acting process ends by itself, in order.
    pub(crate) fn end(mut self) {
        self.stream.shutdown(std::net::Shutdown::Both).unwrap();
        let status = self.child.wait().unwrap();
        let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap();
        assert!(status.success() && log.is_empty(), "{status}: {log}");
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        for child in [&mut self.child, &mut self.bystander] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub(crate) fn decoy(number: usize) -> String {
    format!("d{number}")
}

/// `@DIR@` in a policy is this.
pub(crate) fn placed(text: &str, dir: &Path) -> String {
    text.replace("@DIR@", &dir.to_string_lossy())
}
