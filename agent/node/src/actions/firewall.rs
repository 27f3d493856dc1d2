//! `firewall.block` and `firewall.unblock`: addresses whose packets are dropped for a while.
//!
//! Everything lies in a table of our own, `inet skynet`: one set for each family, whose elements the kernel takes out when
//! their time is over, and two rules. Nobody else's tables are read or changed. Each run is one transaction that makes all
//! of it anew, so it does not matter what was there.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use serde_json::{Value as Json, json};
use skynet_model::catalogue::{ActionSpec, Idempotence, Risk};
use skynet_model::time::Span;
use skynet_model::value::{ParamKind, ParamSpec, Params, Value};

use super::{Action, ActionError, Context, ended, text};
use crate::host::{Exec, Host, HostError};

const IP: ParamSpec =
    ParamSpec { name: "ip", kind: ParamKind::Ip, required: true, default: None, help: "an IPv4 or IPv6 address" };

/// Blocking twice is blocking until the later time.
pub(super) const BLOCK: ActionSpec = ActionSpec {
    name: "firewall.block",
    help: "drops what comes from an address, for a while; needs nft. Refuses loopback and the server's own addresses",
    params: &[
        IP,
        ParamSpec {
            name: "ttl",
            kind: ParamKind::Duration,
            required: false,
            default: Some("1h"),
            help: "how long, 1s to 30d; the kernel ends it by itself",
        },
    ],
    risk: Risk::Reversible,
    idempotence: Idempotence::Declarative,
    deadline: Span::seconds(30),
    inverse: Some("firewall.unblock"),
};
/// Unblocking what is not blocked does nothing.
pub(super) const UNBLOCK: ActionSpec = ActionSpec {
    name: "firewall.unblock",
    help: "lets an address in again that `firewall.block` has blocked",
    params: &[IP],
    risk: Risk::Reversible,
    idempotence: Idempotence::Declarative,
    deadline: Span::seconds(30),
    inverse: Some("firewall.block"),
};

/// Longest block.
const MAX_TTL: Span = Span::hours(30 * 24);

/// Blocks.
#[derive(Debug)]
pub(super) struct Block;
/// Unblocks.
#[derive(Debug)]
pub(super) struct Unblock;

impl Action for Block {
    fn run(&self, host: &dyn Host, params: &Params, context: &Context<'_>) -> Result<String, ActionError> {
        let ip = address(params)?;
        let ttl = params.get("ttl").and_then(Value::as_span).unwrap_or(Span::hours(1));
        if ttl < Span::seconds(1) || ttl > MAX_TTL {
            return Err(ActionError::Refused(format!("ttl {ttl} is not from 1s to 30d")));
        }
        if ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || is_broadcast(ip) {
            return Err(ActionError::Refused(format!("{ip} is no other machine's address")));
        }
        if own_addresses(host)?.contains(&ip) {
            return Err(ActionError::Refused(format!("{ip} is an address of this server itself")));
        }
        // What is there already keeps its old end unless it is taken out first; taking out what is not there fails.
        let mut commands = ground();
        commands.push(element("add", ip, None));
        commands.push(element("delete", ip, None));
        commands.push(element("add", ip, Some(ttl)));
        nft(host, commands, context)?;
        Ok(format!("blocked {ip} for {ttl}"))
    }
}

impl Action for Unblock {
    fn run(&self, host: &dyn Host, params: &Params, context: &Context<'_>) -> Result<String, ActionError> {
        let ip = address(params)?;
        let mut commands = ground();
        commands.push(element("add", ip, None));
        commands.push(element("delete", ip, None));
        nft(host, commands, context)?;
        Ok(format!("{ip} is not blocked"))
    }
}

fn address(params: &Params) -> Result<IpAddr, ActionError> {
    let ip = text(params, "ip")?;
    let ip: IpAddr = ip.parse().map_err(|_| ActionError::Refused(format!("`{ip}` is not an address")))?;
    Ok(ip.to_canonical())
}

fn is_broadcast(ip: IpAddr) -> bool {
    ip == IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// The table, its sets and its rules, whether or not they are there.
fn ground() -> Vec<Json> {
    let set = |name: &str, kind: &str| {
        json!({ "add": { "set": {
            "family": "inet", "table": "skynet", "name": name, "type": kind, "flags": ["timeout"],
        } } })
    };
    let rule = |protocol: &str, set: &str| {
        json!({ "add": { "rule": { "family": "inet", "table": "skynet", "chain": "input", "expr": [
            { "match": {
                "op": "==",
                "left": { "payload": { "protocol": protocol, "field": "saddr" } },
                "right": format!("@{set}"),
            } },
            { "drop": null },
        ] } } })
    };
    vec![
        json!({ "add": { "table": { "family": "inet", "name": "skynet" } } }),
        set("blocked4", "ipv4_addr"),
        set("blocked6", "ipv6_addr"),
        json!({ "add": { "chain": {
            "family": "inet", "table": "skynet", "name": "input",
            "type": "filter", "hook": "input", "prio": -10, "policy": "accept",
        } } }),
        json!({ "flush": { "chain": { "family": "inet", "table": "skynet", "name": "input" } } }),
        rule("ip", "blocked4"),
        rule("ip6", "blocked6"),
    ]
}

fn element(verb: &str, ip: IpAddr, ttl: Option<Span>) -> Json {
    let set = if ip.is_ipv4() { "blocked4" } else { "blocked6" };
    let value = match ttl {
        Some(ttl) => json!({ "elem": { "val": ip.to_string(), "timeout": ttl.0.div_euclid(1000).max(1) } }),
        None => json!(ip.to_string()),
    };
    json!({ verb: { "element": { "family": "inet", "table": "skynet", "name": set, "elem": [value] } } })
}

fn nft(host: &dyn Host, commands: Vec<Json>, context: &Context<'_>) -> Result<(), ActionError> {
    let exec = Exec {
        program: "nft".to_owned(),
        args: vec!["-j".to_owned(), "-f".to_owned(), "-".to_owned()],
        stdin: json!({ "nftables": commands }).to_string().into_bytes(),
        env: Vec::new(),
        timeout: context.timeout,
    };
    ended("nft", &host.run(&exec)?).map(|_| ())
}

/// The addresses of this server's own interfaces: /proc/net/fib_trie and /proc/net/if_inet6 (proc(5)).
fn own_addresses(host: &dyn Host) -> Result<Vec<IpAddr>, ActionError> {
    let mut own = Vec::new();
    let mut buf = Vec::new();
    host.read(Path::new("/proc/net/fib_trie"), &mut buf)?;
    let mut last = None;
    for line in String::from_utf8_lossy(&buf).lines() {
        match line.trim().strip_prefix("|-- ") {
            Some(address) => last = address.parse::<Ipv4Addr>().ok(),
            None if line.contains("host LOCAL") => own.extend(last.map(IpAddr::V4)),
            None => {}
        }
    }
    match host.read(Path::new("/proc/net/if_inet6"), &mut buf) {
        Ok(()) => {}
        // A kernel without IPv6.
        Err(HostError::Missing(_)) => return Ok(own),
        Err(error) => return Err(error.into()),
    }
    for line in String::from_utf8_lossy(&buf).lines() {
        let hex = line.split_whitespace().next().and_then(|hex| u128::from_str_radix(hex, 16).ok());
        own.extend(hex.map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))));
    }
    Ok(own)
}
