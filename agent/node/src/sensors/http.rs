//! Web services: whether they answer, with what status, how fast, and whether the body is what it should be.

mod client;

use std::collections::BTreeMap;
use std::sync::Arc;

use skynet_model::address::Url;
use skynet_model::catalogue::{SensorSpec, Unit};
use skynet_model::policy::{Script, SensorUse};
use skynet_model::series::SeriesKey;
use skynet_model::time::Span;
use skynet_model::value::{ParamKind, Value};

use super::{
    Sample, Sensor, SensorError, TIMEOUT, Troubles, called, int, labelled, param, required, series, span, text, truth,
};
use crate::host::Host;
use crate::probe::tls::{Connection, Trust};
use crate::probe::{self, Deadline};
use client::Answer;

const LABELS: &[&str] = &["name"];

/// The catalogue entry.
pub(super) const SPEC: SensorSpec = SensorSpec {
    name: "http",
    help: "whether a web service answers as it should; called by the use's name, else by its URL's host and port",
    every: Span::seconds(30),
    params: &[
        required("url", ParamKind::Url, "what is asked for"),
        param("method", ParamKind::Word(&["GET", "HEAD"]), Some("GET"), "how"),
        TIMEOUT,
        param(
            "status",
            ParamKind::List(&ParamKind::Int { min: 100, max: 599 }),
            None,
            "statuses that are well; default 200 to 399",
        ),
        param("contains", ParamKind::Text, None, "text that the first MiB of the body must hold"),
        param("redirects", ParamKind::Int { min: 0, max: 10 }, Some("0"), "how many redirects are followed"),
        param("verify", ParamKind::Bool, Some("true"), "for https: whether the certificate must be valid"),
        param("ca_file", ParamKind::Path, None, "PEM file of the CAs to judge by; default the system's"),
    ],
    series: &[
        series(
            "http.up",
            LABELS,
            Unit::Bool,
            "1 when the whole answer came in time, its status is well and contains matched",
        ),
        series("http.status", LABELS, Unit::State, "the status code; missing without an answer"),
        series(
            "http.response_s",
            LABELS,
            Unit::Seconds,
            "how long it all took, from the name's lookup to the body's end or first MiB; missing without an answer",
        ),
        series("http.matched", LABELS, Unit::Bool, "1 when the body holds the text; only with contains"),
    ],
};

struct Http {
    name: String,
    url: Url,
    method: &'static str,
    timeout: Span,
    wanted: Vec<i64>,
    contains: Option<String>,
    redirects: i64,
    verify: bool,
    trust: Trust,
    up: Arc<SeriesKey>,
    status: Arc<SeriesKey>,
    response: Arc<SeriesKey>,
    matched: Arc<SeriesKey>,
    troubles: Troubles,
}

/// See [`super::build`].
pub(super) fn build(usage: &SensorUse, _: &BTreeMap<String, Script>) -> Result<Box<dyn Sensor>, SensorError> {
    let url = Url::parse(text(usage, "url").unwrap_or_default()).map_err(SensorError::Config)?;
    let authority = url.address.to_string();
    let name = called(usage, &authority);
    let key = |series| labelled(series, "name", name);
    let wanted = if let Some(Value::List(items)) = usage.params.get("status") { items.as_slice() } else { &[] };
    Ok(Box::new(Http {
        method: if text(usage, "method") == Some("HEAD") { "HEAD" } else { "GET" },
        timeout: span(usage, "timeout", probe::TIMEOUT),
        wanted: wanted.iter().filter_map(Value::as_int).collect(),
        contains: text(usage, "contains").map(str::to_owned),
        redirects: int(usage, "redirects", 0),
        verify: usage.params.get("verify") != Some(&Value::Bool(false)),
        trust: Trust::new(text(usage, "ca_file")),
        up: key("http.up"),
        status: key("http.status"),
        response: key("http.response_s"),
        matched: key("http.matched"),
        name: name.to_owned(),
        url,
        troubles: Troubles::default(),
    }))
}

impl Http {
    fn fetch(&mut self, host: &Arc<dyn Host>, url: &Url, deadline: &Deadline) -> Result<Answer, String> {
        let stream = probe::connect(&url.address.host, url.port(), deadline)?;
        let mut connection: Box<dyn Connection> = if url.tls {
            let (_, shaken) = self.trust.shake(&**host, stream, &url.address.host, self.verify);
            Box::new(shaken?)
        } else {
            Box::new(stream)
        };
        client::fetch(&mut connection, self.method, url)
    }

    fn follow(&mut self, host: &Arc<dyn Host>, deadline: &Deadline) -> Result<Answer, String> {
        let mut url = self.url.clone();
        for _ in 0..self.redirects {
            let answer = self.fetch(host, &url, deadline)?;
            let Some(next) = answer.redirect(&url)? else { return Ok(answer) };
            url = next;
        }
        self.fetch(host, &url, deadline)
    }

    fn is_well(&self, status: u16) -> bool {
        if self.wanted.is_empty() { (200..400).contains(&status) } else { self.wanted.contains(&i64::from(status)) }
    }

    fn probe(&mut self, host: &Arc<dyn Host>, out: &mut Sample) -> Result<(), String> {
        let deadline = Deadline::new(host, self.timeout);
        let answer = self.follow(host, &deadline)?;
        out.push((Arc::clone(&self.status), f64::from(answer.status)));
        out.push((Arc::clone(&self.response), deadline.took_s()));
        let matched = self.contains.as_deref().map(|text| answer.holds(text.as_bytes()));
        if let Some(matched) = matched {
            out.push((Arc::clone(&self.matched), truth(matched)));
        }
        if !self.is_well(answer.status) {
            return Err(format!("its status is {}", answer.status));
        }
        answer.ended?;
        if matched == Some(false) { Err("its body does not hold the text".to_owned()) } else { Ok(()) }
    }
}

impl Sensor for Http {
    fn sweep(&mut self, host: &Arc<dyn Host>, out: &mut Sample) -> Result<(), SensorError> {
        let done = self.probe(host, out);
        out.push((Arc::clone(&self.up), truth(done.is_ok())));
        self.troubles.tell(&self.name, done);
        Ok(())
    }
}

#[cfg(test)]
#[path = "http/tests.rs"]
mod tests;
