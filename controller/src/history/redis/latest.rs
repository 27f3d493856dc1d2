//! Latest values: what is new since they were sent last.

use std::collections::{HashMap, HashSet};

use serde_json::json;
use skynet_model::name::ServerId;
use skynet_model::series::SeriesKey;
use skynet_model::time::{Span, Timestamp};

use crate::journal::Call;
use crate::store::Keys;

/// A value that does not change is sent again after so long: readers see that it is fresh.
const REFRESH: Span = Span::minutes(1);
/// The values of a server that sends none any more go after so long, in seconds.
const KEPT: u64 = 30 * 86_400;

/// What was sent of each series.
type Sent = HashMap<SeriesKey, (u64, Timestamp)>;

/// What was sent of each server.
#[derive(Debug, Default)]
pub struct Latest {
    servers: HashMap<ServerId, Sent>,
}

/// What is new of one server.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// New values.
    pub set: Vec<(SeriesKey, f64, Timestamp)>,
    /// Series that ended.
    pub gone: Vec<SeriesKey>,
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
            calls.push(self.gone.iter().fold(call, |call, series| call.arg(series.to_string())));
        }
        if !self.set.is_empty() {
            let call = Call::new("HSET").arg(&key);
            let field = |call: Call, (series, value, time): &(SeriesKey, f64, Timestamp)| {
                call.arg(series.to_string()).arg(format!("{value} {}", time.0))
            };
            calls.push(self.set.iter().fold(call, field));
            calls.push(Call::new("EXPIRE").arg(&key).number(KEPT));
        }
        calls
    }

    /// The message on the live channel: `{"v":1,"server":S,"latest":{SERIES:[VALUE,TIME]},"gone":[SERIES]}`.
    #[must_use]
    pub fn message(&self, server: &ServerId) -> String {
        let latest: serde_json::Map<String, serde_json::Value> =
            self.set.iter().map(|(series, value, time)| (series.to_string(), json!([value, time]))).collect();
        json!({ "v": 1, "server": server, "latest": latest, "gone": self.gone }).to_string()
    }
}

impl Latest {
    /// What is new of `server`, whose latest values are `values`. It counts as sent.
    pub fn changes(&mut self, server: &ServerId, values: &[(SeriesKey, f64, Timestamp)]) -> Changes {
        let first = !self.servers.contains_key(server);
        let sent = self.servers.entry(server.clone()).or_default();
        let mut changes = Changes { first, ..Changes::default() };
        for (series, value, time) in values {
            let now = (value.to_bits(), *time);
            match sent.get_mut(series) {
                Some((bits, at)) if *bits == now.0 && time.since(*at) < REFRESH => continue,
                Some(known) => *known = now,
                None => {
                    sent.insert(series.clone(), now);
                }
            }
            changes.set.push((series.clone(), *value, *time));
        }
        if sent.len() > values.len() {
            let live: HashSet<&SeriesKey> = values.iter().map(|(series, ..)| series).collect();
            changes.gone = sent.keys().filter(|series| !live.contains(series)).cloned().collect();
            sent.retain(|series, _| live.contains(series));
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
        let mut latest = Latest::default();
        let values = [(one.clone(), 1.0, Timestamp(0)), (two.clone(), 2.0, Timestamp(0))];
        let first = latest.changes(&server, &values);
        assert!(first.first && first.set == values && first.gone.is_empty());
        assert!(latest.changes(&server, &values).is_empty());
        let values = [(one.clone(), 1.0, Timestamp(59_999)), (three.clone(), 3.0, Timestamp(1))];
        let next = latest.changes(&server, &values);
        assert_eq!((next.first, next.set.len(), &next.gone[..]), (false, 1, &[two][..]));
        assert_eq!(next.set[0].0, three);
        let values = [(one.clone(), 1.0, Timestamp(60_000)), (three, 3.0, Timestamp(2))];
        assert_eq!(latest.changes(&server, &values).set, [(one, 1.0, Timestamp(60_000))]);
    }

    #[test]
    fn the_live_message_of_version_1_never_changes() {
        let series: SeriesKey = "disk.used_ratio{mount=\"/\"}".parse().unwrap();
        let gone = vec![SeriesKey::plain("x")];
        let changes = Changes { set: vec![(series, 0.5, Timestamp(7))], gone, first: false };
        assert_eq!(
            changes.message(&ServerId::new("web1").unwrap()),
            r#"{"gone":["x"],"latest":{"disk.used_ratio{mount=\"/\"}":[0.5,7]},"server":"web1","v":1}"#
        );
    }
}
