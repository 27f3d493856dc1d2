//! TCP services: whether they take a connection, and say what they should.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::Arc;

use skynet_model::address::Address;
use skynet_model::catalogue::{SensorSpec, Unit};
use skynet_model::policy::{Script, SensorUse};
use skynet_model::series::SeriesKey;
use skynet_model::time::Span;
use skynet_model::value::ParamKind;

use super::{
    Sample, Sensor, SensorError, TIMEOUT, Troubles, called, labelled, param, required, series, span, text, truth,
};
use crate::host::Host;
use crate::probe::{self, Deadline};

/// Most bytes that are looked through for the expected text.
const MAX_ANSWER: usize = 64 << 10;

const LABELS: &[&str] = &["name"];

/// The catalogue entry.
pub(super) const SPEC: SensorSpec = SensorSpec {
    name: "tcp",
    help: "whether a TCP service takes connections and, where asked, says what it should; called by the use's name, else \
           by its address",
    every: Span::seconds(10),
    params: &[
        required("address", ParamKind::Address { port: true }, "where it listens"),
        TIMEOUT,
        param(
            "send",
            ParamKind::Text,
            None,
            "text that is sent first, as it is: write \"QUIT\\r\\n\" in double quotes",
        ),
        param("expect", ParamKind::Text, None, "text that the first 64 KiB of the answer must hold"),
    ],
    series: &[
        series("tcp.up", LABELS, Unit::Bool, "1 when it took the connection and said what is expected"),
        series("tcp.connect_s", LABELS, Unit::Seconds, "how long the connection took, the name's lookup included"),
    ],
};

struct Tcp {
    name: String,
    address: Address,
    timeout: Span,
    send: Option<String>,
    expect: Option<String>,
    up: Arc<SeriesKey>,
    connect: Arc<SeriesKey>,
    troubles: Troubles,
}

/// See [`super::build`].
pub(super) fn build(usage: &SensorUse, _: &BTreeMap<String, Script>) -> Result<Box<dyn Sensor>, SensorError> {
    let written = text(usage, "address").unwrap_or_default();
    let name = called(usage, written);
    Ok(Box::new(Tcp {
        address: Address::parse(written).map_err(SensorError::Config)?,
        timeout: span(usage, "timeout", probe::TIMEOUT),
        send: text(usage, "send").map(str::to_owned),
        expect: text(usage, "expect").map(str::to_owned),
        up: labelled("tcp.up", "name", name),
        connect: labelled("tcp.connect_s", "name", name),
        name: name.to_owned(),
        troubles: Troubles::default(),
    }))
}

impl Tcp {
    fn probe(&self, host: &Arc<dyn Host>, out: &mut Sample) -> Result<(), String> {
        let deadline = Deadline::new(host, self.timeout);
        let mut stream = probe::connect(&self.address.host, self.address.port.unwrap_or(0), &deadline)?;
        out.push((Arc::clone(&self.connect), deadline.took_s()));
        if let Some(send) = &self.send {
            stream.write_all(send.as_bytes()).map_err(|e| e.to_string())?;
        }
        let Some(expect) = self.expect.as_deref().filter(|text| !text.is_empty()) else { return Ok(()) };
        let (mut answer, mut buf) = (Vec::new(), [0; 4096]);
        loop {
            let n = stream.read(&mut buf).map_err(|e| e.to_string())?;
            answer.extend_from_slice(&buf[..n]);
            if answer.windows(expect.len()).any(|part| part == expect.as_bytes()) {
                return Ok(());
            }
            if n == 0 || answer.len() >= MAX_ANSWER {
                return Err("its answer does not hold the expected text".to_owned());
            }
        }
    }
}

impl Sensor for Tcp {
    fn sweep(&mut self, host: &Arc<dyn Host>, out: &mut Sample) -> Result<(), SensorError> {
        let done = self.probe(host, out);
        out.push((Arc::clone(&self.up), truth(done.is_ok())));
        self.troubles.tell(&self.name, done);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{local, make, show, value};
    use super::*;
    use skynet_model::value::Value;
    use std::net::TcpListener;

    fn given(address: &str, more: &[(&str, &str)]) -> Box<dyn Sensor> {
        let mut params = vec![("address", Value::Text(address.to_owned())), ("timeout", Value::Duration(Span(400)))];
        params.extend(more.iter().map(|(name, text)| (*name, Value::Text((*text).to_owned()))));
        make("tcp", &params)
    }

    fn up(address: &str, more: &[(&str, &str)]) -> Option<f64> {
        let sample = local(&mut *given(address, more));
        show(&sample);
        value(&sample, &format!("tcp.up{{name=\"{address}\"}}"))
    }

    /// Answers each connection with what `answer` makes of its first line.
    fn server(answer: impl Fn(&mut std::net::TcpStream) + Send + 'static) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || listener.incoming().for_each(|stream| answer(&mut stream.unwrap())));
        address
    }

    #[test]
    fn a_service_is_up_when_it_says_what_it_should() {
        let address = server(|stream| {
            let mut line = [0; 6];
            stream.read_exact(&mut line).unwrap();
            // In two parts, the text across them.
            for part in [&b"220 rea"[..], b"dy\r\n"] {
                let _ = stream.write_all(part);
            }
        });
        assert_eq!(up(&address, &[("send", "HELO\r\n"), ("expect", "ready")]), Some(1.0));
        assert_eq!(up(&address, &[("send", "HELO\r\n"), ("expect", "bye")]), Some(0.0));
        assert_eq!(up(&address, &[]), Some(1.0));
        let sample = local(&mut *given(&address, &[]));
        let took = value(&sample, &format!("tcp.connect_s{{name=\"{address}\"}}")).unwrap();
        assert!(took > 0.0 && took < 0.4, "{took}");
    }

    #[test]
    fn what_hangs_drips_or_floods_is_down_in_time() {
        let silent = server(|stream| drop(stream.read(&mut [0])));
        let dripping = server(|stream| while stream.write_all(b"x").is_ok() {});
        let slow = server(|stream| {
            while stream.write_all(b"x").is_ok() {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        });
        for address in [&silent, &dripping, &slow] {
            let began = crate::host::local::boot_ms();
            assert_eq!(up(address, &[("expect", "y")]), Some(0.0));
            assert!(crate::host::local::boot_ms() - began < 5000);
        }
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let sample = local(&mut *given(&closed, &[]));
        assert_eq!(sample.len(), 1, "no connection took no time");
    }
}
