//! The firewall, for real: nft in a network namespace of the test's own.

use std::path::Path;
use std::process::{Child, Command as Program, Stdio};

use super::*;
use crate::proxy::Proxy;

/// A namespace that lasts as long as a process of ours in it.
struct Namespace(Child);

impl Namespace {
    /// None without root: there is nothing to make one with.
    fn make() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return None;
        }
        assert!(Program::new("nft").arg("--version").output().is_ok(), "this test needs nft: run make deps");
        // It says a word once it is there, and goes when its input ends.
        let mut command = Program::new("unshare");
        command.args(["-n", "sh", "-c", "ip link set lo up; ip addr add 198.51.100.1/24 dev lo; echo up; exec cat"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut word = [0; 3];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut word).unwrap();
        Some(Self(child))
    }

    fn host(&self) -> Proxy {
        let pid = self.0.id();
        let within = move |exec: &Exec| {
            let mut exec = exec.clone();
            let front = ["-t".to_owned(), pid.to_string(), "-n".to_owned(), exec.program.clone()];
            exec.args.splice(0..0, front);
            exec.program = "nsenter".to_owned();
            exec
        };
        let file = move |path: &Path| match path.strip_prefix("/proc/net") {
            Ok(rest) => PathBuf::from(format!("/proc/{pid}/net")).join(rest),
            Err(_) => path.to_owned(),
        };
        Proxy { host: LocalHost::new(), program: Box::new(within), file: Box::new(file) }
    }

    /// What nft lists of the table.
    fn listed(&self) -> String {
        let pid = self.0.id().to_string();
        let args = ["-t", &pid, "-n", "nft", "list", "table", "inet", "skynet"];
        let output = Program::new("nsenter").args(args).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn addresses_are_blocked_for_a_while_and_let_in_again() {
    let Some(namespace) = Namespace::make() else { return };
    let host = namespace.host();
    let world = World::new(&[], &[]);
    let run =
        |name: &str, pairs: &[(&str, &str)]| find(name).unwrap().1.run(&host, &params(pairs, name), &world.context());
    let block = |ip: &str, ttl: &str| run("firewall.block", &[("ip", ip), ("ttl", ttl)]);
    assert_eq!(block("203.0.113.7", "1h"), Ok("blocked 203.0.113.7 for 1h".to_owned()));
    assert!(namespace.listed().contains("203.0.113.7 timeout 1h expires"), "{}", namespace.listed());
    assert_eq!(block("203.0.113.7", "2d"), Ok("blocked 203.0.113.7 for 2d".to_owned()));
    assert!(namespace.listed().contains("203.0.113.7 timeout 2d"), "a block is renewed: {}", namespace.listed());
    block("2001:db8::7", "90s").unwrap();
    block("::ffff:203.0.113.8", "1m").unwrap();
    let listed = namespace.listed();
    assert!(listed.contains("2001:db8::7 timeout 1m30s") && listed.contains("203.0.113.8 timeout 1m"), "{listed}");
    assert_eq!(listed.matches(" drop").count(), 2, "the rules are there once, however often it runs: {listed}");
    for _ in 0..2 {
        assert_eq!(run("firewall.unblock", &[("ip", "203.0.113.7")]), Ok("203.0.113.7 is not blocked".to_owned()));
        assert!(!namespace.listed().contains("203.0.113.7"), "{}", namespace.listed());
    }
    assert!(namespace.listed().contains("203.0.113.8"), "others stay");
}

#[test]
fn a_server_does_not_block_itself() {
    let Some(namespace) = Namespace::make() else { return };
    let host = namespace.host();
    let world = World::new(&[], &[]);
    let block = |ip: &str, ttl: &str| {
        let params = params(&[("ip", ip), ("ttl", ttl)], "firewall.block");
        find("firewall.block").unwrap().1.run(&host, &params, &world.context())
    };
    for ip in
        ["127.0.0.1", "::1", "198.51.100.1", "::ffff:198.51.100.1", "0.0.0.0", "::", "224.0.0.1", "255.255.255.255"]
    {
        let refused = block(ip, "1h");
        assert!(matches!(refused, Err(ActionError::Refused(_))), "{ip}: {refused:?}");
    }
    for ttl in ["0s", "31d"] {
        let refused = block("203.0.113.7", ttl);
        assert!(matches!(refused, Err(ActionError::Refused(_))), "{ttl}: {refused:?}");
    }
    assert_eq!(namespace.listed(), "", "nothing was set up for what was refused");
}
