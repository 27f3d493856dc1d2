//! Latest values: what is new since they were sent last.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::sync::Arc;

use skynet_model::name::ServerId;
use skynet_model::series::SeriesKey;
use skynet_model::time::{Span, Timestamp};

use crate::journal::Call;
use crate::store::Keys;

/// A value that does not change is sent again after so long: readers see that it is fresh.
const REFRESH: Span = Span::minutes(1);
/// The values of a server that sends none any more go after so long, in seconds.
const KEPT: u64 = 30 * 86_400;

/// What was sent of a series, and its text.
#[derive(Debug)]
struct Sent {
    text: Arc<str>,
    bits: u64,
    time: Timestamp,
}

/// What was sent of each server.
#[derive(Debug, Default)]
pub struct Latest {
    servers: HashMap<ServerId, HashMap<SeriesKey, Sent>>,
}

/// What is new of one server.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// New values by their series' text.
    pub set: Vec<(Arc<str>, f64, Timestamp)>,
    /// Series that ended.
    pub gone: Vec<Arc<str>>,
    /// Nothing was sent of this server before.
    pub first: bool,
}

impl Changes {
    /// Whether there is nothing new.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.gone.is_empty()
    }

    /// The commands that write them: a hash of series to `VALUE TIME`.
    #[must_use]
    pub fn calls(&self, keys: &Keys, server: &ServerId) -> Vec<Call> {
        let key = keys.latest(server);
        let mut calls = Vec::new();
        if self.first {
            // What an earlier run left there may have ended since.
            calls.push(Call::new("DEL").arg(&key));
        }
        if !self.gone.is_empty() {
            let call = Call::new("HDEL").arg(&key);
            calls.push(self.gone.iter().fold(call, |call, series| call.arg(series.as_bytes())));
        }
        if !self.set.is_empty() {
            let mut call = Call::new("HSET").arg(&key);
            let mut text = String::new();
            for (series, value, time) in &self.set {
                text.clear();
                // Writing into a text cannot fail.
                let _ = write!(text, "{value} {}", time.0);
                call = call.arg(series.as_bytes()).arg(&text);
            }
            calls.push(call);
            calls.push(Call::new("EXPIRE").arg(&key).number(KEPT));
        }
        calls
    }

    /// The message on the live channel: `{"v":1,"server":S,"latest":{SERIES:[VALUE,TIME]},"gone":[SERIES]}`.
    #[must_use]
    pub fn message(&self, server: &ServerId) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let mut out = format!("{{\"v\":1,\"server\":{},\"latest\":{{", quoted(server.as_str()));
        for (index, (series, value, time)) in self.set.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            // Values are finite: others never leave a sensor.
            let _ = write!(out, "{comma}{}:[{value},{}]", quoted(series), time.0);
        }
        let gone: Vec<String> = self.gone.iter().map(|series| quoted(series)).collect();
        let _ = write!(out, "}},\"gone\":[{}]}}", gone.join(","));
        out
    }
}

impl Latest {
    /// What is new of `server`, whose latest values are `values`. It counts as sent.
    pub fn changes(&mut self, server: &ServerId, values: &[(SeriesKey, f64, Timestamp)]) -> Changes {
        let first = !self.servers.contains_key(server);
        let all = self.servers.entry(server.clone()).or_default();
        let mut changes = Changes { first, ..Changes::default() };
        for (series, value, time) in values.iter().filter(|(_, value, _)| value.is_finite()) {
            let text = match all.get_mut(series) {
                Some(sent) if sent.bits == value.to_bits() && time.since(sent.time) < REFRESH => continue,
                Some(sent) => {
                    (sent.bits, sent.time) = (value.to_bits(), *time);
                    Arc::clone(&sent.text)
                }
                None => {
                    let text: Arc<str> = series.to_string().into();
                    let sent = Sent { text: Arc::clone(&text), bits: value.to_bits(), time: *time };
                    all.insert(series.clone(), sent);
                    text
                }
            };
            changes.set.push((text, *value, *time));
        }
        if all.len() > values.len() {
            let live: HashSet<&SeriesKey> = values.iter().map(|(series, ..)| series).collect();
            changes.gone = all.extract_if(|series, _| !live.contains(series)).map(|(_, sent)| sent.text).collect();
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_is_sent_and_what_ended_is_taken_away() {
        let server = ServerId::new("web1").unwrap();
        let (one, two, three) = (SeriesKey::plain("one"), SeriesKey::plain("two"), SeriesKey::plain("three"));
        let text = |series: &SeriesKey| Arc::<str>::from(series.to_string());
        let mut latest = Latest::default();
        let values = [(one.clone(), 1.0, Timestamp(0)), (two.clone(), 2.0, Timestamp(0))];
        let first = latest.changes(&server, &values);
        assert!(first.first && first.gone.is_empty());
        assert_eq!(first.set, [(text(&one), 1.0, Timestamp(0)), (text(&two), 2.0, Timestamp(0))]);
        assert!(latest.changes(&server, &values).is_empty());
        let values = [(one.clone(), 1.0, Timestamp(59_999)), (three.clone(), 3.0, Timestamp(1))];
        let next = latest.changes(&server, &values);
        assert_eq!((next.first, next.set.len(), &next.gone[..]), (false, 1, &[text(&two)][..]));
        assert_eq!(next.set[0].0, text(&three));
        let values = [(one.clone(), 1.0, Timestamp(60_000)), (three, 3.0, Timestamp(2))];
        assert_eq!(latest.changes(&server, &values).set, [(text(&one), 1.0, Timestamp(60_000))]);
    }

    #[test]
    fn the_live_message_of_version_1_never_changes() {
        let series = Arc::from("disk.used_ratio{mount=\"/\"}");
        let gone = vec![Arc::from("x")];
        let changes =
            Changes { set: vec![(series, 0.5, Timestamp(7)), (Arc::from("y"), 2.0, Timestamp(8))], gone, first: false };
        let message = changes.message(&ServerId::new("web1").unwrap());
        assert_eq!(
            message,
            r#"{"v":1,"server":"web1","latest":{"disk.used_ratio{mount=\"/\"}":[0.5,7],"y":[2,8]},"gone":["x"]}"#
        );
        serde_json::from_str::<serde_json::Value>(&message).unwrap();
    }
}
