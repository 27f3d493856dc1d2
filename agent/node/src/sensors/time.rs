//! The wall clock: how far it is off, and whether anything keeps it right.
//!
//! The kernel's own opinion (adjtimex) is not asked: it knows nothing of the true time. What is asked is chrony, which does,
//! or a time server.

mod sntp;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;

use skynet_model::address::Address;
use skynet_model::catalogue::{SensorSpec, Unit};
use skynet_model::policy::{Script, SensorUse};
use skynet_model::series::SeriesKey;
use skynet_model::time::Span;
use skynet_model::value::ParamKind;

use super::{Sample, Sensor, SensorError, TIMEOUT, param, plain, seconds, series, span, text, truth};
use crate::host::{Exec, Host, HostError};
use crate::probe::{self, Deadline};

const PORT: u16 = 123;
const WITHIN: Span = Span::seconds(1);

/// The catalogue entry.
pub(super) const SPEC: SensorSpec = SensorSpec {
    name: "time",
    help: "how far the wall clock is off, as chrony on this server says, or by asking a time server (SNTP)",
    every: Span::seconds(60),
    params: &[
        param(
            "server",
            ParamKind::Address { port: false },
            None,
            "a time server to compare with (port 123 by default); default: `chronyc tracking` is asked",
        ),
        param(
            "within",
            ParamKind::Duration,
            Some("1s"),
            "with server: how far off the clock may be and still count as synchronised",
        ),
        TIMEOUT,
    ],
    series: &[
        series(
            "time.offset_s",
            &[],
            Unit::Seconds,
            "how far the wall clock is ahead of the true time (behind: negative); by SNTP to a millisecond and half the way \
             to the server",
        ),
        series(
            "time.synchronised",
            &[],
            Unit::Bool,
            "1 while chrony keeps the clock; with server: while the server is itself synchronised and the clock is within",
        ),
    ],
};

enum Source {
    Chrony,
    Server(Address),
}

struct Time {
    source: Source,
    within: Span,
    timeout: Span,
    offset: Arc<SeriesKey>,
    synchronised: Arc<SeriesKey>,
    random: RandomState,
}

/// See [`super::build`].
pub(super) fn build(usage: &SensorUse, _: &BTreeMap<String, Script>) -> Result<Box<dyn Sensor>, SensorError> {
    let server = text(usage, "server").map(Address::parse).transpose().map_err(SensorError::Config)?;
    Ok(Box::new(Time {
        source: server.map_or(Source::Chrony, Source::Server),
        within: span(usage, "within", WITHIN),
        timeout: span(usage, "timeout", probe::TIMEOUT),
        offset: plain("time.offset_s"),
        synchronised: plain("time.synchronised"),
        random: RandomState::new(),
    }))
}

/// What is known of the clock: how far ahead it is in seconds, if that is known, and whether it is kept right.
#[derive(Debug, PartialEq)]
struct Clock {
    ahead_s: Option<f64>,
    synchronised: bool,
}

/// The line that `chronyc -c tracking` prints: of its 14 fields the fifth says how far the clock is behind, the last
/// whether it is synchronised at all.
fn tracking(printed: &str) -> Option<Clock> {
    let fields: Vec<&str> = printed.lines().next()?.split(',').collect();
    let synchronised = *fields.get(13)? != "Not synchronised";
    let behind: f64 = fields.get(4)?.parse().ok()?;
    // Without a source it is of nothing.
    Some(Clock { ahead_s: synchronised.then_some(0.0 - behind), synchronised })
}

fn chrony(host: &dyn Host, timeout: Span) -> Result<Clock, SensorError> {
    let args = ["-n", "-c", "tracking"].map(str::to_owned).to_vec();
    let exec = Exec { program: "chronyc".to_owned(), args, stdin: Vec::new(), env: Vec::new(), timeout: timeout.std() };
    let output = match host.run(&exec) {
        Err(HostError::Missing(_)) => {
            return Err(SensorError::Config(
                "time: there is no chronyc on this server; install chrony, or name a `server:` to compare with"
                    .to_owned(),
            ));
        }
        ran => ran?,
    };
    let printed = String::from_utf8_lossy(&output.stdout);
    if output.code != 0 {
        return Err(SensorError::Config(format!("time: chronyc says: {}; does chronyd run?", printed.trim())));
    }
    tracking(&printed).ok_or_else(|| SensorError::Malformed("what `chronyc -c tracking` prints".to_owned()))
}

impl Time {
    fn ask(&self, host: &Arc<dyn Host>, server: &Address) -> Result<Clock, String> {
        let deadline = Deadline::new(host, self.timeout);
        let found = host.resolve(&server.host, deadline.left()?).map_err(|e| e.to_string())?;
        let ip = found.first().ok_or_else(|| format!("{} has no address", server.host))?;
        let to = SocketAddr::new(*ip, server.port.unwrap_or(PORT));
        let question = sntp::question(self.random.hash_one(host.boot_us()));
        // Wall time when it left, and, by the boot clock, how long it was away: a clock that is set meanwhile lies only once.
        let (left, began) = (host.now(), host.boot_us());
        let answer = host
            .ask(to, &question, deadline.left()?, &|answer| sntp::is_answer(answer, &question))
            .map_err(|e| e.to_string())?;
        let away_ms = (host.boot_us() - began) / 1000;
        let answer = sntp::read(&answer, left.0)?;
        let ahead = Span(answer.ahead_ms(left.0, left.0.saturating_add(away_ms)));
        let near = ahead.0.saturating_abs() <= self.within.0;
        Ok(Clock { ahead_s: Some(seconds(ahead)), synchronised: answer.synchronised && near })
    }
}

impl Sensor for Time {
    fn sweep(&mut self, host: &Arc<dyn Host>, out: &mut Sample) -> Result<(), SensorError> {
        let clock = match &self.source {
            Source::Chrony => chrony(&**host, self.timeout)?,
            Source::Server(server) => {
                self.ask(host, server).map_err(|words| SensorError::Config(format!("time: {server}: {words}")))?
            }
        };
        if let Some(ahead) = clock.ahead_s {
            out.push((Arc::clone(&self.offset), ahead));
        }
        out.push((Arc::clone(&self.synchronised), truth(clock.synchronised)));
        Ok(())
    }
}

#[cfg(test)]
#[path = "time/tests.rs"]
mod tests;
