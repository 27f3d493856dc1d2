//! Certificates of TLS servers: how long they last, and whether they would be believed.

use std::collections::BTreeMap;
use std::sync::Arc;

use skynet_model::address::Address;
use skynet_model::catalogue::{SensorSpec, Unit};
use skynet_model::policy::{Script, SensorUse};
use skynet_model::series::SeriesKey;
use skynet_model::time::Span;
use skynet_model::value::ParamKind;

use super::{
    Sample, Sensor, SensorError, TIMEOUT, Troubles, called, labelled, param, required, seconds, seconds_between,
    series, span, text, truth,
};
use crate::host::Host;
use crate::probe::{self, Deadline, tls::Trust};

const LABELS: &[&str] = &["name"];

/// The catalogue entry.
pub(super) const SPEC: SensorSpec = SensorSpec {
    name: "tls",
    help: "the certificate of a TLS server: when it ends, whether clients believe it; called by the use's name, else by its \
           address",
    every: Span::minutes(5),
    params: &[
        required("address", ParamKind::Address { port: true }, "where it listens"),
        param("server_name", ParamKind::Text, None, "the name its certificate must be for; default the address's host"),
        param("ca_file", ParamKind::Path, None, "PEM file of the CAs to judge by; default the system's"),
        TIMEOUT,
    ],
    series: &[
        series(
            "tls.expires_in_s",
            LABELS,
            Unit::Seconds,
            "time until the server's own certificate ends, by this server's clock; negative after that",
        ),
        series(
            "tls.valid",
            LABELS,
            Unit::Bool,
            "1 when chain, dates and name are right; missing when no certificate was seen",
        ),
        series("tls.handshake_s", LABELS, Unit::Seconds, "how long a whole handshake took"),
    ],
};

struct Tls {
    name: String,
    address: Address,
    server_name: String,
    trust: Trust,
    timeout: Span,
    expires: Arc<SeriesKey>,
    valid: Arc<SeriesKey>,
    handshake: Arc<SeriesKey>,
    troubles: Troubles,
}

/// See [`super::build`].
pub(super) fn build(usage: &SensorUse, _: &BTreeMap<String, Script>) -> Result<Box<dyn Sensor>, SensorError> {
    let written = text(usage, "address").unwrap_or_default();
    let address = Address::parse(written).map_err(SensorError::Config)?;
    let name = called(usage, written);
    let key = |series| labelled(series, "name", name);
    Ok(Box::new(Tls {
        server_name: text(usage, "server_name").unwrap_or(&address.host).to_owned(),
        address,
        trust: Trust::new(text(usage, "ca_file")),
        timeout: span(usage, "timeout", probe::TIMEOUT),
        expires: key("tls.expires_in_s"),
        valid: key("tls.valid"),
        handshake: key("tls.handshake_s"),
        name: name.to_owned(),
        troubles: Troubles::default(),
    }))
}

impl Tls {
    fn probe(&mut self, host: &Arc<dyn Host>, out: &mut Sample) -> Result<(), String> {
        let deadline = Deadline::new(host, self.timeout);
        let stream = probe::connect(&self.address.host, self.address.port.unwrap_or(0), &deadline)?;
        let began = host.boot_us();
        let (seen, shaken) = self.trust.shake(&**host, stream, &self.server_name, false);
        let took = seconds_between(began, host.boot_us());
        if let Some(expires) = seen.as_ref().and_then(|seen| seen.expires) {
            let left = expires.saturating_mul(1000).saturating_sub(host.now().0);
            out.push((Arc::clone(&self.expires), seconds(Span(left))));
        }
        let shaken = shaken.map(|_| out.push((Arc::clone(&self.handshake), took)));
        let Some(seen) = seen else { return shaken };
        let verdict = shaken.and(seen.verdict);
        out.push((Arc::clone(&self.valid), truth(verdict.is_ok())));
        verdict
    }
}

impl Sensor for Tls {
    fn sweep(&mut self, host: &Arc<dyn Host>, out: &mut Sample) -> Result<(), SensorError> {
        let done = self.probe(host, out);
        self.troubles.tell(&self.name, done);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{local, show, usage, value};
    use super::*;
    use crate::probe::tls::testing::{ca, server};
    use skynet_model::value::Value;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    fn look(address: &str, more: &[(&str, &str)]) -> Sample {
        let mut params = vec![("address", Value::Text(address.to_owned())), ("timeout", Value::Duration(Span(3000)))];
        params.extend(more.iter().map(|(name, text)| (*name, Value::Text((*text).to_owned()))));
        let sample = local(&mut *super::super::build(&usage("tls", Some("shop"), &params), &BTreeMap::new()));
        show(&sample);
        sample
    }

    fn of(sample: &Sample, series: &str) -> Option<f64> {
        value(sample, &format!("tls.{series}{{name=\"shop\"}}"))
    }

    #[test]
    fn certificates_are_judged_by_chain_date_and_name_and_their_end_is_told_anyway() {
        let dir = tempfile::tempdir().unwrap();
        let (file, other) = (dir.path().join("ca.pem"), dir.path().join("other.pem"));
        let issuer = ca(&file);
        ca(&other);
        let (file, other) = (file.to_str().unwrap(), other.to_str().unwrap());
        let hang_up = |mut stream: rustls::StreamOwned<_, _>| drop(stream.flush());
        let good = server(&issuer, "localhost", 2090, hang_up).to_string();
        let expired = server(&issuer, "localhost", 2021, hang_up).to_string();
        for (address, name, ca, valid) in [
            (&good, "localhost", Some(file), 1.0),
            (&good, "shop.example", Some(file), 0.0),
            (&good, "127.0.0.1", Some(file), 0.0),
            (&good, "localhost", Some(other), 0.0),
            (&good, "localhost", None, 0.0),
            (&good, "localhost", Some("/no/such/file"), 0.0),
            (&expired, "localhost", Some(file), 0.0),
        ] {
            let mut more = vec![("server_name", name)];
            more.extend(ca.map(|ca| ("ca_file", ca)));
            let sample = look(address, &more);
            assert_eq!(of(&sample, "valid"), Some(valid), "{address} {name} {ca:?}");
            let left = of(&sample, "expires_in_s").unwrap();
            assert_eq!(left > 0.0, address == &good, "{left}");
            assert!(of(&sample, "handshake_s").unwrap() > 0.0);
        }
    }

    #[test]
    fn what_is_no_tls_or_says_nothing_has_no_certificate() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for (i, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 4096]);
                if i == 0 {
                    let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
                } else {
                    // Until the other side has had enough.
                    let _ = stream.read(&mut [0; 4096]);
                }
            }
        });
        assert!(look(&address, &[]).is_empty());
        let began = crate::host::local::boot_ms();
        assert!(look(&address, &[]).is_empty());
        assert!(crate::host::local::boot_ms() - began < 10_000);
    }
}
