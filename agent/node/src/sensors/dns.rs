//! Name servers: whether they answer, how fast, and whether with what they should.

mod wire;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use skynet_model::address::{Address, is_name};
use skynet_model::catalogue::{SensorSpec, Unit};
use skynet_model::policy::{Script, SensorUse};
use skynet_model::series::SeriesKey;
use skynet_model::time::Span;
use skynet_model::value::ParamKind;

use super::{
    Sample, Sensor, SensorError, TIMEOUT, Troubles, called, float, labelled, lines, param, required, series, span,
    text, texts, truth,
};
use crate::host::Host;
use crate::probe::{self, Deadline};
use wire::{Answer, Kind, Question};

const PORT: u16 = 53;
const LABELS: &[&str] = &["name"];

/// The catalogue entry.
pub(super) const SPEC: SensorSpec = SensorSpec {
    name: "dns",
    help: "whether a name server answers a question as it should; called by the use's name, else by the name asked for",
    every: Span::seconds(30),
    params: &[
        required("query", ParamKind::Text, "the name asked for"),
        param("type", ParamKind::Word(Kind::WORDS), Some("A"), "what is asked about it"),
        param(
            "server",
            ParamKind::Address { port: false },
            None,
            "who is asked (port 53 by default); default the first name server of /etc/resolv.conf",
        ),
        param(
            "expect",
            ParamKind::List(&ParamKind::Ip),
            None,
            "for A and AAAA: the only addresses that may be answered",
        ),
        TIMEOUT,
    ],
    series: &[
        series(
            "dns.up",
            LABELS,
            Unit::Bool,
            "1 when the server answered without an error and as expected; 0 too for NXDOMAIN",
        ),
        series("dns.response_s", LABELS, Unit::Seconds, "how long the answer took; missing without one"),
        series(
            "dns.rcode",
            LABELS,
            Unit::State,
            "0 no error, 2 the server failed, 3 no such name (NXDOMAIN), 5 refused",
        ),
        series("dns.answers", LABELS, Unit::Count, "records of the asked type in the answer"),
        series(
            "dns.matched",
            LABELS,
            Unit::Bool,
            "1 when there are addresses and all of them are expected ones; only with expect",
        ),
    ],
};

struct Dns {
    name: String,
    query: String,
    kind: Kind,
    server: Option<Address>,
    expect: Vec<IpAddr>,
    timeout: Span,
    keys: [Arc<SeriesKey>; 5],
    /// Makes ids that cannot be guessed from outside.
    random: RandomState,
    troubles: Troubles,
    buf: Vec<u8>,
}

/// See [`super::build`].
pub(super) fn build(usage: &SensorUse, _: &BTreeMap<String, Script>) -> Result<Box<dyn Sensor>, SensorError> {
    let query = text(usage, "query").unwrap_or_default();
    if !is_name(query) {
        return Err(SensorError::Config(format!("dns: `{query}` is no name that can be asked for")));
    }
    let server = text(usage, "server").map(Address::parse).transpose().map_err(SensorError::Config)?;
    let name = called(usage, query);
    Ok(Box::new(Dns {
        query: query.to_owned(),
        kind: Kind::of(text(usage, "type").unwrap_or("A")),
        server,
        expect: texts(usage, "expect").iter().filter_map(|ip| ip.parse().ok()).collect(),
        timeout: span(usage, "timeout", probe::TIMEOUT),
        keys: ["dns.up", "dns.response_s", "dns.rcode", "dns.answers", "dns.matched"]
            .map(|series| labelled(series, "name", name)),
        random: RandomState::new(),
        name: name.to_owned(),
        troubles: Troubles::default(),
        buf: Vec::new(),
    }))
}

impl Dns {
    fn server(&mut self, host: &Arc<dyn Host>, deadline: &Deadline) -> Result<SocketAddr, String> {
        if let Some(server) = &self.server {
            let found = host.resolve(&server.host, deadline.left()?).map_err(|e| e.to_string())?;
            let first = found.first().ok_or_else(|| format!("{} has no address", server.host))?;
            return Ok(SocketAddr::new(*first, server.port.unwrap_or(PORT)));
        }
        host.read(Path::new("/etc/resolv.conf"), &mut self.buf).map_err(|e| e.to_string())?;
        let first = lines(&self.buf).find_map(|line| {
            let mut words = line.split_ascii_whitespace();
            (words.next()? == "nameserver").then(|| words.next()?.parse().ok()).flatten()
        });
        first.map(|ip| SocketAddr::new(ip, PORT)).ok_or_else(|| "/etc/resolv.conf names no name server".to_owned())
    }

    fn ask(&mut self, host: &Arc<dyn Host>, deadline: &Deadline) -> Result<Answer, String> {
        let server = self.server(host, deadline)?;
        let id = self.random.hash_one(host.boot_us()).to_le_bytes();
        let question = Question::new(u16::from_le_bytes([id[0], id[1]]), &self.query, self.kind);
        let fits = |answer: &[u8]| question.is_answered_by(answer);
        let answer = host.ask(server, question.bytes(), deadline.left()?, &fits).map_err(|e| e.to_string())?;
        let answer = question.read(&answer)?;
        if !answer.truncated {
            return Ok(answer);
        }
        // RFC 7766: what does not fit into a datagram is asked for again over TCP.
        let mut stream = probe::connect(&server.ip().to_string(), server.port(), deadline)?;
        let length = u16::try_from(question.bytes().len()).unwrap_or(u16::MAX).to_be_bytes();
        let whole = [&length[..], question.bytes()].concat();
        stream.write_all(&whole).map_err(|e| e.to_string())?;
        let mut length = [0; 2];
        stream.read_exact(&mut length).map_err(|e| e.to_string())?;
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer).map_err(|e| e.to_string())?;
        if !question.is_answered_by(&answer) {
            return Err("what came over TCP is no answer to the question".to_owned());
        }
        question.read(&answer)
    }

    /// Whether all is well, and its readings but `up`.
    fn probe(&mut self, host: &Arc<dyn Host>, out: &mut Sample) -> Result<(), String> {
        let deadline = Deadline::new(host, self.timeout);
        let answer = self.ask(host, &deadline)?;
        let [_, response, rcode, answers, matched] = &self.keys;
        out.push((Arc::clone(response), deadline.took_s()));
        out.push((Arc::clone(rcode), f64::from(answer.rcode)));
        out.push((Arc::clone(answers), float(answer.records)));
        let matches = !answer.addresses.is_empty() && answer.addresses.iter().all(|ip| self.expect.contains(ip));
        if !self.expect.is_empty() {
            out.push((Arc::clone(matched), truth(matches)));
        }
        match answer.rcode {
            0 if self.expect.is_empty() || matches => Ok(()),
            0 => Err("it answers with other addresses than expected".to_owned()),
            3 => Err("it says that there is no such name".to_owned()),
            code => Err(format!("it answers with error {code}")),
        }
    }
}

impl Sensor for Dns {
    fn sweep(&mut self, host: &Arc<dyn Host>, out: &mut Sample) -> Result<(), SensorError> {
        let done = self.probe(host, out);
        out.push((Arc::clone(&self.keys[0]), truth(done.is_ok())));
        self.troubles.tell(&self.name, done);
        Ok(())
    }
}

#[cfg(test)]
#[path = "dns/tests.rs"]
mod tests;
